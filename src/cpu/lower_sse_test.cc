#include "cpu/lower_sse.h"

#include <gtest/gtest.h>

#include <set>

#include "cpu/decode.h"
#include "cpu/mxcsr.h"
#include "cpu/code_runner.h"

namespace backplane {
namespace {

// --- nothing is left out --------------------------------------------------------------------------------------------

// What CPUID announces with FPU, CMOV, CLFSH, MMX, FXSR, SSE and SSE2.
bool is_announced(ZydisISASet set) {
    switch (set) {
        case ZYDIS_ISA_SET_X87:
        case ZYDIS_ISA_SET_FCMOV:
        case ZYDIS_ISA_SET_CLFSH:
        case ZYDIS_ISA_SET_PENTIUMMMX:
        case ZYDIS_ISA_SET_FXSAVE:
        case ZYDIS_ISA_SET_FXSAVE64:
        case ZYDIS_ISA_SET_SSE:
        case ZYDIS_ISA_SET_SSEMXCSR:
        case ZYDIS_ISA_SET_SSE_PREFETCH:
        case ZYDIS_ISA_SET_SSE2:
        case ZYDIS_ISA_SET_SSE2MMX:
            return true;
        default:
            return false;
    }
}

struct Coverage {
    std::set<ZydisMnemonic> seen;
    std::set<std::string> missing;
};

void look_at(Coverage& coverage, ZydisDecoder const& decoder, CodeMode mode, std::vector<std::uint8_t> bytes) {
    bytes.resize(15, 0x11);
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &instruction, operands))) return;
    bool const legacy = instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    if (!legacy || !is_announced(instruction.meta.isa_set)) return;
    coverage.seen.insert(instruction.mnemonic);
    Op op;
    // An instruction without a handler becomes one that raises #UD, which ends its trace; none of these ends it.
    if (decode(bytes, mode, 0, 0, op) != DecodeStatus::ok)
        coverage.missing.insert(ZydisMnemonicGetString(instruction.mnemonic));
}

