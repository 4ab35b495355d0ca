// The extended state: XGETBV, XSETBV, XSAVE, XSAVEOPT, XSAVEC, XRSTOR ([SDM1] chapter 13). The components are x87, SSE
// and AVX; the standard and the compacted format have them at the same places, since AVX is the first extended one.
//
// XINUSE tells exactly which components differ from their initial configuration, which is what [SDM1] 13.6 allows at
// most; XSAVEOPT has no modified optimization, which [SDM1] 13.9 leaves to the processor.
#include <cstring>

#include "cpu/fxsave.h"
#include "cpu/simd.h"

namespace backplane {

namespace {

enum class SaveKind : std::uint8_t { plain, optimized, compacted };

constexpr std::uint32_t kHeader = 512, kHeaderBytes = 64, kAvxArea = 576;
constexpr std::uint64_t kCompacted = std::uint64_t{1} << 63;

struct Header {
    std::uint64_t xstate_bv;
    std::uint64_t xcomp_bv;
    std::uint64_t reserved[6];
};
static_assert(sizeof(Header) == kHeaderBytes);

[[nodiscard]] bool is_zero(std::array<Xmm, 16> const& registers) { return registers == std::array<Xmm, 16>{}; }

/// XINUSE. MXCSR is not part of it.
[[nodiscard]] std::uint64_t components_in_use(CpuState const& state) {
    return (state.x87 != X87State{} ? xcr0::kX87 : 0) | (is_zero(state.xmm) ? 0 : xcr0::kSse) |
           (is_zero(state.ymm_high) ? 0 : xcr0::kAvx);
}
/// The same where MXCSR counts: for XSAVEC and XGETBV.
[[nodiscard]] std::uint64_t components_in_use_with_mxcsr(CpuState const& state) {
    return components_in_use(state) | (state.mxcsr != CpuState{}.mxcsr ? xcr0::kSse : 0);
}

[[nodiscard]] std::uint64_t requested(Cpu& cpu) {
    std::uint64_t const mask = static_cast<std::uint32_t>(cpu.gpr(rax)) | cpu.gpr(rdx) << 32;
    return mask & cpu.raw_state().xcr0;
}
/// Outside 64-bit mode registers 8 to 15 are neither saved nor restored.
[[nodiscard]] std::uint32_t vector_bytes(Cpu& cpu) { return cpu.in_64_bit_mode() ? 16 * 16 : 8 * 16; }

[[nodiscard]] std::uint32_t area_bytes(std::uint64_t components) {
    return kAvxArea + ((components & xcr0::kAvx) != 0 ? 256 : 0);
}

// --- saving -------------------------------------------------------------------------------------------------------

/// What is stored where; all of it, or nothing when a page may not be written.
class Pieces {
  public:
    void add(std::uint32_t offset, void const* from, std::uint32_t bytes) { pieces_[count_++] = {offset, bytes, from}; }
    [[nodiscard]] bool store(Cpu& cpu, std::uint64_t address) const {
        for (unsigned i = 0; i < count_; ++i)
            if (!cpu.may_store(address + pieces_[i].offset, pieces_[i].bytes)) return false;
        for (unsigned i = 0; i < count_; ++i)
            if (!cpu.store_bytes(address + pieces_[i].offset, pieces_[i].from, pieces_[i].bytes)) return false;
        return true;
    }

