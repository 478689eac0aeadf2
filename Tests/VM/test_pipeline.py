"""vivid → lucida → v4l2loopback in three versions, as programs that read it see it."""

import unittest

import case
import vm

CAPTURE, OUTPUT = 0x1, 0x2
ALL_BARS = 8


class PipelineTests:
    def test_devices_lists_camera_and_loopback(self):
        found = self.facts("devices")
        self.assertEqual(found["status"], 0, found["errors"])
        # The list may stand alone or under a key.
        listed = str(found["listed"])
        for expected in ("/dev/video0", "/dev/video10", "vivid", "Lucida"):
            self.assertIn(expected, listed)

    def test_a_reader_that_opens_first_gets_the_camera(self):
        found = self.facts("a_reader_that_opens_first")
        self.assertEqual(found["format"], [128, 72, "YUYV"], found["log"])
        self.assertEqual(found["card"], "Lucida")

    def test_colours_are_limited_range_bt601(self):
        found = self.facts("a_reader_that_opens_first")
        self.assertIsNotNone(found["distance"], found["log"])
        self.assertLessEqual(found["distance"], 6)

    def test_apps_see_a_camera_that_is_no_output(self):
        flags = self.facts("a_reader_that_opens_first")["flags"]
        self.assertTrue(flags & CAPTURE and not flags & OUTPUT, hex(flags))

    def test_a_wrong_format_is_answered_with_ours(self):
        self.assertEqual(self.facts("ffmpeg")["instead_of_640x480"], [128, 72, "YUYV"])

    def test_a_second_reader_is_refused_from_0_13_on(self):
        refusal = self.facts("a_reader_that_opens_first")["second_reader"]
        self.assertEqual(refusal, None if self.version == "0.12.7" else "EBUSY")

    def test_ffmpeg_reads_the_colours(self):
        found = self.facts("ffmpeg")
        # While ffmpeg starts, a camera may get no processor time for a second: then there is a card.
        pictures = [bars for bars in found["bars"] if bars >= ALL_BARS / 2]
        self.assertGreaterEqual(len(pictures), 4, (found["bars"], found["errors"]))
        self.assertEqual(set(pictures), {ALL_BARS}, found["bars"])

    def test_sigterm_ends_it_cleanly(self):
        self.assertEqual(self.facts("a_reader_that_opens_first")["status"], 0)
        self.assertEqual(self.facts("ffmpeg")["status"], 0)

    def test_a_reader_goes_on_across_a_restart(self):
        found = self.facts("a_restart_while_a_reader_holds_on")
        self.assertTrue(found["before"], found.get("log"))
        self.assertEqual(found["status"], 0)
        self.assertTrue(found["after"], found["log"])
        self.assertEqual(found["second_status"], 0, found["log"])

    def test_the_last_frame_a_reader_sees_is_a_card(self):
        last = self.facts("a_restart_while_a_reader_holds_on")["bars_in_last_frame"]
        self.assertIsNotNone(last, "no card came")
        self.assertLess(last, ALL_BARS / 2)

    def test_another_size_is_refused_while_a_reader_holds_the_device(self):
        found = self.facts("a_restart_while_a_reader_holds_on")
        self.assertNotIn(found["other_size_status"], (0, None), found["other_size_log"])
        self.assertIn("/dev/video10", found["other_size_log"])

    def test_a_late_reader_sees_nothing_of_the_camera(self):
        found = self.facts("overwritten_on_sigterm")
        self.assertTrue(found["before"])
        self.assertEqual(found["status"], 0)
        self.assertLess(max(found["bars_seen_late"], default=0), ALL_BARS / 2)

    def test_ink_runs(self):
        found = self.facts("ink")
        self.assertEqual(found["format"], [128, 80, "YUYV"], found["log"])
        self.assertGreaterEqual(found["different_pictures"], 3, found["log"])
        self.assertEqual(found["status"], 0, found["log"])

    def test_frame_numbers_survive_ink_and_arrive_in_order(self):
        found = self.facts("frame_numbers")
        self.assertGreaterEqual(len(found["numbers"]), 3, found["log"])
        self.assertEqual(found["numbers"], sorted(found["numbers"]))
        self.assertEqual(found["status"], 0)


    def test_auto_leaves_alone_what_others_use(self):
        found = self.facts("devices_in_use")
        usable = {"/dev/video0": False, "/dev/video1": True, "/dev/video9": False, "/dev/video10": True}
        self.assertEqual(found["usable"], usable)
        self.assertEqual(found["status"], 0, found["log"])
        self.assertIn("/dev/video1 ", found["log"])
        self.assertIn("/dev/video10 ", found["log"])
        self.assertTrue(found["camera_goes_on"])

    def test_a_device_that_others_write_to_is_refused(self):
        found = self.facts("devices_in_use")
        self.assertNotIn(found["refused_status"], (0, None), found["refused_log"])
        self.assertIn("another program writes to this device", found["refused_log"])

    def test_a_camera_that_comes_back_smaller_is_scaled(self):
        found = self.facts("a_camera_that_comes_back_smaller")
        self.assertEqual(found["format"], [128, 72, "YUYV"], found["log"])
        self.assertTrue(found["before"] and found["is_lost"], found["log"])
        self.assertTrue(found["after"], found["log"])
        self.assertEqual(found["status"], 0, found["log"])


def pipeline_tests(loopback_version):
    class Tests(PipelineTests, case.MachineTestCase):
        version = loopback_version
        command = f"exec /usr/bin/python3 {case.GUEST}/pipeline.py"
        options = {
            "loopback": loopback_version,
            # A camera and a loopback for others, listed before ours where that matters.
            "loopback_options": "devices=2 video_nr=9,10 exclusive_caps=1,1 card_label=Other,Lucida",
            "vivid": "n_devs=2 node_types=0x1,0x1 vid_cap_nr=0,1",
            "timeout_seconds": 500,
        }

    Tests.__name__ = Tests.__qualname__ = "Loopback_" + loopback_version.replace(".", "_")
    return Tests


Loopback_0_12_7, Loopback_0_13_2, Loopback_0_15_0 = map(pipeline_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
