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

    void flush() { read.flush(), write.flush(), execute.flush(); }
    void flush_non_global() { read.flush_non_global(), write.flush_non_global(), execute.flush_non_global(); }
    void flush_page(std::uint64_t address) {
        read.flush_page(address), write.flush_page(address), execute.flush_page(address);
    }
};

}  // namespace backplane
