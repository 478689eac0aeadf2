"""`make install` and the service under systemd as process 1."""

import json
import os
import re
import unittest

import case

CAPTURE, OUTPUT = 0x1, 0x2


class ServiceTests:
    def test_installs(self):
        found = self.facts("install")
        self.assertEqual(found["status"], 0, found["log"])
        # It returns 0 for unknown keys, too: any output is a complaint.
        self.assertEqual(found["verify"], "")

    def test_the_camera_is_there_before_any_lucida_runs(self):
        found = self.facts("device")
        self.assertEqual(found["status"], 0, found["output"] + found["log"])
        self.assertEqual(found["flags"] & (CAPTURE | OUTPUT), CAPTURE, found["log"])
        self.assertEqual(found["format"], [128, 72, "YUYV"])
        self.assertEqual(found["cards"], [True] * 3, found["log"])
        self.assertNotEqual(found["user"], "root")
        self.assertEqual(found["socket"], "srw-rw---- video")

    def test_the_camera_stays_when_its_holder_is_killed_or_restarted(self):
        found = self.facts("device")
        self.assertTrue(found["is_back"] and found["cards_again"], found["log"])
        self.assertEqual(found["restarted"][0], 0, found["log"])
        self.assertEqual(found["cards_after_restart"], [True] * 3, found["log"])

    def test_is_ready_when_the_camera_can_be_opened(self):
        found = self.facts("start")
        self.assertEqual(found["status"], 0, found["log"])
        self.assertEqual(found["state"]["ActiveState"], "active", found["log"])
        self.assertTrue(found["flags"] & CAPTURE, found["log"])
        self.assertEqual(found["format"], [128, 72, "YUYV"])
        self.assertTrue(found["shows_the_camera"], found["log"])

    def test_does_not_run_as_root(self):
        self.assertNotEqual(self.facts("start")["user"], "root")

    def test_has_no_rights_that_it_does_not_need(self):
        found = self.facts("sandbox")
        status = found["status"]
        self.assertEqual({status[f"Cap{name}"] for name in ("Eff", "Prm", "Bnd", "Amb")}, {16 * "0"})
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        self.assertEqual(found["interfaces"], ["lo"])

    def test_systemd_finds_little_exposed(self):
        text = self.facts("sandbox")["security"]
        self.assertLessEqual(self.exposure("lucida", text), 1.0, text)
        text = self.facts("device")["security"]
        self.assertLessEqual(self.exposure("lucida-device", text), 0.5, text)

    def exposure(self, unit, text):
        found = re.search(rf"exposure level for {unit}.service: ([0-9.]+)", text)
        self.assertIsNotNone(found, text)
        return float(found[1])

    def test_is_steered_by_the_group_video(self):
        found = self.facts("control")
        self.assertEqual(found["status"], 0, found)
        self.assertEqual(found["socket"], "srw-rw---- video")
        self.assertNotEqual(found["as_nobody"][0], 0)
        self.assertIn("permission denied", found["as_nobody"][1])
        self.assertEqual(found["pause"], [0, "paused\n"])
        self.assertEqual(found["resume"], [0, "resumed\n"])

    def test_a_pause_shows_no_picture(self):
        found = self.facts("control")
        self.assertTrue(found["before"], found["log"])
        self.assertLess(max(found["paused"]), 8)
        self.assertTrue(found["after"], found["log"])

    def test_a_pause_outlives_a_crash(self):
        found = self.facts("control")
        self.assertTrue(found["is_back"], found["log"])
        self.assertEqual(found["state_after_a_kill"], "paused", found["log"])
        self.assertLess(max(found["paused_after_a_kill"]), 8)
        self.assertIn("paused, as it was before", found["log"])

    def test_reloads_without_a_restart(self):
        found = self.facts("control")
        self.assertEqual(found["reload"][0], 0, found["log"])
        self.assertTrue(found["is_reloaded"] and found["is_active"], found["log"])
        self.assertTrue(found["shows_the_camera"], found["log"])

    def test_a_reload_of_a_configuration_with_a_mistake_fails_and_changes_nothing(self):
        found = self.facts("control")
        self.assertNotEqual(found["bad_reload"][0], 0, found["bad_reload"])
        self.assertIn("/etc/lucida/lucida.toml:5: transform.strength", found["bad_reload_log"])
        self.assertIn('"seed":8', found["seed_then"])

    def test_the_doctor_sees_what_the_service_lacks(self):
        found = self.facts("doctor")

        def service(name):
            findings = json.loads(found[name][1])["findings"]
            return {
                f["id"]: f.get("command")
                for f in findings if f["id"].startswith(("service", "holder"))
            }

        # Installed and started, but not for the next boot.
        enable = "sudo systemctl enable lucida"
        self.assertEqual(
            service("before"),
            {"service": None, "service.not_enabled": enable, "holder.not_enabled": enable + "-device"},
        )
        # One enables the other.
        self.assertEqual(service("after"), {"service": None, "holder": None})
        reload = "sudo systemctl daemon-reload && sudo systemctl restart lucida"
        self.assertEqual(service("changed").get("service.reload_needed"), reload)
        # The service films, and its user's processes are not hidden from root.
        ids = [finding["id"] for finding in json.loads(found["after"][1])["findings"]]
        self.assertIn("camera.in_use", ids)
        self.assertIn("loopback.device", ids)

    def test_comes_back_after_a_kill_under_a_reading_ffmpeg(self):
        found = self.facts("restart_after_a_kill")
        for what in ("before", "card", "camera"):
            self.assertIsNotNone(found[what], f"{what}: {found['log']}")
        self.assertTrue(found["is_reading"] and found["is_restarted"], found["log"])
        print(f"service, ffmpeg: a card {found['seconds_to_the_card']} s and the camera "
              f"{found['seconds_to_the_camera']} s after a kill (guest time)", flush=True)
        self.assertLessEqual(found["seconds_to_the_card"], 1)
        self.assertLessEqual(found["seconds_to_the_camera"], 5)

    def test_an_app_reads_on_while_both_units_are_restarted(self):
        found = self.facts("both_restart")
        self.assertEqual(found["restarted"], 0, found["log"])
        self.assertTrue(found["is_another"] and found["is_reading"], found["log"])
        for what in ("before", "card", "camera"):
            self.assertIsNotNone(found[what], f"{what}: {found['log']}")
        # Cards and whole pictures, nothing between.
        self.assertEqual([bars for bars in found["kinds"] if 4 <= bars < 8], [])
        self.assertEqual(found["flags"] & (CAPTURE | OUTPUT), CAPTURE)

    def test_feeds_the_watchdog_while_nobody_looks(self):
        found = self.facts("watchdog")
        self.assertTrue(found["is_idle"] and found["is_told"], found["state"])
        self.assertIn("idle: nobody is looking", found["state"]["StatusText"])

    def test_stops_cleanly(self):
        found = self.facts("stop")
        self.assertEqual(found["status"], 0, found["log"])
        self.assertEqual(found["state"]["ActiveState"], "inactive", found["log"])
        self.assertEqual(found["state"]["Result"], "success", found["log"])
        # Whoever reads goes on, and sees a card.
        self.assertNotIn(None, found["bars_after"], found["log"])
        self.assertLess(found["bars_after"][-1], 4)

    def test_a_daemon_that_hangs_is_ended_and_started_again(self):
        found = self.facts("hung")
        for name in ("before", "card", "camera"):
            self.assertIsNotNone(found[name], found["log"])
        self.assertTrue(found["is_another"], found["log"])

    def test_where_nothing_is_to_be_held_nothing_is_started_again(self):
        found = self.facts("nothing_to_hold")
        self.assertEqual(
            (found["state"], found["status"], found["restarts"]), ("failed", "78", "0"), found["log"])

    def test_uninstalls(self):
        found = self.facts("uninstall")
        self.assertEqual(found["status"], 0, found["output"])
        self.assertEqual(found["left"], "")


def service_tests(loopback_version):
    class Tests(ServiceTests, case.MachineTestCase):
        command = f"exec /usr/bin/python3 {case.GUEST}/service.py"
        options = {
            "loopback": loopback_version, "systemd": True, "timeout_seconds": 900, "counts_time": True
        }

    Tests.__name__ = Tests.__qualname__ = "Service_" + loopback_version.replace(".", "_")
    return Tests


# Debian 12's own, without a control device, and the newest; the one between takes minutes more, and runs in `make soak`.
Service_0_12_7 = service_tests("0.12.7")
Service_0_15_0 = service_tests("0.15.0")
if "LUCIDA_SOAK_ROUNDS" in os.environ:
    Service_0_13_2 = service_tests("0.13.2")


if __name__ == "__main__":
    unittest.main()
