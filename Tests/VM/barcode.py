#!/usr/bin/env python3
"""Reads the frame number out of a picture of the test source, wherever the picture came from.

The layout is described in Sources/Pipeline/Barcode.swift, and this is the same reader with the same
arithmetic. Only the standard library is used.

    ffmpeg -i out.mp4 -frames:v 1 -f rawvideo -pix_fmt rgb24 - | python3 barcode.py 640 360
"""

import sys

WIDTH_MIN = 96
CONTRAST_MIN = 96  # of luma sums R + 2 G + B, 0…1020
BAR_MAX = 256


class Layout:
    def __init__(self, columns, quiet, block, left, right):
        self.columns = columns
        self.quiet = quiet  # lengths are eighths of a block's width
        self.block = block
        self.left = left  # sync blocks of each row, 1 is black
        self.right = right
        self.rows = len(left)
        self.sync = len(left[0])

    def top(self, row):
        return self.quiet + (self.rows - row) * self.block


LAYOUTS = (
    Layout(42, 4, 8, ((1, 0, 1, 0),), ((0, 1, 0, 1),)),
    Layout(22, 3, 6, ((1, 0), (0, 1)), ((1, 0), (0, 1))),
)


def crc8(value):
    """CRC-8, polynomial 07, initial value FF, over the three bytes of `value`."""
    crc = 0xFF
    for byte in value.to_bytes(3, "big"):
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc


class Picture:
    def __init__(self, rgb, width, height):
        self.rgb, self.width, self.height = rgb, width, height

    def luma(self, x, y):
        index = 3 * (y * self.width + x)
        return self.rgb[index] + 2 * self.rgb[index + 1] + self.rgb[index + 2]

    def is_dark(self, xs, ys):
        return all(self.luma(x, y) <= BAR_MAX for y in ys for x in xs)

    def area_between_bars(self):
        """(left, right, bottom) of the picture if black bars surround it, or None."""
        bottom = self.height
        middle = range(self.width // 4, self.width * 3 // 4)
        while bottom > 0 and self.is_dark(middle, (bottom - 1,)):
            bottom -= 1
        if bottom == 0:
            return None
        rows = range(max(0, bottom - max(1, self.height // 16)), bottom)
        left, right = 0, self.width
        while left < self.width and self.is_dark((left,), rows):
            left += 1
        while right > left and self.is_dark((right - 1,), rows):
            right -= 1
        return left, right, bottom

    def mean(self, area, layout, row, column):
        """Mean luma sum over the middle quarter of a block."""
        left, right, bottom = area
        width, unit = right - left, 4 * layout.columns
        x0 = left + (4 * column + 1) * width // unit
        x1 = max(x0 + 1, left + ((4 * column + 3) * width + unit - 1) // unit)
        top = 4 * layout.top(row) - layout.block
        low = 4 * layout.top(row) - 3 * layout.block
        y0 = bottom - (top * width + 8 * unit - 1) // (8 * unit)
        y1 = max(y0 + 1, bottom - low * width // (8 * unit))
        total = sum(self.luma(x, y) for y in range(y0, y1) for x in range(x0, x1))
        return total // ((x1 - x0) * (y1 - y0))


def threshold(values, sync):
    """The middle between the black and the white sync blocks at one end, or None."""
    pairs = [pair for row, bits in zip(values, sync) for pair in zip(row, bits)]
    black = [value for value, bit in pairs if bit]
    white = [value for value, bit in pairs if not bit]
    black, white = sum(black) // len(black), sum(white) // len(white)
    return (white + black) // 2 if white - black >= CONTRAST_MIN else None


def read_layout(picture, area, layout):
    left, right, bottom = area
    width, last, sync = right - left, layout.columns - 1, layout.sync
    strip = 2 * layout.quiet + layout.rows * layout.block
    if bottom < (2 * strip * width + 8 * layout.columns) // (16 * layout.columns):
        return None
    means = [
        [picture.mean(area, layout, row, column) for column in range(layout.columns)]
        for row in range(layout.rows)
    ]
    low = threshold([row[1 : 1 + sync] for row in means], layout.left)
    high = threshold([row[last - sync : last] for row in means], layout.right)
    if low is None or high is None:
        return None
    message = 0
    for row in range(layout.rows):
        bits = [
            int(mean < (low * (last - column) + high * column) // last)
            for column, mean in enumerate(means[row])
        ]
        frame = bits[: 1 + sync] + bits[last - sync :]
        if frame != [0, *layout.left[row], *layout.right[row], 0]:
            return None
        for bit in bits[1 + sync : last - sync]:
            message = message << 1 | bit
    value = message >> 8
    return value if message & 0xFF == crc8(value) else None


def read(rgb_bytes, width, height):
    """Frame number modulo 2**24 in a packed RGB24 picture, or None if it shows none intact."""
    if width < WIDTH_MIN or len(rgb_bytes) < 3 * width * height:
        return None
    picture = Picture(rgb_bytes, width, height)
    whole = (0, width, height)
    for area in (whole, picture.area_between_bars()):
        if area is None or area[1] - area[0] < WIDTH_MIN:
            continue
        for layout in LAYOUTS:
            value = read_layout(picture, area, layout)
            if value is not None:
                return value
    return None


def main():
    if len(sys.argv) != 3 or not all(word.isdecimal() for word in sys.argv[1:]):
        sys.exit("usage: barcode.py WIDTH HEIGHT < picture.rgb\nPrints one number (or -) a picture.")
    width, height = int(sys.argv[1]), int(sys.argv[2])
    size = 3 * width * height
    if size == 0:
        sys.exit("barcode.py: width and height must be 1 or more")
    pictures = 0
    while len(picture := sys.stdin.buffer.read(size)) == size:
        value = read(picture, width, height)
        print("-" if value is None else value)
        pictures += 1
    if pictures == 0:
        sys.exit(f"barcode.py: expected {size} bytes of raw RGB24 for {width}x{height} on stdin")


if __name__ == "__main__":
    main()
