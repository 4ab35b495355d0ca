// Memory that is not ours, for machines to have in common with somebody outside: a plain file, POSIX shared memory, a file of
// hugetlbfs, a PCI device's memory (resourceN in sysfs), a DAX device (docs/design/window.md).
//
// Nothing here creates, lengthens, shortens or clears it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"

namespace backplane {

/// Opens it to read and write, and sees to it that its first `bytes` can be mapped. A plain file gets the room that it does not have
/// yet, so that no store can fail later for want of it.
/// Errors: bad_input, `PATH: ...; expected ...`: there is none, it is too short, or nothing that can be mapped.
[[nodiscard]] Expected<UniqueFd, Error> open_backing(std::filesystem::path const& path, std::uint64_t bytes);

}  // namespace backplane
