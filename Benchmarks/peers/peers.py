"""Lucida and the engines a user might pick instead: same weights, same machine, one run.

    peers.py [--clips DIR] [--rounds 15] [--iterations 20] [--lucida PATH] [--out build/results]

In every round each contender has one turn, in a fresh random order, so that all suffer the same noise. Prints a
table for each network and the ratios asked of Lucida; writes results.json and results.png. Exits with 1 if an
engine's output is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import prepare
import quality
import reference
from calibration import scene
from contenders import BUILD, CONTENDERS, LUCIDA, Absent, Case, Contender, Lucida, Peer
from network import BlockNetwork, blocks_of, exact, load_network, multiply_accumulates
from plot import plot
from report import Result, Row, print_report, write_json
from training import ROOT

THREADS = (1, 2)
Entry = tuple[Contender, int]  # and its number of threads
Field = dict[Entry, Peer | Lucida]
Times = dict[Entry, list[tuple[float, float]]]
PAUSE_SECONDS = 0.05  # threads of the engine before may spin for a moment


def say(text: str, passing: bool = False) -> None:
    """A line of progress; a passing one gives way to the next, and is left out of a log."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    elif not passing:
        print(text, file=sys.stderr, flush=True)


def newer(target: Path, *sources: Path) -> bool:
    return target.exists() and all(target.stat().st_mtime > source.stat().st_mtime for source in sources)


def make_case(name: str, model: Path) -> tuple[Case, BlockNetwork]:
    """Export the network for every engine, unless that has been done, and compute what is right."""
    network, folder = load_network(model), BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    blocks = blocks_of(scene(0), network.image_channels)
    residual = exact(network, blocks)
    check = folder / "check.safetensors"
    save_file({"input": blocks[0], "output": residual[0].astype(np.float32)}, check)
    done = folder / "prepared"
    if not newer(done, model, Path(prepare.__file__)):
        say(f"{name}: exporting, quantising, converting", passing=True)
        prepare.prepare(network, model, folder)
        done.touch()
    return Case(name, model, folder, blocks, residual, check), network


def enter(case: Case, binary: Path) -> Field:
    """Start all that can take part."""
    field: Field = {}
    for contender in CONTENDERS:
        for threads in THREADS:
            say(f"{case.name}: starting {contender}, {threads} threads", passing=True)
            try:
                if contender.engine == LUCIDA:
                    field[contender, threads] = Lucida(contender, threads, case, binary)
                else:
                    field[contender, threads] = Peer(contender, threads, case)
            except Absent as reason:
                say(f"{case.name}: without {contender}: {reason}")
                break
    return field


def race(case: Case, field: Field, rounds: int, iterations: int) -> tuple[Times, float]:
    """Every contender's (minimum, median) of each round, and the share of a core that sleepers used at worst."""
    times: Times = {entry: [] for entry in field}
    order, busiest = list(field), 0.0
    for count in range(1, rounds + 1):
        random.shuffle(order)
        for turn, entry in enumerate(order, 1):
            contender, threads = entry
            say(f"{case.name}: round {count}/{rounds}, turn {turn}/{len(order)}: {contender}, {threads} threads", passing=True)
            time.sleep(PAUSE_SECONDS)
            sleepers = [other for key, other in field.items() if key != entry]
            start, used = time.monotonic(), sum(other.cpu_seconds() for other in sleepers)
            times[entry].append(field[entry].time(iterations))
            used = sum(other.cpu_seconds() for other in sleepers) - used
            busiest = max(busiest, used / (time.monotonic() - start))
        best = ", ".join(f"{c} {min(times[c, t])[0]:.1f}" for c, t in field if t == max(THREADS) and not c.avx2)
        say(f"{case.name}: round {count}/{rounds}, best so far, ms: {best}")
    return times, busiest


def judge(case: Case, field: Field, clips: list[quality.Clip]) -> dict[Contender, quality.Verdict]:
    """The quality rule for each engine and precision; empty without clips."""
    verdicts = {}
    for (contender, threads), player in field.items():
        if clips and threads == max(THREADS):
            say(f"{case.name}: pictures of {contender}", passing=True)
            verdicts[contender] = quality.judge(clips, player.picture)
    return verdicts


def measure(name: str, model: Path, args: argparse.Namespace) -> Result:
    """All about one network."""
    case, network = make_case(name, model)
    clips = quality.load(args.clips, network) if args.clips else []
    field = enter(case, args.lucida)
    try:
        verdicts = judge(case, field, clips)
        times, busiest = race(case, field, args.rounds, args.iterations)
    finally:
        for player in field.values():
            player.close()
    rows = []
    for contender in dict.fromkeys(contender for contender, _ in field):
        runs = {threads: times[contender, threads] for threads in THREADS if (contender, threads) in times}
        rows.append(Row(contender, runs, field[contender, THREADS[0]].error, verdicts.get(contender)))
    return Result(name, multiply_accumulates(network) / 1e9, busiest, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of webcam clips to judge quality on; without it nothing is judged")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--iterations", type=int, default=20, help="of each contender in each round")
    parser.add_argument("--networks", nargs="+", choices=("reference", "shipped"), default=("reference", "shipped"))
    parser.add_argument("--lucida", type=Path, default=ROOT / ".build/release/lucida")
    parser.add_argument("--out", type=Path, default=BUILD / "results")
    args = parser.parse_args()
    if not args.lucida.exists():
        parser.error(f"{args.lucida} is not there: make release, or say --lucida PATH")
    shipped, widened = ROOT / "Models/ink.safetensors", BUILD / "reference.safetensors"
    if not newer(widened, shipped, Path(reference.__file__)):
        reference.make(shipped, widened)
    models = {"reference": widened, "shipped": shipped}
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    for name in args.networks:
        results.append(measure(name, models[name], args))
        print_report(results[-1])
        # After each network: a run takes long, and what has been measured should survive whatever comes.
        write_json(results, args)
        plot(results, args.out / "results.png")
    wrong = [f"{result.name}: {row.contender}" for result in results for row in result.rows if not row.agrees]
    if wrong:
        raise SystemExit(f"error above what the precision explains: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
