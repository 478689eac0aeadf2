#!/usr/bin/env python3
"""Runs the tests of this directory, three machines at once for two processors: each waits nearly as
long as it computes. The verdicts on a class of tests come when it is done.

    python3 Tests/VM/run_tests.py [--at-once N] [NAME ...]

NAME is a module, class or test as `python3 -m unittest` takes it, seen from this directory.
"""

import argparse
import concurrent.futures
import io
import os
import sys
import time
import unittest

import case
import vm


def classes(suite):
    """The suite's tests, those of one class together: they share a machine."""
    found = {}
    for test in suite:
        for name, tests in classes(test).items() if hasattr(test, "__iter__") else [(type(test), [test])]:
            found.setdefault(name, []).extend(tests)
    return found


def run(tests):
    """Runs the tests of a class; returns the result and what there is to read."""
    stream = io.StringIO()
    result = unittest.TextTestRunner(stream=stream, verbosity=2).run(unittest.TestSuite(tests))
    return result, stream.getvalue()


def machines_at_once():
    """Three for two processors that we may use, and one for each 5 GiB of memory: a machine has 4."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(3 * len(os.sched_getaffinity(0)) // 2, memory // (5 << 30)))


def patience(tests):
    """Seconds that a class of tests may take: those that may take long begin early, lest one is left at the end."""
    options = getattr(type(tests[0]), "options", {})
    return (2 if options.get("counts_time") else 1) * options.get("timeout_seconds", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", type=int, default=machines_at_once(), help="machines")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(arguments.names) if arguments.names else loader.discover(str(vm.HERE))
    case.why_no_machine()  # makes it, once for all
    started, results = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        order = sorted(classes(suite).values(), key=patience, reverse=True)
        jobs = [pool.submit(run, tests) for tests in order]
        try:
            for job in concurrent.futures.as_completed(jobs):
                result, text = job.result()
                results.append(result)
                print(text, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            vm.switch_off_all()
            raise
    counts = {
        name: sum(len(getattr(result, name)) for result in results)
        for name in ("failures", "errors", "skipped")
    }
    failed = not all(result.wasSuccessful() for result in results)
    print(f"Ran {sum(result.testsRun for result in results)} tests in {time.monotonic() - started:.0f}s\n",
          file=sys.stderr)
    told = ", ".join(f"{name}={count}" for name, count in counts.items() if count)
    print(("FAILED" if failed or not results else "OK") + (f" ({told})" if told else ""), file=sys.stderr)
    sys.exit(failed or not results)


if __name__ == "__main__":
    main()
