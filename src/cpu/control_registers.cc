// Writes of CR0, CR3, CR4 with their checks, and what follows from them ([SDM3A] 2.5, 4.10.4, 9.8.5).
#include "cpu/cpu.h"

namespace backplane {

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
    if (paging && !was_paging && (state_.efer & efer::kLongModeEnable) != 0) {
        if ((state_.cr4 & cr4::kPhysicalAddressExtension) == 0 || state_.segments[cs].long_mode) return fault(ExceptionVector::general_protection);
        state_.efer |= efer::kLongModeActive;
    } else if (paging && !was_paging) {
        // 32-bit and PAE paging outside long mode belong to the breadth of the processor (docs/quirks.md).
        return fault(ExceptionVector::general_protection);
    }
    if (!paging && was_paging) {
        if (in_64_bit_mode()) return fault(ExceptionVector::general_protection);
        state_.efer &= ~efer::kLongModeActive;
    }
    constexpr std::uint64_t kTranslation = cr0::kPaging | cr0::kWriteProtect | cr0::kProtection;
    if (((state_.cr0 ^ value) & kTranslation) != 0) flush_tlb();
    state_.cr0 = value;
    mode_changed();
    return true;
}

bool Cpu::write_cr3(std::uint64_t value) {
    if (value >> PageMap::kAddressBits != 0) return fault(ExceptionVector::general_protection);
    state_.cr3 = value;
    (state_.cr4 & cr4::kGlobalPages) != 0 ? flush_tlb_non_global() : flush_tlb();
    return true;
}

bool Cpu::write_cr4(std::uint64_t value) {
    constexpr std::uint64_t kKnown = cr4::kTimeStampDisable | cr4::kDebuggingExtensions | cr4::kPageSizeExtensions |
                                     cr4::kPhysicalAddressExtension | cr4::kMachineCheck | cr4::kGlobalPages |
                                     cr4::kPerformanceCounters | cr4::kFxsave | cr4::kSimdExceptions | cr4::kFsgsbase |
                                     cr4::kSmep | cr4::kSmap;
    if ((value & ~kKnown) != 0) return fault(ExceptionVector::general_protection);
    if (long_mode_active() && (value & cr4::kPhysicalAddressExtension) == 0) return fault(ExceptionVector::general_protection);
    constexpr std::uint64_t kTranslation = cr4::kPageSizeExtensions | cr4::kPhysicalAddressExtension | cr4::kGlobalPages | cr4::kSmep | cr4::kSmap;
    if (((state_.cr4 ^ value) & kTranslation) != 0) flush_tlb();
    state_.cr4 = value;
    mode_changed();
    return true;
}

}  // namespace backplane
