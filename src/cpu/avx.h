// The vocabulary of VEX-encoded instructions: registers of 256 bits, and operations that are the host's own
// instructions, each a few bytes of code between fixed registers (avx.cc). So rounding, NaN choice and denormals are the
// host's, and neither compiler needs to be allowed AVX.
#pragma once

#include <cstdint>

#include "cpu/simd.h"

namespace backplane {

struct alignas(32) Ymm {
    Vector128 low{};
    Vector128 high{};
};

[[nodiscard]] inline Ymm read_ymm(Cpu& cpu, std::uint8_t number) {
    Ymm value;
    std::memcpy(&value.low, cpu.xmm(number).words.data(), 16);
    std::memcpy(&value.high, cpu.ymm_high(number).words.data(), 16);
    return value;
}
inline void write_ymm(Cpu& cpu, std::uint8_t number, Ymm const& value) {
    write_xmm(cpu, number, value.low);
    std::memcpy(cpu.ymm_high(number).words.data(), &value.high, 16);
}
/// What VEX.128 does with a result: bits 255:128 become zero ([SDM1] 14.1.1).
inline void write_ymm_low(Cpu& cpu, std::uint8_t number, Vector128 value) { write_ymm(cpu, number, {value, Vector128{}}); }

/// The registers that an operation works on. The host's code (avx.cc) knows these distances.
struct VexRegisters {
    Ymm destination;  ///< YMM0, in and out
    Ymm first;        ///< YMM1
    Ymm last;         ///< YMM2: the operand that may be memory
    Ymm fourth;       ///< YMM3
    std::uint64_t rax{0};  ///< in and out
    std::uint64_t rdx{0};  ///< in; out: RFLAGS, where the operation leaves flags
    std::uint64_t rcx{0};  ///< out
};

/// What an operation leaves behind.
enum class VexResult : std::uint8_t { vector, general, flags, index_and_flags, mask_and_flags };

struct VexInstruction {
    ZydisMnemonic mnemonic;
    char const* code[2];   ///< for 128 and 256 bits, or general registers of 32 and 64 bits; null: does not exist
    std::uint8_t stride;   ///< bytes from the code for one immediate to that for the next; 0: no immediate
    VexResult result;
    FloatKind kind;
};

/// Null when there is none, or when the instruction is a move.
[[nodiscard]] VexInstruction const* find_vex_instruction(ZydisMnemonic mnemonic, bool last_is_immediate);
/// All mnemonics that find_vex_instruction() knows.
void lower_all_vex(LowerTable& table, LowerFunction lower);

/// Runs one of the pieces of code. The host must have what the model says (CpuModel::avx2).
void run_vex(char const* code, VexRegisters& registers);

/// Whether the first VEX operand's length is 256 bits.
[[nodiscard]] inline bool is_256(Lowering const& l) { return l.instruction.raw.vex.L != 0; }

}  // namespace backplane
