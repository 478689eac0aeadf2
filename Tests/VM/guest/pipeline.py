"""vivid → lucida → v4l2loopback, and what readers see of it before, during and after."""

import contextlib
import json
import os
import select
import struct
import subprocess
import threading
import time

import barcode
import lucida
import pictures
import steps
import v4l2

# A whole number of bars wide and of vivid's aspect, so that nothing is cropped. 18,432 bytes: not
# a whole number of pages, which old drivers round up to.
WIDTH, HEIGHT = 128, 72
PLAIN = ("--strength", "0", "--size", f"{WIDTH}x{HEIGHT}")
START_SECONDS = 120


def bars_in(frame, width=WIDTH, height=HEIGHT):
    """How many of the eight bars a YUYV frame shows."""
    if frame is None or len(frame) != width * height * 2:
        return 0
    return pictures.matching(pictures.sample_yuyv(frame, width, height), pictures.expected_ycbcr())


def started_reader(device, daemon, width=WIDTH, height=HEIGHT, count=2):
    """Starts streaming as soon as the driver lets it; returns the format."""

    def attempt():
        if not daemon.is_running():
            raise RuntimeError(daemon.log())
        if v4l2.refusal(lambda: device.set_format(width, height, "YUYV")):
            return None
        if v4l2.refusal(lambda: device.start(count)):
            device.stop()
            return None
        return device.format()

    return steps.wait_until(attempt, START_SECONDS)


def frame_with_bars(device):
    """The first frame that shows the camera's picture, or None."""

    def attempt():
        frame = device.frame(1)
        return frame if bars_in(frame) == 8 else None

    return steps.wait_until(attempt, START_SECONDS, pause=0)


def devices(found):
    done = subprocess.run(
        [lucida.BINARY, "devices", "--json"], capture_output=True, text=True, timeout=60
    )
    found["status"] = done.returncode
    found["errors"] = done.stderr
    found["listed"] = json.loads(done.stdout)


def a_reader_that_opens_first(found):
    with v4l2.Device(lucida.LOOPBACK) as early:
        # Drivers differ in whether they answer before there is a writer.
        found["refused_before"] = v4l2.refusal(lambda: early.set_format(WIDTH, HEIGHT, "YUYV"))
        with lucida.run_camera(*PLAIN) as daemon:
            found["format"] = started_reader(early, daemon)
            frame = frame_with_bars(early)
            found["log"] = daemon.log()
            found["distance"] = frame and pictures.distance(
                pictures.sample_yuyv(frame, WIDTH, HEIGHT), pictures.expected_ycbcr()
            )
            found["card"], found["flags"] = early.capabilities()
            with v4l2.Device(lucida.LOOPBACK) as second:
                found["second_reader"] = v4l2.refusal(second.start)
            found["status"] = daemon.terminate()


