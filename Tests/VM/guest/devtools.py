"""Headless Chromium, driven over the DevTools protocol on a pipe."""

import itertools
import json
import os
import select
import subprocess
import time


class Browser:
    """Chromium with one page. It ends with the machine."""

    def __init__(self, page):
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()
        # Commands are read from descriptor 3, answers written to 4, each ended by a zero byte.
        log = open("chromium.log", "wb")
        subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}',
             "chromium", "--headless=new", "--no-sandbox", "--remote-debugging-pipe",
             "--use-fake-ui-for-media-stream", "--user-data-dir=/tmp/chromium", "--disable-gpu",
             "--in-process-gpu", "--no-zygote", "--disable-extensions", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--no-first-run",
             page],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=log, stderr=log,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.commands, self.answers = commands, answers
        self.session = None
        self.received = b""
        self.numbers = itertools.count(1)
        self.call("Browser.grantPermissions", {"permissions": ["videoCapture"]})
        self.session = self._attach(page)
        # The target has the page's address before it has the page: until then an empty document answers, complete.
        while self.evaluate("location.href + ' ' + document.readyState") != f"{page} complete":
            time.sleep(0.5)

    def _attach(self, page):
        while True:
            for target in self.call("Target.getTargets", {})["targetInfos"]:
                if target["type"] == "page" and target["url"] == page:
                    target = {"targetId": target["targetId"], "flatten": True}
                    return self.call("Target.attachToTarget", target)["sessionId"]
            time.sleep(0.5)

    def call(self, method, parameters, session=None, timeout=120):
        """Sends a command and returns its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while (answer := self._next(end - time.monotonic())).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def evaluate(self, script, timeout=120):
        """Runs JavaScript in the page and returns the value that its promise yields."""
        result = self.call(
            "Runtime.evaluate",
            {"expression": script, "awaitPromise": True, "returnByValue": True},
            self.session, timeout,
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def _next(self, seconds):
        while b"\0" not in self.received:
            if seconds <= 0 or not select.select([self.answers], [], [], seconds)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self.answers, 1 << 20)
            if not data:
                raise EOFError("Chromium has ended: " + open("chromium.log").read()[-2000:])
            self.received += data
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)
