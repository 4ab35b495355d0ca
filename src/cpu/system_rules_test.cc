// Rules of system instructions in long mode that have a bit to switch them on, and those of compatibility mode: PCIDs,
// UMIP, canonical branches, call gates of 64 bits, segments below 64-bit mode. Each test names the manual's section.
#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr unsigned kUd = 6, kGp = 13;
constexpr std::uint16_t kGate = 0xc0;  // 16 bytes

class SystemRules : public testing::Test {
  protected:
    void kernel(std::string_view code) {
        machine.put(kCode, code);
        machine.start_kernel();
    }
    void user(std::string_view code) {
        machine.put(kUserCode, code);
        machine.start_user();
    }
    template <typename Change>
    unsigned vector_after(Change&& change) {
        machine.with_state(change);
        EXPECT_EQ(machine.run(), Ended::halted);
        return machine.arrived().value_or(256);
    }
    unsigned vector() {
        return vector_after([](CpuState&) {});
    }
    TestMachine machine;
};
constexpr unsigned kNoVector = 256;

// --- UMIP ---------------------------------------------------------------------------------------------------------

TEST_F(SystemRules, UmipHidesSystemRegistersFromUsers) {  // [SDM3A] 2.5, CR4.UMIP
    for (char const* const code :
         {"0f0106" /* sgdt */, "0f010e" /* sidt */, "0f00c0" /* sldt */, "0f00c8" /* str */, "0f01e0" /* smsw */}) {
        for (bool const on : {false, true}) {
            user(std::string{code} + "0f0b");
            unsigned const met = vector_after([&](CpuState& state) {
                state.gpr[rsi] = kData;
                if (on) state.cr4 |= cr4::kUserModeInstructionPrevention;
            });
            EXPECT_EQ(met, on ? kGp : kUd) << code;
        }
        kernel(std::string{code} + "f4");
        EXPECT_EQ(vector_after([](CpuState& state) {
                      state.gpr[rsi] = kData;
                      state.cr4 |= cr4::kUserModeInstructionPrevention;
                  }),
                  kNoVector)
            << code;
    }
}

// --- PCIDs --------------------------------------------------------------------------------------------------------

TEST_F(SystemRules, PcidsNeedLongModeAndACleanCr3) {  // [SDM3A] 4.10.1
    kernel("0f22e0 f4");                              // mov cr4, rax
    auto const turn_on = [](CpuState& state) { state.gpr[rax] = state.cr4 | cr4::kPcid; };
    EXPECT_EQ(vector_after(turn_on), kNoVector);
    EXPECT_NE(machine.cpu.state().cr4 & cr4::kPcid, 0u);
    kernel("0f22e0 f4");
    EXPECT_EQ(vector_after([&](CpuState& state) {
                  turn_on(state);
                  state.cr3 |= 0x18;
              }),
              kGp);
}

TEST_F(SystemRules, Bit63OfCr3IsACommandNotAnAddress) {  // [SDM3A] 4.10.4.1
    for (bool const pcids : {false, true}) {
        kernel("0f22d8 f4");  // mov cr3, rax
        unsigned const met = vector_after([&](CpuState& state) {
            if (pcids) state.cr4 |= cr4::kPcid;
            state.gpr[rax] = kPml4 | 5 | std::uint64_t{1} << 63;
        });
        EXPECT_EQ(met, pcids ? kNoVector : kGp);
        if (pcids) {
            EXPECT_EQ(machine.cpu.state().cr3, kPml4 | 5);
        }
    }
}

struct InvpcidCase {
    char const* rule;
    std::uint64_t type, pcid, address;
    bool pcids;
    unsigned vector;
};
TEST_F(SystemRules, InvpcidChecksItsDescriptor) {  // [SDM2A] INVPCID
    for (InvpcidCase const& it :
         {InvpcidCase{"one address", 0, 5, kData, true, kNoVector},
          InvpcidCase{"a PCID while there are none", 0, 5, kData, false, kGp},
          InvpcidCase{"PCID 0 while there are none", 0, 0, kData, false, kNoVector},
          InvpcidCase{"an address that is not canonical", 0, 5, 0x8000'0000'0000, true, kGp},
          InvpcidCase{"which does not matter for a whole PCID", 1, 5, 0x8000'0000'0000, true, kNoVector},
          InvpcidCase{"reserved bits", 1, 0x1000, 0, true, kGp}, InvpcidCase{"everything", 2, 0, 0, true, kNoVector},
          InvpcidCase{"an unknown type", 4, 0, 0, true, kGp}}) {
        machine.put_value(kData, it.pcid);
        machine.put_value(kData + 8, it.address);
        kernel("660f388206 f4");  // invpcid rax, [rsi]
        EXPECT_EQ(vector_after([&](CpuState& state) {
                      if (it.pcids) state.cr4 |= cr4::kPcid;
                      state.gpr[rsi] = kData, state.gpr[rax] = it.type;
                  }),
                  it.vector)
            << it.rule;
    }
    user("660f388206");
    EXPECT_EQ(vector(), kGp) << "CPL 3";
}

