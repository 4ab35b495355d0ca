// Data movement: MOV (general registers), MOVZX, MOVSX, MOVSXD, LEA, XCHG, BSWAP, CMOVcc, SETcc, PUSH, POP, the sign
// extensions of the accumulator, XLAT, MOVNTI, flags in AH, and the instructions that do nothing. [SDM2A], [SDM2B]
#include <utility>

#include "base/int128.h"
#include "cpu/condition.h"
#include "cpu/handlers.h"

namespace backplane {

namespace {

template <typename T, Form F>
Op const* mov(Cpu& cpu, Op const* op) {
    if constexpr (F == Form::reg_reg) {
        cpu.set_reg<T>(op->dst, cpu.reg<T>(op->src));
    } else if constexpr (F == Form::reg_imm) {
        cpu.set_reg<T>(op->dst, static_cast<T>(op->imm));
    } else if constexpr (F == Form::reg_mem) {
        auto const loaded = cpu.load<T>(cpu.address(op));
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        cpu.set_reg<T>(op->dst, loaded.value);
    } else {
        T const value = F == Form::mem_reg ? cpu.reg<T>(op->src) : static_cast<T>(op->imm);
        if (!cpu.store<T>(cpu.address(op), value)) [[unlikely]] return cpu.leave(op);
    }
    BACKPLANE_NEXT(cpu, op);
}

/// MOV between the accumulator and a 64-bit absolute address, which is in op.imm.
template <typename T, bool Store>
Op const* mov_absolute(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op) + static_cast<std::uint64_t>(op->imm);
    if constexpr (Store) {
        if (!cpu.store<T>(address, cpu.reg<T>(rax * 8))) [[unlikely]] return cpu.leave(op);
    } else {
        auto const loaded = cpu.load<T>(address);
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        cpu.set_reg<T>(rax * 8, loaded.value);
    }
    BACKPLANE_NEXT(cpu, op);
}

bool is_general(ZydisRegister reg) {
    switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_GPR8:
        case ZYDIS_REGCLASS_GPR16:
        case ZYDIS_REGCLASS_GPR32:
        case ZYDIS_REGCLASS_GPR64: return true;
        default: return false;
    }
}

void lower_mov(Lowering& lowering) {
    for (unsigned i = 0; i < 2; ++i)
        if (lowering.is_register(i) && !is_general(lowering.operand(i).reg.value)) return lower_mov_system(lowering);
    unsigned const bytes = lowering.bytes(0);
    unsigned const memory = lowering.is_memory(0) ? 0 : 1;
    if (lowering.is_memory(memory) && lowering.instruction.opcode >= 0xa0 && lowering.instruction.opcode <= 0xa3 &&
        lowering.instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && lowering.instruction.address_width == 64) {
        lowering.op.imm = lowering.operand(memory).mem.disp.value;
        lowering.op.disp = 0;
        lowering.op.run = memory == 0 ? by_size(bytes, &mov_absolute<std::uint8_t, true>, &mov_absolute<std::uint16_t, true>, &mov_absolute<std::uint32_t, true>, &mov_absolute<std::uint64_t, true>)
                                      : by_size(bytes, &mov_absolute<std::uint8_t, false>, &mov_absolute<std::uint16_t, false>, &mov_absolute<std::uint32_t, false>, &mov_absolute<std::uint64_t, false>);
        return;
    }
    Form const form = fill_two_operands(lowering);
#define MAKE(T, F) &mov<T, F>
    lowering.op.run = BACKPLANE_PICK(MAKE, bytes, form);
#undef MAKE
}

/// MOVZX, MOVSX, MOVSXD: To may be as wide as From (MOVSXD with 16 or 32 bits).
template <typename To, typename From, bool Memory>
Op const* extend(Cpu& cpu, Op const* op) {
    From value;
    if constexpr (Memory) {
        auto const loaded = cpu.load<std::make_unsigned_t<From>>(cpu.address(op));
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        value = static_cast<From>(loaded.value);
    } else {
        value = cpu.reg<From>(op->src);
    }
    cpu.set_reg<To>(op->dst, static_cast<To>(value));
    BACKPLANE_NEXT(cpu, op);
}

