"""Train the streaming network on drawn sequences.

    train_stream.py [--steps 30000] [--run runs/base] [--shape base] [--device cpu|cuda]

Each sample is a few frames of one drawn scene in one style, or a blend of two. The network runs over them as it will
live, each frame beginning at its own aligned past, and is asked for three things at once: the teacher's picture, its
edges, and, where the surface was visible before, a change from frame to frame that is the teacher's and not more.
Resumes from RUN/last.pt; stop it with Ctrl-C at any time.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streaming import BASE, PATCH, SMALL, STATE, STYLES, Condition, StreamingUNet, start_of, warp

HERE = Path(__file__).resolve().parent
SHAPES = {"base": BASE, "small": SMALL}
NOISE_MEAN, NOISE_DEVIATION = 0.5, 0.3


@dataclass
class Batch:
    """frames, targets: (N, T, 3, S, S) in [0, 1]; flow: (N, T, 2, S, S) pixels to the frame before; valid: (N, T, 1, S, S),
    1 where the surface was visible there; noise: (N, 3, S, S), one field a sequence; style: (N, styles)."""

    frames: Tensor
    targets: Tensor
    flow: Tensor
    valid: Tensor
    noise: Tensor
    style: Tensor


class Sequences:
    """Random crops and mirrors of cached sequences; which ones depends on seed and step alone."""

    def __init__(self, folder: Path, crop: int, batch: int, length: int, seed: int, device: str, held_out: int = 16) -> None:
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("frames", "flow", "valid")}
        self.targets = {style: np.load(folder / f"{style}.npy", mmap_mode="r") for style in STYLES}
        self.seeds = np.load(folder / "noise_seeds.npy")
        self.crop, self.batch, self.length, self.seed, self.device = crop, batch, length, seed, device
        self.held_out = held_out

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        count, length, size = self.arrays["frames"].shape[:3]
        return self.gather([
            (int(rng.integers(self.held_out, count)), int(rng.integers(0, length - self.length + 1)),
             int(rng.integers(0, (size - self.crop) // PATCH + 1)) * PATCH,
             int(rng.integers(0, (size - self.crop) // PATCH + 1)) * PATCH, bool(rng.integers(2)), int(rng.integers(len(STYLES))))
            for _ in range(self.batch)
        ])

    def validation(self, style: int) -> Batch:
        """The middle of the sequences that are never trained on."""
        size = self.arrays["frames"].shape[2]
        corner = (size - self.crop) // 2 // PATCH * PATCH
        return self.gather([(index, 0, corner, corner, False, style) for index in range(self.held_out)])

    def gather(self, choices: list[tuple[int, int, int, int, bool, int]]) -> Batch:
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ("frames", "targets", "flow", "valid", "noise")}
        size = self.arrays["frames"].shape[2]
        for index, start, y, x, mirrored, style in choices:
            window = np.s_[index, start : start + self.length, y : y + self.crop, x : x + self.crop]
            step = -1 if mirrored else 1
            parts["frames"].append(self.arrays["frames"][window][:, :, ::step])
            parts["targets"].append(self.targets[STYLES[style]][window][:, :, ::step])
            flow = np.float32(self.arrays["flow"][window][:, :, ::step])
            parts["flow"].append(flow * np.float32([step, 1]))
            parts["valid"].append(self.arrays["valid"][window][:, :, ::step, None])
            field = np.random.default_rng(self.seeds[index]).standard_normal((size, size, 3), np.float32)
            parts["noise"].append(field[None, y : y + self.crop, x : x + self.crop][:, :, ::step])

        def tensor(name: str, scale: float = 1) -> Tensor:
            stacked = torch.from_numpy(np.ascontiguousarray(np.stack(parts[name]))).to(self.device)
            return stacked.permute(0, 1, 4, 2, 3).float() * scale

        return Batch(
            tensor("frames", 1 / 255), tensor("targets", 1 / 255), tensor("flow"), tensor("valid"),
            NOISE_MEAN + NOISE_DEVIATION * tensor("noise")[:, 0],
            F.one_hot(torch.tensor([choice[5] for choice in choices]), len(STYLES)).float().to(self.device))


def blocks(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, PATCH)


def per_block(x: Tensor) -> Tensor:
    """(N, 1, H, W) to its mean in each block, (N, 1, h, w)."""
    return F.avg_pool2d(x, PATCH)


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def fidelity(y: Tensor, target: Tensor) -> Tensor:
    """L1, L1 of the gradients (sharp lines), and a squared term (no line forgotten, none doubled)."""
    edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(y), gradients(target)))
    return F.l1_loss(y, target) + 0.5 * edges + 2 * F.mse_loss(y, target)


def unsteadiness(change: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """How much more than the teacher's the picture changes along the motion; all (N, C, H, W)."""
    return (valid * ((change - wanted).abs() + 8 * (change - wanted).square())).mean()


def disturbed(flow: Tensor, generator: torch.Generator) -> Tensor:
    """Motion as it will be estimated live: a little wrong, smoothly, and now and then not known at all."""
    n, _, height, width = flow.shape
    error = torch.randn(n, 2, height // 16, width // 16, generator=generator).to(flow.device)
    error = F.interpolate(error, (height, width), mode="bilinear")
    size = torch.rand(n, 1, 1, 1, generator=generator).to(flow.device) ** 3
    return flow + size * error * (flow.abs().amax(1, keepdim=True) > 0.05)


def unroll(network: StreamingUNet, batch: Batch, temporal_weight: float, generator: torch.Generator) -> Tensor:
    """The loss of a batch of sequences, the network's own output fed back."""
    n, length = batch.frames.shape[:2]
    h, w = batch.frames.shape[-2] // PATCH, batch.frames.shape[-1] // PATCH
    device = batch.frames.device
    noise = blocks(batch.noise)
    past, state = None, torch.zeros(n, STATE, h, w, device=device)
    total = torch.zeros((), device=device)
    for t in range(length):
        frame, target = batch.frames[:, t], batch.targets[:, t]
        if past is None:
            tau = torch.zeros(n, 1, h, w, device=device)
            z = noise
        else:
            flow = disturbed(batch.flow[:, t], generator)
            aligned = warp(past, flow)
            state = warp(state, F.avg_pool2d(flow, PATCH) / PATCH)
            trust = (0.9 * torch.rand(n, 1, 1, 1, generator=generator).to(device).clamp(min=0.3) ** 0.25)
            tau = trust * per_block(batch.valid[:, t])
            z = start_of(blocks(aligned), noise, tau)
        # Mostly whole steps, as it runs live; sometimes from the middle of the way, in a part of a step.
        if t == 0 or torch.rand((), generator=generator) < 0.25:
            skip = torch.rand(n, 1, 1, 1, generator=generator).to(device) * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5).to(device)
            z, tau = torch.lerp(z, blocks(target), skip), tau + skip * (1 - tau)
            share = torch.rand(n, generator=generator).to(device)
        else:
            share = torch.ones(n, device=device)
        y, state = network(z, blocks(frame), state, tau, Condition(batch.style, share))
        output = F.pixel_shuffle(y.float(), PATCH)
        total = total + fidelity(output, target)
        if past is not None and temporal_weight > 0:
            change = output - warp(past, batch.flow[:, t])
            wanted = target - warp(batch.targets[:, t - 1], batch.flow[:, t])
            total = total + temporal_weight * unsteadiness(change, wanted, batch.valid[:, t])
        past = output.clamp(0, 1).detach()
        state = state.float()
    return total / length