TEST_F(SystemRules, InvpcidDropsTheTranslation) {  // [SDM3A] 4.10.4.1
    // mov rax, [rsi]; mov [rbx], rdx (the page's entry); invpcid rcx, [rdi]; mov rax, [rsi]; hlt
    for (std::uint64_t const type : {0u, 1u, 2u, 3u}) {
        TestMachine fresh;
        fresh.put(kCode, "488b06 488913 660f38820f 488b06 f4");
        fresh.put_value(kData, std::uint64_t{1});
        fresh.put_value(kData + 0x1000, std::uint64_t{2});
        fresh.put_value(kData + 0x2000, std::uint64_t{0});
        fresh.put_value(kData + 0x2008, kData);
        fresh.start_kernel();
        fresh.with_state([&](CpuState& state) {
            state.gpr[rsi] = kData, state.gpr[rdi] = kData + 0x2000, state.gpr[rcx] = type;
            state.gpr[rbx] = kPt + kData / kPageBytes * 8, state.gpr[rdx] = (kData + 0x1000) | 7;
        });
        ASSERT_EQ(fresh.run(), Ended::halted);
        EXPECT_EQ(fresh.reg(rax), 2u) << type;
    }
}

// --- canonical branches -------------------------------------------------------------------------------------------

TEST_F(SystemRules, ARelativeBranchOutOfTheCanonicalHalfFaultsItself) {  // [SDM2A] JMP, CALL: #GP(0) at the branch
    constexpr std::uint64_t kEdge = 0x7fff'ffff'f000;
    struct Case {
        char const* code;
        std::uint64_t at;
    };
    for (auto const& [code, at] :
         {Case{"e900100000", 0}, Case{"e800100000", 0}, Case{"31c0 0f8400100000", 2}, Case{"31c9 e37c", 2}}) {
        // The last page of the lower half, through tables of its own.
        TestMachine fresh;
        std::uint64_t const offset = code[0] == '3' && code[2] == 'c' && code[3] == '9' ? 0xff0 : 0x800;
        fresh.put(kData + offset, code);
        fresh.put_value(kPml4 + 255 * 8, std::uint64_t{0x71000 | 7});
        fresh.put_value(0x71000 + 511 * 8, std::uint64_t{0x72000 | 7});
        fresh.put_value(0x72000 + 511 * 8, std::uint64_t{0x73000 | 7});
        fresh.put_value(0x73000 + 511 * 8, kData | 7);
        fresh.start_kernel(kEdge + offset);
        ASSERT_EQ(fresh.run(), Ended::halted) << code;
        EXPECT_EQ(fresh.arrived(), kGp) << code;
        EXPECT_EQ(fresh.frame().rip, kEdge + offset + at) << code;
        EXPECT_EQ(fresh.frame().rsp, kStack) << code << ": a CALL has not pushed";
    }
}

// --- call gates of 64 bits ----------------------------------------------------------------------------------------

class LongGate : public SystemRules {
  protected:
    void make(std::uint64_t target, std::uint16_t selector, std::uint64_t access, std::uint64_t high) {
        machine.set_descriptor(
            kGate, (target & 0xffff) | std::uint64_t{selector} << 16 | access << 40 | (target >> 16 & 0xffff) << 48);
        machine.put_value(kGdt + kGate + 8, high);
        user("ff1e f4");  // call far [rsi]
        machine.put_value(kData + 4, static_cast<std::uint16_t>(kGate | 3));
    }
    unsigned call() {
        return vector_after([](CpuState& state) {
            state.gpr[rsi] = kData;
            state.gdtr.limit = 0xcf;
            state.gpr[rsp] = kStack;
        });
    }
};

