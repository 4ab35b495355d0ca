// What the comparison with the host's processor cannot show of VEX-encoded instructions: when they are available, other
// modes, the upper halves, restarts of gathers. [SDM1] 14, [SDM2A] 2.4
#include <gtest/gtest.h>

#include "cpu/avx.h"
#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr unsigned kUd = 6, kNm = 7, kGp = 13, kPf = 14, kXm = 19, kNoVector = 256;

class Avx : public testing::Test {
  protected:
    void SetUp() override {
        if (widest_cpu_model() != CpuModel::avx2) GTEST_SKIP() << "this host lacks AVX2, FMA or F16C";
    }
    template <typename Change>
    unsigned run(std::string_view code, Change&& change) {
        machine.put(kCode, std::string{code} + "f4");
        machine.start_kernel();
        machine.with_state([&](CpuState& state) {
            state.cr4 |= cr4::kXsave;
            state.xcr0 = 7;
            for (unsigned i = 0; i < 16; ++i) {
                state.xmm[i].words = {i * 4 + 1, i * 4 + 2};
                state.ymm_high[i].words = {i * 4 + 3, i * 4 + 4};
            }
            change(state);
        });
        EXPECT_EQ(machine.run(), Ended::halted);
        return machine.arrived().value_or(kNoVector);
    }
    unsigned run(std::string_view code) {
        return run(code, [](CpuState&) {});
    }
    CpuState after() const { return machine.cpu.state(); }
    TestMachine machine;
};

constexpr char const kVaddps[] = "c5f058c2";  // vaddps xmm0, xmm1, xmm2

TEST_F(Avx, IsAvailableWithXcr0AndOsxsave) {  // [SDM2A] table 2-14 to 2-24
    EXPECT_EQ(run(kVaddps), kNoVector);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.cr4 &= ~cr4::kXsave; }), kUd);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.xcr0 = 3; }), kUd);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.xcr0 = 1; }), kUd);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.cr0 |= cr0::kTaskSwitched; }), kNm);
    // What legacy SSE looks at does not matter.
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.cr4 &= ~cr4::kFxsave; }), kNoVector);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.cr0 |= cr0::kEmulation; }), kNoVector);
    EXPECT_EQ(run(kVaddps, [](CpuState& state) { state.cr4 &= ~cr4::kXsave, state.cr0 |= cr0::kTaskSwitched; }), kUd);
}

TEST_F(Avx, PrefixesBeforeVexAreUndefined) {  // [SDM2A] 2.3.2 to 2.3.4
    for (std::string_view const prefix : {"66", "f2", "f3", "f0", "48"})
        EXPECT_EQ(run(std::string{prefix} + kVaddps), kUd) << prefix;
    EXPECT_EQ(run(std::string{"64"} + kVaddps), kNoVector);
}

TEST_F(Avx, LengthsThatDoNotExistAreUndefined) {
    EXPECT_EQ(run("c4e27136c2"), kUd);         // vpermd of 128 bits
    EXPECT_EQ(run("c4e275dcc2"), kUd);         // vaesenc of 256 bits: VAES is not announced
    EXPECT_EQ(run("c4e37544c200"), kUd);      // vpclmulqdq of 256 bits
    EXPECT_EQ(run("c5f658c2"), kNoVector);    // vaddss ignores L
    EXPECT_EQ(run("62f1744858c2"), kUd);       // EVEX: no AVX-512
}

TEST_F(Avx, UpperHalves) {  // [SDM1] 14.1.1
    EXPECT_EQ(run("0f58c2"), kNoVector);  // addps xmm0, xmm2
    EXPECT_EQ(after().ymm_high[0].words[1], 4U);
    EXPECT_EQ(run(kVaddps), kNoVector);
    EXPECT_EQ(after().ymm_high[0].words[1], 0U);
    EXPECT_EQ(after().ymm_high[1].words[1], 8U);
    EXPECT_EQ(run("c5f877"), kNoVector);  // vzeroupper
    EXPECT_EQ(after().ymm_high, CpuState{}.ymm_high);
    EXPECT_EQ(after().xmm[15].words[0], 61U);
    EXPECT_EQ(run("c5fc77"), kNoVector);  // vzeroall
    EXPECT_EQ(after().xmm, CpuState{}.xmm);
}

