// Reads an ELF64 x86-64 executable that is a kernel: where its segments go, and where it is entered.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// A piece of the file that goes to physical memory; what `memory_bytes` has beyond `file_bytes` is zero.
struct ElfSegment {
    GuestPhys start;
    std::uint64_t memory_bytes;
    std::uint64_t file_offset;
    std::uint64_t file_bytes;
    [[nodiscard]] GuestPhys end() const { return start + memory_bytes; }
};

struct ElfKernel {
    std::vector<ElfSegment> segments;    ///< loadable and not empty, in the order of the file
    GuestPhys entry;                     ///< e_entry as a physical address; inside of a segment
    std::optional<GuestPhys> pvh_entry;  ///< of the Xen note, inside of a segment
};

[[nodiscard]] bool is_elf(ConstByteSpan file);

/// Every offset and size in the result has been checked against `file`, and no address wraps around.
/// Errors: not ELF64 little-endian x86-64 ET_EXEC; a table or segment beyond the end of the file; a program for an
/// operating system; an entry outside of the segments. The message has no file name.
/// Source: [ELF] "ELF Header", "Program Header", "Note Section"; [PVH] "PVH entry point"
[[nodiscard]] Expected<ElfKernel, Error> parse_elf(ConstByteSpan file);

}  // namespace backplane
