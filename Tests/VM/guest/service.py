"""The installed service under systemd as process 1."""

import glob
import json
import os
import subprocess
import time

import lucida
import pipeline
import steps
import v4l2

CONFIGURATION = f"""
[camera]
source = "auto"
[transform]
strength = 0.0
[output]
sinks = ["auto"]
width = {pipeline.WIDTH}
height = {pipeline.HEIGHT}
"""


def sh(command, timeout=120):
    """Runs a shell command; returns (status, what it printed)."""
    done = subprocess.run(
        command, shell=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def state():
    """What systemd says about the service."""
    names = "ActiveState,SubState,Result,NRestarts,MainPID,ExecMainStatus,StatusText"
    lines = sh(f"systemctl show lucida -p {names}")[1].splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_back(killed):
    """Whether another process has taken the place of `killed`, and said that it is ready. One answer tells
    both: of two, the first can come before systemd has noticed the death, and the second after it."""
    now = state()
    return now["ActiveState"] == "active" and now["MainPID"] not in ("0", killed)


def install(found):
    root = os.environ["LUCIDA_ROOT"]
    found["status"], found["log"] = sh(f"make -C {root} install BINARY={lucida.BINARY}")
    with open("/etc/lucida/lucida.toml", "w") as file:
        file.write(CONFIGURATION)
    # What udev does on a real machine.
    for node in glob.glob("/dev/video*"):
        sh(f"chgrp video {node} && chmod 660 {node}")
    units = "/usr/local/lib/systemd/system/lucida.service /usr/local/lib/systemd/system/lucida-device.service"
    found["verify"] = sh(f"systemd-analyze verify {units}")[1]
    sh("systemctl daemon-reload")


def device(found):
    """The camera before any Lucida runs, and across what may happen to the one who keeps it."""
    found["status"], found["output"] = sh("systemctl start lucida-device")
    found["log"] = device_journal()
    with v4l2.Device(lucida.LOOPBACK) as reader:
        found["flags"] = reader.capabilities()[1]
        found["format"] = reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        found["cards"] = [reader.frame(2) is not None for _ in range(3)]
        found["user"] = sh("ps -o user= -p $(systemctl show lucida-device -p MainPID --value)")[1].strip()
        found["socket"] = sh("stat -c '%A %G' /run/lucida-device/writer.sock")[1].strip()
        found["security"] = sh("systemd-analyze security --no-pager lucida-device")[1]
        sh("systemctl kill -s KILL lucida-device")
        found["is_back"] = steps.wait_until(
            lambda: "active" == sh("systemctl is-active lucida-device")[1].strip()
            and "as before" in device_journal(), 60
        )
        found["cards_again"] = steps.wait_until(lambda: reader.frame(1) is not None, 30)
        found["restarted"] = sh("systemctl restart lucida-device")
        found["cards_after_restart"] = [reader.frame(5) is not None for _ in range(3)]
    found["log"] = device_journal()


def device_journal():
    return sh("journalctl -u lucida-device -o cat --no-pager | tail -n 60")[1]


def start(found):
    found["status"], found["output"] = sh("systemctl start lucida")
    found["state"] = state()
    found["log"] = journal()
    with v4l2.Device(lucida.LOOPBACK) as reader:
        # READY comes after the first frame: an app may open the camera at once.
        found["flags"] = reader.capabilities()[1]
        found["format"] = reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        found["shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
        found["user"] = sh(f"ps -o user= -p {state()['MainPID']}")[1].strip()


def sandbox(found):
    """What the kernel and systemd say of the running service's rights."""
    process = f"/proc/{state()['MainPID']}"
    with open(f"{process}/status") as file:
        found["status"] = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"{process}/net/dev") as file:
        found["interfaces"] = [line.split(":")[0].strip() for line in file if ":" in line]
    found["security"] = sh("systemd-analyze security --no-pager lucida")[1]
    found["log"] = journal()


def control(found):
    found["status"], found["answer"] = sh("lucida ctl status --json")
    found["socket"] = sh("stat -c '%A %G' /run/lucida/control.sock")[1].strip()
    found["as_nobody"] = sh("setpriv --reuid 65534 --regid 65534 --clear-groups lucida ctl pause")
    video = "setpriv --reuid 65534 --regid 65534 --groups video"
    with v4l2.Device(lucida.LOOPBACK) as reader:
        reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        found["before"] = pipeline.frame_with_bars(reader) is not None
        found["pause"] = sh(f"{video} lucida ctl pause")
        # What the driver and this reader had in hand already.
        for _ in range(8):
            reader.frame(1)
        found["paused"] = [pipeline.bars_in(reader.frame(2)) for _ in range(8)]
        killed = state()["MainPID"]
        sh("systemctl kill -s KILL lucida")
        found["is_back"] = steps.wait_until(lambda: is_back(killed), 60)
        found["status_after_a_kill"] = sh("lucida ctl status --json")[1]
        found["state_after_a_kill"] = json.loads(found["status_after_a_kill"])["status"]["state"]
        found["paused_after_a_kill"] = [pipeline.bars_in(reader.frame(2)) for _ in range(16)]
        found["resume"] = sh("lucida ctl resume")
        found["after"] = pipeline.frame_with_bars(reader) is not None
        with open("/etc/lucida/lucida.toml", "w") as file:
            file.write(CONFIGURATION.replace("strength = 0.0", "strength = 0.0\nseed = 8"))
        found["reload"] = sh("systemctl reload lucida")
        found["is_reloaded"] = steps.wait_until(
            lambda: '"seed":8' in sh("lucida ctl status --json")[1], 60
        )
        with open("/etc/lucida/lucida.toml", "w") as file:
            file.write(CONFIGURATION.replace("strength = 0.0", "strength = 7.0"))
        found["bad_reload"] = sh("systemctl reload lucida")
        found["bad_reload_log"] = journal()
        found["seed_then"] = sh("lucida ctl status --json")[1]
        with open("/etc/lucida/lucida.toml", "w") as file:
            file.write(CONFIGURATION.replace("strength = 0.0", "strength = 0.0\nseed = 8"))
        # Back in "active", which it is only when the daemon has said so.
        found["is_active"] = steps.wait_until(lambda: state()["ActiveState"] == "active", 60)
        found["shows_the_camera"] = pipeline.frame_with_bars(reader) is not None
    found["log"] = journal()


def doctor(found):
    """What the doctor says of the running service, before and after its own advice."""
    program = "/usr/local/bin/lucida doctor --json"
    found["before"] = sh(program)
    found["mending"] = sh("systemctl enable lucida")
    # The camera is in use while an app looks.
    with v4l2.Device(lucida.LOOPBACK) as reader:
        reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        pipeline.frame_with_bars(reader)
        found["after"] = sh(program)
    sh("printf '\\n' >> /usr/local/lib/systemd/system/lucida.service")
    found["changed"] = sh(program)
    sh("systemctl daemon-reload")


def restart_after_a_kill(found):
    with pipeline.ReadingFfmpeg() as app:
        found["before"] = app.frames_until(lambda bars: bars == 8)
        killed = state()["MainPID"]
        began = time.monotonic()
        sh("systemctl kill -s KILL lucida")
        found["card"] = app.frames_until(lambda bars: bars < 4)
        found["seconds_to_the_card"] = round(time.monotonic() - began, 2)
        found["camera"] = app.frames_until(lambda bars: bars == 8)
        found["seconds_to_the_camera"] = round(time.monotonic() - began, 2)
        found["is_reading"] = app.is_running()
        found["is_restarted"] = steps.wait_until(lambda: is_back(killed), 60)
        found["log"] = journal()


def both_restart(found):
    """What an update of the package does, while an app reads."""
    with pipeline.ReadingFfmpeg() as app:
        found["before"] = app.frames_until(lambda bars: bars == 8)
        before = state()["MainPID"]
        # It takes seconds: an app that would not read meanwhile might miss the cards.
        restart = subprocess.Popen(["systemctl", "restart", "lucida-device", "lucida"])
        found["card"] = app.frames_until(lambda bars: bars < 4)
        found["camera"] = app.frames_until(lambda bars: bars == 8)
        found["restarted"] = restart.wait(60)
        found["is_another"] = state()["MainPID"] not in ("0", before)
        found["is_reading"] = app.is_running()
        found["kinds"] = sorted(set(app.kinds))
    with v4l2.Device(lucida.LOOPBACK) as reader:
        found["flags"] = reader.capabilities()[1]
    found["log"] = device_journal() + journal()


def watchdog(found):
    """Whether the service tells systemd again and again that all is well, though nobody looks."""

    def told():
        return sh("systemctl show lucida -p WatchdogTimestampMonotonic --value")[1]

    found["is_idle"] = steps.wait_until(lambda: "idle: nobody is looking" in state()["StatusText"], 60)
    first = told()
    found["is_told"] = steps.wait_until(lambda: told() != first, 60, pause=1)
    found["state"] = state()


def hung(found):
    """A daemon that stands still: systemd ends it, a card comes, and then the camera again."""
    folder = "/run/systemd/system/lucida.service.d"
    os.makedirs(folder)
    with open(f"{folder}/watchdog.conf", "w") as file:
        file.write("[Service]\nWatchdogSec=6\n")
    sh("systemctl daemon-reload; systemctl restart lucida")
    with pipeline.ReadingFfmpeg() as app:
        found["before"] = app.frames_until(lambda bars: bars == 8)
        hanging = state()["MainPID"]
        sh("systemctl kill -s STOP lucida")
        found["card"] = app.frames_until(lambda bars: bars < 4)
        found["camera"] = app.frames_until(lambda bars: bars == 8)
        found["is_another"] = state()["MainPID"] != hanging
    found["log"] = journal()
    os.remove(f"{folder}/watchdog.conf")
    sh("systemctl daemon-reload; systemctl restart lucida")


def stop(found):
    with v4l2.Device(lucida.LOOPBACK) as reader:
        reader.set_format(pipeline.WIDTH, pipeline.HEIGHT, "YUYV")
        reader.start()
        found["status"], found["output"] = sh("systemctl stop lucida")
        found["state"] = state()
        frames = [reader.frame(2) for _ in range(6)]
        found["bars_after"] = [None if f is None else pipeline.bars_in(f) for f in frames]
    found["log"] = journal()


def nothing_to_hold(found):
    """The configuration wants no virtual camera any more."""
    with open("/etc/lucida/lucida.toml", "w") as file:
        file.write('[output]\nsinks = ["null"]\n')
    sh("systemctl restart lucida-device")
    time.sleep(6)
    show = "systemctl show lucida-device --value -p"
    found["state"], found["status"], found["restarts"] = (
        sh(f"{show} {name}")[1].strip() for name in ("ActiveState", "ExecMainStatus", "NRestarts"))
    found["log"] = device_journal()


def uninstall(found):
    found["status"], found["output"] = sh(f"make -C {os.environ['LUCIDA_ROOT']} uninstall")
    places = "/usr/local/bin /usr/local/lib/systemd /usr/local/share /var/lib /var/cache"
    found["left"] = sh(f"find {places} -name '*lucida*'")[1]


def journal():
    # With the kernel's word on system calls that the sandbox forbids.
    return sh("journalctl -u lucida -o cat --no-pager | tail -n 60; dmesg | grep audit | tail")[1]


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(
        install, device, start, sandbox, control, doctor, restart_after_a_kill, both_restart, watchdog, hung, stop, nothing_to_hold,
        uninstall
    )
