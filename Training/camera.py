"""A webcam, drawn: what optics, sensor, processing and compression make of a sequence of clean frames.

Frames are (T, H, W, 3) RGB. Light is linear; what the clean scene shows as 1 is light 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from motion import Sequence, pair, points, remap


FAIR = (0.5, 1.2)  # gains that the styles take as they come; from a darker or brighter picture they paint as from these
LIT = (0.85, 1.2)  # the same for `clear`, which lifts low light


@dataclass
class CameraSettings:
    """What stays the same over a sequence: gain of the light, white balance (3,), tone curve, haze, focus in pixels."""

    gain: float
    white: np.ndarray
    gamma: float
    haze: float
    focus: float


def linear(picture: np.ndarray) -> np.ndarray:
    """sRGB values to light, by the power 2.2."""
    return np.maximum(picture, 0) ** np.float32(2.2)


def display(light: np.ndarray) -> np.ndarray:
    """Light to sRGB values."""
    return np.maximum(light, 0) ** np.float32(1 / 2.2)


def random_settings(rng: Generator) -> CameraSettings:
    """Mostly a fair exposure, a third of the time a dark room, now and then one too bright; rarely out of focus."""
    fair, dark, bright = rng.uniform(0.7, 1.15), np.exp(rng.uniform(np.log(0.06), np.log(0.6))), rng.uniform(1.1, 1.7)
    gain = rng.choice([fair, dark, bright], p=[0.55, 0.33, 0.12])
    cast = rng.choice([rng.normal(0, 0.05), rng.normal(0, 0.16)], p=[0.65, 0.35])  # warm or cold
    white = np.exp(np.array([cast, rng.normal(0, 0.04), -cast])).astype(np.float32)
    haze = rng.choice([0, rng.uniform(0, 0.12)], p=[0.7, 0.3])
    focus = rng.choice([rng.uniform(0.3, 0.9), rng.uniform(0.9, 2.0)], p=[0.85, 0.15])
    return CameraSettings(gain, white / white.mean(), rng.uniform(0.8, 1.25), haze, focus)


def lens(picture: np.ndarray, focus: float) -> np.ndarray:
    """Blur by the lens; focus is the sigma of a Gaussian in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), focus) if focus > 0.2 else picture


def develop(light: np.ndarray, settings: CameraSettings) -> np.ndarray:
    """Light to the camera's picture in [0, 1]: tone curve and haze."""
    picture = np.clip(display(light), 0, 1) ** np.float32(settings.gamma)
    return np.float32(settings.haze) + np.float32(1 - settings.haze) * picture


def steps(rng: Generator, count: int) -> np.ndarray:
    """Automatic exposure that hunts: (count,) factors of the gain, mostly 1, at times a step or a ramp."""
    factor = np.ones(count)
    if rng.random() < 0.35:
        at, size = rng.integers(1, count + 1), np.exp(rng.normal(0, 0.18))
        ramp = np.clip((np.arange(count) - at + 1) / rng.integers(1, 5), 0, 1)
        factor = size**ramp
    return factor


def lamp_flicker(rng: Generator, count: int, height: int) -> np.ndarray:
    """Bands that roll over the picture where lamps flicker at twice the mains, (count, height) factors of the light."""
    depth = rng.choice([0, rng.uniform(0.01, 0.08)], p=[0.65, 0.35])
    rate, readout = rng.choice([100, 120]) / 30.0, rng.uniform(0.3, 1)
    time = np.arange(count)[:, None] + readout * np.arange(height)[None] / height
    return 1 + depth * np.sin(2 * np.pi * (rate * (1 + rng.normal(0, 0.003)) * time + rng.random()))


def motion_blur(picture: np.ndarray, flow: np.ndarray, shutter: float) -> np.ndarray:
    """Average along the flow over the open shutter, a part of the time between frames."""
    reach = shutter * np.abs(flow).max()
    samples = int(np.clip(np.ceil(reach), 1, 8))
    if samples < 2:
        return picture
    grid = pair(points(picture.shape[:2]))
    times = np.float32(shutter * np.linspace(-0.5, 0.5, samples))
    return sum(remap(picture, grid + time * flow) for time in times) / np.float32(samples)


