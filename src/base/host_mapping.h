// Anonymous host memory with one owner.
#pragma once

#include <cstddef>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// A range of zeroed, lazily backed anonymous memory; unmapped by the destructor.
class HostMapping {
  public:
    /// Reserves `bytes` (rounded up to 2 MiB, aligned to 2 MiB), asking for huge pages.
    /// Errors: the host refused the mapping.
    [[nodiscard]] static Expected<HostMapping, Error> create(std::size_t bytes);

    HostMapping() = default;
    HostMapping(HostMapping&& other) noexcept
        : base_{std::exchange(other.base_, nullptr)}, bytes_{std::exchange(other.bytes_, 0)} {}
    HostMapping& operator=(HostMapping&& other) noexcept {
        std::swap(base_, other.base_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~HostMapping();

    [[nodiscard]] std::byte* data() const { return base_; }
    [[nodiscard]] std::size_t size() const { return bytes_; }
    [[nodiscard]] ByteSpan span() const { return {base_, bytes_}; }

  private:
    HostMapping(std::byte* base, std::size_t bytes) : base_{base}, bytes_{bytes} {}
    std::byte* base_{nullptr};
    std::size_t bytes_{0};
};

/// Asks for huge pages behind the whole 2 MiB ranges of memory that has not been touched yet.
void advise_huge_pages(ByteSpan memory);

}  // namespace backplane
