"""Chromium's getUserMedia on the virtual camera: what a conferencing app shows."""

import base64
import os

import bars
import devtools
import lucida
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
            samples = bars.sample_rgba(frame, width, height)
            if bars.matching(samples, bars.expected_rgb()) == 8:
                return 1 + bars.distance(samples, bars.expected_rgb())
        return None

    distance = steps.wait_until(attempt, seconds, pause=0)
    return distance and distance - 1, count


def camera(found):
    with lucida.run_camera("--strength", "0", "--size", SIZE) as daemon:
        with devtools.Browser(PAGE) as browser:
            found.update(browser.evaluate('openCamera("Lucida")'))
            found["log"] = daemon.log()
            found["distance"], found["frames"] = bars_received(browser, 60)
            # The app stays; the daemon is restarted under it.
            found["status"] = daemon.terminate()
            with lucida.run_camera("--strength", "0", "--size", SIZE) as second:
                found["distance_after_restart"], _ = bars_received(browser, 60)
                found["second_log"] = second.log()
                found["second_status"] = second.terminate()


lucida.set_camera()
steps.run(camera)
