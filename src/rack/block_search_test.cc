// A translator that is wrong on purpose, found out by `verify` and reported (docs/design/translator.md).
#include "rack/block_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "cpu/testing.h"
#include "machine/boot_test_images.h"
#include "rack/rack.h"

namespace backplane {
namespace {

constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kCode = 0x1'0000, kStack = 0x2'0000;
constexpr std::uint64_t kOtherCode = 0x100;  ///< from one processor's code to the next one's

/// Changes one byte of the host code made of one guest instruction: the last of `from` becomes `to`.
class WrongCode final : public CodeListener {
  public:
    struct Fault {
        std::uint64_t linear;  ///< of the block
        std::size_t instruction;
        std::vector<std::uint8_t> from;
        std::uint8_t to;
    };
    explicit WrongCode(Fault fault) : fault_{std::move(fault)} {}
    void made_thunk(Thunk const&) override {}
    void made_block(NewBlock const& block) override {
        if (block.linear != fault_.linear) return;
        auto const& marks = block.marks.instructions;
        std::size_t const end =
            fault_.instruction + 1 < marks.size() ? marks[fault_.instruction + 1] : block.marks.stubs;
        HostCode const code = block.host.subspan(marks[fault_.instruction], end - marks[fault_.instruction]);
        auto const found = std::search(code.begin(), code.end(), fault_.from.begin(), fault_.from.end());
        ASSERT_NE(found, code.end());
        const_cast<std::uint8_t&>(found[static_cast<std::ptrdiff_t>(fault_.from.size()) - 1]) = fault_.to;
    }
    void forgot_block(std::uint8_t const*, std::uint64_t, HostCode) override {}
    void flushed() override {}

  private:
    Fault fault_;
};

class BlockSearchTest : public testing::Test {
  protected:
    BlockSearchTest() {
        auto const elf = test::make_elf();
        std::ofstream{kernel_, std::ios::binary}.write(reinterpret_cast<char const*>(elf.data()),
                                                       static_cast<std::streamsize>(elf.size()));
        MachineFile machine;
        machine.name = "alpha";
        machine.kernel = kernel_;
        machine.memory_bytes = std::uint64_t{32} << 20;
        file_.machines.push_back(machine);
        options_.verify = true;
        options_.machine_made = [this](Machine& made) { start(made); };
    }
    ~BlockSearchTest() override { std::filesystem::remove(kernel_); }

    /// Runs to the difference. The first runs of the translator have the fault.
    Rack& run(std::string_view program, WrongCode::Fault fault, unsigned most_wrong = ~0U) {
        program_ = hex(program);
        fault_ = std::move(fault);
        wrong_left_ = most_wrong;
        auto made = Rack::create(file_, options_);
        check(made.has_value(), made.has_value() ? "" : made.error().message.c_str());
        rack_ = *std::move(made);
        EXPECT_EQ(rack_->run(stop_), Ending::crashed);
        EXPECT_TRUE(rack_->has_difference());
        return *rack_;
    }
    static void expect_line(std::string const& text, std::string const& pattern) {
        EXPECT_TRUE(std::regex_search(text, std::regex{pattern, std::regex::multiline}))
            << "no line like " << pattern << " in\n"
            << text;
    }

    StopFlags stop_;
    RackFile file_;

  private:
    void start(Machine& machine) {
        EXPECT_TRUE(machine.memory().write_object(GuestPhys{kPml4}, kPdpt | 3));
        EXPECT_TRUE(machine.memory().write_object(GuestPhys{kPdpt}, std::uint64_t{0x83}));
        EXPECT_TRUE(machine.memory().write(GuestPhys{kCode}, std::as_bytes(std::span{program_})));
        CpuState state = TestMachine::kernel_state(kCode);
        state.cr3 = kPml4;
        state.gpr[rsp] = kStack;
        for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
            machine.engine(cpu).set_state(state), state.rip += kOtherCode;
        if (machine.engine(0).translator() == nullptr || wrong_left_ == 0) return;
        --wrong_left_;
        for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
            machine.engine(cpu).add_code_listener(*listeners_.emplace_back(std::make_unique<WrongCode>(fault_)));
    }

