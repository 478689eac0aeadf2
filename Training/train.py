"""Distil the teacher into the network.

    train.py [--steps 20000] [--run runs/ink]

Resumes from RUN/last.pt where there is one. Writes RUN/last.pt (everything needed to go on) and RUN/log.txt;
the weights to ship are the exponential moving average in it.

Each process works on its share of the batch with one thread, and the gradients are averaged once a step: on a
busy machine that wastes far less than threads that wait for each other at every layer.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from model import DistilledUNet

HERE = Path(__file__).resolve().parent


class Crops:
    """Random, mirrored crops of the cached samples; which ones depends on the seed, the step and the rank only."""

    def __init__(self, folder: Path, crop: int, batch: int, seed: int, rank: int, held_out: int = 64) -> None:
        self.frames = np.load(folder / "frames.npy", mmap_mode="r")
        self.targets = np.load(folder / "targets.npy", mmap_mode="r")
        self.crop, self.batch, self.seed, self.rank, self.held_out = crop, batch, seed, rank, held_out

    @staticmethod
    def tensor(pictures: list[np.ndarray]) -> Tensor:
        """u8 (H, W, 3) pictures to a (N, 3, H, W) f32 batch in [0, 1], channels last in memory."""
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return stacked.float().div_(255).contiguous(memory_format=torch.channels_last)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of this step: frames and targets, each (batch, 3, crop, crop)."""
        rng = np.random.default_rng((self.seed, step, self.rank))
        count, height, width = self.frames.shape[:3]
        frames, targets = [], []
        for index in rng.integers(self.held_out, count, self.batch):
            y, x = rng.integers(0, height - self.crop + 1), rng.integers(0, width - self.crop + 1)
            flip = rng.choice([-1, 1])
            window = np.s_[index, y : y + self.crop, x : x + self.crop]
            frames.append(self.frames[window][:, ::flip])
            targets.append(self.targets[window][:, ::flip])
        return self.tensor(frames), self.tensor(targets)

    def validation(self) -> tuple[Tensor, Tensor]:
        """The samples that are never trained on, whole."""
        return self.tensor(list(self.frames[: self.held_out])), self.tensor(list(self.targets[: self.held_out]))


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along width and height."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def loss_function(y: Tensor, target: Tensor, gradient_weight: float, square_weight: float) -> Tensor:
    """L1, L1 of the gradients (sharp lines), and a squared term (no line forgotten, none doubled).

    y: (N, 3, H, W) not clamped, so that a saturated pixel still learns; target in [0, 1].
    """
    l1 = F.l1_loss(y, target)
    square = F.mse_loss(y, target)
    edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(y), gradients(target)))
    return l1 + gradient_weight * edges + square_weight * square


def psnr(y: Tensor, target: Tensor) -> float:
    """dB over the whole batch, both in [0, 1]."""
    return -10 * math.log10(F.mse_loss(y, target).item())


@torch.no_grad()
def validate(model: DistilledUNet, frames: Tensor, targets: Tensor) -> float:
    """PSNR against the teacher on drawn samples never trained on."""
    return psnr(torch.cat([model(batch) for batch in frames.split(8)]), targets)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 300) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def average_gradients(model: DistilledUNet, processes: int) -> None:
    """Replace every gradient by its mean over the processes, in one exchange."""
    gradients = [parameter.grad for parameter in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(processes).split([g.numel() for g in gradients])):
        gradient.copy_(mean.view(gradient.shape))


def train(rank: int, args: argparse.Namespace) -> None:
    """One process's share of the run; rank 0 also validates, logs and saves."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=args.processes)
    crops = Crops(args.data, args.crop, args.batch // args.processes, args.seed, rank)
    held_out = crops.validation()
    model = DistilledUNet().to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    residual = torch.compile(model.residual)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.peak, betas=(0.9, 0.98), weight_decay=1e-4)

    last, first_step = args.run / "last.pt", 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first_step = state["step"]

    def save(step: int) -> None:
        state = dict(model=model.state_dict(), average=average.state_dict(), optimizer=optimizer.state_dict(),
                     step=step, channels=model.channels)
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)

    def log(line: str) -> None:
        print(line, flush=True)
        with open(args.run / "log.txt", "a") as file:
            file.write(line + "\n")

    start, running = time.monotonic(), 0.0
    for step in range(first_step, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.peak)
        x, target = crops(step)
        with torch.autocast("cpu", torch.bfloat16):
            correction = residual(x)
        loss = loss_function(x + correction.float(), target, args.gradient_weight, args.square_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model, args.processes)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(args.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        running += loss.item()
        if rank == 0 and (step + 1) % 100 == 0:
            per_step = (time.monotonic() - start) / (step + 1 - first_step)
            log(f"step {step + 1}/{args.steps} loss {running / 100:.4f} {1000 * per_step:.0f} ms/step "
                f"ETA {per_step * (args.steps - step - 1) / 60:.0f} min")
            running = 0.0
        if rank == 0 and ((step + 1) % 500 == 0 or step + 1 == args.steps):
            save(step + 1)
            if (step + 1) % 2000 == 0 or step + 1 == args.steps:
                log(f"step {step + 1} validation {validate(average, *held_out):.2f} dB")
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--run", type=Path, default=HERE / "runs/ink")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=16, help="of all processes together")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate after warm-up")
    parser.add_argument("--gradient-weight", type=float, default=0.5)
    parser.add_argument("--square-weight", type=float, default=2.0)
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int, default=29517, help="free local port for the processes to meet")
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.multiprocessing.spawn(train, (args,), nprocs=args.processes)


if __name__ == "__main__":
    main()
