"""What a conferencing app, Chromium, sees of the virtual camera."""

import unittest

import case


class ChromiumTests(case.MachineTestCase):
    command = f"exec /usr/bin/python3 {case.GUEST}/chromium.py"
    options = {"loopback": "0.15.0", "timeout_seconds": 500, "counts_time": True}

    def test_offers_the_camera_by_its_name(self):
        found = self.facts("colours")
        self.assertTrue(found.get("label", "").startswith("Lucida"), found)
        self.assertEqual((found["settings"]["width"], found["settings"]["height"]), (160, 90))

    def test_shows_the_right_colours(self):
        found = self.facts("colours")
        self.assertIsNotNone(found["distance"], found["log"])
        self.assertLessEqual(found["distance"], 10)
        self.assertEqual(found["status"], 0)

    def test_shows_numbered_frames_in_order(self):
        found = self.facts("frame_numbers")
        self.assertGreaterEqual(len(found["numbers"]), 3, found["log"])
        self.assertEqual(found["numbers"], sorted(found["numbers"]))
        self.assertEqual(found["status"], 0)

    def test_keeps_the_camera_while_lucida_is_killed_and_started_again(self):
        found = self.facts("a_kill")
        self.assertTrue(found.get("before", {}).get("label", "").startswith("Lucida"), found)
        self.assertTrue(found["card_before"], found)
        self.assertLessEqual(found["distance"], 10, found)
        self.assertTrue(found["card_after"], found)
        self.assertIsNotNone(found["distance_after"], found["log"])
        self.assertLessEqual(found["distance_after"], 10)
        self.assertEqual(found["status"], 0)
        print(f"Chromium: the camera again {found['seconds_after']} s after a kill (guest time)", flush=True)
        self.assertLessEqual(found["seconds_after"], 5)


if __name__ == "__main__":
    unittest.main()
