// Names and addresses that mean this machine to itself. Pure.
#pragma once

#include <string>
#include <string_view>

namespace gogrid {

// An IP address of 127.0.0.0/8, or ::1.
bool is_loopback(const std::string& address);

// What a client writes into Host when it asks for a loopback address (RFC 9110, 7.2): 127.0.0.1 and
// its like, [::1] or localhost, with a port or without. No other name will do: whoever owns one can
// make it resolve to this machine (DNS rebinding), and a page under it would then be of the same
// origin as we are.
bool names_loopback(std::string_view host);

}  // namespace gogrid
