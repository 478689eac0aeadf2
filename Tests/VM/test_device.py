"""`lucida device`: a camera that is always there, on each driver; and what drivers do without it."""

import unittest

import case
import vm

# What is left of each driver's camera when the last writer has closed it, keep_format being set.
WITHOUT_WRITER = {
    "0.12.7": {"offers": "capture ", "refusal": None},
    "0.13.2": {"offers": "capture output", "refusal": None},
    "0.15.0": {"offers": "capture ", "refusal": "EINVAL"},
}
# Why a second program may not write while the first one has the device open as its writer.
SECOND_WRITER = {"0.12.7": None, "0.13.2": "EINVAL", "0.15.0": "EBUSY"}


class DriverTests:
    """The table in docs/device.md."""

    def test_what_is_left_when_nobody_holds_it(self):
        found = self.facts("nobody_holds")
        expected = WITHOUT_WRITER[self.version]
        self.assertEqual(found["offers_then"], expected["offers"])
        refusal, first = found["new_reader"]
        self.assertEqual(refusal, expected["refusal"])
        if refusal is None:
            self.assertIn(first, (1, 2), "a picture of a writer that has gone")
        # The last picture stays in the driver's buffers, and nothing follows.
        self.assertEqual(found["reader"], [1, None, None])
        self.assertEqual(found["next_writer"], None)
        self.assertTrue(found["reader_goes_on"])

    def test_a_holder_that_keeps_its_descriptor_keeps_writers_out(self):
        found = self.facts("holder_keeps_it_to_itself")
        self.assertEqual(found["second_writer"], SECOND_WRITER[self.version])

    def test_a_descriptor_that_is_handed_on_works_everywhere(self):
        found = self.facts("descriptor_is_handed_on")
        self.assertEqual(found["offers"], "capture ")
        # Nobody draws a card: the picture of the killed writer is the last one.
        self.assertEqual([seen for seen in found["reader"] if seen][-1], 7)
        self.assertTrue(found["reader_goes_on"])
        self.assertEqual(found["new_reader"], [None, 9])


