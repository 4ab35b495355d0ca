// Functions of the top of the stack: square root, remainder, scaling, transcendental functions ([SDM1] 8.3.3, 8.3.7).
// The host's processor computes, but for the transcendental functions: their last bits are up to its maker
// (x87_transcendental.h).
#include "cpu/x87.h"
#include "cpu/x87_transcendental.h"

namespace backplane {

namespace {

using Run = void (*)(HostX87&);

// ST(0) = f(ST(0))
#define BACKPLANE_X87_UNARY(name) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", #name, "fstpt %[st0]\n\t"); }
BACKPLANE_X87_UNARY(fsqrt)
BACKPLANE_X87_UNARY(frndint)
BACKPLANE_X87_UNARY(f2xm1)
BACKPLANE_X87_UNARY(fsin)
BACKPLANE_X87_UNARY(fcos)

// ST(0) = f(ST(0), ST(1)); the functions that pop leave their result at the new top as well.
#define BACKPLANE_X87_BINARY(name) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, "fldt %[st1]\n\tfldt %[st0]\n\t", #name, "fstpt %[st0]\n\t"); }
BACKPLANE_X87_BINARY(fscale)
BACKPLANE_X87_BINARY(fpatan)
BACKPLANE_X87_BINARY(fyl2x)
BACKPLANE_X87_BINARY(fyl2xp1)

// The remainders leave the condition codes alone when an operand is invalid, so the host begins with the guest's.
struct HostEnvironment {
    std::uint32_t control, status, tags, pointers[4];
};
#define BACKPLANE_X87_REMAINDER(name)                                                              \
    void name(HostX87& host) {                                                                     \
        HostEnvironment const environment{host.control, host.status, 0xffff, {}};                  \
        asm volatile("fldenv %[environment]\n\tfldt %[st1]\n\tfldt %[st0]\n\t" #name               \
                     "\n\tfnstsw %[status]\n\tfnclex\n\tfstpt %[st0]\n\tfninit"                    \
                     : [st0] "+m"(host.st0), [status] "=m"(host.status)                            \
                     : [st1] "m"(host.st1), [environment] "m"(environment)                         \
                     : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc"); \
    }
BACKPLANE_X87_REMAINDER(fprem)
BACKPLANE_X87_REMAINDER(fprem1)

// ST(0) becomes two values.
#define BACKPLANE_X87_SPLIT(name) \
    void name(HostX87& host) { BACKPLANE_HOST_X87(host, "fldt %[st0]\n\t", #name, "fstpt %[st0]\n\tfstpt %[st1]\n\t"); }
BACKPLANE_X87_SPLIT(fptan)
BACKPLANE_X87_SPLIT(fsincos)
BACKPLANE_X87_SPLIT(fxtract)

// --- our own results ------------------------------------------------------------------------------------------------

/// The status of an operation that was computed here; its result goes to `where` unless an exception forbids it.
void adopt(HostX87& host, X87Register& where, x87::Rounded const& own) {
    std::uint16_t status = own.status;
    bool const is_refused = (status & ~host.control & x87::kBefore) != 0;
    if (is_refused) status &= x87::kBefore;
    bool const unmasked = (status & ~host.control & x87::kExceptions) != 0;
    host.status = static_cast<std::uint16_t>(status | (unmasked ? x87::kSummary | x87::kBusy : 0));
    if (!is_refused) where = own.value;
}
/// ST(0) = our own result, if there is one.
void answer(HostX87& host, std::optional<x87::Rounded> const& own, Run otherwise) {
    own ? adopt(host, host.st0, *own) : otherwise(host);
}
void own_f2xm1(HostX87& host) { answer(host, x87::power_of_two_less_one(host.st0, host.control), f2xm1); }
void own_fpatan(HostX87& host) { answer(host, x87::arctangent(host.st0, host.st1, host.control), fpatan); }
void own_fyl2x(HostX87& host) { answer(host, x87::y_log2_x(host.st0, host.st1, host.control), fyl2x); }
void own_fyl2xp1(HostX87& host) { answer(host, x87::y_log2_x_plus_one(host.st0, host.st1, host.control), fyl2xp1); }
void own_fsin(HostX87& host) {
    auto const own = x87::sine_cosine(host.st0, host.control);
    own ? adopt(host, host.st0, own->first) : fsin(host);
}
void own_fcos(HostX87& host) {
    auto const own = x87::sine_cosine(host.st0, host.control);
    own ? adopt(host, host.st0, own->second) : fcos(host);
}
void own_fsincos(HostX87& host) {
    auto const own = x87::sine_cosine(host.st0, host.control);
    if (!own) return fsincos(host);
    adopt(host, host.st1, own->first);
    unsigned const of_sine = host.status & ~unsigned{x87::kC1};
    adopt(host, host.st0, own->second);
    host.status = static_cast<std::uint16_t>(host.status | of_sine);
}
void own_fptan(HostX87& host) {
    auto const own = x87::tangent(host.st0, host.control);
    if (!own) return fptan(host);
    adopt(host, host.st1, *own);
    if (!host.refused()) host.st0 = {std::uint64_t{1} << 63, 0x3fff};
}
void apply_unary(X87State& state, Run run, std::uint16_t conditions) {
    if (is_empty(state, 0)) {
        clear_conditions(state, conditions & x87::kC2);
        if (stack_underflow(state) == Response::masked) write_st(state, 0, x87::kIndefinite);
        return;
    }
    HostX87 host{.st0 = read_st(state, 0), .control = state.control};
    run(host);
    take_status(state, host, conditions);
    if (!host.refused()) write_st(state, 0, host.st0);
}

template <Run kRun, std::uint16_t kConditions>
Op const* unary(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    apply_unary(cpu.x87(), kRun, kConditions);
    BACKPLANE_NEXT(cpu, op);
}

enum class After : std::uint8_t { keep, pop };

void apply_binary(X87State& state, Run run, std::uint16_t conditions, After after) {
    int const destination = after == After::pop ? 1 : 0;
    if (is_empty(state, 0) || is_empty(state, 1)) {
        clear_conditions(state, conditions & x87::kC2);
        if (stack_underflow(state) == Response::unmasked) return;
        write_st(state, destination, x87::kIndefinite);
    } else {
        HostX87 host{.st0 = read_st(state, 0), .st1 = read_st(state, 1), .control = state.control};
        host.status = state.status & conditions;
        run(host);
        take_status(state, host, conditions);
        if (host.refused()) return;
        write_st(state, destination, host.st0);
    }
    if (after == After::pop) pop(state);
}

template <Run kRun, std::uint16_t kConditions, After kAfter>
Op const* binary(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    apply_binary(cpu.x87(), kRun, kConditions, kAfter);
    BACKPLANE_NEXT(cpu, op);
}

void split_top(X87State& state, Run run, std::uint16_t conditions) {
    bool const empty = is_empty(state, 0);
    if (empty || !is_empty(state, -1)) {
        clear_conditions(state, conditions);
        Response const response = empty ? stack_underflow(state) : stack_overflow(state);
        if (response == Response::unmasked) return;
        write_st(state, 0, x87::kIndefinite);
        push(state, x87::kIndefinite);
        return;
    }
    HostX87 host{.st0 = read_st(state, 0), .control = state.control};
    run(host);
    take_status(state, host, conditions);
    // C2: the operand is out of range, and nothing was pushed.
    if (host.refused() || (host.status & conditions & x87::kC2) != 0) return;
    write_st(state, 0, host.st1);
    push(state, host.st0);
}

template <Run kRun, std::uint16_t kConditions>
Op const* split(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    split_top(cpu.x87(), kRun, kConditions);
    BACKPLANE_NEXT(cpu, op);
}

// FCHS and FABS change the sign bit of whatever the register holds.
enum class Sign : std::uint8_t { flip, clear };

template <Sign kSign>
Op const* change_sign(Cpu& cpu, Op const* op) {
    if (!x87_ready(cpu)) [[unlikely]]
        return raise_x87_unavailable(cpu, op);
    note_instruction(cpu, op);
    X87State& state = cpu.x87();
    clear_conditions(state, x87::kC1);
    if (is_empty(state, 0)) {
        if (stack_underflow(state) == Response::masked) write_st(state, 0, x87::kIndefinite);
    } else {
        X87Register value = read_st(state, 0);
        unsigned const sign_exponent = value.sign_exponent;
        value.sign_exponent =
            static_cast<std::uint16_t>(kSign == Sign::flip ? sign_exponent ^ 0x8000 : sign_exponent & 0x7fff);
        write_st(state, 0, value);
    }
    BACKPLANE_NEXT(cpu, op);
}

}  // namespace

void lower_x87_function(LowerTable& table) {
    table[ZYDIS_MNEMONIC_FSQRT] = lower_x87_as<unary<fsqrt, 0>>;
    table[ZYDIS_MNEMONIC_FRNDINT] = lower_x87_as<unary<frndint, 0>>;
    table[ZYDIS_MNEMONIC_F2XM1] = lower_x87_as<unary<own_f2xm1, 0>>;
    table[ZYDIS_MNEMONIC_FSIN] = lower_x87_as<unary<own_fsin, x87::kC2>>;
    table[ZYDIS_MNEMONIC_FCOS] = lower_x87_as<unary<own_fcos, x87::kC2>>;
    table[ZYDIS_MNEMONIC_FPREM] = lower_x87_as<binary<fprem, x87::kConditions, After::keep>>;
    table[ZYDIS_MNEMONIC_FPREM1] = lower_x87_as<binary<fprem1, x87::kConditions, After::keep>>;
    table[ZYDIS_MNEMONIC_FSCALE] = lower_x87_as<binary<fscale, 0, After::keep>>;
    table[ZYDIS_MNEMONIC_FPATAN] = lower_x87_as<binary<own_fpatan, 0, After::pop>>;
    table[ZYDIS_MNEMONIC_FYL2X] = lower_x87_as<binary<own_fyl2x, 0, After::pop>>;
    table[ZYDIS_MNEMONIC_FYL2XP1] = lower_x87_as<binary<own_fyl2xp1, 0, After::pop>>;
    table[ZYDIS_MNEMONIC_FPTAN] = lower_x87_as<split<own_fptan, x87::kC2>>;
    table[ZYDIS_MNEMONIC_FSINCOS] = lower_x87_as<split<own_fsincos, x87::kC2>>;
    table[ZYDIS_MNEMONIC_FXTRACT] = lower_x87_as<split<fxtract, 0>>;
    table[ZYDIS_MNEMONIC_FCHS] = lower_x87_as<change_sign<Sign::flip>>;
    table[ZYDIS_MNEMONIC_FABS] = lower_x87_as<change_sign<Sign::clear>>;
}

}  // namespace backplane