class ReadingFfmpeg:
    """An app that cannot be steered: it goes on reading, or it does not."""

    def __enter__(self):
        self.kinds = []  # bars in each frame that it got
        self.process = subprocess.Popen(
            ["ffmpeg", "-loglevel", "error", "-f", "v4l2", "-i", lucida.LOOPBACK, "-f", "rawvideo",
             "-pix_fmt", "yuyv422", "-"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def frames_until(self, is_wanted, seconds=60):
        """Frames before one whose number of bars is wanted; None if none comes."""
        end, count = time.monotonic() + seconds, 0
        while (frame := self._frame(end)) is not None:
            self.kinds.append(bars_in(frame))
            if is_wanted(self.kinds[-1]):
                return count
            count += 1
        return None

    def _frame(self, end):
        """The next one; None if it does not come in time, or none ever will."""
        output, size = self.process.stdout.fileno(), WIDTH * HEIGHT * 2
        frame = b""
        while len(frame) < size:
            left = end - time.monotonic()
            if left < 0 or not select.select([output], [], [], left)[0]:
                return None
            part = os.read(output, size - len(frame))
            if not part:
                return None
            frame += part
        return frame

    def is_running(self):
        return self.process.poll() is None


def ffmpeg(found):
    with lucida.run_camera(*PLAIN) as daemon:
        with v4l2.Device(lucida.LOOPBACK) as first:
            started_reader(first, daemon)
            frame_with_bars(first)
        with v4l2.Device(lucida.LOOPBACK) as other:
            found["instead_of_640x480"] = other.set_format(640, 480, "YUYV")
        done = subprocess.run(
            f"ffmpeg -loglevel error -f v4l2 -i {lucida.LOOPBACK} -frames:v 90 -f rawvideo "
            "-pix_fmt yuyv422 -",
            shell=True, capture_output=True, timeout=60,
        )
        found["errors"] = done.stderr.decode()
        size = WIDTH * HEIGHT * 2
        frames = [done.stdout[at : at + size] for at in range(0, len(done.stdout), size)]
        found["bars"] = [bars_in(frame) for frame in frames]
        found["status"] = daemon.terminate()


def a_restart_while_a_reader_holds_on(found):
    with v4l2.Device(lucida.LOOPBACK) as held:
        with lucida.run_camera(*PLAIN) as daemon:
            started_reader(held, daemon)
            found["before"] = frame_with_bars(held) is not None
            found["status"] = daemon.terminate()
        left = []
        while (frame := held.frame(0.5)) is not None:
            left.append(bars_in(frame))
        found["bars_in_last_frame"] = left[-1] if left else None
        with lucida.run_camera(*PLAIN) as daemon:
            found["after"] = frame_with_bars(held) is not None
            found["log"] = daemon.log()
            found["second_status"] = daemon.terminate()
        with lucida.run_camera("--strength", "0", "--size", "160x90") as daemon:
            found["other_size_status"] = daemon.wait(START_SECONDS)
            if found["other_size_status"] is None:
                daemon.terminate()
            found["other_size_log"] = daemon.log()


def overwritten_on_sigterm(found):
    with lucida.run_camera(*PLAIN) as daemon:
        # Keeps the device open, so that the driver frees nothing.
        with v4l2.Device(lucida.LOOPBACK) as witness:
            started_reader(witness, daemon)
            found["before"] = frame_with_bars(witness) is not None
            witness.stop()
            found["status"] = daemon.terminate()
            with v4l2.Device(lucida.LOOPBACK) as late:
                found["late_reader"] = v4l2.refusal(
                    lambda: late.set_format(WIDTH, HEIGHT, "YUYV")
                ) or v4l2.refusal(late.start)
                seen = []
                while found["late_reader"] is None and (frame := late.frame(0.5)) is not None:
                    seen.append(bars_in(frame))
                found["bars_seen_late"] = seen


def ink(found):
    with lucida.run_camera("--size", "128x80", "--report", "report.json") as daemon:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            found["format"] = started_reader(reader, daemon, 128, 80)
            # The card is still, the camera's picture moves.
            lucida.set_camera(horizontal_movement=6)
            pictures = set()
            steps.wait_until(
                lambda: pictures.add(reader.frame(1)) or len(pictures) > 6, START_SECONDS, pause=0
            )
            found["different_pictures"] = len(pictures - {None})
        found["log"] = daemon.log()
        found["status"] = daemon.terminate()
    lucida.set_camera(horizontal_movement=3)
    with open("report.json") as report:
        found["report"] = json.load(report)


class Writer:
    """A program that is not ours: writes grey pictures to the other loopback, as FFmpeg does."""

    def __init__(self, width, height):
        self.size = (width, height)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        if not steps.wait_until(self._open, START_SECONDS, pause=0.5):
            raise RuntimeError(f"{lucida.OTHER_LOOPBACK} does not take {self.size}")
        self.thread.start()
        return self

    def _open(self):
        """Anew each time: who has the device open keeps its format."""
        self.device = v4l2.Device(lucida.OTHER_LOOPBACK)
        wanted = (*self.size, "YUYV")
        refused = v4l2.refusal(lambda: self.device.set_format(*wanted, side=v4l2.OUTPUT))
        if refused is None and self.device.set_format(*wanted, side=v4l2.OUTPUT) == wanted:
            return True
        self.device.close()
        return False

    def _run(self):
        picture = bytes([128]) * (self.size[0] * self.size[1] * 2)
        while not self.done.wait(0.03):
            os.write(self.device.descriptor, picture)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        # Without it, 0.12.7 never offers OUTPUT again after a writer that only used write().
        v4l2.refusal(lambda: self.device.ioctl(v4l2.STREAMON, struct.pack("<I", v4l2.OUTPUT)))
        self.device.close()


def devices_in_use(found):
    """What is listed, and what auto takes, while others use the first camera and loopback."""
    with Writer(WIDTH, HEIGHT), v4l2.Device(lucida.CAMERA) as camera:
        camera.start()
        listed = subprocess.run(
            [lucida.BINARY, "devices", "--json"], capture_output=True, text=True, timeout=60
        )
        found["usable"] = {device["path"]: device["usable"] for device in json.loads(listed.stdout)}
        eager = ("--set", "camera.on_demand=false")
        with lucida.Lucida("run", "--source", "auto", "--sink", "auto", *eager, *PLAIN) as daemon:
            steps.wait_until(lambda: "virtual camera" in daemon.log(), START_SECONDS)
            found["camera_goes_on"] = camera.frame() is not None
            found["status"] = daemon.terminate()
            found["log"] = daemon.log()
        other = f"v4l2:{lucida.OTHER_LOOPBACK}"
        with lucida.Lucida("run", "--source", "test", "--sink", other, *PLAIN) as daemon:
            found["refused_status"] = daemon.wait(START_SECONDS)
            found["refused_log"] = daemon.log()


def a_camera_that_comes_back_smaller(found):
    """A camera, played by the other loopback, is lost and comes back with another size."""
    plain = (
        "--strength", "0", "--set", "output.width=0", "--set", "output.height=0",
        "--set", f"camera.width={WIDTH}", "--set", f"camera.height={HEIGHT}",
    )
    with contextlib.ExitStack() as stack:
        with Writer(WIDTH, HEIGHT):
            daemon = lucida.run_camera(*plain, source=f"v4l2:{lucida.OTHER_LOOPBACK}")
            stack.enter_context(daemon)
            reader = stack.enter_context(v4l2.Device(lucida.LOOPBACK))
            found["format"] = started_reader(reader, daemon)
            found["before"] = steps.wait_until(lambda: is_grey(reader.frame(1)), START_SECONDS)
        # The card that says so is not grey.
        found["is_lost"] = steps.wait_until(
            lambda: (frame := reader.frame(1)) and not is_grey(frame), START_SECONDS
        )
        with Writer(96, 54):
            found["after"] = steps.wait_until(lambda: is_grey(reader.frame(1)), START_SECONDS)
            found["status"] = daemon.terminate()
        found["log"] = daemon.log()


def is_grey(frame):
    """Whether a YUYV frame shows the grey of `Writer`, all over."""
    return frame is not None and all(abs(byte - 128) < 4 for byte in frame[:: WIDTH // 2 + 1])


def frame_numbers(found):
    """The test camera through ink: the numbers burnt into it, read out of what the reader gets."""
    width, height = 128, 80
    with lucida.run_camera("--size", f"{width}x{height}", source="test") as daemon:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            found["format"] = started_reader(reader, daemon, width, height)
            numbers = []

            def read_one():
                frame = reader.frame(1)
                number = frame and barcode.read(pictures.grey_rgb(frame), width, height)
                if number is not None and number not in numbers:
                    numbers.append(number)
                return len(numbers) >= 5

            steps.wait_until(read_one, START_SECONDS, pause=0)
            found["numbers"] = numbers
        found["log"] = daemon.log()
        found["status"] = daemon.terminate()


if __name__ == "__main__":
    lucida.set_camera()
    steps.run(
        devices,
        a_reader_that_opens_first,
        ffmpeg,
        a_restart_while_a_reader_holds_on,
        overwritten_on_sigterm,
        ink,
        frame_numbers,
        devices_in_use,
        a_camera_that_comes_back_smaller,
    )
