// Unpacks what a bzImage carries: xz, lz4 (legacy frame), zstd and gzip, told apart by their first bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"

namespace backplane {

enum class Packing : std::uint8_t { unknown, xz, lz4, zstd, gzip, bzip2, lzma, lzo };

/// How `packed` is packed, from its magic number; bzip2, lzma and lzo are recognized, but not unpacked.
[[nodiscard]] Packing detect_packing(ConstByteSpan packed);
[[nodiscard]] std::string_view name_of(Packing packing);

/// No kernel is larger than this once unpacked: what claims to be is refused instead of filling the host's memory.
inline constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{512} << 20;

/// The unpacked bytes of one stream. What follows the stream is ignored, but if it is exactly 4 bytes, they are the
/// unpacked size that Linux' build appends, and must be right.
/// Errors: unknown or unsupported packing, damaged or truncated stream, more than `max_bytes`.
[[nodiscard]] Expected<std::vector<std::byte>, Error> unpack(ConstByteSpan packed,
                                                             std::uint64_t max_bytes = kMaxUnpackedBytes);

}  // namespace backplane
