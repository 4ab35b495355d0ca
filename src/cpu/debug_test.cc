// Breakpoints, watchpoints, RF and TF ([SDM3B] chapter 17), in 64-bit mode unless a test says otherwise.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr unsigned kDebug = 1;

enum class Stop : std::uint64_t { execute = 0, write = 1, access = 3 };
constexpr std::uint64_t kLength1 = 0, kLength2 = 1, kLength8 = 2, kLength4 = 3;

/// DR7 for one breakpoint, globally enabled.
constexpr std::uint64_t enable(unsigned number, Stop stop, std::uint64_t length) {
    return 0x400 | std::uint64_t{2} << (2 * number) |
           (static_cast<std::uint64_t>(stop) | length << 2) << (16 + 4 * number);
}

class Debug : public testing::Test {
  protected:
    void start(std::string_view code) {
        machine.put(kCode, code);
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rsi] = state.gpr[rdi] = kData; });
    }
    void watch(unsigned number, std::uint64_t address, Stop stop, std::uint64_t length) {
        machine.with_state([&](CpuState& state) {
            state.dr[number] = address;
            state.dr7 |= enable(number, stop, length);
        });
    }
    [[nodiscard]] std::uint64_t hits() const { return machine.cpu.state().dr6 & dr6::kBreakpoints; }
    [[nodiscard]] bool stopped() { return machine.run() == Ended::halted && machine.arrived() == kDebug; }
    TestMachine machine;
};

struct WatchCase {
    char const* rule;
    std::uint64_t address;  // from kData on
    std::uint64_t length;
    Stop stop;
    char const* code;  // one instruction of [rsi], then hlt
    bool hit;
};
class Watchpoint : public Debug, public testing::WithParamInterface<WatchCase> {};

TEST_P(Watchpoint, TrapsBehindTheAccess) {
    start(GetParam().code);
    machine.put(kCode + 3, "f4");
    watch(1, kData + GetParam().address, GetParam().stop, GetParam().length);
    ASSERT_EQ(machine.run(), Ended::halted);
    ASSERT_EQ(machine.arrived() == kDebug, GetParam().hit) << GetParam().rule;
    if (!GetParam().hit) return;
    EXPECT_EQ(hits(), 2u) << GetParam().rule;
    EXPECT_EQ(machine.frame().rip, kCode + 3) << GetParam().rule << ": a trap";
    EXPECT_EQ(machine.frame().rflags & rflags::kResume, 0u);
}
constexpr char const* kLoad = "488b06";   // mov rax, [rsi]
constexpr char const* kStore = "488906";  // mov [rsi], rax
constexpr char const* kByte = "408a06";   // mov al, [rsi]
INSTANTIATE_TEST_SUITE_P(
    All, Watchpoint,
    testing::Values(
        WatchCase{"[SDM3B] 17.2.4: R/W 01, a store", 0, kLength8, Stop::write, kStore, true},
        WatchCase{"[SDM3B] 17.2.4: R/W 01, a load", 0, kLength8, Stop::write, kLoad, false},
        WatchCase{"[SDM3B] 17.2.4: R/W 11, a load", 0, kLength8, Stop::access, kLoad, true},
        WatchCase{"[SDM3B] 17.2.5: any byte in the range counts", 7, kLength1, Stop::access, kLoad, true},
        WatchCase{"[SDM3B] 17.2.5: the byte behind does not", 8, kLength1, Stop::access, kLoad, false},
        WatchCase{"[SDM3B] 17.2.5: the address is aligned to the length", 3, kLength4, Stop::access, kByte, true},
        WatchCase{"[SDM3B] 17.2.5: and the range ends there", 2, kLength2, Stop::access, kByte, false},
        WatchCase{"[SDM3B] 17.2.5: elsewhere in the page", 0x800, kLength8, Stop::access, kStore, false},
        WatchCase{"[SDM3B] 17.3.1.2: a fetch is no access", kCode - kData, kLength8, Stop::access, kByte, false}));

TEST_F(Debug, AWatchedStringTrapsAfterItsIteration) {  // [SDM3B] 17.3.1.2
    start("f3 aa f4");                                 // rep stosb
    machine.with_state([](CpuState& state) { state.gpr[rcx] = 100, state.gpr[rax] = 7; });
    watch(0, kData + 9, Stop::write, kLength1);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.reg(rcx), 90u);
    EXPECT_EQ(machine.reg(rdi), kData + 10);
    EXPECT_EQ(machine.frame().rip, kCode) << "it goes on there";
}

TEST_F(Debug, AWatchpointHoldsAcrossPages) {  // [SDM3B] 17.2.5: an access that ends in the watched page
    start("488906 f4");
    machine.with_state([](CpuState& state) { state.gpr[rsi] = kData + 0xffc; });
    watch(3, kData + 0x1000, Stop::write, kLength4);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(hits(), 8u);
}

TEST_F(Debug, MovSsHoldsAWatchpointBack) {  // [SDM3A] 6.8.3: the trap comes behind the next instruction
    start("8e16 90 90 f4");                 // mov ss, [rsi]
    machine.put_value(kData, kKernelData);
    watch(0, kData, Stop::access, kLength2);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, kCode + 3);
}

