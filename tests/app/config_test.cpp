// The configuration file: what it sets, and how a mistake in it is told.
#include "app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(Config, SetsServerAndDevices) {
  const auto config = parse_config(R"([server]
listen = "127.0.0.1:9000"
models = ["a", "b"]
context = 2048
parallel = 8
quantize_stages = "allow,vulkan0=q8_0"
[[device]]
id = "cpu-a"
cores = "0-1"
memory = "4GiB"
[[device]]
id = "vulkan0"
)",
                                   "g.toml");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(config->listen);
  EXPECT_EQ(url_of(*config->listen), "http://127.0.0.1:9000");
  EXPECT_THAT(config->models, ElementsAre("a", "b"));
  EXPECT_EQ(config->context, 2048u);
  EXPECT_EQ(config->parallel, 8u);
  EXPECT_TRUE(config->quantize.allow);
  EXPECT_EQ(config->quantize.forced.at("vulkan0").name, "q8_0");
  ASSERT_EQ(config->devices.size(), 2u);
  EXPECT_EQ(config->devices[0].id, "cpu-a");
  EXPECT_THAT(config->devices[0].cores, ElementsAre(0, 1));
  EXPECT_EQ(config->devices[0].memory, 4 * kGiB);
  EXPECT_EQ(config->devices[1].id, "vulkan0");
}

TEST(Config, SaysHowSeveralModelsAreKept) {
  const auto config = parse_config(R"([server]
models = ["a", "b"]
pinned = ["b"]
on_demand = true
library = true
keep_alive = "10m"
load_wait = "30s"
[aliases]
"gpt-4o" = "a"
)",
                                   "g.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->keeping.pinned, ElementsAre("b"));
  EXPECT_TRUE(config->keeping.on_demand);
  EXPECT_TRUE(config->keeping.library);
  EXPECT_EQ(config->keeping.keep_alive, std::chrono::minutes(10));
  EXPECT_EQ(config->keeping.load_wait, std::chrono::seconds(30));
  ASSERT_EQ(config->keeping.aliases.size(), 1U);
  EXPECT_EQ(config->keeping.aliases[0].name, "gpt-4o");
  EXPECT_EQ(config->keeping.aliases[0].model, "a");
}

TEST(Config, LeavesUnsaidWhatItDoesNotSay) {
  for (const char* text : {"", "# nothing\n", "[server]\n"}) {
    const auto config = parse_config(text, "g.toml");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_FALSE(config->listen);
    EXPECT_FALSE(config->context);
    EXPECT_FALSE(config->parallel);
    EXPECT_FALSE(config->quantize.allow);
    EXPECT_THAT(config->models, IsEmpty());
    EXPECT_THAT(config->devices, IsEmpty());
  }
}

struct Mistake {
  const char* text;
  const char* where;
  std::vector<const char*> words;
};

class ConfigMistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistakes, AreToldWithFileLineAndWhatWasExpected) {
  const auto config = parse_config(GetParam().text, "g.toml");
  ASSERT_FALSE(config) << GetParam().text;
  EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(config.error().message, StartsWith(GetParam().where));
  for (const char* word : GetParam().words) EXPECT_THAT(config.error().message, HasSubstr(word));
}

