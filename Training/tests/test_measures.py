"""The figures of evaluation, on videos whose answer is known."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluate_stream import best_by_hand
from measures import Motions, psnr, steadiness, texture_distance, uncovered_psnr

SIZE = (160, 96)


def texture(seed: int) -> np.ndarray:
    """Soft coloured noise, larger than a frame."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.standard_normal((160, 320, 3)).astype(np.float32), (0, 0), 3)
    return (128 + 60 * picture / picture.std()).clip(0, 255).astype(np.uint8)


def pan(count: int = 8) -> list[np.ndarray]:
    """A picture that moves by 3 pixels a frame."""
    picture = texture(1)
    return [picture[20 : 20 + SIZE[1], 10 + 3 * t : 10 + 3 * t + SIZE[0]].copy() for t in range(count)]


def noisy(frames: list[np.ndarray], levels: float) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [(f + levels * rng.standard_normal(f.shape)).round().clip(0, 255).astype(np.uint8) for f in frames]


class Measures(unittest.TestCase):
    def test_a_video_is_as_steady_as_itself(self) -> None:
        frames = noisy([texture(1)[: SIZE[1], : SIZE[0]]] * 4, 1) + noisy(pan(), 1)
        figures = steadiness(frames, frames, Motions.of(frames))
        for name in ("warp", "raw warp", "flicker"):
            self.assertAlmostEqual(figures[name], 1, places=5)

    def test_noise_of_its_own_makes_it_less_steady_and_motion_does_not(self) -> None:
        still = [texture(1)[: SIZE[1], : SIZE[0]]] * 8
        camera = noisy(still, 2)
        figures = steadiness(camera, noisy(camera, 6), Motions.of(camera))
        # Variances add, (4 + 36) / 4, and flow that follows the camera's own noise makes that seem less.
        self.assertGreater(figures["raw flicker"], 10**0.5 - 0.1)
        self.assertLess(figures["raw flicker"], 5)
        self.assertGreater(figures["raw warp"], 9)
        moving = pan()
        self.assertLess(steadiness(camera, still, Motions.of(camera))["warp"], 0.1)
        self.assertLess(steadiness(noisy(moving, 4), moving, Motions.of(moving))["warp"], 0.7)

    def test_lower_contrast_wins_nothing(self) -> None:
        camera = noisy([texture(1)[: SIZE[1], : SIZE[0]]] * 8, 12)
        flat = [(128 + (f.astype(np.float32) - 128) / 2).round().astype(np.uint8) for f in camera]
        figures = steadiness(camera, flat, Motions.of(camera))
        self.assertAlmostEqual(figures["warp"], 1, delta=0.12)
        self.assertAlmostEqual(figures["raw warp"], 0.25, delta=0.03)

    def test_what_a_moving_square_uncovers_is_found(self) -> None:
        back, front = texture(3), texture(4)
        frames = []
        for t in range(5):
            frame = back[: SIZE[1], : SIZE[0]].copy()
            frame[30:70, 20 + 8 * t : 60 + 8 * t] = front[:40, :40]
            frames.append(frame)
        wrong = [f.copy() for f in frames]
        for t in range(1, 5):
            wrong[t][32:68, 12 + 8 * t : 18 + 8 * t] = 0  # just behind the square
        motions = Motions.of(frames)
        self.assertLess(uncovered_psnr(wrong, frames, motions), psnr(wrong, frames))

    def test_blur_is_far_from_a_texture(self) -> None:
        frames = pan()
        soft = [cv2.GaussianBlur(f, (0, 0), 2.5) for f in frames]
        self.assertGreater(texture_distance(soft, frames), 2 * texture_distance(noisy(frames, 1), frames))
        self.assertEqual(texture_distance(frames, frames), 0)

    def test_blending_by_hand_steadies_and_is_as_near_as_asked(self) -> None:
        teacher = [texture(1)[: SIZE[1], : SIZE[0]]] * 10
        camera, output = noisy(teacher, 1), noisy(teacher, 8)
        motions, wanted = Motions.of(camera), psnr(output, teacher)
        blended = best_by_hand(camera, output, motions.backward, teacher, wanted)
        self.assertGreaterEqual(psnr(blended, teacher), wanted)
        self.assertLess(steadiness(camera, blended, motions)["flicker"], steadiness(camera, output, motions)["flicker"] / 2)
        out_of_reach = best_by_hand(camera, output, motions.backward, teacher, 99)
        self.assertGreater(psnr(out_of_reach, teacher), wanted)


if __name__ == "__main__":
    unittest.main()
