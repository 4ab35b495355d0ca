// Interrupts between instructions: shadows, HLT, NMI, priority, single steps, and links between traces.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr std::uint8_t kVector = 0x41;

void allow_interrupts(TestMachine& machine) {
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kInterrupt; });
}

TEST(Interrupts, ArriveBetweenInstructionsWhenAllowed) {
    TestMachine machine;
    machine.put(kCode, "90 90 90 f4");
    machine.start_kernel();
    machine.interrupt(kVector);
    ASSERT_EQ(machine.run(2), Ended::quota);  // IF is clear
    EXPECT_EQ(machine.cpu.state().rip, kCode + 2);
    allow_interrupts(machine);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), kVector);
    EXPECT_EQ(machine.frame().rip, kCode + 2);
    EXPECT_EQ(machine.frame().rflags & rflags::kResume, 0u);
}

TEST(Interrupts, ByTheirPriorityAndTheTaskPriority) {
    TestMachine machine;
    machine.put(kCode, "b8 05000000 440f22c0 fb 90 90 f4");  // mov eax, 5; mov cr8, rax; sti
    machine.interrupt(0x41);
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_FALSE(machine.arrived().has_value());  // 0x41 is of class 4
    machine.start_kernel();
    machine.interrupt(0x61);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 0x61u);
    EXPECT_EQ(machine.frame().rip, kCode + 11);  // behind the instruction after STI
}

TEST(Shadow, OfStiIsOneInstruction) {
    for (char const* const code : {"fb 90 90 f4", "fb fb 90 f4"}) {
        TestMachine machine;
        machine.put(kCode, code);
        machine.start_kernel();
        machine.interrupt(kVector);
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived(), kVector);
        EXPECT_EQ(machine.frame().rip, kCode + 2) << code;
    }
}

TEST(Shadow, OfStiIsNoneWhenInterruptsWereAllowed) {
    TestMachine machine;
    machine.put(kCode, "fb 90 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kInterrupt; });
    (void)machine.run(1);
    machine.interrupt(kVector);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.frame().rip, kCode + 1);
}

// MOV SS and POP SS hold off interrupts, NMIs included; LSS needs no such thing, since it loads the pointer too.
TEST(Shadow, OfALoadOfSsIsOneInstruction) {
    struct Case {
        char const* code;  ///< nop, the load, two nops, hlt
        std::uint64_t rip;
        unsigned loads;  ///< instructions up to the load
    };
    for (Case const c : {Case{"90 8ed0 90 90 f4", 4, 2}, Case{"90 0fb220 90 90 f4", 4, 2}}) {
        TestMachine machine;
        machine.put(kCode, c.code);
        machine.put(kData, "00000400 1000");  // esp and ss for LSS
        machine.start_kernel();
        allow_interrupts(machine);
        bool const is_mov = c.code[3] == '8';
        machine.with_state([&](CpuState& state) { state.gpr[rax] = is_mov ? kKernelData : kData; });
        (void)machine.run(c.loads);
        machine.interrupt(kVector);
        machine.send_nmi();
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived(), 2u);
        EXPECT_EQ(machine.frame().rip, kCode + c.rip) << c.code;
    }
}

TEST(Shadow, OfASecondLoadOfSsIsNone) {
    TestMachine machine;
    machine.put(kCode, "8ed0 8ed0 90 f4");
    machine.start_kernel();
    allow_interrupts(machine);
    machine.with_state([&](CpuState& state) { state.gpr[rax] = kKernelData; });
    (void)machine.run(1);
    machine.interrupt(kVector);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.frame().rip, kCode + 4);
}

TEST(Halt, WakesForWhatIsAllowed) {
    TestMachine machine;
    machine.put(kCode, "fb f4 90 f4");
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, kCode + 2);
    EXPECT_FALSE(machine.cpu.has_wake_event());
    ASSERT_EQ(machine.run(), Ended::halted);  // nothing has changed
    EXPECT_EQ(machine.cpu.state().rip, kCode + 2);
    machine.interrupt(kVector);
    EXPECT_TRUE(machine.cpu.has_wake_event());
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), kVector);
    EXPECT_EQ(machine.frame().rip, kCode + 2);
}

// STI; HLT is how an operating system goes to sleep: an interrupt that waits already must end the HLT.
TEST(Halt, IsNotMissedByAnInterruptThatCameBefore) {
    TestMachine machine;
    machine.put(kCode, "fb f4");
    machine.start_kernel();
    machine.interrupt(kVector);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), kVector);
    EXPECT_EQ(machine.frame().rip, kCode + 2);
}

