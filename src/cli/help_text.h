// What `--help` teaches beside the options.
#pragma once

namespace gogrid::help_text {

inline constexpr const char* kVersion = GOGRID_VERSION;
inline constexpr const char* kTitle =
    "one private inference endpoint over the mismatched GPUs and CPUs you have";
inline constexpr const char* kRoot = R"(
FIRST STEPS
  gogrid models import FILE.gguf --name my-model   take a model into the library
  gogrid models pull hf:owner/repo:Q4_K_M          or fetch one
  gogrid run my-model -p "Hello"                   ask it something
  gogrid serve --model my-model                    serve it on http://127.0.0.1:8080/v1
  gogrid plan my-model                             where it would run, how fast, and why

RESULTS
  Results go to stdout, everything else to stderr. Exit status:
  0  done
  1  failed while running
  2  wrong usage or configuration; the message names the option, or file:line
  3  it can never run here (does not fit, unsupported), with what is short by how much)";
inline constexpr const char* kServe = R"(
BEHAVIOUR
  Prints `listening on http://ADDR:PORT` when ready to answer. SIGTERM or SIGINT drains: new
  requests are refused, running ones are finished (30 s at most); a second one ends it at once.
  Only loopback addresses are served in this version.
  Of several models, those that fit are loaded; the others when they are asked for. Then the one
  that was not used for longest gives its memory back, once its streams have ended, and the request
  waits, its stream saying how far the loading is.
  Stages that --quantize-stages makes smaller are named on standard error, with the measured loss.

EXAMPLES
  gogrid serve --model smollm2-135m
  gogrid serve --library --keep-alive 10m
  gogrid serve --model big --model small --pin small --alias gpt-4o-mini=small
  gogrid serve --model small --model small+polite --alias polite=small+polite
  gogrid serve --model big.gguf --device cpu-a:cores=0 --device vulkan0 \
      --split 0:15@cpu-a,15:30@vulkan0
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
      -d '{"model":"smollm2-135m","messages":[{"role":"user","content":"Hi"}]}')";
inline constexpr const char* kRun = R"(
BEHAVIOUR
  The text comes on stdout as it is made. With --json, one object with the text, its tokens, counts,
  finish_reason ("stop" or "length"), the stages it ran on and timings.

EXAMPLES
  gogrid run smollm2-135m -p "What is a lease?" --temperature 0
  gogrid run model.gguf --raw -f story.txt -n 100 --seed 7
  gogrid run model.gguf+adapter.gguf@0.5 -p "What is a lease?")";
inline constexpr const char* kPlan = R"(
BEHAVIOUR
  Measures each device once for this model (a second or two each; kept in the data folder), then
  prints the stages, the predicted speed and the reasons. Ends with status 3, and what is short by
  how much, when the model does not fit. With --quantize-stages it makes the smaller stages, and
  prints what they cost (docs/quantization.md); both are kept.

EXAMPLES
  gogrid plan smollm2-135m --device cpu-a:cores=0:memory=90MiB --device cpu-b:cores=1
  gogrid plan smollm2-135m --context 8192 --parallel 8 --json
  gogrid plan big --device cpu0:memory=6GiB --device vulkan0 --quantize-stages allow)";
inline constexpr const char* kBench = R"(
BEHAVIOUR
  Loads the model as planned, runs --parallel sequences at once, and prints prefill and decode speed
  beside what the planner predicted.

EXAMPLES
  gogrid bench smollm2-135m --parallel 8)";
inline constexpr const char* kDevices = R"(
BEHAVIOUR
  The ids are what --device and --split name. Unknown memory is shown as such, never as zero.
  Vulkan devices that compute on the CPU (Mesa's llvmpipe) are listed only when asked for by number.

EXAMPLES
  gogrid devices --json
  GGML_VK_VISIBLE_DEVICES=0 gogrid devices)";
inline constexpr const char* kDoctor = R"(
BEHAVIOUR
  Looks at this machine as `serve` would with the same options, tries the priority on itself, and
  says of each limit whether it holds: yes, partly, no, or unused. Nothing is changed. What does not
  hold is a finding, no failure: the exit status is 0. Takes about a second.

EXAMPLES
  gogrid doctor --mode conservative
  gogrid doctor --config gogrid.toml --json)";
inline constexpr const char* kModels = R"(
BEHAVIOUR
  Files are checked before anything else reads them, copied, and known by their content; a crash in
  the middle leaves nothing half. Names are lower-case letters, digits, '.', '_' and '-'. A folder
  in the Hugging Face layout (config.json, safetensors, tokenizer files) becomes a GGUF on the way.
  Weights that GPTQ or AWQ packed keep their codes where a type of GGUF has room for them, and are
  rounded anew where none has (act-order); what that cost is measured, printed and kept with the
  model. FP8 weights are multiplied with their scales, and stored as 16 bits.

