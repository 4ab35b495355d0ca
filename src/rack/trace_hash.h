// One number for what a rack did, barrier by barrier: two runs with the same number went the same way.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace backplane {

class TraceHash {
  public:
    void add(std::uint64_t word) {
        // The mixing steps of MurmurHash3's finalizer, which spread each bit over all others.
        value_ = (value_ ^ word) * 0xff51'afd7'ed55'8ccd;
        value_ ^= value_ >> 33;
    }
    void add(ConstByteSpan bytes) {
        for (std::byte const byte : bytes) add(static_cast<std::uint64_t>(byte));
        add(bytes.size());
    }
    [[nodiscard]] std::uint64_t value() const { return value_; }

  private:
    std::uint64_t value_{0};
};

}  // namespace backplane
