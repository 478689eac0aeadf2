"""Texture that sticks: one periodic source for each stochastic style, looked up at coordinates that travel with surfaces.

An *anchor* is a field (N, 2, H, W) of texture coordinates in pixels: the same point of a surface has the same
coordinates in every frame of a sequence, so what is looked up there moves with it, exactly and without blur. Two
surfaces have coordinates far apart, so each has a texture of its own. The anchor of the screen is the pixel grid.

All chance of a style is its *source*, (3, SIZE, SIZE) u8, drawn here once from a fixed seed and shipped in the model
file, for it is what the flow starts from. It repeats without end; a user's seed is an offset into it. A teacher uses
it at the pixel itself, so that its picture is a crisp function of scene and source that a small network can learn.

    oil          brush strokes at OIL_ANGLES, one direction a channel: the level is the stroke's own, streaked by bristles
    watercolour  grain of the paper; wobble of the brush; blooms
    pencil       hatching; cross-hatching; tooth of the paper
    the others   0.5 everywhere: they leave nothing to chance
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from filters import pixel_grid

SIZE = 512
CHANNELS = 3
OIL_ANGLES = (math.radians(15), math.radians(75), math.radians(135))  # of the strokes, from x towards y
SEED = 2026


def screen(like: Tensor) -> Tensor:
    """The anchor of what is fixed to the screen for frames (N, C, H, W): (N, 2, H, W)."""
    return pixel_grid(like).expand(like.shape[0], -1, -1, -1)


def offset(seed: int) -> tuple[int, int]:
    """Where in the source a user's seed begins, in pixels."""
    return seed * 197 % SIZE, seed * 359 % SIZE


def sample_source(source: Tensor, anchor: Tensor, seed: int = 0) -> Tensor:
    """source (3, SIZE, SIZE) u8 at anchor (N, 2, H, W), bilinear and periodic: (N, 3, H, W) f32 in [0, 1].

    Texel (i, j) has the coordinates (i, j); seed moves the anchor by `offset`.
    """
    padded = F.pad(source[None].float() / 255, (0, 1, 0, 1), mode="circular")
    move = torch.tensor(offset(seed), device=anchor.device, dtype=anchor.dtype)[:, None, None]
    grid = (2 * (anchor + move).remainder(SIZE) + 1) / (SIZE + 1) - 1
    return F.grid_sample(padded.expand(len(anchor), -1, -1, -1), grid.permute(0, 2, 3, 1), align_corners=False)


@lru_cache
def source(style: str) -> Tensor:
    """The source of a style, (3, SIZE, SIZE) u8, the same on every machine."""
    rng = np.random.default_rng(SEED)
    channels = {
        "oil": lambda: [brush_strokes(rng, angle) for angle in OIL_ANGLES],
        "watercolour": lambda: [paper(rng), fractal(rng, 26, 3), fractal(rng, 110, 3)],
        "pencil": lambda: [hatching(rng, (121, 106)), hatching(rng, (-126, 112)), paper(rng)],
    }.get(style, lambda: [np.full((SIZE, SIZE), 0.5)] * CHANNELS)()
    return torch.from_numpy(np.round(255 * np.stack(channels).clip(0, 1)).astype(np.uint8))


# Noise


def filtered(rng: Generator, response: np.ndarray) -> np.ndarray:
    """Periodic Gaussian noise of mean 0 and variance 1, white noise times response over the frequencies."""
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * response).real
    return (noise - noise.mean()) / noise.std()


def frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Along x and y, in cycles a pixel."""
    f = np.fft.fftfreq(SIZE)
    return f[None, :], f[:, None]


def band(rng: Generator, wavelength: float, stretch: tuple[float, float] = (1, 1)) -> np.ndarray:
    """Noise of about one wavelength in pixels, drawn out by stretch along x and y."""
    fx, fy = frequencies()
    f = np.hypot(fx * stretch[0], fy * stretch[1]) * wavelength
    return filtered(rng, f * np.exp(-(f * f)))


def fractal(rng: Generator, wavelength: float, octaves: int) -> np.ndarray:
    """Octaves of noise, each half as large and half as strong; 0.5 +- 3 deviations fill [0, 1]."""
    total = sum(0.5**octave * band(rng, wavelength / 2**octave) for octave in range(octaves))
    return 0.5 + total / total.std() / 6


def paper(rng: Generator) -> np.ndarray:
    """Height of a rough sheet: tooth, and fibres both ways; 0.5 +- 3 deviations fill [0, 1]."""
    tooth = 0.8 * band(rng, 3.2) + 1.0 * band(rng, 5.5)
    fibres = band(rng, 3.0, (1, 4)) + band(rng, 3.0, (4, 1))
    total = tooth + 0.35 * fibres
    return 0.5 + total / total.std() / 6


# Strokes, each drawn in a window of its own that wraps around


def window(x: float, y: float, angle: float, radius: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Where in a source to draw something at (x, y), and the coordinates there along and across it."""
    reach = np.arange(-radius, radius + 1)
    column, row = int(x) + reach, int(y) + reach
    dx, dy = column[None, :] - x, row[:, None] - y
    c, s = math.cos(angle), math.sin(angle)
    return np.ix_(row % SIZE, column % SIZE), dx * c + dy * s, dy * c - dx * s


def brush_strokes(rng: Generator, angle: float, length: float = 15, width: float = 4.2) -> np.ndarray:
    """Opaque strokes one over another. Each has a level, bristles along it and a ragged end; length, width are halves."""
    picture = np.full((SIZE, SIZE), 0.5)
    cell = 6.0
    count = int(SIZE / cell)
    places = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2)
    for x, y in rng.permutation(places) * (SIZE / count) + rng.uniform(0, cell, (count * count, 2)):
        long, wide = length * rng.uniform(0.6, 1.15), width * rng.uniform(0.7, 1.15)
        where, u, v = window(x, y, angle + rng.normal(0, 0.13), int(1.35 * length) + 3)
        u, v = u / long, v / wide
        v = v + rng.normal(0, 0.5) * (u * u - 0.3)
        phase = rng.uniform(0, 40, 3)
        hair = np.sin(5.5 * v + phase[0]) + np.sin(10 * v + phase[1] + 1.5 * u) + 0.6 * np.sin(15 * v + phase[2])
        ragged = 1 - np.abs(u) ** 3 * (1 + 0.22 * hair) - np.abs(v) ** 3
        cover = (ragged * 0.45 * wide).clip(0, 1)
        level = rng.uniform(0.18, 0.82) + 0.045 * hair + 0.05 * u
        picture[where] += cover * (level - picture[where])
    return picture


def hatching(rng: Generator, winding: tuple[int, int], length: float = 17) -> np.ndarray:
    """Rows of separate strokes that taper, each with a pressure; winding: rows around the source along x and y."""
    picture = np.zeros((SIZE, SIZE))
    across, spacing = math.atan2(winding[1], winding[0]), SIZE / math.hypot(*winding)
    angle = across + math.pi / 2
    c, s = math.cos(angle), math.sin(angle)
    reach = int(SIZE * 1.5 / spacing)
    for row in range(-reach, reach):
        u = -1.5 * SIZE + rng.uniform(0, 2 * length)
        while u < 1.5 * SIZE:
            long = length * rng.uniform(0.55, 1.25)
            v = (row + 0.5 + 0.55 * (rng.random() - 0.5)) * spacing
            x, y = (u + long) * c - v * s, (u + long) * s + v * c
            u += 1.75 * long
            pressure, tilt, bend, wide = rng.uniform(0.45, 1), rng.normal(0, 0.03), rng.normal(0, 0.8), rng.uniform(0.55, 0.95)
            if not (0 <= x < SIZE and 0 <= y < SIZE):
                continue
            where, along, side = window(x, y, angle + tilt, int(1.3 * length) + 3)
            t = along / long
            taper = np.clip((t + 1) / 0.3, 0, 1) * np.clip((1 - t) / 0.8, 0, 1) ** 0.7
            profile = np.clip(wide + 0.5 - np.abs(side + bend * (t * t - 0.3)), 0, 1)
            picture[where] = np.maximum(picture[where], pressure * taper * profile)
    return picture
