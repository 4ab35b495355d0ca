// Task switching by hardware: the state goes to the old task's TSS and comes from the new one's. [SDM3A] chapter 7
//
// Up to the load of TR a fault belongs to the old task, which goes on as if nothing had been tried; from then on it
// belongs to the new one ([SDM3A] 7.3, step 11). Not in long mode, which has no task switches.
#include <array>

#include "cpu/cpu.h"
#include "cpu/descriptor.h"

namespace backplane {

/// The registers of a TSS of either size ([SDM3A] figures 7-2 and 7-10).
struct TaskImage {
    std::uint32_t cr3{0}, eip{0}, eflags{0};
    std::array<std::uint32_t, 8> gpr{};       // in the order of the Gpr names
    std::array<std::uint16_t, 6> segments{};  // in the order of the SegmentName names
    std::uint16_t ldtr{0};
    bool has_cr3{false};
    bool debug_trap{false};
};

namespace {

constexpr std::uint32_t kMinimumLimit32 = 0x67, kMinimumLimit16 = 0x2b;
constexpr std::uint32_t kBytes32 = 0x68, kBytes16 = 0x2c;
constexpr std::uint32_t kLink = 0, kCr3 = 0x1c;
// From the instruction pointer to the last segment register: what a switch saves.
constexpr std::uint32_t kDynamic32 = 0x20, kDynamicBytes32 = 0x60 - 0x20, kLdt32 = 0x60, kTrap32 = 0x64;
constexpr std::uint32_t kDynamic16 = 0x0e, kDynamicBytes16 = 0x2a - 0x0e, kLdt16 = 0x2a;
constexpr std::uint64_t kBusy = std::uint64_t{kTypeBusyBit} << 40;

using Bytes = std::array<std::byte, kBytes32>;

template <typename T>
T get(Bytes const& bytes, std::size_t at) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
}
template <typename T>
void put(Bytes& bytes, std::size_t at, std::uint64_t value) {
    auto const narrow = static_cast<T>(value);
    std::memcpy(bytes.data() + at, &narrow, sizeof(T));
}

TaskImage image_32(Bytes const& bytes) {
    TaskImage image;
    image.has_cr3 = true;
    image.cr3 = get<std::uint32_t>(bytes, kCr3);
    image.eip = get<std::uint32_t>(bytes, 0x20);
    image.eflags = get<std::uint32_t>(bytes, 0x24);
    for (unsigned i = 0; i < 8; ++i) image.gpr[i] = get<std::uint32_t>(bytes, 0x28 + 4 * i);
    for (unsigned i = 0; i < 6; ++i) image.segments[i] = get<std::uint16_t>(bytes, 0x48 + 4 * i);
    image.ldtr = get<std::uint16_t>(bytes, kLdt32);
    image.debug_trap = (get<std::uint16_t>(bytes, kTrap32) & 1) != 0;
    return image;
}

// The 16-bit TSS has no FS and GS (they become null) and leaves the upper halves of the registers at ones.
TaskImage image_16(Bytes const& bytes) {
    TaskImage image;
    image.eip = get<std::uint16_t>(bytes, 0x0e);
    image.eflags = get<std::uint16_t>(bytes, 0x10);
    for (unsigned i = 0; i < 8; ++i) image.gpr[i] = 0xffff'0000 | get<std::uint16_t>(bytes, 0x12 + 2 * i);
    for (unsigned i = 0; i < 4; ++i) image.segments[i] = get<std::uint16_t>(bytes, 0x22 + 2 * i);
    image.ldtr = get<std::uint16_t>(bytes, kLdt16);
    return image;
}

constexpr std::uint64_t kTaskFlags = rflags::kArithmetic | rflags::kTrap | rflags::kInterrupt | rflags::kDirection |
                                     rflags::kIopl | rflags::kNestedTask | rflags::kResume | rflags::kVirtual8086 |
                                     rflags::kAlignmentCheck | rflags::kIdentification;

}  // namespace

