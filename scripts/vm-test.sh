#!/usr/bin/env bash
# Real kernel devices under QEMU: vivid, three versions of v4l2loopback, Chromium, systemd.
# Says so and succeeds where the packages for the machine cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
swift build --build-tests >/dev/null
exec python3 -m unittest discover -s Tests/VM -v
