// The register interface of the local APIC: the page in xAPIC mode, the MSRs in x2APIC mode.
#include "interrupt/local_apic_registers.h"

#include <utility>

#include "interrupt/local_apic.h"

namespace backplane {

using namespace local_apic;

namespace {

constexpr std::uint32_t kMsrBase = 0x1b;
constexpr std::uint32_t kMsrTscDeadline = 0x6e0;
constexpr std::uint32_t kMsrX2apicFirst = 0x800;
constexpr std::uint32_t kMsrX2apicLast = 0x8ff;

// Version 0x14, LVT entries 0 to 5, no suppression of EOI broadcasts ([SDM3A] 10.4.8).
constexpr std::uint32_t kVersionValue = 0x5'0014;

}  // namespace

std::uint32_t LocalApic::read_register(unsigned index) const {
    if (index >= kLvtFirst && index <= kLvtLast) return state_.lvt[index - kLvtFirst];
    if (index >= kInService && index < kTriggerMode) return state_.in_service.register_value(index - kInService);
    if (index >= kTriggerMode && index < kRequested) return state_.level_triggered.register_value(index - kTriggerMode);
    if (index >= kRequested && index < kErrorStatus) return state_.requested.register_value(index - kRequested);
    switch (index) {
        case kId:
            return is_x2apic() ? id_ : id_ << 24;
        case kVersion:
            return kVersionValue;
        case kTaskPriority:
            return state_.tpr;
        case kArbitrationPriority:
            return arbitration_priority();
        case kProcessorPriority:
            return processor_priority();
        case kLogicalDestination:
            return logical_id();
        case kDestinationFormat:
            return state_.dfr;
        case kSpurious:
            return state_.svr;
        case kErrorStatus:
            return state_.esr;
        case kCommandLow:
            return state_.icr_low;
        case kCommandHigh:
            return state_.icr_high;
        case kInitialCount:
            return timer_.initial_count();
        case kCurrentCount:
            return timer_.current_count();
        case kDivide:
            return timer_.divide_configuration();
        default:
            return 0;
    }
}

// `value` has only bits that the register's rule calls writable.
void LocalApic::write_register(unsigned index, std::uint32_t value) {
    if (index >= kLvtFirst && index <= kLvtLast) return write_lvt(index - kLvtFirst, value);
    switch (index) {
        case kTaskPriority:
            state_.tpr = static_cast<std::uint8_t>(value);
            return update();
        case kEndOfInterrupt:
            return end_interrupt();
        case kLogicalDestination:
            state_.ldr = value;
            return;
        case kDestinationFormat:
            state_.dfr = value | 0x0fff'ffff;
            return;
        case kSpurious:
            return write_spurious(value);
        case kErrorStatus:
            state_.esr = std::exchange(state_.errors, 0);
            return;
        case kCommandLow:
            state_.icr_low = value;
            return send_interrupt();
        case kCommandHigh:
            state_.icr_high = value;
            return;
        case kInitialCount:
            timer_.set_initial_count(value);
            return wake();
        case kDivide:
            timer_.set_divide_configuration(value);
            return wake();
        case kSelfIpi:
            return send_to_self(vector_in(value));
        default:
            return;
    }
}

void LocalApic::write_lvt(unsigned entry, std::uint32_t value) {
    state_.lvt[entry] = is_software_enabled() ? value : value | kLvtMasked;
    if (entry != 0) return update();
    timer_.set_mode(static_cast<ApicTimer::Mode>(value >> 17 & 3));
    wake();
}

// [SDM3A] 10.4.7.2: while disabled by software all LVT entries are masked and cannot be unmasked.
void LocalApic::write_spurious(std::uint32_t value) {
    bool const was_enabled = is_software_enabled();
    state_.svr = value;
    if (!is_software_enabled()) {
        for (std::uint32_t& entry : state_.lvt) entry |= kLvtMasked;
    }
    update();
    if (is_software_enabled() && !was_enabled) fabric_.acceptance_changed();
}

// [SDM3A] 10.4.1: a register is the low 4 of 16 bytes; the others read as 0.
std::uint64_t LocalApic::read(std::uint64_t offset, Width width) {
    if (!is_enabled() || is_x2apic()) return ones(width);
    auto const index = static_cast<unsigned>(offset >> 4 & 0xff);
    Rights const rights = rule_of(index).xapic;
    if (rights == Rights::none) note_error(kIllegalRegister);
    std::uint64_t const in_register = offset & 0xf;
    if (!may_read(rights) || in_register >= 4) return 0;
    return (std::uint64_t{read_register(index)} >> (8 * in_register)) & ones(width);
}

void LocalApic::write(std::uint64_t offset, Width width, std::uint64_t value) {
    if (!is_enabled() || is_x2apic()) return;
    if ((offset & 0xf) != 0 || (width != Width::dword && width != Width::qword)) return;
    auto const index = static_cast<unsigned>(offset >> 4 & 0xff);
    Rule const rule = rule_of(index);
    if (rule.xapic == Rights::none) return note_error(kIllegalRegister);
    if (may_write(rule.xapic)) write_register(index, static_cast<std::uint32_t>(value) & rule.writable);
}

Expected<std::uint64_t, MsrFault> LocalApic::read_msr(std::uint32_t msr) {
    if (msr == kMsrBase) return state_.base;
    if (msr == kMsrTscDeadline) return timer_.tsc_deadline();
    if (msr < kMsrX2apicFirst || msr > kMsrX2apicLast || !is_x2apic()) return Unexpected{MsrFault{}};
    unsigned const index = msr - kMsrX2apicFirst;
    if (!may_read(rule_of(index).x2apic)) return Unexpected{MsrFault{}};
    std::uint64_t const high = index == kCommandLow ? std::uint64_t{state_.icr_high} << 32 : 0;
    return high | read_register(index);
}

Expected<void, MsrFault> LocalApic::write_msr(std::uint32_t msr, std::uint64_t value) {
    if (msr == kMsrBase) return write_base(value);
    if (msr == kMsrTscDeadline) {
        timer_.set_tsc_deadline(value);
        wake();
        return {};
    }
    if (msr < kMsrX2apicFirst || msr > kMsrX2apicLast || !is_x2apic()) return Unexpected{MsrFault{}};
    unsigned const index = msr - kMsrX2apicFirst;
    Rule const rule = rule_of(index);
    bool const is_command = index == kCommandLow;
    std::uint64_t const allowed = rule.writable | rule.ignored | (is_command ? std::uint64_t{0xffff'ffff} << 32 : 0);
    if (!may_write(rule.x2apic) || (value & ~allowed) != 0) return Unexpected{MsrFault{}};
    if (is_command) state_.icr_high = static_cast<std::uint32_t>(value >> 32);
    write_register(index, static_cast<std::uint32_t>(value) & rule.writable);
    return {};
}

}  // namespace backplane