template <typename From>
void lower_extend_from(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(1)) {
        lowering.op.run = by_size(bytes, nullptr, &extend<std::uint16_t, From, true>, &extend<std::uint32_t, From, true>, &extend<std::uint64_t, From, true>);
    } else {
        lowering.op.src = lowering.gpr(1);
        lowering.op.run = by_size(bytes, nullptr, &extend<std::uint16_t, From, false>, &extend<std::uint32_t, From, false>, &extend<std::uint64_t, From, false>);
    }
}
void lower_movzx(Lowering& lowering) {
    lowering.bytes(1) == 1 ? lower_extend_from<std::uint8_t>(lowering) : lower_extend_from<std::uint16_t>(lowering);
}
void lower_movsx(Lowering& lowering) {
    switch (lowering.bytes(1)) {
        case 1: return lower_extend_from<std::int8_t>(lowering);
        case 2: return lower_extend_from<std::int16_t>(lowering);
        default: return lower_extend_from<std::int32_t>(lowering);
    }
}

template <typename T>
Op const* lea(Cpu& cpu, Op const* op) {
    if (op->form == AddressForm::flat64) [[likely]] {
        std::uint64_t const offset = cpu.reg<std::uint64_t>(op->base) + (cpu.reg<std::uint64_t>(op->index) << op->scale) +
                                     static_cast<std::uint64_t>(static_cast<std::int64_t>(op->disp));
        cpu.set_reg<T>(op->dst, static_cast<T>(offset));
    } else {
        cpu.set_reg<T>(op->dst, static_cast<T>(cpu.effective_address(op)));
    }
    BACKPLANE_NEXT(cpu, op);
}
void lower_lea(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, &lea<std::uint16_t>, &lea<std::uint32_t>, &lea<std::uint64_t>);
}

template <typename T, bool Memory>
Op const* xchg(Cpu& cpu, Op const* op) {
    T const mine = cpu.reg<T>(op->src);
    if constexpr (Memory) {
        std::uint64_t const address = cpu.address(op);
        auto const loaded = cpu.load_to_modify<T>(address);
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        if (!cpu.store<T>(address, mine)) [[unlikely]] return cpu.leave(op);
        cpu.set_reg<T>(op->src, loaded.value);
    } else {
        T const other = cpu.reg<T>(op->dst);
        cpu.set_reg<T>(op->src, other);
        cpu.set_reg<T>(op->dst, mine);
    }
    BACKPLANE_NEXT(cpu, op);
}
void lower_xchg(Lowering& lowering) {
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0) || lowering.is_memory(1)) {
        lowering.op.src = lowering.gpr(lowering.is_memory(0) ? 1 : 0);
        lowering.op.run = by_size(bytes, &xchg<std::uint8_t, true>, &xchg<std::uint16_t, true>, &xchg<std::uint32_t, true>, &xchg<std::uint64_t, true>);
    } else {
        lowering.op.dst = lowering.gpr(0);
        lowering.op.src = lowering.gpr(1);
        lowering.op.run = by_size(bytes, &xchg<std::uint8_t, false>, &xchg<std::uint16_t, false>, &xchg<std::uint32_t, false>, &xchg<std::uint64_t, false>);
    }
}

/// A 16-bit BSWAP is undefined: it gives 0, as processors do.
template <typename T>
Op const* bswap(Cpu& cpu, Op const* op) {
    if constexpr (sizeof(T) == 8)
        cpu.set_reg<T>(op->dst, __builtin_bswap64(cpu.reg<T>(op->dst)));
    else if constexpr (sizeof(T) == 4)
        cpu.set_reg<T>(op->dst, __builtin_bswap32(cpu.reg<T>(op->dst)));
    else
        cpu.set_reg<T>(op->dst, 0);
    BACKPLANE_NEXT(cpu, op);
}
void lower_bswap(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, &bswap<std::uint16_t>, &bswap<std::uint32_t>, &bswap<std::uint64_t>);
}

// --- conditional moves --------------------------------------------------------------------------------------------

