"""Write a checkpoint's averaged weights as a model file, F16 with metadata.

    export.py [--checkpoint runs/ink/last.pt] [--out ../Models/ink.safetensors]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from model import DistilledUNet
from safetensors_io import save_model

HERE = Path(__file__).resolve().parent


def load_checkpoint(path: Path) -> DistilledUNet:
    """The averaged weights of a training run."""
    state = torch.load(path, weights_only=True)
    model = DistilledUNet(state["channels"])
    model.load_state_dict(state["average"])
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "runs/ink/last.pt")
    parser.add_argument("--out", type=Path, default=HERE.parent / "Models/ink.safetensors")
    args = parser.parse_args()
    save_model(load_checkpoint(args.checkpoint), args.out, torch.float16)
    print(f"{args.out.name}: {args.out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
