"""The training set: drawn scenes, seen through a drawn webcam, with the teacher's answer to each.

    data.py [--count 3000] [--seed 1] [--size 256] [--out data] [--processes 2]

Writes frames.npy and targets.npy, both (count, size, size, 3) u8 RGB. Sample i depends on the seed and i only.
No photograph is used.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from scenes import draw, noise
from teacher import stylise


def expose(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Optics and automatic exposure: defocus or motion, gamma, gain, low light, a white balance that is off.

    picture: (H, W, 3) f32 in [0, 1]; so is the result.
    """
    kind = rng.random()
    if kind < 0.6:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    elif kind < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 2.5))
    elif kind < 0.75:
        length, angle = rng.uniform(3, 12), rng.uniform(0, np.pi)
        line = np.zeros((15, 15), np.uint8)
        arm = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        ends = np.round(16 * (7 + np.stack([-arm, arm]))).astype(np.int32)
        cv2.polylines(line, [ends], False, 255, 1, cv2.LINE_AA, 4)
        picture = cv2.filter2D(picture, -1, line / max(1, line.sum(dtype=np.float32)))
    if rng.random() < 0.25:  # the sharpening many cameras apply
        picture = picture + rng.uniform(0.2, 1) * (picture - cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 1.6)))
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.55, 1.35)
    haze, gain = rng.choice([0, rng.uniform(0, 0.2)]), rng.choice([1, rng.uniform(0.35, 1.2)])
    picture = haze + (1 - haze) * picture * gain * np.exp(rng.normal(0, 0.07, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


def sense(rng: Generator, picture: np.ndarray) -> np.ndarray:
    """Sensor noise, fine and blotchy, then JPEG: f32 in [0, 1] to u8."""
    shape = picture.shape[:2]
    sigma = rng.choice([0, rng.uniform(0, 0.008), rng.uniform(0.004, 0.022)], p=[0.2, 0.5, 0.3])
    grain = rng.normal(0, 1, (*shape, 3)) * 0.6 + rng.normal(0, 1, (*shape, 1)) * 0.8
    if rng.random() < 0.5:
        grain = 1.5 * cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 0.9))
    blotch = np.dstack([noise(rng, shape, 8, 2) for _ in range(3)]) * rng.uniform(0, 0.6)
    u8 = np.clip(np.round(255 * (picture + sigma * (grain + blotch))), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        _, code = cv2.imencode(".jpg", u8, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(65, 97))])
        u8 = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return u8


def sample(index: int, seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame as the network will meet it and the teacher's answer, each (H, W, 3) u8.

    The teacher sees the scene before noise and compression: the student has to learn to see through them,
    which is what makes it steadier than its teacher.
    """
    rng = np.random.default_rng((seed, index))
    exposed = expose(rng, draw(rng, shape))
    return sense(rng, exposed), stylise(np.round(255 * exposed).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shape = (args.count, args.size, args.size, 3)
    names = ("frames", "targets")
    frames, targets = (
        np.lib.format.open_memmap(args.out / f"{name}.partial", "w+", np.uint8, shape) for name in names
    )
    start = time.monotonic()
    with multiprocessing.Pool(args.processes, partial(cv2.setNumThreads, 1)) as pool:
        job = partial(sample, seed=args.seed, shape=(args.size, args.size))
        for index, (frame, target) in enumerate(pool.imap(job, range(args.count), chunksize=8)):
            frames[index], targets[index] = frame, target
            if (index + 1) % 250 == 0:
                print(f"{index + 1}/{args.count} in {time.monotonic() - start:.0f} s", flush=True)
    for name in names:
        (args.out / f"{name}.partial").rename(args.out / f"{name}.npy")


if __name__ == "__main__":
    main()
