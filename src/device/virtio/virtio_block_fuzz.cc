// Everything a driver can do to the disk: random registers, rings and requests, cut short by resets. Whatever happens
// must end soon, touch only the guest's memory, and ask the image only for what is in it (FakeDisk checks that).
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/fuzz_input.h"
#include "device/virtio/block_testing.h"

namespace {

using namespace backplane;
using namespace backplane::virtio;
using namespace backplane::virtio::testing;

Slot slot_from(FuzzInput& input) {
    Slot slot{};
    auto const address = input.take<std::uint32_t>();
    slot.address = address % 16 == 0 ? std::uint64_t{address} << 32 : address % (kRamBytes + kPageBytes);
    slot.bytes = input.take<std::uint8_t>() * (address % 3 == 0 ? 0x1000001U : address % 2 == 0 ? 512U : 1U);
    slot.flags = input.take<std::uint8_t>() & 7;
    slot.next = input.take<std::uint8_t>() % (RunningBlock::kSize + 1);
    return slot;
}

void act(RunningBlock& disk, FuzzInput& input) {
    auto const operation = input.take<std::uint8_t>();
    switch (operation % 8) {
        case 0: {
            auto const width = static_cast<Width>(1U << (operation >> 4 & 3));
            std::uint64_t const offset = input.take<std::uint8_t>();
            disk.block.write_common(offset, width, input.take<std::uint64_t>() & ones(width));
            (void)disk.block.read_common(offset, width);
            (void)disk.block.read_config(offset, width);
            break;
        }
        case 1:
            disk.ring.describe(input.take<std::uint8_t>() % RunningBlock::kSize, slot_from(input));
            break;
        case 2:
            disk.ring.offer(input.take<std::uint8_t>() % (RunningBlock::kSize + 1));
            disk.block.notify(operation >> 4);
            break;
        case 3:
        case 4: {  // a request that is not all nonsense
            std::vector<Slot> pieces;
            for (int i = operation >> 6; i > 0; --i) {
                pieces.push_back(slot_from(input));
                pieces.back().flags = operation % 8 == 3 ? kWrite : 0;
            }
            disk.request(input.take<std::uint8_t>() % 16, input.take<std::uint8_t>() % 72U, std::move(pieces));
            break;
        }
        case 5:
            disk.machine.put(input.take<std::uint32_t>() % 0x3000 + 0x10000, input.take<std::uint64_t>());
            break;
        case 6:
            disk.pass(std::uint64_t{input.take<std::uint8_t>()} * 1000);
            break;
        default:
            if ((operation & 0x80) != 0)
                disk.machine.is_bus_master = (operation & 0x40) != 0;
            else
                disk.set_up(input.take<std::uint64_t>() | kVersion1);
            disk.disk.fails = (operation & 0x20) != 0;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FuzzInput input{data, size};
    RunningBlock disk{(size & 7) == 7};
    while (!input.is_empty()) act(disk, input);
    disk.pass(100'000'000);
    return 0;
}
