#!/usr/bin/env python3
"""Writes a GGUF of random Q4_0 weights (llama architecture) with the vocabulary of another model: weights for speed
benchmarks, where only their number and type matter.

    bench/make_model.py VOCABULARY.gguf OUTPUT.gguf [--layers 24] [--embd 1024] [--ff 2816] [--hole]

The default has 0.32 billion weights. The same arguments give the same bytes. --hole: the header alone, and a hole where the weights would be.
"""
import argparse
import os
import random
import struct

U32, F32, STRING, ARRAY = 4, 6, 8, 9
SCALAR_SIZE = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
GGML_F32, GGML_Q4_0, GGML_Q8_0 = 0, 2, 8
ALIGNMENT = 32


def read_u64(data, at):
    return struct.unpack_from("<Q", data, at)[0], at + 8


def skip_value(data, at, kind):
    if kind in SCALAR_SIZE:
        return at + SCALAR_SIZE[kind]
    if kind == STRING:
        length, at = read_u64(data, at)
        return at + length
    element, = struct.unpack_from("<I", data, at)
    count, at = read_u64(data, at + 4)
    if element in SCALAR_SIZE:
        return at + count * SCALAR_SIZE[element]
    for _ in range(count):
        at = skip_value(data, at, element)
    return at


def vocabulary_of(path):
    """The tokenizer.* keys of a GGUF, as stored, and the number of tokens."""
    with open(path, "rb") as file:
        data = file.read(64 << 20)
    n_keys = struct.unpack_from("<Q", data, 16)[0]
    at, keys, n_tokens = 24, [], 0
    for _ in range(n_keys):
        start = at
        length, at = read_u64(data, at)
        name = data[at:at + length].decode()
        kind, = struct.unpack_from("<I", data, at + length)
        value = at + length + 4
        at = skip_value(data, value, kind)
        if name.startswith("tokenizer."):
            keys.append(data[start:at])
        if name == "tokenizer.ggml.tokens":
            n_tokens = struct.unpack_from("<Q", data, value + 4)[0]
    return keys, n_tokens


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, value):
    body = text(value) if kind == STRING else struct.pack("<f" if kind == F32 else "<I", value)
    return text(name) + struct.pack("<I", kind) + body


def tensor_bytes(kind, elements, deviation, source):
    if kind == GGML_F32:
        return struct.pack("<f", 1.0) * elements
    blocks = elements // 32
    if kind == GGML_Q4_0:  # 16 levels from -8 to 7, standard deviation 4.6
        scale = struct.pack("<e", deviation / 4.6)
        noise = source.randbytes(16 * blocks)
        return b"".join(scale + noise[i:i + 16] for i in range(0, 16 * blocks, 16))
    scale = struct.pack("<e", deviation / 74.0)  # Q8_0: 256 levels
    noise = source.randbytes(32 * blocks)
    return b"".join(scale + noise[i:i + 32] for i in range(0, 32 * blocks, 32))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary")
    parser.add_argument("output")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--embd", type=int, default=1024)
    parser.add_argument("--ff", type=int, default=2816)
    parser.add_argument("--context", type=int, default=16384)
    parser.add_argument("--hole", action="store_true")
    options = parser.parse_args()
    embd, ff, head = options.embd, options.ff, 64
    heads, kv = embd // head, max(1, embd // head // 4)
    vocabulary, n_tokens = vocabulary_of(options.vocabulary)
    keys = [key("general.architecture", STRING, "llama"), key("general.name", STRING, "random-llama"),
            key("general.license", STRING, "Apache-2.0"),
            key("llama.block_count", U32, options.layers), key("llama.embedding_length", U32, embd),
            key("llama.feed_forward_length", U32, ff), key("llama.context_length", U32, options.context),
            key("llama.attention.head_count", U32, heads), key("llama.attention.head_count_kv", U32, kv),
            key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), key("llama.rope.freq_base", F32, 1e5),
            key("llama.rope.dimension_count", U32, head), key("llama.vocab_size", U32, n_tokens),
            key("general.file_type", U32, 2)] + vocabulary
    tensors = [("token_embd.weight", (embd, n_tokens), GGML_Q8_0), ("output_norm.weight", (embd,), GGML_F32)]
    for i in range(options.layers):
        tensors += [(f"blk.{i}.{name}.weight", shape, GGML_F32 if len(shape) == 1 else GGML_Q4_0) for name, shape in (
            ("attn_norm", (embd,)), ("attn_q", (embd, embd)), ("attn_k", (embd, kv * head)),
            ("attn_v", (embd, kv * head)), ("attn_output", (embd, embd)), ("ffn_norm", (embd,)),
            ("ffn_gate", (embd, ff)), ("ffn_up", (embd, ff)), ("ffn_down", (ff, embd)))]
    source = random.Random(1)
    infos, offset = [], 0
    for name, shape, kind in tensors:
        elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
        size = {GGML_F32: 4 * elements, GGML_Q4_0: elements // 32 * 18, GGML_Q8_0: elements // 32 * 34}[kind]
        infos.append(text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
                     + struct.pack("<IQ", kind, offset))
        offset += (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(infos)
    with open(options.output + ".part", "wb") as file:
        file.write(header + bytes(-len(header) % ALIGNMENT))
        if options.hole:
            file.truncate(file.tell() + offset)
        for name, shape, kind in [] if options.hole else tensors:
            data = tensor_bytes(kind, shape[0] * (shape[1] if len(shape) > 1 else 1), shape[0] ** -0.5, source)
            file.write(data + bytes(-len(data) % ALIGNMENT))
    os.replace(options.output + ".part", options.output)
    print(options.output)


if __name__ == "__main__":
    main()
