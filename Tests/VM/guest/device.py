"""`lucida device`: the camera that is there before, between and after all runs of Lucida."""

import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import lucida
import pipeline
import steps
import v4l2

NUMBER_20 = "/dev/video20"
SOCKET = "/tmp/writer.sock"
SIZE = (pipeline.WIDTH, pipeline.HEIGHT)
PLAIN = pipeline.PLAIN


def configuration(sink, size=SIZE):
    path = f"/tmp/lucida-{time.monotonic_ns()}.toml"
    with open(path, "w") as file:
        file.write(
            f'[output]\nsinks = ["{sink}"]\nwidth = {size[0]}\nheight = {size[1]}\n'
        )
    return path


def flags(path=lucida.LOOPBACK):
    """What a program that looks at cameras now is told."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = bytearray(104)
        v4l2.fcntl.ioctl(descriptor, v4l2.QUERYCAP, answer)
        return struct.unpack_from("<I", answer, 88)[0]
    finally:
        os.close(descriptor)


def offers(path=lucida.LOOPBACK):
    now = flags(path)
    return ("capture " if now & v4l2.CAP_CAPTURE else "") + (
        "output" if now & v4l2.CAP_OUTPUT else "")


# --- What each driver does when the writer goes --------------------------------------------------


def picture(value):
    return bytes([value]) * (SIZE[0] * SIZE[1] * 2)


def writer(value):
    device = v4l2.Device(lucida.LOOPBACK)
    device.set_format(*SIZE, "YUYV", side=v4l2.OUTPUT)
    os.write(device.descriptor, picture(value))
    subprocess.run(["v4l2-ctl", "-d", lucida.LOOPBACK, "-c", "keep_format=1"], check=True)
    return device


def seen_by(reader, count=3):
    frames = [reader.frame(0.3) for _ in range(count)]
    return [frame and frame[0] for frame in frames]


def new_reader():
    """What an app that opens the device now gets: (refusal, first picture)."""
    with v4l2.Device(lucida.LOOPBACK) as reader:
        refused = v4l2.refusal(reader.format)
        if refused or (refused := v4l2.refusal(reader.start)):
            return [refused, None]
        return [None, seen_by(reader, 1)[0]]


def second_writer(value):
    """A writer that opens for itself: why it is refused, or None. It dies at once."""
    descriptor = os.open(lucida.LOOPBACK, os.O_RDWR | os.O_NONBLOCK)
    try:
        return v4l2.refusal(lambda: os.write(descriptor, picture(value)))
    finally:
        os.close(descriptor)


def give_up(device):
    """Closes the last descriptor and leaves the device as it was loaded."""
    subprocess.run(["v4l2-ctl", "-d", lucida.LOOPBACK, "-c", "keep_format=0"], check=True)
    os.close(device.descriptor)
    # 0.12.7 offers OUTPUT again after a writer that has said STREAMON.
    again = os.open(lucida.LOOPBACK, os.O_RDWR)
    v4l2.refusal(lambda: v4l2.fcntl.ioctl(again, v4l2.STREAMON, struct.pack("<I", v4l2.OUTPUT)))
    os.close(again)


def nobody_holds(found):
    first = writer(1)
    with v4l2.Device(lucida.LOOPBACK) as reader:
        reader.start()
        os.close(first.descriptor)
        found["offers"] = offers()
        found["reader"] = seen_by(reader)
        found["next_writer"] = second_writer(2)
        found["reader_goes_on"] = 2 in seen_by(reader)
    found["offers_then"] = offers()
    found["new_reader"] = new_reader()
    give_up(v4l2.Device(lucida.LOOPBACK))


def holder_keeps_it_to_itself(found):
    holder = writer(1)
    found["second_writer"] = second_writer(2)
    found["offers"] = offers()
    give_up(holder)


def descriptor_is_handed_on(found):
    holder = writer(1)
    with v4l2.Device(lucida.LOOPBACK) as reader:
        reader.start()
        if (child := os.fork()) == 0:
            for _ in range(4):
                os.write(holder.descriptor, picture(7))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        found["offers"] = offers()
        found["reader"] = seen_by(reader, 4)
        os.write(holder.descriptor, picture(9))
        found["reader_goes_on"] = 9 in seen_by(reader)
    # Two buffers: one is overwritten, a reader that comes now jumps to the newest.
    found["new_reader"] = new_reader()
    give_up(holder)


# --- prepare -------------------------------------------------------------------------------------


def run(*arguments):
    done = subprocess.run(
        [lucida.BINARY, *arguments], capture_output=True, text=True, timeout=60
    )
    return [done.returncode, done.stdout + done.stderr]


def prepare(found):
    found["there"] = run("device", "prepare", "--config", configuration("auto"))
    found["another"] = run("device", "prepare", "--config", configuration(NUMBER_20))
    found["is_made"] = os.path.exists(NUMBER_20)
    if found["is_made"]:
        with v4l2.Device(NUMBER_20) as device:
            found["card"] = device.capabilities()[0]
        found["offers"] = offers(NUMBER_20)
        found["once_more"] = run("device", "prepare", "--config", configuration(NUMBER_20))
    found["a_camera"] = run("device", "prepare", "--config", configuration(lucida.CAMERA))


# --- hold ----------------------------------------------------------------------------------------


class Holder:
    """`lucida device hold`, with systemd's part played: readiness and file descriptor store."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.stored = []
        self.is_ready = threading.Event()
        self.path = f"/tmp/notify-{time.monotonic_ns()}"
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(self.path)
        self.log_path = f"holder-{time.monotonic_ns()}.log"
        threading.Thread(target=self.play_systemd, daemon=True).start()
        self.start()

    def start(self):
        environment = dict(os.environ, NOTIFY_SOCKET=self.path, LUCIDA_DEVICE_SOCKET=SOCKET)
        command = [lucida.BINARY, "device", "hold", *self.arguments]
        if self.stored:
            # What systemd does: descriptors from 3 on, their names, the process they are for.
            environment.update(LISTEN_FDS="1", LISTEN_FDNAMES="lucida-writer")
            moved = f"3<&{self.stored[0]} {self.stored[0]}<&-"
            command = ["/bin/bash", "-c", f'LISTEN_PID=$$ exec "$@" {moved}', "bash", *command]
        self.is_ready.clear()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                pass_fds=self.stored[:1],
            )
        if not self.is_ready.wait(120):
            raise RuntimeError(self.log())

    def play_systemd(self):
        """Does what the messages say, in their order."""
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.notified, 4096, 4)
            lines = message.decode().split("\n")
            if "FDSTORE=1" in lines:
                # systemd keeps one descriptor of an opening.
                self.forget()
                self.stored = descriptors
                descriptors = []
            if "FDSTOREREMOVE=1" in lines:
                self.forget()
            if "READY=1" in lines:
                self.is_ready.set()
            # A BARRIER is one that we close.
            for descriptor in descriptors:
                os.close(descriptor)

    def forget(self):
        for descriptor in self.stored:
            os.close(descriptor)
        self.stored = []

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.forget()


