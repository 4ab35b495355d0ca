// Comparisons into condition codes or flags, FTST, FXAM ([SDM1] 8.3.6).
#include "cpu/x87.h"

namespace backplane {

namespace {

constexpr std::uint16_t kCompared = x87::kC0 | x87::kC2 | x87::kC3;

using Run = void (*)(HostX87&);

#define BACKPLANE_X87_COMPARE(name, before, text) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, before "fldt %[st0]\n\t", text, ""); }

BACKPLANE_X87_COMPARE(fcom, "fldt %[st1]\n\t", "fcom %%st(1)")
BACKPLANE_X87_COMPARE(fucom, "fldt %[st1]\n\t", "fucom %%st(1)")
BACKPLANE_X87_COMPARE(fcom_single, "", "fcoms %[memory]")
BACKPLANE_X87_COMPARE(fcom_double, "", "fcoml %[memory]")
BACKPLANE_X87_COMPARE(ficom_word, "", "ficoms %[memory]")
BACKPLANE_X87_COMPARE(ficom_dword, "", "ficoml %[memory]")
BACKPLANE_X87_COMPARE(ftst, "", "ftst")
BACKPLANE_X87_COMPARE(fxam, "", "fxam")

/// Unordered, as a masked stack fault leaves it; false when the exception is unmasked.
bool compare_with_empty(X87State& state) {
    bool const masked = stack_underflow(state) == Response::masked;
    state.status |= kCompared;
    return masked;
}

/// Returns false when an unmasked exception forbids pops.
bool compare(X87State& state, Run run, X87Register const& other, X87Register const& memory) {
    HostX87 host{.st0 = read_st(state, 0), .st1 = other, .memory = memory, .control = state.control};
    run(host);
    take_status(state, host, kCompared);
    return !host.refused();
}

template <Run kRun, unsigned kPops>
Op const* with_register(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    bool const usable = !is_empty(state, 0) && !is_empty(state, op->src);
    bool const done = usable ? compare(state, kRun, read_st(state, op->src), {}) : compare_with_empty(state);
    for (unsigned i = 0; done && i < kPops; ++i) pop(state);
    BACKPLANE_NEXT(cpu, op);
}

template <Run kRun, typename T, unsigned kPops>
Op const* with_memory(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    auto const loaded = cpu.load<T>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    note_memory_instruction(cpu, op);
    X87State& state = cpu.x87();
    bool const done = is_empty(state, 0) ? compare_with_empty(state) : compare(state, kRun, {}, {loaded.value, 0});
    if (done && kPops == 1) pop(state);
    BACKPLANE_NEXT(cpu, op);
}

// --- FCOMI, FUCOMI: to the flags
// ---------------------------------------------------------------------------------------

// The comparison writes ZF, PF and CF; they are collected before the status, which changes none.
#define BACKPLANE_X87_COMPARE_FLAGS(name, text)                                                                  \
    std::uint64_t name(HostX87& host) {                                                                          \
        std::uint8_t zf, pf, cf;                                                                                 \
        asm volatile("fninit\n\tfldcw %[control]\n\tfldt %[st1]\n\tfldt %[st0]\n\t" text                         \
                     "\n\tsete %[zf]\n\tsetp %[pf]\n\tsetb %[cf]\n\tfnstsw %[status]\n\tfnclex\n\tfninit"        \
                     : [zf] "=q"(zf), [pf] "=q"(pf), [cf] "=q"(cf), [status] "=m"(host.status)                   \
                     : [control] "m"(host.control), [st0] "m"(host.st0), [st1] "m"(host.st1)                     \
                     : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc");               \
        return (zf != 0 ? rflags::kZero : 0) | (pf != 0 ? rflags::kParity : 0) | (cf != 0 ? rflags::kCarry : 0); \
    }

BACKPLANE_X87_COMPARE_FLAGS(fcomi, "fcomi %%st(1), %%st")
BACKPLANE_X87_COMPARE_FLAGS(fucomi, "fucomi %%st(1), %%st")

using RunFlags = std::uint64_t (*)(HostX87&);

template <RunFlags kRun, unsigned kPops>
Op const* to_flags(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    std::uint64_t result = rflags::kZero | rflags::kParity | rflags::kCarry;
    bool done = true;
    if (is_empty(state, 0) || is_empty(state, op->src)) {
        done = stack_underflow(state) == Response::masked;
    } else {
        HostX87 host{.st0 = read_st(state, 0), .st1 = read_st(state, op->src), .control = state.control};
        result = kRun(host);
        std::uint16_t const c1 = state.status & x87::kC1;  // stays as it is
        take_status(state, host);
        state.status |= c1;
        done = !host.refused();
    }
    cpu.flags.set(result);
    if (done && kPops == 1) pop(state);
    BACKPLANE_NEXT(cpu, op);
}

// --- FTST, FXAM -----------------------------------------------------------------------------------------------------

Op const* test_zero(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    if (is_empty(state, 0))
        compare_with_empty(state);
    else
        compare(state, ftst, {}, {});
    BACKPLANE_NEXT(cpu, op);
}

/// The class of ST(0), and its sign in C1; "empty" is a class. In a function of its own: a handler with the host's
/// operands among its locals could not end in a tail call.
[[gnu::noinline]] void classify_top(X87State& state) {
    HostX87 host{.st0 = read_st(state, 0), .control = state.control};
    fxam(host);
    if (is_empty(state, 0)) host.status = static_cast<std::uint16_t>((host.status & x87::kC1) | x87::kC0 | x87::kC3);
    take_status(state, host, kCompared);
}

Op const* examine(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    classify_top(cpu.x87());
    BACKPLANE_NEXT(cpu, op);
}

// --- lowering --------------------------------------------------------------------------------------------------------

template <unsigned kPops>
void lower_fcom(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.src = stack_index(l);
    if (!l.is_memory(0))
        l.op.run = with_register<fcom, kPops>;
    else
        l.op.run = l.bytes(0) == 4 ? with_memory<fcom_single, std::uint32_t, kPops>
                                   : with_memory<fcom_double, std::uint64_t, kPops>;
}

template <unsigned kPops>
void lower_ficom(Lowering& l) {
    l.op.imm = fop_of(l);
    l.op.run = l.bytes(0) == 2 ? with_memory<ficom_word, std::uint16_t, kPops>
                               : with_memory<ficom_dword, std::uint32_t, kPops>;
}

}  // namespace

void lower_x87_compare(LowerTable& table) {
    table[ZYDIS_MNEMONIC_FCOM] = lower_fcom<0>;
    table[ZYDIS_MNEMONIC_FCOMP] = lower_fcom<1>;
    table[ZYDIS_MNEMONIC_FCOMPP] = lower_x87_as<with_register<fcom, 2>>;
    table[ZYDIS_MNEMONIC_FUCOM] = lower_x87_as<with_register<fucom, 0>>;
    table[ZYDIS_MNEMONIC_FUCOMP] = lower_x87_as<with_register<fucom, 1>>;
    table[ZYDIS_MNEMONIC_FUCOMPP] = lower_x87_as<with_register<fucom, 2>>;
    table[ZYDIS_MNEMONIC_FICOM] = lower_ficom<0>;
    table[ZYDIS_MNEMONIC_FICOMP] = lower_ficom<1>;
    table[ZYDIS_MNEMONIC_FCOMI] = lower_x87_as<to_flags<fcomi, 0>>;
    table[ZYDIS_MNEMONIC_FCOMIP] = lower_x87_as<to_flags<fcomi, 1>>;
    table[ZYDIS_MNEMONIC_FUCOMI] = lower_x87_as<to_flags<fucomi, 0>>;
    table[ZYDIS_MNEMONIC_FUCOMIP] = lower_x87_as<to_flags<fucomi, 1>>;
    table[ZYDIS_MNEMONIC_FTST] = lower_x87_as<test_zero>;
    table[ZYDIS_MNEMONIC_FXAM] = lower_x87_as<examine>;
}

}  // namespace backplane
