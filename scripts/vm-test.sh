#!/usr/bin/env bash
# Real kernel devices under QEMU: vivid, three versions of v4l2loopback, Chromium, systemd.
# Says so and succeeds where the packages for the machine cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
# The device tests of V4L2Tests run in the machine, from the test bundle.
output=$(swift build --build-tests 2>&1) || {
    echo "$output" >&2
    exit 1
}
exec python3 Tests/VM/run_tests.py "$@"
