#!/usr/bin/env python3
"""Boots the virtual machine that prepare.sh made and runs one command in it.

The guest sees the host's files read-only under a RAM overlay, so what was built here runs there.

    python3 Tests/VM/vm.py --loopback 0.15.0 -- v4l2-ctl --list-devices

From tests: `run("v4l2-ctl --list-devices")`. Only the standard library is used.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "Tests" / "VM"
VM = ROOT / ".build" / "vm"

LOOPBACK_VERSIONS = ("0.12.7", "0.13.2", "0.15.0")
LOOPBACK_OPTIONS = "video_nr=10 exclusive_caps=1 card_label=Lucida"
# One camera, video capture only, always as /dev/video0.
VIVID_OPTIONS = "n_devs=1 node_types=0x1 vid_cap_nr=0"

EXIT_SKIPPED = 77

RUNNING = set()


class Result:
    """What a command in the guest left behind."""

    def __init__(self, status, output, console, facts, boot_seconds, seconds):
        self.status = status  # exit status; None if the guest never got that far
        self.output = output  # stdout and stderr
        self.console = console  # kernel messages
        self.facts = facts  # what the command wrote to $VM_FACTS as JSON; {} if nothing
        self.boot_seconds = boot_seconds
        self.seconds = seconds

    def __str__(self):
        return (
            f"status {self.status}, booted in {self.boot_seconds} s, {self.seconds:.1f} s in all\n"
            f"--- output\n{self.output}\n--- console\n{self.console[-4000:]}"
        )


def prepare():
    """Runs prepare.sh. Returns None, or why the machine cannot be made here."""
    done = subprocess.run([HERE / "prepare.sh"], stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode == EXIT_SKIPPED:
        return done.stderr.strip().splitlines()[-1]
    done.check_returncode()
    return None


def run(
    command,
    loopback="0.15.0",
    loopback_options=LOOPBACK_OPTIONS,
    vivid=VIVID_OPTIONS,
    systemd=False,
    before_boot=None,
    timeout_seconds=120,
    memory="4G",
    cpus=1,
    counts_time=False,
    environment=None,
):
    """Runs `command`, a shell script, as root in a fresh guest.

    loopback: a version of LOOPBACK_VERSIONS, or None for no loopback device.
    vivid: module options, or None for no camera.
    systemd: as process 1, which starts nothing but the command.
    before_boot: with systemd, a shell script that runs before it does, as what was done to the machine before it was
        last switched off. Then systemd starts all of multi-user.target, and the command with it.
    counts_time: the guest's clock goes on by a nanosecond with each instruction, and with the host's only while
        the guest waits: computing takes the same guest time on any host, so that seconds can be judged (a loop in
        Python took six times the seconds that the host's own core needed). Takes up to twice as long.
    environment: variables for the command.
    """
    share = pathlib.Path(tempfile.mkdtemp(prefix="lucida-vm-"))
    try:
        _fill_share(
            share, command, before_boot, loopback, loopback_options, vivid, systemd, environment or {}
        )
        started = time.monotonic()
        _boot(share, (2 if counts_time else 1) * timeout_seconds, memory, cpus, counts_time)
        return _result(share, time.monotonic() - started)
    finally:
        shutil.rmtree(share, ignore_errors=True)


def _fill_share(share, command, before_boot, loopback, loopback_options, vivid, systemd, environment):
    def quote(text):
        return "'" + str(text).replace("'", "'\\''") + "'"

    settings = {
        "VM_DIRECTORY": VM,
        "VM_LOOPBACK": loopback or "",
        "VM_LOOPBACK_OPTIONS": loopback_options,
        "VM_VIVID": vivid or "",
        "VM_SYSTEMD": "1" if systemd else "",
    }
    lines = [f"{key}={quote(value)}" for key, value in settings.items()]
    (share / "settings").write_text("\n".join(lines) + "\n")
    exports = {"VM_FACTS": "/run/lucida-vm/facts.json", "VM_LOOPBACK": loopback or ""}
    exports.update(environment)
    lines = [f"export {key}={quote(value)}" for key, value in exports.items()]
    for name, script in (("command", command), ("before-boot", before_boot)):
        if script:
            (share / name).write_text("\n".join(lines) + f"\n{script}\n")
    shutil.copy(HERE / "guest-init", share / "guest-init")


def _boot(share, timeout_seconds, memory, cpus, counts_time):
    kernel = (VM / "kernel-version").read_text().strip()
    arguments = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]
    arguments += ["-display", "none", "-machine", "q35"]
    if counts_time:
        # Counting needs all processors in one thread; sleep=on: time passes as the host's while none computes.
        arguments += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"]
    else:
        arguments += ["-accel", "tcg,thread=multi"]
    arguments += ["-cpu", "max", "-smp", str(cpus), "-m", memory]
    arguments += ["-kernel", str(VM / "image" / "boot" / f"vmlinuz-{kernel}")]
    arguments += ["-initrd", str(VM / "initramfs.gz")]
    arguments += [
        "-append",
        "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=unstable",
    ]
    for tag, path, options in (("root", "/", ",readonly=on"), ("share", str(share), "")):
        arguments += [
            "-fsdev",
            f"local,id={tag},path={path},security_model=none,multidevs=remap{options}",
            "-device",
            f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        ]
    arguments += ["-device", "virtio-rng-pci", "-serial", f"file:{share}/console"]
    with open(share / "qemu-errors", "wb") as errors:
        # A process group of its own, so that Ctrl-C on the tests reaches only us and we end it.
        machine = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        RUNNING.add(machine)
        try:
            machine.wait(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            errors.write(b"no end after %d s: the machine was switched off\n" % timeout_seconds)
        finally:
            if machine.poll() is None:
                machine.kill()
                machine.wait()
            RUNNING.discard(machine)


def switch_off_all():
    """Ends every machine; for who started them in threads, which Ctrl-C does not reach."""
    for machine in list(RUNNING):
        machine.kill()


def _result(share, seconds):
    def read(name):
        path = share / name
        return path.read_text(errors="replace") if path.exists() else ""

    status = read("status").strip()
    try:
        facts = json.loads(read("facts.json") or "{}")
    except ValueError as error:
        facts = {"unreadable": str(error)}
    return Result(
        int(status) if status else None,
        read("output"),
        read("qemu-errors") + read("console"),
        facts,
        read("boot-seconds").strip(),
        seconds,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loopback", default="0.15.0", choices=LOOPBACK_VERSIONS)
    parser.add_argument("--loopback-options", default=LOOPBACK_OPTIONS)
    parser.add_argument("--vivid", default=VIVID_OPTIONS, help="options of the vivid module")
    parser.add_argument("--systemd", action="store_true", help="systemd as process 1")
    parser.add_argument("--timeout", type=float, default=120, help="seconds until power off")
    parser.add_argument("--memory", default="4G")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--count-time", action="store_true", help="the guest's clock counts instructions")
    parser.add_argument("command", nargs="+", help="shell words, after --")
    options = parser.parse_args()
    why_not = prepare()
    if why_not:
        return EXIT_SKIPPED
    result = run(
        " ".join(options.command),
        loopback=options.loopback,
        loopback_options=options.loopback_options,
        vivid=options.vivid,
        systemd=options.systemd,
        timeout_seconds=options.timeout,
        memory=options.memory,
        cpus=options.cpus,
        counts_time=options.count_time,
    )
    sys.stdout.write(result.output)
    if result.status is None:
        sys.stderr.write(result.console)
        return 1
    sys.stderr.write(f"vm: {result.seconds:.1f} s, booted in {result.boot_seconds} s\n")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
