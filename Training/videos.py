"""Video files as lists of frames, (H, W, 3) u8 RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

Frame = np.ndarray  # (H, W, 3) u8 RGB


def fit(frame: Frame, size: tuple[int, int]) -> Frame:
    """Cut the middle out at the aspect of size (width, height), then scale."""
    height, width = frame.shape[:2]
    cut_width = min(width, round(height * size[0] / size[1]))
    cut_height = min(height, round(width * size[1] / size[0]))
    x, y = (width - cut_width) // 2, (height - cut_height) // 2
    frame = frame[y : y + cut_height, x : x + cut_width]
    return frame if frame.shape[1::-1] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def read(path: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """Frames of a video file, or of a folder of pictures."""
    if path.is_dir():
        for picture in sorted(path.iterdir()):
            yield fit(cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB), size)
        return
    capture = cv2.VideoCapture(str(path))
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        yield fit(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size)


def write(path: Path, frames: Iterable[Frame]) -> None:
    """Lossless; at least one frame."""
    writer = None
    for frame in frames:
        writer = writer or cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30, frame.shape[1::-1])
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