bool Cpu::switch_task(std::uint16_t selector, TaskCause cause, std::uint64_t next_instruction, std::uint32_t external) {
    if (!is_alone()) {
        // Several stores follow each other, and each may need to be made alone.
        ask_to_run_alone();
        return false;
    }
    // A bad selector in the link of a returning task is #TS, anywhere else #GP ([SDM3A] table 7-1).
    ExceptionVector const bad =
        cause == TaskCause::iret ? ExceptionVector::invalid_tss : ExceptionVector::general_protection;
    std::uint32_t const code = error_code_of(selector) | external;
    if (is_null(selector) || is_local(selector)) return fault(bad, code);
    auto const descriptor = read_descriptor(selector, bad);
    if (!descriptor) {
        pending_.error_code |= pending_.vector == bad ? external : 0;
        return false;
    }
    Segment tss = segment_from(selector, *descriptor);
    bool const busy = (tss.type & kTypeBusyBit) != 0;
    if (!is_tss(tss) || busy != (cause == TaskCause::iret)) return fault(bad, code);
    if (!tss.present) return fault(ExceptionVector::segment_not_present, code);
    bool const is_32 = (tss.type & kTypeTss32) != 0;
    if (tss.limit < (is_32 ? kMinimumLimit32 : kMinimumLimit16)) return fault(ExceptionVector::invalid_tss, code);
    Bytes bytes{};
    if (!load_pieces(tss.base, bytes.data(), is_32 ? kBytes32 : kBytes16, true)) return false;
    if (!save_task(cause, next_instruction)) return false;

    bool const nests = cause == TaskCause::call || cause == TaskCause::interrupt;
    if (nests && !store_system<std::uint16_t>(tss.base + kLink, state_.tr.selector)) return false;
    if (!nests && !mark_busy(state_.tr.selector, BusyBit::clear)) return false;
    if (cause != TaskCause::iret && !mark_busy(selector, BusyBit::set)) return false;
    tss.type |= kTypeBusyBit;
    state_.tr = tss;
    load_task(is_32 ? image_32(bytes) : image_16(bytes), cause);
    trap_dropped_ = true;
    return true;
}

/// The old task's registers into its TSS, in one store.
bool Cpu::save_task(TaskCause cause, std::uint64_t next_instruction) {
    std::uint64_t flags_image = rflags();
    if (cause == TaskCause::iret) flags_image &= ~rflags::kNestedTask;
    Bytes bytes{};
    if ((state_.tr.type & kTypeTss32) != 0) {
        put<std::uint32_t>(bytes, 0x20, next_instruction);
        put<std::uint32_t>(bytes, 0x24, flags_image);
        for (unsigned i = 0; i < 8; ++i) put<std::uint32_t>(bytes, 0x28 + 4 * i, slot_[i]);
        for (unsigned i = 0; i < 6; ++i) put<std::uint32_t>(bytes, 0x48 + 4 * i, state_.segments[i].selector);
        return store_pieces(state_.tr.base + kDynamic32, bytes.data() + kDynamic32, kDynamicBytes32, true);
    }
    put<std::uint16_t>(bytes, 0x0e, next_instruction);
    put<std::uint16_t>(bytes, 0x10, flags_image);
    for (unsigned i = 0; i < 8; ++i) put<std::uint16_t>(bytes, 0x12 + 2 * i, slot_[i]);
    for (unsigned i = 0; i < 4; ++i) put<std::uint16_t>(bytes, 0x22 + 2 * i, state_.segments[i].selector);
    return store_pieces(state_.tr.base + kDynamic16, bytes.data() + kDynamic16, kDynamicBytes16, true);
}

bool Cpu::mark_busy(std::uint16_t selector, BusyBit bit) {
    std::uint64_t const where = state_.gdtr.base + (selector & ~std::uint64_t{7});
    auto const descriptor = load_system<std::uint64_t>(where);
    if (!descriptor.ok) return false;
    return store_system<std::uint64_t>(where,
                                       bit == BusyBit::set ? descriptor.value | kBusy : descriptor.value & ~kBusy);
}

