"""How good the streaming network is on real clips: near its teachers, textured like them, and steady.

    evaluate_stream.py --clips DIR [--model ../Models/base.safetensors] [--styles ink,oil,...] [--steps 1,2,4]
                       [--lucida ../.build/release/lucida] [--work DIR] [--drift] [--json FILE] [--pictures DIR]

What is measured is what people get: every clip goes through `lucida transform`, lossless, in every style, with every
number of steps, and once more without memory (transform.temporal = 0). Frames are cropped to the aspect of --size, then
scaled. For each:

    psnr, ssim   against the teacher, painted on the same frames with the texture fixed to the screen; squared error pooled
                 over the clip, SSIM (Wang et al. 2004) of luma with a Gaussian window of 1.5 pixels, mean. For styles that
                 leave something to chance they say little.
    texture      dB: how far the energies of oriented bands are from the teacher's, mean over 3 scales and 4 directions of
                 |10 log10(E_out / E_teacher)|; luma, Gaussian derivatives of sigma 1, 2 and 4 pixels. The second-order
                 part of Portilla & Simoncelli, "A Parametric Texture Model", 2000. What is blurred loses its fine bands.
    warp         mean (O_t - warp(O_t+1))^2 where the flow holds, over the variance of the clip's pixels, out over in (Lai
                 et al. 2018)
    raw warp     the same not divided by the variance
    flicker      mean |O_t - O_t+1| where the input stands still, over the standard deviation, out over in
    tOF          mean |flow(O_t, O_t+1) - flow(I_t, I_t+1)| in pixels (Chu et al., "TecoGAN", 2020)

--drift films one frame of each clip 1,000 times with fresh noise, and reports how far the mean of the last 20 outputs is from
the mean of outputs 30 to 50, in levels, root mean square.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from evaluate import STATIC_PIXELS, Frame, flow, psnr, read
from sequences import picture, tensor
from teachers import STYLES, Texture

HERE = Path(__file__).resolve().parent
DRIFT_FRAMES, DRIFT_NOISE = 1000, 2.0
Figures = dict[str, float]


def transform(lucida: Path, model: Path, clip: Path, out: Path, style: str, size: str, settings: dict[str, object]) -> None:
    """Run the program, lossless."""
    options = {"transform.model": model.resolve(), "output.codec": "ffv1"} | settings
    sets = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    command = [str(lucida), "transform", str(clip), str(out), "--size", size, "--style", style, *sets]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stderr}")


def paint(style: str, frames: list[Frame]) -> list[Frame]:
    """The teacher's answer, a frame at a time, with the texture fixed to the screen."""
    painted = []
    for frame in frames:
        x = tensor(frame[None])
        painted.append(picture(STYLES[style](x, Texture.fixed(x)))[0])
    return painted


def luma(frame: Frame) -> np.ndarray:
    """Rec. 601, f32 in [0, 1]."""
    return np.float32(frame) @ np.float32([0.299, 0.587, 0.114]) / 255


