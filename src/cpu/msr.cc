// Model-specific registers of the fixed processor. Any other one is #GP. [SDM4], [APM2] appendix A
#include "clock/frequency.h"
#include "cpu/cpu.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {

namespace msr {
constexpr std::uint32_t kTsc = 0x10, kApicBase = 0x1b, kTscAdjust = 0x3b, kSpecCtrl = 0x48, kPredCmd = 0x49, kUcodeRev = 0x8b,
                        kMtrrCap = 0xfe, kSysenterCs = 0x174, kSysenterEsp = 0x175, kSysenterEip = 0x176, kMcgCap = 0x179,
                        kMcgStatus = 0x17a, kBank = 0x400, kBankEnd = 0x404, kMiscEnable = 0x1a0, kDebugControl = 0x1d9, kMtrrVariable = 0x200, kMtrrVariableEnd = 0x210,
                        kPat = 0x277, kMtrrDefault = 0x2ff, kTscDeadline = 0x6e0, kX2apic = 0x800, kX2apicEnd = 0x900,
                        kKvmWallClock = 0x4b56'4d00, kKvmSystemTime = 0x4b56'4d01, kEfer = 0xc000'0080, kStar = 0xc000'0081,
                        kLstar = 0xc000'0082, kCstar = 0xc000'0083, kSfmask = 0xc000'0084, kFsBase = 0xc000'0100, kGsBase = 0xc000'0101,
                        kKernelGsBase = 0xc000'0102, kTscAux = 0xc000'0103, kSyscfg = 0xc001'0010, kHwcr = 0xc001'0015, kNbCfg = 0xc001'001f,
                        kTopMem = 0xc001'001a, kTopMem2 = 0xc001'001d, kPatchLoader = 0xc001'0020, kVmCr = 0xc001'0114,
                        kOsvwLength = 0xc001'0140, kOsvwStatus = 0xc001'0141, kPstateLimit = 0xc001'0061, kPstateStatus = 0xc001'0063,
                        kDeCfg = 0xc001'1029;
}  // namespace msr

/// The fixed-range MTRRs in the order of their 11 registers.
constexpr std::array<std::uint32_t, 11> kMtrrFixed{0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
constexpr std::uint64_t kMtrrCapabilities = 0x508;  // 8 variable ranges, fixed ranges, write-combining
constexpr std::uint64_t kEferWritable = efer::kSyscall | efer::kLongModeEnable | efer::kNoExecute | efer::kFastFxsave | std::uint64_t{1} << 21 /* automatic IBRS */;
constexpr std::uint64_t kHwcrTscFreqSel = std::uint64_t{1} << 24;


bool is_memory_type(std::uint64_t type) { return type == 0 || type == 1 || (type >= 4 && type <= 7); }
bool are_memory_types(std::uint64_t value) {
    for (unsigned i = 0; i < 8; ++i)
        if (!is_memory_type(value >> (8 * i) & 0xff)) return false;
    return true;
}

/// [SDM3A] 11.11.2.3: a base with its type in bits 7:0, or a mask with its valid bit 11; the other bits are reserved.
bool is_variable_range(std::uint64_t value, bool is_base) {
    if (value >> PageMap::kAddressBits != 0) return false;
    return is_base ? (value & 0xf00) == 0 && is_memory_type(value & 0xff) : (value & 0x7ff) == 0;
}

}  // namespace

