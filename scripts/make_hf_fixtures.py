#!/usr/bin/env python3
"""Writes tests/model/hf_fixtures: tiny models with random weights in the Hugging Face layout, one per architecture that
can be imported, with tokenizers of their own.

    scripts/make_hf_fixtures.py FOLDER                     writes the models into FOLDER
    scripts/make_hf_fixtures.py FOLDER --expect GGUF_DIR   and FOLDER/NAME/expected.tsv from GGUF_DIR/NAME.gguf, which
                                                           a reference converter made of FOLDER/NAME

Needs numpy, safetensors, tokenizers, sentencepiece (and gguf for --expect) from PyPI; the tests need none of them.
"""

import argparse
import hashlib
import json
import pathlib
import random

import numpy
import sentencepiece
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HIDDEN, FEED, HEADS, KV_HEADS, LAYERS, CONTEXT = 32, 48, 4, 2, 2, 128
WORDS = ("the of and a lease is given back when its owner goes model layer cache token stage pipeline grid device memory "
         "naïve café Straße привет мир 模型 推理 日本語 2024 1999 3.14 don't we'll it's").split()
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def text_lines(seed):
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(12)) for _ in range(400)]


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def byte_pairs(folder, pattern, specials, ignore_merges=False, nfc=False, bos=None):
    """A byte-pair tokenizer of 320 tokens; answers how many there are."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(text_lines(1), trainer)
    tokenizer.add_special_tokens(specials)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def pieces(folder, prefix, user_defined=()):
    """A SentencePiece tokenizer of 400 pieces."""
    source = folder / "source.txt"
    source.write_text("\n".join(text_lines(2)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(source), model_prefix=str(folder / "tokenizer"), vocab_size=400, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity", num_threads=1,
        user_defined_symbols=list(user_defined), minloglevel=2)
    source.unlink()
    (folder / "tokenizer.vocab").unlink()
    return 400


def word_pieces(folder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(text_lines(3), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


class Weights:
    """Random tensors under their names, in one element type."""

    def __init__(self, seed, kind):
        self.random = numpy.random.default_rng(seed)
        self.kind = kind
        self.tensors = {}

    def add(self, name, *shape, centre=0.0):
        values = (centre + 0.1 * self.random.standard_normal(shape)).astype(numpy.float32)
        if self.kind == "BF16":  # numpy has no such type: the upper halves, to be relabelled in the header
            self.tensors[name] = (values.view(numpy.uint32) >> 16).astype(numpy.uint16)
        else:
            self.tensors[name] = values.astype({"F32": numpy.float32, "F16": numpy.float16}[self.kind])

    def save(self, path):
        save_file(self.tensors, str(path), metadata={"format": "pt"})
        if self.kind == "BF16":
            raw = path.read_bytes()
            size = int.from_bytes(raw[:8], "little")
            header = raw[8:8 + size].replace(b'"dtype":"U16"', b'"dtype":"BF16"')
            header = header.rstrip()
            header += b" " * (-(len(header)) % 8)
            path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + size:])

    def decoder(self, vocabulary, width, extra=(), fused=False, tied=False, bias=False, gemma=False):
        centre = 0.0 if gemma else 1.0
        self.add("model.embed_tokens.weight", vocabulary, HIDDEN)
        for i in range(LAYERS):
            layer = f"model.layers.{i}."
            self.add(layer + "input_layernorm.weight", HIDDEN, centre=centre)
            if fused:
                self.add(layer + "self_attn.qkv_proj.weight", (HEADS + 2 * KV_HEADS) * width, HIDDEN)
                self.add(layer + "mlp.gate_up_proj.weight", 2 * FEED, HIDDEN)
            else:
                for name, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                    self.add(layer + f"self_attn.{name}_proj.weight", rows * width, HIDDEN)
                    if bias:
                        self.add(layer + f"self_attn.{name}_proj.bias", rows * width)
                self.add(layer + "mlp.gate_proj.weight", FEED, HIDDEN)
                self.add(layer + "mlp.up_proj.weight", FEED, HIDDEN)
            for name in extra:
                self.add(layer + name, width if "self_attn" in name else HIDDEN, centre=centre)
            self.add(layer + "self_attn.o_proj.weight", HIDDEN, HEADS * width)
            self.add(layer + "post_attention_layernorm.weight", HIDDEN, centre=centre)
            self.add(layer + "mlp.down_proj.weight", HIDDEN, FEED)
        self.add("model.norm.weight", HIDDEN, centre=centre)
        if not tied:
            self.add("lm_head.weight", vocabulary, HIDDEN)


def base_config(architecture, model_type, vocabulary, **more):
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": vocabulary, "hidden_size": HIDDEN,
            "intermediate_size": FEED, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", **more}


def make_llama(folder):
    vocabulary = byte_pairs(folder, LLAMA3, ["<|begin_of_text|>", "<|end_of_text|>"], ignore_merges=True,
                            bos="<|begin_of_text|>") + 3
    write_json(folder / "tokenizer_config.json", {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>",
                                                  "chat_template": CHATML, "tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(folder / "config.json", base_config(
        "LlamaForCausalLM", "llama", vocabulary, head_dim=8, rope_theta=500000.0,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")
    weights = Weights(1, "BF16")
    weights.decoder(vocabulary, 8)
    weights.save(folder / "model.safetensors")


def make_mistral(folder):
    """SentencePiece, two shards, F16."""
    vocabulary = pieces(folder, True)
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "tokenizer_class": "LlamaTokenizer"})
    write_json(folder / "config.json", base_config("MistralForCausalLM", "mistral", vocabulary, sliding_window=None,
                                                   bos_token_id=1, eos_token_id=2))
    weights = Weights(2, "F16")
    weights.decoder(vocabulary, HIDDEN // HEADS)
    names = sorted(weights.tensors)
    index = {}
    for shard, part in enumerate((names[:7], names[7:]), 1):
        file = f"model-{shard:05}-of-00002.safetensors"
        save_file({name: weights.tensors[name] for name in part}, str(folder / file), metadata={"format": "pt"})
        index.update({name: file for name in part})
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def make_qwen(folder, number):
    """Biases or head norms, tied, F32."""
    vocabulary = byte_pairs(folder, QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], nfc=True)
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": False, "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "chat_template": CHATML, "tokenizer_class": "Qwen2Tokenizer"})
    config = base_config(f"Qwen{number}ForCausalLM", f"qwen{number}", vocabulary, tie_word_embeddings=True,
                         use_sliding_window=False)
    weights = Weights(number, "F32")
    if number == 3:
        config["head_dim"] = 16
        weights.decoder(vocabulary, 16, ("self_attn.q_norm.weight", "self_attn.k_norm.weight"), tied=True)
    else:
        weights.decoder(vocabulary, HIDDEN // HEADS, tied=True, bias=True)
    write_json(folder / "config.json", config)
    weights.save(folder / "model.safetensors")


def make_gemma(folder, number):
    vocabulary = pieces(folder, False, ["<start_of_turn>", "<end_of_turn>"])
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
        "tokenizer_class": "GemmaTokenizer",
        "added_tokens_decoder": {"3": {"content": "<start_of_turn>", "special": False},
                                 "4": {"content": "<end_of_turn>", "special": False}}})
    extra = ["pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight"]
    config = base_config(f"Gemma{number}ForCausalLM", f"gemma{number}" + ("_text" if number == 3 else ""), vocabulary,
                         head_dim=16, query_pre_attn_scalar=16, sliding_window=32, bos_token_id=1, eos_token_id=2,
                         hidden_activation="gelu_pytorch_tanh")
    del config["hidden_act"]
    if number == 2:
        config.update(attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    else:
        config.update(rope_local_base_freq=10000.0, rope_theta=1000000.0)
        extra += ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
    write_json(folder / "config.json", config)
    weights = Weights(10 + number, "BF16")
    weights.decoder(vocabulary, 16, extra, tied=True, gemma=True)
    weights.save(folder / "model.safetensors")


def make_phi3(folder):
    vocabulary = pieces(folder, True)
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": False, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "tokenizer_class": "LlamaTokenizer"})
    write_json(folder / "config.json", base_config(
        "Phi3ForCausalLM", "phi3", vocabulary, original_max_position_embeddings=64, sliding_window=64, bos_token_id=1,
        eos_token_id=2, rope_scaling={"type": "longrope", "long_factor": [1.0 + i / 8 for i in range(4)],
                                      "short_factor": [1.0 + i / 64 for i in range(4)]}))
    weights = Weights(5, "BF16")
    weights.decoder(vocabulary, HIDDEN // HEADS, fused=True)
    weights.save(folder / "model.safetensors")


def make_bert(folder):
    vocabulary = word_pieces(folder)
    write_json(folder / "tokenizer_config.json", {
        "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]",
        "do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    write_json(folder / "config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary, "hidden_size": HIDDEN,
        "intermediate_size": FEED, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT, "layer_norm_eps": 1e-12, "type_vocab_size": 2, "hidden_act": "gelu",
        "position_embedding_type": "absolute", "pad_token_id": 0})
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "word_embedding_dimension": HIDDEN})
    write_json(folder / "modules.json", [{"idx": 1, "name": "1", "path": "1_Pooling",
                                          "type": "sentence_transformers.models.Pooling"}])
    weights = Weights(6, "F32")
    weights.add("embeddings.word_embeddings.weight", vocabulary, HIDDEN)
    weights.add("embeddings.position_embeddings.weight", CONTEXT, HIDDEN)
    weights.add("embeddings.token_type_embeddings.weight", 2, HIDDEN)

    def linear(name, rows, columns):
        weights.add(name + ".weight", rows, columns)
        weights.add(name + ".bias", rows)

    def norm(name):
        weights.add(name + ".weight", HIDDEN, centre=1.0)
        weights.add(name + ".bias", HIDDEN)

    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(layer + "attention.self." + part, HIDDEN, HIDDEN)
        linear(layer + "attention.output.dense", HIDDEN, HIDDEN)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", FEED, HIDDEN)
        linear(layer + "output.dense", HIDDEN, FEED)
        norm(layer + "output.LayerNorm")
    linear("pooler.dense", HIDDEN, HIDDEN)
    weights.save(folder / "model.safetensors")


MODELS = {"llama": make_llama, "mistral": make_mistral, "qwen2": lambda f: make_qwen(f, 2), "qwen3": lambda f: make_qwen(f, 3),
          "gemma2": lambda f: make_gemma(f, 2), "gemma3": lambda f: make_gemma(f, 3), "phi3": make_phi3, "bert": make_bert}


def write_expected(folder, path):
    """Name, ggml type, shape and SHA-256 of each tensor; name, type and SHA-256 of each key's value as it is stored."""
    import gguf
    reader = gguf.GGUFReader(path)
    lines = []
    for tensor in reader.tensors:
        shape = "x".join(str(int(n)) for n in tensor.shape)
        lines.append(f"tensor\t{tensor.name}\t{int(tensor.tensor_type)}\t{shape}\t"
                     f"{hashlib.sha256(tensor.data.tobytes()).hexdigest()}")
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        stored = b"".join(part.tobytes() for part in field.parts[3:])  # behind name and type
        lines.append(f"key\t{key}\t{int(field.types[0])}\t{hashlib.sha256(stored).hexdigest()}")
    (folder / "expected.tsv").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--expect", type=pathlib.Path)
    arguments = parser.parse_args()
    for name, make in MODELS.items():
        folder = arguments.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.expect:
            write_expected(folder, arguments.expect / f"{name}.gguf")
        else:
            make(folder)


if __name__ == "__main__":
    main()
