// Segment registers, far transfers, SYSCALL and SYSRET, SWAPGS, and the I/O permission bitmap.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

struct Expectation {
    unsigned vector;
    std::uint64_t error_code;
};
constexpr Expectation kLoads{~0U, 0};

/// One instruction at `at`; kLoads: it must have been executed.
void expect_step(TestMachine& machine, Expectation expected, std::uint64_t at, std::string const& what) {
    ASSERT_EQ(machine.run(1), Ended::quota) << what;
    if (expected.vector == kLoads.vector) {
        ASSERT_FALSE(machine.is_in_handler()) << what << ": at " << machine.cpu.state().rip;
        return;
    }
    ASSERT_EQ(machine.run(), Ended::halted) << what;
    ASSERT_EQ(machine.arrived(), expected.vector) << what;
    EXPECT_EQ(machine.frame().error_code, expected.error_code) << what;
    EXPECT_EQ(machine.frame().rip, at) << what;
}

enum class Level : std::uint8_t { kernel, user };

/// Executes `code` with AX = selector.
void try_load(Level level, char const* code, std::uint16_t selector, Expectation expected) {
    TestMachine machine;
    std::uint64_t const at = level == Level::kernel ? kCode : kUserCode;
    machine.put(at, code);
    level == Level::kernel ? machine.start_kernel() : machine.start_user();
    machine.with_state([&](CpuState& state) { state.gpr[rax] = selector; });
    expect_step(machine, expected, at, std::string{code} + " with " + std::to_string(selector));
}

// [SDM2A] MOV, the checks of a segment load.
TEST(SegmentLoads, DataSegments) {
    struct Row {
        Level level;
        std::uint16_t selector;
        Expectation expected;
    };
    Row const rows[] = {
        {Level::kernel, 0, kLoads},
        {Level::kernel, 3, kLoads},
        {Level::kernel, kKernelData, kLoads},
        {Level::kernel, kReadOnlyData, kLoads},
        {Level::kernel, kUserData, kLoads},
        {Level::kernel, kUserData | 3, kLoads},
        {Level::kernel, kKernelCode, kLoads},  // readable code
        {Level::kernel, kKernelData | 3, {13, kKernelData}},
        {Level::kernel, kExecuteOnly, {13, kExecuteOnly}},
        {Level::kernel, kAbsentData, {11, kAbsentData}},
        {Level::kernel, kTask, {13, kTask}},
        {Level::kernel, kGdtEnd, {13, kGdtEnd}},
        {Level::kernel, kGdtEnd | 3, {13, kGdtEnd}},
        {Level::kernel, 0xfff8, {13, 0xfff8}},
        {Level::kernel, 0x0c, {13, 0x0c}},  // no LDT is loaded
        {Level::user, kUserData | 3, kLoads},
        {Level::user, 0, kLoads},
        {Level::user, kConforming | 3, kLoads},  // whatever its DPL
        {Level::user, kUserCode64 | 3, kLoads},
        {Level::user, kKernelData | 3, {13, kKernelData}},
        {Level::user, kKernelData, {13, kKernelData}},
        {Level::user, kRing1Data | 1, {13, kRing1Data}},
    };
    for (Row const& row : rows)
        for (char const* const code : {"8ed8", "8ec0", "8ee0", "8ee8"})
            try_load(row.level, code, row.selector, row.expected);
}

TEST(SegmentLoads, TheStackSegment) {
    struct Row {
        Level level;
        std::uint16_t selector;
        Expectation expected;
    };
    Row const rows[] = {
        {Level::kernel, kKernelData, kLoads},
        {Level::kernel, 0, kLoads},  // 64-bit mode below ring 3
        {Level::kernel, 1, {13, 0}},
        {Level::kernel, kKernelData | 3, {13, kKernelData}},
        {Level::kernel, kUserData | 3, {13, kUserData}},
        {Level::kernel, kUserData, {13, kUserData}},
        {Level::kernel, kReadOnlyData, {13, kReadOnlyData}},
        {Level::kernel, kKernelCode, {13, kKernelCode}},
        {Level::kernel, kAbsentData, {12, kAbsentData}},
        {Level::kernel, kGdtEnd, {13, kGdtEnd}},
        {Level::user, kUserData | 3, kLoads},
        {Level::user, 0, {13, 0}},
        {Level::user, 3, {13, 0}},
        {Level::user, kKernelData | 3, {13, kKernelData}},
    };
    for (Row const& row : rows) try_load(row.level, "8ed0", row.selector, row.expected);
}

