"""Model files: safetensors whose metadata says everything a reader must know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model import SIZE_MULTIPLE, DistilledUNet

TITLE = "Ink"
DESCRIPTION = "Flat colours and dark ink lines, drawn live: a cartoon of the camera's picture."
TRAIN_COMMAND = "make -C Training ink"


def metadata(channels: Sequence[int]) -> dict[str, str]:
    """The `__metadata__` of a model file. Keys and values are strings, as safetensors demands."""
    return {
        "format": "lucida-model",
        "format_version": "1",
        "architecture": "distilled-unet",
        "architecture_version": "1",
        "channels": ",".join(str(c) for c in channels),
        "styles": "ink",
        "color_range": "full",
        "size_multiple": str(SIZE_MULTIPLE),
        "train_command": TRAIN_COMMAND,
        "licence": "Apache-2.0",
        "title": TITLE,
        "description": DESCRIPTION,
    }


def save_model(model: DistilledUNet, path: Path, dtype: torch.dtype) -> None:
    """Write the weights (OIHW) and biases as `dtype`, with the metadata."""
    tensors = {k: v.detach().to(dtype).contiguous() for k, v in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata(model.channels))


def load_model(path: Path) -> DistilledUNet:
    """Read a model file into an f32 network. Raises ValueError where the architecture is not ours."""
    with safe_open(str(path), framework="pt") as file:
        meta = file.metadata() or {}
        if (meta.get("architecture"), meta.get("architecture_version")) != ("distilled-unet", "1"):
            raise ValueError(f"{path}: not a distilled-unet of version 1")
        model = DistilledUNet([int(c) for c in meta["channels"].split(",")])
        model.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})
    return model.eval()
