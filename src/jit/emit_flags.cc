#include "jit/emitter.h"

#include <optional>
#include <utility>

#include "cpu/condition.h"
#include "cpu/lower.h"
#include "jit/flag_thunks.h"

namespace backplane::jit {

void Emitter::store_place(std::int32_t where, Place const& place) {
    if (place.kind == Place::Kind::reg) mov(state64(where), host(place.reg));
    if (place.kind == Place::Kind::imm) mov(state64(where), place.imm);
}

void Emitter::write_down(Pending const& pending) {
    store_place(o_.flags_a, pending.a);
    store_place(o_.flags_b, pending.b);
    mov(state32(o_.flags_kind), DeferredFlags::kind_of(pending.producer, pending.bytes));
}

void Emitter::flush_pending() {
    if (!pending_) return;
    write_down(*pending_);
    written_ = Written{pending_->producer, pending_->bytes};
    pending_.reset();
}

bool Emitter::covers(HostFlags have, ZydisMnemonic mnemonic) {
    if (have == HostFlags::all) return true;
    if (mnemonic >= ZYDIS_MNEMONIC_FCMOVB && mnemonic <= ZYDIS_MNEMONIC_FCMOVU) return false;  // one of eight conditions
    unsigned condition = mnemonic == ZYDIS_MNEMONIC_ADOX ? 17 : 0;  // 17: OF, which is not left by a partial producer
    while (condition < 16 && kJumpMnemonics[condition] != mnemonic && kSetMnemonics[condition] != mnemonic &&
           kCmovMnemonics[condition] != mnemonic)
        ++condition;
    bool const carry = condition == 2 || condition == 3 || condition == 16;  // 16: ADC, SBB, INC, DEC need CF alone
    bool const zero = condition == 4 || condition == 5;
    switch (have) {
        case HostFlags::carry_only:
            return carry;
        case HostFlags::zero_only:
            return zero;
        case HostFlags::carry_zero:
            return carry || zero || condition == 6 || condition == 7;
        case HostFlags::overflow_only:
            return condition < 2;
        case HostFlags::carry_overflow_only:
            return carry || condition < 2;
        case HostFlags::no_carry:
            return condition < 2 || condition == 4 || condition == 5 || (condition >= 8 && condition < 16);
        case HostFlags::no_overflow:
            return condition == 16 || (condition >= 2 && condition < 12);
        default:
            return false;
    }
}

void Emitter::need_flags(ZydisMnemonic mnemonic) {
    if (covers(host_flags_, mnemonic)) return;
    if (pending_ && repeat_comparison(*pending_)) {
        host_flags_ = HostFlags::all;
        return;
    }
    flush_pending();
    pin_in_r11_.reset();
    if (!written_ || !repeat_note(*this, o_, written_->producer, written_->bytes)) call_quietly(request_->thunks.materialize);
    host_flags_ = HostFlags::all;
}

bool Emitter::repeat_comparison(Pending const& pending) {
    if (pending.a.kind != Place::Kind::reg) return false;
    bool const logic = pending.producer == FlagProducer::logic;
    if (!logic && (pending.producer != FlagProducer::cmp || pending.b.kind == Place::Kind::stored ||
                   pending.b.kind == Place::Kind::none))
        return false;
    auto const compare = [&](auto a, auto b) {
        if (logic)
            test(a, a);
        else if (pending.b.kind == Place::Kind::imm)
            cmp(a, static_cast<std::uint32_t>(pending.b.imm));
        else
            cmp(a, b);
    };
    switch (pending.bytes) {
        case 1:
            if (!logic && pending.b.kind == Place::Kind::imm)
                cmp(reg8(pending.a.reg), static_cast<std::uint8_t>(pending.b.imm));
            else
                compare8(pending, logic);
            break;
        case 2:
            if (!logic && pending.b.kind == Place::Kind::imm)
                cmp(Reg16{pending.a.reg}, static_cast<std::uint16_t>(pending.b.imm));
            else
                compare(Reg16{pending.a.reg}, Reg16{pending.b.reg});
            break;
        case 4:
            compare(Reg32{pending.a.reg}, Reg32{pending.b.reg});
            break;
        default:
            if (!logic && pending.b.kind == Place::Kind::imm)
                cmp(host(pending.a.reg), pending.b.imm);
            else
                compare(host(pending.a.reg), host(pending.b.reg));
            break;
    }
    return true;
}

void Emitter::compare8(Pending const& pending, bool logic) {
    if (logic)
        test(reg8(pending.a.reg), reg8(pending.a.reg));
    else
        cmp(reg8(pending.a.reg), reg8(pending.b.reg));
}

void Emitter::protect_pending(Instruction const& at) {
    if (!pending_) return;
    bool const replaced = at.effects.produces == Produces::all && !at.effects.consumes;
    if (replaced || !destroys_pending(at)) return;
    return at.effects.consumes || is_visible(index_) ? flush_pending() : pending_.reset();
}

bool Emitter::destroys_pending(Instruction const& at) const {
    for (unsigned i = 0; i < at.decoded.operand_count; ++i) {
        ZydisDecodedOperand const& operand = at.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
            continue;
        ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
        if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64) continue;
        std::uint8_t const number = host_of_[static_cast<std::size_t>(ZydisRegisterGetId(whole))];
        auto const hit = [&](Place const& place) { return place.kind == Place::Kind::reg && place.reg == number; };
        if (number != kInMemory && (hit(pending_->a) || hit(pending_->b))) return true;
    }
    return false;
}

