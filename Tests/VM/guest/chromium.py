"""Chromium's getUserMedia on the virtual camera: what a conferencing app shows."""

import base64
import functools
import os
import time

import barcode
import device
import devtools
import lucida
import pictures
import steps

PAGE = "file://" + os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")
# Above Chromium's smallest size, of vivid's aspect.
SIZE = "160x90"


def received(browser, count, seconds):
    """(width, height, [RGBA bytes]) of the frames that the page gets."""
    answer = browser.evaluate(f"frames({count}, {seconds * 1000})", timeout=seconds + 60)
    return answer["width"], answer["height"], [base64.b64decode(f) for f in answer["frames"]]


def bars_received(browser, seconds):
    """Waits for frames of the camera; returns (distance to the bars, frames until then)."""
    count = 0

    def attempt():
        nonlocal count
        width, height, frames = received(browser, 3, 5)
        count += len(frames)
        for frame in frames:
            samples = pictures.sample_rgba(frame, width, height)
            if pictures.matching(samples, pictures.expected_rgb()) == 8:
                return 1 + pictures.distance(samples, pictures.expected_rgb())
        return None

    distance = steps.wait_until(attempt, seconds, pause=0)
    return distance and distance - 1, count


def card_received(browser, seconds):
    """Waits for a frame that is not the camera's; returns whether one came."""

    def attempt():
        width, height, frames = received(browser, 3, 5)
        samples = [pictures.sample_rgba(frame, width, height) for frame in frames]
        return any(pictures.matching(sample, pictures.expected_rgb()) < 4 for sample in samples)

    return bool(steps.wait_until(attempt, seconds, pause=0))


def colours(found):
    """The camera as it is."""
    with lucida.run_camera("--strength", "0", "--size", SIZE) as daemon:
        steps.wait_until(lambda: "virtual camera" in daemon.log(), 30)
        found.update(browser().evaluate('openCamera("Lucida")'))
        found["log"] = daemon.log()
        found["distance"], found["frames"] = bars_received(browser(), 60)
        browser().evaluate("closeCamera()")
        found["status"] = daemon.terminate()


def frame_numbers(found):
    """The test camera through ink: the numbers burnt into it, read out of what the page gets."""
    with lucida.run_camera("--size", SIZE, source="test") as daemon:
        steps.wait_until(lambda: "virtual camera" in daemon.log(), 30)
        found.update(browser().evaluate('openCamera("Lucida")'))
        numbers = []

        def read_some():
            width, height, frames = received(browser(), 2, 10)
            for frame in frames:
                number = barcode.read(pictures.rgb(frame), width, height)
                if number is not None and number not in numbers:
                    numbers.append(number)
            return len(numbers) >= 3

        steps.wait_until(read_some, 60, pause=0)
        found["numbers"] = numbers
        found["log"] = daemon.log()
        found["status"] = daemon.terminate()


def a_kill(found):
    """A page opens the camera before Lucida runs, and keeps it while Lucida is killed and started again."""
    os.environ["LUCIDA_DEVICE_SOCKET"] = device.SOCKET
    size = tuple(int(side) for side in SIZE.split("x"))
    with device.Holder("--config", device.configuration("auto", size)) as holder:
        found["before"] = browser().evaluate('openCamera("Lucida")')
        found["card_before"] = card_received(browser(), 60)
        daemon = lucida.run_camera("--strength", "0", "--size", SIZE)
        found["distance"], _ = bars_received(browser(), 60)
        daemon.process.kill()
        killed = time.monotonic()
        found["killed"] = daemon.wait(10)
        found["card_after"] = card_received(browser(), 60)
        with lucida.run_camera("--strength", "0", "--size", SIZE) as daemon:
            found["distance_after"], _ = bars_received(browser(), 60)
            found["seconds_after"] = round(time.monotonic() - killed, 1)
            found["log"] = holder.log() + daemon.log()
            browser().evaluate("closeCamera()")
            found["status"] = daemon.terminate()
    del os.environ["LUCIDA_DEVICE_SOCKET"]


@functools.lru_cache(maxsize=None)
def browser():
    """One Chromium for all steps; it takes a minute to start here."""
    return devtools.Browser(PAGE)


lucida.set_camera()
steps.run(colours, frame_numbers, a_kill)
