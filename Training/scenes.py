"""Scenes as a webcam might see them, drawn from nothing but a seed.

Two families: "dead leaves" (overlapping shapes with gradients, textures and soft shadows; the statistics of
natural pictures) and rooms (walls, windows, panels, shelves, text) with people who have faces and hands. A
picture is f32 RGB, (H, W, 3), in [0, 1]; a mask is f32, (H, W), in [0, 1]; points are (x, y) in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

SUBPIXEL_BITS = 4
SKIN_TONES = np.array([
    (0.95, 0.80, 0.72), (0.88, 0.70, 0.60), (0.80, 0.60, 0.48), (0.70, 0.50, 0.38),
    (0.58, 0.40, 0.30), (0.45, 0.30, 0.22), (0.34, 0.22, 0.16), (0.72, 0.60, 0.55),
])
HAIR_TONES = np.array([
    (0.07, 0.06, 0.06), (0.16, 0.11, 0.08), (0.30, 0.20, 0.13), (0.50, 0.36, 0.20),
    (0.70, 0.56, 0.35), (0.55, 0.54, 0.53), (0.45, 0.18, 0.08),
])


# Masks and paint


def polygon(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Anti-aliased mask of the polygon through points (n, 2)."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round(np.asarray(points) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask.astype(np.float32) / 255


def ellipse_points(centre: np.ndarray, radii: tuple[float, float], angle: float = 0, power: float = 2, count: int = 48) -> np.ndarray:
    """Outline (count, 2) of a superellipse; power 2 is an ellipse, above that it gets boxier."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    x = radii[0] * np.sign(c) * np.abs(c) ** (2 / power)
    y = radii[1] * np.sign(s) * np.abs(s) ** (2 / power)
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1) + centre


def stroke(shape: tuple[int, int], points: np.ndarray, width: float) -> np.ndarray:
    """Mask of a polyline with round ends. Thin lines fade, they do not vanish."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round(np.asarray(points) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.polylines(mask, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
    return mask.astype(np.float32) * (min(1.0, width) / 255)


def curve(*points: tuple[float, float], count: int = 12) -> np.ndarray:
    """Quadratic Bézier curve through its first and last point, (count, 2)."""
    a, b, c = (np.asarray(p, float) for p in points)
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c


def soften(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; the identity for a sigma under a fifth of a pixel."""
    return cv2.GaussianBlur(mask, (0, 0), sigma) if sigma > 0.2 else mask


def paint(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray, opacity: float = 1) -> None:
    """Lay colour, (3,) or (H, W, 3), over the picture in place; only where the mask is, which saves most of the time.

    A picture of four channels is a layer: colour times coverage, then coverage.
    """
    x, y, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    if width == 0:
        return
    window = np.s_[y : y + height, x : x + width]
    alpha, colour = np.float32(opacity) * mask[window][..., None], np.asarray(colour, np.float32)
    part = picture[window]
    part[..., :3] += alpha * ((colour[window] if colour.ndim == 3 else colour) - part[..., :3])
    if picture.shape[2] == 4:
        part[..., 3:] += alpha * (1 - part[..., 3:])


def cast_shadow(picture: np.ndarray, mask: np.ndarray, offset: np.ndarray, sigma: float, depth: float) -> None:
    """Darken the picture where the mask's shadow falls; a layer of four channels holds the shadow itself."""
    moved = cv2.warpAffine(mask, np.float32([[1, 0, offset[0]], [0, 1, offset[1]]]), mask.shape[::-1])
    paint(picture, soften(moved, sigma), np.zeros(3), depth)


# Textures


