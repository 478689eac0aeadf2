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
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from export import load_checkpoint
from measures import Motions, psnr
from measures import steadiness as steadiness_of
from safetensors_io import load_model
from teacher import stylise
from videos import Frame, read

HERE = Path(__file__).resolve().parent
PICTURE_EVERY = 25


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


def measure(source: list[Frame], teacher: list[Frame], output: list[Frame], steadiness: bool) -> dict[str, float]:
    """All figures of one clip."""
    report = {"frames": len(source), "psnr": psnr(output, teacher), "identity": psnr(source, teacher)}
    report["gain"] = report["psnr"] - report["identity"]
    if steadiness:
        motions = Motions.of(source)
        for name, video in (("", output), ("teacher_", teacher)):
            figures = steadiness_of(source, video, motions)
            report |= {f"{name}warp_ratio": figures["raw warp"], f"{name}flicker_ratio": figures["raw flicker"]}
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
