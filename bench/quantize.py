#!/usr/bin/env python3
"""Every type that `gogrid quantize` writes, beside llama-quantize: the same bytes, in how much time, and whether the model answers; with
--loss also `gogrid models loss` beside llama-perplexity, and `gogrid imatrix` beside llama-imatrix, on a text. With --sizes, instead: what
`gogrid quantize --target-size` loses beside uniform types, in files of the same size.

    bench/quantize.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf [--types q4_k_m,q8_0] [--loss TEXT] [--chunks N] [--rounds N]
    bench/quantize.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --sizes q2_k,q3_k_m,q4_k_m --choose TEXT --loss ANOTHER [--imatrix]

The model is made f16 first. Needs Debian's llama.cpp-tools and llama.cpp-tools-extra (scripts/setup.sh).
"""
import argparse
import filecmp
import json
import math
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOGRID = os.environ.get("GOGRID_PROGRAM", str(ROOT / "build/release/gogrid"))
# Nobody else is here: the whole machine, all the time.
UNLIMITED = ["--mode", "aggressive", "--limit", "max_compute=1"]
# Below these libllama asks for an importance matrix.
NEEDS_IMATRIX = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "q2_k_s", "iq3_xxs", "iq3_xs"}
ALL = ["q1_0", "iq1_s", "tq1_0", "iq1_m", "iq2_xxs", "tq2_0", "q2_0", "iq2_xs", "iq2_s", "iq2_m", "q2_k_s", "q2_k", "iq3_xxs", "iq3_xs",
       "iq3_s", "q3_k_s", "iq3_m", "q3_k_m", "q3_k_l", "mxfp4_moe", "iq4_xs", "iq4_nl", "q4_0", "q4_k_s", "q4_k_m", "q4_1", "q5_0",
       "q5_k_s", "q5_k_m", "q5_1", "q6_k", "q8_0", "f16", "bf16", "f32"]


def run(*words, check=True):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout[-800:]}\n{done.stderr[-800:]}")
    return done


def timed(*words, target):
    """((seconds, of them on processors), what came of it)."""
    target.unlink(missing_ok=True)
    begin, before = time.monotonic(), os.times()
    done = run(*words, check=False)
    after = os.times()
    return (time.monotonic() - begin, after.children_user + after.children_system - before.children_user - before.children_system), done


def gogrid(data, command, *words, check=True):
    return run(GOGRID, *command.split(), *words, "--data-dir", data, check=check)


class Work:
    def __init__(self, folder, threads, synced=False):
        self.folder, self.threads, self.synced = folder, threads, synced
        self.data = folder / "data"
        self.imatrix = None

    def options(self, kind):
        return ["--imatrix", self.imatrix] if self.imatrix and kind in NEEDS_IMATRIX | {"q2_k", "q3_k_m"} else []

    def ours(self, source, target, kind, *more):
        return timed(GOGRID, "quantize", source, target, "--type", kind, "--threads", self.threads, *UNLIMITED, "--data-dir",
                     self.data, *self.options(kind), *more, target=target)

    def theirs(self, source, target, kind, *more):
        """With --synced, until it is on the disk, where ours is when it ends."""
        command = ["llama-quantize", *self.options(kind), *more, source, target, kind, self.threads]
        if self.synced:
            command = ["sh", "-c", '"$@" && sync "$0"', target, *command]
        return timed(*command, target=target)

    def compare(self, source, kind, rounds):
        """Both sides, interleaved; prints one line and says whether they agree."""
        mine, other = self.folder / "mine.gguf", self.folder / "theirs.gguf"
        times = ([], [])
        for i in range(rounds):
            sides = [(0, self.ours, mine), (1, self.theirs, other)]
            for side, make, target in sides if i % 2 == 0 else reversed(sides):
                if rounds > 1:
                    os.sync()  # what the side before left to be written is not this one's to wait for
                taken, done = make(source, target, kind)
                times[side].append(taken)
                if side == 0:
                    refused = done.returncode != 0
                    why = done.stderr.strip().splitlines()[-1:] or [""]
                elif done.returncode != 0 or not target.exists():
                    print(f"{kind:10} refused by both: {why[0][:110]}" if refused else f"{kind:10} FAILED: only llama-quantize refuses")
                    return refused
        if refused:
            print(f"{kind:10} FAILED: {why[0]}")
            return False
        same = filecmp.cmp(mine, other, shallow=False)
        answer = gogrid(self.data, "run", mine, "--raw", "-p", "The capital of France is", "-n", 8, "--temperature", 0, "--context", 256,
                        "--json", check=False)
        text = json.loads(answer.stdout)["text"] if answer.returncode == 0 else answer.stderr.strip()
        (wall, cpu), (their_wall, their_cpu) = ([statistics.median(taken[i] for taken in side) for i in (0, 1)] for side in times)
        print(f"{kind:10} {mine.stat().st_size / 2**20:7.1f} MiB  {'same bytes' if same else 'OTHER BYTES'}  {wall:6.2f} s against {their_wall:6.2f} s: "
              f"{their_wall / wall:.2f}x, of processors {cpu:6.2f} s against {their_cpu:6.2f} s: {their_cpu / cpu:.2f}x  {text!r}", flush=True)
        return same and answer.returncode == 0

    def loss(self, base, other, text, chunks, context=512):
        """(ours, theirs) as dictionaries of the same keys."""
        limit = ["--chunks", chunks] if chunks else []
        mine = json.loads(gogrid(self.data, "models loss", base, other, "--text", text, "--context", context, *UNLIMITED, "--json", *limit).stdout)
        logits = self.folder / "logits"
        common = ["-t", self.threads, "-c", context, "-ngl", 0, *limit]
        first = run("llama-perplexity", "-m", base, "-f", text, "--kl-divergence-base", logits, *common)
        said = run("llama-perplexity", "-m", other, "--kl-divergence-base", logits, "--kl-divergence", *common)
        output = said.stdout + said.stderr
        number = lambda pattern, where=output: float(re.search(pattern, where).group(1))
        theirs = {"base_perplexity": number(r"Mean PPL\(base\)\s*:\s*([\d.]+)"), "perplexity": number(r"Mean PPL\(Q\)\s*:\s*([\d.]+)"),
                  "mean_kl": number(r"Mean\s+KLD:\s*([-\d.]+)"), "p99_kl": number(r"99\.0%\s+KLD:\s*([-\d.]+)"),
                  "same_top": number(r"Same top p:\s*([\d.]+)") / 100,
                  "final": number(r"Final estimate: PPL = ([\d.]+)", first.stdout + first.stderr)}
        return mine, theirs


