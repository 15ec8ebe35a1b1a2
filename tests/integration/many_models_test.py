"""Five models in the memory of two: clients ask for them at random, and each answer is what its model says alone.

GOGRID_SOAK_SECONDS: for how long (20)."""
import concurrent.futures
import json
import os
import random
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from served import MODEL, PROGRAM, Served, wait_until

SECONDS = float(os.environ.get("GOGRID_SOAK_SECONDS", "20"))
WARM_UP = min(SECONDS, 30)
CLIENTS = 8
TYPES = ("q8_0", "q5_1", "q5_0", "q4_0")
SIZE = ("--context", "512", "--parallel", "4", "--deterministic")
MIB = 1 << 20


def request_for(model, stream, tokens):
    return {"model": model, "prompt": "A short story about a lighthouse:", "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
            "stream": stream}


class ManyModels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gogrid-models-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.models = [MODEL]
        for kind in TYPES:
            path = os.path.join(cls.folder.name, f"story-{kind}.gguf")
            subprocess.run([PROGRAM, "quantize", MODEL, path, "--type", kind, "--allow-requantize", "--mode", "aggressive"], check=True,
                           capture_output=True)
            cls.models.append(path)
        # Weights, and 63 MiB of KV cache and compute buffers each.
        cls.needs = sorted(os.path.getsize(model) + 64 * MIB for model in cls.models)

    def serve(self, *options):
        # The two largest fit, and no three of the smallest do.
        room = sum(self.needs[-2:]) + 8 * MIB
        self.assertLess(room, sum(self.needs[:3]))
        server = Served("--device", f"cpu0:memory={int(room / 0.95)}B", "--on-demand", *SIZE, *options, models=self.models)
        self.addCleanup(server.__exit__)
        return server

    def get(self, path):
        with urllib.request.urlopen(self.server.url + path, timeout=60) as answer:
            return json.load(answer)

    def open(self, body, headers=(), path="/v1/completions"):
        request = urllib.request.Request(self.server.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json", **dict(headers)})
        return urllib.request.urlopen(request, timeout=300)

    def post(self, path, body):
        with self.open(body, path=path) as answer:
            answer.read()

    def ask(self, model, stream=False, tokens=24):
        """The text; for a stream, also whether it came to its end."""
        with self.open(request_for(model, stream, tokens)) as answer:
            if not stream:
                return json.load(answer)["choices"][0]["text"], True
            text, ended = "", False
            for line in answer:
                if line.startswith(b"data: [DONE]"):
                    ended = True
                elif line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    self.assertNotIn("error", event)
                    text += "".join(choice["text"] for choice in event["choices"])
            return text, ended

    def states(self):
        return [model["state"] for model in self.get("/admin/v1/status")["models"]]

    def resident(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["RssAnon"].split()[0]) * 1024

    def at_rest(self):
        """Anonymous memory once all models have given theirs back."""
        self.assertTrue(wait_until(lambda: set(self.states()) == {"resting"} and self.held() == 0, 60))
        # The leases are given back first, the heap to the system after the last of the engine.
        last, now, end = None, self.resident(), time.monotonic() + 30
        while now != last and time.monotonic() < end:
            time.sleep(1)
            last, now = now, self.resident()
        return now

    def held(self):
        return self.get("/admin/v1/resources")["ledger"][0]["held"]

    def test_eight_clients_at_random_lose_nothing_and_no_memory(self):
        self.server = self.serve("--keep-alive", "2s")
        names = [model["id"] for model in self.get("/v1/models")["data"]]
        self.assertEqual(len(names), 5)
        self.assertEqual(set(self.states()), {"resting"})
        expected = {name: self.ask(name)[0] for name in names}
        self.assertGreater(len(set(expected.values())), 2)  # that one model answers for another is seen
        faults, refused, counts, most = [], [0], {name: 0 for name in names}, [0]
        lock = threading.Lock()

        def client(seed, end):
            chance = random.Random(seed)
            while time.monotonic() < end:
                name = chance.choice(names)
                tokens = chance.randint(1, 24)
                try:
                    text, ended = self.ask(name, chance.random() < 0.5, tokens)
                except urllib.error.HTTPError as error:
                    with error, lock:
                        if error.code == 503 and error.headers["Retry-After"]:
                            refused[0] += 1
                        else:
                            faults.append(f"{name}: {error.code} {error.read()}")
                    continue
                with lock:
                    counts[name] += 1
                    if not ended or not expected[name].startswith(text) or not text:
                        faults.append(f"{name}: {text!r} is no beginning of {expected[name]!r}, or was cut")

        def burst(seconds, seed):
            end = time.monotonic() + seconds
            clients = [threading.Thread(target=client, args=(seed + i, end)) for i in range(CLIENTS)]
            for thread in clients:
                thread.start()
            while any(thread.is_alive() for thread in clients):
                ledger = self.get("/admin/v1/resources")["ledger"][0]
                self.assertLessEqual(ledger["held"], ledger["cap"])
                most[0] = max(most[0], self.resident())
                time.sleep(0.2)
            return self.at_rest()

        # What is allocated once for ever, and the heap of each thread that ever loads or serves, is there after the first.
        before = burst(WARM_UP, 0)
        after = burst(SECONDS, 100)
        with urllib.request.urlopen(self.server.url + "/metrics", timeout=10) as answer:
            loads = sum(float(line.split()[-1]) for line in answer.read().decode().splitlines()
                        if line.startswith("gogrid_model_loads_total"))
        print(f"{sum(counts.values())} answers in {SECONDS:.0f} s, {refused[0]} honest refusals, {loads:.0f} loads; anonymous memory at rest "
              f"{before / MIB:.1f} MiB before, {after / MIB:.1f} after, {most[0] / MIB:.0f} at most")
        self.assertEqual(faults, [])
        self.assertGreater(min(counts.values()), 0)
        self.assertGreater(loads, 10)
        # Some twenty loads differ by a few MiB in which pages of the heap are left half used; over hundreds that evens out. A
        # vocabulary that each load left behind would be far more than either.
        self.assertLess(abs(after - before), 0.02 * before if SECONDS >= 300 else 8 * MIB)

    def test_a_stream_that_waits_says_how_far_its_model_is(self):
        self.server = self.serve("--alias", "gpt-4o-mini=story-q8_0", "--pin", self.models[1])
        self.assertTrue(wait_until(lambda: "ready" in self.states()))
        names = {model["id"]: model for model in self.get("/v1/models")["data"]}
        self.assertEqual(names["gpt-4o-mini"]["alias_of"], "story-q8_0")
        self.assertEqual(self.ask("gpt-4o-mini")[0], self.ask("story-q8_0")[0])
        # Nothing loads in a pause, so that it has to wait.
        self.post("/admin/v1/pause", {"seconds": 3, "why": "a film"})
        with self.open(request_for("story-q4_0", True, 4), {"X-GoGrid-Wait": "60"}) as answer:
            body = answer.read().decode()
        self.assertIn(": model 'story-q4_0' is ", body)
        self.assertTrue(body.rstrip().endswith("[DONE]"), body)

    def test_a_request_that_will_not_wait_is_refused_and_the_model_loads_for_the_next(self):
        self.server = self.serve("--load-wait", "0")
        begin = time.monotonic()
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.ask("story-q4_0")
        with refused.exception as answer:
            self.assertEqual(answer.code, 503)
            self.assertTrue(answer.headers["Retry-After"])
        self.assertLess(time.monotonic() - begin, 1)
        with self.open(request_for("story-q4_0", False, 4), {"X-GoGrid-Wait": "60"}) as answer:
            self.assertTrue(json.load(answer)["choices"][0]["text"])
        self.assertTrue(self.ask("story-q4_0")[0])


if __name__ == "__main__":
    unittest.main()
