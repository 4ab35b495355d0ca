#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "host/stream_listener.h"
#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

constexpr std::array<std::string_view, 4> kCommands{"run", "boot", "check", "ctl"};
constexpr std::array<std::string_view, 9> kControls{"pause", "resume", "step", "stop", "power-button",
                                                     "stats", "console", "cut", "heal"};
constexpr std::uint64_t kMostQuanta = 1'000'000'000;
constexpr auto kOptions = std::to_array<std::string_view>({
    "--boot", "--debug-console", "--hpet", "--vga", "--vga-rom", "--firmware", "--tier", "--processor", "--verify", "--report", "--timeout", "--kernel", "--initrd",
    "--append", "--memory", "--disk", "--readonly", "--snapshot", "--acpi", "--help", "--debug-exit", "--gdb", "--gdb-wait", "--trace-instructions",
    "--trace", "--trace-exits", "--trace-limit", "--perf-map", "--dump-blocks", "--gdb-jit", "--code-buffer", "--threads", "--json", "--cpus", "--threads-per-core"});
constexpr std::array<std::string_view, 2> kAcpis{"reduced", "full"};
constexpr double kLongestTimeoutSeconds = 1e9;

constexpr char const* kDescription = "Backplane runs several unmodified x86-64 Linux machines in one process.";
constexpr char const* kExamples = R"(
Examples:
  One kernel, its console on this terminal (Ctrl-A x quits, Ctrl-C goes to the guest):
    backplane boot --kernel vmlinuz --initrd initrd.img --append "panic=-1" --memory 512M
  Two machines and a link, described by a file; the report also as JSON:
    backplane run rack.toml --report report.json --timeout 600
  Is the file right?
    backplane check rack.toml
  A running rack, by its name (that of its file or folder), its file or its socket:
    backplane ctl rack.toml pause|resume|stats, step QUANTA, cut|heal LINK, stop|power-button|console MACHINE

A rack file:
    [machine.alpha]
    memory = "256M"
    kernel = "vmlinuz"              # relative to the file's folder
    initrd = "initrd.img"
    cmdline = "console=ttyS0"
    [[machine.alpha.nic]]
    link = "lan"
    [link.lan]

Exit codes: 0 every machine powered off, 1 a machine crashed, 2 bad input, 124 timeout, 130 Ctrl-C, 143 SIGTERM)";

constexpr std::array<std::string_view, 2> kTiers{"translator", "interpreter"};

/// What the parser fills in; checked afterwards.
struct Words {
    std::string rack_file, report, timeout, tier, processor, kernel, firmware, initrd, append, memory, acpi, boot, gdb;
    std::string trace, trace_instructions, trace_exits, trace_limit, dump_blocks, code_buffer, threads, control, argument, vga_rom;
    bool debug_exit{false}, debug_console{false}, hpet{false}, vga{false}, verify{false}, gdb_wait{false}, json{false}, perf_map{false}, gdb_jit{false};
    std::vector<std::string> disks;
    bool read_only{false}, snapshot{false};
    CpuTopology topology;
};

void add_run_options(CLI::App& command, Words& words) {
    command.add_option("--report", words.report, "write the report as JSON to this file (\"-\": standard output)")
        ->type_name("FILE");
    command.add_option("--timeout", words.timeout, "stop after this much time of the host (exit code 124)")
        ->type_name("SECONDS");
    command.add_option("--tier", words.tier, "how instructions are executed: translator (fast) or interpreter; same results")
        ->type_name("TIER");
    command.add_option("--processor", words.processor, "what guests see: avx2, or sse for hosts without AVX2 (default: what this host has)")
        ->type_name("MODEL");
    command.add_flag("--verify", words.verify, "run both tiers in lock-step and stop at the first difference");
    command.add_option("--trace", words.trace, "write a timeline (JSON for ui.perfetto.dev) to this file")->type_name("FILE");
    command.add_option("--trace-instructions", words.trace_instructions, "write every instruction to this file")->type_name("FILE");
    command.add_option("--trace-exits", words.trace_exits, "write every device access and engine exit to this file")->type_name("FILE");
    command.add_option("--trace-limit", words.trace_limit, "the most bytes of each trace (256M)")->type_name("SIZE");
    command.add_option("--code-buffer", words.code_buffer, "memory for translated code, each processor (10M); when it is full, all is made anew; same results")->type_name("SIZE");
    command.add_flag("--perf-map", words.perf_map, "let perf name translated code: write /tmp/perf-PID.map");
    command.add_option("--dump-blocks", words.dump_blocks, "write each translated block to this file, guest and host instructions")->type_name("FILE");
    command.add_flag("--gdb-jit", words.gdb_jit, "let a GDB that debugs this program, not a guest, name translated code");
}

