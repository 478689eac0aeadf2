"""Figures of a video: near its teacher, textured like it, and steady. Frames are (H, W, 3) u8 RGB in lists.

    psnr, ssim   of a video against its teacher; squared error pooled over the clip, SSIM (Wang et al. 2004) of luma with a
                 Gaussian window of 1.5 pixels, mean
    texture      dB: how far the energies of oriented bands are from the teacher's, mean over 3 scales and 4 directions of
                 |10 log10(E_out / E_teacher)|; luma, Gaussian derivatives of sigma 1, 2 and 4 pixels. The second-order
                 part of Portilla & Simoncelli, "A Parametric Texture Model", 2000. What is blurred loses its fine bands.
    warp         mean (O_t - warp(O_t+1))^2 where the flow holds, over the variance of the clip's pixels, out over in (Lai
                 et al., "Learning Blind Video Temporal Consistency", 2018)
    raw warp     the same not divided by the variance
    flicker      mean |O_t - O_t+1| where the input stands still, over the standard deviation, out over in; raw: not divided
    tOF          mean |flow(O_t, O_t+1) - flow(I_t, I_t+1)| in pixels (Chu et al., "TecoGAN", 2020)
    uncovered    dB against the teacher where the frame shows what the frame before did not
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from videos import Frame

Figures = dict[str, float]
STATIC_PIXELS = 0.3
EVERY = 8  # which frames the figures of single pictures are of


def psnr(a: list[Frame], b: list[Frame]) -> float:
    """dB, squared error pooled over all frames."""
    error = np.mean([np.mean((np.float32(x) - np.float32(y)) ** 2) for x, y in zip(a, b)])
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def flow(a: Frame, b: Frame) -> np.ndarray:
    """Where each pixel of a went in b, (H, W, 2)."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
    return cv2.calcOpticalFlowFarneback(*greys, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def luma(frame: Frame) -> np.ndarray:
    """Rec. 601, f32 in [0, 1]."""
    return np.float32(frame) @ np.float32([0.299, 0.587, 0.114]) / 255


def ssim(a: Frame, b: Frame) -> float:
    """Structural similarity of luma (Wang et al. 2004)."""
    x, y = luma(a), luma(b)

    def mean(z: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(z, (11, 11), 1.5)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def bands(frame: Frame) -> np.ndarray:
    """Energy of 12 oriented bands, finest first."""
    energies, grey = [], luma(frame)
    for sigma in (1, 2, 4):
        smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
        gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        # Less their surroundings' mean, so that flat light and soft shade do not count.
        for angle in np.radians((0, 45, 90, 135)):
            slope = np.cos(angle) * gx + np.sin(angle) * gy
            energies.append(float(np.mean((slope - cv2.GaussianBlur(slope, (0, 0), 2 * sigma)) ** 2)))
    return np.array(energies)


def texture_distance(output: list[Frame], teacher: list[Frame]) -> float:
    """dB."""
    found, wanted = (np.mean([bands(frame) for frame in video[::EVERY]], 0) for video in (output, teacher))
    return float(np.mean(np.abs(10 * np.log10(found / wanted))))


def pull(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """picture at p + motion(p), bilinear, 0 outside."""
    height, width = motion.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(picture, x + motion[..., 0], y + motion[..., 1], cv2.INTER_LINEAR)


def agrees(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where a way and the way back from its end meet again (Lai et al. 2018), (H, W) bool."""
    back = pull(back, there)
    return ((there + back) ** 2).sum(-1) <= 0.01 * ((there**2).sum(-1) + (back**2).sum(-1)) + 0.5


@dataclass
class Motions:
    """What moves in a clip: from frame t to t + 1 and back, (H, W, 2) each, for every t but the last."""

    forward: list[np.ndarray]
    backward: list[np.ndarray]

    @staticmethod
    def of(frames: list[Frame]) -> Motions:
        pairs = list(zip(frames, frames[1:]))
        return Motions([flow(a, b) for a, b in pairs], [flow(b, a) for a, b in pairs])


def unsteadiness(video: list[Frame], motions: Motions) -> tuple[float, float, float]:
    """Warp error and flicker over the video's variance and standard deviation, and the variance."""
    warps, stills = [], []
    for t, (forward, backward) in enumerate(zip(motions.forward, motions.backward)):
        now, then = np.float32(video[t]) / 255, np.float32(video[t + 1]) / 255
        warps.append(((now - pull(then, forward)) ** 2).mean(-1)[agrees(forward, backward)].mean())
        static = np.abs(forward).max(-1) < STATIC_PIXELS
        if static.any():
            stills.append(np.abs(now - then).mean(-1)[static].mean())
    variance = float(np.var(np.float32(video) / 255))
    return float(np.mean(warps)) / variance, float(np.mean(stills)) / variance**0.5, variance


def steadiness(inputs: list[Frame], output: list[Frame], motions: Motions) -> Figures:
    """warp and flicker as out over in, and raw."""
    warp_in, still_in, variance_in = unsteadiness(inputs, motions)
    warp_out, still_out, variance_out = unsteadiness(output, motions)
    return {"warp": warp_out / warp_in, "raw warp": warp_out * variance_out / (warp_in * variance_in),
            "flicker": still_out / still_in, "raw flicker": still_out / still_in * (variance_out / variance_in) ** 0.5}


def motion_error(output: list[Frame], motions: Motions) -> float:
    """tOF, pixels."""
    moved = [flow(a, b) for a, b in zip(output, output[1:])]
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(moved, motions.forward)]))


def uncovered_psnr(output: list[Frame], teacher: list[Frame], motions: Motions) -> float:
    """dB where a frame's way back leads to something else; nan where there is no such place."""
    errors = []
    for t, (forward, backward) in enumerate(zip(motions.forward, motions.backward)):
        fresh = ~agrees(backward, forward)
        errors.append(((np.float32(output[t + 1]) - np.float32(teacher[t + 1])) ** 2).mean(-1)[fresh])
    found = np.concatenate(errors)
    return float(10 * np.log10(255**2 / max(float(found.mean()), 1e-9))) if found.size else float("nan")


def measure(inputs: list[Frame], teacher: list[Frame], output: list[Frame], motions: Motions) -> Figures:
    """All figures of one clip."""
    if len(output) != len(inputs):
        raise SystemExit(f"{len(inputs)} frames went in, {len(output)} came out")
    return {
        "psnr": psnr(output, teacher), "identity": psnr(inputs, teacher),
        "ssim": float(np.mean([ssim(a, b) for a, b in zip(output[::EVERY], teacher[::EVERY])])),
        "texture": texture_distance(output, teacher), **steadiness(inputs, output, motions),
        "tOF": motion_error(output, motions), "uncovered": uncovered_psnr(output, teacher, motions),
    }
