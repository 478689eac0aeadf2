"""The `ink` style, by classical image processing: flat, bright colour and dark ink lines.

    teacher.py INPUT.png OUTPUT.png

After "Real-Time Video Abstraction" (Winnemöller, Olsen, Gooch 2006) for the flat colour and the soft steps of
tone, and "XDoG" (Winnemöller, Kyprianidis, Olsen 2012) with the edge tangent flow of Kang, Lee, Chui 2007 for
the lines. Scales are in pixels of a picture about 640 x 384. A small network imitates this function, so every
decision in it is soft and local: nothing looks further than about 20 pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Ink:
    """The style's constants. Lightness is in CIE L* units, [0, 100]; lengths are in pixels."""

    flatten_passes: int = 3
    flatten_sigma_range: float = 5.0
    flatten_sigma_space: float = 4.0
    tone_step: float = 16.0
    tone_strength: float = 0.9
    lift: float = 1.5
    punch: float = 0.4
    saturation: float = 1.45
    warmth: tuple[float, float] = (2.0, 2.5)  # of the paper: a*, b*
    colour_sigma: float = 0.6
    line_sigma: float = 0.8
    line_sigma_wide: float = 1.6
    line_wide_weight: float = 0.6
    line_sigma_range: float = 6.0
    line_threshold: float = 0.3
    line_softness: float = 0.5
    line_opacity: float = 0.9
    contrast_sigma: float = 8.0
    contrast_floor: float = 1.0
    flow_sigma: float = 2.0
    flow_stroke: float = 2.2


def tangent_flow(lightness: np.ndarray, sigma: float) -> np.ndarray:
    """Unit tangents of the edges, (H, W, 2) as (x, y), from the smoothed structure tensor."""
    gx = cv2.Scharr(lightness, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(lightness, cv2.CV_32F, 0, 1, scale=1 / 32)
    tensor = cv2.GaussianBlur(np.dstack([gx * gx, gx * gy, gy * gy]), (0, 0), sigma)
    angle = 0.5 * np.arctan2(2 * tensor[..., 1], tensor[..., 0] - tensor[..., 2])  # of the gradient
    return np.dstack([-np.sin(angle), np.cos(angle)]).astype(np.float32)


def along(field: np.ndarray, direction: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of field (H, W) along straight short strokes of direction (H, W, 2)."""
    height, width = field.shape
    gx, gy = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    radius = int(np.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    total = np.zeros_like(field)
    for step, weight in zip(range(-radius, radius + 1), weights / weights.sum()):
        x, y = gx + step * direction[..., 0], gy + step * direction[..., 1]
        total += weight * cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total


def difference_of_gaussians(lightness: np.ndarray, sigma: float) -> np.ndarray:
    """How much darker a point is than its surroundings, in L* units; positive on the dark side."""
    return cv2.GaussianBlur(lightness, (0, 0), 1.6 * sigma) - cv2.GaussianBlur(lightness, (0, 0), sigma)


def ink(lightness: np.ndarray, style: Ink) -> np.ndarray:
    """Coverage with ink in [0, 1], (H, W), of lightness (H, W) in [0, 100].

    The difference of Gaussians is divided by the contrast around, so that the faint eyes and lips of an evenly
    lit face earn a line as well as the outline of a person does; the floor keeps noise from earning one.
    """
    fine = difference_of_gaussians(lightness, style.line_sigma)
    wide = difference_of_gaussians(lightness, style.line_sigma_wide)
    dark = np.maximum(fine, style.line_wide_weight * wide)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), style.contrast_sigma))
    dark = dark / (contrast + style.contrast_floor)
    dark = along(dark, tangent_flow(lightness, style.flow_sigma), style.flow_stroke)
    t = np.clip((dark - style.line_threshold) / style.line_softness, 0, 1)
    return t * t * (3 - 2 * t)


def tone(lightness: np.ndarray, style: Ink) -> np.ndarray:
    """Paper-bright lights, deep darks, and soft steps between; L* to L*."""
    x = np.clip(lightness / 100, 0, 1)
    x = 1 - (1 - x) ** style.lift
    x = x + style.punch * (x * x * (3 - 2 * x) - x)
    x = 100 * x
    return x - style.tone_strength * style.tone_step / (2 * np.pi) * np.sin(2 * np.pi * x / style.tone_step)


def stylise(image: np.ndarray, style: Ink = Ink()) -> np.ndarray:
    """image: (H, W, 3) u8 RGB. Returns the same shape and type."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    coverage = ink(cv2.bilateralFilter(lab, 5, style.line_sigma_range, 1.5)[..., 0], style)
    flat = lab
    for _ in range(style.flatten_passes):
        flat = cv2.bilateralFilter(flat, 0, style.flatten_sigma_range, style.flatten_sigma_space)
    flat[..., 0] = tone(flat[..., 0], style)
    flat[..., 1:] = style.saturation * flat[..., 1:] + style.warmth
    colour = cv2.GaussianBlur(flat, (0, 0), style.colour_sigma)
    rgb = np.clip(cv2.cvtColor(colour, cv2.COLOR_Lab2RGB), 0, 1)
    rgb *= 1 - style.line_opacity * coverage[..., None]
    return np.round(255 * rgb).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("output")
    args = parser.parse_args()
    image = cv2.cvtColor(cv2.imread(args.input), cv2.COLOR_BGR2RGB)
    cv2.imwrite(args.output, cv2.cvtColor(stylise(image), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
