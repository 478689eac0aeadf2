"""The six teachers: what each style looks like, painted slowly and well.

A teacher maps frames (N, 3, H, W), RGB f32 in [0, 1], and a `Texture` to pictures of the same shape and range. All
work on any device in f32, whatever autocast says. Lengths are in pixels of a picture about 640 x 384. `ink`, `neon`
and `clear` are deterministic; `oil`, `watercolour` and `pencil` take their chances from the texture's tile, and stick
to the surfaces by its anchor (see textures.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor

from filters import (along, bilateral, blur, display, from_lab, kuwahara, lab, linear, look_up, luma, orientation,
                     pixel_grid, saturate, slopes, smoothstep, tangent)
from teacher import Ink
from textures import CHANNELS, SIZE, cell_values, fractal_noise, make_tile, paper, screen, screen_scale, value_noise


@dataclass
class Texture:
    """What the stochastic styles are made of."""

    anchor: Tensor  # (N, 2, H, W) texture coordinates in pixels
    tile: Tensor  # (CHANNELS, SIZE, SIZE) uniform numbers
    sheet: Tensor | None = None  # the paper's own anchor; None fixes it to the screen

    def paper(self, frames: Tensor) -> Tensor:
        """Height of the paper under frames (N, C, H, W): (N, 1, H, W)."""
        return paper(self.tile, screen(frames) if self.sheet is None else self.sheet)

    @staticmethod
    def fixed(frames: Tensor, seed: int) -> Texture:
        """Texture that stays where it is on the screen, for frames without a known motion."""
        return Texture(screen(frames), make_tile(seed).to(frames.device))


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
            sheets = [None] * len(frames) if texture.sheet is None else texture.sheet.split(1)
            parts = zip(frames.split(1), texture.anchor.split(1), sheets)
            painted = [teacher(x, Texture(anchor, texture.tile, sheet)) for x, anchor, sheet in parts]
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
def ink(frames: Tensor, texture: Texture, style: Ink = Ink()) -> Tensor:
    """Flat bright colour and dark lines: `teacher.stylise`, batched."""
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


def listed(x: Tensor) -> Tensor:
    """(N, C, H, W) to (C, N H W)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def brush(colour: Tensor, double: Tensor, scale: tuple[Tensor, Tensor], texture: Texture, where: Tensor, *, cell: float,
          length: float, width: float, clip: float, salt: float) -> tuple[Tensor, Tensor, Tensor]:
    """One layer of discrete strokes, where asked (N, 1, H, W) bool: colour (N, 3, H, W), height, coverage (N, 1, H, W).

    Each cell of the texture grid holds one stroke: a curved, tapered bar of one colour, taken from under its middle,
    that runs along the double angle there and is clipped where the picture differs from it (Litwinowicz 1997). A
    pixel asks the 5 x 5 cells around; of the strokes that reach it the one of highest random rank lies on top.
    length and width are halves. Works on a list of pixels, from which those out of reach of a stroke are dropped early.
    """
    n, _, h, w = colour.shape
    doubles, dice = listed(double), texture.tile.flatten(1)
    tall = colour.transpose(0, 1).reshape(1, 3, n * h, w)  # the frames, one above the other
    todo = where.flatten().nonzero()[:, 0]

    def pick(x: Tensor, index: Tensor) -> Tensor:
        return x.index_select(-1, index)

    ax, ay = pick(listed(texture.anchor + salt), todo)
    real, imaginary, here = pick(scale[0].flatten(), todo), pick(scale[1].flatten(), todo), pick(listed(colour), todo)
    norm = 1 / (real * real + imaginary * imaginary)
    real, imaginary = real * norm, imaginary * norm
    column, line, top = (todo % w).float(), (todo // w % h).float(), todo // (h * w) * h
    base_x, base_y = (ax / cell).floor(), (ay / cell).floor()
    paint, weights = colour.new_zeros(4, len(todo)), colour.new_full((len(todo),), 1e-12)
    covered = colour.new_zeros(len(todo))
    for index in range(25):
        cell_x, cell_y = base_x + (index % 5 - 2), base_y + (index // 5 - 2)
        die = (cell_y.remainder(SIZE) * SIZE + cell_x.remainder(SIZE)).long()
        dx = ax - (cell_x + 0.05 + 0.9 * pick(dice[0], die)) * cell
        dy = ay - (cell_y + 0.05 + 0.9 * pick(dice[1], die)) * cell
        x, y = dx * real + dy * imaginary, dy * real - dx * imaginary  # on the screen, from the stroke's middle
        near = (x * x + y * y < (1.2 * length) ** 2).nonzero()[:, 0]
        x, y, above = pick(x, near), pick(y, near), pick(top, near)
        mx, my = (pick(column, near) - x).clamp(0, w - 1), (pick(line, near) - y).clamp(0, h - 1)
        nearest = (above + my.round().long()) * w + mx.round().long()
        cosine, sine = tangent(pick(doubles, nearest)[None, :, None])[0, :, 0]
        u, v = (x * cosine + y * sine) / length, (y * cosine - x * sine) / width
        reached = ((u.abs() < 1.2) & (v.abs() < 1.5)).nonzero()[:, 0]
        u, v, pixel = pick(u, reached), pick(v, reached), pick(near, reached)
        bend, phase, rank, shade = pick(dice[2:], pick(die, pixel))
        middle = look_up(tall, torch.stack([pick(mx, reached), pick(my + above, reached)])[None, :, None])[0, :, 0]
        v = v + (bend - 0.5) * (u * u - 0.3)
        difference = (middle - pick(here, pixel)).square().sum(0)
        hair = torch.sin(9 * v + 40 * phase) + torch.sin(17 * v + 90 * phase + 2 * u)
        u2, v2 = u * u, v * v
        ragged = 1 - u2 * u.abs() * (1 + 0.25 * hair) - v2 * v.abs()
        cover = smoothstep(ragged - difference / (clip * clip), -0.1, 1.2 / width)
        weight = cover * torch.exp(28 * rank)
        height = 0.55 * (1 - v2).clamp_min(0) + 0.16 * hair + 0.3 * u2.clamp_max(1) + 0.5 * rank
        tinted = middle * (1 + 0.14 * (shade - 0.5)) + 0.012 * hair
        paint.index_add_(1, pixel, weight * torch.cat([tinted, height[None]]))
        weights.index_add_(0, pixel, weight)
        covered.index_copy_(0, pixel, torch.maximum(pick(covered, pixel), cover))
    result = colour.new_zeros(5, n * h * w)
    result[:, todo] = torch.cat([paint / weights, covered[None]])
    return result.view(5, n, h, w).transpose(0, 1).split((3, 1, 1), 1)


@exact
def oil(frames: Tensor, texture: Texture) -> Tensor:
    """Thick paint: broad strokes, finer ones where there is more to say, lit from the upper left."""
    rich = 1 - (1 - saturate(frames, 1.35).clamp(0, 1)) ** 1.25
    rich = rich + 0.35 * (rich * rich * (3 - 2 * rich) - rich)
    crisp = (rich + 0.8 * (rich - blur(rich, 1.4))) * (1 + 0.5 * modelling(luma(rich), 6))
    flat = kuwahara(rich, 1.3, 2.2)
    broad = kuwahara(blur(rich, 1.0), 2.2, 4.0)
    real, imaginary = scale = screen_scale(texture.anchor)
    grey = luma(flat)
    # Where nothing runs anywhere, strokes follow slow curls of their own, that turn with the surface.
    curl = 2 * math.pi * 1.2 * value_noise(texture.tile, texture.anchor, 60, 1) - 2 * torch.atan2(imaginary, real) + 1.2
    idle = torch.cat([curl.cos(), curl.sin()], 1)

    def runs(sigma: float, floor: float) -> Tensor:
        flow = orientation(grey, sigma)
        trust = flow[:, 2:3] / (flow[:, 2:3] + floor * floor)
        return flow[:, :2] * trust + 0.12 * idle

    busy = detail(rich)
    layers = (
        (broad, runs(5, 0.012), dict(cell=8.5, length=17, width=5.4, clip=0.20, salt=0.0), None),
        (flat, runs(3, 0.012), dict(cell=4.2, length=8, width=2.5, clip=0.13, salt=911.0), (0.007, 0.018)),
        (crisp, runs(1.5, 0.02), dict(cell=2.4, length=4.0, width=1.2, clip=0.08, salt=2003.0), (0.018, 0.045)),
    )
    picture, relief = flat, torch.zeros_like(grey)
    for colour, double, shape, needed in layers:
        wanted = torch.ones_like(grey)
        if needed:
            wanted = smoothstep(busy + 0.5 * needed[0] * value_noise(texture.tile, texture.anchor, 5, 3), *needed)
        paint, height, cover = brush(colour, double, scale, texture, wanted > 0, **shape)
        cover = cover * wanted
        picture = picture + cover * (paint - picture)
        relief = relief + cover * (min(1.0, 0.4 + 0.15 * shape["width"]) * height - relief)
    gx, gy = slopes(blur(relief, 0.6))
    light = torch.tanh(2.2 * (gx + 0.8 * gy))
    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.5, line_softness=0.8, contrast_floor=1.2))
    umber = torch.tensor([0.20, 0.13, 0.12], device=frames.device)[:, None, None]
    picture = picture + 0.45 * line * (umber - picture).clamp_max(0)
    return picture * (1 + 0.18 * light) + 0.05 * light.clamp_min(0) ** 2


