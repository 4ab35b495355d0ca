#include "mmu/page_walk.h"

#include <array>

namespace backplane {

namespace {

constexpr std::uint64_t kPresent = 1 << 0;
constexpr std::uint64_t kWritable = 1 << 1;
constexpr std::uint64_t kUser = 1 << 2;
constexpr std::uint64_t kAccessed = 1 << 5;
constexpr std::uint64_t kDirty = 1 << 6;
constexpr std::uint64_t kLarge = 1 << 7;
constexpr std::uint64_t kGlobal = 1 << 8;
constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;
constexpr std::uint64_t kFrameMask = 0x000f'ffff'ffff'f000;
// Physical address bits above MAXPHYADDR must be zero ([SDM3A] 4.4.1 and table 4-15 to 4-20).
constexpr std::uint64_t kReservedAddress = 0x000f'ffff'ffff'ffff & ~((std::uint64_t{1} << PageMap::kAddressBits) - 1);

constexpr unsigned kLevels = 4;

struct Step {
    GuestPhys where;
    std::uint64_t entry;
};

/// Entries that a hole swallows read as ones, which is a reserved-bit fault.
std::uint64_t read_entry(GuestMemory const& memory, GuestPhys where) {
    std::uint64_t entry = 0;
    return memory.read_in_page(where, entry) ? entry : ~std::uint64_t{0};
}

std::uint64_t reserved_bits(unsigned level, std::uint64_t entry, bool no_execute) {
    std::uint64_t reserved = kReservedAddress;
    if (!no_execute) reserved |= kNoExecute;
    if (level == 3) reserved |= kLarge;
    if (level == 2 && (entry & kLarge) != 0) reserved |= 0x3fff'e000;  // 1 GiB: bits 29:13
    if (level == 1 && (entry & kLarge) != 0) reserved |= 0x001f'e000;  // 2 MiB: bits 20:13
    return reserved;
}

bool is_allowed(PagingContext const& context, Translation const& translation, AccessKind kind) {
    if (context.user) {
        if (!translation.user) return false;
        if (kind == AccessKind::write) return translation.writable;
        return kind == AccessKind::read || translation.executable;
    }
    if (kind == AccessKind::execute) return translation.executable && !(context.smep && translation.user);
    if (context.smap && translation.user) return false;
    return kind == AccessKind::read || translation.writable || !context.write_protect;
}

}  // namespace

namespace {

/// Which bits the entries of a level must have clear.
using ReservedBits = std::uint64_t (*)(unsigned level, std::uint64_t entry, bool no_execute);

std::uint64_t reserved_bits_pae(unsigned level, std::uint64_t entry, bool no_execute) {
    return reserved_bits(level, entry, no_execute) | 0x7ff0'0000'0000'0000;
}

std::uint32_t error_code_for(PagingContext const& context, AccessKind kind) {
    std::uint32_t code = 0;
    if (kind == AccessKind::write) code |= page_fault::kWrite;
    if (context.user) code |= page_fault::kUser;
    if (kind == AccessKind::execute && (context.no_execute || context.smep)) code |= page_fault::kFetch;
    return code;
}

/// Tables of 512 entries of 8 bytes, from `level` down to 0.
Expected<Translation, PageFault> walk_wide(GuestMemory& memory, PagingContext const& context, unsigned level, std::uint64_t table,
                                           ReservedBits reserved, GuestVirt address, AccessKind kind) {
    std::uint32_t const code = error_code_for(context, kind);
    std::array<Step, kLevels> steps;
    unsigned depth = 0;
    Translation translation{.writable = true, .user = true, .executable = true};
    std::uint64_t mask = 0;
    for (;; --level) {
        unsigned const shift = kPageShift + 9 * level;
        GuestPhys const where{table + (address.value() >> shift & 511) * 8};
        std::uint64_t const entry = read_entry(memory, where);
        if ((entry & kPresent) == 0) return Unexpected{PageFault{code}};
        if ((entry & reserved(level, entry, context.no_execute)) != 0)
            return Unexpected{PageFault{code | page_fault::kPresent | page_fault::kReserved}};
        translation.writable &= (entry & kWritable) != 0;
        translation.user &= (entry & kUser) != 0;
        translation.executable &= (entry & kNoExecute) == 0;
        steps[depth++] = {where, entry};
        table = entry & kFrameMask;
        if (level == 0 || (entry & kLarge) != 0) {
            mask = (std::uint64_t{1} << shift) - 1;
            translation.page_bits = static_cast<std::uint8_t>(shift);
            break;
        }
    }
    if (!is_allowed(context, translation, kind)) return Unexpected{PageFault{code | page_fault::kPresent}};

    for (unsigned i = 0; i < depth; ++i) {
        bool const leaf = i + 1 == depth;
        std::uint64_t const wanted = steps[i].entry | kAccessed | (leaf && kind == AccessKind::write ? kDirty : 0);
        // A table that lies in a hole was refused above, so the store cannot fail.
        if (wanted != steps[i].entry && memory.write_object(steps[i].where, wanted)) steps[i].entry = wanted;
    }
    std::uint64_t const leaf = steps[depth - 1].entry;
    translation.dirty = (leaf & kDirty) != 0;
    translation.global = (leaf & kGlobal) != 0;
    translation.page = page_of(GuestPhys{(table & ~mask) | (address.value() & mask)});
    return translation;
}

}  // namespace

Expected<Translation, PageFault> walk_4_level(GuestMemory& memory, PagingContext const& context, GuestVirt address,
                                              AccessKind kind) {
    return walk_wide(memory, context, kLevels - 1, context.cr3 & kFrameMask, reserved_bits, address, kind);
}

// The entry of the highest level grants every right.
Expected<Translation, PageFault> walk_pae(GuestMemory& memory, PagingContext const& context, std::uint64_t pdpte,
                                          GuestVirt address, AccessKind kind) {
    if ((pdpte & kPresent) == 0) return Unexpected{PageFault{error_code_for(context, kind)}};
    return walk_wide(memory, context, 1, pdpte & kFrameMask, reserved_bits_pae, address, kind);
}

bool is_reserved_pdpte(std::uint64_t pdpte) {
    return (pdpte & kPresent) != 0 && (pdpte & (kReservedAddress | 0xfff0'0000'0000'01e6)) != 0;
}

namespace {

struct NarrowStep {
    GuestPhys where;
    std::uint32_t entry;
};
/// A hole reads as ones: a present entry whose table or page is a hole again.
NarrowStep read_narrow(GuestMemory const& memory, std::uint64_t table, std::uint64_t index) {
    GuestPhys const where{table + index * 4};
    std::uint32_t entry = 0;
    return {where, memory.read_object(where, entry) ? entry : ~std::uint32_t{0}};
}
void set_flags(GuestMemory& memory, NarrowStep const& step, std::uint64_t flags) {
    auto const wanted = static_cast<std::uint32_t>(step.entry | flags);
    if (wanted != step.entry) (void)memory.write_object(step.where, wanted);
}

constexpr std::uint32_t kNarrowFrame = 0xffff'f000;
constexpr std::uint32_t kLargeReserved = 1 << 21;

/// Bits 31:22 of a 4 MiB page's address are in place, bits 39:32 in bits 20:13 of the entry.
std::uint64_t large_page(std::uint32_t entry) { return (entry & 0xffc0'0000) | (std::uint64_t{entry} >> 13 & 0xff) << 32; }

}  // namespace

Expected<Translation, PageFault> walk_32_bit(GuestMemory& memory, PagingContext const& context, GuestVirt address,
                                             AccessKind kind) {
    std::uint32_t const code = error_code_for(context, kind);
    std::uint64_t const linear = address.value();
    NarrowStep const directory = read_narrow(memory, context.cr3 & kNarrowFrame, linear >> 22 & 1023);
    if ((directory.entry & kPresent) == 0) return Unexpected{PageFault{code}};
    bool const large = context.large_pages && (directory.entry & kLarge) != 0;
    bool const beyond = large && large_page(directory.entry) >> PageMap::kAddressBits != 0;
    if (large && ((directory.entry & kLargeReserved) != 0 || beyond))
        return Unexpected{PageFault{code | page_fault::kPresent | page_fault::kReserved}};
    NarrowStep leaf = directory;
    if (!large) {
        leaf = read_narrow(memory, directory.entry & kNarrowFrame, linear >> 12 & 1023);
        if ((leaf.entry & kPresent) == 0) return Unexpected{PageFault{code}};
    }
    std::uint32_t const both = directory.entry & leaf.entry;
    std::uint64_t const physical = large ? large_page(leaf.entry) | (linear & 0x3f'f000) : leaf.entry & kNarrowFrame;
    Translation const translation{.page = page_of(GuestPhys{physical}),
                                  .writable = (both & kWritable) != 0,
                                  .user = (both & kUser) != 0,
                                  .executable = true,
                                  .global = (leaf.entry & kGlobal) != 0,
                                  .page_bits = large ? std::uint8_t{22} : std::uint8_t{kPageShift},
                                  .dirty = kind == AccessKind::write || (leaf.entry & kDirty) != 0};
    if (!is_allowed(context, translation, kind)) return Unexpected{PageFault{code | page_fault::kPresent}};
    if (!large) set_flags(memory, directory, kAccessed);
    set_flags(memory, leaf, kAccessed | (kind == AccessKind::write ? kDirty : 0));
    return translation;
}

}  // namespace backplane
