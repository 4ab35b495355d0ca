// XCR0, XGETBV and XSETBV, and the XSAVE family against the rules of [SDM1] chapter 13.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr unsigned kUd = 6, kNm = 7, kGp = 13, kNoVector = 256;
constexpr std::uint64_t kArea = kData, kHeaderAt = kArea + 512, kHighAt = kArea + 576;
constexpr std::uint64_t kCompactedBit = std::uint64_t{1} << 63;

// With RDI = kArea.
constexpr char const kXsave[] = "0fae27", kXsaveopt[] = "0fae37", kXsavec[] = "0fc727", kXrstor[] = "0fae2f";

class Xsave : public testing::Test {
  protected:
    static void enable(CpuState& state) {
        state.cr4 |= cr4::kXsave;
        state.xcr0 = 7;
        state.gpr[rdi] = kArea;
        state.gpr[rax] = 7;
        state.gpr[rdx] = 0;
    }
    /// Runs one instruction and HLT; the vector that arrived, or kNoVector.
    template <typename Change>
    unsigned run(std::string_view code, Change&& change) {
        machine.put(kCode, std::string{code} + "f4");
        machine.start_kernel();
        machine.with_state([&](CpuState& state) {
            enable(state);
            change(state);
        });
        EXPECT_EQ(machine.run(), Ended::halted);
        return machine.arrived().value_or(kNoVector);
    }
    unsigned run(std::string_view code) {
        return run(code, [](CpuState&) {});
    }
    void fill_area(std::uint8_t value) {
        for (std::uint64_t at = kArea; at < kArea + 832; ++at) machine.put_value(at, value);
    }
    void put_header(std::uint64_t xstate_bv, std::uint64_t xcomp_bv) {
        for (std::uint64_t at = kHeaderAt; at < kHeaderAt + 64; at += 8) machine.put_value(at, std::uint64_t{0});
        machine.put_value(kHeaderAt, xstate_bv);
        machine.put_value(kHeaderAt + 8, xcomp_bv);
    }
    static void all_in_use(CpuState& state) {
        state.x87.control = 0x27f;
        state.xmm[0].words = {1, 2};
        state.xmm[15].words = {3, 4};
        state.ymm_high[0].words = {5, 6};
        state.ymm_high[15].words = {7, 8};
        state.mxcsr = 0x1fa0;
    }
    TestMachine machine;
};

// --- XCR0 ---------------------------------------------------------------------------------------------------------

TEST_F(Xsave, XsetbvChecksItsValue) {  // [SDM2C] XSETBV
    struct Row {
        std::uint64_t value;
        unsigned vector;
    };
    bool const has_avx = (machine.cpu.state_components() & xcr0::kAvx) != 0;
    for (Row const& row : {Row{1, kNoVector}, Row{3, kNoVector}, Row{7, has_avx ? kNoVector : kGp}, Row{0, kGp}, Row{2, kGp},
                           Row{5, kGp}, Row{6, kGp}, Row{0xf, kGp}, Row{1 | std::uint64_t{1} << 62, kGp}}) {
        EXPECT_EQ(run("0f01d1", [&](CpuState& state) {
                      state.gpr[rax] = row.value & 0xffff'ffff, state.gpr[rdx] = row.value >> 32, state.gpr[rcx] = 0;
                  }),
                  row.vector)
            << row.value;
        if (row.vector == kNoVector) {
            EXPECT_EQ(machine.cpu.state().xcr0, row.value);
        }
    }
    EXPECT_EQ(run("0f01d1", [](CpuState& state) { state.gpr[rcx] = 1; }), kGp);
    EXPECT_EQ(run("0f01d1", [](CpuState& state) { state.cr4 &= ~cr4::kXsave; }), kUd);
}

TEST_F(Xsave, XsetbvIsPrivilegedAndXgetbvIsNot) {
    for (bool const sets : {false, true}) {
        machine.put(kUserCode, sets ? "0f01d1 0f0b" : "0f01d0 0f0b");
        machine.start_user();
        machine.with_state([](CpuState& state) {
            enable(state);
            state.gpr[rcx] = 0;
        });
        EXPECT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived(), sets ? kGp : kUd);
    }
}

TEST_F(Xsave, XgetbvReadsXcr0AndWhatIsInUse) {  // [SDM1] 13.2
    auto const with = [](std::uint64_t which, auto const& change) {
        return [=](CpuState& state) {
            state.gpr[rcx] = which;
            state.gpr[rax] = state.gpr[rdx] = ~std::uint64_t{0};
            change(state);
        };
    };
    auto const nothing = [](CpuState&) {};
    EXPECT_EQ(run("0f01d0", with(0, nothing)), kNoVector);
    EXPECT_EQ(machine.reg(rax), 7u);
    EXPECT_EQ(machine.reg(rdx), 0u);
    EXPECT_EQ(run("0f01d0", with(1, nothing)), kNoVector);
    EXPECT_EQ(machine.reg(rax), 0u);
    EXPECT_EQ(run("0f01d0", with(1, [](CpuState& state) { state.ymm_high[3].words[1] = 1; })), kNoVector);
    EXPECT_EQ(machine.reg(rax), xcr0::kAvx);
    EXPECT_EQ(run("0f01d0", with(1, [](CpuState& state) { state.mxcsr = 0x1f00; })), kNoVector);
    EXPECT_EQ(machine.reg(rax), xcr0::kSse);
    EXPECT_EQ(run("0f01d0", with(2, nothing)), kGp);
    EXPECT_EQ(run("0f01d0", with(0, [](CpuState& state) { state.cr4 &= ~cr4::kXsave; })), kUd);
}

