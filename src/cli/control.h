// `backplane ctl`: asks a running rack (docs/design/control.md).
#pragma once

#include "cli/command_line.h"
#include "cli/commands.h"

namespace backplane {

[[nodiscard]] ExitCode control_rack(ControlCommand const& command);

}  // namespace backplane
