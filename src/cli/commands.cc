#include "cli/commands.h"

#include "cli/control.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "host/console_input.h"
#include "host/descriptor_sink.h"
#include "host/file.h"
#include "host/runtime_folder.h"
#include "host/signal_watcher.h"
#include "host/terminal.h"
#include "host/usage.h"
#include "rack/console.h"
#include "rack/printable.h"
#include "rack/rack.h"

namespace backplane {
namespace {

void print(int fd, std::string_view text) {
    // A reader that has gone away is no reason to fail: there is nobody left to tell.
    [[maybe_unused]] auto const written = write_all(fd, std::as_bytes(std::span{text}));
}

ExitCode refuse(std::string_view message) {
    print(STDERR_FILENO, printable(message) + '\n');
    return ExitCode::bad_input;
}

/// Errors that do not begin with the place in a file get the program's name in front.
ExitCode refuse(Error const& error) { return refuse("backplane: " + error.message); }

/// A terminal that can place and colour text.
bool is_capable_terminal(int fd) {
    char const* const kind = std::getenv("TERM");
    return is_terminal(fd) && kind != nullptr && std::string_view{kind} != "dumb";
}

/// For our own words; a guest's screen is its own.
bool wants_colour(int fd) {
    char const* const no_colour = std::getenv("NO_COLOR");  // no-color.org: set and not empty
    return is_capable_terminal(fd) && (no_colour == nullptr || *no_colour == '\0');
}

/// The consoles of all machines of a rack, on one descriptor.
class RackConsoles {
  public:
    RackConsoles(RackFile const& rack, int fd) : out_{fd} {
        std::size_t width = 0;
        for (MachineFile const& machine : rack.machines) width = std::max(width, machine.name.size());
        bool const coloured = wants_colour(fd);
        unsigned hue = 0;
        for (MachineFile const& machine : rack.machines) {
            ConsolePrefixer::Style style{machine.name, width, std::nullopt};
            if (coloured) style.hue = hue++;
            consoles_.emplace(machine.name, std::make_unique<ConsolePrefixer>(out_, style));
        }
    }

    ByteSink* of(std::string const& machine) { return consoles_.at(machine).get(); }
    void show() { out_.flush(); }
    /// Lines that have not ended come last, in the order of the names.
    void finish() {
        for (auto& [name, console] : consoles_) console->flush();
        out_.flush();
    }