void Emitter::keep_carry() {
    if (std::exchange(is_carry_kept_, false)) return;
    auto const known = pending_   ? std::optional{pending_->producer}
                       : written_ ? std::optional{written_->producer}
                                  : std::nullopt;
    if (known == FlagProducer::inc || known == FlagProducer::dec) return;
    if (known == FlagProducer::logic) return mov(state8(o_.flags_base_carry), 0);
    if (known || covers(host_flags_, ZYDIS_MNEMONIC_INC)) {
        need_flags(ZYDIS_MNEMONIC_INC);
        return setc(state8(o_.flags_base_carry));
    }
    call_quietly(request_->thunks.keep_carry);
    pin_in_r11_.reset();
    host_flags_ = HostFlags::stale;
}

void Emitter::need_flags_for(Instruction const& at) {
    if (at.effects.producer == FlagProducer::inc || at.effects.producer == FlagProducer::dec) return keep_carry();
    need_flags(at.decoded.mnemonic);
}

void Emitter::before_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded) {
    if (!two_inputs(at.effects.producer)) return;
    ZydisEncoderOperand const& b = encoded.operands[1];
    if (b.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        std::uint8_t const number = number_of(b);
        bool const same =
            encoded.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && number_of(encoded.operands[0]) == number;
        if (is_scratch(number) || same) mov(state64(o_.flags_b), host(number));
    }
    if (at.effects.producer == FlagProducer::cmp && encoded.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        is_scratch(number_of(encoded.operands[0])))
        mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
}

Place Emitter::place_of(ZydisEncoderOperand const& operand) {
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return {Place::Kind::imm, 0, static_cast<std::int32_t>(operand.imm.s)};
    std::uint8_t const number = number_of(operand);
    if (is_scratch(number)) return {Place::Kind::stored, 0, 0};
    return {Place::Kind::reg, number, 0};
}

void Emitter::after(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
    switch (at.effects.produces) {
        case Produces::nothing:
            return;
        case Produces::all:
            return after_arithmetic(at, encoded, visible);
        case Produces::carry:
            host_flags_ = HostFlags::carry_only;
            if (!visible) return;
            setc(state8(o_.flags_carry));
            mov(state8(o_.flags_has_carry), 1);
            return;
        case Produces::overflow:
            host_flags_ = HostFlags::overflow_only;
            if (!visible) return;
            seto(state8(o_.flags_overflow));
            mov(state8(o_.flags_has_overflow), 1);
            return;
        case Produces::carry_overflow:
            host_flags_ = HostFlags::carry_overflow_only;
            if (!visible) return;
            setc(state8(o_.flags_carry));
            seto(state8(o_.flags_overflow));
            mov(state8(o_.flags_has_carry), 1);
            mov(state8(o_.flags_has_overflow), 1);
            return;
        case Produces::zero:
            host_flags_ = HostFlags::zero_only;
            if (!visible) return;
            setz(state8(o_.flags_zero));
            mov(state8(o_.flags_has_zero), 1);
            return;
        case Produces::all_if_count:
            return after_shift_by_cl(at, encoded, visible);
        case Produces::carry_overflow_if_count:
            return after_rotate_by_cl(at, encoded, visible);
    }
}

