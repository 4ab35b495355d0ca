// Loading segment registers: data and stack segments, LDTR, TR ([SDM3A] chapter 5; real mode 20.1.1).
#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

std::optional<std::uint64_t> Cpu::read_descriptor(std::uint16_t selector, ExceptionVector vector) {
    bool const local = is_local(selector);
    std::uint64_t const base = local ? state_.ldtr.base : state_.gdtr.base;
    std::uint32_t const limit = local ? (state_.ldtr.present ? state_.ldtr.limit : 0) : state_.gdtr.limit;
    std::uint32_t const offset = selector & ~std::uint32_t{7};
    if (offset + 7 > limit) {
        fault(vector, error_code_of(selector));
        return {};
    }
    auto const descriptor = load_system<std::uint64_t>(base + offset);
    if (!descriptor.ok) return {};
    return descriptor.value;
}

void Cpu::mark_accessed(std::uint16_t selector, std::uint64_t descriptor) {
    constexpr std::uint64_t kAccessed = std::uint64_t{1} << 40;
    if ((descriptor & kAccessed) != 0) return;
    std::uint64_t const base = is_local(selector) ? state_.ldtr.base : state_.gdtr.base;
    (void)store_system<std::uint64_t>(base + (selector & ~std::uint64_t{7}), descriptor | kAccessed);
}

// Real mode changes the base alone, so that a limit of 4 GiB survives from protected mode; virtual-8086 mode sets all
// ([SDM3A] 20.2.1, 26.3.1.2).
void Cpu::set_real_segment(SegmentName name, std::uint16_t selector) {
    Segment& segment = state_.segments[name];
    if (virtual_8086() && protected_mode()) segment = {.limit = 0xffff, .type = 3, .code_or_data = true, .dpl = 3, .present = true};
    segment.selector = selector;
    segment.base = std::uint64_t{selector} << 4;
}

// [SDM2A] MOV: "Loading the segment register".
bool Cpu::load_segment(SegmentName name, std::uint16_t selector) {
    if (real_addressing()) {
        set_real_segment(name, selector);
        mode_changed();
        return true;
    }
    if (is_null(selector)) {
        if (name == ss && !(in_64_bit_mode() && cpl() != 3 && rpl_of(selector) == cpl()))
            return fault(ExceptionVector::general_protection);
        Segment segment{};
        segment.selector = selector;
        if (name == ss) segment.dpl = static_cast<std::uint8_t>(cpl());
        set_segment(name, segment);
        return true;
    }
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment const segment = segment_from(selector, *descriptor);
    std::uint32_t const code = error_code_of(selector);
    if (name == ss) {
        if (rpl_of(selector) != cpl() || !is_writable_data(segment) || segment.dpl != cpl())
            return fault(ExceptionVector::general_protection, code);
        if (!segment.present) return fault(ExceptionVector::stack_fault, code);
    } else {
        if (!is_readable(segment)) return fault(ExceptionVector::general_protection, code);
        if (!is_conforming(segment) && (rpl_of(selector) > segment.dpl || cpl() > segment.dpl))
            return fault(ExceptionVector::general_protection, code);
        if (!segment.present) return fault(ExceptionVector::segment_not_present, code);
    }
    mark_accessed(selector, *descriptor);
    set_segment(name, segment);
    return true;
}

// In long mode an LDT or TSS descriptor has 16 bytes ([SDM3A] figure 8-4).
bool Cpu::extend_base(std::uint16_t selector, Segment& segment) {
    auto const high = read_descriptor_high(selector);
    if (!high) return false;
    segment.base |= *high << 32;
    if (is_canonical(segment.base)) return true;
    return fault(ExceptionVector::general_protection, error_code_of(selector));
}

std::optional<std::uint64_t> Cpu::read_descriptor_high(std::uint16_t selector) {
    std::uint64_t const offset = selector & ~std::uint64_t{7};
    bool const local = is_local(selector);
    std::uint64_t const limit = local ? state_.ldtr.limit : state_.gdtr.limit;
    if (offset + 15 > limit) {
        fault(ExceptionVector::general_protection, error_code_of(selector));
        return {};
    }
    auto const high = load_system<std::uint64_t>((local ? state_.ldtr.base : state_.gdtr.base) + offset + 8);
    if (!high.ok) return {};
    return high.value;
}

bool Cpu::load_ldtr(std::uint16_t selector) {
    if (is_null(selector)) {
        state_.ldtr = Segment{};
        state_.ldtr.selector = selector;
        return true;
    }
    if (is_local(selector)) return fault(ExceptionVector::general_protection, error_code_of(selector));
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment segment = segment_from(selector, *descriptor);
    if (segment.code_or_data || segment.type != kTypeLdt) return fault(ExceptionVector::general_protection, error_code_of(selector));
    if (!segment.present) return fault(ExceptionVector::segment_not_present, error_code_of(selector));
    if (long_mode_active() && !extend_base(selector, segment)) return false;
    state_.ldtr = segment;
    return true;
}

bool Cpu::load_tr(std::uint16_t selector) {
    std::uint32_t const code = error_code_of(selector);
    if (is_null(selector)) return fault(ExceptionVector::general_protection);
    if (is_local(selector)) return fault(ExceptionVector::general_protection, code);
    auto const descriptor = read_descriptor(selector, ExceptionVector::general_protection);
    if (!descriptor) return false;
    Segment segment = segment_from(selector, *descriptor);
    bool const fits = segment.type == kTypeTssAvailable || (segment.type == kTypeTss16Available && !long_mode_active());
    if (segment.code_or_data || !fits) return fault(ExceptionVector::general_protection, code);
    if (!segment.present) return fault(ExceptionVector::segment_not_present, code);
    std::uint64_t const where = state_.gdtr.base + (selector & ~std::uint64_t{7});
    if (long_mode_active() && !extend_base(selector, segment)) return false;
    if (!store_system<std::uint64_t>(where, *descriptor | std::uint64_t{2} << 40)) return false;
    segment.type |= kTypeBusyBit;
    state_.tr = segment;
    return true;
}

}  // namespace backplane