TEST_F(Avx, CompatibilityModeHasEightRegisters) {  // [SDM2C] VZEROALL
    auto const in_32_bits = [](CpuState& state) {
        state.segments[cs].long_mode = false;
        state.segments[cs].big = true;
    };
    EXPECT_EQ(run("c5fc77", in_32_bits), kNoVector);
    EXPECT_EQ(after().xmm[7].words[0], 0U);
    EXPECT_EQ(after().xmm[8].words[0], 33U);
    EXPECT_EQ(after().ymm_high[8].words[0], 35U);
    EXPECT_EQ(run("c5fdfec2", in_32_bits), kNoVector);  // vpaddd ymm0, ymm0, ymm2
    EXPECT_EQ(after().ymm_high[0].words[0], 3U + 11U);
}

TEST_F(Avx, RealModeHasNoVex) {  // [SDM2A] 2.3.1: C5 is LDS there, and with a register undefined
    EXPECT_EQ(machine.cpu.state_components() & xcr0::kAvx, xcr0::kAvx);
    CpuState state;
    state.cr4 = cr4::kFxsave | cr4::kXsave;
    state.xcr0 = 7;
    machine.cpu.set_state(state);
    EXPECT_FALSE(machine.cpu.avx_ok());
    state.cr0 |= cr0::kProtection;
    machine.cpu.set_state(state);
    EXPECT_TRUE(machine.cpu.avx_ok());
    state.rflags |= rflags::kVirtual8086;
    machine.cpu.set_state(state);
    EXPECT_FALSE(machine.cpu.avx_ok());
}

TEST_F(Avx, OnlyAlignedMovesCheckAlignment) {  // [SDM1] 14.9
    auto const at = [](std::uint64_t address) { return [=](CpuState& state) { state.gpr[rdi] = address; }; };
    EXPECT_EQ(run("c5fd6f07", at(kData + 16)), kGp);        // vmovdqa ymm0, [rdi]
    EXPECT_EQ(run("c5fd6f07", at(kData + 32)), kNoVector);
    EXPECT_EQ(run("c5f96f07", at(kData + 16)), kNoVector);  // vmovdqa xmm0, [rdi]
    EXPECT_EQ(run("c5fe6f07", at(kData + 1)), kNoVector);   // vmovdqu ymm0, [rdi]
    EXPECT_EQ(run("c5fdfe07", at(kData + 1)), kNoVector);   // vpaddd ymm0, ymm0, [rdi]
    EXPECT_EQ(run("c5fde707", at(kData + 8)), kGp);         // vmovntdq [rdi], ymm0
}

