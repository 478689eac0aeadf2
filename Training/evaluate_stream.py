"""How good the streaming network is on real clips: near its teachers, textured like them, and steady.

    evaluate_stream.py --clips DIR [--model ../Models/base.safetensors] [--styles ink,oil,...] [--steps 1,2,4]
                       [--lucida ../.build/release/lucida] [--work DIR] [--regression MODEL] [--drift [FRAMES]] [--degraded]
                       [--json FILE] [--pictures DIR]

What is measured is what people get: every clip goes through `lucida transform`, lossless, in every style, with every
number of steps. Frames are cropped to the aspect of --size, then scaled. measures.py says what the columns mean; teachers
are painted on the same frames, with the texture fixed to the screen, so for styles that leave something to chance PSNR and
SSIM say little. Beside each style's row stand

    no memory    the same network without its past (transform.temporal = 0)
    by hand      that blended with the output before it along the flow of DIS at half size, which a program could afford
                 live, with weight w exp(-(d / s)^2), d being the blurred difference of the aligned input frames in levels: of
                 several w and s the steadiest that is as near to the teacher as the first row, or the nearest if none is:
                 compare psnr
    by hand, Farneback   the same along the flow that steadiness is measured by, which takes longer than a frame lasts
    regression   another model file, trained without a source and so without chance (train_stream.py --no-source)

seeds is the root mean square difference between seeds 0 and 1 in levels. --drift films one frame of each clip 1,000 times (or FRAMES)
with fresh noise and reports how far the mean of the last 20 outputs is from the mean of outputs 30 to 50, in levels, root
mean square. --degraded films each clip through the drawn webcam of Training in poor light and reports what `clear` makes of it:
dB against the original before and after.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from camera import CameraSettings, coarse, compress, develop, linear, sense
from measures import Figures, Motions, measure, psnr, pull
from sequences import picture, tensor
from teachers import STOCHASTIC, STYLES, Texture
from videos import Frame, read, write

HERE = Path(__file__).resolve().parent
DRIFT_NOISE = 2.0  # levels
BLENDS = ((0.95, 16), (0.9, 12), (0.8, 8), (0.6, 8), (0.4, 8), (0.2, 8))  # w and s
# Poor light: a quarter of it, a warm cast, the noise that comes with it, and Motion JPEG.
POOR = CameraSettings(gain=0.25, white=np.float32([1.12, 1.0, 0.88]), gamma=1.0, haze=0.03, focus=0.5)
POOR_ISO, POOR_READ, POOR_CHROMA, POOR_QUALITY = 8e-4, 2.5e-3, 0.01, 75


@dataclass
class Program:
    """The binary that is measured, with a model."""

    lucida: Path
    model: Path
    size: str

    def __call__(self, clip: Path, out: Path, style: str, **settings: object) -> None:
        """Run it, lossless. settings: keys of [transform]."""
        pairs = {"transform.model": self.model.resolve(), "output.codec": "ffv1"}
        pairs |= {f"transform.{key}": value for key, value in settings.items()}
        sets = [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]
        command = [str(self.lucida), "transform", "--overwrite", str(clip), str(out), "--size", self.size, "--style", style, *sets]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{' '.join(command)}\n{result.stderr}")


def paint(style: str, frames: list[Frame], path: Path) -> list[Frame]:
    """The teacher's answer, a frame at a time, with the texture fixed to the screen; kept in a file."""
    if path.exists():
        return list(read(path, frames[0].shape[1::-1]))
    painted = []
    for frame in frames:
        x = tensor(frame[None])
        painted.append(picture(STYLES[style](x, Texture.fixed(x)))[0])
    write(path, painted)
    return painted


def dense_inverse_search(frames: list[Frame]) -> list[np.ndarray]:
    """From every frame but the first to the one before, by OpenCV's DIS "medium" at half size: (H, W, 2) pixels."""
    search, size = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), frames[0].shape[1::-1]
    halves = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in frames]
    return [2 * cv2.resize(search.calc(now, before, None), size) for before, now in zip(halves, halves[1:])]


