// VEX-encoded moves, masked moves, gathers, VZEROUPPER and VZEROALL ([SDM1] 14.1, 14.2, [SDM2C] VGATHER).
#include <algorithm>
#include <array>

#include "cpu/avx.h"

namespace backplane {

namespace {

enum class Length : std::uint8_t { bits128, bits256 };
enum class Alignment : std::uint8_t { any, whole };

[[nodiscard]] constexpr std::uint32_t bytes_of(Length length) { return length == Length::bits256 ? 32 : 16; }

/// Handlers, all with the check that comes first.
#define BACKPLANE_NEEDS_AVX(cpu, op) \
    if (!(cpu).avx_ok()) [[unlikely]] \
        return raise_avx_unavailable(cpu, op)

// --- whole registers --------------------------------------------------------------------------------------------

// Not inlined: an object whose address is taken keeps a handler from ending in a tail call.
[[gnu::noinline]] bool load_ymm(Cpu& cpu, std::uint64_t address, std::uint8_t number) {
    Ymm value;
    if (!cpu.load_bytes(address, &value, 32)) return false;
    write_ymm(cpu, number, value);
    return true;
}
[[gnu::noinline]] bool store_ymm(Cpu& cpu, std::uint64_t address, std::uint8_t number) {
    Ymm const value = read_ymm(cpu, number);
    return cpu.store_bytes(address, &value, 32);
}

template <Length kLength, Alignment kAlignment>
Op const* load(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    std::uint64_t const address = cpu.address(op);
    if (kAlignment == Alignment::whole && (address & (bytes_of(kLength) - 1)) != 0) [[unlikely]] {
        note_misaligned(cpu);
        return cpu.leave(op);
    }
    if constexpr (kLength == Length::bits256) {
        std::byte const* const host = cpu.read_pointer(address);
        if (host != nullptr && (address & kPageMask) <= kPageBytes - 32) [[likely]] {
            Vector128 low, high;
            std::memcpy(&low, host, 16);
            std::memcpy(&high, host + 16, 16);
            write_ymm(cpu, op->dst, {low, high});
        } else if (!load_ymm(cpu, address, op->dst)) {
            return cpu.leave(op);
        }
    } else {
        Operand const loaded = load_vector(cpu, address);
        if (!loaded.ok) [[unlikely]]
            return cpu.leave(op);
        write_ymm_low(cpu, op->dst, loaded.value);
    }
    BACKPLANE_NEXT(cpu, op);
}

template <Length kLength, Alignment kAlignment>
Op const* store(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    std::uint64_t const address = cpu.address(op);
    if (kAlignment == Alignment::whole && (address & (bytes_of(kLength) - 1)) != 0) [[unlikely]] {
        note_misaligned(cpu);
        return cpu.leave(op);
    }
    if constexpr (kLength == Length::bits256) {
        std::byte* const host = cpu.write_pointer(address);
        if (host != nullptr && (address & kPageMask) <= kPageBytes - 32) [[likely]] {
            std::memcpy(host, &cpu.xmm(op->src), 16);
            std::memcpy(host + 16, &cpu.ymm_high(op->src), 16);
        } else if (!store_ymm(cpu, address, op->src)) {
            return cpu.leave(op);
        }
    } else if (!store_vector(cpu, address, read_xmm(cpu, op->src))) [[unlikely]] {
        return cpu.leave(op);
    }
    BACKPLANE_NEXT(cpu, op);
}

template <Length kLength>
Op const* copy(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    if constexpr (kLength == Length::bits256)
        write_ymm(cpu, op->dst, read_ymm(cpu, op->src));
    else
        write_ymm_low(cpu, op->dst, read_xmm(cpu, op->src));
    BACKPLANE_NEXT(cpu, op);
}

template <Length kLength, Alignment kAlignment>
void lower_whole_as(Lowering& l) {
    if (l.is_memory(0)) {
        l.op.src = l.vector(1);
        l.op.run = store<kLength, kAlignment>;
        return;
    }
    l.op.dst = l.vector(0);
    if (l.is_register(1)) l.op.src = l.vector(1);
    l.op.run = l.is_memory(1) ? load<kLength, kAlignment> : copy<kLength>;
}
template <Alignment kAlignment>
void lower_whole(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;
    is_256(l) ? lower_whole_as<Length::bits256, kAlignment>(l) : lower_whole_as<Length::bits128, kAlignment>(l);
}

/// VBROADCASTF128, VBROADCASTI128.
Op const* broadcast_128(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    Operand const loaded = load_vector(cpu, cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    write_ymm(cpu, op->dst, {loaded.value, loaded.value});
    BACKPLANE_NEXT(cpu, op);
}
void lower_broadcast_128(Lowering& l) {
    l.op.dst = l.vector(0);
    l.op.run = broadcast_128;
}

// --- parts of registers: (first source, last source) → XMM -------------------------------------------------------

struct Merged32 {
    static Vector128 apply(Vector128 a, Vector128 b) {
        return Vector128{(a[0] & ~std::uint64_t{0xffff'ffff}) | (b[0] & 0xffff'ffff), a[1]};
    }
};
struct Merged64 {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{b[0], a[1]}; }
};
struct LowAlone {
    static Vector128 apply(Vector128, Vector128 b) { return Vector128{b[0], 0}; }
};
struct LowOfBoth {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{a[0], b[0]}; }
};
struct HighOfBoth {
    static Vector128 apply(Vector128 a, Vector128 b) { return Vector128{b[1], a[1]}; }
};
template <typename T>
struct FromGeneral {
    static Operand read(Cpu& cpu, Op const* op) { return {Vector128{cpu.reg<T>(op->aux), 0}, true}; }
};
struct FromLast {
    static Operand read(Cpu& cpu, Op const* op) { return {read_xmm(cpu, op->aux), true}; }
};

template <typename Part, typename Source>
Op const* part(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    Operand const source = Source::read(cpu, op);
    if (!source.ok) [[unlikely]]
        return cpu.leave(op);
    write_ymm_low(cpu, op->dst, Part::apply(read_xmm(cpu, op->src), source.value));
    BACKPLANE_NEXT(cpu, op);
}

template <typename T, unsigned kHalf>
Op const* store_part(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    if (!cpu.store<T>(cpu.address(op), static_cast<T>(cpu.xmm(op->src).words[kHalf]))) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}
template <typename T>
Op const* to_general(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    cpu.set_reg<T>(op->dst, static_cast<T>(cpu.xmm(op->src).words[0]));
    BACKPLANE_NEXT(cpu, op);
}

void lower_part_store(Lowering& l, Handler handler) {
    l.op.src = l.vector(1);
    l.op.run = handler;
}
/// Two sources, the last of which is an XMM register.
void lower_part(Lowering& l, Handler handler) {
    l.op.dst = l.vector(0);
    l.op.src = l.vector(1);
    if (l.visible() > 2 && l.is_register(2)) l.op.aux = l.vector(2);
    l.op.run = handler;
}

template <typename T, typename Merged>
void lower_scalar(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;
    if (l.is_memory(0)) return lower_part_store(l, store_part<T, 0>);
    if (!l.is_memory(1)) return lower_part(l, part<Merged, FromLast>);
    l.op.dst = l.vector(0);
    l.op.run = part<LowAlone, FromMemory<T>>;
}
void lower_low(Lowering& l) {
    l.is_memory(0) ? lower_part_store(l, store_part<std::uint64_t, 0>) : lower_part(l, part<Merged64, FromMemory64>);
}
void lower_high(Lowering& l) {
    l.is_memory(0) ? lower_part_store(l, store_part<std::uint64_t, 1>) : lower_part(l, part<LowOfBoth, FromMemory64>);
}
void lower_high_to_low(Lowering& l) { lower_part(l, part<HighOfBoth, FromLast>); }
void lower_low_to_high(Lowering& l) { lower_part(l, part<LowOfBoth, FromLast>); }

/// VMOVD, VMOVQ.
template <typename T>
void lower_low_as(Lowering& l) {
    if (l.is_memory(0)) return lower_part_store(l, store_part<T, 0>);
    if (!is_xmm(l, 0)) {
        l.op.dst = l.gpr(0);
        return lower_part_store(l, to_general<T>);
    }
    l.op.dst = l.vector(0);
    if (l.is_memory(1)) {
        l.op.run = part<LowAlone, FromMemory<T>>;
    } else if (is_xmm(l, 1)) {
        l.op.aux = l.vector(1);
        l.op.run = part<LowAlone, FromLast>;
    } else {
        l.op.aux = l.gpr(1);
        l.op.run = part<LowAlone, FromGeneral<T>>;
    }
}
void lower_vmovd_vmovq(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;
    bool const quad = l.instruction.mnemonic == ZYDIS_MNEMONIC_VMOVQ || (l.bytes(0) == 8 && l.bytes(1) == 8);
    quad ? lower_low_as<std::uint64_t>(l) : lower_low_as<std::uint32_t>(l);
}

// --- VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ ------------------------------------------------------------------

/// A YMM register as elements.
template <typename T>
using Elements = std::array<T, 32 / sizeof(T)>;

template <typename T>
[[nodiscard]] Elements<T> elements(Cpu& cpu, std::uint8_t number) {
    Ymm const value = read_ymm(cpu, number);
    Elements<T> result;
    std::memcpy(result.data(), &value, 32);
    return result;
}
template <typename T>
void write_elements(Cpu& cpu, std::uint8_t number, Elements<T> const& from) {
    Ymm value;
    std::memcpy(static_cast<void*>(&value), from.data(), 32);
    write_ymm(cpu, number, value);
}
template <typename T>
[[nodiscard]] bool is_selected(T element) {
    return element >> (8 * sizeof(T) - 1) != 0;
}

/// Elements that are not selected are neither accessed nor checked.
template <typename T, Length kLength>
[[gnu::noinline]] bool load_masked(Cpu& cpu, Op const* op) {
    Elements<T> const mask = elements<T>(cpu, op->src);
    Elements<T> result{};
    std::uint64_t const address = cpu.address(op);
    for (unsigned i = 0; i < bytes_of(kLength) / sizeof(T); ++i) {
        if (!is_selected(mask[i])) continue;
        auto const loaded = cpu.load<T>(address + i * sizeof(T));
        if (!loaded.ok) return false;
        result[i] = loaded.value;
    }
    write_elements<T>(cpu, op->dst, result);
    return true;
}
template <typename T, Length kLength>
[[gnu::noinline]] bool store_masked(Cpu& cpu, Op const* op) {
    Elements<T> const mask = elements<T>(cpu, op->src);
    Elements<T> const data = elements<T>(cpu, op->aux);
    std::uint64_t const address = cpu.address(op);
    constexpr unsigned kCount = bytes_of(kLength) / sizeof(T);
    for (unsigned i = 0; i < kCount; ++i)
        if (is_selected(mask[i]) && !cpu.may_store(address + i * sizeof(T), sizeof(T))) return false;
    for (unsigned i = 0; i < kCount; ++i)
        if (is_selected(mask[i]) && !cpu.store<T>(address + i * sizeof(T), data[i])) return false;
    return true;
}

template <bool (*kCarryOut)(Cpu&, Op const*)>
Op const* with_avx(Cpu& cpu, Op const* op) {
    BACKPLANE_NEEDS_AVX(cpu, op);
    if (!kCarryOut(cpu, op)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <typename T, Length kLength>
void lower_masked_as(Lowering& l) {
    l.op.src = l.vector(1);
    if (l.is_memory(0)) {
        l.op.aux = l.vector(2);
        l.op.run = with_avx<store_masked<T, kLength>>;
    } else {
        l.op.dst = l.vector(0);
        l.op.run = with_avx<load_masked<T, kLength>>;
    }
}
template <typename T>
void lower_masked(Lowering& l) {
    is_256(l) ? lower_masked_as<T, Length::bits256>(l) : lower_masked_as<T, Length::bits128>(l);
}

bool vmaskmovdqu(Cpu& cpu, Op const* op) {
    return store_selected_bytes(cpu, cpu.address(op), read_xmm(cpu, op->dst), read_xmm(cpu, op->src));
}
void lower_vmaskmovdqu(Lowering& l) {
    take_vector_operands(l);
    l.op.base = Lowering::gpr_slot(ZYDIS_REGISTER_RDI);
    l.op.segment = segment_of_hidden_operand(l);
    l.op.run = with_avx<vmaskmovdqu>;
}

// --- gathers --------------------------------------------------------------------------------------------------------

/// A fault leaves what has been gathered, and a mask of what is still to do: the instruction then goes on where it was
/// ([SDM2C] VPGATHERDD). `Index` is the type of an index, `T` that of an element; extra: 256 bits.
template <typename T, typename Index>
[[gnu::noinline]] bool gather(Cpu& cpu, Op const* op) {
    constexpr unsigned kWidest = sizeof(T) > sizeof(Index) ? sizeof(T) : sizeof(Index);
    unsigned const count = (op->extra != 0 ? 32 : 16) / kWidest;
    Elements<Index> const indexes = elements<Index>(cpu, op->aux);
    Elements<T> result = elements<T>(cpu, op->dst);
    Elements<T> mask = elements<T>(cpu, op->src);
    for (unsigned i = 0; i < mask.size(); ++i) {
        mask[i] = i < count && is_selected(mask[i]) ? static_cast<T>(~T{0}) : T{0};
        if (i >= count) result[i] = 0;
    }
    bool ok = true;
    for (unsigned i = 0; i < count && ok; ++i) {
        if (mask[i] == 0) continue;
        auto const index = static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::make_signed_t<Index>>(indexes[i])));
        auto const loaded = cpu.load<T>(cpu.address(op, index));
        ok = loaded.ok;
        if (ok) result[i] = loaded.value, mask[i] = 0;
    }
    write_elements<T>(cpu, op->dst, result);
    write_elements<T>(cpu, op->src, mask);
    return ok;
}

template <typename T, typename Index>
void lower_gather(Lowering& l) {
    if (l.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return;
    l.op.dst = l.vector(0);
    l.op.src = l.vector(2);
    l.op.aux = static_cast<std::uint8_t>(ZydisRegisterGetId(l.operand(1).mem.index));
    l.op.extra = is_256(l) ? 1 : 0;
    if (l.op.dst == l.op.src || l.op.dst == l.op.aux || l.op.src == l.op.aux) return;  // #UD
    l.op.run = with_avx<gather<T, Index>>;
}

// --- VZEROUPPER, VZEROALL -------------------------------------------------------------------------------------------

template <bool kAll>
bool zero(Cpu& cpu, Op const*) {
    auto const count = cpu.in_64_bit_mode() ? 16 : 8;
    CpuState& state = cpu.raw_state();
    std::fill_n(state.ymm_high.begin(), count, Xmm{});
    if (kAll) std::fill_n(state.xmm.begin(), count, Xmm{});
    return true;
}
template <bool kAll>
void lower_zero(Lowering& l) {
    l.op.run = with_avx<zero<kAll>>;
}

}  // namespace

void lower_avx_move(LowerTable& table) {
    for (auto const aligned : {ZYDIS_MNEMONIC_VMOVAPS, ZYDIS_MNEMONIC_VMOVAPD, ZYDIS_MNEMONIC_VMOVDQA, ZYDIS_MNEMONIC_VMOVNTPS,
                               ZYDIS_MNEMONIC_VMOVNTPD, ZYDIS_MNEMONIC_VMOVNTDQ, ZYDIS_MNEMONIC_VMOVNTDQA})
        table[aligned] = lower_whole<Alignment::whole>;
    for (auto const unaligned : {ZYDIS_MNEMONIC_VMOVUPS, ZYDIS_MNEMONIC_VMOVUPD, ZYDIS_MNEMONIC_VMOVDQU, ZYDIS_MNEMONIC_VLDDQU})
        table[unaligned] = lower_whole<Alignment::any>;
    table[ZYDIS_MNEMONIC_VBROADCASTF128] = table[ZYDIS_MNEMONIC_VBROADCASTI128] = lower_broadcast_128;
    table[ZYDIS_MNEMONIC_VMOVSS] = lower_scalar<std::uint32_t, Merged32>;
    table[ZYDIS_MNEMONIC_VMOVSD] = lower_scalar<std::uint64_t, Merged64>;
    table[ZYDIS_MNEMONIC_VMOVLPS] = table[ZYDIS_MNEMONIC_VMOVLPD] = lower_low;
    table[ZYDIS_MNEMONIC_VMOVHPS] = table[ZYDIS_MNEMONIC_VMOVHPD] = lower_high;
    table[ZYDIS_MNEMONIC_VMOVHLPS] = lower_high_to_low;
    table[ZYDIS_MNEMONIC_VMOVLHPS] = lower_low_to_high;
    table[ZYDIS_MNEMONIC_VMOVD] = table[ZYDIS_MNEMONIC_VMOVQ] = lower_vmovd_vmovq;
    table[ZYDIS_MNEMONIC_VMASKMOVPS] = table[ZYDIS_MNEMONIC_VPMASKMOVD] = lower_masked<std::uint32_t>;
    table[ZYDIS_MNEMONIC_VMASKMOVPD] = table[ZYDIS_MNEMONIC_VPMASKMOVQ] = lower_masked<std::uint64_t>;
    table[ZYDIS_MNEMONIC_VMASKMOVDQU] = lower_vmaskmovdqu;
    table[ZYDIS_MNEMONIC_VPGATHERDD] = table[ZYDIS_MNEMONIC_VGATHERDPS] = lower_gather<std::uint32_t, std::uint32_t>;
    table[ZYDIS_MNEMONIC_VPGATHERQD] = table[ZYDIS_MNEMONIC_VGATHERQPS] = lower_gather<std::uint32_t, std::uint64_t>;
    table[ZYDIS_MNEMONIC_VPGATHERDQ] = table[ZYDIS_MNEMONIC_VGATHERDPD] = lower_gather<std::uint64_t, std::uint32_t>;
    table[ZYDIS_MNEMONIC_VPGATHERQQ] = table[ZYDIS_MNEMONIC_VGATHERQPD] = lower_gather<std::uint64_t, std::uint64_t>;
    table[ZYDIS_MNEMONIC_VZEROUPPER] = lower_zero<false>;
    table[ZYDIS_MNEMONIC_VZEROALL] = lower_zero<true>;
}

}  // namespace backplane
