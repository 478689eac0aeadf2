"""Drawn frames: what engines that need calibration are shown, and what their errors are measured on."""

from __future__ import annotations

import numpy as np

from network import SIZE, Frame, blocks_of
from training import draw, expose, sense

SEED = 77


def scene(index: int) -> Frame:
    """Frame `index`: a drawn scene through a drawn webcam, as the network was trained on. No clip is ever shown."""
    rng = np.random.default_rng((SEED, index))
    return sense(rng, expose(rng, draw(rng, SIZE[::-1])))


def calibration_blocks(channels: int, count: int = 200) -> list[np.ndarray]:
    """Inputs of the network, each (1, channels, H/4, W/4) f32. Frame 0 is kept for the errors."""
    return [blocks_of(scene(index), channels) for index in range(1, count + 1)]