Coverage look_at_all(CodeMode mode) {
    Coverage coverage;
    ZydisDecoder decoder;
    bool const wide = mode == CodeMode::bits64;
    ZydisDecoderInit(&decoder, wide ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                     wide ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
    using Bytes = std::vector<std::uint8_t>;
    for (Bytes const& prefix : {Bytes{}, Bytes{0x66}, Bytes{0xf2}, Bytes{0xf3}, Bytes{0x48}, Bytes{0x66, 0x48},
                                Bytes{0xf2, 0x48}, Bytes{0xf3, 0x48}}) {
        for (unsigned opcode = 0; opcode < 256; ++opcode) {
            for (unsigned modrm = 0; modrm < 256; ++modrm) {
                Bytes bytes = prefix;
                bytes.insert(bytes.end(), {0x0f, static_cast<std::uint8_t>(opcode), static_cast<std::uint8_t>(modrm)});
                look_at(coverage, decoder, mode, bytes);
                if (opcode < 0xd8 || opcode > 0xdf) continue;
                bytes.erase(bytes.end() - 3);
                look_at(coverage, decoder, mode, bytes);
            }
        }
    }
    look_at(coverage, decoder, mode, {0x9b});
    return coverage;
}

TEST(VectorInstructions, EveryAnnouncedFormHasAHandler) {
    for (CodeMode const mode : {CodeMode::bits64, CodeMode::bits32}) {
        Coverage const coverage = look_at_all(mode);
        EXPECT_EQ(coverage.seen.size(), mode == CodeMode::bits64 ? 271u : 269u);  // with FXSAVE64 and FXRSTOR64
        for (std::string const& mnemonic : coverage.missing) ADD_FAILURE() << mnemonic;
    }
}

// --- when they may run ----------------------------------------------------------------------------------------------

using Code = std::vector<std::uint8_t>;
Code const kAddps{0x0f, 0x58, 0xc1};     // addps xmm0, xmm1
Code const kPaddbMmx{0x0f, 0xfc, 0xc1};  // paddb mm0, mm1
Code const kLdmxcsr{0x0f, 0xae, 0x14, 0x25, 0, 0x80, 0, 0};
Code const kStmxcsr{0x0f, 0xae, 0x1c, 0x25, 0, 0x80, 0, 0};
Code const kMovapsStore{0x0f, 0x29, 0x04, 0x25, 0x08, 0x80, 0, 0};  // movaps [0x8008], xmm0
Code const kMovupsStore{0x0f, 0x11, 0x04, 0x25, 0xf8, 0x8f, 0, 0};  // movups [0x8ff8], xmm0
Code const kFxsave{0x0f, 0xae, 0x04, 0x25, 0, 0x80, 0, 0};
Code const kFxsave32{0x0f, 0xae, 0x05, 0, 0x80, 0, 0};

class VectorTest : public testing::Test {
  protected:
    void SetUp() override { ASSERT_NE(machine_, nullptr); }

    std::optional<ExceptionVector> fault_of(CpuState const& state, Code const& code) {
        machine_->run(state, code);
        return machine_->fault();
    }

    std::unique_ptr<CodeRunner> machine_ = CodeRunner::create();
    CpuState state_ = CodeRunner::ready();
};

// [SDM3A] tables 2-3 and 13-1.
TEST_F(VectorTest, Cr0AndCr4DecideWhetherTheyRun) {
    EXPECT_EQ(fault_of(state_, kAddps), std::nullopt);
    EXPECT_EQ(fault_of(state_, kPaddbMmx), std::nullopt);

    CpuState switched = state_;
    switched.cr0 |= cr0::kTaskSwitched;
    EXPECT_EQ(fault_of(switched, kAddps), ExceptionVector::device_not_available);
    EXPECT_EQ(fault_of(switched, kPaddbMmx), ExceptionVector::device_not_available);
    EXPECT_EQ(fault_of(switched, kFxsave), ExceptionVector::device_not_available);
    EXPECT_EQ(fault_of(switched, kStmxcsr), ExceptionVector::device_not_available);

    CpuState emulated = state_;
    emulated.cr0 |= cr0::kEmulation;
    EXPECT_EQ(fault_of(emulated, kAddps), ExceptionVector::invalid_opcode);
    EXPECT_EQ(fault_of(emulated, kPaddbMmx), ExceptionVector::invalid_opcode);

    CpuState without_fxsave = state_;
    without_fxsave.cr4 = 0;
    EXPECT_EQ(fault_of(without_fxsave, kAddps), ExceptionVector::invalid_opcode);
    EXPECT_EQ(fault_of(without_fxsave, kPaddbMmx), std::nullopt);
}

TEST_F(VectorTest, AWaitingX87ExceptionComesBeforeMmx) {
    state_.x87.control = 0x37e;
    state_.x87.status = 0x8081;
    EXPECT_EQ(fault_of(state_, kPaddbMmx), ExceptionVector::x87_error);
    EXPECT_EQ(fault_of(state_, kAddps), std::nullopt);
    state_.cr0 &= ~cr0::kNumericError;
    EXPECT_EQ(fault_of(state_, kPaddbMmx), std::nullopt);
}

TEST_F(VectorTest, MmxTakesTheX87StackAndEmmsGivesItBack) {
    state_.x87.status = 5 << 11;
    state_.x87.registers[0] = {0x0102030405060708, 0x3fff};
    state_.x87.registers[1] = {0x0101010101010101, 0x1234};
    EXPECT_EQ(fault_of(state_, kPaddbMmx), std::nullopt);
    EXPECT_EQ(machine_->after().x87.status, 0);
    EXPECT_EQ(machine_->after().x87.valid, 0xff);
    EXPECT_EQ(machine_->after().x87.registers[0], (X87Register{0x0203040506070809, 0xffff}));
    EXPECT_EQ(machine_->after().x87.registers[1], (X87Register{0x0101010101010101, 0x1234}));
    EXPECT_EQ(fault_of(machine_->after(), {0x0f, 0x77}), std::nullopt);
    EXPECT_EQ(machine_->after().x87.valid, 0);
}

// --- MXCSR
// ------------------------------------------------------------------------------------------------------------

CpuState one_divided_by_zero(CpuState state) {
    state.xmm[0].words = {0x3f800000, 0};
    state.xmm[1].words = {0, 0};
    return state;
}
Code const kDivss{0xf3, 0x0f, 0x5e, 0xc1};  // divss xmm0, xmm1

TEST_F(VectorTest, FlagsStickInMxcsr) {
    Code code = kDivss;
    code.insert(code.end(), kStmxcsr.begin(), kStmxcsr.end());
    EXPECT_EQ(fault_of(one_divided_by_zero(state_), code), std::nullopt);
    EXPECT_EQ(machine_->after().xmm[0].words[0], 0x7f800000u);
    EXPECT_EQ(machine_->after().mxcsr, 0x1f84u);
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData), 0x1f84u);
}

