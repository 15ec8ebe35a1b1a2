"""A good guest: `gogrid serve` gives way to what others compute, and never to what it computes itself."""
import http.client
import json
import multiprocessing
import os
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from served import Served, wait_until

CHECK_S = 3
PAUSE_S = 3
LIMIT = 0.7
NEARLY = 0.55
CORES = len(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")


def burn():
    while True:
        pass


class Stress:
    """Processes of somebody else, one for each core."""

    def __enter__(self):
        self.processes = [multiprocessing.Process(target=burn, daemon=True) for _ in range(CORES)]
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.join()


class Witness:
    """What the server and what all others use of the machine's CPU, counted by another than the server. A neighbour's
    compiler is somebody else's load too: the tests ask the witness whether there is one."""

    def __init__(self, pid):
        self.pid = pid
        self.busy_at = 0.0  # when others were last seen to use nearly as much as what pauses
        self.last = self.count()

    def count(self):
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            own = file.read().rpartition(")")[2].split()
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4], int(own[11]) + int(own[12])

    def look(self):
        """(own, others) since the look before, as shares of the machine; at least 0.3 s of it."""
        while (now := self.count())[0] - self.last[0] < 0.3 * TICKS * os.cpu_count():
            time.sleep(0.05)
        total, busy, own = (new - old for new, old in zip(now, self.last))
        self.last = now
        others = max(0, busy - own) / total
        if others > NEARLY:
            self.busy_at = time.monotonic()
        return own / total, others

    def quiet_for(self):
        return time.monotonic() - self.busy_at


class Guest(unittest.TestCase):
    def setUp(self):
        self.server = Served("--context", "2048", "--parallel", "2", "--limit", f"pause.check_s={CHECK_S}",
                             "--limit", f"pause.pause_s={PAUSE_S}", "--limit", f"pause.cpu={LIMIT}",
                             "--limit", "pause.memory=1", "--limit", "max_compute=1", mode="balanced")
        self.addCleanup(self.server.__exit__)
        self.witness = Witness(self.server.process.pid)

    def get(self, path):
        with urllib.request.urlopen(self.server.url + path, timeout=30) as answer:
            return json.load(answer)

    def state(self):
        return self.get("/admin/v1/status")["state"]

    def begin(self, tokens, stream=True):
        connection = http.client.HTTPConnection(urllib.parse.urlparse(self.server.url).netloc, timeout=300)
        body = {"model": self.get("/v1/models")["data"][0]["id"], "prompt": "Once upon a time", "max_tokens": tokens,
                "temperature": 0, "ignore_eos": True, "stream": stream}
        connection.request("POST", "/v1/completions", json.dumps(body),
                           {"Content-Type": "application/json", "X-GoGrid-Wait": "60"})
        return connection, connection.getresponse()

    def or_skip_after(self, end):
        if time.monotonic() > end:
            self.skipTest("others compute here all the time: nothing can be shown")

    def wait_for_quiet(self):
        """Others' load was given way to, rightly, and that is over: no pause is owed any more."""
        end = time.monotonic() + 300
        since = None
        while since is None or time.monotonic() - since < PAUSE_S + 1:
            self.or_skip_after(end)
            quiet = self.state() == "running" and self.witness.look()[1] < NEARLY
            since = (since or time.monotonic()) if quiet else None

    def test_others_load_pauses_within_a_look_and_a_second_and_a_stream_goes_on_after_it(self):
        self.wait_for_quiet()
        connection, answer = self.begin(300)
        self.addCleanup(connection.close)
        answer.readline()
        with Stress():
            begin = time.monotonic()
            self.assertTrue(wait_until(lambda: self.state() == "paused", 30))
            took = time.monotonic() - begin
            status = self.get("/admin/v1/status")
            self.assertRegex(status["why"], r"others use \d.* % of the CPU \(limit 70 %\)")
            self.assertIsNotNone(status["until"])
            self.assertGreater(self.get("/admin/v1/resources")["load"]["cpu_of_others"], LIMIT)
            held = time.monotonic() + PAUSE_S + 2 * CHECK_S
            while time.monotonic() < held:
                self.assertEqual(self.state(), "paused", "it goes on only after the load")
                self.witness.look()
        self.witness.busy_at = time.monotonic()
        while self.state() == "paused":
            self.witness.look()
            self.assertLess(self.witness.quiet_for(), PAUSE_S + 2 * CHECK_S + 1, "the load has ended")
        back = self.witness.quiet_for()
        text = answer.read().decode()
        self.assertIn(": paused", text)
        self.assertIn('"finish_reason":"length"', text)
        self.assertTrue(text.rstrip().endswith("data: [DONE]"))
        print(f"paused {took:.2f} s after the load began, resumed {back:.2f} s after it ended")
        self.assertLess(took, CHECK_S + 1)

    def keep_busy(self):
        while not self.over.is_set():
            try:
                connection, answer = self.begin(100, stream=False)
                answer.read()
                connection.close()
            except (OSError, http.client.HTTPException):  # the test has ended and the server with it
                pass

    def test_its_own_load_never_pauses_it(self):
        self.wait_for_quiet()
        self.over = threading.Event()
        self.addCleanup(self.over.set)
        for _ in range(2):
            threading.Thread(target=self.keep_busy, daemon=True).start()
        end = time.monotonic() + 300
        seen = 0.0
        while seen < 8:
            self.or_skip_after(end)
            begin = time.monotonic()
            own, others = self.witness.look()
            if self.witness.quiet_for() < 2 * PAUSE_S:
                continue
            status = self.get("/admin/v1/status")
            self.assertEqual(status["state"], "running", f"own {own:.2f}, others {others:.2f}: {status['why']}")
            if own > 0.4:
                seen += time.monotonic() - begin


if __name__ == "__main__":
    unittest.main()
