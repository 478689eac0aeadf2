#!/usr/bin/env bash
# Every test, cheapest first. Prints a closing line and exits non-zero if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0 failed=0
step() {
    local name=$1
    shift
    echo
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "FAILED: $name"
        failed=$((failed + 1))
    fi
}

step "format and style" make --no-print-directory lint
step "unit tests" swift test
step "frame ring under ThreadSanitizer" scripts/test-ring.sh
step "command line" python3 -m unittest discover -s Tests/CommandLine
step "virtual machine with real kernel devices" scripts/vm-test.sh

echo
echo "suites: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