# watercolour


@exact
def watercolour(frames: Tensor, texture: Texture) -> Tensor:
    """Thin pigment on rough paper: washes with dark rims, grain, blooms, and paper left white.

    The density model is Bousseau, Kaplan, Thollot, Sillion 2006, equation 1: C' = C (1 - (1 - C)(d - 1)).
    """
    tile, anchor = texture.tile, texture.anchor
    sheet = texture.paper(frames)
    wobble = torch.cat([fractal_noise(tile, anchor, 14, 3, 0), fractal_noise(tile, anchor, 14, 3, 3)], 1)
    bright = 1 - (1 - frames) ** 1.9
    flat = kuwahara(blur(bright, 0.7), 1.8, 3.4)
    care = smoothstep(detail(bright), 0.009, 0.032)  # eyes and letters are painted with a steadier hand
    flat = look_up(flat, pixel_grid(frames) + 5.0 * (1 - 0.8 * care) * wobble)
    fine = kuwahara(bright + 0.9 * (bright - blur(bright, 1.6)), 0.6, 1.0)
    flat = flat + 0.85 * care * (fine - flat)
    flat = saturate(flat, 1.55).clamp(0, 1)

    # Washes: the tone in soft steps, each with a rim of gathered pigment.
    tone, steps = luma(flat), 4.0
    phase = steps * (tone + 0.05 * (1 - care) * fractal_noise(tile, anchor, 40, 2, 1))
    level = phase.floor()
    washed = (level + smoothstep(phase - level, 0.40, 0.60)) / steps
    shift = ((washed + 0.05) / (tone + 0.05) - 1).clamp(-0.25, 0.25)
    pigment = (flat * (1 + 0.55 * (1 - 0.7 * care) * shift)).clamp(0, 1)
    white = torch.tensor([0.985, 0.975, 0.95], device=frames.device)[:, None, None]
    ragged = 0.12 * fractal_noise(tile, anchor, 60, 2, 2) + 0.02 * fractal_noise(tile, anchor, 7, 2, 0)
    skin = smoothstep(flat[:, 0:1] - flat[:, 2:3], 0.08, 0.25)  # is painted up to its edge
    edge = tone + ragged + 0.012 * sheet - 0.10 * skin
    margin = smoothstep(edge, 0.90, 0.925) * (1 - 0.6 * care)
    pigment = pigment + 0.9 * margin * (white - pigment)

    # Pigment gathers on the dark side of a border, and settles in the hollows of the paper.
    mean = pigment.mean(1, keepdim=True)
    inside = (blur(mean, 2.2) - mean).clamp(0, 0.12)
    blooms = 0.50 * fractal_noise(tile, anchor, 80, 2, 4) + 0.20 * fractal_noise(tile, anchor, 18, 2, 5)
    dried = smoothstep(edge, 0.86, 0.905) * (1 - margin)  # the rim of a wash that dried beside bare paper
    density = 1 + blooms + 6.5 * inside + 0.9 * dried * (1 - care) - 0.26 * sheet
    apart = value_noise(tile, anchor, 45, 1)  # pigments of a mixture that parted, some warm, some cold
    density = density + 0.35 * torch.cat([apart, 0 * apart, -apart], 1)
    painted = pigment * (1 - (1 - pigment) * (density - 1))
    painted = painted * white * (1 + 0.05 * sheet)
    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.34, line_softness=0.6, contrast_floor=1.2))
    sepia = torch.tensor([0.26, 0.20, 0.22], device=frames.device)[:, None, None]
    return painted + 0.58 * line * (0.8 + 0.5 * sheet) * (sepia - painted)


