// What each command does, up to the exit code.
#pragma once

#include <span>

#include "cli/command_line.h"
#include "host/stop_flags.h"
#include "rack/report.h"

namespace backplane {

/// The process's exit codes (README, "Exit codes").
enum class ExitCode : int {
    all_off = 0,
    crashed = 1,
    bad_input = 2,
    timeout = 124,
    interrupted = 130,  // 128 + SIGINT
    terminated = 143,   // 128 + SIGTERM
};

[[nodiscard]] ExitCode exit_code(Ending ending, StopFlags const& stop);

/// One line for the end of `boot`: what became of the machine.
[[nodiscard]] std::string boot_summary(RackReport const& report);

/// The whole program. \param arguments  argv without the program's name
[[nodiscard]] ExitCode run_backplane(std::span<char const* const> arguments);

}  // namespace backplane
