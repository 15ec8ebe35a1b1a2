#include "model/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/hub_server.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using testing::HubReply;
using testing::HubRequest;
using testing::HubServer;

class StatusSink final : public HttpSink {
 public:
  bool head(const HttpHead& head) override {
    status_ = head.status;
    return true;
  }
  bool bytes(std::span<const std::byte>) override { return true; }
  int status_ = 0;
};

HttpEnd end_of(HttpClient& client, const HttpRequest& request, HttpSink& sink) {
  const auto transfer = client.start(request, sink);
  if (!transfer) throw std::runtime_error(transfer.error().message);
  while (true) {
    const auto ends = client.turn(std::chrono::milliseconds(50));
    if (!ends) throw std::runtime_error(ends.error().message);
    if (!ends->empty()) return ends->front();
  }
}

TEST(HttpClient, ConnectsToNoAddressOfThisMachineWhereAnotherLeads) {
  HubServer server([](const HubRequest&) { return HubReply{}; });
  const auto client = make_http_client();
  ASSERT_TRUE(client);
  const HttpUrl here = parse_url(server.url()).value();
  StatusSink refused;
  const HttpEnd end = end_of(**client, {here, {}, false}, refused);
  EXPECT_FALSE(end.whole);
  EXPECT_THAT(end.why, HasSubstr("its name leads to this one"));
  EXPECT_EQ(refused.status_, 0);
  EXPECT_TRUE(server.requests().empty());
  StatusSink answered;
  EXPECT_TRUE(end_of(**client, {here, {}, true}, answered).whole);
  EXPECT_EQ(answered.status_, 200);
}

}  // namespace
}  // namespace gogrid
