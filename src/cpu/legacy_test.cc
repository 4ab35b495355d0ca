// The processor outside 64-bit mode: segmentation, real mode, gates, tasks, 32-bit and PAE paging. Each test names the
// section of the manual that it takes its expectation from. What these modes do in the ordinary case is compared with
// QEMU (tests/modes); here are the checks on each access, and what QEMU does otherwise than the manual.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

// Free entries of the GDT.
constexpr std::uint16_t kSubject = 0xc0, kGate = 0xd0, kOther = 0xe0, kCode32 = 0xf0, kOldTask = 0xf8, kNewTask = 0x100;
constexpr std::uint16_t kLimitOfGdt = 0x1ff;
constexpr std::uint64_t kOldTss = 0x70000, kNewTss = 0x71000;

struct Shape {
    std::uint32_t limit{0xf'ffff};
    std::uint64_t access{0x93};
    std::uint64_t flags{0xc};  // G, D/B, L, AVL
    std::uint32_t base{0};
};
std::uint64_t descriptor(Shape const& shape) {
    return (shape.limit & 0xffff) | std::uint64_t{shape.base & 0xff'ffff} << 16 | shape.access << 40 |
           std::uint64_t{shape.limit >> 16 & 15} << 48 | shape.flags << 52 | std::uint64_t{shape.base >> 24} << 56;
}

/// 32-bit protected mode without paging, flat, CPL 0; every vector has a 32-bit interrupt gate to a HLT of its own.
class ProtectedMachine : public TestMachine {
  public:
    ProtectedMachine() {
        set_descriptor(kCode32, descriptor({.access = 0x9b}));
        for (unsigned vector = 0; vector < 256; ++vector)
            set_narrow_gate(static_cast<std::uint8_t>(vector), 0x8e, kCode32);
    }
    void set_narrow_gate(std::uint8_t vector, std::uint64_t access, std::uint16_t selector) {
        std::uint64_t const target = handler(vector);
        put_value(kIdt + vector * 8u,
                  (target & 0xffff) | std::uint64_t{selector} << 16 | access << 40 | target >> 16 << 48);
    }
    static CpuState protected_state(std::uint64_t at = kCode) {
        CpuState state;
        state.cr0 = cr0::kProtection | cr0::kExtensionType | cr0::kNumericError;
        state.gdtr = {kGdt, kLimitOfGdt};
        state.idtr = {kIdt, 256 * 8 - 1};
        state.tr = {.selector = kTask, .base = kTss, .limit = kTssLimit, .type = kTypeTssBusy, .present = true};
        state.segments[cs] = flat_code(kCode32, 0, false);
        for (SegmentName const name : {ss, ds, es, fs, gs}) state.segments[name] = flat_data(kKernelData, 0);
        state.gpr[rsp] = kStack;
        state.rip = at;
        return state;
    }
    void start(std::string_view code) {
        put(kCode, code);
        cpu.set_state(protected_state());
    }
    /// A segment register that holds a descriptor as if it had just been loaded.
    void hold(SegmentName name, Shape const& shape) {
        with_state([&](CpuState& state) { state.segments[name] = segment_from(kSubject, descriptor(shape)); });
    }
    /// What the handler's stack holds, from its top: [error code,] EIP, CS, EFLAGS, ...
    [[nodiscard]] std::uint32_t pushed(unsigned index) const {
        return get<std::uint32_t>(cpu.state().gpr[rsp] + 4 * index);
    }
    [[nodiscard]] int vector() const { return arrived() ? static_cast<int>(*arrived()) : -1; }
};

constexpr int kNone = -1, kGp = 13, kSs = 12;

// --- limits and types on each access ------------------------------------------------------------------------------

struct AccessCase {
    char const* rule;
    Shape shape;
    std::uint32_t offset;
    char const* code;  // one instruction through [esi]
    int vector;
};

constexpr char const* kLoad8 = "8a06 f4";     // mov al, [esi]
constexpr char const* kLoad16 = "668b06 f4";  // mov ax, [esi]
constexpr char const* kLoad32 = "8b06 f4";    // mov eax, [esi]
constexpr char const* kStore32 = "8906 f4";   // mov [esi], eax
constexpr char const* kAdd32 = "0106 f4";     // add [esi], eax
constexpr char const* kLoad64 = "0f6f06 f4";  // movq mm0, [esi]
constexpr char const* kLoadPair = "c516 f4";  // lds edx, [esi]
constexpr char const* kLoad80 = "db2e f4";    // fld tbyte [esi]

class DataAccess : public testing::TestWithParam<AccessCase> {};

TEST_P(DataAccess, IsCheckedAgainstItsSegment) {
    ProtectedMachine machine;
    machine.start(GetParam().code);
    machine.with_state([&](CpuState& state) { state.gpr[rsi] = GetParam().offset; });
    machine.hold(ds, GetParam().shape);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), GetParam().vector) << GetParam().rule;
    if (GetParam().vector != kNone) {
        EXPECT_EQ(machine.pushed(0), 0u) << "error code";
        EXPECT_EQ(machine.pushed(1), kCode) << "a fault: EIP is on the instruction";
    }
}

