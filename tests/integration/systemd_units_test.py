"""The systemd units: systemd understands every line of them, and gogrid every option."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["GOGRID_PROGRAM"]
UNITS = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SYSTEMD = shutil.which("systemd-analyze")


class SystemdUnits(unittest.TestCase):
    def analyze(self, unit, *words):
        """systemd-analyze over the unit, whose program is the one under test."""
        with tempfile.TemporaryDirectory() as folder:
            text = re.sub(r"^ExecStart=\S+", f"ExecStart={PROGRAM}", (UNITS / unit).read_text(), flags=re.M)
            file = pathlib.Path(folder, unit)
            file.write_text(text)
            return subprocess.run([SYSTEMD, *words, file], env={**os.environ, "XDG_RUNTIME_DIR": folder}, text=True, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    @unittest.skipUnless(SYSTEMD, "systemd-analyze is not here")
    def test_systemd_understands_every_line(self):
        for unit, words in (("gogrid.service", ("verify",)), ("gogrid-user.service", ("verify", "--user"))):
            result = self.analyze(unit, *words)
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertEqual(result.stdout.strip(), "", unit)

    @unittest.skipUnless(SYSTEMD, "systemd-analyze is not here")
    def test_the_service_of_the_machine_is_little_exposed(self):
        result = self.analyze("gogrid.service", "security", "--offline=true")
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
        self.assertTrue(exposure, result.stdout)
        self.assertLessEqual(float(exposure.group(1)), 2.5)

    def test_what_will_be_so_again_is_not_started_again(self):
        """Exit statuses of wrong usage, and of what can never run here (docs/cli.md)."""
        usage = subprocess.run([PROGRAM, "serve", "--no-such-option"], capture_output=True, check=False).returncode
        self.assertEqual(usage, 2)
        for unit in sorted(UNITS.glob("*.service")):
            prevented = re.search(r"^RestartPreventExitStatus=(.*)$", unit.read_text(), re.M)
            self.assertTrue(prevented, unit.name)
            self.assertEqual(prevented.group(1).split(), ["2", "3"], unit.name)

    def test_gogrid_knows_every_option_they_use(self):
        page = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        for unit in sorted(UNITS.glob("*.service")):
            for option in re.findall(r"--[a-z-]+", re.search(r"^ExecStart=(.*)$", unit.read_text(), re.M).group(1)):
                self.assertIn(option, page, unit.name)


if __name__ == "__main__":
    unittest.main()