void add_commands(CLI::App& app, Words& words) {
    CLI::App* const run = app.add_subcommand("run", "Run the machines of a rack file, consoles prefixed by name");
    run->add_option("RACK.toml", words.rack_file, "the rack file")->type_name("")->required();
    add_run_options(*run, words);
    run->add_option("--threads", words.threads, "host threads that run machines, or \"auto\" (1); same results")->type_name("N");
    CLI::App* const boot = app.add_subcommand("boot", "Run one machine, its console on standard input and output");
    boot->add_option("--kernel", words.kernel, "the kernel: bzImage or ELF")->type_name("FILE");
    boot->add_option("--firmware", words.firmware, "instead of a kernel: a flat image at the top of 4 GiB, such as SeaBIOS")
        ->type_name("FILE");
    boot->add_option("--initrd", words.initrd, "the initial RAM disk")->type_name("FILE");
    boot->add_option("--append", words.append, "words for the kernel, after console=ttyS0 unless they name a console")
        ->type_name("WORDS");
    boot->add_option("--memory", words.memory, "memory of the machine (256M)")->type_name("SIZE");
    boot->add_option("--cpus", words.topology.cpus, "processors of the machine: 1 to 16, which take turns (1)")->type_name("N");
    boot->add_option("--threads-per-core", words.topology.threads_per_core, "2: hyper-threading siblings (1)")->type_name("N");
    boot->add_option("--disk", words.disks, "a raw image as the machine's disk; may be given again")->type_name("FILE")->allow_extra_args(false);
    boot->add_flag("--readonly", words.read_only, "nothing is written to the disks");
    boot->add_flag("--snapshot", words.snapshot, "what is written to the disks is kept in memory and lost in the end");
    boot->add_option("--boot", words.boot, "how the kernel is entered: pvh, linux64, bzimage or multiboot")
        ->type_name("HOW");
    boot->add_option("--acpi", words.acpi, "what the ACPI tables describe: reduced (as little as Linux needs) or full")
        ->type_name("KIND");
    boot->add_flag("--debug-exit", words.debug_exit, "a write of N to port 0xF4 ends the run with exit code (N << 1) | 1");
    boot->add_flag("--debug-console", words.debug_console, "what is written to port 0x402 (by firmware) goes to the console");
    boot->add_flag("--hpet", words.hpet, "the machine has a high precision event timer (Linux asks --acpi full for it)");
    boot->add_flag("--vga", words.vga, "the console is the text screen and keyboard of a VGA adapter, not the serial line");
    boot->add_option("--vga-rom", words.vga_rom, "the adapter's BIOS, such as SeaBIOS' vgabios-isavga.bin, with --firmware and --vga")->type_name("FILE");
    boot->add_option("--gdb", words.gdb, "let GDB connect to this port of this host, or this socket")->type_name("PORT|PATH");
    boot->add_flag("--gdb-wait", words.gdb_wait, "execute nothing before GDB lets the machine go");
    add_run_options(*boot, words);
    CLI::App* const check = app.add_subcommand("check", "Read a rack file and say what is wrong with it");
    check->add_option("RACK.toml", words.rack_file, "the rack file")->type_name("")->required();
    CLI::App* const ctl = app.add_subcommand("ctl", "Ask a running rack: " + comma_list(kControls));
    ctl->add_option("RACK", words.rack_file, "its name, its rack file or its socket")->type_name("")->required();
    ctl->add_option("COMMAND", words.control, "what to do")->type_name("")->required();
    ctl->add_option("ARGUMENT", words.argument, "a machine (stop, power-button, console), a link (cut, heal), quanta (step)")->type_name("");
    ctl->add_flag("--json", words.json, "print the answer as JSON");
}