def started(device, size=SIZE, count=2):
    device.set_format(*size, "YUYV")
    device.start(count)
    return device.format()


def cards(reader, count, size=SIZE):
    """Bars in each of the next frames; None where none came for two seconds."""
    frames = [reader.frame(2) for _ in range(count)]
    return [None if frame is None else pipeline.bars_in(frame, *size) for frame in frames]


def stale_after(reader, action):
    """Does `action`; returns (frames with the camera's picture after it, seconds to the first card)."""
    while reader.frame(0) is not None:
        pass
    action()
    began, stale = time.monotonic(), 0
    while time.monotonic() - began < 60:
        frame = reader.frame(1)
        if frame is not None:
            if pipeline.bars_in(frame) < 4:
                return [stale, round(time.monotonic() - began, 2)]
            stale += 1
    return [stale, None]


def daemon(*arguments, source=f"v4l2:{lucida.CAMERA}"):
    return lucida.Lucida("run", "--source", source, "--sink", "auto", *(arguments or PLAIN))


def hold(found):
    os.environ["LUCIDA_DEVICE_SOCKET"] = SOCKET
    with Holder("--config", configuration("auto")) as holder:
        found["log"] = holder.log()
        found["offers_before"] = offers()
        with v4l2.Device(lucida.LOOPBACK) as reader:
            found["format_before"] = started(reader)
            found["cards_before"] = cards(reader, 4)
            with daemon() as first:
                found["first"] = pipeline.frame_with_bars(reader) is not None
                found["first_log"] = first.log()
                found["second_daemon"] = run_daemon_briefly(source="test")
                found["killed"] = stale_after(reader, first.process.kill)
            found["cards_after_kill"] = cards(reader, 6)
            found["offers_after_kill"] = offers()
            with daemon() as second:
                found["second"] = pipeline.frame_with_bars(reader) is not None
                found["stopped"] = stale_after(reader, lambda: second.process.terminate())
                found["second_status"] = second.wait(30)
            found["cards_after_stop"] = cards(reader, 6)
            found["other_size"] = run_daemon_briefly("--strength", "0", "--size", "160x90")
            found["cards_after_refusal"] = cards(reader, 3)
        found["offers_after"] = offers()
        found["new_reader"] = late_reader()
        found["log"] = holder.log()


