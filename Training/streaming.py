"""StreamingUNet: a few-step conditional flow model that runs on a live stream, small enough for a CPU.

    start z (48)         ┐                                               ┌ residual (48)
    frame (48)           ├ stem ─ enc0 ─────────────── + ─ dec0 ─ head ─┤ gate (16)
    state (11), light (4),         │ down1             ▲ up0            └ state (11)
    tau (1)              ┘         │                   │
                                  enc1 ─────────── + ─ dec1
                                   │ down2         ▲ up1
                                   └───── mid ─────┘

Everything is at a quarter of the picture's resolution and below, in pixel space: blocks of 4 x 4 pixels unshuffled to
channels, channel = 16 colour + 4 row + column.

The flow. z = (1 - tau) source + tau picture for tau in [0, 1], one tau for each block. A rectified flow (Liu et al., 2022)
may begin in any distribution coupled to the pictures in any way; this one begins in the style's source at the anchor
(textures.py), of which the teacher's picture is a function. So given scene and source there is one end, the path is
straight, and one step sees as sharply as many. The network predicts that end, y = F(z, tau, r | frame, style, state),
which tells the velocity along the path, y - start. Euler's method goes K equal steps along it,

    z <- z + (y - start) / K        tau <- tau + r (1 - tau)

where step k of 0 ... K - 1 covers the share r = 1 / (K - k) of the way left. So the picture is the mean of the K ends.

The stream. A frame begins where the last one ended: z = (1 - tau0) source + tau0 past, where past is the last output
aligned to the present, and tau0 says how far it can be trusted (`trust`). The end is gated, too, for that is how a
picture holds still when a camera's noise does not: with e = frame + residual and a gate g for each pixel,

    y = e + k g (past - e), where k = tau0 / TRUST_MAX: nothing of the past where nothing is known of it.

Styles. A style scales the input and output channels of every convolution and shifts its bias, the share r shifts it too;
all of it is folded into the weights when a style is chosen, so that a frame costs the same whatever the style, and
styles blend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
SIZE_MULTIPLE = 16
PIXELS = 3 * PATCH * PATCH
STATE = 11
LIGHT = 4
LIGHT_RATE = 0.1  # of a frame in what the network is told of the light
EXPOSURE_LEAK = 0.06  # of a jump of exposure that is let through with each frame
EXPOSURE_MAX = 1.5  # of its gain; a larger ratio of two frames is another scene
GATE = PATCH * PATCH
GATE_BIAS = -2.2  # of the last convolution: sigmoid(-2.2) = 0.1
STYLES = ("ink", "oil", "watercolour", "pencil", "neon", "clear")
SHARES = 8  # of which the embedding of r is made
TRUST_MAX = 0.5  # of the past in the start: at 0.95 the source is drowned, and strokes fade as they are carried
TRUST_MIN = 0.15  # where the picture is another, but not outside of it: some of the past bridges what moves fast
STOOD, MOVED = 0.98, 0.75  # of TRUST_MAX at most, in a past that was copied where it stands, and in one that was moved
AROUND = 2  # blocks each way of which a block's surroundings are


@dataclass(frozen=True)
class Shape:
    """Channels of the three scales, and residual blocks in each: enc0, enc1, mid, dec1, dec0."""

    channels: tuple[int, int, int]
    blocks: tuple[int, int, int, int, int]


BASE = Shape((64, 80, 128), (0, 1, 1, 1, 2))
SMALL = Shape((32, 48, 64), (0, 0, 1, 1, 1))


Weights = dict[str, tuple[Tensor, Tensor]]  # weight (OIHW) and bias of every convolution, by its name in the module


class Condition:
    """What a pass is conditioned on. style: (len(STYLES),) weights that sum to 1; share: r in [0, 1]."""

    def __init__(self, style: Tensor, share: float) -> None:
        self.style = style
        # Which of SHARES triangles r falls into: piecewise linear in r, and nothing to compute live but a bias.
        position = torch.tensor(share * (SHARES - 1), device=style.device)
        self.share = (1 - (position - torch.arange(SHARES, device=style.device)).abs()).clamp(min=0).to(style.dtype)


class StyledConv(nn.Module):
    """A convolution, zero-padded, whose channels a style scales and shifts."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.name = stride, kernel // 2, ""
        self.weight = nn.Parameter(nn.Conv2d(inputs, outputs, kernel).weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(outputs))
        # Styles begin well apart: they are hard to tell from one another later.
        self.scale_in = nn.Parameter(0.3 * torch.randn(len(STYLES), inputs))
        self.scale_out = nn.Parameter(0.3 * torch.randn(len(STYLES), outputs))
        self.shift = nn.Parameter(torch.zeros(len(STYLES), outputs))
        self.share_shift = nn.Parameter(torch.zeros(SHARES, outputs))

    def folded(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Weight (OIHW) and bias of the ordinary convolution that this is under one condition."""
        scale_in, scale_out = 1 + condition.style @ self.scale_in, 1 + condition.style @ self.scale_out
        bias = self.bias + condition.style @ self.shift + condition.share @ self.share_shift
        return self.weight * scale_out[:, None, None, None] * scale_in[None, :, None, None], bias

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """x: (N, inputs, H, W)."""
        return F.conv2d(x, *weights[self.name], stride=self.stride, padding=self.padding)


class ResidualBlock(nn.Module):
    """y = relu(x + b(relu(a(x)))); x, y: (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = StyledConv(channels, channels)
        self.b = StyledConv(channels, channels)
        with torch.no_grad():
            self.b.weight.mul_(0.3)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x, weights)), weights))