Error option_error(std::string_view option, Error const& error) {
    return bad_input(std::string{option} + ": " + error.message);
}

Expected<std::size_t, Error> code_bytes(std::string_view text) {
    auto const bytes = parse_byte_count(text);
    if (!bytes) return Unexpected{option_error("--code-buffer", bytes.error())};
    if (*bytes < SimEngine::kLeastCodeBytes || *bytes > SimEngine::kMostCodeBytes)
        return Unexpected{bad_input("--code-buffer: " + in_quotes(text) + "; expected 64K to 1G")};
    return *bytes;
}

Expected<RunOptions, Error> run_options(Words const& words, CLI::App const& command) {
    RunOptions options;
    if (command.count("--report") != 0) options.report = words.report;
    options.verify = words.verify;
    if (command.count("--tier") != 0) {
        if (words.tier != kTiers[0] && words.tier != kTiers[1])
            return Unexpected{bad_input("--tier: " + in_quotes(words.tier) + "; expected translator or interpreter" + did_you_mean(words.tier, kTiers))};
        options.tier = words.tier == kTiers[0] ? Tier::translator : Tier::interpreter;
    }
    if (command.count("--processor") != 0) {
        auto const* const known = std::find(std::begin(kCpuModelNames), std::end(kCpuModelNames), words.processor);
        if (known == std::end(kCpuModelNames))
            return Unexpected{bad_input("--processor: " + in_quotes(words.processor) + "; expected avx2 or sse" + did_you_mean(words.processor, kCpuModelNames))};
        options.processor = static_cast<CpuModel>(known - std::begin(kCpuModelNames));
    }
    if (command.count("--trace") != 0) options.traces.timeline = words.trace;
    if (command.count("--trace-instructions") != 0) options.traces.instructions = words.trace_instructions;
    if (command.count("--trace-exits") != 0) options.traces.exits = words.trace_exits;
    if (command.count("--code-buffer") != 0) options.code_bytes = BACKPLANE_TRY(code_bytes(words.code_buffer));
    options.code.perf_map = words.perf_map;
    options.code.gdb = words.gdb_jit;
    if (command.count("--dump-blocks") != 0) options.code.blocks = words.dump_blocks;
    if (command.count("--trace-limit") != 0) {
        auto const bytes = parse_byte_count(words.trace_limit);
        if (!bytes) return Unexpected{option_error("--trace-limit", bytes.error())};
        options.traces.limit_bytes = *bytes;
    }
    if (command.count("--timeout") == 0) return options;
    auto const timeout = parse_timeout(words.timeout);
    if (!timeout) return Unexpected{option_error("--timeout", timeout.error())};
    options.timeout = *timeout;
    return options;
}

Expected<AcpiPlatform, Error> acpi_platform(std::string_view text) {
    if (text == kAcpis[0]) return AcpiPlatform::reduced;
    if (text == kAcpis[1]) return AcpiPlatform::full;
    return Unexpected{bad_input("--acpi: " + in_quotes(text) + "; expected reduced or full" + did_you_mean(text, kAcpis))};
}

Expected<void, Error> check_what_boots(CLI::App const& boot) {
    if (boot.count("--kernel") == 0 && boot.count("--firmware") == 0)
        return Unexpected{bad_input("no kernel; expected --kernel FILE or --firmware FILE (see backplane --help)")};
    for (char const* other : {"--kernel", "--initrd", "--append", "--boot"}) {
        if (boot.count("--firmware") != 0 && boot.count(other) != 0)
            return Unexpected{bad_input(std::string{other} + ": firmware starts what it finds; expected either")};
    }
    return {};
}

