"""The quality rule, the same for every engine: near the f32 picture, and hardly farther from the teacher.

A precision meets it if, on every clip, its pictures have 40 dB PSNR or more to those of f32, and lose at most
0.3 dB of f32's PSNR to the teacher. Squared errors are pooled over the frames of a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from network import SIZE, BlockNetwork, Frame, blocks_of, exact, picture_of
from training import fit, psnr, stylise

LEAST_PSNR = 40.0
LARGEST_LOSS = 0.3
FRAMES = 12
SUFFIXES = (".mkv", ".mp4", ".avi", ".webm")


@dataclass(frozen=True)
class Clip:
    """Frames of one clip with the teacher's answers and those of the network in f64, which stands for f32."""

    name: str
    frames: list[Frame]
    teacher: list[Frame]
    exact: list[Frame]


@dataclass(frozen=True)
class Verdict:
    """The worst of all clips."""

    psnr: float
    loss: float

    @property
    def passes(self) -> bool:
        return self.psnr >= LEAST_PSNR and self.loss <= LARGEST_LOSS


def read(path: Path, count: int = FRAMES) -> list[Frame]:
    """`count` frames, evenly spaced."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    if not frames:
        raise SystemExit(f"{path}: no frame can be read")
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [fit(cv2.cvtColor(frames[index], cv2.COLOR_BGR2RGB), SIZE) for index in chosen]


def load(folder: Path, network: BlockNetwork) -> list[Clip]:
    """All clips in the folder."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        raise SystemExit(f"{folder}: no clips ({', '.join(SUFFIXES)})")
    clips = []
    for path in paths:
        frames = read(path)
        pictures = [picture_of(frame, exact(network, blocks_of(frame, network.image_channels))) for frame in frames]
        clips.append(Clip(path.stem, frames, [stylise(frame) for frame in frames], pictures))
    return clips


def judge(clips: list[Clip], picture: Callable[[Frame], Frame]) -> Verdict:
    """What `picture` makes of the clips."""
    nearness, losses = [], []
    for clip in clips:
        output = [picture(frame) for frame in clip.frames]
        nearness.append(psnr(output, clip.exact))
        losses.append(psnr(clip.exact, clip.teacher) - psnr(output, clip.teacher))
    return Verdict(min(nearness), max(losses))