# pencil


def hatch(texture: Texture, angle: float, bend: Tensor, *, spacing: float, width: float, length: float,
          channel: int) -> Tensor:
    """Pressure of one direction of hatching, (N, 1, H, W) in [0, 1]: separate strokes that taper, in wavering rows.

    angle is in texture space; bend (N, 1, H, W), in pixels, pushes the rows sideways.
    """
    x, y = texture.anchor.split(1, 1)
    c, s = math.cos(angle), math.sin(angle)
    u, v = x * c + y * s, y * c - x * s + bend
    waver = torch.cat([u / 3, v], 1)
    v = v + 2.2 * value_noise(texture.tile, waver, 12, channel)
    row = (v / spacing).floor()
    pressure = torch.zeros_like(u)
    for offset in (-1, 0, 1):
        line = row + offset
        chance = cell_values(texture.tile, torch.cat([line, torch.full_like(line, 17.0 * channel)], 1))
        middle = (line + 0.5 + 0.7 * (chance[:, 0:1] - 0.5)) * spacing
        place = u / (length * (0.7 + 0.6 * chance[:, 1:2])) + 50 * chance[:, 2:3]
        segment = place.floor()
        within = place - segment
        each = cell_values(texture.tile, torch.cat([segment, line], 1), channel % 4, 2)
        slant = (within - 0.5) * 1.6 * (each[:, 1:2] - 0.5) * spacing
        profile = (0.5 * width + 0.6 - (v - middle - slant).abs()).clamp(0, 1)
        taper = smoothstep(within, 0.0, 0.12) * smoothstep(1 - within, 0.0, 0.35)
        pressure = torch.maximum(pressure, profile * taper * (0.45 + 0.55 * each[:, 0:1]))
    return pressure


