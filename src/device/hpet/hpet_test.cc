#include "device/hpet/hpet.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "device/testing.h"

namespace backplane {
namespace {

class Inputs final : public LineInputs {
  public:
    void set_level(unsigned number, bool asserted) override {
        if (asserted && !levels[number]) ++edges[number];
        levels[number] = asserted;
    }
    std::map<unsigned, bool> levels;
    std::map<unsigned, unsigned> edges;
};

constexpr std::uint64_t kEdge = 1U << 2;           // enabled
constexpr std::uint64_t kLevel = 1U << 2 | 1U << 1;
constexpr std::uint64_t kPeriodicSet = 1U << 3 | 1U << 6;
constexpr std::uint64_t kNarrow = 1U << 8;
constexpr std::uint64_t kInput11 = 11U << 9;
constexpr std::uint64_t kAsMessage = 1U << 14;

class HpetTest : public testing::Test {
  protected:
    void write(std::uint64_t offset, std::uint64_t value) { hpet_.write(offset, Width::qword, value); }
    std::uint64_t read(std::uint64_t offset) { return hpet_.read(offset, Width::qword); }
    void configure(unsigned index, std::uint64_t value) { write(0x100 + 0x20 * index, value); }
    void compare(unsigned index, std::uint64_t value) { write(0x108 + 0x20 * index, value); }
    void enable(std::uint64_t more = 0) { write(0x10, 1 | more); }
    void pass(std::uint64_t counts) {
        Ticks const end = clock_.now() + Ticks{counts * 10};
        while (clock_.next_deadline() <= end) {
            clock_.advance_to(clock_.next_deadline());
            clock_.fire_due();
        }
        clock_.advance_to(end);
    }

