"""Write a checkpoint's averaged weights and the sources as one model file of all styles, F16 with metadata.

    export_stream.py [--checkpoint runs/base/last.pt] [--out ../Models/base.safetensors]

Tensors, for every convolution NAME of streaming.py (stem, enc0.0.a, enc0.0.b, down1, ... head), O outputs, I inputs:

    NAME.weight (O, I, k, k)   NAME.bias (O)   NAME.scale_in (styles, I)   NAME.scale_out (styles, O)
    NAME.shift (styles, O)     NAME.share_shift (8, O)

all F16, not folded, and source.STYLE (3, 512, 512) U8 for the styles that leave something to chance; the source of the
others is 0.5 everywhere. An engine folds, for style weights s (they sum to 1) and a share r in [0, 1]:

    weight[o, i] (1 + (s @ scale_out)[o]) (1 + (s @ scale_in)[i])
    bias + s @ shift + t @ share_shift,  t[k] = max(0, 1 - |7 r - k|),  k = 0 ... 7
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from streaming import LIGHT, PATCH, SHARES, SIZE_MULTIPLE, STATE, STYLES, TRUST_MAX, Shape, StreamingUNet
from textures import SIZE, source

HERE = Path(__file__).resolve().parent
ARCHITECTURE, VERSION = "streaming-flow-unet", "1"
WITH_SOURCE = ("oil", "watercolour", "pencil")
TRAIN_COMMAND = "make -C Training all"


def listed(values: tuple[int, ...]) -> str:
    return ",".join(str(value) for value in values)


def metadata(shape: Shape, sources: Iterable[str] = WITH_SOURCE) -> dict[str, str]:
    """The `__metadata__` of a model file. Keys and values are strings, as safetensors demands."""
    return {
        "format": "lucida-model",
        "format_version": "1",
        "architecture": ARCHITECTURE,
        "architecture_version": VERSION,
        "channels": listed(shape.channels),
        "blocks": listed(shape.blocks),
        "patch": str(PATCH),
        "state": str(STATE),
        "light": str(LIGHT),
        "shares": str(SHARES),
        "trust_max": str(TRUST_MAX),
        "styles": ",".join(STYLES),
        "sources": ",".join(sources),
        "source_size": str(SIZE),
        "color_range": "full",
        "size_multiple": str(SIZE_MULTIPLE),
        "train_command": TRAIN_COMMAND,
        "licence": "Apache-2.0",
        "title": "Styles",
        "description": "Six styles, drawn live, that hold still when the scene does: " + ", ".join(STYLES) + ".",
    }


def save_model(network: StreamingUNet, path: Path, dtype: torch.dtype, sources: dict[str, Tensor]) -> None:
    """Write the weights as dtype, the sources as they are, and the metadata."""
    tensors = {name: value.detach().to(dtype).contiguous() for name, value in network.state_dict().items()}
    tensors |= {f"source.{style}": value.contiguous() for style, value in sources.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata(network.shape, sources))


def load_model(path: Path) -> tuple[StreamingUNet, dict[str, Tensor]]:
    """A model file's network, f32, and its sources. Raises ValueError where the architecture is not ours."""
    with safe_open(str(path), framework="pt") as file:
        meta = file.metadata() or {}
        if (meta.get("architecture"), meta.get("architecture_version")) != (ARCHITECTURE, VERSION):
            raise ValueError(f"{path}: not a {ARCHITECTURE} of version {VERSION}")
        if meta["styles"] != ",".join(STYLES):
            raise ValueError(f"{path}: has the styles {meta['styles']}, not {','.join(STYLES)}")
        network = StreamingUNet(Shape(*(tuple(map(int, meta[key].split(","))) for key in ("channels", "blocks"))))
        names = {name for name in file.keys() if not name.startswith("source.")}
        network.load_state_dict({name: file.get_tensor(name).float() for name in names})
        sources = {name.removeprefix("source."): file.get_tensor(name) for name in set(file.keys()) - names}
    return network.eval(), sources


def load_checkpoint(path: Path) -> tuple[StreamingUNet, dict[str, Tensor]]:
    """The averaged weights of a training run, and the sources that it was trained with."""
    from train_stream import SHAPES  # the trainer pulls in the drawing of scenes; a reader of model files does not

    state = torch.load(path, weights_only=True, map_location="cpu")
    network = StreamingUNet(SHAPES[state["shape"]])
    network.load_state_dict(state["average"])
    return network.eval(), {style: source(style) for style in WITH_SOURCE if state.get("source", True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "runs/base/last.pt")
    parser.add_argument("--out", type=Path, default=HERE.parent / "Models/base.safetensors")
    parser.add_argument("--between", type=Path, metavar="MODEL", help="average with these weights, which the training went on from")
    parser.add_argument("--share", type=float, default=0.5, help="of the checkpoint in that average")
    args = parser.parse_args()
    network, sources = load_checkpoint(args.checkpoint)
    if args.between:
        earlier = load_model(args.between)[0].state_dict()
        network.load_state_dict({name: torch.lerp(earlier[name], new, args.share) for name, new in network.state_dict().items()})
    save_model(network, args.out, torch.float16, sources)
    print(f"{args.out.name}: {args.out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