TEST_F(VectorTest, AnUnmaskedExceptionKeepsTheResultBack) {
    state_.mxcsr = 0x1f80 & ~(mxcsr::kDivideByZero << mxcsr::kMaskShift);
    EXPECT_EQ(fault_of(one_divided_by_zero(state_), kDivss), ExceptionVector::simd_error);
    EXPECT_EQ(machine_->after().xmm[0].words[0], 0x3f800000u);
    EXPECT_EQ(machine_->after().mxcsr, state_.mxcsr | mxcsr::kDivideByZero);
    EXPECT_EQ(machine_->after().rip, CodeRunner::kCode);
    state_.cr4 &= ~cr4::kSimdExceptions;
    EXPECT_EQ(fault_of(one_divided_by_zero(state_), kDivss), ExceptionVector::invalid_opcode);
}

TEST_F(VectorTest, UnmaskedUnderflowReportsAnExactTinyResult) {
    state_.xmm[0].words = {0x00800000, 0};  // the least normal number
    state_.xmm[1].words = {0x3f000000, 0};  // 0.5
    Code const mulss{0xf3, 0x0f, 0x59, 0xc1};
    EXPECT_EQ(fault_of(state_, mulss), std::nullopt);
    EXPECT_EQ(machine_->after().mxcsr, 0x1f80u);  // masked: exact, so no underflow
    state_.mxcsr = 0x1f80 & ~(mxcsr::kUnderflow << mxcsr::kMaskShift);
    EXPECT_EQ(fault_of(state_, mulss), ExceptionVector::simd_error);
    EXPECT_EQ(machine_->after().mxcsr, state_.mxcsr | mxcsr::kUnderflow);
}

