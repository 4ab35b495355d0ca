// Reads a file that the user named: kernel or initrd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// No kernel and no initrd is larger than this; a larger file is refused before it fills the host's memory.
inline constexpr std::uint64_t kMaxBootFileBytes = std::uint64_t{4} << 30;

/// The whole of a regular file.
/// Errors, each with the path: missing, no permission, a directory or another thing that is no file, empty,
/// larger than `max_bytes`.
[[nodiscard]] Expected<std::vector<std::byte>, Error> read_boot_file(std::string const& path,
                                                                     std::uint64_t max_bytes = kMaxBootFileBytes);

}  // namespace backplane
