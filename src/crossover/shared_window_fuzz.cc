// Everything that guests can do to their shared windows: random registers, stores anywhere in the memory, moved BARs,
// message tables. Whatever happens must end soon, and no section ever holds what its owner did not store.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fuzz_input.h"
#include "crossover/window_testing.h"

namespace {

using namespace backplane;
using namespace backplane::testing;

constexpr window::Layout kLayout{.peers = 3, .common_bytes = kPageBytes, .section_bytes = 2 * kPageBytes};
constexpr unsigned kVectors = 3;
constexpr std::uint64_t kSectionBytes = kLayout.section_bytes;

/// What the owners have stored.
using Sections = std::array<std::vector<std::byte>, kLayout.peers>;

void store(WindowRack& rack, std::uint32_t number, FuzzInput& input, Sections& sections) {
    std::uint64_t const offset = input.take<std::uint16_t>() % (kLayout.bar_pages() * kPageBytes);
    auto const width = static_cast<Width>(1U << (input.take<std::uint8_t>() & 3));
    auto const value = input.take<std::uint64_t>();
    WindowGuest& guest = rack[number];
    guest.bus.write(GuestPhys{WindowGuest::kMemory + offset}, width, value);
    if (guest.device.decoded_at(2) != WindowGuest::kMemory) return;
    // Byte by byte: a store may begin in one section and end in the next, and then nothing of it has to happen.
    std::uint64_t const own = kLayout.section_page(number).value() * kPageBytes;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) {
        std::uint64_t const at = offset + i - own;
        std::byte const byte = static_cast<std::byte>(value >> (8 * i));
        if (at < kSectionBytes && guest.bus.read(GuestPhys{WindowGuest::kMemory + offset + i}, Width::byte) ==
                                      static_cast<std::uint8_t>(byte))
            sections[number][at] = byte;
    }
}

void act(WindowRack& rack, FuzzInput& input, Sections& sections) {
    auto const what = input.take<std::uint8_t>();
    std::uint32_t const number = what % kLayout.peers;
    WindowGuest& guest = rack[number];
    // The memory may have been moved to where the registers were: then a store there would be one of the owner's.
    bool const is_moved = guest.device.decoded_at(2).value_or(WindowGuest::kMemory) != WindowGuest::kMemory;
    if (is_moved && what / 3 % 8 < 5) return;
    switch (what / 3 % 8) {
        case 0:
        case 1:
            store(rack, number, input, sections);
            break;
        case 2:
            guest.ring(input.take<std::uint8_t>() % 4, input.take<std::uint8_t>() % 4);
            break;
        case 3: {
            GuestPhys const at{WindowGuest::kRegisters + input.take<std::uint8_t>()};
            auto const width = static_cast<Width>(1U << (input.take<std::uint8_t>() & 3));
            guest.bus.write(at, width, input.take<std::uint64_t>() & ones(width));
            (void)guest.bus.read(at, width);
            break;
        }
        case 4:
            guest.bus.write(GuestPhys{WindowGuest::kMessages + (input.take<std::uint16_t>() & 0xfff)}, Width::dword,
                            input.take<std::uint32_t>());
            break;
        case 5:
            guest.config(input.take<std::uint8_t>() & ~3U, input.take<std::uint32_t>());
            (void)guest.config(input.take<std::uint8_t>() & ~3U);
            break;
        case 6:
            guest.place();
            break;
        default:
            guest.clock.advance_to(guest.clock.now() + Ticks{input.take<std::uint16_t>()});
            rack.shared.deliver();
            for (auto const& other : rack.guests) other->messages.sent.clear();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FuzzInput input{data, size};
    WindowRack rack{kLayout, kVectors};
    Sections sections;
    sections.fill(std::vector<std::byte>(kSectionBytes));
    while (!input.is_empty()) act(rack, input, sections);
    for (std::uint32_t peer = 0; peer < kLayout.peers; ++peer) {
        GuestPage const first = kLayout.section_page(peer);
        FrameNumber const frame = rack[0].device.window().pages().lookup(first).frame;
        check(std::memcmp(rack.pool.host(frame), sections[peer].data(), kSectionBytes) == 0,
              "a section is its owner's");
        check(rack[peer].device.take_doorbells().size() <= kLayout.peers * kVectors, "what waits is bounded");
    }
    return 0;
}
