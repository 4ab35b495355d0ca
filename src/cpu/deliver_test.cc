// Delivery of exceptions and software interrupts in long mode, and IRET ([SDM3A] chapter 6, [SDM2A] INT n, IRET).
#include <gtest/gtest.h>

#include <functional>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr std::uint64_t kUnmapped = 0x1f'0000;
constexpr std::uint64_t kNonCanonical = 0x8000'0000'0000'0000;

struct Expectation {
    unsigned vector;
    std::uint64_t error_code;
};

/// Runs until a handler halts, and compares what it found.
void expect_arrival(TestMachine& machine, Expectation expected, std::uint64_t rip, char const* what) {
    ASSERT_EQ(machine.run(), Ended::halted) << what;
    ASSERT_EQ(machine.arrived(), expected.vector) << what;
    EXPECT_EQ(machine.frame().error_code, expected.error_code) << what;
    EXPECT_EQ(machine.frame().rip, rip) << what;
}

enum class SavedRip : std::uint8_t { fault, trap };

struct Case {
    char const* name;
    char const* code;  ///< the last instruction is the one that raises
    unsigned offset;   ///< of that instruction
    Expectation expected;
    SavedRip saved{SavedRip::fault};
    unsigned length{0};  ///< of that instruction, for traps
};

class Raises : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, Raises,
                         testing::Values(Case{"DivideByZero", "31c9 f7f1", 2, {0, 0}},                               //
                                         Case{"DivideOverflow", "ba ffffffff b9 01000000 f7f1", 10, {0, 0}},         //
                                         Case{"Breakpoint", "cc", 0, {3, 0}, SavedRip::trap, 1},                     //
                                         Case{"IcebpIgnoresTheGatesPrivilege", "f1", 0, {1, 0}, SavedRip::trap, 1},  //
                                         Case{"SoftwareInterrupt", "cd80", 0, {0x80, 0}, SavedRip::trap, 2},         //
                                         Case{"Undefined", "0f0b", 0, {6, 0}},                                       //
                                         Case{"LockWithoutMemory", "f0 01c8", 0, {6, 0}},                            //
                                         Case{"NonCanonicalLoad", "48b8 0000000000000080 8a00", 10, {13, 0}},        //
                                         Case{"NonCanonicalStore", "48b8 0000000000000080 8800", 10, {13, 0}},       //
                                         Case{"NonCanonicalJump", "48b8 0000000000000080 ffe0", 10, {13, 0}},        //
                                         Case{"MisalignedVector", "b8 01000300 0f2800", 5, {13, 0}},                 //
                                         Case{"TooLong", "66666666666666666666666666666690", 0, {13, 0}}),
                         [](testing::TestParamInfo<Case> const& of) { return of.param.name; });

TEST_P(Raises, FromTheKernelOnItsOwnStack) {
    Case const& c = GetParam();
    TestMachine machine;
    machine.put(kCode, c.code);
    machine.start_kernel();
    std::uint64_t const rip = kCode + c.offset + (c.saved == SavedRip::trap ? c.length : 0);
    expect_arrival(machine, c.expected, rip, c.name);
    auto const frame = machine.frame();
    EXPECT_EQ(frame.cs, kKernelCode);
    EXPECT_EQ(frame.rsp, kStack);
    EXPECT_EQ(frame.ss, kKernelData);
    EXPECT_EQ(machine.cpu.state().segments[ss].selector, kKernelData);  // not touched
    bool const is_fault = c.saved == SavedRip::fault;
    EXPECT_EQ((frame.rflags & rflags::kResume) != 0, is_fault);  // [SDM3A] 6.8.3
}

