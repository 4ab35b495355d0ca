#include <gtest/gtest.h>

#include "cpu/code_runner.h"
#include "cpu/x87.h"

namespace backplane {
namespace {

using Code = std::vector<std::uint8_t>;

constexpr X87Register kOne{0x8000'0000'0000'0000, 0x3fff};
constexpr X87Register kTwo{0x8000'0000'0000'0000, 0x4000};
constexpr X87Register kZero{0, 0};

class X87Test : public testing::Test {
  protected:
    void SetUp() override { ASSERT_NE(machine_, nullptr); }

    std::optional<ExceptionVector> fault_of(CpuState const& state, Code const& code) {
        machine_->run(state, code);
        return machine_->fault();
    }
    X87State const& after() const { return machine_->after().x87; }

    /// A stack with these values, ST(0) first.
    void fill(std::initializer_list<X87Register> values) {
        set_stack_top(state_.x87, 8 - static_cast<unsigned>(values.size()));
        int i = 0;
        for (X87Register const& value : values) write_st(state_.x87, i++, value);
    }

    std::unique_ptr<CodeRunner> machine_ = CodeRunner::create();
    CpuState state_ = CodeRunner::ready();
};

TEST_F(X87Test, ComputesInExtendedPrecision) {
    EXPECT_EQ(fault_of(state_, {0xd9, 0xe8, 0xd8, 0xc0}), std::nullopt);  // fld1; fadd st, st(0)
    EXPECT_EQ(read_st(after(), 0), kTwo);
    EXPECT_EQ(stack_top(after()), 7u);
    EXPECT_EQ(after().valid, 0x80);
}

TEST_F(X87Test, Cr0DecidesWhetherItRuns) {
    Code const fld1{0xd9, 0xe8};
    Code const fwait{0x9b};
    CpuState emulated = state_;
    emulated.cr0 |= cr0::kEmulation;
    EXPECT_EQ(fault_of(emulated, fld1), ExceptionVector::device_not_available);
    EXPECT_EQ(fault_of(emulated, fwait), std::nullopt);
    CpuState switched = state_;
    switched.cr0 |= cr0::kTaskSwitched;
    EXPECT_EQ(fault_of(switched, fld1), ExceptionVector::device_not_available);
    EXPECT_EQ(fault_of(switched, fwait), ExceptionVector::device_not_available);
    switched.cr0 &= ~cr0::kMonitorCoprocessor;
    EXPECT_EQ(fault_of(switched, fwait), std::nullopt);
}

TEST_F(X87Test, AnUnmaskedExceptionWaitsForTheNextInstruction) {
    state_.x87.control = 0x37f & ~x87::kDivideByZero;
    fill({kOne, kZero});
    Code const fdiv{0xd8, 0xf1};  // fdiv st, st(1)
    EXPECT_EQ(fault_of(state_, fdiv), std::nullopt);
    EXPECT_EQ(read_st(after(), 0), kOne);  // nothing is written
    EXPECT_EQ(after().status & 0x80ff, x87::kBusy | x87::kSummary | x87::kDivideByZero);

    CpuState const waiting = machine_->after();
    EXPECT_EQ(fault_of(waiting, {0xd9, 0xe8}), ExceptionVector::x87_error);  // fld1
    EXPECT_EQ(fault_of(waiting, {0x9b}), ExceptionVector::x87_error);        // fwait
    EXPECT_EQ(fault_of(waiting, {0xdf, 0xe0}), std::nullopt);                // fnstsw ax
    EXPECT_EQ(machine_->after().gpr[rax] & 0xffff, waiting.x87.status);
    EXPECT_EQ(fault_of(waiting, {0xdb, 0xe2, 0xd9, 0xe8}), std::nullopt);  // fnclex; fld1
    CpuState without_ne = waiting;
    without_ne.cr0 &= ~cr0::kNumericError;
    EXPECT_EQ(fault_of(without_ne, {0xd9, 0xe8}), std::nullopt);
}

TEST_F(X87Test, UnmaskedOverflowIntoARegisterIsBiased) {
    state_.x87.control = 0x37f & ~x87::kOverflow;
    X87Register const huge{0x8000'0000'0000'0000, 0x7ffe};
    fill({huge, kTwo});
    EXPECT_EQ(fault_of(state_, {0xd8, 0xc9}), std::nullopt);  // fmul st, st(1)
    // [SDM1] 8.5.4: divided by 2^24576.
    EXPECT_EQ(read_st(after(), 0), (X87Register{0x8000'0000'0000'0000, 0x7fff - 0x6000}));
}

TEST_F(X87Test, UnmaskedOverflowIntoMemoryStoresNothing) {
    state_.x87.control = 0x37f & ~x87::kOverflow;
    fill({{0x8000'0000'0000'0000, 0x7ffe}});
    machine_->put<std::uint32_t>(CodeRunner::kData, 0x1234);
    EXPECT_EQ(fault_of(state_, {0xd9, 0x1c, 0x25, 0, 0x80, 0, 0}), std::nullopt);  // fstp dword [0x8000]
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData), 0x1234u);
    EXPECT_EQ(after().valid, 0x80);
    EXPECT_NE(after().status & x87::kSummary, 0);
}

TEST_F(X87Test, StackFaultsHaveADirection) {
    EXPECT_EQ(fault_of(state_, {0xd9, 0xfa}), std::nullopt);  // fsqrt of an empty register
    EXPECT_EQ(after().status, x87::kInvalid | x87::kStackFault);
    EXPECT_EQ(read_st(after(), 0), x87::kIndefinite);

    state_.x87.valid = 0xff;
    EXPECT_EQ(fault_of(state_, {0xd9, 0xee}), std::nullopt);  // fldz onto a full stack
    EXPECT_EQ(after().status & 0x7ff, x87::kInvalid | x87::kStackFault | (after().status & x87::kC1));
    EXPECT_NE(after().status & x87::kC1, 0);
    EXPECT_EQ(read_st(after(), 0), x87::kIndefinite);
}

TEST_F(X87Test, AFaultingStoreDoesNotPop) {
    fill({kOne});
    state_.gpr[rbx] = std::uint64_t{1} << 60;                                        // not canonical
    EXPECT_EQ(fault_of(state_, {0xdd, 0x1b}), ExceptionVector::general_protection);  // fstp qword [rbx]
    EXPECT_EQ(after().valid, 0x80);
    EXPECT_EQ(stack_top(after()), 7u);
}

TEST_F(X87Test, StateImagesComeBack) {
    fill({kOne, kTwo, {0x1234, 0x0001}});
    state_.x87.control = 0x27f;
    EXPECT_EQ(fault_of(state_, {0xdd, 0x34, 0x25, 0, 0x80, 0, 0}), std::nullopt);  // fnsave [0x8000]
    EXPECT_EQ(after().valid, 0);
    EXPECT_EQ(after().control, 0x37f);
    // Tags: R5 and R6 valid, R7 special (a denormal), the rest empty.
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData + 8), 0xffff'83ffu);
    CpuState const saved = machine_->after();
    EXPECT_EQ(fault_of(saved, {0xdd, 0x24, 0x25, 0, 0x80, 0, 0}), std::nullopt);  // frstor [0x8000]
    EXPECT_EQ(after().registers, state_.x87.registers);
    EXPECT_EQ(after().control, 0x27f);
    EXPECT_EQ(after().valid, state_.x87.valid);
    EXPECT_EQ(stack_top(after()), 5u);
}

TEST_F(X87Test, TheLastInstructionIsRemembered) {
    EXPECT_EQ(fault_of(state_, {0x90, 0xd9, 0x04, 0x25, 0, 0x80, 0, 0, 0xdb, 0xe2}), std::nullopt);  // fld; fnclex
    EXPECT_EQ(after().last_instruction, CodeRunner::kCode + 1);
    EXPECT_EQ(after().last_data, CodeRunner::kData);
    EXPECT_EQ(after().last_opcode, 0x104);
}

TEST_F(X87Test, LoadingAnUnmaskedControlWordRaisesWhatIsStored) {
    state_.x87.status = x87::kPrecision;
    machine_->put<std::uint16_t>(CodeRunner::kData, 0x35f & ~x87::kPrecision);
    EXPECT_EQ(fault_of(state_, {0xd9, 0x2c, 0x25, 0, 0x80, 0, 0}), std::nullopt);  // fldcw [0x8000]
    EXPECT_NE(after().status & x87::kSummary, 0);
}

}  // namespace
}  // namespace backplane