constexpr Shape kByteLimit{.limit = 0xfff, .access = 0x93, .flags = 4};
constexpr Shape kPageLimit{.limit = 0, .access = 0x93, .flags = 0xc};
constexpr Shape kDown32{.limit = 0xfff, .access = 0x97, .flags = 4};
constexpr Shape kDown16{.limit = 0xfff, .access = 0x97, .flags = 0};

INSTANTIATE_TEST_SUITE_P(
    Limits, DataAccess,
    testing::Values(AccessCase{"[SDM3A] 5.3: the last byte is at the limit", kByteLimit, 0xfff, kLoad8, kNone},
                    AccessCase{"[SDM3A] 5.3: one byte beyond", kByteLimit, 0x1000, kLoad8, kGp},
                    AccessCase{"[SDM3A] 5.3: a word at the limit", kByteLimit, 0xfff, kLoad16, kGp},
                    AccessCase{"[SDM3A] 5.3: a word before it", kByteLimit, 0xffe, kLoad16, kNone},
                    AccessCase{"[SDM3A] 5.3: a doubleword", kByteLimit, 0xffc, kLoad32, kNone},
                    AccessCase{"[SDM3A] 5.3: a doubleword across", kByteLimit, 0xffd, kLoad32, kGp},
                    AccessCase{"[SDM3A] 5.3: a store", kByteLimit, 0xffd, kStore32, kGp},
                    AccessCase{"[SDM3A] 5.3: read and write", kByteLimit, 0xffd, kAdd32, kGp},
                    AccessCase{"[SDM3A] 5.3: a quadword", kByteLimit, 0xff9, kLoad64, kGp},
                    AccessCase{"[SDM3A] 5.3: a far pointer has 6 bytes", kByteLimit, 0xffb, kLoadPair, kGp},
                    AccessCase{"[SDM3A] 5.3: an extended real has 10", kByteLimit, 0xff7, kLoad80, kGp},
                    AccessCase{"[SDM3A] 5.3: 10 bytes that fit", kByteLimit, 0xff6, kLoad80, kNone},
                    AccessCase{"[SDM3A] 3.4.5: G scales the limit by 4 KiB", kPageLimit, 0xfff, kLoad8, kNone},
                    AccessCase{"[SDM3A] 3.4.5: and no further", kPageLimit, 0x1000, kLoad8, kGp},
                    AccessCase{"[SDM3A] 5.3: the offset does not wrap", {}, 0xffff'fffe, kLoad32, kGp}));

INSTANTIATE_TEST_SUITE_P(
    ExpandDown, DataAccess,
    testing::Values(AccessCase{"[SDM3A] 5.3: up to the limit nothing", kDown32, 0xfff, kLoad8, kGp},
                    AccessCase{"[SDM3A] 5.3: above it all", kDown32, 0x1000, kLoad8, kNone},
                    AccessCase{"[SDM3A] 5.3: across the limit", kDown32, 0xffe, kLoad32, kGp},
                    AccessCase{"[SDM3A] 5.3: B = 1 ends at 4 GiB", kDown32, 0x1'0000, kLoad32, kNone},
                    AccessCase{"[SDM3A] 5.3: B = 0 ends at 64 KiB", kDown16, 0xfffc, kLoad32, kNone},
                    AccessCase{"[SDM3A] 5.3: and not beyond", kDown16, 0xfffd, kLoad32, kGp},
                    AccessCase{"[SDM3A] 5.3: nor far beyond", kDown16, 0x1'0000, kLoad8, kGp}));

INSTANTIATE_TEST_SUITE_P(
    Types, DataAccess,
    testing::Values(AccessCase{"[SDM3A] 3.4.5.1: read-only data is read", {.access = 0x91}, 0x1000, kLoad32, kNone},
                    AccessCase{"[SDM3A] 5.5: and not written", {.access = 0x91}, 0x1000, kStore32, kGp},
                    AccessCase{"[SDM3A] 5.5: nor by read-modify-write", {.access = 0x91}, 0x1000, kAdd32, kGp},
                    AccessCase{"[SDM3A] 5.5: readable code is read", {.access = 0x9b}, 0x1000, kLoad32, kNone},
                    AccessCase{"[SDM3A] 5.5: code is never written", {.access = 0x9b}, 0x1000, kStore32, kGp},
                    AccessCase{"[SDM3A] 5.4.1: through a null selector", {.access = 0}, 0x1000, kLoad8, kGp}));

TEST(Segmentation, TheStackSegmentRaisesStackFaults) {  // [SDM3A] 6.15, #SS
    for (char const* const code :
         {"8b4500 f4" /* mov eax, [ebp] */, "ff4d00 f4" /* dec [ebp] */, "c9 f4" /* leave */, "36 8b06 f4"}) {
        ProtectedMachine machine;
        machine.start(code);
        machine.with_state([](CpuState& state) {
            state.gpr[rbp] = state.gpr[rsi] = 0x8'0000;
            state.segments[ss] = segment_from(kSubject, descriptor({.limit = 0x5'0000, .flags = 4}));
        });
        ASSERT_EQ(machine.run(), Ended::halted) << code;
        EXPECT_EQ(machine.vector(), kSs) << code;
    }
}

TEST(Segmentation, AStackBeyondItsLimitEndsInShutdown) {  // [SDM3A] 6.15, #DF: no stack for #SS nor for #DF
    ProtectedMachine machine;
    machine.start("50 f4");  // push eax
    machine.with_state(
        [](CpuState& state) { state.segments[ss] = segment_from(kSubject, descriptor({.limit = 0xfff, .flags = 4})); });
    EXPECT_EQ(machine.run(), Ended::shutdown);
}

TEST(Segmentation, AStringStopsAtTheLimit) {  // [SDM3A] 5.3; [SDM2B] REP: what happened before the fault stays
    ProtectedMachine machine;
    machine.start("f3 aa f4");  // rep stosb
    machine.hold(es, {.limit = 0x3'000f, .flags = 4});
    machine.with_state([](CpuState& state) { state.gpr[rdi] = kData, state.gpr[rcx] = 100, state.gpr[rax] = 0x5a; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp);
    EXPECT_EQ(machine.reg(rcx), 100u - 16);
    EXPECT_EQ(machine.get(kData + 8), 0x5a5a'5a5a'5a5a'5a5au);
    EXPECT_EQ(machine.get(kData + 16), 0u);
}

TEST(Segmentation, BitStringsAreCheckedWhereTheyAre) {  // [SDM2A] BT
    ProtectedMachine machine;
    machine.start("0fa306 f4");  // bt [esi], eax
    machine.hold(ds, kByteLimit);
    machine.with_state([](CpuState& state) { state.gpr[rsi] = 0xf00, state.gpr[rax] = 0x100 * 8; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp);
    machine.start("0fa306 f4");
    machine.hold(ds, kByteLimit);
    machine.with_state(
        [](CpuState& state) { state.gpr[rsi] = 0x1100, state.gpr[rax] = static_cast<std::uint32_t>(-0x200 * 8); });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kNone) << "the operand itself is beyond, the bit is not";
}

// --- the code segment's limit -------------------------------------------------------------------------------------

struct FetchCase {
    char const* rule;
    std::uint32_t limit;
    char const* code;
    std::uint32_t faulting;  // EIP that is pushed, from kCode on
};
class CodeLimit : public testing::TestWithParam<FetchCase> {};
TEST_P(CodeLimit, IsChecked) {
    ProtectedMachine machine;
    machine.start(GetParam().code);
    machine.hold(cs, {.limit = static_cast<std::uint32_t>(kCode) + GetParam().limit, .access = 0x9b, .flags = 4});
    machine.with_state([](CpuState& state) { state.gpr[rax] = 0x8'0000, state.gpr[rcx] = 2; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp) << GetParam().rule;
    EXPECT_EQ(machine.pushed(0), 0u);
    EXPECT_EQ(machine.pushed(1), kCode + GetParam().faulting) << GetParam().rule;
    std::uint64_t const top = kStack - 16;
    EXPECT_EQ(machine.reg(rsp), top) << "nothing else was pushed";
    EXPECT_EQ(machine.reg(rcx), 2u) << "LOOP has not counted";
}
INSTANTIATE_TEST_SUITE_P(
    All, CodeLimit,
    testing::Values(FetchCase{"[SDM3A] 5.3: running off the end", 1, "90 90 90 90 f4", 2},
                    FetchCase{"[SDM3A] 5.3: an instruction across the end", 3, "90 b800000000 f4", 1},
                    FetchCase{"[SDM2A] JMP: the jump faults, not its target", 0x20, "90 e9fb0f0000 f4", 1},
                    FetchCase{"[SDM2A] JMP r/m32", 0x20, "90 ffe0 f4", 1},
                    FetchCase{"[SDM2A] CALL rel32", 0x20, "90 e8fb0f0000 f4", 1},
                    FetchCase{"[SDM2A] CALL r/m32", 0x20, "90 ffd0 f4", 1},
                    FetchCase{"[SDM2A] Jcc", 0x20, "31c0 0f84fb0f0000 f4", 2},
                    FetchCase{"[SDM2A] LOOP", 0x20, "90 e27d f4", 1}));

// A branch back and forth in a segment that is not flat, with other code behind the same bytes in a flat one.
TEST(CodeSegment, TracesAreNotSharedBetweenBases) {
    ProtectedMachine machine;
    // loop: dec ecx; jnz loop; mov [ds:kData], eax (offset); hlt
    machine.put(kCode, "49 75fd a300000300 f4");
    machine.cpu.set_state(ProtectedMachine::protected_state());
    machine.with_state([](CpuState& state) { state.gpr[rcx] = 10, state.gpr[rax] = 1; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.get<std::uint32_t>(kData), 1u);
    CpuState state = ProtectedMachine::protected_state(0);
    state.segments[cs].base = kCode;
    state.segments[cs].limit = 0xff;
    state.gpr[rcx] = 10, state.gpr[rax] = 2;
    machine.cpu.set_state(state);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.get<std::uint32_t>(kData), 2u);
    EXPECT_EQ(machine.cpu.state().rip, 9u);
}

// --- real mode ----------------------------------------------------------------------------------------------------

/// Real mode at 0:kRealCode; each vector leads to a HLT.
class RealMachine : public TestMachine {
  public:
    static constexpr std::uint64_t kRealCode = 0x2000, kRealHandlers = 0x3000;
    void start(std::string_view code) {
        for (unsigned vector = 0; vector < 256; ++vector) {
            put_value(vector * 4, static_cast<std::uint32_t>(kRealHandlers + vector));
            put_value(kRealHandlers + vector, std::uint8_t{0xf4});
        }
        put(kRealCode, code);
        cpu.reset();
        with_state([](CpuState& state) {
            for (Segment& segment : state.segments) segment.selector = 0, segment.base = 0;
            state.rip = kRealCode;
            state.gpr[rsp] = 0x1000;
            state.idtr = {0, 0x3ff};
        });
    }
    [[nodiscard]] int vector() const { return static_cast<int>(cpu.state().rip - 1 - kRealHandlers); }
};

TEST(RealMode, ResetIsAtTheTopOfFourGigabytes) {  // [SDM3A] table 9-1
    TestMachine machine;
    machine.cpu.reset();
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.rip, 0xfff0u);
    EXPECT_EQ(state.segments[cs].selector, 0xf000u);
    EXPECT_EQ(state.segments[cs].base, 0xffff'0000u);
    EXPECT_EQ(state.cr0, 0x6000'0010u);
}

TEST(RealMode, AWordAtTheEndOfASegmentFaults) {  // [SDM3A] 20.1.1: #GP, #SS with the stack; no error code is pushed
    struct Case {
        char const* code;
        int vector;
    };
    for (auto const& [code, vector] : {Case{"a1ffff f4", kGp}, Case{"a0ffff f4", -1}, Case{"8b4600 f4", kSs},
                                       Case{"66a1fdff f4", kGp}, Case{"67 66 8b06 f4", kGp}}) {
        RealMachine machine;
        machine.start(code);
        machine.with_state([](CpuState& state) { state.gpr[rbp] = 0xffff, state.gpr[rsi] = 0x1'0000; });
        ASSERT_EQ(machine.run(), Ended::halted) << code;
        if (vector < 0) {
            EXPECT_EQ(machine.cpu.state().rip, RealMachine::kRealCode + 4) << code;
            continue;
        }
        EXPECT_EQ(machine.vector(), vector) << code;
        EXPECT_EQ(machine.reg(rsp), 0x1000u - 6) << "IP, CS and FLAGS";
        EXPECT_EQ(machine.get<std::uint16_t>(0x1000 - 6), RealMachine::kRealCode);
    }
}

TEST(RealMode, AShortVectorTableLeadsToShutdown) {  // [SDM3A] 20.1.4: IDTR.limit counts in real mode too
    RealMachine machine;
    machine.start("0f0b");
    machine.with_state([](CpuState& state) { state.idtr.limit = 6 * 4 + 2; });
    EXPECT_EQ(machine.run(), Ended::shutdown);
}

// --- gates and tasks ----------------------------------------------------------------------------------------------

TEST(CallGate, ToAConformingSegmentKeepsTheLevel) {  // [SDM3A] 5.8.4 and table 5-2
    ProtectedMachine machine;
    machine.set_descriptor(kSubject, descriptor({.access = 0xfb}));  // ring 3 code
    machine.set_descriptor(kOther, descriptor({.access = 0x9f}));    // conforming, DPL 0
    machine.set_descriptor(
        kGate, kUserCode | std::uint64_t{kOther} << 16 | std::uint64_t{0xec} << 40 | (kUserCode >> 16) << 48);
    machine.put(kUserCode, "8cc8 0f0b");  // mov eax, cs; ud2
    machine.start("9a 00000000 d300");    // call GATE:0
    machine.put_value(kTss + 4, static_cast<std::uint32_t>(kRing0Stack));
    machine.put_value(kTss + 8, kKernelData);
    machine.with_state([](CpuState& state) {
        state.segments[cs] = flat_code(kSubject | 3, 3, false);
        state.segments[ss] = flat_data(kUserData | 3, 3);
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), 6);
    EXPECT_EQ(machine.reg(rax) & 0xffff, kOther | 3u);
}

TEST(TaskRegister, RefusesANullSelector) {  // [SDM2A] LTR
    ProtectedMachine machine;
    machine.start("31c0 0f00d8 f4");
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp);
    EXPECT_EQ(machine.pushed(0), 0u);
}

struct TaskPair {
    TaskPair() {
        machine.set_descriptor(kOldTask, descriptor({.limit = 0x67, .access = 0x8b, .flags = 0, .base = kOldTss}));
        machine.set_descriptor(kNewTask, descriptor({.limit = 0x67, .access = 0x89, .flags = 0, .base = kNewTss}));
        put(0x20, kUserCode), put(0x24, 2), put(0x38, kIst1Stack);
        put(0x4c, kCode32);
        for (std::uint32_t const at : {0x48u, 0x50u, 0x54u, 0x58u, 0x5cu}) put(at, kKernelData);
        machine.put(kUserCode, "f4");
        machine.start("9a 00000000 0001 90");  // call NEW:0
        machine.with_state([](CpuState& state) {
            state.tr = {.selector = kOldTask, .base = kOldTss, .limit = 0x67, .type = kTypeTssBusy, .present = true};
        });
    }
    void put(std::uint32_t at, std::uint64_t value) {
        machine.put_value(kNewTss + at, static_cast<std::uint32_t>(value));
    }
    [[nodiscard]] bool is_busy(std::uint16_t selector) const { return (machine.get(kGdt + selector) >> 41 & 1) != 0; }
    ProtectedMachine machine;
};
class Task : public testing::Test, public TaskPair {};

TEST_F(Task, ACallNestsAndSaves) {  // [SDM3A] 7.3, 7.4
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, kUserCode + 1);
    EXPECT_EQ(machine.cpu.state().tr.selector, kNewTask);
    EXPECT_EQ(machine.get<std::uint16_t>(kNewTss), kOldTask) << "the link";
    EXPECT_NE(machine.cpu.state().rflags & rflags::kNestedTask, 0u);
    EXPECT_NE(machine.cpu.state().cr0 & cr0::kTaskSwitched, 0u);
    EXPECT_EQ(machine.get<std::uint32_t>(kOldTss + 0x20), kCode + 7) << "behind the CALL";
    EXPECT_EQ(machine.get<std::uint32_t>(kOldTss + 0x38), kStack);
    EXPECT_TRUE(is_busy(kOldTask) && is_busy(kNewTask));
}

struct BadTask {
    char const* rule;
    std::uint32_t at;
    std::uint32_t value;
    int vector;
    std::uint32_t error;
};
TEST(TaskFaults, FaultsOfTheNewTaskComeInIt) {  // [SDM3A] table 7-1
    for (BadTask const& bad : {BadTask{"a data segment that cannot be read", 0x54, kExecuteOnly, 10, kExecuteOnly},
                               BadTask{"an absent data segment", 0x58, kAbsentData, 11, kAbsentData},
                               BadTask{"an LDT that is none", 0x60, kKernelData, 10, kKernelData},
                               BadTask{"a segment beyond the table", 0x5c, 0x1000, 10, 0x1000}}) {
        TaskPair fresh;
        fresh.put(bad.at, bad.value);
        fresh.machine.set_narrow_gate(static_cast<std::uint8_t>(bad.vector), 0x8e, kCode32);
        Ended const ended = fresh.machine.run();
        // With a bad LDT not even SS is loaded yet, and the fault has no stack.
        if (bad.at == 0x60) {
            EXPECT_EQ(ended, Ended::shutdown) << bad.rule;
            continue;
        }
        ASSERT_EQ(ended, Ended::halted) << bad.rule;
        EXPECT_EQ(fresh.machine.vector(), bad.vector) << bad.rule;
        EXPECT_EQ(fresh.machine.pushed(0) & ~1u, bad.error) << bad.rule;
        EXPECT_EQ(fresh.machine.pushed(1), kUserCode) << bad.rule;
        EXPECT_EQ(fresh.machine.cpu.state().tr.selector, kNewTask) << bad.rule;
    }
}

TEST(TaskFaults, FaultsBeforeTheSwitchStayInTheOldTask) {  // [SDM3A] 7.3, steps 1 to 10
    struct Case {
        char const* rule;
        Shape shape;
        int vector;
    };
    for (Case const& bad : {Case{"too small", {.limit = 0x66, .access = 0x89, .flags = 0, .base = kNewTss}, 10},
                            Case{"busy", {.limit = 0x67, .access = 0x8b, .flags = 0, .base = kNewTss}, kGp},
                            Case{"absent", {.limit = 0x67, .access = 0x09, .flags = 0, .base = kNewTss}, 11}}) {
        TaskPair fresh;
        fresh.machine.set_descriptor(kNewTask, descriptor(bad.shape));
        ASSERT_EQ(fresh.machine.run(), Ended::halted) << bad.rule;
        EXPECT_EQ(fresh.machine.vector(), bad.vector) << bad.rule;
        EXPECT_EQ(fresh.machine.pushed(0), kNewTask) << bad.rule;
        EXPECT_EQ(fresh.machine.pushed(1), kCode) << bad.rule;
        EXPECT_EQ(fresh.machine.cpu.state().tr.selector, kOldTask) << bad.rule;
        EXPECT_EQ(fresh.machine.get<std::uint32_t>(kOldTss + 0x20), 0u) << bad.rule << ": nothing was saved";
    }
}

TEST_F(Task, TheTrapBitOfATssIsADebugException) {  // [SDM3B] 17.3.1.5
    put(0x64, 1);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), 1);
    EXPECT_EQ(machine.pushed(0), kUserCode);
    EXPECT_NE(machine.cpu.state().dr6 & dr6::kTaskSwitch, 0u);
}

// --- paging outside long mode -------------------------------------------------------------------------------------

constexpr std::uint64_t kDirectory = 0x80000, kTable = 0x81000, kDirectoryPae = 0x82000, kTablePae = 0x83000;

TEST(Paging32, ReservedBitsAreReportedAsPresent) {  // [SDM3A] 4.3 table 4-4, 4.7
    ProtectedMachine machine;
    machine.put_value(kDirectory, std::uint32_t{0x87 | 0});            // 4 MiB at 0
    machine.put_value(kDirectory + 4, std::uint32_t{1 << 21 | 0x87});  // bit 21
    machine.start("8b06 f4");
    machine.with_state([](CpuState& state) {
        state.cr3 = kDirectory, state.cr4 = cr4::kPageSizeExtensions, state.cr0 |= cr0::kPaging;
        state.gpr[rsi] = 0x40'0123;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), 14);
    EXPECT_EQ(machine.pushed(0), page_fault::kPresent | page_fault::kReserved);
    EXPECT_EQ(machine.cpu.state().cr2, 0x40'0123u);
}

TEST(Paging32, InvlpgDropsAWholeLargePage) {  // [SDM3A] 4.10.4.1
    ProtectedMachine machine;
    machine.put_value(kDirectory, std::uint32_t{0x87});
    machine.put_value(kDirectory + 4, std::uint32_t{0x87});  // 4 MiB: physical 0 once more
    machine.put_value(kTable, std::uint32_t{(kData + 0x1000) | 7});
    machine.put_value(kTable + 4, std::uint32_t{(kData + 0x1000) | 7});
    machine.put_value(kData, std::uint32_t{1});
    machine.put_value(kData + 0x1000, std::uint32_t{2});
    // mov eax, 400000h + kData; mov the entry, table; invlpg at 400000h; mov ebx, of 401000h
    machine.start("a100004300 c7050400080007100800 0f013d00004000 8b1d00104000 f4");
    machine.with_state([](CpuState& state) {
        state.cr3 = kDirectory, state.cr4 = cr4::kPageSizeExtensions, state.cr0 |= cr0::kPaging;
    });
    // The second page of the large one is in the TLB before.
    machine.put(kCode + 0x100, "a100104000 eb00 e9f4feffff");
    machine.with_state([](CpuState& state) { state.rip = kCode + 0x100; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kNone);
    EXPECT_EQ(machine.reg(rbx), 2u);
}

CpuState pae_state(CpuState state) {
    state.cr3 = kDirectory;
    state.cr4 = cr4::kPhysicalAddressExtension;
    return state;
}

TEST(PaePaging, PointerEntriesAreLoadedWithCr3AndChecked) {  // [SDM3A] 4.4.1, table 4-8
    for (std::uint64_t const reserved :
         {std::uint64_t{2}, std::uint64_t{0x40}, std::uint64_t{1} << 45, std::uint64_t{1} << 63}) {
        ProtectedMachine machine;
        machine.put_value(kDirectory, kDirectoryPae | 1);
        machine.put_value(kDirectory + 24, kDirectoryPae | 1 | reserved);
        machine.start("0f22d8 f4");  // mov cr3, eax
        machine.with_state([](CpuState& state) {
            state = pae_state(state);
            state.gpr[rax] = kDirectory;
            state.cr0 |= cr0::kPaging;
            state.pdpte = {kDirectoryPae | 1, 0, 0, 0};
        });
        machine.put_value(kDirectoryPae, std::uint64_t{0x83});
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.vector(), kGp) << std::hex << reserved;
    }
}

TEST(PaePaging, NoExecuteIsReservedWithoutNxe) {  // [SDM3A] table 4-11
    for (bool const nxe : {false, true}) {
        ProtectedMachine machine;
        machine.put_value(kDirectory, kDirectoryPae | 1);
        machine.put_value(kDirectoryPae, std::uint64_t{0x83});
        machine.put_value(kDirectoryPae + 8, kTablePae | 7);
        machine.put_value(kTablePae, kData | 7 | std::uint64_t{1} << 63);
        machine.start("8b06 f4");
        machine.with_state([&](CpuState& state) {
            state = pae_state(state);
            state.gpr[rsi] = 0x20'0000;
            state.cr0 |= cr0::kPaging;
            state.efer = nxe ? efer::kNoExecute : 0;
            state.pdpte = {kDirectoryPae | 1, 0, 0, 0};
        });
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.vector(), nxe ? kNone : 14);
        if (!nxe) {
            EXPECT_EQ(machine.pushed(0), page_fault::kPresent | page_fault::kReserved);
        }
    }
}

// --- virtual-8086 mode --------------------------------------------------------------------------------------------

/// A task in virtual-8086 mode at kCode under a 32-bit kernel of gates to HLT.
class VirtualMachine8086 : public ProtectedMachine {
  public:
    static constexpr std::uint16_t kCodeSelector = kCode >> 4, kStackSelector = 0x2000, kDataSelector = 0x3000;
    static constexpr std::uint32_t kStackPointer = 0x1000;

    void start(std::string_view code, unsigned iopl) {
        put(kCode, code);
        put_value(kTss + 4, static_cast<std::uint32_t>(kRing0Stack));
        put_value(kTss + 8, std::uint32_t{kKernelData});
        CpuState state = protected_state(0);
        state.rflags |= rflags::kVirtual8086 | std::uint64_t{iopl} << 12;
        for (Segment& segment : state.segments) segment = segment_of(kDataSelector);
        state.segments[cs] = segment_of(kCodeSelector);
        state.segments[ss] = segment_of(kStackSelector);
        state.gpr[rsp] = kStackPointer;
        state.gpr[rsi] = 0xffff;
        cpu.set_state(state);
    }

  private:
    static Segment segment_of(std::uint16_t selector) {
        return {.selector = selector, .base = std::uint64_t{selector} << 4, .limit = 0xffff, .type = 3, .code_or_data = true, .dpl = 3, .present = true};
    }
};

struct Virtual8086Case {
    char const* rule;
    char const* code;
    unsigned iopl;
    int vector;
    std::uint32_t error{0};
    std::uint32_t rip{0};  // pushed
};
constexpr int kNoFault = -1, kUd = 6, kFirstTrap = 3, kSystemCall = 0x80;
constexpr std::uint32_t kNoError = 0xffff'ffff;

class Virtual8086 : public testing::TestWithParam<Virtual8086Case> {};

TEST_P(Virtual8086, IsChecked) {
    Virtual8086Case const& row = GetParam();
    VirtualMachine8086 machine;
    for (std::uint8_t const open : {std::uint8_t{kFirstTrap}, std::uint8_t{kSystemCall}}) machine.set_narrow_gate(open, 0xee, kCode32);
    machine.start(row.code, row.iopl);
    ASSERT_EQ(machine.run(), Ended::halted);
    // Every case ends in ring 0: a HLT of the task's own is #GP there.
    bool const passed = row.vector == kNoFault;
    EXPECT_EQ(machine.vector(), passed ? kGp : row.vector) << row.rule;
    unsigned const frame = row.error == kNoError ? 0 : 1;
    if (frame == 1) {
        EXPECT_EQ(machine.pushed(0), row.error) << row.rule;
    }
    if (!passed) {
        EXPECT_EQ(machine.pushed(frame), row.rip) << row.rule;
    } else {
        EXPECT_EQ(machine.get<std::uint8_t>(kCode + machine.pushed(frame)), 0xf4) << row.rule << ": stopped before its HLT";
    }
    // [SDM3B] 20.2.3: the frame holds the task's segments, and the handler runs without them.
    using M = VirtualMachine8086;
    EXPECT_EQ(machine.pushed(frame + 1), M::kCodeSelector);
    EXPECT_NE(machine.pushed(frame + 2) & rflags::kVirtual8086, 0U);
    EXPECT_EQ(machine.pushed(frame + 4), M::kStackSelector);
    for (unsigned i = 5; i < 9; ++i) EXPECT_EQ(machine.pushed(frame + i), M::kDataSelector);
    EXPECT_EQ(machine.reg(rsp), kRing0Stack - 4 * (frame + 9));
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.rflags & rflags::kVirtual8086, 0U);
    for (SegmentName const name : {es, ds, fs, gs}) EXPECT_EQ(state.segments[name].selector, 0U);
}

INSTANTIATE_TEST_SUITE_P(
    SensitiveToIopl, Virtual8086,  // [SDM3B] 20.2.7
    testing::Values(Virtual8086Case{"CLI", "fa f4", 3, kNoFault}, Virtual8086Case{"CLI below IOPL 3", "fa f4", 2, kGp},
                    Virtual8086Case{"STI", "fb 90 f4", 3, kNoFault}, Virtual8086Case{"STI below IOPL 3", "fb f4", 0, kGp},
                    Virtual8086Case{"PUSHF, POPF", "9c 9d f4", 3, kNoFault}, Virtual8086Case{"PUSHF below IOPL 3", "9c f4", 2, kGp},
                    Virtual8086Case{"POPF below IOPL 3", "9d f4", 1, kGp}, Virtual8086Case{"PUSHFD below IOPL 3", "669c f4", 2, kGp},
                    Virtual8086Case{"IRET", "9c 0e 680600 cf f4", 3, kNoFault}, Virtual8086Case{"IRET below IOPL 3", "cf f4", 2, kGp},
                    Virtual8086Case{"INT n", "cd80 f4", 3, kSystemCall, kNoError, 2}, Virtual8086Case{"INT n below IOPL 3", "cd80 f4", 2, kGp},
                    Virtual8086Case{"INT n through a gate of ring 0", "cd21 f4", 3, kGp, 0x21 * 8 + 2},
                    Virtual8086Case{"INT3 asks the gate only", "cc f4", 0, kFirstTrap, kNoError, 1}));
INSTANTIATE_TEST_SUITE_P(
    Privileged, Virtual8086,  // [SDM3B] 20.2.2, 20.2.8.1: ports ask the permission map, whatever IOPL is
    testing::Values(Virtual8086Case{"HLT", "f4", 3, kGp}, Virtual8086Case{"MOV from CR0", "0f20c0", 3, kGp},
                    Virtual8086Case{"LMSW", "0f01f0", 3, kGp}, Virtual8086Case{"LGDT", "0f0116 0000", 3, kGp},
                    Virtual8086Case{"INVLPG", "0f0138", 3, kGp}, Virtual8086Case{"WRMSR", "0f30", 3, kGp},
                    Virtual8086Case{"a port beyond the map", "baffff ec f4", 3, kGp, 0, 3}));
INSTANTIATE_TEST_SUITE_P(
    Undefined, Virtual8086,  // [SDM3B] 20.2.2: instructions of protected mode
    testing::Values(Virtual8086Case{"LLDT", "0f00d0", 3, kUd, kNoError}, Virtual8086Case{"LTR", "0f00d8", 3, kUd, kNoError},
                    Virtual8086Case{"SLDT", "0f00c0", 3, kUd, kNoError}, Virtual8086Case{"STR", "0f00c8", 3, kUd, kNoError},
                    Virtual8086Case{"VERR", "0f00e0", 3, kUd, kNoError}, Virtual8086Case{"LAR", "0f02c0", 3, kUd, kNoError},
                    Virtual8086Case{"LSL", "0f03c0", 3, kUd, kNoError}, Virtual8086Case{"ARPL", "63c0", 3, kUd, kNoError}));
INSTANTIATE_TEST_SUITE_P(
    Addresses, Virtual8086,  // [SDM3B] 20.2.1: 64 KiB at sixteen times the selector
    testing::Values(Virtual8086Case{"a byte at the end", "8a04 f4", 0, kNoFault}, Virtual8086Case{"a word at the end", "8b04 f4", 0, kGp},
                    Virtual8086Case{"a word at the end of the stack", "89f5 8b4600 f4", 0, kSs, 0, 2},
                    Virtual8086Case{"a selector is a base", "b80030 8ed8 8cd8 3d0030 7501 f4", 0, kNoFault},
                    Virtual8086Case{"a far jump", "ea 0600 0010 90 f4", 0, kNoFault}));

TEST(Virtual8086Gate, MustLeadToRing0) {  // [SDM2A] INT: #GP(selector) else
    VirtualMachine8086 machine;
    machine.set_descriptor(kOther, descriptor({.access = 0xbb}));  // ring 1
    machine.set_narrow_gate(kUd, 0x8e, kOther);
    machine.start("0f0b", 3);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp);
    EXPECT_EQ(machine.pushed(0), kOther | 1U) << "with the bit of external events";
}

TEST(Virtual8086Return, IretLoadsEverySegment) {  // [SDM2A] IRET, return to virtual-8086 mode
    VirtualMachine8086 machine;
    machine.put(kCode + 0x100, "f4");
    machine.start("", 3);
    machine.cpu.set_state(VirtualMachine8086::protected_state());
    // push gs fs ds es ss esp eflags cs eip; iretd
    machine.put(kCode, "6805000000 6804000000 6803000000 6802000000 6800200000 6800080000 6802300200 6800100000 6800010000 cf");
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.vector(), kGp) << "its HLT";
    constexpr std::uint32_t kFlags = 0x2'3002 | rflags::kResume;  // a fault's frame has RF
    constexpr std::uint32_t kFrame[] = {0, 0x100, 0x1000, kFlags, 0x800, 0x2000, 2, 3, 4, 5};
    for (unsigned i = 0; i < std::size(kFrame); ++i) EXPECT_EQ(machine.pushed(i), kFrame[i]) << i;
}

// --- fast calls ---------------------------------------------------------------------------------------------------

TEST(FastCall, SysenterBelongsToProtectedMode) {  // [APM3] SYSENTER: #UD in long mode, #GP(0) in real mode
    TestMachine long_mode;
    long_mode.put(kCode, "0f34");
    long_mode.start_kernel();
    ASSERT_EQ(long_mode.run(), Ended::halted);
    EXPECT_EQ(long_mode.arrived(), 6u);
    RealMachine real;
    real.start("0f34");
    ASSERT_EQ(real.run(), Ended::halted);
    EXPECT_EQ(real.vector(), kGp);
}

TEST(FastCall, SyscallOutsideLongModeUsesStar) {  // [APM3] SYSCALL, legacy mode
    ProtectedMachine machine;
    machine.put(kUserCode, "8cc8 f4");
    machine.start("0f05");
    machine.with_state([](CpuState& state) {
        state.efer = efer::kSyscall;
        state.star = std::uint64_t{kCode32} << 32 | kUserCode;
        state.rflags |= rflags::kInterrupt;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rcx), kCode + 2);
    EXPECT_EQ(machine.reg(rax) & 0xffff, kCode32);
    EXPECT_EQ(machine.cpu.state().rflags & rflags::kInterrupt, 0u);
}

}  // namespace
}  // namespace backplane
