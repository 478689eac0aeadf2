"""StreamingUNet: a few-step conditional flow model that runs on a live stream, small enough for a CPU.

    noisy picture z (48) ┐                                                       ┌ picture (48)
    frame (48)           ├ stem ─ enc0 ─────────────── + ─ dec0 ─ head ─┤
    state (15), tau (1)  ┘         │ down1             ▲ up0            └ state (15)
                                  enc1 ─────────── + ─ dec1
                                   │ down2         ▲ up1
                                   └───── mid ─────┘

Everything is at a quarter of the picture's resolution and below, in pixel space, 4 x 4 pixels unshuffled to channels.

The flow. z = (1 - tau) noise + tau picture for tau in [0, 1], one tau for each block of 4 x 4 pixels. The network
predicts where z will end, y = F(z, tau, r | frame, style, state), and a step covers the share r of the way left:

    z <- (1 - r) z + r y            tau <- tau + r (1 - tau)

r = 1 is one step, r = 1/4, 1/3, 1/2, 1 are four. r = 0 stands for an infinitely short step, whose y is the mean of all
pictures that z may come from: the rectified flow (Liu et al., 2022). Larger r are taught to land where two smaller
ones do (Frans et al., "One Step Diffusion via Shortcut Models", 2024).

The stream. A frame begins where the last one ended: z = (1 - tau0) noise + tau0 aligned past, tau0 high where the past
can be trusted and 0 where nothing is known of it. The noise stands still on the screen, one field for each seed.

Styles. A style scales the input and output channels of every convolution and shifts its bias; all of it is folded into
the weights when a style is chosen, so that a frame costs the same whatever the style, and styles blend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
SIZE_MULTIPLE = 16
PIXELS = 3 * PATCH * PATCH
STATE = 15
STYLES = ("ink", "oil", "watercolour", "pencil", "neon", "clear")
SHARES = 8  # of which the embedding of r is made


@dataclass(frozen=True)
class Shape:
    """Channels of the three scales, and residual blocks in each: enc0, enc1, mid, dec1, dec0."""

    channels: tuple[int, int, int]
    blocks: tuple[int, int, int, int, int]


BASE = Shape((48, 96, 160), (1, 1, 2, 1, 1))
SMALL = Shape((32, 48, 96), (0, 1, 1, 1, 1))


class Condition:
    """What all convolutions of a pass share. style: (N, len(STYLES)) weights that sum to 1; share: (N,) in [0, 1]."""

    def __init__(self, style: Tensor, share: Tensor) -> None:
        self.style = style
        # Which of SHARES triangles r falls into: piecewise linear in r, and nothing to compute live but a bias.
        position = share[:, None] * (SHARES - 1)
        self.share = (1 - (position - torch.arange(SHARES, device=share.device)).abs()).clamp(min=0)


class StyledConv(nn.Module):
    """A convolution whose channels a style scales and shifts; the weights of each sample of a batch differ."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        convolution = nn.Conv2d(inputs, outputs, kernel)
        self.weight, self.bias = convolution.weight, nn.Parameter(torch.zeros(outputs))
        self.scale_in = nn.Parameter(torch.zeros(len(STYLES), inputs))
        self.scale_out = nn.Parameter(torch.zeros(len(STYLES), outputs))
        self.shift = nn.Parameter(torch.zeros(len(STYLES), outputs))
        self.share_shift = nn.Parameter(torch.zeros(SHARES, outputs))

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """x: (N, inputs, H, W). Scaling activations is the same as scaling weights, and batches well."""
        x = x * (1 + condition.style @ self.scale_in).to(x.dtype)[:, :, None, None]
        y = F.conv2d(x, self.weight.to(x.dtype), stride=self.stride, padding=self.padding)
        scale = (1 + condition.style @ self.scale_out).to(x.dtype)[:, :, None, None]
        shift = (self.bias + condition.style @ self.shift + condition.share @ self.share_shift).to(x.dtype)
        return y * scale + shift[:, :, None, None]

    @torch.no_grad()
    def folded(self, style: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Weight and bias of an ordinary convolution that does the same for one style and share."""
        condition = Condition(style[None], torch.tensor([share]))
        scale_in, scale_out = 1 + style @ self.scale_in, 1 + style @ self.scale_out
        bias = self.bias + style @ self.shift + (condition.share @ self.share_shift)[0]
        return self.weight * scale_out[:, None, None, None] * scale_in[None, :, None, None], bias


class ResidualBlock(nn.Module):
    """y = relu(x + b(relu(a(x)))); x, y: (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = StyledConv(channels, channels)
        self.b = StyledConv(channels, channels)
        with torch.no_grad():
            self.b.weight.mul_(0.3)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x, condition)), condition))


