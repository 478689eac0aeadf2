"""Scenes in motion: sequences of drawn frames with their true flow, occlusion and texture coordinates.

A scene is a stack of layers, each drawn once by scenes.py on a *stage* larger than the frame: a background, bodies,
heads, hands, leaves. A layer moves by a similarity of its own (an object that walks, turns, waves), a smooth bulge (a
head that turns or nods, fingers that bend), and the camera's similarity on top. Each of these maps stage to screen in
closed form, so the flow is exact. Points are complex numbers x + iy, in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator

from scenes import (SKIN_TONES, Head, add_body, add_hand, add_head, add_lamp, add_leaf, add_text, dead_leaves,
                    random_colour, random_look, room)

MARGIN = 64  # of the stage around the frame
LAYER_GAP = 5000.0  # between the texture coordinates of one layer and the next
CHANGED = 0.06  # a pixel whose clean colour changes by more along the flow is not the same thing seen again


@dataclass
class Layer:
    """One surface and how it moves.

    states: (S, H, W, 4) premultiplied RGBA f32 on the stage; show (T, S) how much of each is seen, or, for a wipe, see
    `texture`. scale (T,) complex turns and grows about pivot, shift (T,) moves. The bulge pushes what is
    within radius of centre by push (T,). depth: how much of the camera's pan it feels.
    """

    states: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    pivot: complex = 0j
    centre: complex = 0j
    radius: float = 1.0
    push: np.ndarray | None = None
    depth: float = 1.0
    lids: list[tuple[float, float]] = field(default_factory=list)  # top and bottom of each eye on the stage
    blink: np.ndarray | None = None  # (T,) how far the lids are down; state 1 has them closed
    talk: np.ndarray | None = None  # (T,) how far the mouth is open; the last state has it open

    def texture(self, time: int) -> np.ndarray:
        """What is painted on the surface at this time, (H, W, 4)."""
        picture = self.states[0]
        if self.talk is not None and self.talk[time] > 0:
            picture = picture + self.talk[time] * (self.states[-1] - picture)
        if self.blink is not None and self.blink[time] > 0:
            rows = np.arange(picture.shape[0], dtype=np.float32)
            down = np.zeros_like(rows)
            for top, bottom in self.lids:
                line = top + self.blink[time] * (bottom - top)
                down = np.maximum(down, np.clip(line - rows, 0, 1) * (rows < bottom + 2))
            closed = self.states[1]
            picture = picture + down[:, None, None] * (closed - picture)
        return picture

    def bulge(self, point: np.ndarray, time: int) -> np.ndarray:
        """By how much the point of the stage is pushed."""
        if self.push is None or self.push[time] == 0:
            return np.zeros_like(point)
        away = point - self.centre
        inside = np.maximum(0, 1 - (away.real**2 + away.imag**2) / self.radius**2)
        return self.push[time] * inside * inside

    def to_scene(self, point: np.ndarray, time: int) -> np.ndarray:
        """Stage to scene."""
        moved = point + self.bulge(point, time)
        return self.pivot + self.scale[time] * (moved - self.pivot) + self.shift[time]

    def from_scene(self, point: np.ndarray, time: int) -> np.ndarray:
        """Scene to stage: the similarity backwards, then the bulge by fixed-point iteration."""
        moved = self.pivot + (point - self.shift[time] - self.pivot) / self.scale[time]
        found = moved
        if self.push is not None and self.push[time] != 0:
            for _ in range(8):
                found = moved - self.bulge(found, time)
        return found


@dataclass
class Camera:
    """A camera that pans, zooms and shakes: scale (T,) complex about the middle of the frame, shift (T,)."""

    scale: np.ndarray
    shift: np.ndarray
    middle: complex

    def to_screen(self, point: np.ndarray, time: int, depth: float) -> np.ndarray:
        """Scene to screen."""
        return self.middle + self.scale[time] * (point - self.middle) + depth * self.shift[time] - MARGIN * (1 + 1j)

    def from_screen(self, point: np.ndarray, time: int, depth: float) -> np.ndarray:
        """Screen to scene."""
        return self.middle + (point + MARGIN * (1 + 1j) - depth * self.shift[time] - self.middle) / self.scale[time]


@dataclass
class Sequence:
    """T frames of a clean scene; all arrays f32 but valid."""

    frames: np.ndarray  # (T, H, W, 3) RGB in [0, 1]
    flow: np.ndarray  # (T, H, W, 2) pixels: what is at p in frame t was at p + flow in frame t - 1; 0 for t = 0
    valid: np.ndarray  # (T, H, W) bool: it was seen there; False for t = 0
    anchor: np.ndarray  # (T, H, W, 2) texture coordinates of the surface, see textures.py


# Movement


def sway(rng: Generator, count: int, amplitude: float, period: tuple[float, float]) -> np.ndarray:
    """A smooth to and fro, (count,), that starts anywhere; period in frames."""
    t = np.arange(count)
    slow, fast = rng.uniform(*period), rng.uniform(*period) / 2.3
    wave = np.sin(2 * np.pi * (t / slow + rng.random())) + 0.35 * np.sin(2 * np.pi * (t / fast + rng.random()))
    return amplitude * wave


def turn(angle: np.ndarray) -> np.ndarray:
    """Unit complex numbers."""
    return np.exp(1j * angle)


def move_camera(rng: Generator, count: int, shape: tuple[int, int]) -> Camera:
    """Half the cameras stand still; others pan, zoom, shake in a hand, or all of it."""
    t = np.arange(count) - 0.5 * count
    zoom, angle, shift = np.zeros(count), np.zeros(count), np.zeros(count, complex)
    if rng.random() < 0.5:
        reach = 0.75 * MARGIN / max(1, count)
        if rng.random() < 0.6:
            speed = np.clip(rng.normal(0, 1.5, 2), -reach, reach)
            shift = shift + t * (speed[0] + 1j * speed[1])
        if rng.random() < 0.4:
            zoom = t * np.clip(rng.normal(0, 0.006), -0.012, 0.012)
        if rng.random() < 0.5:
            size = rng.uniform(0.1, 1.2)
            shift = shift + sway(rng, count, size, (6, 20)) + 1j * sway(rng, count, size, (6, 20))
            shift = shift + rng.normal(0, 0.3 * size, count) + 1j * rng.normal(0, 0.3 * size, count)
            angle = sway(rng, count, 0.004 * size, (8, 20))
    middle = complex(0.5 * shape[1] + MARGIN, 0.5 * shape[0] + MARGIN)
    return Camera(np.exp(zoom) * turn(angle), shift, middle)


def still(states: np.ndarray, count: int, **more: object) -> Layer:
    """A layer that moves with the camera only."""
    return Layer(states, np.ones(count, complex), np.zeros(count, complex), **more)


# Layers


def layer_of(shape: tuple[int, int], paint: Callable[[np.ndarray], None]) -> np.ndarray:
    """Run a painter on an empty layer of the stage: (1, H, W, 4)."""
    picture = np.zeros((*shape, 4), np.float32)
    paint(picture)
    return np.clip(picture, 0, 1)[None]


def background(rng: Generator, stage: tuple[int, int], unit: float, count: int) -> Layer:
    """A room, at times with a lamp and a line of writing, or leaves."""
    picture = room(rng, stage, min(unit, 90)) if rng.random() < 0.8 else dead_leaves(rng, stage)
    if rng.random() < 0.25:
        add_lamp(rng, picture, min(unit, 90))
    if rng.random() < 0.2:
        origin = rng.uniform(0.1, 0.6, 2) * stage[::-1]
        add_text(rng, picture, origin, rng.uniform(60, 200), rng.integers(1, 6), random_colour(rng))
    opaque = np.dstack([np.clip(picture, 0, 1), np.ones(stage, np.float32)])
    return still(opaque[None].astype(np.float32), count, depth=rng.uniform(0.5, 1))


def leaves(rng: Generator, stage: tuple[int, int], count: int) -> Layer:
    """A few shapes that drift and turn together."""
    size = np.exp(rng.uniform(1.5, 4.2))

    def paint(picture: np.ndarray) -> None:
        for _ in range(rng.integers(1, 5)):
            add_leaf(rng, picture, size)

    speed = rng.normal(0, 2.5, 2) * (rng.random() < 0.7)
    t = np.arange(count) - 0.5 * count
    shift = t * (speed[0] + 1j * speed[1]) + sway(rng, count, rng.uniform(0, 2), (8, 30))
    spin = t * rng.normal(0, 0.015) + sway(rng, count, rng.uniform(0, 0.03), (8, 30))
    pivot = complex(*(rng.uniform(0.2, 0.8, 2) * stage[::-1]))
    return Layer(layer_of(stage, paint), turn(spin), shift, pivot)


def head_states(seed: int, stage: tuple[int, int], head: Head, look: dict) -> np.ndarray:
    """The same head as it is, with closed eyes, and with an open mouth, (3, H, W, 4)."""
    looks = (look, look | dict(eye_open=0.004), look | dict(mouth_open=look["mouth_open"] + 0.05))
    return np.concatenate([
        layer_of(stage, lambda picture: add_head(np.random.default_rng(seed), picture, head, state)) for state in looks
    ])


def blinking(rng: Generator, count: int) -> np.ndarray:
    """Lids that come down once, over two frames, and go up over three; 0 is open, 1 is closed."""
    start = rng.integers(-2, count)
    course = np.array([0.5, 1, 1, 0.6, 0.2])
    lids = np.zeros(count)
    for step, value in enumerate(course):
        if 0 <= start + step < count:
            lids[start + step] = value
    return lids


def person(rng: Generator, stage: tuple[int, int], centre: np.ndarray, unit: float, count: int) -> list[Layer]:
    """A body that sways, a head that turns, nods, blinks and talks, and hands that wave, also in front of the face."""
    head, look = Head(rng, centre, unit), random_look(rng, unit)
    lively = rng.choice([0, rng.uniform(0.2, 1), rng.uniform(1, 2)], p=[0.3, 0.4, 0.3])
    neck = complex(centre[0], centre[1] + 0.6 * unit)
    hips = complex(centre[0], centre[1] + 3 * unit)
    lean = sway(rng, count, 0.012 * lively, (20, 60))
    carried = sway(rng, count, 0.02 * unit * lively, (20, 60)) + 0.6j * sway(rng, count, 0.01 * unit * lively, (20, 60))
    body = Layer(layer_of(stage, lambda picture: add_body(rng, picture, head, look)), turn(lean), carried, hips)

    follow = carried + (turn(lean) - 1) * (neck - hips)
    push = 0.07 * unit * lively * (sway(rng, count, 0.8, (12, 50)) + 0.6j * sway(rng, count, 0.8, (8, 30)))
    limit = 0.11 * unit
    push = push * np.minimum(1, limit / np.maximum(np.abs(push), 1e-6))
    face = Layer(
        head_states(int(rng.integers(1 << 31)), stage, head, look),
        turn(lean + sway(rng, count, 0.05 * lively, (12, 50))), follow + 0.35 * push, neck,
        complex(centre[0], centre[1] + 0.05 * unit), 0.5 * unit, push,
    )
    if rng.random() < 0.5:
        face.blink = blinking(rng, count)
        face.lids = [tuple(head.at((0, v))[1] for v in (-1.9 * look["eye_open"] - 0.02, 2 * look["eye_open"] + 0.01))]
    if rng.random() < 0.5:
        face.talk = np.clip(sway(rng, count, 0.6, (5, 12)), 0, 1)
    layers = [body, face]
    for _ in range(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3])):
        layers.append(waving_hand(rng, stage, centre, unit, look["skin"], lively, count))
    return layers


def waving_hand(rng: Generator, stage: tuple[int, int], centre: np.ndarray, unit: float, skin: np.ndarray,
                lively: float, count: int) -> Layer:
    """A hand that turns about its elbow, moves along, and bends its fingers a little."""
    near_face = rng.random() < 0.4
    reach = (0.4, 0.5) if near_face else (1.3, 2.2)
    aside, below = rng.uniform(-reach[0], reach[0]), rng.uniform(0.0 if near_face else 0.5, reach[1])
    place = centre + unit * np.array([aside, below])
    size = unit * rng.uniform(0.7, 0.95)
    states = layer_of(stage, lambda picture: add_hand(rng, picture, place, size, skin))
    angle = sway(rng, count, rng.uniform(0, 0.22) * lively, (7, 25))
    speed = rng.normal(0, 0.03, 2) * unit * lively
    t = np.arange(count) - 0.5 * count
    shift = t * (speed[0] + 1j * speed[1]) + sway(rng, count, 0.02 * unit * lively, (8, 25))
    push = 0.12 * size * lively * sway(rng, count, 0.5, (8, 25)) * turn(rng.uniform(0, 7))
    push = push * np.minimum(1, 0.15 * size / np.maximum(np.abs(push), 1e-6))
    elbow = complex(place[0], place[1] + 1.2 * size)
    return Layer(states, turn(angle), shift, elbow, complex(place[0], place[1] - 0.2 * size), 0.5 * size, push)


def compose(rng: Generator, shape: tuple[int, int], count: int) -> list[Layer]:
    """The layers of a scene, from the back: leaves, a room, or people in a room."""
    stage = (shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN)
    kind = rng.random()
    if kind < 0.2:
        opaque = np.dstack([np.clip(dead_leaves(rng, stage), 0, 1), np.ones(stage, np.float32)]).astype(np.float32)
        return [still(opaque[None], count)] + [leaves(rng, stage, count) for _ in range(rng.integers(2, 6))]
    unit = np.exp(rng.uniform(np.log(24), np.log(min(200, 0.8 * max(shape)))))
    layers = [background(rng, stage, unit, count)]
    if kind < 0.9:
        centre = MARGIN + rng.uniform((0.15, 0.1), (0.85, 0.7)) * shape[::-1]
        for _ in range(2 if unit < 50 else 1):
            layers += person(rng, stage, centre, unit, count)
            centre = centre + unit * rng.uniform((1.5, -0.3), (3, 0.3)) * (rng.choice([-1, 1]), 1)
    if rng.random() < 0.2:
        skin = SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.6, 1)
        place = MARGIN + rng.uniform(0.2, 0.8, 2) * shape[::-1]
        layers.append(waving_hand(rng, stage, place, rng.uniform(40, 140), skin, 1.0, count))
    if rng.random() < 0.25:
        layers.append(leaves(rng, stage, count))
    return layers


# Frames


def points(shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a frame, (H, W) complex."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x + 1j * y


def pair(z: np.ndarray) -> np.ndarray:
    """Complex (H, W) to (H, W, 2) f32."""
    return np.stack([z.real, z.imag], -1).astype(np.float32)


def remap(picture: np.ndarray, places: np.ndarray, border: int = cv2.BORDER_REPLICATE,
          how: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Values of picture (H, W, ...) at places (H', W', 2)."""
    return cv2.remap(picture, places[..., 0], places[..., 1], how, borderMode=border)


