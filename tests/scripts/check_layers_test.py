"""scripts/check_layers.py finds what it is for: each test plants one fault in a tree of its own."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class CheckLayers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gogrid-test-")
        self.addCleanup(folder.cleanup)
        self.source = pathlib.Path(folder.name)
        for layer in ("base", "stage", "pipeline", "http"):
            (self.source / layer).mkdir()
        self.plant("base/result.h", "#include <expected>")
        self.plant("pipeline/pipeline.cpp", '#include "pipeline/link.h"\n#include "stage/stage.h"\n#include "base/result.h"')

    def plant(self, path, text):
        (self.source / path).write_text(text + "\n", encoding="utf-8")

    def check(self):
        run = subprocess.run([sys.executable, ROOT / "scripts/check_layers.py", self.source], capture_output=True, text=True,
                             check=False)
        return run.returncode, run.stdout

    def assert_fault(self, *words):
        status, text = self.check()
        self.assertEqual(status, 1, text)
        self.assertEqual(len(text.strip().splitlines()), 1, text)
        for word in words:
            self.assertIn(word, text)

    def test_a_clean_tree_passes(self):
        status, text = self.check()
        self.assertEqual(status, 0, text)

    def test_an_upward_include_is_a_fault(self):
        self.plant("stage/stage.cpp", '#include <vector>\n#include "pipeline/pipeline.h"')
        self.assert_fault("stage/stage.cpp:2:", "pipeline/pipeline.h", "must not include")

    def test_an_include_of_the_same_height_is_a_fault(self):
        self.plant("stage/stage.cpp", '#include "placement/plan.h"')
        self.assert_fault("stage/stage.cpp:1:", "placement")

    def test_a_foreign_include_away_from_its_border_is_a_fault(self):
        for path, header in (("pipeline/link.cpp", "llama.h"), ("pipeline/link.cpp", "ggml-backend.h"),
                             ("stage/stage.cpp", "drogon/drogon.h"), ("http/server.cpp", "spdlog/spdlog.h")):
            with self.subTest(header=header):
                self.plant(path, f"#include <{header}>")
                self.assert_fault(path + ":1:", header, "belongs to")
                (self.source / path).unlink()

    def test_a_foreign_include_in_quotes_is_a_fault_too(self):
        self.plant("pipeline/link.cpp", '#include "llama.h"')
        self.assert_fault("pipeline/link.cpp:1:", "llama.h")

    def test_a_slow_header_in_a_header_is_a_fault_at_its_border_too(self):
        self.plant("http/server.cpp", "#include <drogon/drogon.h>")
        self.assertEqual(self.check()[0], 0)
        self.plant("http/server.h", "#  include <drogon/drogon.h>")
        self.assert_fault("http/server.h:1:", "slow")

    def test_a_folder_that_is_no_layer_is_a_fault(self):
        (self.source / "utils").mkdir()
        self.assert_fault("utils")

    def test_this_repository_is_clean(self):
        self.source = ROOT / "src"
        status, text = self.check()
        self.assertEqual(status, 0, text)


if __name__ == "__main__":
    unittest.main()