TEST(Halt, WithInterruptsOffWakesForAnNmiAlone) {
    TestMachine machine;
    machine.put(kCode, "fa f4");
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    machine.interrupt(kVector);
    EXPECT_FALSE(machine.cpu.has_wake_event());
    machine.send_nmi();
    EXPECT_TRUE(machine.cpu.has_wake_event());
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 2u);
}

// [SDM3A] 6.7.1: no NMI while one is handled; one is remembered; IRET lets it in.
TEST(Nmi, IsHeldUntilTheReturnFromTheLastOne) {
    TestMachine machine;
    machine.put(kCode, "90 90 f4");
    machine.put(TestMachine::handler(2), "90 f4 48cf");  // nop; hlt; iretq
    machine.start_kernel();
    machine.send_nmi();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, TestMachine::handler(2) + 2);
    machine.send_nmi();
    machine.send_nmi();
    EXPECT_FALSE(machine.cpu.has_wake_event());
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().rip, TestMachine::handler(2) + 2);
    EXPECT_EQ(machine.frame().rip, kCode);
    machine.with_state([](CpuState& state) { state.halted = false; });
    ASSERT_EQ(machine.run(), Ended::halted);  // IRET, and the second NMI at once
    EXPECT_EQ(machine.cpu.state().rip, TestMachine::handler(2) + 2);
    EXPECT_EQ(machine.get(machine.reg(rsp)), kCode);
    machine.with_state([](CpuState& state) { state.halted = false; });
    ASSERT_EQ(machine.run(), Ended::halted);  // IRET, and no third one
    EXPECT_EQ(machine.cpu.state().rip, kCode + 3);
}

TEST(Nmi, ComesBeforeAnInterrupt) {
    TestMachine machine;
    machine.put(kCode, "90 f4");
    machine.start_kernel();
    allow_interrupts(machine);
    machine.interrupt(kVector);
    machine.send_nmi();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 2u);
    EXPECT_EQ(machine.frame().rip, kCode);
}

// [SDM3B] 15.3, 15.10.4.1; [SDM3A] table 6-2: before an NMI, and whatever IF says.
constexpr std::uint64_t kUncorrected = 0xb600'0000'0000'0135;  // valid, uncorrected, enabled, address valid, context corrupt

void enable_machine_checks(TestMachine& machine) {
    machine.with_state([](CpuState& state) { state.cr4 |= cr4::kMachineCheck; });
}

TEST(MachineCheck, ComesBeforeEverythingElseAndIsNoted) {
    TestMachine machine;
    machine.put(kCode, "90 f4");
    machine.start_kernel();
    enable_machine_checks(machine);
    machine.send_nmi();
    machine.cpu.raise_machine_check(kUncorrected, 0x1234);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 2u) << "the NMI, at the first instruction of the other's handler";
    EXPECT_EQ(machine.frame().rip, TestMachine::handler(18));
    EXPECT_EQ(machine.get(machine.frame().rsp), kCode);
    EXPECT_EQ(machine.cpu.read_msr(0x17a), 5u) << "RIPV, MCIP";
    EXPECT_EQ(machine.cpu.read_msr(0x401), kUncorrected);
    EXPECT_EQ(machine.cpu.read_msr(0x402), 0x1234u);
}

TEST(MachineCheck, WakesAHaltedProcessor) {
    TestMachine machine;
    machine.put(kCode, "f4");
    machine.start_kernel();
    enable_machine_checks(machine);
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_FALSE(machine.cpu.has_wake_event());
    machine.cpu.raise_machine_check(kUncorrected, 0);
    EXPECT_TRUE(machine.cpu.has_wake_event());
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 18u);
    EXPECT_EQ(machine.frame().rip, kCode + 1);
}

TEST(MachineCheck, ShutsDownWithoutMceAndInsideOfAnother) {
    for (bool const is_enabled : {false, true}) {
        TestMachine machine;
        machine.put(kCode, "90 f4");
        machine.start_kernel();
        if (is_enabled) {
            enable_machine_checks(machine);
            machine.cpu.raise_machine_check(kUncorrected, 0);
            ASSERT_EQ(machine.run(), Ended::halted);
        }
        machine.cpu.raise_machine_check(kUncorrected, 0);
        EXPECT_EQ(machine.run(), Ended::shutdown) << is_enabled;
        EXPECT_STREQ(machine.cpu.shutdown_cause(), "machine check");
        EXPECT_EQ(*machine.cpu.read_msr(0x401) >> 62 & 1, is_enabled ? 1u : 0u) << "overflow: two without being read";
    }
}

