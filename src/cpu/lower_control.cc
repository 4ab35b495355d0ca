// Control transfers: Jcc, JMP, CALL, RET, LOOP, JrCXZ, far transfers, INT, IRET, SYSCALL, SYSRET. [SDM2A], [SDM2B]
#include <utility>

#include "cpu/condition.h"
#include "cpu/handlers.h"

namespace backplane {

namespace {

/// Op.imm of a relative branch is the target's distance from the trace's start.
void fill_relative(Lowering& lowering) {
    lowering.op.imm = lowering.op.offset + lowering.instruction.length + lowering.immediate(0);
    lowering.ends_trace = true;
}

/// Outside 64-bit mode the target is cut to the operand size.
std::uint64_t cut(Op const* op, std::uint64_t target) {
    return op->aux == 8 ? target : op->aux == 4 ? static_cast<std::uint32_t>(target) : static_cast<std::uint16_t>(target);
}
std::uint64_t relative_target(Cpu& cpu, Op const* op) {
    return cut(op, cpu.reg<std::uint64_t>(kCodeSlot * 8) + static_cast<std::uint64_t>(op->imm));
}

Op const* refuse(Cpu& cpu, Op const* op) { return cpu.raise(op, ExceptionVector::general_protection); }

/// op.aux: bytes of the instruction pointer that the branch writes.
void fill_pointer_bytes(Lowering& lowering) {
    lowering.op.aux = lowering.mode == CodeMode::bits64 ? 8 : static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
}

template <Condition C>
Op const* jcc(Cpu& cpu, Op const* op) {
    return holds<C>(cpu.flags) ? cpu.go(relative_target(cpu, op), Cpu::kTaken) : cpu.go(cpu.next_rip(op), Cpu::kFallThrough);
}
template <Condition C>
void lower_jcc(Lowering& lowering) {
    fill_relative(lowering);
    fill_pointer_bytes(lowering);
    lowering.op.run = &jcc<C>;
}
template <unsigned... Codes>
void add_jumps(LowerTable& table, std::integer_sequence<unsigned, Codes...>) {
    ((table[kJumpMnemonics[Codes]] = &lower_jcc<static_cast<Condition>(Codes)>), ...);
}

enum class Loop : std::uint8_t { always, while_equal, while_not_equal, if_zero };

/// LOOP, LOOPE, LOOPNE and JrCXZ; the counter has the address size.
template <Loop K, typename T>
Op const* loop(Cpu& cpu, Op const* op) {
    auto count = cpu.reg<T>(rcx * 8);
    if constexpr (K != Loop::if_zero) --count;
    bool const taken = K == Loop::if_zero           ? count == 0
                       : K == Loop::while_equal     ? count != 0 && cpu.flags.zero()
                       : K == Loop::while_not_equal ? count != 0 && !cpu.flags.zero()
                                                    : count != 0;
    std::uint64_t const target = relative_target(cpu, op);
    if (taken && !cpu.may_branch_to(target)) [[unlikely]] return refuse(cpu, op);
    if constexpr (K != Loop::if_zero) cpu.set_reg<T>(rcx * 8, count);
    return taken ? cpu.go(target, Cpu::kTaken) : cpu.go(cpu.next_rip(op), Cpu::kFallThrough);
}
template <Loop K>
void lower_loop(Lowering& lowering) {
    fill_relative(lowering);
    fill_pointer_bytes(lowering);
    lowering.op.run = by_size(lowering.instruction.address_width / 8, nullptr, &loop<K, std::uint16_t>, &loop<K, std::uint32_t>, &loop<K, std::uint64_t>);
}

Op const* jmp_relative(Cpu& cpu, Op const* op) { return cpu.go(relative_target(cpu, op), Cpu::kTaken); }

/// A CALL tries the stack first.
template <typename T>
Op const* refuse_call(Cpu& cpu, Op const* op) {
    if (!cpu.may_store(cpu.stack_address(cpu.stack_pointer_minus(sizeof(T)), sizeof(T)), sizeof(T))) return cpu.leave_stack(op);
    return refuse(cpu, op);
}

template <typename T>
Op const* jmp_reg(Cpu& cpu, Op const* op) {
    T const target = cpu.reg<T>(op->src);
    if (!cpu.may_branch_to(target)) [[unlikely]] return refuse(cpu, op);
    return cpu.jump(op, target);
}
template <typename T>
Op const* jmp_mem(Cpu& cpu, Op const* op) {
    auto const target = cpu.load<T>(cpu.address(op));
    if (!target.ok) [[unlikely]] return cpu.leave(op);
    if (!cpu.may_branch_to(target.value)) [[unlikely]] return refuse(cpu, op);
    return cpu.jump(op, target.value);
}

template <typename T>
bool push_return_address(Cpu& cpu, Op const* op) {
    std::uint64_t const top = cpu.stack_pointer_minus(sizeof(T));
    if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), static_cast<T>(cpu.next_rip(op)))) [[unlikely]] return false;
    cpu.set_stack_pointer(top);
    return true;
}
template <typename T>
Op const* call_relative(Cpu& cpu, Op const* op) {
    // Checked before anything is pushed; a jump or Jcc has nothing to undo and is checked where it leaves the trace.
    std::uint64_t const target = relative_target(cpu, op);
    if (!cpu.may_branch_to(target)) [[unlikely]] return refuse_call<T>(cpu, op);
    if (!push_return_address<T>(cpu, op)) [[unlikely]] return cpu.leave_stack(op);
    return cpu.go(target, Cpu::kTaken);
}
template <typename T>
Op const* call_reg(Cpu& cpu, Op const* op) {
    T const target = cpu.reg<T>(op->src);
    if (!cpu.may_branch_to(target)) [[unlikely]] return refuse_call<T>(cpu, op);
    if (!push_return_address<T>(cpu, op)) [[unlikely]] return cpu.leave_stack(op);
    return cpu.jump(op, target);
}
template <typename T>
Op const* call_mem(Cpu& cpu, Op const* op) {
    auto const target = cpu.load<T>(cpu.address(op));
    if (!target.ok) [[unlikely]] return cpu.leave(op);
    if (!cpu.may_branch_to(target.value)) [[unlikely]] return refuse_call<T>(cpu, op);
    if (!push_return_address<T>(cpu, op)) [[unlikely]] return cpu.leave_stack(op);
    return cpu.jump(op, target.value);
}

