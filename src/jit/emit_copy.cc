#include "jit/emitter.h"

#include <array>

#include "jit/layout.h"
#include "jit/recode.h"

namespace backplane::jit {

namespace {

/// Is the whole register written, whatever it held? BSF and BSR of zero leave it alone.
bool is_replaced(ZydisDecodedOperand const& operand, ZydisMnemonic mnemonic) {
    return operand.actions == ZYDIS_OPERAND_ACTION_WRITE && operand.size >= 32 && mnemonic != ZYDIS_MNEMONIC_BSF &&
           mnemonic != ZYDIS_MNEMONIC_BSR;
}

}  // namespace

bool Emitter::names_memory_register(Instruction const& at) const {
    for (unsigned i = 0; i < at.decoded.operand_count_visible; ++i) {
        if (at.operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        ZydisRegister const whole =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, at.operands[i].reg.value);
        if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64 &&
            host_of_[static_cast<std::size_t>(ZydisRegisterGetId(whole))] >= 8)
            return true;
    }
    return false;
}

bool Emitter::uses_high_byte(Instruction const& at) {
    for (unsigned i = 0; i < at.decoded.operand_count_visible; ++i)
        if (at.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_high_byte(at.operands[i].reg.value)) return true;
    return false;
}

ZydisRegister Emitter::register_of(std::uint8_t number, unsigned bits) {
    switch (bits) {
        case 8:
            return static_cast<ZydisRegister>(number < 4 ? ZYDIS_REGISTER_AL + number
                                                         : ZYDIS_REGISTER_SPL + number - 4);
        case 16:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_AX + number);
        case 32:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_EAX + number);
        default:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + number);
    }
}

void Emitter::load_resident(Resident const& resident) {
    if (!resident.high) return mov(host(resident.scratch), state64(slot(resident.guest)));
    mov(state64(o_.temporary), host(host_of_[resident.guest]));
    movzx(Reg32{resident.scratch}, state8(o_.temporary + 1));
}

void Emitter::store_resident(Resident const& resident) {
    if (!resident.high) return mov(state64(slot(resident.guest)), host(resident.scratch));
    mov(state64(o_.temporary), host(host_of_[resident.guest]));
    mov(state8(o_.temporary + 1), Reg8{resident.scratch});
    mov(host(host_of_[resident.guest]), state64(o_.temporary));
}

bool Emitter::can_stay_in_memory(Instruction const& at, Resident const& resident, bool visible) const {
    if (resident.written || at.decoded.operand_count_visible != 2 || uses_high_byte(at)) return false;
    if (at.operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER || at.operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER) return false;
    if (visible && two_inputs(at.effects.producer)) return false;  // the note needs its value
    switch (at.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_MOV:
        case ZYDIS_MNEMONIC_MOVZX:
        case ZYDIS_MNEMONIC_MOVSX:
        case ZYDIS_MNEMONIC_MOVSXD:
        case ZYDIS_MNEMONIC_ADD:
        case ZYDIS_MNEMONIC_ADC:
        case ZYDIS_MNEMONIC_SUB:
        case ZYDIS_MNEMONIC_SBB:
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_OR:
        case ZYDIS_MNEMONIC_XOR:
        case ZYDIS_MNEMONIC_CMP:
        case ZYDIS_MNEMONIC_IMUL:
            // The one that is not written must be the second.
            return is_in_register(at.operands[0].reg.value);
        default:
            return false;
    }
}

