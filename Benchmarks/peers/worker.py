"""One engine in a process of its own, which sleeps until it is told what to do.

    worker.py ENGINE PRECISION THREADS FOLDER

Reads a line of JSON for each task from standard input and answers with one line:
    {"time": N}                     milliseconds of N runs in a row, after some to warm up
    {"run": IN.npy, "to": OUT.npy}  the residuals, (N, C, h, w) f32, of blocks of that shape
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

WARM_UP = 5


def timed(engine: object, count: int) -> list[float]:
    """Milliseconds of each run."""
    for _ in range(WARM_UP):
        engine.infer()
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        engine.infer()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def run(engine: object, x: np.ndarray) -> np.ndarray:
    """The network on every one of x."""
    outputs = []
    for one in x:
        engine.load(one[None])
        engine.infer()
        outputs.append(engine.output())
    return np.concatenate(outputs)


def main() -> None:
    # Libraries may print; what they print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, precision, threads, folder = sys.argv[1:]
    engine = importlib.import_module(f"engines.{name}").Engine(Path(folder), precision, int(threads))
    for line in sys.stdin:
        task = json.loads(line)
        if "time" in task:
            answer = timed(engine, task["time"])
        else:
            answer = task["to"]
            np.save(answer, run(engine, np.load(task["run"])))
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
