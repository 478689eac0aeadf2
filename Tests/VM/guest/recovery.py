"""Cameras that fail in every way that vivid can: what readers see, and what the daemon counts."""

import contextlib
import os
import subprocess
import time

import demand
import lucida
import pipeline
import steps
import v4l2

DISK = "/tmp/disk"
CONFIGURATION = "recovery.toml"


# vivid's controls (drivers/media/test-drivers/vivid/vivid-ctrls.c).
CONTROLS = {
    "loop_video": 0x00F0F025,
    "percentage_of_dropped_buffers": 0x00F0F040,
    "disconnect": 0x00F0F041,
    "inject_v4l2_buf_flag_error": 0x00F0F042,
    "inject_vidioc_reqbufs_error": 0x00F0F043,
    "inject_vidioc_qbuf_error": 0x00F0F044,
    "inject_vidioc_streamon_error": 0x00F0F045,
    "inject_fatal_streaming_error": 0x00F0F046,
}


def inject(control, value=1):
    """Presses one of vivid's buttons, or sets a control of its error injection, at once."""
    with v4l2.Device(lucida.CAMERA) as camera:
        camera.set_control(CONTROLS[control], value)


def counts():
    return demand.status().get("camera", {})


def count_reaches(name, least):
    return steps.wait_until(lambda: counts().get(name, 0) >= least, demand.SETTLE_SECONDS) is True


def next_picture(reader):
    """A picture of the camera, after all that is still to be read has been."""
    while reader.frame(0) is not None:
        pass
    return pipeline.frame_with_bars(reader) is not None


@contextlib.contextmanager
def daemon_and_reader(found, *arguments, source=None):
    """A daemon, and a reader who sees its pictures."""
    with lucida.run_camera(*pipeline.PLAIN, *arguments, source=source) as daemon:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            found["format"] = pipeline.started_reader(reader, daemon)
            found["before"] = next_picture(reader)
            # Pictures may come a moment before anybody answers on the control socket.
            demand.reaches("live")
            try:
                yield daemon, reader
                found["camera"] = counts()
                found["exit"] = daemon.terminate()
            finally:
                found["log"] = daemon.log()


def stalled(found):
    """No picture comes: the stream is restarted, which does not help, then the camera opened anew."""
    with daemon_and_reader(found) as (daemon, reader):
        inject("percentage_of_dropped_buffers", 100)
        found["is_reopened"] = count_reaches("reopened", 1)
        card = steps.wait_until(
            lambda: (frame := reader.frame(1)) and pipeline.bars_in(frame) < 8, 30, pause=0
        )
        found["shows_a_card"] = card is True
        found["restarted"] = counts()["restarted"]
        inject("percentage_of_dropped_buffers", 0)
        found["after"] = next_picture(reader)
        found["is_live"] = demand.reaches("live")


def broken_stream(found):
    """The driver gives its stream up."""
    with daemon_and_reader(found) as (daemon, reader):
        inject("inject_fatal_streaming_error")
        found["after"] = next_picture(reader)
        found["is_live"] = demand.reaches("live")


def refused_buffers(found):
    """The driver does not take a buffer back, more often than the stream has buffers."""
    with daemon_and_reader(found) as (daemon, reader):
        found["pictures"] = []
        for _ in range(6):
            inject("inject_vidioc_qbuf_error")
            found["pictures"].append(next_picture(reader))
        found["is_live"] = demand.reaches("live")


def faulty_frames(found):
    """Frames that the driver itself calls faulty are counted and not shown."""
    with daemon_and_reader(found) as (daemon, reader):
        for _ in range(3):
            inject("inject_v4l2_buf_flag_error")
            next_picture(reader)
        found["bad"] = demand.status()["frames"]["bad"]
        found["is_live"] = demand.reaches("live")


def no_buffers(found):
    """The camera is lost, and gives no buffers when it is opened again, once."""
    with daemon_and_reader(found) as (daemon, reader):
        inject("inject_vidioc_reqbufs_error")
        inject("disconnect")
        found["is_refused"] = count_reaches("refused", 1)
        found["after"] = next_picture(reader)
        found["is_live"] = demand.reaches("live")


