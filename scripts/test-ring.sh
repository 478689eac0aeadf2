#!/usr/bin/env bash
# The frame ring under ThreadSanitizer: millions of frames must pass, and a build with one memory
# ordering weakened must be caught, or the first result would mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

build() { swift build --product ring-stress --sanitize=thread --scratch-path "$1" 2>&1 | tail -n 1; }

build .build-tsan
.build-tsan/debug/ring-stress 4000000

LUCIDA_WEAKEN_RING=1 build .build-tsan-weak
if output=$(TSAN_OPTIONS=halt_on_error=1 .build-tsan-weak/debug/ring-stress 400000 2>&1); then
    echo "FAILED: ThreadSanitizer did not notice the weakened ring" >&2
    exit 1
fi
grep -q 'ThreadSanitizer: data race' <<<"$output" || {
    echo "FAILED: the weakened ring stopped for another reason:" >&2
    echo "$output" >&2
    exit 1
}
echo "ring: passed, and the weakened build was caught"
