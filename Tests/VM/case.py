"""What the tests on the host have in common: one boot for a class of tests."""

import functools
import os
import pathlib
import unittest

import vm

GUEST = vm.HERE / "guest"


@functools.lru_cache(maxsize=None)
def why_no_machine():
    return vm.prepare()


def binary():
    """The release binary under test."""
    return pathlib.Path(os.environ.get("LUCIDA_BINARY", vm.ROOT / ".build/release/lucida"))


class MachineTestCase(unittest.TestCase):
    """Boots once before its tests; `cls.result` is what the guest left behind."""

    command = None
    options = {}
    needs_binary = True

    @classmethod
    def setUpClass(cls):
        if cls.needs_binary and not binary().exists():
            raise unittest.SkipTest(f"{binary()} is missing: run make release")
        reason = why_no_machine()
        if reason:
            raise unittest.SkipTest(f"no virtual machine here: {reason}")
        environment = {
            "LUCIDA_BINARY": binary().resolve(),
            "LUCIDA_ROOT": vm.ROOT,
            "PYTHONPATH": f"{GUEST}:{vm.HERE}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        cls.result = vm.run(cls.command, environment=environment, **cls.options)
        if cls.result.status is None:
            raise AssertionError(f"the guest did not finish\n{cls.result}")

    def facts(self, step):
        """What a step found; fails with its traceback if it broke off."""
        found = self.result.facts.get(step)
        self.assertIsNotNone(found, f"the step {step} did not run\n{self.result}")
        if "failure" in found:
            self.fail(f"{found['failure']}\n{found.get('log', '')}")
        return found