# What Firefox asks a camera for, by TRY_FMT; it lists what is answered as it was asked for.
FIREFOX_SIZES = (
    (128, 96), (160, 120), (176, 144), (320, 240), (352, 288), (640, 480), (704, 576), (800, 600),
    (960, 720), (1280, 720), (1024, 768), (1440, 1080), (1920, 1080),
)


def by_default(found):
    """What apps find that look for cameras, before any Lucida runs; nothing is configured."""
    path = "/tmp/lucida-default.toml"
    open(path, "w").close()
    with Holder("--config", path) as holder:
        found["flags"] = offers()
        with v4l2.Device(lucida.LOOPBACK) as app:
            found["formats"] = app.formats()
            code = found["formats"][0]
            found["sizes"] = app.sizes(code)
            found["intervals"] = [
                interval for _, *size in found["sizes"] for interval in app.intervals(code, *size)]
            found["firefox"] = [
                size for size in FIREFOX_SIZES if app.try_format(*size, code) == (*size, code)]
        found["log"] = holder.log()


def run_daemon_briefly(*arguments, **keywords):
    with daemon(*arguments, **keywords) as process:
        return [process.wait(120), process.log()[-600:]]


def late_reader(size=SIZE):
    with v4l2.Device(lucida.LOOPBACK) as late:
        started(late, size)
        return cards(late, 3, size)


def holder_dies(found):
    with Holder("--config", configuration("auto")) as holder:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            started(reader)
            with daemon() as process:
                found["before"] = pipeline.frame_with_bars(reader) is not None
                holder.kill()
                found["meanwhile"] = pipeline.frame_with_bars(reader) is not None
                holder.start()
                seen = cards(reader, 20)
                found["cards_between"] = len([bars for bars in seen if bars is None or bars < 8])
                found["is_known"] = is_known_again(holder)
                found["killed"] = stale_after(reader, process.process.kill)
            found["cards"] = cards(reader, 4)
            # Alone this time.
            holder.kill()
            found["offers"] = offers()
            holder.start()
            found["cards_then"] = cards(reader, 4)
            with daemon() as process:
                found["after"] = pipeline.frame_with_bars(reader) is not None
                found["status"] = process.terminate()
        found["log"] = holder.log()


def is_known_again(holder, times=1):
    """Whether a Lucida has found the holder that was started after it."""
    return steps.wait_until(lambda: holder.log().count("was here before") == times, 60)


def holder_restarts(found):
    """Stopped and started under a running Lucida, as by an update, and gone when that one ends."""
    with Holder("--config", configuration("auto")) as holder:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            started(reader)
            with daemon() as process:
                found["before"] = pipeline.frame_with_bars(reader) is not None
                found["stopped"] = stop(holder)
                found["meanwhile"] = pipeline.frame_with_bars(reader) is not None
                holder.start()
                found["is_known"] = is_known_again(holder)
                seen = cards(reader, 20)
                found["cards_between"] = len([bars for bars in seen if bars is None or bars < 8])
                found["status"] = process.terminate()
            found["cards"] = cards(reader, 6)[-3:]
            with daemon() as process:
                found["second"] = pipeline.frame_with_bars(reader) is not None
                # This one ends while nobody is there to take over; systemd keeps the descriptor.
                holder.kill()
                found["second_status"] = process.terminate()
            holder.start()
            found["cards_then"] = cards(reader, 6)[-3:]
            with daemon():
                found["third"] = pipeline.frame_with_bars(reader) is not None
        with daemon() as process:
            found["is_kept"] = steps.wait_until(lambda: "kept by lucida-device" in process.log(), 60)
            found["stopped_again"] = stop(holder)
            found["last_status"] = process.terminate()
        found["offers_then"] = offers()
        found["log"] = holder.log() + process.log()


