// A machine's RAM as its devices and the loader see it: bytes at guest-physical addresses (DMA).
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "memory/frame_pool.h"
#include "memory/page_map.h"

namespace backplane {

class GuestMemory {
  public:
    explicit GuestMemory(FramePool& pool) : pool_{pool} {}

    /// Backs `count` pages from `first` with fresh frames that this machine owns alone. Errors: the pool is empty.
    [[nodiscard]] Expected<void, Error> add_ram(GuestPage first, std::uint64_t count);

    /// True when all of these pages were added as RAM; pages that a device shows in between are not.
    [[nodiscard]] bool is_ram(GuestPage first, std::uint64_t count) const;

    [[nodiscard]] PageMap& map() { return map_; }
    [[nodiscard]] PageMap const& map() const { return map_; }
    [[nodiscard]] FramePool& pool() const { return pool_; }

    /// Copies guest bytes out. False (and an unspecified part copied) when a byte of the range is not readable RAM.
    [[nodiscard]] bool read(GuestPhys start, ByteSpan into) const;
    /// Copies bytes into the guest and tells the code caches. False when a byte of the range is not writable RAM;
    /// what comes before it has been written.
    [[nodiscard]] bool write(GuestPhys start, ConstByteSpan from);

    /// The longest piece of [start, start + bytes) that is one readable range of host memory, for reading in place;
    /// empty when `start` is no RAM. Valid until the page map changes; the guest may write it while it runs.
    [[nodiscard]] ConstByteSpan readable(GuestPhys start, std::uint64_t bytes) const;
    /// The same for writing. The caller reports what it wrote with wrote().
    [[nodiscard]] ByteSpan writable(GuestPhys start, std::uint64_t bytes);
    /// Tells the code caches about a write made through writable().
    void wrote(GuestPhys start, std::uint64_t bytes);

    /// An object that lies in one page, as page walks and descriptor reads meet it. False: it is not readable RAM.
    template <typename T>
    [[nodiscard]] bool read_in_page(GuestPhys start, T& object) const {
        PageEntry const entry = map_.lookup(page_of(start));
        if (entry.access < Access::read) return false;
        std::memcpy(&object, pool_.host(entry.frame) + start.page_offset(), sizeof(T));
        return true;
    }
    template <typename T>
    [[nodiscard]] bool read_object(GuestPhys start, T& object) const { return read(start, bytes_of(object)); }
    template <typename T>
    [[nodiscard]] bool write_object(GuestPhys start, T const& object) { return write(start, bytes_of(object)); }

  private:
    [[nodiscard]] std::byte* piece(GuestPhys start, std::uint64_t bytes, Access needed, std::uint64_t& piece_bytes) const;

    struct RamRange {
        GuestPage first;
        std::uint64_t count;
    };
    FramePool& pool_;
    PageMap map_;
    std::vector<RamRange> ram_;
};

}  // namespace backplane
