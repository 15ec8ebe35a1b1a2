#!/usr/bin/env python3
"""GoGrid beside llama-server, one command a claim (bench/README.md says how to read the tables).

    bench/compare.py serving-tax  --model M.gguf   one stage, 2 threads, 1/4/16 streams       (row 1)
    bench/compare.py pipeline     --model M.gguf   two stages of one core each, 8/16 streams  (row 2)
    bench/compare.py mixed-load   --model M.gguf   token gap while a long prompt arrives      (row 5)
    bench/compare.py shared-prefix --model M.gguf  time to first token, 90 % shared prompts   (row 6)
    bench/compare.py good-guest   --model M.gguf   a build and a 10 ms timer beside queued work (row 7)
    bench/compare.py start        --model M.gguf   time to ready, memory over the weights

Both sides get the same file, KV type (f16), flash attention (on), context per sequence, greedy sampling and banned
end-of-text. Rounds are interleaved A B B A. Servers listen on loopback and are ended by their process id.
Needs: make build; scripts/setup.sh --bench.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("GOGRID_BUILD", os.path.join(ROOT, "build", "release"))
GOGRID = os.path.join(BUILD, "gogrid")
CLIENT = os.path.join(BUILD, "bench", "load_client")
PROBE = os.path.join(BUILD, "bench", "wakeup_probe")
RPC_SERVER = "/usr/libexec/x86_64-linux-gnu/llama/bin/ggml-rpc-server"
WORDS = ("the river old stone house wind morning light field winter garden bread road silver table window quiet mountain "
         "letter ship coast song paper bridge summer forest lamp door market bell harbour snow orchard").split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def prose(words, seed):
    source = random.Random(seed)
    return " ".join(source.choice(WORDS) for _ in range(words))


def steal_share():
    with open("/proc/stat") as stat:
        fields = [int(x) for x in stat.readline().split()[1:]]
    return fields[7], sum(fields)


class Server:
    """A server process on loopback; `ready` is a path that answers 200 when it can serve."""

    def __init__(self, label, argv, port, ready, helpers=(), cores=None, wait_s=120, env=None):
        self.label, self.port = label, port
        self.log = open(f"/tmp/gogrid-bench-{os.getpid()}-{label.replace(' ', '_')}.log", "w")
        prefix = ["taskset", "-c", cores] if cores else []
        self.helpers = [subprocess.Popen(h, stdout=self.log, stderr=self.log) for h in helpers]
        if helpers:
            time.sleep(1.0)
        started = time.monotonic()
        self.process = subprocess.Popen(prefix + argv, stdout=self.log, stderr=self.log, env=env)
        while True:
            if self.process.poll() is not None or time.monotonic() - started > wait_s:
                self.stop()
                sys.exit(f"{label} did not start; see {self.log.name}\n  {' '.join(argv)}")
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5):
                    break
            time.sleep(0.005)
        self.ready_s = time.monotonic() - started

    def stop(self):
        for process in [self.process, *self.helpers]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [self.process, *self.helpers]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def memory(self):
        """(resident anonymous, resident file-backed) bytes."""
        values = {}
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                name, _, rest = line.partition(":")
                if name in ("RssAnon", "RssFile"):
                    values[name] = int(rest.split()[0]) * 1024
        return values["RssAnon"], values["RssFile"]


# Their server takes what it finds: beside it ours may too, unless a row is about limits.
UNLIMITED = ["--mode", "aggressive", "--limit", "max_compute=1", "--limit", "max_device_memory=1", "--limit", "max_batch=1024"]


def gogrid(model, context, parallel, extra=(), cores=None, label="gogrid", limits=tuple(UNLIMITED)):
    port = free_port()
    argv = [GOGRID, "serve", "--model", model, "--listen", f"127.0.0.1:{port}", "--context", str(context),
            "--parallel", str(parallel), *limits, *extra]
    return Server(label, argv, port, "/readyz", cores=cores)


def llama_server(model, context, parallel, extra=(), helpers=(), cores=None, label="llama-server", threads=2, nice=0):
    port = free_port()
    argv = [*(["nice", "-n", str(nice)] if nice else []), "llama-server", "-m", model, "--host", "127.0.0.1", "--port", str(port),
            "-t", str(threads), "-np", str(parallel), "-c", str(context * parallel), "-fa", "on", "-ngl", "0" if not helpers else "99", "--no-webui", *extra]
    return Server(label, argv, port, "/health", helpers=helpers, cores=cores)


def drive(server, requests, concurrency, path="/v1/completions"):
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run(["taskset", "-c", "0,1", CLIENT, str(server.port), path, str(concurrency)], input=lines,
                          capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    summary = results.pop()
    for result in results:
        if result["status"] != 200 or result["error"]:
            sys.exit(f"{server.label}: a request failed: {json.dumps(result)[:400]}")
    return results, summary


def completion(prompt, tokens, **more):
    return {"body": {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True,
                     "stream_options": {"include_usage": True}, "model": "bench", **more}}


def named(requests, model):
    for request in requests:
        request["body"]["model"] = model
    return requests


def throughput(results, summary):
    return sum(r["usage"]["completion_tokens"] for r in results) / (summary["wall_ms"] / 1e3)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def versions():
    ours = subprocess.run([GOGRID, "--version"], capture_output=True, text=True).stdout.strip()
    theirs = subprocess.run(["llama-server", "--version"], capture_output=True, text=True)
    return ours, (theirs.stdout + theirs.stderr).strip().splitlines()[0]


def rounds(sides, measure, count):
    """A B B A … : `measure(side)` returns a dict of figures; all sides stay up only for their own round."""
    figures = {label: [] for label, _ in sides}
    stolen_before, total_before = steal_share()
    for i in range(count):
        for label, side in sides if i % 2 == 0 else list(reversed(sides)):
            figures[label].append(measure(side))
            print(f"  round {i + 1} {label}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures[label][-1].items()),
                  file=sys.stderr)
    stolen, total = steal_share()
    return figures, (stolen - stolen_before) / max(1, total - total_before)


def table(title, figures, ours, better="higher"):
    print(f"\n## {title}\n")
    names = list(next(iter(figures.values()))[0])
    summary = {label: {n: spread([r[n] for r in runs]) for n in names} for label, runs in figures.items()}
    print("| side | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for label, columns in summary.items():
        print(f"| {label} | " + " | ".join(f"{c['median']:.4g} ({c['min']:.4g}..{c['max']:.4g})" for c in columns.values()) + " |")
    for label in summary:
        if label == ours:
            continue
        ratios = {n: summary[ours][n]["median"] / summary[label][n]["median"] for n in names if summary[label][n]["median"]}
        print(f"| {ours} / {label} | " + " | ".join(f"**{ratios.get(n, float('nan')):.3f}x**" for n in names) + " |")
        summary[label]["ratio_of_ours"] = ratios
    return summary


def same_text(sides, requests_for):
    """Greedy text of a few prompts, one at a time: a wrong answer is not fast."""
    answers = {}
    for label, start in sides:
        with start() as server:
            results, _ = drive(server, requests_for(server), 1)
            answers[label] = [r["text"] for r in results]
    first = next(iter(answers.values()))
    equal = {label: sum(a == b for a, b in zip(first, texts)) for label, texts in answers.items()}
    print(f"answers equal to {next(iter(answers))}'s, of {len(first)}: {equal}")
    return equal


def model_name(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/models", timeout=10) as answer:
        return json.load(answer)["data"][0]["id"]


def serving_tax(options):
    report = {}
    for streams in options.streams or (1, 4, 16):
        sides = [("gogrid", lambda: gogrid(options.model, 1024, streams, ["--device", "cpu0"])),
                 ("llama-server default", lambda: llama_server(options.model, 1024, streams)),
                 ("llama-server -ub 16", lambda: llama_server(options.model, 1024, streams, ["-ub", "16", "-b", "16"]))]
        if options.quick:
            sides = sides[:2]

        def measure(start):
            with start() as server:
                name = model_name(server)
                def batch(tokens, seed):
                    return named([completion(prose(48, seed + i), tokens) for i in range(streams)], name)
                drive(server, batch(8, 1000), streams)
                results, summary = drive(server, batch(options.tokens, 1), streams)
                first = [r["times_ms"][0] - r["start_ms"] for r in results]
                gaps = [b - a for r in results for a, b in zip(r["times_ms"], r["times_ms"][1:])]
                return {"tok/s": throughput(results, summary), "TTFT p95 ms": percentile(first, 0.95),
                        "gap p99 ms": percentile(gaps, 0.99), "client CPU": summary["client_cpu_share"]}

        if streams == (options.streams or (1,))[0]:
            report["answers"] = same_text(sides[:2], lambda s: named([completion(prose(20, i), 32) for i in range(4)], model_name(s)))
        figures, steal = rounds(sides, measure, options.rounds)
        report[streams] = table(f"Row 1, {streams} streams, {options.tokens} tokens each (steal {steal:.1%})", figures, "gogrid")
    return report


def pipeline(options):
    report = {}
    for streams in options.streams or (8, 16):
        ports = [free_port(), free_port()]
        helpers = [["taskset", "-c", str(core), RPC_SERVER, "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
                   for core, port in enumerate(ports)]
        rpc = ["--rpc", ",".join(f"127.0.0.1:{p}" for p in ports), "-sm", "layer"]
        devices = ["--device", "cpu-a:cores=0", "--device", "cpu-b:cores=1", "--split", options.split]
        sides = [("gogrid", lambda: gogrid(options.model, 512, streams, devices))]
        for ub in options.ub:
            extra = rpc + (["-ub", str(ub), "-b", str(max(ub, streams))] if ub else [])
            sides.append((f"llama-server --rpc{f' -ub {ub}' if ub else ''}",
                          lambda extra=extra: llama_server(options.model, 512, streams, extra, helpers=helpers, threads=1)))

        def measure(start):
            with start() as server:
                name = model_name(server)
                def batch(tokens, seed):
                    return named([completion(prose(12, seed + i), tokens) for i in range(streams)], name)
                drive(server, batch(4, 1000), streams)
                results, summary = drive(server, batch(options.tokens, 1), streams)
                # Decode alone: from the moment the last stream has its first token to the first stream's end.
                begin, end = max(r["times_ms"][0] for r in results), min(r["times_ms"][-1] for r in results)
                tokens = sum(sum(begin <= t <= end for t in r["times_ms"]) for r in results)
                return {"tok/s": throughput(results, summary), "decode tok/s": tokens / max(1e-9, (end - begin) / 1e3)}

        figures, steal = rounds(sides, measure, options.rounds)
        report[streams] = table(f"Row 2, two stages of one core, {streams} streams (steal {steal:.1%})", figures, "gogrid")
    return report


def mixed_load(options):
    sides = [("gogrid", lambda: gogrid(options.model, 10240, 4, ["--device", "cpu0"])),
             ("llama-server default", lambda: llama_server(options.model, 10240, 4)),
             ("llama-server -ub 64", lambda: llama_server(options.model, 10240, 4, ["-ub", "64", "-b", "64"]))]

    def measure(start):
        with start() as server:
            name = model_name(server)
            drive(server, named([completion(prose(12, 77), 8)], name), 1)
            running = [completion(prose(12, i), options.tokens) for i in range(3)]
            late = completion(prose(options.prompt_words, 500), 4)
            late["at_ms"] = 1000.0
            results, _ = drive(server, named([*running, late], name), 4)
            begin, end = results[3]["start_ms"], results[3]["times_ms"][0]
            gaps = [b - a for r in results[:3] for a, b in zip(r["times_ms"], r["times_ms"][1:]) if a >= begin - 50 and a <= end]
            return {"gap p99 ms": percentile(gaps, 0.99), "gap max ms": max(gaps), "gaps": len(gaps),
                    "long prompt TTFT ms": end - begin, "long prompt tokens": results[3]["usage"]["prompt_tokens"]}

    figures, steal = rounds(sides, measure, options.rounds)
    return table(f"Row 5, token gap while a long prompt arrives (steal {steal:.1%})", figures, "gogrid")


def shared_prefix(options):
    """One user was there before; then as many arrive at once as there are slots, and then twice as many again, when every slot has seen the prefix."""
    slots = 8
    sides = [("gogrid", lambda: gogrid(options.model, 2048, slots, ["--device", "cpu0"])),
             ("llama-server --cache-reuse 64", lambda: llama_server(options.model, 2048, slots, ["--cache-reuse", "64"])),
             ("llama-server default", lambda: llama_server(options.model, 2048, slots))]
    shared = prose(900, 9)

    def measure(start):
        with start() as server:
            name = model_name(server)
            def first_tokens(count, seed):
                asked = named([completion(shared + " " + prose(100, seed + i), 8) for i in range(count)], name)
                results, _ = drive(server, asked, slots)
                return [r["times_ms"][0] - r["start_ms"] for r in results]
            first_tokens(1, 1)
            fresh, warm = first_tokens(slots, 10), first_tokens(2 * slots, 100)
            return {"new clients: TTFT median ms": statistics.median(fresh), "p95 ms": percentile(fresh, 0.95),
                    "again: TTFT median ms": statistics.median(warm), "again p95 ms": percentile(warm, 0.95)}

    figures, steal = rounds(sides, measure, options.rounds)
    return table(f"Row 6, time to first token with 90 % shared prompts, {slots} at once (steal {steal:.1%})", figures, "gogrid")


def start(options):
    sides = [("gogrid", lambda: gogrid(options.model, 4096, 4, ["--device", "cpu0"])),
             ("llama-server", lambda: llama_server(options.model, 4096, 4))]

    def measure(begin):
        with begin() as server:
            drive(server, named([completion(prose(200, i), 32) for i in range(4)], model_name(server)), 4)
            anonymous, mapped = server.memory()
            return {"ready s": server.ready_s, "anonymous MiB": anonymous / 2**20, "file-backed MiB": mapped / 2**20}

    figures, steal = rounds(sides, measure, options.rounds)
    return table(f"Start and memory (steal {steal:.1%})", figures, "gogrid")


FOREGROUND = """#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <vector>
template <int N> int work(const std::string& text) {
  std::map<std::string, std::vector<int>> found;
  const std::regex pattern("a{" + std::to_string(N) + "}");
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
    found[it->str()].push_back(static_cast<int>(it->position()));
  return static_cast<int>(found.size()) + work<N - 1>(text);
}
template <> int work<0>(const std::string&) { return 0; }
int main(int, char** argv) { return work<12>(argv[0]); }
"""


def compile_seconds(jobs=4):
    """Somebody's build: so many compilations, one for each core at a time."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "job.cpp")
        with open(source, "w") as file:
            file.write(FOREGROUND)
        def compile_one(i):
            subprocess.run(["g++-16", "-std=c++23", "-O2", "-c", source, "-o", f"{source}.{i}.o"], check=True)
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(compile_one, range(jobs)))
        return time.monotonic() - begin


