// What translated code keeps beside the architectural state, in the processor so that one base register reaches it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/address.h"

namespace backplane {

/// One entry of the cache of indirect jump targets; an empty one holds an address that belongs into another set of slots,
/// so that no target finds it.
struct JumpEntry {
    std::uint64_t rip;
    void const* code;
};

/// Bits 255:128 are in the host's registers, or still in memory; legacy SSE leaves them alone in both places.
struct VectorsLoaded {
    static constexpr std::uint8_t kNone = 0, kXmm = 1, kYmm = 2;
};

/// Translated code's pieces for each kind of DeferredFlags, by its `kind`.
struct NoteCode {
    static constexpr std::uint32_t kKinds = 64;
    using Table = std::array<void const*, kKinds>;
    Table flags{}, carry{};
};

struct TranslatedState {
    static constexpr std::uint32_t kJumpEntries = 8192;
    // Functions begin at multiples of 16 and often at the same offset of a page; the product's upper bits tell them apart.
    static constexpr std::uint32_t kJumpFactor = 0x5851'f42d, kJumpShift = 19;
    /// Slots of a set: a target is in its own or, one of another target of the set being there, in the one whose number differs in
    /// the bits of 1, 2 or 3. Translated code looks into the first, a thunk into the others.
    static constexpr std::size_t kJumpWays = 4;
    static constexpr unsigned kShelves = 8;

    std::uint64_t page_address{0};  ///< linear address of the page that the running block lies in
    std::uint64_t temporary{0};
    std::uint64_t temporary_flags{0};
    std::uint64_t call_target{0};
    std::uint64_t xmm_loaded{0};  ///< what the host's vector registers hold of the guest's: a VectorsLoaded
    std::uint64_t x87_loaded{0};  ///< 1: the host's x87 holds the guest's
    NoteCode notes;
    void* link{nullptr};          ///< the direct jump that the last exit would have liked to make
    alignas(64) std::array<std::array<JumpEntry, kJumpEntries>, 2> jumps;  ///< by view; none lies in two lines of the host's cache
    std::array<std::vector<std::uint16_t>, 2> used;            ///< slots that may hold an entry
    std::array<std::array<bool, 1024>, 2> pages{};             ///< pages that may have an entry, by hash
    std::array<std::vector<JumpEntry>, kShelves> shelves;      ///< of address spaces that do not run (the user's view)

    TranslatedState() {
        for (auto& view : jumps)
            for (std::size_t i = 0; i < kJumpEntries; ++i) view[i] = empty(i);
    }

    static std::size_t jump_index(std::uint64_t rip) { return static_cast<std::uint32_t>(rip) * kJumpFactor >> kJumpShift; }
    /// Into the target's own slot; what was there moves on, and the last one of the set is lost.
    void remember(unsigned view, std::uint64_t rip, void const* code) {
        std::size_t const index = jump_index(rip);
        auto& slots = jumps[view];
        // All slots before that `way` are in use, and listed; an older entry of rip behind it, which a forgotten page may leave, is
        // one as well and does no harm.
        std::size_t way = 0;
        while (way + 1 < kJumpWays && slots[index ^ way].code != nullptr && slots[index ^ way].rip != rip) ++way;
        if (slots[index ^ way].code == nullptr) used[view].push_back(static_cast<std::uint16_t>(index ^ way));
        for (; way != 0; --way) slots[index ^ way] = slots[index ^ (way - 1)];
        slots[index] = {rip, code};
        pages[view][rip >> kPageShift & 1023] = true;
    }
    /// The code at rip, or null.
    [[nodiscard]] void const* find(unsigned view, std::uint64_t rip) const {
        std::size_t const index = jump_index(rip);
        for (std::size_t way = 0; way < kJumpWays; ++way)
            if (jumps[view][index ^ way].rip == rip) return jumps[view][index ^ way].code;
        return nullptr;
    }
    void forget_view(unsigned view) {
        if (used[view].empty()) return;
        for (std::uint16_t const index : used[view]) forget(view, index);
        used[view].clear();
        pages[view].fill(false);
    }
    void forget_page(std::uint64_t address) {
        for (unsigned view = 0; view < 2; ++view) {
            if (!pages[view][address >> kPageShift & 1023]) continue;
            std::erase_if(used[view], [&](std::uint16_t index) {
                bool const hit = jumps[view][index].rip >> kPageShift == address >> kPageShift;
                if (hit) forget(view, index);
                return hit;
            });
        }
    }
    /// Everything, that of other address spaces included.
    void forget_all() {
        forget_view(0), forget_view(1);
        for (auto& shelf : shelves) shelf.clear();
    }
    /// The user's view goes to a shelf, or comes back from it.
    void shelve(unsigned number) {
        shelves[number].clear();
        for (std::uint16_t const index : used[0]) shelves[number].push_back(jumps[0][index]);
        forget_view(0);
    }
    void unshelve(unsigned number) {
        for (JumpEntry const& entry : shelves[number]) remember(0, entry.rip, entry.code);
        shelves[number].clear();
    }

  private:
    /// Address 0 belongs into the first set, where 1 does not belong.
    static JumpEntry empty(std::size_t index) { return {index < kJumpWays ? 1U : 0U, nullptr}; }
    void forget(unsigned view, std::size_t index) { jumps[view][index] = empty(index); }
};

}  // namespace backplane
