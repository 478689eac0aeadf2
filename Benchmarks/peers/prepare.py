"""What the engines read, made from one model file."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

import nncf
import openvino
import pnnx
import torch
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from calibration import calibration_blocks
from engines import INT8, MODEL, NCNN_PARAM, NCNN_WEIGHTS, ONNX
from network import BlockNetwork, example

CALIBRATION_FRAMES = 100


def prepare(network: BlockNetwork, model: Path, folder: Path) -> None:
    """Write all files."""
    shutil.copy(model, folder / MODEL)
    to_onnx(network, folder / ONNX)
    quantise(folder / ONNX, network.image_channels, folder / INT8)
    to_ncnn(network, folder)


def to_onnx(network: BlockNetwork, path: Path) -> None:
    """`x` to `y`, the shape fixed: every engine knows it in advance, as Lucida does."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        network, (example(network),), path, input_names=["x"], output_names=["y"],
        dynamo=True, external_data=False, verbose=False)


def quantise(source: Path, channels: int, path: Path) -> None:
    """OpenVINO's int8 by the quantiser of its makers, after training, on drawn scenes."""
    nncf.set_log_level(logging.ERROR)
    blocks = nncf.Dataset(calibration_blocks(channels, CALIBRATION_FRAMES))
    # The default range, the mean over frames of their extremes, clips bright frames: 16 dB worse.
    ranges = AdvancedQuantizationParameters(activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX)
    network = nncf.quantize(
        openvino.Core().read_model(source), blocks, subset_size=CALIBRATION_FRAMES,
        preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False, advanced_parameters=ranges)
    openvino.save_model(network, path, compress_to_fp16=False)


def to_ncnn(network: BlockNetwork, folder: Path) -> None:
    """By pnnx, the converter of ncnn's makers; the weights stay f32."""
    traced = folder / "model.pt"
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pnnx.export(network, str(traced), example(network), fp16=False)
    for name in (NCNN_PARAM, NCNN_WEIGHTS):
        if not (folder / name).exists():
            raise SystemExit(f"pnnx did not write {folder / name}")