/// The source is read (and may fault) and a 32-bit destination is zero-extended whatever the condition says.
template <Condition C, typename T, bool Memory>
Op const* cmov(Cpu& cpu, Op const* op) {
    T value;
    if constexpr (Memory) {
        auto const loaded = cpu.load<T>(cpu.address(op));
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        value = loaded.value;
    } else {
        value = cpu.reg<T>(op->src);
    }
    cpu.set_reg<T>(op->dst, holds<C>(cpu.flags) ? value : cpu.reg<T>(op->dst));
    BACKPLANE_NEXT(cpu, op);
}
template <Condition C>
void lower_cmov(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(1)) {
        lowering.op.run = by_size(bytes, nullptr, &cmov<C, std::uint16_t, true>, &cmov<C, std::uint32_t, true>, &cmov<C, std::uint64_t, true>);
    } else {
        lowering.op.src = lowering.gpr(1);
        lowering.op.run = by_size(bytes, nullptr, &cmov<C, std::uint16_t, false>, &cmov<C, std::uint32_t, false>, &cmov<C, std::uint64_t, false>);
    }
}

template <Condition C, bool Memory>
Op const* setcc(Cpu& cpu, Op const* op) {
    auto const value = static_cast<std::uint8_t>(holds<C>(cpu.flags));
    if constexpr (Memory) {
        if (!cpu.store<std::uint8_t>(cpu.address(op), value)) [[unlikely]] return cpu.leave(op);
    } else {
        cpu.set_reg<std::uint8_t>(op->dst, value);
    }
    BACKPLANE_NEXT(cpu, op);
}
template <Condition C>
void lower_setcc(Lowering& lowering) {
    if (!lowering.is_memory(0)) lowering.op.dst = lowering.gpr(0);
    lowering.op.run = lowering.is_memory(0) ? &setcc<C, true> : &setcc<C, false>;
}

template <unsigned... Codes>
void add_conditionals(LowerTable& table, std::integer_sequence<unsigned, Codes...>) {
    ((table[kCmovMnemonics[Codes]] = &lower_cmov<static_cast<Condition>(Codes)>), ...);
    ((table[kSetMnemonics[Codes]] = &lower_setcc<static_cast<Condition>(Codes)>), ...);
}

// --- the stack ----------------------------------------------------------------------------------------------------

enum class Source : std::uint8_t { reg, imm, mem };

template <typename T, Source S>
Op const* push(Cpu& cpu, Op const* op) {
    T value;
    if constexpr (S == Source::reg) {
        value = cpu.reg<T>(op->src);
    } else if constexpr (S == Source::imm) {
        value = static_cast<T>(op->imm);
    } else {
        auto const loaded = cpu.load<T>(cpu.address(op));
        if (!loaded.ok) [[unlikely]] return cpu.leave(op);
        value = loaded.value;
    }
    std::uint64_t const top = cpu.stack_pointer_minus(sizeof(T));
    if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), value)) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(top);
    BACKPLANE_NEXT(cpu, op);
}
/// The common one: PUSH of a register in 64-bit mode.
Op const* push64(Cpu& cpu, Op const* op) {
    std::uint64_t const top = cpu.gpr(rsp) - 8;
    if (!cpu.store<std::uint64_t>(top, cpu.reg<std::uint64_t>(op->src))) [[unlikely]] return cpu.leave_stack(op);
    cpu.gpr(rsp) = top;
    BACKPLANE_NEXT(cpu, op);
}
void lower_push(Lowering& lowering) {
    unsigned const bytes = lowering.instruction.operand_width / 8;
    if (lowering.is_register(0) && !is_general(lowering.operand(0).reg.value)) return lower_push_segment(lowering);
    if (lowering.is_memory(0)) {
        lowering.op.run = by_size(bytes, nullptr, &push<std::uint16_t, Source::mem>, &push<std::uint32_t, Source::mem>, &push<std::uint64_t, Source::mem>);
    } else if (lowering.is_immediate(0)) {
        lowering.op.imm = lowering.immediate(0);
        lowering.op.run = by_size(bytes, nullptr, &push<std::uint16_t, Source::imm>, &push<std::uint32_t, Source::imm>, &push<std::uint64_t, Source::imm>);
    } else {
        lowering.op.src = lowering.gpr(0);
        lowering.op.run = by_size(bytes, nullptr, &push<std::uint16_t, Source::reg>, &push<std::uint32_t, Source::reg>, &push64);
    }
}

