// VEX-encoded vector instructions that read, compute and write: AVX, AVX2, FMA, F16C, and the VEX forms of SSE, AES,
// PCLMULQDQ and SSE4.2 ([SDM1] chapter 14). One handler for all, by where the last source comes from and where the
// result goes; what is computed is a piece of host code (avx.h).
//
// Op: dst, src = first source, aux = last source when it is a register; imm = immediate, the fourth register in bits
// 15:8, and the VexInstruction's address from bit 16 on. extra: bit 0 = 256 bits or 64-bit general register.
#include <algorithm>

#include "cpu/avx.h"
#include "cpu/dot_product.h"

namespace backplane {

namespace {

[[nodiscard]] VexInstruction const& instruction_of(Op const* op) {
    return *reinterpret_cast<VexInstruction const*>(static_cast<std::uint64_t>(op->imm) >> 16);
}
[[nodiscard]] bool is_long(Op const* op) { return (op->extra & 1) != 0; }

// --- the last source ------------------------------------------------------------------------------------------------

struct LastVector {
    static bool read(Cpu& cpu, Op const* op, VexRegisters& to) {
        to.last = read_ymm(cpu, op->aux);
        return true;
    }
};
struct LastGeneral {
    static bool read(Cpu& cpu, Op const* op, VexRegisters& to) {
        to.rax = cpu.reg<std::uint64_t>(op->aux);
        return true;
    }
};
template <typename T>
struct LastMemory {
    static bool read(Cpu& cpu, Op const* op, VexRegisters& to) {
        auto const loaded = cpu.load<T>(cpu.address(op));
        to.last.low[0] = to.rax = loaded.value;
        return loaded.ok;
    }
};
struct LastMemory128 {
    static bool read(Cpu& cpu, Op const* op, VexRegisters& to) {
        Operand const loaded = load_vector(cpu, cpu.address(op));
        to.last.low = loaded.value;
        return loaded.ok;
    }
};
struct LastMemory256 {
    static bool read(Cpu& cpu, Op const* op, VexRegisters& to) {
        std::uint64_t const address = cpu.address(op);
        std::byte const* const host = cpu.read_pointer(address);
        if (host == nullptr || (address & kPageMask) > kPageBytes - 32) return cpu.load_bytes(address, &to.last, 32);
        std::memcpy(static_cast<void*>(&to.last), host, 32);
        return true;
    }
};

// --- the result -----------------------------------------------------------------------------------------------------

constexpr std::uint64_t kArithmeticFlags = 0x8d5;

struct ToVector {
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        // The code has left zeros in the upper half where the form has 128 bits.
        write_ymm(cpu, op->dst, from.destination);
        return true;
    }
};
struct ToGeneral {
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        cpu.set_reg<std::uint64_t>(op->dst, from.rax);  // a result of 32 bits is zero-extended already
        return true;
    }
};
struct ToFlags {
    static bool write(Cpu& cpu, Op const*, VexRegisters const& from) {
        cpu.flags.set(from.rdx & kArithmeticFlags);
        return true;
    }
};
struct ToIndex {
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        cpu.set_reg<std::uint32_t>(rcx * 8, static_cast<std::uint32_t>(from.rcx));
        return ToFlags::write(cpu, op, from);
    }
};
struct ToMask {
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        write_ymm(cpu, 0, from.destination);
        return ToFlags::write(cpu, op, from);
    }
};
template <typename T>
struct ToMemory {
    static constexpr unsigned kBytes = sizeof(T);
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        bool const general = instruction_of(op).result == VexResult::general;
        return cpu.store<T>(cpu.address(op), static_cast<T>(general ? from.rax : from.destination.low[0]));
    }
};
struct ToMemory128 {
    static constexpr unsigned kBytes = 16;
    static bool write(Cpu& cpu, Op const* op, VexRegisters const& from) {
        return store_vector(cpu, cpu.address(op), from.destination.low);
    }
};

// --- the handler ----------------------------------------------------------------------------------------------------

/// EAX and EDX of VPCMPESTRx: lengths, which count as 16 from there on ([SDM2B] 4.1.3).
[[nodiscard]] std::uint64_t string_length(Cpu& cpu, Op const* op, Gpr name) {
    auto const wide = static_cast<std::int64_t>(cpu.gpr(name));
    auto const length = is_long(op) ? wide : static_cast<std::int32_t>(wide);
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(length, -16, 16));
}

[[nodiscard]] char const* code_of(VexInstruction const& instruction, Op const* op) {
    bool const second = is_long(op) && instruction.code[1] != nullptr;
    return instruction.code[second] + instruction.stride * static_cast<std::uint8_t>(op->imm);
}