void Emitter::after_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
    host_flags_ = HostFlags::all;
    FlagProducer const producer = at.effects.producer;
    // Shifts and multiplications define fewer flags than the host happens to set, so RFLAGS cannot be trusted for
    // those that the interpreter defines its own way; a consumer of the others is served by the written form.
    bool const exact = producer != FlagProducer::multiply && producer != FlagProducer::shl &&
                       producer != FlagProducer::shr && producer != FlagProducer::sar && producer != FlagProducer::bits;
    if (!visible) {
        pending_.reset();
        return;
    }
    if ((producer == FlagProducer::inc || producer == FlagProducer::dec) && !carry_in_host_)
        host_flags_ = HostFlags::no_carry;
    if (producer == FlagProducer::raw) return store_raw();
    if (producer == FlagProducer::multiply || producer == FlagProducer::shl || producer == FlagProducer::shr ||
        producer == FlagProducer::sar || producer == FlagProducer::bits)
        setc(state8(o_.flags_base_carry));
    Pending made{producer, static_cast<std::uint8_t>(at.operands[0].size / 8), {}, {}};
    bool const one_operand_multiply = producer == FlagProducer::multiply && at.decoded.operand_count_visible == 1;
    if (one_operand_multiply) {
        made.a = {Place::Kind::reg, 0, 0};
    } else {
        made.a = place_of(encoded.operands[0]);
        if (is_high_byte(encoded.operands[0].reg.value)) {
            mov(state64(o_.temporary), host(number_of(encoded.operands[0])));
            movzx(r10d, state8(o_.temporary + 1));
            mov(state64(o_.flags_a), r10);
            pending_ = Pending{producer, 1, {Place::Kind::stored, 0, 0}, {}};
            return;
        }
        if (made.a.kind == Place::Kind::stored && producer != FlagProducer::cmp)
            mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
    }
    if (two_inputs(producer)) {
        made.b = place_of(encoded.operands[1]);
        bool const same =
            made.a.kind == Place::Kind::reg && made.b.kind == Place::Kind::reg && made.a.reg == made.b.reg;
        if (same) made.b = {Place::Kind::stored, 0, 0};
    }
    pending_ = made;
    if (!exact)
        host_flags_ = producer == FlagProducer::multiply ? HostFlags::carry_overflow_only
                      : producer == FlagProducer::bits   ? HostFlags::carry_zero
                                                         : HostFlags::no_overflow;
}

void Emitter::store_raw() {
    mov(r9, rax);
    lahf();
    seto(al);
    mov(state64(o_.flags_a), rax);
    mov(rax, r9);
    mov(state32(o_.flags_kind), DeferredFlags::kind_of(FlagProducer::raw, 8));
    pending_.reset();
}

void Emitter::after_shift_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
    host_flags_ = HostFlags::stale;
    if (!visible) return;
    pin_in_r11_.reset();
    Xbyak::Label unchanged;
    setc(r11b);
    test(cl, at.operands[0].size == 64 ? 63 : 31);
    jz(unchanged);
    mov(state8(o_.flags_base_carry), r11b);
    mov(state64(o_.flags_a), host(number_of(encoded.operands[0])));
    mov(state32(o_.flags_kind), DeferredFlags::kind_of(at.effects.producer, at.operands[0].size / 8));
    L(unchanged);
}

void Emitter::after_rotate_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
    host_flags_ = HostFlags::stale;
    if (!visible) return;
    pin_in_r11_.reset();
    Xbyak::Label unchanged;
    unsigned const bits = at.operands[0].size;
    test(cl, bits == 64 ? 63 : 31);
    jz(unchanged);
    mov(r11, host(number_of(encoded.operands[0])));
    Xbyak::Reg const value = bits == 8    ? Xbyak::Reg{r11b}
                             : bits == 16 ? Xbyak::Reg{r11w}
                             : bits == 32 ? Xbyak::Reg{r11d}
                                          : Xbyak::Reg{r11};
    if (at.decoded.mnemonic == ZYDIS_MNEMONIC_ROL) {
        ror(value, 1);
        rol(value, 1);
    } else {
        rol(value, 1);
        ror(value, 1);
    }
    setc(state8(o_.flags_carry));
    seto(state8(o_.flags_overflow));
    mov(state8(o_.flags_has_carry), 1);
    mov(state8(o_.flags_has_overflow), 1);
    L(unchanged);
}

void Emitter::after_double_shift(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible) {
    host_flags_ = HostFlags::stale;
    if (!visible) return pending_.reset();
    pin_in_r11_.reset();
    Xbyak::Label unchanged;
    unsigned const bits = at.operands[0].size;
    std::uint8_t const result = number_of(encoded.operands[0]);
    setc(state8(o_.temporary));
    if (at.effects.produces == Produces::all_if_count) {
        test(cl, bits == 64 ? 63 : 31);
        jz(unchanged);
    }
    mov(state64(o_.flags_a), host(result));
    xor_(r11, host(result));
    shr(r11, static_cast<int>(bits - 1));
    and_(r11d, 1);
    mov(state8(o_.flags_overflow), r11b);
    mov(r11b, state8(o_.temporary));
    mov(state8(o_.flags_base_carry), r11b);
    static_assert(offsetof(DeferredFlags, has_overflow) == offsetof(DeferredFlags, kind) + 2);
    mov(state32(o_.flags_kind), DeferredFlags::kind_of(FlagProducer::bits, bits / 8) | 1U << 16);
    L(unchanged);
}

}  // namespace backplane::jit
