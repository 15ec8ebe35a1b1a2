// What `--help` teaches beside the options.
#pragma once

namespace gogrid::help_text {

inline constexpr const char* kVersion = GOGRID_VERSION;
inline constexpr const char* kTitle =
    "GoGrid: one private inference endpoint over the mismatched GPUs and CPUs you have.";
inline constexpr const char* kRoot = R"(
First steps:
  gogrid models import FILE.gguf --name my-model   take a model into the library
  gogrid run my-model -p "Hello"                   ask it something
  gogrid serve --model my-model                    serve it on http://127.0.0.1:8080/v1
  gogrid plan my-model                             where it would run, how fast, and why

Results go to stdout, everything else to stderr. Exit status: 0 done; 1 failed while running;
2 wrong usage; 3 it can never run here (does not fit, unsupported).)";
inline constexpr const char* kServe = R"(
Prints `listening on http://ADDR:PORT` when ready to answer. SIGTERM or SIGINT drains: new requests are
refused, running ones are finished (30 s at most). Only loopback addresses are served in this version.

Examples:
  gogrid serve --model smollm2-135m
  gogrid serve --model big.gguf --device cpu-a:cores=0 --device vulkan0 --split 0:15@cpu-a,15:30@vulkan0
  curl http://127.0.0.1:8080/v1/chat/completions -d '{"model":"smollm2-135m","messages":[{"role":"user","content":"Hi"}]}')";
inline constexpr const char* kRun = R"(
The text comes on stdout as it is made. With --json: one object with text, tokens, finish_reason, stages, timings.

Examples:
  gogrid run smollm2-135m -p "What is a lease?" --temperature 0
  gogrid run model.gguf --raw -f story.txt -n 100 --seed 7)";
inline constexpr const char* kPlan = R"(
Measures each device once for this model (a second or two; kept in the data folder), then prints the stages, the
predicted speed and the reasons. Nothing is loaded. Exit status 3, with what is short by how much, when it does not fit.)";
inline constexpr const char* kBench = R"(
Loads the model as planned, runs --parallel sequences at once and prints prefill and decode speed beside
what the planner predicted. Comparisons with other programs: bench/README.md.)";
inline constexpr const char* kDevices = R"(
The ids are what --device and --split name. Unknown memory is shown as such, never as zero.)";
inline constexpr const char* kModels = R"(
Files are checked before anything else reads them, copied, and named by their content; a crash in the middle leaves nothing
half. Names are lower-case letters, digits, '.', '_' and '-'.)";

}  // namespace gogrid::help_text