bool Emitter::emit_copy(Instruction const& at) {
    ZydisDecodedInstruction const& decoded = at.decoded;
    unsigned const count = decoded.operand_count_visible;
    ZydisEncoderRequest encoded;
    if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(&decoded, at.operands, count, &encoded)))
        return false;
    encoded.prefixes = 0;
    encoded.branch_type = ZYDIS_BRANCH_TYPE_NONE;
    encoded.branch_width = ZYDIS_BRANCH_WIDTH_NONE;
    encoded.allowed_encodings = decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? ZYDIS_ENCODABLE_ENCODING_VEX
                                                                                    : ZYDIS_ENCODABLE_ENCODING_LEGACY;

    bool const visible = at.effects.produces != Produces::nothing && is_visible(index_);
    int memory = -1;
    std::array<Resident, 2> residents{};
    unsigned resident_count = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (at.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) memory = static_cast<int>(i);
    }
    // AH to BH cannot stand beside an address in R9 (no REX), and notes of flags know whole registers only; of a
    // logical operation the note is easily made afterwards.
    bool const notes_high_byte = at.effects.producer == FlagProducer::logic &&
                                 is_high_byte(at.operands[0].reg.value) && is_written(at.operands[0]);
    bool const stays_high =
        uses_high_byte(at) && memory < 0 && (!visible || notes_high_byte) && !names_memory_register(at);
    for (unsigned i = 0; i < count; ++i) {
        if (at.operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        ZydisRegister const reg = at.operands[i].reg.value;
        ZydisRegisterClass const kind = ZydisRegisterGetClass(reg);
        bool const high = is_high_byte(reg);
        if (high && stays_high) continue;
        if (kind == ZYDIS_REGCLASS_XMM || kind == ZYDIS_REGCLASS_YMM || kind == ZYDIS_REGCLASS_X87) continue;
        unsigned const guest = guest_of(reg);
        std::uint8_t number = host_of_[guest];
        if (number == kInMemory || high) {
            unsigned r = 0;
            while (r < resident_count && (residents[r].guest != guest || residents[r].high != high)) ++r;
            if (r == resident_count) {
                if (resident_count == 2 || (memory >= 0 && resident_count == 1)) return false;
                std::uint8_t const scratch = memory >= 0 && at.operand.is_alone() ? 11 : resident_count == 0 ? 9 : 10;
                residents[resident_count++] = {guest, scratch, high, false, false};
            }
            residents[r].written |= is_written(at.operands[i]);
            residents[r].read |= !is_replaced(at.operands[i], decoded.mnemonic);
            number = residents[r].scratch;
        }
        encoded.operands[i].reg.value = register_of(number, at.operands[i].size);
    }

    if (memory < 0 && resident_count == 1 && can_stay_in_memory(at, residents[0], visible)) {
        encoded.operands[1] = {};
        encoded.operands[1].type = ZYDIS_OPERAND_TYPE_MEMORY;
        encoded.operands[1].mem.base = ZYDIS_REGISTER_R15;
        encoded.operands[1].mem.displacement = slot(residents[0].guest);
        encoded.operands[1].mem.size = at.operands[1].size / 8;
        residents[0].read = false;
    }

    // With flags that somebody may see, a memory operand's value is needed afterwards: it goes through R10.
    bool const arithmetic = at.effects.produces == Produces::all;
    bool const by_count =
        at.effects.produces == Produces::all_if_count || at.effects.produces == Produces::carry_overflow_if_count;
    bool const is_double = decoded.mnemonic == ZYDIS_MNEMONIC_SHLD || decoded.mnemonic == ZYDIS_MNEMONIC_SHRD;
    if (visible && is_double && memory >= 0) return false;
    bool const needs_value = memory >= 0 && visible && (arithmetic || by_count) && !at.effects.is_vector &&
                             (memory == 0 || at.effects.producer == FlagProducer::add ||
                              at.effects.producer == FlagProducer::sub || at.effects.producer == FlagProducer::cmp);
    bool const combined = memory >= 0 && at.operand.is_alone() && resident_count != 0;
    if (memory >= 0) {
        bool const two_parts = at.operand.is_alone() && !combined;
        auto& place = encoded.operands[memory].mem;
        place.base = at.operand.is_alone() ? ZYDIS_REGISTER_R9 : ZYDIS_REGISTER_R11;
        place.index = two_parts ? ZYDIS_REGISTER_R11 : ZYDIS_REGISTER_NONE;
        place.scale = two_parts ? 1 : 0;
        place.displacement = at.operand.offset;
        if (needs_value) {
            encoded.operands[memory].type = ZYDIS_OPERAND_TYPE_REGISTER;
            encoded.operands[memory].reg.value = register_of(10, at.operands[memory].size);
            encoded.operands[memory].reg.is4 = ZYAN_FALSE;
        }
    }
    // TEST leaves its result nowhere: with visible flags it becomes AND in R10, or in the copy of a register that is in memory.
    bool const is_test = decoded.mnemonic == ZYDIS_MNEMONIC_TEST && visible;
    bool const same_operands = is_test && memory < 0 && at.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                               at.operands[0].reg.value == at.operands[1].reg.value;
    bool const as_and = is_test && !same_operands;
    bool const in_r10 = as_and && memory < 0 && resident_count != 2;
    std::uint8_t test_source = 0;
    if (as_and) {
        encoded.mnemonic = ZYDIS_MNEMONIC_AND;
        if (in_r10) {
            test_source = number_of(encoded.operands[0]);
            encoded.operands[0].reg.value = register_of(10, at.operands[0].size);
        }
    }
    // OF after a rotation by more than one is undefined, and ours is that of its last step.
    InstructionBytes bytes, first_bytes;
    ZyanUSize length = recode(at, encoded, bytes), first_length = 0;
    if (visible && at.effects.produces == Produces::carry_overflow) {
        unsigned const steps = at.operands[1].imm.value.u & (at.operands[0].size == 64 ? 63 : 31);
        encoded.operands[1].imm.u = steps - 1;
        first_length = steps == 1 ? 0 : first_bytes.size();
        if (steps != 1 && !ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&encoded, first_bytes.data(), &first_length)))
            return false;
        encoded.operands[1].imm.u = 1;
        length = 0;
    }
    if (length == 0) {
        length = bytes.size();
        if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&encoded, bytes.data(), &length))) return false;
    }

    // From here on it is emitted.
    Xbyak::RegExp place;
    if (memory >= 0) {
        place = find_operand(at, at.operands[memory]);
        if (combined) {
            lea(r9, ptr[place]);
            place = r9;
        }
    }
    protect_pending(at);
    bool const partial = at.effects.produces != Produces::nothing && at.effects.produces != Produces::all;
    if (visible && partial) flush_pending();
    bool const only_keeps_carry =
        at.effects.producer == FlagProducer::inc || at.effects.producer == FlagProducer::dec;
    if (at.effects.consumes && (visible || !only_keeps_carry)) need_flags_for(at);
    carry_in_host_ = covers(host_flags_, ZYDIS_MNEMONIC_INC);
    if (at.effects.produces == Produces::all) pending_.reset();
    if (at.effects.produces != Produces::nothing) written_.reset(), is_carry_kept_ = false;
    for (unsigned r = 0; r < resident_count; ++r)
        if (residents[r].read) load_resident(residents[r]);
    if (needs_value) load_value(at.operands[memory].size, place);
    if (in_r10) mov(r10, host(test_source));
    if (visible && arithmetic) before_arithmetic(at, encoded);
    if (visible && is_double) {
        pin_in_r11_.reset();
        mov(r11, host(number_of(encoded.operands[0])));
    }
    db(first_bytes.data(), first_length);
    db(bytes.data(), length);
    if (at.effects.is_noted) note_x87(at);
    if (needs_value && is_written(at.operands[memory])) store_value(at.operands[memory].size, place);
    for (unsigned r = 0; r < resident_count; ++r)
        if (residents[r].written) store_resident(residents[r]);
    if (is_double && at.effects.produces != Produces::nothing) {
        after_double_shift(at, encoded, visible);
        return true;
    }
    after(at, encoded, visible);
    return true;
}

}  // namespace backplane::jit
