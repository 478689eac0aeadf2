"""One table for each network, the ratios that are asked of Lucida, and the same as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contenders import LUCIDA, Contender
from quality import Verdict

# Relative L2 error above which an engine did not compute this network.
LARGEST_ERROR = {"f32": 1e-4, "int16": 1e-2, "bf16": 5e-2, "int8": 2e-1}
PACKAGES = ("onnxruntime", "openvino", "nncf", "torch", "ncnn", "pnnx", "onnx")


@dataclass(frozen=True)
class Row:
    """A contender's figures. Times are (minimum, median) ms of each round, by number of threads."""

    contender: Contender
    times: dict[int, list[tuple[float, float]]]
    error: float | None
    verdict: Verdict | None

    def minimum(self, threads: int) -> float:
        return min(fastest for fastest, _ in self.times[threads])

    def median(self, threads: int) -> float:
        return float(np.median([middle for _, middle in self.times[threads]]))

    @property
    def agrees(self) -> bool:
        return self.error is None or self.error <= LARGEST_ERROR[self.contender.precision]


@dataclass(frozen=True)
class Result:
    """All about one network."""

    name: str
    gmac: float
    sleepers_share: float  # of a core, used by those not in turn, at worst
    rows: list[Row]

    @property
    def threads(self) -> list[int]:
        return sorted({threads for row in self.rows for threads in row.times})

    def fastest(self, lucida: bool, precisions: tuple[str, ...] = (), passing: bool = False, avx2: bool = False, engine: str = "") -> Row | None:
        """The fastest of those asked for, at all threads."""
        found = [
            row for row in self.rows
            if (row.contender.engine == LUCIDA) == lucida and row.contender.avx2 == avx2
            and (not precisions or row.contender.precision in precisions)
            and (not engine or row.contender.engine == engine)
            and (not passing or (row.verdict and row.verdict.passes))
        ]
        return min(found, key=lambda row: row.minimum(self.threads[-1]), default=None)


@dataclass(frozen=True)
class Demand:
    """A ratio of times, what it is of, and what is asked of it."""

    text: str
    must: float
    goal: float
    slow: tuple[Row | None, int]
    fast: tuple[Row | None, int]

    def figures(self) -> tuple[float, float] | None:
        """The ratio of minima and that of medians; none where one side is absent."""
        (slow, many), (fast, few) = self.slow, self.fast
        if slow is None or fast is None:
            return None
        return slow.minimum(many) / fast.minimum(few), slow.median(many) / fast.median(few)


def demands(result: Result) -> list[Demand]:
    """What the engine should reach."""
    one, two = result.threads[0], result.threads[-1]
    f32, best = result.fastest(True, ("f32",)), result.fastest(True, passing=True)
    return [
        Demand("f32, against the fastest f32 peer", 1.7, 2.2, (result.fastest(False, ("f32",)), two), (f32, two)),
        Demand("f32, against OpenVINO bf16", 1.2, 1.5, (result.fastest(False, ("bf16",), engine="OpenVINO"), two), (f32, two)),
        Demand("best under the rule, against the best peer", 1.15, 1.5, (result.fastest(False, passing=True), two), (best, two)),
        Demand(f"f32, {two} threads over {one}", 1.85, 1.95, (f32, one), (f32, two)),
        Demand(f"best under the rule, {two} threads over {one}", 1.85, 1.95, (best, one), (best, two)),
        Demand("f32 held to AVX2, against ncnn so held", 1.3, 1.7,
               (result.fastest(False, avx2=True), two), (result.fastest(True, avx2=True), two)),
    ]


def print_report(result: Result) -> None:
    """Table, then ratios."""
    two = result.threads[-1]
    base = result.fastest(True, ("f32",))
    print(f"\n{result.name} network, {result.gmac:.2f} GMAC\n")
    heads = [f"{threads} thread{'s'[:threads - 1]}" for threads in result.threads]
    print(f"{'':<22}" + "".join(f"{head:>16}" for head in heads) + f"{'time over':>11}{'relative':>10}{'PSNR to':>9}{'loss to':>9}")
    print(f"{'ms':<22}" + f"{'min':>8}{'median':>8}" * len(heads) + f"{'Lucida f32':>11}{'error':>10}{'f32, dB':>9}{'teacher':>9}  rule")
    for row in sorted(result.rows, key=lambda row: (row.contender.avx2, row.minimum(two))):
        times = "".join(f"{row.minimum(threads):8.2f}{row.median(threads):8.2f}" for threads in result.threads)
        ratio = f"{row.minimum(two) / base.minimum(two):.2f}" if base else ""
        error = "" if row.error is None else f"{row.error:.1e}"
        verdict = row.verdict
        quality = f"{verdict.psnr:>9.1f}{verdict.loss:>9.2f}  {'met' if verdict.passes else 'missed'}" if verdict else ""
        print(f"{row.contender!s:<22}{times}{ratio:>11}{error:>10}{quality}" + ("" if row.agrees else "  WRONG"))
    print(f"\n{'how many times faster':<46}{'must':>6}{'goal':>6}{'by min':>8}{'by median':>10}")
    for demand in demands(result):
        figures = demand.figures()
        measured = f"{figures[0]:8.2f}{figures[1]:10.2f}  {'met' if figures[0] >= demand.must else 'missed'}" if figures else "  not measured"
        sides = f" ({demand.slow[0].contender}, {demand.fast[0].contender})" if figures else ""
        print(f"{demand.text:<46}{demand.must:>6}{demand.goal:>6}{measured}{sides}")
    print(f"Those not in turn used at most {result.sleepers_share:.1%} of a core.")


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_json(results: list[Result], args: argparse.Namespace) -> None:
    """All figures, those of each round too."""
    document = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rounds": args.rounds,
        "iterations": args.iterations,
        "networks": {result.name: {
            "gmac": result.gmac,
            "sleepersShare": result.sleepers_share,
            "rows": [row_json(row) for row in result.rows],
            "ratios": [{"text": d.text, "must": d.must, "goal": d.goal, "byMinimumAndMedian": d.figures()} for d in demands(result)],
        } for result in results},
    }
    (args.out / "results.json").write_text(json.dumps(document, indent=2) + "\n")


def row_json(row: Row) -> dict:
    """One row of the table."""
    verdict = row.verdict
    return {
        "engine": row.contender.engine,
        "precision": row.contender.precision,
        "heldToAVX2": row.contender.avx2,
        "milliseconds": {threads: {"minimum": row.minimum(threads), "median": row.median(threads), "rounds": rounds}
                         for threads, rounds in row.times.items()},
        "relativeError": row.error,
        "psnrToF32": verdict and verdict.psnr,
        "lossToTeacher": verdict and verdict.loss,
        "meetsRule": verdict and verdict.passes,
    }
