"""A reader never sees an old picture: all buffers of the driver, after everything that ends a picture."""

import unittest

import case
import vm

BUFFERS = 8


class FailClosedTests:
    def assertCovered(self, event):
        found = self.facts("events")
        seen = found[event]
        # What was being written, and what the reader had in its hands.
        self.assertLessEqual(seen["stale"], 3, (event, seen, found["log"]))
        self.assertGreater(seen["cards"], 0, (event, seen, found["log"]))
        self.assertEqual([bars for bars in seen["buffers"] if bars >= 4], [], (event, seen))

    def test_there_was_a_picture_in_every_buffer_before(self):
        found = self.facts("events")
        self.assertEqual(found["count"], BUFFERS)
        self.assertEqual(found["pictures"], [True] * 6, found["log"])

    def test_a_holder_fills_all_buffers_with_cards(self):
        self.assertLess(max(self.facts("events")["held"]), 4)

    def test_pause(self):
        self.assertCovered("pause")

    def test_stop(self):
        self.assertCovered("stop")
        self.assertEqual(self.facts("events")["status"], 0)

    def test_kill(self):
        self.assertCovered("kill")

    def test_kill_of_holder_and_lucida(self):
        self.assertCovered("kill_both")

    def test_crash(self):
        self.assertCovered("crash")

    def test_a_camera_that_is_lost(self):
        found = self.facts("events")
        seen = found["camera_lost"]
        # The last picture is repeated for a second before the card.
        self.assertGreater(seen["cards"], 0, found["log"])
        self.assertEqual([bars for bars in seen["buffers"] if bars >= 4], [], seen)

    def test_a_start_covers_what_a_killed_one_has_left(self):
        found = self.facts("start_after_a_kill_without_a_holder")
        self.assertTrue(found["moves"])
        self.assertGreater(found["left"], 1)
        self.assertTrue(found["first_is_new"], found["log"])
        self.assertLess(found["frames_until_covered"], BUFFERS, found["log"])


def fail_closed_tests(loopback_version):
    class Tests(FailClosedTests, case.MachineTestCase):
        command = f"exec /usr/bin/python3 {case.GUEST}/fail_closed.py"
        options = {
            "loopback": loopback_version,
            "loopback_options": f"{vm.LOOPBACK_OPTIONS} max_buffers={BUFFERS}",
            "timeout_seconds": 900,
            "counts_time": True,
        }

    Tests.__name__ = Tests.__qualname__ = "Loopback_" + loopback_version.replace(".", "_")
    return Tests


Loopback_0_12_7, Loopback_0_13_2, Loopback_0_15_0 = map(fail_closed_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
