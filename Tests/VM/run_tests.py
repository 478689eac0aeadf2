#!/usr/bin/env python3
"""Runs the tests of this directory, as many machines at once as there are processors: each waits
more than it computes. What a class of tests has printed comes when it is done.

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="machines")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(arguments.names) if arguments.names else loader.discover(str(vm.HERE))
    case.why_no_machine()  # makes it, once for all
    started, results = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        jobs = [pool.submit(run, tests) for tests in classes(suite).values()]
        for job in concurrent.futures.as_completed(jobs):
            result, text = job.result()
            results.append(result)
            print(text, file=sys.stderr, flush=True)
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
