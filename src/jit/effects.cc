#include "jit/effects.h"

#include <cpuid.h>

#include "cpu/lower.h"

namespace backplane::jit {

namespace {

bool is_general(ZydisRegister reg) {
    ZydisRegisterClass const kind = ZydisRegisterGetClass(reg);
    return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 || kind == ZYDIS_REGCLASS_GPR32 ||
           kind == ZYDIS_REGCLASS_GPR64;
}

bool is_immediate_shift(ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    return instruction.operand_count_visible == 2 && operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

/// By CL, of CL itself: the note of the flags looks at the count afterwards.
bool counts_itself(ZydisDecodedOperand const* operands) {
    return operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operands[0].reg.value) == ZYDIS_REGISTER_RCX;
}

void shift(Effects& out, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands,
           FlagProducer producer) {
    out.treatment = Treatment::copy;
    out.producer = producer;
    if (!is_immediate_shift(instruction, operands)) {
        // By CL: the count may be 0, and then nothing changes.
        out.produces = Produces::all_if_count;
        if (counts_itself(operands)) out.treatment = Treatment::handler;
        return;
    }
    unsigned const count = operands[1].imm.value.u & (operands[0].size == 64 ? 63 : 31);
    // A shift by the operand's size or more leaves CF as only the interpreter defines it.
    if (count >= operands[0].size) out.treatment = Treatment::handler;
    out.produces = count == 0 ? Produces::nothing : Produces::all;
}

void rotate(Effects& out, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    if (!is_immediate_shift(instruction, operands)) {
        if (counts_itself(operands)) return;
        out.treatment = Treatment::copy;
        out.produces = Produces::carry_overflow_if_count;
        return;
    }
    unsigned const count = operands[1].imm.value.u & (operands[0].size == 64 ? 63 : 31);
    if (count >= operands[0].size) return;
    out.treatment = Treatment::copy;
    out.produces = count == 0 ? Produces::nothing : Produces::carry_overflow;
}

void double_shift(Effects& out, ZydisDecodedOperand const* operands) {
    if (operands[0].size == 16) return;  // counts above 16 are the interpreter's
    bool const immediate = operands[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (!immediate && counts_itself(operands)) return;
    bool const nothing = immediate && (operands[2].imm.value.u & (operands[0].size == 64 ? 63 : 31)) == 0;
    out.treatment = Treatment::copy;
    out.producer = FlagProducer::bits;
    out.produces = nothing ? Produces::nothing : immediate ? Produces::all : Produces::all_if_count;
}

/// What the interpreter's handlers must do: element by element, control state, flags beside a result,
/// approximations, and sums of which hosts give different NaNs.
bool is_left_to_handlers(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_VLDMXCSR:
        case ZYDIS_MNEMONIC_VSTMXCSR:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVPS:
        case ZYDIS_MNEMONIC_VMASKMOVPD:
        case ZYDIS_MNEMONIC_VPMASKMOVD:
        case ZYDIS_MNEMONIC_VPMASKMOVQ:
        case ZYDIS_MNEMONIC_VPCMPESTRI:
        case ZYDIS_MNEMONIC_VPCMPESTRM:
        case ZYDIS_MNEMONIC_VPCMPISTRI:
        case ZYDIS_MNEMONIC_VPCMPISTRM:
        case ZYDIS_MNEMONIC_VDPPS:
        case ZYDIS_MNEMONIC_VDPPD:
        case ZYDIS_MNEMONIC_VRCPPS:
        case ZYDIS_MNEMONIC_VRCPSS:
        case ZYDIS_MNEMONIC_VRSQRTPS:
        case ZYDIS_MNEMONIC_VRSQRTSS:
            return true;
        default:
            return false;
    }
}

/// AVX, AVX2, FMA, F16C with VEX. A host that lacks them never gets here: its guests have no XCR0.AVX.
bool vex(Effects& out, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    switch (instruction.meta.isa_ext) {
        case ZYDIS_ISA_EXT_AVX:
        case ZYDIS_ISA_EXT_AVX2:
        case ZYDIS_ISA_EXT_AVXAES:
        case ZYDIS_ISA_EXT_FMA:
        case ZYDIS_ISA_EXT_F16C:
            break;
        default:
            return false;
    }
    if (instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX || is_left_to_handlers(instruction.mnemonic)) return false;
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        ZydisRegisterClass const kind = ZydisRegisterGetClass(operands[i].reg.value);
        if (kind != ZYDIS_REGCLASS_XMM && kind != ZYDIS_REGCLASS_YMM && !is_general(operands[i].reg.value)) return false;
    }
    // The only one that computes with floating-point flags and then stores: they are raised even if the store faults.
    if (instruction.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) return false;
    out.treatment = Treatment::copy;
    out.is_vector = out.is_vex = true;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_VCOMISS:
        case ZYDIS_MNEMONIC_VCOMISD:
        case ZYDIS_MNEMONIC_VUCOMISS:
        case ZYDIS_MNEMONIC_VUCOMISD:
        case ZYDIS_MNEMONIC_VPTEST:
        case ZYDIS_MNEMONIC_VTESTPS:
        case ZYDIS_MNEMONIC_VTESTPD:
            out.produces = Produces::all;
            out.producer = FlagProducer::raw;
            break;
        case ZYDIS_MNEMONIC_VMOVAPS:
        case ZYDIS_MNEMONIC_VMOVAPD:
        case ZYDIS_MNEMONIC_VMOVDQA:
        case ZYDIS_MNEMONIC_VMOVNTPS:
        case ZYDIS_MNEMONIC_VMOVNTPD:
        case ZYDIS_MNEMONIC_VMOVNTDQ:
        case ZYDIS_MNEMONIC_VMOVNTDQA:
            out.needs_alignment = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY || operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
            break;
        default:
            break;
    }
    return true;
}

