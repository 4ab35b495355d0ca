// Code that changes while it is decoded: by stores of the guest, by devices, through aliases; and the trace cache.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

/// Runs `code` from kCode to its HLT.
void run_code(TestMachine& machine, char const* code) {
    machine.put(kCode, code);
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    ASSERT_FALSE(machine.arrived().has_value()) << "vector " << machine.arrived().value_or(0);
}

TEST(SelfModifyingCode, TheNextInstructionIsChanged) {
    TestMachine machine;
    // mov byte [rip + 1], 2 changes the immediate of the mov eax, 1 behind it
    run_code(machine, "c60501000000 02 b801000000 f4");
    EXPECT_EQ(machine.reg(rax), 2u);
    EXPECT_EQ(machine.cpu.counters().code_writes, 1u);
}

TEST(SelfModifyingCode, AnInstructionOfTheSameTraceIsChangedEachTime) {
    TestMachine machine;
    // mov ecx, 10; again: mov eax, 0 (imm at +6); add ebx, eax; inc byte [rip - 14 ...]; dec ecx; jnz again; hlt
    run_code(machine, "b90a000000 b800000000 01c3 fe05f4ffffff ffc9 75ef f4");
    EXPECT_EQ(machine.reg(rbx), 0u + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9);
}

TEST(SelfModifyingCode, AWiderStoreOverTheNextInstruction) {
    TestMachine machine;
    // mov rax, <inc ebx; inc ebx; hlt...>; mov [rip], rax ; then eight nops that have become that code
    run_code(machine, "48b8 ffc3ffc3f4909090 48890500000000 9090909090909090 f4");
    EXPECT_EQ(machine.reg(rbx), 2u);
    EXPECT_EQ(machine.cpu.state().rip, kCode + 10 + 7 + 5);
}

TEST(SelfModifyingCode, ARepeatedStoreOverCodeThatFollows) {
    TestMachine machine;
    // mov al, 0x90; mov ecx, 4; lea rdi, [rip + 3]; rep stosb; ud2; ud2; hlt - the store makes nops of both
    run_code(machine, "b090 b904000000 488d3d02000000 f3aa 0f0b0f0b f4");
    EXPECT_EQ(machine.cpu.state().rip, kCode + 2 + 5 + 7 + 2 + 5);
}

TEST(SelfModifyingCode, AStoreFromAnotherPageIsSeen) {
    TestMachine machine;
    constexpr std::uint64_t kOther = kCode + kPageBytes;
    machine.put(kOther, "b801000000 c3");  // mov eax, 1; ret
    // call other; mov ebx, eax; mov byte [other + 1], 7; call other; hlt
    run_code(machine, "e8fb0f0000 89c3 c60425 01100100 07 e8ec0f0000 f4");
    EXPECT_EQ(machine.reg(rbx), 1u);
    EXPECT_EQ(machine.reg(rax), 7u);
}

TEST(SelfModifyingCode, AStoreThatReachesFromOnePageIntoTheNext) {
    TestMachine machine;
    constexpr std::uint64_t kOther = kCode + kPageBytes;
    machine.put(kOther, "b801000000 c3");
    // call other; mov dword [other - 2], 0x05b89090 (the lower two bytes before the page); call other; hlt
    run_code(machine, "e8fb0f0000 c70425 fe0f0100 9090b805 e8eb0f0000 f4");
    EXPECT_EQ(machine.reg(rax), 5u);
}

TEST(SelfModifyingCode, ADeviceWritesCode) {
    TestMachine machine;
    // again: mov eax, 1; dec ecx; jnz again; hlt
    machine.put(kCode, "b801000000 ffc9 75f7 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rcx] = 1000; });
    ASSERT_EQ(machine.run(100), Ended::quota);
    EXPECT_EQ(machine.reg(rax), 1u);
    machine.put_value(kCode + 1, std::uint32_t{42});  // as DMA does it
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 42u);
}

