#include "cpu/power_on.h"

#include <gtest/gtest.h>

#include "cpu/testing.h"

namespace backplane {
namespace {

// [SDM3A] table 9-1.
TEST(PowerOn, TheProcessorStartsAtTheResetVector) {
    CpuState const state = power_on_state();
    EXPECT_EQ(state.segments[cs].base + state.rip, 0xffff'fff0U);
    EXPECT_EQ(state.segments[cs].selector, 0xf000);
    EXPECT_EQ(state.segments[ds].limit, 0xffffU);
    EXPECT_EQ(state.cr0, 0x6000'0010U);
    EXPECT_EQ(state.rflags, 2U);
    EXPECT_EQ(state.gpr[rdx], TestMachine{}.cpu.cpuid(1, 0)[0]) << "as CPUID says it";
}

}  // namespace
}  // namespace backplane
