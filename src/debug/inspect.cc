#include "debug/inspect.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace backplane {
namespace {

constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kLarge = 1 << 7;
constexpr std::uint64_t kFrameMask = 0x000f'ffff'ffff'f000;

struct Paging {
    unsigned levels;      ///< of tables
    unsigned index_bits;  ///< of the address that each level takes
    std::uint64_t table;  ///< physical address of the first
};

Paging paging_of(CpuState const& state) {
    if ((state.efer & efer::kLongModeActive) != 0) return {4, 9, state.cr3 & kFrameMask};
    if ((state.cr4 & cr4::kPhysicalAddressExtension) != 0) return {3, 9, state.cr3 & 0xffff'ffe0};
    return {2, 10, state.cr3 & 0xffff'f000};
}

std::optional<std::uint64_t> read_entry(GuestMemory const& memory, std::uint64_t address, bool wide) {
    std::uint64_t entry = 0;
    if (wide) return memory.read_object(GuestPhys{address}, entry) ? std::optional{entry} : std::nullopt;
    std::uint32_t narrow = 0;
    return memory.read_object(GuestPhys{address}, narrow) ? std::optional<std::uint64_t>{narrow} : std::nullopt;
}

bool is_leaf(unsigned level, unsigned levels, std::uint64_t entry, CpuState const& state) {
    if (level == 0) return true;
    if ((entry & kLarge) == 0 || level == 3) return false;
    if (levels == 2) return (state.cr4 & cr4::kPageSizeExtensions) != 0;
    return !(levels == 3 && level == 2);  // a page-directory-pointer entry of PAE has no such bit
}

/// [start, start + bytes) as physical pieces, none across a page; empty when a page leads nowhere.
template <typename Translate>
std::vector<std::pair<GuestPhys, std::size_t>> pieces_of(GuestVirt start, std::size_t bytes, Translate&& translate) {
    std::vector<std::pair<GuestPhys, std::size_t>> pieces;
    while (bytes != 0) {
        auto const physical = translate(start);
        if (!physical) break;
        std::size_t const piece = std::min<std::size_t>(bytes, kPageBytes - start.page_offset());
        pieces.emplace_back(*physical, piece);
        start = start + piece;
        bytes -= piece;
    }
    return pieces;
}

}  // namespace

std::optional<GuestPhys> translate_quietly(GuestMemory const& memory, CpuState const& state, GuestVirt address) {
    if ((state.cr0 & cr0::kPaging) == 0) return GuestPhys{address.value() & 0xffff'ffff};
    Paging const paging = paging_of(state);
    bool const wide = paging.index_bits == 9;
    std::uint64_t table = paging.table;
    for (unsigned level = paging.levels - 1;; --level) {
        unsigned const shift = kPageShift + paging.index_bits * level;
        std::uint64_t const index = address.value() >> shift & ((1U << paging.index_bits) - 1);
        auto const entry = read_entry(memory, table + index * (wide ? 8 : 4), wide);
        if (!entry || (*entry & kPresent) == 0) return {};
        if (is_leaf(level, paging.levels, *entry, state)) {
            std::uint64_t const mask = (std::uint64_t{1} << shift) - 1;
            return GuestPhys{(*entry & kFrameMask & ~mask) | (address.value() & mask)};
        }
        table = *entry & kFrameMask;
    }
}

std::size_t peek(GuestMemory const& memory, GuestPhys start, ByteSpan into) {
    std::size_t done = 0;
    while (done < into.size()) {
        ConstByteSpan const source = memory.readable(start + done, into.size() - done);
        if (source.empty()) break;
        std::copy(source.begin(), source.end(), into.begin() + static_cast<std::ptrdiff_t>(done));
        done += source.size();
    }
    return done;
}

std::size_t peek(GuestMemory const& memory, CpuState const& state, GuestVirt start, ByteSpan into) {
    std::size_t done = 0;
    auto const translate = [&](GuestVirt at) { return translate_quietly(memory, state, at); };
    for (auto const& [physical, bytes] : pieces_of(start, into.size(), translate)) {
        std::size_t const got = peek(memory, physical, into.subspan(done, bytes));
        done += got;
        if (got != bytes) break;
    }
    return done;
}

bool poke(GuestMemory& memory, GuestPhys start, ConstByteSpan from) {
    for (std::size_t done = 0; done < from.size();) {
        std::size_t const piece = memory.writable(start + done, from.size() - done).size();
        if (piece == 0) return false;
        done += piece;
    }
    return memory.write(start, from);
}

bool poke(GuestMemory& memory, CpuState const& state, GuestVirt start, ConstByteSpan from) {
    auto const pieces =
        pieces_of(start, from.size(), [&](GuestVirt at) { return translate_quietly(memory, state, at); });
    std::size_t whole = 0;
    for (auto const& [physical, bytes] : pieces) whole += memory.writable(physical, bytes).size();
    if (whole != from.size()) return false;
    std::size_t done = 0;
    for (auto const& [physical, bytes] : pieces) {
        if (!memory.write(physical, from.subspan(done, bytes))) return false;
        done += bytes;
    }
    return true;
}

}  // namespace backplane
