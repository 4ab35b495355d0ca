// Where a disk's bytes lie: the port that a disk device expects from outside.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace backplane {

/// The device asks only for ranges inside of bytes(). What fails has no effect on anything but the bytes asked for.
class BlockPort {
  public:
    virtual ~BlockPort() = default;
    /// A multiple of 512 that never changes.
    [[nodiscard]] virtual std::uint64_t bytes() const = 0;
    [[nodiscard]] virtual bool is_read_only() const = 0;
    [[nodiscard]] virtual bool read(std::uint64_t offset, ByteSpan into) = 0;
    [[nodiscard]] virtual bool write(std::uint64_t offset, ConstByteSpan from) = 0;
    [[nodiscard]] virtual bool write_zeroes(std::uint64_t offset, std::uint64_t bytes) = 0;
    /// What was written survives the end of this process.
    [[nodiscard]] virtual bool flush() = 0;
};

}  // namespace backplane
