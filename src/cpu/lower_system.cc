// System instructions: ports, control and descriptor-table registers, MSRs, CPUID, time stamps, flags of the system,
// segment registers. [SDM2A], [SDM2B]
//
// Each one that depends on the exact time, or after which an interrupt may be taken, ends its trace.
#include <optional>

#include "cpu/descriptor.h"
#include "cpu/handlers.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {

template <Handler H>
void lower_last(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.run = H;
}

Op const* general_protection(Cpu& cpu, Op const* op) { return cpu.raise(op, ExceptionVector::general_protection); }
bool is_privileged(Cpu const& cpu) { return cpu.cpl() == 0; }
/// CR4.UMIP hides SGDT, SIDT, SLDT, SMSW and STR from user mode ([SDM3A] 2.5).
bool is_prevented(Cpu& cpu) { return cpu.cpl() != 0 && (cpu.raw_state().cr4 & cr4::kUserModeInstructionPrevention) != 0; }
unsigned iopl(Cpu& cpu) { return static_cast<unsigned>((cpu.raw_state().rflags & rflags::kIopl) >> 12); }

// --- ports --------------------------------------------------------------------------------------------------------

/// CPL <= IOPL, or every bit of the ports in the TSS's permission bitmap is clear ([SDM1] 19.5.2).
bool may_use_ports(Cpu& cpu, std::uint16_t port, unsigned bytes) {
    if (!cpu.protected_mode() || (!cpu.virtual_8086() && cpu.cpl() <= iopl(cpu))) return true;
    Segment const& tss = cpu.raw_state().tr;
    if (tss.limit < 103 || (tss.type & kTypeTss32) == 0) return cpu.fault(ExceptionVector::general_protection);
    auto const base = cpu.load_system<std::uint16_t>(tss.base + 102);
    if (!base.ok) return false;
    std::uint32_t const offset = std::uint32_t{base.value} + port / 8;
    if (offset + 1 > tss.limit) return cpu.fault(ExceptionVector::general_protection);
    auto const bits = cpu.load_system<std::uint16_t>(tss.base + offset);
    if (!bits.ok) return false;
    unsigned const mask = ((1U << bytes) - 1) << (port & 7);
    if ((bits.value & mask) != 0) return cpu.fault(ExceptionVector::general_protection);
    return true;
}

Width width_of(unsigned bytes) { return static_cast<Width>(bytes); }

/// op.extra: 1 when the port is op.imm, else it is DX.
std::uint16_t port_of(Cpu& cpu, Op const* op) {
    return op->extra != 0 ? static_cast<std::uint16_t>(op->imm) : cpu.reg<std::uint16_t>(rdx * 8);
}

template <typename T>
Op const* in(Cpu& cpu, Op const* op) {
    std::uint16_t const port = port_of(cpu, op);
    if (!may_use_ports(cpu, port, sizeof(T))) return cpu.leave(op);
    cpu.bring_clock_up();
    cpu.set_reg<T>(rax * 8, static_cast<T>(cpu.bus().in(PortNumber{port}, width_of(sizeof(T)))));
    cpu.watch_port(port, sizeof(T));
    cpu.touch_device();
    return cpu.finish(op);
}
template <typename T>
Op const* out(Cpu& cpu, Op const* op) {
    std::uint16_t const port = port_of(cpu, op);
    if (!may_use_ports(cpu, port, sizeof(T))) return cpu.leave(op);
    cpu.bring_clock_up();
    cpu.bus().out(PortNumber{port}, width_of(sizeof(T)), cpu.reg<T>(rax * 8));
    cpu.watch_port(port, sizeof(T));
    cpu.touch_device();
    return cpu.finish(op);
}
void lower_in(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.extra = lowering.is_immediate(1);
    if (lowering.is_immediate(1)) lowering.op.imm = lowering.immediate(1) & 0xff;
    lowering.op.run = by_size(lowering.bytes(0), &in<std::uint8_t>, &in<std::uint16_t>, &in<std::uint32_t>, nullptr);
}
void lower_out(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.extra = lowering.is_immediate(0);
    if (lowering.is_immediate(0)) lowering.op.imm = lowering.immediate(0) & 0xff;
    lowering.op.run = by_size(lowering.bytes(1), &out<std::uint8_t>, &out<std::uint16_t>, &out<std::uint32_t>, nullptr);
}