TEST_P(Raises, FromUserModeOnTheRing0Stack) {
    Case const& c = GetParam();
    TestMachine machine;
    for (std::uint8_t const vector : {3, 0x80}) {
        auto gate = TestMachine::default_gate(vector);
        gate.dpl = 3;
        machine.set_gate(vector, gate);
    }
    machine.put(kUserCode, c.code);
    machine.start_user();
    std::uint64_t const rip = kUserCode + c.offset + (c.saved == SavedRip::trap ? c.length : 0);
    expect_arrival(machine, c.expected, rip, c.name);
    auto const frame = machine.frame();
    EXPECT_EQ(frame.cs, kUserCode64 | 3);
    EXPECT_EQ(frame.rsp, kStack);
    EXPECT_EQ(frame.ss, kUserData | 3);
    EXPECT_NE(frame.rflags & rflags::kInterrupt, 0u);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.segments[cs].selector, kKernelCode);
    EXPECT_EQ(state.segments[ss].selector, 0);  // null with RPL 0 ([SDM3A] 6.14.2)
    EXPECT_EQ(state.rflags & rflags::kInterrupt, 0u);
    std::uint64_t const pushed = has_error_code(static_cast<ExceptionVector>(c.expected.vector)) ? 48 : 40;
    EXPECT_EQ(state.gpr[rsp], kRing0Stack - pushed);
}

// What user mode may not do is #GP(0) (or #UD), and has not happened.
TEST(Privilege, InstructionsThatUserModeMayNotExecute) {
    for (char const* const code :
         {"f4",   "fa",     "fb",     "0f20c0", "0f22c0", "0f22d8", "0f22e0", "440f22c0", "0f21c0", "0f23f8",
          "0f06", "0f0138", "0f0110", "0f0118", "0f00d0", "0f00d8", "0f01f8", "0f30",     "0f32",   "0f33",
          "0f08", "0f09",   "ec",     "ee",     "e460",   "e660",   "0f01f0", "0f07",     "480f07"}) {
        TestMachine machine;
        machine.put(kUserCode, code);
        machine.start_user();
        CpuState const before = machine.cpu.state();
        expect_arrival(machine, {13, 0}, kUserCode, code);
        CpuState const after = machine.cpu.state();
        EXPECT_EQ(after.cr0, before.cr0) << code;
        EXPECT_EQ(after.cr4, before.cr4) << code;
        EXPECT_EQ(after.gdtr, before.gdtr) << code;
    }
    for (char const* const code : {"0f01ca", "0f01cb"}) {  // CLAC, STAC
        TestMachine machine;
        machine.put(kUserCode, code);
        machine.start_user();
        expect_arrival(machine, {6, 0}, kUserCode, code);
    }
}

TEST(Gates, AnInterruptGateClearsIfATrapGateKeepsIt) {
    for (std::uint8_t const type : {kTypeInterruptGate, kTypeTrapGate}) {
        TestMachine machine;
        auto gate = TestMachine::default_gate(6);
        gate.type = type;
        machine.set_gate(6, gate);
        machine.put(kCode, "0f0b");
        machine.start_kernel();
        machine.with_state([](CpuState& state) {
            state.rflags |= rflags::kInterrupt | rflags::kNestedTask | rflags::kAlignmentCheck | rflags::kDirection;
        });
        expect_arrival(machine, {6, 0}, kCode, "ud2");
        std::uint64_t const flags = machine.cpu.state().rflags;
        EXPECT_EQ((flags & rflags::kInterrupt) != 0, type == kTypeTrapGate);
        EXPECT_EQ(flags & (rflags::kNestedTask | rflags::kTrap | rflags::kResume), 0u);
        EXPECT_NE(flags & rflags::kDirection, 0u);
        EXPECT_NE(machine.frame().rflags & rflags::kNestedTask, 0u);
    }
}

TEST(Gates, TheStackIsAlignedAndIstSwitchesIt) {
    TestMachine machine;
    machine.put(kCode, "0f0b");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 3; });
    expect_arrival(machine, {6, 0}, kCode, "unaligned");
    EXPECT_EQ(machine.reg(rsp), kStack - 16 - 40);
    EXPECT_EQ(machine.frame().rsp, kStack - 3);

    auto gate = TestMachine::default_gate(6);
    gate.stack = 2;
    machine.set_gate(6, gate);
    machine.start_kernel();
    expect_arrival(machine, {6, 0}, kCode, "IST 2");
    EXPECT_EQ(machine.reg(rsp), kIst2Stack - 40);
    EXPECT_EQ(machine.frame().rsp, kStack);
    machine.put(kUserCode, "0f0b");
    machine.start_user();
    expect_arrival(machine, {6, 0}, kUserCode, "IST 2 from user mode");
    EXPECT_EQ(machine.reg(rsp), kIst2Stack - 40);
}