std::optional<std::uint64_t> Cpu::read_msr(std::uint32_t number) {
    if (number == msr::kApicBase || number == msr::kTscDeadline || (number >= msr::kX2apic && number < msr::kX2apicEnd)) {
        auto const value = apic_.read_msr(number);
        touch_device();
        return value ? std::optional{*value} : std::nullopt;
    }
    if (number >= msr::kBank && number < msr::kBankEnd) return msrs_.bank[number - msr::kBank];
    if (number >= msr::kMtrrVariable && number < msr::kMtrrVariableEnd) return msrs_.mtrr_variable[number - msr::kMtrrVariable];
    for (std::size_t i = 0; i < kMtrrFixed.size(); ++i)
        if (kMtrrFixed[i] == number) return msrs_.mtrr_fixed[i];
    switch (number) {
        case msr::kTsc: return tsc_.at(clock_.now());
        case msr::kTscAdjust: return msrs_.tsc_adjust;
        case msr::kSpecCtrl: return msrs_.spec_ctrl;
        case msr::kUcodeRev: return 0x0a00'11ff;
        case msr::kMtrrCap: return kMtrrCapabilities;
        case msr::kSysenterCs: return state_.sysenter_cs;
        case msr::kSysenterEsp: return state_.sysenter_esp;
        case msr::kSysenterEip: return state_.sysenter_eip;
        case msr::kMcgCap: return 1;  // one bank, no MCG_CTL
        case msr::kMcgStatus: return msrs_.machine_check_status;
        case msr::kMiscEnable: return msrs_.misc_enable;
        case msr::kDebugControl: return msrs_.debug_control;
        case msr::kPat: return msrs_.pat;
        case msr::kMtrrDefault: return msrs_.mtrr_default;
        case msr::kKvmWallClock: return msrs_.kvm_wall_clock;
        case msr::kKvmSystemTime: return msrs_.kvm_system_time;
        case msr::kEfer: return state_.efer;
        case msr::kStar: return state_.star;
        case msr::kLstar: return state_.lstar;
        case msr::kCstar: return state_.cstar;
        case msr::kSfmask: return state_.sfmask;
        case msr::kFsBase: return state_.segments[fs].base;
        case msr::kGsBase: return state_.segments[gs].base;
        case msr::kKernelGsBase: return state_.kernel_gs_base;
        case msr::kTscAux: return state_.tsc_aux;
        case msr::kSyscfg: return msrs_.syscfg;
        case msr::kHwcr: return msrs_.hwcr | kHwcrTscFreqSel;
        case msr::kNbCfg: return msrs_.northbridge;
        case msr::kTopMem:
        case msr::kTopMem2:
        case msr::kVmCr:
        case msr::kOsvwLength:
        case msr::kOsvwStatus:
        case msr::kPstateLimit:
        case msr::kPstateStatus: return 0;
        case msr::kDeCfg: return 2;  // LFENCE serialises
        default: return {};
    }
}

