"""What the training set promises: the same sample for the same seed, true flow, steady teachers. Takes about a minute.

    python -m unittest discover -s Training/tests
"""

from __future__ import annotations

import math
import sys
import unittest
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from filters import from_lab, lab, warp
from motion import Layer, pair, points, remap
from sequences import ANCHOR_UNITS, Sample, packed, paint, picture, sample, tensor
from teacher import Ink, stylise
from teachers import STOCHASTIC, STYLES, Texture
from textures import SIZE, offset, sample_source, source

SHAPE = (128, 128)
MOVING = (1, 2, 3, 8)  # samples of seed 7 with a fair amount of motion


def setUpModule() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def drawn(index: int, count: int = 3, shape: tuple[int, int] = SHAPE) -> Sample:
    return sample(index, 7, shape, count)


def warp_error(result: Tensor, scene: Sample) -> float:
    """Mean squared difference along the true flow, where what is seen was seen before."""
    flow, valid = torch.from_numpy(scene.flow).permute(0, 3, 1, 2)[1:], torch.from_numpy(scene.valid)[1:, None]
    error = (result[1:] - warp(result[:-1], flow)).square().mean(1, keepdim=True)
    return error[valid].mean().item()


class SequenceTests(unittest.TestCase):
    def test_same_seed_same_sample(self) -> None:
        a, b, other = drawn(5), drawn(5), drawn(6)
        for name in ("frames", "exposed", "lit", "flow", "valid", "anchor"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        self.assertGreater(np.abs(a.frames.astype(int) - other.frames).mean(), 2)

    def test_flow_leads_to_the_same_thing(self) -> None:
        errors, motions = [], []
        for index in range(8):
            scene = drawn(index)
            for now in range(1, len(scene.frames)):
                before = remap(scene.lit[now - 1], pair(points(SHAPE)) + scene.flow[now])
                error = 255 * np.abs(before - scene.lit[now]).mean(-1)
                errors.append(error[scene.valid[now]].mean())
                motions.append(np.abs(scene.flow[now]).mean())
                self.assertGreater(scene.valid[now].mean(), 0.6)
        self.assertLess(np.mean(errors), 1)
        self.assertGreater(np.mean(motions), 0.1)

    def test_texture_coordinates_travel_with_the_surface(self) -> None:
        scene = drawn(3)
        before = remap(scene.anchor[1], pair(points(SHAPE)) + scene.flow[2])
        inner = cv2.erode(scene.valid[2].astype(np.uint8), np.ones((5, 5))) > 0
        self.assertLess(np.median(np.abs(before - scene.anchor[2])[inner]), 0.01)

    def test_layers_map_back(self) -> None:
        scale, shift, push = np.array([1.1 * np.exp(0.2j)]), np.array([5 - 3j]), np.array([20 + 10j])
        layer = Layer(np.zeros((1, 8, 8, 4), np.float32), scale, shift, 60 + 60j, 64 + 60j, 90, push)
        stage = points(SHAPE)
        np.testing.assert_allclose(layer.from_scene(layer.to_scene(stage, 0), 0), stage, atol=0.02)


class SourceTests(unittest.TestCase):
    def test_periodic_and_bilinear(self) -> None:
        texture = source("oil")
        anchor = torch.tensor([[3.0, 5.0], [3.0 + SIZE, 5.0 - SIZE], [3.5, 5.0], [-0.5, 0.0]]).T[None, :, None]
        values = sample_source(texture, anchor)[0, :, 0]
        exact = texture[:, 5, 3] / 255
        torch.testing.assert_close(values[:, 0], exact, atol=1e-4, rtol=0)
        torch.testing.assert_close(values[:, 1], exact, atol=1e-4, rtol=0)
        torch.testing.assert_close(values[:, 2], (exact + texture[:, 5, 4] / 255) / 2, atol=1e-4, rtol=0)
        torch.testing.assert_close(values[:, 3], (texture[:, 0, -1] / 255 + texture[:, 0, 0] / 255) / 2, atol=1e-4, rtol=0)

    def test_a_seed_is_an_offset(self) -> None:
        grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy"))[None]
        moved = grid + torch.tensor(offset(5))[:, None, None]
        torch.testing.assert_close(sample_source(source("pencil"), grid, 5), sample_source(source("pencil"), moved))

    def test_only_the_stochastic_styles_have_one(self) -> None:
        for style in STYLES:
            self.assertEqual(bool(source(style).float().std() > 1), style in STOCHASTIC, style)

    def test_anchors_survive_the_cache(self) -> None:
        anchor = np.random.default_rng(1).uniform(-6000, 20000, (9, 2)).astype(np.float32)
        difference = packed(anchor).astype(np.float64) / ANCHOR_UNITS - anchor
        self.assertLess(np.abs((difference + SIZE / 2) % SIZE - SIZE / 2).max(), 0.005)


class TeacherTests(unittest.TestCase):
    def test_range_and_repetition(self) -> None:
        scene = drawn(2)
        for style in STYLES:
            a, b = paint(scene, style), paint(scene, style)
            self.assertEqual(a.shape, (3, 3, *SHAPE), style)
            self.assertTrue(torch.isfinite(a).all() and a.min() >= 0 and a.max() <= 1, style)
            self.assertTrue(torch.equal(a, b), style)

    def test_black_white_and_odd_sizes(self) -> None:
        for frames in (torch.zeros(1, 3, 45, 67), torch.ones(1, 3, 45, 67)):
            for style, teacher in STYLES.items():
                self.assertTrue(torch.isfinite(teacher(frames, Texture.fixed(frames, 1))).all(), style)

    def test_autocast_changes_nothing(self) -> None:
        scene = drawn(2, 2)
        for style in STYLES:
            with torch.autocast("cpu", torch.bfloat16):
                cast = paint(scene, style)
            self.assertTrue(torch.equal(cast, paint(scene, style)), style)

    def test_a_batch_is_its_frames(self) -> None:
        """What a graphics processor gets at once is what the CPU gets frame by frame."""
        scene = drawn(2, 2)
        for style in set(STYLES) - {"clear"}:
            whole = STYLES[style].__wrapped__(tensor(scene.exposed), scene.texture()).clamp(0, 1)
            self.assertLess((whole - paint(scene, style)).abs().mean(), 1e-4, style)

    def test_ink_is_the_style_of_the_model_ink(self) -> None:
        scene = drawn(4, 2, (256, 256))
        frames = tensor(scene.exposed).mul(255).round().div(255)
        ours = picture(STYLES["ink"](frames, scene.texture())).astype(float)
        theirs = np.stack([stylise(frame, Ink(line_softness=0.8)) for frame in picture(frames)])
        self.assertGreater(20 * math.log10(255) - 10 * math.log10(np.square(ours - theirs).mean()), 40)

    def test_seeds_differ_visibly(self) -> None:
        scene = drawn(2, 1)
        for style in STOCHASTIC:
            difference = (paint(scene, style, seed=1) - paint(scene, style, seed=2)).abs().mean()
            self.assertGreater(255 * difference.item(), 3, style)

    def test_texture_sticks(self) -> None:
        """Along the true flow, texture carried by the surfaces is steadier than texture fixed to the screen."""
        for style in STOCHASTIC:
            carried, fixed = 0.0, 0.0
            for index in MOVING:
                scene = drawn(index)
                frames = tensor(scene.exposed)
                carried += warp_error(STYLES[style](frames, scene.texture()), scene)
                fixed += warp_error(STYLES[style](frames, Texture.fixed(frames)), scene)
            self.assertLess(carried, 0.7 * fixed, style)

    def test_clear_leaves_a_fine_picture_alone(self) -> None:
        ramp = torch.linspace(0.02, 0.93, 64).expand(1, 3, 64, 64)
        self.assertLess((STYLES["clear"](ramp, Texture.fixed(ramp, 1)) - ramp).abs().max().item(), 0.06)

    def test_lab_there_and_back(self) -> None:
        rgb = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(from_lab(lab(rgb)), rgb, atol=1e-4, rtol=0)


if __name__ == "__main__":
    unittest.main()
