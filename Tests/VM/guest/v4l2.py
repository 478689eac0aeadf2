"""A small V4L2 reader for tests in the guest: full control over when what is asked of the driver."""

import errno
import fcntl
import mmap
import os
import select
import struct

CAPTURE, OUTPUT = 1, 2
CAP_CAPTURE, CAP_OUTPUT = 0x1, 0x2

# <linux/videodev2.h> on 64-bit machines.
QUERYCAP, G_FMT, S_FMT = 0x80685600, 0xC0D05604, 0xC0D05605
REQBUFS, QUERYBUF, QBUF, DQBUF = 0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611
STREAMON, STREAMOFF = 0x40045612, 0x40045613
ENUM_FMT, TRY_FMT = 0xC0405602, 0xC0D05640
S_CTRL, HORIZONTAL_FLIP = 0xC008561C, 0x00980914
ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0xC02C564A, 0xC034564B
# v4l2loopback's, at /dev/v4l2loopback.
LOOPBACK_REMOVE = 0x4C81


def fourcc(text):
    return struct.unpack("<I", text.encode())[0]


class Device:
    """An open node. Closes with `close()` or at the end of a `with`; `open()` opens it again."""

    def __init__(self, path):
        self.path = path
        self.descriptor = None
        self.buffers = []
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def close(self):
        if self.descriptor is None:
            return
        self.stop()
        os.close(self.descriptor)
        self.descriptor = None

    def ioctl(self, request, argument):
        return fcntl.ioctl(self.descriptor, request, argument)

    def capabilities(self):
        """(card, flags)"""
        answer = bytearray(104)
        self.ioctl(QUERYCAP, answer)
        return answer[16:48].split(b"\0")[0].decode(), struct.unpack_from("<I", answer, 88)[0]

    def format(self):
        """(width, height, four-character code)"""
        answer = bytearray(208)
        struct.pack_into("<I", answer, 0, CAPTURE)
        self.ioctl(G_FMT, answer)
        return self._format(answer)

    def set_format(self, width, height, code, side=CAPTURE):
        """Asks for a format; returns what the driver made of it."""
        request = bytearray(208)
        struct.pack_into("<I4xIIII", request, 0, side, width, height, fourcc(code), 1)
        self.ioctl(S_FMT, request)
        return self._format(request)

    def try_format(self, width, height, code):
        """What the driver would make of a format."""
        request = bytearray(208)
        struct.pack_into("<I4xIIII", request, 0, CAPTURE, width, height, fourcc(code), 1)
        self.ioctl(TRY_FMT, request)
        return self._format(request)

    def set_control(self, control, value):
        self.ioctl(S_CTRL, struct.pack("<Ii", control, value))

    def formats(self):
        """Four-character codes, as an app enumerates them."""
        answers = self._enumerated(ENUM_FMT, 64, struct.pack("<I", CAPTURE))
        return [answer[44:48].decode() for answer in answers]

    def sizes(self, code):
        """(type, width, height) of every size of a format."""
        answers = self._enumerated(ENUM_FRAMESIZES, 44, struct.pack("<I", fourcc(code)))
        return [struct.unpack_from("<III", answer, 8) for answer in answers]

    def intervals(self, code, width, height):
        """(type, numerator, denominator) of every frame interval, in seconds."""
        answers = self._enumerated(
            ENUM_FRAMEINTERVALS, 52, struct.pack("<III", fourcc(code), width, height))
        return [struct.unpack_from("<III", answer, 16) for answer in answers]

    def _enumerated(self, request, size, what):
        """The answers to a request that is made with 0, 1, … until the driver has no more."""
        answers = []
        while len(answers) < 100:
            answer = bytearray(size)
            struct.pack_into("<I", answer, 0, len(answers))
            answer[4:4 + len(what)] = what
            if refusal(lambda: self.ioctl(request, answer)):
                break
            answers.append(answer)
        return answers

    @staticmethod
    def _format(answer):
        width, height = struct.unpack_from("<II", answer, 8)
        return width, height, answer[16:20].decode(errors="replace")

    def start(self, count=2):
        request = bytearray(struct.pack("<IIIIB3x", count, CAPTURE, 1, 0, 0))
        self.ioctl(REQBUFS, request)
        for index in range(struct.unpack_from("<I", request)[0]):
            buffer = self._buffer(index)
            self.ioctl(QUERYBUF, buffer)
            offset, length = struct.unpack_from("<Q", buffer, 64)[0], struct.unpack_from("<I", buffer, 72)[0]
            self.buffers.append(
                mmap.mmap(self.descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
            )
            self.ioctl(QBUF, self._buffer(index))
        self.ioctl(STREAMON, struct.pack("<I", CAPTURE))

    def stop(self):
        refusal(lambda: self.ioctl(STREAMOFF, struct.pack("<I", CAPTURE)))
        for buffer in self.buffers:
            buffer.close()
        self.buffers = []
        # Gives up the claim to the device's format, too.
        refusal(lambda: self.ioctl(REQBUFS, bytearray(struct.pack("<IIIIB3x", 0, CAPTURE, 1, 0, 0))))

    def frame(self, timeout=5.0):
        """The next frame as bytes, or None if none comes in time."""
        if not select.select([self.descriptor], [], [], timeout)[0]:
            return None
        buffer = self._buffer(0)
        try:
            self.ioctl(DQBUF, buffer)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise
        index, used = struct.unpack_from("<I", buffer)[0], struct.unpack_from("<I", buffer, 8)[0]
        data = self.buffers[index][:used]
        self.ioctl(QBUF, self._buffer(index))
        return data

    @staticmethod
    def _buffer(index):
        buffer = bytearray(88)
        struct.pack_into("<II", buffer, 0, index, CAPTURE)
        struct.pack_into("<I", buffer, 60, 1)
        return buffer


def refusal(action):
    """Runs `action`; returns the name of the error it raises, such as EBUSY, or None."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return None