/// Integer instructions that our processor has and a host may lack; there their handlers, which need nothing of the
/// host, are called.
struct HostInstructions {
    bool movbe, lzcnt, bmi1, bmi2, adx, sha;
};
HostInstructions find_host_instructions() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    HostInstructions found{};
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) found.movbe = (ecx >> 22 & 1) != 0;
    if (__get_cpuid(0x8000'0001, &eax, &ebx, &ecx, &edx) != 0) found.lzcnt = (ecx >> 5 & 1) != 0;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return found;
    found.bmi1 = (ebx >> 3 & 1) != 0;
    found.bmi2 = (ebx >> 8 & 1) != 0;
    found.adx = (ebx >> 19 & 1) != 0;
    found.sha = (ebx >> 29 & 1) != 0;
    return found;
}
HostInstructions const& host_has() {
    static HostInstructions const found = find_host_instructions();
    return found;
}

/// LZCNT, TZCNT, BMI1, BMI2, ADX, MOVBE, CRC32. False: the instruction is none of them.
bool bits(Effects& out, ZydisMnemonic mnemonic) {
    auto const copy = [&](bool on_host, Produces produces = Produces::nothing) {
        if (!on_host) return true;
        out.treatment = Treatment::copy;
        out.produces = produces;
        if (produces == Produces::all) out.producer = FlagProducer::bits;
        return true;
    };
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_LZCNT: return copy(host_has().lzcnt, Produces::all);
        case ZYDIS_MNEMONIC_TZCNT:
        case ZYDIS_MNEMONIC_ANDN:
        case ZYDIS_MNEMONIC_BEXTR:
        case ZYDIS_MNEMONIC_BLSI:
        case ZYDIS_MNEMONIC_BLSMSK:
        case ZYDIS_MNEMONIC_BLSR: return copy(host_has().bmi1, Produces::all);
        case ZYDIS_MNEMONIC_BZHI: return copy(host_has().bmi2, Produces::all);
        case ZYDIS_MNEMONIC_MULX:
        case ZYDIS_MNEMONIC_PDEP:
        case ZYDIS_MNEMONIC_PEXT:
        case ZYDIS_MNEMONIC_RORX:
        case ZYDIS_MNEMONIC_SARX:
        case ZYDIS_MNEMONIC_SHLX:
        case ZYDIS_MNEMONIC_SHRX: return copy(host_has().bmi2);
        case ZYDIS_MNEMONIC_ADCX:
            out.consumes = true;
            return copy(host_has().adx, Produces::carry);
        case ZYDIS_MNEMONIC_ADOX:
            out.consumes = true;
            return copy(host_has().adx, Produces::overflow);
        case ZYDIS_MNEMONIC_MOVBE: return copy(host_has().movbe);
        case ZYDIS_MNEMONIC_CRC32: return copy(true);
        default: return false;
    }
}

