// Everything a driver can do to the network device, and its carrier at the same time: random registers, rings,
// headers, commands and frames, cut short by resets. Whatever happens must end soon and touch only the guest's memory.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/fuzz_input.h"
#include "device/segmenter.h"
#include "device/virtio/testing.h"

namespace {

using namespace backplane;
using namespace backplane::virtio;
using namespace backplane::virtio::testing;

constexpr std::uint16_t kMostPairs = 4;

// Addresses that are mostly RAM, sometimes the rings themselves.
std::uint64_t address_from(FuzzInput& input) {
    auto const value = input.take<std::uint32_t>();
    return value % 16 == 0 ? std::uint64_t{value} << 20 : value % (kRamBytes + kPageBytes);
}

Slot slot_from(FuzzInput& input) {
    Slot slot{};
    slot.address = address_from(input);
    slot.bytes = input.take<std::uint16_t>();
    slot.flags = input.take<std::uint8_t>() & 7;
    slot.next = input.take<std::uint8_t>() % (RunningNet::kSize + 1);
    return slot;
}

DriverRing& ring_from(RunningNet& nic, std::uint8_t choice) {
    auto const queue = static_cast<std::uint16_t>(choice % (Net::control_queue(nic.usable_pairs) + 1));
    return queue == Net::control_queue(nic.usable_pairs) ? nic.control_ring : nic.ring_of(queue);
}

// Several flows, whose packets are whole or not.
std::vector<std::uint8_t> frame_from(FuzzInput& input) {
    std::vector<std::uint8_t> frame = make_frame(input.take<std::uint16_t>() % 4000);
    if (frame.size() < 82) return frame;
    auto const kind = input.take<std::uint8_t>();
    frame[12] = (kind & 1) != 0 ? 0x08 : 0x86;
    frame[13] = (kind & 1) != 0 ? 0x00 : 0xDD;
    frame[14] = static_cast<std::uint8_t>((kind & 1) != 0 ? 0x40 | kind >> 4 : 0x60);
    frame[(kind & 2) != 0 ? 20 : 23] = (kind & 8) != 0 ? 6 : 17;
    frame[input.take<std::uint8_t>() % 82] ^= input.take<std::uint8_t>();
    return frame;
}

std::uint16_t pair_from(RunningNet& nic, FuzzInput& input) {
    return static_cast<std::uint16_t>(input.take<std::uint8_t>() % nic.usable_pairs);
}

// What the link does: looks at frames, finishes them, lands them, completes.
void carry(RunningNet& nic, std::uint8_t operation) {
    Segmenter segmenter;
    for (int i = 0; i < 32 && nic.net.front() != nullptr; ++i) {
        Frame const& frame = *nic.net.front();
        std::uint64_t bytes = 0;
        for (ConstByteSpan const piece : frame.pieces) bytes += piece.size();
        check(bytes == frame.bytes, "a frame has as many bytes as it says");
        check(is_consistent(frame), "a device offers only what can be finished");
        std::uint32_t const count = segmenter.start(frame);
        for (std::uint32_t k = 0; k < count && k < 64; ++k) {
            Frame const& segment = segmenter.segment(k);
            std::uint64_t sum = 0;
            for (ConstByteSpan const piece : segment.pieces) sum += piece.size();
            check(sum == segment.bytes && segment.offload.is_finished(), "a segment is finished");
        }
        if ((operation & 0x80) != 0 && nic.net.accepts().covers(frame.offload)) (void)nic.net.receive(frame);
        std::uint64_t const number = nic.net.take_front();
        if ((operation & 0x40) != 0) nic.net.complete_transmit(number);
    }
}

void act(RunningNet& nic, FuzzInput& input) {
    auto const operation = input.take<std::uint8_t>();
    switch (operation % 12) {
        case 0: {
            auto const width = static_cast<Width>(1U << (operation >> 4 & 3));
            std::uint64_t const offset = input.take<std::uint8_t>();
            nic.net.write_common(offset, width, input.take<std::uint64_t>() & ones(width));
            (void)nic.net.read_common(offset, width);
            (void)nic.net.read_config(offset, width);
            break;
        }
        case 1:
            ring_from(nic, operation >> 4).describe(input.take<std::uint8_t>() % RunningNet::kSize, slot_from(input));
            break;
        case 2:
            ring_from(nic, operation >> 4).offer(input.take<std::uint8_t>() % (RunningNet::kSize + 1));
            break;
        case 3:
            nic.net.notify(static_cast<std::uint16_t>((operation >> 4) % (Net::queues_of(kMostPairs) + 1)));
            break;
        case 4:
            carry(nic, operation);
            break;
        case 5: {  // a packet whose header is not all nonsense
            NetHeader header{};
            header.flags = input.take<std::uint8_t>() & 3;
            header.segmentation = (operation & 0x80) != 0 ? kSegmentationTcp4 : input.take<std::uint8_t>();
            header.segment_bytes = input.take<std::uint16_t>() % 4096;
            header.checksum_start = (operation & 0x40) != 0 ? 34 : input.take<std::uint16_t>();
            header.checksum_offset = (operation & 0x20) != 0 ? 16 : input.take<std::uint16_t>() % 64;
            std::vector<std::uint8_t> frame = make_frame(14 + input.take<std::uint16_t>() % 5000);
            if (frame.size() > 54) {
                frame[12] = 0x08;
                frame[13] = 0;
                frame[14] = 0x45;
                frame[23] = 6;
                frame[46] = 0x50;
                frame[input.take<std::uint8_t>() % 54] ^= input.take<std::uint8_t>();
            }
            nic.send(with_header(header, frame), kBuffers + 0x200000, pair_from(nic, input));
            break;
        }
        case 6:
            nic.post_buffer(input.take<std::uint16_t>(), pair_from(nic, input));
            break;
        case 7:
            (void)nic.receive(frame_from(input), {.is_checked = (operation & 0x80) != 0});
            break;
        case 8: {
            std::vector<std::uint8_t> command(input.take<std::uint8_t>() % 64);
            for (std::uint8_t& byte : command) byte = input.take<std::uint8_t>();
            if ((operation & 0x80) != 0) command = {4, 0, static_cast<std::uint8_t>(operation >> 4 & 7), 0};
            (void)nic.command(command);
            break;
        }
        case 9:
            nic.machine.put(address_from(input) % (0x30000 - 8) + 0x10000, input.take<std::uint64_t>());
            break;
        case 10:
            nic.net.complete_transmit(input.take<std::uint8_t>());
            nic.net.set_carrier((operation & 0x80) != 0);
            break;
        default:
            if ((operation & 0x80) != 0)
                nic.machine.is_bus_master = (operation & 0x40) != 0;
            else
                nic.set_up((operation & 0x40) != 0 ? ~std::uint64_t{0} : input.take<std::uint64_t>() | kVersion1);
    }
    check(nic.net.read_count() <= nic.net.landed_count(), "only what landed was read");
    check(nic.net.receive_pairs() >= 1 && nic.net.receive_pairs() <= nic.net.pair_counters().size(),
          "frames go to pairs that exist");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FuzzInput input{data, size};
    RunningNet nic{~std::uint64_t{0},
                   {.pairs = static_cast<std::uint16_t>(1 + input.take<std::uint8_t>() % kMostPairs)}};
    while (!input.is_empty()) act(nic, input);
    return 0;
}