template <typename T>
Op const* ret(Cpu& cpu, Op const* op) {
    auto const target = cpu.load<T>(cpu.stack_address(cpu.stack_pointer(), sizeof(T)));
    if (!target.ok) [[unlikely]] return cpu.leave_stack(op);
    if (!cpu.may_branch_to(target.value)) [[unlikely]] return refuse(cpu, op);
    cpu.set_stack_pointer(cpu.stack_pointer_plus(sizeof(T) + static_cast<std::uint64_t>(op->imm)));
    return cpu.jump(op, target.value);
}

// --- far transfers: the pointer is offset first, then the selector -------------------------------------------------

struct FarPointer {
    std::uint64_t offset;
    std::uint16_t selector;
    bool ok;
};

FarPointer load_far_pointer(Cpu& cpu, std::uint64_t address, unsigned offset_bytes) {
    std::uint64_t offset = 0;
    std::uint16_t selector = 0;
    bool const ok = cpu.load_bytes(address, &offset, offset_bytes) && cpu.load_bytes(address + offset_bytes, &selector, 2);
    return {offset, selector, ok};
}

/// op.aux is the operand size in bytes; op.extra bit 0: the pointer is immediate (op.imm the offset, op.disp the selector).
template <bool Call>
Op const* far_transfer(Cpu& cpu, Op const* op) {
    FarPointer const target = op->extra != 0 ? FarPointer{static_cast<std::uint64_t>(op->imm), static_cast<std::uint16_t>(op->disp), true}
                                             : load_far_pointer(cpu, cpu.address(op), op->aux);
    if (!target.ok) return cpu.leave(op);
    return Call ? cpu.far_call(op, target.selector, target.offset, op->aux) : cpu.far_jump(op, target.selector, target.offset, op->aux);
}
Op const* far_return(Cpu& cpu, Op const* op) { return cpu.far_return(op, op->aux, static_cast<std::uint64_t>(op->imm)); }
Op const* interrupt_return(Cpu& cpu, Op const* op) { return cpu.interrupt_return(op, op->aux); }

bool is_far(Lowering const& lowering) { return lowering.instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR; }

void fill_far(Lowering& lowering) {
    Op& op = lowering.op;
    op.aux = static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
    if (lowering.operand(0).type == ZYDIS_OPERAND_TYPE_POINTER) {
        op.extra = 1;
        op.imm = static_cast<std::int64_t>(lowering.operand(0).ptr.offset);
        op.disp = lowering.operand(0).ptr.segment;
    }
    lowering.ends_trace = true;
}

void lower_jmp(Lowering& lowering) {
    if (is_far(lowering)) {
        fill_far(lowering);
        lowering.op.run = &far_transfer<false>;
        return;
    }
    if (lowering.is_immediate(0)) {
        fill_relative(lowering);
        fill_pointer_bytes(lowering);
        lowering.op.run = &jmp_relative;
        return;
    }
    lowering.ends_trace = true;
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0)) {
        lowering.op.run = by_size(bytes, nullptr, &jmp_mem<std::uint16_t>, &jmp_mem<std::uint32_t>, &jmp_mem<std::uint64_t>);
    } else {
        lowering.op.src = lowering.gpr(0);
        lowering.op.run = by_size(bytes, nullptr, &jmp_reg<std::uint16_t>, &jmp_reg<std::uint32_t>, &jmp_reg<std::uint64_t>);
    }
}