/// Legacy SSE to SSE4.2, AES, PCLMULQDQ and SHA without MMX registers, and nothing that touches control state.
bool vector(Effects& out, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    switch (instruction.meta.isa_ext) {
        case ZYDIS_ISA_EXT_SSE:
        case ZYDIS_ISA_EXT_SSE2:
        case ZYDIS_ISA_EXT_SSE3:
        case ZYDIS_ISA_EXT_SSSE3:
        case ZYDIS_ISA_EXT_SSE4:
        case ZYDIS_ISA_EXT_AES:
        case ZYDIS_ISA_EXT_PCLMULQDQ:
            break;
        case ZYDIS_ISA_EXT_SHA:
            if (host_has().sha) break;
            return false;
        default:
            return false;
    }
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_STMXCSR:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_CLFLUSH:
        case ZYDIS_MNEMONIC_DPPS:
        case ZYDIS_MNEMONIC_DPPD:
        case ZYDIS_MNEMONIC_RCPPS:
        case ZYDIS_MNEMONIC_RCPSS:
        case ZYDIS_MNEMONIC_RSQRTPS:
        case ZYDIS_MNEMONIC_RSQRTSS:
            return false;
        case ZYDIS_MNEMONIC_MOVNTI:
        case ZYDIS_MNEMONIC_PCMPESTRI:
        case ZYDIS_MNEMONIC_PCMPESTRM:
        case ZYDIS_MNEMONIC_PCMPISTRI:
        case ZYDIS_MNEMONIC_PCMPISTRM:
            return false;
        default:
            break;
    }
    bool has_xmm = false;
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        ZydisRegisterClass const kind = ZydisRegisterGetClass(operands[i].reg.value);
        if (kind == ZYDIS_REGCLASS_XMM)
            has_xmm = true;
        else if (!is_general(operands[i].reg.value))
            return false;
    }
    if (!has_xmm) return false;
    out.treatment = Treatment::copy;
    out.is_vector = true;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_COMISS:
        case ZYDIS_MNEMONIC_COMISD:
        case ZYDIS_MNEMONIC_UCOMISS:
        case ZYDIS_MNEMONIC_UCOMISD:
        case ZYDIS_MNEMONIC_PTEST:
            out.produces = Produces::all;
            out.producer = FlagProducer::raw;
            break;
        case ZYDIS_MNEMONIC_LDDQU:
        case ZYDIS_MNEMONIC_MOVUPS:
        case ZYDIS_MNEMONIC_MOVUPD:
        case ZYDIS_MNEMONIC_MOVDQU:
            return true;
        default:
            break;
    }
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[i].size == 128) out.needs_alignment = true;
    return true;
}

