"""The network between pixel-unshuffle and pixel-shuffle, read from a model file: blocks in, residual out.

Every engine here runs this part: x (1, C, H/4, W/4) f32 to the residual of the same shape. C is the metadata's
`image_channels`: 48, which are the 4 x 4 pixels of RGB, or more, where the extra inputs are zero for pictures
and the extra outputs ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from training import PATCH, DistilledUNet

SIZE = (640, 384)  # of the picture, width and height
PIXELS = 3 * PATCH * PATCH
Frame = np.ndarray  # (H, W, 3) u8 RGB


class BlockNetwork(DistilledUNet):
    """DistilledUNet on blocks (N, C, h, w), with C = `image_channels` at both ends."""

    def __init__(self, channels: Sequence[int], image_channels: int = PIXELS) -> None:
        super().__init__(channels)
        self.image_channels = image_channels
        self.stem = nn.Conv2d(image_channels, channels[0], 3, padding=1)
        self.head = nn.Conv2d(channels[0], image_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip0 = self.enc0(F.relu(self.stem(x)))
        skip1 = self.enc1(F.relu(self.down1(skip0)))
        h = self.mid(F.relu(self.down2(skip1)))
        h = self.dec1(F.interpolate(self.up1(h), scale_factor=2, mode="nearest") + skip1)
        h = self.dec0(F.interpolate(self.up0(h), scale_factor=2, mode="nearest") + skip0)
        return self.head(h)


def load_network(path: Path) -> BlockNetwork:
    """Read a model file. The weights are F16 in the file, f32 here."""
    with safe_open(str(path), framework="pt") as file:
        meta = file.metadata()
        channels = [int(c) for c in meta["channels"].split(",")]
        network = BlockNetwork(channels, int(meta.get("image_channels", PIXELS)))
        network.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118, no mapping
    return network.eval().requires_grad_(False)


def example(network: BlockNetwork) -> Tensor:
    """An input of the right shape."""
    return torch.zeros(1, network.image_channels, SIZE[1] // PATCH, SIZE[0] // PATCH)


def multiply_accumulates(network: BlockNetwork) -> int:
    """Of one forward pass."""
    total = 0

    def count(module: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    network(example(network))
    for hook in hooks:
        hook.remove()
    return total


def blocks_of(frame: Frame, channels: int) -> np.ndarray:
    """Pixel-unshuffle of a frame in [0, 1], then zeros: (1, channels, H/4, W/4) f32."""
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float().div(255)
    blocks = F.pixel_unshuffle(picture, PATCH)
    return F.pad(blocks, (0, 0, 0, 0, 0, channels - PIXELS)).numpy()


def picture_of(frame: Frame, residual: np.ndarray) -> Frame:
    """clamp(frame + residual): what comes out of the camera."""
    shuffled = F.pixel_shuffle(torch.from_numpy(residual)[:, :PIXELS].double(), PATCH)[0].permute(1, 2, 0).numpy()
    return np.round(255 * np.clip(frame / 255 + shuffled, 0, 1)).astype(np.uint8)


def exact(network: BlockNetwork, blocks: np.ndarray) -> np.ndarray:
    """The residual in f64: what all engines are compared with."""
    double = BlockNetwork(network.channels, network.image_channels).double()
    double.load_state_dict(network.state_dict())
    with torch.no_grad():
        return double(torch.from_numpy(blocks).double()).numpy()