TEST_F(LongGate, EntersTheKernelAndComesBack) {  // [SDM3A] 5.8.3.1, 5.8.5.1
    make(kCode, kKernelCode, 0xec, 0);
    machine.put(kCode, "488b5c2410 8cd0 48cb");  // mov rbx, [rsp+16]; mov eax, ss; retf (64 bits)
    machine.put(kUserCode + 2, "0f0b");
    EXPECT_EQ(call(), kUd);
    EXPECT_EQ(machine.reg(rbx), kStack) << "the old RSP";
    EXPECT_EQ(machine.reg(rax) & 0xffff, 0u) << "SS is null";
    EXPECT_EQ(machine.frame().rip, kUserCode + 2);
    EXPECT_EQ(machine.frame().cs, kUserCode64 | 3u);
    EXPECT_EQ(machine.frame().rsp, kStack);
    EXPECT_EQ(machine.get(kRing0Stack - 8), kUserData | 3u) << "the old SS";
}

TEST_F(LongGate, IsChecked) {  // [SDM3A] 5.8.3.1; [SDM2A] CALL, IA-32e mode
    struct Case {
        char const* rule;
        std::uint64_t target;
        std::uint16_t selector;
        std::uint64_t access, high;
        unsigned vector;
        std::uint32_t error;
    };
    for (Case const& it :
         {Case{"DPL 0", kCode, kKernelCode, 0x8c, 0, kGp, kGate},
          Case{"absent", kCode, kKernelCode, 0x6c, 0, 11, kGate},
          Case{"a type in the upper half", kCode, kKernelCode, 0xec, std::uint64_t{1} << 40, kGp, kGate},
          Case{"to 32-bit code", kCode, kKernelCode32, 0xec, 0, kGp, kKernelCode32},
          Case{"to data", kCode, kKernelData, 0xec, 0, kGp, kKernelData}, Case{"to null", kCode, 0, 0xec, 0, kGp, 0},
          Case{"a 16-bit gate", kCode, kKernelCode, 0xe4, 0, kGp, kGate},
          Case{"to an address that is not canonical", kCode, kKernelCode, 0xec, 0x8000, kGp, 0}}) {
        make(it.target, it.selector, it.access, it.high);
        EXPECT_EQ(call(), it.vector) << it.rule;
        EXPECT_EQ(machine.frame().error_code, it.error) << it.rule;
        EXPECT_EQ(machine.frame().rip, kUserCode) << it.rule;
    }
}

// --- compatibility mode -------------------------------------------------------------------------------------------

TEST_F(SystemRules, CompatibilityModeChecksSegments) {  // [SDM3A] 5.3.1: limits count again below 64-bit mode
    struct Case {
        char const* rule;
        std::uint32_t offset;
        bool null;
        unsigned vector;
    };
    for (Case const& it : {Case{"inside", 0xffc, false, kUd}, Case{"across the limit", 0xffd, false, kGp},
                           Case{"a null segment", 0, true, kGp}}) {
        user("8b06 0f0b");  // mov eax, [esi]
        EXPECT_EQ(vector_after([&](CpuState& state) {
                      state.segments[cs] = flat_code(kUserCode32 | 3, 3, false);
                      state.segments[ds].limit = 0xfff;
                      if (it.null) state.segments[ds] = Segment{};
                      state.gpr[rsi] = it.offset;
                  }),
                  it.vector)
            << it.rule;
    }
}

TEST_F(SystemRules, SixtyFourBitModeIgnoresLimits) {  // [SDM3A] 5.3.1
    kernel("8b06 f4");
    EXPECT_EQ(vector_after([](CpuState& state) {
                  state.segments[ds] = Segment{};
                  state.gpr[rsi] = kData;
              }),
              kNoVector);
}

TEST_F(SystemRules, SysenterIsUndefinedInCompatibilityMode) {  // [APM3] SYSENTER
    for (char const* const code : {"0f34", "0f35"}) {
        user(code);
        EXPECT_EQ(vector_after([](CpuState& state) {
                      state.segments[cs] = flat_code(kUserCode32 | 3, 3, false);
                      state.sysenter_cs = kKernelCode;
                  }),
                  kUd);
    }
}

}  // namespace
}  // namespace backplane
