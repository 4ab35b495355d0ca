#include "advertised.h"

#include <cpuid.h>

#include <algorithm>

#include "case.h"

namespace backplane::isa {
namespace {

enum Register : std::uint8_t { eax, ebx, ecx, edx };

/// A feature bit and the instructions that come with it ([SDM2] CPUID; leaf 0 stands for what every x86-64 has).
struct Feature {
    ZydisISASet set;
    std::uint32_t leaf;
    Register reg;
    std::uint8_t bit;
    std::uint32_t subleaf{0};
};

constexpr Feature kFeatures[] = {
    {ZYDIS_ISA_SET_I86, 0, eax, 0},
    {ZYDIS_ISA_SET_I186, 0, eax, 0},
    {ZYDIS_ISA_SET_I286REAL, 0, eax, 0},
    {ZYDIS_ISA_SET_I286PROTECTED, 0, eax, 0},
    {ZYDIS_ISA_SET_I386, 0, eax, 0},
    {ZYDIS_ISA_SET_I486, 0, eax, 0},
    {ZYDIS_ISA_SET_I486REAL, 0, eax, 0},
    {ZYDIS_ISA_SET_PENTIUMREAL, 1, edx, 8},
    {ZYDIS_ISA_SET_LONGMODE, 0, eax, 0},
    {ZYDIS_ISA_SET_PPRO, 0, eax, 0},
    {ZYDIS_ISA_SET_FAT_NOP, 0, eax, 0},
    {ZYDIS_ISA_SET_PREFETCH_NOP, 0, eax, 0},
    {ZYDIS_ISA_SET_PAUSE, 0, eax, 0},
    {ZYDIS_ISA_SET_X87, 1, edx, 0},
    {ZYDIS_ISA_SET_CMOV, 1, edx, 15},
    {ZYDIS_ISA_SET_FCMOV, 1, edx, 15},
    {ZYDIS_ISA_SET_CLFSH, 1, edx, 19},
    {ZYDIS_ISA_SET_PENTIUMMMX, 1, edx, 23},
    {ZYDIS_ISA_SET_FXSAVE, 1, edx, 24},
    {ZYDIS_ISA_SET_FXSAVE64, 1, edx, 24},
    {ZYDIS_ISA_SET_SSE, 1, edx, 25},
    {ZYDIS_ISA_SET_SSEMXCSR, 1, edx, 25},
    {ZYDIS_ISA_SET_SSE_PREFETCH, 1, edx, 25},
    {ZYDIS_ISA_SET_SSE2, 1, edx, 26},
    {ZYDIS_ISA_SET_SSE2MMX, 1, edx, 26},
    {ZYDIS_ISA_SET_SSE3, 1, ecx, 0},
    {ZYDIS_ISA_SET_SSE3X87, 1, ecx, 0},
    {ZYDIS_ISA_SET_PCLMULQDQ, 1, ecx, 1},
    {ZYDIS_ISA_SET_SSSE3, 1, ecx, 9},
    {ZYDIS_ISA_SET_SSSE3MMX, 1, ecx, 9},
    {ZYDIS_ISA_SET_CMPXCHG16B, 1, ecx, 13},
    {ZYDIS_ISA_SET_SSE4, 1, ecx, 19},
    {ZYDIS_ISA_SET_SSE42, 1, ecx, 20},
    {ZYDIS_ISA_SET_MOVBE, 1, ecx, 22},
    {ZYDIS_ISA_SET_POPCNT, 1, ecx, 23},
    {ZYDIS_ISA_SET_AES, 1, ecx, 25},
    {ZYDIS_ISA_SET_BMI1, 7, ebx, 3},
    {ZYDIS_ISA_SET_BMI2, 7, ebx, 8},
    {ZYDIS_ISA_SET_ADOX_ADCX, 7, ebx, 19},
    {ZYDIS_ISA_SET_CLFLUSHOPT, 7, ebx, 23},
    {ZYDIS_ISA_SET_CLWB, 7, ebx, 24},
    {ZYDIS_ISA_SET_RDWRFSGS, 7, ebx, 0},
    {ZYDIS_ISA_SET_SHA, 7, ebx, 29},
    {ZYDIS_ISA_SET_AVX, 1, ecx, 28},
    {ZYDIS_ISA_SET_AVXAES, 1, ecx, 28},
    {ZYDIS_ISA_SET_AVX2, 7, ebx, 5},
    {ZYDIS_ISA_SET_AVX2GATHER, 7, ebx, 5},
    {ZYDIS_ISA_SET_FMA, 1, ecx, 12},
    {ZYDIS_ISA_SET_F16C, 1, ecx, 29},
    {ZYDIS_ISA_SET_XSAVE, 1, ecx, 26},
    {ZYDIS_ISA_SET_XSAVEOPT, 0xd, eax, 0, 1},
    {ZYDIS_ISA_SET_XSAVEC, 0xd, eax, 1, 1},
    {ZYDIS_ISA_SET_LAHF, 0x8000'0001, ecx, 0},
    {ZYDIS_ISA_SET_LZCNT, 0x8000'0001, ecx, 5},
    {ZYDIS_ISA_SET_PREFETCHWT1, 0x8000'0001, ecx, 8},
};

/// Features whose instructions are not generated.
struct NotGenerated {
    char const* name;
    std::uint32_t leaf;
    Register reg;
    std::uint8_t bit;
};
constexpr NotGenerated kNotGenerated[] = {
    {"AVX512F", 7, ebx, 16},
    {"SSE4A", 0x8000'0001, ecx, 6},
    {"3DNOW", 0x8000'0001, edx, 31},
};

bool is_set(Cpuid const& cpuid, std::uint32_t leaf, Register reg, std::uint8_t bit, std::uint32_t subleaf = 0) {
    if (leaf == 0) return true;
    std::uint32_t const most = cpuid(leaf & 0x8000'0000, 0)[eax];
    return most >= leaf && (cpuid(leaf, subleaf)[reg] >> bit & 1) != 0;
}

std::vector<Exclusion> make_exclusions() {
    std::vector<Exclusion> table;
    auto const exclude = [&](char const* reason, std::initializer_list<ZydisMnemonic> mnemonics) {
        for (auto const mnemonic : mnemonics) table.push_back({mnemonic, reason});
    };
    exclude("port I/O: privileged for the host's child, a device in the guest",
            {ZYDIS_MNEMONIC_IN, ZYDIS_MNEMONIC_OUT, ZYDIS_MNEMONIC_INSB, ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD,
             ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD});
    exclude("privileged at CPL 3",
            {ZYDIS_MNEMONIC_HLT, ZYDIS_MNEMONIC_CLI, ZYDIS_MNEMONIC_STI, ZYDIS_MNEMONIC_CLTS, ZYDIS_MNEMONIC_INVD,
             ZYDIS_MNEMONIC_WBINVD, ZYDIS_MNEMONIC_INVLPG, ZYDIS_MNEMONIC_LGDT, ZYDIS_MNEMONIC_LIDT,
             ZYDIS_MNEMONIC_LLDT, ZYDIS_MNEMONIC_LTR, ZYDIS_MNEMONIC_LMSW, ZYDIS_MNEMONIC_RDMSR, ZYDIS_MNEMONIC_WRMSR,
             ZYDIS_MNEMONIC_RSM, ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_SWAPGS, ZYDIS_MNEMONIC_SYSRET, ZYDIS_MNEMONIC_SYSEXIT});
    exclude("leaves user mode", {ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT,
                                 ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO, ZYDIS_MNEMONIC_IRET,
                                 ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ});
    exclude("tells or depends on the host's identity, time or performance counters",
            {ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDPMC,
             ZYDIS_MNEMONIC_RDPID});
    exclude("shows the host's XCR0", {ZYDIS_MNEMONIC_XGETBV});
    exclude("random by design", {ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED});
    exclude("shows the host's descriptor tables and control registers",
            {ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW,
             ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW});
    exclude("loads a segment from the host's descriptor tables",
            {ZYDIS_MNEMONIC_LSS, ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS});
    return table;
}

/// MOV and POP to a segment register, far transfers, MOV with control and debug registers.
bool is_excluded_form(Decoded const& decoded) {
    auto const& instruction = decoded.instruction;
    if (instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return true;
    // 66 on a near branch truncates RIP on AMD's processors and is ignored by Intel's.
    bool const is_return = instruction.meta.category == ZYDIS_CATEGORY_RET;
    if (instruction.operand_width == 16 && (instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || is_return))
        return true;
    // [SDM2] BSWAP: undefined with a 16-bit operand.
    if (instruction.mnemonic == ZYDIS_MNEMONIC_BSWAP && instruction.operand_width == 16) return true;
    // 16-bit MOVSXD from memory reads two bytes for Intel, four for AMD.
    if (instruction.mnemonic == ZYDIS_MNEMONIC_MOVSXD && instruction.operand_width == 16) return true;
    // 0F 0D with a register: a reserved no-operation for Intel, an undefined opcode for AMD.
    if (instruction.opcode_map == ZYDIS_OPCODE_MAP_0F && instruction.opcode == 0x0d && instruction.raw.modrm.mod == 3)
        return true;
    return std::ranges::any_of(decoded.visible(), [](auto const& operand) {
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return false;
        auto const reg_class = ZydisRegisterGetClass(operand.reg.value);
        if (reg_class == ZYDIS_REGCLASS_CONTROL || reg_class == ZYDIS_REGCLASS_DEBUG) return true;
        return reg_class == ZYDIS_REGCLASS_SEGMENT && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    });
}

}  // namespace

Cpuid host_cpuid() {
    return [](std::uint32_t leaf, std::uint32_t subleaf) {
        std::array<std::uint32_t, 4> result{};
        __cpuid_count(leaf, subleaf, result[eax], result[ebx], result[ecx], result[edx]);
        constexpr std::uint32_t kFsgsbase = 1;
        if (leaf == 7 && subleaf == 0 && !has_fsgsbase()) result[ebx] &= ~kFsgsbase;
        return result;
    };
}

Advertised::Advertised(Cpuid const& guest, Cpuid const& host) {
    for (auto const& feature : kFeatures) {
        if (!is_set(guest, feature.leaf, feature.reg, feature.bit, feature.subleaf)) continue;
        bool const on_host = is_set(host, feature.leaf, feature.reg, feature.bit, feature.subleaf);
        sets_[feature.set] = on_host;
        if (!on_host) missing_on_host_.emplace_back(ZydisISASetGetString(feature.set));
    }
    for (auto const& feature : kNotGenerated)
        if (is_set(guest, feature.leaf, feature.reg, feature.bit)) not_generated_.emplace_back(feature.name);
}

bool Advertised::contains(Decoded const& decoded) const {
    if (!sets_[decoded.instruction.meta.isa_set]) return false;
    auto const& table = exclusions();
    bool const excluded = std::ranges::any_of(
        table, [&](Exclusion const& entry) { return entry.mnemonic == decoded.instruction.mnemonic; });
    return !excluded && !is_excluded_form(decoded);
}

std::vector<Exclusion> const& exclusions() {
    static std::vector<Exclusion> const table = make_exclusions();
    return table;
}

char const* excluded_forms() {
    return "forms      far JMP, CALL, RET: load a segment from the host's descriptor tables\n"
           "forms      MOV and POP to a segment register: the same\n"
           "forms      MOV with control and debug registers: privileged\n"
           "forms      near branches with prefix 66: truncate RIP for AMD, ignored by Intel\n"
           "forms      BSWAP of 16 bits: undefined result\n"
           "forms      MOVSXD of 16 bits: AMD's and Intel's processors read differently much\n"
           "forms      0F 0D with a register: undefined opcode for AMD, reserved no-operation for Intel\n";
}

bool is_approximation(ZydisMnemonic mnemonic) {
    static constexpr ZydisMnemonic kAll[] = {
        ZYDIS_MNEMONIC_RCPPS,  ZYDIS_MNEMONIC_RCPSS,  ZYDIS_MNEMONIC_RSQRTPS,  ZYDIS_MNEMONIC_RSQRTSS,
        ZYDIS_MNEMONIC_VRCPPS, ZYDIS_MNEMONIC_VRCPSS, ZYDIS_MNEMONIC_VRSQRTPS, ZYDIS_MNEMONIC_VRSQRTSS,
        ZYDIS_MNEMONIC_F2XM1,  ZYDIS_MNEMONIC_FYL2X,  ZYDIS_MNEMONIC_FYL2XP1,  ZYDIS_MNEMONIC_FPATAN,
        ZYDIS_MNEMONIC_FSIN,   ZYDIS_MNEMONIC_FCOS,   ZYDIS_MNEMONIC_FSINCOS,  ZYDIS_MNEMONIC_FPTAN};
    return std::ranges::find(kAll, mnemonic) != std::end(kAll);
}

bool always_faults(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_UD0 || mnemonic == ZYDIS_MNEMONIC_UD1 || mnemonic == ZYDIS_MNEMONIC_UD2;
}

}  // namespace backplane::isa
