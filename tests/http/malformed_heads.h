// Bytes that are no acceptable HTTP/1.x request, each with the status of its refusal.
#pragma once

#include <array>
#include <string_view>

namespace gogrid::testing {

struct MalformedHead {
  std::string_view bytes;
  int http_status;
};

inline constexpr auto kMalformedHeads = std::to_array<MalformedHead>({
    {"\r\n\r\n", 400},
    {"hello\r\n\r\n", 400},
    {"GET\r\n\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET / \r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\n\r\n", 400},
    {"GET / x HTTP/1.1\r\n\r\n", 400},
    {" GET / HTTP/1.1\r\n\r\n", 400},
    {"\r\nGET / HTTP/1.1\r\n\r\n", 400},
    {"GET / FTP/1.1\r\n\r\n", 400},
    {"GET / http/1.1\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\n\r\n", 505},
    {"GET / HTTP/0.9\r\n\r\n", 505},
    {"GET / HTTP/1.10\r\n\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\n", 505},
    {"FETCH / HTTP/1.1\r\n\r\n", 405},
    {"get / HTTP/1.1\r\n\r\n", 405},
    {"CONNECT a:1 HTTP/1.1\r\n\r\n", 405},
    {"TRACE / HTTP/1.1\r\n\r\n", 405},
    {"GET healthz HTTP/1.1\r\n\r\n", 400},
    {"GET ftp://x/ HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\n\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHo\rst: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHo st: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
    {"GET / HTTP/1.0\r\nhost: evil.example:8080\r\n\r\n", 403},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 403},
    {"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403},
    {"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA: b\r\n\tfolded: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", 400},
    {std::string_view("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 25), 400},
    {"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1,1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999999999999\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nExpect: a pony\r\n\r\n", 417},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\rX", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 400},
});

}  // namespace gogrid::testing
