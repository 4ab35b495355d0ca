// Who wants to see what a machine does, run by run.
#pragma once

#include <cstdint>

#include "clock/virtual_time.h"
#include "engine/engine.h"

namespace backplane {

class MachineObserver {
  public:
    virtual ~MachineObserver() = default;
    /// Processor `cpu` has executed from `begin` until the machine's present time; what ended that.
    virtual void executed(unsigned cpu, Ticks begin, VirtualizationEvent const& event) = 0;
    /// Time has passed without instructions because the machine's share was used up.
    virtual void stolen(Ticks, Ticks) {}
};

}  // namespace backplane
