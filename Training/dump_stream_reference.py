"""Reference tensors of the streaming network for the tests of the inference engine.

    dump_stream_reference.py [--out ../Tests/ModelsTests/Resources]

Everything is computed in float64 from values that are whole in f32, and stored as f32, so that a reader's error is its own.

    streaming-unet.safetensors     a tiny network with random weights, a model file like any other but f32, and a
                                   source.oil of random numbers
    streaming-unet-io.safetensors  what goes in and comes out; the names' first part is the case:

    pass-K/     one pass of the network on blocks: style (6), share (1), z, frame (1, 48, 8, 12), state and light (1, 15, 8, 12),
                tau (1, 1, 8, 12); raw (1, 75, 8, 12) is the last convolution's
    stream-K/   frames of a scene that stands, in K steps: style (6), frames (8, 3, 32, 48) in levels; outputs (8, 3, 32, 48)
                in [0, 1]. Nothing moves, because a program that lives has one vector
                for a square and finds it itself; what changes is brightness, by a level everywhere, by more here and there, slowly or at once, so
                that the past is trusted as far as it can be, in part and hardly; and in the end the exposure jumps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from export_stream import save_model
from streaming import GATE, LIGHT, PATCH, PIXELS, STATE, Condition, Shape, Stream, StreamingUNet
from textures import SIZE, sample_source, screen

RESOURCES = Path(__file__).resolve().parent.parent / "Tests/ModelsTests/Resources"
TINY = Shape((8, 16, 24), (1, 0, 1, 1, 0))
HEIGHT, WIDTH = 32, 48


def tiny() -> StreamingUNet:
    """A network whose every parameter matters."""
    torch.manual_seed(3)
    network = StreamingUNet(TINY)
    with torch.no_grad():
        network.head.weight.mul_(3)
        network.head.bias[PIXELS : PIXELS + GATE] += 4  # keeps much of the past
        for name, parameter in network.named_parameters():
            if not name.endswith("weight"):
                parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    return network.double()


def standing(generator: torch.Generator, count: int) -> Tensor:
    """Frames (T, 3, H, W) in whole levels, alike within each square, so that a sample of the pixels has their mean."""
    h, w = HEIGHT // PATCH, WIDTH // PATCH
    base = torch.randint(40, 200, (1, 3, h, w), generator=generator)
    frames = base + torch.randint(-1, 2, (count, 1, h, w), generator=generator)
    frames[2:, :, 1:4, 2:5] += 4
    frames[2:, :, 4:7, 7:10] += 9
    frames[3:, :, 2:5, 8:11] += 30
    # Too slow to be seen from frame to frame, but not beside what the past was painted from.
    frames[:, :, 5:7, 2:5] += 2 * torch.arange(count)[:, None, None, None]
    frames = frames.float()
    frames[4:] = (0.8 * frames[4:]).round()
    return F.interpolate(frames, scale_factor=PATCH, mode="nearest")


@torch.no_grad()
def cases(network: StreamingUNet, source: Tensor) -> dict[str, Tensor]:
    """Every case's tensors."""
    generator = torch.Generator().manual_seed(4)
    out: dict[str, Tensor] = {}

    def put(case: str, **tensors: Tensor) -> None:
        out.update({f"{case}/{name}": value for name, value in tensors.items()})

    def blocks(channels: int) -> Tensor:
        return torch.rand(1, channels, HEIGHT // 4, WIDTH // 4, generator=generator).double()

    styles = (torch.tensor([0, 1.0, 0, 0, 0, 0]), torch.tensor([0.75, 0, 0, 0.25, 0, 0]))
    for index, (style, share) in enumerate(zip(styles, (1.0, 0.25))):
        z, frame = blocks(PIXELS), blocks(PIXELS)
        state, tau = 2 * blocks(STATE + LIGHT) - 1, blocks(1)
        weights = network.folded(Condition(style.double(), share))
        raw = network.raw(torch.cat([z, frame, state, tau], 1), weights)
        put(f"pass-{index}", style=style, share=torch.tensor([share]), z=z, frame=frame, state=state, tau=tau, raw=raw)

    frames = standing(generator, 8)
    field = sample_source(source, screen(frames[:1])).double()
    for steps in (1, 2, 4):
        stream = Stream(network, styles[0].double(), steps)
        outputs = []
        for frame in frames.double() / 255:
            outputs.append(stream(frame[None], field, torch.zeros(1, 2, HEIGHT, WIDTH).double()))
        put(f"stream-{steps}", style=styles[0], frames=frames, outputs=torch.cat(outputs))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESOURCES)
    args = parser.parse_args()
    network = tiny()
    source = torch.randint(0, 256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    save_model(network, args.out / "streaming-unet.safetensors", torch.float32, {"oil": source})
    tensors = {name: value.float().contiguous().clone() for name, value in cases(network, source).items()}
    save_file(tensors, str(args.out / "streaming-unet-io.safetensors"))
    for name in ("streaming-unet", "streaming-unet-io"):
        path = args.out / f"{name}.safetensors"
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