def busy(found, source=None):
    """Another program has the camera first; its name is told, and it goes."""
    with v4l2.Device(lucida.CAMERA) as other:
        other.start()
        with (lucida.run_camera(*pipeline.PLAIN, source=source) as daemon,
              v4l2.Device(lucida.LOOPBACK) as reader):
            try:
                found["format"] = pipeline.started_reader(reader, daemon)
                found["is_busy"] = demand.reaches("cameraBusy")
                found["problem"] = demand.status().get("problem")
                found["bars_in_card"] = pipeline.bars_in(reader.frame(5))
                other.stop()
                found["after"] = next_picture(reader)
                found["camera"] = counts()
                found["exit"] = daemon.terminate()
            finally:
                found["log"] = daemon.log()


def busy_auto(found):
    """The same where nobody has said which camera."""
    busy(found, "auto")


def unplug():
    with open("/sys/bus/platform/drivers/vivid/unbind", "w") as file:
        file.write("vivid.0")


def plug_in(number):
    """The camera, its driver being unloaded, as /dev/videoNUMBER. Returns when it was there."""
    command = ["modprobe", "vivid", "n_devs=1", "node_types=0x1", f"vid_cap_nr={number}"]
    subprocess.run(command, check=True, timeout=60)
    appeared = time.monotonic()
    lucida.CAMERA = f"/dev/video{number}"
    lucida.set_camera()
    return appeared


def set_rate(rate):
    with open(CONFIGURATION, "w") as file:
        file.write(f"[camera]\nrate = {rate}\n")


def replugged(found):
    """Unplugged, away for a while, and back under another number."""
    set_rate(30)
    with daemon_and_reader(found, "--config", CONFIGURATION) as (daemon, reader):
        unplug()
        found["is_missing"] = demand.reaches("noCamera")
        found["is_closed"] = not demand.camera_is_open(daemon)
        subprocess.run(["rmmod", "vivid"], check=True, timeout=60)
        time.sleep(3)
        found["is_still_missing"] = demand.state() == "noCamera"
        plug_in(3)
        found["after"] = next_picture(reader)
        found["source"] = demand.status()["source"]
        # A setting for which the camera is opened anew: still the one that was meant, where it is now.
        before = counts()
        set_rate(25)
        demand.ask("reload")
        found["is_live_after_change"] = demand.reaches("live")
        after = counts()
        found["attempts_of_change"] = after["attempts"] - before["attempts"]
        found["refusals_of_change"] = after["refused"] - before["refused"]
        found["after_change"] = next_picture(reader)
        found["source_after_change"] = demand.status()["source"]


def named_by_id(found):
    """Where udev has a name for the camera, the name is followed: what looks the same may be another one."""
    name = "usb-vivid-index0"
    link = f"/dev/v4l/by-id/{name}"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(lucida.CAMERA, link)
    with daemon_and_reader(found, source=f"v4l2:{name}") as (daemon, reader):
        os.remove(link)
        inject("disconnect")
        found["is_missing"] = demand.reaches("noCamera")
        time.sleep(3)
        found["is_still_missing"] = demand.state() == "noCamera" and os.path.exists(lucida.CAMERA)
        os.symlink(lucida.CAMERA, link)
        found["is_live"] = demand.reaches("live")
        found["after"] = next_picture(reader)
    os.remove(link)


def no_camera_at_the_start(found, *arguments):
    """The daemon starts, shows a card, and the camera comes later."""
    subprocess.run(["rmmod", "vivid"], check=True, timeout=60)
    with lucida.run_camera(*pipeline.PLAIN, *arguments, source="auto") as daemon:
        with v4l2.Device(lucida.LOOPBACK) as reader:
            try:
                found["format"] = pipeline.started_reader(reader, daemon)
                found["is_missing"] = demand.reaches("noCamera")
                found["bars_in_card"] = pipeline.bars_in(reader.frame(5))
                plug_in(0)
                found["after"] = next_picture(reader)
                found["exit"] = daemon.terminate()
            finally:
                found["log"] = daemon.log()


def no_camera_without_demand(found):
    """The same where the camera is to be open whether somebody looks or not."""
    no_camera_at_the_start(found, "--set", "camera.on_demand=false")


def set_another_format():
    other = ["--set-fmt-video=width=640,height=360,pixelformat=RGB3", "--set-parm=10"]
    subprocess.run(["v4l2-ctl", "-d", lucida.CAMERA, *other], check=True, timeout=60)


