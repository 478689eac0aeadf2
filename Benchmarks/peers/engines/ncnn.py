"""ncnn: Winograd or direct by its own choice, channels packed; bf16 is what stands between layers and in weights."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np

from engines import NCNN_PARAM, NCNN_WEIGHTS


class Engine:
    """Pooled memory, as in ncnn's own benchmark."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        self.net, self.blobs, self.workspace = ncnn.Net(), ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
        options = self.net.opt
        options.num_threads = threads
        options.blob_allocator, options.workspace_allocator = self.blobs, self.workspace
        options.lightmode = options.use_packing_layout = True
        options.use_winograd_convolution = options.use_sgemm_convolution = True
        options.use_bf16_storage = precision == "bf16"
        if self.net.load_param(str(folder / NCNN_PARAM)) or self.net.load_model(str(folder / NCNN_WEIGHTS)):
            raise OSError(f"{folder}: ncnn cannot read its model")

    def load(self, x: np.ndarray) -> None:
        self.x = ncnn.Mat(np.ascontiguousarray(x[0])).clone()

    def infer(self) -> None:
        extractor = self.net.create_extractor()
        extractor.input("in0", self.x)
        _, self.y = extractor.extract("out0")

    def output(self) -> np.ndarray:
        return np.array(self.y)[None]
