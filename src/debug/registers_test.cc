#include "debug/registers.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace backplane {
namespace {

std::string text_of(char const* name, CpuState const& state) {
    DebugRegister const* const reg = find_debug_register(name);
    return reg != nullptr ? register_text(*reg, state) : "no such register";
}
bool set(char const* name, CpuState& state, std::string_view digits) {
    return set_register(*find_debug_register(name), state, digits);
}

TEST(Registers, HaveTheNumbersThatGdbKnows) {
    auto const all = debug_registers();
    ASSERT_GT(all.size(), 60U);
    for (auto const& [number, name] : {std::pair{0, "rax"},
                                       {1, "rbx"},
                                       {7, "rsp"},
                                       {16, "rip"},
                                       {17, "eflags"},
                                       {18, "cs"},
                                       {23, "gs"},
                                       {24, "st0"},
                                       {32, "fctrl"},
                                       {40, "xmm0"},
                                       {56, "mxcsr"},
                                       {57, "orig_rax"},
                                       {58, "fs_base"}})
        EXPECT_EQ(all[static_cast<std::size_t>(number)].name, std::string{name});
}

TEST(Registers, AreDescribedOnceEach) {
    std::string const& xml = target_description();
    unsigned number = 0;
    for (DebugRegister const& reg : debug_registers()) {
        std::string const start =
            std::string{"<reg name=\""} + reg.name + "\" bitsize=\"" + std::to_string(reg.bits) + "\"";
        std::size_t const at = xml.find(start);
        ASSERT_NE(at, std::string::npos) << reg.name;
        EXPECT_EQ(xml.find(std::string{"<reg name=\""} + reg.name + '"', at + 1), std::string::npos) << reg.name;
        EXPECT_NE(xml.find("regnum=\"" + std::to_string(number++) + "\"/>", at), std::string::npos) << reg.name;
    }
}

TEST(Registers, EveryOneShowsItsOwnPartOfTheState) {
    CpuState state;
    state.gpr[rdi] = 1;
    state.segments[fs].base = 2;
    state.segments[cs].selector = 3;
    state.cr3 = 4;
    state.gdtr = {5, 6};
    state.lstar = 7;
    state.xmm[9].words = {8, 9};
    state.tr.limit = 10;
    EXPECT_EQ(text_of("rdi", state), "0100000000000000");
    EXPECT_EQ(text_of("fs_base", state), "0200000000000000");
    EXPECT_EQ(text_of("cs", state), "03000000");
    EXPECT_EQ(text_of("cr3", state), "0400000000000000");
    EXPECT_EQ(text_of("gdtr_base", state), "0500000000000000");
    EXPECT_EQ(text_of("gdtr_limit", state), "06000000");
    EXPECT_EQ(text_of("lstar", state), "0700000000000000");
    EXPECT_EQ(text_of("xmm9", state), "08000000000000000900000000000000");
    state.ymm_high[9].words = {10, 11};
    EXPECT_EQ(text_of("ymm9h", state), "0a000000000000000b00000000000000");
    EXPECT_EQ(text_of("tr_limit", state), "0a000000");
}

// ST(i) counts from TOP ([SDM1] 8.1.2), and the tag word has two bits a physical register ([SDM1] 8.1.7).
TEST(Registers, X87CountsFromTheTopOfItsStack) {
    CpuState state;
    state.x87.status = 6 << 11;
    state.x87.registers[7] = {0x8000'0000'0000'0000, 0x3fff};  // 1.0 in ST(1)
    state.x87.valid = 0xc0;
    EXPECT_EQ(text_of("st1", state), "0000000000000080ff3f");
    EXPECT_EQ(text_of("ftag", state), "ff1f0000") << "R7 valid, R6 zero, the others empty";
}

TEST(Registers, WhatCanBeSet) {
    CpuState state;
    state.halted = true;
    EXPECT_TRUE(set("rip", state, "0010000000000000"));
    EXPECT_EQ(state.rip, 0x1000U);
    EXPECT_FALSE(state.halted);
    EXPECT_TRUE(set("eflags", state, "ffffffff"));
    EXPECT_EQ(state.rflags & (1U << 17), 0U) << "virtual-8086 mode cannot be entered from outside";
    EXPECT_TRUE(set("eflags", state, "00000000"));
    EXPECT_EQ(state.rflags, 2U);
    EXPECT_TRUE(set("xmm3", state, "01000000000000000200000000000000"));
    EXPECT_EQ(state.xmm[3].words[1], 2U);
}

TEST(Registers, WhatWouldMakeAStateThatNoProcessorHasIsRefused) {
    CpuState const before;
    CpuState state = before;
    EXPECT_FALSE(set("rip", state, "0000000000000080")) << "not canonical";
    EXPECT_FALSE(set("mxcsr", state, "00000100")) << "reserved bits";
    EXPECT_FALSE(set("cr3", state, "00000000000000ff"));
    for (char const* const name : {"cr0", "cr4", "efer", "gdtr_base", "ds_base", "lstar", "dr7"})
        EXPECT_FALSE(set(name, state, "0100000000000000")) << name;
    EXPECT_FALSE(set("cs", state, "10000000"));
    EXPECT_EQ(state, before);
}

TEST(Registers, AllAtOnceIsAllOrNothing) {
    CpuState state;
    std::string text = all_registers_text(state);
    EXPECT_TRUE(set_all_registers(state, text));
    text.replace(16 * 16, 16, "0000000000000080");  // rip
    text.replace(0, 2, "01");                       // rax
    EXPECT_FALSE(set_all_registers(state, text));
    EXPECT_EQ(state.gpr[rax], 0U);
}

}  // namespace
}  // namespace backplane
