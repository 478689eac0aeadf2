"""A machine that was started with both services enabled: they are there without a word from anybody."""

import lucida
import pipeline
import service
import steps
import v4l2

UNITS = ("lucida-device", "lucida")


def monotonic(unit, event):
    """When systemd saw it, microseconds since the start of the kernel; 0: never."""
    return int(service.sh(f"systemctl show {unit} --value -p {event}Monotonic")[1])


def boot(found):
    found["is_ready"] = steps.wait_until(lambda: monotonic("lucida", "ActiveEnterTimestamp"), 120, pause=1) is not None
    found["started"], found["ready"] = (
        {unit: monotonic(unit, event) for unit in UNITS}
        for event in ("InactiveExitTimestamp", "ActiveEnterTimestamp")
    )
    found["failed"] = service.sh("systemctl list-units --failed --plain --no-legend")[1].splitlines()
    found["log"] = service.device_journal() + service.journal()
    with v4l2.Device(lucida.LOOPBACK) as reader:
        found["flags"] = reader.capabilities()[1]
        found["format"] = reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        found["shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
    found["as_video"] = service.sh(
        "setpriv --reuid 65534 --regid 65534 --groups video /usr/local/bin/lucida ctl status")
    found["log"] = service.device_journal() + service.journal()


if __name__ == "__main__":
    steps.run(boot)