def render_frame(layers: list[Layer], camera: Camera, shape: tuple[int, int], time: int) -> tuple[np.ndarray, ...]:
    """One clean frame (H, W, 3), flow and anchor (H, W, 2), and which layer owns each pixel (H, W)."""
    screen = points(shape)
    picture = np.zeros((*shape, 3), np.float32)
    flow, anchor, owner = np.zeros(shape, complex), np.zeros(shape, complex), np.zeros(shape, np.uint8)
    for index, layer in enumerate(layers):
        stage = layer.from_scene(camera.from_screen(screen, time, layer.depth), time)
        border = cv2.BORDER_CONSTANT if index else cv2.BORDER_REFLECT_101
        seen = np.clip(remap(layer.texture(time), pair(stage), border, cv2.INTER_CUBIC), 0, 1)
        alpha = seen[..., 3:]
        picture = np.minimum(seen[..., :3], alpha) + (1 - alpha) * picture
        own = alpha[..., 0] > 0.5
        owner[own] = index
        anchor[own] = stage[own] + index * LAYER_GAP * (1 + 0.37j)
        if time:
            before = camera.to_screen(layer.to_scene(stage[own], time - 1), time - 1, layer.depth)
            flow[own] = before - screen[own]
    return picture, pair(flow), pair(anchor), owner


def seen_before(now: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...]) -> np.ndarray:
    """Where a frame shows what the frame before shows at the other end of the flow, (H, W) bool."""
    picture, flow, _, owner = now
    height, width = owner.shape
    places = pair(points((height, width))) + flow
    x, y = places[..., 0], places[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    same = remap(before[3], places, how=cv2.INTER_NEAREST) == owner
    alike = np.abs(picture - remap(before[0], places)).max(-1) < CHANGED
    return inside & same & alike


def sequence(rng: Generator, shape: tuple[int, int], count: int = 8) -> Sequence:
    """A drawn scene over count frames."""
    layers, camera = compose(rng, shape, count), move_camera(rng, count, shape)
    rendered = [render_frame(layers, camera, shape, time) for time in range(count)]
    valid = [np.zeros(shape, bool)] + [seen_before(now, before) for before, now in zip(rendered, rendered[1:])]
    frames, flow, anchor = (np.stack([frame[i] for frame in rendered]) for i in range(3))
    offset = rng.uniform(0, 1000, 2).astype(np.float32)
    return Sequence(frames, flow, np.stack(valid), anchor + offset)
