// The state of vectors and x87 as a whole: MXCSR, FXSAVE, FXRSTOR; fences, prefetches, cache-line flushes.
//
// FXSAVE and FXRSTOR save no code or data segment selectors: they read as 0.
#include "cpu/fxsave.h"
#include "cpu/simd.h"

namespace backplane {

namespace {

// --- MXCSR --------------------------------------------------------------------------------------------------------

void set_mxcsr(Cpu& cpu, std::uint32_t value) {
    cpu.raw_state().mxcsr = value;
    load_host_mxcsr(cpu.raw_state());
}

/// LDMXCSR and STMXCSR; with VEX they need what AVX needs.
enum class Encoding : std::uint8_t { legacy, vex };
template <Encoding kEncoding>
Op const* ldmxcsr(Cpu& cpu, Op const* op) {
    if (kEncoding == Encoding::vex ? !cpu.avx_ok() : !cpu.simd_ok()) [[unlikely]]
        return kEncoding == Encoding::vex ? raise_avx_unavailable(cpu, op) : raise_simd_unavailable(cpu, op);
    auto const loaded = cpu.load<std::uint32_t>(cpu.address(op));
    if (!loaded.ok) [[unlikely]]
        return cpu.leave(op);
    if ((loaded.value & ~mxcsr::kWritable) != 0) [[unlikely]]
        return cpu.raise(op, ExceptionVector::general_protection);
    set_mxcsr(cpu, loaded.value);
    BACKPLANE_NEXT(cpu, op);
}

template <Encoding kEncoding>
Op const* stmxcsr(Cpu& cpu, Op const* op) {
    if (kEncoding == Encoding::vex ? !cpu.avx_ok() : !cpu.simd_ok()) [[unlikely]]
        return kEncoding == Encoding::vex ? raise_avx_unavailable(cpu, op) : raise_simd_unavailable(cpu, op);
    gather_host_flags(cpu.raw_state());
    if (!cpu.store<std::uint32_t>(cpu.address(op), cpu.raw_state().mxcsr)) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

// --- FXSAVE, FXRSTOR ------------------------------------------------------------------------------------------------

/// Outside 64-bit mode XMM8 to XMM15 do not exist; with EFER.FFXSR the kernel's 64-bit code skips them all.
std::uint32_t image_bytes(Cpu& cpu) {
    if (!cpu.in_64_bit_mode()) return fxsave::kVectors + 8 * 16;
    if ((cpu.raw_state().efer & efer::kFastFxsave) != 0 && cpu.cpl() == 0) return fxsave::kVectors;
    return fxsave::kVectors + 16 * 16;
}

constexpr auto kAreaBytes = static_cast<std::uint32_t>(sizeof(FxsaveImage));

// These run in functions of their own: a handler with large locals could not end in a tail call.
[[gnu::noinline]] bool save_image(Cpu& cpu, std::uint64_t address, FxsaveForm form) {
    if (!may_store_end(cpu, address, kAreaBytes)) return false;
    gather_host_flags(cpu.raw_state());
    FxsaveImage const image = make_fxsave_image(cpu.raw_state(), form);
    return cpu.store_bytes(address, image.data(), image_bytes(cpu));
}

[[gnu::noinline]] bool restore_image(Cpu& cpu, std::uint64_t address, FxsaveForm form) {
    if (!may_load_end(cpu, address, kAreaBytes)) return false;
    FxsaveImage image;
    if (!cpu.load_bytes(address, image.data(), kAreaBytes)) return false;
    if ((mxcsr_from_image(image) & ~mxcsr::kWritable) != 0) return cpu.fault(ExceptionVector::general_protection);
    cpu.x87() = x87_from_image(image, form);
    std::uint32_t const vector_bytes = image_bytes(cpu) - static_cast<std::uint32_t>(fxsave::kVectors);
    if (vector_bytes != 0) std::memcpy(cpu.raw_state().xmm.data(), image.data() + fxsave::kVectors, vector_bytes);
    set_mxcsr(cpu, mxcsr_from_image(image));
    return true;
}

template <FxsaveForm kForm>
Op const* fxsave_area(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) return cpu.raise(op, ExceptionVector::device_not_available);
    std::uint64_t const address = cpu.address(op);
    if ((address & 15) != 0) {
        note_misaligned_image(cpu, op, address);
        return cpu.leave(op);
    }
    if (!save_image(cpu, address, kForm)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <FxsaveForm kForm>
Op const* fxrstor_area(Cpu& cpu, Op const* op) {
    if (!cpu.x87_ok()) return cpu.raise(op, ExceptionVector::device_not_available);
    std::uint64_t const address = cpu.address(op);
    if ((address & 15) != 0) {
        note_misaligned_image(cpu, op, address);
        return cpu.leave(op);
    }
    if (!restore_image(cpu, address, kForm)) return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

// --- EMMS, fences, hints -----------------------------------------------------------------------------------------

Op const* emms(Cpu& cpu, Op const* op) {
    if (!mmx_ok(cpu)) [[unlikely]]
        return raise_mmx_unavailable(cpu, op);
    enter_mmx(cpu);
    cpu.x87().valid = 0;
    BACKPLANE_NEXT(cpu, op);
}

/// Memory is in order and no cache is modelled: fences order nothing further and prefetches do nothing; a prefetch
/// never faults.
Op const* no_effect(Cpu& cpu, Op const* op) { BACKPLANE_NEXT(cpu, op); }

/// CLFLUSH is checked like a load of one byte.
Op const* clflush(Cpu& cpu, Op const* op) {
    std::uint64_t const address = cpu.address(op);
    if (cpu.read_pointer(address) == nullptr && !cpu.load<std::uint8_t>(address).ok) [[unlikely]]
        return cpu.leave(op);
    BACKPLANE_NEXT(cpu, op);
}

template <Handler kHandler>
void lower_as(Lowering& l) {
    l.op.run = kHandler;
}

template <Handler kHandler>
void lower_register_form_invalid(Lowering& l) {
    if (l.is_memory(0)) l.op.run = kHandler;
}

}  // namespace

void lower_sse_state(LowerTable& table) {
    table[ZYDIS_MNEMONIC_LDMXCSR] = lower_as<ldmxcsr<Encoding::legacy>>;
    table[ZYDIS_MNEMONIC_STMXCSR] = lower_as<stmxcsr<Encoding::legacy>>;
    table[ZYDIS_MNEMONIC_VLDMXCSR] = lower_as<ldmxcsr<Encoding::vex>>;
    table[ZYDIS_MNEMONIC_VSTMXCSR] = lower_as<stmxcsr<Encoding::vex>>;
    table[ZYDIS_MNEMONIC_FXSAVE] = lower_as<fxsave_area<FxsaveForm::legacy>>;
    table[ZYDIS_MNEMONIC_FXSAVE64] = lower_as<fxsave_area<FxsaveForm::wide>>;
    table[ZYDIS_MNEMONIC_FXRSTOR] = lower_as<fxrstor_area<FxsaveForm::legacy>>;
    table[ZYDIS_MNEMONIC_FXRSTOR64] = lower_as<fxrstor_area<FxsaveForm::wide>>;
    table[ZYDIS_MNEMONIC_EMMS] = lower_as<emms>;
    for (auto const fence : {ZYDIS_MNEMONIC_SFENCE, ZYDIS_MNEMONIC_LFENCE, ZYDIS_MNEMONIC_MFENCE})
        table[fence] = lower_as<no_effect>;
    for (auto const hint :
         {ZYDIS_MNEMONIC_PREFETCHT0, ZYDIS_MNEMONIC_PREFETCHT1, ZYDIS_MNEMONIC_PREFETCHT2, ZYDIS_MNEMONIC_PREFETCHNTA,
          ZYDIS_MNEMONIC_PREFETCH, ZYDIS_MNEMONIC_PREFETCHW, ZYDIS_MNEMONIC_PREFETCHWT1})
        table[hint] = lower_register_form_invalid<no_effect>;
    for (auto const flush : {ZYDIS_MNEMONIC_CLFLUSH, ZYDIS_MNEMONIC_CLFLUSHOPT, ZYDIS_MNEMONIC_CLWB})
        table[flush] = lower_as<clflush>;
}

}  // namespace backplane