// Every check of a gate, in the order of [SDM2A] INT n; by INT 0x80 (no EXT bit) and by an external interrupt (EXT).
TEST(Gates, WhatIsWrongWithAGateIsTold) {
    using Gate = TestMachine::Gate;
    constexpr std::uint64_t kOfGate = 0x80 * 8 + 2;
    struct Wrong {
        char const* name;
        std::function<void(Gate&, CpuState&)> how;
        Expectation expected;
    };
    Wrong const cases[] = {
        {"beyond the limit", [](Gate&, CpuState& s) { s.idtr.limit = 0x80 * 16 + 14; }, {13, kOfGate}},
        {"call gate", [](Gate& g, CpuState&) { g.type = 12; }, {13, kOfGate}},
        {"task gate", [](Gate& g, CpuState&) { g.type = 5; }, {13, kOfGate}},
        {"no system descriptor", [](Gate& g, CpuState&) { g.type = 0x1e; }, {13, kOfGate}},
        {"absent gate", [](Gate& g, CpuState&) { g.present = false; }, {11, kOfGate}},
        {"null selector", [](Gate& g, CpuState&) { g.selector = 0; }, {13, 0}},
        {"null selector with RPL", [](Gate& g, CpuState&) { g.selector = 3; }, {13, 0}},
        {"beyond the GDT", [](Gate& g, CpuState&) { g.selector = kGdtEnd; }, {13, kGdtEnd}},
        {"in an absent LDT", [](Gate& g, CpuState&) { g.selector = 0x0c; }, {13, 0x0c}},
        {"data segment", [](Gate& g, CpuState&) { g.selector = kKernelData; }, {13, kKernelData}},
        {"absent code", [](Gate& g, CpuState&) { g.selector = kAbsentCode; }, {11, kAbsentCode}},
        {"32-bit code", [](Gate& g, CpuState&) { g.selector = kKernelCode32; }, {13, kKernelCode32}},
        {"L and D", [](Gate& g, CpuState&) { g.selector = kBothSizes; }, {13, kBothSizes}},
        {"outer privilege", [](Gate& g, CpuState&) { g.selector = kUserCode64; }, {13, kUserCode64}},
        {"non-canonical target", [](Gate& g, CpuState&) { g.target = kNonCanonical; }, {13, 0}},
        {"IST beyond the TSS", [](Gate& g, CpuState& s) { g.stack = 7, s.tr.limit = 0x24 + 6 * 8; }, {10, kTask}},
    };
    for (Wrong const& wrong : cases) {
        for (bool const external : {false, true}) {
            TestMachine machine;
            machine.put(kCode, external ? "90" : "cd80");
            machine.start_kernel();
            auto gate = TestMachine::default_gate(0x80);
            machine.with_state([&](CpuState& state) { wrong.how(gate, state); });
            machine.set_gate(0x80, gate);
            if (external) {
                machine.with_state([](CpuState& state) { state.rflags |= rflags::kInterrupt; });
                machine.interrupt(0x80);
            }
            expect_arrival(machine, {wrong.expected.vector, wrong.expected.error_code | (external ? 1u : 0u)}, kCode,
                           wrong.name);
        }
    }
}

TEST(Gates, UserModeNeedsTheGatesPrivilegeForSoftwareInterruptsAlone) {
    TestMachine machine;
    machine.put(kUserCode, "cd80");
    machine.start_user();
    expect_arrival(machine, {13, 0x80 * 8 + 2}, kUserCode, "int 0x80 through a gate of DPL 0");
    machine.put(kUserCode, "0f0b");
    machine.start_user();
    expect_arrival(machine, {6, 0}, kUserCode, "ud2 through a gate of DPL 0");
    auto gate = TestMachine::default_gate(0x80);
    gate.dpl = 3;
    machine.set_gate(0x80, gate);
    machine.put(kUserCode, "cd80");
    machine.start_user();
    expect_arrival(machine, {0x80, 0}, kUserCode + 2, "int 0x80 through a gate of DPL 3");
}