def tensors_of(path):
    """(the file's bytes, [(name, elements, ggml_type, place)]): a small reader of GGUF."""
    data = pathlib.Path(path).read_bytes()
    at = 0

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)[0]
        at += struct.calcsize("<" + form)
        return value

    def text():
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length:at].decode()

    def value(kind):
        forms = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
        if kind == 8:
            return text()
        if kind == 9:
            inner = take("I")
            return [value(inner) for _ in range(take("Q"))]
        return take(forms[kind])

    assert take("I") == 0x46554747 and take("I") == 3
    tensors, keys = take("Q"), take("Q")
    for _ in range(keys):
        text(), value(take("I"))
    found = []
    for _ in range(tensors):
        name, dimensions = text(), take("I")
        count = math.prod(take("Q") for _ in range(dimensions))
        found.append((name, count, take("I"), take("Q")))
    begin = (at + 31) // 32 * 32
    return data, [(name, count, kind, begin + offset) for name, count, kind, offset in found]


def sums_of(path):
    """The sums and counts of an importance matrix, by their tensors' names."""
    data, tensors = tensors_of(path)
    return {name: struct.unpack_from(f"<{count}f", data, place) for name, count, kind, place in tensors
            if kind == 0 and name.endswith((".in_sum2", ".counts"))}


def write_unquantized(source, target, seed=1):
    """A model of 16 bits whose weights lie on no grid, made of one that was quantized once: to type it came from, such a model would go back
    without loss, which no model does that was trained. The low 8 of the 10 bits of every mantissa become random: about as far off as rounding to
    4 bits is."""
    data, tensors = tensors_of(source)
    data = bytearray(data)
    chance = random.Random(seed)
    for _, count, kind, place in tensors:
        if kind != 1:
            continue
        size = 2 * count
        mask = int.from_bytes(b"\xff\x00" * count, "little")
        noise = int.from_bytes(chance.randbytes(size), "little") & mask
        data[place:place + size] = (int.from_bytes(data[place:place + size], "little") ^ noise).to_bytes(size, "little")
    pathlib.Path(target).write_bytes(data)


def compare_imatrix(mine, theirs):
    """The largest difference of a sum, as a share of its weight's mean sum; and how many weights there are."""
    a, b = sums_of(mine), sums_of(theirs)
    if a.keys() != b.keys():
        sys.exit(f"imatrix: other weights: {sorted(a.keys() ^ b.keys())[:6]}")
    worst = 0.0
    for name in a:
        worst = max(worst, max(abs(x - y) for x, y in zip(a[name], b[name])) * len(b[name]) / sum(b[name]))
    return worst, len(a) // 2


