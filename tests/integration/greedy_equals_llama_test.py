"""Greedy output of `gogrid run` equals llama-completion's, token for token, on 20 prompts; whole, and cut in two."""
import json
import os
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["GOGRID_PROGRAM"]
MODEL = os.environ["GOGRID_TEST_MODEL"]
TOKENS = 24
PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "The three primary colours are", "In 1969,",
           "Water boils at", "Dear Sir or Madam,", "2 + 2 =", "The best way to learn", "A list of fruits:\n1.", "She opened the door and",
           "Photosynthesis is", "To be or not to be,", "#include <stdio.h>", "The moon is", "Le petit chat", "SELECT * FROM",
           "Yesterday I went to", "The meaning of life", "Ingredients: flour, sugar,"]


def ours(prompt, data, *options):
    done = subprocess.run([PROGRAM, "run", MODEL, "--raw", "-p", prompt, "-n", str(TOKENS), "--temperature", "0", "--json",
                           "--context", "512", "--data-dir", data, *options], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def theirs(prompt, *options):
    done = subprocess.run(["llama-completion", "-m", MODEL, "-p", prompt, "-n", str(TOKENS), "-no-cnv", "--temp", "0", "-t", "2",
                           "-c", "512", "--no-display-prompt", "-ngl", "0", *options], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.decode().removesuffix("\n").replace(" [end of text]", "").rstrip("\n")


class GreedyEqualsLlama(unittest.TestCase):
    def test_twenty_prompts_give_the_same_tokens_whole_and_cut_in_two(self):
        cut = ["--device", "cpu-a:cores=0", "--device", "cpu-b:cores=1", "--split", "0:15@cpu-a,15:30@cpu-b"]
        with tempfile.TemporaryDirectory(prefix="gogrid-test-") as data:
            for i, prompt in enumerate(PROMPTS):
                with self.subTest(prompt=prompt):
                    answer = ours(prompt, data)
                    self.assertEqual(answer["text"].rstrip("\n"), theirs(prompt))
                    self.assertGreater(answer["completion_tokens"], 0)
                    if i < 5:
                        self.assertEqual(ours(prompt, data, *cut)["tokens"], answer["tokens"])


if __name__ == "__main__":
    unittest.main()