TEST_F(Avx, AFaultingGatherGoesOnWhereItWas) {  // [SDM2C] VPGATHERDD
    std::uint64_t const base = kData;
    machine.put_value(base, std::uint32_t{11});
    machine.put_value(base + 4, std::uint32_t{22});
    machine.map(kData + kPageBytes, kData + kPageBytes, 0);
    unsigned const vector = run("c4e26d900c87", [&](CpuState& state) {  // vpgatherdd ymm1, [rdi+ymm0*4], ymm2
        state.gpr[rdi] = base;
        state.xmm[0].words = {std::uint64_t{1} << 32, 0x0000'0000'0000'0400};  // 0, 1, 1024, 0
        state.ymm_high[0].words = {0, 0};
        state.xmm[1].words = {0, 0};
        state.xmm[2].words = {0x8000'0000'8000'0000, 0x0000'0000'8000'0000};
        state.ymm_high[2].words = {0x8000'0000, 0};
    });
    EXPECT_EQ(vector, kPf);
    CpuState const state = after();
    EXPECT_EQ(state.cr2, kData + kPageBytes);
    EXPECT_EQ(state.xmm[1].words[0], 22ULL << 32 | 11);
    EXPECT_EQ(state.xmm[2].words[0], 0U);
    EXPECT_EQ(state.xmm[2].words[1], 0x0000'0000'ffff'ffffU);
    EXPECT_EQ(state.ymm_high[2].words[0], 0x0000'0000'ffff'ffffU);
    // Registers must differ.
    EXPECT_EQ(run("c4e275900c87"), kUd);  // mask is the destination
}

TEST_F(Avx, AConvertingStoreThatFaultsRaisesNoFlags) {
    constexpr std::uint64_t kNotMapped = 0x40'0000;
    for (std::uint32_t const mxcsr : {0x1f80U, 0U}) {  // masked; unmasked, where the page fault comes first
        auto const set = [&](CpuState& state) {
            state.xmm[1].words = {0x3f80'0001'3f80'0001, 0x3f80'0001'3f80'0001};  // inexact in 16 bits
            state.mxcsr = mxcsr;
            state.gpr[rax] = kNotMapped;
        };
        EXPECT_EQ(run("c4e3791d0800", set), kPf);  // vcvtps2ph [rax], xmm1, 0
        EXPECT_EQ(after().mxcsr, mxcsr);
        EXPECT_EQ(run("c4e37d1d0800", set), kPf);  // vcvtps2ph [rax], ymm1, 0
        EXPECT_EQ(after().mxcsr, mxcsr);
    }
    EXPECT_EQ(run("c4e3791dca00", [](CpuState& state) { state.xmm[1].words = {0x3f80'0001, 0}, state.mxcsr = 0x1f80; }), kNoVector);
    EXPECT_EQ(after().mxcsr, 0x1fa0u) << "else the value above shows nothing";
}

TEST_F(Avx, MaskedMovesTouchOnlyWhatIsSelected) {  // [SDM2C] VMASKMOV
    std::uint64_t const at = kData + kPageBytes - 16;
    machine.map(kData + kPageBytes, kData + kPageBytes, 0);
    auto const with_mask = [&](std::uint64_t high) {
        return [=](CpuState& state) {
            state.gpr[rdi] = at;
            state.xmm[1].words = {0, std::uint64_t{1} << 63};
            state.ymm_high[1].words = {high, 0};
        };
    };
    EXPECT_EQ(run("c4e2752c07", with_mask(0)), kNoVector);  // vmaskmovps ymm0, ymm1, [rdi]
    EXPECT_EQ(run("c4e2752c07", with_mask(0x8000'0000)), kPf);
    machine.put_value(at + 12, std::uint32_t{7});
    EXPECT_EQ(run("c4e2752e07", with_mask(0x8000'0000)), kPf);  // vmaskmovps [rdi], ymm1, ymm0
    EXPECT_EQ(machine.get<std::uint32_t>(at + 12), 7U);
    EXPECT_EQ(run("c4e2752e07", with_mask(0)), kNoVector);
    EXPECT_EQ(machine.get<std::uint32_t>(at + 12), 0U);  // the upper half of 2
}

TEST_F(Avx, UnmaskedExceptionsOfEveryElementArrive) {  // [SDM1] 11.5.1
    auto const divide = [](std::uint32_t mxcsr) {
        return [=](CpuState& state) {
            state.cr4 |= cr4::kSimdExceptions;
            state.mxcsr = mxcsr;
            for (unsigned i = 1; i < 3; ++i) state.xmm[i].words = state.ymm_high[i].words = {0x3f80'0000'3f80'0000, 0x3f80'0000'3f80'0000};
            state.ymm_high[2].words[1] = 0x0000'0000'3f80'0000;  // the last divisor
        };
    };
    EXPECT_EQ(run("c5f45ec2", divide(0x1f80)), kNoVector);  // vdivps ymm0, ymm1, ymm2
    EXPECT_EQ(after().mxcsr, 0x1f84U);
    EXPECT_EQ(run("c5f45ec2", divide(0x1d80)), kXm);
    EXPECT_EQ(after().xmm[0].words[0], 1U);
    EXPECT_EQ(run("c5f05ec2", divide(0x1d80)), kNoVector);  // of 128 bits: the divisor is not among them
}

/// LDMXCSR in the middle of a trace: what follows must see the exceptions that it unmasks, in translated code as well.
TEST_F(Avx, ExceptionsUnmaskedByLdmxcsrArriveAtOnce) {
    machine.put_value(kData, std::uint32_t{0x1d80});
    for (bool const vex : {false, true}) {
        std::string const load = vex ? "c5f8ae17" : "0fae17";  // ldmxcsr [rdi]
        unsigned const vector = run("0f28c1" + load + "0f5ec2", [](CpuState& state) {  // movaps; divps xmm0, xmm2
            state.cr4 |= cr4::kSimdExceptions;
            state.gpr[rdi] = kData;
            state.xmm[1].words = {0x3f80'0000'3f80'0000, 0x3f80'0000'3f80'0000};
            state.xmm[2].words = {0, 0};
        });
        EXPECT_EQ(vector, kXm) << vex;
    }
}

TEST(CpuModel, WithoutAvxEverythingOfItIsUndefined) {
    TestMachine machine{CpuModel::sse};
    EXPECT_EQ(machine.cpu.state_components(), xcr0::kX87 | xcr0::kSse);
    constexpr std::uint32_t kAvxBits = 1U << 12 | 1U << 28 | 1U << 29;
    EXPECT_EQ(machine.cpu.cpuid(1, 0)[2] & kAvxBits, 0U);
    EXPECT_EQ(machine.cpu.cpuid(7, 0)[1] & 1U << 5, 0U);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 0)[2], 576U);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 2)[0], 0U);
    machine.put(kCode, std::string{kVaddps} + "f4");
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.cr4 |= cr4::kXsave, state.xcr0 = 3; });
    EXPECT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), kUd);
}

}  // namespace
}  // namespace backplane
