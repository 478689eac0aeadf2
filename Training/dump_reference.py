"""Reference tensors for the tests of the inference engine.

    dump_reference.py [--model ../Models/ink.safetensors]

Everything is computed in float64 and stored as f32, so that a reader's error is its own.

    Tests/NeuralEngineTests/Resources/layers.safetensors       single layers, odd sizes
    Tests/ModelsTests/Resources/distilled-unet.safetensors     a tiny network with random weights
    Tests/ModelsTests/Resources/distilled-unet-io.safetensors  `input`, `output` of that network
    Tests/ModelsTests/Resources/ink-io.safetensors             `input`, `output` of the weights that ship

In layers.safetensors case C has the tensors `C/input` (1, Cin, H, W), `C/output` (1, Cout, H', W') and, where
it has them, `C/weight` (OIHW), `C/bias` (Cout) and `C/residual` (the output's shape; added before the
activation). The metadata's `cases` is a JSON list of {name, op, kernel, stride, padding, activation, bias,
residual}; `op` is one of conv2d, pixel_unshuffle, pixel_shuffle, upsample_nearest; `stride` is the factor of the
last three.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model import DistilledUNet
from safetensors_io import load_model, save_model

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ROOT / "Tests/NeuralEngineTests/Resources/layers.safetensors"
MODELS = ROOT / "Tests/ModelsTests/Resources"
ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "silu": F.silu}
TINY_CHANNELS = (8, 16, 24)

# kernel, stride, Cin, Cout, H, W, activation, bias, residual
CONVOLUTIONS = [
    (3, 1, 5, 7, 7, 9, "none", True, False),
    (3, 1, 5, 7, 7, 9, "none", False, False),
    (3, 1, 5, 48, 13, 31, "silu", True, False),
    (3, 1, 16, 16, 16, 16, "relu", True, False),
    (3, 1, 16, 16, 16, 16, "relu", True, True),
    (3, 1, 16, 16, 1, 1, "none", True, False),
    (3, 1, 16, 48, 2, 3, "relu", True, True),
    (3, 1, 33, 16, 13, 31, "relu", True, True),
    (3, 1, 33, 48, 7, 9, "silu", True, True),
    (3, 2, 5, 7, 7, 9, "none", True, False),
    (3, 2, 16, 16, 16, 16, "relu", True, False),
    (3, 2, 16, 48, 16, 16, "relu", True, True),
    (3, 2, 33, 16, 13, 31, "relu", True, False),
    (3, 2, 33, 48, 7, 9, "silu", True, False),
    (1, 1, 5, 7, 7, 9, "none", True, False),
    (1, 1, 5, 48, 13, 31, "none", False, False),
    (1, 1, 16, 16, 16, 16, "relu", True, True),
    (1, 1, 33, 48, 7, 9, "silu", True, False),
    (1, 1, 33, 16, 13, 31, "none", True, True),
]


def convolution_case(
    generator: torch.Generator, kernel: int, stride: int, c_in: int, c_out: int, height: int, width: int,
    activation: str, bias: bool, residual: bool,
) -> tuple[dict, dict[str, Tensor]]:
    """One conv2d with zero padding kernel // 2, then + residual, then the activation."""

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32).double()

    tensors = {
        "input": randn(1, c_in, height, width),
        "weight": randn(c_out, c_in, kernel, kernel).mul((c_in * kernel * kernel) ** -0.5).float().double(),
    }
    if bias:
        tensors["bias"] = randn(c_out)
    padding = kernel // 2
    y = F.conv2d(tensors["input"], tensors["weight"], tensors.get("bias"), stride, padding)
    if residual:
        tensors["residual"] = randn(*y.shape)
        y = y + tensors["residual"]
    tensors["output"] = ACTIVATIONS[activation](y)
    name = f"conv{kernel}x{kernel}-s{stride}-{c_in}x{height}x{width}-{c_out}-{activation}"
    name += ("" if bias else "-nobias") + ("-residual" if residual else "")
    case = dict(name=name, op="conv2d", kernel=kernel, stride=stride, padding=padding,
                activation=activation, bias=bias, residual=residual)
    return case, tensors


def shape_cases(generator: torch.Generator) -> list[tuple[dict, dict[str, Tensor]]]:
    """The layers that only move values."""

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32).double()

    def case(name: str, op: str, stride: int) -> dict:
        return dict(name=name, op=op, kernel=0, stride=stride, padding=0,
                    activation="none", bias=False, residual=False)

    picture, patches = randn(1, 3, 20, 28), randn(1, 48, 5, 7)
    narrow = randn(1, 5, 7, 9)
    return [
        (case("pixel_unshuffle-4", "pixel_unshuffle", 4),
         {"input": picture, "output": F.pixel_unshuffle(picture, 4)}),
        (case("pixel_shuffle-4", "pixel_shuffle", 4),
         {"input": patches, "output": F.pixel_shuffle(patches, 4)}),
        (case("upsample_nearest-2", "upsample_nearest", 2),
         {"input": narrow, "output": F.interpolate(narrow, scale_factor=2, mode="nearest")}),
    ]


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Store as contiguous f32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.float().contiguous() for k, v in tensors.items()}, str(path), metadata)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB")


def dump_layers() -> None:
    """Single layers over odd sizes."""
    generator = torch.Generator().manual_seed(1)
    cases = [convolution_case(generator, *c) for c in CONVOLUTIONS] + shape_cases(generator)
    tensors = {f"{case['name']}/{key}": value for case, values in cases for key, value in values.items()}
    save(LAYERS, tensors, {"cases": json.dumps([case for case, _ in cases])})


def dump_io(model: DistilledUNet, x: Tensor, path: Path) -> None:
    """Run the network on x (1, 3, H, W) in float64 and store both ends."""
    with torch.no_grad():
        y = model.double()(x.double())
    save(path, {"input": x, "output": y})


def dump_tiny() -> None:
    """A random network whose output moves far from its input without clamping everywhere."""
    torch.manual_seed(2)
    model = DistilledUNet(TINY_CHANNELS).eval()
    with torch.no_grad():
        model.head.weight.mul_(10)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.2, 0.2)
    path = MODELS / "distilled-unet.safetensors"
    save_model(model, path, torch.float32)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB")
    dump_io(model, torch.rand(1, 3, 32, 48), MODELS / "distilled-unet-io.safetensors")


def dump_shipped(path: Path) -> None:
    """The shipped F16 weights, widened to float64, on a small drawn scene."""
    from scenes import draw  # the generator pulls in OpenCV; the other dumps do not need it

    drawn = torch.from_numpy(draw(np.random.default_rng(5), (64, 96)))
    picture = drawn.permute(2, 0, 1)[None].mul(255).round().div(255)
    dump_io(load_model(path), picture, MODELS / "ink-io.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "Models/ink.safetensors")
    args = parser.parse_args()
    dump_layers()
    dump_tiny()
    if args.model.exists():
        dump_shipped(args.model)


if __name__ == "__main__":
    main()
