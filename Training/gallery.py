"""The gallery: drawn scenes, never trained on, through `lucida transform` in every style.

    gallery.py [--model ../Models/base.safetensors] [--lucida ../.build/release/lucida] [--out ../docs/images/gallery]
               [--scenes 27,14,12] [--videos DIR]

Writes OUT/STYLE.jpg for each style: a row for each scene, the camera on the left and the picture on the right, a few frames
into the stream; OUT/sheet.jpg with all styles of the first scene; OUT/blend.jpg from one style to another. With --videos also a
short side-by-side video of each scene and style there, to look at.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from evaluate_stream import Program
from sequences import one_thread, sample
from teachers import STYLES
from videos import Frame, read, write

HERE = Path(__file__).resolve().parent
SEED = 2027  # of scenes that no training has seen: it draws from others
SIZE, FRAMES, SHOWN = (640, 384), 24, 20
BLEND = ("ink", "oil")
QUALITY = 88


def film(scene: int, path: Path) -> list[Frame]:
    """A drawn scene, filmed by the drawn webcam, as a lossless video."""
    frames = list(sample(scene, SEED, SIZE[::-1], FRAMES).frames)
    write(path, frames)
    return frames


def save(path: Path, picture: Frame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def half(picture: Frame) -> Frame:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def side_by_side(camera: Path, picture: Path, out: Path) -> None:
    """Both in one video, for looking."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(camera), "-i", str(picture), "-filter_complex", "hstack",
               "-pix_fmt", "yuv420p", "-crf", "18", str(out)]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE.parent / "Models/base.safetensors")
    parser.add_argument("--lucida", type=Path, default=HERE.parent / ".build/release/lucida")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/images/gallery")
    parser.add_argument("--scenes", default="27,14,12")
    parser.add_argument("--videos", type=Path)
    args = parser.parse_args()
    one_thread()
    program = Program(args.lucida, args.model, "x".join(map(str, SIZE)))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def run(scene: int, style: str) -> Frame:
            name = f"{scene}-{style.replace(':', '').replace(',', '-')}"
            out = work / f"{name}.mkv"
            program(work / f"{scene}.avi", out, style)
            if args.videos:
                args.videos.mkdir(parents=True, exist_ok=True)
                side_by_side(work / f"{scene}.avi", out, args.videos / f"{name}.mp4")
            return list(read(out, SIZE))[SHOWN]

        scenes = [int(scene) for scene in args.scenes.split(",")]
        cameras = {scene: film(scene, work / f"{scene}.avi")[SHOWN] for scene in scenes}
        pictures = {style: {scene: run(scene, style) for scene in scenes} for style in STYLES}
        for style, made in pictures.items():
            save(args.out / f"{style}.jpg", np.vstack([np.hstack([cameras[scene], made[scene]]) for scene in scenes]))
        first = [half(pictures[style][scenes[0]]) for style in STYLES]
        save(args.out / "sheet.jpg", np.vstack([np.hstack(first[:3]), np.hstack(first[3:])]))
        mixes = [run(scenes[0], f"{BLEND[0]}:{1 - part},{BLEND[1]}:{part}") for part in (0, 0.25, 0.5, 0.75, 1)]
        save(args.out / "blend.jpg", np.hstack([half(mix) for mix in mixes]))


if __name__ == "__main__":
    main()
