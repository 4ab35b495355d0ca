#include "jit/flag_thunks.h"

namespace backplane::jit {

namespace {

using Xbyak::util::byte, Xbyak::util::dword, Xbyak::util::ptr, Xbyak::util::qword, Xbyak::util::word;

Xbyak::Reg64 const kNote{kScratchB};

Xbyak::Reg value_of(unsigned bytes) {
    switch (bytes) {
        case 1:
            return kNote.cvt8();
        case 2:
            return kNote.cvt16();
        case 4:
            return kNote.cvt32();
        default:
            return kNote;
    }
}

/// What CF is of a note, into base_carry. Where the producer keeps or sets base_carry it is there already.
bool carry_of_note(Xbyak::CodeGenerator& code, Offsets const& o, FlagProducer producer, unsigned bytes) {
    Xbyak::Reg const value = value_of(bytes);
    Xbyak::Reg64 const state{kState};
    Xbyak::Address const second = ptr[state + o.flags_b], carry = byte[state + o.flags_base_carry];
    switch (producer) {
        case FlagProducer::lazy:
            code.mov(kNote, qword[state + o.lazy_carry]);
            code.shr(kNote, 63);
            code.mov(carry, kNote.cvt8());
            return true;
        case FlagProducer::add:  // the sum is below an addend
        case FlagProducer::cmp:
            code.mov(kNote, qword[state + o.flags_a]);
            code.cmp(value, second);
            code.setc(carry);
            return true;
        case FlagProducer::sub:  // the minuend, as sum of difference and subtrahend, has overflowed
            code.mov(kNote, qword[state + o.flags_a]);
            code.add(value, second);
            code.setc(carry);
            return true;
        case FlagProducer::neg:
            code.mov(kNote, qword[state + o.flags_a]);
            code.test(value, value);
            code.setnz(carry);
            return true;
        case FlagProducer::logic:
        case FlagProducer::popcnt:
            code.mov(carry, 0);
            return true;
        case FlagProducer::inc:
        case FlagProducer::dec:
        case FlagProducer::multiply:
        case FlagProducer::shl:
        case FlagProducer::shr:
        case FlagProducer::sar:
        case FlagProducer::bits:
            return true;
        case FlagProducer::raw:
            return false;
    }
    return false;
}

/// One piece of code for each kind that `piece` can do, each a return behind it; `slow` for the others.
template <typename Piece>
void fill(NoteCode::Table& table, Xbyak::CodeGenerator& code, std::uint8_t const* slow, Piece const& piece) {
    for (std::size_t kind = 0; kind < table.size(); ++kind) {
        std::uint8_t const* const start = code.getCurr();
        bool const known = kind >> 2 <= static_cast<unsigned>(FlagProducer::raw);
        table[kind] = slow;
        if (!known || !piece(static_cast<FlagProducer>(kind >> 2), 1U << (kind & 3))) continue;
        table[kind] = start;
        code.ret();
    }
}

}  // namespace

bool repeat_note(Xbyak::CodeGenerator& code, Offsets const& o, FlagProducer producer, unsigned bytes) {
    Xbyak::Reg const value = value_of(bytes);
    Xbyak::Reg64 const state{kState};
    Xbyak::Address const first = qword[state + o.flags_a], second = ptr[state + o.flags_b];
    switch (producer) {
        case FlagProducer::cmp:
            code.mov(kNote, first);
            code.cmp(value, second);
            return true;
        case FlagProducer::logic:
            code.mov(kNote, first);
            code.or_(value, value);
            return true;
        case FlagProducer::sub:
            code.mov(kNote, first);
            code.add(value, second);
            code.sub(value, second);
            return true;
        case FlagProducer::add:
            code.mov(kNote, first);
            code.sub(value, second);
            code.add(value, second);
            return true;
        case FlagProducer::inc:
            code.mov(kNote, first);
            code.dec(value);
            code.bt(word[state + o.flags_base_carry], 0);
            code.inc(value);
            return true;
        case FlagProducer::dec:
            code.mov(kNote, first);
            code.inc(value);
            code.bt(word[state + o.flags_base_carry], 0);
            code.dec(value);
            return true;
        default:
            return false;
    }
}

FlagThunks make_flag_thunks(Xbyak::CodeGenerator& code, Offsets const& o, FlagThunks const& slow, NoteCode& tables) {
    Xbyak::Reg64 const state{kState};
    fill(tables.flags, code, slow.materialize,
         [&](FlagProducer producer, unsigned bytes) { return repeat_note(code, o, producer, bytes); });
    fill(tables.carry, code, slow.keep_carry,
         [&](FlagProducer producer, unsigned bytes) { return carry_of_note(code, o, producer, bytes); });

    FlagThunks made{};
    code.align(16);
    made.materialize = code.getCurr();
    code.mov(kNote.cvt32(), dword[state + o.flags_kind]);  // and whether flags stand apart from it
    code.cmp(kNote.cvt32(), NoteCode::kKinds);
    code.jae(static_cast<void const*>(slow.materialize));
    code.jmp(qword[state + kNote * 8 + o.note_flags]);

    code.align(16);
    made.keep_carry = code.getCurr();
    Xbyak::Label apart;
    code.cmp(byte[state + o.flags_has_carry], 0);
    code.jne(apart);
    code.movzx(kNote.cvt32(), byte[state + o.flags_kind]);
    code.jmp(qword[state + kNote * 8 + o.note_carry]);
    code.L(apart);
    code.mov(kNote.cvt8(), byte[state + o.flags_carry]);
    code.mov(byte[state + o.flags_base_carry], kNote.cvt8());
    code.ret();
    return made;
}

}  // namespace backplane::jit