template <typename T>
Op const* pop_reg(Cpu& cpu, Op const* op) {
    auto const loaded = cpu.load<T>(cpu.stack_address(cpu.stack_pointer(), sizeof(T)));
    if (!loaded.ok) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(cpu.stack_pointer_plus(sizeof(T)));
    cpu.set_reg<T>(op->dst, loaded.value);  // last: POP RSP gives the popped value
    BACKPLANE_NEXT(cpu, op);
}
Op const* pop64(Cpu& cpu, Op const* op) {
    auto const loaded = cpu.load<std::uint64_t>(cpu.gpr(rsp));
    if (!loaded.ok) [[unlikely]] return cpu.leave_stack(op);
    cpu.gpr(rsp) += 8;
    cpu.set_reg<std::uint64_t>(op->dst, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}
/// An address based on rSP is computed after rSP was incremented ([SDM2B] POP).
template <typename T>
Op const* pop_mem(Cpu& cpu, Op const* op) {
    std::uint64_t const before = cpu.gpr(rsp);
    auto const loaded = cpu.load<T>(cpu.stack_address(cpu.stack_pointer(), sizeof(T)));
    if (!loaded.ok) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(cpu.stack_pointer_plus(sizeof(T)));
    if (!cpu.store<T>(cpu.address(op), loaded.value)) [[unlikely]] {
        cpu.gpr(rsp) = before;
        return cpu.leave(op);
    }
    BACKPLANE_NEXT(cpu, op);
}
void lower_pop(Lowering& lowering) {
    unsigned const bytes = lowering.instruction.operand_width / 8;
    if (lowering.is_register(0) && !is_general(lowering.operand(0).reg.value)) return lower_pop_segment(lowering);
    if (lowering.is_memory(0)) {
        lowering.op.run = by_size(bytes, nullptr, &pop_mem<std::uint16_t>, &pop_mem<std::uint32_t>, &pop_mem<std::uint64_t>);
    } else {
        lowering.op.dst = lowering.gpr(0);
        lowering.op.run = by_size(bytes, nullptr, &pop_reg<std::uint16_t>, &pop_reg<std::uint32_t>, &pop64);
    }
}

/// PUSHA and POPA do not exist in 64-bit mode.
template <typename T>
Op const* pusha(Cpu& cpu, Op const* op) {
    T values[8];
    for (unsigned i = 0; i < 8; ++i) values[7 - i] = cpu.reg<T>(static_cast<std::uint8_t>(8 * i));
    std::uint64_t const top = cpu.stack_pointer_minus(sizeof(values));
    if (!cpu.store_bytes(cpu.stack_address(top, sizeof(values)), values, sizeof(values))) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(top);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* popa(Cpu& cpu, Op const* op) {
    T values[8];
    if (!cpu.load_bytes(cpu.stack_address(cpu.stack_pointer(), sizeof(values)), values, sizeof(values))) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(cpu.stack_pointer_plus(sizeof(values)));
    for (unsigned i = 0; i < 8; ++i)
        if (i != rsp) cpu.set_reg<T>(static_cast<std::uint8_t>(8 * i), values[7 - i]);
    BACKPLANE_NEXT(cpu, op);
}

template <typename T>
Op const* leave_frame(Cpu& cpu, Op const* op) {
    std::uint64_t const frame = cpu.stack_masked(cpu.gpr(rbp));
    auto const loaded = cpu.load<T>(cpu.stack_address(frame, sizeof(T)));
    if (!loaded.ok) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_stack_pointer(cpu.stack_masked(frame + sizeof(T)));
    cpu.set_reg<T>(rbp * 8, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}
void lower_leave(Lowering& lowering) {
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &leave_frame<std::uint16_t>, &leave_frame<std::uint32_t>, &leave_frame<std::uint64_t>);
}

/// ENTER: op.imm is the frame's size, op.aux the nesting level (0..31). [SDM2A]
template <typename T>
Op const* enter_frame(Cpu& cpu, Op const* op) {
    unsigned const level = op->aux & 31;
    // What was copied could have been what is still to be copied, so it must not begin twice.
    if (level > 1 && !cpu.is_alone()) {
        cpu.ask_to_run_alone();
        return cpu.leave(op);
    }
    std::uint64_t top = cpu.stack_pointer_minus(sizeof(T));
    if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), cpu.reg<T>(rbp * 8))) [[unlikely]] return cpu.leave_stack(op);
    std::uint64_t const frame = top;
    std::uint64_t outer = cpu.gpr(rbp);
    for (unsigned i = 1; i < level; ++i) {
        outer = cpu.stack_masked(outer - sizeof(T));
        auto const loaded = cpu.load<T>(cpu.stack_address(outer, sizeof(T)));
        if (!loaded.ok) [[unlikely]] return cpu.leave_stack(op);
        top = cpu.stack_masked(top - sizeof(T));
        if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), loaded.value)) [[unlikely]] return cpu.leave_stack(op);
    }
    if (level != 0) {
        top = cpu.stack_masked(top - sizeof(T));
        if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), static_cast<T>(frame))) [[unlikely]] return cpu.leave_stack(op);
    }
    top = cpu.stack_masked(top - static_cast<std::uint64_t>(op->imm));
    // The new stack top must be writable, or the instruction does not happen.
    if (!cpu.may_store(cpu.stack_address(top, sizeof(T)), sizeof(T))) [[unlikely]] return cpu.leave_stack(op);
    cpu.set_reg<T>(rbp * 8, static_cast<T>(frame));
    cpu.set_stack_pointer(top);
    BACKPLANE_NEXT(cpu, op);
}
void lower_enter(Lowering& lowering) {
    lowering.op.imm = lowering.immediate(0) & 0xffff;
    lowering.op.aux = static_cast<std::uint8_t>(lowering.immediate(1));
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &enter_frame<std::uint16_t>, &enter_frame<std::uint32_t>, &enter_frame<std::uint64_t>);
}

