"""The release binary as a user meets it: runs, reports, files, signals, errors.

    LUCIDA_BINARY=.build/release/lucida python3 -m unittest discover -s Tests/CommandLine -v

Needs ffmpeg and ffprobe, and nothing beyond Python's standard library. Times are never asserted: the
tests count frames, drops, allocations and bytes.
"""

import array
import json
import math
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/VM"))
import barcode  # noqa: E402  the reader that the virtual machine's tests use
BINARY = os.environ.get("LUCIDA_BINARY", str(ROOT / ".build/release/lucida"))
# Webcam footage to try, if there is any; `.ci/run` names it.
CLIPS = pathlib.Path(os.environ.get("LUCIDA_CLIPS", "/nonexistent"))
MODEL = ROOT / "Models/ink.safetensors"
# Of random weights, small.
STREAMING_MODEL = ROOT / "Tests/ModelsTests/Resources/streaming-unet.safetensors"


def lucida(*arguments, timeout=180, **keywords):
    return subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **keywords)


def probe(path):
    """Frames, width and height that ffprobe counts in a file."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries",
         "stream=nb_read_frames,width,height,codec_name", "-of", "json", str(path)],
        capture_output=True, text=True, check=True).stdout
    stream = json.loads(out)["streams"][0]
    return int(stream["nb_read_frames"]), stream["width"], stream["height"], stream["codec_name"]


def write_safetensors(path, tensors, metadata={}):
    """A safetensors file of f32 tensors: name to shape and values, or one value for all."""
    header, data = {"__metadata__": metadata}, bytearray()
    for name, (shape, values) in tensors.items():
        if isinstance(values, (int, float)):
            count = 1
            for size in shape:
                count *= size
            values = [values] * count
        start = len(data)
        data += array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


CHANNELS = 8


def layer_table(image_channels):
    """Name, channels in, channels out and window of every layer of a small network."""
    c = CHANNELS
    layers = [("stem", image_channels, c, 3), ("down1", c, c, 3), ("down2", c, c, 3),
              ("up1", c, c, 1), ("up0", c, c, 1), ("head", c, image_channels, 3)]
    for block in ("enc0.0", "enc1.0", "mid.0", "mid.1", "dec1.0", "dec0.0"):
        layers += [(f"{block}.a", c, c, 3), (f"{block}.b", c, c, 3)]
    return layers


def write_model(path, tensors, image_channels):
    write_safetensors(path, tensors, {
        "format": "lucida-model", "format_version": "1", "architecture": "distilled-unet",
        "architecture_version": "1", "channels": ",".join([str(CHANNELS)] * 3),
        "size_multiple": "16", "color_range": "full", "image_channels": str(image_channels)})


def write_constant_model(path, residual, image_channels=64, weight=0):
    """A small network whose answer is `residual` everywhere, whatever it sees, if `weight` is 0."""
    tensors = {}
    for name, inputs, outputs, kernel in layer_table(image_channels):
        tensors[f"{name}.weight"] = ([outputs, inputs, kernel, kernel], weight)
        tensors[f"{name}.bias"] = ([outputs], residual if name == "head" else 0)
    write_model(path, tensors, image_channels)


def random_model(generator):
    """Tensors of a network with 48 image channels, every one of which matters to its answer."""
    tensors = {}
    for name, inputs, outputs, kernel in layer_table(48):
        width = math.sqrt(6 / (inputs * kernel * kernel))
        tensors[f"{name}.weight"] = ([outputs, inputs, kernel, kernel], array.array("f", (
            generator.uniform(-width, width) for _ in range(outputs * inputs * kernel * kernel))))
        tensors[f"{name}.bias"] = ([outputs], array.array("f", (
            generator.uniform(-0.1, 0.1) for _ in range(outputs))))
    return tensors


class Reference:
    """The network by its definition, in double precision; pictures are lists of rows of pixels."""

    def __init__(self, tensors):
        self.tensors = tensors

    def convolve(self, name, x, stride=1, relu=False, adding=None):
        (outputs, inputs, kernel, _), weights = self.tensors[f"{name}.weight"]
        bias = self.tensors[f"{name}.bias"][1]
        height, width, count = len(x), len(x[0]), kernel * kernel
        taps = [(dy, dx, [[weights[(o * inputs + i) * count + dy * kernel + dx]
                           for i in range(inputs)] for o in range(outputs)])
                for dy in range(kernel) for dx in range(kernel)]
        result = []
        for y in range(0, height, stride):
            result.append([])
            for column in range(0, width, stride):
                sums = list(bias)
                for dy, dx, matrix in taps:
                    top, left = y + dy - kernel // 2, column + dx - kernel // 2
                    if 0 <= top < height and 0 <= left < width:
                        pixel = x[top][left]
                        for o, row in enumerate(matrix):
                            sums[o] += sum(map(float.__mul__, row, pixel))
                if adding:
                    skip = adding[len(result) - 1][len(result[-1])]
                    sums = [a + b for a, b in zip(sums, skip)]
                result[-1].append([max(value, 0.0) for value in sums] if relu else sums)
        return result

    def block(self, name, x):
        return self.convolve(f"{name}.b", self.convolve(f"{name}.a", x, relu=True), relu=True,
                             adding=x)

    def up(self, name, x, skip):
        small = self.convolve(name, x)
        return [[[a + b for a, b in zip(small[y // 2][column // 2], pixel)]
                 for column, pixel in enumerate(row)] for y, row in enumerate(skip)]

    def residual(self, x):
        skip0 = self.block("enc0.0", self.convolve("stem", x, relu=True))
        skip1 = self.block("enc1.0", self.convolve("down1", skip0, stride=2, relu=True))
        low = self.convolve("down2", skip1, stride=2, relu=True)
        mid = self.block("mid.1", self.block("mid.0", low))
        dec1 = self.block("dec1.0", self.up("up1", mid, skip1))
        return self.convolve("head", self.block("dec0.0", self.up("up0", dec1, skip0)))


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lucida-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assertRefused(self, result, *parts):
        """An error on standard error that names each part, and no crash."""
        self.assertGreater(result.returncode, 0, result.stdout)
        self.assertLess(result.returncode, 128, f"crashed: {result.stderr}")
        for part in parts:
            self.assertIn(str(part), result.stderr)
        self.assertNotIn("Fatal error", result.stderr)

    def clip(self, name, frames=12, size="160x96", codec=("-c:v", "libx264")):
        path = self.folder / name
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30",
             "-frames:v", str(frames), *codec, "-pix_fmt", "yuv420p", str(path)], check=True)
        return path


class Run(Case):
    def test_what_holds_still_is_not_computed_again(self):
        report = self.folder / "report.json"
        for reuse in ("true", "false"):
            result = lucida("run", "--set", "transform.model=ink", "--source", "test", "--sink",
                            "null", "--size", "320x192", "--duration", "3", "--precision", "f32",
                            "--reuse", reuse, "--report", report)
            self.assertEqual(result.returncode, 0, result.stderr)
            share = json.loads(report.read_text())["resources"].get("workShare")
            if reuse == "true":
                self.assertLess(share, 0.9)
                self.assertGreater(share, 0)
            else:
                self.assertIsNone(share)

    def test_a_live_run_allocates_nothing_and_says_how_live_it_was(self):
        report = self.folder / "report.json"
        result = lucida("run", "--source", "test", "--sink", "null", "--size", "320x192",
                        "--duration", "6", "--report", report)
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(report.read_text())
        self.assertEqual(figures["lookAheadFrames"], 0)
        self.assertEqual(figures["resources"]["allocationsPerFrame"], 0)
        self.assertGreater(figures["resources"]["steadyStateFrames"], 30)
        self.assertNotIn("workShare", figures["resources"])
        output = figures["outputs"][0]
        self.assertGreater(output["frames"], 30)
        self.assertEqual(figures["input"]["frames"], output["frames"] + output["dropped"])
        # The barcode in the written picture tells the same age as the timestamp that travelled.
        self.assertEqual(output["barcodeMismatches"], 0)
        for key in ("p50", "p95", "p99", "max"):
            self.assertAlmostEqual(output["age"][key], output["ageByBarcode"][key],
                                   delta=0.05 * output["age"][key] + 0.5)
        self.assertIn("frame age", result.stdout)
        self.assertIn("verdict", result.stdout)

    def test_the_frame_in_flight_at_the_end_is_not_called_dropped(self):
        report = self.folder / "report.json"
        # Unpaced, so that a frame is always on its way.
        for duration in ("0.5", "0.7", "0.9"):
            result = lucida("run", "--source", "test", "--pace", "fast", "--sink", "null", "--size",
                            "160x96", "--duration", duration, "--report", report)
            self.assertEqual(result.returncode, 0, result.stderr)
            figures = json.loads(report.read_text())
            self.assertEqual(figures["outputs"][0]["dropped"], 0)
            self.assertEqual(figures["input"]["frames"], figures["outputs"][0]["frames"])

    def test_a_stream_batch_is_late_by_what_it_says_and_allocates_nothing(self):
        report = self.folder / "report.json"
        config = self.folder / "lucida.toml"
        # Hardly anything is drawn: the barcode stays readable.
        config.write_text(f"""
            [transform]
            model = "{STREAMING_MODEL}"
            style = "oil"
            strength = 0.001
            steps = 3
            stream_batch = true
        """)
        # Unpaced, so that no frame is skipped.
        result = lucida("run", "--config", config, "--source", "test", "--pace", "fast", "--sink", "null",
                        "--size", "320x192", "--duration", "3", "--report", report)
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(report.read_text())
        output = figures["outputs"][0]
        self.assertEqual(figures["delayFrames"], 2)
        self.assertEqual(figures["input"]["early"], 2)
        self.assertEqual(figures["input"]["failed"], 0)
        self.assertEqual(output["dropped"], 0)
        self.assertGreater(output["frames"], 30)
        self.assertEqual(figures["input"]["frames"], output["frames"] + 2)
        self.assertEqual(output["barcodeMismatches"], 0)
        self.assertIn("ageByBarcode", output)
        self.assertEqual(figures["resources"]["allocationsPerFrame"], 0)
        self.assertIn("of which the stream batch 2 frames", result.stdout)

    def test_sigterm_stops_it_cleanly_and_systemd_is_told(self):
        path = str(self.folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)
            server.settimeout(60)
            process = subprocess.Popen(
                [BINARY, "run", "--source", "test", "--sink", "null", "--size", "160x96"],
                env={**os.environ, "NOTIFY_SOCKET": path},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                self.assertTrue(server.recv(4096).startswith(b"READY=1\nSTATUS="))
                process.send_signal(signal.SIGTERM)
                messages = []
                while b"STOPPING=1" not in messages:
                    messages.append(server.recv(4096))
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("Liveness of", out)

    def test_a_live_run_keeps_what_was_recorded_before(self):
        video, pictures = self.folder / "a.mkv", self.folder / "pictures"

        def start(**environment):
            result = subprocess.run(
                [BINARY, "run", "--source", "test", "--size", "160x96", "--duration", "1",
                 "--sink", f"file:{video}", "--sink", f"frames:{pictures}"],
                env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
            self.assertEqual(result.returncode, 0, result.stderr)
            return result.stderr

        start()
        recorded, drawn = video.read_bytes(), {path.name: path.read_bytes() for path in pictures.iterdir()}
        # In a terminal, and as systemd starts it again after a crash.
        for number, environment in ((2, {}), (3, {"NOTIFY_SOCKET": str(self.folder / "nobody")})):
            log = start(**environment)
            self.assertIn(f"{video} is from an earlier run and stays", log)
            self.assertEqual(video.read_bytes(), recorded)
            self.assertGreater(probe(self.folder / f"a-{number}.mkv")[0], 0)
        self.assertEqual({name: (pictures / name).read_bytes() for name in drawn}, drawn)
        self.assertGreater(len(list(pictures.iterdir())), len(drawn))
        self.assertTrue((pictures / f"{len(drawn) + 1:06}.png").exists())

    def test_an_output_that_fails_in_mid_run_does_not_take_the_others_down(self):
        video, report = self.folder / "a.mkv", self.folder / "report.json"
        with socket.create_server(("127.0.0.1", 0)) as server:
            target = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            process = subprocess.Popen(
                [BINARY, "run", "--source", "test", "--pace", "fast", "--size", "160x96",
                 "--duration", "5", "--sink", f"file:{target}", "--sink", f"file:{video}",
                 "--report", report],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                connection = server.accept()[0]
                connection.recv(1000)
                connection.close()
                _, err = process.communicate(timeout=60)
            finally:
                process.kill()
        # The others are whole, and yet something was lost.
        self.assertEqual(process.returncode, 1, err)
        self.assertIn(f"the output failed: {target}", err)
        lost, good = json.loads(report.read_text())["outputs"]
        self.assertTrue(lost["isLost"])
        self.assertFalse(good["isLost"])
        self.assertGreater(good["frames"], lost["frames"])
        self.assertEqual(probe(video)[0], good["frames"])

    def run_to_a_server(self, *arguments):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        server.settimeout(60)
        target = f"file:tcp://127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            [BINARY, "run", "--source", "test", "--size", "160x96", "--sink", target, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return server, process

    def test_the_only_output_failing_is_an_error_after_the_report(self):
        server, process = self.run_to_a_server("--pace", "fast")
        server.accept()[0].close()
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("the output failed", err)
        self.assertIn("Liveness of", out)

    def test_a_network_target_that_is_not_there_yet_is_waited_for(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        process = subprocess.Popen(
            [BINARY, "run", "--source", "test", "--size", "160x96",
             "--sink", f"file:tcp://127.0.0.1:{address[1]}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        guard = threading.Timer(60, process.kill)
        self.addCleanup(guard.cancel)
        guard.start()
        line = next((line for line in process.stderr if "tried again" in line), "")
        self.assertIn("Connection refused", line)
        with socket.create_server(address) as server:
            server.settimeout(60)
            with server.accept()[0] as connection:
                connection.settimeout(60)
                self.assertTrue(connection.recv(4096))
                process.send_signal(signal.SIGINT)
                while connection.recv(4096):
                    pass
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)

    def test_an_address_that_does_not_answer_can_be_given_up_at_once(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            source = f"file:http://127.0.0.1:{server.getsockname()[1]}/film.mp4"
            process = subprocess.Popen(
                [BINARY, "run", "--source", source, "--sink", "null"], stderr=subprocess.PIPE, text=True)
            self.addCleanup(process.kill)
            server.settimeout(60)
            with server.accept()[0]:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=60)
        # No answer in time would be an error.
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("stopped before it had begun", err)

    def test_a_network_target_that_is_wrong_is_an_error_at_once(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        for arguments in (["--pace", "fast", "--sink", f"file:{closed}"],
                          ["--sink", "file:nothing://127.0.0.1:9"],
                          ["--sink", "file:tcp://127.0.0.1"]):
            with self.subTest(arguments):
                result = lucida("run", "--source", "test", "--size", "160x96", "--duration", "60", *arguments)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertNotIn("tried again", result.stderr)

    def test_a_network_target_that_has_gone_is_found_again(self):
        report = self.folder / "report.json"
        server, process = self.run_to_a_server("--report", report)
        server.accept()[0].close()
        with server.accept()[0] as again:
            again.settimeout(60)
            received = 0
            while received < 20_000:
                piece = again.recv(4096)
                self.assertTrue(piece, "it hung up")
                received += len(piece)
            process.send_signal(signal.SIGINT)
            while again.recv(4096):
                pass
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("tried again", err)
        output = json.loads(report.read_text())["outputs"][0]
        self.assertGreaterEqual(output["interruptions"], 1)
        self.assertFalse(output["isLost"])

    def test_a_network_target_that_stays_away_is_an_error_at_the_end(self):
        server, process = self.run_to_a_server("--duration", "4")
        server.accept()[0].close()
        server.close()
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("the output failed", err)
        self.assertIn("then LOST", out)

    def test_the_barcode_is_in_what_a_player_gets(self):
        video = self.folder / "a.mp4"
        result = lucida("run", "--source", "test", "--pace", "fast", "--size", "320x192",
                        "--duration", "2", "--sink", f"file:{video}")
        self.assertEqual(result.returncode, 0, result.stderr)
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(video), "-vsync", "passthrough", "-pix_fmt",
             "rgb24", "-f", "rawvideo", "-"],
            capture_output=True, check=True).stdout
        size = 320 * 192 * 3
        numbers = [barcode.read(raw[at: at + size], 320, 192) for at in range(0, len(raw), size)]
        self.assertEqual(numbers, list(range(len(numbers))))
        self.assertGreater(len(numbers), 20)

    def test_several_sinks_hold_the_same_frames(self):
        video, frames = self.folder / "a.mkv", self.folder / "frames"
        result = lucida("run", "--source", "test", "--pace", "fast", "--size", "160x96",
                        "--duration", "2", "--sink", f"file:{video}", "--sink", f"frames:{frames}")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(probe(video)[0], len(list(frames.glob("*.png"))))

    def test_strength_0_is_the_camera_bit_by_bit(self):
        clip = self.clip("in.mkv", codec=("-c:v", "ffv1"))
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(clip), "-pix_fmt", "bgr0",
                        "-c:v", "ffv1", str(self.folder / "rgb.mkv")], check=True)
        out = self.folder / "out.mkv"
        result = lucida("transform", self.folder / "rgb.mkv", out, "--strength", "0",
                        "--set", "output.codec=ffv1")
        self.assertEqual(result.returncode, 0, result.stderr)
        sums = [subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(path), "-pix_fmt", "rgb24", "-f", "framemd5", "-"],
            capture_output=True, text=True, check=True).stdout.splitlines()
            for path in (self.folder / "rgb.mkv", out)]
        hashes = [[line.split(",")[-1] for line in lines if not line.startswith("#")]
                  for lines in sums]
        self.assertEqual(len(hashes[0]), 12)
        self.assertEqual(hashes[0], hashes[1])

    def test_it_runs_from_anywhere_without_a_toolchain(self):
        prefix = self.folder / "root"
        subprocess.run(["make", "-s", "-C", str(ROOT), "install", f"DESTDIR={prefix}",
                        "PREFIX=/usr"], check=True, capture_output=True)
        binary = prefix / "usr/bin/lucida"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        result = subprocess.run(
            [binary, "run", "--source", "test", "--sink", "null", "--size", "160x96",
             "--duration", "1"], cwd="/", env=environment, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        linked = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
        self.assertNotIn("swift", linked.lower())
        config = prefix / "etc/lucida/lucida.toml"
        self.assertEqual(lucida("check-config", config).returncode, 0)
        unit = (prefix / "usr/lib/systemd/system/lucida.service").read_text()
        self.assertIn("ExecStart=/usr/bin/lucida run", unit)
        subprocess.run(["make", "-s", "-C", str(ROOT), "uninstall", f"DESTDIR={prefix}",
                        "PREFIX=/usr"], check=True, capture_output=True)
        left = [path for path in prefix.rglob("*") if path.is_file()]
        self.assertEqual(left, [config])


class Control(Case):
    """A run that is steered: by its file, by signals, by `lucida ctl`."""

    def setUp(self):
        super().setUp()
        self.socket = self.folder / "xdg/lucida/control.sock"
        self.socket.parent.parent.mkdir()
        self.config = self.folder / "lucida.toml"
        self.log = self.folder / "log"
        self.source = ("--source", "test")
        self.environment = {name: value for name, value in os.environ.items()
                            if name not in ("RUNTIME_DIRECTORY", "XDG_CONFIG_HOME")}
        self.environment["XDG_RUNTIME_DIR"] = str(self.folder / "xdg")
        self.environment["HOME"] = str(self.folder)

    def write(self, text):
        """As most editors do: a new file takes the place of the old one."""
        new = self.folder / "new"
        new.write_text(f'[transform]\nmodel = "{STREAMING_MODEL}"\n{text}')
        new.rename(self.config)

    def start(self, *arguments, text='style = "oil"\n'):
        self.write(text)
        self.report = self.folder / "report.json"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [BINARY, "run", "--config", str(self.config), *self.source, "--sink", "null",
                 "--size", "160x96", "--duration", "120", "--report", str(self.report),
                 *arguments], stdout=subprocess.DEVNULL, stderr=log, env=self.environment)
        self.addCleanup(self.end)
        self.wait_for(lambda: self.socket.exists() and self.ctl("status").returncode == 0)

    def end(self):
        """The report of the run."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(timeout=60), 0, self.log.read_text())
        return json.loads(self.report.read_text())

    def wait_for(self, condition):
        for _ in range(600):
            if condition():
                return
            self.assertIsNone(self.process.poll(), self.log.read_text())
            time.sleep(0.1)
        self.fail(f"did not happen: {self.log.read_text()}")

    def ctl(self, *arguments, **keywords):
        return lucida("ctl", *arguments, env=self.environment, **keywords)

    def status(self):
        reply = json.loads(self.ctl("status", "--json").stdout)
        self.assertTrue(reply["ok"])
        return reply["status"]

    def frames(self):
        return self.status()["frames"]["written"]

    def test_ctl_changes_the_look_and_no_frame_is_lost_by_it(self):
        self.start()
        for key, value, field in (("strength", "0.5", 0.5), ("seed", "7", 7), ("temporal", "0", 0),
                                  ("style", "neon", "neon"), ("style", "ink:0.5,oil:0.5", None)):
            result = self.ctl("set", f"transform.{key}", value)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"transform.{key} = ", result.stdout)
            if field is not None:
                self.assertEqual(self.status()["look"][key], field)
        result = self.ctl("set", "transform.seed=7")
        self.assertEqual((result.returncode, result.stdout), (0, "transform.seed is 7 already\n"))
        text = self.ctl("status").stdout
        self.assertRegex(text, r"(?m)^model +streaming-unet \(streaming-flow-unet v1\)$")
        self.assertRegex(text, r"(?m)^look +style ink:0.5,oil:0.5, ")
        self.assertEqual(self.status()["setup"]["model"], "streaming-unet")
        written = self.frames()
        self.wait_for(lambda: self.frames() > written + 30)
        report = self.end()
        self.assertEqual(report["setup"]["model"], "streaming-unet")
        self.assertEqual(report["setup"]["style"], "ink:0.5,oil:0.5")
        self.assertEqual(report["resources"]["allocationsPerFrame"], 0)
        # What a busy machine skips is not lost by a change: all that was taken came out.
        given = report["input"]["frames"] - report["input"]["skipped"]
        self.assertGreaterEqual(report["outputs"][0]["frames"] + report["outputs"][0]["skipped"],
                                given - 1)
        self.assertEqual(report["input"]["failed"], 0)
        self.assertEqual(report["outputs"][0]["barcodeMismatches"], 0)
        self.assertFalse(self.socket.exists())

    def test_ctl_takes_neither_paths_nor_wrong_values(self):
        self.start()
        before = self.status()["look"]
        for key, value, part in (
                ("camera.source", "file:/etc/passwd", "comes from the configuration file alone"),
                ("output.sinks", "file:/tmp/x.mp4", "comes from the configuration file alone"),
                ("report.path", "/tmp/x", "comes from the configuration file alone"),
                ("control.socket", "/tmp/x", "comes from the configuration file alone"),
                ("transform.model", "/tmp/x", "comes from the configuration file alone"),
                ("transform.strength", "-1", "a number from 0 to 1"),
                ("transform.style", "nosuch", "ink, oil, watercolour"),
                ("transform.style", "watercolor", "did you mean watercolour?"),
                ("foo", "1", "foo is not a setting; the sections are"),
                ("transform.stile", "ink", "did you mean transform.style"),
                ("transform.seed", "9" * 5000, "at most 4096 bytes")):
            self.assertRefused(self.ctl("set", key, value), part)
        self.assertEqual(self.status()["look"], before)

    def test_a_pause_outlives_a_crash_of_the_service(self):
        # As systemd names the folder of a service.
        self.environment["STATE_DIRECTORY"] = str(self.folder)
        self.start()
        self.ctl("pause")
        self.process.kill()
        self.process.wait(timeout=60)
        self.start()
        self.assertEqual(self.status()["state"], "paused")
        self.wait_for(lambda: self.status()["frames"]["paused"] > 30)
        self.assertEqual(self.frames(), 0)
        self.ctl("resume")
        self.wait_for(lambda: self.frames() > 5)
        self.process.kill()
        self.process.wait(timeout=60)
        self.start()
        self.wait_for(lambda: self.frames() > 5)
        self.end()

    def test_a_pause_stops_the_pictures(self):
        self.start()
        self.wait_for(lambda: self.frames() > 5)
        self.assertEqual(self.ctl("pause").stdout, "paused\n")
        status = self.status()
        self.assertEqual(status["state"], "paused")
        self.wait_for(lambda: self.status()["frames"]["paused"] > 30)
        self.assertEqual(self.frames(), status["frames"]["written"])
        self.assertEqual(self.ctl("resume").stdout, "resumed\n")
        self.wait_for(lambda: self.frames() > status["frames"]["written"] + 5)
        self.assertEqual(self.status()["state"], "live")
        report = self.end()
        self.assertGreater(report["input"]["paused"], 30)
        self.assertEqual(report["outputs"][0]["barcodeMismatches"], 0)

    def test_a_recording_holds_the_card_for_as_long_as_the_pause(self):
        video = self.folder / "video.mkv"
        self.start("--sink", f"file:{video}", "--set", "output.codec=ffv1")
        self.wait_for(lambda: self.frames() > 20)
        self.ctl("pause")
        begin = time.monotonic()
        self.wait_for(lambda: time.monotonic() > begin + 3)
        paused = time.monotonic() - begin
        self.ctl("resume")
        frames = self.frames()
        self.wait_for(lambda: self.frames() > frames + 20)
        output = self.end()["outputs"][1]
        self.assertEqual(probe(video)[0], output["frames"] + output["cards"])
        # As many as frames would have come, by timestamps that know of no gap. A busy machine may
        # skip frames, but no card.
        self.assertGreater(output["cards"], 20 * paused)
        self.assertLess(output["cards"], 40 * paused)
        out = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(video), "-vsync", "passthrough", "-f", "framemd5",
             "-"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(",") for line in out.splitlines() if not line.startswith("#")]
        hashes = [row[-1].strip() for row in rows]
        card = max(set(hashes), key=hashes.count)
        out = subprocess.run(
            ["ffprobe", "-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", str(video)],
            capture_output=True, text=True, check=True).stdout
        stamps = [int(line.split(",")[0]) for line in out.split()]
        self.assertEqual(len(stamps), len(hashes))
        # Matroska counts milliseconds.
        times = [stamp for stamp, hash in zip(stamps, hashes) if hash == card]
        self.assertEqual(len(times), output["cards"])
        steps = [b - a for a, b in zip(times, times[1:])]
        self.assertEqual({step for step in steps if step not in (33, 34)}, set())

    def test_memory_that_a_change_of_style_takes_does_not_count_as_growth(self):
        self.start("--model", ROOT / "Models/base.safetensors")
        self.wait_for(lambda: self.status()["seconds"] > 12)
        self.ctl("set", "transform.style", "neon")
        changed = self.status()["seconds"]
        self.wait_for(lambda: self.status()["seconds"] > changed + 7)
        resources = self.end()["resources"]
        # The packed weights of a second network alone are more.
        self.assertGreater(resources["residentChangeMB"], 8)
        self.assertLess(resources["residentGrowthMB"], 8)

    def test_a_saved_file_takes_effect_and_a_wrong_one_does_not(self):
        self.start("--set", "transform.strength=0.5")
        self.write('style = "neon"\nstrength = 1.0\nseed = 3\n[output]\nfit = "letterbox"\n')
        self.wait_for(lambda: self.status()["look"]["style"] == "neon")
        look = self.status()["look"]
        self.assertEqual((look["strength"], look["seed"]), (0.5, 3))
        self.assertIn("only from the next start on: output.fit", self.log.read_text())
        self.write('style = "ink"\nseed = -1\n')
        self.wait_for(lambda: "nothing has changed:" in self.log.read_text())
        self.assertIn(f"{self.config}:4: transform.seed is -1; allowed: an integer from",
                      self.log.read_text())
        self.config.unlink()
        self.assertRefused(self.ctl("reload"), "nothing has changed", "No such file")
        self.assertEqual(self.status()["look"], look)

    def test_source_and_network_are_replaced_behind_the_sinks(self):
        video = self.folder / "video.mkv"
        self.start("--sink", f"file:{video}")
        self.assertEqual(self.status()["setup"]["modelSize"], "160×96")
        self.write('style = "neon"\nmodel_width = 80\nmodel_height = 48\n')
        self.wait_for(lambda: self.status()["setup"]["modelSize"] == "80×48")
        self.assertEqual(self.status()["look"]["style"], "neon")
        frames = self.frames()
        self.wait_for(lambda: self.frames() > frames + 10)
        # The source is opened anew.
        self.write('style = "neon"\n[camera]\nmirror = true\n')
        self.wait_for(lambda: "camera.mirror = true" in self.log.read_text())
        frames = self.frames()
        self.wait_for(lambda: self.frames() > frames + 10)
        # A model that is none, and everything stays as it is.
        broken = self.folder / "broken.safetensors"
        broken.write_bytes(b"x" * 100)
        self.config.write_text(f'[transform]\nmodel = "{broken}"\n')
        self.assertRefused(self.ctl("reload"), broken)
        self.assertEqual(self.status()["look"]["style"], "neon")
        frames = self.frames()
        self.wait_for(lambda: self.frames() > frames + 10)
        report = self.end()
        self.assertEqual([output["isLost"] for output in report["outputs"]], [False, False])
        self.assertEqual(probe(video), (report["outputs"][1]["frames"], 160, 96, "h264"))
        self.assertEqual(report["outputs"][0]["barcodeMismatches"], 0)

    def test_a_source_that_is_not_there_is_waited_for_and_another_comes_in(self):
        clip = self.clip("clip.mp4", frames=3000, size="320x192")
        self.source = ()
        self.start(text='[camera]\nsource = "test"\n')
        self.write('[camera]\nsource = "v4l2:/dev/video99"\n')
        self.wait_for(lambda: self.status()["state"] == "noCamera")
        self.wait_for(lambda: "/dev/video99" in self.status().get("problem", ""))
        self.write(f'[camera]\nsource = "file:{clip}"\n')
        self.wait_for(lambda: self.status()["source"] == str(clip))
        frames = self.frames()
        self.wait_for(lambda: self.frames() > frames + 10)
        self.assertEqual(self.status()["state"], "live")
        self.assertEqual(self.end()["setup"]["size"], "160×96")

    def test_sighup_reads_the_file_again(self):
        self.start()
        self.ctl("set", "transform.seed", "5")
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self.status()["look"]["seed"] == 0)
        result = self.ctl("reload")
        self.assertEqual((result.returncode, result.stdout), (0, "nothing has changed\n"))

    def test_watch_goes_on_until_it_is_stopped(self):
        self.start()
        for arguments, check in (((), lambda line: self.assertRegex(line, r"fps, age .*in, .*out")),
                                 (("--json",), lambda line: json.loads(line)["status"]["fps"])):
            with subprocess.Popen(
                    [BINARY, "ctl", "watch", "--interval", "0.2", *arguments], text=True,
                    stdout=subprocess.PIPE, env=self.environment,
                    # A shell's background job, as this test may be, is deaf to it.
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as watch:
                for _ in range(4):
                    check(watch.stdout.readline())
                watch.send_signal(signal.SIGINT)
                self.assertEqual(watch.wait(timeout=30), -signal.SIGINT)
        self.assertRefused(self.ctl("watch", "--interval", "0"), "0.2 to 60")
        # Ended with its daemon.
        with subprocess.Popen([BINARY, "ctl", "watch"], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment) as watch:
            watch.stdout.readline()
            self.end()
            self.assertIn("has ended the connection", watch.communicate(timeout=30)[1])
            self.assertEqual(watch.returncode, 1)

    def test_without_a_daemon_it_says_what_to_do(self):
        self.assertRefused(self.ctl("status"), "no Lucida is running here",
                           "sudo systemctl start lucida", self.socket)
        self.assertRefused(self.ctl("status", "--socket", self.folder / "x"), self.folder / "x")
        self.assertRefused(self.ctl("status", "--socket", "/" + "x" * 200), "too long")

    def test_other_programs_behind_the_socket_are_named(self):
        path = self.folder / "fake.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            for answer, part in ((b'{"version":2,"ok":true}\n', "systemctl restart lucida"),
                                 (b"hello\n", "is no Lucida"), (b"", "has ended the connection"),
                                 (b'{"version":1}\n', "makes no sense"),
                                 (b"x" * 70_000, "is no Lucida")):
                def serve():
                    connection = listener.accept()[0]
                    with connection:
                        connection.recv(4096)
                        connection.sendall(answer)
                thread = threading.Thread(target=serve)
                thread.start()
                self.assertRefused(self.ctl("status", "--socket", path), part)
                thread.join()

    def test_a_second_run_leaves_the_first_ones_socket_alone(self):
        self.start()
        second = lucida("run", "--config", self.config, "--source", "test", "--sink", "null",
                        "--size", "160x96", "--duration", "1", env=self.environment)
        self.assertEqual(second.returncode, 0, second.stderr)
        warning = next(line for line in second.stderr.splitlines() if "another Lucida" in line)
        self.assertIn("control.socket", warning)
        self.assertEqual(warning.count("`lucida ctl` cannot"), 1)
        self.assertEqual(second.stderr.count("another Lucida"), 1)
        self.assertEqual(self.ctl("status").returncode, 0)

    def test_no_socket_where_none_is_wanted(self):
        self.write('[control]\nsocket = "none"\n')
        result = lucida("run", "--config", self.config, "--source", "test", "--sink", "null",
                        "--size", "160x96", "--duration", "1", env=self.environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertFalse(self.socket.parent.exists())

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_another_user_is_refused(self):
        self.start()
        for folder in (self.folder, self.socket.parent.parent, self.socket.parent):
            folder.chmod(0o755)
        script = (
            "import os, socket, sys\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "try: s.connect(sys.argv[1])\n"
            "except PermissionError: print('EACCES'); sys.exit()\n"
            "try: s.sendall(b'{\"version\":1,\"command\":\"pause\"}\\n')\n"
            "except BrokenPipeError: pass\n"
            "print(s.recv(4096).decode())\n")

        def as_nobody():
            return subprocess.run([sys.executable, "-c", script, str(self.socket)],
                                  capture_output=True, text=True, timeout=60).stdout
        # By the file's mode; and were that wider, by who it is.
        self.assertEqual(as_nobody(), "EACCES\n")
        self.socket.chmod(0o666)
        self.assertIn("permission denied", as_nobody())
        self.assertEqual(self.status()["state"], "live")
        # A member of the socket's group is let in.
        os.chown(self.socket, -1, 65534)
        self.assertIn('"ok":true', as_nobody())
        self.assertEqual(self.status()["state"], "paused")


class Transform(Case):
    def test_every_frame_of_a_video_in_order(self):
        for name in ("a.mp4", "a.mkv"):
            clip, out = self.clip(name, frames=40), self.folder / ("out-" + name)
            result = lucida("transform", clip, out)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(probe(out)[:3], (40, 160, 96))

    def test_a_picture_and_another_size(self):
        picture, out = self.folder / "in.png", self.folder / "out.png"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=161x97",
                        "-frames:v", "1", str(picture)], check=True)
        self.assertEqual(lucida("transform", picture, out).returncode, 0)
        self.assertEqual(probe(out)[1:3], (161, 97))
        self.assertEqual(lucida("transform", picture, out, "--overwrite", "--size", "320x180").returncode, 0)
        self.assertEqual(probe(out)[1:3], (320, 180))

    def test_what_is_there_already_is_written_over_on_demand_only(self):
        clip, out, folder = self.clip("a.mkv", frames=2), self.folder / "out.mkv", self.folder / "out"
        for path, file in ((out, out), (f"file:{out}", out), (f"{folder}/", folder / "000001.png")):
            self.assertEqual(lucida("transform", clip, path, "--overwrite").returncode, 0)
            before = file.read_bytes()
            self.assertRefused(lucida("transform", clip, path, "--strength", "0"), file.parent, "--overwrite")
            self.assertEqual(file.read_bytes(), before)
            self.assertEqual(lucida("transform", clip, path, "--strength", "0", "--overwrite").returncode, 0)
            self.assertNotEqual(file.read_bytes(), before)

    def test_a_video_into_one_picture_is_refused_before_anything_is_written(self):
        clip, out = self.clip("a.mkv", frames=3), self.folder / "out.png"
        for command in (("transform", clip, out),
                        ("run", "--source", f"file:{clip}", "--sink", f"file:{out}"),
                        ("run", "--source", "test", "--sink", "null", "--sink", f"file:{out}")):
            result = lucida(*command)
            self.assertRefused(result, out, f"{self.folder}/out/", "out.mp4")
            self.assertEqual(result.stderr.lower().count("error: "), 1, result.stderr)
            self.assertFalse(out.exists())
        one = self.clip("b.mkv", frames=1)
        self.assertEqual(lucida("transform", one, out).returncode, 0)
        self.assertTrue(out.exists())

    def test_odd_sizes_stay_and_where_they_cannot_it_is_said(self):
        picture = self.folder / "in.png"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=161x97",
                        "-frames:v", "1", str(picture)], check=True)
        for name in ("o.png", "o.jpg", "o.mkv", "series/"):
            out = f"{self.folder}/{name}"
            result = lucida("transform", picture, out, "--set", "output.codec=ffv1")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(probe(out + "000001.png" * (name[-1] == "/"))[1:3], (161, 97))
            self.assertNotIn("left out", result.stderr)
        out = self.folder / "o.mp4"
        result = lucida("transform", picture, out)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(probe(out)[1:3], (160, 96))
        self.assertIn(f"{out} is 160×96, not 161×97", result.stderr)
        self.assertIn("ffv1", result.stderr)
        self.assertNotIn("left out", lucida("transform", picture, out, "--overwrite", "--size", "160x96").stderr)
        self.assertIn("column or row is left out", lucida("transform", "--help").stdout)

    def test_the_style_changes_the_picture(self):
        clip, out = self.clip("a.mkv"), self.folder / "out.mkv"
        self.assertEqual(lucida("transform", clip, out).returncode, 0)
        psnr = subprocess.run(
            ["ffmpeg", "-i", str(clip), "-i", str(out), "-lavfi", "psnr", "-f", "null", "-"],
            capture_output=True, text=True).stderr
        average = float(psnr.split("average:")[1].split()[0])
        self.assertLess(average, 30)
        self.assertGreater(average, 8)

    @unittest.skipUnless(CLIPS.is_dir(), "the evaluation clips are not here")
    def test_the_evaluation_clips_come_out_whole(self):
        for clip in sorted(CLIPS.glob("*.mkv")):
            out = self.folder / clip.name
            result = lucida("transform", clip, out, "--size", "320x192")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(probe(out)[0], probe(clip)[0])