TEST(SegmentLoads, SetTheAccessedBitAndKeepTheSelector) {
    TestMachine machine;
    machine.set_descriptor(kKernelData, machine.get(kGdt + kKernelData) & ~(std::uint64_t{1} << 40));
    machine.put(kCode, "8ed8 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = kKernelData; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_NE(machine.get(kGdt + kKernelData) & std::uint64_t{1} << 40, 0u);
    EXPECT_EQ(machine.cpu.state().segments[ds].selector, kKernelData);
}

TEST(SegmentLoads, TheLocalTable) {
    struct Row {
        std::uint16_t selector;
        Expectation expected;
    };
    for (Row const& row : {Row{0, kLoads}, Row{kLocalTable, kLoads}, Row{kKernelData, {13, kKernelData}},
                           Row{kTask, {13, kTask}}, Row{kGdtEnd, {13, kGdtEnd}}, Row{0x0c, {13, 0x0c}}})
        try_load(Level::kernel, "0f00d0", row.selector, row.expected);

    TestMachine machine;
    machine.put_value(kLdt + 8, machine.get(kGdt + kKernelData));
    machine.put(kCode, "0f00d0 b8 0c000000 8ed8 f4");  // lldt ax; mov eax, 0x0c; mov ds, ax
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = kLocalTable; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_FALSE(machine.arrived().has_value());
    EXPECT_EQ(machine.cpu.state().segments[ds].selector, 0x0c);
    EXPECT_EQ(machine.cpu.state().ldtr.base, kLdt);
}

TEST(SegmentLoads, TheTaskRegister) {
    struct Row {
        std::uint16_t selector;
        Expectation expected;
    };
    for (Row const& row :
         {Row{kTask, kLoads}, Row{0, {13, 0}}, Row{kBusyTask, {13, kBusyTask}}, Row{kAbsentTask, {11, kAbsentTask}},
          Row{kKernelData, {13, kKernelData}}, Row{kLocalTable, {13, kLocalTable}}, Row{kTask | 4, {13, kTask | 4}}})
        try_load(Level::kernel, "0f00d8", row.selector, row.expected);
    TestMachine machine;
    machine.put(kCode, "0f00d8 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = kTask; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.get(kGdt + kTask) >> 40 & 15, kTypeTssBusy);
}

TEST(SegmentLoads, AFaultingDescriptorTableIsAPageFaultOfTheKernel) {
    TestMachine machine;
    constexpr std::uint64_t kAway = 0x1f'0000;
    machine.put(kUserCode, "8ed8");
    machine.start_user();
    machine.with_state([](CpuState& state) {
        state.ldtr = {.selector = kLocalTable, .base = kAway, .limit = 0xff, .type = kTypeLdt, .present = true};
        state.gpr[rax] = 0x0f;
    });
    machine.map(kAway, 0, 0);
    expect_step(machine, {14, 0}, kUserCode, "mov ds from an LDT that is not mapped");  // not a user access
    EXPECT_EQ(machine.cpu.state().cr2, kAway + 8);
}

// --- far transfers ------------------------------------------------------------------------------------------------

TEST(FarTransfers, CheckTheCodeSegment) {
    struct Row {
        std::uint16_t selector;
        Expectation expected;
    };
    for (char const* const code : {"48ff28", "48ff18"}) {  // jmp, call m16:64 [rax]
        for (Row const& row :
             {Row{kKernelCode, kLoads}, Row{kConforming, kLoads}, Row{kExecuteOnly, kLoads}, Row{0, {13, 0}},
              Row{kGdtEnd, {13, kGdtEnd}}, Row{kKernelData, {13, kKernelData}}, Row{kUserCode64, {13, kUserCode64}},
              Row{kKernelCode | 3, {13, kKernelCode}}, Row{kAbsentCode, {11, kAbsentCode}},
              Row{kBothSizes, {13, kBothSizes}}, Row{kTask, {13, kTask}}}) {
            TestMachine machine;
            machine.put(kCode, code);
            machine.put(kCode + 0x100, "f4");
            machine.put_value(kData, kCode + 0x100);
            machine.put_value(kData + 8, row.selector);
            machine.start_kernel();
            machine.with_state([](CpuState& state) { state.gpr[rax] = kData; });
            expect_step(machine, row.expected, kCode, std::string{code} + " to " + std::to_string(row.selector));
            if (row.expected.vector == kLoads.vector) {
                EXPECT_EQ(machine.cpu.state().rip, kCode + 0x100);
                EXPECT_EQ(machine.cpu.state().segments[cs].selector, row.selector);
            }
        }
    }
}

TEST(FarTransfers, ACallAndItsReturn) {
    TestMachine machine;
    machine.put(kCode, "48ff18 f4");
    machine.put(kCode + 0x100, "48cb");  // lretq
    machine.put_value(kData, kCode + 0x100);
    machine.put_value(kData + 8, std::uint16_t{kExecuteOnly});
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = kData; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, kCode + 4);
    EXPECT_EQ(machine.cpu.state().segments[cs].selector, kKernelCode);
    EXPECT_EQ(machine.reg(rsp), kStack);
    EXPECT_EQ(machine.get(kStack - 8), kKernelCode);
    EXPECT_EQ(machine.get(kStack - 16), kCode + 3);
}

TEST(FarTransfers, AReturnToUserModeDropsTheKernelsSegments) {
    TestMachine machine;
    machine.put(kCode, "48ca1000");  // lretq 16
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 48; });
    machine.put_value(kStack - 48, std::array<std::uint64_t, 2>{kUserCode, kUserCode64 | 3});
    machine.put_value(kStack - 16, std::array<std::uint64_t, 2>{kData, kUserData | 3});
    ASSERT_EQ(machine.run(1), Ended::quota);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(machine.cpu.cpl(), 3u);
    EXPECT_EQ(state.rip, kUserCode);
    EXPECT_EQ(state.gpr[rsp], kData + 16);
    EXPECT_EQ(state.segments[ds], Segment{});
}