/// INS and OUTS, one iteration at a time: each touches a device, so the dispatcher comes between them.
template <typename T, bool Input>
Op const* port_string(Cpu& cpu, Op const* op) {
    bool const wide = op->form == AddressForm::flat64;
    std::uint64_t const mask = wide ? ~std::uint64_t{0} : op->form == AddressForm::legacy16 ? 0xffff : 0xffff'ffff;
    std::uint64_t const count = cpu.gpr(rcx) & mask;
    if (op->repeat != 0 && count == 0) return cpu.finish(op);
    std::uint16_t const port = cpu.reg<std::uint16_t>(rdx * 8);
    if (!may_use_ports(cpu, port, sizeof(T))) return cpu.leave(op);
    Gpr const pointer = Input ? rdi : rsi;
    std::uint8_t const segment = Input ? (cpu.in_64_bit_mode() ? kFlatSegment : std::uint8_t{es}) : op->segment;
    std::uint64_t const address = cpu.segment_linear(segment, cpu.gpr(pointer) & mask, sizeof(T), Input ? Right::write : Right::read);
    if (Input) {
        if (!cpu.may_store(address, sizeof(T))) return cpu.leave(op);
        cpu.bring_clock_up();
        auto const value = static_cast<T>(cpu.bus().in(PortNumber{port}, width_of(sizeof(T))));
        if (!cpu.store<T>(address, value)) return cpu.leave(op);
    } else {
        auto const value = cpu.load<T>(address);
        if (!value.ok) return cpu.leave(op);
        cpu.bring_clock_up();
        cpu.bus().out(PortNumber{port}, width_of(sizeof(T)), value.value);
    }
    cpu.watch_port(port, sizeof(T));
    cpu.touch_device();
    auto const set_masked = [&](Gpr name, std::uint64_t value) {
        if (wide)
            cpu.gpr(name) = value;
        else if (mask == 0xffff)
            cpu.set_reg<std::uint16_t>(static_cast<std::uint8_t>(name * 8), static_cast<std::uint16_t>(value));
        else
            cpu.set_reg<std::uint32_t>(static_cast<std::uint8_t>(name * 8), static_cast<std::uint32_t>(value));
    };
    std::uint64_t const step = cpu.direction_down() ? ~std::uint64_t{sizeof(T) - 1} : sizeof(T);
    set_masked(pointer, cpu.gpr(pointer) + step);
    if (op->repeat == 0) return cpu.finish(op);
    set_masked(rcx, count - 1);
    return count == 1 ? cpu.finish(op) : cpu.jump(op, cpu.rip_of(op));
}
template <typename T, bool Input>
void lower_port_string(Lowering& lowering) {
    lowering.op.segment = string_source_segment(lowering);
    lower_last<&port_string<T, Input>>(lowering);
}

// --- flags and halting --------------------------------------------------------------------------------------------

Op const* cli(Cpu& cpu, Op const* op) {
    if (cpu.protected_mode() && cpu.cpl() > iopl(cpu)) return general_protection(cpu, op);
    cpu.raw_state().rflags &= ~rflags::kInterrupt;
    BACKPLANE_NEXT(cpu, op);
}
Op const* sti(Cpu& cpu, Op const* op) {
    if (cpu.protected_mode() && cpu.cpl() > iopl(cpu)) return general_protection(cpu, op);
    if ((cpu.raw_state().rflags & rflags::kInterrupt) != 0) BACKPLANE_NEXT(cpu, op);
    cpu.raw_state().rflags |= rflags::kInterrupt;
    // The shadow matters only where somebody may look before the next instruction: an interrupt that waits already, or
    // the monitor behind the trace's end. In the middle of a trace nothing comes in between.
    if (!cpu.is_last_of_trace(op) && !cpu.has_waiting_interrupt()) BACKPLANE_NEXT(cpu, op);
    cpu.raw_state().interrupt_shadow = true;
    *cpu.attention_flag() = true;
    return cpu.finish_early(op);
}
Op const* hlt(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    return cpu.finish(op, Leave::halt);
}

/// In virtual-8086 mode with IOPL below 3 the monitor emulates PUSHF and POPF ([SDM3A] 20.2.7).
bool may_use_flags(Cpu& cpu) { return !cpu.virtual_8086() || iopl(cpu) == 3; }

template <typename T>
Op const* pushf(Cpu& cpu, Op const* op) {
    if (!may_use_flags(cpu)) return general_protection(cpu, op);
    std::uint64_t const image = cpu.rflags() & ~(rflags::kVirtual8086 | rflags::kResume);
    std::uint64_t const top = cpu.stack_pointer_minus(sizeof(T));
    if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), static_cast<T>(image))) return cpu.leave_stack(op);
    cpu.set_stack_pointer(top);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* popf(Cpu& cpu, Op const* op) {
    if (!may_use_flags(cpu)) return general_protection(cpu, op);
    auto const loaded = cpu.load<T>(cpu.stack_address(cpu.stack_pointer(), sizeof(T)));
    if (!loaded.ok) return cpu.leave_stack(op);
    std::uint64_t writable = rflags::kArithmetic | rflags::kTrap | rflags::kDirection | rflags::kNestedTask | rflags::kAlignmentCheck | rflags::kIdentification;
    if (cpu.cpl() == 0) writable |= rflags::kIopl;
    if (cpu.cpl() <= iopl(cpu)) writable |= rflags::kInterrupt;
    if (sizeof(T) == 2) writable &= 0xffff;
    std::uint64_t const kept = cpu.rflags() & ~(writable | (sizeof(T) == 2 ? 0 : rflags::kResume));
    cpu.set_stack_pointer(cpu.stack_pointer_plus(sizeof(T)));
    cpu.set_rflags(kept | (loaded.value & writable));
    return cpu.finish(op);
}
void lower_pushf(Lowering& lowering) {
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &pushf<std::uint16_t>, &pushf<std::uint32_t>, &pushf<std::uint64_t>);
}
void lower_popf(Lowering& lowering) {
    lowering.ends_trace = true;
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &popf<std::uint16_t>, &popf<std::uint32_t>, &popf<std::uint64_t>);
}

