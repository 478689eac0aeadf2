"""Pictures of the model card: drawn scenes, before and after.

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
from scenes import add_person, dead_leaves, draw, room
from teacher import stylise

HERE = Path(__file__).resolve().parent
SHAPE = (384, 640)


def portrait(seed: int, unit: float) -> np.ndarray:
    """One person before a wall, framed as in a video call; unit is the head's height in pixels."""
    rng = np.random.default_rng((99, seed))
    picture = room(rng, SHAPE, 90)
    add_person(rng, picture, np.array([SHAPE[1] * rng.uniform(0.4, 0.6), 0.9 * unit]), unit)
    return sense(rng, expose(rng, np.clip(picture, 0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/ink.safetensors")
    parser.add_argument("--out", type=Path, default=HERE.parent / "Models/images")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
