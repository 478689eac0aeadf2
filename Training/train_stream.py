"""Train the streaming network on drawn sequences.

    train_stream.py [--steps 16000] [--minutes 120] [--run runs/base] [--shape base] [--device cpu] [--data sequences]

A batch is a few frames of some drawn scenes in one style, or in a blend of two. The network runs over them as it will
live, each frame beginning at its own aligned past, and is asked for three things at once: the teacher's picture; along
the motion, a change from frame to frame that is the teacher's and not more; and where nothing moves, none.

Steps. Most frames are done in one step. For the others K of 2, 3, 4 is drawn, the first k < K steps are run without a
gradient, and step k is asked for the same end. That is no approximation: scene and source determine the teacher's
picture, so every point of every path has one end, whatever its r, and what shortcut models (Frans et al., 2024) have
to learn by consistency is here known. Running the first steps, rather than mixing start and target, trains the network on what
it will meet. All of them are asked for alike: the picture is the mean of what they say.

The past. It is the network's own output, through a flow that is a little wrong, as an estimate is; and sometimes
spoilt in colour or sharpness, so that an error is mended, not kept: a stream has no end. Now and then it has lingered
on the first frame for a while, under fresh noise: what a network adds to its own output again and again, stripes on a
wall, shows only then. Where it has not lingered, some frames of the sequence may have gone by without a gradient: a past
carried along a motion gathers errors that the first frames after the beginning do not know.

Weights are optimised by Muon (Jordan et al., 2024: momentum made orthogonal by a Newton-Schulz iteration), all that is a
vector by Adam. Rate, length of the sequences and weight of steadiness follow the step, of --steps in all, over as many runs
as it takes: --minutes ends one, RUN/last.pt resumes.

A style alone. What belongs to one style is a row of scales and shifts in each layer. --only trains nothing else: when one teacher has
changed, or one style is asked for more, the others need not be trained and measured again.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from export_stream import load_model
from sequences import ANCHOR_UNITS
from streaming import (BASE, LIGHT_RATE, PATCH, PIXELS, SMALL, STATE, STYLES, TRUST_MAX, Condition, Exposure, Stream,
                       StreamingUNet, Weights, kept, light, means, shares, start_of, trust, warp, with_light)
from teachers import STOCHASTIC
from textures import sample_source, source

HERE = Path(__file__).resolve().parent
SHAPES = {"base": BASE, "small": SMALL}
TURNS = (*STYLES, "oil", "watercolour", "neon", "neon")  # which styles a round of batches has: some are harder
HELD_OUT = 12  # samples that are never trained on
STEADIER = dict(ink=1.7, pencil=8.0, neon=22.0)  # times the weight of steadiness: lines show most of what trembles
VECTOR_RATE = 1.5
SPOTS = (8, 16, 64)  # pixels, in width and height, of what a spoilt past has here and there
ASTRAY = 0.1  # of the full range: a past more wrong than this is asked to stand less, from twice that on not at all
# Weight, besides, of what has just come into sight: few pixels, and the gate has to shut there. More for the two that are asked the hardest
# to stand. Squared too: what is left of a glow is worse than a trembling.
UNCOVERED = dict.fromkeys(STYLES, 2.0) | dict(neon=3.0)
BESIDE = 9  # pixels, in width and height: what is beside it was in the light of what went away
PART_WAY = 0.35  # of the frames are done in several steps
OF_SEVERAL = 0.6  # of the weight of steadiness, for one of several ends: their mean is steadier than each of them
GONE_BY = 4  # frames at most without a gradient before those that are learnt from
TONE = 16  # pixels, in width and height, of a square whose mean is tone
STILL = 0.3  # pixels of motion under which a picture has to stand


@dataclass
class Batch:
    """frames, targets, source: (N, T, 3, S, S) in [0, 1]; flow: (N, T, 2, S, S) pixels to the frame before; valid:
    (N, T, 1, S, S), 1 where the surface was visible there; light: (N, T, 4) of the whole frames; factor: (N, T), see
    `Exposure`; style: (len(STYLES),) weights."""

    frames: Tensor
    targets: Tensor
    source: Tensor
    flow: Tensor
    valid: Tensor
    light: Tensor
    factor: Tensor
    style: Tensor


class Sequences:
    """Random crops of cached sequences; which ones depends on seed, step, process and what is finished."""

    def __init__(self, folder: Path, crop: int, batch: int, seed: int, rank: int, device: str, sources: bool,
                 styles: Sequence[str] = STYLES) -> None:
        names = ["frames", "flow", "valid", "anchor", "index"] + [f"target_{style}" for style in styles]
        self.styles, self.turns = styles, [style for style in TURNS if style in styles]
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        self.crop, self.batch, self.seed, self.rank, self.device = crop, batch, seed, rank, device
        self.with_source = STOCHASTIC if sources else ()
        self.frames = self.arrays["frames"].shape[1]  # of a sequence
        self.finished = np.array([], int)
        self.whole: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # light, gain and factor of a sample, (T, 4), (T,), (T,)

    def look(self) -> None:
        """Take note of what is finished: training may begin while the set is being made."""
        self.finished = HELD_OUT + np.flatnonzero(self.arrays["index"][HELD_OUT:])

    def __call__(self, step: int, length: int, processes: int) -> Batch:
        round_, turn = divmod(step * processes + self.rank, len(self.turns))
        style = {np.random.default_rng((self.seed, round_)).permutation(self.turns)[turn].item(): 1.0}
        rng = np.random.default_rng((self.seed, step, self.rank))
        if rng.random() < 0.08:
            other, share = self.styles[rng.integers(len(self.styles))], rng.uniform(0.2, 0.8)
            style = {name: weight * share for name, weight in style.items()}
            style[other] = style.get(other, 0) + 1 - share
        count, size = self.arrays["frames"].shape[1:3]
        places = [(int(rng.choice(self.finished)), int(rng.integers(0, count - length + 1)),
                   *(int(x) * PATCH for x in rng.integers(0, (size - self.crop) // PATCH + 1, 2))) for _ in range(self.batch)]
        return self.gather(places, length, self.crop, style)

    def validation(self, style: str, count: int) -> Batch:
        """Whole sequences that are never trained on."""
        _, length, size = self.arrays["frames"].shape[:3]
        return self.gather([(index, 0, 0, 0) for index in range(count)], length, size, {style: 1.0}, steadied=False)

    def gather(self, places: list[tuple[int, int, int, int]], length: int, crop: int, style: dict[str, float],
               steadied: bool = True) -> Batch:
        """Crops that begin at (sample, frame, y, x); steadied: in exposure, which a `Stream` does by itself."""

        def cut(name: str) -> Tensor:
            parts = [self.arrays[name][i, t : t + length, y : y + crop, x : x + crop] for i, t, y, x in places]
            stacked = torch.from_numpy(np.stack(parts)).to(self.device)
            planes = stacked[:, :, None] if stacked.dim() == 4 else stacked.movedim(-1, 2)
            return planes.to(torch.float32, memory_format=torch.contiguous_format)

        anchor = cut("anchor").flatten(0, 1) / ANCHOR_UNITS
        begin, targets = 0, 0
        for name, weight in style.items():
            field = sample_source(source(name).to(self.device), anchor) if name in self.with_source else 0.5
            begin = begin + weight * field
            targets = targets + weight / 255 * cut(f"target_{name}")
        lights, gains, factors = (
            torch.stack([self.of_whole_frames(i)[part][t : t + length] for i, t, _, _ in places]).to(self.device) for part in range(3))
        if not steadied:
            gains, factors = torch.ones_like(gains), torch.ones_like(factors)
        frames = (cut("frames") * gains[:, :, None, None, None]).round().clamp(0, 255) / 255
        begin = begin.unflatten(0, (len(places), length)) if isinstance(begin, Tensor) else torch.full_like(frames, begin)
        weights = torch.tensor([style.get(name, 0) for name in STYLES], device=self.device)
        return Batch(frames, targets, begin, cut("flow"), cut("valid"), lights, factors, weights)

    def of_whole_frames(self, sample: int) -> tuple[Tensor, Tensor, Tensor]:
        """What a crop cannot tell: the light that the network is told of in each frame of a sample, (T, 4), the gain that
        steadies its exposure, (T,), and the factor that is left of it, (T,)."""
        if sample not in self.whole:
            frames = torch.from_numpy(self.arrays["frames"][sample].copy()).permute(0, 3, 1, 2).float() / 255
            exposure, gains, factors, lights = Exposure(), [], [], []
            for frame in frames.split(1):
                now = light(exposure(frame))
                lights.append(torch.lerp(lights[-1], now, LIGHT_RATE) if lights else now)
                gains.append(exposure.gain)
                factors.append(exposure.factor)
            self.whole[sample] = torch.cat(lights), torch.cat(gains), torch.cat(factors)
        return self.whole[sample]


def blocks(x: Tensor) -> Tensor:
    """Pixels to blocks."""
    return F.pixel_unshuffle(x, PATCH)


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along width and height."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def fidelity(y: Tensor, target: Tensor, tone: float) -> Tensor:
    """L1, L1 of the gradients (sharp lines), a squared term (no line forgotten, none doubled), and `tone` times L1 of the
    means of TONE x TONE pixels."""
    edges = sum((a - b).abs().mean() for a, b in zip(gradients(y), gradients(target)))
    flat = F.avg_pool2d(y - target, TONE).abs().mean()
    return (y - target).abs().mean() + 0.5 * edges + 2 * (y - target).square().mean() + tone * flat


def frame_loss(network: StreamingUNet, weights: Weights, z: Tensor, frame: Tensor, past: Tensor, state: Tensor,
               tau: Tensor, known: Tensor, target: Tensor, wanted: Tensor, seen: Tensor, still: Tensor,
               fresh: Tensor, temporal: Tensor, tone: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, its steady part, output (N, 3, S, S), state and `kept` of one frame.

    wanted: what the last output, along the true motion, and the teacher's change make of this frame; seen, still: (N, 1,
    S, S), where it counts, and where it counts more; fresh: (N, 1, S, S), its weight where there was nothing before. The end is asked
    for the picture before the gate and after it: behind a gate that holds on to the past nothing would be learnt.
    """
    end, gate, after = network.parts(z, frame, state, tau, weights)
    output = F.pixel_shuffle(end + known * gate * (past - end), PATCH)
    difference = output - wanted
    unsteady = (seen * (difference.abs() + 8 * difference.square()) + 2 * still * difference.abs()).mean()
    faithful = 0.6 * fidelity(output, target, tone) + 0.4 * fidelity(F.pixel_shuffle(end, PATCH), target, tone)
    error = output - target
    uncovered = (fresh * (error.abs() + 8 * error.square())).mean()
    return faithful + uncovered + temporal * unsteady, unsteady.detach(), output, after, kept(known, gate).detach()