/// From here on the new task runs; a fault stays pending in it.
void Cpu::load_task(TaskImage const& image, TaskCause cause) {
    state_.cr0 |= cr0::kTaskSwitched;
    for (unsigned i = 0; i < 8; ++i) slot_[i] = image.gpr[i];
    rip_ = image.eip;
    // All selectors first, so that a fault's handler finds them; none can be used before it is loaded.
    for (unsigned i = 0; i < 6; ++i) {
        state_.segments[i] = Segment{};
        state_.segments[i].selector = image.segments[i];
    }
    state_.segments[ss].dpl = static_cast<std::uint8_t>(rpl_of(image.segments[cs]));
    state_.ldtr = Segment{};
    state_.ldtr.selector = image.ldtr;
    std::uint64_t flags_image = (image.eflags & kTaskFlags) | rflags::kFixed;
    if (cause == TaskCause::call || cause == TaskCause::interrupt) flags_image |= rflags::kNestedTask;
    set_rflags(flags_image);
    mode_changed();
    attention_ = true;
    set_dr7(state_.dr7 & ~std::uint64_t{0x155});  // the local breakpoints ([SDM3B] 17.2.4)
    leave_reason_ = Leave::next;
    if (image.has_cr3 && (state_.cr0 & cr0::kPaging) != 0 && !write_cr3(image.cr3)) return;
    if (!load_task_segments(image)) return;
    if (image.debug_trap) note_debug_trap(dr6::kTaskSwitch);
}

bool Cpu::load_task_segments(TaskImage const& image) {
    if (!load_task_ldt(image.ldtr)) return false;
    constexpr SegmentName kOrder[] = {cs, ss, ds, es, fs, gs};
    if (virtual_8086()) {
        for (SegmentName const name : kOrder) set_real_segment(name, image.segments[name]);
    } else {
        for (SegmentName const name : kOrder)
            if (!load_task_segment(name, image.segments[name])) return false;
    }
    mode_changed();
    if (rip_ > code_limit_) return fault(ExceptionVector::general_protection);
    return true;
}

bool Cpu::load_task_ldt(std::uint16_t selector) {
    if (is_null(selector)) return true;
    if (is_local(selector)) return fault(ExceptionVector::invalid_tss, error_code_of(selector));
    auto const descriptor = read_descriptor(selector, ExceptionVector::invalid_tss);
    if (!descriptor) return false;
    Segment const segment = segment_from(selector, *descriptor);
    bool const fits = !segment.code_or_data && segment.type == kTypeLdt && segment.present;
    if (!fits) return fault(ExceptionVector::invalid_tss, error_code_of(selector));
    state_.ldtr = segment;
    return true;
}

// [SDM3A] table 7-1: a wrong segment is #TS, an absent one #NP, an absent stack #SS.
bool Cpu::load_task_segment(SegmentName name, std::uint16_t selector) {
    std::uint32_t const code = error_code_of(selector);
    bool const may_be_null = name != cs && name != ss;
    if (is_null(selector)) return may_be_null || fault(ExceptionVector::invalid_tss, code);
    auto const descriptor = read_descriptor(selector, ExceptionVector::invalid_tss);
    if (!descriptor) return false;
    Segment const segment = segment_from(selector, *descriptor);
    unsigned const level = rpl_of(state_.segments[cs].selector);
    bool fits = false;
    if (name == cs)
        fits = is_code(segment) && (is_conforming(segment) ? segment.dpl <= level : segment.dpl == level);
    else if (name == ss)
        fits = is_writable_data(segment) && segment.dpl == level && rpl_of(selector) == level;
    else
        fits = is_readable(segment) &&
               (is_conforming(segment) || (segment.dpl >= level && segment.dpl >= rpl_of(selector)));
    if (!fits) return fault(ExceptionVector::invalid_tss, code);
    if (!segment.present)
        return fault(name == ss ? ExceptionVector::stack_fault : ExceptionVector::segment_not_present, code);
    mark_accessed(selector, *descriptor);
    state_.segments[name] = segment;
    return true;
}

}  // namespace backplane
