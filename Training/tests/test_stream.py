"""What the streaming network promises: its size, its folding, its gate, its steps, and files that say what they are.

    python -m unittest discover -s Training/tests
"""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dump_stream_reference import tiny
from export_stream import WITH_SOURCE, load_model, save_model
from streaming import (BASE, LIGHT, MOVED, PATCH, PIXELS, SMALL, STATE, STOOD, STYLES, TRUST_MAX, TRUST_MIN, Condition, Exposure,
                       Shape, Stream, StreamingUNet, light, means, multiply_accumulates, shares, trust, warp, with_light)
from textures import source
from train_stream import Optimiser, orthogonal, spare_others

INK = torch.eye(len(STYLES))[0]


def setUpModule() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


def blocks(channels: int) -> torch.Tensor:
    return torch.rand(1, channels, 8, 12)


class ExposureTests(unittest.TestCase):
    def test_a_jump_becomes_a_fade(self) -> None:
        frame = torch.randint(40, 180, (1, 3, 64, 96)).float() / 255
        other = (0.8 * 255 * frame).round() / 255
        exposure = Exposure()
        self.assertTrue(torch.equal(exposure(frame), frame))
        self.assertTrue(torch.equal(exposure(frame), frame))
        means = [exposure(other).mean() / frame.mean() for _ in range(120)]
        self.assertGreater(means[0], 0.97)
        self.assertTrue(all(b <= a + 1e-3 for a, b in zip(means, means[1:])))
        self.assertTrue(torch.equal(exposure(other), other))

    def test_motion_and_a_cut_are_none(self) -> None:
        frame = torch.randint(40, 180, (1, 3, 64, 96)).float() / 255
        for other in (frame.roll(3, -1), 1 - 0.2 * frame, torch.rand_like(frame)):
            exposure = Exposure()
            exposure(frame)
            other = (255 * other).round() / 255
            self.assertTrue(torch.equal(exposure(other), other))


class NetworkTests(unittest.TestCase):
    def test_size(self) -> None:
        self.assertLessEqual(multiply_accumulates(BASE, 384, 640), 5.59e9)
        self.assertLessEqual(multiply_accumulates(SMALL, 384, 640), 1.5e9)

    def test_folding_is_scaling_what_goes_in_and_comes_out(self) -> None:
        network, style = tiny().float(), torch.tensor([0.2, 0, 0.5, 0, 0, 0.3])
        layer, condition = network.down1, Condition(style, 0.6)
        x = torch.rand(1, 8, 6, 6)
        y = F.conv2d(x * (1 + style @ layer.scale_in)[:, None, None], layer.weight, stride=2, padding=1)
        bias = layer.bias + style @ layer.shift + condition.share @ layer.share_shift
        y = y * (1 + style @ layer.scale_out)[:, None, None] + bias[:, None, None]
        torch.testing.assert_close(layer(x, network.folded(condition)), y)
        torch.testing.assert_close(condition.share.sum(), torch.tensor(1.0))

    def test_what_is_not_known_has_no_effect(self) -> None:
        network = tiny().float()
        weights = network.folded(Condition(INK, 1.0))
        z, frame, state, tau, known = blocks(PIXELS), blocks(PIXELS), blocks(STATE + LIGHT), blocks(1), torch.zeros(1, 1, 8, 12)
        a, _, _ = network(z, frame, blocks(PIXELS), state, tau, known, weights)
        b, _, _ = network(z, frame, blocks(PIXELS), state, tau, known, weights)
        self.assertTrue(torch.equal(a, b))
        c, _, _ = network(z, frame, blocks(PIXELS), state, tau, known + 1, weights)
        self.assertGreater((a - c).abs().max().item(), 0.01)

    def test_steps_go_all_the_way(self) -> None:
        for count in (1, 2, 3, 4):
            left = 1.0
            for share in shares(count):
                self.assertAlmostEqual(share * left, 1 / count)
                left *= 1 - share
            self.assertEqual(left, 0)

    def test_a_stream_begins_without_a_past_and_then_has_one(self) -> None:
        network, frame, noise = tiny().float(), torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 48)
        stream, still = Stream(network, INK), torch.zeros(1, 2, 32, 48)
        with torch.no_grad():
            first, second = stream(frame, noise, still), stream(frame, noise, still)
            again = Stream(network, INK)(frame, noise, still)
        self.assertTrue(torch.equal(first, again))
        self.assertGreater((first - second).abs().max().item(), 1e-3)

    def test_of_several_steps_the_picture_is_the_mean_of_their_ends(self) -> None:
        network, frame, source = tiny().float(), torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 48)
        now, z, tau = F.pixel_unshuffle(frame, PATCH), F.pixel_unshuffle(source, PATCH), torch.zeros(1, 1, 8, 12)
        state, ends = with_light(torch.zeros(1, STATE, 8, 12), light(frame)), []
        with torch.no_grad():
            for share in shares(3):
                ends.append(network.parts(z, now, state, tau, network.folded(Condition(INK, share)))[0])
                start = F.pixel_unshuffle(source, PATCH)
                z, tau = start + sum(end - start for end in ends) / 3, tau + share * (1 - tau)
            found = Stream(network, INK, 3)(frame, source, torch.zeros(1, 2, 32, 48))
        torch.testing.assert_close(found, F.pixel_shuffle(sum(ends) / 3, PATCH).clamp(0, 1))


