"""Run the streaming network over a video, frame by frame, with estimated motion: what the daemon does live, in Python.

    stream_clip.py VIDEO OUT.mkv [--model ../Models/styles.safetensors] [--style ink:0.7,oil:0.3] [--size 640x384]
                   [--steps 1] [--seed 0] [--frames N] [--teacher TEACHER.mkv] [--forget]

Frames are cropped to the aspect of --size and scaled. Both files are FFV1, without loss, for measuring. --teacher also
writes the style's teacher of every frame by itself, on the same anchors; --forget runs the network without its past.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from export_stream import load_checkpoint, load_model
from streaming import PATCH, STYLES, Stream, StreamingUNet, trust, warp
from teachers import STYLES as TEACHERS
from teachers import Texture
from textures import sample_source, screen, source

STILL = (0.15, 0.5)  # pixels of estimated motion that count for nothing, and that count in full


def frames_of(path: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """RGB u8 frames, cropped to the aspect of size (width, height) and scaled to it."""
    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        height, width = read[1].shape[:2]
        w, h = min(width, round(height * size[0] / size[1])), min(height, round(width * size[1] / size[0]))
        x, y = (width - w) // 2, (height - h) // 2
        frame = read[1][y : y + h, x : x + w, ::-1]
        yield frame if (w, h) == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


class Motion:
    """Backward flow from each frame to the one before, by DIS at half the size, and the anchor that rides on it."""

    def __init__(self) -> None:
        self.estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self.before = self.frame = self.carried = None

    def __call__(self, picture: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Frame (1, 3, H, W), flow and anchor (1, 2, H, W)."""
        height, width = picture.shape[:2]
        frame = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        flow = torch.zeros(1, 2, height, width)
        if self.before is not None:
            found = cv2.resize(2 * self.estimator.calc(small, self.before, None), (width, height))
            flow = torch.from_numpy(found).permute(2, 0, 1)[None]
            size = flow.norm(dim=1, keepdim=True)
            flow = flow * ((size - STILL[0]) / (STILL[1] - STILL[0])).clamp(0, 1)
            known = torch.nn.functional.interpolate(trust(frame, self.frame, flow), scale_factor=PATCH) > 0
            self.carried = torch.where(known, warp(self.carried, flow) + flow, 0)
        else:
            self.carried = torch.zeros(1, 2, height, width)
        self.before, self.frame = small, frame
        return frame, flow, screen(frame) + self.carried


def mixed_source(style: Tensor, sources: dict[str, Tensor], anchor: Tensor, seed: int) -> Tensor:
    """What the flow starts from, (1, 3, H, W): the styles' sources by their weights; 0.5 for a style without one."""
    field = torch.full((1, 3, *anchor.shape[2:]), 0.5) * (1 - sum(style[STYLES.index(name)] for name in sources))
    for name, texture in sources.items():
        if style[STYLES.index(name)] > 0:
            field = field + style[STYLES.index(name)] * sample_source(texture, anchor, seed)
    return field


def parse_style(text: str) -> Tensor:
    """`ink` or `ink:0.7,oil:0.3` to weights that sum to 1."""
    weights = torch.zeros(len(STYLES))
    for part in text.split(","):
        name, _, weight = part.partition(":")
        weights[STYLES.index(name)] = float(weight or 1)
    return weights / weights.sum()


def writer(path: Path, size: tuple[int, int]) -> cv2.VideoWriter:
    return cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30, size)


def u8(x: Tensor) -> np.ndarray:
    """(1, 3, H, W) to BGR."""
    return np.ascontiguousarray((255 * x[0]).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()[..., ::-1])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent.parent / "Models/styles.safetensors",
                        help="a model file, or a checkpoint (.pt)")
    parser.add_argument("--style", type=parse_style, default="ink")
    parser.add_argument("--size", type=lambda x: tuple(map(int, x.split("x"))), default=(640, 384))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=10**9)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--forget", action="store_true")
    args = parser.parse_args()
    network: StreamingUNet
    if args.model.suffix == ".pt":
        network, sources = load_checkpoint(args.model), {name: source(name) for name in ("oil", "watercolour", "pencil")}
    else:
        network, sources = load_model(args.model)
    stream, motion, out = Stream(network, args.style, args.steps), Motion(), writer(args.out, args.size)
    taught = writer(args.teacher, args.size) if args.teacher else None
    for index, picture in enumerate(frames_of(args.video, args.size)):
        if index == args.frames:
            break
        frame, flow, anchor = motion(picture)
        if args.forget:
            stream.before = None
        out.write(u8(stream(frame, mixed_source(args.style, sources, anchor, args.seed), flow)))
        if taught:
            taught.write(u8(sum(w * TEACHERS[s](frame, Texture(anchor, args.seed)) for s, w in zip(STYLES, args.style) if w > 0)))
    out.release()


if __name__ == "__main__":
    main()