def ssim(a: Frame, b: Frame) -> float:
    """Structural similarity of luma (Wang et al. 2004)."""
    x, y = luma(a), luma(b)

    def mean(z: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(z, (11, 11), 1.5)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def bands(frame: Frame) -> np.ndarray:
    """Energy of 12 oriented bands, finest first."""
    energies, grey = [], luma(frame)
    for sigma in (1, 2, 4):
        smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
        gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        # Second differences along four directions, so that flat light and soft shade do not count.
        for angle in np.radians((0, 45, 90, 135)):
            slope = np.cos(angle) * gx + np.sin(angle) * gy
            energies.append(float(np.mean((slope - cv2.GaussianBlur(slope, (0, 0), 2 * sigma)) ** 2)))
    return np.array(energies)


def texture_distance(output: list[Frame], teacher: list[Frame]) -> float:
    """dB."""
    found, wanted = (np.mean([bands(frame) for frame in video[::8]], 0) for video in (output, teacher))
    return float(np.mean(np.abs(10 * np.log10(found / wanted))))


def steadiness(inputs: list[Frame], output: list[Frame]) -> Figures:
    """warp, raw warp and flicker as out over in, and tOF."""
    height, width = inputs[0].shape[:2]
    grid = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    sums: dict[str, list[float]] = {key: [] for key in ("warp in", "warp out", "still in", "still out", "tOF")}
    for t in range(len(inputs) - 1):
        forward, backward = flow(inputs[t], inputs[t + 1]), flow(inputs[t + 1], inputs[t])
        x, y = grid[0] + forward[..., 0], grid[1] + forward[..., 1]
        back = forward + cv2.remap(backward, x, y, cv2.INTER_LINEAR)
        visible = (back**2).sum(-1) <= 0.01 * ((forward**2).sum(-1) + (backward**2).sum(-1)) + 0.5
        static = np.abs(forward).max(-1) < STATIC_PIXELS
        for name, video in (("in", inputs), ("out", output)):
            now, then = np.float32(video[t]) / 255, np.float32(video[t + 1]) / 255
            warped = cv2.remap(then, x, y, cv2.INTER_LINEAR)
            sums[f"warp {name}"].append(((now - warped) ** 2).mean(-1)[visible].mean())
            if static.any():
                sums[f"still {name}"].append(np.abs(now - then).mean(-1)[static].mean())
        sums["tOF"].append(np.abs(flow(output[t], output[t + 1]) - forward).mean())
    means = {key: float(np.mean(values)) for key, values in sums.items()}
    variance_in, variance_out = (float(np.var(np.float32(video) / 255)) for video in (inputs, output))
    return {
        "warp": means["warp out"] / means["warp in"] * variance_in / variance_out,
        "raw warp": means["warp out"] / means["warp in"],
        "flicker": means["still out"] / means["still in"] * (variance_in / variance_out) ** 0.5,
        "tOF": means["tOF"],
    }


def measure(inputs: list[Frame], teacher: list[Frame], output: list[Frame]) -> Figures:
    """All figures of one clip."""
    if len(output) != len(inputs):
        raise SystemExit(f"{len(inputs)} frames went in, {len(output)} came out")
    return {
        "psnr": psnr(output, teacher), "identity": psnr(inputs, teacher),
        "ssim": float(np.mean([ssim(a, b) for a, b in zip(output[::8], teacher[::8])])),
        "texture": texture_distance(output, teacher),
    } | steadiness(inputs, output)


def drift(lucida: Path, model: Path, frame: Frame, style: str, size: str, work: Path) -> float:
    """Levels by which a still picture wanders in 1,000 frames."""
    rng = np.random.default_rng(0)
    film, out = work / "still.avi", work / "still-out.mkv"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"FFV1"), 30, frame.shape[1::-1])
    for _ in range(DRIFT_FRAMES):
        noisy = np.float32(frame) + DRIFT_NOISE * rng.standard_normal(frame.shape, np.float32)
        writer.write(cv2.cvtColor(noisy.round().clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR))
    writer.release()
    transform(lucida, model, film, out, style, size, {})
    frames = list(read(out, frame.shape[1::-1]))
    early, late = np.mean(np.float32(frames[30:50]), 0), np.mean(np.float32(frames[-20:]), 0)
    return float(np.sqrt(np.mean((late - early) ** 2)))


def print_table(reports: dict[str, Figures]) -> None:
    """One row for each name."""
    columns = list(next(iter(reports.values())))
    print(" ".join([f"{'':<28}", *(f"{column:>8}" for column in columns)]))
    for name, report in reports.items():
        print(" ".join([f"{name:<28}", *(f"{report.get(column, float('nan')):>8.2f}" for column in columns)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/base.safetensors")
    parser.add_argument("--lucida", type=Path, default=HERE.parent / ".build/release/lucida")
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--steps", default="1")
    parser.add_argument("--size", default="640x384")
    parser.add_argument("--work", type=Path, help="keep the videos here")
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="write input | teacher | output of the middle frames here")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    size = tuple(map(int, args.size.split("x")))
    clips = sorted(p for p in args.clips.iterdir() if p.suffix in (".mkv", ".mp4", ".avi", ".webm"))
    reports: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for style in args.styles.split(","):
            runs = [(f"{steps} steps" if steps != "1" else "", {"transform.steps": steps}) for steps in args.steps.split(",")]
            runs.append(("no memory", {"transform.temporal": 0}))
            rows: dict[str, list[Figures]] = {name: [] for name, _ in runs}
            for clip in clips:
                inputs = list(read(clip, size))
                teacher = paint(style, inputs)
                for name, settings in runs:
                    out = work / f"{clip.stem}-{style}{'-' + name.replace(' ', '-') if name else ''}.mkv"
                    transform(args.lucida, args.model, clip, out, style, args.size, settings)
                    output = list(read(out, size))
                    figures = measure(inputs, teacher, output)
                    if args.drift and not name:
                        figures["drift"] = drift(args.lucida, args.model, inputs[0], style, args.size, work)
                    reports[f"{style} {name} {clip.stem}"] = figures
                    rows[name].append(figures)
                    if args.pictures and not name:
                        args.pictures.mkdir(parents=True, exist_ok=True)
                        middle = len(inputs) // 2
                        strip = np.hstack([inputs[middle], teacher[middle], output[middle]])
                        cv2.imwrite(str(args.pictures / f"{style}-{clip.stem}.png"), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
            for name, figures in rows.items():
                reports[f"{style} {name} mean"] = {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
            print_table({key: value for key, value in reports.items() if key.startswith(f"{style} ")})
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()