def by_hand(inputs: list[Frame], output: list[Frame], backward: list[np.ndarray], weight: float, levels: float) -> list[Frame]:
    """A video blended with its own past, aligned, the less the more the frames differ."""
    blended = [np.float32(output[0])]
    for t in range(1, len(output)):
        motion = backward[t - 1]
        apart = np.abs(np.float32(inputs[t]) - pull(np.float32(inputs[t - 1]), motion)).mean(-1)
        share = weight * np.exp(-((cv2.GaussianBlur(apart, (0, 0), 2) / levels) ** 2))[..., None]
        blended.append(np.float32(output[t]) + share * (pull(blended[-1], motion) - np.float32(output[t])))
    return [frame.round().clip(0, 255).astype(np.uint8) for frame in blended]


def best_by_hand(inputs: list[Frame], output: list[Frame], backward: list[np.ndarray], teacher: list[Frame],
                 wanted: float) -> list[Frame]:
    """The steadiest blend that is as near to the teacher as wanted, dB; if none is, the nearest."""
    blends = []
    for weight, levels in BLENDS:
        blends.append(by_hand(inputs, output, backward, weight, levels))
        if psnr(blends[-1], teacher) >= wanted:
            return blends[-1]
    return max(blends, key=lambda blend: psnr(blend, teacher))


def drift(program: Program, frame: Frame, style: str, count: int, work: Path) -> float:
    """Levels by which a still picture wanders in `count` frames."""
    rng = np.random.default_rng(0)
    film, out = work / "still.avi", work / "still-out.mkv"
    noise = (DRIFT_NOISE * rng.standard_normal(frame.shape, np.float32) for _ in range(count))
    write(film, ((np.float32(frame) + grain).round().clip(0, 255).astype(np.uint8) for grain in noise))
    program(film, out, style)
    early, late = np.zeros(frame.shape, np.float32), np.zeros(frame.shape, np.float32)
    for index, picture in enumerate(read(out, frame.shape[1::-1])):
        early += picture / np.float32(20) * (30 <= index < 50)
        late += picture / np.float32(20) * (index >= count - 20)
    return float(np.sqrt(np.mean((late - early) ** 2)))


def difference(a: Path, b: Path, size: tuple[int, int]) -> float:
    """Root mean square difference of two videos, levels."""
    squares = [np.mean((np.float32(x) - np.float32(y)) ** 2) for x, y in zip(read(a, size), read(b, size))]
    return float(np.mean(squares)) ** 0.5


def poorly_filmed(frames: list[Frame]) -> list[Frame]:
    """Footage as it would have been in poor light."""
    rng, filmed = np.random.default_rng(1), []
    tint = np.float32(POOR.gain * POOR.white)
    for frame in frames:
        sharp = np.float32(frame) / 255
        light = linear(cv2.GaussianBlur(sharp, (0, 0), POOR.focus)) * tint
        shown = develop(sense(rng, light, POOR_ISO, POOR_READ), POOR)
        blotch = coarse(rng, frame.shape[:2], 5)
        filmed.append(compress(shown + POOR_CHROMA * (blotch - blotch.mean(-1, keepdims=True)), POOR_QUALITY))
    return filmed


def degraded(program: Program, inputs: list[Frame], work: Path) -> Figures:
    """dB of poor footage against what it was, and of `clear`'s picture of it."""
    film, out = work / "poor.avi", work / "poor-clear.mkv"
    poor = poorly_filmed(inputs)
    write(film, poor)
    program(film, out, "clear")
    before, after = psnr(poor, inputs), psnr(list(read(out, inputs[0].shape[1::-1])), inputs)
    return {"before": before, "after": after, "gain": after - before}