def late_wakeups(seconds=5):
    """How late a thread that sleeps 10 ms at a time is woken."""
    done = subprocess.run([PROBE, str(seconds)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def queued_work(server, streams=4, requests=400):
    """More requests than can be answered meanwhile, by a client that is as nice as can be."""
    lines = "".join(json.dumps(r) + "\n" for r in
                    named([completion(prose(48, i), 256) for i in range(requests)], model_name(server)))
    client = subprocess.Popen(["nice", "-n", "19", CLIENT, str(server.port), "/v1/completions", str(streams)], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    writer = threading.Thread(target=lambda: (client.stdin.write(lines), client.stdin.close()), daemon=True)
    writer.start()
    time.sleep(3.0)
    try:
        yield
    finally:
        client.kill()
        client.wait()
        writer.join(5)


def beside_nothing(figures, alone):
    """Each round's figure over the same round's without anything beside it: a slow minute is in both."""
    print("\n| beside | " + " | ".join(f"{name}, median of the rounds' ratios" for name in figures[alone][0]) + " |")
    print("|---|" + "---|" * len(figures[alone][0]))
    for label, runs in figures.items():
        if label == alone:
            continue
        ratios = {name: spread([run[name] / base[name] for run, base in zip(runs, figures[alone])]) for name in runs[0]}
        print(f"| {label} | " + " | ".join(f"**{r['median']:.3f}x** ({r['min']:.3f}..{r['max']:.3f})" for r in ratios.values()) + " |")


def good_guest(options):
    """A build and a thread that wakes every 10 ms, beside more work than can be done."""
    def conservative(*more):
        return gogrid(options.model, 1024, 4, ["--device", "cpu0"], limits=("--mode", "conservative", *more))
    alone, ours = "nothing beside", "gogrid --mode conservative"
    sides = [(alone, None), (ours, conservative),
             ("the same, never pausing", lambda: conservative("--limit", "pause.enabled=false")),
             ("nice -n 19 llama-server", lambda: llama_server(options.model, 1024, 4, nice=19))]

    def measure(start):
        with contextlib.ExitStack() as stack:
            if start:
                stack.enter_context(queued_work(stack.enter_context(start())))
            late = late_wakeups()
            return {"wake-up p50 ms late": late["p50_ms"], "wake-up p99 ms late": late["p99_ms"], "compile s": compile_seconds()}

    figures, steal = rounds(sides, measure, options.rounds)
    summary = table(f"Row 7, a foreground job beside queued work (steal {steal:.1%})", figures, ours, "lower")
    beside_nothing(figures, alone)
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=["serving-tax", "pipeline", "mixed-load", "shared-prefix", "start", "good-guest"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt-words", type=int, default=7500)
    parser.add_argument("--streams", type=int, nargs="*")
    parser.add_argument("--split", default="0:13@cpu-a,13:24@cpu-b", help="pipeline: the cut of a 24-layer model")
    parser.add_argument("--ub", type=int, nargs="*", default=[0, 4, 8, 16], help="pipeline: their -ub values; 0: default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="also write the figures here")
    options = parser.parse_args()
    options.model = os.path.abspath(options.model)
    print("versions:", *versions(), sep="\n  ")
    report = globals()[options.claim.replace("-", "_")](options)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
