// Writes of CR0, CR3, CR4 with their checks, and what follows from them ([SDM3A] 2.5, 4.4.1, 4.10.4, 9.8.5); INVPCID.
#include "cpu/cpu.h"

namespace backplane {

namespace {
constexpr std::uint64_t kPcidMask = 0xfff;
constexpr std::uint64_t kKeepsTranslations = std::uint64_t{1} << 63;  // of a value for CR3 with CR4.PCIDE
}  // namespace

bool Cpu::write_cr0(std::uint64_t value) {
    constexpr std::uint64_t kKnown = cr0::kProtection | cr0::kMonitorCoprocessor | cr0::kEmulation | cr0::kTaskSwitched |
                                     cr0::kExtensionType | cr0::kNumericError | cr0::kWriteProtect | cr0::kAlignmentMask |
                                     cr0::kNotWriteThrough | cr0::kCacheDisable | cr0::kPaging;
    if (value >> 32 != 0) return fault(ExceptionVector::general_protection);
    value = (value & kKnown) | cr0::kExtensionType;
    bool const paging = (value & cr0::kPaging) != 0;
    if (paging && (value & cr0::kProtection) == 0) return fault(ExceptionVector::general_protection);
    if ((value & cr0::kNotWriteThrough) != 0 && (value & cr0::kCacheDisable) == 0) return fault(ExceptionVector::general_protection);
    bool const was_paging = (state_.cr0 & cr0::kPaging) != 0;
    bool const pae = (state_.cr4 & cr4::kPhysicalAddressExtension) != 0;
    if (paging && !was_paging && (state_.efer & efer::kLongModeEnable) != 0) {
        if (!pae || state_.segments[cs].long_mode) return fault(ExceptionVector::general_protection);
        state_.efer |= efer::kLongModeActive;
    } else if (paging && !was_paging && pae && !load_pdptes(state_.cr3)) {
        return false;
    }
    if (!paging && was_paging) {
        if (in_64_bit_mode() || (state_.cr4 & cr4::kPcid) != 0) return fault(ExceptionVector::general_protection);
        state_.efer &= ~efer::kLongModeActive;
    }
    constexpr std::uint64_t kTranslation = cr0::kPaging | cr0::kWriteProtect | cr0::kProtection;
    if (((state_.cr0 ^ value) & kTranslation) != 0) flush_tlb();
    state_.cr0 = value;
    mode_changed();
    return true;
}

// [SDM3A] 4.10.4.1. Without global pages everything is dropped, which is always allowed.
bool Cpu::write_cr3(std::uint64_t value) {
    bool const has_pcids = (state_.cr4 & cr4::kPcid) != 0;
    bool const keep = has_pcids && (value & kKeepsTranslations) != 0;
    if (has_pcids) value &= ~kKeepsTranslations;
    if (value >> PageMap::kAddressBits != 0) return fault(ExceptionVector::general_protection);
    bool const pae = (state_.cr0 & cr0::kPaging) != 0 && (state_.cr4 & cr4::kPhysicalAddressExtension) != 0 && !long_mode_active();
    if (pae && !load_pdptes(value)) return false;
    auto const from = static_cast<std::uint16_t>(state_.cr3 & kPcidMask);
    auto const to = static_cast<std::uint16_t>(value & kPcidMask);
    state_.cr3 = value;
    if ((state_.cr4 & cr4::kGlobalPages) == 0)
        flush_tlb();
    else if (has_pcids && from != to)
        change_pcid(from, to, keep);
    else if (!keep)
        flush_tlb_non_global();
    return true;
}

bool Cpu::write_cr4(std::uint64_t value) {
    constexpr std::uint64_t kKnown = cr4::kTimeStampDisable | cr4::kDebuggingExtensions | cr4::kPageSizeExtensions |
                                     cr4::kPhysicalAddressExtension | cr4::kMachineCheck | cr4::kGlobalPages |
                                     cr4::kPerformanceCounters | cr4::kFxsave | cr4::kSimdExceptions |
                                     cr4::kUserModeInstructionPrevention | cr4::kFsgsbase | cr4::kPcid | cr4::kXsave | cr4::kSmep | cr4::kSmap;
    if ((value & ~kKnown) != 0) return fault(ExceptionVector::general_protection);
    if (long_mode_active() && (value & cr4::kPhysicalAddressExtension) == 0) return fault(ExceptionVector::general_protection);
    std::uint64_t const changes = state_.cr4 ^ value;
    bool const starts_pcids = (changes & value & cr4::kPcid) != 0;
    if (starts_pcids && (!long_mode_active() || (state_.cr3 & kPcidMask) != 0)) return fault(ExceptionVector::general_protection);
    constexpr std::uint64_t kTables = cr4::kPageSizeExtensions | cr4::kPhysicalAddressExtension | cr4::kGlobalPages | cr4::kSmep;
    bool const paging = (state_.cr0 & cr0::kPaging) != 0;
    bool const pae = paging && !long_mode_active() && (value & cr4::kPhysicalAddressExtension) != 0;
    if (pae && (changes & kTables) != 0 && !load_pdptes(state_.cr3)) return false;
    constexpr std::uint64_t kTranslation = kTables | cr4::kSmap | cr4::kPcid;
    if ((changes & kTranslation) != 0) flush_tlb();
    state_.cr4 = value;
    mode_changed();
    return true;
}

// [SDM2C] XSETBV: x87 is always there, and AVX not without SSE.
bool Cpu::write_xcr0(std::uint64_t value) {
    bool const has_x87 = (value & xcr0::kX87) != 0;
    bool const avx_alone = (value & (xcr0::kSse | xcr0::kAvx)) == xcr0::kAvx;
    if (!has_x87 || avx_alone || (value & ~state_components()) != 0) return fault(ExceptionVector::general_protection);
    state_.xcr0 = value;
    mode_changed();
    return true;
}

// [SDM3A] 4.4.1: the four entries are registers, loaded with CR3; memory that changes later does not matter.
bool Cpu::load_pdptes(std::uint64_t new_cr3) {
    std::array<std::uint64_t, 4> entries{};
    // A hole reads as ones, which sets reserved bits.
    if (!bus_.memory().read_object(GuestPhys{new_cr3 & 0xffff'ffe0}, entries)) return fault(ExceptionVector::general_protection);
    for (std::uint64_t const entry : entries)
        if (is_reserved_pdpte(entry)) return fault(ExceptionVector::general_protection);
    state_.pdpte = entries;
    return true;
}

// [SDM2A] INVPCID. Of the current PCID more may be dropped than is asked for, and of others all is.
bool Cpu::invalidate_by_pcid(std::uint64_t type, std::uint64_t pcid, std::uint64_t address) {
    constexpr std::uint64_t kAddress = 0, kContext = 1, kEverything = 2, kNonGlobal = 3;
    bool const names_pcid = type == kAddress || type == kContext;
    bool const has_pcids = (state_.cr4 & cr4::kPcid) != 0;
    if (type > kNonGlobal || pcid > kPcidMask || (names_pcid && !has_pcids && pcid != 0)) return fault(ExceptionVector::general_protection);
    if (type == kAddress && !is_canonical(address)) return fault(ExceptionVector::general_protection);
    bool const is_current = pcid == (has_pcids ? state_.cr3 & kPcidMask : 0);
    if (names_pcid && !is_current) {
        forget_pcid(static_cast<std::uint16_t>(pcid));
    } else if (type == kAddress) {
        flush_tlb_page(address);
    } else if (type == kEverything) {
        flush_tlb();
    } else {
        if (type == kNonGlobal) forget_other_pcids();
        flush_tlb_non_global();
    }
    return true;
}

}  // namespace backplane