TEST_F(VectorTest, MxcsrHasNoReservedBits) {
    machine_->put<std::uint32_t>(CodeRunner::kData, 0x0001'0000);
    EXPECT_EQ(fault_of(state_, kLdmxcsr), ExceptionVector::general_protection);
    machine_->put<std::uint32_t>(CodeRunner::kData, 0xffff);
    EXPECT_EQ(fault_of(state_, kLdmxcsr), std::nullopt);
    EXPECT_EQ(machine_->after().mxcsr, 0xffffu);
}

TEST_F(VectorTest, TheHostKeepsItsOwnModes) {
    state_.mxcsr = 0xffc0;  // round to zero, DAZ, FTZ
    state_.x87.control = 0x0c7f;
    Code code = kDivss;
    code.insert(code.end(), {0xd9, 0xe8, 0xd8, 0xc0});  // fld1; fadd st, st
    EXPECT_EQ(fault_of(state_, code), std::nullopt);
    EXPECT_EQ(read_host_mxcsr(), 0x1f80u);
    std::uint16_t control = 0;
    asm volatile("fnstcw %0" : "=m"(control));
    EXPECT_EQ(control, 0x37f);
}

// --- memory
// -----------------------------------------------------------------------------------------------------------

TEST_F(VectorTest, AlignedFormsWantAlignedMemory) {
    EXPECT_EQ(fault_of(state_, kMovapsStore), ExceptionVector::general_protection);
    EXPECT_EQ(fault_of(state_, {0x0f, 0x58, 0x04, 0x25, 0x08, 0x80, 0, 0}), ExceptionVector::general_protection);
    EXPECT_EQ(fault_of(state_, {0x0f, 0xae, 0x04, 0x25, 0x08, 0x80, 0, 0}), ExceptionVector::general_protection);
}

TEST_F(VectorTest, UnalignedFormsCrossPages) {
    state_.xmm[0].words = {0x1122334455667788, 0x99aabbccddeeff00};
    EXPECT_EQ(fault_of(state_, kMovupsStore), std::nullopt);
    EXPECT_EQ(machine_->get<std::uint64_t>(0x8ff8), 0x1122334455667788u);
    EXPECT_EQ(machine_->get<std::uint64_t>(0x9000), 0x99aabbccddeeff00u);
    CpuState const stored = machine_->after();
    EXPECT_EQ(fault_of(stored, {0x0f, 0x10, 0x0c, 0x25, 0xf8, 0x8f, 0, 0}), std::nullopt);  // movups xmm1, [0x8ff8]
    EXPECT_EQ(machine_->after().xmm[1], state_.xmm[0]);
}

// Outside 64-bit mode XMM8 to XMM15 are neither saved nor restored ([SDM1] 10.5.1).
TEST_F(VectorTest, FxsaveTouchesOnlyItsRegisters) {
    state_.xmm[7].words = {7, 77};
    state_.xmm[15].words = {15, 1515};
    state_.mxcsr = 0x1fa0;
    machine_->put<std::uint64_t>(CodeRunner::kData + 288, 0x5555);
    machine_->put<std::uint64_t>(CodeRunner::kData + 416, 0x6666);
    EXPECT_EQ(fault_of(state_, kFxsave), std::nullopt);
    EXPECT_EQ(machine_->get<std::uint16_t>(CodeRunner::kData), 0x37f);
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData + 24), 0x1fa0u);
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData + 28), 0xffffu);
    EXPECT_EQ(machine_->get<std::uint64_t>(CodeRunner::kData + 160 + 15 * 16 + 8), 1515u);
    EXPECT_EQ(machine_->get<std::uint64_t>(CodeRunner::kData + 416), 0x6666u);

    machine_->put<std::uint64_t>(CodeRunner::kData + 288, 0x5555);
    CpuState legacy = CodeRunner::ready(CodeMode::bits32);
    legacy.xmm = state_.xmm;
    EXPECT_EQ(fault_of(legacy, kFxsave32), std::nullopt);
    EXPECT_EQ(machine_->get<std::uint64_t>(CodeRunner::kData + 160 + 7 * 16 + 8), 77u);
    EXPECT_EQ(machine_->get<std::uint64_t>(CodeRunner::kData + 288), 0x5555u);
}

TEST_F(VectorTest, FxrstorRefusesReservedBitsOfMxcsr) {
    EXPECT_EQ(fault_of(state_, kFxsave), std::nullopt);
    Code const fxrstor{0x0f, 0xae, 0x0c, 0x25, 0, 0x80, 0, 0};
    EXPECT_EQ(fault_of(state_, fxrstor), std::nullopt);
    machine_->put<std::uint32_t>(CodeRunner::kData + 24, 0x8000'1f80);
    EXPECT_EQ(fault_of(state_, fxrstor), ExceptionVector::general_protection);
}

// The mnemonics MOVSD and CMPSD are string instructions as well.
TEST_F(VectorTest, StringInstructionsKeepTheirNames) {
    machine_->put<std::uint32_t>(CodeRunner::kData, 0xcafe);
    state_.gpr[rsi] = CodeRunner::kData;
    state_.gpr[rdi] = CodeRunner::kData + 64;
    EXPECT_EQ(fault_of(state_, {0xa5}), std::nullopt);  // movsd
    EXPECT_EQ(machine_->get<std::uint32_t>(CodeRunner::kData + 64), 0xcafeu);
    EXPECT_EQ(machine_->after().gpr[rsi], CodeRunner::kData + 4);
}

}  // namespace
}  // namespace backplane
