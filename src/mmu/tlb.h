// The soft TLB: direct-mapped, one set of tables for each view of the address space (user, supervisor, supervisor
// with AC), so that no privilege check is spent on a hit.
//
// An entry matches when `address - tag` is at most 4096 - size: one subtraction and one comparison check the page
// and that the access does not cross its end. Only plain RAM is entered; MMIO, holes, pages whose D flag is clear
// (for stores) and pages with code (for stores) have no entry and take the slow path.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

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
/// It keeps lists of the slots that were used, one for global and one for other entries, so that emptying it costs what
/// it holds and not what it could hold.
template <typename Entry, std::size_t Size>
class TlbTable {
  public:
    static constexpr std::size_t kSize = Size;
    static_assert(Size <= 0x8000, "list entries have 16 bits");

    TlbTable() {
        for (std::size_t i = 0; i < Size; ++i) drop(i);
    }
    [[nodiscard]] Entry& slot(std::uint64_t address) { return entries_[index_of(address)]; }
    void insert(std::uint64_t address, std::uint64_t value, bool global) {
        std::size_t const index = index_of(address);
        entries_[index] = {address & ~kPageMask, value};
        std::uint8_t const listed = global ? kListedGlobal : kListedLocal;
        if ((marks_[index] & listed) == 0) (global ? globals_ : locals_).push_back(static_cast<std::uint16_t>(index));
        marks_[index] = static_cast<std::uint8_t>((marks_[index] & ~kGlobal) | listed | (global ? kGlobal : 0));
    }
    void flush() {
        // In order, all of it takes no longer than an eighth of it as listed.
        bool const is_full = globals_.size() + locals_.size() > Size / 8;
        if (is_full) {
            for (std::size_t i = 0; i < Size; ++i) drop(i);
            marks_.fill(0);
        }
        for (auto* const list : {&globals_, &locals_}) {
            for (std::size_t i = 0; !is_full && i < list->size(); ++i) drop((*list)[i]), marks_[(*list)[i]] = 0;
            list->clear();
        }
    }
    void flush_non_global() {
        for (std::uint16_t const index : locals_) {
            if ((marks_[index] & kGlobal) == 0) drop(index);
            marks_[index] &= static_cast<std::uint8_t>(~kListedLocal);
        }
        locals_.clear();
    }
    /// flush_non_global(), with a copy of what is lost.
    void shelve(std::vector<Entry>& shelf) {
        for (std::uint16_t const index : locals_)
            if ((marks_[index] & kGlobal) == 0 && !is_empty(index)) shelf.push_back(entries_[index]);
        flush_non_global();
    }
    /// Empties the shelf into the table.
    void unshelve(std::vector<Entry>& shelf) {
        for (Entry const& entry : shelf) insert(entry.tag, value_of(entry), false);
        shelf.clear();
    }
    /// True when the page of `address` is here as a global one.
    [[nodiscard]] bool holds_global(std::uint64_t address) const {
        std::size_t const index = index_of(address);
        return entries_[index].tag == (address & ~kPageMask) && (marks_[index] & kGlobal) != 0;
    }
    void flush_page(std::uint64_t address) {
        std::size_t const index = index_of(address);
        if (entries_[index].tag == (address & ~kPageMask)) drop(index);
    }
    template <typename Predicate>
    void flush_if(Predicate&& predicate) {
        for (auto const* const list : {&globals_, &locals_})
            for (std::uint16_t const index : *list)
                if (predicate(entries_[index])) drop(index);
    }

  protected:
    [[nodiscard]] static std::size_t index_of(std::uint64_t address) { return address >> kPageShift & (Size - 1); }

  private:
    static constexpr std::uint8_t kGlobal = 1, kListedGlobal = 2, kListedLocal = 4;

    [[nodiscard]] bool is_empty(std::size_t index) const { return index_of(entries_[index].tag) != index; }
    static std::uint64_t value_of(TlbEntry const& entry) { return entry.addend; }
    static std::uint64_t value_of(ExecuteTlbEntry const& entry) { return entry.page_address; }
    void drop(std::size_t index) { entries_[index] = {(index ^ 1) << kPageShift, 0}; }