def noise(rng: Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> np.ndarray:
    """Fractal noise, (H, W), mean about 0, standard deviation about 0.5; cell is the largest feature in pixels."""
    height, width = shape
    total, amplitude = np.zeros(shape, np.float32), 1.0
    for octave in range(octaves):
        size = max(1.0, cell / 2**octave)
        grid = rng.normal(size=(int(height / size) + 3, int(width / size) + 3)).astype(np.float32)
        big = cv2.resize(grid, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
        total += amplitude * big[:height, :width]
        amplitude *= 0.5
    return 0.5 * total


def strands(rng: Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Noise drawn out downwards, as hair falls, (H, W)."""
    height, width = shape
    return cv2.resize(noise(rng, (height // 6 + 1, width), max(1.5, cell)), (width, height), interpolation=cv2.INTER_CUBIC)


def gradient(rng: Generator, shape: tuple[int, int]) -> np.ndarray:
    """A linear ramp in [-1, 1] in a random direction, (H, W)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    return (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)


def stripes(rng: Generator, shape: tuple[int, int], period: float) -> np.ndarray:
    """Soft-edged stripes in [0, 1], (H, W)."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform(0, 7))
    return np.clip(0.5 + rng.uniform(0.7, 3) * wave, 0, 1)


def random_colour(rng: Generator) -> np.ndarray:
    """Greys, pastels and strong colours alike, (3,)."""
    value, saturation = rng.uniform(0.04, 1), rng.beta(1.0, 1.8)
    hue = rng.uniform(0, 6)
    full = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - full))


def material(rng: Generator, shape: tuple[int, int], colour: np.ndarray) -> np.ndarray:
    """A surface of roughly one colour: plain, shaded, mottled, striped or woven; (H, W, 3)."""
    surface = np.broadcast_to(np.float32(colour), (*shape, 3)).copy()
    surface *= (1 + rng.uniform(0, 0.35) * gradient(rng, shape))[..., None]
    kind = rng.random()
    if kind < 0.35:
        surface *= (1 + rng.uniform(0.02, 0.25) * noise(rng, shape, rng.uniform(4, 60)))[..., None]
    elif kind < 0.45:
        surface += rng.uniform(0.02, 0.15) * noise(rng, shape, rng.uniform(1.5, 5), 2)[..., None]
    elif kind < 0.57:
        band = stripes(rng, shape, rng.uniform(4, 40))[..., None]
        surface += band * (random_colour(rng) - surface) * rng.uniform(0.1, 1)
    elif kind < 0.62:
        weave = stripes(rng, shape, rng.uniform(6, 30)) * stripes(rng, shape, rng.uniform(6, 30))
        surface += weave[..., None] * (random_colour(rng) - surface) * rng.uniform(0.2, 1)
    return np.clip(surface, 0, 1)


# Dead leaves


def leaf_mask(rng: Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """One random shape of about the given size: ellipse, polygon, box, stroke or curve."""
    centre = rng.uniform(-0.1, 1.1, 2) * shape[::-1]
    kind, angle = rng.random(), rng.uniform(0, np.pi)
    if kind < 0.35:
        radii = (size * rng.uniform(0.3, 1), size * rng.uniform(0.3, 1))
        return polygon(shape, ellipse_points(centre, radii, angle, rng.choice([2, 2, 3, 6])))
    if kind < 0.6:
        count = rng.integers(3, 9)
        t = np.sort(rng.uniform(0, 2 * np.pi, count))
        radius = size * rng.uniform(0.4, 1.1, count)
        return polygon(shape, centre + np.stack([radius * np.cos(t), radius * np.sin(t)], 1))
    if kind < 0.8:
        tilt = rng.choice([0, 0, rng.normal(0, 0.1), angle])
        box = ellipse_points(np.zeros(2), (size * rng.uniform(0.1, 1.2), size * rng.uniform(0.1, 1.2)), 0, 40)
        turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        return polygon(shape, centre + box @ turn)
    points = centre + rng.normal(0, size, (3, 2))
    return stroke(shape, curve(*points), rng.uniform(0.6, 2 + size / 8))


def add_leaf(rng: Generator, picture: np.ndarray, size: float) -> None:
    """Lay one textured shape over the picture, with a shadow under it or a dark rim now and then."""
    shape = picture.shape[:2]
    mask = soften(leaf_mask(rng, shape, size), rng.choice([0, rng.uniform(0, 1.2), rng.uniform(0, 3)], p=[0.5, 0.4, 0.1]))
    if rng.random() < 0.35:
        cast_shadow(picture, mask, rng.normal(0, 2 + size / 12, 2), rng.uniform(0.8, 2 + size / 6), rng.uniform(0.1, 0.6))
    paint(picture, mask, material(rng, shape, random_colour(rng)), rng.choice([1, rng.uniform(0.3, 1)], p=[0.85, 0.15]))


def dead_leaves(rng: Generator, shape: tuple[int, int]) -> np.ndarray:
    """Overlapping leaves whose sizes follow a power law, from large to small."""
    picture = material(rng, shape, random_colour(rng))
    largest = 0.6 * max(shape)
    sizes = np.exp(rng.uniform(np.log(3), np.log(largest), rng.integers(15, 70)))
    for size in sorted(sizes, reverse=True):
        add_leaf(rng, picture, size)
    return picture


# Rooms


def add_text(rng: Generator, picture: np.ndarray, origin: np.ndarray, width: float, rows: int, colour: np.ndarray) -> None:
    """Lines of letters, or of bars that look like a page from afar."""
    shape = picture.shape[:2]
    scale = rng.uniform(0.25, 0.9)
    line = 30 * scale * rng.uniform(1, 1.5)
    mask = np.zeros(shape, np.uint8)
    for row in range(rows):
        letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyzABCDEFGHKMNRST   .,"), max(1, int(width / (18 * scale)))))
        position = (int(origin[0]), int(origin[1] + (row + 1) * line))
        cv2.putText(mask, letters, position, int(rng.integers(0, 5)), scale, 255, 2 if scale > 0.6 else 1, cv2.LINE_AA)
    paint(picture, soften(mask.astype(np.float32) / 255, rng.uniform(0, 0.8)), colour, rng.uniform(0.5, 1))


def add_panel(rng: Generator, picture: np.ndarray, unit: float) -> None:
    """A board, screen, window, door, poster or page: an upright, slightly tilted box, often framed."""
    shape = picture.shape[:2]
    centre = rng.uniform(-0.1, 1.1, 2) * shape[::-1]
    radii = unit * rng.uniform(0.3, 2.2, 2)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * radii + rng.normal(0, 0.05 * unit, (4, 2)) + centre
    colour = random_colour(rng)
    blur = rng.choice([0, rng.uniform(0, 1.5)])
    mask = soften(polygon(shape, corners), blur)
    if rng.random() < 0.4:
        cast_shadow(picture, mask, rng.normal(0, 4, 2), rng.uniform(2, 8), rng.uniform(0.1, 0.4))
    paint(picture, mask, material(rng, shape, colour))
    if rng.random() < 0.5:
        inner = centre + (corners - centre) * (1 - rng.uniform(0.03, 0.25))
        paint(picture, soften(polygon(shape, inner), blur), material(rng, shape, random_colour(rng)))
    if rng.random() < 0.35:
        ink = 0.1 * random_colour(rng) if colour.mean() > 0.45 else 1 - 0.1 * random_colour(rng)
        add_text(rng, picture, corners[0] + 0.1 * unit, 1.6 * radii[0], rng.integers(1, 10), ink)


def room(rng: Generator, shape: tuple[int, int], unit: float) -> np.ndarray:
    """A wall with light falling on it, its panels, edges and clutter; unit is about a head's height."""
    tint = rng.normal(0, 0.04, 3)
    wall = np.clip(rng.choice([rng.uniform(0.55, 0.95), rng.uniform(0.15, 0.95)], p=[0.65, 0.35]) + tint, 0, 1)
    if rng.random() < 0.25:
        wall = random_colour(rng)
    picture = material(rng, shape, wall)
    picture *= (1 + rng.uniform(0, 0.25) * gradient(rng, shape) + 0.03 * noise(rng, shape, 80))[..., None]
    for _ in range(rng.integers(0, 5)):
        add_panel(rng, picture, unit)
    for _ in range(rng.integers(0, 5)):  # edges of walls, cables, shelves
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * shape[::-1]
        axis = rng.integers(0, 3)
        if axis < 2:
            ends[1, axis] = ends[0, axis] + rng.normal(0, 3)
        shade = rng.choice([rng.uniform(0, 0.3), rng.uniform(0.8, 1)])
        paint(picture, soften(stroke(shape, ends, rng.uniform(0.7, 6)), rng.uniform(0, 1.5)), np.full(3, shade), rng.uniform(0.15, 1))
    for _ in range(rng.integers(0, 6)):
        add_leaf(rng, picture, unit * np.exp(rng.uniform(-2, 0.3)))
    return picture


def add_lamp(rng: Generator, picture: np.ndarray, unit: float) -> None:
    """A lit shade or bulb, too bright for the camera, and the light it throws on what is around."""
    shape = picture.shape[:2]
    centre, size = rng.uniform((0, 0), (1, 0.7)) * shape[::-1], unit * rng.uniform(0.15, 0.5)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    near = 1 / (1 + ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (3 * size) ** 2)
    colour = np.clip(np.array([1.0, rng.uniform(0.8, 1), rng.uniform(0.55, 1)]), 0, 1)
    picture += near[..., None] * rng.uniform(0.2, 0.6) * colour * (0.3 + picture)
    radii = (size * rng.uniform(0.4, 1), size * rng.uniform(0.4, 1))
    bulb = polygon(shape, ellipse_points(centre, radii, 0, rng.choice([2, 4])))
    paint(picture, soften(bulb, rng.uniform(0.3, 2)), np.minimum(1, 0.25 + colour))


# People


def skin_surface(rng: Generator, shape: tuple[int, int], tone: np.ndarray, unit: float) -> np.ndarray:
    """Skin under a light from one side, slightly mottled, (H, W, 3)."""
    shade = 1 + 0.05 * noise(rng, shape, max(3, 0.3 * unit))
    surface = np.float32(tone) * shade[..., None]
    surface[..., 0] += 0.03 * noise(rng, shape, max(3, 0.5 * unit), 2)
    return np.clip(surface, 0, 1)


class Head:
    """A frame on a face: (u, v) in head heights, the origin between the eyes, v down, turned and tilted."""

    def __init__(self, rng: Generator, centre: np.ndarray, unit: float) -> None:
        self.centre, self.unit = centre, unit
        self.tilt, self.turn = rng.normal(0, 0.12), rng.normal(0, 0.07)

    def at(self, points: object) -> np.ndarray:
        """Face coordinates (..., 2) to pixels."""
        p = np.asarray(points, float) * self.unit
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([p[..., 0] * c - p[..., 1] * s, p[..., 0] * s + p[..., 1] * c], -1) + self.centre

    def feature(self, points: object) -> np.ndarray:
        """The same for what moves with a turn of the head."""
        return self.at(np.asarray(points, float) + (self.turn, 0))

    def oval(self, centre: tuple[float, float], radii: tuple[float, float], power: float = 2) -> np.ndarray:
        """Outline of an ellipse that belongs to the features, (48, 2) pixels."""
        return self.feature(ellipse_points(np.array(centre), radii, 0, power))


def add_eye(picture: np.ndarray, head: Head, side: int, look: dict) -> None:
    """One eye with its socket, lid, iris, pupil and brow; side is -1 or 1."""
    shape, unit = picture.shape[:2], head.unit
    u, half, open_ = 0.165 * side, look["eye_width"], look["eye_open"]
    blur, opacity = look["blur"], look["contrast"]
    dark = look["skin"] * 0.35
    paint(picture, soften(polygon(shape, head.oval((u, -0.01), (1.5 * half, 0.07))), 0.04 * unit), look["skin"] * 0.72, look["socket"])
    if open_ > 0.008:
        white = polygon(shape, head.oval((u, 0), (half, open_)))
        paint(picture, soften(white, blur), look["eye_white"], opacity)
        gaze = u + look["gaze"][0] * half
        iris = polygon(shape, head.oval((gaze, look["gaze"][1] * open_), (0.036, 0.036))) * white
        paint(picture, soften(iris, blur), look["iris"], opacity)
        pupil = polygon(shape, head.oval((gaze, look["gaze"][1] * open_), (0.018, 0.018))) * white
        paint(picture, soften(pupil, blur), np.full(3, 0.03), opacity)
        if look["glint"]:
            paint(picture, soften(polygon(shape, head.oval((gaze + 0.01, -0.012), (0.008, 0.008))), 0.3 * blur), np.ones(3), 0.8)
    lid = curve((u - half, 0.01), (u, -1.9 * open_), (u + half, 0.01))
    paint(picture, soften(stroke(shape, head.feature(lid), 0.022 * unit * look["lid"]), blur), dark, opacity)
    under = curve((u - 0.8 * half, 0.02), (u, 1.9 * open_ + 0.01), (u + 0.8 * half, 0.02))
    paint(picture, soften(stroke(shape, head.feature(under), 0.012 * unit), blur), dark, 0.5 * opacity)
    height = -look["brow_height"]
    brow = curve((u - side * 1.1 * half, height + 0.01), (u, height - 0.03), (u + side * 1.35 * half, height + look["brow_slope"]))
    paint(picture, soften(stroke(shape, head.feature(brow), look["brow_width"] * unit), blur), look["hair"], look["brow_opacity"])


def add_nose_and_mouth(picture: np.ndarray, head: Head, look: dict) -> None:
    """A nose of shadows, a mouth of lips and the dark line between, at times open with teeth."""
    shape, unit, blur, opacity = picture.shape[:2], head.unit, look["blur"], look["contrast"]
    skin, side = look["skin"], look["light_side"]
    ridge = polygon(shape, head.feature([(0, -0.02), (-0.05 * side, 0.2), (0.01 * side, 0.21)]))
    paint(picture, soften(ridge, 0.015 * unit), skin * 0.7, 0.6 * look["socket"])
    base = curve((-0.06, 0.205), (0, 0.25), (0.06, 0.205))
    paint(picture, soften(stroke(shape, head.feature(base), 0.016 * unit), blur), skin * 0.5, 0.7 * opacity)
    for u in (-0.03, 0.03):
        paint(picture, soften(polygon(shape, head.oval((u, 0.215), (0.018, 0.010))), blur), skin * 0.3, 0.8 * opacity)
    tip = polygon(shape, head.oval((0.02 * side, 0.16), (0.025, 0.035)))
    paint(picture, soften(tip, 0.02 * unit), np.clip(skin * 1.25 + 0.05, 0, 1), 0.5)
    half, v, smile, gap = look["mouth_width"], 0.345, look["smile"], look["mouth_open"]
    upper = curve((-half, v - smile), (0, v - 0.055), (half, v - smile))
    lower = curve((half, v - smile), (0, v + 0.085 + 2 * gap), (-half, v - smile))
    paint(picture, soften(polygon(shape, head.feature(np.vstack([upper, lower]))), blur), look["lips"], 0.8 * opacity)
    if gap > 0.01:
        inside = np.vstack([
            curve((-0.85 * half, v - smile), (0, v + 0.2 * smile), (0.85 * half, v - smile)),
            curve((0.85 * half, v - smile), (0, v + 2 * gap + smile), (-0.85 * half, v - smile)),
        ])
        paint(picture, soften(polygon(shape, head.feature(inside)), blur), np.array([0.2, 0.06, 0.06]), opacity)
        if look["teeth"]:
            teeth = curve((-0.7 * half, v - 0.8 * smile), (0, v + 0.6 * smile + 0.6 * gap), (0.7 * half, v - 0.8 * smile))
            paint(picture, soften(polygon(shape, head.feature(teeth)), blur), np.full(3, 0.88), opacity)
    else:
        middle = curve((-half, v - smile), (0, v + smile), (half, v - smile))
        paint(picture, soften(stroke(shape, head.feature(middle), 0.016 * unit), blur), skin * 0.3, opacity)
    chin = curve((-0.07, 0.44), (0, 0.46), (0.07, 0.44))
    paint(picture, soften(stroke(shape, head.feature(chin), 0.025 * unit), 0.015 * unit), skin * 0.7, 0.4 * opacity)


def random_look(rng: Generator, unit: float) -> dict:
    """What makes one face differ from another."""
    skin = np.clip(SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.65, 1.1) + rng.normal(0, 0.02, 3), 0.05, 1)
    hair = np.clip(HAIR_TONES[rng.integers(len(HAIR_TONES))] * rng.uniform(0.7, 1.3), 0, 1)
    closed = rng.random() < 0.12
    return dict(
        skin=skin, hair=hair, light_side=rng.choice([-1, 1]), light=rng.uniform(0, 0.35),
        blur=unit * rng.uniform(0, 0.012) + rng.uniform(0, 0.8), contrast=rng.uniform(0.45, 1),
        socket=rng.uniform(0, 0.8), eye_white=np.full(3, rng.uniform(0.55, 0.92)) * (0.5 + 0.5 * skin),
        eye_width=rng.uniform(0.062, 0.085), eye_open=0.004 if closed else rng.uniform(0.018, 0.036),
        iris=np.clip(rng.uniform(0.05, 0.35) * rng.uniform(0.6, 1.3, 3), 0, 1), gaze=rng.normal(0, (0.25, 0.15)),
        lid=rng.uniform(0.6, 1.5), brow_height=rng.uniform(0.07, 0.11), brow_slope=rng.normal(0.005, 0.012),
        brow_width=rng.uniform(0.018, 0.04), brow_opacity=rng.uniform(0.25, 0.95),
        lips=np.clip(skin * np.array([1.0, rng.uniform(0.55, 0.8), rng.uniform(0.6, 0.85)]), 0, 1),
        mouth_width=rng.uniform(0.10, 0.17), smile=rng.normal(0.012, 0.015),
        mouth_open=rng.choice([0, rng.uniform(0, 0.05)], p=[0.65, 0.35]),
        glint=rng.random() < 0.5, teeth=rng.random() < 0.6, beard=rng.uniform(0.1, 0.8) * (rng.random() < 0.25),
        jaw=rng.uniform(0.33, 0.38), edge=rng.uniform(0, 1) + 0.004 * unit, long_hair=rng.random() < 0.45,
    )


def add_hair(rng: Generator, picture: np.ndarray, head: Head, look: dict, jaw: float) -> None:
    """A cap of hair with a parting and strands, over a finished face."""
    shape, unit = picture.shape[:2], head.unit
    part, depth = rng.uniform(-0.2, 0.2), rng.uniform(0.16, 0.30)
    outer = ellipse_points(np.array([0, -0.08]), (jaw * rng.uniform(1.03, 1.15), rng.uniform(0.42, 0.47)))
    outer = outer[outer[:, 1] < rng.uniform(-0.08, 0.05)]
    outer = outer[np.argsort(outer[:, 0])]
    inner = np.vstack([curve((jaw * 0.95, outer[-1, 1]), (0.8 * jaw, -depth - 0.1), (part, -depth)),
                       curve((part, -depth), (-0.8 * jaw, -depth - 0.1), (-jaw * 0.95, outer[0, 1]))])
    mask = soften(polygon(shape, head.at(np.vstack([outer, inner]))), look["blur"] * rng.uniform(0.5, 1.5))
    cast_shadow(picture, mask, np.array([0, 0.03 * unit]), 0.03 * unit, 0.3)
    fall = strands(rng, shape, 0.06 * unit)[..., None]
    paint(picture, mask, np.clip(look["hair"] * (1 + 0.35 * fall) + 0.03 * fall, 0, 1))
    for _ in range(rng.integers(0, 12)):
        root = np.array([rng.uniform(-jaw, jaw), -0.42])
        tress = head.at(curve(root, root + rng.normal(0, 0.08, 2), root * (1.05, 0.5) + rng.normal(0, 0.06, 2)))
        shine = look["hair"] * rng.uniform(0.5, 1.9)
        paint(picture, soften(stroke(shape, tress, 0.015 * unit), 0.006 * unit) * mask, np.clip(shine, 0, 1), 0.6)


def add_glasses(rng: Generator, picture: np.ndarray, head: Head) -> None:
    """Two rims, a bridge and the start of the temples."""
    shape, width = picture.shape[:2], max(0.8, rng.uniform(0.012, 0.035) * head.unit)
    colour, power = rng.choice([0.05, 0.1, 0.35, 0.7]) * np.ones(3), rng.choice([2, 3, 5])
    for side in (-1, 1):
        rim = head.oval((0.165 * side, 0.015), (rng.uniform(0.115, 0.13), rng.uniform(0.08, 0.115)), power)
        if rng.random() < 0.3:
            paint(picture, polygon(shape, rim), np.ones(3), rng.uniform(0, 0.25))
        paint(picture, stroke(shape, np.vstack([rim, rim[:1]]), width), colour, 0.9)
        paint(picture, stroke(shape, head.feature([(0.28 * side, 0), (0.37 * side, -0.02)]), width), colour, 0.9)
    paint(picture, stroke(shape, head.feature(curve((-0.05, 0), (0, -0.025), (0.05, 0))), width), colour, 0.9)


def add_body(rng: Generator, picture: np.ndarray, head: Head, look: dict) -> None:
    """Neck, shoulders and clothes: folds, collar, strings, print or a badge on a ribbon."""
    shape, unit = picture.shape[:2], head.unit
    spread, slope, bottom = rng.uniform(0.75, 1.15), rng.uniform(0.75, 0.95), shape[0] / unit + 3

    def at(points: object) -> np.ndarray:
        return np.asarray(points, float) * unit + head.centre

    torso = np.vstack([
        curve((-0.22, 0.6), (-0.3, slope - 0.08), (-0.75 * spread, slope)),
        curve((-0.75 * spread, slope), (-1.05 * spread, slope + 0.1), (-1.15 * spread, bottom)),
        curve((1.15 * spread, bottom), (1.05 * spread, slope + 0.1), (0.75 * spread, slope)),
        curve((0.75 * spread, slope), (0.3, slope - 0.08), (0.22, 0.6)),
    ])
    edge = rng.uniform(0, 1)
    mask = soften(polygon(shape, at(torso)), edge)
    cloth = random_colour(rng)
    if rng.random() < 0.3:
        cast_shadow(picture, mask, rng.normal(0, 0.1 * unit, 2), 0.1 * unit, rng.uniform(0.1, 0.4))
    neck = polygon(shape, at([(-0.2, 0.25), (0.2, 0.25), (0.24, 0.8), (-0.24, 0.8)]))
    surface = material(rng, shape, cloth) * (1 + 0.12 * noise(rng, shape, max(3, 0.5 * unit)))[..., None]
    paint(picture, mask, np.clip(surface, 0, 1))
    for _ in range(rng.integers(2, 14)):  # folds
        start = rng.uniform((-1, 0.9), (1, 3))
        fold = curve(start, start + rng.normal(0, 0.2, 2), start + rng.normal(0, 0.4, 2))
        shade = soften(stroke(shape, at(fold), rng.uniform(0.02, 0.09) * unit), rng.uniform(0.01, 0.05) * unit)
        paint(picture, shade * mask, cloth * rng.choice([0.35, 0.6, 1.4]), rng.uniform(0.2, 0.8))
    for side in (-1, 1):  # the gap between arm and chest
        arm = curve((0.7 * side * spread, 1.25), (0.72 * side * spread, 1.8), (0.68 * side * spread, 3))
        paint(picture, soften(stroke(shape, at(arm), 0.05 * unit), rng.uniform(0.5, 0.03 * unit + 0.6)) * mask, cloth * 0.35, rng.uniform(0.1, 0.9))
    paint(picture, soften(neck, edge), skin_surface(rng, shape, look["skin"] * 0.82, unit))
    collar = curve((-0.24, 0.62), (0, rng.uniform(0.75, 1.2)), (0.24, 0.62))
    paint(picture, soften(stroke(shape, at(collar), rng.uniform(0.02, 0.12) * unit), edge), cloth * rng.uniform(0.4, 1.3))
    below = np.vstack([collar, at([(0.6, 1.2), (-0.6, 1.2)]) / unit - head.centre / unit])
    paint(picture, soften(polygon(shape, at(below)), edge) * mask, np.clip(surface, 0, 1))
    kind = rng.random()
    if kind < 0.3:  # a ribbon with a badge
        ribbon = random_colour(rng) * 0.5
        for side in (-1, 1):
            paint(picture, stroke(shape, at([(0.2 * side, 0.65), (0.02 * side, 1.5)]), 0.05 * unit), ribbon)
        paint(picture, polygon(shape, at([(-0.13, 1.5), (0.13, 1.5), (0.13, 1.85), (-0.13, 1.85)])), np.array([0.9, 0.92, 0.95]))
    elif kind < 0.6:  # a print
        print_colour = random_colour(rng)
        add_text(rng, picture, at((rng.uniform(-0.5, 0), 1.1)), rng.uniform(0.4, 0.9) * unit, rng.integers(1, 4), print_colour)
        for _ in range(rng.integers(0, 8)):
            blob = polygon(shape, ellipse_points(at(rng.uniform((-0.5, 1.2), (0.5, 2.4))), tuple(unit * rng.uniform(0.03, 0.25, 2)), rng.uniform(0, 3)))
            paint(picture, blob * mask, print_colour if rng.random() < 0.7 else cloth)


def add_hand(rng: Generator, picture: np.ndarray, centre: np.ndarray, unit: float, skin: np.ndarray) -> None:
    """An open or half-closed hand: palm, five fingers with shaded edges, wrist or sleeve; unit is its height."""
    shape = picture.shape[:2]
    turn, mirror = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.5), rng.choice([-1, 1])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    def at(points: object) -> np.ndarray:
        return (np.asarray(points, float) * (mirror, 1)) @ rotation * unit + centre

    surface = skin_surface(rng, shape, skin, unit)
    rim, soft = np.clip(skin * rng.uniform(0.35, 0.8), 0, 1), rng.uniform(0, 0.8)
    spread, bend = rng.uniform(0, 0.3), rng.uniform(0.35, 1, 5)

    def piece(mask: np.ndarray) -> None:
        mask = soften(mask, soft)
        cast_shadow(picture, mask, rng.normal(0, 0.02 * unit, 2), 0.02 * unit + 0.5, rng.uniform(0.1, 0.5))
        paint(picture, mask, surface)
        inner = cv2.erode(mask, np.ones((3, 3))) if unit > 30 else mask
        paint(picture, np.clip(mask - inner, 0, 1), rim, rng.uniform(0, 0.8))

    piece(stroke(shape, at([(0, 0.3), (0.02, 1.3)]), 0.3 * unit))
    if rng.random() < 0.7:
        sleeve = stroke(shape, at([(0.01, rng.uniform(0.6, 0.9)), (0.02, 3)]), 0.45 * unit)
        paint(picture, soften(sleeve, soft), material(rng, shape, random_colour(rng)))
    piece(polygon(shape, at(ellipse_points(np.array([0, 0.18]), (0.21, 0.25), 0, 3))))
    for finger, u in enumerate((-0.165, -0.055, 0.055, 0.165)):
        length = (0.36, 0.44, 0.42, 0.32)[finger] * bend[finger]
        lean = (finger - 1.5) * spread
        tip = (u + length * np.sin(lean), -0.02 - length * np.cos(lean))
        piece(stroke(shape, at([(u, 0.05), tip]), 0.1 * unit))
        if rng.random() < 0.3:
            paint(picture, soften(polygon(shape, ellipse_points(at(tip), (0.03 * unit, 0.03 * unit))), soft), np.clip(skin * 1.2 + 0.05, 0, 1), 0.6)
    piece(stroke(shape, at([(-0.16, 0.3), (-0.36 * bend[4], 0.02)]), 0.11 * unit))
    for _ in range(rng.integers(0, 4)):  # creases
        start = rng.uniform((-0.15, 0.05), (0.15, 0.3))
        paint(picture, soften(stroke(shape, at([start, start + rng.normal(0, 0.1, 2)]), 0.015 * unit), soft), rim, 0.5)


def add_head(rng: Generator, picture: np.ndarray, head: Head, look: dict) -> None:
    """Everything above the neck. Eyes and mouth draw no random numbers, so that a head can be drawn in all its states."""
    shape, unit, jaw, edge, long_hair = picture.shape[:2], head.unit, look["jaw"], look["edge"], look["long_hair"]
    if long_hair:
        back = np.vstack([
            curve((-jaw - 0.06, rng.uniform(0.3, 1.2)), (-0.62, -0.5), (0, -0.53)),
            curve((0, -0.53), (0.62, -0.5), (jaw + 0.06, rng.uniform(0.3, 1.2))),
        ])
        behind = soften(polygon(shape, head.at(back)), edge)
        paint(picture, behind, np.clip(look["hair"] * (1 + 0.3 * strands(rng, shape, 0.08 * unit)[..., None]), 0, 1))
    for side in (-1, 1):
        ear = polygon(shape, head.at(ellipse_points(np.array([side * (jaw + 0.01), 0.06]), (0.05, 0.1))))
        paint(picture, soften(ear, edge), look["skin"] * 0.85, 0 if long_hair else 1)
    outline = np.vstack([
        curve((-jaw, 0), (-jaw * 1.02, -0.52), (0, -0.5)), curve((0, -0.5), (jaw * 1.02, -0.52), (jaw, 0)),
        curve((jaw, 0), (jaw * 0.95, 0.38), (0.12, 0.5)), curve((0.12, 0.5), (0, 0.53), (-0.12, 0.5)),
        curve((-0.12, 0.5), (-jaw * 0.95, 0.38), (-jaw, 0)),
    ])
    face = soften(polygon(shape, head.at(outline)), edge)
    cast_shadow(picture, face, np.array([0.03 * look["light_side"], 0.12]) * unit, 0.05 * unit, 0.4)
    paint(picture, face, skin_surface(rng, shape, look["skin"], unit))
    shaded = polygon(shape, head.at(ellipse_points(np.array([-0.3 * look["light_side"], 0.05]), (0.22, 0.6))))
    paint(picture, soften(shaded, 0.08 * unit) * face, look["skin"] * 0.5, 2 * look["light"])
    for side in (-1, 1):
        cheek = soften(polygon(shape, head.oval((0.2 * side, 0.17), (0.08, 0.07))), 0.04 * unit)
        paint(picture, cheek * face, np.clip(look["skin"] * (1.08, 0.85, 0.85), 0, 1), rng.uniform(0, 0.7))
    if look["beard"]:
        beard = np.vstack([curve((-jaw * 0.95, 0.12), (-0.25, 0.5), (0, 0.55)), curve((0, 0.55), (0.25, 0.5), (jaw * 0.95, 0.12)),
                           curve((0.2, 0.26), (0, rng.uniform(0.2, 0.32)), (-0.2, 0.26))])
        paint(picture, soften(polygon(shape, head.feature(beard)), 0.025 * unit) * face, look["hair"], look["beard"])
    for side in (-1, 1):
        add_eye(picture, head, side, look)
    add_nose_and_mouth(picture, head, look)
    if long_hair or rng.random() < 0.9:
        add_hair(rng, picture, head, look, jaw)
    if rng.random() < 0.25:
        add_glasses(rng, picture, head)


def add_person(rng: Generator, picture: np.ndarray, centre: np.ndarray, unit: float) -> None:
    """Head, hair, shoulders and at times hands; centre lies between the eyes, unit is the head's height."""
    head, look = Head(rng, centre, unit), random_look(rng, unit)
    add_body(rng, picture, head, look)
    add_head(rng, picture, head, look)
    for _ in range(rng.choice([0, 1, 2], p=[0.45, 0.3, 0.25])):
        place = centre + unit * np.array([rng.uniform(-1.3, 1.3), rng.uniform(0.5, 2.2)])
        add_hand(rng, picture, place, unit * rng.uniform(0.7, 0.95), look["skin"])


# Whole pictures


def draw(rng: Generator, shape: tuple[int, int]) -> np.ndarray:
    """One scene: leaves, a room, or people in a room. Clean; the camera comes later."""
    kind = rng.random()
    if kind < 0.25:
        return np.clip(dead_leaves(rng, shape), 0, 1)
    unit = np.exp(rng.uniform(np.log(24), np.log(200)))
    picture = room(rng, shape, min(unit, 90)) if rng.random() < 0.8 else dead_leaves(rng, shape)
    if kind < 0.85:
        centre = rng.uniform((0.1, 0.05), (0.9, 0.8)) * shape[::-1]
        for _ in range(2 if unit < 50 else 1):
            add_person(rng, picture, centre, unit)
            centre = centre + unit * rng.uniform((1.5, -0.3), (3, 0.3)) * (rng.choice([-1, 1]), 1)
    if rng.random() < 0.25:
        skin = SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.6, 1)
        add_hand(rng, picture, rng.uniform(0.2, 0.8, 2) * shape[::-1], rng.uniform(30, 140), skin)
    for _ in range(rng.integers(0, 4)):
        add_leaf(rng, picture, np.exp(rng.uniform(1, 3.5)))
    return np.clip(picture, 0, 1)
