#include "cpu/avx.h"

#include <cstddef>

#include "cpu/avx_instructions.h"

namespace backplane {

// --- the pieces of code ---------------------------------------------------------------------------------------------

// clang-format off
// The 256 immediates, one after the other.
#define BACKPLANE_VEX_CODE(label, text) \
    asm(".pushsection .text\n\t.balign 16\n" label ":\n\t" text "\n\tret\n\t.popsection");
#define BACKPLANE_VEX_CODE_IMM(label, text, stride)                                                       \
    asm(".pushsection .text\n\t.balign 16\n" label ":\n\t.set backplane_imm, 0\n\t.rept 256\n\t" text     \
        "\n\tret\n\t.balign " #stride "\n\t.set backplane_imm, backplane_imm + 1\n\t.endr\n\t.popsection");
#define BACKPLANE_VEX_I "$backplane_imm, "

#define BACKPLANE_SHAPE(name, shape, x, y) \
    BACKPLANE_VEX_CODE("backplane_" #name "_" #shape "_x", #name " " x) BACKPLANE_VEX_CODE("backplane_" #name "_" #shape "_y", #name " " y)
#define BACKPLANE_SHAPE_ONE(name, shape, end, text) BACKPLANE_VEX_CODE("backplane_" #name "_" #shape "_" end, #name " " text)
#define BACKPLANE_SHAPE_IMM(name, shape, x, y)                                                          \
    BACKPLANE_VEX_CODE_IMM("backplane_" #name "_" #shape "_x", #name " " BACKPLANE_VEX_I x, 8)          \
    BACKPLANE_VEX_CODE_IMM("backplane_" #name "_" #shape "_y", #name " " BACKPLANE_VEX_I y, 8)
#define BACKPLANE_SHAPE_IMM_ONE(name, shape, end, text) \
    BACKPLANE_VEX_CODE_IMM("backplane_" #name "_" #shape "_" end, #name " " BACKPLANE_VEX_I text, 8)
#define BACKPLANE_TAKE_FLAGS "\n\tpushfq\n\tpop %rdx"

#define BACKPLANE_CODE_BINARY(name)       BACKPLANE_SHAPE(name, BINARY, "%xmm2, %xmm1, %xmm0", "%ymm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_BINARY_X(name)     BACKPLANE_SHAPE_ONE(name, BINARY_X, "x", "%xmm2, %xmm1, %xmm0")
#define BACKPLANE_CODE_BINARY_Y(name)     BACKPLANE_SHAPE_ONE(name, BINARY_Y, "y", "%ymm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_COUNT(name)        BACKPLANE_SHAPE(name, COUNT, "%xmm2, %xmm1, %xmm0", "%xmm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_SELECT(name)       BACKPLANE_SHAPE(name, SELECT, "%xmm3, %xmm2, %xmm1, %xmm0", "%ymm3, %ymm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_BINARY_IMM(name)   BACKPLANE_SHAPE_IMM(name, BINARY_IMM, "%xmm2, %xmm1, %xmm0", "%ymm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_BINARY_IMM_X(name) BACKPLANE_SHAPE_IMM_ONE(name, BINARY_IMM_X, "x", "%xmm2, %xmm1, %xmm0")
#define BACKPLANE_CODE_BINARY_IMM_Y(name) BACKPLANE_SHAPE_IMM_ONE(name, BINARY_IMM_Y, "y", "%ymm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_INSERT(name)       BACKPLANE_SHAPE_IMM_ONE(name, INSERT, "y", "%xmm2, %ymm1, %ymm0")
#define BACKPLANE_CODE_EXTRACT(name)      BACKPLANE_SHAPE_IMM_ONE(name, EXTRACT, "y", "%ymm2, %xmm0")
#define BACKPLANE_CODE_UNARY(name)        BACKPLANE_SHAPE(name, UNARY, "%xmm2, %xmm0", "%ymm2, %ymm0")
#define BACKPLANE_CODE_UNARY_X(name)      BACKPLANE_SHAPE_ONE(name, UNARY_X, "x", "%xmm2, %xmm0")
#define BACKPLANE_CODE_UNARY_IMM(name)    BACKPLANE_SHAPE_IMM(name, UNARY_IMM, "%xmm2, %xmm0", "%ymm2, %ymm0")
#define BACKPLANE_CODE_UNARY_IMM_X(name)  BACKPLANE_SHAPE_IMM_ONE(name, UNARY_IMM_X, "x", "%xmm2, %xmm0")
#define BACKPLANE_CODE_UNARY_IMM_Y(name)  BACKPLANE_SHAPE_IMM_ONE(name, UNARY_IMM_Y, "y", "%ymm2, %ymm0")
#define BACKPLANE_CODE_WIDEN(name)        BACKPLANE_SHAPE(name, WIDEN, "%xmm2, %xmm0", "%xmm2, %ymm0")
#define BACKPLANE_CODE_WIDEN_Y(name)      BACKPLANE_SHAPE_ONE(name, WIDEN_Y, "y", "%xmm2, %ymm0")
#define BACKPLANE_CODE_NARROW(name)       BACKPLANE_SHAPE(name, NARROW, "%xmm2, %xmm0", "%ymm2, %xmm0")
#define BACKPLANE_CODE_NARROW_IMM(name)   BACKPLANE_SHAPE_IMM(name, NARROW_IMM, "%xmm2, %xmm0", "%ymm2, %xmm0")
#define BACKPLANE_CODE_SIGNS(name)        BACKPLANE_SHAPE(name, SIGNS, "%xmm2, %eax", "%ymm2, %eax")
#define BACKPLANE_CODE_TEST(name)         BACKPLANE_SHAPE(name, TEST, "%xmm2, %xmm1" BACKPLANE_TAKE_FLAGS, "%ymm2, %ymm1" BACKPLANE_TAKE_FLAGS)
#define BACKPLANE_CODE_COMPARE(name)      BACKPLANE_SHAPE_ONE(name, COMPARE, "x", "%xmm2, %xmm1" BACKPLANE_TAKE_FLAGS)
#define BACKPLANE_CODE_FROM_INTEGER(name) BACKPLANE_SHAPE(name, FROM_INTEGER, "%eax, %xmm1, %xmm0", "%rax, %xmm1, %xmm0")
#define BACKPLANE_CODE_TO_INTEGER(name)   BACKPLANE_SHAPE(name, TO_INTEGER, "%xmm2, %eax", "%xmm2, %rax")
#define BACKPLANE_CODE_FROM_GPR32(name)   BACKPLANE_SHAPE_IMM_ONE(name, FROM_GPR32, "x", "%eax, %xmm1, %xmm0")
#define BACKPLANE_CODE_FROM_GPR64(name)   BACKPLANE_SHAPE_IMM_ONE(name, FROM_GPR64, "x", "%rax, %xmm1, %xmm0")
#define BACKPLANE_CODE_TO_GPR32(name)     BACKPLANE_SHAPE_IMM_ONE(name, TO_GPR32, "x", "%xmm2, %eax")
#define BACKPLANE_CODE_TO_GPR64(name)     BACKPLANE_SHAPE_IMM_ONE(name, TO_GPR64, "x", "%xmm2, %rax")
#define BACKPLANE_CODE_STRING(name) \
    BACKPLANE_VEX_CODE_IMM("backplane_" #name "_STRING_x", #name " " BACKPLANE_VEX_I "%xmm2, %xmm1" BACKPLANE_TAKE_FLAGS, 16)

#define BACKPLANE_MAKE_CODE(name, shape, arithmetic, lanes) BACKPLANE_CODE_##shape(name)
BACKPLANE_VEX_LIST(BACKPLANE_MAKE_CODE)
BACKPLANE_VEX_COUNT_LIST(BACKPLANE_MAKE_CODE)
BACKPLANE_VEX_IMMEDIATE_LIST(BACKPLANE_MAKE_CODE)

// --- the tables -----------------------------------------------------------------------------------------------------

// A shape as lengths (SHORT: 128 bits, LONG: 256 bits), stride and result.
#define BACKPLANE_TRAITS_BINARY       BOTH, 0, vector
#define BACKPLANE_TRAITS_BINARY_X     SHORT, 0, vector
#define BACKPLANE_TRAITS_BINARY_Y     LONG, 0, vector
#define BACKPLANE_TRAITS_COUNT        BOTH, 0, vector
#define BACKPLANE_TRAITS_SELECT       BOTH, 0, vector
#define BACKPLANE_TRAITS_BINARY_IMM   BOTH, 8, vector
#define BACKPLANE_TRAITS_BINARY_IMM_X SHORT, 8, vector
#define BACKPLANE_TRAITS_BINARY_IMM_Y LONG, 8, vector
#define BACKPLANE_TRAITS_INSERT       LONG, 8, vector
#define BACKPLANE_TRAITS_EXTRACT      LONG, 8, vector
#define BACKPLANE_TRAITS_UNARY        BOTH, 0, vector
#define BACKPLANE_TRAITS_UNARY_X      SHORT, 0, vector
#define BACKPLANE_TRAITS_UNARY_IMM    BOTH, 8, vector
#define BACKPLANE_TRAITS_UNARY_IMM_X  SHORT, 8, vector
#define BACKPLANE_TRAITS_UNARY_IMM_Y  LONG, 8, vector
#define BACKPLANE_TRAITS_WIDEN        BOTH, 0, vector
#define BACKPLANE_TRAITS_WIDEN_Y      LONG, 0, vector
#define BACKPLANE_TRAITS_NARROW       BOTH, 0, vector
#define BACKPLANE_TRAITS_NARROW_IMM   BOTH, 8, vector
#define BACKPLANE_TRAITS_SIGNS        BOTH, 0, general
#define BACKPLANE_TRAITS_TEST         BOTH, 0, flags
#define BACKPLANE_TRAITS_COMPARE      SHORT, 0, flags
#define BACKPLANE_TRAITS_FROM_INTEGER BOTH, 0, vector
#define BACKPLANE_TRAITS_TO_INTEGER   BOTH, 0, general
#define BACKPLANE_TRAITS_FROM_GPR32   SHORT, 8, vector
#define BACKPLANE_TRAITS_FROM_GPR64   SHORT, 8, vector
#define BACKPLANE_TRAITS_TO_GPR32     SHORT, 8, general
#define BACKPLANE_TRAITS_TO_GPR64     SHORT, 8, general
#define BACKPLANE_TRAITS_STRING       SHORT, 16, index_and_flags

#define BACKPLANE_DECLARE_SHORT(name, shape) extern "C" char const backplane_##name##_##shape##_x[];
#define BACKPLANE_DECLARE_LONG(name, shape)  extern "C" char const backplane_##name##_##shape##_y[];
#define BACKPLANE_DECLARE_BOTH(name, shape)  BACKPLANE_DECLARE_SHORT(name, shape) BACKPLANE_DECLARE_LONG(name, shape)
#define BACKPLANE_CODES_SHORT(name, shape)   {backplane_##name##_##shape##_x, nullptr}
#define BACKPLANE_CODES_LONG(name, shape)    {nullptr, backplane_##name##_##shape##_y}
#define BACKPLANE_CODES_BOTH(name, shape)    {backplane_##name##_##shape##_x, backplane_##name##_##shape##_y}

#define BACKPLANE_WITH_TRAITS(what, ...) what(__VA_ARGS__)
#define BACKPLANE_DECLARE_FOR(name, shape, lengths, stride, result) BACKPLANE_DECLARE_##lengths(name, shape)
#define BACKPLANE_DECLARE(name, shape, arithmetic, lanes) \
    BACKPLANE_WITH_TRAITS(BACKPLANE_DECLARE_FOR, name, shape, BACKPLANE_TRAITS_##shape)
#define BACKPLANE_ROW_FOR(name, shape, arithmetic, lanes, lengths, stride, result)               \
    {ZYDIS_MNEMONIC_##name, BACKPLANE_CODES_##lengths(name, shape), stride, VexResult::result, \
     {Arithmetic::arithmetic, Lanes::lanes}},
#define BACKPLANE_ROW(name, shape, arithmetic, lanes) \
    BACKPLANE_WITH_TRAITS(BACKPLANE_ROW_FOR, name, shape, arithmetic, lanes, BACKPLANE_TRAITS_##shape)
// clang-format on

BACKPLANE_VEX_LIST(BACKPLANE_DECLARE)
BACKPLANE_VEX_COUNT_LIST(BACKPLANE_DECLARE)
BACKPLANE_VEX_IMMEDIATE_LIST(BACKPLANE_DECLARE)

namespace {

constexpr VexInstruction kInstructions[] = {BACKPLANE_VEX_LIST(BACKPLANE_ROW)};
constexpr VexInstruction kCounts[] = {BACKPLANE_VEX_COUNT_LIST(BACKPLANE_ROW)};
constexpr VexInstruction kImmediates[] = {BACKPLANE_VEX_IMMEDIATE_LIST(BACKPLANE_ROW)};

/// Both forms of a mnemonic are the same one, except for those of the two short lists.
struct Index {
    VexInstruction const* by_mnemonic[2][ZYDIS_MNEMONIC_MAX_VALUE + 1]{};
    Index() {
        for (auto const& of : kInstructions) by_mnemonic[0][of.mnemonic] = by_mnemonic[1][of.mnemonic] = &of;
        for (auto const& of : kCounts) by_mnemonic[0][of.mnemonic] = &of;
        for (auto const& of : kImmediates) by_mnemonic[1][of.mnemonic] = &of;
    }
};
Index const& index() {
    static Index const made;
    return made;
}

}  // namespace

VexInstruction const* find_vex_instruction(ZydisMnemonic mnemonic, bool last_is_immediate) {
    return index().by_mnemonic[last_is_immediate][mnemonic];
}

void lower_all_vex(LowerTable& table, LowerFunction lower) {
    for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; ++mnemonic)
        if (index().by_mnemonic[0][mnemonic] != nullptr || index().by_mnemonic[1][mnemonic] != nullptr) table[mnemonic] = lower;
}

static_assert(offsetof(VexRegisters, first) == 32 && offsetof(VexRegisters, last) == 64 &&
              offsetof(VexRegisters, fourth) == 96 && offsetof(VexRegisters, rax) == 128 &&
              offsetof(VexRegisters, rdx) == 136 && offsetof(VexRegisters, rcx) == 144);

[[gnu::noinline]] void run_vex(char const* code, VexRegisters& registers) {
    std::uint64_t rax = registers.rax, rdx = registers.rdx, rcx = 0;
    // The red zone belongs to the compiler, and the call and PUSHFQ use the stack.
    asm volatile(
        "vmovdqa (%[r]), %%ymm0\n\tvmovdqa 32(%[r]), %%ymm1\n\tvmovdqa 64(%[r]), %%ymm2\n\tvmovdqa 96(%[r]), %%ymm3\n\t"
        "lea -128(%%rsp), %%rsp\n\tcall *%[code]\n\tlea 128(%%rsp), %%rsp\n\t"
        "vmovdqa %%ymm0, (%[r])\n\tvzeroupper"
        : "+a"(rax), "+d"(rdx), "+c"(rcx)
        : [r] "r"(&registers), [code] "r"(code)
        : "xmm0", "xmm1", "xmm2", "xmm3", "cc", "memory");
    registers.rax = rax, registers.rdx = rdx, registers.rcx = rcx;
}

}  // namespace backplane
