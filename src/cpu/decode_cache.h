// Decoded instructions of 64-bit code by their bytes: code consists of few different ones, and Zydis takes a hundred
// nanoseconds for each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/decode.h"

namespace backplane {

class DecodeCache {
  public:
    /// The bytes of an instruction; what is behind the 15th does not matter.
    using Bytes = std::array<std::uint8_t, 24>;

    /// As decode() of the first `available` bytes, and with the same result.
    [[nodiscard]] DecodeStatus decode(Bytes const& bytes, std::size_t available, CodeMode mode, std::uint32_t offset, std::uint32_t position, Op& op);

  private:
    static constexpr unsigned kIndexBits = 11;

    struct Entry {
        std::uint64_t bytes[2], mask[2];  ///< displacements and such immediates are not compared
        Op op;                            ///< at the beginning of a trace, with a displacement of 0
        std::uint8_t length{0};           ///< 0: an empty entry
        DecodeStatus status;
        DecodedForm form;
    };

    [[nodiscard]] static std::size_t index_of(std::uint64_t first_bytes);
    [[nodiscard]] static bool fill(Entry const& entry, Bytes const& bytes, std::uint32_t offset, std::uint32_t position, Op& op);
    [[nodiscard]] static Entry make(Bytes const& bytes, DecodeStatus status, Op const& op, DecodedForm const& form);

    std::array<Entry, 1U << kIndexBits> entries_{};
};

}  // namespace backplane
