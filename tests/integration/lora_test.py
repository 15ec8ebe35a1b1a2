"""A LoRA adapter over a real model: the texts of llama-completion with --lora, whole and cut; and a model of its own when served."""
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.request

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import make_model as gguf  # noqa: E402
from greedy_equals_llama_test import TOKENS, theirs  # noqa: E402
from served import Served  # noqa: E402

LAYERS, WIDTH, KV, FEED, RANK = 30, 576, 192, 1536, 8
PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at", "The moon is"]
CUT = ["--device", "cpu-a:cores=0", "--device", "cpu-b:cores=1", "--split", "0:15@cpu-a,15:30@cpu-b"]


def write_adapter(path, scale):
    """Random changes of four matrices of each layer, as large as `scale` says, in the file format of convert_lora_to_gguf.py."""
    chance = random.Random(3)
    tensors = []
    for layer in range(LAYERS):
        for name, inner, outer in (("attn_q", WIDTH, WIDTH), ("attn_v", WIDTH, KV), ("attn_output", WIDTH, WIDTH), ("ffn_down", FEED, WIDTH)):
            tensors.append((f"blk.{layer}.{name}.weight.lora_a", (inner, RANK), 1 / math.sqrt(inner)))
            tensors.append((f"blk.{layer}.{name}.weight.lora_b", (RANK, outer), scale / math.sqrt(RANK)))
    keys = [gguf.key("general.architecture", gguf.STRING, "llama"), gguf.key("general.type", gguf.STRING, "adapter"),
            gguf.key("adapter.type", gguf.STRING, "lora"), gguf.key("adapter.lora.alpha", gguf.F32, float(RANK))]
    infos, data = b"", b""
    for name, shape, deviation in tensors:
        infos += gguf.text(name) + struct.pack("<IQQIQ", 2, *shape, gguf.GGML_F32, len(data))
        numbers = (chance.gauss(0, deviation) for _ in range(shape[0] * shape[1]))
        data += b"".join(struct.pack("<f", number) for number in numbers)
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    with open(path, "wb") as file:
        file.write(header + bytes(-len(header) % 32) + data)


class Lora(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gogrid-lora-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.adapter = os.path.join(cls.folder.name, "adapter.gguf")
        write_adapter(cls.adapter, 0.05)

    def gogrid(self, *words, status=0):
        done = subprocess.run([PROGRAM, *words, "--data-dir", self.folder.name], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def ours(self, prompt, model, *options):
        done = self.gogrid("run", model, "--raw", "-p", prompt, "-n", str(TOKENS), "--temperature", "0", "--context", "512", "--json", *options)
        return json.loads(done.stdout)

    def test_the_texts_are_those_of_llama_with_the_adapter_whole_and_cut(self):
        changed = 0
        for prompt in PROMPTS:
            with self.subTest(prompt=prompt):
                answer = self.ours(prompt, f"{MODEL}+{self.adapter}")
                self.assertEqual(answer["text"].rstrip("\n"), theirs(prompt, "--lora", self.adapter))
                self.assertEqual(self.ours(prompt, f"{MODEL}+{self.adapter}", *CUT)["tokens"], answer["tokens"])
                changed += answer["text"] != self.ours(prompt, MODEL)["text"]
        self.assertGreater(changed, 0)  # it does something; to how many texts depends on the processor's kernels

    def test_a_scale_is_llamas_scale(self):
        for prompt in PROMPTS[:2]:
            with self.subTest(prompt=prompt):
                self.assertEqual(self.ours(prompt, f"{MODEL}+{self.adapter}@0.5")["text"].rstrip("\n"),
                                 theirs(prompt, "--lora-scaled", f"{self.adapter}:0.5"))

    def test_it_is_served_as_a_model_of_its_own_beside_its_base(self):
        both = f"{MODEL}+{self.adapter}"
        alone = self.ours(PROMPTS[0], both, "--deterministic")["text"]
        with Served("--context", "512", "--deterministic", "--alias", "polite=" + self.name_of(both), models=(MODEL, both)) as server:
            with urllib.request.urlopen(server.url + "/v1/models") as answer:
                names = {model["id"] for model in json.load(answer)["data"]}
            self.assertEqual(names, {self.name_of(MODEL), self.name_of(both), "polite"})
            texts = {name: self.ask(server, name) for name in names}
            self.assertEqual(texts["polite"], alone)
            self.assertEqual(texts[self.name_of(both)], alone)
            self.assertNotEqual(texts[self.name_of(MODEL)], alone)
            for name in (self.name_of(both), self.name_of(both).replace("+", "%2B")):
                with urllib.request.urlopen(f"{server.url}/admin/v1/models/{name}/compatibility") as answer:
                    self.assertTrue(json.load(answer)["runs"])
                with urllib.request.urlopen(f"{server.url}/v1/models/{name}") as answer:
                    self.assertEqual(json.load(answer)["id"], self.name_of(both))

    def test_check_counts_its_bytes_and_a_wrong_base_is_refused_by_name(self):
        bytes_of = {}
        for model in (MODEL, f"{MODEL}+{self.adapter}"):
            plan = json.loads(self.gogrid("plan", model, "--context", "512", "--json").stdout)
            bytes_of[model] = sum(stage["weights_bytes"] for stage in plan["stages"])
            self.assertTrue(json.loads(self.gogrid("models", "check", model, "--context", "512", "--json").stdout)["runs"])
        added = 4 * RANK * LAYERS * (2 * WIDTH + WIDTH + KV + 2 * WIDTH + FEED + WIDTH)
        self.assertEqual(bytes_of[f"{MODEL}+{self.adapter}"] - bytes_of[MODEL], added)
        refused = self.gogrid("run", self.adapter, "-p", "Hi", status=3)
        self.assertIn("BASE+ADAPTER", refused.stderr)
        refused = self.gogrid("run", f"{MODEL}+{MODEL}", "-p", "Hi", status=2)
        self.assertIn("expected an adapter: a model", refused.stderr)

    @staticmethod
    def name_of(model):
        return "+".join(os.path.basename(path).removesuffix(".gguf").lower() for path in model.split("+"))

    def ask(self, server, name):
        body = {"model": name, "prompt": PROMPTS[0], "max_tokens": TOKENS, "temperature": 0}
        request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["choices"][0]["text"]


if __name__ == "__main__":
    unittest.main()
