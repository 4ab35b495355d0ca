#include "cpu/trace_cache.h"

#include <algorithm>
#include <utility>

#include "base/host_mapping.h"

namespace backplane {

TraceCache::TraceCache(PageMap& map, std::size_t arena_bytes)
    : map_{map}, arena_{new std::byte[arena_bytes]}, arena_bytes_{arena_bytes}, buckets_(kBuckets, nullptr) {
    advise_huge_pages({arena_.get(), arena_bytes_});
    nowhere_.cost = Trace::kInvalid;
    nowhere_.links[0] = nowhere_.links[1] = &nowhere_;
    map_.add_observer(*this);
}

TraceCache::~TraceCache() { map_.remove_observer(*this); }

Trace* TraceCache::allocate(std::uint32_t count) {
    std::size_t const bytes = sizeof(Trace) + (count - 1) * sizeof(Op);
    if (arena_used_ + bytes > arena_bytes_) return nullptr;
    auto* const trace = reinterpret_cast<Trace*>(arena_.get() + arena_used_);
    arena_used_ += (bytes + alignof(Trace) - 1) / alignof(Trace) * alignof(Trace);
    trace->links[0] = trace->links[1] = &nowhere_;
    trace->code = trace->code_exit = nullptr;
    trace->uses = 0;
    trace->code_count = 0;
    trace->users = nullptr;
    return trace;
}

// Bit i stands for bytes [64 i, 64 i + 64) of the page.
std::uint64_t TraceCache::granules(std::uint64_t offset, std::uint64_t bytes) {
    std::uint64_t const first = offset >> kGranuleShift;
    std::uint64_t const last = std::min((offset + bytes - 1) >> kGranuleShift, std::uint64_t{63});
    return (~std::uint64_t{0} >> (63 - last)) & (~std::uint64_t{0} << first);
}

void TraceCache::watch(std::uint64_t page, Trace* trace, std::uint64_t granule_bits) {
    CodePage& code = pages_[page];
    code.granules |= granule_bits;
    code.traces.push_back(trace);
    map_.mark_code(GuestPage{page});
}

void TraceCache::insert(Trace* trace) {
    std::size_t const index = bucket(trace->address);
    trace->bucket_next = buckets_[index];
    buckets_[index] = trace;
    std::uint64_t const offset = trace->address & kPageMask;
    std::uint64_t const here = std::min<std::uint64_t>(trace->bytes, kPageBytes - offset);
    watch(trace->address >> kPageShift, trace, granules(offset, here));
    if (trace->second_page != Trace::kNoPage) watch(trace->second_page >> kPageShift, trace, granules(0, trace->bytes - here));
}

void TraceCache::note_cut(Trace& trace, std::uint32_t position) {
    std::uint64_t const address = trace.address + trace.ops[position].offset;
    Cut& cut = cuts_[cut_index(address)];
    if (cut.address == address && cut.trace == &trace) return;
    cut = {.address = address, .trace = &trace, .position = static_cast<std::uint8_t>(position)};
}

void TraceCache::flush() {
    auto const start = std::chrono::steady_clock::now();
    auto const pages = std::exchange(pages_, {});
    for (auto const& [page, code] : pages) map_.clear_code(GuestPage{page});
    std::fill(buckets_.begin(), buckets_.end(), nullptr);
    cuts_.fill({});
    arena_used_ = 0;
    ++flush_count_;
    if (tier_ != nullptr) tier_->forget_all();
    longest_flush_ = std::max<std::chrono::nanoseconds>(longest_flush_, std::chrono::steady_clock::now() - start);
}

bool TraceCache::covers(GuestPhys start, std::uint64_t bytes) const {
    auto const found = pages_.find(page_of(start).value());
    return found != pages_.end() && (found->second.granules & granules(start.page_offset(), bytes)) != 0;
}

void TraceCache::unlink_from_page(std::uint64_t page, Trace* trace) {
    auto const found = pages_.find(page);
    if (found == pages_.end()) return;
    std::erase(found->second.traces, trace);
    if (!found->second.traces.empty()) return;
    pages_.erase(found);
    map_.clear_code(GuestPage{page});
}

void TraceCache::drop(Trace* trace) {
    trace->cost = Trace::kInvalid;  // links to it fail from now on; its memory stays until the next flush
    trace->links[0] = trace->links[1] = &nowhere_;  // it may be running: what follows is looked up again
    ++dropped_count_;
    if ((trace->code != nullptr || trace->users != nullptr) && tier_ != nullptr) tier_->forget(*trace);
    for (Trace** at = &buckets_[bucket(trace->address)]; *at != nullptr; at = &(*at)->bucket_next) {
        if (*at == trace) {
            *at = trace->bucket_next;
            break;
        }
    }
    unlink_from_page(trace->address >> kPageShift, trace);
    if (trace->second_page != Trace::kNoPage) unlink_from_page(trace->second_page >> kPageShift, trace);
}

void TraceCache::drop_pages(GuestPage first, std::uint64_t count) {
    for (std::uint64_t page = first.value(); !pages_.empty() && page != first.value() + count; ++page) {
        auto const found = pages_.find(page);
        if (found == pages_.end()) continue;
        for (Trace* trace : std::vector<Trace*>{found->second.traces}) drop(trace);
    }
}

void TraceCache::code_written(GuestPhys start, std::uint64_t bytes) {
    auto const found = pages_.find(page_of(start).value());
    if (found == pages_.end()) return;
    std::uint64_t const hit = granules(start.page_offset(), bytes);
    if ((found->second.granules & hit) == 0) return;
    std::uint64_t const page_address = address_of(page_of(start)).value();
    std::uint64_t left = 0;
    std::vector<Trace*> doomed;
    for (Trace* trace : found->second.traces) {
        bool const starts_here = (trace->address & ~kPageMask) == page_address;
        std::uint64_t const offset = starts_here ? trace->address & kPageMask : 0;
        std::uint64_t const before = starts_here ? 0 : kPageBytes - (trace->address & kPageMask);
        std::uint64_t const own = granules(offset, std::min(trace->bytes - before, kPageBytes - offset));
        if ((own & hit) != 0)
            doomed.push_back(trace);
        else
            left |= own;
    }
    found->second.granules = left;
    for (Trace* trace : doomed) drop(trace);
}

}  // namespace backplane