// clang-format off
INSTANTIATE_TEST_SUITE_P(All, ConfigMistakes, ::testing::Values(
    Mistake{"[server]\nlitsen = \"127.0.0.1:1\"\n", "g.toml:2: ", {"server.litsen", "did you mean listen?"}},
    Mistake{"[sever]\n", "g.toml:1: ", {"'sever'", "server"}},
    Mistake{"listen = \"x\"\n", "g.toml:1: ", {"'listen'"}},
    Mistake{"[server]\n\nlisten = 8080\n", "g.toml:3: ", {"server.listen", "a string", "8080"}},
    Mistake{"[server]\nlisten = \"nowhere\"\n", "g.toml:2: ", {"nowhere", "ADDR:PORT"}},
    Mistake{"[server]\nlisten = \"127.0.0.1:65536\"\n", "g.toml:2: ", {"65536"}},
    Mistake{"[server]\ncontext = 15\n", "g.toml:2: ", {"server.context", "16..16777216", "15"}},
    Mistake{"[server]\ncontext = 16777217\n", "g.toml:2: ", {"16777217"}},
    Mistake{"[server]\ncontext = 4096.0\n", "g.toml:2: ", {"whole number"}},
    Mistake{"[server]\ncontext = \"4096\"\n", "g.toml:2: ", {"whole number"}},
    Mistake{"[server]\nparallel = 0\n", "g.toml:2: ", {"server.parallel", "1..256"}},
    Mistake{"[server]\nparallel = -1\n", "g.toml:2: ", {"-1"}},
    Mistake{"[server]\nkeep_alive = 5\n", "g.toml:2: ", {"server.keep_alive", "5"}},
    Mistake{"[server]\nkeep_alive = \"5\"\n", "g.toml:2: ", {"server.keep_alive", "90s, 5m"}},
    Mistake{"[server]\non_demand = \"yes\"\n", "g.toml:2: ", {"server.on_demand", "true or false"}},
    Mistake{"[aliases]\ngpt = 4\n", "g.toml:2: ", {"aliases.gpt", "a model's name"}},
    Mistake{"aliases = 4\n", "g.toml:1: ", {"aliases", "table"}},
    Mistake{"[server]\nquantize_stages = true\n", "g.toml:2: ", {"server.quantize_stages", "a string"}},
    Mistake{"[server]\nquantize_stages = \"yes\"\n", "g.toml:2: ", {"server.quantize_stages", "off, allow or DEVICE=TYPE", "yes"}},
    Mistake{"[server]\nmodels = \"a\"\n", "g.toml:2: ", {"server.models", "array of strings"}},
    Mistake{"[server]\nmodels = [\n  \"a\",\n  7,\n]\n", "g.toml:4: ", {"server.models", "7"}},
    Mistake{"server = 3\n", "g.toml:1: ", {"server", "table"}},
    Mistake{"[device]\nid = \"cpu0\"\n", "g.toml:1: ", {"[[device]]"}},
    Mistake{"device = [1]\n", "g.toml:1: ", {"[[device]]"}},
    Mistake{"[[device]]\ncores = \"0\"\n", "g.toml:1: ", {"device.id"}},
    Mistake{"[[device]]\nid = \"a\"\ncroes = \"0\"\n", "g.toml:3: ", {"device.croes", "cores"}},
    Mistake{"[[device]]\nid = \"a\"\ncores = 0\n", "g.toml:3: ", {"device.cores", "a string"}},
    Mistake{"[[device]]\nid = \"a\"\ncores = \"3-1\"\n", "g.toml:3: ", {"3-1"}},
    Mistake{"[[device]]\nid = \"a\"\nmemory = \"4GB\"\n", "g.toml:3: ", {"4GB"}},
    Mistake{"[[device]]\nid = \"a:cores=1\"\n", "g.toml:2: ", {"a:cores=1"}},
    Mistake{"[[device]]\nid = \"\"\n", "g.toml:2: ", {"device.id"}},
    Mistake{"[[device]]\nid = \"a\"\n[[device]]\nid = \"a\"\n", "g.toml:4: ", {"'a'", "twice"}},
    Mistake{"resources = 3\n", "g.toml:1: ", {"resources", "table"}},
    Mistake{"\n[resources]\nmode = \"gentle\"\n", "g.toml:3: ", {"resources.mode", "conservative", "gentle"}},
    Mistake{"[resources]\nmax_compute = 70\n", "g.toml:2: ", {"resources.max_compute", "0..1", "70"}},
    Mistake{"[resources]\nmax_computes = 0.7\n", "g.toml:2: ", {"max_computes", "did you mean max_compute?"}},
    Mistake{"[resources]\nmax_compute = [1]\n", "g.toml:2: ", {"resources.max_compute", "a number"}},
    Mistake{"[resources]\nnice = 20\n[resources.pause]\ncpu = 2\nenabled = \"no\"\n", "g.toml:2: ",
            {"resources.nice", "g.toml:4: resources.pause.cpu", "g.toml:5: resources.pause.enabled", "true or false"}},
    Mistake{"[resources.devices.cpu-a]\nmax_compute = true\n", "g.toml:2: ", {"resources.devices.cpu-a.max_compute", "true"}},
    Mistake{"[resources.a.b.c]\nd = 1\n", "g.toml:1: ", {"resources.a.b.c"}},
    Mistake{"[resources]\nschedule = 1\n", "g.toml:2: ", {"[[resources.schedule]]"}},
    Mistake{"[[resources.schedule]]\nfrom = 22:30:00\n", "g.toml:2: ", {"resources.schedule.from", "quotes"}},
    Mistake{"[[resources.schedule]]\nfrom = \"22:30\"\ntill = \"06:00\"\n", "g.toml:3: ", {"no such key till"}},
    Mistake{"\n[[resources.schedule]]\nfrom = \"25:00\"\nto = \"06:00\"\nmode = \"off\"\n", "g.toml:2: ", {"schedule[0].from", "25:00"}},
    Mistake{"[[resources.schedule]]\ndays = \"mon\"\n", "g.toml:2: ", {"resources.schedule.days", "array"}},
    Mistake{"[server\n", "g.toml:1: ", {}},
    Mistake{"[server]\nlisten = \"a\"\nlisten = \"b\"\n", "g.toml:3: ", {}},
    Mistake{"[server]\nlisten = \"\xff\"\n", "g.toml:2: ", {}}));