def stop(holder):
    """`systemctl stop`: what was stored is closed, too."""
    holder.process.terminate()
    status = holder.process.wait(20)
    holder.forget()
    return status


def a_reading_ffmpeg(found):
    """An app that cannot be steered: what it gets while one Lucida is killed and another starts."""
    with Holder("--config", configuration("auto")) as holder:
        with pipeline.ReadingFfmpeg() as app:
            found["card_before"] = app.frames_until(lambda bars: bars < 4)
            with daemon() as first:
                found["picture"] = app.frames_until(lambda bars: bars == 8)
                first.process.kill()
                found["card_after_kill"] = app.frames_until(lambda bars: bars < 4)
            with daemon():
                found["picture_again"] = app.frames_until(lambda bars: bars == 8)
                found["is_running"] = app.is_running()
        found["kinds"] = sorted(set(app.kinds))
        found["log"] = holder.log()


def a_silent_client(found):
    """Those who connect and say nothing keep nobody else from the camera."""
    with Holder("--config", configuration("auto")) as holder:
        silent = []
        for _ in range(20):
            silent.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            silent[-1].connect(SOCKET)
        with v4l2.Device(lucida.LOOPBACK) as reader:
            started(reader)
            with daemon() as process:
                found["shows"] = pipeline.frame_with_bars(reader) is not None
                found["status"] = process.terminate()
        for client in silent:
            client.close()
        found["log"] = holder.log()


