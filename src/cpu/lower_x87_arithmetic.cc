// FADD, FSUB, FSUBR, FMUL, FDIV, FDIVR in all their forms ([SDM1] 8.3.3).
#include "cpu/x87.h"

namespace backplane {

namespace {

enum class After : std::uint8_t { keep, pop };

// What an operation is on the host: ST(0) with ST(1), with a float or with an integer in memory.
#define BACKPLANE_X87_ARITHMETIC(name, text)                                                                           \
    struct name {                                                                                                      \
        static void with_register(HostX87& host) {                                                                     \
            BACKPLANE_HOST_X87(host, "fldt %[st1]\n\tfldt %[st0]\n\t", "f" text " %%st(1), %%st", "fstpt %[st0]\n\t"); \
        }                                                                                                              \
        static void with_single(HostX87& host) {                                                                       \
            BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", "f" text "s %[memory]", "fstpt %[st0]\n\t");                   \
        }                                                                                                              \
        static void with_double(HostX87& host) {                                                                       \
            BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", "f" text "l %[memory]", "fstpt %[st0]\n\t");                   \
        }                                                                                                              \
        static void with_word(HostX87& host) {                                                                         \
            BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", "fi" text "s %[memory]", "fstpt %[st0]\n\t");                  \
        }                                                                                                              \
        static void with_dword(HostX87& host) {                                                                        \
            BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", "fi" text "l %[memory]", "fstpt %[st0]\n\t");                  \
        }                                                                                                              \
    }

BACKPLANE_X87_ARITHMETIC(Add, "add");
BACKPLANE_X87_ARITHMETIC(Sub, "sub");
BACKPLANE_X87_ARITHMETIC(Subr, "subr");
BACKPLANE_X87_ARITHMETIC(Mul, "mul");
BACKPLANE_X87_ARITHMETIC(Div, "div");
BACKPLANE_X87_ARITHMETIC(Divr, "divr");

using Run = void (*)(HostX87&);

void arithmetic_with_register(X87State& state, Run run, int destination, int source, After after) {
    if (is_empty(state, destination) || is_empty(state, source)) {
        if (stack_underflow(state) == Response::unmasked) return;
        write_st(state, destination, x87::kIndefinite);
    } else {
        HostX87 host{.st0 = read_st(state, destination), .st1 = read_st(state, source), .control = state.control};
        run(host);
        take_status(state, host);
        if (host.refused()) return;
        write_st(state, destination, host.st0);
    }
    if (after == After::pop) pop(state);
}

void arithmetic_with_memory(X87State& state, Run run, std::uint64_t operand) {
    if (is_empty(state, 0)) {
        if (stack_underflow(state) == Response::masked) write_st(state, 0, x87::kIndefinite);
        return;
    }
    HostX87 host{.st0 = read_st(state, 0), .memory = {operand, 0}, .control = state.control};
    run(host);
    take_status(state, host);
    if (!host.refused()) write_st(state, 0, host.st0);
}

template <typename Operation, After kAfter>
Op const* with_register(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    arithmetic_with_register(cpu.x87(), Operation::with_register, op->dst, op->src, kAfter);
    BACKPLANE_NEXT(cpu, op);
}

template <Run kRun, typename T>
Op const* with_memory(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    auto const loaded = cpu.load<T>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    note_memory_instruction(cpu, op);
    arithmetic_with_memory(cpu.x87(), kRun, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}

template <typename Operation, After kAfter>
void lower_arithmetic(Lowering& l) {
    l.op.imm = fop_of(l);
    if (l.is_memory(0)) {
        l.op.run = l.bytes(0) == 4 ? with_memory<Operation::with_single, std::uint32_t>
                                   : with_memory<Operation::with_double, std::uint64_t>;
        return;
    }
    l.op.dst = l.vector(0);
    l.op.src = l.vector(1);
    l.op.run = with_register<Operation, kAfter>;
}

template <typename Operation>
void lower_integer_arithmetic(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.run = l.bytes(0) == 2 ? with_memory<Operation::with_word, std::uint16_t>
                               : with_memory<Operation::with_dword, std::uint32_t>;
}

}  // namespace

void lower_x87_arithmetic(LowerTable& table) {
    table[ZYDIS_MNEMONIC_FADD] = lower_arithmetic<Add, After::keep>;
    table[ZYDIS_MNEMONIC_FSUB] = lower_arithmetic<Sub, After::keep>;
    table[ZYDIS_MNEMONIC_FSUBR] = lower_arithmetic<Subr, After::keep>;
    table[ZYDIS_MNEMONIC_FMUL] = lower_arithmetic<Mul, After::keep>;
    table[ZYDIS_MNEMONIC_FDIV] = lower_arithmetic<Div, After::keep>;
    table[ZYDIS_MNEMONIC_FDIVR] = lower_arithmetic<Divr, After::keep>;
    table[ZYDIS_MNEMONIC_FADDP] = lower_arithmetic<Add, After::pop>;
    table[ZYDIS_MNEMONIC_FSUBP] = lower_arithmetic<Sub, After::pop>;
    table[ZYDIS_MNEMONIC_FSUBRP] = lower_arithmetic<Subr, After::pop>;
    table[ZYDIS_MNEMONIC_FMULP] = lower_arithmetic<Mul, After::pop>;
    table[ZYDIS_MNEMONIC_FDIVP] = lower_arithmetic<Div, After::pop>;
    table[ZYDIS_MNEMONIC_FDIVRP] = lower_arithmetic<Divr, After::pop>;
    table[ZYDIS_MNEMONIC_FIADD] = lower_integer_arithmetic<Add>;
    table[ZYDIS_MNEMONIC_FISUB] = lower_integer_arithmetic<Sub>;
    table[ZYDIS_MNEMONIC_FISUBR] = lower_integer_arithmetic<Subr>;
    table[ZYDIS_MNEMONIC_FIMUL] = lower_integer_arithmetic<Mul>;
    table[ZYDIS_MNEMONIC_FIDIV] = lower_integer_arithmetic<Div>;
    table[ZYDIS_MNEMONIC_FIDIVR] = lower_integer_arithmetic<Divr>;
}

}  // namespace backplane
