#include "model/architectures.h"

#include <algorithm>
#include <array>

namespace gogrid {
namespace {

using enum ArchitectureUse;

constexpr std::string_view kScalesRows =
    "its graph scales hidden rows that come in as if they were token embeddings";
constexpr std::string_view kPositions =
    "its graph adds position embeddings to the rows that come in";
constexpr std::string_view kNormsRows = "its graph normalizes the rows that come in";
constexpr std::string_view kState = "its layers carry a recurrent state besides the KV cache";
constexpr std::string_view kEveryLayer =
    "each of its layers reads the token embeddings, or those of other layers";
constexpr std::string_view kByCount = "what its layers compute depends on how many there are";
constexpr std::string_view kNoNode = "its graph does not name the output of a layer";
constexpr std::string_view kAxes = "its positions have more than one axis";

constexpr std::string_view kEmbeds = "makes embeddings, not text";
constexpr std::string_view kEncodes = "has an encoder, which is not served here";
constexpr std::string_view kDiffuses = "writes text by diffusion, not token by token";
constexpr std::string_view kDrafts = "only drafts for another model";
constexpr std::string_view kSpeaks = "is no language model";

constexpr Architecture cuttable(std::string_view name, std::uint32_t period = 1) {
  return {.name = name, .use = kCuttable, .period = period};
}
constexpr Architecture windowed(std::string_view name, std::uint32_t period) {
  return {.name = name, .use = kCuttable, .period = period, .windowed = true};
}
constexpr Architecture one_stage(std::string_view name, std::string_view why) {
  return {.name = name, .why = why};
}
constexpr Architecture recurrent(std::string_view name) {
  return {.name = name, .recurrent = true, .why = kState};
}
constexpr Architecture recurrent_but(std::string_view name, std::uint32_t attention_every) {
  return {.name = name, .recurrent = true, .attention_every = attention_every, .why = kState};
}
constexpr Architecture no_text(std::string_view name, std::string_view why) {
  return {.name = name, .use = kNoText, .why = why};
}

constexpr auto kArchitectures = std::to_array<Architecture>({
    // Layers that are all alike.
    cuttable("arcee"),
    cuttable("bailingmoe"),
    cuttable("bitnet"),
    cuttable("chatglm"),
    cuttable("codeshell"),
    cuttable("command-r"),
    cuttable("dbrx"),
    cuttable("ernie4_5"),
    cuttable("exaone"),
    cuttable("falcon"),
    cuttable("glm4"),
    cuttable("gptneox"),
    cuttable("granite"),
    cuttable("granitemoe"),
    cuttable("internlm2"),
    cuttable("llama"),
    cuttable("minimax-m2"),
    cuttable("mistral3"),
    cuttable("nemotron"),
    cuttable("olmo"),
    cuttable("olmoe"),
    cuttable("orion"),
    cuttable("pangu-embedded"),
    cuttable("phi2"),
    cuttable("phi3"),
    cuttable("phimoe"),
    cuttable("plamo"),
    cuttable("qwen"),
    cuttable("qwen2"),
    cuttable("qwen2moe"),
    cuttable("qwen3"),
    cuttable("qwen3moe"),
    cuttable("seed_oss"),
    cuttable("stablelm"),
    cuttable("starcoder2"),
    cuttable("xverse"),
    // Alike but for the first ones, which have no experts: the slice's metadata count those.
    cuttable("deepseek"),
    cuttable("dots1"),
    // Every fourth layer has no rotary positions; Llama 4 also has experts in every second.
    cuttable("smollm3", 4),
    cuttable("llama4", 4),
    // Sliding windows, with every so many layers a full one.
    windowed("cohere2", 4),
    // 27B: the attention's scale is chosen by the number of layers.
    {.name = "gemma3",
     .use = kCuttable,
     .period = 6,
     .windowed = true,
     .scales_token_rows = true,
     .layers_to_keep = 62},
    windowed("gpt-oss", 2),
    windowed("olmo2", 4),
    // Attention and short convolutions, in an order that the file gives.
    {.name = "lfm2", .use = kCuttable, .recurrent = true},

    one_stage("afmoe", kScalesRows),
    one_stage("gemma", kScalesRows),
    one_stage("gemma2", kScalesRows),
    one_stage("grok", kScalesRows),
    one_stage("minicpm", kScalesRows),
    one_stage("minicpm3", kScalesRows),
    one_stage("gpt2", kPositions),
    one_stage("mpt", kPositions),
    one_stage("starcoder", kPositions),
    one_stage("bloom", kNormsRows),
    one_stage("muse-glimmer", kNormsRows),
    one_stage("talkie", kNormsRows),
    one_stage("gemma3n", kEveryLayer),
    one_stage("gemma4", kEveryLayer),
    one_stage("baichuan", kByCount),
    one_stage("deepseek2", kByCount),
    one_stage("exaone4", kByCount),
    one_stage("cogvlm", kNoNode),
    one_stage("deepseek4", kNoNode),
    one_stage("hrm_text", kNoNode),
    one_stage("maion-coder", kNoNode),
    one_stage("paddleocr", kAxes),
    one_stage("qwen2vl", kAxes),
    one_stage("qwen3vl", kAxes),
    one_stage("qwen3vlmoe", kAxes),

    recurrent("arwkv7"),
    recurrent("bailingmoe3"),
    {.name = "falcon-h1", .recurrent = true, .state_beside_attention = true, .why = kState},
    recurrent("glm5-next"),
    recurrent("granitehybrid"),
    recurrent("jamba"),
    recurrent("kimi-k3"),
    recurrent("kimi-linear"),
    recurrent("lfm2moe"),
    recurrent("mamba"),
    recurrent("mamba2"),
    recurrent("minimax-01"),
    recurrent("nemotron_h"),
    recurrent("nemotron_h_moe"),
    recurrent("plamo2"),
    recurrent_but("qwen35", 4),
    recurrent_but("qwen35moe", 4),
    recurrent_but("qwen3next", 4),
    recurrent_but("qwen4exp", 4),
    recurrent("rwkv6"),
    recurrent("rwkv6qwen2"),
    recurrent("rwkv7"),

    no_text("bert", kEmbeds),
    no_text("eurobert", kEmbeds),
    no_text("gemma-embedding", kEmbeds),
    no_text("gemma-embedding2", kEmbeds),
    no_text("jina-bert-v2", kEmbeds),
    no_text("jina-bert-v3", kEmbeds),
    no_text("llama-embed", kEmbeds),
    no_text("modern-bert", kEmbeds),
    no_text("neo-bert", kEmbeds),
    no_text("nomic-bert", kEmbeds),
    no_text("nomic-bert-moe", kEmbeds),
    no_text("t5", kEncodes),
    no_text("t5encoder", kEncodes),
    no_text("dream", kDiffuses),
    no_text("llada", kDiffuses),
    no_text("llada-moe", kDiffuses),
    no_text("rnd1", kDiffuses),
    no_text("dflash", kDrafts),
    no_text("eagle3", kDrafts),
    no_text("gemma4-assistant", kDrafts),
    no_text("clip", kSpeaks),
    no_text("pockettts", kSpeaks),
    no_text("qwen3tts", kSpeaks),
    no_text("wavtokenizer-dec", kSpeaks),
});

}  // namespace

const Architecture* find_architecture(std::string_view name) {
  const auto* found = std::ranges::find(kArchitectures, name, &Architecture::name);
  return found == kArchitectures.end() ? nullptr : found;
}

}  // namespace gogrid
