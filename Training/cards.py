"""Pictures of the model card: drawn people, before and after.

    cards.py [--model ../Models/ink.safetensors] [--out ../Models/images]

Nobody is pictured: the people are drawn by scenes.py, from seeds that the training set does not use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from data import expose, sense
from evaluate import student
from scenes import add_person, room

HERE = Path(__file__).resolve().parent
SHAPE = (384, 640)
SEED = 99
# name of the picture: seed of the scene, height of the head in pixels
PORTRAITS = {"far": (2, 60), "glasses": (20, 130), "hands": (21, 130), "badge": (33, 170)}


def portrait(seed: int, unit: float) -> np.ndarray:
    """One person before a wall, framed as in a video call, (384, 640, 3) u8 RGB."""
    rng = np.random.default_rng((SEED, seed))
    picture = room(rng, SHAPE, 90)
    centre = np.array([SHAPE[1] * rng.uniform(0.4, 0.6), 0.9 * unit])
    add_person(rng, picture, centre, unit)
    return sense(rng, expose(rng, np.clip(picture, 0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/ink.safetensors")
    parser.add_argument("--out", type=Path, default=HERE.parent / "Models/images")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    transform = student(args.model)
    for name, (seed, unit) in PORTRAITS.items():
        before = portrait(seed, unit)
        pair = cv2.cvtColor(np.hstack([before, transform(before)]), cv2.COLOR_RGB2BGR)
        path = args.out / f"ink-{name}.png"
        small = cv2.resize(pair, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
