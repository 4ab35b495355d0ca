// The soft TLB: direct-mapped, one set of tables for each view of the address space (user, supervisor, supervisor
// with AC), so that no privilege check is spent on a hit.
//
// An entry matches when `address - tag` is at most 4096 - size: one subtraction and one comparison check the page
// and that the access does not cross its end. Only plain RAM is entered; MMIO, holes, pages whose D flag is clear
// (for stores) and pages with code (for stores) have no entry and take the slow path.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/address.h"

namespace backplane {

struct TlbEntry {
    std::uint64_t tag;     ///< linear address of the page
    std::uint64_t addend;  ///< host address = linear address + addend (modulo 2^64)
};

struct ExecuteTlbEntry {
    std::uint64_t tag;
    std::uint64_t page_address;  ///< guest-physical address of the page
};

/// Direct-mapped table of Entry; an empty slot holds the tag of a page that indexes another slot, so it never matches.
template <typename Entry, std::size_t Size>
class TlbTable {
  public:
    TlbTable() { flush(); }
    [[nodiscard]] Entry& slot(std::uint64_t address) { return entries_[address >> kPageShift & (Size - 1)]; }
    void insert(std::uint64_t address, std::uint64_t value, bool global) {
        std::size_t const index = address >> kPageShift & (Size - 1);
        entries_[index] = {address & ~kPageMask, value};
        global_[index] = global;
        used_ = true;
    }
    void flush() {
        if (!used_) return;
        for (std::size_t i = 0; i < Size; ++i) drop(i);
        used_ = false;
    }
    void flush_non_global() {
        if (!used_) return;
        for (std::size_t i = 0; i < Size; ++i)
            if (!global_[i]) drop(i);
    }
    /// True when the page of `address` is here as a global one.
    [[nodiscard]] bool holds_global(std::uint64_t address) const {
        std::size_t const index = address >> kPageShift & (Size - 1);
        return entries_[index].tag == (address & ~kPageMask) && global_[index];
    }
    void flush_page(std::uint64_t address) {
        std::size_t const index = address >> kPageShift & (Size - 1);
        if (entries_[index].tag == (address & ~kPageMask)) drop(index);
    }
    /// Forgets every entry whose value, for its own page, equals `value_of_page` (used to find aliases of a frame).
    template <typename Predicate>
    void flush_if(Predicate&& predicate) {
        for (std::size_t i = 0; i < Size; ++i)
            if (predicate(entries_[i])) drop(i);
    }

  private:
    void drop(std::size_t index) { entries_[index] = {(index ^ 1) << kPageShift, 0}; }

    std::array<Entry, Size> entries_;
    std::array<bool, Size> global_{};
    bool used_{true};
};

/// One view of the address space.
struct TlbSet {
    TlbTable<TlbEntry, 1024> read;
    TlbTable<TlbEntry, 1024> write;
    TlbTable<ExecuteTlbEntry, 256> execute;

    /// To be told before an insert: a large page fills the tables in pieces of 4 KiB, all of which one INVLPG drops.
    void note_page_size(std::uint64_t address, unsigned page_bits) {
        if (page_bits > kPageShift) large_[large_slot(address)] = true;
        if (page_bits > kLargeShift) huge_[huge_slot(address)] = true;
    }
    void flush() {
        read.flush(), write.flush(), execute.flush();
        large_.fill(false), huge_.fill(false);
    }
    void flush_non_global() { read.flush_non_global(), write.flush_non_global(), execute.flush_non_global(); }
    /// INVLPG: the page of `address`, whatever its size ([SDM3A] 4.10.4.1).
    void flush_page(std::uint64_t address) {
        if (huge_[huge_slot(address)]) return flush();
        if (large_[large_slot(address)]) return flush_large(address);
        read.flush_page(address), write.flush_page(address), execute.flush_page(address);
    }

  private:
    // 4 MiB is the size of 32-bit paging; the 2 MiB pages of the other forms are looked for in twice their size.
    static constexpr unsigned kLargeShift = 22, kHugeShift = 30;
    static constexpr std::size_t large_slot(std::uint64_t address) { return address >> kLargeShift & 255; }
    static constexpr std::size_t huge_slot(std::uint64_t address) { return address >> kHugeShift & 63; }
    void flush_large(std::uint64_t address) {
        auto const is_near = [&](auto const& entry) { return entry.tag >> kLargeShift == address >> kLargeShift; };
        read.flush_if(is_near), write.flush_if(is_near), execute.flush_if(is_near);
    }

    // Which parts of the address space have had pieces of large pages since the last flush, by a hash.
    std::array<bool, 256> large_{};
    std::array<bool, 64> huge_{};
};

}  // namespace backplane