TEST(SelfModifyingCode, ThroughAnotherLinearAddress) {
    TestMachine machine;
    constexpr std::uint64_t kAlias = 0x10'0000;
    machine.map(kAlias, kCode, 3);
    // mov byte [kAlias + offset of the immediate], 2; mov eax, 1; hlt
    run_code(machine, "c60425 09001000 02 b801000000 f4");
    EXPECT_EQ(machine.reg(rax), 2u);
}

// The alias has been written before the page had code, so that its translation is in the TLB already.
TEST(SelfModifyingCode, ThroughAnotherLinearAddressThatIsCached) {
    TestMachine machine;
    constexpr std::uint64_t kAlias = 0x10'0000, kOther = 0x1'1000;
    machine.map(kAlias, kOther, 3);
    machine.put(kOther, "b801000000 c3");
    // mov byte [alias + 0x800], 0 (fills the TLB); call other; mov byte [alias + 1], 9; call other; hlt
    run_code(machine, "c60425 00081000 00 e8f30f0000 c60425 01001000 09 e8e60f0000 f4");
    EXPECT_EQ(machine.reg(rax), 9u);
}

TEST(SelfModifyingCode, DataBesideCodeDropsNoTrace) {
    TestMachine machine;
    // mov ecx, 100; again: inc dword [rip + 0x200]; dec ecx; jnz again; hlt
    run_code(machine, "b964000000 ff0500020000 ffc9 75f6 f4");
    EXPECT_EQ(machine.get<std::uint32_t>(kCode + 11 + 0x200), 100u);
    EXPECT_EQ(machine.traces.dropped_count(), 0u);
    EXPECT_EQ(machine.cpu.counters().code_writes, 0u);
}

TEST(SelfModifyingCode, APageThatIsMappedElsewhereRunsTheOtherCode) {
    TestMachine machine;
    constexpr std::uint64_t kWindow = 0x10'0000, kFirst = 0x1'1000, kSecond = 0x1'2000;
    machine.map(kWindow, kFirst, 3);
    machine.put(kFirst, "b801000000 c3");
    machine.put(kSecond, "b802000000 c3");
    // call window; mov ebx, eax; mov dword [entry], kSecond | 3; invlpg [window]; call window; hlt
    run_code(machine, "e8fbff0e00 89c3 c70425 00480000 03200100 0f013c25 00001000 e8e1ff0e00 f4");
    EXPECT_EQ(machine.reg(rbx), 1u);
    EXPECT_EQ(machine.reg(rax), 2u);
}

// --- instructions that cross a page -------------------------------------------------------------------------------

constexpr std::uint64_t kSplit = 0x1'3000;  // the second page of the instructions below

TEST(PageCrossing, ExecutesFromPagesThatAreNoNeighbours) {
    TestMachine machine;
    machine.map(kSplit, 0x1'8000, 3);
    for (unsigned before = 1; before < 5; ++before) {  // bytes of mov eax, imm32 in the first page
        std::vector<std::uint8_t> const code = hex("b8 44332211 c3");
        for (std::size_t i = 0; i < code.size(); ++i) {
            std::uint64_t const at = kSplit - before + i;
            machine.put_value(at < kSplit ? at : at - kSplit + 0x1'8000, code[i]);
        }
        machine.put(kCode, "ffd3 f4");  // call rbx
        machine.start_kernel();
        machine.with_state([&](CpuState& state) { state.gpr[rbx] = kSplit - before; });
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.reg(rax), 0x1122'3344u) << before;
    }
}

TEST(PageCrossing, TheSecondPageMayChange) {
    TestMachine machine;
    machine.put(kSplit - 1, "b8 01000000 c3");
    machine.put(0x1'8000, "02000000 c3");
    machine.put(kCode, "ffd3 89c1 ffd3 f4");  // call rbx; mov ecx, eax; call rbx
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kSplit - 1; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 1u);

    machine.put_value(kSplit, std::uint8_t{7});  // by DMA into the second page
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kSplit - 1; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 7u);

    machine.map(kSplit, 0x1'8000, 3);  // another page behind the first
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kSplit - 1; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 2u);

    machine.map(kSplit, 0, 0);  // none at all: the fault is at the address of the second page
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kSplit - 1; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 14u);
    EXPECT_EQ(machine.frame().rip, kSplit - 1);
    EXPECT_EQ(machine.cpu.state().cr2, kSplit);
}