def compare_sizes(work, base, arguments):
    """True where each size's chosen types lose less than its uniform type, on a text that they were not chosen by."""
    model, uniform, chosen = (work.folder / name for name in ("fresh.gguf", "uniform.gguf", "chosen.gguf"))
    write_unquantized(base, model)
    matrix = []
    if arguments.imatrix:
        matrix = ["--imatrix", work.folder / "choose.imatrix.gguf"]
        gogrid(work.data, "imatrix", model, "--text", arguments.choose, "-o", matrix[1], *UNLIMITED)
    limit = ["--chunks", arguments.chunks] if arguments.chunks else []
    good = True
    for kind in arguments.sizes.split(","):
        for made in (uniform, chosen):
            made.unlink(missing_ok=True)
        gogrid(work.data, "quantize", model, uniform, "--type", kind, *matrix, "--threads", work.threads, *UNLIMITED)
        size = uniform.stat().st_size
        begin = time.monotonic()
        gogrid(work.data, "quantize", model, chosen, "--target-size", size, "--text", arguments.choose, *matrix, "--threads", work.threads, *UNLIMITED)
        taken = time.monotonic() - begin
        lost = [json.loads(gogrid(work.data, "models loss", model, made, "--text", arguments.loss, *UNLIMITED, "--json", *limit).stdout)
                for made in (uniform, chosen)]
        good &= lost[1]["mean_kl"] < lost[0]["mean_kl"] and chosen.stat().st_size <= size
        print(f"{kind:8} {size} bytes: KL {lost[0]['mean_kl']:.5f}, same top token {100 * lost[0]['same_top']:.1f} %; chosen in {taken:.0f} s: "
              f"{chosen.stat().st_size} bytes, KL {lost[1]['mean_kl']:.5f}, {100 * lost[1]['same_top']:.1f} %", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--types", default=",".join(ALL))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--synced", action="store_true", help="llama-quantize's time counts until its file is on the disk, as ours does")
    parser.add_argument("--loss", metavar="TEXT")
    parser.add_argument("--loss-types", default="q8_0,q4_k_m,q3_k_m,q2_k")
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--sizes", metavar="TYPES")
    parser.add_argument("--choose", metavar="TEXT")
    parser.add_argument("--imatrix", action="store_true", help="with --sizes: both with an importance matrix of the text to choose by")
    arguments = parser.parse_args()
    if arguments.sizes and not (arguments.choose and arguments.loss):
        parser.error("--sizes: expected a text to choose by (--choose) and another to compare on (--loss)")
    good = True
    with tempfile.TemporaryDirectory(prefix="gogrid-quantize-") as name:
        folder = pathlib.Path(name)
        work = Work(folder, arguments.threads, arguments.synced)
        base = folder / "f16.gguf"
        _, done = work.ours(arguments.model, base, "f16", "--allow-requantize")
        if done.returncode != 0:
            sys.exit(done.stderr)
        if arguments.sizes:
            return 0 if compare_sizes(work, base, arguments) else 1
        limit = ["--chunks", arguments.chunks] if arguments.chunks else []
        if arguments.loss:
            mine, theirs = folder / "mine.imatrix.gguf", folder / "theirs.imatrix.gguf"
            begin = time.monotonic()
            gogrid(work.data, "imatrix", base, "--text", arguments.loss, "-o", mine, *UNLIMITED, *limit)
            middle = time.monotonic()
            run("llama-imatrix", "-m", base, "-f", arguments.loss, "-o", theirs, "-t", arguments.threads, "-c", 512, "-ngl", 0, "--no-ppl", *limit)
            worst, weights = compare_imatrix(mine, theirs)
            print(f"imatrix: {weights} weights, sums differ by at most {100 * worst:.4f} %; {middle - begin:.1f} s against "
                  f"{time.monotonic() - middle:.1f} s")
            good &= worst < 0.01
            work.imatrix = theirs
            losses = {}
            for kind in filter(None, arguments.loss_types.split(",")):
                for matrix in [None, mine] if kind in ("q2_k", "q3_k_m") else [None]:
                    work.imatrix = matrix
                    other = folder / "other.gguf"
                    work.ours(base, other, kind)
                    ours, llama = work.loss(base, other, arguments.loss, arguments.chunks)
                    losses[kind, matrix is not None] = ours["mean_kl"]
                    print(f"loss of {kind}{' with imatrix' if matrix else ''}:")
                    for key in ("base_perplexity", "perplexity", "mean_kl", "p99_kl", "same_top"):
                        # Of a share, the difference.
                        off = abs(ours[key] - llama[key]) if key == "same_top" or not llama[key] else abs(ours[key] / llama[key] - 1)
                        print(f"  {key:16} {ours[key]:.6f} against {llama[key]:.6f}: {100 * off:.3f} %")
                        good &= off < 0.01 or key == "p99_kl"
            for kind in ("q2_k", "q3_k_m"):
                if (kind, True) in losses:
                    print(f"{kind}: KL {losses[kind, False]:.5f} without imatrix, {losses[kind, True]:.5f} with")
                    good &= losses[kind, True] < losses[kind, False]
            work.imatrix = mine
        for kind in filter(None, arguments.types.split(",")):
            if kind in NEEDS_IMATRIX and not work.imatrix:
                print(f"{kind:10} not tried: needs an importance matrix (--loss TEXT makes one)")
                continue
            good &= work.compare(base, kind, arguments.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
