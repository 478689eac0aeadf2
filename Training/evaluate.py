"""How near a student is to its teacher, and how still it holds, on real clips.

    evaluate.py --clips DIR [--model ../Models/ink.safetensors | --outputs DIR] [--json FILE] [--pictures DIR]

A clip is any video file in DIR. What is measured is the network in PyTorch (a model file or a checkpoint), or
what `lucida transform` wrote: OUTPUTS/NAME.mkv, or a folder OUTPUTS/NAME/ of pictures in order of their names.
Use a lossless codec, or the codec is measured too. Frames are cropped to the aspect of --size, then scaled.

    psnr           dB against the teacher run on the same frames, squared error pooled over the clip
    identity       the same for the untouched input: what doing nothing scores
    warp_ratio     mean (O_t - warp(O_t+1))^2 where the flow holds, of the output over that of the input
    flicker_ratio  mean |O_t - O_t+1| where the input stands still, likewise

Flow is Farneback's on the input; a pixel is occluded where forward and backward flow disagree by the test of
Lai et al., "Learning Blind Video Temporal Consistency", 2018. Ratios near 1 are as steady as the camera.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from export import load_checkpoint
from safetensors_io import load_model
from teacher import stylise

HERE = Path(__file__).resolve().parent
Frame = np.ndarray  # (H, W, 3) u8 RGB
STATIC_PIXELS = 0.3
PICTURE_EVERY = 25


def fit(frame: Frame, size: tuple[int, int]) -> Frame:
    """Cut the middle out at the aspect of size (width, height), then scale."""
    height, width = frame.shape[:2]
    cut_width = min(width, round(height * size[0] / size[1]))
    cut_height = min(height, round(width * size[1] / size[0]))
    x, y = (width - cut_width) // 2, (height - cut_height) // 2
    frame = frame[y : y + cut_height, x : x + cut_width]
    return frame if frame.shape[1::-1] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def read(path: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """Frames of a video file, or of a folder of pictures."""
    if path.is_dir():
        for picture in sorted(path.iterdir()):
            yield fit(cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB), size)
        return
    capture = cv2.VideoCapture(str(path))
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        yield fit(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size)


def student(path: Path) -> Callable[[Frame], Frame]:
    """The network in a model file or checkpoint, as a function of frames."""
    model = load_checkpoint(path) if path.suffix == ".pt" else load_model(path)
    model = model.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def transform(frame: Frame) -> Frame:
        x = torch.from_numpy(frame).permute(2, 0, 1)[None].float().div(255)
        y = model(x.contiguous(memory_format=torch.channels_last))
        return y[0].permute(1, 2, 0).mul(255).round().byte().numpy()

    return transform


def psnr(a: list[Frame], b: list[Frame]) -> float:
    """dB, squared error pooled over all frames."""
    error = np.mean([np.mean((np.float32(x) - np.float32(y)) ** 2) for x, y in zip(a, b)])
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def flow(a: Frame, b: Frame) -> np.ndarray:
    """Where each pixel of a went in b, (H, W, 2)."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
    return cv2.calcOpticalFlowFarneback(*greys, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def unsteadiness(source: list[Frame], videos: dict[str, list[Frame]]) -> dict[str, tuple[float, float]]:
    """(warp error, flicker on static pixels) of each video, by the motion of the source."""
    height, width = source[0].shape[:2]
    grid_x, grid_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    sums = {name: ([], []) for name in videos}
    for t in range(len(source) - 1):
        forward, backward = flow(source[t], source[t + 1]), flow(source[t + 1], source[t])
        x, y = grid_x + forward[..., 0], grid_y + forward[..., 1]
        there_and_back = forward + cv2.remap(backward, x, y, cv2.INTER_LINEAR)
        length = (forward**2).sum(-1) + (backward**2).sum(-1)
        visible = (there_and_back**2).sum(-1) <= 0.01 * length + 0.5
        static = np.abs(forward).max(-1) < STATIC_PIXELS
        for name, video in videos.items():
            now, then = np.float32(video[t]), np.float32(video[t + 1])
            warped = cv2.remap(then, x, y, cv2.INTER_LINEAR)
            sums[name][0].append(((now - warped) ** 2).mean(-1)[visible].mean())
            if static.any():
                sums[name][1].append(np.abs(now - then).mean(-1)[static].mean())
    return {name: (float(np.mean(warp)), float(np.mean(still))) for name, (warp, still) in sums.items()}


def measure(source: list[Frame], teacher: list[Frame], output: list[Frame], steadiness: bool) -> dict[str, float]:
    """All figures of one clip."""
    report = {"frames": len(source), "psnr": psnr(output, teacher), "identity": psnr(source, teacher)}
    report["gain"] = report["psnr"] - report["identity"]
    if steadiness:
        figures = unsteadiness(source, {"source": source, "teacher": teacher, "output": output})
        for index, name in enumerate(("warp_ratio", "flicker_ratio")):
            report[name] = figures["output"][index] / figures["source"][index]
            report[f"teacher_{name}"] = figures["teacher"][index] / figures["source"][index]
    return report


def print_table(reports: dict[str, dict[str, float]]) -> None:
    """One row a clip, the mean last."""
    columns = list(next(iter(reports.values())))
    print(" ".join([f"{'clip':<12}", *(f"{column:>{max(8, len(column))}}" for column in columns)]))
    for name, report in reports.items():
        print(" ".join([f"{name:<12}", *(f"{report[column]:>{max(8, len(column))}.2f}" for column in columns)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/ink.safetensors")
    parser.add_argument("--outputs", type=Path, help="measure these videos or folders and not the model")
    parser.add_argument("--size", default="640x384")
    parser.add_argument("--every", type=int, default=1, help="only every n-th frame; leaves out steadiness")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--pictures", type=Path, help="write input | teacher | output here now and then")
    args = parser.parse_args()
    size = tuple(map(int, args.size.split("x")))
    transform = None if args.outputs else student(args.model)
    reports = {}
    for clip in sorted(p for p in args.clips.iterdir() if p.suffix in (".mkv", ".mp4", ".avi", ".webm")):
        source = list(read(clip, size))[:: args.every]
        teacher = [stylise(frame) for frame in source]
        if transform:
            output = [transform(frame) for frame in source]
        else:
            folder = args.outputs / clip.stem
            output = list(read(folder if folder.is_dir() else folder.with_suffix(".mkv"), size))[:: args.every]
        if len(output) != len(source):
            raise SystemExit(f"{clip.stem}: {len(source)} input frames but {len(output)} output frames")
        reports[clip.stem] = measure(source, teacher, output, args.every == 1)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            for t in range(0, len(source), max(1, PICTURE_EVERY // args.every)):
                strip = np.hstack([source[t], teacher[t], output[t]])
                cv2.imwrite(str(args.pictures / f"{clip.stem}-{t:03}.png"), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
    reports["mean"] = {key: float(np.mean([r[key] for r in reports.values()])) for key in next(iter(reports.values()))}
    print_table(reports)
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()