def changed_format(found):
    """While nobody looks, another program leaves the camera in another format and at another rate."""
    with lucida.run_camera(*pipeline.PLAIN) as daemon:
        try:
            with v4l2.Device(lucida.LOOPBACK) as reader:
                pipeline.started_reader(reader, daemon)
                found["before"] = next_picture(reader)
            found["is_closed"] = steps.wait_until(
                lambda: not demand.camera_is_open(daemon), demand.SETTLE_SECONDS) is True
            set_another_format()
            with v4l2.Device(lucida.LOOPBACK) as reader:
                demand.start_reader(reader)
                found["after"] = next_picture(reader)
            found["exit"] = daemon.terminate()
        finally:
            found["log"] = daemon.log()


def suspend():
    """The machine goes to sleep as far as freezing every program, and wakes after `suspend.pm_test_delay`, five seconds unless set:
    that is a test which the kernel has (Documentation/power/basic-pm-debugging)."""
    with open("/sys/power/pm_test", "w") as file:
        file.write("freezer")
    with open("/sys/power/state", "w") as file:
        file.write("freeze")


def suspended(found):
    with daemon_and_reader(found) as (daemon, reader):
        asleep_at = time.monotonic()
        suspend()
        found["asleep_seconds"] = time.monotonic() - asleep_at
        found["after"] = next_picture(reader)
        found["is_live"] = demand.reaches("live")


def plug_in_capture_card(number):
    """In place of the camera, as /dev/videoNUMBER: the HDMI input, its second one, is in use. It cannot scale."""
    options = (f"n_devs=1 node_types=0x101 vid_cap_nr={number} vid_out_nr=5 num_inputs=2 input_types=0xC num_outputs=1 "
               "output_types=1 ccs_cap_mode=0")
    timings = "--set-dv-bt-timings index=0"
    for command in ("modprobe -r vivid", f"modprobe vivid {options}", f"v4l2-ctl -d /dev/video{number} -i 1 {timings}"):
        subprocess.run(command.split(), timeout=60, check=True, stdout=subprocess.DEVNULL)
    lucida.set_camera()


def change_source():
    """Of the capture card, twice: to what comes from its output, which is nothing, and back."""
    for value in (1, 0):
        inject("loop_video", value)


def source_changed(found):
    """The HDMI input of a capture card says that it has another picture now."""
    plug_in_capture_card(0)
    with lucida.run_camera(*pipeline.PLAIN) as daemon, v4l2.Device(lucida.LOOPBACK) as reader:
        try:
            pipeline.started_reader(reader, daemon)
            found["before"] = next_picture(reader)
            change_source()
            found["is_lost"] = count_reaches("lost", 1)
            found["after"] = next_picture(reader)
            found["exit"] = daemon.terminate()
        finally:
            found["log"] = daemon.log()


def frames_in(path):
    command = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    return int(subprocess.run([*command, path], timeout=60, check=True, capture_output=True).stdout)


def full_disk(found):
    """A recording beside the virtual camera fills its disk; room is made, and it goes on in another file."""
    os.makedirs(DISK, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", DISK], check=True, timeout=60)
    recording = f"{DISK}/a.mkv"
    settings = ("--sink", f"file:{recording}", "--set", "output.codec=ffv1")
    with daemon_and_reader(found, *settings) as (daemon, reader):
        def sink():
            return next(sink for sink in demand.status()["sinks"] if sink["name"] == recording)

        found["is_away"] = steps.wait_until(lambda: sink()["isAway"], 60) is True
        found["during"] = next_picture(reader)
        # Attempts are made meanwhile; each leaves nothing behind.
        time.sleep(7)
        found["is_clean"] = steps.wait_until(lambda: os.listdir(DISK) == ["a.mkv"], 5) is True
        subprocess.run(["mount", "-o", "remount,size=64m", DISK], check=True, timeout=60)
        frames = sink()["frames"]
        found["goes_on"] = steps.wait_until(lambda: sink()["frames"] > frames + 40, 60) is True
        found["is_back"] = not sink()["isAway"]
        found["interruptions"] = sink()["interruptions"]
        found["after"] = next_picture(reader)
    found["files"] = {name: frames_in(f"{DISK}/{name}") for name in sorted(os.listdir(DISK))}


if __name__ == "__main__":
    lucida.set_camera()
    # What has nothing to do with the virtual camera, beside one of its drivers only.
    once = (refused_buffers, faulty_frames, no_buffers, no_camera_without_demand, source_changed)
    steps.run(
        stalled, broken_stream, busy, busy_auto, changed_format, suspended, full_disk, named_by_id, replugged,
        no_camera_at_the_start, *(once if os.environ["VM_LOOPBACK"] == "0.15.0" else ()))
