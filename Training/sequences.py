"""The training set of the six styles: drawn sequences through a drawn webcam, with every teacher's answer.

    sequences.py [--count 1000] [--first 0] [--seed 1] [--size 256] [--frames 8] [--styles ink,oil,...]
                 [--out sequences] [--processes 2]

Sample i depends on (seed, i) alone, so machines can share the work by --first, and a run that stopped goes on. Writes,
with N samples of T frames of H x W:

    frames.npy        (N, T, H, W, 3) u8   what the camera delivers
    flow.npy          (N, T, H, W, 2) f16  backward flow in pixels: p in frame t was at p + flow in frame t - 1
    valid.npy         (N, T, H, W) u8      1 where it was seen there
    anchor.npy        (N, T, H, W, 2) u16  texture coordinates modulo the source's size, in 1 / ANCHOR_UNITS pixels
    target_STYLE.npy  (N, T, H, W, 3) u8   the teacher's answer, painted with seed 0: the anchor begins anywhere
    index.npy         (N,) u8              1 where the sample is finished

At 256 x 256 and 8 frames a sample takes 6.3 MB, and each style 1.6 MB more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from camera import film
from motion import sequence
from teachers import STYLES, Texture
from textures import SIZE

ANCHOR_UNITS = 128  # of a pixel, in the cache


@dataclass
class Sample:
    """One sequence; pictures (T, H, W, 3), flow and anchor (T, H, W, 2) f32, valid (T, H, W) bool."""

    frames: np.ndarray  # u8
    exposed: np.ndarray  # f32
    lit: np.ndarray  # f32
    flow: np.ndarray
    valid: np.ndarray
    anchor: np.ndarray

    def texture(self, device: str = "cpu", seed: int = 0) -> Texture:
        """The texture that sticks to this sequence's surfaces; another seed gives another painting of it."""
        return Texture(torch.from_numpy(self.anchor).permute(0, 3, 1, 2).contiguous().to(device), seed)


def sample(index: int, seed: int, shape: tuple[int, int], count: int) -> Sample:
    """The sequence of this number, without the teachers."""
    rng = np.random.default_rng((seed, index))
    scene = sequence(rng, shape, count)
    frames, exposed, lit = film(rng, scene)
    return Sample(frames, exposed, lit, scene.flow, scene.valid, scene.anchor)


def tensor(pictures: np.ndarray, device: str = "cpu") -> Tensor:
    """(T, H, W, 3) u8, or f32 in [0, 1], to (T, 3, H, W) f32 in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float()
    return (x / 255 if pictures.dtype == np.uint8 else x).contiguous()


def picture(x: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] to (T, H, W, 3) u8."""
    return (255 * x).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def paint(drawn: Sample, style: str, device: str = "cpu", seed: int = 0) -> Tensor:
    """The teacher's answer to a sequence, (T, 3, H, W)."""
    source = drawn.lit if style == "clear" else drawn.exposed
    return STYLES[style](tensor(source, device), drawn.texture(device, seed))


def packed(anchor: np.ndarray) -> np.ndarray:
    """Texture coordinates as the cache holds them, u16."""
    return (np.round(np.float64(anchor) * ANCHOR_UNITS) % (SIZE * ANCHOR_UNITS)).astype(np.uint16)


def cached(index: int, seed: int, shape: tuple[int, int], count: int, styles: list[str]) -> tuple[int, dict[str, np.ndarray]]:
    """Everything the cache holds of a sample, by the names of the files."""
    drawn = sample(index, seed, shape, count)
    arrays = dict(frames=drawn.frames, flow=drawn.flow.astype(np.float16), valid=drawn.valid.astype(np.uint8),
                  anchor=packed(drawn.anchor))
    return index, arrays | {f"target_{style}": picture(paint(drawn, style)) for style in styles}


def one_thread() -> None:
    """A worker's share of the machine."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def open_arrays(folder: Path, count: int, frames: int, size: int, styles: list[str]) -> dict[str, np.ndarray]:
    """The files of the cache, made where they are missing; what is missing from a sample is made for all of them."""
    shape = (count, frames, size, size)
    kinds = dict(frames=((*shape, 3), np.uint8), flow=((*shape, 2), np.float16), valid=(shape, np.uint8),
                 anchor=((*shape, 2), np.uint16))
    kinds |= {f"target_{style}": ((*shape, 3), np.uint8) for style in styles} | dict(index=((count,), np.uint8))
    arrays, complete = {}, True
    for name, (expected, kind) in kinds.items():
        path = folder / f"{name}.npy"
        exists = path.exists()
        how = dict(mode="r+") if exists else dict(mode="w+", dtype=kind, shape=expected)
        arrays[name] = np.lib.format.open_memmap(path, **how)
        if arrays[name].shape != expected:
            raise SystemExit(f"{path} has shape {arrays[name].shape}, not {expected}: remove it, or change --out")
        complete = complete and exists
    if not complete:
        arrays["index"][:] = 0
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first sample")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sequences")
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    styles = args.styles.split(",")
    if unknown := set(styles) - set(STYLES):
        parser.error(f"no such style: {', '.join(sorted(unknown))}; there are {', '.join(STYLES)}")
    arrays = open_arrays(args.out, args.count, args.frames, args.size, styles)
    todo = [args.first + i for i in range(args.count) if not arrays["index"][i]]
    start = time.monotonic()
    shape = (args.size, args.size)
    job = partial(cached, seed=args.seed, shape=shape, count=args.frames, styles=styles)
    with multiprocessing.get_context("spawn").Pool(args.processes, one_thread) as pool:
        for done, (index, made) in enumerate(pool.imap_unordered(job, todo), 1):
            for name, values in made.items():
                arrays[name][index - args.first] = values
            arrays["index"][index - args.first] = 1
            if done % 50 == 0 or done == len(todo):
                print(f"{done}/{len(todo)} in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