// --- the accumulator's sign ---------------------------------------------------------------------------------------

template <typename From, typename To>
Op const* widen(Cpu& cpu, Op const* op) {
    cpu.set_reg<To>(rax * 8, static_cast<To>(cpu.reg<From>(rax * 8)));
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* sign_into_rdx(Cpu& cpu, Op const* op) {
    using Signed = std::make_signed_t<T>;
    cpu.set_reg<T>(rdx * 8, static_cast<T>(cpu.reg<Signed>(rax * 8) < 0 ? -1 : 0));
    BACKPLANE_NEXT(cpu, op);
}

Op const* xlat(Cpu& cpu, Op const* op) {
    std::uint64_t const al = cpu.reg<std::uint8_t>(rax * 8);
    std::uint64_t offset = cpu.gpr(rbx) + al;
    if (op->form == AddressForm::legacy16) offset = static_cast<std::uint16_t>(offset);
    if (op->form == AddressForm::legacy32 || op->form == AddressForm::wrap32) offset = static_cast<std::uint32_t>(offset);
    auto const loaded = cpu.load<std::uint8_t>(cpu.segment_linear(op->segment, offset, 1, Right::read));
    if (!loaded.ok) [[unlikely]] return cpu.leave(op);
    cpu.set_reg<std::uint8_t>(rax * 8, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}

Op const* lahf(Cpu& cpu, Op const* op) {
    cpu.set_reg<std::uint8_t>(rax * 8 + 1, static_cast<std::uint8_t>(cpu.flags.value() | rflags::kFixed));
    BACKPLANE_NEXT(cpu, op);
}
Op const* sahf(Cpu& cpu, Op const* op) {
    std::uint64_t const kept = cpu.flags.overflow() ? rflags::kOverflow : 0;
    cpu.flags.set(kept | cpu.reg<std::uint8_t>(rax * 8 + 1));
    BACKPLANE_NEXT(cpu, op);
}
Op const* clc(Cpu& cpu, Op const* op) {
    cpu.flags.set_carry(false);
    BACKPLANE_NEXT(cpu, op);
}
Op const* stc(Cpu& cpu, Op const* op) {
    cpu.flags.set_carry(true);
    BACKPLANE_NEXT(cpu, op);
}
Op const* cmc(Cpu& cpu, Op const* op) {
    cpu.flags.set_carry(!cpu.flags.carry());
    BACKPLANE_NEXT(cpu, op);
}
Op const* cld(Cpu& cpu, Op const* op) {
    cpu.raw_state().rflags &= ~rflags::kDirection;
    BACKPLANE_NEXT(cpu, op);
}
Op const* std_flag(Cpu& cpu, Op const* op) {
    cpu.raw_state().rflags |= rflags::kDirection;
    BACKPLANE_NEXT(cpu, op);
}
Op const* nothing(Cpu& cpu, Op const* op) { BACKPLANE_NEXT(cpu, op); }
/// Spinning for what another processor does: let it do it (docs/design/smp.md).
Op const* pause(Cpu& cpu, Op const* op) { return cpu.finish(op, cpu.yields() ? Leave::pause : Leave::next); }

template <Handler H>
void lower_to(Lowering& lowering) {
    lowering.op.run = H;
}

/// F3 90 with REX.B is no PAUSE but an exchange of RAX and R8, as 90 with REX.B is.
void lower_pause(Lowering& lowering) {
    if (lowering.instruction.raw.rex.B == 0) {
        lowering.ends_trace = true;
        return lower_to<&pause>(lowering);
    }
    lowering.op.dst = rax * 8;
    lowering.op.src = r8 * 8;
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &xchg<std::uint16_t, false>, &xchg<std::uint32_t, false>, &xchg<std::uint64_t, false>);
}

}  // namespace