TEST(Gates, AConformingHandlerKeepsThePrivilege) {
    TestMachine machine;
    auto gate = TestMachine::default_gate(6);
    gate.selector = kConforming;
    machine.set_gate(6, gate);
    machine.put(kUserCode, "0f0b");
    machine.start_user();
    // HLT in the handler runs with CPL 3, so it faults: the frame of that fault tells CS.
    expect_arrival(machine, {13, 0}, TestMachine::handler(6), "hlt of the handler");
    EXPECT_EQ(machine.frame().cs, kConforming | 3);
    EXPECT_EQ(machine.frame().rsp, kStack - 40);
}

// [SDM3A] table 6-5: which second exception makes a double fault.
TEST(DoubleFault, TableOfClasses) {
    enum class First : std::uint8_t { benign, contributory, page };
    enum class Second : std::uint8_t { contributory, page };
    struct Row {
        First first;
        Second second;
        Expectation expected;
    };
    Row const rows[] = {
        {First::benign, Second::contributory, {11, 6 * 8 + 3}},  //
        {First::benign, Second::page, {14, 2}},                  //
        {First::contributory, Second::contributory, {8, 0}},     //
        {First::contributory, Second::page, {14, 2}},            //
        {First::page, Second::contributory, {8, 0}},             //
        {First::page, Second::page, {8, 0}},
    };
    for (Row const& row : rows) {
        TestMachine machine;
        machine.map(kUnmapped, 0, 0);
        machine.map(kUnmapped - kPageBytes, 0, 0);
        char const* const code = row.first == First::benign         ? "0f0b"
                                 : row.first == First::contributory ? "f7f1"
                                                                    : "8a00";
        std::uint8_t const vector = row.first == First::benign ? 6 : row.first == First::contributory ? 0 : 14;
        machine.put(kCode, code);
        auto gate = TestMachine::default_gate(vector);
        if (row.second == Second::contributory) {
            gate.present = false;
        } else {
            gate.stack = 1;
            machine.put_value(kTss + 0x24, kUnmapped);
        }
        machine.set_gate(vector, gate);
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rcx] = 0, state.gpr[rax] = kUnmapped; });
        expect_arrival(machine, row.expected, kCode, code);
    }
}

TEST(DoubleFault, AThirdFaultIsAShutdown) {
    TestMachine machine;
    for (std::uint8_t const vector : {0, 8}) {
        auto gate = TestMachine::default_gate(vector);
        gate.present = false;
        machine.set_gate(vector, gate);
    }
    machine.put(kCode, "f7f1");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rcx] = 0; });
    EXPECT_EQ(machine.run(), Ended::shutdown);
    EXPECT_STREQ(machine.cpu.shutdown_cause(), "triple fault");
    EXPECT_EQ(machine.cpu.state().rip, kCode);
}

