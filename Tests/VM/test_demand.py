"""The camera is open only while somebody reads, on each driver version."""

import unittest

import case
import vm

ALL_BARS = 8


class DemandTests:
    def test_nobody_reads_and_the_camera_is_closed(self):
        found = self.facts("run")
        self.assertTrue(found["is_idle"], found.get("log"))
        self.assertEqual(found["idle_looks"], [False] * 10)
        print(f"{self.version}: idle, {100 * found['idle_processor_share']:.2f} % of a processor", flush=True)
        self.assertLessEqual(found["idle_processor_share"], 0.005)

    def test_listing_cameras_is_not_reading(self):
        self.assertEqual(self.facts("run")["attempts_after_listing"], 0)

    def test_a_reader_sees_a_card_and_then_the_camera(self):
        found = self.facts("run")
        self.assertIsNotNone(found["bars_in_first_frame"])
        self.assertLess(found["bars_in_first_frame"], ALL_BARS / 2)
        self.assertTrue(found["shows_the_camera"], found["log"])
        print(f"{self.version}: a card {found['seconds_to_first_frame']:.2f} s and the camera "
              f"{found['seconds_to_the_camera']:.2f} s after a reader has come", flush=True)
        self.assertLessEqual(found["seconds_to_first_frame"], 1)
        self.assertLessEqual(found["seconds_to_the_camera"], 1)
        self.assertTrue(found["is_open_for_a_reader"] and found["is_live"])
        self.assertEqual(found["readers"], 1)

    def test_the_camera_is_closed_some_time_after_the_reader_has_gone(self):
        found = self.facts("run")
        self.assertTrue(found["is_lingering"] and found["is_open_while_lingering"])
        self.assertTrue(found["is_idle_again"] and found["is_closed_again"], found["log"])
        self.assertGreaterEqual(found["seconds_to_idle"], 4)

    def test_who_comes_later_sees_nothing_that_was_filmed_before(self):
        found = self.facts("run")
        self.assertLess(max(found["bars_in_late_frames"]), ALL_BARS / 2)
        self.assertTrue(found["is_idle_after_late_reader"])

    def test_probes_open_the_camera_once_at_most(self):
        found = self.facts("run")
        # The driver without events takes note of those alone that stay for two looks.
        self.assertIn(found["probe_attempts"], (0, 1) if self.version == "0.12.7" else (1,))
        first = found["probe_looks"].index(True) if True in found["probe_looks"] else 10
        self.assertTrue(all(found["probe_looks"][first:]), "it was closed in between")
        self.assertTrue(found["is_idle_after_probes"])

    def test_a_reader_who_follows_another_finds_the_camera_open(self):
        found = self.facts("run")
        self.assertTrue(found["second_shows_the_camera"])
        self.assertEqual(found["attempts_in_turn"], 1)
        self.assertEqual(found["exit"], 0, found["log"])

    def test_without_demand_the_camera_is_open_until_that_is_changed(self):
        found = self.facts("not_on_demand")
        self.assertTrue(found["is_open"] and found["is_live"], found.get("log"))
        self.assertTrue(found["is_idle"] and found["is_closed"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_who_reads_at_the_start_is_seen(self):
        found = self.facts("killed_under_a_reader")
        self.assertTrue(found["before"], found.get("log"))
        self.assertTrue(found["after"] and found["is_open"], found["log"])

    def test_the_holder_of_the_device_is_nobody_who_looks(self):
        found = self.facts("with_a_holder")
        self.assertIn("kept by lucida-device", found["log"])
        self.assertTrue(found["is_idle"] and found["is_closed"], found["log"])
        self.assertTrue(found["shows_the_camera"], found["log"])
        self.assertTrue(found["is_idle_again"] and found["is_closed_again"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])


def demand_tests(loopback_version):
    class Tests(DemandTests, case.MachineTestCase):
        version = loopback_version
        command = f"exec /usr/bin/python3 {case.GUEST}/demand.py"
        options = {"loopback": loopback_version, "timeout_seconds": 420, "counts_time": True}

    Tests.__name__ = Tests.__qualname__ = "Demand_" + loopback_version.replace(".", "_")
    return Tests


Demand_0_12_7, Demand_0_13_2, Demand_0_15_0 = map(demand_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
