"""Every fault after every other, under one reader: `make soak` does so 20 times on each driver version."""

import os
import unittest

import case
import vm

ROUNDS = int(os.environ.get("LUCIDA_SOAK_ROUNDS", "1"))


# Seconds after which no picture from before a fault may be read: the last one is repeated for one, and then a card comes.
OLDEST = 1.2
# Seconds from a change of what is filmed until it is read, at 15 and at 10 frames a second: two frames' time.
LATENCY = 0.2


class SoakTests:
    def test_pictures_come_again_after_every_fault(self):
        found = self.facts("soak")
        self.assertTrue(found["before"], found.get("log"))
        self.assertEqual(found["failed"], [], found["log"])
        self.assertEqual({len(gaps) for gaps in found["gaps"].values()}, {ROUNDS + 1})
        self.assertEqual(found["exit"], 0, found["log"])

    def test_pictures_come_again_in_time(self):
        longest = {name: max(gaps) for name, gaps in self.facts("soak")["gaps"].items()}
        print(f"{self.version}: seconds without a picture after a fault, at most: {longest}", flush=True)
        for name, seconds in longest.items():
            self.assertLessEqual(seconds, 5 if name in ("unplugged", "replugged") else 2, name)

    def test_no_picture_from_before_a_fault_is_shown_after_it(self):
        oldest = {name: max(ages) for name, ages in self.facts("soak")["oldest"].items()}
        oldest["killed"] = max(self.facts("killed")["oldest"])
        print(f"{self.version}: seconds for which a picture from before was read, at most: {oldest}", flush=True)
        # The last picture is repeated for a moment: a measure that does not see it would see no older one.
        for name in ("stall", "lost", "unplugged"):
            self.assertGreater(oldest[name], 0.3, name)
        for name, seconds in oldest.items():
            self.assertLessEqual(seconds, OLDEST, name)

    def test_what_is_filmed_is_seen_at_once(self):
        latencies = self.facts("soak")["latencies"]
        print(f"{self.version}: seconds until a change of the scene is read: {latencies}", flush=True)
        self.assertLessEqual(max(latencies), LATENCY)

    def test_one_daemon_after_the_other_may_be_killed(self):
        found = self.facts("killed")
        self.assertTrue(found["before"], found.get("log"))
        self.assertEqual(len(found["gaps"]), ROUNDS + 1)
        print(f"{self.version}: seconds without a picture after a kill, at most: {max(found['gaps'])}", flush=True)
        self.assertLessEqual(max(found["gaps"]), 5, found["log"])
        self.assertEqual(found["exit"], 0, found["log"])
        self.nothing_is_left_behind(found["footprints"])

    def test_nothing_is_left_behind(self):
        self.nothing_is_left_behind(self.facts("soak")["footprints"])

    def nothing_is_left_behind(self, footprints):
        first, *later = footprints
        print(f"{self.version}: first {first}, then {later}", flush=True)
        for name in ("descriptors", "threads"):
            self.assertEqual({now[name] for now in later}, {first[name]})
        # Of a few rounds nothing can be said about memory; pages of files and of the driver's buffers come and go.
        if ROUNDS >= 20:
            self.assertLessEqual(later[-1]["RssAnon"] - later[0]["RssAnon"], 1 << 20)


def soak_tests(loopback_version):
    class Tests(SoakTests, case.MachineTestCase):
        version = loopback_version
        command = f"SOAK_ROUNDS={ROUNDS} exec /usr/bin/python3 {case.GUEST}/soak.py"
        options = {"loopback": loopback_version, "timeout_seconds": 300 + 250 * ROUNDS, "counts_time": True}

        @classmethod
        def setUpClass(cls):
            if ROUNDS == 1 and cls.version != vm.LOOPBACK_VERSIONS[-1]:
                raise unittest.SkipTest("one version is enough for one round (make soak)")
            super().setUpClass()

    Tests.__name__ = Tests.__qualname__ = "Soak_" + loopback_version.replace(".", "_")
    return Tests


Soak_0_12_7, Soak_0_13_2, Soak_0_15_0 = map(soak_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