void lower_move(LowerTable& table) {
    table[ZYDIS_MNEMONIC_MOV] = &lower_mov;
    table[ZYDIS_MNEMONIC_MOVNTI] = &lower_mov;
    table[ZYDIS_MNEMONIC_MOVZX] = &lower_movzx;
    table[ZYDIS_MNEMONIC_MOVSX] = &lower_movsx;
    table[ZYDIS_MNEMONIC_MOVSXD] = &lower_movsx;
    table[ZYDIS_MNEMONIC_LEA] = &lower_lea;
    table[ZYDIS_MNEMONIC_XCHG] = &lower_xchg;
    table[ZYDIS_MNEMONIC_BSWAP] = &lower_bswap;
    add_conditionals(table, std::make_integer_sequence<unsigned, 16>{});
    table[ZYDIS_MNEMONIC_PUSH] = &lower_push;
    table[ZYDIS_MNEMONIC_POP] = &lower_pop;
    table[ZYDIS_MNEMONIC_PUSHA] = &lower_to<&pusha<std::uint16_t>>;
    table[ZYDIS_MNEMONIC_PUSHAD] = &lower_to<&pusha<std::uint32_t>>;
    table[ZYDIS_MNEMONIC_POPA] = &lower_to<&popa<std::uint16_t>>;
    table[ZYDIS_MNEMONIC_POPAD] = &lower_to<&popa<std::uint32_t>>;
    table[ZYDIS_MNEMONIC_LEAVE] = &lower_leave;
    table[ZYDIS_MNEMONIC_ENTER] = &lower_enter;
    table[ZYDIS_MNEMONIC_CBW] = &lower_to<&widen<std::int8_t, std::uint16_t>>;
    table[ZYDIS_MNEMONIC_CWDE] = &lower_to<&widen<std::int16_t, std::uint32_t>>;
    table[ZYDIS_MNEMONIC_CDQE] = &lower_to<&widen<std::int32_t, std::uint64_t>>;
    table[ZYDIS_MNEMONIC_CWD] = &lower_to<&sign_into_rdx<std::uint16_t>>;
    table[ZYDIS_MNEMONIC_CDQ] = &lower_to<&sign_into_rdx<std::uint32_t>>;
    table[ZYDIS_MNEMONIC_CQO] = &lower_to<&sign_into_rdx<std::uint64_t>>;
    table[ZYDIS_MNEMONIC_XLAT] = &lower_to<&xlat>;
    table[ZYDIS_MNEMONIC_LAHF] = &lower_to<&lahf>;
    table[ZYDIS_MNEMONIC_SAHF] = &lower_to<&sahf>;
    table[ZYDIS_MNEMONIC_CLC] = &lower_to<&clc>;
    table[ZYDIS_MNEMONIC_STC] = &lower_to<&stc>;
    table[ZYDIS_MNEMONIC_CMC] = &lower_to<&cmc>;
    table[ZYDIS_MNEMONIC_CLD] = &lower_to<&cld>;
    table[ZYDIS_MNEMONIC_STD] = &lower_to<&std_flag>;
    table[ZYDIS_MNEMONIC_PAUSE] = &lower_pause;
    for (auto const mnemonic : {ZYDIS_MNEMONIC_NOP, ZYDIS_MNEMONIC_ENDBR64, ZYDIS_MNEMONIC_ENDBR32})
        table[mnemonic] = &lower_to<&nothing>;
}

}  // namespace backplane
