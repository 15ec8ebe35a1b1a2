"""A good guest: `gogrid serve` gives way to what others compute, and never to what it computes itself."""
import http.client
import json
import multiprocessing
import os
import time
import unittest
import urllib.parse
import urllib.request

from served import Served, wait_until

CHECK_S = 1


def burn():
    while True:
        pass


class Stress:
    """Processes of somebody else, one for each core."""

    def __enter__(self):
        self.processes = [multiprocessing.Process(target=burn, daemon=True) for _ in os.sched_getaffinity(0)]
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.join()


class Guest(unittest.TestCase):
    def setUp(self):
        self.server = Served("--context", "4096", "--parallel", "2", "--limit", "pause.enabled=true",
                             "--limit", f"pause.check_s={CHECK_S}", "--limit", "pause.pause_s=3",
                             "--limit", "pause.cpu=0.5", "--limit", "pause.memory=1", "--limit", "max_compute=1")
        self.addCleanup(self.server.__exit__)
        # Whatever runs on this machine besides must have ended; it would be given way to, rightly.
        self.assertTrue(wait_until(lambda: self.state() == "running", 120), "others compute here all the time")

    def get(self, path):
        with urllib.request.urlopen(self.server.url + path, timeout=30) as answer:
            return json.load(answer)

    def state(self):
        return self.get("/admin/v1/status")["state"]

    def stream(self, tokens):
        """The pieces of a stream, as they come."""
        connection = http.client.HTTPConnection(urllib.parse.urlparse(self.server.url).netloc, timeout=120)
        self.addCleanup(connection.close)
        body = {"model": self.get("/v1/models")["data"][0]["id"], "prompt": "Once upon a time", "max_tokens": tokens,
                "temperature": 0, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse()

    def test_others_load_pauses_within_a_look_and_a_second_and_a_stream_goes_on_after_it(self):
        answer = self.stream(300)
        answer.readline()
        with Stress():
            begin = time.monotonic()
            self.assertTrue(wait_until(lambda: self.state() == "paused", 30))
            took = time.monotonic() - begin
            status = self.get("/admin/v1/status")
            self.assertIn("cpu of others", status["why"])
            self.assertIsNotNone(status["until"])
            self.assertGreater(self.get("/admin/v1/resources")["load"]["cpu_of_others"], 0.5)
            time.sleep(5)
            self.assertEqual(self.state(), "paused", "it goes on while the load lasts")
        begin = time.monotonic()
        self.assertTrue(wait_until(lambda: self.state() == "running", 30))
        back = time.monotonic() - begin
        text = answer.read().decode()
        self.assertIn(": paused", text)
        self.assertIn('"finish_reason":"length"', text)
        self.assertTrue(text.rstrip().endswith("data: [DONE]"))
        print(f"paused after {took:.2f} s, resumed {back:.2f} s after the load's end")
        self.assertLess(took, CHECK_S + 1)
        self.assertLess(back, 3 + 2 * CHECK_S + 1)

    def test_its_own_load_never_pauses_it(self):
        answers = [self.stream(1500) for _ in range(2)]
        end = time.monotonic() + 8
        busiest = 0.0
        while time.monotonic() < end:
            load = self.get("/admin/v1/resources")["load"]
            busiest = max(busiest, load["cpu_own"] or 0.0)
            self.assertEqual(self.state(), "running", load)
            time.sleep(0.1)
        self.assertGreater(busiest, 0.5, "it did compute")
        for answer in answers:
            answer.close()


if __name__ == "__main__":
    unittest.main()
