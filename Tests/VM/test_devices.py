"""The device tests of Tests/V4L2Tests, on three versions of the real driver."""

import unittest

import case
import vm

BUNDLE = vm.ROOT / ".build/debug/lucidaPackageTests.xctest"


class DeviceTests:
    needs_binary = False

    @classmethod
    def setUpClass(cls):
        if not BUNDLE.exists():
            raise unittest.SkipTest(f"{BUNDLE} is missing: run swift build --build-tests")
        super().setUpClass()

    def test_device_tests_pass(self):
        self.assertEqual(self.result.status, 0, str(self.result))
        # Skipped tests pass too: make sure that these were not.
        for test in ("saysThatTheCameraIsGone", "deliversNumberedAndTimedFrames", "showsWhatIsWritten"):
            self.assertRegex(self.result.output, f"{test}.* passed after")


def device_tests(loopback_version):
    class Tests(DeviceTests, case.MachineTestCase):
        command = f"""
            export LUCIDA_TEST_CAMERA=/dev/video0 LUCIDA_TEST_UNPLUG_CAMERA=/dev/video1
            export LUCIDA_TEST_LOOPBACK=/dev/video10
            exec {BUNDLE} --testing-library swift-testing --filter V4L2Tests"""
        options = {
            "loopback": loopback_version,
            "vivid": "n_devs=2 node_types=0x1,0x1 vid_cap_nr=0,1",
        }

    Tests.__name__ = Tests.__qualname__ = "Loopback_" + loopback_version.replace(".", "_")
    return Tests


Loopback_0_12_7, Loopback_0_13_2, Loopback_0_15_0 = map(device_tests, vm.LOOPBACK_VERSIONS)

if __name__ == "__main__":
    unittest.main()
