"""What PipeWire, which looks at a camera when it appears and then remembers, makes of the virtual camera."""

import json
import os
import subprocess
import time

import device
import lucida
import pipeline
import steps
import v4l2

RUNTIME = "/run/pipewire-test"


def start_pipewire():
    """udev, which tells PipeWire of cameras; a bus; PipeWire and its session manager. Returns their processes."""
    # Without logind's folders WirePlumber ends at once.
    for name in ("/run/udev", RUNTIME, *(f"/run/systemd/{name}" for name in ("seats", "sessions", "users", "machines"))):
        os.makedirs(name, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = RUNTIME
    os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={RUNTIME}/bus"
    subprocess.run(["/lib/systemd/systemd-udevd", "--daemon"], check=True, timeout=60)
    for command in ("trigger", "settle"):
        subprocess.run(["udevadm", command], check=True, timeout=60)
    started = []
    for command, socket in (
        (["dbus-daemon", "--session", f"--address=unix:path={RUNTIME}/bus", "--nofork"], "bus"),
        (["pipewire"], "pipewire-0"),
        (["wireplumber"], None),
    ):
        with open("pipewire.log", "ab") as log:
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        if socket:
            steps.wait_until(lambda: os.path.exists(f"{RUNTIME}/{socket}"), 30)
    return started


def sources():
    """{node of the camera: (name, formats)} of what PipeWire offers as cameras."""
    found = subprocess.run(["pw-dump"], capture_output=True, text=True, timeout=60).stdout
    nodes = {}
    for thing in json.loads(found or "[]"):
        properties = thing.get("info", {}).get("props", {})
        if properties.get("media.class") == "Video/Source":
            formats = thing["info"].get("params", {}).get("EnumFormat", [])
            nodes[properties.get("api.v4l2.path")] = [properties.get("node.description"), formats]
    return nodes


def offered():
    return sources().get(lucida.LOOPBACK)


def seen(found):
    """Before any Lucida runs, while one does, after it was killed, and under the next."""
    os.environ["LUCIDA_DEVICE_SOCKET"] = device.SOCKET
    with device.Holder("--config", device.configuration("auto")) as holder:
        started = start_pipewire()
        try:
            found["before"] = steps.wait_until(offered, 60)
            for name in ("first", "second"):
                with lucida.run_camera(*pipeline.PLAIN) as daemon:
                    with v4l2.Device(lucida.LOOPBACK) as reader:
                        found["format"] = pipeline.started_reader(reader, daemon)
                        found[f"{name}_shows"] = pipeline.frame_with_bars(reader) is not None
                    found[name] = offered()
                    daemon.process.kill()
                    daemon.process.wait()
                # What it would drop it has dropped by then.
                subprocess.run(["udevadm", "settle"], check=True, timeout=60)
                time.sleep(3)
                found[f"after_{name}"] = offered()
        finally:
            with open("pipewire.log", errors="replace") as log:
                found["log"] = holder.log() + log.read()[-3000:]
            for process in reversed(started):
                process.kill()
                process.wait()


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(seen)
