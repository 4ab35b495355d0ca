// Everything a guest can do to the controller, and its carrier at the same time: random registers, random rings and
// buffers, cut short by resets. Whatever happens must end soon and touch only the guest's memory.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/fuzz_input.h"
#include "device/e1000/testing.h"

namespace {

using namespace backplane;
using namespace backplane::e1000;
using namespace backplane::e1000::testing;

// The registers that matter most, so that chance finds them.
constexpr std::uint32_t kOffsets[] = {
    kCtrl, kEecd, kEerd,  kMdic,  kIcr,   kItr, kIcs, kIms,  kImc,  kRctl, kTctl, kRdbal,  kRdbah, kRdlen, kRdh,   kRdt,
    kRdtr, kRadv, kTdbal, kTdbah, kTdlen, kTdh, kTdt, kTidv, kTadv, kMta,  kRa,   kRxcsum, kGorcl, kPba,   kStatus};

void act(RunningController& nic, FuzzInput& input) {
    auto const operation = input.take<std::uint8_t>();
    switch (operation % 13) {
        case 0:
            nic.set(kOffsets[input.take<std::uint8_t>() % std::size(kOffsets)], input.take<std::uint32_t>());
            break;
        case 1:
            nic.set(kOffsets[input.take<std::uint8_t>() % std::size(kOffsets)], input.take<std::uint16_t>());
            break;
        case 2:
            (void)nic.get(kOffsets[input.take<std::uint8_t>() % std::size(kOffsets)]);
            break;
        case 3: {  // a transmit descriptor with bits that are not all nonsense
            auto const address = kTxBuffers + input.take<std::uint32_t>() % 0x60000;
            nic.describe(address, input.take<std::uint32_t>(), input.take<std::uint32_t>());
            break;
        }
        case 4: {  // a context: offsets that are often legal
            auto const flags = static_cast<std::uint32_t>(input.take<std::uint8_t>()) << 24;
            nic.describe(input.take<std::uint64_t>() & 0x00FF'3F3F'00FF'3F3F, kTxDext | flags,
                         input.take<std::uint32_t>() & 0x03FF7FFF);
            break;
        }
        case 5:
            nic.send();
            break;
        case 6:
            nic.machine.put(input.take<std::uint32_t>() % 0x40000, input.take<std::uint64_t>());
            break;
        case 7:
            for (int i = 0; i < 64 && nic.controller.front() != nullptr; ++i) {
                Frame const& frame = *nic.controller.front();
                std::uint64_t bytes = 0;
                for (ConstByteSpan const piece : frame.pieces) bytes += piece.size();
                check(bytes == frame.bytes, "a frame has as many bytes as it says");
                if ((operation & 0x80) != 0) (void)nic.controller.receive(frame);
                std::uint64_t const number = nic.controller.take_front();
                if ((operation & 0x40) != 0) nic.controller.complete_transmit(number);
            }
            break;
        case 8:
            nic.controller.complete_transmit(input.take<std::uint8_t>());
            break;
        case 9: {
            std::size_t const bytes = input.take<std::uint16_t>() % 3000;
            std::vector<std::uint8_t> frame = (operation & 0x80) != 0 ? make_summed_tcp(bytes) : make_frame(60 + bytes);
            std::memcpy(frame.data(), kMac.data(), kMac.size());
            frame[input.take<std::uint8_t>() % 54] ^= input.take<std::uint8_t>();
            (void)nic.receive(frame);
            break;
        }
        case 10:
            nic.machine.clock.advance_to(nic.machine.clock.now() + Ticks{input.take<std::uint32_t>()});
            nic.machine.clock.fire_due();
            break;
        case 11:  // Microwire bits, each with the clock low and high
            for (std::uint32_t bits = input.take<std::uint32_t>(); bits != 0; bits >>= 1) {
                std::uint32_t const pins = kEecdCs | ((bits & 1) != 0 ? kEecdDi : 0);
                nic.set(kEecd, pins);
                nic.set(kEecd, pins | kEecdSk);
            }
            break;
        default: {
            auto const width = static_cast<Width>(1U << (operation >> 4 & 3));
            std::uint64_t const offset = input.take<std::uint32_t>() % kMemoryBarBytes;
            nic.controller.write_memory_bar(offset, width, input.take<std::uint32_t>());
            (void)nic.controller.read_memory_bar(offset, width);
            nic.controller.write_io_bar(offset % kIoBarBytes, width, input.take<std::uint32_t>());
            (void)nic.controller.read_io_bar(offset % kIoBarBytes, width);
        }
    }
    check(nic.controller.read_count() <= nic.controller.landed_count(), "only what landed was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FuzzInput input{data, size};
    RunningController nic;
    nic.set(kRdt, 15);
    while (!input.is_empty()) act(nic, input);
    return 0;
}
