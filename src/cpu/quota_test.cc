// The quota of instructions is exact: a run in pieces of any size is the same run (claim S3.6).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

/// A device that writes down when it was accessed, in virtual time.
class Stopwatch final : public RegisterBank {
  public:
    explicit Stopwatch(MachineClock const& clock) : clock_{clock} {}
    [[nodiscard]] std::string_view name() const override { return "stopwatch"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t, Width) override {
        times.push_back(clock_.now().ns());
        return times.size();
    }
    void write(std::uint64_t, Width, std::uint64_t) override { times.push_back(clock_.now().ns()); }
    std::vector<std::uint64_t> times;

  private:
    MachineClock const& clock_;
};

constexpr std::uint64_t kDevice = 0x1f'0000;
constexpr std::uint8_t kTimerVector = 0x41;

/// Everything a run leaves behind.
struct Outcome {
    CpuState state;
    std::uint64_t ram;  ///< a hash of it
    std::vector<std::uint64_t> device_times;
    std::uint64_t instructions;
    std::uint64_t now_ns;
    bool operator==(Outcome const&) const = default;
};

/// A program with loops, faults, string instructions over the end of a page, device registers, ports, RDTSC and code
/// that changes, interrupted by a timer that its handler sets again. It runs in pieces of `piece` instructions.
class PiecewiseRun {
  public:
    static constexpr std::uint64_t kToItsEnd = 100'000;
    explicit PiecewiseRun(std::uint64_t piece) : piece_{piece} {
        check(machine_.bus.attach(GuestPhys{kDevice}, 16, stopwatch_).has_value(), "nothing is there");
        check(machine_.bus.attach_ports(PortNumber{0x300}, 4, stopwatch_).has_value(), "nothing is there");
        machine_.put(TestMachine::handler(6), "4883042402 ffc7 48cf");  // add qword [rsp], 2; inc edi; iretq
        put_timer_handler();
        put_program();
        machine_.start_kernel();
        check(machine_.apic.write_msr(0x832, 0x4'0000 | kTimerVector).has_value(), "TSC-deadline mode");
        check(machine_.apic.write_msr(0x6e0, 50).has_value(), "armed");
    }
    /// Until it has executed so many instructions.
    PiecewiseRun& run_until(std::uint64_t until) {
        while (!machine_.cpu.is_halted() && machine_.cpu.instructions() < until) {
            machine_.clock.fire_due();
            std::uint64_t const to_deadline = (machine_.clock.next_deadline() - machine_.clock.now()).ns();
            std::uint64_t const most = std::min(piece_, until - machine_.cpu.instructions());
            auto const result = machine_.cpu.run(std::clamp<std::uint64_t>(to_deadline, 1, most));
            longest_ = std::max(longest_, result.executed);
        }
        return *this;
    }
    [[nodiscard]] Outcome outcome() const {
        return {machine_.cpu.state(), hash_of_ram(), stopwatch_.times, machine_.cpu.instructions(), machine_.clock.now().ns()};
    }
    /// The most instructions that one entry executed.
    [[nodiscard]] std::uint64_t longest() const { return longest_; }

  private:
    [[nodiscard]] std::uint64_t hash_of_ram() const {
        std::uint64_t hash = 0;
        for (std::uint64_t page = 0; page < kRamBytes; page += kPageBytes) {
            auto const bytes = machine_.memory.readable(GuestPhys{page}, kPageBytes);
            for (std::size_t at = 0; at < bytes.size(); at += 8) {
                std::uint64_t word = 0;
                std::memcpy(&word, bytes.data() + at, 8);
                hash = (hash ^ word) * 0x9e37'79b9'7f4a'7c15;
            }
        }
        return hash;
    }
    void put_timer_handler() {
        constexpr std::uint64_t kHandler = 0x2'8000;
        machine_.set_gate(kTimerVector, {.target = kHandler});
        machine_.put(kHandler,
                     "50 51 52"                   // push rax; push rcx; push rdx
                     "0f31 83c025"                // rdtsc; add eax, 37
                     "b9e0060000 0f30"            // mov ecx, IA32_TSC_DEADLINE; wrmsr
                     "b90b080000 31c0 31d2 0f30"  // mov ecx, x2APIC EOI; xor eax, eax; xor edx, edx; wrmsr
                     "5a 59 58 49ffc0 48cf");     // pop ...; inc r8; iretq
    }
    void put_program() {
        std::vector<std::uint8_t> code = hex("fb bd0a000000 31ff");  // sti; mov ebp, 10; xor edi, edi
        std::size_t const round = code.size();
        auto const append = [&](std::vector<std::uint8_t> const& more) {
            code.insert(code.end(), more.begin(), more.end());
        };
        append(
            hex("90 0f0b"                                                  // nop; ud2
                "8b0425 00001f00 01c3"                                     // mov eax, [device]; add ebx, eax
                "90 90 ff0425 04001f00 90"                                 // inc dword [device + 4]
                "57 bff00f0300 b928000000 f3aa 5f"                         // push rdi; rep stosb; pop rdi
                "51 56 57 be00000300 bf00180300 b900010000 f3a4 5f 5e 59"  // the same with rep movsb
                "66ba0003 ec 01c3 ef"                                      // in al, dx; add ebx, eax; out dx, eax
                "0f31 01c3"                                                // rdtsc; add ebx, eax
                "fe0501000000 b900000000 01cb"  // inc byte [rip + 1]; mov ecx, imm; add ebx, ecx
                "e802000000 eb03 ffc6 c3"       // call f; jmp over; f: inc esi; ret
                "ffcd 0f85"));                  // dec ebp; jnz round
        auto const back = static_cast<std::uint32_t>(round - (code.size() + 4));
        for (unsigned i = 0; i < 4; ++i) code.push_back(static_cast<std::uint8_t>(back >> 8 * i));
        code.push_back(0xfa);  // cli
        code.push_back(0xf4);  // hlt
        machine_.put(kCode, code);
    }

    TestMachine machine_;
    Stopwatch stopwatch_{machine_.clock};
    std::uint64_t piece_;
    std::uint64_t longest_{0};
};

/// A run in the interpreter, also where the tests have a second tier.
PiecewiseRun interpreted(std::uint64_t piece) {
    auto* const tier = std::exchange(TestMachine::make_tier, nullptr);
    struct Restore {
        TestMachine::MakeTier tier;
        ~Restore() { TestMachine::make_tier = tier; }
    } const restore{tier};
    return PiecewiseRun{piece};
}

TEST(Quota, ARunInPiecesOfAnySizeIsTheSameRun) {
    Outcome const expected = interpreted(1'000'000).run_until(PiecewiseRun::kToItsEnd).outcome();
    ASSERT_TRUE(expected.state.halted);
    EXPECT_EQ(expected.state.gpr[rdi], 10u);  // ten UD2
    EXPECT_EQ(expected.state.gpr[rsi], 10u);  // ten calls
    EXPECT_GT(expected.state.gpr[r8], 20u);   // many timer interrupts
    EXPECT_EQ(expected.device_times.size(), 10u * 5);
    EXPECT_GT(expected.instructions, 3000u);
    EXPECT_EQ(expected.now_ns, expected.instructions);  // 1,000,000,000 instructions a second
    for (std::uint64_t piece = 1; piece <= 1000; piece < 70 ? ++piece : piece += 31) {
        PiecewiseRun run{piece};
        run.run_until(PiecewiseRun::kToItsEnd);
        EXPECT_LE(run.longest(), piece);
        Outcome const outcome = run.outcome();
        EXPECT_EQ(outcome.device_times, expected.device_times) << piece;
        EXPECT_EQ(outcome.instructions, expected.instructions) << piece;
        EXPECT_EQ(outcome.ram, expected.ram) << piece;
        ASSERT_TRUE(outcome == expected) << piece;
    }
}

// Wherever a quota ends, the state is that of as many instructions one by one.
TEST(Quota, EachOneEndsInTheSameState) {
    constexpr std::uint64_t kMost = 1000;
    std::vector<Outcome> expected;
    {
        PiecewiseRun reference = interpreted(1);
        while (expected.size() < kMost) expected.push_back(reference.run_until(expected.size() + 1).outcome());
    }
    for (std::uint64_t quota = 1; quota <= kMost; ++quota) {
        Outcome const outcome = PiecewiseRun{quota}.run_until(quota).outcome();
        ASSERT_EQ(outcome.instructions, quota);
        ASSERT_TRUE(outcome == expected[quota - 1]) << quota;
    }
}

/// IRET sets RF for the instruction that follows, which the next run has still to execute.
TEST(Quota, EndsBehindAnIretWithRfStillSet) {
    TestMachine machine;
    machine.put(kUserCode,
                "4889e1 8cd0 50 51 9c"    // loop: mov rcx, rsp; mov eax, ss; push rax; push rcx; pushfq
                "810c2400000100 8cc8 50"  // or dword [rsp], RF; mov eax, cs; push rax
                "488d0503000000 50 48cf"  // lea rax, [next]; push rax; iretq
                "90 ebe1");               // next: nop; jmp loop
    machine.start_user();
    for (unsigned round = 0; round < 40; ++round) {
        ASSERT_EQ(machine.cpu.run(11).executed, 11u);
        ASSERT_EQ(machine.cpu.state().rip, kUserCode + 28) << round;
        EXPECT_EQ(machine.cpu.state().rflags & rflags::kResume, rflags::kResume) << round;
        ASSERT_EQ(machine.cpu.run(2).executed, 2u);
        EXPECT_EQ(machine.cpu.state().rflags & rflags::kResume, 0u) << round;
    }
}

/// A machine of the interpreter, also where the tests have a second tier.
std::unique_ptr<TestMachine> interpreting() {
    auto* const tier = std::exchange(TestMachine::make_tier, nullptr);
    auto machine = std::make_unique<TestMachine>();
    TestMachine::make_tier = tier;
    return machine;
}

// What is left of a trace is there already; only where runs begin again and again a trace of its own is made.
TEST(Quota, TheRestOfATraceIsNotDecodedAtOnce) {
    auto const machine = interpreting();
    machine->put(kCode, "ffc0 ffc1 ffc2 ffc3 ffc5 8b0425 00000300 f4");  // inc eax; inc ecx; ... mov eax, [kData]; hlt
    machine->put_value<std::uint32_t>(kData, 77);
    for (unsigned round = 1; round <= 8; ++round) {
        machine->start_kernel();
        EXPECT_EQ(machine->cpu.run(2).executed, 2u);
        EXPECT_EQ(machine->cpu.run(2).executed, 2u);
        EXPECT_EQ(machine->reg(rbx), 1u);
        EXPECT_EQ(machine->reg(rbp), 0u);
        EXPECT_EQ(machine->run(), Ended::halted);
        EXPECT_EQ(machine->reg(rax), 77u);
        EXPECT_EQ(machine->reg(rbp), 1u);
        EXPECT_EQ(machine->cpu.counters().traces_decoded, round <= 4 ? 1u : 2u) << round;
    }
}

// The same of an instruction that has faulted, to which its handler returns.
TEST(Quota, TheRestOfATraceBehindAFaultIsNotDecodedAtOnce) {
    auto const machine = interpreting();
    machine->put(TestMachine::handler(14), "4883c408 c7042500000500 01000000 48cf");  // add rsp, 8; mov dword [0x50000], 1; iretq
    machine->put(TestMachine::handler(0), "ffc1 48cf");                              // inc ecx; iretq
    machine->put(kCode, "ffc0 f7f1 ffc3 f4");                                        // inc eax; div ecx; inc ebx; hlt
    machine->start_kernel();
    EXPECT_EQ(machine->run(), Ended::halted);
    EXPECT_EQ(machine->reg(rbx), 1u);
    EXPECT_EQ(machine->reg(rcx), 1u);
    EXPECT_EQ(machine->cpu.counters().traces_decoded, 2u) << "the program's and the handler's";
}

TEST(Quota, IsUsedUpToTheLastInstruction) {
    TestMachine machine;
    machine.put(kCode, "90 90 90 90 90 90 90 90 ebf6");  // eight nops in a loop
    for (std::uint64_t quota = 1; quota < 200; ++quota) {
        machine.start_kernel();
        auto const result = machine.cpu.run(quota);
        EXPECT_EQ(result.reason, Leave::next);
        EXPECT_EQ(result.executed, quota);
        std::uint64_t const in_round = quota % 9;
        EXPECT_EQ(machine.cpu.state().rip, kCode + in_round) << quota;
    }
}

TEST(Quota, EndsInTheMiddleOfARepeatedInstruction) {
    TestMachine machine;
    machine.put(kCode, "f3aa 90 f4");  // rep stosb
    for (std::uint64_t const quota : {1U, 2U, 63U, 4096U, 5000U}) {
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rcx] = 6000, state.gpr[rdi] = kData; });
        auto const result = machine.cpu.run(quota);
        EXPECT_EQ(result.executed, quota);
        EXPECT_EQ(machine.reg(rcx), 6000 - quota);
        EXPECT_EQ(machine.cpu.state().rip, kCode);
    }
}

