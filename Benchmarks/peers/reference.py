"""The reference network (64/96/128 channels, 64 in and out, 5.59 GMAC at 640 x 384), made from the shipped one.

    reference.py [--model ../../Models/ink.safetensors] [--out build/reference.safetensors] [--seed 1]

Net2WiderNet (Chen, Goodfellow, Shlens, "Net2Net", 2016): a wider layer repeats channels of the narrow one, and
whoever reads them splits its weights among the copies, so the function stays. The split is uneven and random for
every single weight, and the copies get a little noise, so that no two channels or weights are the same. Random
weights read the 16 extra inputs, which are zero for pictures, and write the 16 extra outputs, which are ignored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import save_file
from torch import nn

from network import PIXELS, BlockNetwork, blocks_of, exact, load_network, picture_of
from training import ROOT, draw, metadata, psnr

CHANNELS = (64, 96, 128)
IMAGE_CHANNELS = 64
NOISE = 0.01  # of a layer's standard deviation
LEAST_PSNR = 45


def origins(rng: Generator, old: int, new: int) -> np.ndarray:
    """Which old channel each new one copies: all in order, then some again."""
    return np.concatenate([np.arange(old), rng.choice(old, new - old, replace=False)])


def widen(rng: Generator, layer: nn.Conv2d, inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the wider layer. inputs, outputs: the old channel behind each new one."""
    weight = layer.weight.numpy()[outputs][:, inputs]
    share = rng.uniform(0.3, 0.7, weight.shape)
    copies = inputs == inputs[:, None]  # (new inputs, new inputs)
    total = np.einsum("oixy,ij->ojxy", share, copies)
    weight = weight * share / total
    first_copy = layer.weight.shape[0]
    weight[first_copy:] += NOISE * weight.std() * rng.normal(size=weight[first_copy:].shape)
    return weight, layer.bias.numpy()[outputs]


def widened(narrow: BlockNetwork, rng: Generator) -> BlockNetwork:
    """The same function with CHANNELS and IMAGE_CHANNELS."""
    wide = BlockNetwork(CHANNELS, IMAGE_CHANNELS).eval().requires_grad_(False)
    # Skips and residuals add within a scale, so all its layers share one choice; what is between
    # the two convolutions of a block is the block's own.
    image = np.arange(PIXELS)
    scale = [origins(rng, old, new) for old, new in zip(narrow.channels, CHANNELS, strict=True)]
    ends = {"stem": (image, scale[0]), "down1": (scale[0], scale[1]), "down2": (scale[1], scale[2]),
            "up1": (scale[2], scale[1]), "up0": (scale[1], scale[0]), "head": (scale[0], image)}
    for level, blocks in enumerate((("enc0.0", "dec0.0"), ("enc1.0", "dec1.0"), ("mid.0", "mid.1"))):
        for block in blocks:
            inner = origins(rng, narrow.channels[level], CHANNELS[level])
            ends[f"{block}.a"], ends[f"{block}.b"] = (scale[level], inner), (inner, scale[level])
    for name, (inputs, outputs) in ends.items():
        weight, bias = widen(rng, narrow.get_submodule(name), inputs, outputs)
        layer = wide.get_submodule(name)
        layer.weight.copy_(torch.from_numpy(weight.std() * rng.normal(size=layer.weight.shape)))
        layer.weight[: weight.shape[0], : weight.shape[1]] = torch.from_numpy(weight)
        layer.bias.zero_()[: bias.size] = torch.from_numpy(bias)
    return wide


def agreement(narrow: BlockNetwork, wide: BlockNetwork, seed: int) -> float:
    """Least PSNR between the pictures of the two on a few drawn scenes."""
    worst = np.inf
    for index in range(6):
        frame = np.round(255 * draw(np.random.default_rng((seed, index)), (384, 640))).astype(np.uint8)
        pictures = [picture_of(frame, exact(net, blocks_of(frame, net.image_channels))) for net in (narrow, wide)]
        worst = min(worst, psnr(*([picture] for picture in pictures)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "Models/ink.safetensors")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "build/reference.safetensors")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    make(args.model, args.out, args.seed)


def make(model: Path, out: Path, seed: int = 1) -> None:
    """Write the reference network, unless it does not draw what the model draws."""
    narrow = load_network(model)
    wide = widened(narrow, np.random.default_rng(seed))
    tensors = {name: tensor.half().contiguous() for name, tensor in wide.state_dict().items()}
    wide.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    worst = agreement(narrow, wide, seed)
    print(f"{out.name}: at least {worst:.1f} dB to {model.name}")
    if worst < LEAST_PSNR:
        raise SystemExit(f"{out.name} should be within {LEAST_PSNR} dB of {model.name}: lower NOISE")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(out), metadata(CHANNELS) | {
        "image_channels": str(IMAGE_CHANNELS),
        "title": "Reference",
        "description": "The shipped model, widened to the reference network of the benchmarks.",
        "train_command": "make -C Benchmarks/peers reference",
    })


if __name__ == "__main__":
    main()