Expected<void, Error> boot_disks(Words const& words, MachineFile& machine) {
    if (words.read_only && words.snapshot) return Unexpected{bad_input("--snapshot: nothing is written with --readonly; expected one of the two")};
    if ((words.read_only || words.snapshot) && words.disks.empty())
        return Unexpected{bad_input(std::string{words.snapshot ? "--snapshot" : "--readonly"} + ": expected --disk FILE as well")};
    DiskMode const mode = words.read_only ? DiskMode::read_only : words.snapshot ? DiskMode::snapshot : DiskMode::in_place;
    if (words.disks.size() > kMaxDisks) return Unexpected{bad_input("--disk: too many; expected at most 8")};
    for (std::string const& image : words.disks) machine.disks.push_back({image, mode});
    return {};
}

Expected<MachineFile, Error> boot_machine(Words const& words, CLI::App const& boot) {
    MachineFile machine;
    machine.name = "machine";
    BACKPLANE_TRY_VOID(check_what_boots(boot));
    machine.kernel = words.kernel;
    if (boot.count("--firmware") != 0) machine.firmware = words.firmware;
    if (boot.count("--initrd") != 0) machine.initrd = words.initrd;
    machine.command_line = boot_command_line(words.append, words.vga ? kScreenCommandLine : kDefaultCommandLine);
    if (auto const valid = check_command_line(machine.command_line); !valid) {
        return Unexpected{option_error("--append", valid.error())};
    }
    if (boot.count("--memory") != 0) {
        auto const bytes = parse_memory_size(words.memory);
        if (!bytes) return Unexpected{option_error("--memory", bytes.error())};
        machine.memory_bytes = *bytes;
    }
    machine.topology = words.topology;
    if (words.topology.cpus < 1 || words.topology.cpus > kMaxCpus)
        return Unexpected{bad_input(fmt::format("--cpus: {}; expected 1 to {}", words.topology.cpus, kMaxCpus))};
    if (words.topology.threads_per_core < 1 || words.topology.threads_per_core > 2 || words.topology.cpus % words.topology.threads_per_core != 0)
        return Unexpected{bad_input(fmt::format("--threads-per-core: {}; expected 1, or 2 with an even number of --cpus", words.topology.threads_per_core))};
    if (boot.count("--acpi") != 0) machine.acpi = BACKPLANE_TRY(acpi_platform(words.acpi));
    if (boot.count("--boot") != 0) {
        auto const protocol = boot_protocol(words.boot);
        if (!protocol)
            return Unexpected{bad_input("--boot: " + in_quotes(words.boot) + "; expected pvh, linux64, bzimage or multiboot")};
        machine.boot = *protocol;
    }
    BACKPLANE_TRY_VOID(boot_disks(words, machine));
    machine.has_debug_exit = words.debug_exit;
    machine.has_hpet = words.hpet;
    machine.has_vga = words.vga;
    if (boot.count("--vga-rom") != 0) machine.vga_rom = words.vga_rom;
    machine.has_debug_console = words.debug_console;
    machine.waits_for_gdb = words.gdb_wait;
    if (words.gdb_wait && boot.count("--gdb") == 0) return Unexpected{bad_input("--gdb-wait: expected --gdb as well")};
    if (boot.count("--gdb") != 0) {
        if (auto const valid = StreamListener::check_address(words.gdb); !valid) return Unexpected{option_error("--gdb", valid.error())};
        machine.gdb = words.gdb;
    }
    return machine;
}

Expected<Command, Error> control_command(Words const& words) {
    ControlCommand command{words.rack_file, {words.control, words.argument}, words.json};
    if (std::find(kControls.begin(), kControls.end(), words.control) == kControls.end())
        return Unexpected{bad_input("ctl: " + in_quotes(words.control) + "; expected one of " + comma_list(kControls) +
                                    did_you_mean(words.control, kControls))};
    bool const takes_none = words.control == "pause" || words.control == "resume" || words.control == "stats";
    bool const is_step = words.control == "step";
    std::string_view const wanted = takes_none ? "nothing" : is_step ? "a number of quanta, 1 to 1000000000"
                                    : words.control == "cut" || words.control == "heal" ? "the name of a link"
                                                                                       : "the name of a machine";
    if (is_step) {
        std::string const& text = words.argument;
        auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), command.request.quanta);
        bool const whole = problem == std::errc{} && end == text.data() + text.size();
        if (!whole || command.request.quanta > kMostQuanta) command.request.quanta = 0;
        command.request.argument.clear();
    }
    bool const is_wrong = is_step ? command.request.quanta == 0 : takes_none != words.argument.empty();
    if (!is_wrong) return Command{std::move(command)};
    return Unexpected{bad_input("ctl " + words.control + ": " + in_quotes(words.argument) + "; expected " + std::string{wanted})};
}

