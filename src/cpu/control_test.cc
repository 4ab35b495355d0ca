// Control registers, model-specific registers and CPUID: what must be refused, and that what is announced exists.
#include <gtest/gtest.h>

#include <cctype>
#include <functional>
#include <string>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

/// Executes one instruction of the kernel; the vector it raised, or empty.
std::optional<unsigned> raised(char const* code, std::function<void(CpuState&)> const& change = {}) {
    TestMachine machine;
    machine.put(kCode, code);
    machine.start_kernel();
    if (change) machine.with_state(change);
    EXPECT_EQ(machine.run(1), Ended::quota);
    if (!machine.is_in_handler()) return {};
    (void)machine.run();
    EXPECT_EQ(machine.frame().error_code, 0u);
    EXPECT_EQ(machine.frame().rip, kCode);
    return machine.arrived();
}
std::optional<unsigned> raised_with(char const* code, std::uint64_t value) {
    return raised(code, [&](CpuState& state) { state.gpr[rax] = value; });
}

TEST(ControlRegisters, RefuseWhatTheManualForbids) {
    std::uint64_t const cr0 = TestMachine::kernel_state().cr0;
    std::uint64_t const cr4 = TestMachine::kernel_state().cr4;
    struct Row {
        char const* code;
        std::uint64_t value;
        bool allowed;
    };
    Row const rows[] = {
        {"0f22c0", cr0, true},
        {"0f22c0", cr0 | cr0::kTaskSwitched | cr0::kMonitorCoprocessor, true},
        {"0f22c0", cr0 & ~cr0::kWriteProtect, true},
        {"0f22c0", cr0 | bit(32), false},
        {"0f22c0", cr0 | bit(63), false},
        {"0f22c0", cr0 & ~cr0::kProtection, false},      // PG without PE
        {"0f22c0", cr0 & ~cr0::kPaging, false},          // in 64-bit mode
        {"0f22c0", cr0 | cr0::kNotWriteThrough, false},  // NW without CD
        {"0f22c0", cr0 | cr0::kNotWriteThrough | cr0::kCacheDisable, true},
        {"0f22d8", kPml4, true},
        {"0f22d8", kPml4 | 0xfff, true},  // low bits are ignored or flags
        {"0f22d8", bit(PageMap::kAddressBits), false},
        {"0f22d8", bit(63), false},
        {"0f22e0", cr4, true},
        {"0f22e0", cr4 & ~cr4::kPhysicalAddressExtension, false},
        {"0f22e0", cr4 | cr4::kXsave, true},
        {"0f22e0", cr4 | bit(12), false},  // LA57
        {"0f22e0", cr4 | bit(13), false},  // VMXE
        {"0f22e0", cr4 | bit(22), false},  // PKE
        {"0f22e0", cr4 | bit(40), false},
        {"0f22e0", cr4 | cr4::kMachineCheck | cr4::kSmep | cr4::kGlobalPages, true},
        {"440f22c0", 15, true},
        {"440f22c0", 16, false},
        {"440f22c0", bit(32), false},
        {"0f23f0", 0, true},
        {"0f23f0", bit(32), false},
        {"0f23f8", 0x400, true},
        {"0f23f8", bit(40), false},
    };
    for (Row const& row : rows)
        EXPECT_EQ(raised_with(row.code, row.value), row.allowed ? std::nullopt : std::optional{13U})
            << row.code << " " << row.value;
    for (char const* const code : {"0f22c8", "0f20c8", "440f20c8"}) EXPECT_EQ(raised(code), 6u) << code;  // CR1, CR9
    EXPECT_EQ(raised("0f21e0", [](CpuState& state) { state.cr4 |= cr4::kDebuggingExtensions; }), 6u);     // DR4
    EXPECT_EQ(raised("0f21e0"), std::nullopt);
}

TEST(ControlRegisters, TablesWithNonCanonicalBasesAreRefused) {
    for (char const* const code : {"0f0110", "0f0118"}) {  // lgdt, lidt [rax]
        TestMachine machine;
        machine.put(kCode, code);
        machine.put_value(kData, std::uint16_t{0xfff});
        machine.put_value(kData + 2, bit(63));
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rax] = kData; });
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived(), 13u) << code;
    }
}

