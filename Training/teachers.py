"""The six teachers: what each style looks like, painted slowly and well.

A teacher maps frames (N, 3, H, W), RGB f32 in [0, 1], and a `Texture` to pictures of the same shape and range. All
work on any device in f32, whatever autocast says. Lengths are in pixels of a picture about 640 x 384. `ink`, `neon`
and `clear` are deterministic; `oil`, `watercolour` and `pencil` take their chances from their sources, each pixel its own,
and stick to the surfaces by the anchor (see textures.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor

from filters import (along, bilateral, blur, display, from_lab, kuwahara, lab, linear, look_up, luma, orientation,
                     pixel_grid, saturate, slopes, smoothstep, tangent)
from teacher import Ink
from textures import OIL_ANGLES, sample_source, screen, source


@dataclass
class Texture:
    """What the stochastic styles are made of: their sources, looked up at anchor (N, 2, H, W) from a seed's offset."""

    anchor: Tensor
    seed: int = 0

    def of(self, style: str) -> tuple[Tensor, Tensor, Tensor]:
        """The three channels of the style's source, (N, 1, H, W) each, in [0, 1]."""
        return sample_source(source(style).to(self.anchor.device), self.anchor, self.seed).split(1, 1)

    @staticmethod
    def fixed(frames: Tensor, seed: int = 0) -> Texture:
        """Texture that stays where it is on the screen, for frames without a known motion."""
        return Texture(screen(frames), seed)


