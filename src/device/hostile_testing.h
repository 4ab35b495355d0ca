// Drivers that want to do harm, for tests of devices: memory that turns into nonsense before any one access, and a link's work on
// the frames that come of it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "device/changing_memory.h"
#include "device/frame_port.h"
#include "device/segmenter.h"

namespace backplane::testing {

// With the sanitizers there are ten times as many accesses, which all cost more: every 97th is enough there.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t kStride = 97;
#else
inline constexpr std::uint64_t kStride = 1;
#endif

/// What a page becomes: all of it nonsense, or one 16-bit word of its first sixteen bytes, which is an index, a length
/// or a field of a header, while the rest stays as it was. That is what finds a device that reads a field once to check
/// it and once to use it; docs/design/virtio.md says which such mistakes were found.
enum class Change : std::uint8_t { ones, zeroes, small, all_pages_small, word_1, word_2, word_4 };
inline constexpr std::array kChanges{Change::ones,   Change::zeroes, Change::small, Change::all_pages_small,
                              Change::word_1, Change::word_2, Change::word_4};

inline void spoil(ByteSpan page, Change change, std::uint64_t n) {
    auto const set_word = [&](std::size_t word) { store(page, 2 * word, std::uint16_t{0x40}); };
    switch (change) {
        case Change::ones:
        case Change::zeroes:
            std::ranges::fill(page.first(256), static_cast<std::byte>(change == Change::ones ? 0xFF : 0));
            return;
        case Change::small:
        case Change::all_pages_small:
            for (std::size_t i = 0; i < 256; ++i) page[i] = static_cast<std::byte>((i * 7 + n * 13) % 5 * (i % 2));
            return;
        case Change::word_1:  // the index of a ring; how many pairs
            return set_word(1);
        case Change::word_2:  // the first place of a ring; what a packet is cut into
            return set_word(2);
        case Change::word_4:  // the length of a piece; where a sum goes
            return set_word(4);
    }
}

/// What a frame says of itself holds, whatever has become of its bytes in the guest since.
inline void check_frame(Frame const& frame) {
    std::uint64_t sum = 0;
    for (ConstByteSpan const piece : frame.pieces) sum += piece.size();
    check(sum == frame.bytes, "a frame has as many bytes as it says");
    Offload const& offload = frame.offload;
    bool const is_whole = offload.segments != Offload::Segments::none;
    check(!offload.needs_checksum || offload.checksum_start + offload.checksum_offset + 2U <= frame.bytes,
          "the sum is within the frame");
    check(!is_whole || (offload.segment_bytes >= 8 && offload.header_bytes < frame.bytes), "a frame can be cut");
}

/// What a link does with the frame at the head: finishes it, lands it in the same machine, and tells the sender.
/// \return whether there was one
inline bool carry_one(FramePort& port) {
    Frame const* const frame = port.front();
    if (frame == nullptr) return false;
    check_frame(*frame);
    Segmenter segmenter;
    std::uint32_t const count = segmenter.start(*frame);
    for (std::uint32_t i = 0; i < count; ++i) {
        Frame const& segment = segmenter.segment(i);
        std::uint64_t bytes = 0;
        for (ConstByteSpan const piece : segment.pieces) bytes += piece.size();
        check(bytes == segment.bytes && segment.offload.is_finished(), "a segment is finished");
    }
    if (port.accepts().covers(frame->offload)) (void)port.receive(*frame);
    port.complete_transmit(port.take_front());
    return true;
}

/// Before each access of `work` to the pages, another processor of the guest fills with nonsense what is about to be accessed, or
/// everything: what was read before is as it should be. `prepare` goes before each run, `expect_recovers` behind it.
/// \return how many accesses there are
template <typename Prepare, typename Work, typename Recovers>
std::uint64_t change_before_each_access(std::vector<ByteSpan> const& pages, Prepare const& prepare, Work const& work, Recovers const& expect_recovers) {
    ChangingMemory changing{pages};
    bool has_changed = true;
    std::uint64_t n = 0;
    for (; has_changed; n += kStride) {
        for (Change const change : kChanges) {
            prepare();
            auto const on_access = [&](ByteSpan next) {
                if (change != Change::all_pages_small) return spoil(next, change, n);
                for (ByteSpan const page : pages) spoil(page, change, n);
            };
            has_changed = changing.run(n, on_access, work);
            expect_recovers(n);
        }
    }
    return n - kStride;
}

}  // namespace backplane::testing
