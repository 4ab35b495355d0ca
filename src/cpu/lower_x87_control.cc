// Control instructions: control and status words, environment, whole state, tags, TOP ([SDM1] 8.3.8, 8.3.10).
//
// Selectors of the last instruction and operand are not kept: they are stored as 0.
#include "cpu/fxsave.h"
#include "cpu/x87.h"
#include "cpu/x87_image.h"

namespace backplane {

namespace {

// --- words -----------------------------------------------------------------------------------------------------------

Op const* fldcw(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    auto const loaded = cpu.load<std::uint16_t>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    X87State& state = cpu.x87();
    state.control = x87_control_word(loaded.value);
    state.status = x87_status_word(state.status, state.control);
    BACKPLANE_NEXT(cpu, op);
}

// The instructions that do not wait report no earlier exception.
Op const* fnstcw(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!cpu.store<std::uint16_t>(cpu.address(op), cpu.x87().control)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
Op const* fnstsw_memory(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!cpu.store<std::uint16_t>(cpu.address(op), cpu.x87().status)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
Op const* fnstsw_register(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    cpu.set_reg<std::uint16_t>(op->dst, cpu.x87().status);
    BACKPLANE_NEXT(cpu, op);
}

void lower_fnstsw(Lowering& l) {
    if (l.is_memory(0)) {
        l.op.run = fnstsw_memory;
    } else {
        l.op.dst = l.gpr(0);
        l.op.run = fnstsw_register;
    }
}

Op const* fnclex(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    cpu.x87().status &= 0x7f00;
    BACKPLANE_NEXT(cpu, op);
}

void initialize(X87State& state) {
    auto const registers = state.registers;
    state = X87State{};
    state.registers = registers;
}

Op const* fninit(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    initialize(cpu.x87());
    BACKPLANE_NEXT(cpu, op);
}

// --- tags and TOP ----------------------------------------------------------------------------------------------------

Op const* fincstp(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    clear_conditions(cpu.x87(), x87::kC1);
    set_stack_top(cpu.x87(), stack_top(cpu.x87()) + 1);
    BACKPLANE_NEXT(cpu, op);
}
Op const* fdecstp(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    clear_conditions(cpu.x87(), x87::kC1);
    set_stack_top(cpu.x87(), stack_top(cpu.x87()) - 1);
    BACKPLANE_NEXT(cpu, op);
}
Op const* ffree(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    clear_conditions(cpu.x87(), x87::kC1);
    free_st(cpu.x87(), op->src);
    BACKPLANE_NEXT(cpu, op);
}
Op const* ffreep(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    clear_conditions(cpu.x87(), x87::kC1);
    free_st(cpu.x87(), op->src);
    pop(cpu.x87());
    BACKPLANE_NEXT(cpu, op);
}
Op const* fnop(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    BACKPLANE_NEXT(cpu, op);
}
/// What the 8087 and 80287 needed; since then without effect.
Op const* obsolete(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    BACKPLANE_NEXT(cpu, op);
}

/// FWAIT heeds CR0.TS only together with CR0.MP, and CR0.EM not at all ([SDM3A] table 9-3).
Op const* fwait(Cpu& cpu, Op const* op) {
    constexpr std::uint64_t kBoth = cr0::kMonitorCoprocessor | cr0::kTaskSwitched;
    if ((cpu.raw_state().cr0 & kBoth) == kBoth) return cpu.raise(op, ExceptionVector::device_not_available);
    if (x87_exception_waits(cpu)) return cpu.raise(op, ExceptionVector::x87_error);
    BACKPLANE_NEXT(cpu, op);
}

// --- the environment and the whole state (x87_image.h) ---------------------------------------------------------------

using namespace x87;

Layout layout_of(Cpu& cpu, Op const* op) {
    bool const virtual_8086 = (cpu.raw_state().rflags & rflags::kVirtual8086) != 0;
    return {op->aux, !cpu.protected_mode() || virtual_8086};
}

// As AMD's processors do it: the first field is tried, then the last byte, then what lies between.
bool may_store_ends(Cpu& cpu, std::uint64_t address, Layout layout, std::uint32_t bytes) {
    return cpu.may_store(address, layout.field_bytes) && may_store_end(cpu, address, bytes);
}
bool may_load_ends(Cpu& cpu, std::uint64_t address, Layout layout, std::uint32_t bytes) {
    std::uint32_t first = 0;
    return cpu.load_bytes(address, &first, layout.field_bytes) && may_load_end(cpu, address, bytes);
}

// Each runs in a function of its own: a handler with large locals could not end in a tail call.
[[gnu::noinline]] bool store_environment(Cpu& cpu, Op const* op) {
    StateImage image;
    Layout const layout = layout_of(cpu, op);
    put_environment(image, cpu.x87(), layout);
    if (!may_store_ends(cpu, cpu.address(op), layout, layout.bytes())) return false;
    if (!cpu.store_bytes(cpu.address(op), image.data(), layout.bytes())) return false;
    cpu.x87().control |= x87::kExceptions;
    cpu.x87().status = x87_status_word(cpu.x87().status, cpu.x87().control);
    return true;
}
[[gnu::noinline]] bool store_state(Cpu& cpu, Op const* op) {
    StateImage image;
    Layout const layout = layout_of(cpu, op);
    put_environment(image, cpu.x87(), layout);
    put_registers(image, cpu.x87(), layout);
    if (!may_store_ends(cpu, cpu.address(op), layout, layout.bytes() + kRegisterBytes)) return false;
    if (!cpu.store_bytes(cpu.address(op), image.data(), layout.bytes() + kRegisterBytes)) return false;
    initialize(cpu.x87());
    return true;
}
[[gnu::noinline]] bool load_environment(Cpu& cpu, Op const* op) {
    StateImage image;
    Layout const layout = layout_of(cpu, op);
    if (!may_load_ends(cpu, cpu.address(op), layout, layout.bytes())) return false;
    if (!cpu.load_bytes(cpu.address(op), image.data(), layout.bytes())) return false;
    get_environment(cpu.x87(), image, layout);
    return true;
}
[[gnu::noinline]] bool load_state(Cpu& cpu, Op const* op) {
    StateImage image;
    Layout const layout = layout_of(cpu, op);
    if (!may_load_ends(cpu, cpu.address(op), layout, layout.bytes() + kRegisterBytes)) return false;
    if (!cpu.load_bytes(cpu.address(op), image.data(), layout.bytes() + kRegisterBytes)) return false;
    get_environment(cpu.x87(), image, layout);
    get_registers(cpu.x87(), image, layout);
    return true;
}

using Body = bool (*)(Cpu&, Op const*);

template <Body kBody>
Op const* storing(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!kBody(cpu, op)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <Body kBody>
Op const* loading(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!kBody(cpu, op)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

/// The operand size decides the layout: 14 or 94 bytes with a size of 16 bits.
template <Handler kHandler>
void lower_image(Lowering& l) {
    unsigned const bytes = l.bytes(0);
    l.op.aux = bytes == 14 || bytes == 94 ? 2 : 4;
    l.op.run = kHandler;
}

}  // namespace

void lower_x87_control(LowerTable& table) {
    table[ZYDIS_MNEMONIC_FLDCW] = lower_x87_as<fldcw>;
    table[ZYDIS_MNEMONIC_FNSTCW] = lower_x87_as<fnstcw>;
    table[ZYDIS_MNEMONIC_FNSTSW] = lower_fnstsw;
    table[ZYDIS_MNEMONIC_FNCLEX] = lower_x87_as<fnclex>;
    table[ZYDIS_MNEMONIC_FNINIT] = lower_x87_as<fninit>;
    table[ZYDIS_MNEMONIC_FINCSTP] = lower_x87_as<fincstp>;
    table[ZYDIS_MNEMONIC_FDECSTP] = lower_x87_as<fdecstp>;
    table[ZYDIS_MNEMONIC_FFREE] = lower_x87_as<ffree>;
    table[ZYDIS_MNEMONIC_FFREEP] = lower_x87_as<ffreep>;
    table[ZYDIS_MNEMONIC_FNOP] = lower_x87_as<fnop>;
    table[ZYDIS_MNEMONIC_FENI8087_NOP] = lower_x87_as<obsolete>;
    table[ZYDIS_MNEMONIC_FDISI8087_NOP] = lower_x87_as<obsolete>;
    table[ZYDIS_MNEMONIC_FSETPM287_NOP] = lower_x87_as<obsolete>;
    table[ZYDIS_MNEMONIC_FWAIT] = lower_x87_as<fwait>;
    table[ZYDIS_MNEMONIC_FNSTENV] = lower_image<storing<store_environment>>;
    table[ZYDIS_MNEMONIC_FNSAVE] = lower_image<storing<store_state>>;
    table[ZYDIS_MNEMONIC_FLDENV] = lower_image<loading<load_environment>>;
    table[ZYDIS_MNEMONIC_FRSTOR] = lower_image<loading<load_state>>;
}

}  // namespace backplane
