#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/debug_points.h"
#include "cpu/code_runner.h"
#include "interrupt/local_apic.h"

namespace backplane {
namespace {

using ::testing::ElementsAre;

constexpr std::uint64_t kCode = CodeRunner::kCode;
constexpr std::uint64_t kData = CodeRunner::kData;

class DebuggingTest : public ::testing::Test {
  protected:
    void start(std::vector<std::uint8_t> code) {
        CpuState state = CodeRunner::ready();
        state.gpr[rdi] = kData;
        machine_->put_code(state, std::move(code));
    }
    void break_at(std::vector<std::uint64_t> addresses) {
        cpu().set_debug_points({.breakpoints = std::move(addresses), .watchpoints = {}});
    }
    void watch(std::uint64_t address, std::uint64_t bytes, Watchpoint::Kind kind) {
        cpu().set_debug_points({.breakpoints = {}, .watchpoints = {{address, bytes, kind}}});
    }
    [[nodiscard]] Cpu& cpu() { return machine_->cpu(); }
    [[nodiscard]] std::uint64_t rip() { return cpu().state().rip; }

    std::unique_ptr<CodeRunner> machine_ = CodeRunner::create();
};

TEST_F(DebuggingTest, StopsBeforeTheInstructionInTheMiddleOfATrace) {
    start({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0});
    break_at({kCode + 3});
    auto const stop = cpu().run(1000);
    EXPECT_EQ(stop.reason, Leave::debug);
    EXPECT_EQ(stop.executed, 1U);
    EXPECT_EQ(rip(), kCode + 3);
    EXPECT_EQ(cpu().state().gpr[rax], 1U);
    EXPECT_EQ(cpu().debug_stop().cause, DebugStop::Cause::breakpoint);
    EXPECT_EQ(cpu().debug_stop().address, kCode + 3);
    // It goes on from there, and does not stop at the same place twice.
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    EXPECT_EQ(cpu().state().gpr[rax], 3U);
}

TEST_F(DebuggingTest, AByteInsideAnInstructionIsNoBreakpoint) {
    start({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0});
    break_at({kCode + 1, kCode + 5});
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
}

// mov ecx, 5; again: inc rax; dec ecx; jnz again
std::vector<std::uint8_t> const kLoop{0xb9, 5, 0, 0, 0, 0x48, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf9};

TEST_F(DebuggingTest, StopsInALoopWhoseTracesAreLinkedAlready) {
    start(kLoop);
    ASSERT_EQ(cpu().run(7).reason, Leave::next);  // two rounds: decoded and linked
    break_at({kCode + 8});
    for (std::uint64_t round = 3; round <= 5; ++round) {
        ASSERT_EQ(cpu().run(1000).reason, Leave::debug) << round;
        EXPECT_EQ(rip(), kCode + 8);
        EXPECT_EQ(cpu().state().gpr[rax], round);
    }
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
}

TEST_F(DebuggingTest, WithoutPointsItRunsThrough) {
    start(kLoop);
    break_at({kCode + 8});
    ASSERT_EQ(cpu().run(1000).reason, Leave::debug);
    cpu().set_debug_points({});
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    EXPECT_EQ(cpu().state().gpr[rax], 5U);
}

TEST_F(DebuggingTest, PointsDoNotChangeWhatIsExecuted) {
    start(kLoop);
    auto const plain = cpu().run(1000).executed;
    CpuState const expected = cpu().state();
    start(kLoop);
    cpu().set_debug_points({.breakpoints = {0x5000}, .watchpoints = {{kData, 8, Watchpoint::Kind::access}}});
    EXPECT_EQ(cpu().run(1000).executed, plain);
    EXPECT_EQ(cpu().state(), expected);
}

// mov eax, [rdi]; mov [rdi+8], eax; inc rbx
std::vector<std::uint8_t> const kLoadStore{0x8b, 0x07, 0x89, 0x47, 0x08, 0x48, 0xff, 0xc3};

TEST_F(DebuggingTest, StopsAfterTheStoreThatHits) {
    start(kLoadStore);
    ASSERT_EQ(cpu().run(3).reason, Leave::next);  // the page is in the TLB
    start(kLoadStore);
    watch(kData + 11, 1, Watchpoint::Kind::write);  // the last byte of the store
    EXPECT_EQ(cpu().run(1000).reason, Leave::debug);
    EXPECT_EQ(rip(), kCode + 5);
    EXPECT_EQ(cpu().debug_stop().cause, DebugStop::Cause::watchpoint);
    EXPECT_EQ(cpu().debug_stop().address, kData + 11);
    EXPECT_EQ(cpu().state().gpr[rbx], 0U);
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
}

TEST_F(DebuggingTest, ReadAndAccessWatchpointsSeeLoads) {
    start(kLoadStore);
    watch(kData, 4, Watchpoint::Kind::read);
    EXPECT_EQ(cpu().run(1000).reason, Leave::debug);
    EXPECT_EQ(rip(), kCode + 2);
    start(kLoadStore);
    watch(kData + 8, 4, Watchpoint::Kind::access);
    EXPECT_EQ(cpu().run(1000).reason, Leave::debug);
    EXPECT_EQ(rip(), kCode + 5);
}

TEST_F(DebuggingTest, WhatLiesBesideIsNotWatched) {
    start(kLoadStore);
    watch(kData + 4, 4, Watchpoint::Kind::access);
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    start(kLoadStore);
    watch(kData, 4, Watchpoint::Kind::write);
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    start(kLoadStore);
    watch(kData + 8, 4, Watchpoint::Kind::read);
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
}

TEST_F(DebuggingTest, AWatchpointStopsInsideARepeatedStore) {
    start({0xb9, 16, 0, 0, 0, 0xf3, 0xaa});  // mov ecx, 16; rep stosb
    watch(kData + 4, 1, Watchpoint::Kind::write);
    EXPECT_EQ(cpu().run(1000).reason, Leave::debug);
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    EXPECT_EQ(cpu().state().gpr[rdi], kData + 16);
}

TEST_F(DebuggingTest, AnAccessWatchpointSeesReadModifyWrite) {
    start({0xff, 0x07, 0x48, 0xff, 0xc3});  // inc dword [rdi]; inc rbx
    watch(kData, 4, Watchpoint::Kind::write);
    EXPECT_EQ(cpu().run(1000).reason, Leave::debug);
    EXPECT_EQ(machine_->get<std::uint32_t>(kData), 1U);
    EXPECT_EQ(rip(), kCode + 2);
}

TEST_F(DebuggingTest, InterruptsAreHeldOffWhileAsked) {
    start({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0});
    cpu().set_debug_points({.breakpoints = {}, .watchpoints = {}, .hold_interrupts = true});
    ASSERT_TRUE(cpu().apic().deliver({.mode = DeliveryMode::nmi}));
    EXPECT_EQ(cpu().run(1).reason, Leave::next);
    EXPECT_EQ(rip(), kCode + 3);
    EXPECT_TRUE(cpu().apic().nmi_pending());
    cpu().set_debug_points({});
    static_cast<void>(cpu().run(1));
    EXPECT_FALSE(cpu().apic().nmi_pending());
}

TEST_F(DebuggingTest, TheHookSeesEveryInstructionOnce) {
    start({0x48, 0xff, 0xc0, 0x8b, 0x07, 0x89, 0x47, 0x08});
    std::vector<std::uint64_t> seen;
    std::vector<std::uint64_t> numbers;
    std::uint64_t const first = cpu().instructions();
    cpu().set_instruction_hook([&](RetiredInstruction const& instruction) {
        seen.push_back(instruction.linear);
        numbers.push_back(instruction.number - first);
        return true;
    });
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);  // UD2 is not retired
    EXPECT_THAT(seen, ElementsAre(kCode, kCode + 3, kCode + 5));
    EXPECT_THAT(numbers, ElementsAre(0, 1, 2));
}

TEST_F(DebuggingTest, TheHookEndsItself) {
    start(kLoop);
    int calls = 0;
    cpu().set_instruction_hook([&](RetiredInstruction const&) { return ++calls < 3; });
    EXPECT_EQ(cpu().run(1000).reason, Leave::fault);
    EXPECT_EQ(calls, 3);
}

TEST(Watchpoint, RangesAtTheEndOfTheAddressSpace) {
    Watchpoint const last{~std::uint64_t{0} - 3, 4, Watchpoint::Kind::write};
    EXPECT_TRUE(last.overlaps(~std::uint64_t{0}, 1));
    EXPECT_TRUE(last.overlaps(~std::uint64_t{0} - 7, 8));
    EXPECT_FALSE(last.overlaps(0, 8));
    EXPECT_FALSE(last.overlaps(~std::uint64_t{0} - 7, 4));
}

}  // namespace
}  // namespace backplane