    std::filesystem::path kernel_{testing::TempDir() + "block_search_test.elf"};
    RackOptions options_;
    std::vector<std::uint8_t> program_;
    WrongCode::Fault fault_{};
    unsigned wrong_left_{0};
    std::vector<std::unique_ptr<WrongCode>> listeners_;
    std::unique_ptr<Rack> rack_;
};

// mov ecx, 1000; 1: dec ecx; jnz 1b; mov eax, 0; 2: add rax, 3; mov [0x8000], rax; inc rdx; jmp 2b
constexpr char const* kCounter = "b9e8030000 ffc9 75fc b800000000 4883c003 4889042500800000 48ffc2 ebef";
constexpr std::uint64_t kLoop = kCode + 14;

TEST_F(BlockSearchTest, AWrongRegisterIsFoundWithItsBlock) {
    Rack& rack = run(kCounter, {kLoop, 0, {0x48, 0x83, 0xc0, 3}, 4});
    std::string const text = rack.explain_difference(stop_);
    expect_line(text,
                "^machine alpha, processor 0: the tiers are equal up to its instruction [0-9]+, at 0\\.[0-9]{9} s of "
                "virtual time \\(barrier 0\\)$");
    expect_line(text, "^  rax [0-9a-f]{16}  rbx ");
    expect_line(text, "^bp_kernel_0x1000e physical 0x1000e instructions 4 ");
    expect_line(text, "^0+1000e  48 83 c0 03  add rax, 0x0?3$");
    expect_line(text, "^    [0-9a-f]+  48 83 c0 04  add rax, 0x0?4$");
    expect_line(text, "^  rax +(0x[0-9a-f]+) +0x[0-9a-f]+ \\* +0x[0-9a-f]+ \\*$");
    expect_line(text, "^  memory 0x8000 +(0x[0-9a-f]+) +0x[0-9a-f]+ \\* +0x[0-9a-f]+ \\*$");
    EXPECT_EQ(text.find("  rdx  "), text.rfind("  rdx  ")) << "it does not differ, and is shown before the block only";
}

// mov ecx, 100; 1: mov dword [0x9000], 5; dec ecx; jnz 1b; 2: inc rax; jmp 2b
TEST_F(BlockSearchTest, AWrongStoreThatNobodyReadsIsFoundToo) {
    Rack& rack = run("b964000000 c70425009000 0005000000 ffc9 75f1 48ffc0 ebfb", {kCode + 5, 0, {5, 0, 0, 0}, 1});
    std::string const text = rack.explain_difference(stop_);
    expect_line(text, "^bp_kernel_0x10005 ");
    expect_line(text, "^0+10005  c7 04 25 00 90 00 00 05 00 00 00  mov dword ptr \\[0x0*9000\\], 0x0?5$");
    expect_line(text, "^  memory 0x9000 +0x5 +0x1000005 \\* +0x5$");
}

// mov ecx, 3000; 1: sub rax, rcx; cmp rax, 5; setb bl; dec ecx; jnz 1b; hlt, without interrupts
TEST_F(BlockSearchTest, TheRunMayEndInTheSameQuantum) {
    Rack& rack = run("b9b80b0000 4829c8 4883f805 0f92c3 ffc9 75f2 f4", {kCode + 5, 1, {0x48, 0x83, 0xf8, 5}, 0x80});
    expect_line(rack.explain_difference(stop_), "^  rbx +0x[0-9a-f]+ +0x[0-9a-f]+ ");
}

// The first processor counts in memory, 0x100 bytes further the second one does.
TEST_F(BlockSearchTest, TheProcessorIsNamed) {
    file_.machines[0].topology.cpus = 2;
    std::string program = "48ff042500700000 ebf6";  // 1: inc qword [0x7000]; jmp 1b
    for (std::uint64_t i = 10; i < kOtherCode; ++i) program += "90";
    program += "4883c205 ebfa";  // 1: add rdx, 5; jmp 1b
    Rack& rack = run(program, {kCode + kOtherCode, 0, {0x48, 0x83, 0xc2, 5}, 6});
    std::string const text = rack.explain_difference(stop_);
    expect_line(text, "^machine alpha, processor 1: ");
    expect_line(text, "^bp_kernel_0x10100 ");
    expect_line(text, "^  cpu1 rdx +0x[0-9a-f]+ +0x[0-9a-f]+ \\* +0x[0-9a-f]+ \\*$");
}

TEST_F(BlockSearchTest, WhatDoesNotComeAgainIsSaid) {
    Rack& rack = run(kCounter, {kLoop, 0, {0x48, 0x83, 0xc0, 3}, 4}, 1);
    EXPECT_NE(rack.explain_difference(stop_).find("does not come again"), std::string::npos);
}

TEST_F(BlockSearchTest, CtrlCEndsIt) {
    Rack& rack = run(kCounter, {kLoop, 0, {0x48, 0x83, 0xc0, 3}, 4});
    stop_.request_interrupt();
    EXPECT_NE(rack.explain_difference(stop_).find("interrupted"), std::string::npos);
}

}  // namespace
}  // namespace backplane
