// Where a server may listen.
#include "app/listen_address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/file_descriptor.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;

TEST(Listen, IsAnAddressAndAPort) {
  const auto v4 = parse_listen("127.0.0.1:8080");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->address, "127.0.0.1");
  EXPECT_EQ(v4->port, 8080);
  const auto v6 = parse_listen("[::1]:0");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->address, "::1");
  EXPECT_EQ(v6->port, 0);
  EXPECT_EQ(url_of(*v6), "http://[::1]:0");
  EXPECT_EQ(url_of(*parse_listen("localhost:1")), "http://127.0.0.1:1");
}

TEST(Listen, RefusesWhatIsNeitherNumberNorAddress) {
  for (const char* text : {"", ":", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
                           "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80 ", "[::1]", "::1:80",
                           "[]:80", "[::1:80", "example:80", "[127.0.0.1]:80"}) {
    const auto address = parse_listen(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(address.error().message, HasSubstr("'" + std::string(text) + "'"));
  }
}

TEST(Listen, RefusesWhatOthersCouldReachWhileThereAreNoKeys) {
  for (const char* text : {"0.0.0.0:8080", "192.168.1.2:80", "[::]:80", "[fe80::1]:80"}) {
    const auto address = parse_listen(text);
    ASSERT_FALSE(address) << text;
    EXPECT_THAT(address.error().message, HasSubstr("loopback"));
  }
  EXPECT_TRUE(parse_listen("127.8.9.10:80"));
}

TEST(Listen, IsCheckedBeforeAnythingElseIsDone) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in taken{};
  taken.sin_family = AF_INET;
  taken.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&taken), sizeof taken), 0);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  socklen_t length = sizeof taken;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&taken), &length);
  const auto busy = check_listen({"127.0.0.1", ntohs(taken.sin_port)});
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, ErrorCode::kIo);
  EXPECT_THAT(busy.error().message,
              HasSubstr("127.0.0.1:" + std::to_string(ntohs(taken.sin_port)) + ": "));
  EXPECT_TRUE(check_listen({"127.0.0.1", 0}));
}

}  // namespace
}  // namespace gogrid