// --- faults -------------------------------------------------------------------------------------------------------

TEST_F(Xsave, FaultsOfTheFamily) {  // [SDM2B] XSAVE, [SDM2C] XRSTOR
    for (std::string_view const code : {kXsave, kXsaveopt, kXsavec, kXrstor}) {
        put_header(0, 0);
        machine.put_value(kArea + 24, std::uint32_t{0x1f80});
        EXPECT_EQ(run(code), kNoVector) << code;
        EXPECT_EQ(run(code, [](CpuState& state) { state.cr4 &= ~cr4::kXsave; }), kUd) << code;
        EXPECT_EQ(run(code, [](CpuState& state) { state.cr0 |= cr0::kTaskSwitched; }), kNm) << code;
        EXPECT_EQ(run(code, [](CpuState& state) { state.gpr[rdi] += 16; }), kGp) << code;
    }
    EXPECT_EQ(run("f0" + std::string{kXsave}), kUd);
}

TEST_F(Xsave, XrstorChecksTheHeader) {  // [SDM1] 13.8
    struct Row {
        std::uint64_t xstate_bv, xcomp_bv;
        unsigned byte;  // of the header, made 1
        unsigned vector;
    };
    constexpr unsigned kNone = 0;
    for (Row const& row : {
             Row{7, 0, kNone, kNoVector},
             Row{8, 0, kNone, kGp},
             Row{7, 1, kNone, kGp},   // the standard format has no XCOMP_BV
             Row{7, 0, 16, kGp},
             Row{7, 0, 24, kNoVector},
             Row{7, 0, 63, kNoVector},
             Row{7, kCompactedBit | 7, kNone, kNoVector},
             Row{7, kCompactedBit | 3, kNone, kGp},  // not a part of the area
             Row{3, kCompactedBit | 3, kNone, kNoVector},
             Row{0, kCompactedBit | 8, kNone, kGp},
             Row{7, kCompactedBit | 7, 16, kGp},
             Row{7, kCompactedBit | 7, 63, kGp},
         }) {
        fill_area(0);
        machine.put_value(kArea + 24, std::uint32_t{0x1f80});
        put_header(row.xstate_bv, row.xcomp_bv);
        if (row.byte != kNone) machine.put_value(kHeaderAt + row.byte, std::uint8_t{1});
        EXPECT_EQ(run(kXrstor), row.vector) << row.xstate_bv << ' ' << row.xcomp_bv << ' ' << row.byte;
    }
    put_header(3, 0);
    machine.put_value(kArea + 24, std::uint32_t{0x1f80});
    EXPECT_EQ(run(kXrstor, [](CpuState& state) { state.xcr0 = 1; }), kGp);  // SSE is not enabled
}

TEST_F(Xsave, XrstorChecksMxcsrWhereItIsLoaded) {  // [SDM1] 13.8.1, 13.8.2
    struct Row {
        std::uint64_t wanted, xstate_bv, xcomp_bv;
        unsigned vector;
    };
    for (Row const& row : {Row{1, 7, 0, kNoVector}, Row{2, 0, 0, kGp}, Row{4, 0, 0, kGp}, Row{2, 2, kCompactedBit | 7, kGp},
                           Row{2, 0, kCompactedBit | 7, kNoVector}, Row{4, 4, kCompactedBit | 7, kNoVector}}) {
        fill_area(0);
        put_header(row.xstate_bv, row.xcomp_bv);
        machine.put_value(kArea + 24, std::uint32_t{0x10000});
        EXPECT_EQ(run(kXrstor, [&](CpuState& state) { state.gpr[rax] = row.wanted; }), row.vector)
            << row.wanted << ' ' << row.xstate_bv << ' ' << row.xcomp_bv;
    }
}

// --- what is saved ------------------------------------------------------------------------------------------------