bool run_watched(Cpu& cpu, Op const* op, VexInstruction const& instruction, VexRegisters& registers) {
    isolate_simd_flags(cpu);
    Ymm const destination = registers.destination;
    run_vex(code_of(instruction, op), registers);
    // The operands in the order that any_inexact_unbounded() computes with; a fused operation does not ask.
    FloatOutcome const low{registers.first.low, registers.last.low, registers.destination.low};
    FloatOutcome const high{registers.first.high, registers.last.high, registers.destination.high};
    bool const has_result = instruction.result == VexResult::vector;
    bool const two_halves = is_long(op) && instruction.code[1] != nullptr;
    FloatKind const kind = has_result ? instruction.kind : FloatKind{};
    bool const fine = two_halves ? settle_simd_flags(cpu, kind, low, high) : settle_simd_flags(cpu, kind, low);
    if (!fine) registers.destination = destination;
    return fine;
}

// A function of its own: a handler with large locals could not end in a tail call.
template <typename Source, typename Result>
[[gnu::noinline]] bool carry_out(Cpu& cpu, Op const* op) {
    VexInstruction const& instruction = instruction_of(op);
    VexRegisters registers;
    if (!Source::read(cpu, op, registers)) return false;
    registers.destination = read_ymm(cpu, op->dst & 15);
    registers.first = read_ymm(cpu, op->src);
    registers.fourth = read_ymm(cpu, static_cast<std::uint8_t>(op->imm >> 8) & 15);
    if (instruction.stride == 16) {
        registers.rax = string_length(cpu, op, rax);
        registers.rdx = string_length(cpu, op, rdx);
    }
    if constexpr (requires { Result::kBytes; }) {
        // VCVTPS2PH, the only one that computes and stores: a store that faults leaves no flags in MXCSR.
        bool const computes = instruction.kind.arithmetic == Arithmetic::halves;
        if (computes && !cpu.may_store(cpu.address(op), Result::kBytes)) return false;
    }
    if (instruction.kind.arithmetic != Arithmetic::none && has_unmasked_simd_exceptions(cpu.raw_state())) [[unlikely]] {
        if (!run_watched(cpu, op, instruction, registers)) return false;
    } else {
        run_vex(code_of(instruction, op), registers);
    }
    return Result::write(cpu, op, registers);
}

