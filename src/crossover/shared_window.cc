#include "crossover/shared_window.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace backplane {

std::uint64_t SharedWindow::frames_needed(window::Layout const& layout, Memory memory) {
    constexpr std::uint64_t kPiece = FramePool::kBackingFrames;
    return memory == Memory::own ? layout.used_pages() : (layout.used_pages() + kPiece - 1) / kPiece * kPiece;
}

Expected<SharedWindow, Error> SharedWindow::create(window::Layout const& layout, FramePool& pool, UniqueFd const& backing) {
    std::uint64_t const count = frames_needed(layout, backing.is_open() ? Memory::backed : Memory::own);
    FrameNumber const frames = BACKPLANE_TRY(pool.allocate(count));
    if (backing.is_open()) BACKPLANE_TRY_VOID(pool.back(frames, count, layout.used_pages() * kPageBytes, backing.get()));
    return SharedWindow{layout, frames};
}

void SharedWindow::attach(WindowPort& port, std::string machine) {
    auto const self = static_cast<std::uint32_t>(members_.size());
    check(self < layout_.peers, "a window has a section for each member");
    members_.push_back({&port, std::move(machine)});
    PageMap& pages = port.window().pages();
    GuestPage const common{0};
    pages.map(common, frame(common), layout_.common_pages(), OwnerState::borrower_shared, Access::read_write).run();
    for (std::uint32_t peer = 0; peer < layout_.peers; ++peer) {
        GuestPage const first = layout_.section_page(peer);
        bool const is_own = peer == self;
        pages
            .map(first, frame(first), layout_.section_pages(),
                 is_own ? OwnerState::owner_shared : OwnerState::borrower_shared,
                 is_own ? Access::read_write : Access::read)
            .run();
    }
}

void SharedWindow::deliver() {
    rings_.clear();
    for (Member& member : members_)
        for (Doorbell const& doorbell : member.port->take_doorbells()) rings_.push_back({doorbell, &member});
    std::ranges::stable_sort(rings_, {}, [](Ring const& ring) { return ring.doorbell.rung; });
    for (Ring const& ring : rings_) {
        // Who is outside of the rack has no bell.
        if (ring.doorbell.peer >= members_.size() || members_[ring.doorbell.peer].has_left)
            ++ring.from->lost;
        else
            members_[ring.doorbell.peer].port->hear(ring.doorbell.vector);
    }
}

WindowReport SharedWindow::report(std::uint32_t peer) const {
    WindowReport report{members_[peer].machine, members_[peer].port->counters()};
    report.counters.lost += members_[peer].lost;
    return report;
}

}  // namespace backplane