Teacher = Callable[[Tensor, Texture], Tensor]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """f32 that is f32: no autocast, no TF32, no gradients."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def exact(teacher: Teacher) -> Teacher:
    """Run in full precision, and clamp; on a CPU a frame at a time, which stays in the cache."""

    @wraps(teacher)
    def run(frames: Tensor, texture: Texture) -> Tensor:
        frames = frames.float()
        with full_precision(frames.device):
            if frames.device.type != "cpu" or teacher.__name__ == "clear":
                return teacher(frames, texture).clamp(0, 1)
            parts = zip(frames.split(1), texture.anchor.split(1))
            painted = [teacher(x, Texture(anchor, texture.seed)) for x, anchor in parts]
            return torch.cat(painted).clamp(0, 1)

    return run


# Lines, shared by ink, pencil, watercolour and neon


def ink_lines(lightness: Tensor, style: Ink) -> Tensor:
    """Coverage with ink in [0, 1], (N, 1, H, W), of L* (N, 1, H, W): `teacher.ink`, batched."""

    def darker(sigma: float) -> Tensor:
        return blur(lightness, 1.6 * sigma) - blur(lightness, sigma)

    fine = darker(style.line_sigma)
    dark = torch.maximum(fine, style.line_wide_weight * darker(style.line_sigma_wide))
    contrast = blur(fine * fine, style.contrast_sigma).clamp_min(0).sqrt()
    dark = dark / (contrast + style.contrast_floor)
    dark = along(dark, tangent(orientation(lightness, style.flow_sigma)[:, :2]), style.flow_stroke)
    return smoothstep(dark, style.line_threshold, style.line_threshold + style.line_softness)


def perceived(grey: Tensor) -> Tensor:
    """Brightness as contrast is seen, so that a dark face has as much to say as a fair one; its slope at 0.5 is 1."""
    return 0.6 * torch.log(grey.clamp_min(0) + 0.1)


def detail(rgb: Tensor, spread: float = 1.5) -> Tensor:
    """How much there is to say around a pixel: the root mean square slope of the brightness, (N, 1, H, W)."""
    return blur(orientation(perceived(luma(rgb)), 1.5)[:, 2:3].clamp_min(0).sqrt(), spread)


def modelling(grey: Tensor, sigma: float) -> Tensor:
    """Light and shade relative to what is around, about [-0.5, 0.5], (N, 1, H, W)."""
    seen = perceived(grey)
    return (seen - blur(seen, sigma)).clamp(-0.5, 0.5)


# ink


@exact
def ink(frames: Tensor, texture: Texture, style: Ink = Ink(line_softness=0.8)) -> Tensor:
    """Flat bright colour and dark lines: `teacher.stylise`, batched, with lines as soft as a brush pen's.

    A tenth of a pixel's error of a line's place shows the more the harder its borders are: these have 0.6 of the warp error of those of
    the model `ink`, on one clip.
    """
    flat = lab(frames)
    coverage = ink_lines(bilateral(flat, 2, style.line_sigma_range, 1.5)[:, :1], style)
    for _ in range(style.flatten_passes):
        space = style.flatten_sigma_space
        flat = bilateral(flat, round(1.5 * space), style.flatten_sigma_range, space)
    x = (flat[:, :1] / 100).clamp(0, 1)
    x = 1 - (1 - x) ** style.lift
    x = 100 * (x + style.punch * (x * x * (3 - 2 * x) - x))
    x = x - style.tone_strength * style.tone_step / (2 * math.pi) * torch.sin(2 * math.pi * x / style.tone_step)
    warmth = torch.tensor(style.warmth).to(flat)[:, None, None]
    colour = torch.cat([x, style.saturation * flat[:, 1:] + warmth], 1)
    return from_lab(blur(colour, style.colour_sigma)) * (1 - style.line_opacity * coverage)


# oil


def stroke_field(strokes: Sequence[Tensor], grey: Tensor) -> Tensor:
    """Of strokes in several directions, at each pixel those that run as the picture does: (N, 1, H, W).

    Near to an edge its own direction counts, on even ground that of the larger shapes around, and the first where
    there is none.
    """
    near, far = orientation(grey, 2.5), orientation(grey, 9)
    double = 0
    for flow, floor in ((near, 0.02), (far, 0.006)):
        double = double + flow[:, :2] * (flow[:, 2:3] / (flow[:, 2:3] + floor * floor))
    total, weights = 0, 0
    for index, (level, angle) in enumerate(zip(strokes, OIL_ANGLES)):
        likeness = math.cos(2 * angle) * double[:, 0:1] + math.sin(2 * angle) * double[:, 1:2]
        weight = torch.exp(9 * likeness + (1.2 if index == 0 else 0))
        total, weights = total + weight * level, weights + weight
    return total / weights


@exact
def oil(frames: Tensor, texture: Texture) -> Tensor:
    """Thick paint: strokes that run as the picture does, each of its own shade, lit from the upper left."""
    rich = 1 - (1 - saturate(frames, 1.4).clamp(0, 1)) ** 1.25
    rich = rich + 0.35 * (rich * rich * (3 - 2 * rich) - rich)
    crisp = (rich + 0.8 * (rich - blur(rich, 1.4))) * (1 + 0.5 * modelling(luma(rich), 6))
    fine = kuwahara(crisp, 0.8, 1.4)
    broad = kuwahara(blur(rich, 0.8), 2.0, 3.6)
    care = smoothstep(detail(rich), 0.010, 0.034)  # small things are painted with a smaller brush
    level = stroke_field(texture.of("oil"), luma(broad))
    skin = smoothstep(broad[:, 0:1] - broad[:, 2:3], 0.06, 0.22) * smoothstep(broad[:, 1:2] - broad[:, 2:3], -0.02, 0.06)
    shade = (level - 0.5) * (1 - 0.65 * care) * (1 - 0.3 * skin)

    # A stroke takes the colour from beside it and mixes its own shade: borders run as ragged as the brush.
    grid = pixel_grid(frames)
    ground = look_up(broad, grid + 7 * (1 - care) * torch.cat([shade, -shade], 1))
    ground = ground + 0.9 * care * (fine - ground)
    tone = luma(ground)
    steps = 5.0
    phase = steps * (tone + 0.16 * shade)
    whole = phase.floor()
    stepped = (whole + smoothstep(phase - whole, 0.3, 0.7)) / steps - 0.16 * shade
    picture = ground + 0.55 * (1 - 0.6 * care) * (stepped - tone)
    warm = torch.tensor([1.0, 0.15, -0.75], device=frames.device)[:, None, None]
    picture = picture * (1 + 0.36 * shade) + 0.11 * shade * warm * (0.3 + tone) + 0.05 * shade

    gx, gy = slopes(blur(level, 0.5))
    light = torch.tanh(2.6 * (gx + 0.8 * gy)) * (1 - 0.5 * care)
    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.5, line_softness=0.8, contrast_floor=1.2))
    umber = torch.tensor([0.20, 0.13, 0.12], device=frames.device)[:, None, None]
    picture = picture + 0.45 * line * (umber - picture).clamp_max(0)
    return picture * (1 + 0.22 * light) + 0.06 * light.clamp_min(0) ** 2


# watercolour


@exact
def watercolour(frames: Tensor, texture: Texture) -> Tensor:
    """Thin pigment on rough paper: washes with dark rims, grain, blooms, and paper left white.

    The density model is Bousseau, Kaplan, Thollot, Sillion 2006, equation 1: C' = C (1 - (1 - C)(d - 1)).
    """
    sheet, hand, bloom = (2 * x - 1 for x in texture.of("watercolour"))
    bright = 1 - (1 - frames) ** 1.9
    flat = kuwahara(blur(bright, 0.7), 1.8, 3.4)
    care = smoothstep(detail(bright), 0.009, 0.032)  # eyes and letters are painted with a steadier hand
    wobble = torch.cat([hand, 0.5 * hand + 0.8 * bloom], 1)
    flat = look_up(flat, pixel_grid(frames) + 3.6 * (1 - 0.8 * care) * wobble)
    fine = kuwahara(bright + 0.9 * (bright - blur(bright, 1.6)), 0.6, 1.0)
    flat = flat + 0.85 * care * (fine - flat)
    flat = saturate(flat, 1.6).clamp(0, 1)

    # Washes: the tone in soft steps, each with a rim of gathered pigment.
    tone, steps = luma(flat), 4.0
    phase = steps * (tone + 0.05 * (1 - care) * bloom)
    level = phase.floor()
    washed = (level + smoothstep(phase - level, 0.40, 0.60)) / steps
    shift = ((washed + 0.05) / (tone + 0.05) - 1).clamp(-0.25, 0.25)
    pigment = (flat * (1 + 0.6 * (1 - 0.7 * care) * shift)).clamp(0, 1)
    white = torch.tensor([0.985, 0.975, 0.95], device=frames.device)[:, None, None]
    skin = smoothstep(flat[:, 0:1] - flat[:, 2:3], 0.08, 0.25)  # is painted up to its edge
    edge = tone + 0.08 * bloom + 0.02 * hand + 0.012 * sheet - 0.10 * skin
    margin = smoothstep(edge, 0.90, 0.925) * (1 - 0.6 * care)
    pigment = pigment + 0.9 * margin * (white - pigment)

    # Pigment gathers on the dark side of a border, and settles in the hollows of the paper.
    mean = pigment.mean(1, keepdim=True)
    inside = (blur(mean, 2.2) - mean).clamp(0, 0.12)
    rim = (1 - ((bloom + 0.12 * hand - 0.15) / 0.05).square()).clamp_min(0)  # where a bloom dried
    density = 1 + 0.45 * bloom + 0.16 * hand + 0.22 * rim * (1 - care) + 6.5 * inside - 0.24 * sheet
    dried = smoothstep(edge, 0.86, 0.905) * (1 - margin)  # the rim of a wash that dried beside bare paper
    density = density + 0.9 * dried * (1 - care)
    density = density + 0.22 * torch.cat([hand, 0 * hand, -hand], 1)  # pigments of a mixture that parted
    painted = pigment * (1 - (1 - pigment) * (density - 1))
    painted = painted * white * (1 + 0.05 * sheet)
    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.34, line_softness=0.6, contrast_floor=1.2))
    sepia = torch.tensor([0.26, 0.20, 0.22], device=frames.device)[:, None, None]
    return painted + 0.58 * line * (0.8 + 0.5 * sheet) * (sepia - painted)


# pencil


@exact
def pencil(frames: Tensor, texture: Texture) -> Tensor:
    """Graphite with a little coloured pencil: rows of strokes that cross as the tone deepens, and outlines.

    Most of the tone is rubbed in, and the strokes lie on it faintly: they stick to surfaces by an estimated motion, and
    black ones on white paper would show every tenth of a pixel that it is wrong.
    """
    strokes, crossing, tooth = texture.of("pencil")
    sheet = 2 * tooth - 1
    flat = kuwahara(frames, 1.0, 1.6)
    tone = luma(flat).clamp(0, 1)
    tone = 1 - (1 - tone) ** 1.2 + 0.45 * modelling(blur(tone, 1.0), 12)
    dark = 1 - tone.clamp(0, 1)
    care = smoothstep(detail(frames), 0.006, 0.024)  # small things are shaded softly, not hatched over

    graphite = torch.zeros_like(tone)
    rows = ((strokes, 0.09, 0.66, 0.23), (crossing, 0.44, 0.95, 0.21))  # from darkness, to darkness, weight
    for pressure, low, high, weight in rows:
        force = smoothstep(dark, low, high)
        mark = smoothstep(pressure, 0.55 - 0.5 * force, 1.05 - 0.45 * force)  # more pressure, wider and more strokes
        graphite = 1 - (1 - graphite) * (1 - weight * force.sqrt() * (1 - 0.72 * care) * mark)
    smudge = (0.75 - 0.05 * care) * smoothstep(dark, 0.1, 1.0) + 0.2 * smoothstep(dark, 0.5, 0.95)
    graphite = 1 - (1 - graphite) * (1 - smudge)

    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.26, line_softness=1.0, contrast_floor=1.1))
    line = line * (0.8 + 0.2 * strokes)
    graphite = 1 - (1 - graphite) * (1 - 0.4 * line.clamp(0, 1))

    deposit = (graphite * (1.05 + 0.2 * sheet * (1.3 - graphite))).clamp(0, 1)
    white = torch.tensor([0.975, 0.965, 0.94], device=frames.device)[:, None, None]
    lead = torch.tensor([0.13, 0.13, 0.155], device=frames.device)[:, None, None]
    chroma = saturate(flat, 1.3) - luma(flat)
    tint = white + 0.75 * chroma * (1 + 0.2 * sheet)
    return (tint + deposit * (lead + 0.30 * chroma - tint)) * (1 + 0.03 * sheet)


# neon


@exact
def neon(frames: Tensor, texture: Texture) -> Tensor:
    """Night, relit: magenta from the left, cyan from the right, borders that glow.

    Light from the side is a slope, which noise has as well: hence the smooth surface, and slopes over 2 pixels and more.
    """
    flat = kuwahara(blur(frames, 1.0), 1.3, 2.2)
    grey = luma(flat).clamp(0, 1)
    tone = (1 - (1 - grey) ** 2.0 + 0.1 * modelling(grey, 12)).clamp(0, 1)

    def lit(sigma: float, gain: float) -> tuple[Tensor, Tensor]:
        """Light from the left and from the right on the surface whose height is the blurred brightness."""
        gx, _ = slopes(blur(grey, sigma))
        slope = torch.tanh(gain * gx)
        return (-slope).clamp_min(0), slope.clamp_min(0)

    right, left = (a + b + c for a, b, c in zip(lit(2, 9), lit(4, 20), lit(9, 42)))
    magenta = torch.tensor([1.0, 0.12, 0.62], device=frames.device)[:, None, None]
    cyan = torch.tensor([0.05, 0.82, 1.0], device=frames.device)[:, None, None]
    night = torch.tensor([0.16, 0.10, 0.34], device=frames.device)[:, None, None]
    albedo = saturate(1 - (1 - flat.clamp(0, 1)) ** 1.6, 1.4).clamp(0, 1)
    body = tone**1.5
    warm = smoothstep(flat[:, 0:1] - flat[:, 2:3], 0.02, 0.18)  # skin keeps a light of its own
    picture = night * (0.15 + 0.60 * body) + (0.12 + 0.80 * warm) * albedo * body
    picture = picture + 0.9 * (0.12 + body) * (left * magenta + right * cyan)

    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.38, line_softness=0.6, contrast_floor=1.8))
    gx, _ = slopes(blur(grey, 2.0))
    side = 0.5 + 0.5 * torch.tanh(60 * blur(gx, 2.0))
    hue = cyan + side * (magenta - cyan)
    tube = hue * line
    glow = blur(tube, 3.0) + 1.4 * blur(tube, 8.0)  # without a hard core, which would tremble most
    shown = saturate(1 - torch.exp(-1.4 * picture.clamp_min(0)), 1.2)  # even the brightest wall stays in the night
    return 1 - (1 - shown.clamp(0, 1)) * (1 - 0.9 * glow.clamp(0, 1))


# clear


@exact
def clear(frames: Tensor, texture: Texture) -> Tensor:
    """The same scene, well exposed: all frames of the batch get the one tone curve of their common brightness.

    Nothing is invented: one gain and one lift of the shadows, both bounded, both 1 where the scene is fine already.
    """
    grey = luma(linear(frames))
    spread = grey.flatten()
    bright = spread.kthvalue(max(1, int(0.97 * spread.numel()))).values
    gain = (0.4 / bright).clamp(1, 2)
    light = linear(frames) * gain
    middle = display((grey * gain).clamp(1e-4, 1)).mean()
    lift = (torch.log(middle.clamp(0.05, 0.33)) / math.log(0.33)).clamp(1, 1.6)
    shown = display(light.clamp_min(0))
    peak = shown.amax(1, keepdim=True)
    rolled = torch.where(peak > 0.9, 0.9 + 0.1 * torch.tanh((peak - 0.9) / 0.1), peak)
    shown = shown * rolled / peak.clamp_min(1e-4)
    grey = luma(shown).clamp_min(1e-4)
    return shown * grey ** (1 / lift - 1)


STYLES: dict[str, Teacher] = dict(ink=ink, oil=oil, watercolour=watercolour, pencil=pencil, neon=neon, clear=clear)
STOCHASTIC = ("oil", "watercolour", "pencil")
