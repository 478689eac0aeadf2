"""`lucida doctor` on a real kernel: set-ups broken on purpose, and what its commands make of them."""

import contextlib
import json
import os
import subprocess
import sys

import lucida
import pipeline
import steps
import v4l2

MODULE = f"{os.environ['LUCIDA_ROOT']}/.build/vm/v4l2loopback-{os.environ['VM_LOOPBACK']}.ko"

# The module is not installed, so modprobe does not find it; we are root, and sudo is not there.
SHELL = f"""
sudo() {{ "$@"; }}
modprobe() {{
    if [ "$1" = -r ]; then rmmod "$2"; else shift; insmod {MODULE} "$@"; fi
}}
"""


def examine(found, name, sink="auto"):
    """Notes what the doctor says, by id."""
    with open("doctor.toml", "w") as file:
        file.write(f'[transform]\nmodel = "ink"\n[output]\nsinks = ["{sink}"]\n')
    done = subprocess.run(
        [lucida.BINARY, "doctor", "--json", "--config", "doctor.toml"],
        capture_output=True, text=True, timeout=120,
    )
    findings = json.loads(done.stdout)["findings"]
    found[name] = {finding["id"]: finding for finding in findings}
    found[name + "_status"] = done.returncode
    found[name + "_errors"] = done.stderr
    return found[name]


def mend(found, command):
    """Runs what the doctor said."""
    done = subprocess.run(
        ["bash", "-c", SHELL + command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=60,
    )
    found["mending"] = [done.returncode, done.stdout]


class Holder:
    """Another program that has a device open, and films with it if told to."""

    def __init__(self, path, films):
        action = "device.start()" if films else ""
        program = f"import v4l2\ndevice = v4l2.Device('{path}')\n{action}\nprint(1, flush=True)\ninput()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def a_busy_camera(found):
    with Holder(lucida.CAMERA, films=True) as other:
        found["process"] = other.process.pid
        findings = examine(found, "before")
        mend(found, findings["camera.busy"]["command"])
        other.process.wait(timeout=30)
    examine(found, "after")


def another_writer(found):
    with pipeline.Writer(pipeline.WIDTH, pipeline.HEIGHT):
        found["process"] = os.getpid()
        examine(found, "before", sink=f"v4l2:{lucida.OTHER_LOOPBACK}")
    examine(found, "after", sink=f"v4l2:{lucida.OTHER_LOOPBACK}")


def a_second_reader(found):
    with lucida.run_camera(*pipeline.PLAIN) as daemon, contextlib.ExitStack() as stack:
        # Without exclusive_caps a reader that comes first would pass for a writer.
        steps.wait_until(lambda: "virtual camera" in daemon.log(), pipeline.START_SECONDS)
        first = stack.enter_context(v4l2.Device(lucida.LOOPBACK))
        found["format"] = pipeline.started_reader(first, daemon)
        examine(found, "one")
        with Holder(lucida.LOOPBACK, films=False) as second:
            found["processes"] = [os.getpid(), second.process.pid]
            findings = examine(found, "two")
            mend(found, findings["loopback.second_reader"]["command"])
            second.process.wait(timeout=30)
        examine(found, "after")
        found["log"] = daemon.log()
        found["status"] = daemon.terminate()


def without_exclusive_caps(found):
    findings = examine(found, "before")
    mend(found, findings["driver.exclusive_caps"]["command"])
    examine(found, "after")


def without_the_module(found):
    subprocess.run(["rmmod", "v4l2loopback"], check=True)
    examine(found, "before")
    found["kernel"] = os.uname().release


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(
        a_busy_camera, another_writer, a_second_reader, without_exclusive_caps, without_the_module
    )