class TrustTests(unittest.TestCase):
    still = torch.zeros(1, 2, 32, 48)

    def test_the_same_picture_is_trusted(self) -> None:
        frame = torch.rand(1, 3, 32, 48)
        torch.testing.assert_close(trust(frame, frame, self.still, means(frame)), torch.full((1, 1, 8, 12), STOOD * TRUST_MAX))

    def test_noise_and_exposure_do_not_matter_but_change_does(self) -> None:
        frame = torch.rand(1, 3, 32, 48)
        noisy = frame + 0.03 * torch.randn(frame.shape) + 0.02
        noisy[..., 8:16, 16:32] = 1 - frame[..., 8:16, 16:32]
        tau = trust(noisy, frame, self.still, means(frame))
        self.assertLess(tau[..., 2:4, 4:8].mean().item(), 0.6 * TRUST_MAX)
        tau[..., 2:4, 4:8] = TRUST_MAX
        self.assertGreater(tau.mean().item(), 0.98 * STOOD * TRUST_MAX)

    def test_what_has_slowly_gone_is_hardly_trusted(self) -> None:
        frame = torch.rand(1, 3, 32, 48)
        for channels in (slice(0, 3), slice(3, 6)):  # of the block, or around it
            basis = means(frame)
            basis[:, channels, 2:4, 4:8] += 0.1
            tau = trust(frame, frame, self.still, basis)
            changed = torch.zeros(8, 12, dtype=torch.bool)
            changed[2:4, 4:8] = True
            torch.testing.assert_close(tau[0, 0, changed], torch.full((8,), TRUST_MIN))
            torch.testing.assert_close(tau[0, 0, ~changed], torch.full((88,), STOOD * TRUST_MAX))

    def test_surroundings_reach_two_blocks(self) -> None:
        frame = torch.zeros(1, 3, 32, 48)
        frame[:, :, 12:16, 20:24] = 1
        around = means(frame)[0, 3]
        expected = torch.zeros(8, 12)
        expected[1:6, 3:8] = 1 / 25
        torch.testing.assert_close(around, expected)

    def test_what_comes_from_outside_is_not_trusted(self) -> None:
        frame = torch.full((1, 3, 32, 48), 0.5)
        flow = torch.zeros(1, 2, 32, 48)
        flow[:, 0] = -6
        tau = trust(frame, frame, flow, means(frame))
        self.assertTrue((tau[..., :2] == 0).all() and (tau[..., 2:] == MOVED * TRUST_MAX).all())

    def test_warp_moves_by_whole_pixels(self) -> None:
        picture, flow = torch.rand(1, 3, 32, 48), torch.zeros(1, 2, 32, 48)
        flow[:, 0], flow[:, 1] = 3, -2
        torch.testing.assert_close(warp(picture, flow)[..., 2:, :-3], picture[..., :-2, 3:], atol=1e-5, rtol=0)


class FileTests(unittest.TestCase):
    def test_there_and_back(self) -> None:
        network = StreamingUNet(Shape((8, 16, 24), (0, 1, 0, 0, 1)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            save_model(network, path, torch.float16, {style: source(style) for style in WITH_SOURCE})
            loaded, sources = load_model(path)
            self.assertEqual(loaded.shape, network.shape)
            for name, value in network.state_dict().items():
                torch.testing.assert_close(loaded.state_dict()[name], value.half().float())
            for style in WITH_SOURCE:
                self.assertTrue(torch.equal(sources[style], source(style)))
            save_file(load_file(path), path, {"architecture": "something-else"})
            with self.assertRaisesRegex(ValueError, "streaming-flow-unet"):
                load_model(path)

    def test_the_largest_file_fits(self) -> None:
        weights = 2 * sum(p.numel() for p in StreamingUNet(BASE).parameters())
        self.assertLess(weights + sum(source(style).numel() for style in WITH_SOURCE), 12 * 2**20)


class OptimiserTests(unittest.TestCase):
    def test_orthogonal(self) -> None:
        values = torch.linalg.svdvals(orthogonal(torch.randn(24, 200)))
        self.assertTrue((values > 0.5).all() and (values < 1.4).all())

    def test_other_styles_stay_as_they_are_to_the_bit(self) -> None:
        network = tiny().float()
        optimiser, styles = Optimiser(network, whole=False), torch.eye(len(STYLES))
        before = [network.folded(Condition(style, 0.25)) for style in styles]
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            spare_others(network, ["oil", "neon"])
            optimiser.step(1e-3)
        for name, style, weights in zip(STYLES, styles, before):
            now = network.folded(Condition(style, 0.25))
            stays = all(torch.equal(a, b) for layer in now for a, b in zip(now[layer], weights[layer]))
            self.assertEqual(stays, name not in ("oil", "neon"), name)


if __name__ == "__main__":
    unittest.main()
