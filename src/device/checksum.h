// The two sums over frames that network devices compute: the Internet checksum and the Ethernet FCS.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace backplane {

using Pieces = std::span<ConstByteSpan const>;

/// A ones' complement sum of 16-bit words in network byte order, over bytes that come in pieces of any length
/// ([RFC1071]). A last odd byte counts as if a zero followed.
class InternetSum {
  public:
    void add(ConstByteSpan bytes);
    /// Adds the bytes [first, last) of the pieces; what lies beyond their end is not there.
    void add(Pieces pieces, std::uint32_t first, std::uint32_t last);
    /// Adds one word, given as a number; only between whole words.
    void add_word(std::uint16_t word) { sum_ += __builtin_bswap16(word); }
    /// The sum folded to 16 bits, as a number.
    [[nodiscard]] std::uint16_t folded() const;
    /// What a checksum field has to hold: the complement.
    [[nodiscard]] std::uint16_t checksum() const { return static_cast<std::uint16_t>(~folded()); }

  private:
    std::uint64_t sum_{0};  // of words as they lie in memory: byte order commutes with the sum ([RFC1071] 2 B)
    bool odd_{false};       // the next byte is the second one of its word
};

/// The frame check sequence of [IEEE8023] 3.2.9, as CRC-32 in the order in which its bytes follow the frame.
class FrameCheck {
  public:
    void add(ConstByteSpan bytes);
    [[nodiscard]] std::uint32_t value() const { return ~crc_; }

  private:
    std::uint32_t crc_{0xFFFFFFFF};
};

}  // namespace backplane