// Tables that are not there at all: the guest gets its triple fault, the host notices nothing.
TEST(DoubleFault, AnIdtInNoMemoryIsAShutdown) {
    for (std::uint64_t const base :
         {std::uint64_t{0x7fff'ffff'fff8}, std::uint64_t{0x20'0000}, ~std::uint64_t{0} - 7}) {
        TestMachine machine;
        machine.put(kCode, "0f0b");
        machine.start_kernel();
        machine.with_state([&](CpuState& state) { state.idtr.base = base; });
        EXPECT_EQ(machine.run(), Ended::shutdown);
    }
}

// --- IRET ---------------------------------------------------------------------------------------------------------

struct Image {
    std::uint64_t rip, cs, rflags, rsp, ss;
};

/// A machine about to execute IRETQ with `image` on its stack.
void prepare_return(TestMachine& machine, Image const& image) {
    machine.put(kCode, "48cf");
    machine.put(kUserCode, "f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 40; });
    machine.put_value(kStack - 40, image);
}

TEST(InterruptReturn, ToTheSamePrivilegeLoadsTheStackToo) {
    TestMachine machine;
    prepare_return(machine, {kCode + 0x100, kKernelCode, 0x246, 0x3'1238, kKernelData});
    machine.put(kCode + 0x100, "f4");
    ASSERT_EQ(machine.run(), Ended::halted);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.rip, kCode + 0x101);
    EXPECT_EQ(state.gpr[rsp], 0x3'1238u);
    EXPECT_EQ(state.rflags, 0x246u);
}

TEST(InterruptReturn, ToTheKernelWithANullStackSegment) {
    TestMachine machine;
    prepare_return(machine, {kCode + 0x100, kKernelCode, 2, kStack, 0});
    machine.put(kCode + 0x100, "f4");
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_FALSE(machine.arrived().has_value());
    EXPECT_EQ(machine.cpu.cpl(), 0u);
}

// As processors do: a null selector with an RPL becomes 0 on the way to an outer level; a base set by an MSR stays.
TEST(InterruptReturn, ToUserModeClearsNullSelectors) {
    TestMachine machine;
    prepare_return(machine, {kUserCode, kUserCode64 | 3, 0x202, kStack, kUserData | 3});
    machine.with_state([](CpuState& state) {
        state.segments[fs] = Segment{.selector = 3, .base = 0x1234'5000};
        state.segments[gs] = Segment{.selector = 1};
    });
    ASSERT_EQ(machine.run(1), Ended::quota);
    EXPECT_EQ(machine.cpu.state().segments[fs], (Segment{.base = 0x1234'5000}));
    EXPECT_EQ(machine.cpu.state().segments[gs], Segment{});
}

TEST(InterruptReturn, ToUserModeDropsTheKernelsSegments) {
    TestMachine machine;
    prepare_return(machine, {kUserCode, kUserCode64 | 3, 0x202, kStack, kUserData | 3});
    machine.with_state([](CpuState& state) { state.segments[es] = flat_data(kUserData | 3, 3); });
    ASSERT_EQ(machine.run(1), Ended::quota);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(machine.cpu.cpl(), 3u);
    EXPECT_EQ(state.rip, kUserCode);
    EXPECT_EQ(state.segments[cs].selector, kUserCode64 | 3);
    EXPECT_EQ(state.segments[ds], Segment{});
    EXPECT_EQ(state.segments[es].selector, kUserData | 3);
}

TEST(InterruptReturn, ToThirtyTwoBitUserModeAndBack) {
    TestMachine machine;
    // mov eax, -1; inc eax (in 64-bit mode a REX prefix); int 0x80
    prepare_return(machine, {kUserCode, kUserCode32 | 3, 0x202, 0x1'0000'0000 + kStack, kUserData | 3});
    machine.put(kUserCode, "b8 ffffffff 40 cd80");
    auto gate = TestMachine::default_gate(0x80);
    gate.dpl = 3;
    machine.set_gate(0x80, gate);
    expect_arrival(machine, {0x80, 0}, kUserCode + 8, "int 0x80 from compatibility mode");
    EXPECT_EQ(machine.reg(rax), 0u);
    EXPECT_EQ(machine.frame().cs, kUserCode32 | 3);
    EXPECT_EQ(machine.frame().rsp, kStack);  // cut to 32 bits
}

TEST(InterruptReturn, ChecksEverythingBeforeItChangesAnything) {
    struct Wrong {
        char const* name;
        Image image;
        Expectation expected;
    };
    Wrong const cases[] = {
        {"null code", {kUserCode, 0, 2, kStack, kUserData | 3}, {13, 0}},
        {"beyond the GDT", {kUserCode, kGdtEnd | 3, 2, kStack, kUserData | 3}, {13, kGdtEnd}},
        {"data as code", {kUserCode, kUserData | 3, 2, kStack, kUserData | 3}, {13, kUserData}},
        {"RPL below DPL", {kUserCode, kUserCode64, 2, kStack, kKernelData}, {13, kUserCode64}},
        {"DPL below RPL", {kUserCode, kKernelCode | 3, 2, kStack, kUserData | 3}, {13, kKernelCode}},
        {"absent code", {kUserCode, kAbsentCode, 2, kStack, kKernelData}, {11, kAbsentCode}},
        {"L and D", {kUserCode, kBothSizes, 2, kStack, kKernelData}, {13, kBothSizes}},
        {"non-canonical", {kNonCanonical, kUserCode64 | 3, 2, kStack, kUserData | 3}, {13, 0}},
        {"null stack in ring 3", {kUserCode, kUserCode64 | 3, 2, kStack, 3}, {13, 0}},
        {"null stack with another RPL", {kUserCode, kKernelCode, 2, kStack, 1}, {13, 0}},
        {"stack of another privilege", {kUserCode, kUserCode64 | 3, 2, kStack, kKernelData | 3}, {13, kKernelData}},
        {"stack with another RPL", {kUserCode, kUserCode64 | 3, 2, kStack, kUserData}, {13, kUserData}},
        {"code as stack", {kUserCode, kUserCode64 | 3, 2, kStack, kUserCode64 | 3}, {13, kUserCode64}},
        {"read-only stack", {kUserCode, kKernelCode, 2, kStack, kReadOnlyData}, {13, kReadOnlyData}},
        {"absent stack", {kUserCode, kKernelCode, 2, kStack, kAbsentData}, {12, kAbsentData}},
    };
    for (Wrong const& wrong : cases) {
        TestMachine machine;
        prepare_return(machine, wrong.image);
        expect_arrival(machine, wrong.expected, kCode, wrong.name);
        EXPECT_EQ(machine.frame().rsp, kStack - 40) << wrong.name;
        EXPECT_EQ(machine.frame().cs, kKernelCode) << wrong.name;
    }
    TestMachine nested;
    prepare_return(nested, {kUserCode, kUserCode64 | 3, 2, kStack, kUserData | 3});
    nested.with_state([](CpuState& state) { state.rflags |= rflags::kNestedTask; });
    expect_arrival(nested, {13, 0}, kCode, "NT in long mode");
}

// With everything in the TLB a return goes a shorter way, to the same place.
TEST(InterruptReturn, IsTheSameWhateverTheTlbHolds) {
    Image const images[] = {
        {kCode + 0x100, kKernelCode, 2, 0x3'1238, kKernelData}, {kCode + 0x100, kKernelCode, 2, 0x3'1238, 0},
        {kUserCode, kUserCode64 | 3, 2, 0x3'1238, kUserData | 3}, {kUserCode, kUserCode32 | 3, 2, 0x3'1238, kUserData | 3},
        {kCode + 0x100, kConforming, 2, 0x3'1238, kKernelData}, {kUserCode, kRing1Code | 1, 2, 0x3'1238, kRing1Data | 1},
        {kUserCode, kRing1Code | 1, 2, 0x3'1238, 1}, {kUserCode, 0, 2, kStack, kUserData | 3}, {kUserCode, kGdtEnd | 3, 2, kStack, kUserData | 3},
        {kUserCode, kUserData | 3, 2, kStack, kUserData | 3}, {kUserCode, kUserCode64, 2, kStack, kKernelData}, {kUserCode, kAbsentCode, 2, kStack, kKernelData},
        {kUserCode, kBothSizes, 2, kStack, kKernelData}, {kNonCanonical, kUserCode64 | 3, 2, kStack, kUserData | 3}, {kUserCode, kUserCode64 | 3, 2, kStack, 3},
        {kUserCode, kKernelCode, 2, kStack, 1}, {kUserCode, kUserCode64 | 3, 2, kStack, kKernelData | 3}, {kUserCode, kKernelCode, 2, kStack, kReadOnlyData},
        {kUserCode, kKernelCode, 2, kStack, kAbsentData}, {kUserCode, kUserCode64 | 4 | 3, 2, kStack, kUserData | 3}, {kUserCode, kExecuteOnly, 2, kStack, kKernelData}};
    std::uint64_t const flags[] = {0, 0xcd5, rflags::kInterrupt, rflags::kTrap, rflags::kResume | rflags::kAlignmentCheck, rflags::kNestedTask,
                                   rflags::kIopl | rflags::kInterrupt | rflags::kIdentification, rflags::kVirtual8086};
    auto const run = [](Image image, std::uint64_t with_flags, unsigned round, bool is_known) {
        auto machine = std::make_unique<TestMachine>();
        image.rflags |= with_flags;
        prepare_return(*machine, image);
        machine->put(kCode + 0x100, "f4");
        // mov rax, [rsp]; mov eax, [the GDT]; inc ecx; iretq -- or, of the same length, with other addresses
        machine->put(kCode - 14, is_known ? "488b0424 8b042500500000 90ffc1" : "488b4500 8b042500000300 90ffc1");
        if (round % 3 == 1) machine->set_descriptor(kUserCode64, 0x00af'fa00'0000'ffff);  // not accessed yet
        if (round % 3 == 2) machine->set_descriptor(kUserData, 0x00cf'f200'0000'ffff);
        machine->with_state([&](CpuState& state) {
            state.rip = kCode - 14;
            state.gpr[rbp] = kData;
            state.cr4 |= cr4::kSmap;
            state.nmi_blocked = round % 2 == 0;
            if (round % 4 == 0) state.segments[gs] = Segment{.selector = 3, .base = 0x1234'5000};
            if (round % 4 < 2) state.segments[ds] = state.segments[es] = Segment{.selector = 2};
            if (round % 5 == 0) state.rflags |= rflags::kAlignmentCheck;
        });
        for (unsigned vector : {0x31U, 2U}) vector == 2 && round % 2 == 0 ? machine->send_nmi() : machine->interrupt(0x31);
        static_cast<void>(machine->cpu.run(5 + round % 3));
        return machine;
    };
    unsigned round = 0;
    for (Image const& image : images) {
        for (std::uint64_t const with_flags : flags) {
            auto const expected = run(image, with_flags, ++round, false), met = run(image, with_flags, round, true);
            CpuState a = expected->cpu.state(), b = met->cpu.state();
            a.gpr[rax] = b.gpr[rax] = 0;
            EXPECT_EQ(a, b) << "to " << std::hex << image.cs << ':' << image.rip << ", flags " << with_flags << std::dec << ", round " << round;
            EXPECT_EQ(expected->cpu.instructions(), met->cpu.instructions()) << round;
            EXPECT_EQ(expected->cpu.cpl(), met->cpu.cpl()) << round;
            for (std::uint64_t at = kStack - 0x200; at < kStack; at += 8) EXPECT_EQ(expected->get(at), met->get(at)) << round;
            for (std::uint64_t at = kGdt; at < kGdt + kGdtEnd; at += 8) EXPECT_EQ(expected->get(at), met->get(at)) << round;
        }
    }
}

TEST(InterruptReturn, UserModeChangesNeitherIfNorIopl) {
    TestMachine machine;
    machine.put(kUserCode, "48cf");
    machine.put(kUserCode + 0x100, "90");
    machine.start_user();
    machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 40; });
    machine.put_value(kStack - 40, Image{kUserCode + 0x100, kUserCode64 | 3, 0x3cd7, kStack, kUserData | 3});
    ASSERT_EQ(machine.run(1), Ended::quota);
    // IOPL stays 0 and IF 1; the arithmetic flags and DF come from the image. TF (0x100) is not in it.
    EXPECT_EQ(machine.cpu.state().rflags, 0x0ed7u);
}

TEST(InterruptReturn, UserModeMayNotReturnInwards) {
    TestMachine machine;
    machine.put(kUserCode, "48cf");
    machine.start_user();
    machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 40; });
    machine.put_value(kStack - 40, Image{kCode, kKernelCode, 2, kStack, kKernelData});
    expect_arrival(machine, {13, kKernelCode}, kUserCode, "iret to ring 0");
}

}  // namespace
}  // namespace backplane