// --- the arena ----------------------------------------------------------------------------------------------------

TEST(TraceCache, AFullArenaIsFlushedAndEverythingStillRuns) {
    TestMachine machine{4096};  // a handful of traces
    // 200 routines of 16 bytes: add ebx, 1; ret. They are called in turn, five times over.
    constexpr std::uint64_t kRoutines = 0x2'0000;
    for (unsigned i = 0; i < 200; ++i) machine.put(kRoutines + i * 16, "83c301 c3");
    // mov ecx, 5; round: mov esi, kRoutines; again: call rsi; add esi, 16; cmp esi, end; jb again; dec ecx; jnz round;
    // hlt
    machine.put(kCode, "b905000000 be00000200 ffd6 83c610 81fe800c0200 72f3 ffc9 75ea f4");
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rbx), 1000u);
    EXPECT_GT(machine.traces.flush_count(), 10u);
}

TEST(TraceCache, DroppedPagesForgetTheirCode) {
    TestMachine machine;
    run_code(machine, "b801000000 f4");
    GuestPage const page = page_of(GuestPhys{kCode});
    EXPECT_TRUE(machine.traces.covers(GuestPhys{kCode}, 1));
    EXPECT_TRUE(machine.memory.map().lookup(page).has_code);
    // Another frame takes the page's place, as a donated one does.
    FrameNumber const other = machine.memory.map().lookup(page_of(GuestPhys{0x1'8000})).frame;
    machine.put(0x1'8000, "b805000000 f4");
    machine.memory.map().map(page, other, 1, OwnerState::owner_exclusive, Access::read_write).run();
    EXPECT_FALSE(machine.traces.covers(GuestPhys{kCode}, 1));
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 5u);
}

TEST(TraceCache, CodeInAHoleIsNoInstructionAndAHoleThatIsFilledIsCode) {
    TestMachine machine;
    constexpr std::uint64_t kHole = 0x1'8000;
    GuestPage const page = page_of(GuestPhys{kHole});
    FrameNumber const frame = machine.memory.map().lookup(page).frame;
    machine.memory.map().unmap(page, 1).run();
    machine.put(kCode, "ffd3 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kHole; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 6u);
    machine.memory.map().map(page, frame, 1, OwnerState::owner_exclusive, Access::read_write).run();
    machine.put(kHole, "b803000000 c3");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kHole; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 3u);
}

TEST(TraceCache, TheModeIsPartOfTheKey) {
    TestMachine machine;
    // 40 ff c0: in 64-bit mode inc eax with a REX prefix, in 32-bit mode inc eax twice
    machine.put(kCode, "31c0 40ffc0 f4");
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 1u);
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.segments[cs] = flat_code(kKernelCode32, 0, false); });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 2u);
}

// A page walk that sets an accessed flag in the very page whose code is running: whatever happens, it goes on.
TEST(TraceCache, PageTablesInTheCodePage) {
    TestMachine machine;
    // The page directory of the second 2 MiB lies in the code page, 64 bytes behind the loop.
    constexpr std::uint64_t kTable = kCode;
    machine.put_value(kPd + 8, kTable | 7);
    for (unsigned i = 16; i < 32; ++i) machine.put_value(kTable + i * 8, kData | 7);
    // mov esi, 0x210000; mov ecx, 16; again: mov eax, [rsi]; add esi, 4096; dec ecx; jnz again; hlt
    run_code(machine, "be00002100 b910000000 8b06 81c600100000 ffc9 75f4 f4");
    EXPECT_EQ(machine.reg(rcx), 0u);
    for (unsigned i = 16; i < 32; ++i) EXPECT_EQ(machine.get(kTable + i * 8), kData | 0x27) << i;
}

}  // namespace
}  // namespace backplane
