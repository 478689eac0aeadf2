"""One daemon and one reader through every fault, again and again: do pictures come again, how old are those that are seen, is anything left?"""

import contextlib
import os
import subprocess
import threading
import time

import demand
import device
import lucida
import pictures
import pipeline
import recovery
import steps
import v4l2

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "1"))
LINGER = ("--set", "camera.linger=1")


class Scene:
    """A daemon, and a reader who looks all the time, in a thread. Before each fault the camera's picture is mirrored, or no longer:
    so it shows whether it is from before."""

    def __init__(self, daemon, reader):
        self.daemon, self.reader = daemon, reader
        self.lock = threading.Lock()  # to be held by who touches the reader
        self.failure = None  # of the thread
        self.is_mirrored = True
        self.turn()
        self.last_seen = {False: 0.0, True: 0.0}  # when a picture of the camera was last read, mirrored or not
        self.first_seen = 0.0  # when one as it is now was first read
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def _look(self):
        try:
            while not self.done.wait(0.005):
                with self.lock:
                    frame = self.reader.frame(0.05) if self.reader.buffers else None
                if frame is not None and (kind := mirrored(frame)) is not None:
                    self._note(kind)
        except Exception as error:
            self.failure = error

    def _note(self, kind):
        self.last_seen[kind] = time.monotonic()
        if kind == self.is_mirrored and self.first_seen < self.turned:
            self.first_seen = self.last_seen[kind]

    def turn(self):
        """Mirrors the picture, or lets it be as it is."""
        with v4l2.Device(lucida.CAMERA) as camera:
            # The moment before: what is measured from it is no shorter than it was.
            self.is_mirrored, self.turned = not self.is_mirrored, time.monotonic()
            camera.set_control(v4l2.HORIZONTAL_FLIP, self.is_mirrored)

    def turn_before(self, fault):
        """A driver that starts afresh mirrors nothing."""
        if fault in AFRESH and not self.is_mirrored:
            self.turn()
            if not self.sees_pictures():
                raise RuntimeError(f"no mirrored picture came: {demand.status()}")
        self.turn()

    def sees_pictures(self):
        """Whether a picture of the camera as it is now comes from now on."""
        now = time.monotonic()

        def seen():
            if self.failure:
                raise self.failure
            return self.last_seen[self.is_mirrored] > now

        return steps.wait_until(seen, demand.SETTLE_SECONDS) is True

    def latency(self):
        """Seconds from a change of what is filmed until it is read, none of the faults at work."""
        self.turn()
        if not self.sees_pictures():
            raise RuntimeError(f"no turned picture came: {demand.status()}")
        return round(self.first_seen - self.turned, 3)

    def oldest(self):
        """Seconds after it was no longer true that the picture from before was last read."""
        return round(max(0.0, self.last_seen[not self.is_mirrored] - self.turned), 3)


def mirrored(frame):
    """Whether a frame shows the camera's bars from the right; None if it does not show them."""
    if len(frame) != pipeline.WIDTH * pipeline.HEIGHT * 2:
        return None
    samples = pictures.sample_yuyv(frame, pipeline.WIDTH, pipeline.HEIGHT)
    for kind in (False, True):
        if pictures.matching(samples[::-1] if kind else samples, pictures.expected_ycbcr()) == 8:
            return kind
    return None


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def reach(state):
    if not demand.reaches(state):
        raise RuntimeError(f"{state} was not reached: {demand.status()}")


def stall(scene):
    recovery.inject("percentage_of_dropped_buffers", 100)
    time.sleep(2.5)
    recovery.inject("percentage_of_dropped_buffers", 0)


def broken_stream(scene):
    recovery.inject("inject_fatal_streaming_error")


def lost(scene):
    """The nodes vanish and come back as soon as they are closed."""
    recovery.inject("disconnect")


def unplugged(scene):
    recovery.unplug()
    time.sleep(1.5)
    write("/sys/bus/platform/drivers/vivid/bind", "vivid.0")
    ended = time.monotonic()
    lucida.set_camera()
    return ended


