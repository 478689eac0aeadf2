"""What is left in the driver's buffers when there is no picture to be shown."""

import contextlib
import os
import subprocess
import time

import device
import lucida
import pipeline
import steps
import v4l2

BUFFERS = 8
SIZE = device.SIZE
CONTROL = "/tmp/control.sock"


class Watcher:
    """A reader that has all buffers of the driver in its memory."""

    def __init__(self, reader):
        self.reader = reader
        device.started(reader, count=BUFFERS)

    def all_buffers(self):
        """Bars in each buffer as it is now, whether it was handed out or not."""
        bytes_of_picture = SIZE[0] * SIZE[1] * 2
        return [pipeline.bars_in(buffer[:bytes_of_picture]) for buffer in self.reader.buffers]

    def waits_for_pictures(self):
        """Whether the camera's picture comes to be in every one."""
        def attempt():
            self.reader.frame(0.2)
            return min(self.all_buffers()) == 8

        return steps.wait_until(attempt, 60, pause=0)

    def after(self, action):
        """Does `action`. Returns how many pictures still came, how many cards, and all buffers when
        the first cards have been written, which come at once; the next are a sixth of a second away."""
        while self.reader.frame(0) is not None:
            pass
        action()
        stale = cards = 0
        end = time.monotonic() + 60
        while time.monotonic() < end:
            frame = self.reader.frame(0.1 if cards else 1)
            if frame is None and cards:
                break
            if frame is not None and pipeline.bars_in(frame) < 4:
                cards += 1
            elif frame is not None:
                stale += 1
        return {"stale": stale, "cards": cards, "buffers": self.all_buffers()}


def daemon(*arguments, **keywords):
    return device.daemon(
        *pipeline.PLAIN, "--set", f"control.socket={CONTROL}", *arguments, **keywords)


def control(*arguments):
    subprocess.run(
        [lucida.BINARY, "ctl", *arguments, "--socket", CONTROL], check=True, capture_output=True)


def unplug():
    """Takes the camera away for good: after its control "disconnect", vivid is back at once."""
    with open("/sys/bus/platform/drivers/vivid/unbind", "w") as file:
        file.write("vivid.0")


@contextlib.contextmanager
def watched():
    """A holder, and a reader that is there before and after all runs."""
    with device.Holder("--config", device.configuration("auto")) as holder:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            yield Watcher(reader), holder


def events(found):
    with watched() as (watcher, holder):
        found["count"] = len(watcher.reader.buffers)
        found["held"] = watcher.all_buffers()
        with daemon() as first:
            found["pictures"] = [watcher.waits_for_pictures()]
            found["pause"] = watcher.after(lambda: control("pause"))
            control("resume")
            found["pictures"].append(watcher.waits_for_pictures())
            found["stop"] = watcher.after(lambda: first.process.terminate())
            found["status"] = first.wait(30)
        with daemon() as second:
            found["pictures"].append(watcher.waits_for_pictures())
            found["kill"] = watcher.after(second.process.kill)
        with daemon() as third:
            found["pictures"].append(watcher.waits_for_pictures())
            # Killed with its holder: the next holder finds a device that nobody writes to.
            def both():
                holder.kill()
                third.process.kill()
                third.wait(10)
                holder.start()

            found["kill_both"] = watcher.after(both)
        with daemon() as fourth:
            found["pictures"].append(watcher.waits_for_pictures())
            found["crash"] = watcher.after(lambda: fourth.process.send_signal(11))
        with daemon() as fifth:
            found["pictures"].append(watcher.waits_for_pictures())
            found["camera_lost"] = watcher.after(unplug)
            found["log"] = fifth.log() + holder.log()


def start_after_a_kill_without_a_holder(found):
    """The pictures of a Lucida that nobody covers for are covered by the next one's first card."""
    source = {"source": "test"}
    os.environ["LUCIDA_DEVICE_SOCKET"] = "/tmp/nobody.sock"
    with v4l2.Device(lucida.LOOPBACK) as reader:
        def pictures():
            return {bytes(buffer[:SIZE[0] * SIZE[1] * 2]) for buffer in reader.buffers}

        with device.daemon("--size", f"{SIZE[0]}x{SIZE[1]}", "--strength", "0", **source) as first:
            pipeline.started_reader(reader, first, count=BUFFERS)
            # The drawn scene is no card: it moves.
            found["moves"] = steps.wait_until(
                lambda: reader.frame(0.2) and len(pictures()) == BUFFERS, 60, pause=0)
            # It is the same scene each time: only its first pictures must not be what is left.
            for _ in range(10 * BUFFERS):
                reader.frame()
            first.process.kill()
            first.wait(10)
        old = pictures()
        found["left"] = len(old)
        while reader.frame(0) is not None:
            pass
        # Pictures of the camera may follow at once, and in time they would cover the old ones, too:
        # so the frames are counted until nothing of them is left.
        with device.daemon("--size", f"{SIZE[0]}x{SIZE[1]}", "--strength", "0", **source) as second:
            card = steps.wait_until(lambda: reader.frame(0.2), 60, pause=0)
            found["first_is_new"] = card is not None and bytes(card) not in old
            found["frames_until_covered"] = 1
            end = time.monotonic() + 60
            while pictures() & old and found["frames_until_covered"] < BUFFERS and time.monotonic() < end:
                found["frames_until_covered"] += reader.frame(0.2) is not None
            found["log"] = second.log()


if __name__ == "__main__":
    lucida.set_camera()
    os.environ["LUCIDA_DEVICE_SOCKET"] = device.SOCKET
    steps.run(events, start_after_a_kill_without_a_holder)