TEST(FarTransfers, AReturnChecksWhatItPops) {
    struct Row {
        std::uint64_t rip;
        std::uint64_t selector;
        std::uint64_t stack;
        Expectation expected;
    };
    for (Row const& row :
         {Row{kUserCode, 0, kUserData | 3, {13, 0}}, Row{kUserCode, kKernelData, kUserData | 3, {13, kKernelData}},
          Row{std::uint64_t{1} << 63, kUserCode64 | 3, kUserData | 3, {13, 0}},
          Row{std::uint64_t{1} << 63, kKernelCode, kUserData | 3, {13, 0}},
          Row{kUserCode, kUserCode64 | 3, kKernelData, {13, kKernelData}}, Row{kUserCode, kUserCode64 | 3, 0, {13, 0}},
          Row{kUserCode, kAbsentCode, 0, {11, kAbsentCode}}}) {
        TestMachine machine;
        machine.put(kCode, "48cb");
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rsp] = kStack - 32; });
        machine.put_value(kStack - 32, std::array<std::uint64_t, 4>{row.rip, row.selector, kStack, row.stack});
        expect_step(machine, row.expected, kCode, "lretq to " + std::to_string(row.selector));
        EXPECT_EQ(machine.frame().rsp, kStack - 32);
    }
}

TEST(FarTransfers, ThirtyTwoBitCodeInLongMode) {
    TestMachine machine;
    machine.put(kCode, "ff28");                    // jmp m16:32 [rax]
    machine.put(kCode + 0x100, "b8ffffffff40f4");  // mov eax, -1; inc eax; hlt
    machine.put_value(kData, static_cast<std::uint32_t>(kCode + 0x100));
    machine.put_value(kData + 4, std::uint16_t{kKernelCode32});
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = kData; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 0u);
    EXPECT_EQ(machine.cpu.mode(), CodeMode::bits32);
}

