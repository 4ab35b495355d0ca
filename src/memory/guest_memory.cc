#include "memory/guest_memory.h"

#include <algorithm>
#include <cstring>

namespace backplane {

Expected<void, Error> GuestMemory::add_ram(GuestPage first, std::uint64_t count) {
    FrameNumber const frame = BACKPLANE_TRY(pool_.allocate(count));
    map_.map(first, frame, count, OwnerState::owner_exclusive, Access::read_write).run();
    ram_.push_back({first, count});
    return {};
}

bool GuestMemory::is_ram(GuestPage first, std::uint64_t count) const {
    return std::any_of(ram_.begin(), ram_.end(), [&](RamRange const& range) {
        if (first < range.first || count > range.count) return false;
        return first.value() - range.first.value() <= range.count - count;
    });
}

namespace {

/// The most pages that `bytes` bytes can touch; no number of bytes overflows it.
std::uint64_t most_pages_of(std::uint64_t bytes) { return (bytes - 1) / kPageBytes + 2; }

}  // namespace

std::byte* GuestMemory::piece(GuestPhys start, std::uint64_t bytes, Access needed, std::uint64_t& piece_bytes) const {
    if (bytes == 0) return nullptr;
    PageRun const run = map_.run(page_of(start), most_pages_of(bytes), needed);
    if (run.count == 0) return nullptr;
    piece_bytes = std::min(run.count * kPageBytes - start.page_offset(), bytes);
    return pool_.host(run.first) + start.page_offset();
}

ConstByteSpan GuestMemory::readable(GuestPhys start, std::uint64_t bytes) const {
    std::uint64_t length = 0;
    std::byte const* const data = piece(start, bytes, Access::read, length);
    return {data, length};
}

ByteSpan GuestMemory::writable(GuestPhys start, std::uint64_t bytes) {
    (void)map_.resolve_write(page_of(start));
    std::uint64_t length = 0;
    std::byte* const data = piece(start, bytes, Access::read_write, length);
    return {data, length};
}

void GuestMemory::wrote(GuestPhys start, std::uint64_t bytes) {
    for (std::uint64_t done = 0; done < bytes;) {
        GuestPhys const at = start + done;
        PageRun const run = map_.run(page_of(at), most_pages_of(bytes - done), Access::read_write);
        std::uint64_t const pages = run.has_code ? 1 : std::max<std::uint64_t>(run.count, 1);
        std::uint64_t const length = std::min(bytes - done, pages * kPageBytes - at.page_offset());
        if (run.has_code && map_.lookup(page_of(at)).has_code) map_.report_code_write(at, length);
        done += length;
    }
}

// What lies in one page, as descriptors and indices do, needs one look at the map.
bool GuestMemory::read(GuestPhys start, ByteSpan into) const {
    if (!into.empty() && into.size() <= kPageBytes - start.page_offset()) {
        PageEntry const entry = map_.lookup(page_of(start));
        if (entry.access < Access::read) return false;
        std::memcpy(into.data(), pool_.host(entry.frame) + start.page_offset(), into.size());
        return true;
    }
    while (!into.empty()) {
        ConstByteSpan const source = readable(start, into.size());
        if (source.empty()) return false;
        std::memcpy(into.data(), source.data(), source.size());
        into = into.subspan(source.size());
        start = start + source.size();
    }
    return true;
}

bool GuestMemory::write(GuestPhys start, ConstByteSpan from) {
    if (!from.empty() && from.size() <= kPageBytes - start.page_offset()) {
        (void)map_.resolve_write(page_of(start));
        PageEntry const entry = map_.lookup(page_of(start));
        if (entry.access < Access::read_write) return false;
        std::memcpy(pool_.host(entry.frame) + start.page_offset(), from.data(), from.size());
        if (entry.has_code) map_.report_code_write(start, from.size());
        return true;
    }
    while (!from.empty()) {
        ByteSpan const target = writable(start, from.size());
        if (target.empty()) return false;
        std::memcpy(target.data(), from.data(), target.size());
        wrote(start, target.size());
        from = from.subspan(target.size());
        start = start + target.size();
    }
    return true;
}

}  // namespace backplane
