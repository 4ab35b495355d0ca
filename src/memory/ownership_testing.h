// Three machines with eight pages each, and a soft TLB for each that must never be stale: for tests of ownership.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "memory/ownership.h"

namespace backplane::testing {

inline constexpr MachineId kAlpha{0}, kBeta{1}, kGamma{2};
inline constexpr std::uint64_t kPages = 8;
inline constexpr std::uint64_t kFlightPages = 8;
inline constexpr std::uint64_t kFirstPage = 0x100;

inline GuestPage page(std::uint64_t index) { return GuestPage{kFirstPage + index}; }

struct Machines;

/// Remembers every translation it was asked for until it is told to forget it.
class SoftTlb final : public TranslationObserver {
  public:
    explicit SoftTlb(Machines& all) : all_{all} {}
    void drop_pages(GuestPage first, std::uint64_t count) override;
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys, std::uint64_t) override {}
    std::map<std::uint64_t, PageEntry> entries;
    std::uint64_t drops{0};

  private:
    Machines& all_;
};

struct Machines {
    explicit Machines(std::uint64_t populated = kPages) {
        EXPECT_TRUE(stock.grow(kTotal));
        for (std::size_t i = 0; i < maps.size(); ++i) {
            (void)ownership.join({.pages = &maps[i],
                                  .first = page(0),
                                  .page_count = kPages,
                                  .quota = {.pages = kPages + kFlightPages,
                                            .lent_pages = 6,
                                            .borrowed_pages = 6,
                                            .handles = 4,
                                            .pages_per_call = kPages}});
            tlbs.push_back(std::make_unique<SoftTlb>(*this));
            maps[i].add_observer(*tlbs.back());
            for (std::uint64_t p = 0; p < populated; ++p) {
                EXPECT_EQ(populate(MachineId{static_cast<std::uint16_t>(i)}, {p}), OwnershipStatus::ok);
                write(MachineId{static_cast<std::uint16_t>(i)}, p, 100 * (i + 1) + p);
            }
        }
    }
    ~Machines() {
        for (std::size_t i = 0; i < maps.size(); ++i) maps[i].remove_observer(*tlbs[i]);
    }

    [[nodiscard]] PageEntry entry(MachineId machine, std::uint64_t index) const {
        return maps[machine.value()].lookup(page(index));
    }
    [[nodiscard]] OwnerState state(MachineId machine, std::uint64_t index) const { return entry(machine, index).owner; }

    /// A load of the page's first word through the machine's TLB; ones from a hole.
    std::uint64_t read(MachineId machine, std::uint64_t index, std::uint64_t offset = 0) {
        PageEntry const& cached = translate(machine, index);
        if (cached.access == Access::none) return ~std::uint64_t{0};
        return load<std::uint64_t>({stock.host(cached.frame), kPageBytes}, offset);
    }
    /// A store; false when it was dropped.
    bool write(MachineId machine, std::uint64_t index, std::uint64_t value, std::uint64_t offset = 0) {
        if (translate(machine, index).copy_on_write) (void)maps[machine.value()].resolve_write(page(index));
        PageEntry const& cached = translate(machine, index);
        if (cached.access != Access::read_write) return false;
        store({stock.host(cached.frame), kPageBytes}, offset, value);
        return true;
    }
    PageEntry const& translate(MachineId machine, std::uint64_t index) {
        return tlbs[machine.value()]->entries.try_emplace(page(index).value(), entry(machine, index)).first->second;
    }

    static std::vector<GuestPage> list(std::vector<std::uint64_t> const& indexes) {
        std::vector<GuestPage> pages;
        for (std::uint64_t const index : indexes) pages.push_back(page(index));
        return pages;
    }
    OwnershipStatus populate(MachineId machine, std::vector<std::uint64_t> const& pages) {
        return ownership.populate(machine, list(pages));
    }
    OwnershipStatus release(MachineId machine, std::vector<std::uint64_t> const& pages) {
        return ownership.release(machine, list(pages));
    }
    Expected<TransferHandle, OwnershipStatus> offer(TransferOffer offer, std::vector<std::uint64_t> const& pages,
                                                    std::vector<MachineId> const& to) {
        if (offer.message_bytes == 0) offer.message_bytes = pages.size() * kPageBytes;
        return ownership.offer(offer, list(pages), to);
    }
    OwnershipStatus retrieve(MachineId machine, TransferHandle handle, TransferKind kind,
                             std::vector<std::uint64_t> const& pages, Access access = Access::read) {
        return ownership.retrieve(machine, handle, kind, access, list(pages));
    }

    /// No page was lost or made, no translation is stale, and what one machine owns for itself no other can reach.
    void expect_sound() const {
        std::set<std::uint32_t> frames;
        for (FrameNumber const frame : ownership.frames_in_flight()) frames.insert(frame.value());
        std::size_t exclusive = 0;
        std::set<std::uint32_t> writable;
        for (PageMap const& map : maps) {
            for (std::uint64_t i = 0; i < kPages; ++i) {
                PageEntry const e = map.lookup(page(i));
                if (e.owner == OwnerState::none) continue;
                frames.insert(e.frame.value());
                if (e.owner != OwnerState::owner_exclusive || e.copy_on_write) continue;
                ++exclusive;
                EXPECT_TRUE(writable.insert(e.frame.value()).second) << "two owners";
            }
        }
        EXPECT_EQ(frames.size() + stock.count(), kTotal);
        EXPECT_EQ(writable.size(), exclusive);
        for (std::size_t m = 0; m < maps.size(); ++m) {
            for (auto const& [number, cached] : tlbs[m]->entries) {
                PageEntry const now = maps[m].lookup(GuestPage{number});
                ASSERT_TRUE(now.frame == cached.frame && now.access == cached.access) << "a stale translation";
            }
        }
    }

    static constexpr std::uint64_t kTotal = 3 * (kPages + kFlightPages);
    FramePool pool{*FramePool::create(kTotal)};
    FrameStock stock{pool};
    std::array<PageMap, 3> maps;
    std::vector<std::unique_ptr<SoftTlb>> tlbs;
    Ownership ownership{stock};
};

/// At every intermediate step: a page that a map shows as one machine's alone is in no other machine's TLB.
inline void SoftTlb::drop_pages(GuestPage first, std::uint64_t count) {
    ++drops;
    for (std::uint64_t i = 0; i < count; ++i) entries.erase(first.value() + i);
    for (std::size_t m = 0; m < all_.maps.size(); ++m) {
        for (std::uint64_t i = 0; i < kPages; ++i) {
            PageEntry const e = all_.maps[m].lookup(page(i));
            bool const alone = e.owner == OwnerState::owner_exclusive && !e.copy_on_write;
            if (!alone && e.owner != OwnerState::borrower_exclusive) continue;
            for (std::size_t other = 0; other < all_.tlbs.size(); ++other) {
                if (other == m) continue;
                for (auto const& [number, cached] : all_.tlbs[other]->entries)
                    EXPECT_FALSE(cached.access != Access::none && cached.frame == e.frame)
                        << "machine " << other << " can reach a page that is machine " << m << "'s alone";
            }
        }
    }
}

}  // namespace backplane::testing
