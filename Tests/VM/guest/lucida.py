"""Runs the release binary in the guest."""

import os
import signal
import subprocess
import time

BINARY = os.environ["LUCIDA_BINARY"]
CAMERA, LOOPBACK, OTHER_LOOPBACK = "/dev/video0", "/dev/video10", "/dev/video9"


class Lucida:
    """A running `lucida run`; stopped at the end of a `with`."""

    def __init__(self, *arguments):
        self.log_path = f"lucida-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def terminate(self, timeout=30):
        """SIGTERM; returns the exit status, or None if it does not end."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def is_running(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()


def run_camera(*arguments, source=None):
    """By default from the camera, whatever its number is by now."""
    return Lucida("run", "--source", source or f"v4l2:{CAMERA}", "--sink", f"v4l2:{LOOPBACK}", *arguments)


def set_camera(**controls):
    """Sets controls of vivid; by default plain colour bars."""
    settings = {"osd_text_mode": 2, "test_pattern": 0, **controls}
    subprocess.run(
        ["v4l2-ctl", "-d", CAMERA, "-c", ",".join(f"{k}={v}" for k, v in settings.items())],
        check=True,
    )
