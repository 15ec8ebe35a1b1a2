"""No command of gogrid starts another program, or a process: each is run so that it would die of it."""
import json
import os
import signal
import subprocess
import tempfile
import unittest
import urllib.request

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]
CHILDLESS = os.environ["GOGRID_CHILDLESS"]
# What the program restarts itself once for, at its very start, and only where nobody has set it.
ENVIRONMENT = {**os.environ, "GOMP_SPINCOUNT": "1000"}


class Childless(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = folder.name

    def run_it(self, *words, environment=None):
        return subprocess.run([CHILDLESS, *words], env=environment or ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=300, check=False)

    def test_who_starts_a_program_or_a_process_dies(self):
        for script in ("/bin/true; true", "exec /bin/true", "(exit 0); true"):
            self.assertEqual(self.run_it("/bin/sh", "-c", script).returncode, -signal.SIGSYS, script)
        self.assertEqual(self.run_it("/bin/sh", "-c", "exit 7").returncode, 7)

    def test_the_one_restart_of_its_own_would_be_seen(self):
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
        self.assertEqual(self.run_it(PROGRAM, "devices", environment=bare).returncode, -signal.SIGSYS)

    def test_no_command_does(self):
        for words in (("--version",), ("devices", "--json"), ("plan", MODEL, "--context", "512", "--data-dir", self.data),
                      ("run", MODEL, "-p", "Hello", "-n", "8", "--context", "256", "--data-dir", self.data),
                      ("run", MODEL, "-p", "Hello", "-n", "8", "--context", "256", "--split", "0:15@cpu0,15:30@cpu0",
                       "--data-dir", self.data),
                      ("models", "import", MODEL, "--name", "m", "--data-dir", self.data),
                      ("models", "list", "--data-dir", self.data), ("models", "verify", "m", "--mode", "aggressive", "--data-dir", self.data)):
            result = self.run_it(PROGRAM, *words)
            self.assertEqual(result.returncode, 0, (words, result.stdout[-500:]))

    def test_a_server_does_not_with_all_its_limits(self):
        server = subprocess.Popen([CHILDLESS, PROGRAM, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--context", "512",
                                   "--mode", "aggressive", "--limit", "pause.check_s=1", "--data-dir", self.data],
                                  env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.kill)
        url = server.stdout.readline().split()[-1]

        def ask(method, path, body=None):
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)

        model = ask("GET", "/v1/models")["data"][0]["id"]
        for mode in ("conservative", "balanced", "aggressive"):
            ask("PATCH", "/admin/v1/policy", {"mode": mode})
            self.assertTrue(ask("GET", "/admin/v1/resources")["priority"])
        text = ask("POST", "/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 4})
        self.assertTrue(text["choices"])
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
