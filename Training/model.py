"""DistilledUNet, version 1: an image-to-image U-Net small enough to run live on a CPU.

    x (N, 3, H, W) ─ unshuffle 4 ─ stem ─ enc0 ──────────── + ─ dec0 ─ head ─ shuffle 4 ─ + x ─ clamp
                                           │ down1          ▲ up0
                                          enc1 ──────── + ─ dec1
                                           │ down2      ▲ up1
                                           └──── mid ───┘

The whole network works at a quarter of the picture's resolution and below, in pixel space: there is no
autoencoder to pay for. It predicts a residual, so detail it does not mean to change passes untouched.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
SIZE_MULTIPLE = 16
CHANNELS = (48, 64, 96)


class ResidualBlock(nn.Module):
    """y = relu(x + b(relu(a(x)))), two 3x3 convolutions; x, y: (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))


class DistilledUNet(nn.Module):
    """Three scales (1/4, 1/8, 1/16 of the picture) with additive skips.

    x: (N, 3, H, W) RGB in [0, 1], H and W multiples of 16. Returns the same shape and range.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        c0, c1, c2 = channels
        pixels = 3 * PATCH * PATCH
        self.channels = (c0, c1, c2)
        self.stem = nn.Conv2d(pixels, c0, 3, padding=1)
        self.enc0 = nn.Sequential(ResidualBlock(c0))
        self.down1 = nn.Conv2d(c0, c1, 3, stride=2, padding=1)
        self.enc1 = nn.Sequential(ResidualBlock(c1))
        self.down2 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.mid = nn.Sequential(ResidualBlock(c2), ResidualBlock(c2))
        self.up1 = nn.Conv2d(c2, c1, 1)
        self.dec1 = nn.Sequential(ResidualBlock(c1))
        self.up0 = nn.Conv2d(c1, c0, 1)
        self.dec0 = nn.Sequential(ResidualBlock(c0))
        self.head = nn.Conv2d(c0, pixels, 3, padding=1)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # start close to the identity

    def residual(self, x: Tensor) -> Tensor:
        """What the network adds to x, before clamping: (N, 3, H, W), roughly [-1, 1]."""
        skip0 = self.enc0(F.relu(self.stem(F.pixel_unshuffle(x, PATCH))))
        skip1 = self.enc1(F.relu(self.down1(skip0)))
        h = self.mid(F.relu(self.down2(skip1)))
        h = self.dec1(F.interpolate(self.up1(h), scale_factor=2, mode="nearest") + skip1)
        h = self.dec0(F.interpolate(self.up0(h), scale_factor=2, mode="nearest") + skip0)
        return F.pixel_shuffle(self.head(h), PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.residual(x)).clamp(0, 1)


def multiply_accumulates(channels: Sequence[int], height: int, width: int) -> int:
    """Multiply-accumulates of one forward pass on a (3, height, width) picture."""
    total = 0

    def count(module: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    model = DistilledUNet(channels)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, height, width))
    return total
