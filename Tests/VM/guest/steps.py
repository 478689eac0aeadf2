"""Runs the steps of a scenario and writes what they found for the tests on the host."""

import json
import os
import time
import traceback


def run(*steps):
    """Runs each step with its own dictionary of facts. A step that fails does not stop the next."""
    facts = {}
    for step in steps:
        found = facts[step.__name__] = {}
        started = time.monotonic()
        try:
            step(found)
        except Exception:
            found["failure"] = f"{traceback.format_exc()}\nfound so far: {found}"
            print(f"--- {step.__name__}\n{found['failure']}", flush=True)
        found["seconds"] = round(time.monotonic() - started, 1)
        print(f"{step.__name__}: {found['seconds']} s", flush=True)
    with open(os.environ["VM_FACTS"], "w") as file:
        json.dump(facts, file)


def wait_until(condition, seconds, pause=0.1):
    """Asks again and again; returns the first answer that is true, or None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(pause)
    return None
