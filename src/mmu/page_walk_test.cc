#include "mmu/page_walk.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>

namespace backplane {
namespace {

constexpr std::uint64_t kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40, kPs = 0x80, kG = 0x100;
constexpr std::uint64_t kNx = std::uint64_t{1} << 63;
constexpr std::uint64_t kRoot = 0x1000, kPdpt = 0x2000, kPd = 0x3000, kPt = 0x4000;
constexpr std::uint64_t kTablesEnd = 0x5000;
/// Index 1 at each level, and an offset in every part of it.
constexpr GuestVirt kAddress{0x0000'0080'4020'1234};

/// Tables that lead kAddress to a page of the given size: the entries of all levels above the leaf are `upper`.
class Tables {
  public:
    Tables() { EXPECT_TRUE(memory.add_ram(GuestPage{0}, 8).has_value()); }

    /// leaf_level: 0 for 4 KiB, 1 for 2 MiB, 2 for 1 GiB.
    void build(unsigned leaf_level, std::uint64_t upper, std::uint64_t leaf) {
        constexpr std::array<std::uint64_t, 3> kFrame{0x0012'3000, 0x0060'0000, std::uint64_t{3} << 30};
        leaf_level_ = leaf_level;
        constexpr std::array<std::uint64_t, 4> kNext{0, kPt, kPd, kPdpt};
        for (unsigned level = 3; level > leaf_level; --level) set(level, kNext[level] | upper);
        set(leaf_level, kFrame[leaf_level] | leaf | (leaf_level != 0 ? kPs : 0));
        before_ = all();
    }
    [[nodiscard]] static GuestPhys where(unsigned level) {
        constexpr std::array<std::uint64_t, 4> kTable{kPt, kPd, kPdpt, kRoot};
        return GuestPhys{kTable[level] + 8};
    }
    [[nodiscard]] std::uint64_t get(unsigned level) const {
        std::uint64_t entry = 0;
        EXPECT_TRUE(memory.read_object(where(level), entry));
        return entry;
    }
    void set(unsigned level, std::uint64_t entry) { EXPECT_TRUE(memory.write_object(where(level), entry)); }
    [[nodiscard]] std::array<std::uint64_t, 4> all() const { return {get(0), get(1), get(2), get(3)}; }
    [[nodiscard]] bool unchanged() const { return all() == before_; }
    /// Accessed everywhere, dirty on the leaf after a write, and nothing else has changed ([SDM3A] 4.8).
    [[nodiscard]] bool marked(AccessKind kind) const {
        std::array<std::uint64_t, 4> wanted = before_;
        for (unsigned level = leaf_level_; level <= 3; ++level) wanted[level] |= kA;
        if (kind == AccessKind::write) wanted[leaf_level_] |= kD;
        return all() == wanted;
    }
    [[nodiscard]] Expected<Translation, PageFault> walk(PagingContext context, AccessKind kind) {
        context.cr3 = kRoot;
        return walk_4_level(memory, context, kAddress, kind);
    }

  private:
    FramePool pool_{FramePool::create(8).value()};

  public:
    GuestMemory memory{pool_};

  private:
    unsigned leaf_level_{0};
    std::array<std::uint64_t, 4> before_{};
};

/// The access rights of [SDM3A] 4.6.1, sentence by sentence. `rights` are those of a present translation.
bool manual_allows(PagingContext const& c, bool user_address, bool every_rw, bool any_xd, AccessKind kind) {
    if (!c.user) {
        switch (kind) {
            case AccessKind::read:
                return user_address ? !c.smap : true;
            case AccessKind::write:
                if (user_address && c.smap) return false;
                return c.write_protect ? every_rw : true;
            case AccessKind::execute:
                if (user_address && c.smep) return false;
                return c.no_execute ? !any_xd : true;
        }
    }
    if (!user_address) return false;
    switch (kind) {
        case AccessKind::read:
            return true;
        case AccessKind::write:
            return every_rw;
        case AccessKind::execute:
            return c.no_execute ? !any_xd : true;
    }
    return false;
}

/// The error code of [SDM3A] 4.7 and figure 4-12.
std::uint32_t manual_code(PagingContext const& c, AccessKind kind, bool present, bool reserved) {
    std::uint32_t code = 0;
    if (present) code |= 1;
    if (kind == AccessKind::write) code |= 2;
    if (c.user) code |= 4;
    if (reserved) code |= 8;
    if (kind == AccessKind::execute && (c.smep || c.no_execute)) code |= 16;
    return code;
}

constexpr std::array kKinds{AccessKind::read, AccessKind::write, AccessKind::execute};

/// Calls `body` with every value of `bits` bits.
template <typename Body>
void each(unsigned bits, Body&& body) {
    for (unsigned value = 0; value < 1U << bits; ++value) body(value);
}

std::uint64_t entry_of(unsigned bits) {
    return ((bits & 1) != 0 ? kP : 0) | ((bits & 2) != 0 ? kW : 0) | ((bits & 4) != 0 ? kU : 0) |
           ((bits & 8) != 0 ? kNx : 0);
}
PagingContext context_of(unsigned bits) {
    return {.cr3 = 0,
            .user = (bits & 1) != 0,
            .write_protect = (bits & 2) != 0,
            .no_execute = (bits & 4) != 0,
            .smep = (bits & 8) != 0,
            .smap = (bits & 16) != 0};
}

// Every combination of present, R/W, U/S and NX in the leaf and above it, of CR0.WP, EFER.NXE, SMEP, SMAP and the
// privilege, for reads, writes and fetches, on pages of all three sizes.
TEST(PageWalk, PermissionMatrix) {
    Tables tables;
    unsigned allowed_count = 0, count = 0;
    for (unsigned const leaf_level : {0U, 1U, 2U}) {
        each(4, [&](unsigned upper_bits) {
            each(4, [&](unsigned leaf_bits) {
                std::uint64_t const upper = entry_of(upper_bits);
                std::uint64_t const leaf = entry_of(leaf_bits);
                each(5, [&](unsigned context_bits) {
                    PagingContext const context = context_of(context_bits);
                    for (AccessKind const kind : kKinds) {
                        tables.build(leaf_level, upper, leaf);
                        auto const result = tables.walk(context, kind);
                        // The walk stops at the first entry that is not present or has a reserved bit, from the top.
                        std::optional<std::uint32_t> wanted;
                        for (std::uint64_t const entry : {upper, leaf}) {
                            if (wanted) break;
                            if ((entry & kP) == 0)
                                wanted = manual_code(context, kind, false, false);
                            else if ((entry & kNx) != 0 && !context.no_execute)
                                wanted = manual_code(context, kind, true, true);
                        }
                        bool const user_address = (upper & leaf & kU) != 0;
                        bool const every_rw = (upper & leaf & kW) != 0;
                        bool const any_xd = ((upper | leaf) & kNx) != 0;
                        if (!wanted && !manual_allows(context, user_address, every_rw, any_xd, kind))
                            wanted = manual_code(context, kind, true, false);
                        auto const where = [&] {
                            return "level " + std::to_string(leaf_level) + " upper " + std::to_string(upper_bits) +
                                   " leaf " + std::to_string(leaf_bits) + " context " + std::to_string(context_bits) +
                                   " kind " + std::to_string(static_cast<int>(kind));
                        };
                        ++count;
                        if (wanted) {
                            ASSERT_FALSE(result.has_value()) << where();
                            ASSERT_EQ(result.error().error_code, *wanted) << where();
                            ASSERT_TRUE(tables.unchanged()) << where();
                        } else {
                            ++allowed_count;
                            ASSERT_TRUE(result.has_value()) << where();
                            ASSERT_TRUE(tables.marked(kind)) << where();
                        }
                    }
                });
            });
        });
    }
    EXPECT_EQ(count, 3u * 16 * 16 * 32 * 3);
    EXPECT_GT(allowed_count, 3000u);  // the matrix is not one of faults alone
}

TEST(PageWalk, FindsThePageInPagesOfEverySize) {
    Tables tables;
    constexpr std::array<std::uint64_t, 3> kPage{0x123, 0x0060'0000 / 4096 + 1, (std::uint64_t{3} << 18) + 0x201};
    for (unsigned const leaf_level : {0U, 1U, 2U}) {
        tables.build(leaf_level, kP | kW | kU, kP | kW | kU | kG);
        auto const result = tables.walk({}, AccessKind::read);
        ASSERT_TRUE(result.has_value());
        EXPECT_EQ(result->page.value(), kPage[leaf_level]) << leaf_level;
        EXPECT_TRUE(result->global);
        EXPECT_FALSE(result->dirty);
        EXPECT_TRUE(tables.walk({}, AccessKind::write)->dirty);
        EXPECT_TRUE(tables.walk({}, AccessKind::read)->dirty);
    }
}

// Tables 4-14 to 4-20: bits above MAXPHYADDR everywhere, PS in a PML4 entry, the low address bits of large pages.
TEST(PageWalk, ReservedBitsFault) {
    Tables tables;
    auto const faults = [&](unsigned leaf_level, unsigned level, std::uint64_t bit) {
        tables.build(leaf_level, kP | kW | kU, kP | kW | kU);
        tables.set(level, tables.get(level) | bit);
        std::array const before = tables.all();
        auto const result = tables.walk({.user = true, .no_execute = true}, AccessKind::read);
        if (result.has_value()) return false;
        EXPECT_EQ(result.error().error_code, page_fault::kPresent | page_fault::kUser | page_fault::kReserved);
        EXPECT_EQ(tables.all(), before);
        return true;
    };
    for (unsigned const leaf_level : {0U, 1U, 2U}) {
        for (unsigned level = leaf_level; level <= 3; ++level)
            for (unsigned bit = PageMap::kAddressBits; bit < 52; ++bit)
                EXPECT_TRUE(faults(leaf_level, level, std::uint64_t{1} << bit)) << leaf_level << level << " " << bit;
        for (unsigned bit = 52; bit < 63; ++bit)  // ignored
            EXPECT_FALSE(faults(leaf_level, leaf_level, std::uint64_t{1} << bit)) << bit;
    }
    EXPECT_TRUE(faults(0, 3, kPs));
    for (unsigned bit = 13; bit < 21; ++bit) EXPECT_TRUE(faults(1, 1, std::uint64_t{1} << bit)) << bit;
    for (unsigned bit = 13; bit < 30; ++bit) EXPECT_TRUE(faults(2, 2, std::uint64_t{1} << bit)) << bit;
    EXPECT_FALSE(faults(1, 1, 1 << 12));  // PAT of a large page
    EXPECT_FALSE(faults(0, 0, kPs));      // PAT of a 4 KiB page
}

// A table outside RAM reads as ones: the guest gets a fault, and nobody else anything.
TEST(PageWalk, TablesInHolesFault) {
    Tables tables;
    for (unsigned level = 1; level <= 3; ++level) {
        tables.build(0, kP | kW | kU, kP | kW | kU);
        tables.set(level, 0x40'0000'0000 - 0x1000 + (kP | kW | kU));
        auto const result = tables.walk({}, AccessKind::write);
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().error_code, page_fault::kPresent | page_fault::kWrite | page_fault::kReserved);
    }
    auto const nowhere = walk_4_level(tables.memory, {.cr3 = 0x7f'ffff'f000}, kAddress, AccessKind::read);
    ASSERT_FALSE(nowhere.has_value());
    EXPECT_EQ(nowhere.error().error_code, page_fault::kPresent | page_fault::kReserved);
}

// Accessed and dirty flags that are set already are not written again: a table in read-only memory can be walked.
TEST(PageWalk, WritesNoFlagThatIsSet) {
    Tables tables;
    tables.build(0, kP | kW | kA, kP | kW | kA | kD);
    for (std::uint64_t page = kRoot / kPageBytes; page < kTablesEnd / kPageBytes; ++page) {
        FrameNumber const frame = tables.memory.map().lookup(GuestPage{page}).frame;
        tables.memory.map().map(GuestPage{page}, frame, 1, OwnerState::borrower_shared, Access::read).run();
    }
    EXPECT_TRUE(tables.walk({.write_protect = true}, AccessKind::write).has_value());
    EXPECT_TRUE(tables.unchanged());
}

}  // namespace
}  // namespace backplane
