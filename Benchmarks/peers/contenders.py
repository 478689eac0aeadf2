"""What takes part, and how to make it work: a persistent process for each peer, the command line for Lucida."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from network import SIZE, Frame, blocks_of, picture_of

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
NCNN_AVX2 = BUILD / "ncnn-avx2"
LUCIDA = "Lucida"
# Whatever steers a library or Lucida from outside is left out: all run as installed.
STEERING = ("OPENBLAS_", "OMP_", "KMP_", "GOMP_", "MKL_", "LUCIDA_", "CACHE_DIRECTORY")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(STEERING)}
# Where Lucida keeps which of its methods are fastest: new in each run, as older ones may be of another build.
LUCIDA_CACHE = tempfile.TemporaryDirectory(prefix="lucida-peers-")


@dataclass(frozen=True)
class Contender:
    """An engine at a precision, held to AVX2 or free to use what the machine has."""

    engine: str
    precision: str
    avx2: bool = False

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}" + (" AVX2" if self.avx2 else "")


MODULES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino", "PyTorch": "torch", "ncnn": "ncnn"}
CONTENDERS = (
    Contender(LUCIDA, "f32"),
    Contender(LUCIDA, "bf16"),
    Contender(LUCIDA, "int16"),
    Contender(LUCIDA, "int8"),
    Contender("ONNX Runtime", "f32"),
    Contender("OpenVINO", "f32"),
    Contender("OpenVINO", "bf16"),
    Contender("OpenVINO", "int8"),
    Contender("PyTorch", "f32"),
    Contender("PyTorch", "bf16"),
    Contender("ncnn", "f32"),
    Contender("ncnn", "bf16"),
    Contender(LUCIDA, "f32", avx2=True),
    Contender("ncnn", "f32", avx2=True),
)


@dataclass(frozen=True)
class Case:
    """A network, and what all must agree on."""

    name: str
    model: Path
    folder: Path  # what the engines' prepare() wrote
    blocks: np.ndarray  # (1, C, h, w) f32
    residual: np.ndarray  # the same shape, f64
    check: Path  # both, for `lucida bench engine --check`


class Absent(Exception):
    """A contender cannot take part; the text says why."""


class Peer:
    """A worker that sleeps on a pipe between its turns."""

    def __init__(self, contender: Contender, threads: int, case: Case) -> None:
        if contender.avx2 and not NCNN_AVX2.exists():
            raise Absent("not built: make ncnn-avx2")
        environment = ENVIRONMENT | ({"PYTHONPATH": str(NCNN_AVX2)} if contender.avx2 else {})
        self.case = case
        self.process = subprocess.Popen(
            [sys.executable, "worker.py", MODULES[contender.engine], contender.precision, str(threads), str(case.folder)],
            cwd=HERE, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        residual = self.residuals(case.blocks)
        self.error = float(np.linalg.norm(residual - case.residual) / np.linalg.norm(case.residual))

    def ask(self, **task: object) -> object:
        try:
            print(json.dumps(task), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        answer = self.process.stdout.readline()
        if not answer:
            raise Absent(f"the worker ended with status {self.process.wait()}")
        return json.loads(answer)

    def residuals(self, blocks: np.ndarray) -> np.ndarray:
        """Both (N, C, h, w) f32."""
        with tempfile.TemporaryDirectory(dir=self.case.folder) as folder:
            x, y = f"{folder}/x.npy", f"{folder}/y.npy"
            np.save(x, blocks)
            return np.load(self.ask(run=x, to=y))

    def time(self, iterations: int) -> tuple[float, float]:
        """Minimum and median milliseconds of the network, blocks to residual."""
        times = self.ask(time=iterations)
        return min(times), float(np.median(times))

    def picture(self, frame: Frame) -> Frame:
        return picture_of(frame, self.residuals(blocks_of(frame, self.case.blocks.shape[1])))

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Lucida:
    """The command line, started anew for each turn."""

    def __init__(self, contender: Contender, threads: int, case: Case, binary: Path) -> None:
        self.binary, self.precision = binary, contender.precision
        self.environment = ENVIRONMENT | {"XDG_CACHE_HOME": LUCIDA_CACHE.name}
        if contender.avx2:
            self.environment["LUCIDA_ISA"] = "avx2"
        self.options = ["--size", f"{SIZE[0]}x{SIZE[1]}", "--threads", str(threads), "--set", f"transform.model={case.model}"]
        known = self.command("bench", "engine", "--help")
        self.has_precision = "--precision" in known
        if not self.has_precision and self.precision != "f32":
            raise Absent("this lucida has no --precision")
        check = ["--check", str(case.check)] if "--check" in known else []
        self.warm_up()
        self.error = self.bench(1, *check).get("relativeError")

    def warm_up(self) -> None:
        """Start until nothing is left to measure: a start has little time for that, and keeps what it has found."""
        file, before = Path(LUCIDA_CACHE.name, "lucida/tuning.json"), None
        for _ in range(20):
            self.bench(1)
            known = file.read_bytes() if file.exists() else b""
            if known == before:
                return
            before = known
        print(f"{self.binary}: still measuring its methods after 20 starts", file=sys.stderr)

    def command(self, *arguments: str) -> str:
        result = subprocess.run([self.binary, *arguments], env=self.environment, text=True, capture_output=True, check=False)
        if result.returncode != 0:
            raise Absent(result.stderr.strip().partition("\n")[0] or f"status {result.returncode}")
        return result.stdout

    def bench(self, iterations: int, *more: str) -> dict:
        precision = ["--precision", self.precision] if self.has_precision else []
        return json.loads(self.command(
            "bench", "engine", *self.options, *precision, *more, "--iterations", str(iterations), "--json"))

    def time(self, iterations: int) -> tuple[float, float]:
        """Minimum and median milliseconds of a frame, RGB to RGB."""
        figures = self.bench(iterations)
        return figures["minimumMilliseconds"], figures["medianMilliseconds"]

    def picture(self, frame: Frame) -> Frame:
        """Each frame in a process of its own, so that nothing is left over from the one before."""
        precision = ["--set", f"performance.precision={self.precision}"] if self.has_precision else []
        with tempfile.TemporaryDirectory() as folder:
            paths = [f"{folder}/{name}.png" for name in ("in", "out")]
            cv2.imwrite(paths[0], frame[..., ::-1])
            self.command("transform", *paths, *self.options, *precision)
            return np.ascontiguousarray(cv2.imread(paths[1])[..., ::-1])

    def cpu_seconds(self) -> float:
        return 0  # no process is left between turns

    def close(self) -> None:
        pass