// A trace's link to its successor is made when the successor is found. When an interrupt comes in between, the trace
// that is found next is the handler's, and the link must not lead there.
TEST(Links, AreNotBoundToTheHandlerOfAnInterrupt) {
    TestMachine machine;
    // start: inc eax; cmp eax, 100; jne start; hlt   - a loop of one trace that links to itself
    machine.put(kCode, "ffc0 83f864 75f9 f4");
    machine.put(TestMachine::handler(kVector), "ffc3 48cf");  // inc ebx; iretq
    for (std::uint64_t first = 1; first <= 12; ++first) {
        machine.start_kernel();
        machine.traces.flush();
        allow_interrupts(machine);
        machine.with_state([](CpuState& state) { state.gpr[rax] = state.gpr[rbx] = 0; });
        (void)machine.run(first);
        machine.interrupt(kVector);
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.cpu.state().rip, kCode + 8);
        EXPECT_EQ(machine.reg(rax), 100u) << first;
        EXPECT_EQ(machine.reg(rbx), 1u) << first;
        ASSERT_TRUE(machine.apic.write_msr(0x80b, 0).has_value());  // end of interrupt
    }
}

// The same for an exception that the trace ended with.
TEST(Links, AreNotBoundToTheHandlerOfAnException) {
    TestMachine machine;
    // start: inc eax; jmp next; next: ud2 (the handler skips it); cmp eax, 3; jne start; hlt
    machine.put(kCode, "ffc0 eb00 0f0b 83f803 75f5 f4");
    machine.put(TestMachine::handler(6), "ffc3 4883042402 48cf");  // inc ebx; add qword [rsp], 2; iretq
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.reg(rax), 3u);
    EXPECT_EQ(machine.reg(rbx), 3u);
}

// --- single steps ([SDM3A] 17.3.1.4) ------------------------------------------------------------------------------

class SingleStep : public testing::Test {
  protected:
    /// The addresses at which a debug trap stopped `code`, until its end. INT 200 behind it clears TF and halts.
    std::vector<std::uint64_t> stops(char const* code) {
        std::vector<std::uint8_t> bytes = hex(code);
        bytes.insert(bytes.end(), {0xcd, 200});
        machine.put(kCode, bytes);
        // The handler appends the address to the list at kData + 8 * r15.
        machine.put(TestMachine::handler(1), "50 488b442408 4a8904fd00000300 eb00");
        machine.put(TestMachine::handler(1) + 16, "49ffc7 58 48cf");
        machine.set_gate(2, {.target = TestMachine::handler(200)});
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.rflags |= rflags::kTrap; });
        EXPECT_EQ(machine.run(), Ended::halted);
        std::vector<std::uint64_t> list;
        for (std::uint64_t i = 0; i < machine.reg(r15); ++i) list.push_back(machine.get(kData + 8 * i) - kCode);
        return list;
    }
    TestMachine machine;
};

TEST_F(SingleStep, StopsBehindEachInstruction) {
    EXPECT_EQ(stops("90 ffc0 eb00 90"), (std::vector<std::uint64_t>{1, 3, 5, 6}));
    EXPECT_NE(machine.cpu.state().dr6 & 1 << 14, 0u);  // BS
}

TEST_F(SingleStep, StopsBehindEachIterationOfARepeatedOne) {
    // mov ecx, 3; mov edi, kData + 0x800; rep stosb; hlt
    EXPECT_EQ(stops("b9 03000000 bf 00080300 f3aa"), (std::vector<std::uint64_t>{5, 10, 10, 10, 12}));
}

TEST_F(SingleStep, IsHeldOffByALoadOfSs) {
    // mov eax, 0x10; mov ss, ax; nop; nop; hlt
    EXPECT_EQ(stops("b8 10000000 8ed0 90 90"), (std::vector<std::uint64_t>{5, 8, 9}));
}

TEST_F(SingleStep, BeginsAfterTheInstructionBehindPopf) {
    machine.put(kCode, "9c 810c2400010000 9d 90 90 f4");  // pushfq; or dword [rsp], 0x100; popfq; nop
    machine.start_kernel();
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 1u);
    EXPECT_EQ(machine.frame().rip, kCode + 10);
    EXPECT_EQ(machine.cpu.state().rflags & rflags::kTrap, 0u);
}

TEST_F(SingleStep, DoesNotFollowASoftwareInterruptIntoItsHandler) {
    machine.put(kCode, "cd80 90 f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.rflags |= rflags::kTrap; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 0x80u);
    EXPECT_NE(machine.frame().rflags & rflags::kTrap, 0u);
}

}  // namespace
}  // namespace backplane
