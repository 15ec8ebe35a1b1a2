"""A `gogrid serve` of its own for a test program: real program, real model, loopback, any free port."""
import os
import subprocess
import tempfile
import time

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]


class Served:
    def __init__(self, *options, models=(MODEL,), mode="aggressive", on_start=None):
        """on_start: told the process's id before it is waited for."""
        self.data = tempfile.TemporaryDirectory(prefix="gogrid-test-")
        self.log = open(os.path.join(self.data.name, "log"), "w+", encoding="utf-8")
        # Aggressive unless told otherwise: what other tests compute beside must not pause it.
        self.process = subprocess.Popen([PROGRAM, "serve", "--mode", mode, "--listen", "127.0.0.1:0", "--data-dir", self.data.name,
                                         *(word for model in models for word in ("--model", model)), *options],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        if on_start:
            on_start(self.process.pid)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.log.seek(0)
            raise RuntimeError(f"the server did not start: {line!r} {self.log.read()}")
        self.url = line.split()[-1]

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.data.cleanup()


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
