"""PyTorch's CPU kernels (oneDNN), channels last; bf16 by autocast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engines import MODEL
from network import load_network


class Engine:
    """Eager: one call into oneDNN for each layer."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.network = load_network(folder / MODEL).to(memory_format=torch.channels_last)
        self.bf16 = precision == "bf16"

    def load(self, x: np.ndarray) -> None:
        self.x = torch.from_numpy(x).to(memory_format=torch.channels_last)

    def infer(self) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            self.y = self.network(self.x)

    def output(self) -> np.ndarray:
        return self.y.float().contiguous().numpy()
