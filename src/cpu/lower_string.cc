// String instructions: MOVS, STOS, LODS, CMPS, SCAS with their repeat prefixes. [SDM2B]
//
// Each iteration counts as one instruction. A repeated instruction works in pieces that stay inside a page on both
// sides; it stops exactly at the quota, at a fault or at an access that must be made alone, always between iterations,
// with RIP still on it.
#include <algorithm>
#include <cstring>

#include "cpu/handlers.h"
#include "cpu/lower_sse.h"

namespace backplane {

namespace {

enum class String : std::uint8_t { movs, stos, lods, cmps, scas };

/// What the address size decides: rSI, rDI and rCX are cut to it.
struct Pointers {
    std::uint64_t source, destination;  // linear
};

std::uint64_t cut(Op const* op, std::uint64_t value) {
    switch (op->form) {
        case AddressForm::flat64: return value;
        case AddressForm::legacy16: return static_cast<std::uint16_t>(value);
        default: return static_cast<std::uint32_t>(value);
    }
}
void set_cut(Cpu& cpu, Op const* op, Gpr name, std::uint64_t value) {
    switch (op->form) {
        case AddressForm::flat64: cpu.gpr(name) = value; break;
        case AddressForm::legacy16: cpu.set_reg<std::uint16_t>(static_cast<std::uint8_t>(name * 8), static_cast<std::uint16_t>(value)); break;
        default: cpu.set_reg<std::uint32_t>(static_cast<std::uint8_t>(name * 8), static_cast<std::uint32_t>(value));
    }
}
constexpr bool reads_source(String k) { return k == String::movs || k == String::lods || k == String::cmps; }
constexpr bool uses_destination(String k) { return k != String::lods; }
constexpr Right destination_right(String k) { return k == String::movs || k == String::stos ? Right::write : Right::read; }
std::uint8_t destination_slot(Cpu const& cpu) { return cpu.in_64_bit_mode() ? kFlatSegment : std::uint8_t{es}; }

template <String K, typename T>
Pointers pointers(Cpu& cpu, Op const* op) {
    return {reads_source(K) ? cpu.segment_linear(op->segment, cut(op, cpu.gpr(rsi)), sizeof(T), Right::read) : 0,
            uses_destination(K) ? cpu.segment_linear(destination_slot(cpu), cut(op, cpu.gpr(rdi)), sizeof(T), destination_right(K)) : 0};
}

template <String K>
void advance(Cpu& cpu, Op const* op, std::int64_t bytes) {
    if constexpr (reads_source(K)) set_cut(cpu, op, rsi, cpu.gpr(rsi) + static_cast<std::uint64_t>(bytes));
    if constexpr (uses_destination(K)) set_cut(cpu, op, rdi, cpu.gpr(rdi) + static_cast<std::uint64_t>(bytes));
}

template <typename T>
void compare(Cpu& cpu, T a, T b) {
    T const result = static_cast<T>(a - b);
    cpu.flags.set_arithmetic(result, static_cast<T>((~a & b) | (~(a ^ b) & result)));
}

/// One iteration. False: it has not happened.
template <String K, typename T>
bool step(Cpu& cpu, Op const* op) {
    Pointers const at = pointers<K, T>(cpu, op);
    if constexpr (K == String::movs) {
        auto const value = cpu.load<T>(at.source);
        if (!value.ok || !cpu.store<T>(at.destination, value.value)) return false;
    } else if constexpr (K == String::stos) {
        if (!cpu.store<T>(at.destination, cpu.reg<T>(rax * 8))) return false;
    } else if constexpr (K == String::lods) {
        auto const value = cpu.load<T>(at.source);
        if (!value.ok) return false;
        cpu.set_reg<T>(rax * 8, value.value);
    } else if constexpr (K == String::cmps) {
        auto const a = cpu.load<T>(at.source);
        if (!a.ok) return false;
        auto const b = cpu.load<T>(at.destination);
        if (!b.ok) return false;
        compare(cpu, a.value, b.value);
    } else {
        auto const b = cpu.load<T>(at.destination);
        if (!b.ok) return false;
        compare(cpu, cpu.reg<T>(rax * 8), b.value);
    }
    advance<K>(cpu, op, cpu.direction_down() ? -static_cast<std::int64_t>(sizeof(T)) : static_cast<std::int64_t>(sizeof(T)));
    return true;
}

/// Forward MOVS and STOS within one page on each side: as many iterations as fit, in one host operation. 0: none.
template <String K, typename T>
std::uint64_t bulk(Cpu& cpu, Op const* op, std::uint64_t most) {
    if (cpu.direction_down()) return 0;
    Pointers const at = pointers<K, T>(cpu, op);
    std::byte* const to = cpu.write_pointer(at.destination);
    if (to == nullptr) return 0;
    std::uint64_t room = cpu.segment_room(destination_slot(cpu), cut(op, cpu.gpr(rdi)), op->form, kPageBytes - (at.destination & kPageMask), Right::write);
    std::byte const* from = nullptr;
    if constexpr (K == String::movs) {
        from = cpu.read_pointer(at.source);
        if (from == nullptr) return 0;
        room = std::min(room, cpu.segment_room(op->segment, cut(op, cpu.gpr(rsi)), op->form, kPageBytes - (at.source & kPageMask), Right::read));
    }
    std::uint64_t const count = std::min(most, room / sizeof(T));
    std::uint64_t const bytes = count * sizeof(T);
    if (count == 0) return 0;
    if constexpr (K == String::movs) {
        // A forward copy onto itself repeats a pattern, which memmove would not.
        auto const ahead = static_cast<std::uint64_t>(to - from);
        if (ahead < bytes && to != from) return 0;
        std::memmove(to, from, bytes);
    } else if constexpr (sizeof(T) == 1) {
        std::memset(to, cpu.reg<std::uint8_t>(rax * 8), bytes);
    } else {
        T const value = cpu.reg<T>(rax * 8);
        for (std::uint64_t i = 0; i < count; ++i) std::memcpy(to + i * sizeof(T), &value, sizeof(T));
    }
    advance<K>(cpu, op, static_cast<std::int64_t>(bytes));
    return count;
}

template <String K, typename T>
Op const* once(Cpu& cpu, Op const* op) {
    if (!step<K, T>(cpu, op)) [[unlikely]] return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

/// `done` iterations happened and the next did not: leave with what was done counted, rip still here.
Op const* leave_after(Cpu& cpu, Op const* op, std::uint64_t done) {
    // leave() takes the instruction itself back, which stands for the first iteration.
    if (done != 0) cpu.count_iterations(done + 1);
    return cpu.leave(op);
}

template <String K, typename T>
Op const* repeated(Cpu& cpu, Op const* op) {
    std::uint64_t left = cut(op, cpu.gpr(rcx));
    if (left == 0) return cpu.go(cpu.next_rip(op), 0);
    std::uint64_t const allowed = cpu.iterations_allowed();
    std::uint64_t done = 0;
    bool finished = false;
    while (!finished && done < allowed) {
        std::uint64_t count = 0;
        if constexpr (K == String::movs || K == String::stos) count = bulk<K, T>(cpu, op, std::min(left, allowed - done));
        if (count == 0) {
            if (!step<K, T>(cpu, op)) [[unlikely]] {
                return leave_after(cpu, op, done);
            }
            count = 1;
        }
        done += count;
        left -= count;
        set_cut(cpu, op, rcx, left);
        finished = left == 0;
        if constexpr (K == String::cmps || K == String::scas) finished = finished || cpu.flags.zero() != (op->repeat == 1);
        if (cpu.has_debug_trap()) break;  // a watchpoint traps after the iteration that hit it ([SDM3B] 17.3.1.2)
    }
    cpu.count_iterations(done);
    if (finished) return cpu.go(cpu.next_rip(op), 0);
    return cpu.jump(op, cpu.rip_of(op));  // the quota is spent
}

template <String K, typename T>
Handler choose(Lowering const& lowering) {
    return lowering.op.repeat != 0 ? &repeated<K, T> : &once<K, T>;
}

/// Zydis gives the memory operands as implicit; the source's segment is what an override changes.
template <String K, typename T>
void lower_string_of(Lowering& lowering) {
    lowering.op.segment = string_source_segment(lowering);
    lowering.op.stack = 0;
    lowering.ends_trace = lowering.op.repeat != 0;
    lowering.op.run = choose<K, T>(lowering);
}

template <String K>
void add(LowerTable& table, ZydisMnemonic byte, ZydisMnemonic word, ZydisMnemonic dword, ZydisMnemonic qword) {
    table[byte] = &lower_string_of<K, std::uint8_t>;
    table[word] = &lower_string_of<K, std::uint16_t>;
    table[dword] = &lower_string_of<K, std::uint32_t>;
    table[qword] = &lower_string_of<K, std::uint64_t>;
}

}  // namespace

void lower_string(LowerTable& table) {
    add<String::movs>(table, ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_MOVSD, ZYDIS_MNEMONIC_MOVSQ);
    add<String::stos>(table, ZYDIS_MNEMONIC_STOSB, ZYDIS_MNEMONIC_STOSW, ZYDIS_MNEMONIC_STOSD, ZYDIS_MNEMONIC_STOSQ);
    add<String::lods>(table, ZYDIS_MNEMONIC_LODSB, ZYDIS_MNEMONIC_LODSW, ZYDIS_MNEMONIC_LODSD, ZYDIS_MNEMONIC_LODSQ);
    add<String::cmps>(table, ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ);
    add<String::scas>(table, ZYDIS_MNEMONIC_SCASB, ZYDIS_MNEMONIC_SCASW, ZYDIS_MNEMONIC_SCASD, ZYDIS_MNEMONIC_SCASQ);
}

std::uint8_t string_source_segment(Lowering const& lowering) {
    auto const attributes = lowering.instruction.attributes;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) != 0) return fs;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) != 0) return gs;
    if (lowering.mode == CodeMode::bits64) return kFlatSegment;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) != 0) return cs;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) != 0) return ss;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) != 0) return es;
    return ds;
}

// MOVSD and CMPSD are also SSE2 mnemonics, with XMM operands; lower_sse tells them apart.
void lower_string_movsd(Lowering& lowering) { lower_string_of<String::movs, std::uint32_t>(lowering); }
void lower_string_cmpsd(Lowering& lowering) { lower_string_of<String::cmps, std::uint32_t>(lowering); }

}  // namespace backplane
