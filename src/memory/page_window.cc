#include "memory/page_window.h"

namespace backplane {

PageWindow::PageWindow(std::uint64_t page_count) : page_count_{page_count} { pages_.add_observer(*this); }

PageWindow::~PageWindow() { pages_.remove_observer(*this); }

void PageWindow::place(PageMap& machine, GuestPage base) {
    check(!base_, "a window is in one place");
    machine_ = &machine;
    base_ = base;
    machine.add_write_resolver(*this);
    drop_pages(GuestPage{0}, page_count_);
}

void PageWindow::remove() {
    if (!base_) return;
    machine_->unmap(*base_, page_count_).run();
    machine_->remove_write_resolver(*this);
    machine_ = nullptr;
    base_.reset();
}

bool PageWindow::make_writable(GuestPage page) {
    if (!base_ || page < *base_ || page.value() - base_->value() >= page_count_) return false;
    return pages_.resolve_write(GuestPage{page.value() - base_->value()});
}

// The window's entries changed: the machine's follow, and with them everything that was learned from them.
void PageWindow::drop_pages(GuestPage first, std::uint64_t count) {
    if (!base_) return;
    entries_.resize(count);
    for (std::uint64_t i = 0; i < count; ++i) entries_[i] = pages_.lookup(GuestPage{first.value() + i});
    machine_->replace(GuestPage{base_->value() + first.value()}, entries_).run();
}

}  // namespace backplane