// --- SYSCALL, SYSRET, SWAPGS --------------------------------------------------------------------------------------

constexpr std::uint64_t kStar = std::uint64_t{kUserCode32 | 3} << 48 | std::uint64_t{kKernelCode} << 32;

void with_system_calls(CpuState& state) {
    state.star = kStar;
    state.lstar = kCode + 0x200;
    state.cstar = kCode + 0x300;
    state.sfmask = rflags::kInterrupt | rflags::kDirection;
}

TEST(SystemCalls, EnterTheKernelAndReturn) {
    TestMachine machine;
    machine.put(kUserCode, "0f05 90");
    machine.put(kCode + 0x200, "480f07");  // sysretq
    machine.start_user();
    machine.with_state([](CpuState& state) {
        with_system_calls(state);
        state.rflags |= rflags::kDirection | rflags::kCarry;
    });
    ASSERT_EQ(machine.run(1), Ended::quota);
    CpuState const inside = machine.cpu.state();
    EXPECT_EQ(inside.rip, kCode + 0x200);
    EXPECT_EQ(inside.gpr[rcx], kUserCode + 2);
    EXPECT_EQ(inside.gpr[r11], rflags::kInterrupt | rflags::kDirection | rflags::kCarry | 2);
    EXPECT_EQ(inside.rflags, rflags::kCarry | 2);
    EXPECT_EQ(inside.segments[cs], flat_code(kKernelCode, 0, true));
    EXPECT_EQ(inside.segments[ss], flat_data(kKernelData, 0));
    EXPECT_EQ(inside.gpr[rsp], kStack);  // SYSCALL switches no stack
    EXPECT_EQ(machine.cpu.cpl(), 0u);
    ASSERT_EQ(machine.run(1), Ended::quota);
    CpuState const back = machine.cpu.state();
    EXPECT_EQ(back.rip, kUserCode + 2);
    EXPECT_EQ(back.segments[cs].selector, kUserCode64 | 3);
    EXPECT_EQ(back.segments[ss].selector, kUserData | 3);
    EXPECT_EQ(back.rflags, inside.gpr[r11]);
    EXPECT_EQ(machine.cpu.cpl(), 3u);
}

TEST(SystemCalls, SysretToThirtyTwoBits) {
    TestMachine machine;
    machine.put(kCode, "0f07");
    machine.start_kernel();
    machine.with_state([](CpuState& state) {
        with_system_calls(state);
        state.gpr[rcx] = 0xffff'ffff'0002'0000;
        state.gpr[r11] = ~std::uint64_t{0};
    });
    ASSERT_EQ(machine.run(1), Ended::quota);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.rip, kUserCode);
    EXPECT_EQ(state.segments[cs].selector, kUserCode32 | 3);
    EXPECT_FALSE(state.segments[cs].long_mode);
    EXPECT_EQ(state.rflags & (rflags::kResume | rflags::kVirtual8086 | ~std::uint64_t{0x3f'ffff}), 0u);
}

TEST(SystemCalls, NeedEferSce) {
    TestMachine machine;
    machine.put(kUserCode, "0f05");
    machine.put(kCode, "480f07");
    machine.start_user();
    machine.with_state([](CpuState& state) { state.efer &= ~efer::kSyscall; });
    expect_step(machine, {6, 0}, kUserCode, "syscall");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.efer &= ~efer::kSyscall; });
    expect_step(machine, {6, 0}, kCode, "sysretq");
}

