"""vivid → lucida → v4l2loopback, the camera open only while somebody reads."""

import json
import os
import socket
import subprocess
import tempfile
import time

# The folder of the test is none for sockets.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp()

import device
import lucida
import pipeline
import steps
import v4l2

SETTLE_SECONDS = 40
# Long enough to be seen by a `lucida ctl` that takes its time here.
LINGER_SECONDS = 5


def camera_is_open(daemon):
    """Whether the daemon has the camera open."""
    folder = f"/proc/{daemon.process.pid}/fd"
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}") == lucida.CAMERA:
                return True
        except FileNotFoundError:
            pass
    return False


def ask(command):
    """What `lucida ctl` prints as JSON, without the seconds that it takes here to start; {} if nobody
    answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SETTLE_SECONDS)
        try:
            client.connect(f"{os.environ['XDG_RUNTIME_DIR']}/lucida/control.sock")
            client.sendall(json.dumps({"version": 1, "command": command}).encode() + b"\n")
            with client.makefile() as answer:
                return json.loads(answer.readline())
        except (OSError, ValueError):
            return {}


def status():
    return ask("status").get("status", {})


def state():
    return status().get("state")


def reaches(wanted):
    """Whether a state comes in time."""
    return steps.wait_until(lambda: state() == wanted, SETTLE_SECONDS) is True


def processor_seconds(daemon):
    """What its threads have used so far, to the nanosecond: proc(5) counts in ticks otherwise."""
    used = 0
    for thread in os.listdir(f"/proc/{daemon.process.pid}/task"):
        with open(f"/proc/{daemon.process.pid}/task/{thread}/schedstat") as file:
            used += int(file.read().split()[0])
    return used / 1e9


def start_reader(reader):
    reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
    reader.start()


def run(found):
    """One daemon through all that readers do."""
    linger = ("--set", f"camera.linger={LINGER_SECONDS}")
    with lucida.run_camera(*pipeline.PLAIN, *linger) as daemon:
        found["is_idle"] = reaches("idle")
        idle(found, daemon)
        a_reader(found, daemon)
        probes(found, daemon)
        two_readers_in_turn(found, daemon)
        found["status"] = status()
        found["exit"] = daemon.terminate()
        found["log"] = daemon.log()


def idle(found, daemon):
    before, seconds = processor_seconds(daemon), 10
    looks = []
    for _ in range(seconds):
        time.sleep(1)
        looks.append(camera_is_open(daemon))
    used = processor_seconds(daemon) - before
    found["idle_looks"] = looks
    found["idle_processor_share"] = used / seconds
    # The ioctls of an app that lists cameras, a few times within a second.
    for _ in range(4):
        with v4l2.Device(lucida.LOOPBACK) as app:
            app.capabilities()
            app.format()
    time.sleep(2)
    found["attempts_after_listing"] = status()["camera"]["attempts"]


def a_reader(found, daemon):
    with v4l2.Device(lucida.LOOPBACK) as reader:
        started = time.monotonic()
        start_reader(reader)
        first = reader.frame(SETTLE_SECONDS)
        found["seconds_to_first_frame"] = time.monotonic() - started
        found["bars_in_first_frame"] = None if first is None else pipeline.bars_in(first)
        found["shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
        found["seconds_to_the_camera"] = time.monotonic() - started
        found["is_open_for_a_reader"] = camera_is_open(daemon)
        found["is_live"] = reaches("live")
        found["readers"] = status()["readers"]
    left = time.monotonic()
    found["is_lingering"] = reaches("lingering")
    found["is_open_while_lingering"] = camera_is_open(daemon)
    found["is_idle_again"] = reaches("idle")
    found["seconds_to_idle"] = time.monotonic() - left
    found["is_closed_again"] = steps.wait_until(lambda: not camera_is_open(daemon), SETTLE_SECONDS)
    # Black now: whatever bars a late reader sees are from before.
    lucida.set_camera(test_pattern=5)
    with v4l2.Device(lucida.LOOPBACK) as late:
        start_reader(late)
        found["bars_in_late_frames"] = [pipeline.bars_in(late.frame(2)) for _ in range(20)]
    found["is_idle_after_late_reader"] = reaches("idle")
    lucida.set_camera()


def probes(found, daemon):
    """An app that starts and stops its stream within a second, several times, and stays for a moment:
    whoever has gone before the daemon looks was nobody."""
    # A camera takes a moment to close.
    steps.wait_until(lambda: not camera_is_open(daemon), SETTLE_SECONDS)
    before = status()["camera"]["attempts"]
    looks = []
    for _ in range(5):
        with v4l2.Device(lucida.LOOPBACK) as app:
            start_reader(app)
            app.frame(1)
            time.sleep(0.1)
            looks.append(camera_is_open(daemon))
        looks.append(camera_is_open(daemon))
        time.sleep(0.2)
    found["probe_looks"] = looks
    found["probe_attempts"] = status()["camera"]["attempts"] - before
    found["is_idle_after_probes"] = reaches("idle")


def two_readers_in_turn(found, daemon):
    """The second comes while the camera lingers: it was never closed."""
    before = status()["camera"]["attempts"]
    for _ in range(2):
        with v4l2.Device(lucida.LOOPBACK) as reader:
            start_reader(reader)
            found["second_shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
    found["attempts_in_turn"] = status()["camera"]["attempts"] - before


def not_on_demand(found):
    with lucida.run_camera(*pipeline.PLAIN, "--set", "camera.on_demand=false") as daemon:
        found["is_open"] = steps.wait_until(lambda: camera_is_open(daemon), SETTLE_SECONDS)
        found["is_live"] = reaches("live")
        subprocess.run([lucida.BINARY, "ctl", "set", "camera.on_demand", "true"], timeout=60)
        found["is_idle"] = reaches("idle")
        found["is_closed"] = steps.wait_until(lambda: not camera_is_open(daemon), SETTLE_SECONDS)
        found["exit"] = daemon.terminate()
        found["log"] = daemon.log()


def killed_under_a_reader(found):
    """Who reads already when the daemon starts is seen."""
    with v4l2.Device(lucida.LOOPBACK) as held:
        with lucida.run_camera(*pipeline.PLAIN) as daemon:
            found["format"] = pipeline.started_reader(held, daemon)
            found["before"] = pipeline.frame_with_bars(held) is not None
            daemon.process.kill()
            daemon.process.wait()
        while held.frame(0.5) is not None:
            pass
        with lucida.run_camera(*pipeline.PLAIN) as daemon:
            found["after"] = pipeline.frame_with_bars(held) is not None
            found["is_open"] = camera_is_open(daemon)
            found["exit"] = daemon.terminate()
            found["log"] = daemon.log()


def with_a_holder(found):
    """The holder has the device open all the time, and is nobody who looks."""
    os.environ["LUCIDA_DEVICE_SOCKET"] = device.SOCKET
    with device.Holder("--config", device.configuration("auto")):
        with lucida.run_camera(*pipeline.PLAIN) as daemon:
            found["is_idle"] = reaches("idle")
            time.sleep(3)
            found["is_closed"] = state() == "idle" and not camera_is_open(daemon)
            with v4l2.Device(lucida.LOOPBACK) as reader:
                start_reader(reader)
                found["shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
            found["is_idle_again"] = reaches("idle")
            found["is_closed_again"] = steps.wait_until(
                lambda: not camera_is_open(daemon), SETTLE_SECONDS)
            found["exit"] = daemon.terminate()
            found["log"] = daemon.log()
    del os.environ["LUCIDA_DEVICE_SOCKET"]


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(run, not_on_demand, killed_under_a_reader, with_a_holder)