bool Cpu::write_msr(std::uint32_t number, std::uint64_t value) {
    if (number == msr::kApicBase || number == msr::kTscDeadline || (number >= msr::kX2apic && number < msr::kX2apicEnd)) {
        touch_device();
        return apic_.write_msr(number, value).has_value();
    }
    if (number >= msr::kBank && number < msr::kBankEnd) {  // [SDM3B] 15.3.2: all but CTL can only be cleared
        if (number != msr::kBank && value != 0) return false;
        msrs_.bank[number - msr::kBank] = value;
        return true;
    }
    if (number >= msr::kMtrrVariable && number < msr::kMtrrVariableEnd) {
        bool const is_base = (number & 1) == 0;
        if (!is_variable_range(value, is_base)) return false;
        msrs_.mtrr_variable[number - msr::kMtrrVariable] = value;
        return true;
    }
    for (std::size_t i = 0; i < kMtrrFixed.size(); ++i) {
        if (kMtrrFixed[i] != number) continue;
        if (!are_memory_types(value)) return false;
        msrs_.mtrr_fixed[i] = value;
        return true;
    }
    switch (number) {
        case msr::kTsc: {
            std::uint64_t const delta = value - tsc_.at(clock_.now());
            tsc_.add(delta);
            msrs_.tsc_adjust += delta;
            apic_.time_stamp_counter_changed();
            touch_device();
            return true;
        }
        case msr::kTscAdjust:
            tsc_.add(value - msrs_.tsc_adjust);
            msrs_.tsc_adjust = value;
            apic_.time_stamp_counter_changed();
            touch_device();
            return true;
        case msr::kSpecCtrl:
            if ((value & ~std::uint64_t{1}) != 0) return false;  // IBRS
            msrs_.spec_ctrl = value;
            return true;
        case msr::kPredCmd: return (value & ~std::uint64_t{1}) == 0;
        case msr::kUcodeRev: return true;
        case msr::kSysenterCs: state_.sysenter_cs = value; return true;
        case msr::kSysenterEsp: state_.sysenter_esp = value; return true;
        case msr::kSysenterEip: state_.sysenter_eip = value; return true;
        case msr::kMcgStatus:
            if (value > 7) return false;
            msrs_.machine_check_status = value;
            return true;
        case msr::kMiscEnable: msrs_.misc_enable = value; return true;
        case msr::kDebugControl: msrs_.debug_control = value & 0x3f; return true;
        case msr::kPat:
            if (!are_memory_types(value)) return false;
            msrs_.pat = value;
            return true;
        case msr::kMtrrDefault:
            if (!is_memory_type(value & 0xff)) return false;
            msrs_.mtrr_default = value & 0xcff;
            return true;
        case msr::kKvmWallClock: write_paravirtual_wall_clock(value); return true;
        case msr::kKvmSystemTime: write_paravirtual_clock(value); return true;
        case msr::kEfer: {
            if ((value & ~(kEferWritable | efer::kLongModeActive)) != 0) return false;
            bool const paging = (state_.cr0 & cr0::kPaging) != 0;
            if (paging && ((state_.efer ^ value) & efer::kLongModeEnable) != 0) return false;
            bool const view_changes = ((state_.efer ^ value) & efer::kNoExecute) != 0;
            state_.efer = (value & kEferWritable) | (state_.efer & efer::kLongModeActive);
            if (view_changes) flush_tlb();
            return true;
        }
        case msr::kStar: state_.star = value; return true;
        case msr::kLstar:
        case msr::kCstar:
            if (!is_canonical(value)) return false;
            (number == msr::kLstar ? state_.lstar : state_.cstar) = value;
            return true;
        case msr::kSfmask: state_.sfmask = static_cast<std::uint32_t>(value); return true;
        case msr::kFsBase:
        case msr::kGsBase:
            if (!is_canonical(value)) return false;
            state_.segments[number == msr::kFsBase ? fs : gs].base = value;
            mode_changed();
            return true;
        case msr::kKernelGsBase:
            if (!is_canonical(value)) return false;
            state_.kernel_gs_base = value;
            return true;
        case msr::kTscAux: state_.tsc_aux = static_cast<std::uint32_t>(value); return true;
        case msr::kSyscfg: msrs_.syscfg = value; return true;
        case msr::kHwcr: msrs_.hwcr = value & ~kHwcrTscFreqSel; return true;
        case msr::kNbCfg: msrs_.northbridge = value; return true;
        case msr::kPatchLoader: return true;
        case msr::kVmCr:
        case msr::kOsvwLength:
        case msr::kOsvwStatus:
        case msr::kDeCfg: return true;
        default: return false;
    }
}

// The structures of Documentation/virt/kvm/x86/msr.rst. Both are written once: the TSC has a constant rate, so no
// update is ever due.
void Cpu::write_paravirtual_clock(std::uint64_t value) {
    msrs_.kvm_system_time = value;
    if ((value & 1) == 0) return;
    struct {
        std::uint32_t version{2};
        std::uint32_t pad{0};
        std::uint64_t tsc_timestamp{0};
        std::uint64_t system_time{0};
        std::uint32_t tsc_to_system_mul{0x8000'0000};  // ns = (tsc << shift) * mul >> 32
        std::int8_t tsc_shift{1};
        std::uint8_t flags{1};  // stable
        std::uint8_t more_pad[2]{};
    } info;
    static_assert(sizeof(info) == 32);
    static_assert(kTscHz == 1'000'000'000, "one nanosecond a tick, as the multiplier above says");
    info.tsc_timestamp = tsc_.at(clock_.now());
    info.system_time = clock_.now().ns();
    (void)bus_.memory().write_object(GuestPhys{value & ~std::uint64_t{1}}, info);  // a wrong address harms the guest alone
}

void Cpu::write_paravirtual_wall_clock(std::uint64_t value) {
    msrs_.kvm_wall_clock = value;
    struct {
        std::uint32_t version{2};
        std::uint32_t seconds{static_cast<std::uint32_t>(kEpochSeconds)};
        std::uint32_t nanoseconds{0};
    } wall;
    static_assert(sizeof(wall) == 12);
    (void)bus_.memory().write_object(GuestPhys{value}, wall);
}

}  // namespace backplane