@dataclass
class Evaluation:
    """Runs over all clips, and their figures by name."""

    program: Program
    regression: Program | None
    clips: list[Path]
    steps: list[int]
    drift: int  # frames; 0: not
    work: Path
    pictures: Path | None

    def __post_init__(self) -> None:
        self.size = tuple(map(int, self.program.size.split("x")))
        self.inputs = {clip: list(read(clip, self.size)) for clip in self.clips}
        self.motions = {clip: Motions.of(frames) for clip, frames in self.inputs.items()}
        self.searched = {clip: dense_inverse_search(frames) for clip, frames in self.inputs.items()}

    def run(self, program: Program, clip: Path, style: str, name: str, **settings: object) -> Path:
        """The file with what came out."""
        out = self.work / f"{clip.stem}-{style}{'-' + name.replace(' ', '-') if name else ''}.mkv"
        program(clip, out, style, **settings)
        return out

    def style(self, style: str) -> dict[str, Figures]:
        """All rows of a style."""
        rows: dict[str, list[Figures]] = {}
        for clip in self.clips:
            for name, figures in self.clip(style, clip).items():
                rows.setdefault(name, []).append(figures)
        table = {f"{style} {name} {clip.stem}": figures[i] for name, figures in rows.items() for i, clip in enumerate(self.clips)}
        for name, figures in rows.items():
            table[f"{style} {name} mean"] = {key: float(np.mean([row[key] for row in figures])) for key in figures[0]}
        return table

    def clip(self, style: str, clip: Path) -> dict[str, Figures]:
        """All rows of a style on one clip."""
        inputs, motions = self.inputs[clip], self.motions[clip]
        teacher = paint(style, inputs, self.work / f"{clip.stem}-{style}-teacher.mkv")
        videos = {f"{steps} steps" if steps > 1 else "1 step": list(read(self.run(self.program, clip, style, str(steps), steps=steps), self.size))
                  for steps in self.steps}
        ours, first = next(iter(videos.values())), self.steps[0]
        videos["no memory"] = list(read(self.run(self.program, clip, style, "no memory", temporal=0, steps=first), self.size))
        for name, backward in (("by hand", self.searched[clip]), ("by hand, Farneback", motions.backward)):
            videos[name] = best_by_hand(inputs, videos["no memory"], backward, teacher, psnr(ours, teacher))
        if self.regression:
            videos["regression"] = list(read(self.run(self.regression, clip, style, "regression", steps=first), self.size))
        figures = {name: measure(inputs, teacher, video, motions) for name, video in videos.items()}
        row = next(iter(figures.values()))
        if style in STOCHASTIC:
            row["seeds"] = difference(self.run(self.program, clip, style, "seed", seed=1, steps=first),
                                      self.work / f"{clip.stem}-{style}-{first}.mkv", self.size)
        if self.drift:
            row["drift"] = drift(self.program, inputs[0], style, self.drift, self.work)
        if self.pictures:
            middle = len(inputs) // 2
            strip = np.hstack([inputs[middle], teacher[middle], ours[middle]])
            self.pictures.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(self.pictures / f"{style}-{clip.stem}.png"), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
        return figures


def print_table(reports: dict[str, Figures]) -> None:
    """One row for each name."""
    columns = list(dict.fromkeys(column for report in reports.values() for column in report))
    print(" ".join([f"{'':<28}", *(f"{column:>9}" for column in columns)]))
    for name, report in reports.items():
        print(" ".join([f"{name:<28}", *(f"{report[column]:>9.2f}" if column in report else 9 * " " for column in columns)]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/base.safetensors")
    parser.add_argument("--regression", type=Path)
    parser.add_argument("--lucida", type=Path, default=HERE.parent / ".build/release/lucida")
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--steps", type=lambda x: [int(y) for y in x.split(",")], default=[1])
    parser.add_argument("--size", default="640x384")
    parser.add_argument("--work", type=Path, help="keep the videos here, and take the teachers' from here")
    parser.add_argument("--drift", type=int, nargs="?", const=1000, default=0, metavar="FRAMES")
    parser.add_argument("--degraded", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="write input | teacher | output of the middle frames here")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    clips = sorted(p for p in args.clips.iterdir() if p.suffix in (".mkv", ".mp4", ".avi", ".webm"))
    if not clips:
        parser.error(f"no video files in {args.clips}")
    reports: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        program = Program(args.lucida, args.model, args.size)
        regression = Program(args.lucida, args.regression, args.size) if args.regression else None
        evaluation = Evaluation(program, regression, clips, args.steps, args.drift, work, args.pictures)
        for style in args.styles.split(",") if args.styles else []:
            table = evaluation.style(style)
            print_table(table)
            reports |= table
        if args.degraded:
            poor = {f"poor light {clip.stem}": degraded(program, evaluation.inputs[clip], work) for clip in clips}
            print_table(poor)
            reports |= poor
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()
