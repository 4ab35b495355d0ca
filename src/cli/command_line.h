// The command line as data: which command, with what, checked as far as words alone can be.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "base/expected.h"
#include "rack/control_server.h"
#include "rack/rack.h"
#include "rack/rack_file.h"

namespace backplane {

inline constexpr std::string_view kVersion = "0.1.0";  // that of CMakeLists.txt

/// What `run` and `boot` have in common.
struct RunOptions {
    std::optional<std::filesystem::path> report;      ///< "-": standard output
    std::optional<std::chrono::nanoseconds> timeout;  ///< host time
    std::optional<Tier> tier;                         ///< instead of the rack file's
    std::optional<CpuModel> processor;                ///< likewise
    std::optional<unsigned> threads;                  ///< instead of the rack file's
    bool verify{false};                               ///< run the interpreter beside the translator and compare
    std::optional<std::size_t> code_bytes;            ///< instead of the default
    RackOptions::Traces traces;
    CodeRecords code;
};

struct RunCommand {
    std::filesystem::path rack_file;
    RunOptions options;
};
struct BootCommand {
    MachineFile machine;
    RunOptions options;
};
struct CheckCommand {
    std::filesystem::path rack_file;
};
struct ControlCommand {
    std::string rack;  ///< its name, its rack file or its socket
    ControlRequest request;
    bool as_json{false};
};
/// --help and --version: print and be done.
struct PrintCommand {
    std::string text;
};
using Command = std::variant<RunCommand, BootCommand, CheckCommand, ControlCommand, PrintCommand>;

/// \param arguments  argv without the program's name
/// Errors: bad_input, one line that names the option and what was expected
[[nodiscard]] Expected<Command, Error> parse_command_line(std::span<char const* const> arguments);

/// "2.5" as seconds, more than 0 and at most a thousand million.
/// Errors: bad_input, `"soon"; expected ...`
[[nodiscard]] Expected<std::chrono::nanoseconds, Error> parse_timeout(std::string_view text);

/// The kernel's command line for `boot`: the words of --append, after those of the machine's console (such as
/// console=ttyS0) unless they name a console.
[[nodiscard]] std::string boot_command_line(std::string_view append, std::string_view console = kDefaultCommandLine);

}  // namespace backplane