// [SDM3A] 6.8.3, [SDM2A] INT1: the trap that MOV SS held back does not interrupt the handler of the next #DB, whose
// frame it would overwrite.
TEST_F(Debug, OneDebugExceptionIsForAllThatWaits) {
    start("8e16 f1 f4");  // mov ss, [rsi]; int1
    machine.put_value(kData, std::uint16_t{kKernelData});
    watch(0, kData, Stop::access, kLength2);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, kCode + 3);
    EXPECT_EQ(machine.cpu.state().pending_debug, 0u);
}
TEST_F(Debug, ABreakpointTakesTheTrapThatMovSsHeldBack) {
    start("8e16 90 f4");
    machine.put_value(kData, std::uint16_t{kKernelData});
    watch(0, kData, Stop::access, kLength2);
    watch(1, kCode + 2, Stop::execute, kLength1);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, kCode + 2) << "a fault";
    EXPECT_EQ(hits(), 3u);
    EXPECT_EQ(machine.cpu.state().pending_debug, 0u);
}

TEST_F(Debug, ABreakpointStopsBeforeItsInstruction) {  // [SDM3B] 17.3.1.1
    start("90 90 ffc0 ffc0 f4");                       // the third is in the middle of a trace
    watch(2, kCode + 4, Stop::execute, kLength1);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(hits(), 4u);
    EXPECT_EQ(machine.frame().rip, kCode + 4);
    EXPECT_EQ(machine.frame().rflags & rflags::kResume, 0u) << "the handler sets it, not the processor";
    EXPECT_EQ(machine.reg(rax), 1u);
}

TEST_F(Debug, ABreakpointIsSeenOnceCodeRanWithoutIt) {  // linked traces do not hide it
    start("31c9 ffc1 83f964 75f9 f4");                  // xor ecx, ecx; loop: inc ecx; cmp ecx, 100; jne loop; hlt
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rcx), 100u);
    start("31c9 ffc1 83f964 75f9 f4");
    watch(0, kCode + 4, Stop::execute, kLength1);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.reg(rcx), 1u);
}

TEST_F(Debug, ResumeFlagPassesOneInstruction) {  // [SDM3B] 17.3.1.1: IRET loads RF, one instruction uses it up
    start("ffc1 ebfc");                          // loop: inc ecx; jmp loop
    watch(0, kCode, Stop::execute, kLength1);
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kResume; });
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.reg(rcx), 1u);
}

TEST_F(Debug, AFaultPushesTheResumeFlag) {  // [SDM3A] 6.8.3
    start("0f0b");
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 6u);
    EXPECT_NE(machine.frame().rflags & rflags::kResume, 0u);
}

TEST_F(Debug, GeneralDetectGuardsTheRegisters) {  // [SDM3B] 17.2.4, GD
    start("0f21d8 f4");                           // mov rax, dr3
    machine.with_state([](CpuState& state) { state.dr7 |= dr7::kGeneralDetect; });
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, kCode) << "a fault";
    EXPECT_NE(machine.cpu.state().dr6 & dr6::kRegisterAccess, 0u);
    EXPECT_EQ(machine.cpu.state().dr7 & dr7::kGeneralDetect, 0u) << "the handler may use them";
}

TEST_F(Debug, BreakpointsAreLinearAddresses) {  // [SDM3B] 17.2.1: the code segment's base counts
    start("90 90 f4");
    machine.set_descriptor(kKernelCode32, 0x00cf'9b01'0000'ffff);  // base 10000h
    machine.put(kData, "ff2e");                                    // jmp far [rsi]
    machine.put_value(kData + 8, std::uint32_t{0});
    machine.put_value(kData + 12, kKernelCode32);
    machine.with_state([](CpuState& state) { state.rip = kData, state.gpr[rsi] = kData + 8; });
    watch(0, kCode + 1, Stop::execute, kLength1);
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, 1u);
}

TEST_F(Debug, APortBreakpointNeedsItsBitInCr4) {  // [SDM3B] 17.2.4: R/W 10
    for (bool const on : {false, true}) {
        start("66e540 f4");  // in ax, 40h
        machine.with_state([&](CpuState& state) {
            state.dr[1] = 0x41;
            state.dr7 |= std::uint64_t{8} | std::uint64_t{2} << 20;
            if (on) state.cr4 |= cr4::kDebuggingExtensions;
        });
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived() == kDebug, on);
        if (on) {
            EXPECT_EQ(hits(), 2u);
            EXPECT_EQ(machine.frame().rip, kCode + 3);
        }
    }
}

TEST_F(Debug, NoTrapAfterIntOrAMaskingSyscall) {  // [SDM3B] 17.3.1.4; [APM3] SYSCALL
    start("cd30");
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kTrap; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 0x30u);
    EXPECT_NE(machine.frame().rflags & rflags::kTrap, 0u);

    start("0f05");
    machine.put(kUserCode, "90 f4");
    machine.with_state([](CpuState& state) {
        state.rflags |= rflags::kTrap;
        state.lstar = kUserCode, state.sfmask = rflags::kTrap;
        state.star = std::uint64_t{kKernelCode} << 32;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, kUserCode + 2);
}

TEST_F(Debug, AHaltedProcessorWakesForItsSingleStep) {  // [SDM2A] HLT: a debug exception ends it
    start("f4");
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kTrap; });
    ASSERT_TRUE(stopped());
    EXPECT_EQ(machine.frame().rip, kCode + 1);
}

}  // namespace
}  // namespace backplane
