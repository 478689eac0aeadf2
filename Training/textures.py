"""Texture that sticks: noise looked up at coordinates that travel with the surfaces.

An *anchor* is a field (N, 2, H, W) of texture coordinates in pixels: the same point of a surface has the same
coordinates in every frame of a sequence, so what is looked up there moves with it, exactly and without blur. Two
surfaces have coordinates far apart, so each has a texture of its own. The anchor of the screen is the pixel grid.

All randomness is one *tile* of uniform numbers, (CHANNELS, SIZE, SIZE), repeated without end: one tile, one picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from filters import pixel_grid

SIZE = 256
CHANNELS = 6


def make_tile(seed: int) -> Tensor:
    """Uniform numbers in [0, 1), (CHANNELS, SIZE, SIZE), the same on every machine."""
    return torch.rand(CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def screen(like: Tensor) -> Tensor:
    """The anchor of what is fixed to the screen, as paper is, for frames (N, C, H, W): (N, 2, H, W)."""
    return pixel_grid(like).expand(like.shape[0], -1, -1, -1)


def cell_values(tile: Tensor, cells: Tensor, first: int = 0, count: int = CHANNELS) -> Tensor:
    """Random numbers of whole cells: cells (N, 2, H, W) of whole floats to (N, count, H, W)."""
    x, y = cells.remainder(SIZE).long().unbind(1)
    index, (n, _, h, w) = (y * SIZE + x).flatten(), cells.shape
    chosen = [channel.flatten().index_select(0, index).view(n, h, w) for channel in tile[first : first + count]]
    return torch.stack(chosen, 1)


def value_noise(tile: Tensor, anchor: Tensor, cell: float, channel: int = 0, count: int = 1) -> Tensor:
    """Smooth noise with features of about cell pixels, (N, count, H, W), mean 0, standard deviation about 0.2."""
    place = anchor / cell
    base = place.floor()
    fx, fy = (place - base).split(1, 1)
    wx, wy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    total = 0
    for dy, row in ((0, 1 - wy), (1, wy)):
        for dx, weight in ((0, row * (1 - wx)), (1, row * wx)):
            step = torch.tensor([dx, dy], device=anchor.device, dtype=anchor.dtype)[:, None, None]
            total = total + weight * cell_values(tile, base + step, channel, count)
    return total - 0.5


def fractal_noise(tile: Tensor, anchor: Tensor, cell: float, octaves: int, channel: int = 0) -> Tensor:
    """Octaves of value noise, each half as large and half as strong, (N, 1, H, W)."""
    total = 0
    for octave in range(octaves):
        noise = value_noise(tile, anchor + 37.0 * octave, cell / 2**octave, (channel + octave) % CHANNELS)
        total = total + 0.5**octave * noise
    return total


def paper(tile: Tensor, anchor: Tensor) -> Tensor:
    """Height of a rough sheet, (N, 1, H, W), about [-0.5, 0.5]: tooth, and fibres both ways."""
    stretch = torch.tensor([1.0, 3.0], device=anchor.device)[:, None, None]
    tooth = 0.9 * value_noise(tile, anchor, 1.7, 4) + 0.7 * value_noise(tile, anchor, 3.1, 5)
    fibres = value_noise(tile, anchor / stretch, 1.5, 2) + value_noise(tile, anchor / stretch.flip(0), 1.5, 3)
    return tooth + 0.4 * fibres


def screen_scale(anchor: Tensor) -> tuple[Tensor, Tensor]:
    """How texture turns and grows: real and imaginary part, (N, 1, H, W) each, of dz(texture)/dz(screen).

    Of the differences to both sides the smaller counts, so that the border to another surface does not matter.
    """

    def slope(x: Tensor, dim: int) -> Tensor:
        difference = x.diff(dim=dim)
        first, last = difference.narrow(dim, 0, 1), difference.narrow(dim, difference.shape[dim] - 1, 1)
        before, after = torch.cat([first, difference], dim), torch.cat([difference, last], dim)
        return torch.where(before.abs().sum(1, keepdim=True) < after.abs().sum(1, keepdim=True), before, after)

    dx, dy = slope(anchor, 3), slope(anchor, 2)
    real, imaginary = 0.5 * (dx[:, 0:1] + dy[:, 1:2]), 0.5 * (dx[:, 1:2] - dy[:, 0:1])
    size = (real * real + imaginary * imaginary).sqrt().clamp_min(1e-3)
    bounded = size.clamp(0.3, 3) / size
    return real * bounded, imaginary * bounded