def coarse(rng: Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Blotchy noise, (H, W, 3), standard deviation about 1."""
    small = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2, 3), np.float32)
    return 1.4 * cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def sense(rng: Generator, light: np.ndarray, iso: float, read: float) -> np.ndarray:
    """Shot noise, whose variance is the light's, and read noise; iso is the variance at light 1."""
    deviation = np.sqrt(iso * np.maximum(light, 0) + read * read)
    return light + deviation * rng.standard_normal(light.shape, np.float32)


def compress(picture: np.ndarray, quality: int) -> np.ndarray:
    """Motion JPEG with 4:2:0 chroma: [0, 1] to u8. quality 0 is an uncompressed camera: the chroma alone suffers."""
    u8 = np.clip(np.round(255 * picture), 0, 255).astype(np.uint8)
    if quality == 0:
        ycc = cv2.cvtColor(u8, cv2.COLOR_RGB2YCrCb)
        half = cv2.resize(ycc[..., 1:], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        ycc[..., 1:] = cv2.resize(half, ycc.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)
    _, code = cv2.imencode(".jpg", u8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


def film(rng: Generator, scene: Sequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the network meets, and what it should think of it.

    Returns frames, u8 as the camera delivers them; *exposed*, f32, the same without noise, compression and all that
    changes from frame to frame, and in a fair light, which is what the styles are painted from; and *lit*, f32, the same in
    full light, which `clear` is made from. All (T, H, W, 3). A cast, a haze and a tone curve stay in both: a picture does not tell
    them from the scene's own colours, and who has to guess at them paints blotches on walls.
    """
    count, height, width, _ = scene.frames.shape
    settings = random_settings(rng)
    clean = np.stack([lens(frame, settings.focus) for frame in scene.frames])
    tint = settings.gain * settings.white
    exposed, lit = (develop(linear(clean) * (settings.white * np.clip(settings.gain, *gains)), settings).astype(np.float32)
                    for gains in (FAIR, LIT))

    auto, bands = steps(rng, count), lamp_flicker(rng, count, height)
    drift = np.cumsum(rng.normal(0, rng.choice([0, 0.006]), (count, 3)), 0)
    breath = np.abs(np.sin(np.arange(count) / rng.uniform(2, 6) + rng.uniform(0, 7)))
    breath = rng.choice([0, 0.5], p=[0.75, 0.25]) * breath
    shutter = rng.choice([0, rng.uniform(0.2, 0.9)], p=[0.35, 0.65])
    dark = 1 / max(0.06, min(1.0, settings.gain))  # a dark room is filmed with a high gain
    iso = np.exp(rng.uniform(np.log(1e-4), np.log(2e-3))) * dark**0.3 * settings.gain
    read = np.exp(rng.uniform(np.log(5e-4), np.log(3e-3))) * dark**0.2
    grain, chroma = rng.choice([0, rng.uniform(0.4, 0.8)], p=[0.4, 0.6]), rng.uniform(0, 0.012) * min(3.0, dark**0.5)
    sharpen = rng.choice([0, rng.uniform(0.2, 1.0)], p=[0.6, 0.4])
    quality = 0 if rng.random() < 0.3 else int(rng.integers(45, 96))

    frames = []
    for t in range(count):
        light = linear(motion_blur(lens(clean[t], breath[t]), scene.flow[t], shutter))
        light = light * np.float32(tint * auto[t] * np.exp(drift[t])) * np.float32(bands[t][:, None, None])
        noisy = sense(rng, light, iso, read)
        if grain:  # the camera's own denoising leaves it blotchy
            noisy = light + 1.4 * cv2.GaussianBlur(noisy - light, (0, 0), grain)
        picture = develop(noisy, settings)
        if sharpen:
            picture = picture + sharpen * (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))
        blotch = coarse(rng, (height, width), 5)
        picture = picture + chroma * (blotch - blotch.mean(-1, keepdims=True))
        frames.append(compress(picture.astype(np.float32), quality))
    return np.stack(frames), exposed, lit