@exact
def pencil(frames: Tensor, texture: Texture) -> Tensor:
    """Graphite with a little coloured pencil: rows of strokes that cross as the tone deepens, outlines drawn twice."""
    tile, anchor = texture.tile, texture.anchor
    sheet = texture.paper(frames)
    flat = kuwahara(frames, 1.0, 1.6)
    tone = luma(flat).clamp(0, 1)
    tone = 1 - (1 - tone) ** 1.7 + 0.7 * modelling(tone, 12)
    dark = 1 - tone.clamp(0, 1)
    bend = 16 * blur(tone, 5)
    care = smoothstep(detail(frames), 0.006, 0.024)  # small things are shaded softly, not hatched over

    graphite = torch.zeros_like(tone)
    rows = (  # angle, from darkness, to darkness, weight
        (-0.85, 0.04, 0.60, 0.72), (-0.70, 0.45, 0.90, 0.55), (0.75, 0.50, 0.95, 0.50), (0.1, 0.70, 1.0, 0.50),
    )
    for index, (angle, low, high, weight) in enumerate(rows):
        shape = dict(spacing=2.7 - 0.15 * index, width=1.1, length=30 - 4 * index)
        strokes = hatch(texture, angle, bend, **shape, channel=index)
        force = smoothstep(dark, low, high)
        graphite = 1 - (1 - graphite) * (1 - weight * force * (1 - 0.75 * care) * strokes)
    smudge = (0.30 + 0.25 * care) * smoothstep(dark, 0.1, 1.0) + 0.32 * smoothstep(dark, 0.5, 0.95)
    graphite = 1 - (1 - graphite) * (1 - smudge)

    lightness = lab(frames)[:, :1]
    style = Ink(line_threshold=0.26, line_softness=0.6, contrast_floor=1.1)
    line = ink_lines(lightness, style)
    shake = torch.cat([value_noise(tile, anchor, 16, 0), value_noise(tile, anchor, 16, 3)], 1)
    grid = pixel_grid(frames)
    once = look_up(line, grid + (2.4 - 1.8 * care) * shake)
    line = torch.maximum(once, 0.7 * look_up(line, grid - (3.2 - 2.4 * care) * shake.flip(1)))
    line = line * (0.75 + 0.9 * value_noise(tile, anchor, 9, 5))
    graphite = 1 - (1 - graphite) * (1 - 0.85 * line.clamp(0, 1))

    deposit = (graphite * (1.05 + 0.5 * sheet * (1.3 - graphite))).clamp(0, 1)
    white = torch.tensor([0.975, 0.965, 0.94], device=frames.device)[:, None, None]
    lead = torch.tensor([0.13, 0.13, 0.155], device=frames.device)[:, None, None]
    chroma = saturate(flat, 1.3) - luma(flat)
    tint = white + 0.55 * chroma * (1 + 0.5 * sheet)
    return (tint + deposit * (lead + 0.30 * chroma - tint)) * (1 + 0.03 * sheet)