class Unroll:
    """Runs the network over a batch of sequences, its own output fed back."""

    def __init__(self, network: StreamingUNet, temporal: float, tone: float, precision: torch.dtype, compiled: bool,
                 seed: int) -> None:
        self.network, self.temporal, self.tone, self.precision = network, temporal, tone, precision
        self.loss = torch.compile(frame_loss) if compiled else frame_loss
        self.generator = torch.Generator().manual_seed(seed)

    def chance(self) -> float:
        return torch.rand((), generator=self.generator).item()

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def disturbed(self, flow: Tensor) -> Tensor:
        """Motion as it will be estimated live: a little wrong, smoothly, blurred across the borders of what moves, and none
        where it is slow."""
        n, _, height, width = flow.shape
        share = torch.rand(n, 1, 1, 1, generator=self.generator)
        soft = F.avg_pool2d(flow, (13, 1), 1, (6, 0), count_include_pad=False)
        soft = F.avg_pool2d(soft, (1, 13), 1, (0, 6), count_include_pad=False)
        error = F.interpolate(self.noise(n, 2, height // 16 + 1, width // 16 + 1), (height, width), mode="bilinear")
        size = 0.6 * torch.rand(n, 1, 1, 1, generator=self.generator) ** 4
        moving = (flow.abs().amax(1, keepdim=True) > 0.05) | (torch.rand(n, 1, 1, 1, generator=self.generator) < 0.3)
        live = torch.lerp(flow, soft, share.to(flow)) + (size.to(flow) * error.to(flow)) * moving
        slowest = (0.6 * torch.rand(n, 1, 1, 1, generator=self.generator) - 0.2).clamp(min=0.05).to(flow)
        return self.lost(flow, live * (live.norm(dim=1, keepdim=True) >= slowest))

    def lost(self, flow: Tensor, live: Tensor) -> Tensor:
        """What moves fast is lost in half of the frames, with its surroundings: it seems to stand, or to have come from
        somewhere else."""
        n, _, height, width = flow.shape
        chances = torch.rand(3, n, 1, 1, 1, generator=self.generator).to(flow)
        fast = (flow.norm(dim=1, keepdim=True) > 2 + 14 * chances[0] ** 2) & (chances[1] < 0.5)
        around = F.max_pool2d(fast.to(flow), 9, 1, 4) > 0
        elsewhere = F.interpolate(8 * self.noise(n, 2, height // 24 + 1, width // 24 + 1).to(flow), (height, width))
        return torch.where(around, elsewhere * (chances[2] < 0.5), live)

    def spoilt(self, past: Tensor) -> Tensor:
        """A past that has gone astray in colour, here and there or all over, and in sharpness."""
        n = len(past)
        tinted = past * (1 + 0.12 * self.noise(n, 1, 1, 1).to(past)) + 0.06 * self.noise(n, 3, 1, 1).to(past)
        cells = [past.shape[axis] // SPOTS[int(len(SPOTS) * self.chance())] + 1 for axis in (-2, -1)]
        spots = F.interpolate(self.noise(n, 3, *cells), past.shape[-2:], mode="bilinear")
        tinted = tinted + 0.06 * self.chance() * spots.to(past)
        if self.chance() < 0.3:
            tinted = tinted + self.specks(past)
        soft = F.avg_pool2d(F.pad(tinted, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.lerp(tinted, soft, (2.2 * torch.rand(n, 1, 1, 1, generator=self.generator) - 1).to(past)).clamp(0, 1)

    def specks(self, past: Tensor) -> Tensor:
        """What a flow that is wrong by little leaves on a smooth surface: specks of a few pixels, in some places."""
        fine, where = (self.noise(len(past), channels, past.shape[-2] // cell + 1, past.shape[-1] // cell + 1).to(past)
                       for channels, cell in ((3, 2), (1, 32)))
        fine, where = (F.interpolate(x, past.shape[-2:], mode="bilinear") for x in (fine, where))
        return (0.1 + 0.2 * self.chance()) * (where > 0.8) * fine

    @torch.no_grad()
    def linger(self, frame: Tensor, begin: Tensor, output: Tensor, state: Tensor, light: Tensor,
               weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """Output, state and basis after some more frames of the same, noise apart. frame, output: (N, 3, S, S); begin: blocks."""
        before, basis = frame, means(frame)
        nowhere = torch.zeros_like(frame[:, :2])
        for _ in range(3 + int(8 * self.chance())):
            now = frame + 2 * self.chance() / 255 * self.noise(*frame.shape).to(frame)
            tau = trust(now, before, nowhere, basis)
            known, past, before = tau / TRUST_MAX, blocks(output), now
            end, state, share = self.network(
                start_of(past, begin, tau), blocks(now), past, with_light(state * known, light), tau, known, weights)
            output, basis = F.pixel_shuffle(end, PATCH).clamp(0, 1), torch.lerp(means(now), basis, share)
        return output, state, basis

    def part_of_the_way(self, z: Tensor, tau: Tensor, rest: tuple, style: Tensor) -> tuple[Tensor, Tensor, float, Tensor | None]:
        """Begin a frame of K steps, up to one of them: z and tau there, its share, and the state that the first step leaves,
        None if that is the one."""
        steps = 2 + int(3 * self.chance())
        ways = shares(steps)
        at = int(steps * self.chance())
        start, first = z, None
        with torch.no_grad():
            for share in ways[:at]:
                frame, past, state, known = rest
                weights = self.network.folded(Condition(style, share), self.precision)
                end, after, _ = self.network(z, frame, past, state, tau, known, weights)
                first = after if first is None else first
                z, tau = z + (end - start) / steps, tau + share * (1 - tau)
        return z, tau, ways[at], first

    @staticmethod
    def wanted(batch: Batch, t: int, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the last output asks of frame t, (N, 3, S, S), where that counts, and where it counts more, (N, 1, S, S)."""
        target, flow = batch.targets[:, t], batch.flow[:, t]
        before, last = warp(batch.targets[:, t - 1], flow), warp(output, flow)
        change, wrong = target - before, (last - before).abs().mean(1, keepdim=True)
        # What has gone astray is to go: asked to stand, crumbs of a glow stayed behind an arm for seconds.
        seen = batch.valid[:, t] * (2 - wrong / ASTRAY).clamp(0, 1)
        still = seen * (flow.square().sum(1, keepdim=True) < STILL**2) * (change.abs().amax(1, keepdim=True) < 0.03)
        return last + change, seen, still

    @torch.no_grad()
    def carried(self, batch: Batch, t: int, output: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last output and the basis, aligned to frame t; how far the past can be trusted there, (N, 1, h, w); the slow motion."""
        flow = self.disturbed(batch.flow[:, t])
        slow = F.avg_pool2d(flow, PATCH) / PATCH
        basis = warp(basis, slow) * batch.factor[:, t, None, None, None]
        return warp(output, flow), basis, trust(batch.frames[:, t], batch.frames[:, t - 1], flow, basis), slow

    @torch.no_grad()
    def go_by(self, batch: Batch, count: int, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """Output, state and basis after the first frames, as they will be live."""
        first, begin = blocks(batch.frames[:, 0]), blocks(batch.source[:, 0])
        nothing = torch.zeros_like(first[:, :1])
        state, basis = torch.zeros_like(first[:, :STATE]), means(batch.frames[:, 0])
        past, tau = begin, nothing
        for t in range(count):
            frame, begin = blocks(batch.frames[:, t]), blocks(batch.source[:, t])
            if t > 0:
                aligned, basis, tau, slow = self.carried(batch, t, output, basis)
                past, state = blocks(aligned), warp(state, slow) * tau / TRUST_MAX
            known = tau / TRUST_MAX
            end, state, share = self.network(
                start_of(past, begin, tau), frame, past, with_light(state, batch.light[:, t]), tau, known, weights)
            output, basis = F.pixel_shuffle(end, PATCH).clamp(0, 1), torch.lerp(means(batch.frames[:, t]), basis, share)
        return output, state, basis

    def __call__(self, batch: Batch, gone_by: int = 0) -> tuple[Tensor, Tensor]:
        """The mean loss of a frame after the first `gone_by`, and its steady part."""
        n, length, _, height, width = batch.frames.shape
        h, w = height // PATCH, width // PATCH
        whole = self.network.folded(Condition(batch.style, 1.0), self.precision)
        nothing = batch.frames.new_zeros(n, 1, h, w)
        state, output = batch.frames.new_zeros(n, STATE, h, w), None
        if gone_by > 0:
            output, state, basis = self.go_by(batch, gone_by, whole)
        total, unsteady = 0, 0
        parts = dict(zip(STYLES, batch.style.tolist()))
        weight = sum(share * STEADIER.get(name, 1.0) for name, share in parts.items())
        uncovered = sum(share * UNCOVERED[name] for name, share in parts.items())
        for t in range(gone_by, length):
            frame, target, begin = blocks(batch.frames[:, t]), batch.targets[:, t], blocks(batch.source[:, t])
            temporal = weight * self.temporal
            if output is None:
                z, tau, known, past = begin, nothing, nothing, begin
                basis = means(batch.frames[:, t])
                wanted, seen = target, torch.zeros_like(target[:, :1])
                still = fresh = seen
            else:
                aligned, basis, tau, slow = self.carried(batch, t, output, basis)
                known = tau / TRUST_MAX
                if self.chance() < 0.2:
                    aligned, temporal = self.spoilt(aligned), 0.0
                wanted, seen, still = self.wanted(batch, t, output)
                fresh = uncovered * F.max_pool2d(1 - batch.valid[:, t], BESIDE, stride=1, padding=BESIDE // 2)
                past = blocks(aligned)
                z = start_of(past, begin, tau)
                state = warp(state, slow) * known
            weights, state, first = whole, with_light(state, batch.light[:, t]), None
            if self.chance() < PART_WAY:
                z, tau, share, first = self.part_of_the_way(z, tau, (frame, past, state, known), batch.style)
                temporal = temporal * OF_SEVERAL
                weights = self.network.folded(Condition(batch.style, share), self.precision)
            factor = batch.frames.new_tensor(temporal)
            loss, part, output, after, share_kept = self.loss(
                self.network, weights, z, frame, past, state, tau, known, target, wanted, seen, still, fresh, factor,
                self.tone)
            total, unsteady = total + loss, unsteady + part
            output, state = output.detach().clamp(0, 1), after if first is None else first
            basis = torch.lerp(means(batch.frames[:, t]), basis, share_kept)
            if t == 0 and self.chance() < 0.35:
                output, state, basis = self.linger(batch.frames[:, t], begin, output, state, batch.light[:, t], whole)
        return total / (length - gone_by), unsteady / (length - gone_by)


# Optimisation


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the closest orthogonal matrix of each (M, N), M <= N, by five Newton-Schulz iterations."""
    x = (matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.to(matrices.dtype)


class Optimiser:
    """Muon for the weights of convolutions, as matrices (outputs, the rest); Adam for all else, at VECTOR_RATE times the
    rate, because a style's own are seen by few batches only.

    Of the last convolution only the residual's rows are Muon's: it would move gate and state, whose gradients are faint,
    as far as the picture, and by noise alone. Weights that stay as they are, `whole` being false, do not decay either.
    """

    def __init__(self, network: StreamingUNet, whole: bool = True, momentum: float = 0.95) -> None:
        self.matrices = [p for p in network.parameters() if p.dim() == 4 and whole]
        vectors = [p for p in network.parameters() if p.dim() != 4]
        self.buffers, self.momentum = [torch.zeros_like(p) for p in self.matrices], momentum
        self.adam = torch.optim.Adam(vectors, betas=(0.9, 0.98), fused=True)
        self.faint = network.head.weight
        self.squares = torch.zeros_like(self.faint[PIXELS:])

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step; a weight moves by about 0.2 rate, as with Adam."""
        for group in self.adam.param_groups:
            group["lr"] = VECTOR_RATE * rate
        self.adam.step()
        for parameter, buffer in zip(self.matrices, self.buffers):
            buffer.lerp_(parameter.grad, 1 - self.momentum)
            gradient = torch.lerp(parameter.grad, buffer, self.momentum)
            if parameter is self.faint:
                self.squares.lerp_(parameter.grad[PIXELS:].square(), 0.02)
                tail = gradient[PIXELS:] / (self.squares.sqrt() + 1e-8)
                parameter[PIXELS:].sub_(tail.clamp(-2, 2), alpha=0.5 * rate)
                parameter, gradient = parameter[:PIXELS], gradient[:PIXELS]
            matrix = gradient.flatten(1)
            turned = matrix.shape[0] > matrix.shape[1]
            update = orthogonal(matrix.mT if turned else matrix)
            update = update.mT if turned else update
            scale = 0.2 * max(matrix.shape) ** 0.5
            parameter.mul_(1 - 0.02 * rate).sub_(update.reshape(parameter.shape), alpha=rate * scale)

    def state(self) -> dict:
        return dict(buffers=self.buffers, squares=self.squares, adam=self.adam.state_dict())

    def load(self, state: dict) -> None:
        for buffer, saved in zip(self.buffers, state["buffers"], strict=True):
            buffer.copy_(saved)
        self.squares.copy_(state["squares"])
        self.adam.load_state_dict(state["adam"])


def spare_others(network: StreamingUNet, styles: Sequence[str]) -> None:
    """Leave no gradient but of these styles' own scales and shifts."""
    own = torch.tensor([style in styles for style in STYLES])
    for _, layer in network.layers():
        for parameter in layer.parameters():
            if any(parameter is p for p in (layer.scale_in, layer.scale_out, layer.shift)):
                parameter.grad[~own.to(parameter.device)] = 0
            else:
                parameter.grad.zero_()


def average_gradients(network: nn.Module, processes: int) -> None:
    """Replace every gradient by its mean over the processes, in one exchange."""
    parameters = list(network.parameters())
    flat = torch.cat([p.grad.flatten() for p in parameters])
    if processes > 1:
        dist.all_reduce(flat)
        flat /= processes
    flat *= (1.0 / flat.norm().clamp_min(1e-12)).clamp_max(1)
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters])):
        parameter.grad.copy_(mean.view(parameter.shape))


def steadiness_weight(progress: float, full: float) -> float:
    """Hardly any while the styles are learnt: to keep the past is the first thing a network finds, and it stops there."""
    return full * min(1.0, max(0.05, (progress - 0.25) / 0.3))


def learning_rate(progress: float, step: int, peak: float) -> float:
    """Linear warm-up over 150 steps; level; over the last quarter straight down to a hundredth."""
    return peak * min(1, (step + 1) / 150) * max(0.01, min(1, 4 * (1 - progress)))


# Validation


@torch.no_grad()
def run(network: StreamingUNet, batch: Batch, steps: int = 1) -> Tensor:
    """The stream's outputs (N, T, 3, H, W), by the true flow."""
    stream = Stream(network, batch.style, steps)
    parts = zip(batch.frames.unbind(1), batch.source.unbind(1), batch.flow.unbind(1))
    return torch.stack([stream(*part) for part in parts], 1)


def psnr(a: Tensor, b: Tensor) -> float:
    """dB."""
    return -10 * math.log10(max(1e-9, (a - b).square().mean().item()))


def steadiness(pictures: Tensor, batch: Batch) -> tuple[float, float]:
    """Warp error (mean squared, where seen before) and flicker (mean absolute, where nothing moves), by the true flow.

    Of frames 3 on: a live stream has begun long ago.
    """
    errors, flickers = [], []
    for t in range(3, pictures.shape[1]):
        change = pictures[:, t] - warp(pictures[:, t - 1], batch.flow[:, t])
        seen = batch.valid[:, t] > 0
        still = seen & (batch.flow[:, t].norm(dim=1, keepdim=True) < STILL)
        errors.append(change.square().mean(1, keepdim=True)[seen].mean().item())
        flickers.append(change.abs().mean(1, keepdim=True)[still].mean().item())
    return float(np.nanmean(errors)), float(np.nanmean(flickers))


def report(network: StreamingUNet, sequences: Sequences, count: int = 4, steps: int = 1) -> str:
    """A line for each style: PSNR of the first and the last frames, and steadiness over the camera's and the teacher's."""
    lines = []
    for style in sequences.styles:
        batch = sequences.validation(style, count)
        output = run(network, batch, steps)
        (warp_out, still_out), (warp_in, still_in) = steadiness(output, batch), steadiness(batch.frames, batch)
        warp_teacher, still_teacher = steadiness(batch.targets, batch)
        lines.append(f"  {style:12} first {psnr(output[:, 0], batch.targets[:, 0]):.2f} last "
                     f"{psnr(output[:, -2:], batch.targets[:, -2:]):.2f} dB, input {psnr(batch.frames, batch.targets):.2f}; "
                     f"warp {warp_out / warp_in:.2f} (teacher {warp_teacher / warp_in:.2f}), "
                     f"flicker {still_out / still_in:.2f} (teacher {still_teacher / still_in:.2f})")
    return "\n".join(lines)


# The run


def train(rank: int, args: argparse.Namespace) -> None:
    """One process's share of the run; rank 0 also validates, logs and saves."""
    if args.device == "cpu":
        torch.set_num_threads(1)
    if args.processes > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)
    sequences = Sequences(args.data, args.crop, args.batch, args.seed, rank, args.device, args.source,
                          args.only or STYLES)
    network = StreamingUNet(SHAPES[args.shape]).to(args.device)
    average, optimiser = copy.deepcopy(network).eval(), Optimiser(network, whole=not args.only)
    last, first = args.run / "last.pt", 0
    if last.exists():
        state = torch.load(last, weights_only=True, map_location=args.device)
        if state.get("only") != args.only:
            raise SystemExit(f"{last} has trained {state.get('only') or 'all styles'}, not {args.only or 'all'}: name another --run")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load(state["optimiser"])
        first = state["step"]
    elif args.start:
        if args.start.suffix == ".safetensors":
            weights = load_model(args.start)[0].state_dict()
        else:
            weights = torch.load(args.start, weights_only=True, map_location=args.device)["average"]
        network.load_state_dict(weights)
        average.load_state_dict(weights)
    unroll = Unroll(network, args.temporal, args.tone, torch.bfloat16, args.compile, args.seed + 1000 * rank + first)

    def log(line: str) -> None:
        print(line, flush=True)
        with open(args.run / "log.txt", "a") as file:
            file.write(line + "\n")

    def save(step: int) -> None:
        state = dict(network=network.state_dict(), average=average.state_dict(), optimiser=optimiser.state(),
                     step=step, shape=args.shape, source=args.source, only=args.only)
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)

    start, saved, shown = time.monotonic(), time.monotonic(), time.monotonic()
    running, step = torch.zeros(2), first
    clock = torch.zeros(1)
    while step < args.steps:
        if (step - first) % 50 == 0:
            sequences.look()
        clock[0] = time.monotonic() - start
        if args.processes > 1:
            dist.broadcast(clock, 0)
        if clock.item() > 60 * args.minutes:
            break
        progress = step / args.steps
        length = args.lengths[min(int(len(args.lengths) * progress), len(args.lengths) - 1)]
        gone_by = int(np.random.default_rng((args.seed, step)).integers(GONE_BY + 1)) if step % 2 else 0
        gone_by = min(gone_by, sequences.frames - length)
        batch = sequences(step, length + gone_by, args.processes)
        # With --only the styles are learnt already.
        unroll.temporal = args.temporal if args.only else steadiness_weight(progress, args.temporal)
        loss, unsteady = unroll(batch, gone_by)
        network.zero_grad(set_to_none=False)
        loss.backward()
        if args.only:
            spare_others(network, args.only)
        average_gradients(network, args.processes)
        optimiser.step(learning_rate(progress, step, args.peak))
        decay = min(args.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        step += 1
        running += torch.stack([loss.detach(), unsteady]).cpu()
        if rank == 0 and step % 50 == 0:
            now = time.monotonic()
            log(f"step {step} {100 * progress:.1f} % loss {running[0] / 50:.4f} unsteady {running[1] / 50:.4f} "
                f"{1000 * (now - shown) / 50:.0f} ms/step, {len(sequences.finished)} sequences")
            running, shown = torch.zeros(2), now
        if rank == 0 and time.monotonic() - saved > 60 * args.save_every:
            save(step)
            log(f"step {step} on sequences never trained on:\n{report(average, sequences)}")
            saved = shown = time.monotonic()
    if rank == 0:
        save(step)
        log(f"step {step}, the end:\n{report(average, sequences, HELD_OUT)}")
    if args.processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def steps_done(run: Path) -> int:
    """Of a run so far, by what it has saved."""
    last = run / "last.pt"
    return torch.load(last, weights_only=True, map_location="cpu")["step"] if last.exists() else 0


def styles_of(text: str) -> list[str]:
    """The styles of a list with commas."""
    styles = text.split(",")
    if unknown := set(styles) - set(STYLES):
        raise argparse.ArgumentTypeError(f"no such style: {', '.join(sorted(unknown))}; there are {', '.join(STYLES)}")
    return styles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "sequences")
    parser.add_argument("--run", type=Path, default=HERE / "runs/base")
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--source", action=argparse.BooleanOptionalAction, default=True,
                        help="without: a regression, which cannot know what the teacher left to chance; for comparison")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", type=Path, help="model file, or checkpoint with averaged weights, that a new run begins with")
    parser.add_argument("--only", type=styles_of, metavar="STYLE,...",
                        help="train these styles' own scales and shifts, after --start; each of the others stays as it is, to the bit (a blend with "
                             "one of these changes)")
    parser.add_argument("--steps", type=int, default=16000, help="of the whole training, those of runs before included")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which this run ends, to be resumed")
    parser.add_argument("--batch", type=int, default=4, help="sequences of each process")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--lengths", type=lambda x: [int(y) for y in x.split(",")], default=[2, 3, 3, 4, 5],
                        help="frames of a sequence, over the course of the training")
    parser.add_argument("--peak", type=float, default=3e-4, help="learning rate after warm-up")
    parser.add_argument("--temporal", type=float, default=0.3, help="weight of steadiness")
    parser.add_argument("--tone", type=float, default=0,
                        help="weight of the means of 16 x 16 pixels: the last of what is learnt, and the largest of what is seen")
    parser.add_argument("--ema", type=float, default=0.996, help="decay of the averaged weights a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--save-every", type=float, default=5, help="minutes")
    parser.add_argument("--port", type=int, default=29519, help="free local port for the processes to meet")
    args = parser.parse_args()
    if args.only and not args.start:
        parser.error("--only needs --start: the styles that stay as they are have to come from somewhere")
    args.run.mkdir(parents=True, exist_ok=True)
    if (done := steps_done(args.run)) >= args.steps:
        print(f"{args.run} is at step {done}: the {args.steps} are done")
        return
    if args.processes > 1:
        torch.multiprocessing.spawn(train, (args,), nprocs=args.processes)
    else:
        train(0, args)
    if (done := steps_done(args.run)) < args.steps:  # a failure, so that a Makefile does not go on to the next stage
        raise SystemExit(f"step {done} of {args.steps}: the {args.minutes:g} minutes are over; the same command goes on from here")


if __name__ == "__main__":
    main()
