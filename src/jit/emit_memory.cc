#include "jit/emitter.h"

#include <algorithm>
#include <cstring>

#include "mmu/tlb.h"

namespace backplane::jit {

void Emitter::emit_address(ZydisDecodedOperandMem const& memory, Instruction const& at, std::int32_t below) {
    std::int64_t const displacement = (memory.disp.has_displacement ? memory.disp.value : 0) - below;
    if (memory.base == ZYDIS_REGISTER_RIP) {
        mov(r9, state64(o_.page_address));
        std::int64_t const distance = displacement + at.offset + at.decoded.length;
        if (Xbyak::inner::IsInInt32(static_cast<std::uint64_t>(distance))) {
            lea(r9, ptr[r9 + static_cast<std::int32_t>(distance)]);
        } else {
            mov(r10, distance);
            lea(r9, ptr[r9 + r10]);
        }
    } else {
        std::optional<Reg64> base, index;
        if (memory.base != ZYDIS_REGISTER_NONE) base = address_register(memory.base, r9);
        if (memory.index != ZYDIS_REGISTER_NONE) index = address_register(memory.index, r10);
        auto const disp = static_cast<std::int32_t>(displacement);
        if (base && index)
            lea(r9, ptr[*base + *index * memory.scale + disp]);
        else if (base && disp == 0 && base->getIdx() != 9)
            mov(r9, *base);
        else if (base && disp != 0)
            lea(r9, ptr[*base + disp]);
        else if (index)
            lea(r9, ptr[*index * memory.scale + disp]);
        else if (!base)
            mov(r9, static_cast<std::int64_t>(disp));
    }
    if (memory.segment == ZYDIS_REGISTER_FS) add(r9, state64(o_.segment_bases + 8 * backplane::fs));
    if (memory.segment == ZYDIS_REGISTER_GS) add(r9, state64(o_.segment_bases + 8 * backplane::gs));
}

Reg64 Emitter::address_register(ZydisRegister reg, Reg64 const& scratch) {
    unsigned const guest = guest_of(reg);
    if (host_of_[guest] != kInMemory) return host(host_of_[guest]);
    mov(scratch, state64(slot(guest)));
    return scratch;
}

Xbyak::RegExp Emitter::find_operand(Instruction const& at, ZydisDecodedOperand const& operand) {
    if (at.operand.follows()) return pinned(at.operand);
    emit_address(operand.mem, at, at.operand.offset);
    return find(at, at.operand, operand.size / 8U, is_written(operand), at.effects.needs_alignment);
}

Xbyak::RegExp Emitter::find_stack(Instruction const& at, std::int32_t distance, bool write) {
    if (at.stack.follows()) return pinned(at.stack);
    std::int32_t const lowest = distance - at.stack.offset;
    lowest == 0 ? mov(r9, r8) : lea(r9, ptr[r8 + lowest]);
    return find(at, at.stack, 8, write);
}

Xbyak::RegExp Emitter::find(Instruction const& at, Access const& access, std::uint32_t bytes, bool write, bool alignment) {
    AccessStub& stub = access_stubs_.emplace_back();
    stub.op = at.op;
    stub.pending = pending_;
    stub.what = {static_cast<std::uint8_t>(bytes), alignment, static_cast<std::uint8_t>(at.rest), access.group_bytes, access.offset};
    stub.write = write;
    stub.slow = look_up(access.leads() ? access.group_bytes : bytes, write, alignment);
    stub.back = getCurr();
    if (access.is_alone()) return r9 + r11;
    add(r11, r9);
    mov(pin(access.pin), r11);
    pin_in_r11_ = access.pin;
    return r11 + access.offset;
}

Xbyak::RegExp Emitter::pinned(Access const& access) {
    if (pin_in_r11_ != access.pin) mov(r11, pin(access.pin));
    pin_in_r11_ = access.pin;
    return r11 + access.offset;
}

Emitter::Misses Emitter::look_up(std::uint32_t bytes, bool write, bool alignment) {
    Misses slow{};
    std::int32_t const table = write ? o_.write_tlb[tables_] : o_.read_tlb[tables_];
    // mov r10, r9; shr r10, 8 (an entry has 16 bytes); mov r11, r9; and r10d, mask; sub r11, [r15 + r10 + table]
    constexpr std::uint32_t kMask = (TlbSet::kEntries - 1) << 4;
    static constexpr std::uint8_t kFind[]{0x4d, 0x89, 0xca, 0x49, 0xc1, 0xea, kPageShift - 4, 0x4d, 0x89, 0xcb, 0x41, 0x81, 0xe2,
                                          kMask & 0xff, kMask >> 8 & 0xff, kMask >> 16, 0, 0x4f, 0x2b, 0x9c, 0x17, 0, 0, 0, 0};
    append(kFind, table);
    if (alignment) {
        test(r9d, bytes - 1);
        slow.alignment = jump_ahead_if(Condition::nz);
    }
    static constexpr std::uint8_t kCompare[]{0x49, 0x81, 0xfb, 0, 0, 0, 0};  // cmp r11, the last place in a page
    append(kCompare, static_cast<std::int32_t>(kPageBytes - bytes));
    slow.page = jump_ahead_if(Condition::nbe);
    static constexpr std::uint8_t kLoad[]{0x4f, 0x8b, 0x9c, 0x17, 0, 0, 0, 0};  // mov r11, [r15 + r10 + table + 8]
    is_loop_ ? guess_addend(table + 8) : append(kLoad, table + 8);
    host_flags_ = HostFlags::stale;
    pin_in_r11_.reset();
    return slow;
}

/// Xbyak would take twenty nanoseconds for each of these instructions.
void Emitter::append(std::span<std::uint8_t const> code, std::int32_t last) {
    std::uint8_t* const to = here();
    std::size_t const size = getSize() + code.size();
    setSize(size);  // or it is an error, that of the whole block
    if (getSize() != size) return;
    std::copy(code.begin(), code.end(), to);
    std::memcpy(to + code.size() - sizeof(last), &last, sizeof(last));
}

/// R11 = the addend that was right the last time, so that the access need not wait for the TLB; the comparison with it does.
void Emitter::guess_addend(std::int32_t addend) {
    Guess& guess = request_->guesses.emplace_back();
    guess.begin = here();
    guess.addend = addend;
    guess.loop_instructions = static_cast<std::uint32_t>(instructions_.size());
    GuessStub& stub = guess_stubs_.emplace_back();
    stub.guess = &guess;
    stub.place = static_cast<std::int32_t>(8 * (kPins + next_guess_++ % kGuesses));
    mov(r11, qword[rsp + stub.place]);
    cmp(r11, qword[r15 + r10 + addend]);
    stub.from = jump_ahead_if(Condition::nz);
    guess.bytes = static_cast<std::uint8_t>(getCurr() - guess.begin);
}

void Emitter::emit_guess_stub(GuessStub const& stub) {
    land(stub.from);
    mov(r11, qword[r15 + r10 + stub.guess->addend]);
    mov(qword[rsp + stub.place], r11);
    mov(r10, reinterpret_cast<std::uint64_t>(stub.guess));
    dec(dword[r10 + static_cast<int>(offsetof(Guess, wrong_left))]);
    jnz(static_cast<void const*>(stub.guess->begin + stub.guess->bytes));
    call_quietly(request_->thunks.weigh_guess);
    jmp(static_cast<void const*>(stub.guess->begin + stub.guess->bytes), T_NEAR);
}

void Emitter::load_value(unsigned bits, Xbyak::RegExp const& from) {
    switch (bits) {
        case 8:
            movzx(r10d, byte[from]);
            break;
        case 16:
            movzx(r10d, word[from]);
            break;
        case 32:
            mov(r10d, dword[from]);
            break;
        default:
            mov(r10, qword[from]);
            break;
    }
}

void Emitter::store_value(unsigned bits, Xbyak::RegExp const& to) {
    switch (bits) {
        case 8:
            mov(byte[to], r10b);
            break;
        case 16:
            mov(word[to], r10w);
            break;
        case 32:
            mov(dword[to], r10d);
            break;
        default:
            mov(qword[to], r10);
            break;
    }
}

void Emitter::load_general(Reg64 const& into, ZydisRegister reg) {
    Reg64 const from = address_register(reg, into);
    if (from != into) mov(into, from);
}

}  // namespace backplane::jit
