// What `monitor ...` in GDB says: looks that GDB has no packet for.
#pragma once

#include <string>
#include <string_view>

#include "debug/debug_target.h"

namespace backplane {

/// What a monitor command may change of the session.
struct MonitorChoices {
    bool& physical;  ///< memory packets mean physical addresses
    bool& step_with_interrupts;
};

/// Carries a command line out. \return  lines to be shown, also for a command that does not exist
[[nodiscard]] std::string monitor_command(std::string_view line, DebugTarget& target, unsigned cpu,
                                          MonitorChoices choices);

}  // namespace backplane
