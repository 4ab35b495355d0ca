// Pages that belong to a device and appear in a machine's physical memory wherever the guest places their BAR.
//
// The window's own page map, counted from page 0, is the truth: ownership changes there. The machine's map shows the
// same entries from `base` on while the window is placed, so that pages keep their frames and owners when it moves.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "memory/page_map.h"

namespace backplane {

class PageWindow final : private TranslationObserver, private WriteResolver {
  public:
    /// An empty window of `page_count` holes.
    explicit PageWindow(std::uint64_t page_count);
    ~PageWindow() override;
    PageWindow(PageWindow const&) = delete;
    PageWindow& operator=(PageWindow const&) = delete;

    [[nodiscard]] PageMap& pages() { return pages_; }
    [[nodiscard]] PageMap const& pages() const { return pages_; }
    [[nodiscard]] std::uint64_t page_count() const { return page_count_; }
    [[nodiscard]] std::optional<GuestPage> base() const { return base_; }

    /// Shows the window at [base, base + page_count) of `machine`, which must be holes. It is placed nowhere before.
    void place(PageMap& machine, GuestPage base);
    /// Makes holes of where it was shown; does nothing when it is placed nowhere.
    void remove();

    /// For the machine's map, whose stores come here: the page in terms of that map.
    [[nodiscard]] bool make_writable(GuestPage page) override;

  private:
    void drop_pages(GuestPage first, std::uint64_t count) override;
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys, std::uint64_t) override {}

    std::uint64_t page_count_;
    PageMap pages_;
    PageMap* machine_{nullptr};
    std::optional<GuestPage> base_;
    std::vector<PageEntry> entries_;  // what is on its way from one map to the other
};

}  // namespace backplane
