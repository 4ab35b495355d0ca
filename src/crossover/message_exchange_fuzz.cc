// Everything that guests can do to their queue devices: random entries, indexes, registers and moved BARs, on three
// machines at a time. Whatever happens must end soon, lose no page and give nobody another's.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>

#include "base/fuzz_input.h"
#include "crossover/queue_testing.h"

namespace {

using namespace backplane;
using namespace backplane::testing;

constexpr std::uint64_t kRam = 256, kRamPages = 2;

/// Guests that wrote into their own rings by hand: what they read there says nothing about the device.
using Scribblers = std::array<bool, 3>;

void act(QueueRack& rack, FuzzInput& input, Scribblers& scribblers) {
    auto const what = input.take<std::uint8_t>();
    std::size_t const number = what % 3;
    QueueGuest& guest = rack[number];
    switch (what / 3 % 13) {
        case 0:
        case 1:
        case 2: {  // an entry that is often legal
            auto const first = input.take<std::uint8_t>() % 72U;
            auto const count = input.take<std::uint8_t>() % 5U;
            auto const operation = static_cast<QueueOperation>(input.take<std::uint8_t>() % 11);
            guest.place_pages(operation, {{first, count}}, input.take<std::uint8_t>() % 4, input.take<std::uint16_t>(),
                              input.take<std::uint8_t>() % 9);
            break;
        }
        case 3: {
            std::array<std::byte, kInlineMessageBytes> operand{};
            for (std::byte& byte : operand) byte = input.take<std::byte>();
            guest.place(static_cast<QueueOperation>(input.take<std::uint16_t>()), input.take<std::uint16_t>(),
                        input.take<std::uint16_t>(), input.take<std::uint32_t>(), 0, operand,
                        input.take<std::uint16_t>());
            break;
        }
        case 4: {
            std::uint64_t const handle =
                std::uint64_t{input.take<std::uint8_t>() % 3U} << 48 | input.take<std::uint8_t>();
            guest.place_handle(what < 128 ? QueueOperation::relinquish : QueueOperation::reclaim, handle);
            break;
        }
        case 5:
            guest.ring();
            break;
        case 6:
            guest.set(input.take<std::uint8_t>() & ~3U, input.take<std::uint32_t>());
            (void)guest.get(input.take<std::uint8_t>());
            guest.enable();
            break;
        case 7:
            (void)guest.completions();
            for (Arrival const& arrival : guest.arrivals()) {
                if (scribblers[number]) continue;
                check(arrival.receiver == number && arrival.sender < 3 && arrival.sender != number, "who sent it");
                for (std::uint32_t i = 0; i < arrival.page_count; ++i)
                    check(arrival.pages[i] >= kFirst && arrival.pages[i] < kWindowPages, "where it is");
            }
            break;
        case 8: {
            std::uint64_t const page = input.take<std::uint8_t>() % kWindowPages;
            if (page < kFirst) scribblers[number] = true;
            guest.put(page, input.take<std::uint64_t>(), input.take<std::uint16_t>() % (kPageBytes - 8));
            break;
        }
        case 9:
            guest.write_config(input.take<std::uint8_t>() & ~3U, input.take<std::uint32_t>());
            guest.write_config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
            guest.write_config(pci::bar_offset(0), kRegisters);
            guest.write_config(pci::bar_offset(2), static_cast<std::uint32_t>(kWindow));
            guest.write_config(pci::bar_offset(3), kWindow >> 32);
            break;
        case 10:
            guest.place_swap({{input.take<std::uint8_t>(), input.take<std::uint8_t>()}},
                             kRam - 1 + input.take<std::uint8_t>() % 4);
            break;
        case 11:
            rack.now = rack.now + Ticks{input.take<std::uint32_t>()};
            [[fallthrough]];
        default:
            rack.barrier();
    }
}

/// No page was lost, and none has two owners.
void check_pages(QueueRack& rack) {
    std::set<std::uint32_t> frames;
    std::set<std::uint32_t> exclusive;
    for (FrameNumber const frame : rack.exchange.ownership().frames_in_flight()) frames.insert(frame.value());
    for (auto const& guest : rack.guests) {
        for (std::uint64_t p = kRam; p < kRam + kRamPages; ++p) {
            FrameNumber const frame = guest->memory.map().lookup(GuestPage{p}).frame;
            frames.insert(frame.value());
            check(exclusive.insert(frame.value()).second, "a page of RAM has one owner");
        }
        for (std::uint32_t p = kFirst; p < kWindowPages; ++p) {
            PageEntry const entry = guest->device->window().pages().lookup(GuestPage{p});
            if (entry.owner == OwnerState::none) continue;
            frames.insert(entry.frame.value());
            if (entry.owner == OwnerState::owner_exclusive && !entry.copy_on_write)
                check(exclusive.insert(entry.frame.value()).second, "a page has one owner");
        }
    }
    std::uint64_t const needed = MessageExchange::frames_needed(kWindowPages, {.flight_pages = 64});
    check(frames.size() + rack.exchange.stock().count() == 3 * (needed + kRamPages), "no page is lost");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FuzzInput input{data, size};
    QueueRack rack{{.transfer = static_cast<TransferMode>(input.take<std::uint8_t>() % 4), .quotas = {.flight_pages = 64}}, 3, 3 * kRamPages};
    for (auto const& guest : rack.guests) (void)guest->memory.add_ram(GuestPage{kRam}, kRamPages);
    Scribblers scribblers{};
    while (!input.is_empty()) act(rack, input, scribblers);
    check_pages(rack);
    return 0;
}
