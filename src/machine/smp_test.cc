// Several processors of one machine: how they start, whose turn it is, and what they see of each other
// (docs/design/smp.md). In both tiers.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cpu/testing.h"
#include "machine/layout.h"
#include "machine/machine.h"

namespace backplane {
namespace {

constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kGdt = 0x3000, kCount = 0x8000, kSeen = 0x8100, kStart = 0x9000,
                        kCode = 0x1'0000, kFunction = 0x1'8000, kStack = 0x2'0000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kApic = kGiB + (LocalApic::kBase.value() - 3 * kGiB);  // linear

class SmpTest : public testing::TestWithParam<Tier> {
  protected:
    void make(unsigned cpus, unsigned threads_per_core = 1) {
        machine_.reset();
        pool_ = std::make_unique<FramePool>(FramePool::create(kMinMemoryBytes / kPageBytes).value());
        machine_ = Machine::create({.name = "m",
                                    .memory_bytes = kMinMemoryBytes,
                                    .instructions_per_second = 1'000'000'000,
                                    .tier = GetParam(),
                                    .topology = {cpus, threads_per_core},
                                    .random_seed = 1,
                                    .nics = {}},
                                   *pool_, console_)
                       .value();
        // Linear 0 to 1 GiB is physical; the gigabyte above it is the one with the local APIC.
        put(kPml4, kPdpt | 3);
        put(kPdpt, std::uint64_t{0x83});
        put(kPdpt + 8, 3 * kGiB | 0x83);
        put(kGdt + 8, std::uint64_t{0x00af'9b00'0000'ffff});
        CpuState state = TestMachine::kernel_state(kCode);
        state.cr3 = kPml4;
        state.gdtr = {kGdt, 15};
        state.gpr[rsp] = kStack;
        state.gpr[rbx] = kApic;
        machine_->engine(0).set_state(state);
    }
    template <typename T>
    void put(std::uint64_t at, T const& value) {
        EXPECT_TRUE(machine_->memory().write_object(GuestPhys{at}, value));
    }
    template <typename T>
    [[nodiscard]] T get(std::uint64_t at) const {
        T value{};
        EXPECT_TRUE(machine_->memory().read_object(GuestPhys{at}, value));
        return value;
    }
    void put_code(std::uint64_t at, std::string_view code) {
        std::vector<std::uint8_t> const bytes = hex(code);
        EXPECT_TRUE(machine_->memory().write(GuestPhys{at}, std::as_bytes(std::span{bytes})));
    }
    void run(std::uint64_t us) { machine_->run_until(microseconds(us)); }
    [[nodiscard]] std::uint64_t executed(unsigned cpu) const { return machine_->engine(cpu).instructions(); }

    // mov dword [rbx + 0x300], INIT to all but self; the same, start-up at 0x9000
    static constexpr char const* kInit = "c7830003000000450c00";
    static constexpr char const* kStartUp = "c7830003000009460c00";
    // pause; cmp dword [kCount], 3; jne back
    static constexpr char const* kWaitFor3 = "f390 833c250080000003 75f4";
    // Real mode: lock inc dword [kCount]; mov eax, 1; cpuid; shr ebx, 24; mov byte [bx + kSeen], 1; hlt
    static constexpr char const* kCountMe = "f066ff060080 66b801000000 0fa2 66c1eb18 c687008101 f4";

  private:
    std::unique_ptr<FramePool> pool_;
    NullSink console_;

  protected:
    std::unique_ptr<Machine> machine_;
};

// [SDM3A] 9.4.3, 9.4.4
TEST_P(SmpTest, InitAndStartUpStartTheOtherProcessors) {
    make(4);
    put_code(kCode, std::string{kInit} + kStartUp + kStartUp + kWaitFor3 + "f4");
    put_code(kStart, kCountMe);
    run(1000);
    EXPECT_EQ(get<std::uint32_t>(kCount), 3U) << "a second start-up message is dropped";
    EXPECT_EQ(get<std::uint32_t>(kSeen), 0x0101'0100U) << "each has its own APIC identifier";
    EXPECT_EQ(machine_->state(), Machine::State::crashed);
    EXPECT_EQ(machine_->cause(), "halted with interrupts disabled") << "only when the last one has";
    for (unsigned cpu = 1; cpu < 4; ++cpu) EXPECT_EQ(executed(cpu), 6U);
}

TEST_P(SmpTest, WithoutAStartUpMessageTheyWait) {
    make(2);
    put_code(kStart, kCountMe);
    put_code(kCode, std::string{kInit} + "ebfe");
    run(200);
    EXPECT_EQ(executed(1), 0U);
    EXPECT_TRUE(machine_->engine(1).state().waits_for_startup);
    EXPECT_EQ(executed(0), 200'000U) << "who is alone gets all the time";
}

TEST_P(SmpTest, AStartUpMessageWithoutInitIsDropped) {
    make(2);
    put_code(kStart, "fa ebfe");
    put_code(kCode, std::string{kInit} + kStartUp + "b9f401 0000 e2fe" + kStartUp + "ebfe");
    run(100);
    EXPECT_GT(executed(1), 1000U);
    EXPECT_EQ(machine_->engine(1).state().rip, 1U) << "it is not started again";
}

TEST_P(SmpTest, InitStopsARunningProcessorAndKeepsWhatItHasToKeep) {
    make(2);
    // movd xmm3 from 7; jmp self
    put_code(kStart, "66b807000000 0f20c1 6681e1fbffffff 0f22c1 0f20e1 6681c900020000 0f22e1 660f6ed8 ebfe");
    put_code(kCode, std::string{kInit} + kStartUp + "ebfe");
    run(100);
    CpuState const running = machine_->engine(1).state();
    ASSERT_EQ(running.xmm[3].words[0], 7U);
    ASSERT_NE(running.cr4, 0U);
    put_code(kCode, std::string{kInit} + "ebfe");
    CpuState bsp = machine_->engine(0).state();
    bsp.rip = kCode;
    machine_->engine(0).set_state(bsp);
    std::uint64_t const before = executed(1);
    run(300);
    CpuState const state = machine_->engine(1).state();
    EXPECT_LE(executed(1), before + 10'000) << "the rest of its turn";
    EXPECT_TRUE(state.waits_for_startup);
    EXPECT_EQ(state.rip, 0xfff0U);
    EXPECT_EQ(state.cr4, 0U);
    EXPECT_EQ(state.gpr[rdx], machine_->engine(1).cpu().cpuid(1, 0)[0]) << "the signature";
    EXPECT_EQ(state.xmm[3].words[0], 7U) << "SSE state stays ([SDM3A] table 9-1)";
}

// Claim S3.6 inside a machine: turns are equal, to the length of one.
TEST_P(SmpTest, SpinningProcessorsGetEqualShares) {
    make(4);
    put_code(kStart, "ebfe");
    put_code(kCode, std::string{kInit} + kStartUp + "ebfe");
    run(4000);
    EXPECT_EQ(machine_->instructions(), 4'000'000U) << "the machine's rate is shared, not multiplied";
    for (unsigned cpu = 0; cpu < 4; ++cpu) EXPECT_NEAR(static_cast<double>(executed(cpu)), 1e6, 10'000) << cpu;
}

TEST_P(SmpTest, WhoPausesGivesItsTurnAway) {
    make(2);
    put_code(kStart, "66ff060080 ebf9");                    // inc dword [kCount]; jmp back
    put_code(kCode, std::string{kInit} + kStartUp + "f390 ebfc");  // pause; jmp back
    run(1000);
    EXPECT_GT(executed(1), 990'000U);
    EXPECT_LT(executed(0), 1'000U);
}

TEST_P(SmpTest, AloneAPauseIsNothing) {
    make(2);
    put_code(kCode, "f390 ebfc");
    run(100);
    EXPECT_EQ(executed(0), 100'000U);
}

// [SDM3A] 8.1.3: the other processor patches what this one executes; in the translator this one's code is hot.
TEST_P(SmpTest, CodeThatAnotherProcessorPatchesIsSeen) {
    make(2);
    // Real mode: wait until [kCount] > 5000; mov byte [0x8000:0x... ]: segment 0x1000, offset 0x8001 = kFunction + 1
    put_code(kStart, "66813e0080 88130000 72f5 b80010 8ed8 c606018042 f4");
    put_code(kFunction, "b801000000 c3");  // mov eax, 1; ret
    // again: inc dword [kCount]; call kFunction; cmp eax, 0x42; jne again; hlt
    put_code(kCode, std::string{kInit} + kStartUp + "ff042500800000 e8e07f0000 83f842 75ef f4");
    machine_->run_until(microseconds(2000));
    EXPECT_EQ(machine_->cause(), "halted with interrupts disabled");
    EXPECT_EQ(machine_->engine(0).state().gpr[rax], 0x42U);
    EXPECT_GT(get<std::uint32_t>(kCount), 5000U);
}

// Both processors run the same page; a cache that drops its code of the page must not blind the other one.
TEST_P(SmpTest, EachProcessorsCodeStaysWatched) {
    make(2);
    // Real mode: call 0x9800 for ever
    put_code(kStart, "e8fd07 ebfb");
    put_code(0x9800, "66ff060080 c3");  // inc dword [kCount]; ret
    put_code(0x9c00, "c3");
    // Let the other one run; call 0x9c00 in the same page, and store there, so that this processor's cache has no code of
    // the page any more; let the other one run again; put a ret at its function's start; look whether the count stands still.
    put_code(kCode, std::string{kInit} + kStartUp + "b9007d0000 e2fe e8e09bffff c60425009c0000c3 b9007d0000 e2fe c6042500980000c3 b9007d0000 e2fe" +
                        "8b042500800000 b9007d0000 e2fe 2b042500800000 f4");
    run(2000);
    EXPECT_GT(get<std::uint32_t>(kCount), 100U);
    EXPECT_EQ(machine_->engine(0).state().gpr[rax] & 0xffff'ffff, 0U) << "the count has stood still";
}

// 100 increments of each processor with LOCK, in turns that end anywhere: none is lost.
TEST_P(SmpTest, LockedIncrementsAreNotLost) {
    make(4);
    put_code(kStart, "66b9204e0000 f066ff060080 67e2f7 f4");  // mov ecx, 20000; again: lock inc dword [kCount]; loop again
    put_code(kCode, std::string{kInit} + kStartUp + "f390 813c250080000060ea0000 75f1 f4");
    run(5000);
    EXPECT_EQ(machine_->cause(), "halted with interrupts disabled");
    EXPECT_EQ(get<std::uint32_t>(kCount), 60'000U);
}

TEST_P(SmpTest, CpuidTellsTheTopology) {
    make(8, 2);
    for (unsigned cpu = 0; cpu < 8; ++cpu) {
        Cpu const& processor = machine_->engine(cpu).cpu();
        EXPECT_EQ(processor.cpuid(1, 0)[1] >> 24, cpu);
        EXPECT_EQ(processor.cpuid(1, 0)[1] >> 16 & 0xff, 8U);
        EXPECT_NE(processor.cpuid(1, 0)[3] & 1U << 28, 0U);
        EXPECT_EQ(processor.cpuid(0xb, 0), (std::array<std::uint32_t, 4>{1, 2, 1 << 8, cpu}));
        EXPECT_EQ(processor.cpuid(0xb, 1), (std::array<std::uint32_t, 4>{3, 8, 2 << 8 | 1, cpu}));
        EXPECT_EQ(processor.cpuid(0xb, 2), (std::array<std::uint32_t, 4>{0, 0, 2, cpu}));
        EXPECT_EQ(processor.cpuid(0x8000'001e, 0), (std::array<std::uint32_t, 4>{cpu, 1 << 8 | cpu / 2, 0, 0}));
        EXPECT_EQ(processor.cpuid(0x8000'0008, 0)[2], 3U << 12 | 7);
    }
    make(1);
    EXPECT_EQ(machine_->engine(0).cpu().cpuid(1, 0)[3] & 1U << 28, 0U);
}

// A run in pieces is the same run.
TEST_P(SmpTest, BarriersDoNotChangeTheTurns) {
    auto const outcome = [this](std::uint64_t step) {
        make(3);
        put_code(kStart, "66ff060080 f390 ebf7");  // inc dword [kCount]; pause; jmp back
        put_code(kCode, std::string{kInit} + kStartUp + "ff042500800000 ebf7");
        for (std::uint64_t us = step; us <= 1200; us += step) run(us);
        return std::array{executed(0), executed(1), executed(2), std::uint64_t{get<std::uint32_t>(kCount)}};
    };
    auto const whole = outcome(1200);
    EXPECT_EQ(outcome(100), whole);
    EXPECT_EQ(outcome(3), whole);
}

INSTANTIATE_TEST_SUITE_P(Tiers, SmpTest, testing::Values(Tier::interpreter, Tier::translator),
                         [](auto const& tier) { return tier.param == Tier::interpreter ? "interpreter" : "translator"; });

}  // namespace
}  // namespace backplane