// clang-format on

TEST(Config, SetsLimitsByThePolicysNamesAndTheSchedule) {
  const auto config = parse_config(R"([resources]
mode = "conservative"
max_device_memory = 0.7
min_request_interval_ms = 20
[resources.pause]
enabled = false
[resources.devices."vulkan0"]
max_compute = 0.25
[[resources.schedule]]
days = ["weekdays"]
from = "22:30"
to = "06:00"
mode = "off"
)",
                                   "g.toml");
  ASSERT_TRUE(config) << config.error().message;
  const auto policy = with_settings(ResourcePolicy::of(ResourceMode::kBalanced), config->limits);
  ASSERT_TRUE(policy);
  auto expected = ResourcePolicy::of(ResourceMode::kConservative);
  expected.max_device_memory = Share::percent(70);
  expected.min_request_interval = std::chrono::milliseconds(20);
  expected.pause.enabled = false;
  expected.devices["vulkan0"].max_compute = Share::percent(25);
  EXPECT_EQ(*policy, expected);
  EXPECT_FALSE(config->quiet_hours.empty());
}

TEST(Limit, IsANameAndAValueOfItsKind) {
  const auto value = [](const char* text) { return parse_limit(text)->value; };
  EXPECT_EQ(value("max_compute=0.5"), PolicyValue(0.5));
  EXPECT_EQ(value("nice=-5"), PolicyValue(std::int64_t{-5}));
  EXPECT_EQ(value("pause.enabled=false"), PolicyValue(false));
  EXPECT_EQ(value("mode=balanced"), PolicyValue(std::string("balanced")));
  EXPECT_EQ(value("max_compute=0.5x"), PolicyValue(std::string("0.5x")));
  // None of them is taken for 0, which is no limit.
  EXPECT_EQ(value("nice=99999999999999999999"), PolicyValue(1e20));
  EXPECT_EQ(value("nice=1e9999"), PolicyValue(std::string("1e9999")));
  EXPECT_EQ(value("max_compute=1e-9999"), PolicyValue(std::string("1e-9999")));
  for (const char* bad : {"", "=", "=1", "max_compute", "max_compute="})
    EXPECT_FALSE(parse_limit(bad)) << bad;
}

TEST(Config, NestingWithoutEndIsRefusedAndShort) {
  const std::string deep = "a = " + std::string(100'000, '[');
  const auto config = parse_config(deep, "g.toml");
  ASSERT_FALSE(config);
  EXPECT_LT(config.error().message.size(), 1000u);
}

TEST(ConfigFile, IsReadFromDiskAndNamedInErrors) {
  const testing::TemporaryFolder folder;
  const auto file = folder.path() / "gogrid.toml";
  ASSERT_TRUE(write_file(file, "[server]\nparallel = 500\n"));
  const auto config = read_config(file);
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, StartsWith(file.string() + ":2: "));
}

TEST(ConfigFile, ThatIsMissingIsWrongUsage) {
  const auto config = read_config("/nonexistent/gogrid.toml");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("/nonexistent/gogrid.toml"));
  EXPECT_EQ(traits(config.error().code).exit_status, 2);
}

TEST(ConfigFile, LargerThanAMebibyteIsNotRead) {
  const testing::TemporaryFolder folder;
  const auto file = folder.path() / "gogrid.toml";
  ASSERT_TRUE(write_file(file, std::string(kMiB + 1, '#')));
  EXPECT_FALSE(read_config(file));
}

}  // namespace
}  // namespace gogrid