class Blocks(nn.ModuleList):
    """Some residual blocks, one after another."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(ResidualBlock(channels) for _ in range(count))

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        for block in self:
            x = block(x, condition)
        return x


class StreamingUNet(nn.Module):
    """z, frame: (N, 48, h, w); state: (N, 15, h, w); tau: (N, 1, h, w); h and w multiples of 4."""

    def __init__(self, shape: Shape = BASE) -> None:
        super().__init__()
        c0, c1, c2 = shape.channels
        e0, e1, m, d1, d0 = shape.blocks
        self.shape = shape
        self.stem = StyledConv(2 * PIXELS + STATE + 1, c0)
        self.enc0 = Blocks(c0, e0)
        self.down1 = StyledConv(c0, c1, stride=2)
        self.enc1 = Blocks(c1, e1)
        self.down2 = StyledConv(c1, c2, stride=2)
        self.mid = Blocks(c2, m)
        self.up1 = StyledConv(c2, c1, kernel=1)
        self.dec1 = Blocks(c1, d1)
        self.up0 = StyledConv(c1, c0, kernel=1)
        self.dec0 = Blocks(c0, d0)
        self.head = StyledConv(c0, PIXELS + STATE)
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # start close to the frame itself

    def forward(self, z: Tensor, frame: Tensor, state: Tensor, tau: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Where z ends, as blocks in [0, 1] (not clamped), and the state for the next frame."""
        x = torch.cat([z, frame, state, tau], 1)
        skip0 = self.enc0(F.relu(self.stem(x, condition)), condition)
        skip1 = self.enc1(F.relu(self.down1(skip0, condition)), condition)
        h = self.mid(F.relu(self.down2(skip1, condition)), condition)
        h = self.dec1(F.interpolate(self.up1(h, condition), scale_factor=2, mode="nearest") + skip1, condition)
        h = self.dec0(F.interpolate(self.up0(h, condition), scale_factor=2, mode="nearest") + skip0, condition)
        y = self.head(h, condition)
        return frame + y[:, :PIXELS], torch.tanh(y[:, PIXELS:])


def shares(steps: int) -> list[float]:
    """r of each of `steps` equal steps: 1/K, 1/(K - 1), ... 1."""
    return [1 / (steps - k) for k in range(steps)]


def sample(
    network: StreamingUNet, start: Tensor, frame: Tensor, state: Tensor, tau: Tensor, style: Tensor, steps: int = 1
) -> tuple[Tensor, Tensor]:
    """Run the flow from `start` to its end in `steps` steps. The state is that of the last one."""
    z = start
    for share in shares(steps):
        condition = Condition(style, torch.full((len(z),), share, device=z.device))
        end, next_state = network(z, frame, state, tau, condition)
        z, tau = torch.lerp(z, end.to(z.dtype), share), tau + share * (1 - tau)
    return z, next_state


def start_of(past: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
    """The aligned past, re-noised. past, noise: (N, 48, h, w); tau: (N, 1, h, w)."""
    return (1 - tau) * noise + tau * past


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """picture (N, C, H, W) at x + flow(x), bilinear, the border repeated; flow (N, 2, H, W) in pixels, x then y."""
    height, width = picture.shape[-2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij")
    x, y = xs + flow[:, 0], ys + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def multiply_accumulates(shape: Shape, height: int, width: int) -> int:
    """Of one step on a (3, height, width) picture."""
    network, total = StreamingUNet(shape), 0

    def count(module: StyledConv, _inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, StyledConv):
            module.register_forward_hook(count)
    h, w = height // PATCH, width // PATCH
    with torch.no_grad():
        network(torch.zeros(1, PIXELS, h, w), torch.zeros(1, PIXELS, h, w), torch.zeros(1, STATE, h, w),
                torch.zeros(1, 1, h, w), Condition(torch.eye(len(STYLES))[:1], torch.ones(1)))
    return total