  private:
    DescriptorSink out_;
    std::map<std::string, std::unique_ptr<ConsolePrefixer>> consoles_;
};

void say_where_debuggers_connect(Rack const& rack) {
    for (std::string const& line : rack.debugger_addresses()) print(STDERR_FILENO, "backplane: gdb: target remote for " + line + '\n');
}

/// Nobody asked for it, so it is said aloud: a host with AVX2 would give another run.
void say_if_processor_is_smaller(Rack const& rack) {
    if (rack.has_smaller_processor())
        print(STDERR_FILENO, "backplane: this host lacks AVX2, FMA or F16C: the guests' processor is \"sse\", without them\n");
}

/// Runs the rack and completes its report with what the host saw.
RackReport run_measured(Rack& rack, StopFlags const& stop) {
    HostUsage const before = host_usage();
    Ending const ending = rack.run(stop);
    HostUsage const after = host_usage();
    RackReport report = rack.report();
    report.ending = ending;
    report.host.wall_ns = after.monotonic_ns - before.monotonic_ns;
    report.host.cpu_ns = after.cpu_ns - before.cpu_ns;
    report.host.peak_resident_bytes = after.peak_resident_bytes;
    return report;
}

/// With --verify: what made the tiers differ, if they did.
void explain_difference(Rack const& rack, StopFlags const& stop) {
    if (!rack.has_difference()) return;
    print(STDERR_FILENO, "backplane: the tiers differ; both run again to find the block (Ctrl-C ends the search)\n");
    print(STDERR_FILENO, rack.explain_difference(stop));
}

Expected<std::optional<ReportFile>, Error> report_file(RunOptions const& options) {
    std::optional<ReportFile> file;
    if (options.report) file = BACKPLANE_TRY(ReportFile::create(*options.report));
    return file;
}

/// \return the exit code of the run, or bad_input when the report could not be written
ExitCode write_report(std::optional<ReportFile> const& file, RackReport const& report, ExitCode code) {
    if (!file) return code;
    auto const written = file->write(json_report(report));
    return written ? code : refuse(written.error());
}

ExitCode execute(PrintCommand const& command) {
    print(STDOUT_FILENO, command.text);
    return ExitCode::all_off;
}

ExitCode execute(CheckCommand const& command) {
    auto const rack = read_rack_file(command.rack_file);
    if (!rack) return refuse(rack.error().message);
    print(STDOUT_FILENO, rack_summary(*rack));
    return ExitCode::all_off;
}

ExitCode execute(ControlCommand const& command) { return control_rack(command); }

/// Where `backplane ctl` finds the rack. None when the usual folder cannot be had: nobody asked for it.
std::optional<std::filesystem::path> control_socket(RackFile const& file) {
    if (file.control) return file.control;
    std::filesystem::path const folder = runtime_folder();
    if (!make_runtime_folder(folder)) return std::nullopt;
    return folder / (file.name + ".sock");
}

/// What the command line says about a run, of one machine or of a rack; for some of it a file may have spoken before.
void take_over(RunOptions const& from, RackFile& file, RackOptions& options) {
    options.timeout = from.timeout;
    options.verify = from.verify;
    if (from.tier) file.tier = *from.tier;
    if (from.processor) file.processor = *from.processor;
    options.traces = from.traces;
    options.code = from.code;
    options.code_bytes = from.code_bytes.value_or(options.code_bytes);
}

ExitCode execute(RunCommand const& command) {
    auto file = read_rack_file(command.rack_file);
    if (!file) return refuse(file.error().message);
    auto const report_to = report_file(command.options);
    if (!report_to) return refuse(report_to.error());
    StopFlags stop;
    auto const watcher = SignalWatcher::create(stop);
    if (!watcher) return refuse(watcher.error());

    // JSON on standard output stays alone there.
    int const text_fd = *report_to && (*report_to)->is_standard_output() ? STDERR_FILENO : STDOUT_FILENO;
    RackConsoles consoles{*file, text_fd};
    RackOptions options;
    options.console = [&](std::string const& machine) { return consoles.of(machine); };
    options.at_barrier = [&] { consoles.show(); };
    take_over(command.options, *file, options);
    options.threads = command.options.threads.value_or(file->threads.value_or(1));
    options.control = control_socket(*file);
    auto const rack = Rack::create(*file, std::move(options));
    if (!rack) return refuse(rack.error());
    say_if_processor_is_smaller(**rack);
    if (auto const problem = (*rack)->control_problem())
        print(STDERR_FILENO, "backplane: no control socket: " + printable(*problem) + '\n');
    say_where_debuggers_connect(**rack);

    RackReport const report = run_measured(**rack, stop);
    consoles.finish();
    print(text_fd, '\n' + human_report(report));
    explain_difference(**rack, stop);
    return write_report(*report_to, report, exit_code(report.ending, stop));
}

/// Runs with the terminal in raw mode, and gives it back before anything else is printed.
Expected<RackReport, Error> run_on_terminal(Rack& rack, StopFlags const& stop, bool uses_terminal) {
    std::optional<TerminalGuard> raw;
    if (uses_terminal) {
        print(STDERR_FILENO, "backplane: the console of the machine; Ctrl-A x quits\n");
        raw.emplace(BACKPLANE_TRY(TerminalGuard::create(STDIN_FILENO)));
    }
    return run_measured(rack, stop);
}

ExitCode execute(BootCommand const& command) {
    RackFile file;
    file.machines.push_back(command.machine);
    if (auto const problem = find_file_problem(command.machine); problem) {
        return refuse(bad_input("--" + problem->key + ": " + problem->message));
    }
    if (auto const problem = find_screen_problem(command.machine)) return refuse(bad_input("--" + problem->key + ": " + problem->message));
    auto const report_to = report_file(command.options);
    if (!report_to) return refuse(report_to.error());
    StopFlags stop;
    auto const watcher = SignalWatcher::create(stop);
    if (!watcher) return refuse(watcher.error());

    int const console_fd = *report_to && (*report_to)->is_standard_output() ? STDERR_FILENO : STDOUT_FILENO;
    DescriptorSink console{console_fd};
    DescriptorInput input{STDIN_FILENO, stop};
    RackOptions options;
    options.console = [&](std::string const&) { return &console; };
    if (is_capable_terminal(console_fd)) options.screen = ScreenStyle::terminal;
    // A job in the background must not touch the terminal: it would be stopped.
    bool const may_read = !is_terminal(STDIN_FILENO) || is_foreground_terminal(STDIN_FILENO);
    options.console_input = may_read ? &input : nullptr;
    options.at_barrier = [&] { console.flush(); };
    take_over(command.options, file, options);
    auto const rack = Rack::create(file, std::move(options));
    if (!rack) return refuse(rack.error());
    say_if_processor_is_smaller(**rack);
    say_where_debuggers_connect(**rack);

    auto const report = run_on_terminal(**rack, stop, may_read && is_terminal(STDIN_FILENO));
    console.flush();
    if (!report) return refuse(report.error());
    if (!console.is_at_line_start()) print(STDERR_FILENO, "\n");
    print(STDERR_FILENO, boot_summary(*report));
    explain_difference(**rack, stop);
    ExitCode code = exit_code(report->ending, stop);
    if (auto const status = report->machines.front().exit_status) code = static_cast<ExitCode>(*status);
    return write_report(*report_to, *report, code);
}

}  // namespace

ExitCode exit_code(Ending ending, StopFlags const& stop) {
    switch (ending) {
        case Ending::all_off:
            return ExitCode::all_off;
        case Ending::crashed:
            return ExitCode::crashed;
        case Ending::timeout:
            return ExitCode::timeout;
        case Ending::interrupted:
            break;
    }
    return stop.is_interrupt_requested() ? ExitCode::interrupted : ExitCode::terminated;
}

std::string boot_summary(RackReport const& report) {
    std::string text = "backplane: ";
    for (MachineReport const& machine : report.machines) {
        text += machine_state_text(machine.state);
        if (machine.state == MachineState::crashed) {
            text += fmt::format(": {} at rip {:#x}", printable(machine.cause), machine.rip);
        }
        text += fmt::format(" after {:.6f} s of virtual time, {} instructions",
                            static_cast<double>(machine.virtual_time.ns()) / 1e9, machine.instructions);
        if (machine.exit_status) text += fmt::format(", exit status {}", *machine.exit_status);
    }
    return text + fmt::format("; host: {:.2f} s, {:.2f} s of CPU time\n",
                              static_cast<double>(report.host.wall_ns) / 1e9,
                              static_cast<double>(report.host.cpu_ns) / 1e9);
}

ExitCode run_backplane(std::span<char const* const> arguments) {
    ::signal(SIGPIPE, SIG_IGN);  // a closed reader shows as EPIPE where we write
    auto const command = parse_command_line(arguments);
    if (!command) return refuse(command.error());
    return std::visit([](auto const& chosen) { return execute(chosen); }, *command);
}

}  // namespace backplane
