#include "jit/emitter.h"

#include "mmu/tlb.h"

namespace backplane::jit {

void Emitter::emit_address(ZydisDecodedOperandMem const& memory, Instruction const& at) {
    std::int64_t displacement = memory.disp.has_displacement ? memory.disp.value : 0;
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
    if (kHostOf[guest] != kInMemory) return host(kHostOf[guest]);
    mov(scratch, state64(slot(guest)));
    return scratch;
}

void Emitter::emit_lookup(Instruction const& at, std::uint32_t bytes, bool write, bool alignment) {
    AccessStub& stub = access_stubs_.emplace_back();
    stub.op = at.op;
    stub.pending = pending_;
    stub.bytes = bytes;
    stub.rest = at.rest;
    stub.write = write;
    stub.alignment = alignment;
    stub.slow = look_up(bytes, write, alignment);
    stub.back = getCurr();
}

Emitter::Misses Emitter::look_up(std::uint32_t bytes, bool write, bool alignment) {
    Misses slow{};
    std::int32_t const table = write ? o_.write_tlb[view_] : o_.read_tlb[view_];
    mov(r10, r9);
    shr(r10, kPageShift - 4);  // an entry has 16 bytes
    mov(r11, r9);
    and_(r10d, (TlbSet::kEntries - 1) << 4);
    sub(r11, qword[r15 + r10 + table]);
    if (alignment) {
        test(r9d, bytes - 1);
        slow.alignment = jump_ahead_if(Condition::nz);
    }
    cmp(r11, static_cast<std::uint32_t>(kPageBytes - bytes));
    slow.page = jump_ahead_if(Condition::nbe);
    mov(r11, qword[r15 + r10 + (table + 8)]);
    host_flags_ = HostFlags::stale;
    return slow;
}

void Emitter::load_value(unsigned bits, bool combined) {
    switch (bits) {
        case 8:
            movzx(r10d, byte[pointer(combined)]);
            break;
        case 16:
            movzx(r10d, word[pointer(combined)]);
            break;
        case 32:
            mov(r10d, dword[pointer(combined)]);
            break;
        default:
            mov(r10, qword[pointer(combined)]);
            break;
    }
}

void Emitter::store_value(unsigned bits, bool combined) {
    switch (bits) {
        case 8:
            mov(byte[pointer(combined)], r10b);
            break;
        case 16:
            mov(word[pointer(combined)], r10w);
            break;
        case 32:
            mov(dword[pointer(combined)], r10d);
            break;
        default:
            mov(qword[pointer(combined)], r10);
            break;
    }
}

void Emitter::load_general(Reg64 const& into, ZydisRegister reg) {
    Reg64 const from = address_register(reg, into);
    if (from != into) mov(into, from);
}

}  // namespace backplane::jit