# neon


@exact
def neon(frames: Tensor, texture: Texture) -> Tensor:
    """Night, relit: magenta from the left, cyan from the right, borders that glow."""
    flat = kuwahara(frames, 0.9, 1.4)
    grey = luma(flat).clamp(0, 1)
    tone = (1 - (1 - grey) ** 2.0 + 0.9 * modelling(grey, 12)).clamp(0, 1)

    def lit(sigma: float, gain: float) -> tuple[Tensor, Tensor]:
        """Light from the left and from the right on the surface whose height is the blurred brightness."""
        gx, _ = slopes(blur(grey, sigma))
        slope = torch.tanh(gain * gx)
        return (-slope).clamp_min(0), slope.clamp_min(0)

    right, left = (a + b + c for a, b, c in zip(lit(1.2, 6), lit(3, 18), lit(8, 40)))
    magenta = torch.tensor([1.0, 0.12, 0.62], device=frames.device)[:, None, None]
    cyan = torch.tensor([0.05, 0.82, 1.0], device=frames.device)[:, None, None]
    night = torch.tensor([0.16, 0.10, 0.34], device=frames.device)[:, None, None]
    albedo = saturate(1 - (1 - flat.clamp(0, 1)) ** 1.9, 1.3).clamp(0, 1)
    body = tone**1.5
    warm = smoothstep(flat[:, 0:1] - flat[:, 2:3], 0.02, 0.18)  # skin keeps a light of its own
    picture = night * (0.15 + 0.60 * body) + (0.12 + 0.70 * warm) * albedo * body
    picture = picture + 0.75 * (0.12 + body) * (left * magenta + right * cyan)

    line = ink_lines(lab(frames)[:, :1], Ink(line_threshold=0.38, line_softness=0.6, contrast_floor=1.8))
    gx, _ = slopes(blur(grey, 2.0))
    side = 0.5 + 0.5 * torch.tanh(60 * blur(gx, 2.0))
    hue = cyan + side * (magenta - cyan)
    tube = hue * line
    glow = 0.6 * tube + 0.8 * blur(tube, 2.0) + 0.9 * blur(tube, 8.0)
    shown = saturate(1 - torch.exp(-1.2 * picture.clamp_min(0)), 1.2)  # even the brightest wall stays in the night
    return 1 - (1 - shown.clamp(0, 1)) * (1 - 0.9 * glow.clamp(0, 1))


# clear


@exact
def clear(frames: Tensor, texture: Texture) -> Tensor:
    """The clean scene, well exposed: all frames of the batch get the one tone curve of their common brightness.

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