def source_changed(scene):
    """The camera is the HDMI input of a capture card, which says that it has another picture now."""
    leave(scene)
    recovery.plug_in_capture_card(int(lucida.CAMERA.removeprefix("/dev/video")))
    come_back(scene)
    if not scene.sees_pictures():
        raise RuntimeError(f"the capture card shows nothing: {demand.status()}")
    scene.turn()
    losses = recovery.counts()["lost"]
    recovery.change_source()
    ended = time.monotonic()
    if not recovery.count_reaches("lost", losses + 1):
        raise RuntimeError(f"nothing was noticed: {demand.status()}")
    return ended


def replugged(scene):
    """Under another number."""
    recovery.unplug()
    reach("noCamera")
    subprocess.run(["rmmod", "vivid"], check=True, timeout=60)
    return recovery.plug_in(3 if lucida.CAMERA == "/dev/video0" else 0)


def refused_start(scene):
    """The camera is lost, and then refuses to stream once."""
    recovery.inject("inject_vidioc_streamon_error")
    recovery.inject("inject_fatal_streaming_error")


def refused_buffers(scene):
    """The camera is lost, and then gives no buffers once: that is when the fault ends."""
    refusals = recovery.counts().get("refused", 0)
    recovery.inject("inject_vidioc_reqbufs_error")
    recovery.inject("disconnect")
    if not recovery.count_reaches("refused", refusals + 1):
        raise RuntimeError(f"it gave buffers: {demand.status()}")
    return time.monotonic()


def refused_buffer(scene):
    """The driver does not take a buffer back."""
    recovery.inject("inject_vidioc_qbuf_error")


def faulty_frame(scene):
    """A frame that the driver itself calls faulty."""
    recovery.inject("inject_v4l2_buf_flag_error")


def asleep(scene):
    recovery.suspend()


def leave(scene):
    """The reader goes, and the camera is closed. (To 0.12.7 who has the device open is a reader, streaming or not.)"""
    with scene.lock:
        scene.reader.close()
    reach("idle")
    if not steps.wait_until(lambda: not demand.camera_is_open(scene.daemon), demand.SETTLE_SECONDS):
        raise RuntimeError("the camera stays open while nobody looks")


def come_back(scene):
    with scene.lock:
        scene.reader.open()
        demand.start_reader(scene.reader)


def another_format(scene):
    """Another program has the camera for a while, and leaves it in another format."""
    leave(scene)
    recovery.set_another_format()
    come_back(scene)


def busy(scene):
    """Another program films when the reader comes, and goes."""
    leave(scene)
    with v4l2.Device(lucida.CAMERA) as other:
        other.start()
        come_back(scene)
        reach("cameraBusy")


def reader_leaves(scene):
    leave(scene)
    come_back(scene)


def reader_probes(scene):
    for _ in range(4):
        with scene.lock:
            scene.reader.stop()
            demand.start_reader(scene.reader)


def reader_wants_another_size(scene):
    """It gets the one that there is."""
    leave(scene)
    with scene.lock:
        scene.reader.open()
        answer = scene.reader.set_format(640, 480, "YUYV")
        if answer != (pipeline.WIDTH, pipeline.HEIGHT, "YUYV"):
            raise RuntimeError(f"the driver offers {answer}")
        scene.reader.start()


def paused(scene):
    demand.ask("pause")
    time.sleep(1)
    demand.ask("resume")


def reloaded(scene):
    """The camera is opened anew with another rate."""
    reloaded.rate = 25 - reloaded.rate
    recovery.set_rate(reloaded.rate)
    demand.ask("reload")


# Few frames: the faults are what takes time here.
reloaded.rate = 15

FAULTS = [
    stall, broken_stream, lost, unplugged, source_changed, replugged, refused_start, refused_buffers, refused_buffer, faulty_frame, asleep,
    another_format, busy, reader_leaves, reader_probes, reader_wants_another_size, paused, reloaded,
]

# The camera is another one to its driver, too: what was set is forgotten.
AFRESH = (unplugged, source_changed, replugged)

# The camera need not be opened anew: capture restarts a broken stream by itself, and after the others it may just go on.
UNNOTICED = (broken_stream, refused_buffer, faulty_frame, asleep, reader_probes, paused)


def openings():
    """How often the supervision has opened or restarted the camera."""
    counts = recovery.counts()
    return counts.get("attempts", 0) + counts.get("restarted", 0)


def written():
    """Transformed frames of the camera, so far."""
    return demand.status().get("frames", {}).get("written", 0)


