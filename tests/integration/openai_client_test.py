"""The official OpenAI client, unmodified, against `gogrid serve`."""
import concurrent.futures
import json
import unittest
import urllib.request

import openai

from served import Served, wait_until


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Served("--context", "512", "--parallel", "4", "--deterministic")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="unused", max_retries=0, timeout=300)
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        cls.server.__exit__()
        assert status == 0, f"SIGTERM drains and ends with 0, not {status}"

    def chat(self, text, **more):
        return self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": text}], **{"max_tokens": 16, "temperature": 0, **more})

    def status(self):
        with urllib.request.urlopen(self.server.url + "/admin/v1/status", timeout=10) as answer:
            return json.load(answer)

    def test_models_are_listed_and_found_by_name(self):
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("no-such-model")

    def test_a_chat_answer_has_text_a_reason_and_usage(self):
        answer = self.chat("Say hello.")
        self.assertTrue(answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_streamed_pieces_make_the_same_text_and_end_with_usage(self):
        whole = self.chat("Name a colour.").choices[0].message.content
        chunks = list(self.chat("Name a colour.", stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertIsNotNone(chunks[-1].usage)
        self.assertTrue(any(c.choices and c.choices[0].finish_reason for c in chunks))

    def test_completions_continue_text_and_echo_it(self):
        answer = self.client.completions.create(model=self.model, prompt="The sea is", max_tokens=8, temperature=0, echo=True)
        self.assertTrue(answer.choices[0].text.startswith("The sea is"))
        self.assertGreater(len(answer.choices[0].text), len("The sea is"))

    def test_a_stop_string_ends_the_text_before_it(self):
        free = self.client.completions.create(model=self.model, prompt="One two three", max_tokens=24, temperature=0).choices[0].text
        stop = free[5:8]
        text = self.client.completions.create(model=self.model, prompt="One two three", max_tokens=24, temperature=0,
                                              stop=[stop]).choices[0]
        self.assertEqual(text.text, free[:free.index(stop)])
        self.assertEqual(text.finish_reason, "stop")

    def test_the_same_seed_gives_the_same_text_and_another_another(self):
        def sample(seed):
            return self.chat("Tell me something.", temperature=1.5, seed=seed, max_tokens=24).choices[0].message.content
        self.assertEqual(sample(1), sample(1))
        self.assertGreater(len({sample(seed) for seed in range(2, 6)}), 1)

    def test_n_gives_so_many_choices_and_counts_the_prompt_once(self):
        one = self.chat("Pick a word.", temperature=1.2, seed=3)
        three = self.chat("Pick a word.", temperature=1.2, seed=3, n=3)
        self.assertEqual([c.index for c in three.choices], [0, 1, 2])
        self.assertEqual(three.choices[0].message.content, one.choices[0].message.content)
        self.assertEqual(three.usage.prompt_tokens, one.usage.prompt_tokens)

    def test_logprobs_are_of_the_chosen_tokens_and_sorted(self):
        content = self.chat("Hi", logprobs=True, top_logprobs=3, max_tokens=4).choices[0].logprobs.content
        self.assertEqual(len(content), 4)
        for token in content:
            self.assertLessEqual(token.logprob, 0.0)
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.top_logprobs[0].logprob, max(t.logprob for t in token.top_logprobs))
            self.assertAlmostEqual(token.logprob, token.top_logprobs[0].logprob, places=5)  # greedy

    def test_errors_are_the_clients_exceptions_and_name_the_field(self):
        with self.assertRaises(openai.BadRequestError) as bad:
            self.chat("x", temperature=9)
        self.assertEqual(bad.exception.body["param"], "temperature")
        with self.assertRaises(openai.BadRequestError) as tools:
            self.chat("x", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
        self.assertEqual(tools.exception.body["param"], "tools")
        with self.assertRaises(openai.BadRequestError) as long:
            self.chat("word " * 2000)
        self.assertIn("512", str(long.exception))
        with self.assertRaises(openai.NotFoundError) as missing:
            self.client.completions.create(model="nearly-" + self.model, prompt="x")
        self.assertIn(self.model, str(missing.exception))

    def test_leaving_in_mid_stream_frees_the_slot(self):
        stream = self.chat("Count to a thousand.", stream=True, max_tokens=450)
        next(iter(stream))
        self.assertGreaterEqual(self.status()["streams"], 1)
        stream.close()
        self.assertTrue(wait_until(lambda: self.status()["streams"] == 0), "the slot stays taken")

    def test_thirty_two_clients_at_once_each_get_the_text_they_get_alone(self):
        prompts = [f"Write a word that begins with {chr(97 + i % 26)}, number {i}." for i in range(32)]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            together = list(pool.map(lambda p: self.chat(p, max_tokens=12).choices[0].message.content, prompts))
        for i in range(0, 32, 4):
            self.assertEqual(together[i], self.chat(prompts[i], max_tokens=12).choices[0].message.content)


if __name__ == "__main__":
    unittest.main()