/// What computes is the host's x87 in the interpreter, too. The transcendental functions, whose last bits differ among hosts, images
/// and what is rare are the handlers'. False: the instruction is none of these.
bool x87(Effects& out, ZydisDecodedInstruction const& instruction) {
    if (instruction.meta.isa_ext != ZYDIS_ISA_EXT_X87 && instruction.mnemonic != ZYDIS_MNEMONIC_FISTTP) return false;
    // FDP is an offset, which with a base is not the linear address.
    if ((instruction.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)) != 0) return true;
    bool is_noted = true;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_FCOMI:
        case ZYDIS_MNEMONIC_FCOMIP:
        case ZYDIS_MNEMONIC_FUCOMI:
        case ZYDIS_MNEMONIC_FUCOMIP:
            out.produces = Produces::all;
            out.producer = FlagProducer::raw;
            break;
        case ZYDIS_MNEMONIC_FCMOVB:
        case ZYDIS_MNEMONIC_FCMOVE:
        case ZYDIS_MNEMONIC_FCMOVBE:
        case ZYDIS_MNEMONIC_FCMOVU:
        case ZYDIS_MNEMONIC_FCMOVNB:
        case ZYDIS_MNEMONIC_FCMOVNE:
        case ZYDIS_MNEMONIC_FCMOVNBE:
        case ZYDIS_MNEMONIC_FCMOVNU:
            out.consumes = true;
            break;
        case ZYDIS_MNEMONIC_FADD:
        case ZYDIS_MNEMONIC_FADDP:
        case ZYDIS_MNEMONIC_FIADD:
        case ZYDIS_MNEMONIC_FSUB:
        case ZYDIS_MNEMONIC_FSUBP:
        case ZYDIS_MNEMONIC_FISUB:
        case ZYDIS_MNEMONIC_FSUBR:
        case ZYDIS_MNEMONIC_FSUBRP:
        case ZYDIS_MNEMONIC_FISUBR:
        case ZYDIS_MNEMONIC_FMUL:
        case ZYDIS_MNEMONIC_FMULP:
        case ZYDIS_MNEMONIC_FIMUL:
        case ZYDIS_MNEMONIC_FDIV:
        case ZYDIS_MNEMONIC_FDIVP:
        case ZYDIS_MNEMONIC_FIDIV:
        case ZYDIS_MNEMONIC_FDIVR:
        case ZYDIS_MNEMONIC_FDIVRP:
        case ZYDIS_MNEMONIC_FIDIVR:
        case ZYDIS_MNEMONIC_FSQRT:
        case ZYDIS_MNEMONIC_FRNDINT:
        case ZYDIS_MNEMONIC_FSCALE:
        case ZYDIS_MNEMONIC_FPREM:
        case ZYDIS_MNEMONIC_FPREM1:
        case ZYDIS_MNEMONIC_FCHS:
        case ZYDIS_MNEMONIC_FABS:
        case ZYDIS_MNEMONIC_FCOM:
        case ZYDIS_MNEMONIC_FCOMP:
        case ZYDIS_MNEMONIC_FCOMPP:
        case ZYDIS_MNEMONIC_FUCOM:
        case ZYDIS_MNEMONIC_FUCOMP:
        case ZYDIS_MNEMONIC_FUCOMPP:
        case ZYDIS_MNEMONIC_FICOM:
        case ZYDIS_MNEMONIC_FICOMP:
        case ZYDIS_MNEMONIC_FTST:
        case ZYDIS_MNEMONIC_FXAM:
        case ZYDIS_MNEMONIC_FXCH:
        case ZYDIS_MNEMONIC_FLD:
        case ZYDIS_MNEMONIC_FILD:
        case ZYDIS_MNEMONIC_FLD1:
        case ZYDIS_MNEMONIC_FLDZ:
        case ZYDIS_MNEMONIC_FLDPI:
        case ZYDIS_MNEMONIC_FLDL2E:
        case ZYDIS_MNEMONIC_FLDL2T:
        case ZYDIS_MNEMONIC_FLDLG2:
        case ZYDIS_MNEMONIC_FLDLN2:
        case ZYDIS_MNEMONIC_FST:
        case ZYDIS_MNEMONIC_FSTP:
        case ZYDIS_MNEMONIC_FIST:
        case ZYDIS_MNEMONIC_FISTP:
        case ZYDIS_MNEMONIC_FISTTP:
            break;
        case ZYDIS_MNEMONIC_FNSTCW:
        case ZYDIS_MNEMONIC_FNSTSW:
        case ZYDIS_MNEMONIC_FNCLEX:
        case ZYDIS_MNEMONIC_FNOP:
        case ZYDIS_MNEMONIC_FWAIT:
            is_noted = false;
            break;
        case ZYDIS_MNEMONIC_FLDCW:
            out.treatment = Treatment::x87_control;
            out.is_x87 = true;
            return true;
        default:
            return true;
    }
    out.treatment = Treatment::copy;
    out.is_x87 = true;
    out.is_noted = is_noted;
    return true;
}