    alignas(64) std::array<Entry, Size> entries_;  // no entry lies in two lines of the host's cache
    std::array<std::uint8_t, Size> marks_{};
    std::vector<std::uint16_t> globals_, locals_;  // may name slots that were emptied since
};

/// The write table, which also finds an entry by the host page that it leads to: pages that get code lose theirs.
template <std::size_t Size>
class WriteTlbTable : public TlbTable<TlbEntry, Size> {
    using Base = TlbTable<TlbEntry, Size>;

  public:
    void insert(std::uint64_t address, std::uint64_t addend, bool global) {
        Base::insert(address, addend, global);
        auto const slot = static_cast<std::uint16_t>(Base::index_of(address) + 1);
        unlink(slot);
        std::uint16_t const chain = hash((address & ~kPageMask) + addend);
        next_[slot] = first_[chain];
        first_[chain] = slot;
        chain_[slot] = static_cast<std::uint16_t>(chain + 1);
    }
    void unshelve(std::vector<TlbEntry>& shelf) {
        for (TlbEntry const& entry : shelf) insert(entry.tag, entry.addend, false);
        shelf.clear();
    }
    void flush() {
        Base::flush();
        first_.fill(0), chain_.fill(0);
    }
    /// Forgets every entry that leads to the page at this host address.
    void flush_host_page(std::uint64_t host) {
        for (std::uint16_t slot = first_[hash(host)]; slot != 0; slot = next_[slot]) {
            TlbEntry const entry = this->slot(std::uint64_t{slot - 1U} << kPageShift);
            if (entry.tag + entry.addend == host) this->flush_page(entry.tag);
        }
    }

  private:
    static std::uint16_t hash(std::uint64_t host) {
        return static_cast<std::uint16_t>((host >> kPageShift ^ host >> 24) & (Size - 1));
    }
    void unlink(std::uint16_t slot) {
        if (chain_[slot] == 0) return;
        std::uint16_t* at = &first_[chain_[slot] - 1U];
        while (*at != slot) at = &next_[*at];
        *at = next_[slot];
    }

    // Chains of slots, counted from 1, by hash of the host page. An emptied slot stays in its chain until it is used
    // again; it leads nowhere.
    std::array<std::uint16_t, Size> first_{};
    std::array<std::uint16_t, Size + 1> next_{}, chain_{};
};

/// Entries of one view that were taken out of the tables while another address space runs.
struct TlbShelf {
    std::vector<TlbEntry> read, write;
    std::vector<ExecuteTlbEntry> execute;

    std::bitset<1024> hosts;  ///< by hash: host pages that `write` may lead to

    void clear() { read.clear(), write.clear(), execute.clear(), hosts.reset(); }
    void note_hosts() {
        for (TlbEntry const& entry : write) hosts.set(hash(entry.tag + entry.addend));
    }
    void drop_host_page(std::uint64_t host) {
        if (!hosts.test(hash(host))) return;
        std::erase_if(write, [&](TlbEntry const& entry) { return entry.tag + entry.addend == host; });
        hosts.reset();
        note_hosts();
    }

  private:
    static std::size_t hash(std::uint64_t host) { return (host >> kPageShift ^ host >> 22) & 1023; }
};

/// One view of the address space.
struct TlbSet {
    static constexpr std::size_t kEntries = 4096;
    TlbTable<TlbEntry, kEntries> read;
    WriteTlbTable<kEntries> write;
    static constexpr std::size_t kExecuteEntries = 1024;
    TlbTable<ExecuteTlbEntry, kExecuteEntries> execute;

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
    /// Non-global entries go to the shelf, or come back from it.
    void shelve(TlbShelf& shelf) { read.shelve(shelf.read), write.shelve(shelf.write), execute.shelve(shelf.execute), shelf.note_hosts(); }
    void unshelve(TlbShelf& shelf) {
        read.unshelve(shelf.read), write.unshelve(shelf.write), execute.unshelve(shelf.execute);
        shelf.clear();
    }
    /// Pieces of a large page may be here around `address`, so that INVLPG drops more than its page.
    [[nodiscard]] bool may_be_large(std::uint64_t address) const {
        return huge_[huge_slot(address)] || large_[large_slot(address)];
    }
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
