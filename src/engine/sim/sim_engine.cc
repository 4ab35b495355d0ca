#include "engine/sim/sim_engine.h"

#include "interrupt/local_apic.h"

namespace backplane {

VirtualizationEvent SimEngine::run(std::uint64_t quota) {
    Cpu::RunResult const result = cpu_.run(quota);
    using Kind = VirtualizationEvent::Kind;
    switch (result.reason) {
        case Leave::halt: return {Kind::halt, result.executed};
        case Leave::pause: return {Kind::pause, result.executed};
        case Leave::device: return {Kind::device, result.executed};
        case Leave::debug: return {Kind::debug_stop, result.executed};
        case Leave::shutdown: return {Kind::shutdown, result.executed, cpu_.shutdown_cause()};
        case Leave::next:
        case Leave::alone:
        case Leave::fault: break;
    }
    return {Kind::quota_end, result.executed};
}

Expected<void, Error> SimEngine::set_tier(Tier tier, std::size_t code_bytes) {
    translator_.reset();
    if (tier == Tier::interpreter) return {};
    translator_ = BACKPLANE_TRY(Translator::create(cpu_, code_bytes));
    return {};
}

bool SimEngine::is_idle() const { return cpu_.is_halted() && !cpu_.has_wake_event(); }

}  // namespace backplane