Treatment move_from_system(ZydisDecodedOperand const* operands) {
    bool const to_general = operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && is_general(operands[0].reg.value) && operands[0].size >= 32;
    if (!to_general || operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER) return Treatment::handler;
    switch (operands[1].reg.value) {
        case ZYDIS_REGISTER_CR0:
        case ZYDIS_REGISTER_CR2:
        case ZYDIS_REGISTER_CR3:
        case ZYDIS_REGISTER_CR4:
            return Treatment::load_control;
        default:
            return ZydisRegisterGetClass(operands[1].reg.value) == ZYDIS_REGCLASS_SEGMENT ? Treatment::load_selector : Treatment::handler;
    }
}

void classify(Effects& out, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    if (x87(out, instruction)) return;
    auto const all = [&](FlagProducer producer) {
        out.treatment = Treatment::copy;
        out.produces = Produces::all;
        out.producer = producer;
    };
    auto const copy = [&](Produces produces = Produces::nothing, bool consumes = false) {
        out.treatment = Treatment::copy;
        out.produces = produces;
        out.consumes = consumes;
    };
    bool const memory = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_ADD:
            return all(FlagProducer::add);
        case ZYDIS_MNEMONIC_SUB:
            return all(FlagProducer::sub);
        case ZYDIS_MNEMONIC_CMP:
            return all(FlagProducer::cmp);
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_OR:
        case ZYDIS_MNEMONIC_XOR:
        case ZYDIS_MNEMONIC_TEST:
            return all(FlagProducer::logic);
        case ZYDIS_MNEMONIC_NEG:
            return all(FlagProducer::neg);
        case ZYDIS_MNEMONIC_INC:
            all(FlagProducer::inc);
            out.consumes = true;
            return;
        case ZYDIS_MNEMONIC_DEC:
            all(FlagProducer::dec);
            out.consumes = true;
            return;
        case ZYDIS_MNEMONIC_ADC:
        case ZYDIS_MNEMONIC_SBB:
            all(FlagProducer::raw);
            out.consumes = true;
            return;
        case ZYDIS_MNEMONIC_IMUL:
        case ZYDIS_MNEMONIC_MUL:
            all(FlagProducer::multiply);
            // The 8-bit forms leave the result in AX, and only the interpreter's flags are defined for them.
            if (instruction.operand_count_visible == 1 && operands[0].size == 8) out.treatment = Treatment::handler;
            return;
        case ZYDIS_MNEMONIC_CMPXCHG:
        case ZYDIS_MNEMONIC_XADD:
            return all(FlagProducer::raw);
        case ZYDIS_MNEMONIC_POPCNT:
            return all(FlagProducer::popcnt);
        case ZYDIS_MNEMONIC_SHL:
            return shift(out, instruction, operands, FlagProducer::shl);
        case ZYDIS_MNEMONIC_SHR:
            return shift(out, instruction, operands, FlagProducer::shr);
        case ZYDIS_MNEMONIC_SAR:
            return shift(out, instruction, operands, FlagProducer::sar);
        case ZYDIS_MNEMONIC_ROL:
        case ZYDIS_MNEMONIC_ROR:
            return rotate(out, instruction, operands);
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD:
            return double_shift(out, operands);
        case ZYDIS_MNEMONIC_DIV:
        case ZYDIS_MNEMONIC_IDIV:
            if (operands[0].size >= 32) out.treatment = Treatment::divide;
            return;
        case ZYDIS_MNEMONIC_CLI:
            out.treatment = Treatment::cli;
            return;
        case ZYDIS_MNEMONIC_STI:
            out.treatment = Treatment::sti;
            return;
        case ZYDIS_MNEMONIC_SWAPGS:
            out.treatment = Treatment::swapgs;
            return;
        case ZYDIS_MNEMONIC_STAC:
        case ZYDIS_MNEMONIC_CLAC:
            out.treatment = Treatment::access_check;
            return;
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
            out.treatment = Treatment::time_stamp;
            return;
        case ZYDIS_MNEMONIC_PAUSE:
            if (instruction.raw.rex.B == 0) out.treatment = Treatment::pause;  // else it exchanges RAX and R8
            return;
        case ZYDIS_MNEMONIC_PUSHFQ:
            out.treatment = Treatment::push_flags;
            return;
        case ZYDIS_MNEMONIC_CLC:
        case ZYDIS_MNEMONIC_STC:
            return copy(Produces::carry);
        case ZYDIS_MNEMONIC_CMPXCHG16B:
            out.needs_alignment = true;
            return copy(Produces::zero);
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
            // With a register as bit offset a memory operand reaches beyond its size.
            if (!memory || operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return copy(Produces::carry);
            if (operands[0].size == 16) return;
            out.treatment = Treatment::bit_string;
            out.produces = Produces::carry;
            return;
        case ZYDIS_MNEMONIC_BSF:
        case ZYDIS_MNEMONIC_BSR:
            return copy(Produces::zero);
        case ZYDIS_MNEMONIC_MOV:
            if (Treatment const system = move_from_system(operands); system != Treatment::handler) {
                out.treatment = system;
                return;
            }
            for (unsigned i = 0; i < 2; ++i)
                if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && !is_general(operands[i].reg.value)) return;
            return copy();
        case ZYDIS_MNEMONIC_MOVNTI:
        case ZYDIS_MNEMONIC_MOVZX:
        case ZYDIS_MNEMONIC_MOVSX:
        case ZYDIS_MNEMONIC_MOVSXD:
        case ZYDIS_MNEMONIC_XCHG:
            // Exchanging EAX with itself clears the upper half, but its short form is NOP.
            if (instruction.mnemonic == ZYDIS_MNEMONIC_XCHG && operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                operands[0].reg.value == operands[1].reg.value)
                return;
            return copy();
        case ZYDIS_MNEMONIC_NOT:
        case ZYDIS_MNEMONIC_CBW:
        case ZYDIS_MNEMONIC_CWDE:
        case ZYDIS_MNEMONIC_CDQE:
        case ZYDIS_MNEMONIC_CWD:
        case ZYDIS_MNEMONIC_CDQ:
        case ZYDIS_MNEMONIC_CQO:
            return copy();
        case ZYDIS_MNEMONIC_BSWAP:
            if (operands[0].size >= 32) copy();
            return;
        case ZYDIS_MNEMONIC_LEA:
            out.treatment = Treatment::lea;
            return;
        case ZYDIS_MNEMONIC_PUSH:
            if (operands[0].size == 64 && memory) out.treatment = Treatment::push_memory;
            if (instruction.operand_width == 64 && !memory &&
                (operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE || is_general(operands[0].reg.value)))
                out.treatment = Treatment::push;
            return;
        case ZYDIS_MNEMONIC_POP:
            if (operands[0].size == 64 && !memory && is_general(operands[0].reg.value)) out.treatment = Treatment::pop;
            return;
        case ZYDIS_MNEMONIC_LEAVE:
            if (instruction.operand_width == 64) out.treatment = Treatment::leave;
            return;
        case ZYDIS_MNEMONIC_LFENCE:  // memory is in order
        case ZYDIS_MNEMONIC_SFENCE:
        case ZYDIS_MNEMONIC_MFENCE:
        case ZYDIS_MNEMONIC_NOP:
        case ZYDIS_MNEMONIC_PREFETCH:
        case ZYDIS_MNEMONIC_PREFETCHNTA:
        case ZYDIS_MNEMONIC_PREFETCHT0:
        case ZYDIS_MNEMONIC_PREFETCHT1:
        case ZYDIS_MNEMONIC_PREFETCHT2:
        case ZYDIS_MNEMONIC_PREFETCHW:
        case ZYDIS_MNEMONIC_ENDBR64:
            out.treatment = Treatment::nop;
            return;
        default:
            break;
    }
    for (unsigned condition = 0; condition < 16; ++condition) {
        // The three families follow each other in the same order.
        static constexpr ZydisMnemonic kSet[]{
            ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
            ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
            ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
            ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE};
        static constexpr ZydisMnemonic kCmov[]{
            ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB,  ZYDIS_MNEMONIC_CMOVNB,
            ZYDIS_MNEMONIC_CMOVZ, ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE,
            ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,  ZYDIS_MNEMONIC_CMOVNP,
            ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE};
        if (instruction.mnemonic == kSet[condition] || instruction.mnemonic == kCmov[condition])
            return copy(Produces::nothing, true);
    }
    if (bits(out, instruction.mnemonic)) return;
    if (!vector(out, instruction, operands)) vex(out, instruction, operands);
}

