// What an option's value may be, checked before it is converted, so that a refusal reads
// "--top-p: expected 0..1: 1.5". Private to cli/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class Validator;
}

namespace gogrid {

CLI::Validator whole_number(std::uint64_t low, std::uint64_t high);
CLI::Validator real_number(double low, double high);
CLI::Validator one_of(std::vector<std::string> words);
CLI::Validator hex_digest();  // SHA-256, 64 digits

}  // namespace gogrid