TEST(SystemCalls, ANonCanonicalReturnAddressFaultsInUserMode) {
    TestMachine machine;
    machine.put(kCode, "480f07");
    machine.start_kernel();
    machine.with_state([](CpuState& state) {
        with_system_calls(state);
        state.gpr[rcx] = std::uint64_t{1} << 47;
        state.gpr[r11] = 2;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 13u);
    EXPECT_EQ(machine.frame().cs, kUserCode64 | 3);
    EXPECT_EQ(machine.frame().rip, std::uint64_t{1} << 47);
}

TEST(SwapGs, ExchangesTheBases) {
    TestMachine machine;
    machine.put(kCode, "0f01f8 65488b042500000000 f4");  // swapgs; mov rax, gs:[0]
    machine.start_kernel();
    machine.put_value(kData + 0x800, std::uint64_t{0x1234});
    machine.with_state([](CpuState& state) {
        state.segments[gs].base = kData;
        state.kernel_gs_base = kData + 0x800;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 0x1234u);
    EXPECT_EQ(machine.cpu.state().kernel_gs_base, kData);
}

// --- ports --------------------------------------------------------------------------------------------------------

class Ports : public testing::Test {
  protected:
    Ports() {
        machine.put(kUserCode, "ec f4");
        for (std::uint64_t at = kBitmapOffset; at <= kTssLimit; ++at) machine.put_value(kTss + at, std::uint8_t{0xff});
    }
    void allow(unsigned port) {
        std::uint64_t const at = kTss + kBitmapOffset + port / 8;
        machine.put_value(at, static_cast<std::uint8_t>(machine.get<std::uint8_t>(at) & ~(1U << (port & 7))));
    }
    /// IN from `port` with `code`; true when it was allowed.
    bool allowed(char const* code, unsigned port) {
        machine.put(kUserCode, code);
        machine.start_user();
        machine.with_state([&](CpuState& state) { state.gpr[rdx] = port, state.tr.limit = limit; });
        EXPECT_EQ(machine.run(1), Ended::quota);
        if (!machine.is_in_handler()) return true;
        (void)machine.run();
        EXPECT_EQ(machine.arrived(), 13u);
        EXPECT_EQ(machine.frame().error_code, 0u);
        EXPECT_EQ(machine.frame().rip, kUserCode);
        return false;
    }
    std::uint32_t limit{kTssLimit};
    TestMachine machine;
};

// [SDM1] 19.5.2
TEST_F(Ports, EveryBitOfTheAccessMustBeClear) {
    for (unsigned const port : {0x10U, 0x11U, 0x17U, 0x18U}) allow(port);
    for (unsigned port = 0; port < 0x40; ++port) {
        bool const is_open = port == 0x10 || port == 0x11 || port == 0x17 || port == 0x18;
        EXPECT_EQ(allowed("ec", port), is_open) << port;                         // in al, dx
        EXPECT_EQ(allowed("ee", port), is_open) << port;                         // out dx, al
        EXPECT_EQ(allowed("66ed", port), port == 0x10 || port == 0x17) << port;  // in ax, dx
        EXPECT_FALSE(allowed("ed", port)) << port;                               // in eax, dx
    }
    allow(0x12), allow(0x13);
    EXPECT_TRUE(allowed("ed", 0x10));
    EXPECT_TRUE(allowed("ef", 0x10));
    EXPECT_TRUE(allowed("e410", 0));
}

TEST_F(Ports, BeyondTheTssNothingIsAllowed) {
    for (unsigned port = 0; port < 0x400; ++port) allow(port);
    unsigned const last_byte = kTssLimit - kBitmapOffset;  // two bytes are read, so its ports are out
    EXPECT_TRUE(allowed("ec", (last_byte - 1) * 8 + 7));
    EXPECT_FALSE(allowed("ec", last_byte * 8));
    EXPECT_FALSE(allowed("ec", 0xffff));
    limit = 0x66;
    EXPECT_FALSE(allowed("ec", 0));
}

TEST_F(Ports, IoplIsEnough) {
    machine.put(kUserCode, "ec fa fb f4");
    machine.start_user();
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kIopl; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.frame().rip, kUserCode + 3);  // HLT alone is refused
}

}  // namespace
}  // namespace backplane
