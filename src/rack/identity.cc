#include "rack/identity.h"

#include <string>

namespace backplane {
namespace {

constexpr std::uint64_t kFnvOffset = 0xcbf29ce484222325;  // the 64-bit constants of FNV-1a
constexpr std::uint64_t kFnvPrime = 0x100000001b3;

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash) {
    for (char const letter : text) hash = (hash ^ static_cast<std::uint8_t>(letter)) * kFnvPrime;
    return hash;
}

std::uint64_t splitmix64(std::uint64_t state) {
    std::uint64_t mixed = state + 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

}  // namespace

std::uint64_t derive_seed(std::uint64_t rack_seed, std::string_view machine, std::string_view purpose) {
    std::string_view const separator{"\0", 1};
    std::uint64_t const name_hash = fnv1a(purpose, fnv1a(separator, fnv1a(machine, kFnvOffset)));
    return splitmix64(splitmix64(rack_seed) ^ name_hash);
}

MacAddress derive_mac(std::uint64_t rack_seed, std::string_view machine, unsigned nic_index) {
    std::uint64_t const bits = derive_seed(rack_seed, machine, "mac" + std::to_string(nic_index));
    MacAddress mac{0x02};
    for (unsigned i = 1; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(bits >> (8 * i));
    return mac;
}

}  // namespace backplane
