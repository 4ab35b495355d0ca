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

/// A piece of memory that begins and ends at multiples of this can be replaced by what must be mapped in huge pages.
inline constexpr std::size_t kHostHugePageBytes = std::size_t{2} << 20;

/// Replaces the beginning of our own memory by the first `bytes` of a file or device, shared: what is stored here others find there, and
/// the reverse. `place` begins at a multiple of kHostHugePageBytes and is as long as `bytes` rounded up to that; a file in huge pages may
/// take all of it. Unmapped with the memory around it.
/// Errors: what the host says; the memory is ours then, and zeroes.
[[nodiscard]] Expected<void, Error> map_file_over(ByteSpan place, std::size_t bytes, int fd);

/// Asks for huge pages behind the whole 2 MiB ranges of memory that has not been touched yet.
void advise_huge_pages(ByteSpan memory);

}  // namespace backplane
