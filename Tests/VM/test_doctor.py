"""`lucida doctor` on a real kernel: what it says of set-ups that are broken, and whether its commands mend them."""

import unittest

import case


class DoctorTests(case.MachineTestCase):
    command = f"exec /usr/bin/python3 {case.GUEST}/doctor.py"
    # As somebody loads the module who has not read what Chrome wants.
    options = {
        "loopback": "0.13.2",
        "loopback_options": "devices=2 video_nr=9,10 card_label=Other,Lucida",
        "timeout_seconds": 400,
    }

    def test_a_busy_camera_is_named_with_who_has_it_and_freed(self):
        found = self.facts("a_busy_camera")
        busy = found["before"]["camera.busy"]
        self.assertEqual(busy["severity"], "problem")
        self.assertIn(f"python3 (process {found['process']})", busy["title"])
        self.assertEqual(busy["command"], f"kill {found['process']}")
        self.assertEqual(found["before_status"], 1)
        self.assertNotIn("camera.usable", found["before"])
        self.assertEqual(found["mending"], [0, ""])
        self.assertIn("camera.usable", found["after"])
        self.assertNotIn("camera.busy", found["after"])

    def test_another_writer_is_named(self):
        found = self.facts("another_writer")
        writer = found["before"]["loopback.other_writer"]
        self.assertEqual(writer["severity"], "problem")
        self.assertIn(f"python3 (process {found['process']})", writer["title"])
        self.assertNotIn("loopback.other_writer", found["after"])

    def test_a_second_reader_is_named_and_gone(self):
        found = self.facts("a_second_reader")
        first, second = found["processes"]
        # One is as it should be.
        self.assertNotIn("loopback.second_reader", found["one"], found["log"])
        state = found["one"]["loopback.device"]["explanation"]
        self.assertIn("format YUYV:128x72@", state)
        self.assertIn("a lucida writes to it", state)
        self.assertIn(f"open in python3 (process {first})", state)
        # Ours is no stranger.
        self.assertIn("camera.in_use", found["one"])
        warning = found["two"]["loopback.second_reader"]
        self.assertEqual(warning["severity"], "warning")
        self.assertIn(f"process {first}", warning["title"])
        self.assertIn(f"process {second}", warning["title"])
        self.assertEqual(warning["command"], f"kill {second}")
        self.assertNotIn("loopback.second_reader", found["after"])
        # Looking disturbs nobody.
        self.assertEqual(found["status"], 0, found["log"])

    def test_missing_exclusive_caps_are_mended(self):
        found = self.facts("without_exclusive_caps")
        problem = found["before"]["driver.exclusive_caps"]
        self.assertEqual(problem["severity"], "problem")
        self.assertEqual(
            problem["command"],
            "sudo modprobe -r v4l2loopback && sudo modprobe v4l2loopback "
            "exclusive_caps=1 card_label=Lucida",
        )
        self.assertEqual(found["mending"], [0, ""])
        self.assertNotIn("driver.exclusive_caps", found["after"])
        self.assertIn('"Lucida"', found["after"]["loopback.device"]["title"])
        self.assertIn("Offers output now", found["after"]["loopback.device"]["explanation"])
        self.assertIn("0.13.2", found["after"]["driver.loaded"]["title"])
        self.assertEqual(found["after_status"], 0, found["after"])

    def test_a_missing_module_is_named(self):
        found = self.facts("without_the_module")
        missing = found["before"]["driver.missing"]
        self.assertEqual(missing["severity"], "problem")
        self.assertEqual(
            missing["command"],
            f"sudo apt install v4l2loopback-dkms linux-headers-{found['kernel']}",
        )


if __name__ == "__main__":
    unittest.main()
