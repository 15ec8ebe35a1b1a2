"""A model in several files, as llama-gguf-split writes them: every command reads them as one."""
import hashlib
import http.server
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import unittest
import urllib.request

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import quantize as bench  # noqa: E402
from served import Served  # noqa: E402


def contents_of(path):
    """{name: (elements, type, digest of its bytes)}."""
    data, tensors = bench.tensors_of(path)
    places = sorted(place for *_, place in tensors) + [len(data)]
    sized = {}
    for name, count, kind, place in tensors:
        end = places[places.index(place) + 1]
        sized[name] = (count, kind, data[place:end].rstrip(b"\0"))
    return {name: (count, kind, hashlib.sha256(rest).hexdigest()) for name, (count, kind, rest) in sized.items()}


class Hub(http.server.BaseHTTPRequestHandler):
    """The files of a folder, as a hub in Hugging Face's layout has them."""
    protocol_version = "HTTP/1.1"
    folder = None

    def do_GET(self):
        if "/tree/" in self.path:
            files = [{"type": "file", "path": path.name, "size": path.stat().st_size,
                      "lfs": {"oid": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}}
                     for path in self.folder.glob("demo-0*.gguf")]
            return self.answer(200, json.dumps(files).encode())
        data = (self.folder / self.path.rsplit("/", 1)[1]).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), len(data) - 1)) if asked else (0, len(data) - 1)
        self.answer(206 if asked else 200, data[first:last + 1], [("Content-Range", f"bytes {first}-{last}/{len(data)}")] if asked else [])

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in [("Content-Length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class SplitModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="gogrid-test-")
        cls.folder = pathlib.Path(cls.temporary.name)
        bench.run("llama-gguf-split", "--split", "--split-max-tensors", 100, MODEL, cls.folder / "demo")
        cls.first = cls.folder / "demo-00001-of-00003.gguf"
        bench.run("llama-gguf-split", "--merge", cls.first, cls.folder / "merged.gguf")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def setUp(self):
        self.data_folder = tempfile.TemporaryDirectory(prefix="gogrid-test-", dir=self.folder)
        self.data = self.data_folder.name

    def tearDown(self):
        self.data_folder.cleanup()

    def gogrid(self, *words):
        return bench.gogrid(self.data, words[0], *words[1:], "--json")

    def test_the_library_has_the_file_that_merging_gives(self):
        made = json.loads(self.gogrid("models import", self.first).stdout)
        self.assertEqual(made["name"], "demo")
        self.assertEqual(contents_of(made["path"]), contents_of(self.folder / "merged.gguf"))
        self.assertEqual(contents_of(made["path"]), contents_of(MODEL))
        self.assertEqual(made["digest"], "sha256:" + hashlib.sha256(pathlib.Path(made["path"]).read_bytes()).hexdigest())

    def test_a_hub_that_has_it_in_parts_is_read_and_pulled_as_any_other(self):
        Hub.folder = self.folder
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
            threading.Thread(target=hub.serve_forever, daemon=True).start()
            there = ["--hf-endpoint", f"http://127.0.0.1:{hub.server_address[1]}"]
            looked = json.loads(self.gogrid("models show", "hf:o/r", *there).stdout)
            checked = json.loads(self.gogrid("models check", "hf:o/r", "--context", 512, *there).stdout)
            pulled = json.loads(self.gogrid("models pull", "hf:o/r", "--mode", "aggressive", *there).stdout)
            hub.shutdown()
        imported = json.loads(bench.gogrid(self.folder / "other", "models import", self.first, "--json").stdout)
        here = json.loads(self.gogrid("models show", self.first).stdout)
        for field in ("parameters", "types", "layers", "vocabulary", "files"):
            self.assertEqual(looked[field], here[field], field)
        self.assertTrue(checked["runs"])
        self.assertEqual(pulled["name"], "demo")
        self.assertEqual(pulled["digest"], imported["digest"])

    def test_a_first_part_without_tensors_is_one_too(self):
        bench.run("llama-gguf-split", "--split", "--no-tensor-first-split", "--split-max-tensors", 150, MODEL, self.folder / "bare")
        first = sorted(self.folder.glob("bare-00001-of-*.gguf"))[0]
        made = json.loads(self.gogrid("models import", first).stdout)
        self.assertEqual(contents_of(made["path"]), contents_of(MODEL))

    def test_show_and_check_say_of_the_parts_what_they_say_of_the_whole(self):
        parts = json.loads(self.gogrid("models show", self.first, "--tensors").stdout)
        whole = json.loads(self.gogrid("models show", MODEL, "--tensors").stdout)
        self.assertEqual(parts["files"], 3)
        self.assertEqual(whole["files"], 1)
        for field in ("parameters", "tensor_bytes", "types", "layers", "vocabulary", "allowed_cuts", "kv_bytes_per_token", "tensors"):
            self.assertEqual(parts[field], whole[field], field)
        checked = [json.loads(self.gogrid("models check", model, "--context", 512).stdout) for model in (self.first, MODEL)]
        self.assertTrue(checked[0]["runs"])
        self.assertEqual([v["fits"] for v in checked[0]["verdicts"]], [v["fits"] for v in checked[1]["verdicts"]])

    def test_it_runs_cut_and_whole_as_the_file_does(self):
        devices = ["--device", "a:cores=0", "--device", "b:cores=1", "--split", "0:15@a,15:30@b"]
        options = ["-p", "The capital of France is", "--raw", "-n", 8, "--temperature", 0, "--context", 256, "--deterministic"]
        said = [json.loads(self.gogrid("run", model, *options, *more).stdout)["tokens"]
                for model, more in ((MODEL, []), (self.first, []), (self.first, devices))]
        self.assertEqual(said[0], said[1])
        self.assertEqual(said[0], said[2])

    def test_it_is_planned_and_served(self):
        self.assertTrue(json.loads(self.gogrid("plan", self.first, "--context", 512).stdout)["stages"])
        with Served("--context", "512", models=[str(self.first)]) as served:
            with urllib.request.urlopen(served.url + "/v1/models", timeout=20) as answer:
                self.assertIn("demo", [model["id"] for model in json.load(answer)["data"]])

    def test_it_is_quantized_as_the_file_is(self):
        for model, name in ((self.first, "a"), (MODEL, "b")):
            bench.gogrid(self.data, "quantize", model, self.folder / name, "--type", "q4_0", "--allow-requantize", *bench.UNLIMITED)
        self.assertEqual(contents_of(self.folder / "a"), contents_of(self.folder / "b"))

    def test_a_part_that_is_missing_is_named_and_so_is_the_first(self):
        alone = self.folder / "alone"
        alone.mkdir()
        for number in (1, 2):
            (alone / f"demo-0000{number}-of-00003.gguf").hardlink_to(self.folder / f"demo-0000{number}-of-00003.gguf")
        for command in ("models show", "models check", "models import", "run", "plan"):
            words = ["-p", "x"] if command == "run" else []
            done = bench.gogrid(self.data, command, alone / "demo-00001-of-00003.gguf", *words, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("demo-00003-of-00003.gguf", done.stderr, command)
            done = bench.gogrid(self.data, command, self.folder / "demo-00002-of-00003.gguf", *words, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("-00001-of-00003.gguf", done.stderr, command)


if __name__ == "__main__":
    unittest.main()