// A handler that faults at once, on a stack that it always gets anew: no instruction is ever executed, and yet the
// quota must come to its end, or this guest would stop the whole rack. So a delivered fault counts as an instruction.
TEST(Quota, EndsAnEndlessChainOfFaults) {
    for (char const* const code : {"0f0b", "8a042500001f00"}) {  // #UD, #PF
        TestMachine machine;
        std::uint8_t const vector = code[0] == '0' ? 6 : 14;
        machine.map(0x1f'0000, 0, 0);
        machine.put(TestMachine::handler(vector), code);
        auto gate = TestMachine::default_gate(vector);
        gate.stack = 1;
        machine.set_gate(vector, gate);
        machine.put(kCode, code);
        machine.start_kernel();
        auto const result = machine.cpu.run(1000);
        EXPECT_EQ(result.reason, Leave::next);
        EXPECT_EQ(result.executed, 1000u);
    }
}

// The same when the handler cannot even be fetched.
TEST(Quota, EndsAnEndlessChainOfFetchFaults) {
    TestMachine machine;
    machine.map(0x1f'0000, 0, 0);
    machine.set_gate(14, {.target = 0x1f'0000, .stack = 1});
    machine.put(kCode, "ffe0");  // jmp rax
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rax] = 0x1f'0000; });
    EXPECT_EQ(machine.cpu.run(1000).executed, 1000u);
}

}  // namespace
}  // namespace backplane
