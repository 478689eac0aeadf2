"""Reference tensors of the streaming network for the tests of the inference engine.

    dump_stream_reference.py [--out ../Tests/ModelsTests/Resources]

Everything is computed in float64 from values that are whole in f32, and stored as f32, so that a reader's error is its own.

    streaming-unet.safetensors     a tiny network with random weights, a model file like any other but f32, and a
                                   source.oil of random numbers
    streaming-unet-io.safetensors  what goes in and comes out; the names' first part is the case:

    pass-K/     one pass of the network on blocks: style (6), share (1), z, frame, past (1, 48, 8, 12), state (1, 15, 8, 12),
                tau, known (1, 1, 8, 12); raw (1, 79, 8, 12) is the last convolution's, end and after the results
    warp/       picture (1, 3, 32, 48), flow (1, 2, 32, 48) x then y in pixels, output
    trust/      frame, before (1, 3, 32, 48), flow; output (1, 1, 8, 12)
    source/     anchor (1, 2, 32, 48), seed (1); output (1, 3, 32, 48) of source.oil
    stream-K/   three frames in K steps: style (6), frames, sources (3, 3, 32, 48), flows (3, 2, 32, 48), the first
                unused; outputs (3, 3, 32, 48), and states (3, 15, 8, 12) after each
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from export_stream import save_model
from streaming import PIXELS, STATE, STYLES, Condition, Shape, Stream, StreamingUNet, trust, warp
from textures import SIZE, sample_source

RESOURCES = Path(__file__).resolve().parent.parent / "Tests/ModelsTests/Resources"
TINY = Shape((8, 16, 24), (1, 0, 1, 1, 0))
HEIGHT, WIDTH = 32, 48


def tiny() -> StreamingUNet:
    """A network whose every parameter matters."""
    torch.manual_seed(3)
    network = StreamingUNet(TINY)
    with torch.no_grad():
        network.head.weight.mul_(3)
        for name, parameter in network.named_parameters():
            if not name.endswith("weight"):
                parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    return network.double()


def moving(generator: torch.Generator, frames: int) -> tuple[Tensor, Tensor]:
    """Smooth pictures (T, 3, H, W) of a plausible stream, and flows (T, 2, H, W), at places out of the picture."""
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    picture = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    flows = 1.5 * F.interpolate(torch.randn(frames, 2, 3, 4, generator=generator), (HEIGHT, WIDTH), mode="bilinear")
    pictures = [picture]
    for flow in flows[1:]:
        pictures.append((warp(pictures[-1], flow[None]) + 0.02 * torch.randn(1, 3, HEIGHT, WIDTH, generator=generator)).clamp(0, 1))
        pictures[-1][..., 8:14, 12:20] = torch.rand(1, 3, 6, 8, generator=generator)
    return torch.cat(pictures), flows


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
        z, frame, past = blocks(PIXELS), blocks(PIXELS), blocks(PIXELS)
        state, tau, known = 2 * blocks(STATE) - 1, blocks(1), (blocks(1) > 0.3).double()
        weights = network.folded(Condition(style.double(), share))
        raw = network.raw(torch.cat([z, frame, state, tau], 1), weights)
        end, after = network(z, frame, past, state, tau, known, weights)
        put(f"pass-{index}", style=style, share=torch.tensor([share]), z=z, frame=frame, past=past, state=state, tau=tau,
            known=known, raw=raw, end=end, after=after)

    frames, flows = moving(generator, 3)
    put("warp", picture=frames[:1], flow=flows[1:2], output=warp(frames[:1].double(), flows[1:2].double()))
    put("trust", frame=frames[1:2], before=frames[:1], flow=flows[1:2],
        output=trust(frames[1:2].double(), frames[:1].double(), flows[1:2].double()))
    anchor = 1400 * torch.rand(1, 2, HEIGHT, WIDTH, generator=generator) - 200
    anchor[..., :4, :4] = torch.tensor([SIZE - 0.5, SIZE - 1.0])[:, None, None]
    put("source", anchor=anchor, seed=torch.tensor([3.0]), output=sample_source(source, anchor, 3))
    fields = torch.rand(3, 3, HEIGHT, WIDTH, generator=generator)
    for steps in (1, 2, 4):
        stream = Stream(network, styles[1].double(), steps)
        outputs, states = [], []
        for frame, field, flow in zip(frames.double(), fields.double(), flows.double()):
            outputs.append(stream(frame[None], field[None], flow[None]))
            states.append(stream.state)
        put(f"stream-{steps}", style=styles[1], frames=frames, sources=fields, flows=flows, outputs=torch.cat(outputs),
            states=torch.cat(states))
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