  private:
    struct Piece {
        std::uint32_t offset, bytes;
        void const* from;
    };
    Piece pieces_[7]{};
    unsigned count_{0};
};

[[gnu::noinline]] bool save(Cpu& cpu, std::uint64_t address, FxsaveForm form, SaveKind kind) {
    CpuState& state = cpu.raw_state();
    gather_host_flags(state);
    std::uint64_t const wanted = requested(cpu);
    std::uint64_t const in_use =
        kind == SaveKind::compacted ? components_in_use_with_mxcsr(state) : components_in_use(state);
    std::uint64_t const saved = kind == SaveKind::plain ? wanted : wanted & in_use;

    // The last byte first, as processors do; it shows in the address of a page fault.
    if (!may_store_end(cpu, address, area_bytes(wanted)) || !cpu.may_store(address + kHeader, 8)) return false;
    Header header{wanted & in_use, wanted | kCompacted, {}};
    if (kind != SaveKind::compacted) {
        auto const old = cpu.load<std::uint64_t>(address + kHeader);
        if (!old.ok) return false;
        header.xstate_bv |= old.value & ~wanted;
    }
    FxsaveImage const image = make_fxsave_image(state, form);
    Pieces pieces;
    if ((saved & xcr0::kX87) != 0) {
        pieces.add(0, image.data(), fxsave::kMxcsr);
        pieces.add(fxsave::kRegisters, image.data() + fxsave::kRegisters, 8 * 16);
    }
    // Only in the compacted format MXCSR belongs to the SSE state alone ([SDM1] 13.7, 13.10).
    std::uint64_t const mxcsr_owners = kind == SaveKind::compacted ? saved & xcr0::kSse : wanted & (xcr0::kSse | xcr0::kAvx);
    if (mxcsr_owners != 0) pieces.add(fxsave::kMxcsr, image.data() + fxsave::kMxcsr, 8);
    if ((saved & xcr0::kSse) != 0) pieces.add(fxsave::kVectors, image.data() + fxsave::kVectors, vector_bytes(cpu));
    if ((saved & xcr0::kAvx) != 0) pieces.add(kAvxArea, state.ymm_high.data(), vector_bytes(cpu));
    pieces.add(kHeader, &header, kind == SaveKind::compacted ? 16 : 8);
    return pieces.store(cpu, address);
}

// --- restoring ----------------------------------------------------------------------------------------------------

[[nodiscard]] bool is_valid(Header const& header, std::uint64_t enabled) {
    std::uint64_t reserved = 0;
    for (unsigned i = 0; i < 6; ++i) reserved |= header.reserved[i];
    if ((header.xcomp_bv & kCompacted) == 0) {
        // Of the bytes behind XSTATE_BV only 16 are looked at here ([SDM1] 13.8.1).
        return (header.xstate_bv & ~enabled) == 0 && header.xcomp_bv == 0 && header.reserved[0] == 0;
    }
    std::uint64_t const present = header.xcomp_bv & ~kCompacted;
    return (present & ~enabled) == 0 && (header.xstate_bv & ~present) == 0 && reserved == 0;
}

[[gnu::noinline]] bool restore(Cpu& cpu, std::uint64_t address, FxsaveForm form) {
    CpuState& state = cpu.raw_state();
    Header header;
    if (!cpu.load_bytes(address + kHeader, &header, sizeof header)) return false;
    if (!is_valid(header, state.xcr0)) return cpu.fault(ExceptionVector::general_protection);
    std::uint64_t const wanted = requested(cpu);
    if (!may_load_end(cpu, address, area_bytes(wanted))) return false;
    std::uint64_t const loaded = wanted & header.xstate_bv;
    bool const compacted = (header.xcomp_bv & kCompacted) != 0;
    bool const loads_mxcsr = compacted ? (loaded & xcr0::kSse) != 0 : (wanted & (xcr0::kSse | xcr0::kAvx)) != 0;
    bool const resets_mxcsr = compacted && (wanted & xcr0::kSse) != 0 && !loads_mxcsr;

    FxsaveImage image{};
    std::array<Xmm, 16> high{};
    std::uint32_t const bytes = vector_bytes(cpu);
    auto const read = [&](std::size_t offset, std::size_t count) {
        return cpu.load_bytes(address + offset, image.data() + offset, static_cast<std::uint32_t>(count));
    };
    if ((loaded & xcr0::kX87) != 0 && (!read(0, fxsave::kMxcsr) || !read(fxsave::kRegisters, 8 * 16))) return false;
    if (loads_mxcsr && !read(fxsave::kMxcsr, 4)) return false;
    if ((loaded & xcr0::kSse) != 0 && !read(fxsave::kVectors, bytes)) return false;
    if ((loaded & xcr0::kAvx) != 0 && !cpu.load_bytes(address + kAvxArea, high.data(), bytes)) return false;
    if (loads_mxcsr && (mxcsr_from_image(image) & ~mxcsr::kWritable) != 0)
        return cpu.fault(ExceptionVector::general_protection);

    // What is wanted and not in the area gets its initial configuration: the zeros that image and `high` begin with.
    if ((wanted & xcr0::kX87) != 0) state.x87 = (loaded & xcr0::kX87) != 0 ? x87_from_image(image, form) : X87State{};
    if ((wanted & xcr0::kSse) != 0) std::memcpy(state.xmm.data(), image.data() + fxsave::kVectors, bytes);
    if ((wanted & xcr0::kAvx) != 0) std::memcpy(state.ymm_high.data(), high.data(), bytes);
    if (loads_mxcsr || resets_mxcsr) {
        state.mxcsr = loads_mxcsr ? mxcsr_from_image(image) : CpuState{}.mxcsr;
        load_host_mxcsr(state);
    }
    return true;
}

// --- handlers -----------------------------------------------------------------------------------------------------

[[nodiscard]] bool has_xsave(Cpu& cpu) { return (cpu.raw_state().cr4 & cr4::kXsave) != 0; }

/// What comes before the first access ([SDM2B] XSAVE). False: a fault is noted.
[[nodiscard]] bool may_use_area(Cpu& cpu, Op const* op, std::uint64_t address) {
    if (!has_xsave(cpu)) return cpu.fault(ExceptionVector::invalid_opcode);
    if ((cpu.raw_state().cr0 & cr0::kTaskSwitched) != 0) return cpu.fault(ExceptionVector::device_not_available);
    if ((address & 63) == 0) return true;
    note_misaligned_image(cpu, op, address);
    return false;
}

template <SaveKind kKind, FxsaveForm kForm>
Op const* xsave(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    if (!may_use_area(cpu, op, address) || !save(cpu, address, kForm, kKind)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <FxsaveForm kForm>
Op const* xrstor(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    if (!may_use_area(cpu, op, address) || !restore(cpu, address, kForm)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

void put_in_edx_eax(Cpu& cpu, std::uint64_t value) {
    cpu.gpr(rax) = static_cast<std::uint32_t>(value);
    cpu.gpr(rdx) = value >> 32;
}

Op const* xgetbv(Cpu& cpu, Op const* op) {
    if (!has_xsave(cpu)) return cpu.raise(op, ExceptionVector::invalid_opcode);
    auto const which = static_cast<std::uint32_t>(cpu.gpr(rcx));
    if (which > 1) return cpu.raise(op, ExceptionVector::general_protection);
    CpuState& state = cpu.raw_state();
    if (which == 1) gather_host_flags(state);
    put_in_edx_eax(cpu, which == 0 ? state.xcr0 : state.xcr0 & components_in_use_with_mxcsr(state));
    BACKPLANE_NEXT(cpu, op);
}

Op const* xsetbv(Cpu& cpu, Op const* op) {
    if (!has_xsave(cpu)) return cpu.raise(op, ExceptionVector::invalid_opcode);
    bool const allowed = cpu.cpl() == 0 && static_cast<std::uint32_t>(cpu.gpr(rcx)) == 0;
    std::uint64_t const value = static_cast<std::uint32_t>(cpu.gpr(rax)) | cpu.gpr(rdx) << 32;
    if (!allowed) return cpu.raise(op, ExceptionVector::general_protection);
    if (!cpu.write_xcr0(value)) return cpu.leave(op);
    return cpu.finish(op);
}

template <Handler kHandler>
void lower_as(Lowering& l) {
    l.op.run = kHandler;
}
void lower_xsetbv(Lowering& l) {
    l.op.run = xsetbv;
    l.ends_trace = true;  // vectors may be blocked behind it, or no longer
}

}  // namespace

void lower_xsave(LowerTable& table) {
    constexpr auto kLegacy = FxsaveForm::legacy, kWide = FxsaveForm::wide;
    table[ZYDIS_MNEMONIC_XSAVE] = lower_as<xsave<SaveKind::plain, kLegacy>>;
    table[ZYDIS_MNEMONIC_XSAVE64] = lower_as<xsave<SaveKind::plain, kWide>>;
    table[ZYDIS_MNEMONIC_XSAVEOPT] = lower_as<xsave<SaveKind::optimized, kLegacy>>;
    table[ZYDIS_MNEMONIC_XSAVEOPT64] = lower_as<xsave<SaveKind::optimized, kWide>>;
    table[ZYDIS_MNEMONIC_XSAVEC] = lower_as<xsave<SaveKind::compacted, kLegacy>>;
    table[ZYDIS_MNEMONIC_XSAVEC64] = lower_as<xsave<SaveKind::compacted, kWide>>;
    table[ZYDIS_MNEMONIC_XRSTOR] = lower_as<xrstor<kLegacy>>;
    table[ZYDIS_MNEMONIC_XRSTOR64] = lower_as<xrstor<kWide>>;
    table[ZYDIS_MNEMONIC_XGETBV] = lower_as<xgetbv>;
    table[ZYDIS_MNEMONIC_XSETBV] = lower_xsetbv;
}

}  // namespace backplane