def babble(chance, count):
    """Talks to the holder as nobody should: true messages, broken ones, descriptors that do not belong there.
    Returns how many were answered."""
    words = [b"take auto", b"take /dev/video10", b"status", b"drop", b"give /dev/video10", b"again /dev/video10",
             b"give /dev/null", b"again /dev/video0", b"stop", b"take", b"\0", b"x" * 600]
    others = [os.open(path, os.O_RDWR) for path in ("/dev/null", lucida.CAMERA)]
    answered = 0
    for _ in range(count // 16):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(SOCKET)
            client.settimeout(5)
            for _ in range(16):
                message = bytearray(chance.choice(words))
                for _ in range(chance.randrange(3)):
                    message[chance.randrange(len(message))] = chance.randrange(256)
                try:
                    socket.send_fds(client, [bytes(message)], chance.sample(others, chance.randrange(3)))
                    answer, descriptors, _, _ = socket.recv_fds(client, 600, 4)
                except ConnectionError:
                    break
                for descriptor in descriptors:
                    os.close(descriptor)
                if not answer:
                    break
                answered += 1
    for descriptor in others:
        os.close(descriptor)
    return answered


def a_babbling_client(found):
    """Whatever the holder is told, it goes on, lets nothing slip and takes nothing from the one who writes."""
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3", "-c",
              f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('{SOCKET}')"]
    with Holder("--config", configuration("auto")) as holder:
        def descriptors():
            return len(os.listdir(f"/proc/{holder.process.pid}/fd"))

        found["as_nobody"] = subprocess.run(nobody, capture_output=True, text=True).stderr.splitlines()[-1:]
        before = descriptors()
        with v4l2.Device(lucida.LOOPBACK) as reader:
            started(reader)
            found["answered"] = [babble(random.Random(5), 2000)]
            found["cards"] = [bars is not None and bars < 4 for bars in cards(reader, 8)][-4:]
            with daemon() as process:
                found["shows"] = pipeline.frame_with_bars(reader) is not None
                found["answered"].append(babble(random.Random(6), 2000))
                found["still_shows"] = pipeline.frame_with_bars(reader) is not None
                found["status"] = process.terminate()
                found["daemon_log"] = process.log()
            found["cards_after"] = [bars is not None and bars < 4 for bars in cards(reader, 8)][-4:]
        found["more_descriptors"] = descriptors() - before
        found["is_running"] = holder.process.poll() is None
        found["log"] = holder.log()[-4000:]


def load_driver(options):
    driver = f"{os.environ['LUCIDA_ROOT']}/.build/vm/v4l2loopback-{os.environ['VM_LOOPBACK']}.ko"
    subprocess.run(["insmod", driver, *options.split()], check=True)


def added(found):
    """Devices that the driver is told to make when it is loaded already, one with any number, one with its own; removed, and made
    again."""
    subprocess.run(["rmmod", "v4l2loopback"], check=True)
    load_driver("devices=0")
    for name in ("auto", NUMBER_20):
        path = configuration(name)
        status, output = found[name] = run("device", "prepare", "--config", path)
        if status == 0:
            device_path = output.split()[0]
            found[name] += [held(device_path, path), remove(device_path), run("device", "prepare", "--config", path)]


def remove(path):
    """`v4l2loopback-ctl delete`: why the driver refuses, or None."""
    with open("/dev/v4l2loopback") as control:
        number = int(path.removeprefix("/dev/video"))
        return v4l2.refusal(lambda: v4l2.fcntl.ioctl(control, v4l2.LOOPBACK_REMOVE, number))


def held(device_path, path):
    """What an app sees of a device while a holder has it, a Lucida writes to it and is killed, and after that."""
    seen = {}
    with Holder("--config", path) as holder, v4l2.Device(device_path) as reader:
        seen["format"] = started(reader)
        seen["cards"] = cards(reader, 3)
        with lucida.Lucida("run", "--config", path, "--source", f"v4l2:{lucida.CAMERA}", *PLAIN) as process:
            seen["shows"] = pipeline.frame_with_bars(reader) is not None
            seen["removed"] = remove(device_path)
            seen["killed"] = stale_after(reader, process.process.kill)
        seen["cards_after"] = cards(reader, 3)
        seen["offers"] = offers(device_path)
        with v4l2.Device(device_path) as app:
            seen["card"] = app.capabilities()[0]
        seen["log"] = holder.log() + process.log()
    return seen


def another_number(found):
    """The driver away, and back with its device at another number."""
    subprocess.run(["rmmod", "v4l2loopback"], check=True)
    found["without_driver"] = run("device", "hold", "--config", configuration("auto"))
    found["prepare_without"] = run("device", "prepare", "--config", configuration("auto"))
    load_driver("video_nr=11 exclusive_caps=1 card_label=Lucida")
    found["by_its_old_number"] = run(
        "device", "hold", "--config", configuration(lucida.LOOPBACK))
    with Holder("--config", configuration("auto")) as holder:
        with v4l2.Device("/dev/video11") as reader:
            started(reader)
            found["cards"] = cards(reader, 3)
            with daemon() as process:
                found["shows"] = pipeline.frame_with_bars(reader) is not None
                found["status"] = process.terminate()
        found["log"] = holder.log()


def another_size(found):
    size = (160, 90)
    with Holder("--config", configuration("auto")) as holder:
        # Somebody who only looks at cameras meanwhile, as browsers do.
        looks = os.open(lucida.LOOPBACK, os.O_RDWR)
        with daemon("--strength", "0", "--size", "160x90") as process:
            found["was_lent"] = steps.wait_until(lambda: "a lucida writes" in holder.log(), 60)
            os.close(looks)
            found["has_it"] = steps.wait_until(lambda: "as a lucida has opened" in holder.log(), 60)
            with v4l2.Device(lucida.LOOPBACK) as reader:
                found["format"] = started(reader, size)
                found["shows"] = steps.wait_until(
                    lambda: pipeline.bars_in(reader.frame(1), *size) == 8, 60, pause=0)
                process.process.kill()
                process.wait(10)
                found["cards"] = cards(reader, 8, size)[-4:]
            found["daemon_log"] = process.log()
        found["stored"] = len(holder.stored)
        found["offers"] = offers()
        found["log"] = holder.log()
        found["status"] = stop(holder)
        found["offers_then"] = offers()


def idle(found):
    """Processor time of a holder that nobody reads from."""
    with Holder("--config", configuration("auto")) as holder:
        def ticks():
            with open(f"/proc/{holder.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(1)
        before = ticks()
        time.sleep(5)
        found["percent"] = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 5 * 100
        with open(f"/proc/{holder.process.pid}/status") as file:
            found["memory"] = re.search(r"RssAnon:\s*(.*)", file.read())[1]
        listed = subprocess.run(
            [lucida.BINARY, "devices", "--json"], capture_output=True, text=True, timeout=60)
        found["listed"] = [
            [device["usable"], device["used_by"]]
            for device in json.loads(listed.stdout) if device["path"] == lucida.LOOPBACK
        ]


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(
        nobody_holds, holder_keeps_it_to_itself, descriptor_is_handed_on, by_default, hold, holder_dies,
        holder_restarts, a_reading_ffmpeg, a_silent_client, a_babbling_client, another_size,
        idle, prepare, another_number, added,
    )
