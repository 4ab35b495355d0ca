// Loads, stores, exchanges, conditional moves, constants ([SDM1] 8.3.2, 8.3.4).
#include "cpu/x87.h"

namespace backplane {

namespace {

using Run = void (*)(HostX87&);

enum class After : std::uint8_t { keep, pop };

// --- loads -------------------------------------------------------------------------------------------------------

#define BACKPLANE_X87_LOAD(name, text) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, "", text, "fstpt %[st0]\n\t"); }

BACKPLANE_X87_LOAD(fld_single, "flds %[memory]")
BACKPLANE_X87_LOAD(fld_double, "fldl %[memory]")
BACKPLANE_X87_LOAD(fild_word, "filds %[memory]")
BACKPLANE_X87_LOAD(fild_dword, "fildl %[memory]")
BACKPLANE_X87_LOAD(fild_qword, "fildll %[memory]")
BACKPLANE_X87_LOAD(fbld, "fbld %[memory]")
// These take the rounding mode and raise nothing.
BACKPLANE_X87_LOAD(fld1, "fld1")
BACKPLANE_X87_LOAD(fldz, "fldz")
BACKPLANE_X87_LOAD(fldpi, "fldpi")
BACKPLANE_X87_LOAD(fldl2e, "fldl2e")
BACKPLANE_X87_LOAD(fldl2t, "fldl2t")
BACKPLANE_X87_LOAD(fldlg2, "fldlg2")
BACKPLANE_X87_LOAD(fldln2, "fldln2")

/// False when the register to push into is full; what the masked response pushes has been pushed then.
bool has_room(X87State& state) {
    if (is_empty(state, -1)) return true;
    if (stack_overflow(state) == Response::masked) push(state, x87::kIndefinite);
    return false;
}

void push_converted(X87State& state, Run run, X87Register const& memory) {
    if (!has_room(state)) return;
    HostX87 host{.memory = memory, .control = state.control};
    run(host);
    take_status(state, host);
    // An unmasked denormal is reported, but loaded all the same.
    if (!host.refused(x87::kInvalid)) push(state, host.st0);
}

template <Run kRun, typename T>
Op const* load_converted(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    auto const loaded = cpu.load<T>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    note_memory_instruction(cpu, op);
    push_converted(cpu.x87(), kRun, {loaded.value, 0});
    BACKPLANE_NEXT(cpu, op);
}

struct LoadedRegister {
    X87Register value;
    bool ok;
};
[[gnu::noinline]] LoadedRegister load_80_bits(Cpu& cpu, std::uint64_t address) {
    std::array<std::byte, 10> bytes;
    if (!cpu.load_bytes(address, bytes.data(), bytes.size())) return {{}, false};
    LoadedRegister loaded{{}, true};
    std::memcpy(&loaded.value.significand, bytes.data(), 8);
    std::memcpy(&loaded.value.sign_exponent, bytes.data() + 8, 2);
    return loaded;
}
[[gnu::noinline]] bool store_80_bits(Cpu& cpu, std::uint64_t address, X87Register const& value) {
    std::array<std::byte, 10> bytes;
    std::memcpy(bytes.data(), &value.significand, 8);
    std::memcpy(bytes.data() + 8, &value.sign_exponent, 2);
    return cpu.store_bytes(address, bytes.data(), bytes.size());
}

void push_extended(X87State& state, X87Register const& value) {
    if (!has_room(state)) return;
    clear_conditions(state, x87::kC1);
    push(state, value);
}

// FLD m80 converts nothing and raises nothing, whatever the bits.
[[gnu::noinline]] bool load_extended(Cpu& cpu, Op const* op) {
    auto const [value, ok] = load_80_bits(cpu, cpu.address(op));
    if (!ok) return false;
    note_memory_instruction(cpu, op);
    push_extended(cpu.x87(), value);
    return true;
}
[[gnu::noinline]] bool load_decimal(Cpu& cpu, Op const* op) {
    auto const [value, ok] = load_80_bits(cpu, cpu.address(op));
    if (!ok) return false;
    note_memory_instruction(cpu, op);
    push_converted(cpu.x87(), fbld, value);
    return true;
}

using Body = bool (*)(Cpu&, Op const*);

/// For handlers with memory operands of 10 bytes.
template <Body kBody>
Op const* with_extended(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!kBody(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <Run kRun>
Op const* load_constant(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    push_converted(cpu.x87(), kRun, {});
    BACKPLANE_NEXT(cpu, op);
}

void push_register(X87State& state, int source) {
    if (is_empty(state, source)) {
        if (stack_underflow(state) == Response::masked) push(state, x87::kIndefinite);
    } else {
        push_extended(state, read_st(state, source));
    }
}

Op const* load_register(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    push_register(cpu.x87(), op->src);
    BACKPLANE_NEXT(cpu, op);
}

// --- stores -------------------------------------------------------------------------------------------------------

#define BACKPLANE_X87_STORE(name, text) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", text, ""); }

BACKPLANE_X87_STORE(fst_single, "fsts %[memory]")
BACKPLANE_X87_STORE(fst_double, "fstl %[memory]")
BACKPLANE_X87_STORE(fist_word, "fists %[memory]")
BACKPLANE_X87_STORE(fist_dword, "fistl %[memory]")
BACKPLANE_X87_STORE(fistp_qword, "fistpll %[memory]")
BACKPLANE_X87_STORE(fisttp_word, "fisttps %[memory]")
BACKPLANE_X87_STORE(fisttp_dword, "fisttpl %[memory]")
BACKPLANE_X87_STORE(fisttp_qword, "fisttpll %[memory]")
BACKPLANE_X87_STORE(fbstp, "fbstp %[memory]")

/// The converted top of stack, and the state as it will be if storing it succeeds.
struct Converted {
    X87State state;
    X87Register memory{};
    bool stores{false};
};

Converted convert_top(X87State const& before, Run run, After after) {
    Converted result{.state = before};
    X87State& state = result.state;
    HostX87 host{.st0 = read_st(state, 0), .control = state.control};
    if (is_empty(state, 0)) {
        if (stack_underflow(state) == Response::unmasked) return result;
        host.st0 = x87::kIndefinite;
        run(host);
    } else {
        run(host);
        take_status(state, host);
        if (host.refused(x87::kBeforeStore)) return result;
    }
    result.memory = host.memory;
    result.stores = true;
    if (after == After::pop) pop(state);
    return result;
}

/// The state changes with the store or not at all; the memory is checked even if an unmasked exception keeps the store
/// from being made. These run in functions of their own, since a handler with large
/// locals could not end in a tail call.
template <Run kRun, typename T, After kAfter>
[[gnu::noinline]] bool store_top(Cpu& cpu, Op const* op) {
    Converted const converted = convert_top(cpu.x87(), kRun, kAfter);
    std::uint64_t const address = cpu.address(op);
    bool const ok = converted.stores ? cpu.store<T>(address, static_cast<T>(converted.memory.significand))
                                     : cpu.may_store(address, sizeof(T));
    if (!ok) return false;
    cpu.x87() = converted.state;
    note_memory_instruction(cpu, op);
    return true;
}

[[gnu::noinline]] bool store_decimal(Cpu& cpu, Op const* op) {
    Converted const converted = convert_top(cpu.x87(), fbstp, After::pop);
    std::uint64_t const address = cpu.address(op);
    if (!(converted.stores ? store_80_bits(cpu, address, converted.memory) : cpu.may_store(address, 10))) return false;
    cpu.x87() = converted.state;
    note_memory_instruction(cpu, op);
    return true;
}

[[gnu::noinline]] bool store_extended(Cpu& cpu, Op const* op) {
    X87State state = cpu.x87();
    bool const empty = is_empty(state, 0);
    clear_conditions(state, x87::kC1);
    std::uint64_t const address = cpu.address(op);
    if (!empty || stack_underflow(state) == Response::masked) {
        if (!store_80_bits(cpu, address, empty ? x87::kIndefinite : read_st(state, 0))) return false;
        pop(state);
    } else if (!cpu.may_store(address, 10)) {
        return false;
    }
    cpu.x87() = state;
    note_memory_instruction(cpu, op);
    return true;
}

template <Body kBody>
Op const* store_memory(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    if (!kBody(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <After kAfter>
Op const* store_register(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    bool const empty = is_empty(state, 0);
    clear_conditions(state, x87::kC1);
    if (!empty || stack_underflow(state) == Response::masked) {
        write_st(state, op->src, empty ? x87::kIndefinite : read_st(state, 0));
        if (kAfter == After::pop) pop(state);
    }
    BACKPLANE_NEXT(cpu, op);
}

/// FSTPNCE, an undocumented relative of FSTP ST(i): with an empty top it only pops, and raises nothing.
Op const* store_register_quietly(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    clear_conditions(state, x87::kC1);
    if (!is_empty(state, 0)) write_st(state, op->src, read_st(state, 0));
    pop(state);
    BACKPLANE_NEXT(cpu, op);
}

// --- FXCH, FCMOVcc ------------------------------------------------------------------------------------------------

Op const* exchange(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    clear_conditions(state, x87::kC1);
    bool const any_empty = is_empty(state, 0) || is_empty(state, op->src);
    if (!any_empty || stack_underflow(state) == Response::masked) {
        X87Register const first = is_empty(state, 0) ? x87::kIndefinite : read_st(state, 0);
        X87Register const second = is_empty(state, op->src) ? x87::kIndefinite : read_st(state, op->src);
        write_st(state, 0, second);
        write_st(state, op->src, first);
    }
    BACKPLANE_NEXT(cpu, op);
}

enum class Condition : std::uint8_t { below, equal, below_or_equal, unordered };
enum class Sense : std::uint8_t { met, not_met };

[[nodiscard]] bool holds(LazyFlags const& flags, Condition condition) {
    switch (condition) {
        case Condition::below:
            return flags.carry();
        case Condition::equal:
            return flags.zero();
        case Condition::below_or_equal:
            return flags.carry() || flags.zero();
        case Condition::unordered:
            return flags.parity();
    }
    return false;
}

/// An empty register is a fault whether or not the condition holds.
template <Condition kCondition, Sense kSense>
Op const* move_if(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    if (is_empty(state, 0) || is_empty(state, op->src)) {
        if (stack_underflow(state) == Response::masked) write_st(state, 0, x87::kIndefinite);
    } else if (holds(cpu.flags, kCondition) == (kSense == Sense::met)) {
        write_st(state, 0, read_st(state, op->src));
    }
    BACKPLANE_NEXT(cpu, op);
}

// --- lowering ------------------------------------------------------------------------------------------------------

void lower_fld(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.src = stack_index(l);
    if (!l.is_memory(0)) {
        l.op.run = load_register;
        return;
    }
    switch (l.bytes(0)) {
        case 4:
            l.op.run = load_converted<fld_single, std::uint32_t>;
            break;
        case 8:
            l.op.run = load_converted<fld_double, std::uint64_t>;
            break;
        default:
            l.op.run = with_extended<load_extended>;
    }
}

void lower_fild(Lowering& l) {
    l.op.imm = fop_of(l);
    switch (l.bytes(0)) {
        case 2:
            l.op.run = load_converted<fild_word, std::uint16_t>;
            break;
        case 4:
            l.op.run = load_converted<fild_dword, std::uint32_t>;
            break;
        default:
            l.op.run = load_converted<fild_qword, std::uint64_t>;
    }
}

template <After kAfter>
void lower_fst(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.src = stack_index(l);
    if (!l.is_memory(0)) {
        l.op.run = store_register<kAfter>;
        return;
    }
    switch (l.bytes(0)) {
        case 4:
            l.op.run = store_memory<store_top<fst_single, std::uint32_t, kAfter>>;
            break;
        case 8:
            l.op.run = store_memory<store_top<fst_double, std::uint64_t, kAfter>>;
            break;
        default:
            l.op.run = store_memory<store_extended>;
    }
}

template <After kAfter>
void lower_fist(Lowering& l) {
    l.op.imm = fop_of(l);
    switch (l.bytes(0)) {
        case 2:
            l.op.run = store_memory<store_top<fist_word, std::uint16_t, kAfter>>;
            break;
        case 4:
            l.op.run = store_memory<store_top<fist_dword, std::uint32_t, kAfter>>;
            break;
        default:
            l.op.run = store_memory<store_top<fistp_qword, std::uint64_t, kAfter>>;
    }
}

/// FISTTP (SSE3) truncates whatever the rounding mode is.
void lower_fisttp(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.run = by_size(l.bytes(0), nullptr, store_memory<store_top<fisttp_word, std::uint16_t, After::pop>>,
                       store_memory<store_top<fisttp_dword, std::uint32_t, After::pop>>,
                       store_memory<store_top<fisttp_qword, std::uint64_t, After::pop>>);
}

}  // namespace

void lower_x87_move(LowerTable& table) {
    table[ZYDIS_MNEMONIC_FLD] = lower_fld;
    table[ZYDIS_MNEMONIC_FILD] = lower_fild;
    table[ZYDIS_MNEMONIC_FBLD] = lower_x87_as<with_extended<load_decimal>>;
    table[ZYDIS_MNEMONIC_FLD1] = lower_x87_as<load_constant<fld1>>;
    table[ZYDIS_MNEMONIC_FLDZ] = lower_x87_as<load_constant<fldz>>;
    table[ZYDIS_MNEMONIC_FLDPI] = lower_x87_as<load_constant<fldpi>>;
    table[ZYDIS_MNEMONIC_FLDL2E] = lower_x87_as<load_constant<fldl2e>>;
    table[ZYDIS_MNEMONIC_FLDL2T] = lower_x87_as<load_constant<fldl2t>>;
    table[ZYDIS_MNEMONIC_FLDLG2] = lower_x87_as<load_constant<fldlg2>>;
    table[ZYDIS_MNEMONIC_FLDLN2] = lower_x87_as<load_constant<fldln2>>;

    table[ZYDIS_MNEMONIC_FST] = lower_fst<After::keep>;
    table[ZYDIS_MNEMONIC_FSTP] = lower_fst<After::pop>;
    table[ZYDIS_MNEMONIC_FSTPNCE] = lower_x87_as<store_register_quietly>;
    table[ZYDIS_MNEMONIC_FIST] = lower_fist<After::keep>;
    table[ZYDIS_MNEMONIC_FISTTP] = lower_fisttp;
    table[ZYDIS_MNEMONIC_FISTP] = lower_fist<After::pop>;
    table[ZYDIS_MNEMONIC_FBSTP] = lower_x87_as<store_memory<store_decimal>>;

    table[ZYDIS_MNEMONIC_FXCH] = lower_x87_as<exchange>;
    table[ZYDIS_MNEMONIC_FCMOVB] = lower_x87_as<move_if<Condition::below, Sense::met>>;
    table[ZYDIS_MNEMONIC_FCMOVE] = lower_x87_as<move_if<Condition::equal, Sense::met>>;
    table[ZYDIS_MNEMONIC_FCMOVBE] = lower_x87_as<move_if<Condition::below_or_equal, Sense::met>>;
    table[ZYDIS_MNEMONIC_FCMOVU] = lower_x87_as<move_if<Condition::unordered, Sense::met>>;
    table[ZYDIS_MNEMONIC_FCMOVNB] = lower_x87_as<move_if<Condition::below, Sense::not_met>>;
    table[ZYDIS_MNEMONIC_FCMOVNE] = lower_x87_as<move_if<Condition::equal, Sense::not_met>>;
    table[ZYDIS_MNEMONIC_FCMOVNBE] = lower_x87_as<move_if<Condition::below_or_equal, Sense::not_met>>;
    table[ZYDIS_MNEMONIC_FCMOVNU] = lower_x87_as<move_if<Condition::unordered, Sense::not_met>>;
}

}  // namespace backplane
