"""PipeWire, through which Wayland desktops hand out cameras, sees the virtual camera all the time."""

import unittest

import case


class PipeWireTests(case.MachineTestCase):
    command = f"exec /usr/bin/python3 {case.GUEST}/pipewire.py"
    options = {"loopback": "0.15.0", "timeout_seconds": 300}

    def test_sees_the_camera_whether_lucida_runs_or_not(self):
        found = self.facts("seen")
        self.assertTrue(found["first_shows"] and found["second_shows"], found["log"])
        for time in ("before", "first", "after_first", "second", "after_second"):
            self.assertIsNotNone(found[time], f"{time}: {found['log']}")
            name, formats = found[time]
            self.assertTrue(name.startswith("Lucida"), name)
            self.assertEqual([(f["format"], f["size"]) for f in formats], [("YUY2", {"width": 128, "height": 72})])


if __name__ == "__main__":
    unittest.main()
