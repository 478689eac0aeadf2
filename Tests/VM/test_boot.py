"""A machine that starts with Lucida installed: camera and daemon come by themselves, the camera first."""

import unittest

import case

CAPTURE, OUTPUT = 0x1, 0x2

# What README's "Use it with your camera" does, but for a configuration that an emulated processor can keep up with.
INSTALL = """
make -C "$LUCIDA_ROOT" install BINARY="$LUCIDA_BINARY"
/usr/bin/python3 -c 'import service; print(service.CONFIGURATION)' >/etc/lucida/lucida.toml
systemctl enable lucida
"""


class BootTests(case.MachineTestCase):
    command = f"exec /usr/bin/python3 {case.GUEST}/boot.py"
    options = {
        "loopback": "0.13.2", "systemd": True, "before_boot": INSTALL, "timeout_seconds": 300, "counts_time": True
    }

    def test_starts_the_camera_first(self):
        found = self.facts("boot")
        self.assertTrue(found["is_ready"], found["log"])
        self.assertGreater(found["ready"]["lucida-device"], 0, found["log"])
        self.assertLess(found["ready"]["lucida-device"], found["started"]["lucida"])
        self.assertEqual([line for line in found["failed"] if "lucida" in line], [], found["log"])

    def test_apps_find_a_camera_that_shows_the_picture(self):
        found = self.facts("boot")
        self.assertEqual(found["flags"] & (CAPTURE | OUTPUT), CAPTURE, found["log"])
        self.assertEqual(found["format"], [128, 72, "YUYV"])
        self.assertTrue(found["shows_the_camera"], found["log"])

    def test_the_group_video_steers_it(self):
        found = self.facts("boot")
        self.assertEqual(found["as_video"][0], 0, found["as_video"][1])


if __name__ == "__main__":
    unittest.main()
