// Looking into a machine without the machine noticing: no accessed bit is set, no device register is touched.
#pragma once

#include <optional>

#include "base/address.h"
#include "base/bytes.h"
#include "cpu/state.h"
#include "memory/guest_memory.h"

namespace backplane {

/// Where a linear address leads with the page tables of `state`, whatever the rights; empty: nowhere.
/// Source: [SDM3A] 4.3 to 4.5
[[nodiscard]] std::optional<GuestPhys> translate_quietly(GuestMemory const& memory, CpuState const& state,
                                                         GuestVirt address);

/// Reads RAM at physical or linear addresses; stops at the first byte that is none.
/// \return  how many bytes were read
[[nodiscard]] std::size_t peek(GuestMemory const& memory, GuestPhys start, ByteSpan into);
[[nodiscard]] std::size_t peek(GuestMemory const& memory, CpuState const& state, GuestVirt start, ByteSpan into);

/// Writes RAM, code caches included; false when not every byte is RAM that can be written: then nothing is.
[[nodiscard]] bool poke(GuestMemory& memory, GuestPhys start, ConstByteSpan from);
[[nodiscard]] bool poke(GuestMemory& memory, CpuState const& state, GuestVirt start, ConstByteSpan from);

}  // namespace backplane
