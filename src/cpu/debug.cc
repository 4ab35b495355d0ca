// Debug registers: breakpoints on instructions and on data, and what TF leaves. [SDM3B] chapter 17
//
// An instruction breakpoint is looked at between traces, and traces end before it. A page with a data breakpoint has
// no TLB entry, so each access to it comes the slow way, where it is compared; one that hits is run alone, so that the
// trap follows at once. Without an enabled breakpoint neither costs anything.
#include <algorithm>

#include "cpu/cpu.h"

namespace backplane {

namespace {

enum class Stop : std::uint8_t { execute, write, io, access };

struct Breakpoint {
    bool enabled;
    Stop condition;
    std::uint64_t address;  ///< of its first byte
    std::uint64_t bytes;
};

// [SDM3B] 17.2.4, 17.2.5: an address is used as if it were aligned to the length.
Breakpoint breakpoint(CpuState const& state, unsigned number) {
    constexpr std::uint64_t kBytes[] = {1, 2, 8, 4};
    std::uint64_t const bytes = kBytes[state.dr7 >> (18 + 4 * number) & 3];
    return {.enabled = (state.dr7 >> (2 * number) & 3) != 0,
            .condition = static_cast<Stop>(state.dr7 >> (16 + 4 * number) & 3),
            .address = state.dr[number] & ~(bytes - 1),
            .bytes = bytes};
}
bool watches_data(Breakpoint const& point) {
    return point.enabled && (point.condition == Stop::write || point.condition == Stop::access);
}

}  // namespace

void Cpu::set_dr(unsigned number, std::uint64_t address) {
    state_.dr[number] = address;
    debug_registers_changed();
}
void Cpu::set_dr7(std::uint64_t value) {
    state_.dr7 = value;
    debug_registers_changed();
}

void Cpu::debug_registers_changed() {
    bool const watched = has_watchpoints_;
    has_code_breakpoints_ = has_watchpoints_ = false;
    for (unsigned i = 0; i < 4; ++i) {
        Breakpoint const point = breakpoint(state_, i);
        has_code_breakpoints_ |= point.enabled && point.condition == Stop::execute;
        has_watchpoints_ |= watches_data(point);
    }
    if (watched || has_watchpoints_) flush_tlb();
    attention_ = true;
}

// --- instructions -------------------------------------------------------------------------------------------------

namespace {
std::uint64_t code_breakpoints_at(CpuState const& state, std::uint64_t linear) {
    std::uint64_t hits = 0;
    for (unsigned i = 0; i < 4; ++i) {
        Breakpoint const point = breakpoint(state, i);
        if (point.enabled && point.condition == Stop::execute && state.dr[i] == linear) hits |= std::uint64_t{1} << i;
    }
    return hits;
}
}  // namespace

bool Cpu::stops_at(std::uint64_t rip) const { return code_breakpoints_at(state_, segment_linear_of_code(rip)) != 0; }

/// At least 1: whether the first instruction stops is another question.
std::uint32_t Cpu::count_before_breakpoint(Trace const& trace) const {
    std::uint32_t count = 1;
    while (count < trace.count && !stops_at(rip_ + trace.ops[count].offset)) ++count;
    return count;
}

// A fault: RIP stays on the instruction, and the handler sets RF to get past it ([SDM3B] 17.3.1.1).
void Cpu::note_breakpoint_fault() {
    set_dr6_hits(code_breakpoints_at(state_, segment_linear_of_code(rip_)) | state_.pending_debug);
    fault(ExceptionVector::debug);
}

// --- data ---------------------------------------------------------------------------------------------------------

bool Cpu::is_watched_page(std::uint64_t address) const {
    for (unsigned i = 0; i < 4; ++i) {
        Breakpoint const point = breakpoint(state_, i);
        if (watches_data(point) && (point.address & ~kPageMask) == (address & ~kPageMask)) return true;
    }
    return false;
}

bool Cpu::watch(std::uint64_t address, std::uint32_t bytes, AccessKind kind) {
    std::uint64_t hits = 0;
    for (unsigned i = 0; i < 4; ++i) {
        Breakpoint const point = breakpoint(state_, i);
        if (!watches_data(point) || (kind == AccessKind::read && point.condition == Stop::write)) continue;
        bool const overlaps = point.address < address + bytes && address < point.address + point.bytes;
        if (overlaps) hits |= std::uint64_t{1} << i;
    }
    if (hits == 0) return true;
    if (!is_alone()) {
        ask_to_run_alone();
        return false;
    }
    note_debug_trap(hits);
    return true;
}

void Cpu::watch_port(std::uint16_t port, std::uint32_t bytes) {
    if ((state_.cr4 & cr4::kDebuggingExtensions) == 0) [[likely]] return;
    std::uint64_t hits = 0;
    for (unsigned i = 0; i < 4; ++i) {
        Breakpoint const point = breakpoint(state_, i);
        bool const overlaps = point.address < std::uint64_t{port} + bytes && port < point.address + point.bytes;
        if (point.enabled && point.condition == Stop::io && overlaps) hits |= std::uint64_t{1} << i;
    }
    if (hits != 0) note_debug_trap(hits);
}

// --- delivery -----------------------------------------------------------------------------------------------------

// B0 to B3 are those of the newest exception; nothing else is ever cleared here ([SDM3B] 17.2.3).
void Cpu::set_dr6_hits(std::uint64_t bits) { state_.dr6 = (state_.dr6 & ~dr6::kBreakpoints) | bits; }

void Cpu::note_debug_trap(std::uint64_t dr6_bits) {
    state_.pending_debug |= dr6_bits;
    attention_ = true;
}

void Cpu::deliver_debug_trap() {
    set_dr6_hits(state_.pending_debug);
    state_.pending_debug = 0;
    state_.halted = false;
    ++counters_.exceptions;
    deliver(static_cast<std::uint8_t>(ExceptionVector::debug), EventSource::exception, {});
}

}  // namespace backplane