std::optional<unsigned> read_raises(std::uint32_t number) {
    return raised("0f32", [&](CpuState& state) { state.gpr[rcx] = number; });
}
std::optional<unsigned> write_raises(std::uint32_t number, std::uint64_t value) {
    return raised("0f30", [&](CpuState& state) {
        state.gpr[rcx] = number;
        state.gpr[rax] = static_cast<std::uint32_t>(value);
        state.gpr[rdx] = value >> 32;
    });
}

TEST(Msrs, UnknownOnesAreRefused) {
    for (std::uint32_t const number :
         {0U, 0x11U, 0x3aU /* FEATURE_CONTROL */, 0x12U, 0x17bU /* MCG_CTL */, 0x404U /* MC1_CTL */, 0x480U /* VMX */,
          0x6a0U /* CET */, 0xda0U /* XSS */, 0xc000'0085U, 0xc000'0104U /* TSC_RATIO */, 0x1234'5678U, 0xffff'ffffU,
          0x210U}) {
        EXPECT_EQ(read_raises(number), 13u) << number;
        EXPECT_EQ(write_raises(number, 0), 13u) << number;
    }
}

TEST(Msrs, RefuseWrongValues) {
    struct Row {
        std::uint32_t number;
        std::uint64_t value;
        bool allowed;
    };
    constexpr std::uint64_t kEferNow =
        efer::kSyscall | efer::kLongModeEnable | efer::kLongModeActive | efer::kNoExecute;
    Row const rows[] = {
        {0xc000'0080, kEferNow, true},
        {0xc000'0080, kEferNow & ~efer::kSyscall, true},
        {0xc000'0080, kEferNow & ~efer::kLongModeEnable, false},  // while paging
        {0xc000'0080, kEferNow | bit(12), false},                 // SVME
        {0xc000'0080, kEferNow | bit(1), false},
        {0xc000'0080, kEferNow | bit(40), false},
        {0xc000'0082, bit(63), false},  // LSTAR
        {0xc000'0082, ~std::uint64_t{0}, true},
        {0xc000'0083, bit(47), false},  // CSTAR
        {0xc000'0100, bit(62), false},  // FS base
        {0xc000'0101, bit(62), false},
        {0xc000'0102, bit(62), false},
        {0xc000'0102, 0xffff'8000'0000'0000, true},
        {0x277, 0x0007'0406'0007'0406, true},  // PAT
        {0x277, 0x0007'0406'0007'0402, false},
        {0x277, 0x0307'0406'0007'0406, false},
        {0x2ff, 0xc06, true},  // MTRR default type
        {0x2ff, 0xc02, false},
        {0x250, 0x0606'0606'0606'0606, true},
        {0x250, 0x0606'0606'0306'0606, false},
        {0x200, 0x8000'0006, true},  // [SDM3A] 11.11.2.3: PHYSBASE 0
        {0x200, 0x8000'0002, false},
        {0x200, 0x8000'0106, false},
        {0x200, bit(PageMap::kAddressBits) | 6, false},
        {0x201, 0xf000'0800, true},  // PHYSMASK 0
        {0x201, 0xf000'0801, false},
        {0x20f, bit(PageMap::kAddressBits) | 0x800, false},
        {0x210, 0, false},  // there are eight
        {0x48, 1, true},  // SPEC_CTRL: IBRS alone is announced
        {0x48, 2, false},
        {0x49, 1, true},
        {0x49, 2, false},
        {0xfe, 0, false},   // MTRRcap is read-only
        {0x179, 0, false},  // MCG_CAP
        {0x17a, 0, true},
        {0x17a, 5, true},
        {0x17a, 8, false},
        {0x400, ~std::uint64_t{0}, true},
        {0x401, 0, true},
        {0x401, 1, false},  // [SDM3B] 15.3.2.2
        {0x1b, 0xfee0'0d00 | bit(45), false},  // beyond the physical address
        {0x1b, 0xfee0'0500, false},            // x2APIC without the enable bit
        {0x80f, bit(32), false},
        {0x802, 0, false},  // the x2APIC ID is read-only
    };
    for (Row const& row : rows)
        EXPECT_EQ(write_raises(row.number, row.value), row.allowed ? std::nullopt : std::optional{13U})
            << std::hex << row.number << " = " << row.value;
}

TEST(Msrs, MachineCheckHasOneBank) {
    TestMachine machine;
    EXPECT_EQ(machine.cpu.read_msr(0x179), 1u);
    EXPECT_EQ(machine.cpu.read_msr(0x17a), 0u);
    EXPECT_EQ(machine.cpu.read_msr(0x401), 0u);
}

// --- CPUID --------------------------------------------------------------------------------------------------------

/// A feature bit, and an instruction that must not be #UD when it is announced.
struct Feature {
    char const* name;
    std::uint32_t leaf;
    unsigned reg;  ///< 0 eax, 1 ebx, 2 ecx, 3 edx
    unsigned bit;
    char const* code;
};
constexpr Feature kFeatures[] = {
    {"FPU", 1, 3, 0, "d9e8"},
    {"TSC", 1, 3, 4, "0f31"},
    {"MSR", 1, 3, 5, "0f32"},
    {"CX8", 1, 3, 8, "0fc70b"},
    {"CMOV", 1, 3, 15, "0f44c1"},
    {"CLFSH", 1, 3, 19, "0fae3b"},
    {"MMX", 1, 3, 23, "0fefc0"},
    {"FXSR", 1, 3, 24, "0fae03"},
    {"SSE", 1, 3, 25, "0f57c0"},
    {"SSE2", 1, 3, 26, "660fefc0"},
    {"SSE3", 1, 2, 0, "f20f7cc0"},
    {"PCLMULQDQ", 1, 2, 1, "660f3a44c000"},
    {"MONITOR", 1, 2, 3, "0f01c8"},
    {"SSSE3", 1, 2, 9, "660f3800c0"},
    {"FMA", 1, 2, 12, "c4e2f998c0"},
    {"CX16", 1, 2, 13, "480fc70b"},
    {"SSE4.1", 1, 2, 19, "660f3817c0"},
    {"SSE4.2", 1, 2, 20, "660f3837c0"},
    {"MOVBE", 1, 2, 22, "0f38f003"},
    {"POPCNT", 1, 2, 23, "f30fb8c0"},
    {"AES", 1, 2, 25, "660f38dcc0"},
    {"XSAVE", 1, 2, 26, "31c9 0f01d0"},
    {"AVX", 1, 2, 28, "c5f857c0"},
    {"F16C", 1, 2, 29, "c4e27913c0"},
    {"RDRAND", 1, 2, 30, "0fc7f0"},
    {"FSGSBASE", 7, 1, 0, "f30faec0"},
    {"BMI1", 7, 1, 3, "c4e278f2c0"},
    {"AVX2", 7, 1, 5, "c5fdfcc0"},
    {"BMI2", 7, 1, 8, "c4e2f9f7c0"},
    {"INVPCID", 7, 1, 10, "660f388213"},
    {"RDSEED", 7, 1, 18, "0fc7f8"},
    {"ADX", 7, 1, 19, "660f38f6c0"},
    {"SMAP", 7, 1, 20, "0f01ca"},
    {"CLFLUSHOPT", 7, 1, 23, "660fae3b"},
    {"CLWB", 7, 1, 24, "660fae33"},
    {"SHA", 7, 1, 29, "0f38c8c0"},
    {"RDPID", 7, 2, 22, "f30fc7f8"},
    {"LAHF", 0x8000'0001, 2, 0, "9f"},
    {"LZCNT", 0x8000'0001, 2, 5, "f30fbdc0"},
    {"SSE4A", 0x8000'0001, 2, 6, "f20f79c0"},
    {"PREFETCHW", 0x8000'0001, 2, 8, "0f0d0b"},
    {"RDTSCP", 0x8000'0001, 3, 27, "0f01f9"},
    {"SYSCALL", 0x8000'0001, 3, 11, "0f05"},
};

class Announced : public testing::TestWithParam<Feature> {};
INSTANTIATE_TEST_SUITE_P(Cpuid, Announced, testing::ValuesIn(kFeatures), [](testing::TestParamInfo<Feature> const& of) {
    std::string name = of.param.name;
    std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
    return name;
});

// Both directions: an announced feature executes, and one that is not announced is #UD where its encoding means nothing
// else (LZCNT is BSR with a prefix that older processors ignore).
TEST_P(Announced, OnlyWhatDecodes) {
    Feature const& feature = GetParam();
    TestMachine machine;
    bool const announced = (machine.cpu.cpuid(feature.leaf, 0)[feature.reg] >> feature.bit & 1) != 0;
    auto const vector = raised(feature.code, [&](CpuState& state) {
        state.gpr[rbx] = kData;
        state.gpr[rax] = kData;
        state.gpr[rcx] = 0x10;
        state.cr4 |= cr4::kFsgsbase | cr4::kXsave;
        state.xcr0 = machine.cpu.state_components();
        state.lstar = kUserCode;
    });
    bool const is_ignored_prefix = !announced && std::string{feature.name} == "LZCNT";
    EXPECT_EQ(vector, announced || is_ignored_prefix ? std::nullopt : std::optional{6U});
}

TEST(Cpuid, ControlBitsOfAnnouncedFeaturesCanBeSet) {
    TestMachine machine;
    struct Row {
        std::uint32_t leaf;
        unsigned reg, bit;
        std::uint64_t cr4;
    };
    std::uint64_t const base = TestMachine::kernel_state().cr4;
    for (Row const& row :
         {Row{1, 3, 2, cr4::kDebuggingExtensions}, Row{1, 3, 3, cr4::kPageSizeExtensions},
          Row{1, 3, 7, cr4::kMachineCheck}, Row{1, 3, 13, cr4::kGlobalPages}, Row{1, 2, 17, cr4::kPcid},
          Row{1, 2, 26, cr4::kXsave}, Row{7, 1, 0, cr4::kFsgsbase}, Row{7, 1, 7, cr4::kSmep}, Row{7, 1, 20, cr4::kSmap},
          Row{7, 2, 2, bit(11)}, Row{7, 2, 3, bit(22)}, Row{7, 2, 16, bit(12)}}) {
        bool const announced = (machine.cpu.cpuid(row.leaf, 0)[row.reg] >> row.bit & 1) != 0;
        EXPECT_EQ(raised_with("0f22e0", base | row.cr4), announced ? std::nullopt : std::optional{13U}) << row.cr4;
    }
}

TEST(Cpuid, LeavesAgreeWithEachOther) {
    TestMachine machine;
    auto const cpuid = [&](std::uint32_t leaf, std::uint32_t subleaf = 0) { return machine.cpu.cpuid(leaf, subleaf); };
    EXPECT_EQ(cpuid(0x8000'0008)[0] & 0xff, PageMap::kAddressBits);
    EXPECT_EQ(cpuid(0x8000'0008)[0] >> 8 & 0xff, 48u);
    EXPECT_EQ(cpuid(1)[0], cpuid(0x8000'0001)[0]);
    constexpr std::uint32_t kCommon = 0x0183'f3ff;  // bits of leaf 1 that AMD repeats ([APM3] E.4.2)
    EXPECT_EQ(cpuid(1)[3] & kCommon, cpuid(0x8000'0001)[3] & kCommon);
    for (std::uint32_t const beyond :
         {cpuid(0)[0] + 1, cpuid(0x8000'0000)[0] + 1, 0x4000'0002U, 0x2000'0000U, 0xffff'ffffU})
        EXPECT_EQ(cpuid(beyond), (std::array<std::uint32_t, 4>{})) << beyond;
    // The APIC bit follows the APIC.
    EXPECT_NE(cpuid(1)[3] & 1 << 9, 0u);
    ASSERT_TRUE(machine.apic.write_msr(0x1b, 0xfee0'0100).has_value());
    EXPECT_EQ(cpuid(1)[3] & 1 << 9, 0u);
}

}  // namespace
}  // namespace backplane
