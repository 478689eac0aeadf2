"""Cameras that fail: a card says so, and pictures come again without a restart."""

import unittest

import case


class RecoveryTests:
    def test_a_stalled_camera_is_restarted_then_opened_anew(self):
        found = self.facts("stalled")
        self.assertTrue(found["before"] and found["is_reopened"], found.get("log"))
        self.assertGreaterEqual(found["restarted"], 1)
        self.assertTrue(found["shows_a_card"])
        self.assertTrue(found["after"] and found["is_live"], found["log"])
        self.assertGreaterEqual(found["camera"]["recovered"], 1)
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_stream_that_the_driver_gives_up_goes_on(self):
        found = self.facts("broken_stream")
        self.assertTrue(found["before"] and found["after"] and found["is_live"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_buffer_that_the_driver_refuses_is_given_again(self):
        found = self.facts_once("refused_buffers")
        self.assertEqual(found["pictures"], 6 * [True], found.get("log"))
        self.assertTrue(found["is_live"])
        # More were refused than there are: kept, none would be left, and only a restart would help.
        self.assertEqual((found["camera"]["attempts"], found["camera"]["restarted"]), (1, 0), found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_faulty_frames_are_left_out(self):
        found = self.facts_once("faulty_frames")
        self.assertEqual(found["bad"], 3, found.get("log"))
        self.assertTrue(found["is_live"])
        self.assertEqual((found["camera"]["attempts"], found["camera"]["restarted"]), (1, 0), found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_camera_without_buffers_is_tried_again(self):
        found = self.facts_once("no_buffers")
        self.assertTrue(found["is_refused"], found.get("log"))
        self.assertTrue(found["is_live"] and found["after"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_busy_camera_is_waited_for_and_its_user_named(self):
        for step in ("busy", "busy_auto"):
            with self.subTest(step):
                found = self.facts(step)
                self.assertTrue(found["is_busy"], found.get("log"))
                self.assertIn("python3", found["problem"])
                self.assertLess(found["bars_in_card"], 8)
                self.assertTrue(found["after"], found["log"])
                self.assertGreaterEqual(found["camera"]["refused"], 1)
                self.assertEqual(found["camera"]["lost"], 0)
                self.assertEqual(found["exit"], 0, found["log"])

    def test_a_format_that_another_program_has_set_does_not_matter(self):
        found = self.facts("changed_format")
        self.assertTrue(found["before"] and found["is_closed"] and found["after"], found.get("log"))
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_camera_whose_source_changes_is_opened_anew(self):
        found = self.facts_once("source_changed")
        self.assertTrue(found["before"] and found["is_lost"] and found["after"], found.get("log"))
        self.assertEqual(found["exit"], 0, found["log"])

    def test_pictures_come_again_after_a_sleep(self):
        found = self.facts("suspended")
        self.assertGreaterEqual(found["asleep_seconds"], 4, found.get("log"))
        self.assertTrue(found["before"] and found["after"] and found["is_live"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_recording_goes_on_when_its_full_disk_has_room_again(self):
        found = self.facts("full_disk")
        self.assertTrue(found["is_away"] and found["during"], found.get("log"))
        self.assertTrue(found["is_clean"], found["files"])
        self.assertTrue(found["goes_on"] and found["is_back"] and found["after"], found["log"])
        self.assertEqual(found["interruptions"], 1)
        self.assertEqual(set(found["files"]), {"a.mkv", "a-2.mkv"})
        self.assertGreater(min(found["files"].values()), 30)
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_camera_named_by_id_is_no_other_that_looks_the_same(self):
        found = self.facts("named_by_id")
        self.assertTrue(found["before"] and found["is_missing"] and found["is_still_missing"], found.get("log"))
        self.assertTrue(found["is_live"] and found["after"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_replugged_camera_is_found_under_another_number(self):
        found = self.facts("replugged")
        self.assertTrue(found["before"] and found["is_missing"], found.get("log"))
        self.assertTrue(found["is_closed"] and found["is_still_missing"], found["log"])
        self.assertTrue(found["after"], found["log"])
        self.assertIn("/dev/video3", found["source"])
        self.assertTrue(found["is_live_after_change"] and found["after_change"], found["log"])
        self.assertEqual((found["attempts_of_change"], found["refusals_of_change"]), (1, 0))
        self.assertIn("/dev/video3", found["source_after_change"])
        self.assertGreaterEqual(found["camera"]["lost"], 1)
        self.assertEqual(found["exit"], 0, found["log"])

    def test_a_daemon_without_a_camera_waits_for_one(self):
        self.waits_for_a_camera(self.facts("no_camera_at_the_start"))

    def test_so_does_one_that_has_it_open_throughout(self):
        self.waits_for_a_camera(self.facts_once("no_camera_without_demand"))

    def waits_for_a_camera(self, found):
        self.assertTrue(found["is_missing"], found.get("log"))
        self.assertLess(found["bars_in_card"], 8)
        self.assertTrue(found["after"], found["log"])
        self.assertEqual(found["exit"], 0, found["log"])

    def facts_once(self, step):
        """Of a step that has nothing to do with the virtual camera, and runs beside one of its drivers."""
        if self.version != "0.15.0":
            self.skipTest("beside 0.15.0")
        return self.facts(step)


def recovery_tests(loopback_version):
    class Tests(RecoveryTests, case.MachineTestCase):
        version = loopback_version
        command = f"exec /usr/bin/python3 {case.GUEST}/recovery.py"
        options = {"loopback": loopback_version, "timeout_seconds": 600}

    Tests.__name__ = Tests.__qualname__ = "Recovery_" + loopback_version.replace(".", "_")
    return Tests


# What fails here is the camera: the oldest and the newest virtual camera beside it are enough (`make soak` takes all).
Recovery_0_12_7, Recovery_0_15_0 = map(recovery_tests, ("0.12.7", "0.15.0"))

if __name__ == "__main__":
    unittest.main()
