"""Image processing in PyTorch, batched, on any device: what the teachers are made of.

A picture is f32 RGB, (N, 3, H, W), in [0, 1]; a field is (N, C, H, W); places are (x, y) in pixels, pixel centres
at whole numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.950456, 1.0, 1.088754)  # D65


# Colour


def linear(rgb: Tensor) -> Tensor:
    """sRGB values to light, both in [0, 1]."""
    return torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def display(light: Tensor) -> Tensor:
    """Light to sRGB values; the inverse of `linear`."""
    return torch.where(light > 0.0031308, 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * light)


def mix_channels(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the channels of (N, C, H, W) by a (D, C) matrix: (N, D, H, W)."""
    return (matrix.to(x) @ x.flatten(2)).unflatten(2, x.shape[2:])


def lab(rgb: Tensor) -> Tensor:
    """CIE Lab of sRGB: L* in [0, 100]."""
    xyz = mix_channels(linear(rgb), torch.tensor(RGB_TO_XYZ) / torch.tensor(WHITE)[:, None])
    f = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def from_lab(lab: Tensor) -> Tensor:
    """sRGB of CIE Lab, clamped to [0, 1]."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(f > 0.206893, f**3, (f - 16 / 116) / 7.787)
    inverse = torch.linalg.inv(torch.tensor(RGB_TO_XYZ)) * torch.tensor(WHITE)
    return display(mix_channels(xyz, inverse).clamp(0, 1)).clamp(0, 1)


def luma(rgb: Tensor) -> Tensor:
    """Rec. 601 luma, (N, 1, H, W)."""
    return 0.299 * rgb[:, 0:1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:3]


def saturate(rgb: Tensor, amount: float) -> Tensor:
    """Move colours away from their grey (amount above 1) or towards it."""
    grey = luma(rgb)
    return grey + amount * (rgb - grey)


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 under low, 1 above high, smooth between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


# Neighbourhoods


@lru_cache(maxsize=256)
def blur_matrix(size: int, sigma: float, device: torch.device) -> Tensor:
    """Gaussian blur of a line of size pixels, mirrored at its ends, as a (size, size) matrix."""
    radius = min(math.ceil(3 * sigma), size - 1)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    places = (torch.arange(size)[:, None] + offsets).abs()
    places = torch.where(places > size - 1, 2 * (size - 1) - places, places)
    return torch.zeros(size, size).scatter_add_(1, places, (taps / taps.sum()).expand(size, -1)).to(device)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a field by two matrices: on one core three times as fast as a depthwise convolution."""
    h, w = x.shape[-2:]
    return blur_matrix(h, sigma, x.device) @ (x @ blur_matrix(w, sigma, x.device).T)


def pixel_grid(like: Tensor) -> Tensor:
    """The place of every pixel of (N, C, H, W): (1, 2, H, W)."""
    h, w = like.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h, device=like.device), torch.arange(w, device=like.device), indexing="ij")
    return torch.stack([x, y])[None].float()


def look_up(x: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """Values of x (N, C, H, W) at places (N, 2, H', W'); beyond the border, the border."""
    h, w = x.shape[-2:]
    size = torch.tensor([w, h], device=x.device, dtype=torch.float32)[:, None, None]
    grid = ((2 * places + 1) / size - 1).permute(0, 2, 3, 1).expand(x.shape[0], -1, -1, -1)
    return F.grid_sample(x, grid, mode, "border", align_corners=False)


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scharr derivatives of x (N, 1, H, W) along x and y, in units a pixel."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    across, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    gx = 3 * (across[..., :-2, :] + across[..., 2:, :]) + 10 * across[..., 1:-1, :]
    gy = 3 * (down[..., :-2] + down[..., 2:]) + 10 * down[..., 1:-1]
    return gx / 32, gy / 32


def orientation(grey: Tensor, sigma: float) -> Tensor:
    """Which way the edges run, from the structure tensor smoothed over sigma: (N, 3, H, W).

    Channels: cosine and sine of twice the tangent's angle, times the anisotropy in [0, 1]; then the mean squared
    slope. Twice the angle, so that opposite directions are the same and values may be interpolated.
    """
    gx, gy = slopes(grey)
    xx, xy, yy = blur(torch.cat([gx * gx, gx * gy, gy * gy], 1), sigma).split(1, 1)
    trace = xx + yy
    return torch.cat([(yy - xx) / (trace + 1e-6), -2 * xy / (trace + 1e-6), trace], 1)


def tangent(double: Tensor) -> Tensor:
    """Unit vectors (N, 2, H, W) of double angles (N, 2, H, W) of any length."""
    c, s = double[:, 0:1], double[:, 1:2]
    inverse = (c * c + s * s + 1e-12).rsqrt()
    cosine = (0.5 + 0.5 * c * inverse).clamp_min(1e-6).sqrt()
    sine = 0.5 * s * inverse / cosine
    return torch.cat([cosine, sine], 1) * (cosine * cosine + sine * sine).rsqrt()


def along(x: Tensor, direction: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of x along short straight strokes of direction (N, 2, H, W)."""
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-radius, radius + 1)]
    grid, total = pixel_grid(x), torch.zeros_like(x)
    for step, weight in zip(range(-radius, radius + 1), weights):
        total += weight / sum(weights) * look_up(x, grid + step * direction)
    return total


def kuwahara(rgb: Tensor, sigma: float, reach: float, sharpness: float = 6.0, stretch: float = 1.0) -> Tensor:
    """Anisotropic Kuwahara filter: flat patches with crisp borders, drawn out along the edges.

    After Kyprianidis, Kang, Döllner 2009. The sectors are eight Gaussians of width sigma, reach pixels away,
    farther along the edge than across; a sector counts by the inverse of its variance.
    """
    mean, square = blur(rgb, sigma), blur(rgb * rgb, sigma)
    variance = (square - mean * mean).clamp_min(0).sum(1, keepdim=True)
    moments = torch.cat([mean, variance], 1)
    flow = orientation(luma(rgb), 2.0)
    direction, strength = tangent(flow[:, :2]), flow[:, :2].norm(dim=1, keepdim=True)
    normal = torch.cat([-direction[:, 1:2], direction[:, 0:1]], 1)
    grid = pixel_grid(rgb)
    total, weights = torch.zeros_like(rgb), torch.zeros_like(variance)
    for sector in range(8):
        angle = math.pi * sector / 4
        offset = reach * (math.cos(angle) * (1 + stretch * strength) * direction + math.sin(angle) * normal)
        sample = look_up(moments, grid + offset)
        weight = (1e-3 + sample[:, 3:4]) ** (-0.5 * sharpness)
        total += weight * sample[:, :3]
        weights += weight
    return total / weights


def bilateral(x: Tensor, radius: int, sigma_range: float, sigma_space: float) -> Tensor:
    """Bilateral filter as OpenCV's: the range distance is the sum over channels, the window a disc."""
    h, w = x.shape[-2:]
    padded = F.pad(x, (radius,) * 4, mode="reflect")
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dx * dx + dy * dy > radius * radius:
                continue
            other = padded[..., radius + dy : radius + dy + h, radius + dx : radius + dx + w]
            distance = (other - x).abs().sum(1, keepdim=True)
            exponent = -0.5 * (distance / sigma_range) ** 2 - 0.5 * (dx * dx + dy * dy) / sigma_space**2
            weight = exponent.exp()
            total += weight * other
            weights += weight
    return total / weights


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x (N, C, H, W) seen through a backward flow (N, 2, H, W): the result at p is x at p + flow(p)."""
    return look_up(x, pixel_grid(x) + flow)
