"""A model that needs 1.6 devices, served over one and a small second one whose layers are made smaller: refused unless that is
allowed, never silent, sane, measured once."""
import glob
import json
import os
import subprocess
import tempfile
import unittest
import urllib.request

from served import MODEL, PROGRAM, Served

MIB = 1 << 20
CONTEXT, PARALLEL = 512, 2
SHARE = 0.95  # of each device, by the mode
SIZE = ["--context", str(CONTEXT), "--parallel", str(PARALLEL), "--deterministic"]
PROMPT = "The capital of France is"
QUESTIONS = [PROMPT, "Once upon a time there was", "To bake bread, you need"]


def run(data, *arguments, status=0):
    """What a command wrote, after it ended with this status."""
    done = subprocess.run([PROGRAM, *arguments, "--data-dir", data], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != status:
        raise AssertionError(f"{arguments}: {done.returncode} {done.stderr}")
    return done


class QuantizeStages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gogrid-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.data = os.path.join(cls.folder.name, "data")
        cls.model = os.path.join(cls.folder.name, "f16.gguf")
        run(cls.data, "quantize", MODEL, cls.model, "--type", "f16", "--allow-requantize", "--mode", "aggressive")
        whole = json.loads(run(cls.data, "plan", cls.model, "--device", "cpu0", *SIZE, "--json").stdout)
        cls.need = sum(whole["stages"][0][part] for part in ("weights_bytes", "kv_bytes", "compute_bytes"))
        cls.large = int(cls.need / 1.6 / SHARE)  # it takes 1.6 of what may be used of this one
        cls.small = int(cls.need / 3.2 / SHARE)  # and of both together as much as it has
        # Balanced, as plan and check go by, gives less than serve's mode here: its caps are the same with more memory.
        cls.placed = cls.devices(0.95 / 0.7)

    @classmethod
    def devices(cls, factor=1.0):
        cores = [f":cores={core}" for core in (0, 1)] if os.cpu_count() > 1 else ["", ""]
        return ["--device", f"cpu-a{cores[0]}:memory={int(cls.large * factor)}B", "--device",
                f"cpu-b{cores[1]}:memory={int(cls.small * factor)}B", *SIZE]

    def served(self, *more):
        server = Served(*more, models=(self.model,))
        self.addCleanup(server.__exit__)
        return server

    @staticmethod
    def get(server, path):
        with urllib.request.urlopen(server.url + path, timeout=60) as answer:
            return json.load(answer)

    def answers(self, server):
        texts = []
        for question in QUESTIONS:
            body = {"model": "f16", "prompt": question, "max_tokens": 16, "temperature": 0}
            request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(),
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=300) as answer:
                texts.append(json.load(answer)["choices"][0]["text"])
        return texts

    def test_without_being_allowed_it_is_refused_with_what_would_help(self):
        refused = run(self.data, "plan", self.model, *self.placed, status=3)
        self.assertIn("short by", refused.stderr)
        self.assertIn("with --quantize-stages allow it would: layers", refused.stderr)
        refused = run(self.data, "plan", self.model, *self.placed, "--quantize-stages", "off", status=3)
        self.assertIn("short by", refused.stderr)
        serve = ["serve", "--mode", "aggressive", "--model", self.model, "--listen", "127.0.0.1:0"]
        refused = run(self.data, *serve, *self.devices(), status=3)
        self.assertIn("with --quantize-stages allow it would: layers", refused.stderr)
        report = json.loads(run(self.data, "models", "check", self.model, *self.placed, "--json", status=3).stdout)
        self.assertEqual([stage["device"] for stage in report["smaller_stages"]], ["cpu-b"])
        allowed = ["models", "check", self.model, *self.placed, "--quantize-stages", "allow"]
        report = json.loads(run(self.data, *allowed, "--json").stdout)
        self.assertTrue(report["runs"])
        self.assertIn("fits with smaller types only", run(self.data, *allowed).stdout)

    def test_allowed_it_serves_says_what_it_cost_and_measures_it_once(self):
        server = self.served(*self.devices(), "--quantize-stages", "allow")
        plan = self.get(server, "/admin/v1/status")["models"][0]["plan"]
        smaller = [stage for stage in plan["stages"] if stage["type"]]
        self.assertEqual([stage["device"] for stage in plan["stages"] if stage["type"] is None], ["cpu-a"])
        self.assertEqual([stage["device"] for stage in smaller], ["cpu-b"])
        loss = plan["loss"]
        self.assertGreater(loss["positions"], 400)
        self.assertGreater(loss["mean_kl"], 0)
        self.assertLess(loss["mean_kl"], 0.05)
        self.assertGreater(loss["same_top"], 0.85)
        self.assertLess(abs(loss["perplexity"] / loss["base_perplexity"] - 1), 0.05)
        ledger = {account["device"]: account for account in self.get(server, "/admin/v1/resources")["ledger"]}
        for device, memory in (("cpu-a", self.large), ("cpu-b", self.small)):
            self.assertLessEqual(ledger[device]["held"], memory * SHARE)
        texts = self.answers(server)
        self.assertIn("Paris", texts[0])

        with open(os.path.join(server.data.name, "log"), encoding="utf-8") as log:
            said = log.read()
        layers = f"layers {smaller[0]['layers'][0]}-{smaller[0]['layers'][1]} on cpu-b as {smaller[0]['type']}"
        self.assertIn(layers, said)
        self.assertIn(f"KL {loss['mean_kl']:.4g}", said)

        slices = {path: os.stat(path).st_ino for path in glob.glob(server.data.name + "/slices/*.gguf")}
        shown = json.loads(run(server.data.name, "models", "show", self.model, "--json").stdout)
        self.assertEqual(shown["stage_losses"][0]["mean_kl"], loss["mean_kl"])
        self.assertEqual(shown["stage_losses"][0]["stages"],
                         [{"layers": smaller[0]["layers"], "type": smaller[0]["type"]}])
        self.assertIn("KL", run(server.data.name, "models", "show", self.model).stdout)

        # What is kept is not made again.
        self.assertEqual(server.stop(), 0)
        again = run(server.data.name, "plan", self.model, *self.placed, "--quantize-stages", "allow", "--json")
        self.assertEqual(json.loads(again.stdout)["loss"], loss)
        for path, inode in slices.items():
            self.assertEqual(os.stat(path).st_ino, inode)

        # Beside the model as it is.
        whole = self.served("--device", "cpu0", *SIZE)
        own = self.answers(whole)
        same = [len(os.path.commonprefix([one.split(), other.split()])) for one, other in zip(own, texts)]
        print(f"needs {self.need / MIB:.0f} MiB, may use {self.large * SHARE / MIB:.0f} and {self.small * SHARE / MIB:.0f}; {layers}:"
              f" KL {loss['mean_kl']:.4g}, same top token {100 * loss['same_top']:.1f} %; words before the greedy texts differ: {same}")
        self.assertGreaterEqual(sum(same), 5 * len(QUESTIONS))


if __name__ == "__main__":
    unittest.main()