class HolderTests:
    def assertCards(self, bars, log):
        self.assertNotIn(None, bars, log)
        self.assertLess(max(bars), 4, log)

    def test_apps_see_a_camera_and_a_card_before_any_lucida_runs(self):
        found = self.facts("hold")
        self.assertEqual(found["offers_before"], "capture ", found["log"])
        self.assertEqual(found["format_before"], [128, 72, "YUYV"])
        self.assertCards(found["cards_before"], found["log"])

    def test_every_app_knows_the_format_it_finds_by_default(self):
        found = self.facts("by_default")
        # Chrome hides what offers output as well, and takes discrete sizes alone.
        self.assertEqual(found["flags"], "capture ", found["log"])
        self.assertEqual(found["formats"], ["YUYV"])
        self.assertEqual(found["sizes"], [[1, 1280, 720]])
        self.assertEqual([kind for kind, *_ in found["intervals"]], [1], found["intervals"])
        self.assertEqual(found["intervals"][0][1:], [1, 30])
        self.assertEqual(found["firefox"], [[1280, 720]])

    def test_a_reader_stays_across_all_that_happens_to_lucida(self):
        found = self.facts("hold")
        self.assertTrue(found["first"], found["log"])
        self.assertEqual(found["offers_after_kill"], "capture ")
        self.assertTrue(found["second"], found["log"])
        self.assertEqual(found["second_status"], 0)
        self.assertEqual(found["offers_after"], "capture ")

    def test_after_a_kill_there_is_a_card_and_no_old_picture(self):
        found = self.facts("hold")
        stale, seconds = found["killed"]
        self.assertIsNotNone(seconds, found["log"])
        # What the reader has in its hands, and what was being written.
        self.assertLessEqual(stale, 3)
        self.assertCards(found["cards_after_kill"], found["log"])
        self.assertCards(found["cards_after_stop"], found["log"])
        self.assertCards(found["new_reader"], found["log"])

    def test_a_second_lucida_is_told_of_the_first(self):
        status, log = self.facts("hold")["second_daemon"]
        self.assertEqual(status, 1, log)
        self.assertIn("another lucida writes to", log)

    def test_another_size_is_refused_while_an_app_reads(self):
        found = self.facts("hold")
        status, log = found["other_size"]
        self.assertEqual(status, 1, log)
        self.assertIn("close that app", log)
        self.assertCards(found["cards_after_refusal"], found["log"])

    def test_another_size_is_taken_over_by_the_holder(self):
        found = self.facts("another_size")
        log = found["log"] + found["daemon_log"]
        self.assertTrue(found["was_lent"] and found["has_it"], log)
        self.assertEqual(found["format"], [160, 90, "YUYV"], log)
        self.assertTrue(found["shows"], log)
        self.assertCards(found["cards"], found["log"])
        self.assertEqual(found["stored"], 1)
        self.assertEqual(found["offers"], "capture ")

    def test_a_holder_that_stops_frees_the_device(self):
        found = self.facts("another_size")
        self.assertEqual(found["status"], 0, found["log"])
        self.assertEqual(found["offers_then"], "output")

    def test_the_holder_itself_may_be_killed(self):
        found = self.facts("holder_dies")
        self.assertTrue(found["before"] and found["meanwhile"], found["log"])
        # The new one sees that somebody writes, and draws nothing over it …
        self.assertEqual(found["cards_between"], 0, found["log"])
        self.assertTrue(found["is_known"], found["log"])
        # … until nobody does, which it notices at once.
        stale, seconds = found["killed"]
        self.assertLessEqual(stale, 3, found["log"])
        self.assertIsNotNone(seconds, found["log"])
        self.assertCards(found["cards"], found["log"])
        self.assertEqual(found["offers"], "capture ")
        self.assertCards(found["cards_then"], found["log"])
        self.assertTrue(found["after"], found["log"])
        self.assertEqual(found["status"], 0, found["log"])

    def test_the_holder_may_be_stopped_and_started_under_a_running_lucida(self):
        found = self.facts("holder_restarts")
        self.assertTrue(found["before"] and found["meanwhile"], found["log"])
        self.assertEqual([found["stopped"], found["status"]], [0, 0], found["log"])
        self.assertTrue(found["is_known"], found["log"])
        self.assertEqual(found["cards_between"], 0, found["log"])
        self.assertCards(found["cards"], found["log"])
        self.assertTrue(found["second"], found["log"])

    def test_a_lucida_that_ends_without_a_holder_leaves_what_the_next_one_goes_on_with(self):
        found = self.facts("holder_restarts")
        self.assertEqual(found["second_status"], 0, found["log"])
        self.assertCards(found["cards_then"], found["log"])
        self.assertTrue(found["third"], found["log"])
        self.assertTrue(found["is_kept"], found["log"])
        # Unless there will be none: then the device is for other programs.
        self.assertEqual([found["stopped_again"], found["last_status"]], [0, 0], found["log"])
        self.assertEqual(found["offers_then"], "output", found["log"])

    def test_a_reading_ffmpeg_goes_on_across_a_kill(self):
        found = self.facts("a_reading_ffmpeg")
        self.assertEqual(found["card_before"], 0, found["log"])
        self.assertIsNotNone(found["picture"], found["log"])
        # What the driver, ffmpeg and the pipe from it had in hand already.
        self.assertLessEqual(found["card_after_kill"], 30, found["log"])
        self.assertIsNotNone(found["picture_again"], found["log"])
        self.assertTrue(found["is_running"])
        # Cards and whole pictures, nothing between.
        self.assertEqual([bars for bars in found["kinds"] if 4 <= bars < 8], [])

    def test_silent_clients_keep_nobody_out(self):
        found = self.facts("a_silent_client")
        self.assertTrue(found["shows"], found["log"])
        self.assertEqual(found["status"], 0)

    def test_whatever_it_is_told_takes_the_camera_from_nobody(self):
        found = self.facts("a_babbling_client")
        self.assertTrue(found["is_running"], found["log"])
        # Many were answered, refusals among them: it listened all the time.
        self.assertGreater(min(found["answered"]), 500)
        self.assertEqual(found["cards"] + found["cards_after"], 8 * [True], found["log"])
        self.assertTrue(found["shows"] and found["still_shows"], found["log"])
        self.assertEqual(found["status"], 0, found["log"])
        self.assertEqual(found["more_descriptors"], 0)

    def test_other_users_may_not_talk_to_it(self):
        found = self.facts("a_babbling_client")
        self.assertIn("PermissionError", found["as_nobody"][0])

    def test_without_a_driver_it_says_what_to_do(self):
        found = self.facts("another_number")
        for status, output in (found["without_driver"], found["prepare_without"]):
            self.assertEqual(status, 1, output)
            self.assertRegex(output, "sudo (modprobe v4l2loopback|apt install v4l2loopback)")

    def test_auto_finds_the_device_at_another_number(self):
        found = self.facts("another_number")
        status, output = found["by_its_old_number"]
        self.assertEqual(status, 1)
        self.assertIn("/dev/video10", output)
        self.assertCards(found["cards"], found["log"])
        self.assertTrue(found["shows"], found["log"])
        self.assertEqual(found["status"], 0, found["log"])

    def test_it_is_listed_as_ours_to_use(self):
        self.assertEqual(self.facts("idle")["listed"], [[True, "nobody"]])

    def test_prepare_makes_what_is_missing(self):
        found = self.facts("prepare")
        self.assertEqual(found["there"], [0, "/dev/video10 is there\n"])
        status, output = found["another"]
        if self.version == "0.12.7":
            self.assertEqual(status, 1, output)
            self.assertIn("modprobe v4l2loopback video_nr=20 exclusive_caps=1", output)
            return
        self.assertEqual([status, output], [0, "/dev/video20 was made, called Lucida\n"])
        self.assertEqual([found["card"], found["offers"]], ["Lucida", "output"])
        self.assertEqual(found["once_more"], [0, "/dev/video20 is there\n"])

    def test_a_device_made_later_is_held_like_any_other(self):
        for name in ("auto", "/dev/video20"):
            with self.subTest(name):
                status, output, *rest = self.facts("added")[name]
                if self.version == "0.12.7":
                    self.assertEqual(status, 1, output)
                    self.assertIn("makes devices only when it is loaded", output)
                    continue
                self.assertEqual(status, 0, output)
                held, removed, made_again = rest
                self.assertEqual(held["format"], [128, 72, "YUYV"], held["log"])
                self.assertEqual((held["card"], held["offers"]), ("Lucida", "capture "))
                self.assertTrue(held["shows"], held["log"])
                stale, seconds = held["killed"]
                self.assertLessEqual(stale, 3, held["log"])
                self.assertIsNotNone(seconds, held["log"])
                self.assertCards(held["cards"] + held["cards_after"], held["log"])
                # Nobody can take it away while it is held, and when it has gone it is made again.
                self.assertEqual((held["removed"], removed), ("EBUSY", None))
                self.assertEqual(made_again, [0, output])

    def test_prepare_takes_no_camera_for_it(self):
        status, output = self.facts("prepare")["a_camera"]
        self.assertEqual(status, 1)
        self.assertIn("no virtual camera", output)


def device_tests(loopback_version):
    class Tests(DriverTests, HolderTests, case.MachineTestCase):
        version = loopback_version
        command = f"exec /usr/bin/python3 {case.GUEST}/device.py"
        options = {"loopback": loopback_version, "timeout_seconds": 900}

    Tests.__name__ = Tests.__qualname__ = "Loopback_" + loopback_version.replace(".", "_")
    return Tests


Loopback_0_12_7, Loopback_0_13_2, Loopback_0_15_0 = map(device_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
