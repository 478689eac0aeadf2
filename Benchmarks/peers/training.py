"""What is used of the folder Training: network, scenes, camera, teacher."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "Training"))

from data import expose, sense
from evaluate import fit, psnr
from model import PATCH, DistilledUNet
from safetensors_io import metadata
from scenes import draw
from teacher import stylise

__all__ = ["PATCH", "ROOT", "DistilledUNet", "draw", "expose", "fit", "metadata", "psnr", "sense", "stylise"]