Expected<Command, Error> checked(Words const& words, CLI::App const& app) {
    if (app.got_subcommand("check")) return Command{CheckCommand{words.rack_file}};
    if (app.got_subcommand("ctl")) return control_command(words);
    if (app.got_subcommand("run")) {
        RunOptions options = BACKPLANE_TRY(run_options(words, *app.get_subcommand("run")));
        if (app.get_subcommand("run")->count("--threads") != 0) {
            auto const threads = parse_threads(words.threads);
            if (!threads) return Unexpected{option_error("--threads", threads.error())};
            options.threads = *threads;
        }
        return Command{RunCommand{words.rack_file, std::move(options)}};
    }
    CLI::App const& boot = *app.get_subcommand("boot");
    RunOptions options = BACKPLANE_TRY(run_options(words, boot));
    MachineFile machine = BACKPLANE_TRY(boot_machine(words, boot));
    return Command{BootCommand{std::move(machine), std::move(options)}};
}

/// The first word that the parser could not use, if there is one.
std::string first_extra(CLI::App const& app) {
    std::vector<std::string> const extras = app.remaining(true);
    return extras.empty() ? std::string{} : extras.front();
}

Error usage_error(CLI::App const& app, CLI::ParseError const& error) {
    std::string const extra = first_extra(app);
    std::string const hint = " (see backplane --help)";
    if (extra.empty()) return bad_input(printable(error.what()) + hint);
    return bad_input("unexpected argument " + in_quotes(extra) + did_you_mean(extra, kOptions) + hint);
}

/// CLI11 reports help, version and errors by exceptions: this is the edge where they end.
Expected<Command, Error> parse_words(CLI::App& app, Words& words, std::vector<std::string> reversed) {
    try {
        app.parse(std::move(reversed));
    } catch (CLI::CallForHelp const&) {
        return Command{PrintCommand{app.help()}};
    } catch (CLI::CallForVersion const&) {
        return Command{PrintCommand{app.version() + '\n'}};
    } catch (CLI::ParseError const& error) {
        return Unexpected{usage_error(app, error)};
    }
    return checked(words, app);
}

}  // namespace

Expected<Command, Error> parse_command_line(std::span<char const* const> arguments) {
    if (arguments.empty()) {
        return Unexpected{
            bad_input("no command; expected one of " + comma_list(kCommands) + " (see backplane --help)")};
    }
    std::string_view const first = arguments[0];
    if (!first.starts_with('-') && std::find(kCommands.begin(), kCommands.end(), first) == kCommands.end()) {
        return Unexpected{bad_input("unknown command " + in_quotes(first) + "; expected one of " +
                                    comma_list(kCommands) + did_you_mean(first, kCommands))};
    }
    CLI::App app{kDescription, "backplane"};
    app.footer(kExamples);
    app.set_version_flag("--version", "backplane " + std::string{kVersion});
    app.require_subcommand(1);
    Words words;
    add_commands(app, words);
    return parse_words(app, words, {arguments.rbegin(), arguments.rend()});
}

Expected<std::chrono::nanoseconds, Error> parse_timeout(std::string_view text) {
    double seconds = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    bool const is_number = problem == std::errc{} && end == text.data() + text.size();
    // Written so that "nan" fails as well.
    if (is_number && seconds > 0 && seconds <= kLongestTimeoutSeconds) {
        return std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)};
    }
    return Unexpected{bad_input(in_quotes(text) + "; expected a number of seconds above 0, such as 60 or 2.5")};
}

std::string boot_command_line(std::string_view append, std::string_view console) {
    bool const names_console = append.starts_with("console=") || append.find(" console=") != std::string_view::npos;
    if (names_console) return std::string{append};
    std::string line{console};
    if (!append.empty()) line += ' ';
    return line += append;
}

}  // namespace backplane