def goes_on(scene):
    """Whether new frames come through, by the daemon's count (a card's and a repeated picture's are none), and are seen."""
    before = written()
    return steps.wait_until(lambda: written() >= before + 3, demand.SETTLE_SECONDS) and scene.sees_pictures()


def footprint(process):
    """The least of some looks: a connection to the control socket, for one, is closed a little later."""
    looks = []
    for _ in range(5):
        looks.append(footprint_now(f"/proc/{process.pid}"))
        time.sleep(0.2)
    return {name: min(look[name] for look in looks) for name in looks[0]}


def footprint_now(process):
    with open(f"{process}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    resident = {name: 1024 * int(status[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}
    return {
        **resident,
        "descriptors": len(os.listdir(f"{process}/fd")),
        "threads": len(os.listdir(f"{process}/task")),
    }


@contextlib.contextmanager
def filmed(found, *arguments):
    """A scene with pictures."""
    with lucida.run_camera(*pipeline.PLAIN, *arguments) as daemon, v4l2.Device(lucida.LOOPBACK) as reader:
        try:
            found["format"] = pipeline.started_reader(reader, daemon)
            with Scene(daemon, reader) as scene:
                found["before"] = scene.sees_pictures()
                yield scene
        finally:
            found["log"] = daemon.log()[-8000:]


def soak(found):
    recovery.set_rate(reloaded.rate)
    found["footprints"] = []
    found["latencies"] = []
    found["failed"] = []
    found["gaps"] = {}  # seconds from the end of each fault until three new frames have come, and are seen
    found["oldest"] = {}  # seconds for which a picture from before it was seen
    with filmed(found, "--config", recovery.CONFIGURATION, *LINGER) as scene:
        for number in range(ROUNDS + 1):
            found["latencies"].append(scene.latency())
            for fault in FAULTS:
                suffer(fault, number, scene, found)
            # The first round warms up.
            found["footprints"].append(footprint(scene.daemon.process))
        found["camera"] = recovery.counts()
        found["exit"] = scene.daemon.terminate()


def suffer(fault, number, scene, found):
    """One fault, and what comes after it."""
    name, before = fault.__name__, openings()
    scene.turn_before(fault)
    ended = fault(scene) or time.monotonic()
    # A picture from before it was noticed is no recovery.
    noticed = fault in UNNOTICED or steps.wait_until(lambda: openings() > before, 10)
    if not noticed or not goes_on(scene):
        found["failed"].append(f"{name}, round {number}: {demand.status()}")
    found["gaps"].setdefault(name, []).append(round(time.monotonic() - ended, 2))
    found["oldest"].setdefault(name, []).append(scene.oldest())


def killed(found):
    """Daemons that are killed under a reader, one after the other, beside the holder that draws the cards."""
    os.environ["LUCIDA_DEVICE_SOCKET"] = device.SOCKET
    found["footprints"], found["gaps"], found["oldest"] = [], [], []
    with device.Holder("--config", device.configuration("auto")) as holder, v4l2.Device(lucida.LOOPBACK) as reader:
        device.started(reader)
        with Scene(lucida.run_camera(*pipeline.PLAIN), reader) as scene:
            try:
                found["before"] = scene.sees_pictures()
                for _ in range(ROUNDS + 1):
                    kill(scene, found)
                    found["footprints"].append(footprint(holder.process))
                found["exit"] = scene.daemon.terminate()
            finally:
                scene.daemon.process.kill()
                found["log"] = (holder.log() + scene.daemon.log())[-8000:]


def kill(scene, found):
    """The daemon dies, and another one comes."""
    scene.turn()
    scene.daemon.process.kill()
    ended = time.monotonic()
    scene.daemon.process.wait()
    scene.daemon = lucida.run_camera(*pipeline.PLAIN)
    if not scene.sees_pictures():
        raise RuntimeError(scene.daemon.log())
    found["gaps"].append(round(time.monotonic() - ended, 2))
    found["oldest"].append(scene.oldest())


if __name__ == "__main__":
    write("/sys/module/suspend/parameters/pm_test_delay", "2")
    # The kernel fills up a huge page where it likes, some time later: 2 MiB that nobody has asked for.
    write("/sys/kernel/mm/transparent_hugepage/enabled", "never")
    lucida.set_camera()
    steps.run(soak, killed)