class Errors(Case):
    def test_hostile_models_name_the_file(self):
        whole = MODEL.read_bytes()
        clip = self.clip("a.mkv", frames=1)
        cases = {
            "empty": b"", "short": whole[:7], "cut": whole[: len(whole) // 2],
            "text": b"not a model at all, but long enough to look at",
            "huge-header": b"\xff" * 8 + whole[8:], "no-weights": whole[:8] + b"{}" + whole[10:],
        }
        for name, data in cases.items():
            path = self.folder / f"{name}.safetensors"
            path.write_bytes(data)
            result = lucida("transform", clip, self.folder / "o.mkv", "--set",
                            f"transform.model={path}")
            self.assertRefused(result, path)
        result = lucida("transform", clip, self.folder / "o.mkv", "--style", "inc")
        self.assertRefused(result, "--style: ", "transform.style", "\"inc\"", "did you mean ink?", "clear")

    def test_what_a_run_reads_or_writes_otherwise_stays(self):
        clip, out, folder = self.clip("a.mkv"), self.folder / "out.mkv", self.folder / "pictures"
        config = self.folder / "own.toml"
        config.write_text("[transform]\nstrength = 0.5\n")
        folder.mkdir()
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-frames:v", "2", f"{folder}/%06d.png"], check=True)
        before = {path: path.read_bytes() for path in (clip, config, *folder.iterdir())}
        test = ("run", "--source", "test", "--size", "160x96", "--duration", "1")
        cases = {
            "the input": [("run", "--source", f"file:{clip}", "--sink", "null", "--picture", clip),
                          ("transform", clip, out, "--report", f"{self.folder}/./a.mkv")],
            "an output": [(*test, "--sink", f"file:{out}", "--report", out),
                          ("transform", clip, out, "--report", out)],
            "the configuration": [(*test, "--sink", "null", "--config", config, "--report", config)],
            "the report": [(*test, "--sink", "null", "--report", out, "--picture", out)],
            "input is in": [("transform", folder / "000001.png", f"{folder}/", "--overwrite"),
                            ("transform", folder / "%06d.png", f"{folder}/", "--overwrite")],
            "are the same": [(*test, "--sink", f"frames:{self.folder}/new", "--sink", f"frames:{self.folder}/new/"),
                             (*test, "--sink", f"file:{out}", "--sink", f"file:{self.folder}/./out.mkv")],
        }
        for reason, commands in cases.items():
            for command in commands:
                with self.subTest(command):
                    self.assertRefused(lucida(*command), reason)
        self.assertFalse(out.exists())
        self.assertEqual({path: path.read_bytes() for path in before}, before)

    def test_an_output_without_a_frame_is_removed(self):
        clip, out = self.clip("a.mp4"), self.folder / "o.mkv"
        data = bytearray(clip.read_bytes())
        start = data.index(b"mdat") + 4
        length = int.from_bytes(data[start - 8:start - 4], "big") - 8
        data[start:start + length] = bytes(length)
        clip.write_bytes(data)
        self.assertRefused(lucida("transform", clip, out), "no frame of")
        self.assertFalse(out.exists())

    def test_figures_are_printed_though_report_or_picture_cannot_be_written(self):
        full, whole = self.folder / "full", self.folder / "whole"
        full.symlink_to("/dev/full")
        for report, picture in ((whole, full), (full, whole)):
            with self.subTest(picture=picture):
                whole.unlink(missing_ok=True)
                result = lucida("run", "--source", "test", "--size", "160x96", "--duration", "1", "--sink", "null",
                                "--report", report, "--picture", picture)
                self.assertEqual(result.returncode, 1)
                self.assertIn("No space left", result.stderr)
                self.assertIn("Liveness of", result.stdout)
                self.assertTrue(whole.exists())

    def test_the_input_is_never_overwritten(self):
        clip, link = self.clip("a.mkv"), self.folder / "b.mkv"
        link.symlink_to(clip)
        whole = clip.read_bytes()
        for output in (clip, link, f"{self.folder}/./a.mkv"):
            self.assertRefused(lucida("transform", clip, output), "input itself")
            self.assertRefused(lucida("run", "--source", f"file:{clip}", "--sink",
                                      f"file:{output}"), "input itself")
        self.assertEqual(clip.read_bytes(), whole)

    def test_a_cut_picture_is_no_picture(self):
        picture = self.folder / "a.jpg"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x480",
                        "-frames:v", "1", str(picture)], check=True)
        whole = picture.read_bytes()
        for share in (3, 2):
            picture.write_bytes(whole[: len(whole) // share])
            self.assertRefused(lucida("transform", picture, self.folder / "o.png"), picture)

    def test_what_cannot_be_written_is_said_before_the_run(self):
        for option in ("--report", "--picture"):
            result = lucida("run", "--source", "test", "--sink", "null", option,
                            self.folder / "none/file")
            self.assertRefused(result, "none/file")
            self.assertNotIn("Liveness", result.stdout)

    def test_check_config_knows_models_and_styles(self):
        self.assertRefused(lucida("check-config", "--style", "nosuch"), "nosuch", "ink")
        config = self.folder / "lucida.toml"
        config.write_text('[transform]\nsteps = 2\nstyle = "ink:0.5,watercolor:0.5"\n')
        for command in ("check-config", "run", "bench engine", "bench roofline"):
            result = lucida(*command.split(), "--config", config)
            self.assertRefused(result, f"{config}:3: transform.style is ", "\"watercolor\"",
                               "did you mean watercolour?")
            self.assertEqual(result.stderr.count("Error: "), 1, result.stderr)
        config.write_text('[transform]\nsteps = 2\nmodel = "bsae"\n')
        for command in ("check-config", "run", "bench engine", "bench roofline"):
            self.assertRefused(lucida(*command.split(), "--config", config),
                               f"{config}:3: transform.model is \"bsae\": ", "did you mean base?")
            self.assertNotIn("not a usable model", result.stderr)
        result = lucida("check-config", "--config", config, "--model", "ink", "--style", "ink")
        self.assertRefused(result, f"{config}:2: transform.steps is 2")

    def test_hostile_videos_name_the_file_or_come_out_shorter(self):
        whole = self.clip("a.mp4", frames=20).read_bytes()
        generator = random.Random(5)
        for number in range(40):
            data = bytearray(whole)
            if number % 2:
                data = data[: generator.randrange(len(data))]
            else:
                for _ in range(50):
                    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            path = self.folder / f"broken-{number}.mp4"
            path.write_bytes(data)
            result = lucida("transform", path, self.folder / "o.mkv", "--overwrite", timeout=60)
            if result.returncode != 0:
                self.assertRefused(result, path)
            path.unlink()

    def test_wrong_configuration_names_file_line_and_key(self):
        path = self.folder / "bad.toml"
        path.write_text('[camera]\nwidth = 5\nsorce = "test"\n\n[transform]\nstrength = "much"\n')
        result = lucida("check-config", path)
        self.assertRefused(result, f"{path}:2", "camera.width", f"{path}:3", "sorce", "source",
                           f"{path}:6", "transform.strength")
        self.assertRefused(lucida("run", "--config", self.folder / "none.toml"), "none.toml")

    def test_wrong_options_say_what_is_allowed(self):
        self.assertRefused(lucida("run", "--source", "tset"), "tset", "v4l2:PATH")
        self.assertRefused(lucida("run", "--source", "test", "--sink", "nul"), 'is "nul"; allowed', "frames:DIR")
        self.assertRefused(lucida("run", "--source", "test", "--sink", "out.mkv"), 'did you mean "file:out.mkv"?')
        self.assertRefused(lucida("run", "--source", "clips/a.mp4"), 'did you mean "file:clips/a.mp4"?')
        self.assertRefused(lucida("run", "--source", "test", "--sink", "null", "--sink", "null"), '"null" comes twice')
        (self.folder / "file").touch()
        self.assertRefused(lucida("run", "--source", "test", "--sink", f"frames:{self.folder}/file"), "Not a directory")
        self.assertRefused(lucida("run", "--size", "640*360"), "640x360")
        small = lucida("bench", "engine", "--size", "20x12")
        self.assertRefused(small, 'output.height is "12"')
        self.assertNotIn("set both", small.stderr)
        self.assertRefused(lucida("run", "--set", "camera.colour=1"), "camera.colour", "--set")
        self.assertRefused(lucida("run", "--source", "v4l2:/dev/null", "--sink", "null"),
                           "/dev/null")
        self.assertRefused(lucida("run", "--source", "test", "--sink", "v4l2:/dev/null"),
                           "/dev/null")
        self.assertRefused(lucida("transform", "nothing.mp4", "o.mp4"), "nothing.mp4")
        self.assertRefused(lucida("run", "--precision", "fp16"), "performance.precision", "int16")

    def test_an_unknown_instruction_set_is_refused(self):
        result = lucida("bench", "engine", "--iterations", "1", "--size", "64x64",
                        env={**os.environ, "LUCIDA_ISA": "mmx"})
        self.assertRefused(result, "LUCIDA_ISA", "mmx")


class Listings(Case):
    def test_devices_json(self):
        self.assertIsInstance(json.loads(lucida("devices", "--json").stdout), list)

    def test_a_command_that_is_none_is_an_error_that_suggests_one(self):
        for words, parts in (
                ("help bogus", ("\"bogus\"", "there are run, ctl")), ("bogus", ("\"bogus\"",)),
                ("help dcotor", ("did you mean doctor?",)), ("transfrom", ("did you mean transform?",)),
                ("help ctl staus", ("lucida ctl has no", "did you mean status?")),
                ("ctl staus", ("did you mean status?",)), ("bench bogus", ("roofline",))):
            result = lucida(*words.split())
            self.assertRefused(result, *parts)
            self.assertEqual(result.stdout, "")
        for words in ("help", "help run", "help bench roofline", "--help", "ctl --help"):
            result = lucida(*words.split())
            self.assertEqual((words, result.returncode), (words, 0))
            self.assertIn("USAGE", result.stdout)

    @unittest.skipIf(os.path.exists("/sys/module/v4l2loopback"), "there is a driver here")
    def test_device_without_a_driver_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "LUCIDA_DEVICE_SOCKET": f"{folder}/run/socket"}
            for command in ("prepare", "hold"):
                result = lucida("device", command, env=environment)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn("v4l2loopback", result.stderr)
            self.assertNotIn("socket", os.listdir(f"{folder}/run"))

    def test_device_where_no_virtual_camera_is_wanted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "lucida.toml")
            path.write_text('[output]\nsinks = ["null"]\n')
            result = lucida("device", "prepare", "--config", path)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("no virtual camera is wanted", result.stdout)
            result = lucida("device", "hold", "--config", path)
            unit = (ROOT / "systemd/lucida-device.service").read_text()
            # systemd would start it again every two seconds for ever.
            self.assertIn(f"\nRestartPreventExitStatus={result.returncode}\n", unit)
            self.assertIn("no virtual camera is wanted", result.stderr)
            path.write_text("[output]\nsinks = 7\n")
            result = lucida("device", "prepare", "--config", path)
            self.assertEqual(result.returncode, 1)
            self.assertIn("output.sinks", result.stderr)

    def test_help_and_version(self):
        self.assertRegex(lucida("--version").stdout, r"^lucida \d+\.\d+\.\d+$")
        for command in ("run", "devices", "transform", "check-config", "bench", "bench engine",
                        "bench roofline", "bench pipeline", "doctor", "demo", "device",
                        "device prepare", "device hold"):
            result = lucida(*command.split(), "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn("USAGE", result.stdout)


class Doctor(Case):
    """What needs no kernel module; the virtual machine's tests have the rest."""

    def examine(self, config="", first=":", **environment):
        """Exit status and findings by id, after the shell command `first`."""
        path = self.folder / "lucida.toml"
        # Wants no device, which not every machine has.
        path.write_text(config or f"""
            [camera]
            source = "test"
            [transform]
            model = "{STREAMING_MODEL}"
            style = "oil"
            [output]
            sinks = ["null"]
        """)
        environment = {"XDG_CACHE_HOME": str(self.folder), **environment}
        inherited = {key: value for key, value in os.environ.items()
                     if key not in ("LUCIDA_ISA", "OPENBLAS_CORETYPE", "CACHE_DIRECTORY")}
        result = subprocess.run(
            ["bash", "-c", first + '\nexec "$@"', "bash", BINARY, "doctor", "--json", "--config", path],
            env={**inherited, **environment}, capture_output=True, text=True, timeout=180)
        self.assertEqual(result.stderr, "")
        found = json.loads(result.stdout)
        findings = {finding["id"]: finding for finding in found["findings"]}
        self.assertEqual(len(findings), len(found["findings"]))
        self.assertEqual(result.returncode, 1 if found["problems"] else 0)
        return result.returncode, findings

    def assertMends(self, finding, command, severity="problem"):
        self.assertEqual((finding["severity"], finding["command"]), (severity, command))

    def assertNamedAndMended(self, id, command, severity="problem", **broken):
        """The finding has that command, and is gone once the command has been run."""
        self.assertMends(self.examine(**broken)[1][id], command, severity)
        self.assertNotIn(id, self.examine(first=command, **broken)[1])

    def test_what_wants_no_device_has_no_problem(self):
        status, findings = self.examine()
        problems = [f for f in findings.values() if f["severity"] == "problem"
                    and not f["id"].startswith("service.")]
        self.assertEqual(problems, [])
        for id in ("driver.not_needed", "camera.not_needed", "config", "cache"):
            self.assertEqual(findings[id]["severity"], "ok")
            self.assertNotIn("command", findings[id])

    def test_the_text_has_state_meaning_and_command(self):
        config = self.folder / "lucida.toml"
        config.write_text("[transform]\nstile = 1\n")
        result = lucida("doctor", "--config", config)
        self.assertEqual(result.returncode, 1)
        self.assertIn("PROBLEM  the configuration cannot be used\n"
                      f"         {config}:2: ", result.stdout)
        self.assertIn(f"\n         → ${{EDITOR:-nano}} {config}\n", result.stdout)
        self.assertRegex(result.stdout, r"\n\n\d+ problems?(, \d+ warnings?)?\.\n$")

    def test_a_wrong_configuration(self):
        status, findings = self.examine(config="[transform]\nstile = 1\n")
        self.assertEqual(status, 1)
        self.assertIn("stile", findings["config.invalid"]["explanation"])
        self.assertMends(findings["config.invalid"],
                         f"${{EDITOR:-nano}} {self.folder}/lucida.toml")

    def test_a_configuration_that_is_not_there(self):
        result = lucida("doctor", "--json", "--config", self.folder / "none.toml")
        self.assertEqual(result.returncode, 1)
        self.assertIn("config.invalid", result.stdout)

    def test_a_missing_model(self):
        _, findings = self.examine(config="[transform]\nmodel = \"inkk\"\n")
        self.assertMends(findings["model.missing"], "sudo make install  # in Lucida's source folder")

    def test_a_damaged_model(self):
        path = self.folder / "cut.safetensors"
        path.write_bytes(STREAMING_MODEL.read_bytes()[:5000])
        _, findings = self.examine(config=f"[transform]\nmodel = \"{path}\"\n")
        self.assertIn(str(path), findings["model.unusable"]["explanation"])

    def test_a_style_that_the_model_does_not_draw(self):
        _, findings = self.examine(
            config=f"[transform]\nmodel = \"{STREAMING_MODEL}\"\nstyle = \"cubism\"\n")
        self.assertMends(findings["model.style"],
                         f"lucida run --style ink  # or in {self.folder}/lucida.toml")

    def test_an_output_that_cannot_be_written(self):
        folder = self.folder / "not there"
        self.assertNamedAndMended("output.folder", f"mkdir -p '{folder}'",
                                  config=f"[output]\nsinks = [\"file:{folder}/a.mkv\"]\n")

    def test_a_file_in_the_way_of_the_cache(self):
        path = self.folder / "file"
        path.write_text("")
        self.assertNamedAndMended("cache.not_writable", f"mv {path} {path}.old", "warning",
                                  XDG_CACHE_HOME=str(path))

    def test_no_folder_for_the_cache(self):
        self.assertNamedAndMended("cache.none", "export XDG_CACHE_HOME=/var/tmp", "warning",
                                  XDG_CACHE_HOME="", HOME="")

    def test_an_instruction_set_that_is_none(self):
        self.assertNamedAndMended("cpu.isa", "unset LUCIDA_ISA", LUCIDA_ISA="mmx")

    def test_a_slower_instruction_set_than_need_be(self):
        if "cpu.no_avx2" in self.examine(LUCIDA_ISA="scalar")[1]:
            self.skipTest("this processor has nothing better")
        self.assertNamedAndMended("cpu.isa_held", "unset LUCIDA_ISA", "warning", LUCIDA_ISA="scalar")

    def test_a_core_type_that_overrides_the_choice(self):
        self.assertNamedAndMended("blas.core_overridden", "unset OPENBLAS_CORETYPE", "warning",
                                  OPENBLAS_CORETYPE="Prescott")

    def test_more_threads_than_cores(self):
        config = self.folder / "lucida.toml"
        _, findings = self.examine(config="[performance]\nthreads = 64\n")
        if os.cpu_count() >= 64:
            self.skipTest("this machine has as many")
        self.assertMends(findings["cpu.threads"],
                         f"lucida run --threads 0  # or performance.threads = 0 in {config}",
                         "warning")

    def test_a_low_priority(self):
        result = subprocess.run(["nice", "-n", "19", BINARY, "doctor", "--json"],
                                capture_output=True, text=True)
        found = {f["id"]: f for f in json.loads(result.stdout)["findings"]}
        self.assertMends(found["priority.low"], "sudo renice -n 0 -p $$", "warning")

    def test_a_camera_and_a_virtual_camera_that_are_not_there(self):
        _, findings = self.examine(config="""
            [camera]
            source = "v4l2:/dev/video987"
            [output]
            sinks = ["v4l2:/dev/video988"]
        """)
        # Without permission for the others it is not said what they are.
        if any(id.startswith("device.") for id in findings):
            self.skipTest("devices of this machine may not be opened")
        self.assertMends(findings["camera.not_there"], "lucida devices")
        self.assertTrue({"loopback.not_there", "driver.missing", "driver.headers_missing", "driver.foreign_kernel",
                         "driver.not_built", "driver.not_loaded"} & set(findings))


class Installed(Case):
    """What `make install` puts beside the binary."""

    SHARE = ROOT / ".build/share"

    def setUp(self):
        super().setUp()
        if not self.SHARE.is_dir():
            self.skipTest("run make release")

    def make(self, target):
        return subprocess.run(
            ["make", "-C", str(ROOT), target, f"DESTDIR={self.folder}", "PREFIX=/usr",
             f"BINARY={BINARY}"], capture_output=True, text=True, timeout=60)

    def installed(self):
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")
                if path.is_file()}

    def test_install_and_uninstall(self):
        result = self.make("install")
        self.assertEqual(result.returncode, 0, result.stderr)
        expected = {
            "usr/bin/lucida", "usr/share/man/man1/lucida.1",
            "usr/share/bash-completion/completions/lucida", "usr/share/zsh/site-functions/_lucida",
            "usr/share/fish/vendor_completions.d/lucida.fish",
            "usr/lib/systemd/system/lucida.service",
            "usr/lib/systemd/system/lucida-device.service"}
        self.assertLessEqual(expected, self.installed())
        result = self.make("uninstall")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.installed(), {"etc/lucida/lucida.toml"})

    def test_the_manual_page_tells_every_command_and_option(self):
        root = json.loads(lucida("--experimental-dump-help").stdout)["command"]
        page = (self.SHARE / "lucida.1").read_text()

        def check(command, words):
            self.assertIn(" ".join(words).replace("-", "\\-"), page)
            for argument in command.get("arguments", []):
                if argument["shouldDisplay"] and argument["valueName"] not in ("help", "version"):
                    for name in argument.get("names", []):
                        self.assertIn("\\-" + name["name"].replace("-", "\\-"), page)
            for sub in command.get("subcommands", []):
                if sub["commandName"] != "help":
                    check(sub, [*words, sub["commandName"]])

        check(root, ["lucida"])

    def test_the_manual_page_is_sound(self):
        if not shutil.which("groff"):
            self.skipTest("no groff")
        result = subprocess.run(
            ["groff", "-man", "-ww", "-K", "utf8", "-T", "utf8", str(self.SHARE / "lucida.1")],
            capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def complete(self, *words):
        """What bash offers for the last word."""
        script = f"""
            . {self.SHARE}/lucida.bash
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
            COMP_POINT=${{#COMP_LINE}} COMP_TYPE=9 COMP_KEY=9
            _lucida lucida "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
            printf '%s\n' "${{COMPREPLY[@]}}"
        """
        result = subprocess.run(["bash", "-c", script, "bash", "lucida", *words],
                                capture_output=True, text=True, cwd=self.folder)
        self.assertEqual(result.stderr, "")
        return result.stdout.split()

    def test_bash_completes_commands_styles_keys_and_files(self):
        self.assertEqual(self.complete("doc"), ["doctor"])
        self.assertLessEqual({"engine", "roofline", "pipeline"}, set(self.complete("bench", "")))
        self.assertIn("watercolour", self.complete("run", "--style", ""))
        self.assertEqual(self.complete("run", "--set", "camera.mi"), ["camera.mirror="])
        self.assertEqual(self.complete("run", "--precision", "i"), ["int16", "int8"])
        (self.folder / "talk.mp4").write_text("")
        self.assertEqual(self.complete("transform", "ta"), ["talk.mp4"])

    def test_the_other_shells_can_read_theirs(self):
        for shell, file in (("bash", "lucida.bash"), ("zsh", "_lucida"), ("fish", "lucida.fish")):
            if shutil.which(shell):
                result = subprocess.run([shell, "-n", str(self.SHARE / file)],
                                        capture_output=True, text=True)
                self.assertEqual((shell, result.returncode, result.stderr), (shell, 0, ""))


def metadata_of(path):
    """The metadata of a safetensors file, and the bytes of its tensors."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end])["__metadata__"], data[end:]


class Calibrate(Case):
    small = ("--size", "64x48", "--interval", "60")

    def setUp(self):
        super().setUp()
        self.model = self.folder / "m.safetensors"
        write_constant_model(self.model, 0.25, image_channels=48)

    def calibrate(self, *arguments):
        return lucida("calibrate", "--model", self.model, *self.small, *arguments)

    def auto(self, model):
        """What `auto` makes of a model, and why."""
        result = lucida("bench", "engine", "--model", model, "--size", "64x48", "--iterations",
                        "1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(result.stdout)
        return figures["precision"], figures["precisionReason"]

    def test_it_notes_figures_in_the_file_and_leaves_the_weights(self):
        before = metadata_of(self.model)
        self.assertEqual(self.auto(self.model)[0], "f32 (18)")
        self.assertIn("no calibration", self.auto(self.model)[1])
        result = self.calibrate()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("int8: meets the quality rule", result.stdout)
        metadata, weights = metadata_of(self.model)
        self.assertEqual(weights, before[1])
        calibration = json.loads(metadata.pop("calibration"))
        self.assertEqual(metadata, before[0])
        self.assertEqual(set(calibration["precisions"]), {"int16", "bf16", "int8"})
        self.assertEqual(calibration["frames"], 4)
        # A machine without the instructions says so; any other takes one of the narrow types.
        precision, reason = self.auto(self.model)
        self.assertTrue("no other precision" in reason or "calibrated: " in reason, reason)
        self.assertEqual("no other precision" in reason, precision == "f32 (18)")

    def test_another_file_gets_the_figures_if_told(self):
        before, output = self.model.read_bytes(), self.folder / "o.safetensors"
        self.assertEqual(self.calibrate("--output", output).returncode, 0)
        self.assertEqual(self.model.read_bytes(), before)
        self.assertIn("calibration", metadata_of(output)[0])
        # Nothing is left beside them.
        self.assertEqual(sorted(self.folder.iterdir()), sorted([self.model, output]))

    def test_footage_and_its_teacher_count(self):
        clip = self.clip("a.mkv", frames=5, size="64x48", codec=("-c:v", "ffv1"))
        result = self.calibrate("--clip", clip, "--teacher", clip, "--interval", "2")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("a.mkv, 3 frames", result.stdout)
        figures = json.loads(metadata_of(self.model)[0]["calibration"])["precisions"]
        self.assertTrue(all("teacherLoss" in figure for figure in figures.values()))

    def test_bad_input_is_refused_and_the_model_stays_as_it_was(self):
        before = self.model.read_bytes()
        clip = self.clip("a.mkv", frames=4, size="64x48")
        longer = self.clip("b.mkv", frames=5, size="64x48")
        text = self.folder / "t.mkv"
        text.write_text("no video")
        nowhere = self.folder / "none/o.safetensors"
        for arguments, parts in [
            (("--clip", self.folder / "c.mkv"), ("c.mkv",)), (("--clip", text), (text,)),
            (("--clip", clip, "--teacher", longer), (longer, "number of frames")),
            (("--clip", longer, "--teacher", clip), (clip, "number of frames")),
            (("--clip", clip, "--clip", longer, "--teacher", clip), ("as many --teacher",)),
            (("--teacher", clip), ("as many --teacher",)),
            (("--interval", "0"), ("--interval",)), (("--interval", "x"), ("interval",)),
            (("--size", "64"), ("--size",)), (("--size", "8x8"), ("--size",)),
            (("--size", "99999x64"), ("--size",)),
            (("--output", nowhere), (nowhere,)), (("--output", self.folder), (self.folder,)),
        ]:
            result = self.calibrate(*arguments)
            self.assertRefused(result, *parts)
            self.assertNotIn("written", result.stdout)
            self.assertEqual(self.model.read_bytes(), before)
        self.assertEqual(
            sorted(path.name for path in self.folder.iterdir()),
            ["a.mkv", "b.mkv", "m.safetensors", "t.mkv"])
        result = lucida("calibrate", "--model", text, *self.small)
        self.assertRefused(result, text)
        self.assertRefused(lucida("calibrate"), "--model")

    def test_a_model_whose_result_is_not_finite_gets_no_figures(self):
        write_constant_model(self.model, 0, image_channels=48, weight=1e20)
        before = self.model.read_bytes()
        self.assertRefused(self.calibrate(), "not finite")
        self.assertEqual(self.model.read_bytes(), before)

    def set_metadata(self, key, text):
        """Changes one entry of the model's metadata."""
        data = self.model.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header["__metadata__"][key] = text
        changed = json.dumps(header).encode()
        self.model.write_bytes(len(changed).to_bytes(8, "little") + changed + data[end:])

    def test_a_calibration_that_makes_no_sense_is_replaced_as_its_message_says(self):
        for text in ("", "{}", "[" * 10000, '{"version":1}', '{"version":"1"}'):
            self.set_metadata("calibration", text)
            precision, reason = self.auto(self.model)
            self.assertEqual(precision, "f32 (18)")
            self.assertIn("unusable", reason)
            self.assertIn("`lucida calibrate`", reason)
        # Once is enough: it measures, and what it writes is the same after each of them.
        result = self.calibrate()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("unusable", self.auto(self.model)[1])

    def test_no_escape_sequence_of_a_stranger_reaches_the_terminal(self):
        self.set_metadata("calibration", json.dumps(
            {"version": 1, "weights": "", "frames": 1,
             "precisions": {"\x1b[2J\x9b\n": {"againstF32": 50}}}))
        result = lucida("bench", "engine", "--model", self.model, "--size", "64x48",
                        "--iterations", "1")
        self.assertIn("is no precision", result.stdout)
        self.assertNotRegex(result.stdout + result.stderr, r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")

    def calibrate_while(self, change):
        """The result of calibrating while `change` happens to the model, after it was read."""
        clip = self.clip("a.mkv", frames=3000, size="64x48")
        command = [BINARY, "calibrate", "--model", self.model, "--size", "64x48", "--interval",
                   "1", "--clip", clip]
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                # The model has been read, and the clip is being measured.
                lines = iter(process.stderr.readline, "")
                log = next((line for line in lines if "a.mkv" in line), "")
                self.assertIn("a.mkv", log)
                process.send_signal(signal.SIGSTOP)
                change()
                process.send_signal(signal.SIGCONT)
                output, errors = process.communicate(timeout=180)
            finally:
                process.kill()
        return subprocess.CompletedProcess(command, process.returncode, output, log + errors)

    def test_a_model_that_changed_meanwhile_is_not_overwritten(self):
        for change in (
            lambda: write_constant_model(self.model, 0.5, image_channels=48),
            lambda: self.set_metadata("title", "another"),
            lambda: self.model.write_bytes(b"half an export"),
        ):
            write_constant_model(self.model, 0.25, image_channels=48)
            before = self.model.read_bytes()
            result = self.calibrate_while(change)
            self.assertRefused(result, self.model, "has changed", "--output")
            self.assertNotIn("written", result.stdout)
            self.assertNotEqual(self.model.read_bytes(), before)
            if not self.model.read_bytes().startswith(b"half"):
                self.assertNotIn("calibration", metadata_of(self.model)[0])
        self.assertEqual(
            sorted(path.name for path in self.folder.iterdir()), ["a.mkv", "m.safetensors"])

    def test_a_model_that_stays_as_it_is_gets_its_figures_by_the_same_way(self):
        result = self.calibrate_while(lambda: None)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("calibration", metadata_of(self.model)[0])

    def test_a_link_is_followed(self):
        folder = self.folder / "models"
        folder.mkdir()
        real = folder / "real.safetensors"
        self.model.rename(real)
        self.model.symlink_to("middle.safetensors")
        (self.folder / "middle.safetensors").symlink_to("models/real.safetensors")
        # Relative, and from the folder itself.
        result = lucida("calibrate", "--model", "m.safetensors", *self.small, cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(self.model.is_symlink())
        self.assertFalse(real.is_symlink())
        self.assertIn("calibration", metadata_of(real)[0])
        self.assertEqual(list(folder.iterdir()), [real])
        # What cannot be written is known before anything is measured.
        self.model.unlink()
        self.model.symlink_to(self.folder / "none/m.safetensors")
        result = lucida("calibrate", "--model", real, "--output", self.model, *self.small)
        self.assertRefused(result, self.model, "not there")
        self.assertEqual(result.stdout, "")

    def test_a_file_keeps_its_permissions(self):
        for mode in (0o640, 0o444, 0o600):
            self.model.chmod(mode)
            result = self.calibrate()
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(self.model.stat().st_mode & 0o7777, mode)

    def test_figures_against_a_teacher_are_not_dropped(self):
        clip = self.clip("a.mkv", frames=2, size="64x48", codec=("-c:v", "ffv1"))
        self.assertEqual(self.calibrate("--clip", clip, "--teacher", clip).returncode, 0)
        before, link = self.model.read_bytes(), self.folder / "link.safetensors"
        link.symlink_to(self.model)
        for arguments in ((), ("--clip", clip), ("--output", self.model), ("--output", link)):
            result = self.calibrate(*arguments)
            self.assertRefused(result, self.model, "--teacher", "--output")
            self.assertEqual(result.stdout, "")
            self.assertEqual(self.model.read_bytes(), before)
        output = self.folder / "o.safetensors"
        self.assertEqual(self.calibrate("--output", output).returncode, 0)
        self.assertNotIn("teacherLoss", metadata_of(output)[0]["calibration"])
        self.assertEqual(self.model.read_bytes(), before)
        self.assertEqual(self.calibrate("--clip", clip, "--teacher", clip).returncode, 0)
        # Figures of other weights are not worth keeping.
        figures = metadata_of(self.model)[0]["calibration"]
        write_constant_model(self.model, 0.5, image_channels=48)
        self.set_metadata("calibration", figures)
        self.assertEqual(self.calibrate().returncode, 0)

    def test_the_shipped_model_is_calibrated(self):
        precision, reason = self.auto(MODEL)
        self.assertNotIn("no calibration", reason)
        self.assertNotIn("of other weights", reason)


class Bench(Case):
    small = ("--iterations", "3", "--size", "64x48")

    def test_engine_times_a_frame_and_allocates_nothing(self):
        result = lucida("bench", "engine", *self.small, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(result.stdout)
        self.assertEqual(figures["iterations"], 3)
        self.assertEqual(figures["allocationsPerFrame"], 0)
        self.assertGreater(figures["minimumMilliseconds"], 0)
        self.assertLessEqual(figures["minimumMilliseconds"], figures["medianMilliseconds"])
        self.assertLessEqual(figures["medianMilliseconds"], figures["p99Milliseconds"])
        self.assertEqual(figures["steps"][0]["name"], "frame in")
        self.assertNotIn("relativeError", figures)
        text = lucida("bench", "engine", *self.small).stdout
        self.assertIn("0.00 allocations per frame", text)
        self.assertIn("minimum ms", text)

    def test_engine_compares_reuse_with_the_whole_network_on_a_clip(self):
        clip = self.clip("in.mkv", frames=20)
        command = ("bench", "engine", "--clip", clip, "--size", "160x96", "--model", "ink")
        result = lucida(*command, "--noise", "2", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(result.stdout)
        self.assertEqual(figures["frames"], 19)
        self.assertEqual(figures["noise"], 2)
        self.assertGreater(figures["psnr"], 35)
        self.assertGreaterEqual(figures["psnr"], figures["worstFramePSNR"])
        self.assertGreaterEqual(figures["worstFramePSNR"], figures["worstTilePSNR"])
        self.assertGreater(figures["workShare"], 0)
        self.assertLessEqual(figures["workShare"], 1)
        again = json.loads(lucida(*command, "--noise", "2", "--json").stdout)
        for key in ("psnr", "worstTilePSNR", "workShare"):
            self.assertEqual(again[key], figures[key])
        looped = json.loads(lucida(*command, "--loop", "1", "--json").stdout)
        self.assertEqual(looped["frames"], 29)
        self.assertIn("with reuse", lucida(*command).stdout)
        self.assertRefused(lucida(*command[:-1], "base"), "base.safetensors", "--model ink")

    def test_reuse_allocates_nothing_when_calm_turns_into_motion_and_back(self):
        clip, width, height = self.folder / "phases.mkv", 160, 96
        generator = random.Random(1)
        count = 3 * width * height
        still = bytes(x % 160 + y % 96 for y in range(height) for x in range(width)
                      for _ in range(3))
        moved = bytearray(still)
        for y in range(20, 44):
            moved[3 * (y * width + 30):3 * (y * width + 54)] = bytes([255]) * 72
        # Calm, a square that comes and goes, everything for two pauses, and calm again.
        frames = [still] * 8 + [bytes(moved), still] * 4
        frames += [generator.randbytes(count) for _ in range(36)] + [still] * 28
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size",
             f"{width}x{height}", "-framerate", "30", "-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0",
             str(clip)], input=b"".join(frames), check=True)
        for precision in ("auto", "int8", "f32"):
            result = lucida("bench", "engine", "--clip", clip, "--size", f"{width}x{height}",
                            "--model", "ink", "--threads", "2", "--precision", precision, "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            figures = json.loads(result.stdout)
            self.assertEqual(figures["frames"], len(frames) - 1)
            self.assertEqual(figures["reuse"]["allocationsPerFrame"], 0)
            self.assertEqual(figures["whole"]["allocationsPerFrame"], 0)
            # Something was computed as a whole, and something was not.
            self.assertGreater(figures["workShare"], 36 / len(frames))
            self.assertLess(figures["workShare"], 0.9)

    def test_noise_and_loop_without_a_clip_are_refused(self):
        for option in ("--noise", "--loop"):
            result = lucida("bench", "engine", option, "1")
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("need a --clip", result.stderr)

    def test_numbers_below_zero_are_refused_with_what_is_allowed(self):
        for command, option, allowed in (
                ("bench engine", "--noise", "0 … 64"), ("bench engine", "--loop", "0 … 86400"),
                ("bench engine", "--iterations", "1 … 1000000"),
                ("bench roofline", "--iterations", "1 … 1000000"),
                ("bench pipeline", "--duration", "above 0"), ("run", "--duration", "above 0"),
                ("run", "--strength", "from 0 to 1"), ("run", "--threads", "from 0 to 64")):
            self.assertRefused(lucida(*command.split(), option, "-1"), option, allowed)

    def test_every_command_takes_a_model_by_the_same_name(self):
        for command in ("run", "transform", "demo", "check-config", "calibrate", "bench engine",
                        "bench roofline", "bench pipeline"):
            self.assertIn("--model <", lucida(*command.split(), "--help").stdout)
        clip = self.clip("a.mkv", frames=2)
        result = lucida("transform", clip, self.folder / "o.mkv", "--model", "nosuch")
        self.assertRefused(result, "nosuch", "ink")
        result = lucida("transform", clip, self.folder / "o.mkv", "--model", "ink")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_reuse_is_refused_where_it_means_nothing(self):
        for command in (("engine",), ("engine", "--clip", "nothing.mkv"), ("roofline",)):
            for value in ("true", "false"):
                result = lucida("bench", *command, "--reuse", value)
                self.assertRefused(result, "--reuse", "bench engine --clip FILE")
            self.assertNotIn("--reuse", lucida("bench", command[0], "--help").stdout)
        for command in ("run", "transform", "demo", "bench pipeline"):
            self.assertIn("--reuse", lucida(*command.split(), "--help").stdout)

    def test_engine_takes_a_precision(self):
        for precision in ("f32", "int16", "bf16", "int8"):
            result = lucida("bench", "engine", *self.small, "--model", "ink", "--precision", precision,
                            "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            figures = json.loads(result.stdout)
            operands = [step["operand"] for step in figures["steps"] if "operand" in step]
            if precision == "f32" or "no instruction" in figures["precisionReason"]:
                self.assertEqual(figures["precision"], "f32 (18)")
                self.assertEqual(operands, ["f32"] * 18)
            else:
                self.assertEqual(figures["precision"], f"{precision} (16), f32 (2)")
                self.assertEqual(operands.count(precision), 16)
                self.assertEqual(figures["precisionReason"], "as configured")

    def test_engine_takes_a_model_and_compares_its_answer(self):
        model, check = self.folder / "m.safetensors", self.folder / "c.safetensors"
        write_constant_model(model, 1.0)
        shape = [64, 12, 16]
        write_safetensors(check, {"input": (shape, 0.3), "output": (shape, 0.8)})
        command = ("bench", "engine", *self.small, "--model", model, "--check", check)
        result = lucida(*command, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(result.stdout)
        self.assertEqual(figures["model"], str(model))
        self.assertAlmostEqual(figures["relativeError"], 0.25, places=5)
        self.assertIn("relative error 2.50e-1", lucida(*command).stdout)

    def test_a_check_sees_whether_the_network_computes_what_it_should(self):
        generator = random.Random(3)
        tensors, height, width = random_model(generator), 8, 12
        picture = [[[generator.random() for _ in range(48)] for _ in range(width)]
                   for _ in range(height)]

        def planes(rows):
            return ([48, height, width], array.array("f", (
                pixel[channel] for channel in range(48) for row in rows for pixel in row)))

        model, check = self.folder / "m.safetensors", self.folder / "c.safetensors"
        write_safetensors(check, {"input": planes(picture),
                                  "output": planes(Reference(tensors).residual(picture))})

        def error():
            result = lucida("bench", "engine", "--iterations", "1", "--size", "48x32", "--precision",
                            "f32", "--model", model, "--check", check, "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            return json.loads(result.stdout)["relativeError"]

        write_model(model, tensors, 48)
        self.assertLess(error(), 1e-5)
        # One weight of a convolution deep inside: nothing but computing it all finds that.
        shape, values = tensors["mid.1.a.weight"]
        values[100] += 0.5
        write_model(model, tensors, 48)
        self.assertGreater(error(), 1e-4)
        whole = model.read_bytes()
        for damaged in (whole[:-40], whole[:200], whole[:8], b""):
            model.write_bytes(damaged)
            self.assertRefused(lucida("bench", "engine", *self.small, "--model", model), model)

    def test_engine_refuses_bad_models_and_checks_by_name(self):
        model, check = self.folder / "m.safetensors", self.folder / "c.safetensors"
        command = ("bench", "engine", *self.small, "--model", model)
        self.assertRefused(lucida(*command), model)
        for channels in (47, 50, 272):
            write_constant_model(model, 1.0, channels)
            self.assertRefused(lucida(*command), model, "image_channels", channels)
        write_constant_model(model, 1.0)
        command += ("--check", check)
        self.assertRefused(lucida(*command), check)
        good = ([64, 12, 16], 0.5)
        for tensors, reason in [
            ({"input": good}, "output"), ({"input": good, "output": ([64, 12, 15], 1)}, "shape"),
            ({"input": good, "output": (good[0], 0)}, "zero"),
            ({"input": (good[0], float("nan")), "output": good}, "NaN"),
            ({"input": ([64, 8, 16], 1), "output": ([64, 8, 16], 1)}, "--size 64x32"),
            ({"input": ([48, 12, 16], 1), "output": ([48, 12, 16], 1)}, "[64, 12, 16]"),
        ]:
            write_safetensors(check, tensors)
            self.assertRefused(lucida(*command), check, reason)

    def test_roofline_measures_the_machine_and_every_layer(self):
        plot = self.folder / "a & b.svg"
        result = lucida("bench", "roofline", *self.small, "--model", "ink", "--threads", "2", "--json",
                        "--plot", plot)
        self.assertEqual(result.returncode, 0, result.stderr)
        figures = json.loads(result.stdout)
        peaks = {(peak["operand"], peak["threads"]) for peak in figures["arithmetic"]}
        self.assertLessEqual({("f32", 1), ("f32", 2)}, peaks)
        self.assertTrue(all(peak["gigaMACsPerSecond"] > 0 for peak in figures["arithmetic"]))
        levels = {(memory["level"], memory["threads"]) for memory in figures["bandwidths"]}
        self.assertLessEqual({("L1", 1), ("L1", 2), ("DRAM", 1), ("DRAM", 2)}, levels)
        for memory in figures["bandwidths"]:
            self.assertGreater(memory["readGBPerSecond"], 0)
            self.assertGreater(memory["copyGBPerSecond"], 0)
        layers = {layer["name"]: layer for layer in figures["layers"]}
        # 3 × 3, 48 channels to 48, on blocks of 4 × 4 pixels.
        self.assertEqual(layers["enc0.0.a"]["directMACs"], 16 * 12 * 48 * 48 * 9)
        for layer in layers.values():
            self.assertGreater(layer["milliseconds"], 0)
            self.assertGreater(layer["roofMilliseconds"], 0)
            self.assertGreater(layer["activationBytes"], 0)
            self.assertLessEqual(layer["bestRoofMilliseconds"], layer["roofMilliseconds"])
        self.assertGreater(layers["enc0.0.a"]["scratchTrafficBytes"], 0)
        self.assertTrue(0 <= figures["otherShare"] <= 1 and 0 <= figures["stolenShare"] <= 1)
        self.assertEqual(figures["frame"]["directMACs"],
                         sum(layer["directMACs"] for layer in layers.values()))
        picture = xml.etree.ElementTree.parse(plot).getroot()
        self.assertEqual(picture.tag, "{http://www.w3.org/2000/svg}svg")
        self.assertIn("stem", "".join(picture.itertext()))

    def test_roofline_knows_the_bytes_of_what_lies_around_a_streaming_network(self):
        for steps, names in ((1, ("motion of squares", "trust", "anchors", "patch changes", "end")),
                             (3, ("advance",))):
            result = lucida("bench", "roofline", *self.small, "--model", STREAMING_MODEL, "--json",
                            "--set", f"transform.steps={steps}")
            self.assertEqual(result.returncode, 0, result.stderr)
            layers = {layer["name"]: layer for layer in json.loads(result.stdout)["layers"]}
            self.assertLessEqual(set(names), set(layers))
            for layer in layers.values():
                self.assertGreater(layer["activationBytes"], 0, layer["name"])
                self.assertGreater(layer["roofMilliseconds"], 0, layer["name"])

    def test_roofline_prints_tables(self):
        model = self.folder / "<m> & co.safetensors"
        write_constant_model(model, 1.0)
        plot = self.folder / "p.svg"
        result = lucida("bench", "roofline", *self.small, "--threads", "1", "--model", model,
                        "--plot", plot)
        self.assertEqual(result.returncode, 0, result.stderr)
        for word in ("GMAC/s, 1 thread", "read GB/s", "DRAM", "share %", "of best %", "scratch kB",
                     "other programs used", "enc0.0.a", "whole frames, timed as one", str(model)):
            self.assertIn(word, result.stdout)
        self.assertIn("<m> & co", "".join(xml.etree.ElementTree.parse(plot).getroot().itertext()))

    def test_roofline_refuses_what_it_cannot_do(self):
        self.assertRefused(lucida("bench", "roofline", "--iterations", "0"), "--iterations")
        self.assertRefused(lucida("bench", "roofline", *self.small, "--plot",
                                  self.folder / "none/p.svg"), "none/p.svg")
        self.assertRefused(lucida("bench", "roofline", "--model", "/nonexistent"), "/nonexistent")


if __name__ == "__main__":
    unittest.main()
