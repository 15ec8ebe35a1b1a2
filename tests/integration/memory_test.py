"""A model under a cap: what the process really has never goes above it, and a second model does not get in."""
import concurrent.futures
import json
import os
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from served import MODEL, Served, wait_until

MIB = 1 << 20
DEVICE = 360 * MIB
SHARE = 0.95
CAP = DEVICE * 95 // 100
# What is no model's: the program and its libraries (80 MiB of them backends' that are looked for), vocabulary, chat template,
# connections and threads.
BESIDE = 128 * MIB


class Sampler:
    """Reads the process's resident memory a hundred times a second."""

    def __init__(self):
        self.most, self.count, self.stop = 0, 0, threading.Event()

    def watch(self, pid):
        self.thread = threading.Thread(target=self.run, args=(pid,), daemon=True)
        self.thread.start()

    def run(self, pid):
        while not self.stop.wait(0.01):
            try:
                with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                    self.most = max(self.most, int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE"))
            except (FileNotFoundError, ProcessLookupError):
                return
            self.count += 1


class Memory(unittest.TestCase):
    def setUp(self):
        self.sampler = Sampler()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        second = os.path.join(folder.name, "second.gguf")
        os.symlink(MODEL, second)
        # Pinned, so that it makes no room for the second.
        self.server = Served("--model", second, "--pin", MODEL, "--device", f"cpu0:memory={DEVICE // MIB}MiB", "--context", "2048",
                             "--parallel", "4", "--deterministic", on_start=self.sampler.watch)
        self.addCleanup(self.server.__exit__)
        self.first = self.get("/v1/models")["data"][0]["id"]

    def get(self, path):
        with urllib.request.urlopen(self.server.url + path, timeout=60) as answer:
            return json.load(answer)

    def send(self, method, path, body):
        request = urllib.request.Request(self.server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"},
                                         method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def complete(self, number):
        body = {"model": self.first, "prompt": f"Story number {number}:", "max_tokens": 150, "temperature": 0, "ignore_eos": True}
        return self.send("POST", "/v1/completions", body)["choices"][0]["text"]

    def second(self):
        return next(m for m in self.get("/admin/v1/status")["models"] if m["name"] == "second")

    def test_a_cap_holds_while_a_second_model_is_refused_again_and_again(self):
        quiet = [self.complete(i) for i in range(4)]
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.send("POST", "/v1/completions", {"model": "second", "prompt": "a"})
        with refused.exception as answer:
            self.assertEqual(answer.code, 503)
            self.assertTrue(answer.headers["Retry-After"])
            message = json.load(answer)["error"]["message"]
        for words in ("cpu0", "held", "cap", self.first):
            self.assertIn(words, message)
        ledger = self.get("/admin/v1/resources")["ledger"][0]
        self.assertEqual(ledger["cap"], CAP)
        self.assertEqual({holder["holder"] for holder in ledger["holders"]}, {self.first})

        with concurrent.futures.ThreadPoolExecutor() as pool:
            streams = [pool.submit(self.complete, i) for i in range(4)]
            # Each time there is a little more room, the second model tries again, in vain.
            for share in (0.951, 0.952, 0.953):
                self.send("PATCH", "/admin/v1/policy", {"max_device_memory": share})
                self.assertTrue(wait_until(lambda: self.second()["state"] != "loading"))
                time.sleep(1.2)
                self.assertEqual(self.second()["state"], "failed")
            self.send("PATCH", "/admin/v1/policy", {"max_device_memory": SHARE})
            self.assertEqual([stream.result() for stream in streams], quiet)

        with urllib.request.urlopen(self.server.url + "/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        for name in ('gogrid_vram_limit_errors_total{model="second"}', f'gogrid_memory_cap_bytes{{device="cpu0"}} {CAP}',
                     f'gogrid_memory_leased_bytes{{device="cpu0",model="{self.first}",use="weights"}}',
                     'gogrid_memory_measured_bytes{device="",kind="process_anonymous"}'):
            self.assertIn(name, metrics)
        self.sampler.stop.set()
        self.sampler.thread.join()
        print(f"cap {CAP / MIB:.0f} MiB, leased {ledger['held'] / MIB:.0f}, the process had {self.sampler.most / MIB:.0f} MiB at most"
              f" in {self.sampler.count} looks")
        self.assertGreater(self.sampler.count, 200)
        self.assertLess(ledger["held"], CAP)
        self.assertLess(self.sampler.most, CAP + BESIDE)


if __name__ == "__main__":
    unittest.main()
