"""OpenVINO's CPU plugin (oneDNN). int8 is quantised by its makers' NNCF; what stays floating runs in bf16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from openvino import properties
from openvino.properties import hint

from engines import INT8, ONNX


class Engine:
    """One request, made for latency; its output is shared, not copied."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        core = openvino.Core()
        model = core.read_model(folder / (INT8 if precision == "int8" else ONNX))
        self.request = core.compile_model(model, "CPU", {
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.inference_precision: openvino.Type.f32 if precision == "f32" else openvino.Type.bf16,
            hint.enable_cpu_pinning: False,  # no engine here is pinned
            properties.inference_num_threads: threads,
            properties.num_streams: 1,
        }).create_infer_request()

    def load(self, x: np.ndarray) -> None:
        self.x = np.ascontiguousarray(x)
        self.request.set_input_tensor(openvino.Tensor(self.x, shared_memory=True))

    def infer(self) -> None:
        self.request.infer(share_outputs=True)

    def output(self) -> np.ndarray:
        return self.request.get_output_tensor().data.copy()
