// One machine's guest-physical space: guest page -> frame, access and owner state (docs/design/memory.md).
//
// Everything that crosses machines is an update of this map. Each update that takes something away returns a
// Shootdown: the invalidation that is owed to every cached translation, and that the caller has to run.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/check.h"

namespace backplane {

/// Who owns a page, in the terms of Arm FF-A; the machine of the map is "this machine".
enum class OwnerState : std::uint8_t {
    none,                ///< !Owner-NA: a hole, nothing to do with this machine
    owner_exclusive,     ///< Owner-EA: a normal private page
    owner_shared,        ///< Owner-SA: shared out, still reachable here
    owner_lent,          ///< Owner-NA: lent out, not reachable here
    borrower_exclusive,  ///< !Owner-EA: borrowed, for this machine alone
    borrower_shared,     ///< !Owner-SA: borrowed together with others
};

enum class Access : std::uint8_t { none, read, read_write };

struct PageEntry {
    FrameNumber frame{};
    OwnerState owner{OwnerState::none};
    Access access{Access::none};
    bool has_code{false};  ///< instructions of this page were decoded: stores must be seen by the code caches
    bool copy_on_write{false};  ///< access is read, and the first store makes a private copy (WriteResolver)
    bool operator==(PageEntry const&) const = default;
};

/// Whoever keeps what it learned from the page map: TLBs, decoded and translated code.
class TranslationObserver {
  public:
    virtual ~TranslationObserver() = default;
    /// The pages changed frame, access or owner: forget every translation to them and all code made from them.
    virtual void drop_pages(GuestPage first, std::uint64_t count) = 0;
    /// The page holds decoded code from now on: forget cached write access to it, so that stores are seen.
    virtual void watch_stores(GuestPage page) = 0;
    /// Bytes of a page with has_code were written (by the processor or by a device).
    virtual void code_written(GuestPhys start, std::uint64_t bytes) = 0;
    /// Whether code was made from bytes of [start, start + bytes), within one page. For caches of code.
    [[nodiscard]] virtual bool covers(GuestPhys, std::uint64_t) const { return false; }
};

/// Whoever can make a copy-on-write page writable.
class WriteResolver {
  public:
    virtual ~WriteResolver() = default;
    /// A store to a page with `copy_on_write` is about to happen. True: the page is writable now, its invalidation run.
    [[nodiscard]] virtual bool make_writable(GuestPage page) = 0;
};

/// Neighbouring pages whose frames are neighbours, too: one range of host memory.
struct PageRun {
    FrameNumber first{};
    std::uint64_t count{0};
    bool has_code{false};  ///< at least one of them
};

class PageMap;

/// The invalidation owed after a change of a page map. Must be run before anyone relies on the change.
class [[nodiscard]] Shootdown {
  public:
    Shootdown(PageMap& map, GuestPage first, std::uint64_t count) : map_{&map}, first_{first}, count_{count} {}
    Shootdown(Shootdown&& other) noexcept
        : map_{std::exchange(other.map_, nullptr)}, first_{other.first_}, count_{other.count_} {}
    Shootdown& operator=(Shootdown&&) = delete;
    ~Shootdown() { check(map_ == nullptr, "an owed invalidation was run"); }
    void run();

  private:
    PageMap* map_;
    GuestPage first_;
    std::uint64_t count_;
};

class PageMap {
  public:
    PageMap() = default;
    PageMap(PageMap const&) = delete;
    PageMap& operator=(PageMap const&) = delete;

    /// Guest-physical addresses have 39 bits (CPUID 0x80000008): 512 GiB.
    static constexpr unsigned kAddressBits = 39;
    static constexpr std::uint64_t kPageCount = std::uint64_t{1} << (kAddressBits - kPageShift);

    /// The entry of any page; a page that was never mapped is a hole.
    [[nodiscard]] PageEntry lookup(GuestPage page) const {
        PageEntry const* const entry = find(page);
        return entry == nullptr ? PageEntry{} : *entry;
    }

    /// The run that begins with `first`, of at most `most` pages, each of which allows `needed`.
    [[nodiscard]] PageRun run(GuestPage first, std::uint64_t most, Access needed) const;

    /// Another number after each change of an entry: what was learned from the map is true while this is the same.
    [[nodiscard]] std::uint64_t generation() const { return generation_; }

    /// The entries of many pages, one after the other; cheapest for pages that are neighbours.
    void lookup(std::span<GuestPage const> pages, std::vector<PageEntry>& into) const;

    /// Maps `count` pages to consecutive frames. The old contents of the entries are lost: the caller owns the frames.
    Shootdown map(GuestPage first, FrameNumber frame, std::uint64_t count, OwnerState owner, Access access);
    /// Gives each of entries.size() pages from `first` an entry of its own. has_code of the entries is ignored.
    Shootdown replace(GuestPage first, std::span<PageEntry const> entries);
    /// Makes holes of `count` pages.
    Shootdown unmap(GuestPage first, std::uint64_t count);

    /// Notes that instructions of this page were decoded.
    void mark_code(GuestPage page);
    /// A cache has no code of this page any more; the mark goes when no other one has any (each processor has its own).
    void clear_code(GuestPage page);
    /// Whether any cache has code made from bytes of [start, start + bytes), within one page.
    [[nodiscard]] bool is_code(GuestPhys start, std::uint64_t bytes) const;
    /// To be called after a store into a page with has_code.
    void report_code_write(GuestPhys start, std::uint64_t bytes);

    /// Observers must outlive their registration.
    void add_observer(TranslationObserver& observer) { observers_.push_back(&observer); }
    void remove_observer(TranslationObserver& observer) { std::erase(observers_, &observer); }

    /// Who makes copy-on-write pages writable; each is asked until one has. Resolvers must outlive their registration.
    void add_write_resolver(WriteResolver& resolver) { write_resolvers_.push_back(&resolver); }
    void remove_write_resolver(WriteResolver& resolver) { std::erase(write_resolvers_, &resolver); }
    /// True when the page is copy-on-write and was made writable.
    [[nodiscard]] bool resolve_write(GuestPage page);

  private:
    friend class Shootdown;
    static constexpr std::uint64_t kLeafPages = 512;  // a leaf covers 2 MiB
    using Leaf = std::array<PageEntry, kLeafPages>;
    using Middle = std::array<std::unique_ptr<Leaf>, 512>;  // covers 1 GiB

    [[nodiscard]] Leaf* find_leaf(GuestPage page) const {
        std::uint64_t const number = page.value();
        if (number >= kPageCount) return nullptr;
        auto const& middle = top_[number >> 18];
        return middle ? (*middle)[number >> 9 & 511].get() : nullptr;
    }
    [[nodiscard]] PageEntry* find(GuestPage page) const {
        Leaf* const leaf = find_leaf(page);
        return leaf != nullptr ? &(*leaf)[page.value() & (kLeafPages - 1)] : nullptr;
    }
    PageEntry& make(GuestPage page);

    std::uint64_t generation_{0};
    std::array<std::unique_ptr<Middle>, 512> top_{};
    std::vector<TranslationObserver*> observers_;
    std::vector<WriteResolver*> write_resolvers_;
};

}  // namespace backplane