TEST_F(Xsave, SavesWhatIsAskedForAndKeepsTheRest) {  // [SDM1] 13.7
    fill_area(0xee);
    EXPECT_EQ(run(kXsave,
                  [](CpuState& state) {
                      all_in_use(state);
                      state.gpr[rax] = xcr0::kAvx;
                  }),
              kNoVector);
    EXPECT_EQ(machine.get(kHeaderAt), 0xeeee'eeee'eeee'eeeeu);  // the bits of the others are kept, and its own is set
    EXPECT_EQ(machine.get(kHeaderAt + 8), 0xeeee'eeee'eeee'eeeeu);
    EXPECT_EQ(machine.get<std::uint16_t>(kArea), 0xeeee);
    EXPECT_EQ(machine.get<std::uint32_t>(kArea + 24), 0x1fa0u);  // with AVX too
    EXPECT_EQ(machine.get(kArea + 160), 0xeeee'eeee'eeee'eeeeu);
    EXPECT_EQ(machine.get(kHighAt), 5u);
    EXPECT_EQ(machine.get(kHighAt + 15 * 16 + 8), 8u);
}

TEST_F(Xsave, InitialConfigurationsAreNotWrittenByTheOptimizedForms) {  // [SDM1] 13.9, 13.10
    struct Row {
        std::string_view code;
        std::uint64_t high, xstate_bv, xcomp_bv;
    };
    constexpr std::uint64_t kOld = 0xeeee'eeee'eeee'eeee;
    for (Row const& row : {Row{kXsave, 0, (kOld & ~std::uint64_t{7}) | 2, kOld}, Row{kXsaveopt, kOld, (kOld & ~std::uint64_t{7}) | 2, kOld},
                           Row{kXsavec, kOld, 2, kCompactedBit | 7}}) {
        fill_area(0xee);
        EXPECT_EQ(run(row.code, [](CpuState& state) { state.xmm[1].words = {9, 9}; }), kNoVector);
        EXPECT_EQ(machine.get(kHighAt), row.high) << row.code;
        EXPECT_EQ(machine.get(kArea + 176), 9u) << row.code;
        EXPECT_EQ(machine.get(kHeaderAt), row.xstate_bv) << row.code;
        EXPECT_EQ(machine.get(kHeaderAt + 8), row.xcomp_bv) << row.code;
    }
}

TEST_F(Xsave, WhatIsSavedComesBack) {
    for (std::string_view const code : {kXsave, kXsaveopt, kXsavec}) {
        fill_area(0);
        EXPECT_EQ(run(code, all_in_use), kNoVector);
        CpuState const saved = machine.cpu.state();
        EXPECT_EQ(run(kXrstor), kNoVector);
        CpuState const restored = machine.cpu.state();
        EXPECT_EQ(restored.xmm, saved.xmm);
        EXPECT_EQ(restored.ymm_high, saved.ymm_high);
        EXPECT_EQ(restored.x87, saved.x87);
        EXPECT_EQ(restored.mxcsr, saved.mxcsr);
    }
}

TEST_F(Xsave, WhatIsNotInTheAreaIsInitialised) {  // [SDM1] 13.8
    fill_area(0xee);
    put_header(0, 0);
    machine.put_value(kArea + 24, std::uint32_t{0x1f00});
    EXPECT_EQ(run(kXrstor, all_in_use), kNoVector);
    CpuState const state = machine.cpu.state();
    EXPECT_EQ(state.xmm, CpuState{}.xmm);
    EXPECT_EQ(state.ymm_high, CpuState{}.ymm_high);
    EXPECT_EQ(state.x87, X87State{});
    EXPECT_EQ(state.mxcsr, 0x1f00u);
    put_header(0, kCompactedBit | 7);
    EXPECT_EQ(run(kXrstor, all_in_use), kNoVector);
    EXPECT_EQ(machine.cpu.state().mxcsr, 0x1f80u);
}

TEST_F(Xsave, NothingIsStoredWhenAPageIsMissing) {
    std::uint64_t const area = kData + kPageBytes - 576;  // AVX begins the next page
    machine.put_value(area, std::uint64_t{0x1234});
    machine.map(kData + kPageBytes, kData + kPageBytes, 0);
    EXPECT_EQ(run(kXsave,
                  [&](CpuState& state) {
                      all_in_use(state);
                      state.gpr[rdi] = area;
                  }),
              14u);
    EXPECT_EQ(machine.get(area), 0x1234u);
    EXPECT_EQ(run(kXsave,
                  [&](CpuState& state) {
                      all_in_use(state);
                      state.gpr[rdi] = area;
                      state.gpr[rax] = 3;
                  }),
              kNoVector);
}

TEST_F(Xsave, LeafDDescribesTheArea) {  // [SDM1] 13.2
    EXPECT_EQ(run("90"), kNoVector);
    std::uint64_t const components = machine.cpu.state_components();
    bool const has_avx = (components & xcr0::kAvx) != 0;
    EXPECT_EQ(machine.cpu.cpuid(0xd, 0)[0], components);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 0)[1], 832u);  // of the enabled ones
    EXPECT_EQ(machine.cpu.cpuid(0xd, 0)[2], has_avx ? 832u : 576u);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 1)[0], 7u);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 2)[0], has_avx ? 256u : 0u);
    EXPECT_EQ(machine.cpu.cpuid(0xd, 2)[1], has_avx ? 576u : 0u);
    EXPECT_NE(machine.cpu.cpuid(1, 0)[2] & 1 << 27, 0u);
    machine.with_state([](CpuState& state) { state.cr4 &= ~cr4::kXsave; });
    EXPECT_EQ(machine.cpu.cpuid(1, 0)[2] & 1 << 27, 0u);
}

}  // namespace
}  // namespace backplane