template <typename Source, typename Result>
Op const* vex(Cpu& cpu, Op const* op) {
    if (!cpu.avx_ok()) [[unlikely]]
        return raise_avx_unavailable(cpu, op);
    if (!carry_out<Source, Result>(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <bool kSingles, typename Source>
[[gnu::noinline]] bool carry_out_dot(Cpu& cpu, Op const* op) {
    VexRegisters registers;
    if (!Source::read(cpu, op, registers)) return false;
    Cpu* const watched = has_unmasked_simd_exceptions(cpu.raw_state()) ? &cpu : nullptr;
    auto const compute = kSingles ? dot_singles : dot_doubles;
    auto const immediate = static_cast<std::uint8_t>(op->imm);
    Ymm const first = read_ymm(cpu, op->src);
    Ymm result{};
    if (!compute(watched, first.low, registers.last.low, immediate, result.low)) return false;
    if (is_long(op) && !compute(watched, first.high, registers.last.high, immediate, result.high)) return false;
    write_ymm(cpu, op->dst, result);
    return true;
}
template <bool kSingles, typename Source>
Op const* vex_dot(Cpu& cpu, Op const* op) {
    if (!cpu.avx_ok()) [[unlikely]]
        return raise_avx_unavailable(cpu, op);
    if (!carry_out_dot<kSingles, Source>(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

// --- lowering -------------------------------------------------------------------------------------------------------

template <typename Result>
Handler by_memory_size(unsigned bytes) {
    switch (bytes) {
        case 1: return vex<LastMemory<std::uint8_t>, Result>;
        case 2: return vex<LastMemory<std::uint16_t>, Result>;
        case 4: return vex<LastMemory<std::uint32_t>, Result>;
        case 8: return vex<LastMemory<std::uint64_t>, Result>;
        case 16: return vex<LastMemory128, Result>;
        case 32: return vex<LastMemory256, Result>;
        default: return nullptr;
    }
}

Handler by_store_size(unsigned bytes) {
    switch (bytes) {
        case 1: return vex<LastVector, ToMemory<std::uint8_t>>;
        case 2: return vex<LastVector, ToMemory<std::uint16_t>>;
        case 4: return vex<LastVector, ToMemory<std::uint32_t>>;
        case 8: return vex<LastVector, ToMemory<std::uint64_t>>;
        case 16: return vex<LastVector, ToMemory128>;
        default: return nullptr;
    }
}

[[nodiscard]] bool is_general(Lowering const& l, unsigned i) {
    return l.is_register(i) && ZydisRegisterGetClass(l.operand(i).reg.value) != ZYDIS_REGCLASS_XMM &&
           ZydisRegisterGetClass(l.operand(i).reg.value) != ZYDIS_REGCLASS_YMM;
}

template <typename Result>
Handler by_source(Lowering& l, unsigned last) {
    if (l.is_memory(last)) return by_memory_size<Result>(l.bytes(last));
    if (is_general(l, last)) {
        l.op.aux = l.gpr(last);
        return vex<LastGeneral, Result>;
    }
    l.op.aux = l.vector(last);
    return vex<LastVector, Result>;
}

[[nodiscard]] VexResult result_of(VexInstruction const& instruction) {
    bool const mask = instruction.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRM || instruction.mnemonic == ZYDIS_MNEMONIC_VPCMPISTRM;
    return mask ? VexResult::mask_and_flags : instruction.result;
}

/// The second piece of code, or 64-bit string lengths.
[[nodiscard]] bool takes_long_form(Lowering const& l, VexInstruction const& instruction, unsigned last) {
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_VCVTSI2SS:
        case ZYDIS_MNEMONIC_VCVTSI2SD: return l.bytes(last) == 8;
        case ZYDIS_MNEMONIC_VCVTSS2SI:
        case ZYDIS_MNEMONIC_VCVTSD2SI:
        case ZYDIS_MNEMONIC_VCVTTSS2SI:
        case ZYDIS_MNEMONIC_VCVTTSD2SI: return l.bytes(0) == 8;
        case ZYDIS_MNEMONIC_VPCMPESTRI:
        case ZYDIS_MNEMONIC_VPCMPESTRM: return l.mode == CodeMode::bits64 && l.instruction.raw.vex.W != 0;
        default: return is_256(l);
    }
}

template <bool kSingles>
void lower_vex_dot(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;
    if (is_256(l) && !kSingles) return;  // no such length
    l.op.dst = l.vector(0);
    l.op.src = l.vector(1);
    l.op.imm = static_cast<std::uint8_t>(l.immediate(3));
    l.op.extra = is_256(l) ? 1 : 0;
    if (!l.is_memory(2)) {
        l.op.aux = l.vector(2);
        l.op.run = vex_dot<kSingles, LastVector>;
    } else {
        l.op.run = is_256(l) ? vex_dot<kSingles, LastMemory256> : vex_dot<kSingles, LastMemory128>;
    }
}

void lower_vex(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;  // EVEX
    unsigned count = l.visible();
    bool const has_immediate = l.is_immediate(count - 1);
    VexInstruction const* const instruction = find_vex_instruction(l.instruction.mnemonic, has_immediate);
    if (instruction == nullptr) return;
    auto immediate = has_immediate ? static_cast<std::uint8_t>(l.immediate(count - 1)) : std::uint8_t{0};
    if (has_immediate) --count;
    VexResult const result = result_of(*instruction);
    bool const has_destination = result == VexResult::vector || result == VexResult::general;
    unsigned const first = has_destination ? 1 : 0;
    bool const has_fourth = count - first == 3;
    unsigned const last = count - 1 - (has_fourth ? 1 : 0);
    if (last > first) l.op.src = l.vector(first);
    // With memory there is only one element to choose from ([SDM2A] INSERTPS).
    if (instruction->mnemonic == ZYDIS_MNEMONIC_VINSERTPS && l.is_memory(last)) immediate &= 0x3f;
    auto const fourth = has_fourth ? l.vector(last + 1) : std::uint8_t{0};
    bool const is_long_form = takes_long_form(l, *instruction, last);
    l.op.extra = is_long_form ? 1 : 0;
    l.op.imm = static_cast<std::int64_t>(reinterpret_cast<std::uint64_t>(instruction) << 16 | std::uint64_t{fourth} << 8 | immediate);
    // No such length: VPERMD of 128 bits, VAESENC of 256. A scalar instruction ignores L.
    if (instruction->code[0] == nullptr && !is_long_form) return;
    if (instruction->code[1] == nullptr && l.is_register(0) && ZydisRegisterGetClass(l.operand(0).reg.value) == ZYDIS_REGCLASS_YMM) return;
    if (has_destination && l.is_memory(0)) {
        l.op.aux = l.vector(last);
        l.op.run = by_store_size(l.bytes(0));
        return;
    }
    switch (result) {
        case VexResult::vector:
            l.op.dst = l.vector(0);
            l.op.run = by_source<ToVector>(l, last);
            break;
        case VexResult::general:
            l.op.dst = l.gpr(0);
            l.op.run = by_source<ToGeneral>(l, last);
            break;
        case VexResult::flags: l.op.run = by_source<ToFlags>(l, last); break;
        case VexResult::index_and_flags: l.op.run = by_source<ToIndex>(l, last); break;
        case VexResult::mask_and_flags: l.op.run = by_source<ToMask>(l, last); break;
    }
}

}  // namespace

void lower_avx(LowerTable& table) {
    lower_all_vex(table, lower_vex);
    table[ZYDIS_MNEMONIC_VDPPS] = lower_vex_dot<true>;
    table[ZYDIS_MNEMONIC_VDPPD] = lower_vex_dot<false>;
}

}  // namespace backplane
