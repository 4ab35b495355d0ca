// What translated code keeps beside the architectural state, in the processor so that one base register reaches it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/address.h"

namespace backplane {

/// One entry of the cache of indirect jump targets; an empty one holds an address that belongs into another slot, so
/// that no target finds it.
struct JumpEntry {
    std::uint64_t rip;
    void const* code;
};

struct TranslatedState {
    static constexpr std::uint32_t kJumpEntries = 2048;

    std::uint64_t page_address{0};  ///< linear address of the page that the running block lies in
    std::uint64_t temporary{0};
    std::uint64_t temporary_flags{0};
    std::uint64_t call_target{0};
    std::uint64_t xmm_loaded{0};  ///< 1 while the guest's XMM registers are in the host's
    void* link{nullptr};          ///< the direct jump that the last exit would have liked to make
    std::array<std::array<JumpEntry, kJumpEntries>, 2> jumps;  ///< by view
    std::array<bool, 2> used{true, true};
    std::array<std::array<bool, 1024>, 2> pages{};  ///< pages that may have an entry, by hash

    TranslatedState() { forget_view(0), forget_view(1); }

    static std::size_t jump_index(std::uint64_t rip) { return rip & (kJumpEntries - 1); }
    void remember(unsigned view, std::uint64_t rip, void const* code) {
        jumps[view][jump_index(rip)] = {rip, code};
        pages[view][rip >> kPageShift & 1023] = used[view] = true;
    }
    void forget_view(unsigned view) {
        if (!used[view]) return;
        used[view] = false;
        for (std::size_t i = 0; i < kJumpEntries; ++i) jumps[view][i] = {i ^ 1, nullptr};
        pages[view].fill(false);
    }
    void forget_page(std::uint64_t address) {
        for (unsigned view = 0; view < 2; ++view)
            if (pages[view][address >> kPageShift & 1023]) forget_view(view);
    }
};

}  // namespace backplane
