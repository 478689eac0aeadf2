"""A sheet of drawn scenes for looking at: what the camera saw, then each style; or one sequence, frame by frame.

    sheet.py [--samples 0,1,2] [--styles ink,oil,...] [--size 256] [--sequence] [--seed 7] [--out sheet.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from sequences import one_thread, paint, picture, sample
from teachers import STYLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="0,1,2,3")
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sequence", action="store_true", help="one sample: a row is a style, a column a frame")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    args = parser.parse_args()
    one_thread()
    styles, rows = args.styles.split(","), []
    for index in map(int, args.samples.split(",")):
        drawn = sample(index, args.seed, (args.size, args.size), 8)
        painted = [drawn.frames] + [picture(paint(drawn, style)) for style in styles]
        if args.sequence:
            rows = [np.hstack(frames[::2]) for frames in painted]
            break
        rows.append(np.hstack([frames[-1] for frames in painted]))
    cv2.imwrite(str(args.out), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