bool is_fill_or_move(ZydisDecodedInstruction const& instruction) {
    constexpr ZydisInstructionAttributes kSegments = ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS;
    if (instruction.meta.category != ZYDIS_CATEGORY_STRINGOP || (instruction.attributes & kSegments) != 0) return false;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_STOSB:
        case ZYDIS_MNEMONIC_STOSW:
        case ZYDIS_MNEMONIC_STOSD:
        case ZYDIS_MNEMONIC_STOSQ:
        case ZYDIS_MNEMONIC_MOVSB:
        case ZYDIS_MNEMONIC_MOVSW:
        case ZYDIS_MNEMONIC_MOVSD:
        case ZYDIS_MNEMONIC_MOVSQ:
            return true;
        default:
            return false;
    }
}

Treatment control_flow(ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    if (instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return Treatment::handler;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_JMP:
            return operands[0].size == 64 || operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? Treatment::jmp
                                                                                              : Treatment::handler;
        case ZYDIS_MNEMONIC_CALL:
            return operands[0].size == 64 || operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? Treatment::call
                                                                                              : Treatment::handler;
        case ZYDIS_MNEMONIC_RET:
            return Treatment::ret;
        case ZYDIS_MNEMONIC_LOOP:
        case ZYDIS_MNEMONIC_LOOPE:
        case ZYDIS_MNEMONIC_LOOPNE:
        case ZYDIS_MNEMONIC_JCXZ:
        case ZYDIS_MNEMONIC_JECXZ:
        case ZYDIS_MNEMONIC_JRCXZ:
            return Treatment::handler;
        default:
            return instruction.meta.category == ZYDIS_CATEGORY_COND_BR ? Treatment::jcc : Treatment::handler;
    }
}

}  // namespace

Effects effects_of(ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands) {
    Effects out;
    if (lower_table()[instruction.mnemonic] == nullptr) return out;
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY || operands[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
        out.touches_memory = true;
        if ((operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) out.writes_memory = true;
    }
    // A prefix that changes what the decoder reports as plain: leave it to the interpreter.
    if (instruction.address_width != 64) return out;
    if ((instruction.attributes & ZYDIS_ATTRIB_HAS_REP) != 0 && is_fill_or_move(instruction)) out.treatment = Treatment::fill_or_move;
    if ((instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0)
        return out;
    if (instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) {
        out.treatment = control_flow(instruction, operands);
        out.consumes = out.treatment == Treatment::jcc;
        return out;
    }
    classify(out, instruction, operands);
    if (out.treatment == Treatment::copy && instruction.mnemonic == ZYDIS_MNEMONIC_MOV &&
        instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && instruction.opcode >= 0xa0 && instruction.opcode <= 0xa3)
        out.treatment = Treatment::handler;  // a 64-bit absolute address
    return out;
}

}  // namespace backplane::jit
