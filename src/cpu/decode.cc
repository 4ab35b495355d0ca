#include "cpu/decode.h"

#include <limits>

#include "cpu/cpu.h"
#include "cpu/lower.h"

namespace backplane {

namespace {

constexpr std::uint8_t kMaxInstructionBytes = 15;

struct Decoders {
    ZydisDecoder by_mode[3];
    Decoders() {
        // Protected and real mode alike: the handlers refuse what real mode does not have.
        ZydisDecoderInit(&by_mode[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
        ZydisDecoderInit(&by_mode[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&by_mode[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (ZydisDecoder& decoder : by_mode) {
            // The processor does not announce these, so their encodings mean what they meant before.
            for (auto const absent : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CLDEMOTE, ZYDIS_DECODER_MODE_WBNOINVD,
                                      ZYDIS_DECODER_MODE_CET})
                ZydisDecoderEnableMode(&decoder, absent, ZYAN_FALSE);
            ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
        }
    }
};

Op const* raise_undefined(Cpu& cpu, Op const* op) {
    cpu.note_refused(cpu.rip_of(op));
    return cpu.raise(op, ExceptionVector::invalid_opcode);
}
Op const* raise_too_long(Cpu& cpu, Op const* op) { return cpu.raise(op, ExceptionVector::general_protection); }

Op const* leave_trace(Cpu& cpu, Op const* op) {
    std::uint64_t const target = cpu.rip_of(op);
    return cpu.go(cpu.in_64_bit_mode() ? target : static_cast<std::uint32_t>(target), 0);
}

std::uint8_t segment_slot(ZydisRegister reg, CodeMode mode) {
    switch (reg) {
        case ZYDIS_REGISTER_FS: return fs;
        case ZYDIS_REGISTER_GS: return gs;
        case ZYDIS_REGISTER_ES: return mode == CodeMode::bits64 ? kFlatSegment : std::uint8_t{es};
        case ZYDIS_REGISTER_CS: return mode == CodeMode::bits64 ? kFlatSegment : std::uint8_t{cs};
        case ZYDIS_REGISTER_SS: return mode == CodeMode::bits64 ? kFlatSegment : std::uint8_t{ss};
        case ZYDIS_REGISTER_DS: return mode == CodeMode::bits64 ? kFlatSegment : std::uint8_t{ds};
        default: return kFlatSegment;
    }
}

std::uint8_t log2_of(std::uint8_t scale) { return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0; }

AddressForm form_of(CodeMode mode, std::uint8_t address_width) {
    if (address_width == 64) return AddressForm::flat64;
    if (mode == CodeMode::bits64) return AddressForm::wrap32;
    return address_width == 32 ? AddressForm::legacy32 : AddressForm::legacy16;
}

void lower_memory(Op& op, ZydisDecodedInstruction const& instruction, ZydisDecodedOperand const* operands, CodeMode mode) {
    op.base = op.index = kZeroSlot * 8;
    op.segment = kFlatSegment;
    op.form = form_of(mode, instruction.address_width);
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
        if (operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
            if (operands[i].mem.segment == ZYDIS_REGISTER_SS) op.stack = 1;
            if (instruction.mnemonic == ZYDIS_MNEMONIC_XLAT) op.segment = segment_slot(operands[i].mem.segment, mode);
            continue;
        }
        ZydisDecodedOperandMem const& memory = operands[i].mem;
        op.segment = segment_slot(memory.segment, mode);
        bool const writes = (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        op.access = static_cast<std::uint8_t>((access_index(operands[i].size / 8) | (writes ? kAccessWrites : 0)) & 31);
        op.stack = memory.segment == ZYDIS_REGISTER_SS;
        std::int64_t displacement = memory.disp.has_displacement ? memory.disp.value : 0;
        // Zydis takes a vector SIB byte whose base is "none, with a displacement" for R13 when VEX.B is set.
        bool const is_gather = memory.type == ZYDIS_MEMOP_TYPE_VSIB;
        bool const has_no_base = is_gather && instruction.raw.modrm.mod == 0 && instruction.raw.sib.base == 5;
        if (has_no_base) displacement = instruction.raw.disp.value;
        if (memory.base == ZYDIS_REGISTER_RIP || memory.base == ZYDIS_REGISTER_EIP) {
            op.base = kCodeSlot * 8;
            displacement += op.offset + instruction.length;
        } else if (memory.base != ZYDIS_REGISTER_NONE && !has_no_base) {
            op.base = Lowering::gpr_slot(memory.base);
        }
        // The index of a gather is a vector, which its handler reads.
        if (memory.index != ZYDIS_REGISTER_NONE) {
            op.index = is_gather ? kZeroSlot * 8 : Lowering::gpr_slot(memory.index);
            op.scale = log2_of(memory.scale) & 3;
        }
        op.disp = static_cast<std::int32_t>(displacement);
        // From the trace's start it is further to the operand than from the end of the instruction.
        if (displacement > std::numeric_limits<std::int32_t>::max() && op.form == AddressForm::flat64) op.form = AddressForm::far64;
        break;
    }
}

}  // namespace

ZydisDecoder const& decoder_for(CodeMode mode) {
    static Decoders const decoders;
    return decoders.by_mode[static_cast<unsigned>(mode == CodeMode::bits32_bounded ? CodeMode::bits32 : mode)];
}

std::uint8_t Lowering::gpr_slot(ZydisRegister reg) {
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return static_cast<std::uint8_t>((reg - ZYDIS_REGISTER_AH) * 8 + 1);
    ZyanI8 const id = ZydisRegisterGetId(reg);
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
        return static_cast<std::uint8_t>((reg - ZYDIS_REGISTER_SPL + 4) * 8);
    return static_cast<std::uint8_t>((id < 0 ? 16 : id) * 8);
}

std::uint8_t Lowering::vector(unsigned i) const {
    return static_cast<std::uint8_t>(ZydisRegisterGetId(operands[i].reg.value));
}

LowerTable const& lower_table() {
    static LowerTable const table = [] {
        LowerTable made{};
        lower_integer(made);
        lower_bits(made);
        lower_move(made);
        lower_shift(made);
        lower_control(made);
        lower_string(made);
        lower_system(made);
        lower_sse(made);
        lower_x87(made);
        return made;
    }();
    return table;
}

Op end_of_trace(std::uint32_t offset, std::uint32_t position) {
    Op op{};
    op.run = leave_trace;
    op.offset = static_cast<std::uint16_t>(offset);
    op.position = static_cast<std::uint8_t>(position);
    return op;
}

namespace {

struct Decoded {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

DecodeStatus decode(std::span<std::uint8_t const> bytes, CodeMode mode, std::uint32_t offset, std::uint32_t position, Op& op, Decoded& decoded) {
    auto& [instruction, operands] = decoded;
    std::size_t const length = bytes.size() < kMaxInstructionBytes ? bytes.size() : kMaxInstructionBytes;
    ZyanStatus const status = ZydisDecoderDecodeFull(&decoder_for(mode), bytes.data(), length, &instruction, operands);
    op = {};
    op.offset = static_cast<std::uint16_t>(offset);
    op.position = static_cast<std::uint8_t>(position);
    if (!ZYAN_SUCCESS(status)) {
        bool const cut = status == ZYDIS_STATUS_NO_MORE_DATA;
        if (cut && length < kMaxInstructionBytes) return DecodeStatus::needs_more_bytes;
        op.run = cut || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? raise_too_long : raise_undefined;
        return DecodeStatus::ends_trace;
    }
    op.length = instruction.length;
    if ((instruction.attributes & (ZYDIS_ATTRIB_HAS_REPNE)) != 0)
        op.repeat = 2;
    else if ((instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0)
        op.repeat = 1;
    op.lock = (instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
    lower_memory(op, instruction, operands, mode);

    Lowering lowering{.instruction = instruction, .operands = operands, .mode = mode, .op = op};
    if (LowerFunction const lower = lower_table()[instruction.mnemonic]) lower(lowering);
    if (op.run == nullptr) {
        op.run = raise_undefined;
        return DecodeStatus::ends_trace;
    }
    return lowering.ends_trace ? DecodeStatus::ends_trace : DecodeStatus::ok;
}

/// Op.imm is the immediate as it stands, whatever its value.
bool has_plain_immediate(ZydisDecodedInstruction const& instruction) {
    if (instruction.raw.imm[0].size == 0 || instruction.raw.imm[1].size != 0) return false;
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_ADD:
        case ZYDIS_MNEMONIC_OR:
        case ZYDIS_MNEMONIC_ADC:
        case ZYDIS_MNEMONIC_SBB:
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_SUB:
        case ZYDIS_MNEMONIC_XOR:
        case ZYDIS_MNEMONIC_CMP:
        case ZYDIS_MNEMONIC_TEST:
        case ZYDIS_MNEMONIC_MOV:
        case ZYDIS_MNEMONIC_PUSH:
        case ZYDIS_MNEMONIC_IMUL:
            return true;
        default:
            return false;
    }
}

DecodedForm form_of(Decoded const& decoded, Op const& op) {
    ZydisDecodedInstruction const& instruction = decoded.instruction;
    auto const& immediate = instruction.raw.imm[0];
    bool const is_branch = immediate.is_relative != 0;
    std::uint8_t const bits = is_branch ? immediate.size : instruction.raw.disp.size;
    bool const is_one = bits == 0 || bits == 8 || bits == 32;
    bool const is_known = is_one && !(is_branch && instruction.raw.disp.size != 0) && op.form != AddressForm::far64;
    if (instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !is_known) return {};
    DecodedForm form{.is_plain = true};
    if (bits != 0) {
        bool const from_rip = op.base == kCodeSlot * 8;
        form.distance = is_branch ? DecodedForm::Distance::of_branch : from_rip ? DecodedForm::Distance::to_operand_from_rip : DecodedForm::Distance::to_operand;
        form.displacement = {is_branch ? immediate.offset : instruction.raw.disp.offset, static_cast<std::uint8_t>(bits / 8)};
    }
    if (has_plain_immediate(instruction)) form.immediate = {immediate.offset, static_cast<std::uint8_t>(immediate.size / 8), immediate.is_signed != 0};
    return form;
}

}  // namespace

DecodeStatus decode(std::span<std::uint8_t const> bytes, CodeMode mode, std::uint32_t offset, std::uint32_t position, Op& op) {
    Decoded decoded;
    return decode(bytes, mode, offset, position, op, decoded);
}

DecodeStatus decode_form(std::span<std::uint8_t const> bytes, std::uint32_t offset, std::uint32_t position, Op& op, DecodedForm& form) {
    Decoded decoded;
    DecodeStatus const status = decode(bytes, CodeMode::bits64, offset, position, op, decoded);
    form = {};
    if (op.length != 0 && status != DecodeStatus::needs_more_bytes && op.run != raise_undefined) form = form_of(decoded, op);
    return status;
}

}  // namespace backplane
