// One processor of a machine: interrupt controller, time-stamp counter, code caches, and the engine that executes it.
//
// Every processor has caches of its own: a store into decoded code reaches all of them through the page map.
#pragma once

#include <cstdint>

#include "clock/time_stamp_counter.h"
#include "cpu/trace_cache.h"
#include "engine/sim/sim_engine.h"
#include "interrupt/local_apic.h"

namespace backplane {

struct Vcpu {
    struct Parts {
        Bus& bus;
        MachineClock& clock;
        ApicFabric& fabric;
        std::uint64_t instructions_per_second;
        std::uint64_t random_seed;  ///< of the machine: each processor's numbers differ
        CpuModel model;
        CpuTopology topology;
    };
    /// Processor `number`, APIC identifier `number`; 0 is the bootstrap processor, the others wait for a start-up message.
    Vcpu(Parts const& parts, unsigned number)
        : local_apic{parts.clock, tsc, number, parts.fabric},
          traces{parts.bus.memory().map()},
          engine{Cpu::Parts{parts.bus, parts.clock, tsc, local_apic, traces, parts.instructions_per_second,
                            parts.random_seed + number * 0xd134'2543'de82'ef95, parts.model, parts.topology}} {}

    /// Nothing to execute until something comes from outside.
    [[nodiscard]] bool is_idle() const { return engine.is_idle(); }
    /// Idle, and no interrupt but an NMI or a start-up message can change that.
    [[nodiscard]] bool is_dead() const { return is_idle() && (engine.cpu().rflags() & rflags::kInterrupt) == 0; }

    TimeStampCounter tsc;
    LocalApic local_apic;
    TraceCache traces;
    SimEngine engine;
};

}  // namespace backplane
