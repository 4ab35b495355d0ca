#include "memory/page_map.h"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace backplane {

static_assert(PageMap::kPageCount == 512ULL * 512 * 512, "three levels of 512 cover the address space");

void Shootdown::run() {
    PageMap* const map = std::exchange(map_, nullptr);
    check(map != nullptr, "an owed invalidation is run once");
    for (TranslationObserver* observer : map->observers_) observer->drop_pages(first_, count_);
}

PageEntry& PageMap::make(GuestPage page) {
    std::uint64_t const number = page.value();
    check(number < kPageCount, "a mapped page lies within the physical address space");
    auto& middle = top_[number >> 18];
    if (!middle) middle = std::make_unique<Middle>();
    auto& leaf = (*middle)[number >> 9 & 511];
    if (!leaf) leaf = std::make_unique<Leaf>();
    return (*leaf)[number & 511];
}

void PageMap::lookup(std::span<GuestPage const> pages, std::vector<PageEntry>& into) const {
    into.resize(pages.size());
    Leaf const* leaf = nullptr;
    std::uint64_t leaf_number = ~std::uint64_t{0};
    for (std::size_t i = 0; i < pages.size(); ++i) {
        std::uint64_t const number = pages[i].value();
        if (number / kLeafPages != leaf_number) leaf = find_leaf(pages[i]), leaf_number = number / kLeafPages;
        into[i] = leaf == nullptr ? PageEntry{} : (*leaf)[number & (kLeafPages - 1)];
    }
}

// Nearly always neighbours differ in their frame alone; an entry is one number, whose low half is the frame's.
PageRun PageMap::run(GuestPage first, std::uint64_t most, Access needed) const {
    static_assert(sizeof(PageEntry) == sizeof(std::uint64_t) && offsetof(PageEntry, frame) == 0);
    PageEntry const* const start = find(first);
    if (start == nullptr || start->access < needed || most == 0) return {};
    std::uint64_t const expected = std::bit_cast<std::uint64_t>(*start);
    PageRun run{start->frame, 1, start->has_code};
    while (run.count < most) {
        std::uint64_t const number = first.value() + run.count;
        Leaf const* const leaf = find_leaf(GuestPage{number});
        if (leaf == nullptr) break;
        std::uint64_t const index = number & (kLeafPages - 1);
        std::uint64_t const part = std::min(most - run.count, kLeafPages - index);
        for (PageEntry const& entry : std::span{*leaf}.subspan(index, part)) {
            if (std::bit_cast<std::uint64_t>(entry) != expected + run.count) {
                if (entry.access < needed || entry.frame.value() != start->frame.value() + run.count) return run;
                run.has_code |= entry.has_code;
            }
            ++run.count;
        }
    }
    return run;
}

Shootdown PageMap::map(GuestPage first, FrameNumber frame, std::uint64_t count, OwnerState owner, Access access) {
    ++generation_;
    for (std::uint64_t i = 0; i < count; ++i) {
        make(GuestPage{first.value() + i}) = {FrameNumber{static_cast<std::uint32_t>(frame.value() + i)}, owner, access};
    }
    return {*this, first, count};
}

Shootdown PageMap::replace(GuestPage first, std::span<PageEntry const> entries) {
    ++generation_;
    for (std::size_t i = 0; i < entries.size();) {
        GuestPage const page{first.value() + i};
        PageEntry* entry = &make(page);
        // The neighbours in the same leaf follow it.
        std::size_t const end = std::min<std::size_t>(entries.size(), i + kLeafPages - (page.value() & (kLeafPages - 1)));
        for (; i < end; ++i, ++entry) {
            *entry = entries[i];
            entry->has_code = false;
        }
    }
    return {*this, first, entries.size()};
}

bool PageMap::resolve_write(GuestPage page) {
    if (write_resolvers_.empty() || !lookup(page).copy_on_write) return false;
    return std::ranges::any_of(write_resolvers_, [&](WriteResolver* resolver) { return resolver->make_writable(page); });
}

Shootdown PageMap::unmap(GuestPage first, std::uint64_t count) {
    ++generation_;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (PageEntry* const entry = find(GuestPage{first.value() + i})) *entry = {};
    }
    return {*this, first, count};
}

void PageMap::mark_code(GuestPage page) {
    PageEntry* const entry = find(page);
    if (entry == nullptr || entry->access == Access::none || entry->has_code) return;
    entry->has_code = true;
    ++generation_;
    for (TranslationObserver* observer : observers_) observer->watch_stores(page);
}

void PageMap::clear_code(GuestPage page) {
    PageEntry* const entry = find(page);
    if (entry == nullptr || !entry->has_code) return;
    entry->has_code = is_code(address_of(page), kPageBytes);
    ++generation_;
}

bool PageMap::is_code(GuestPhys start, std::uint64_t bytes) const {
    return std::ranges::any_of(observers_, [&](TranslationObserver* observer) { return observer->covers(start, bytes); });
}

void PageMap::report_code_write(GuestPhys start, std::uint64_t bytes) {
    for (TranslationObserver* observer : observers_) observer->code_written(start, bytes);
}

}  // namespace backplane