class Blocks(nn.ModuleList):
    """Some residual blocks, one after another."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(ResidualBlock(channels) for _ in range(count))

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        for block in self:
            x = block(x, weights)
        return x


class StreamingUNet(nn.Module):
    """The network of the diagram; h and w are multiples of 4."""

    def __init__(self, shape: Shape = BASE) -> None:
        super().__init__()
        c0, c1, c2 = shape.channels
        e0, e1, m, d1, d0 = shape.blocks
        self.shape = shape
        self.stem = StyledConv(2 * PIXELS + STATE + LIGHT + 1, c0)
        self.enc0 = Blocks(c0, e0)
        self.down1 = StyledConv(c0, c1, stride=2)
        self.enc1 = Blocks(c1, e1)
        self.down2 = StyledConv(c1, c2, stride=2)
        self.mid = Blocks(c2, m)
        self.up1 = StyledConv(c2, c1, kernel=1)
        self.dec1 = Blocks(c1, d1)
        self.up0 = StyledConv(c1, c0, kernel=1)
        self.dec0 = Blocks(c0, d0)
        self.head = StyledConv(c0, PIXELS + GATE + STATE)
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # start close to the frame itself
            self.head.bias[PIXELS : PIXELS + GATE] = GATE_BIAS

        for name, layer in self.layers():
            layer.name = name

    def layers(self) -> list[tuple[str, StyledConv]]:
        """Every convolution with its name."""
        return [(name, module) for name, module in self.named_modules() if isinstance(module, StyledConv)]

    def folded(self, condition: Condition, precision: torch.dtype | None = None) -> Weights:
        """The weights that do the work under one condition, as a style is chosen; in another precision, if asked."""
        return {name: tuple(x.to(precision or x.dtype) for x in layer.folded(condition)) for name, layer in self.layers()}

    def raw(self, x: Tensor, weights: Weights) -> Tensor:
        """What the convolutions say, (N, 75, h, w): residual, gate before its sigmoid, state before its tanh.

        x: (N, 112, h, w), which is z, frame, state, light, tau.
        """
        skip0 = self.enc0(F.relu(self.stem(x, weights)), weights)
        skip1 = self.enc1(F.relu(self.down1(skip0, weights)), weights)
        h = self.mid(F.relu(self.down2(skip1, weights)), weights)
        h = self.dec1(F.interpolate(self.up1(h, weights), scale_factor=2, mode="nearest") + skip1, weights)
        h = self.dec0(F.interpolate(self.up0(h, weights), scale_factor=2, mode="nearest") + skip0, weights)
        return self.head(h, weights)

    def forward(self, z: Tensor, frame: Tensor, past: Tensor, state: Tensor, tau: Tensor, known: Tensor,
                weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """Where z ends, as blocks in [0, 1] (not clamped), the state for the next frame, and `kept`.

        z, frame, past: (N, 48, h, w); state: (N, 15, h, w), the light included (`with_light`); tau, known: (N, 1, h, w), known is tau0 / TRUST_MAX.
        """
        end, gate, after = self.parts(z, frame, state, tau, weights)
        return end + known * gate * (past - end), after, kept(known, gate)

    def parts(self, z: Tensor, frame: Tensor, state: Tensor, tau: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """The end e before the gate, the gate, (N, 48, h, w) both, and the next state."""
        x = torch.cat([z, frame, state, tau], 1).to(weights["stem"][0].dtype, memory_format=torch.channels_last)
        residual, gate, after = self.raw(x, weights).to(frame.dtype).split((PIXELS, GATE, STATE), 1)
        return frame + residual, torch.sigmoid(gate).repeat(1, 3, 1, 1), torch.tanh(after)


def shares(steps: int) -> list[float]:
    """r of each of `steps` equal steps: 1/K, 1/(K - 1), ... 1."""
    return [1 / (steps - k) for k in range(steps)]


class Stream:
    """A network at work on pictures that come one after another, N streams side by side."""

    def __init__(self, network: StreamingUNet, style: Tensor, steps: int = 1) -> None:
        self.network, self.shares = network, shares(steps)
        self.weights = [network.folded(Condition(style, share)) for share in self.shares]
        self.before = self.output = self.state = self.light = self.basis = None
        self.exposure = Exposure()

    def __call__(self, frame: Tensor, source: Tensor, flow: Tensor) -> Tensor:
        """The picture for a frame, clamped. frame, source: (N, 3, H, W) in [0, 1]; flow: (N, 2, H, W) to the frame before.

        Of K steps the first one's state goes on: it is about the frame, and the others see it with a picture half made.
        """
        frame = self.exposure(frame)
        now, begin = F.pixel_unshuffle(frame, PATCH), F.pixel_unshuffle(source, PATCH)
        if self.before is None:
            tau, past, state = torch.zeros_like(now[:, :1]), begin, torch.zeros_like(now[:, :STATE])
            basis = means(frame)
        else:
            slow = F.avg_pool2d(flow, PATCH) / PATCH
            basis = warp(self.basis, slow) * self.exposure.factor[:, None, None, None]
            tau = trust(frame, self.before, flow, basis)
            past = F.pixel_unshuffle(warp(self.output, flow), PATCH)
            state = warp(self.state, slow) * tau / TRUST_MAX
        self.light = light(frame) if self.light is None else torch.lerp(self.light, light(frame), LIGHT_RATE)
        state = with_light(state, self.light)
        known, z, first, share_kept = tau / TRUST_MAX, start_of(past, begin, tau), None, 0
        start = z
        for share, weights in zip(self.shares, self.weights):
            end, after, part_kept = self.network(z, now, past, state, tau, known, weights)
            first = after if first is None else first
            share_kept = share_kept + part_kept / len(self.shares)
            z, tau = z + (end - start) / len(self.shares), tau + share * (1 - tau)
        self.before, self.state, self.output = frame, first, F.pixel_shuffle(z, PATCH).clamp(0, 1)
        self.basis = torch.lerp(means(frame), basis, share_kept)
        return self.output


class Exposure:
    """Frames as if the camera's automatic exposure did not jump: N streams side by side.

    A camera's values are a power of the light, so a change of exposure multiplies them. Of the mean lumas of every
    fourth square of 2 x 2 pixels both ways, where both frames have between 1/16 and 15/16, the ratios to the frame before
    tell: if three quarters of them have gone the same way, and in the median by less than EXPOSURE_MAX, that median is the
    jump, and anything else is motion or noise. The gain undoes it, and creeps back to 1, so that what is a jump in the camera is a
    fade in the picture. `factor` is what the steadied frame is of the one before it, as far as exposure goes: (N,).
    """

    def __init__(self) -> None:
        self.before, self.gain, self.factor = None, None, None

    def __call__(self, frame: Tensor) -> Tensor:
        """frame: (N, 3, H, W) in [0, 1], in steps of 1/255, as is the result."""
        now = F.avg_pool2d(luma(frame), 2)[..., ::4, ::4].flatten(1)
        if self.before is None:
            self.before, self.gain, self.factor = now, torch.ones_like(now[:, 0]), torch.ones_like(now[:, 0])
            return frame
        fit = (torch.minimum(now, self.before) >= 1 / 16) & (torch.maximum(now, self.before) <= 15 / 16)
        ratios = torch.where(fit, now / self.before.clamp_min(1 / 16), torch.nan)
        quarters = torch.tensor([0.25, 0.5, 0.75]).to(ratios)
        low, ratio, high = torch.nanquantile(ratios, quarters, 1, interpolation="lower")
        jumped = ((low > 1.001) | (high < 0.999)) & (ratio < EXPOSURE_MAX) & (ratio > 1 / EXPOSURE_MAX)
        jumped &= fit.sum(1) >= fit.shape[1] / 16
        jump = torch.where(jumped, ratio, 1)
        gain = (self.gain / jump) ** (1 - EXPOSURE_LEAK)
        gain = torch.where((gain - 1).abs() > 0.0004, gain, 1).clamp(1 / EXPOSURE_MAX, EXPOSURE_MAX)
        self.before, self.factor, self.gain = now, jump * gain / self.gain, gain
        return (frame * self.gain[:, None, None, None] * 255).round().clamp(0, 255) / 255


def start_of(past: Tensor, source: Tensor, tau0: Tensor) -> Tensor:
    """The aligned past, moved back towards the source. past, source: (N, 48, h, w); tau0: (N, 1, h, w)."""
    return (1 - tau0) * source + tau0 * past


def trust(frame: Tensor, before: Tensor, flow: Tensor, basis: Tensor) -> Tensor:
    """tau0: how far each block's aligned past can be trusted, (N, 1, h, w) in [0, TRUST_MAX].

    frame, before: (N, 3, H, W) in [0, 1]; flow: (N, 2, H, W), what is at p now was at p + flow in `before`; basis: (N, 6,
    h, w), aligned. All done alike live: Rec. 601 luma; `warp`; e, the mean of the absolute difference over a block, and what the
    block's `means` differ by from the basis: luma's twice, and colour's, for a hand may be as bright as the wall; n, the
    lower median of e over the picture, which is what noise and changes of exposure do everywhere; full trust up to e =
    2.5 max(n, 1/255), the least from three times that on. The same again of the surroundings, by a median of their own, and
    the lesser of the two. None where the middle of the block came from outside of the picture. Full trust is less than TRUST_MAX,
    STOOD of it where the block stands and MOVED where it moves: what is trusted wholly is never painted again, and what was
    moved is a little wrong.

    The basis is what the past was painted from: each frame's means, as much of them as the gate has kept. Trust that only
    looked at the frame before let a face that slowly moved on leave its skin on the wall: each frame was like the one
    before it, none was any longer like what was still seen of them. And what is painted around a thing, a line or a glow, lies
    where the frame never changed: it stayed behind as specks until the surroundings were looked at.
    """
    height, width = frame.shape[-2:]
    moved = F.avg_pool2d(flow, PATCH)
    e = F.avg_pool2d((luma(frame) - warp(luma(before), flow)).abs(), PATCH)
    strayed = (means(frame) - basis).abs() * torch.tensor([2.0, 1, 1, 2, 1, 1]).to(frame)[:, None, None]
    near, around = strayed.split(3, 1)
    alike = torch.minimum(likeness(e + near.sum(1, keepdim=True)), likeness(around.sum(1, keepdim=True)))
    h, w = e.shape[-2:]
    x = PATCH * torch.arange(w, device=e.device) + (PATCH - 1) / 2 + moved[:, 0:1]
    y = PATCH * torch.arange(h, device=e.device)[:, None] + (PATCH - 1) / 2 + moved[:, 1:2]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    most = TRUST_MAX * torch.where((moved != 0).any(1, keepdim=True), MOVED, STOOD)
    return inside * (TRUST_MIN + (most - TRUST_MIN) * alike)


def likeness(e: Tensor) -> Tensor:
    """1 for errors (N, 1, h, w) up to 2.5 times their median, or 2.5 levels; from three times that on 0; in between straight."""
    n = e.flatten(1).median(1).values[:, None, None, None].clamp_min(1 / 255)
    return (1 - (e / (2.5 * n) - 1) / 2).clamp(0, 1)


def light(frame: Tensor) -> Tensor:
    """What a window of the network cannot see: how bright the whole frame is, and of which colour. (N, 3, H, W) to (N, 4).

    The means of red, green and blue, and the luma that 97 % of the squares of 2 x 2 pixels stay under. A dark corner of a
    bright room and a dark room look alike from near, and only one of them is to be lifted. Live it follows slowly: a
    running mean with the weight LIGHT_RATE for each new frame.
    """
    bright = F.avg_pool2d(luma(frame), 2).flatten(1)
    return torch.cat([frame.mean((2, 3)), bright.kthvalue(math.ceil(0.97 * bright.shape[1])).values[:, None]], 1)


def with_light(state: Tensor, light: Tensor) -> Tensor:
    """State (N, 11, h, w) and light (N, 4) as the network takes them, (N, 15, h, w)."""
    return torch.cat([state, light[:, :, None, None].to(state.dtype).expand(-1, -1, *state.shape[2:])], 1)


def kept(known: Tensor, gate: Tensor) -> Tensor:
    """How much of the past is in a block's end, in the mean: (N, 1, h, w). known: (N, 1, h, w); gate: (N, 48, h, w)."""
    return known * gate[:, :GATE].mean(1, keepdim=True)


def means(rgb: Tensor) -> Tensor:
    """Means of luma, red - luma and blue - luma over blocks, and over those AROUND them: (N, 3, H, W) to (N, 6, h, w)."""
    bright = luma(rgb)
    near = F.avg_pool2d(torch.cat([bright, rgb[:, 0::2] - bright], 1), PATCH)
    around = F.avg_pool2d(F.pad(near, [AROUND] * 4, mode="replicate"), 2 * AROUND + 1, 1)
    return torch.cat([near, around], 1)


def luma(rgb: Tensor) -> Tensor:
    """Rec. 601 luma, (N, 1, H, W)."""
    return 0.299 * rgb[:, 0:1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:3]


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

    for _, layer in network.layers():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network.raw(torch.zeros(1, 2 * PIXELS + STATE + LIGHT + 1, height // PATCH, width // PATCH),
                    network.folded(Condition(torch.eye(len(STYLES))[0], 1.0)))
    return total
