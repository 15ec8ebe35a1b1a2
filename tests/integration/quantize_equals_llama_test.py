"""`gogrid quantize`, `models loss` and `imatrix` beside llama.cpp's own tools, on a real model: a few types; bench/quantize.py has all."""
import filecmp
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHUNKS = ["--chunks", 2]
CONTEXT = 256
# Of so few positions; bench/quantize.py shows the same within 1 % of more.
NEAR = 0.02
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import quantize as bench  # noqa: E402


class QuantizeEqualsLlama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="gogrid-test-")
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.work = bench.Work(cls.folder, 2)
        cls.base = cls.folder / "f16.gguf"
        _, done = cls.work.ours(MODEL, cls.base, "f16", "--allow-requantize")
        assert done.returncode == 0, done.stderr
        cls.text = cls.folder / "text.txt"
        cls.text.write_text((ROOT / "docs/architecture.md").read_text(encoding="utf-8"), encoding="utf-8")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_the_same_options_give_the_same_bytes(self):
        cases = [(MODEL, "f16", ["--allow-requantize"]), (self.base, "q4_k_m", []), (self.base, "q8_0", ["--token-embedding-type", "q5_1"]),
                 (self.base, "q4_0", ["--pure", "--tensor-type", "ffn_down=q8_0"])]
        for source, kind, options in cases:
            with self.subTest(kind=kind):
                mine, theirs = self.folder / "mine.gguf", self.folder / "theirs.gguf"
                for make, target in ((self.work.ours, mine), (self.work.theirs, theirs)):
                    _, done = make(source, target, kind, *self.adjusted(options) if make == self.work.theirs else options)
                    self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(filecmp.cmp(mine, theirs, shallow=False))

    @staticmethod
    def adjusted(options):
        return ["--output-tensor-type" if option == "--output-type" else option for option in options]

    def test_types_of_few_bits_are_theirs_with_the_same_importance_matrix(self):
        matrix = self.folder / "few.imatrix.gguf"
        bench.gogrid(self.work.data, "imatrix", self.base, "--text", self.text, "-o", matrix, "--context", CONTEXT, *bench.UNLIMITED, *CHUNKS)
        for kind in ("iq2_xxs", "iq3_m"):  # of minutes each; bench/README.md tells of the others
            with self.subTest(kind=kind):
                mine, theirs = self.folder / "mine.gguf", self.folder / "theirs.gguf"
                for make, target in ((self.work.ours, mine), (self.work.theirs, theirs)):
                    _, done = make(self.base, target, kind, "--imatrix", matrix)
                    self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(filecmp.cmp(mine, theirs, shallow=False))

    def test_loss_and_importance_are_theirs(self):
        mine, theirs = self.folder / "mine.imatrix.gguf", self.folder / "theirs.imatrix.gguf"
        bench.gogrid(self.work.data, "imatrix", self.base, "--text", self.text, "-o", mine, "--context", CONTEXT, *bench.UNLIMITED, *CHUNKS)
        bench.run("llama-imatrix", "-m", self.base, "-f", self.text, "-o", theirs, "-t", 2, "-c", CONTEXT, "-ngl", 0, "--no-ppl", *CHUNKS)
        ours, other = bench.sums_of(mine), bench.sums_of(theirs)
        self.assertEqual(ours.keys(), other.keys())
        for name, values in ours.items():
            mean = sum(other[name]) / len(other[name])
            worst = max(abs(a - b) for a, b in zip(values, other[name]))
            self.assertLess(worst, 0.01 * mean, name)
        small = self.folder / "small.gguf"
        done = subprocess.run([PROGRAM, "quantize", self.base, small, "--type", "q2_k", "--imatrix", mine, *bench.UNLIMITED, "--data-dir",
                               self.work.data], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        _, done = self.work.theirs(self.base, self.folder / "theirs.gguf", "q2_k", "--imatrix", mine)
        self.assertEqual(done.returncode, 0, "llama-quantize takes our matrix: " + done.stderr[-500:])
        self.assertTrue(filecmp.cmp(small, self.folder / "theirs.gguf", shallow=False))
        ours, llama = self.work.loss(self.base, small, self.text, 2, CONTEXT)
        for key in ("base_perplexity", "perplexity", "mean_kl"):
            self.assertLess(abs(ours[key] / llama[key] - 1), NEAR, f"{key}: {ours} {llama}")
        # A share of some hundred positions: kernels of other batches round differently where two tokens are nearly as likely.
        self.assertLess(abs(ours["same_top"] - llama["same_top"]), NEAR, f"{ours} {llama}")
        self.assertLess(abs(ours["base_perplexity"] / llama["final"] - 1), NEAR)

    def test_a_target_size_loses_less_than_the_uniform_type_of_that_size(self):
        model, uniform, chosen = (self.folder / name for name in ("fresh.gguf", "uniform.gguf", "chosen.gguf"))
        bench.write_unquantized(self.base, model)
        _, done = self.work.ours(model, uniform, "q3_k_m")
        self.assertEqual(done.returncode, 0, done.stderr)
        size = uniform.stat().st_size
        choose = self.folder / "choose.txt"
        choose.write_text((ROOT / "docs/cli.md").read_text(encoding="utf-8"), encoding="utf-8")
        said = json.loads(bench.gogrid(self.work.data, "quantize", model, chosen, "--target-size", size, "--text", choose, "--chunks", 1,
                                       "--threads", 2, *bench.UNLIMITED, "--json").stdout)
        self.assertLessEqual(chosen.stat().st_size, size)
        self.assertEqual(said["bytes"], chosen.stat().st_size)
        lost = [json.loads(bench.gogrid(self.work.data, "models loss", model, other, "--text", self.text, "--context", CONTEXT, *CHUNKS,
                                        *bench.UNLIMITED, "--json").stdout)["mean_kl"] for other in (uniform, chosen)]
        self.assertLess(lost[1], 0.7 * lost[0])

    def test_the_library_keeps_the_loss(self):
        for source, name in ((self.base, "base"), (MODEL, "small")):
            bench.gogrid(self.work.data, "models import", source, "--name", name)
        said = json.loads(bench.gogrid(self.work.data, "models loss", "base", "small", "--text", self.text, "--chunks", 1, "--context", 32,
                                       *bench.UNLIMITED, "--json").stdout)
        self.assertTrue(said["kept"])
        shown = json.loads(bench.gogrid(self.work.data, "models show", "small", "--json").stdout)
        self.assertEqual(shown["loss"], {key: said[key] for key in shown["loss"]})
        self.assertEqual(shown["loss"]["base"], "base")
        self.assertIn("against base: KL", bench.gogrid(self.work.data, "models list").stdout)


if __name__ == "__main__":
    unittest.main()
