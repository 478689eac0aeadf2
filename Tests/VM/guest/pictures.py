"""Pictures as programs get them, and the colour bars that vivid draws in them."""

# From the left, 75 %: white, yellow, cyan, green, magenta, red, blue, black.
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
LEVEL = 191


def expected_rgb():
    return [tuple(LEVEL * part for part in bar) for bar in BARS]


def expected_ycbcr():
    """BT.601, limited range: ITU-R BT.601-7, section 2.5."""
    result = []
    for bar in BARS:
        r, g, b = (0.75 * part for part in bar)
        y = 0.299 * r + 0.587 * g + 0.114 * b
        result.append((16 + 219 * y, 128 + 224 * (b - y) / 1.772, 128 + 224 * (r - y) / 1.402))
    return result


def sample_yuyv(data, width, height):
    """(Y, Cb, Cr) in the middle of each bar, half way down."""
    samples = []
    for bar in range(8):
        x = width * (2 * bar + 1) // 16 // 2 * 2
        at = (height // 2 * width + x) * 2
        samples.append((data[at], data[at + 1], data[at + 3]))
    return samples


def sample_rgba(data, width, height):
    """(R, G, B) in the middle of each bar, half way down."""
    samples = []
    for bar in range(8):
        at = (height // 2 * width + width * (2 * bar + 1) // 16) * 4
        samples.append(tuple(data[at : at + 3]))
    return samples


def grey_rgb(yuyv):
    """The luma of a YUYV picture as RGB24."""
    rgb = bytearray(len(yuyv) // 2 * 3)
    for component in range(3):
        rgb[component::3] = yuyv[::2]
    return bytes(rgb)


def rgb(rgba):
    """An RGBA picture without its alpha."""
    packed = bytearray(len(rgba) // 4 * 3)
    for component in range(3):
        packed[component::3] = rgba[component::4]
    return bytes(packed)


def distance(samples, expected):
    """The largest difference of any component of any bar, in levels."""
    return max(abs(a - b) for s, e in zip(samples, expected) for a, b in zip(s, e))


def matching(samples, expected, tolerance=12):
    """How many of the eight bars have their colour."""
    return sum(
        max(abs(a - b) for a, b in zip(s, e)) <= tolerance for s, e in zip(samples, expected)
    )
