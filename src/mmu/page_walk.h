// The page walk: from a linear address to a physical one through the guest's own tables in guest memory.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/expected.h"
#include "memory/guest_memory.h"

namespace backplane {

enum class AccessKind : std::uint8_t { read, write, execute };

/// The bits of a page-fault error code ([SDM3A] 4.7).
namespace page_fault {
inline constexpr std::uint32_t kPresent = 1;
inline constexpr std::uint32_t kWrite = 2;
inline constexpr std::uint32_t kUser = 4;
inline constexpr std::uint32_t kReserved = 8;
inline constexpr std::uint32_t kFetch = 16;
}  // namespace page_fault

/// What of the control registers and the privilege level decides a walk.
struct PagingContext {
    std::uint64_t cr3{0};
    bool user{false};             ///< CPL 3 (or an access that counts as one)
    bool write_protect{false};    ///< CR0.WP
    bool no_execute{false};       ///< EFER.NXE
    bool smep{false};             ///< CR4.SMEP
    bool large_pages{true};       ///< CR4.PSE, of 32-bit paging alone
    bool smap{false};             ///< CR4.SMAP and not EFLAGS.AC (always true for implicit supervisor accesses)
};

/// One 4 KiB piece of a translation, with the rights that all levels together leave.
struct Translation {
    GuestPage page{};
    bool writable{false};  ///< R/W at every level
    bool user{false};      ///< U/S at every level
    bool executable{false};
    bool global{false};
    std::uint8_t page_bits{kPageShift};  ///< log2 of the page's size
    bool dirty{false};     ///< the D flag is set, so a further store need not walk
};

struct PageFault {
    std::uint32_t error_code;
};

/// Walks the 4-level tables at context.cr3 for a canonical `address`, sets the accessed flags (and dirty for a write).
/// \return  the translation, or the error code of the page fault; nothing is changed by a walk that faults
/// Source: [SDM3A] 4.5 to 4.8
[[nodiscard]] Expected<Translation, PageFault> walk_4_level(GuestMemory& memory, PagingContext const& context,
                                                             GuestVirt address, AccessKind kind);

/// PAE paging: two levels of tables below the page-directory-pointer entry `pdpte`, a register of the processor.
/// Source: [SDM3A] 4.4
[[nodiscard]] Expected<Translation, PageFault> walk_pae(GuestMemory& memory, PagingContext const& context, std::uint64_t pdpte,
                                                        GuestVirt address, AccessKind kind);

/// 32-bit paging: two levels of 4-byte entries; 4 MiB pages with CR4.PSE, their addresses up to 40 bits (PSE-36).
/// Source: [SDM3A] 4.3
[[nodiscard]] Expected<Translation, PageFault> walk_32_bit(GuestMemory& memory, PagingContext const& context, GuestVirt address,
                                                           AccessKind kind);

/// True when a present page-directory-pointer entry of PAE paging sets a reserved bit ([SDM3A] table 4-8).
[[nodiscard]] bool is_reserved_pdpte(std::uint64_t pdpte);

}  // namespace backplane
