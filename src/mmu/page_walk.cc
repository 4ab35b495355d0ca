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
    return memory.read_object(where, entry) ? entry : ~std::uint64_t{0};
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

Expected<Translation, PageFault> walk_4_level(GuestMemory& memory, PagingContext const& context, GuestVirt address,
                                              AccessKind kind) {
    std::uint32_t code = 0;
    if (kind == AccessKind::write) code |= page_fault::kWrite;
    if (context.user) code |= page_fault::kUser;
    if (kind == AccessKind::execute && (context.no_execute || context.smep)) code |= page_fault::kFetch;

    std::array<Step, kLevels> steps;
    unsigned depth = 0;
    Translation translation{.writable = true, .user = true, .executable = true};
    std::uint64_t table = context.cr3 & kFrameMask;
    std::uint64_t mask = 0;
    for (unsigned level = kLevels - 1;; --level) {
        unsigned const shift = kPageShift + 9 * level;
        GuestPhys const where{table + (address.value() >> shift & 511) * 8};
        std::uint64_t const entry = read_entry(memory, where);
        if ((entry & kPresent) == 0) return Unexpected{PageFault{code}};
        if ((entry & reserved_bits(level, entry, context.no_execute)) != 0)
            return Unexpected{PageFault{code | page_fault::kPresent | page_fault::kReserved}};
        translation.writable &= (entry & kWritable) != 0;
        translation.user &= (entry & kUser) != 0;
        translation.executable &= (entry & kNoExecute) == 0;
        steps[depth++] = {where, entry};
        table = entry & kFrameMask;
        if (level == 0 || (entry & kLarge) != 0) {
            mask = (std::uint64_t{1} << shift) - 1;
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

}  // namespace backplane
