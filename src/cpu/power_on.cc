#include "cpu/power_on.h"

namespace backplane {

namespace {

Segment real_mode_segment(std::uint16_t selector, std::uint64_t base, std::uint8_t type) {
    Segment segment{};
    segment.selector = selector;
    segment.base = base;
    segment.limit = 0xffff;
    segment.type = type;
    segment.present = true;
    return segment;
}

}  // namespace

CpuState power_on_state() {
    constexpr std::uint8_t kReadWriteData = 0x3;
    constexpr std::uint8_t kReadExecuteCode = 0xb;
    constexpr std::uint8_t kLdt = 0x2;
    constexpr std::uint8_t kBusyTask = 0xb;
    CpuState state;
    state.gpr[rdx] = kProcessorSignature;
    state.segments.fill(real_mode_segment(0, 0, kReadWriteData));
    for (Segment& segment : state.segments) segment.code_or_data = true;
    state.segments[cs] = real_mode_segment(0xf000, 0xffff'0000, kReadExecuteCode);
    state.segments[cs].code_or_data = true;
    state.ldtr = real_mode_segment(0, 0, kLdt);
    state.tr = real_mode_segment(0, 0, kBusyTask);
    return state;
}

}  // namespace backplane