    MachineClock clock_;
    Inputs isa_;
    Inputs io_apic_;
    MessageLog messages_;
    LegacyTimerLines legacy_{isa_};
    Hpet hpet_{clock_, legacy_, io_apic_, messages_};
};

// [HPET] 2.3.4: 10 ns, three comparators, 64 bits, legacy replacement.
TEST_F(HpetTest, SaysWhatItIs) {
    EXPECT_EQ(read(0), 0x0098'9680'8086'A201U);
    EXPECT_EQ(hpet_.read(4, Width::dword), 10'000'000U);
    EXPECT_EQ(read(0x100), 0x0000'0C00'0000'8030U | 10U << 9);
    EXPECT_EQ(read(0x108), ~std::uint64_t{0});
    EXPECT_EQ(read(0x160), 0U) << "there is no fourth comparator";
}

// 2.3.7.
TEST_F(HpetTest, CountsWhenEnabledAndCanBeSet) {
    pass(100);
    EXPECT_EQ(read(0xf0), 0U);
    enable();
    pass(100);
    EXPECT_EQ(read(0xf0), 100U);
    write(0x10, 0);
    pass(50);
    EXPECT_EQ(read(0xf0), 100U);
    hpet_.write(0xf4, Width::dword, 7);
    EXPECT_EQ(read(0xf0), std::uint64_t{7} << 32 | 100);
    enable();
    pass(1);
    EXPECT_EQ(hpet_.read(0xf0, Width::dword), 101U);
}

// 2.3.8, 2.3.9.1.
TEST_F(HpetTest, OneShotIsAnEdgeAtItsInput) {
    configure(0, kEdge | kInput11);
    compare(0, 1000);
    enable();
    pass(999);
    EXPECT_EQ(io_apic_.edges[11], 0U);
    pass(1);
    EXPECT_EQ(io_apic_.edges[11], 1U);
    EXPECT_FALSE(io_apic_.levels[11]);
    EXPECT_EQ(read(0x20), 0U) << "an edge has no status";
    pass(100'000);
    EXPECT_EQ(io_apic_.edges[11], 1U);
}

TEST_F(HpetTest, ComparatorThatIsNotEnabledIsSilent) {
    configure(0, kInput11);
    compare(0, 10);
    enable();
    pass(100);
    EXPECT_EQ(io_apic_.edges[11], 0U);
}

// 2.3.8: a route outside of Tn_INT_ROUTE_CAP does not read back.
TEST_F(HpetTest, RefusesRoutesThatItHasNot) {
    configure(0, kEdge | kInput11);
    configure(0, kEdge | 2U << 9);
    EXPECT_EQ(read(0x100) & 0x1fU << 9, kInput11);
}

// 2.3.6: a one clears, and lowers the line.
TEST_F(HpetTest, LevelStaysUntilItsStatusIsCleared) {
    configure(1, kLevel | kInput11);
    compare(1, 10);
    enable();
    pass(20);
    EXPECT_TRUE(io_apic_.levels[11]);
    EXPECT_EQ(read(0x20), 2U);
    write(0x20, 1);
    EXPECT_TRUE(io_apic_.levels[11]);
    write(0x20, 2);
    EXPECT_FALSE(io_apic_.levels[11]);
    EXPECT_EQ(read(0x20), 0U);
}

TEST_F(HpetTest, TwoLevelsShareAnInput) {
    for (unsigned i : {0U, 1U}) {
        configure(i, kLevel | kInput11);
        compare(i, 10);
    }
    enable();
    pass(10);
    write(0x20, 1);
    EXPECT_TRUE(io_apic_.levels[11]);
    write(0x20, 2);
    EXPECT_FALSE(io_apic_.levels[11]);
}

// 2.3.9.2, in the order of Linux: the first match with Tn_VAL_SET_CNF, then the period.
TEST_F(HpetTest, PeriodicComparatorGoesOn) {
    configure(2, kEdge | kPeriodicSet | kInput11);
    compare(2, 500);
    EXPECT_EQ(read(0x140) & 1U << 6, 0U);
    compare(2, 100);
    EXPECT_EQ(read(0x148), 500U);
    enable();
    pass(499);
    EXPECT_EQ(io_apic_.edges[11], 0U);
    pass(1);
    EXPECT_EQ(io_apic_.edges[11], 1U);
    EXPECT_EQ(read(0x148), 600U);
    pass(1000);
    EXPECT_EQ(io_apic_.edges[11], 11U);
}

// Also: what came late because the machine's instructions are long interrupts once.
TEST_F(HpetTest, PeriodsThatWerePassedAreOneInterrupt) {
    configure(2, kEdge | kPeriodicSet | kInput11);
    compare(2, 100);
    enable();
    clock_.advance_to(Ticks{10 * 1050});
    clock_.fire_due();
    EXPECT_EQ(io_apic_.edges[11], 1U);
    EXPECT_EQ(read(0x148), 1100U);
}

TEST_F(HpetTest, PeriodOfZeroDoesNotHang) {
    configure(2, kEdge | kPeriodicSet | kInput11);
    compare(2, 0);
    enable();
    pass(1000);
    EXPECT_LE(io_apic_.edges[11], 1U);
}

// 2.3.8, Tn_32MODE_CNF: the comparator sees the counter's lower half.
TEST_F(HpetTest, NarrowComparatorWrapsAround) {
    configure(0, kEdge | kNarrow | kInput11);
    enable();
    write(0xf0, 0x1'FFFF'FF00);
    compare(0, 0x10);
    EXPECT_EQ(read(0x108), 0x10U);
    pass(0x10F);
    EXPECT_EQ(io_apic_.edges[11], 0U);
    pass(1);
    EXPECT_EQ(io_apic_.edges[11], 1U);
    pass(std::uint64_t{1} << 32);
    EXPECT_EQ(io_apic_.edges[11], 2U);
}

// 2.3.5: the comparators 0 and 1 become the interrupts 0 and 8, which the 8254 and the clock lose.
TEST_F(HpetTest, ReplacesTheLegacyTimers) {
    InterruptLine const pit{legacy_, LegacyTimerLines::kTimer};
    pit.set(true);
    EXPECT_TRUE(isa_.levels[0]);
    configure(0, kEdge);
    configure(1, kLevel);
    compare(0, 10);
    compare(1, 20);
    enable(2);
    EXPECT_FALSE(isa_.levels[0]);
    pit.set(false);
    pit.set(true);
    EXPECT_EQ(isa_.edges[0], 1U);
    pass(10);
    EXPECT_EQ(isa_.edges[0], 2U);
    pass(10);
    EXPECT_TRUE(isa_.levels[8]);
    EXPECT_EQ(io_apic_.edges[10], 0U);
    write(0x20, 2);
    EXPECT_FALSE(isa_.levels[8]);
    enable();
    EXPECT_TRUE(isa_.levels[0]) << "the 8254's again";
}

// 2.5: FSB.
TEST_F(HpetTest, SendsMessages) {
    configure(1, kEdge | kAsMessage);
    write(0x130, 0xFEE0'1000'0000'4031);
    compare(1, 10);
    enable();
    pass(20);
    ASSERT_EQ(messages_.sent.size(), 1U);
    EXPECT_EQ(messages_.sent[0], (std::pair<std::uint64_t, std::uint32_t>{0xFEE0'1000, 0x4031}));
    EXPECT_EQ(io_apic_.edges[10], 0U);
}

}  // namespace
}  // namespace backplane
