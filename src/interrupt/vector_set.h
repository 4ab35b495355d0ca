// A set of the 256 interrupt vectors: IRR, ISR and TMR of a local APIC.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>

#include "base/address.h"

namespace backplane {

class VectorSet {
  public:
    void insert(Vector vector) { word_of(vector) |= bit_of(vector); }
    void erase(Vector vector) { word_of(vector) &= ~bit_of(vector); }
    [[nodiscard]] bool contains(Vector vector) const { return (words_[vector.value() >> 6] & bit_of(vector)) != 0; }
    /// The largest member, which is the one of the highest priority ([SDM3A] 10.8.3).
    [[nodiscard]] std::optional<Vector> highest() const {
        for (unsigned i = 4; i-- > 0;) {
            if (words_[i] != 0)
                return Vector{
                    static_cast<std::uint8_t>(64 * i + 63 - static_cast<unsigned>(std::countl_zero(words_[i])))};
        }
        return std::nullopt;
    }
    /// Vectors 32 * index to 32 * index + 31, as the registers show them; index 0 to 7.
    [[nodiscard]] std::uint32_t register_value(unsigned index) const {
        return static_cast<std::uint32_t>(words_[index >> 1 & 3] >> (32 * (index & 1)));
    }
    bool operator==(VectorSet const&) const = default;

  private:
    [[nodiscard]] static constexpr std::uint64_t bit_of(Vector vector) {
        return std::uint64_t{1} << (vector.value() & 63);
    }
    [[nodiscard]] std::uint64_t& word_of(Vector vector) { return words_[vector.value() >> 6]; }

    std::array<std::uint64_t, 4> words_{};
};

}  // namespace backplane
