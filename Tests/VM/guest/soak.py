"""One daemon and one reader through every fault, again and again: do pictures come again, is anything left?"""

import collections
import os
import subprocess
import time

import demand
import lucida
import pipeline
import recovery
import steps
import v4l2

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "1"))
LINGER = ("--set", "camera.linger=1")


Scene = collections.namedtuple("Scene", "daemon reader")


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
    scene.reader.close()
    reach("idle")
    if not steps.wait_until(lambda: not demand.camera_is_open(scene.daemon), demand.SETTLE_SECONDS):
        raise RuntimeError("the camera stays open while nobody looks")


def come_back(scene):
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
        scene.reader.stop()
        demand.start_reader(scene.reader)


def reader_wants_another_size(scene):
    """It gets the one that there is."""
    leave(scene)
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
    stall, broken_stream, lost, unplugged, replugged, refused_start, refused_buffers, refused_buffer, faulty_frame, asleep, another_format, busy,
    reader_leaves, reader_probes, reader_wants_another_size, paused, reloaded,
]

# The camera need not be opened anew: capture restarts a broken stream by itself, and after the others it may just go on.
UNNOTICED = (broken_stream, refused_buffer, faulty_frame, asleep, reader_probes, paused)


def openings():
    """How often the supervision has opened or restarted the camera."""
    counts = recovery.counts()
    return counts.get("attempts", 0) + counts.get("restarted", 0)


def written():
    """Transformed frames of the camera, so far."""
    return demand.status().get("frames", {}).get("written", 0)


def goes_on(reader):
    """Whether new frames come through, by the daemon's count (a card's and a repeated picture's are none), and are seen."""
    before = written()
    return steps.wait_until(lambda: written() >= before + 3, demand.SETTLE_SECONDS) and recovery.next_picture(reader)


def footprint(daemon):
    """The least of some looks: a connection to the control socket, for one, is closed a little later."""
    looks = []
    for _ in range(5):
        looks.append(footprint_now(daemon))
        time.sleep(0.2)
    return {name: min(look[name] for look in looks) for name in looks[0]}


def footprint_now(daemon):
    process = f"/proc/{daemon.process.pid}"
    with open(f"{process}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    resident = {name: 1024 * int(status[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}
    return {
        **resident,
        "descriptors": len(os.listdir(f"{process}/fd")),
        "threads": len(os.listdir(f"{process}/task")),
    }


def soak(found):
    recovery.set_rate(reloaded.rate)
    found["footprints"] = []
    found["failed"] = []
    found["gaps"] = {}  # seconds from the end of each fault until three new frames have come, and are seen
    with lucida.run_camera("--config", recovery.CONFIGURATION, *LINGER, *pipeline.PLAIN) as daemon:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            try:
                found["format"] = pipeline.started_reader(reader, daemon)
                found["before"] = recovery.next_picture(reader)
                for number in range(ROUNDS + 1):
                    for fault in FAULTS:
                        name, before = fault.__name__, openings()
                        ended = fault(Scene(daemon, reader)) or time.monotonic()
                        # A picture from before it was noticed is no recovery.
                        noticed = fault in UNNOTICED or steps.wait_until(lambda: openings() > before, 10)
                        if not noticed or not goes_on(reader):
                            found["failed"].append(f"{name}, round {number}: {demand.status()}")
                        found["gaps"].setdefault(name, []).append(round(time.monotonic() - ended, 2))
                    # The first round warms up.
                    found["footprints"].append(footprint(daemon))
                found["camera"] = recovery.counts()
                found["exit"] = daemon.terminate()
            finally:
                found["log"] = daemon.log()[-8000:]


if __name__ == "__main__":
    write("/sys/module/suspend/parameters/pm_test_delay", "2")
    # The kernel fills up a huge page where it likes, some time later: 2 MiB that nobody has asked for.
    write("/sys/kernel/mm/transparent_hugepage/enabled", "never")
    lucida.set_camera()
    steps.run(soak)