EXAMPLES
  gogrid models import SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2-135m
  gogrid models import ./Qwen3-0.6B --name qwen3-0.6b --type bf16
  gogrid models import ./Qwen2.5-7B-Instruct-GPTQ-Int4 --name qwen2.5-7b
  gogrid models show smollm2-135m)";
inline constexpr const char* kShow = R"(
BEHAVIOUR
  Reads the file's header only, and fetches no more of a model that is not here: what it is, how
  many bits its weights have, what a token of context costs, and where it may be cut between
  devices; also of files that cannot run here, with the reason. --diff compares two headers, not the
  data behind them.

EXAMPLES
  gogrid models show smollm2-135m
  gogrid models show ./model.gguf --tensors --json
  gogrid models show mine --diff ./theirs.gguf
  gogrid models show hf:owner/repo:Q4_K_M)";
inline constexpr const char* kCheck = R"(
BEHAVIOUR
  Reads the file's header only, fetches no more of a model that is not here, and measures nothing.
  For each device, each set of those with most memory, and all of them: whether the model fits under
  the limits in force, or how many bytes it is short; the largest context and number of sequences
  that fit; the predicted speed where `gogrid plan` has measured the devices for this model. Where
  it does not fit as it is: types in which it would, and stages that --quantize-stages allow would
  make smaller. Ends with status 3 when it can never run here.

EXAMPLES
  gogrid models check smollm2-135m
  gogrid models check ./big.gguf --device cpu0:memory=8GiB --device vulkan0 --context 32768
  gogrid models check hf:owner/repo:Q4_K_M --mode conservative)";
inline constexpr const char* kPull = R"(
BEHAVIOUR
  Only the model's GGUF file is fetched (or files, of which one is made), and nothing of it is run.
  It is compared with the SHA-256 that the hub or registry names (of a plain address: --sha256),
  checked as by import, and appears whole or not at all. Ctrl-C, a crash or a lost connection costs
  nothing: the same command goes on where it was. A second pull of the same file waits for the first
  and shares what it brought. As a guest it pauses when serving would (for the load of others, on
  battery, in quiet hours), and says so. Of another GoGrid (gogrid:) the server is asked; it listens
  on its own machine alone, so the way there is a tunnel: ssh -L 8081:127.0.0.1:8080 THAT-MACHINE.

EXAMPLES
  gogrid models pull hf:owner/repo:Q4_K_M --name my-model
  gogrid models pull hf:owner/private@v1.0 --token-file ~/.hub-token --limit-rate 5MiB
  gogrid models pull ollama:llama3.2:3b
  gogrid models pull gogrid:http://127.0.0.1:8081/my-model
  gogrid models pull https://example.org/model.gguf --sha256 HEX)";
inline constexpr const char* kLoss = R"(
BEHAVIOUR
  Runs both models over the text, side by side, and prints the perplexity of each, the
  Kullback-Leibler divergence from BASE (mean, and what 99 % of positions are below) and how often
  both find the same token most likely. A model of the library keeps it: see `models show`.

EXAMPLES
  gogrid models loss model-f16 model-q4 --text wiki.txt
  gogrid models loss model-f16.gguf model-q4 --text wiki.txt --chunks 20 --json)";
inline constexpr const char* kQuantize = R"(
BEHAVIOUR
  Writes aside and renames: OUT is whole or not there, also after Ctrl-C. A file that exists is not
  overwritten. Weights that are quantized already are refused unless --allow-requantize is given.
  Between two tensors it rests and pauses as the limits say (docs/quantization.md).
  --target-size measures first what rounding costs each tensor, and how much the model's answers to
  --text suffer by it: about two minutes for 100 million weights on two cores. What it chose is
  printed as a recipe.

EXAMPLES
  gogrid quantize model-f16.gguf --name model-q4 --type q4_k_m
  gogrid quantize model-f16.gguf small.gguf --target-size 3GiB --text wiki.txt
  gogrid quantize model-f16.gguf small.gguf --type q3_k_m --tensor-type attn_v=q6_k
  gogrid quantize model-f16.gguf tiny.gguf --type iq2_xs --imatrix model.imatrix.gguf --dry-run)";
inline constexpr const char* kImatrix = R"(
BEHAVIOUR
  Runs the model over the text and sums up the squares of what each column of each weight is
  multiplied with, for `quantize --imatrix`, in the format of llama.cpp. What is done is kept twice
  a minute and at Ctrl-C; the same command goes on there.

EXAMPLES
  gogrid imatrix model-f16 --text wiki.txt
  gogrid quantize model-f16 model-q2.gguf --type q2_k --imatrix model-f16.imatrix.gguf)";
inline constexpr const char* kCompletion = R"(
EXAMPLES
  source <(gogrid completion bash))";

}  // namespace gogrid::help_text