template <bool Set>
Op const* access_check(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return cpu.raise(op, ExceptionVector::invalid_opcode);
    std::uint64_t const flags = cpu.rflags();
    cpu.set_rflags(Set ? flags | rflags::kAlignmentCheck : flags & ~rflags::kAlignmentCheck);
    BACKPLANE_NEXT(cpu, op);
}

// --- control and debug registers ----------------------------------------------------------------------------------

/// op.aux is the number of the control or debug register.
Op const* mov_from_cr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    CpuState const& state = cpu.raw_state();
    std::uint64_t value = 0;
    switch (op->aux) {
        case 0: value = state.cr0; break;
        case 2: value = state.cr2; break;
        case 3: value = state.cr3; break;
        case 4: value = state.cr4; break;
        case 8: value = cpu.apic().task_priority(); break;
        default: return cpu.raise(op, ExceptionVector::invalid_opcode);
    }
    cpu.in_64_bit_mode() ? cpu.set_reg<std::uint64_t>(op->dst, value) : cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint32_t>(value));
    BACKPLANE_NEXT(cpu, op);
}
Op const* mov_to_cr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    std::uint64_t const value = cpu.in_64_bit_mode() ? cpu.reg<std::uint64_t>(op->src) : cpu.reg<std::uint32_t>(op->src);
    bool done = true;
    switch (op->aux) {
        case 0: done = cpu.write_cr0(value); break;
        case 2: cpu.raw_state().cr2 = value; break;
        case 3: done = cpu.write_cr3(value); break;
        case 4: done = cpu.write_cr4(value); break;
        case 8:
            if (value > 15) return general_protection(cpu, op);
            cpu.apic().set_task_priority(static_cast<std::uint8_t>(value));
            break;
        default: return cpu.raise(op, ExceptionVector::invalid_opcode);
    }
    return done ? cpu.finish(op) : cpu.leave(op);
}
/// With DR7.GD each access to a debug register is #DB before it happens ([SDM3B] 17.2.4).
bool is_detected(Cpu& cpu) {
    CpuState& state = cpu.raw_state();
    if ((state.dr7 & dr7::kGeneralDetect) == 0) return false;
    state.dr6 |= dr6::kRegisterAccess;
    return true;
}
/// DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.
std::optional<unsigned> debug_register(Cpu& cpu, Op const* op) {
    if (op->aux != 4 && op->aux != 5) return op->aux;
    if ((cpu.raw_state().cr4 & cr4::kDebuggingExtensions) != 0) return {};
    return op->aux + 2;
}
Op const* mov_from_dr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    auto const number = debug_register(cpu, op);
    if (!number) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if (is_detected(cpu)) return cpu.raise(op, ExceptionVector::debug);
    CpuState const& state = cpu.raw_state();
    std::uint64_t const value = *number == 6 ? state.dr6 : *number == 7 ? state.dr7 : state.dr[*number];
    cpu.in_64_bit_mode() ? cpu.set_reg<std::uint64_t>(op->dst, value) : cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint32_t>(value));
    BACKPLANE_NEXT(cpu, op);
}
Op const* mov_to_dr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    auto const number = debug_register(cpu, op);
    if (!number) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if (is_detected(cpu)) return cpu.raise(op, ExceptionVector::debug);
    std::uint64_t const value = cpu.in_64_bit_mode() ? cpu.reg<std::uint64_t>(op->src) : cpu.reg<std::uint32_t>(op->src);
    if (*number >= 6 && value >> 32 != 0) return general_protection(cpu, op);
    CpuState& state = cpu.raw_state();
    if (*number == 6)
        state.dr6 = (value & 0xe00f) | 0xffff'0ff0;
    else if (*number == 7)
        cpu.set_dr7((value & 0xffff'2fff) | 0x400);
    else
        cpu.set_dr(*number, value);
    return cpu.finish(op);
}

Op const* clts(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    cpu.raw_state().cr0 &= ~cr0::kTaskSwitched;
    cpu.mode_changed();
    BACKPLANE_NEXT(cpu, op);
}

/// SMSW: a register takes the whole operand size, memory always 16 bits.
Op const* smsw_reg(Cpu& cpu, Op const* op) {
    if (is_prevented(cpu)) return general_protection(cpu, op);
    std::uint64_t const value = cpu.raw_state().cr0;
    if (op->aux == 2)
        cpu.set_reg<std::uint16_t>(op->dst, static_cast<std::uint16_t>(value));
    else if (op->aux == 4)
        cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint32_t>(value));
    else
        cpu.set_reg<std::uint64_t>(op->dst, value);
    BACKPLANE_NEXT(cpu, op);
}
Op const* smsw_mem(Cpu& cpu, Op const* op) {
    if (is_prevented(cpu)) return general_protection(cpu, op);
    if (!cpu.store<std::uint16_t>(cpu.address(op), static_cast<std::uint16_t>(cpu.raw_state().cr0))) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
void lower_smsw(Lowering& lowering) {
    if (lowering.is_memory(0)) {
        lowering.op.run = &smsw_mem;
        return;
    }
    lowering.op.dst = lowering.gpr(0);
    lowering.op.aux = static_cast<std::uint8_t>(lowering.bytes(0));
    lowering.op.run = &smsw_reg;
}
/// LMSW can set PE but not clear it.
Op const* lmsw(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    std::uint16_t value = cpu.reg<std::uint16_t>(op->src);
    if (op->extra != 0) {
        auto const loaded = cpu.load<std::uint16_t>(cpu.address(op));
        if (!loaded.ok) return cpu.leave(op);
        value = loaded.value;
    }
    std::uint64_t const old = cpu.raw_state().cr0;
    if (!cpu.write_cr0((old & ~std::uint64_t{0xe}) | (value & 0xf) | (old & 1))) return cpu.leave(op);
    return cpu.finish(op);
}
void lower_lmsw(Lowering& lowering) {
    lowering.op.extra = lowering.is_memory(0);
    if (!lowering.is_memory(0)) lowering.op.src = lowering.gpr(0);
    lower_last<&lmsw>(lowering);
}

Op const* invlpg(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    cpu.flush_tlb_page(cpu.address_unchecked(op));
    return cpu.finish(op);
}
/// INVPCID: the type in a register, a descriptor of 16 bytes (PCID, linear address) in memory.
Op const* invpcid(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    std::uint64_t descriptor[2];
    if (!cpu.load_bytes(cpu.address(op), descriptor, sizeof(descriptor))) return cpu.leave(op);
    std::uint64_t const type = cpu.in_64_bit_mode() ? cpu.reg<std::uint64_t>(op->dst) : cpu.reg<std::uint32_t>(op->dst);
    if (!cpu.invalidate_by_pcid(type, descriptor[0], descriptor[1])) return cpu.leave(op);
    return cpu.finish(op);
}
void lower_invpcid(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lower_last<&invpcid>(lowering);
}
/// There are no caches to write back or invalidate.
Op const* wbinvd(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    BACKPLANE_NEXT(cpu, op);
}

// --- descriptor tables --------------------------------------------------------------------------------------------

template <DescriptorTable CpuState::*Table>
Op const* load_table(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    std::uint16_t limit = 0;
    std::uint64_t base = 0;
    unsigned const base_bytes = cpu.in_64_bit_mode() ? 8 : 4;
    std::uint64_t const address = cpu.address(op);
    if (!cpu.load_bytes(address, &limit, 2) || !cpu.load_bytes(address + 2, &base, base_bytes)) return cpu.leave(op);
    if (op->aux == 2) base &= 0xff'ffff;  // 16-bit operand size: 24 bits of base
    if (cpu.in_64_bit_mode() && !Cpu::is_canonical(base)) return general_protection(cpu, op);
    cpu.raw_state().*Table = {base, limit};
    BACKPLANE_NEXT(cpu, op);
}
template <DescriptorTable CpuState::*Table>
Op const* store_table(Cpu& cpu, Op const* op) {
    if (is_prevented(cpu)) return general_protection(cpu, op);
    DescriptorTable const& table = cpu.raw_state().*Table;
    std::byte image[10];
    std::memcpy(image, &table.limit, 2);
    std::memcpy(image + 2, &table.base, 8);
    if (!cpu.store_bytes(cpu.address(op), image, cpu.in_64_bit_mode() ? 10 : 6)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <Handler H>
void lower_table_access(Lowering& lowering) {
    lowering.op.aux = static_cast<std::uint8_t>(lowering.instruction.operand_width / 8);
    lowering.op.run = H;
}

/// A 16-bit selector operand, from a register or memory (op.extra).
Loaded<std::uint16_t> selector_operand(Cpu& cpu, Op const* op) {
    if (op->extra == 0) return {cpu.reg<std::uint16_t>(op->src), true};
    return cpu.load<std::uint16_t>(cpu.address(op));
}
template <bool (Cpu::*Load)(std::uint16_t)>
Op const* load_system_segment(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    auto const selector = selector_operand(cpu, op);
    if (!selector.ok || !(cpu.*Load)(selector.value)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <Handler H>
void lower_selector_source(Lowering& lowering) {
    lowering.op.extra = lowering.is_memory(0);
    if (!lowering.is_memory(0)) lowering.op.src = lowering.gpr(0);
    lowering.op.run = H;
}
/// SLDT and STR: op.aux as for SMSW.
template <Segment CpuState::*Register>
Op const* store_system_segment(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if (is_prevented(cpu)) return general_protection(cpu, op);
    std::uint16_t const selector = (cpu.raw_state().*Register).selector;
    if (op->extra != 0) {
        if (!cpu.store<std::uint16_t>(cpu.address(op), selector)) return cpu.leave(op);
    } else if (op->aux == 2) {
        cpu.set_reg<std::uint16_t>(op->dst, selector);
    } else {
        cpu.set_reg<std::uint64_t>(op->dst, selector);
    }
    BACKPLANE_NEXT(cpu, op);
}
template <Handler H>
void lower_selector_destination(Lowering& lowering) {
    lowering.op.extra = lowering.is_memory(0);
    if (!lowering.is_memory(0)) {
        lowering.op.dst = lowering.gpr(0);
        lowering.op.aux = static_cast<std::uint8_t>(lowering.bytes(0));
    }
    lowering.op.run = H;
}

/// VERR, VERW, LAR, LSL look at a descriptor without loading it; ZF says whether they may. Faults of reading the table
/// itself are faults.
enum class Probe : std::uint8_t { read, write, rights, limit };
/// The system types that LAR and LSL accept, one bit each: LDT, TSS, and (LAR alone) call and task gates
/// ([SDM2A] LAR table 3-53, LSL table 3-54).
constexpr unsigned system_types(Probe probe, bool long_mode) {
    unsigned const segments = long_mode ? 0x0a04 : 0x0a0e;
    return probe == Probe::limit ? segments : segments | (long_mode ? 0x1000 : 0x1030);
}
template <Probe K>
Op const* probe(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) return cpu.raise(op, ExceptionVector::invalid_opcode);
    auto const selector = selector_operand(cpu, op);
    if (!selector.ok) return cpu.leave(op);
    CpuState const& state = cpu.raw_state();
    bool const local = (selector.value & 4) != 0;
    std::uint32_t const table_limit = local ? (state.ldtr.present ? state.ldtr.limit : 0) : state.gdtr.limit;
    bool allowed = (selector.value & ~3) != 0 && (selector.value | 7U) <= table_limit;
    std::uint64_t descriptor = 0;
    if (allowed) {
        auto const loaded = cpu.load_system<std::uint64_t>((local ? state.ldtr.base : state.gdtr.base) + (selector.value & ~std::uint64_t{7}));
        if (!loaded.ok) return cpu.leave(op);
        descriptor = loaded.value;
    }
    Segment const segment = segment_from(selector.value, descriptor);
    bool const visible = is_conforming(segment) || (segment.dpl >= cpu.cpl() && segment.dpl >= (selector.value & 3u));
    if constexpr (K == Probe::read) {
        allowed = allowed && visible && is_readable(segment);
    } else if constexpr (K == Probe::write) {
        allowed = allowed && visible && is_writable_data(segment);
    } else {
        bool const system = (system_types(K, cpu.long_mode_active()) >> segment.type & 1) != 0;
        allowed = allowed && visible && (segment.code_or_data || system);
        if (allowed) {
            std::uint32_t const value = K == Probe::rights ? static_cast<std::uint32_t>(descriptor >> 32) & 0x00ff'ff00 : segment.limit;
            op->aux == 2 ? cpu.set_reg<std::uint16_t>(op->dst, static_cast<std::uint16_t>(value)) : cpu.set_reg<std::uint32_t>(op->dst, value);
        }
    }
    cpu.flags.set_zero(allowed);
    BACKPLANE_NEXT(cpu, op);
}
template <Probe K>
void lower_probe(Lowering& lowering) {
    unsigned const from = K == Probe::rights || K == Probe::limit ? 1 : 0;
    if (from == 1) {
        lowering.op.dst = lowering.gpr(0);
        lowering.op.aux = static_cast<std::uint8_t>(lowering.bytes(0));
    }
    lowering.op.extra = lowering.is_memory(from);
    if (!lowering.is_memory(from)) lowering.op.src = lowering.gpr(from);
    lowering.op.run = &probe<K>;
}

// --- segment registers --------------------------------------------------------------------------------------------

SegmentName segment_of(ZydisRegister reg) { return static_cast<SegmentName>(ZydisRegisterGetId(reg)); }

/// The instruction after a load of SS, which sets rSP, is not parted from it ([SDM3A] 6.8.3).
void shadow_after_stack_load(Cpu& cpu) {
    cpu.raw_state().interrupt_shadow = cpu.raw_state().trap_shadow = true;
    *cpu.attention_flag() = true;
}

/// op.aux is the segment register. After a load of SS the next instruction is not interrupted.
Op const* mov_to_segment(Cpu& cpu, Op const* op) {
    auto const selector = selector_operand(cpu, op);
    if (!selector.ok) return cpu.leave(op);
    auto const name = static_cast<SegmentName>(op->aux);
    if (!cpu.load_segment(name, selector.value)) return cpu.leave(op);
    if (name == ss) shadow_after_stack_load(cpu);
    return cpu.finish(op);
}
template <typename T>
Op const* mov_from_segment(Cpu& cpu, Op const* op) {
    cpu.set_reg<T>(op->dst, static_cast<T>(cpu.segment(static_cast<SegmentName>(op->aux)).selector));
    BACKPLANE_NEXT(cpu, op);
}
Op const* mov_from_segment_mem(Cpu& cpu, Op const* op) {
    if (!cpu.store<std::uint16_t>(cpu.address(op), cpu.segment(static_cast<SegmentName>(op->aux)).selector)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* push_segment(Cpu& cpu, Op const* op) {
    std::uint64_t const top = cpu.stack_pointer_minus(sizeof(T));
    if (!cpu.store<T>(cpu.stack_address(top, sizeof(T)), static_cast<T>(cpu.segment(static_cast<SegmentName>(op->aux)).selector))) return cpu.leave_stack(op);
    cpu.set_stack_pointer(top);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* pop_segment(Cpu& cpu, Op const* op) {
    auto const loaded = cpu.load<T>(cpu.stack_address(cpu.stack_pointer(), sizeof(T)));
    if (!loaded.ok) return cpu.leave_stack(op);
    auto const name = static_cast<SegmentName>(op->aux);
    std::uint64_t const top = cpu.stack_pointer_plus(sizeof(T));
    if (!cpu.load_segment(name, static_cast<std::uint16_t>(loaded.value))) return cpu.leave(op);
    cpu.set_stack_pointer(top);
    if (name == ss) shadow_after_stack_load(cpu);
    return cpu.finish(op);
}
/// LDS, LES, LFS, LGS, LSS: op.aux is the segment register, op.extra the operand size (1: 2, 2: 4, 3: 8 bytes).
Op const* load_far_pointer(Cpu& cpu, Op const* op) {
    unsigned const bytes = 1U << op->extra;
    std::uint64_t offset = 0;
    std::uint16_t selector = 0;
    std::uint64_t const address = cpu.address(op);
    if (!cpu.load_bytes(address, &offset, bytes) || !cpu.load_bytes(address + bytes, &selector, 2)) return cpu.leave(op);
    if (!cpu.load_segment(static_cast<SegmentName>(op->aux), selector)) return cpu.leave(op);
    if (bytes == 2)
        cpu.set_reg<std::uint16_t>(op->dst, static_cast<std::uint16_t>(offset));
    else if (bytes == 4)
        cpu.set_reg<std::uint32_t>(op->dst, static_cast<std::uint32_t>(offset));
    else
        cpu.set_reg<std::uint64_t>(op->dst, offset);
    return cpu.finish(op);
}
/// ARPL: raises the RPL of the destination to that of the source; not in real and virtual-8086 mode ([SDM2A]).
Op const* arpl(Cpu& cpu, Op const* op) {
    if (cpu.real_addressing()) return cpu.raise(op, ExceptionVector::invalid_opcode);
    std::uint64_t const address = op->extra != 0 ? cpu.address(op) : 0;
    Loaded<std::uint16_t> const loaded = op->extra != 0 ? cpu.load_to_modify<std::uint16_t>(address) : Loaded<std::uint16_t>{cpu.reg<std::uint16_t>(op->dst), true};
    if (!loaded.ok) return cpu.leave(op);
    unsigned const wanted = cpu.reg<std::uint16_t>(op->src) & 3u;
    bool const raises = (loaded.value & 3u) < wanted;
    auto const value = static_cast<std::uint16_t>((loaded.value & ~3u) | wanted);
    if (raises && op->extra == 0) cpu.set_reg<std::uint16_t>(op->dst, value);
    if (raises && op->extra != 0 && !cpu.store<std::uint16_t>(address, value)) return cpu.leave(op);
    cpu.flags.set_zero(raises);
    BACKPLANE_NEXT(cpu, op);
}
void lower_arpl(Lowering& lowering) {
    lowering.op.extra = lowering.is_memory(0);
    if (!lowering.is_memory(0)) lowering.op.dst = lowering.gpr(0);
    lowering.op.src = lowering.gpr(1);
    lowering.op.run = &arpl;
}

template <SegmentName S>
void lower_far_pointer(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.aux = S;
    unsigned const bytes = lowering.bytes(0);
    lowering.op.extra = bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
    lower_last<&load_far_pointer>(lowering);
}

// --- identification, time, randomness, MSRs -----------------------------------------------------------------------

Op const* cpuid(Cpu& cpu, Op const* op) {
    auto const values = cpu.cpuid(cpu.reg<std::uint32_t>(rax * 8), cpu.reg<std::uint32_t>(rcx * 8));
    cpu.set_reg<std::uint32_t>(rax * 8, values[0]);
    cpu.set_reg<std::uint32_t>(rbx * 8, values[1]);
    cpu.set_reg<std::uint32_t>(rcx * 8, values[2]);
    cpu.set_reg<std::uint32_t>(rdx * 8, values[3]);
    BACKPLANE_NEXT(cpu, op);
}

template <bool WithId>
Op const* rdtsc(Cpu& cpu, Op const* op) {
    if (cpu.cpl() != 0 && (cpu.raw_state().cr4 & cr4::kTimeStampDisable) != 0) return general_protection(cpu, op);
    std::uint64_t const value = cpu.time_stamp();
    cpu.set_reg<std::uint32_t>(rax * 8, static_cast<std::uint32_t>(value));
    cpu.set_reg<std::uint32_t>(rdx * 8, static_cast<std::uint32_t>(value >> 32));
    if (WithId) cpu.set_reg<std::uint32_t>(rcx * 8, static_cast<std::uint32_t>(cpu.raw_state().tsc_aux));
    return cpu.finish(op);
}
/// RDPID reads IA32_TSC_AUX into a register of the mode's width, CR4.TSD or not ([SDM2B]).
Op const* rdpid(Cpu& cpu, Op const* op) {
    cpu.set_reg<std::uint64_t>(op->dst, cpu.raw_state().tsc_aux);
    BACKPLANE_NEXT(cpu, op);
}
void lower_rdpid(Lowering& lowering) {
    lowering.op.dst = Lowering::gpr_slot(lowering.operand(0).reg.value);
    lowering.op.run = &rdpid;
}
/// No performance counters are announced.
Op const* rdpmc(Cpu& cpu, Op const* op) { return general_protection(cpu, op); }

Op const* rdmsr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    cpu.bring_clock_up();
    auto const value = cpu.read_msr(cpu.reg<std::uint32_t>(rcx * 8));
    if (!value) return general_protection(cpu, op);
    cpu.set_reg<std::uint32_t>(rax * 8, static_cast<std::uint32_t>(*value));
    cpu.set_reg<std::uint32_t>(rdx * 8, static_cast<std::uint32_t>(*value >> 32));
    return cpu.finish(op);
}
Op const* wrmsr(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    cpu.bring_clock_up();
    std::uint64_t const value = std::uint64_t{cpu.reg<std::uint32_t>(rdx * 8)} << 32 | cpu.reg<std::uint32_t>(rax * 8);
    if (!cpu.write_msr(cpu.reg<std::uint32_t>(rcx * 8), value)) return general_protection(cpu, op);
    return cpu.finish(op);
}

/// RDRAND and RDSEED always succeed: CF = 1, the other flags 0.
template <typename T>
Op const* random(Cpu& cpu, Op const* op) {
    cpu.set_reg<T>(op->dst, static_cast<T>(cpu.random()));
    cpu.flags.set(rflags::kCarry);
    BACKPLANE_NEXT(cpu, op);
}
void lower_random(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, &random<std::uint16_t>, &random<std::uint32_t>, &random<std::uint64_t>);
}

Op const* swapgs(Cpu& cpu, Op const* op) {
    if (!is_privileged(cpu)) return general_protection(cpu, op);
    CpuState& state = cpu.raw_state();
    std::swap(state.segments[gs].base, state.kernel_gs_base);
    cpu.mode_changed();
    BACKPLANE_NEXT(cpu, op);
}

template <SegmentName S, typename T, bool Write>
Op const* segment_base(Cpu& cpu, Op const* op) {
    CpuState& state = cpu.raw_state();
    if ((state.cr4 & cr4::kFsgsbase) == 0) return cpu.raise(op, ExceptionVector::invalid_opcode);
    if constexpr (Write) {
        std::uint64_t const value = cpu.reg<T>(op->dst);
        if (!Cpu::is_canonical(value)) return general_protection(cpu, op);
        state.segments[S].base = value;
        cpu.mode_changed();
    } else {
        cpu.set_reg<T>(op->dst, static_cast<T>(state.segments[S].base));
    }
    BACKPLANE_NEXT(cpu, op);
}
template <SegmentName S, bool Write>
void lower_segment_base(Lowering& lowering) {
    lowering.op.dst = lowering.gpr(0);
    lowering.op.run = by_size(lowering.bytes(0), nullptr, nullptr, &segment_base<S, std::uint32_t, Write>, &segment_base<S, std::uint64_t, Write>);
}

}  // namespace

void lower_mov_system(Lowering& lowering) {
    Op& op = lowering.op;
    bool const to_system = lowering.is_register(0) && ZydisRegisterGetClass(lowering.operand(0).reg.value) >= ZYDIS_REGCLASS_SEGMENT;
    unsigned const system = to_system ? 0 : 1;
    ZydisRegister const reg = lowering.operand(system).reg.value;
    op.aux = static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
    switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_SEGMENT:
            if (to_system) {
                if (segment_of(reg) == cs) return;  // #UD
                op.extra = lowering.is_memory(1);
                if (!lowering.is_memory(1)) op.src = lowering.gpr(1);
                return lower_last<&mov_to_segment>(lowering);
            }
            if (lowering.is_memory(0)) {
                op.run = &mov_from_segment_mem;
                return;
            }
            op.dst = lowering.gpr(0);
            op.run = by_size(lowering.bytes(0), nullptr, &mov_from_segment<std::uint16_t>, &mov_from_segment<std::uint32_t>, &mov_from_segment<std::uint64_t>);
            return;
        case ZYDIS_REGCLASS_CONTROL:
            if (to_system) {
                op.src = lowering.gpr(1);
                return lower_last<&mov_to_cr>(lowering);
            }
            op.dst = lowering.gpr(0);
            op.run = &mov_from_cr;
            return;
        case ZYDIS_REGCLASS_DEBUG:
            to_system ? op.src = lowering.gpr(1) : op.dst = lowering.gpr(0);
            lowering.ends_trace = to_system;
            op.run = to_system ? &mov_to_dr : &mov_from_dr;
            return;
        default: return;
    }
}

void lower_push_segment(Lowering& lowering) {
    lowering.op.aux = segment_of(lowering.operand(0).reg.value);
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &push_segment<std::uint16_t>, &push_segment<std::uint32_t>, &push_segment<std::uint64_t>);
}
void lower_pop_segment(Lowering& lowering) {
    lowering.op.aux = segment_of(lowering.operand(0).reg.value);
    lowering.ends_trace = true;
    lowering.op.run = by_size(lowering.instruction.operand_width / 8, nullptr, &pop_segment<std::uint16_t>, &pop_segment<std::uint32_t>, &pop_segment<std::uint64_t>);
}

void lower_system(LowerTable& table) {
    table[ZYDIS_MNEMONIC_IN] = &lower_in;
    table[ZYDIS_MNEMONIC_OUT] = &lower_out;
    table[ZYDIS_MNEMONIC_INSB] = &lower_port_string<std::uint8_t, true>;
    table[ZYDIS_MNEMONIC_INSW] = &lower_port_string<std::uint16_t, true>;
    table[ZYDIS_MNEMONIC_INSD] = &lower_port_string<std::uint32_t, true>;
    table[ZYDIS_MNEMONIC_OUTSB] = &lower_port_string<std::uint8_t, false>;
    table[ZYDIS_MNEMONIC_OUTSW] = &lower_port_string<std::uint16_t, false>;
    table[ZYDIS_MNEMONIC_OUTSD] = &lower_port_string<std::uint32_t, false>;
    table[ZYDIS_MNEMONIC_CLI] = [](Lowering& lowering) { lowering.op.run = &cli; };
    table[ZYDIS_MNEMONIC_STI] = [](Lowering& lowering) { lowering.op.run = &sti; };
    table[ZYDIS_MNEMONIC_HLT] = &lower_last<&hlt>;
    for (auto const mnemonic : {ZYDIS_MNEMONIC_PUSHF, ZYDIS_MNEMONIC_PUSHFD, ZYDIS_MNEMONIC_PUSHFQ}) table[mnemonic] = &lower_pushf;
    for (auto const mnemonic : {ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ}) table[mnemonic] = &lower_popf;
    table[ZYDIS_MNEMONIC_CLAC] = [](Lowering& lowering) { lowering.op.run = &access_check<false>; };
    table[ZYDIS_MNEMONIC_STAC] = [](Lowering& lowering) { lowering.op.run = &access_check<true>; };
    table[ZYDIS_MNEMONIC_CLTS] = &lower_last<&clts>;
    table[ZYDIS_MNEMONIC_SMSW] = &lower_smsw;
    table[ZYDIS_MNEMONIC_LMSW] = &lower_lmsw;
    table[ZYDIS_MNEMONIC_INVLPG] = &lower_last<&invlpg>;
    table[ZYDIS_MNEMONIC_INVPCID] = &lower_invpcid;
    table[ZYDIS_MNEMONIC_INVD] = &lower_last<&wbinvd>;
    table[ZYDIS_MNEMONIC_WBINVD] = &lower_last<&wbinvd>;
    table[ZYDIS_MNEMONIC_LGDT] = &lower_table_access<&load_table<&CpuState::gdtr>>;
    table[ZYDIS_MNEMONIC_LIDT] = &lower_table_access<&load_table<&CpuState::idtr>>;
    table[ZYDIS_MNEMONIC_SGDT] = &lower_table_access<&store_table<&CpuState::gdtr>>;
    table[ZYDIS_MNEMONIC_SIDT] = &lower_table_access<&store_table<&CpuState::idtr>>;
    table[ZYDIS_MNEMONIC_LLDT] = &lower_selector_source<&load_system_segment<&Cpu::load_ldtr>>;
    table[ZYDIS_MNEMONIC_LTR] = &lower_selector_source<&load_system_segment<&Cpu::load_tr>>;
    table[ZYDIS_MNEMONIC_SLDT] = &lower_selector_destination<&store_system_segment<&CpuState::ldtr>>;
    table[ZYDIS_MNEMONIC_STR] = &lower_selector_destination<&store_system_segment<&CpuState::tr>>;
    table[ZYDIS_MNEMONIC_VERR] = &lower_probe<Probe::read>;
    table[ZYDIS_MNEMONIC_VERW] = &lower_probe<Probe::write>;
    table[ZYDIS_MNEMONIC_LAR] = &lower_probe<Probe::rights>;
    table[ZYDIS_MNEMONIC_LSL] = &lower_probe<Probe::limit>;
    table[ZYDIS_MNEMONIC_ARPL] = &lower_arpl;
    table[ZYDIS_MNEMONIC_LDS] = &lower_far_pointer<ds>;
    table[ZYDIS_MNEMONIC_LES] = &lower_far_pointer<es>;
    table[ZYDIS_MNEMONIC_LFS] = &lower_far_pointer<fs>;
    table[ZYDIS_MNEMONIC_LGS] = &lower_far_pointer<gs>;
    table[ZYDIS_MNEMONIC_LSS] = &lower_far_pointer<ss>;
    table[ZYDIS_MNEMONIC_CPUID] = [](Lowering& lowering) { lowering.op.run = &cpuid; };
    table[ZYDIS_MNEMONIC_RDTSC] = &lower_last<&rdtsc<false>>;
    table[ZYDIS_MNEMONIC_RDTSCP] = &lower_last<&rdtsc<true>>;
    table[ZYDIS_MNEMONIC_RDPID] = &lower_rdpid;
    table[ZYDIS_MNEMONIC_RDPMC] = &lower_last<&rdpmc>;
    table[ZYDIS_MNEMONIC_RDMSR] = &lower_last<&rdmsr>;
    table[ZYDIS_MNEMONIC_WRMSR] = &lower_last<&wrmsr>;
    table[ZYDIS_MNEMONIC_RDRAND] = &lower_random;
    table[ZYDIS_MNEMONIC_RDSEED] = &lower_random;
    table[ZYDIS_MNEMONIC_SWAPGS] = [](Lowering& lowering) { lowering.op.run = &swapgs; };
    table[ZYDIS_MNEMONIC_RDFSBASE] = &lower_segment_base<fs, false>;
    table[ZYDIS_MNEMONIC_RDGSBASE] = &lower_segment_base<gs, false>;
    table[ZYDIS_MNEMONIC_WRFSBASE] = &lower_segment_base<fs, true>;
    table[ZYDIS_MNEMONIC_WRGSBASE] = &lower_segment_base<gs, true>;
}

}  // namespace backplane