void lower_call(Lowering& lowering) {
    if (is_far(lowering)) {
        fill_far(lowering);
        lowering.op.run = &far_transfer<true>;
        return;
    }
    if (lowering.is_immediate(0)) {
        fill_relative(lowering);
        fill_pointer_bytes(lowering);
        lowering.op.run = by_size(lowering.op.aux, nullptr, &call_relative<std::uint16_t>, &call_relative<std::uint32_t>, &call_relative<std::uint64_t>);
        return;
    }
    lowering.ends_trace = true;
    unsigned const bytes = lowering.bytes(0);
    if (lowering.is_memory(0)) {
        lowering.op.run = by_size(bytes, nullptr, &call_mem<std::uint16_t>, &call_mem<std::uint32_t>, &call_mem<std::uint64_t>);
    } else {
        lowering.op.src = lowering.gpr(0);
        lowering.op.run = by_size(bytes, nullptr, &call_reg<std::uint16_t>, &call_reg<std::uint32_t>, &call_reg<std::uint64_t>);
    }
}

void lower_ret(Lowering& lowering) {
    lowering.ends_trace = true;
    if (lowering.visible() != 0 && lowering.is_immediate(0)) lowering.op.imm = lowering.immediate(0) & 0xffff;
    if (is_far(lowering)) {
        lowering.op.aux = static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
        lowering.op.run = &far_return;
        return;
    }
    unsigned const bytes = lowering.mode == CodeMode::bits64 ? 8 : lowering.instruction.operand_width / 8;
    lowering.op.run = by_size(bytes, nullptr, &ret<std::uint16_t>, &ret<std::uint32_t>, &ret<std::uint64_t>);
}

void lower_iret(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.aux = static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
    lowering.op.run = &interrupt_return;
}

// --- software interrupts ------------------------------------------------------------------------------------------

template <IntKind K>
Op const* software_interrupt(Cpu& cpu, Op const* op) {
    return cpu.software_interrupt(op, static_cast<std::uint8_t>(op->imm), K);
}
Op const* into(Cpu& cpu, Op const* op) {
    if (!cpu.flags.overflow()) return cpu.go(cpu.next_rip(op), Cpu::kFallThrough);
    return cpu.software_interrupt(op, static_cast<std::uint8_t>(ExceptionVector::overflow), IntKind::fixed);
}
/// INT1 is not a software interrupt for privilege checks: it raises #DB as a trap ([SDM2A] INT n/INTO/INT3/INT1).
template <ExceptionVector V, IntKind K>
void lower_int_fixed(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.imm = static_cast<std::int64_t>(V);
    lowering.op.run = &software_interrupt<K>;
}
void lower_int(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.imm = lowering.immediate(0) & 0xff;
    lowering.op.run = &software_interrupt<IntKind::by_number>;
}
void lower_into(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.run = &into;
}

Op const* sysenter(Cpu& cpu, Op const* op) { return cpu.sysenter(op); }
Op const* sysexit(Cpu& cpu, Op const* op) { return cpu.sysexit(op); }
template <Handler H>
void lower_last(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.run = H;
}

Op const* syscall(Cpu& cpu, Op const* op) { return cpu.syscall(op); }
Op const* sysret(Cpu& cpu, Op const* op) { return cpu.sysret(op, op->aux); }
void lower_syscall(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.run = &syscall;
}
void lower_sysret(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.aux = static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
    lowering.op.run = &sysret;
}

}  // namespace

void lower_control(LowerTable& table) {
    add_jumps(table, std::make_integer_sequence<unsigned, 16>{});
    table[ZYDIS_MNEMONIC_LOOP] = &lower_loop<Loop::always>;
    table[ZYDIS_MNEMONIC_LOOPE] = &lower_loop<Loop::while_equal>;
    table[ZYDIS_MNEMONIC_LOOPNE] = &lower_loop<Loop::while_not_equal>;
    for (auto const mnemonic : {ZYDIS_MNEMONIC_JCXZ, ZYDIS_MNEMONIC_JECXZ, ZYDIS_MNEMONIC_JRCXZ}) table[mnemonic] = &lower_loop<Loop::if_zero>;
    table[ZYDIS_MNEMONIC_JMP] = &lower_jmp;
    table[ZYDIS_MNEMONIC_CALL] = &lower_call;
    table[ZYDIS_MNEMONIC_RET] = &lower_ret;
    for (auto const mnemonic : {ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ}) table[mnemonic] = &lower_iret;
    table[ZYDIS_MNEMONIC_INT] = &lower_int;
    table[ZYDIS_MNEMONIC_INT1] = &lower_int_fixed<ExceptionVector::debug, IntKind::debug_trap>;
    table[ZYDIS_MNEMONIC_INT3] = &lower_int_fixed<ExceptionVector::breakpoint, IntKind::fixed>;
    table[ZYDIS_MNEMONIC_INTO] = &lower_into;
    table[ZYDIS_MNEMONIC_SYSENTER] = &lower_last<&sysenter>;
    table[ZYDIS_MNEMONIC_SYSEXIT] = &lower_last<&sysexit>;
    table[ZYDIS_MNEMONIC_SYSCALL] = &lower_syscall;
    table[ZYDIS_MNEMONIC_SYSRET] = &lower_sysret;
}

}  // namespace backplane
