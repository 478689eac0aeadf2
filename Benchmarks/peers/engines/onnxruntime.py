"""ONNX Runtime on its own CPU kernels (MLAS, which has a blocked layout and direct convolutions)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from engines import ONNX


class Engine:
    """f32. Input and output are bound once, so nothing is copied or allocated at the ends."""

    def __init__(self, folder: Path, _precision: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(folder / ONNX, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()

    def load(self, x: np.ndarray) -> None:
        self.x = onnxruntime.OrtValue.ortvalue_from_numpy(x)
        self.y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(x))
        self.binding.bind_ortvalue_input("x", self.x)
        self.binding.bind_ortvalue_output("y", self.y)

    def infer(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def output(self) -> np.ndarray:
        return self.y.numpy().copy()
