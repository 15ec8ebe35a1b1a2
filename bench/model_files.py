#!/usr/bin/env python3
"""What it takes to bring a model in, and to look into one.

    bench/model_files.py import  [--gib 1] [--rounds 5]           a folder of safetensors made a GGUF, beside `cp` of its weights
    bench/model_files.py inspect --model VOCABULARY.gguf [--rounds 5]   `gogrid models show` of a file of 40 GB

`import` is compared with `cp` twice: as it is, which leaves the copy in the page cache, and with the copy on the disk (`sync FILE`), as an
import leaves its own. Both sides read weights that the page cache has. The large file is a header and a hole.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOGRID = os.environ.get("GOGRID_PROGRAM", str(ROOT / "build/release/gogrid"))
FIXTURE = ROOT / "tests/model/hf_fixtures/llama"
# Nobody else is here: the whole machine, all the time.
UNLIMITED = ["--mode", "aggressive", "--limit", "max_compute=1"]
HIDDEN, FEED, HEADS, KV_HEADS = 2048, 5632, 32, 8
GIB, MB = 1 << 30, 1e6


def timed(*words):
    """(seconds, peak resident bytes); ends the program with what was said where the command fails."""
    os.sync()  # what was written before is not this one's to wait for
    begin = time.monotonic()
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    said = child.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    taken = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: status {child.returncode}\n{said[-800:]}")
    return taken, usage.ru_maxrss * 1024


def line(name, figures, form="{:.2f} s"):
    middle, least, most = (form.format(value) for value in (statistics.median(figures), min(figures), max(figures)))
    return f"{name}: {middle} ({least}..{most})"


def tensors_of(vocabulary, layers):
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    head = HIDDEN // HEADS
    for i in range(layers):
        for name, shape in (("input_layernorm", (HIDDEN,)), ("post_attention_layernorm", (HIDDEN,)), ("self_attn.q_proj", (HIDDEN, HIDDEN)),
                            ("self_attn.k_proj", (KV_HEADS * head, HIDDEN)), ("self_attn.v_proj", (KV_HEADS * head, HIDDEN)),
                            ("self_attn.o_proj", (HIDDEN, HIDDEN)), ("mlp.gate_proj", (FEED, HIDDEN)), ("mlp.up_proj", (FEED, HIDDEN)),
                            ("mlp.down_proj", (HIDDEN, FEED))):
            yield f"model.layers.{i}.{name}.weight", shape


def elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def write_folder(folder, size):
    """A Llama model of about `size` bytes of random BF16 weights; answers the file that they are in."""
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("model.safetensors", "expected.tsv"))
    config = json.loads((folder / "config.json").read_text())
    a_layer = 2 * sum(elements(shape) for name, shape in tensors_of(0, 1) if ".0." in name)
    layers = max(1, round(size / a_layer))
    config.update(hidden_size=HIDDEN, intermediate_size=FEED, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  head_dim=HIDDEN // HEADS, num_hidden_layers=layers, tie_word_embeddings=True)
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for name, shape in tensors_of(config["vocab_size"], layers):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2 * elements(shape)]}
        offset += 2 * elements(shape)
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    # 16 MiB of numbers between 2^-7 and 1, over and over.
    chance = random.Random(1)
    noise = b"".join(struct.pack("<H", 0x3C00 + chance.getrandbits(9)) for _ in range(1 << 16)) * 128
    path = folder / "model.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        for begin in range(0, offset, len(noise)):
            file.write(noise[:offset - begin])
        file.flush()
        os.fsync(file.fileno())
    return path


def compare_import(work, options):
    weights = write_folder(work / "model", options.gib * GIB)
    size = weights.stat().st_size
    copy, data = work / "copy", work / "data"
    times = {"gogrid models import": [], "cp, and sync": [], "cp": []}

    def ours():
        times["gogrid models import"].append(timed(GOGRID, "models", "import", weights.parent, "--name", "m", *UNLIMITED, "--data-dir", data)[0])
        shown = json.loads(subprocess.run([GOGRID, "models", "show", "m", "--json", "--data-dir", data], check=True, capture_output=True).stdout)
        assert shown["bytes"] > size, shown["bytes"]
        timed(GOGRID, "models", "rm", "m", "--data-dir", data)

    def theirs(name, *words):
        times[name].append(timed(*words)[0])
        copy.unlink()

    plain = ["cp", "--reflink=never", weights, copy]
    synced = ["sh", "-c", 'cp --reflink=never "$0" "$1" && sync "$1"', weights, copy]
    sides = [ours, lambda: theirs("cp, and sync", *synced), lambda: theirs("cp", *plain)]
    timed(*plain)  # the page cache has them now
    copy.unlink()
    for i in range(options.rounds):
        for side in sides if i % 2 == 0 else reversed(sides):
            side()
    print(f"{size / GIB:.2f} GiB of safetensors, {options.rounds} rounds")
    mine = statistics.median(times["gogrid models import"])
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"  {line(name, taken)}, {size / MB / middle:.0f} MB/s; import is {middle / mine:.2f}x as fast")
    return mine <= 2 * statistics.median(times["cp"])


def inspect(work, options):
    path = work / "large.gguf"
    timed(sys.executable, ROOT / "bench/make_model.py", options.model, path, "--layers", 80, "--embd", 8192, "--ff", 28672, "--hole")
    shown = json.loads(subprocess.run([GOGRID, "models", "show", path, "--json"], check=True, capture_output=True).stdout)
    taken, peaks = zip(*(timed(GOGRID, "models", "show", path) for _ in range(options.rounds)))
    print(f"{path.stat().st_size / 1e9:.1f} GB, {shown['layers']} layers, {shown['parameters'] / 1e9:.1f} billion weights, {options.rounds} rounds")
    print("  " + line("gogrid models show", [1000 * seconds for seconds in taken], "{:.0f} ms"))
    print("  " + line("its memory", [peak / (1 << 20) for peak in peaks], "{:.1f} MiB"))
    return statistics.median(taken) < 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=["import", "inspect"])
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="a GGUF whose vocabulary the large file gets")
    options = parser.parse_args()
    if options.claim == "inspect" and not options.model:
        parser.error("inspect: expected --model")
    with tempfile.TemporaryDirectory(prefix="gogrid-model-files-") as name:
        claim = compare_import if options.claim == "import" else inspect
        return 0 if claim(pathlib.Path(name), options) else 1


if __name__ == "__main__":
    sys.exit(main())
