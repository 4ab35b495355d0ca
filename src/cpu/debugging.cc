// What a debugger or tracer asks of the processor, on the dispatcher's side.
#include <utility>

#include "cpu/cpu.h"

namespace backplane {

void Cpu::set_debug_points(DebugPoints points) {
    if (debug_ == nullptr) {
        if (points.is_empty()) return;
        debug_ = std::make_unique<Debugging>();
    }
    // Watched pages must not stay in the TLB, and those that were watched may enter it again.
    if (debug_->points.watchpoints != points.watchpoints) flush_tlb();
    debug_->points = std::move(points);
    drop_debugging_if_idle();
}

void Cpu::set_instruction_hook(InstructionHook hook) {
    if (debug_ == nullptr) {
        if (!hook) return;
        debug_ = std::make_unique<Debugging>();
    }
    debug_->on_instruction = std::move(hook);
    drop_debugging_if_idle();
}

void Cpu::drop_debugging_if_idle() {
    attention_ = true;  // to be looked at now, and interrupts that were held off as well
    if (debug_->is_idle()) debug_.reset();
}

/// True when a breakpoint is at rip.
bool Cpu::take_debug_stop() {
    attention_ = true;
    return debug_->stops_at(segment_linear_of_code(rip_), instructions_before_run_ + quota_ - remaining_);
}

/// Tells the hook about the instruction at `linear` that has been run alone, if it came to its end.
void Cpu::report_retired(std::uint64_t linear, unsigned privilege) {
    attention_ = true;
    if (leave_reason_ == Leave::fault) debug_->hit.reset();  // it has not happened
    if (!debug_->on_instruction || leave_reason_ == Leave::fault || leave_reason_ == Leave::alone) return;
    auto const& trace = *reinterpret_cast<Trace const*>(scratch_trace_);
    bool const more = debug_->on_instruction({.number = instructions_before_run_ + quota_ - remaining_ - 1,
                                              .linear = linear,
                                              .physical = trace.address,
                                              .second_page = trace.second_page,
                                              .length = trace.ops[0].length,
                                              .mode = trace.mode,
                                              .privilege = static_cast<std::uint8_t>(privilege)});
    if (more) return;
    debug_->on_instruction = nullptr;
    drop_debugging_if_idle();
}

}  // namespace backplane
