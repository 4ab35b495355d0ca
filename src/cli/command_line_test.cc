#include "cli/command_line.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cli/commands.h"

namespace backplane {
namespace {

Expected<Command, Error> parse(std::vector<char const*> const& arguments) { return parse_command_line(arguments); }

TEST(CommandLine, Run) {
    auto const command = parse({"run", "rack.toml", "--report", "-", "--timeout", "2.5"});
    ASSERT_TRUE(command) << command.error().message;
    auto const& run = std::get<RunCommand>(*command);
    EXPECT_EQ(run.rack_file, "rack.toml");
    EXPECT_EQ(run.options.report, "-");
    EXPECT_EQ(run.options.timeout, std::chrono::milliseconds{2500});
}

TEST(CommandLine, RunNeedsOnlyTheFile) {
    auto const command = parse({"run", "rack.toml"});
    ASSERT_TRUE(command);
    auto const& run = std::get<RunCommand>(*command);
    EXPECT_EQ(run.options.report, std::nullopt);
    EXPECT_EQ(run.options.timeout, std::nullopt);
}

TEST(CommandLine, Boot) {
    auto const command = parse({"boot", "--kernel", "k", "--initrd=i", "--append", "quiet panic=-1", "--memory", "1G",
                                "--timeout", "60", "--report", "r.json"});
    ASSERT_TRUE(command) << command.error().message;
    auto const& boot = std::get<BootCommand>(*command);
    EXPECT_EQ(boot.machine.kernel, "k");
    EXPECT_EQ(boot.machine.initrd, "i");
    EXPECT_EQ(boot.machine.command_line, "console=ttyS0 quiet panic=-1");
    EXPECT_EQ(boot.machine.memory_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(boot.options.timeout, std::chrono::seconds{60});
    EXPECT_EQ(boot.options.report, "r.json");
}

TEST(CommandLine, BootDefaults) {
    auto const command = parse({"boot", "--kernel", "k"});
    ASSERT_TRUE(command);
    auto const& boot = std::get<BootCommand>(*command);
    EXPECT_EQ(boot.machine.initrd, std::nullopt);
    EXPECT_EQ(boot.machine.command_line, "console=ttyS0");
    EXPECT_EQ(boot.machine.memory_bytes, kDefaultMemoryBytes);
}

TEST(CommandLine, BootPlatform) {
    auto const plain = parse({"boot", "--kernel", "k"});
    EXPECT_EQ(std::get<BootCommand>(*plain).machine.acpi, AcpiPlatform::reduced);
    EXPECT_FALSE(std::get<BootCommand>(*plain).machine.has_debug_exit);
    EXPECT_FALSE(std::get<BootCommand>(*plain).machine.has_hpet);
    auto const debugged = parse({"boot", "--kernel", "k", "--gdb", ":1", "--gdb-wait", "--trace-exits", "x", "--trace-limit", "1M"});
    ASSERT_TRUE(debugged);
    EXPECT_EQ(std::get<BootCommand>(*debugged).machine.gdb, ":1");
    EXPECT_TRUE(std::get<BootCommand>(*debugged).machine.waits_for_gdb);
    EXPECT_EQ(std::get<BootCommand>(*debugged).options.traces.exits, "x");
    EXPECT_FALSE(std::get<BootCommand>(*debugged).options.traces.instructions);
    EXPECT_EQ(std::get<BootCommand>(*debugged).options.traces.limit_bytes, 1U << 20);
    EXPECT_FALSE(parse({"boot", "--kernel", "k", "--gdb-wait"}));
    EXPECT_FALSE(parse({"boot", "--kernel", "k", "--gdb", "x"}));
    EXPECT_FALSE(parse({"boot", "--kernel", "k", "--trace-limit", "0"}));
    auto const shown = parse({"boot", "--kernel", "k", "--perf-map", "--dump-blocks", "b", "--gdb-jit", "--code-buffer", "64K"});
    ASSERT_TRUE(shown);
    RunOptions const& options = std::get<BootCommand>(*shown).options;
    EXPECT_TRUE(options.code.perf_map && options.code.gdb);
    EXPECT_EQ(options.code.blocks, "b");
    EXPECT_EQ(options.code_bytes, 64U << 10);
    EXPECT_FALSE(parse({"boot", "--kernel", "k", "--code-buffer", "63K"}));
    auto const command = parse({"boot", "--kernel", "k", "--acpi", "full", "--debug-exit", "--hpet"});
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_EQ(std::get<BootCommand>(*command).machine.acpi, AcpiPlatform::full);
    EXPECT_TRUE(std::get<BootCommand>(*command).machine.has_debug_exit);
    EXPECT_TRUE(std::get<BootCommand>(*command).machine.has_hpet);
}

TEST(CommandLine, AppendMayNameItsOwnConsole) {
    EXPECT_EQ(boot_command_line("console=ttyS0,115200 quiet"), "console=ttyS0,115200 quiet");
    EXPECT_EQ(boot_command_line("quiet console=tty0"), "quiet console=tty0");
    EXPECT_EQ(boot_command_line("netconsole=x"), "console=ttyS0 netconsole=x");
}

TEST(CommandLine, HelpTeachesByExample) {
    for (auto const& arguments : {std::vector{"--help"}, std::vector{"-h"}, std::vector{"boot", "--help"}}) {
        auto const command = parse(arguments);
        ASSERT_TRUE(command);
        EXPECT_NE(std::get<PrintCommand>(*command).text.find("--kernel"), std::string::npos);
    }
    EXPECT_EQ(std::get<PrintCommand>(*parse({"--version"})).text, "backplane 0.1.0\n");
}

TEST(CommandLine, EveryProblemIsOneLine) {
    struct Case {
        std::vector<char const*> arguments;
        std::string_view message;
    };
    Case const cases[] = {
        {{}, "no command; expected one of run, boot, check, ctl (see backplane --help)"},
        {{"boto"}, "unknown command \"boto\"; expected one of run, boot, check, ctl; did you mean \"boot\"?"},
        {{"launch", "--kernel", "k"}, "unknown command \"launch\"; expected one of run, boot, check, ctl"},
        {{"\x1b[2Jx\n"}, "unknown command \"x\\x0a\"; expected one of run, boot, check, ctl"},
        {{"--verbose"}, "unexpected argument \"--verbose\" (see backplane --help)"},
        {{"run"}, "RACK.toml is required (see backplane --help)"},
        {{"run", "a.toml", "b.toml"}, "unexpected argument \"b.toml\" (see backplane --help)"},
        {{"run", "a.toml", "--tiemout", "5"},
         "unexpected argument \"--tiemout\"; did you mean \"--timeout\"? (see backplane --help)"},
        {{"run", "a.toml", "--timeout"}, "--timeout: 1 required SECONDS missing (see backplane --help)"},
        {{"run", "a.toml", "--timeout", "0"},
         "--timeout: \"0\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"run", "a.toml", "--timeout", "-5"},
         "--timeout: \"-5\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"run", "a.toml", "--timeout", "soon"},
         "--timeout: \"soon\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"run", "a.toml", "--timeout", "nan"},
         "--timeout: \"nan\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"run", "a.toml", "--timeout", "1e300"},
         "--timeout: \"1e300\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"run", "a.toml", "--timeout", ""},
         "--timeout: \"\"; expected a number of seconds above 0, such as 60 or 2.5"},
        {{"boot"}, "no kernel; expected --kernel FILE or --firmware FILE (see backplane --help)"},
        {{"boot", "--kernel", "k", "--firmware", "f"}, "--kernel: firmware starts what it finds; expected either"},
        {{"boot", "--firmware", "f", "--append", "quiet"},
         "--append: firmware starts what it finds; expected either"},
        {{"boot", "--kernel", "k", "--memory", "3 bananas"},
         "--memory: \"3 bananas\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
        {{"boot", "--kernel", "k", "--memory", ""},
         "--memory: \"\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
        {{"boot", "--kernel", "k", "--acpi", "ful"},
         "--acpi: \"ful\"; expected reduced or full; did you mean \"full\"?"},
        {{"boot", "--kernel", "k", "--append", "a\nb"},
         "--append: \"console=ttyS0 a\\x0ab\"; expected words without control characters"},
        {{"boot", "--kernel", "k", "--kernel", "l"},
         "--kernel: At Most 1 required but received 2 (see backplane --help)"},
        {{"check"}, "RACK.toml is required (see backplane --help)"},
        {{"check", "a.toml", "--report", "r"}, "unexpected argument \"--report\" (see backplane --help)"},
        {{"run", "a.toml", "boot", "--kernel", "k"}, "unexpected argument \"boot\" (see backplane --help)"},
    };
    for (Case const& c : cases) {
        auto const command = parse(c.arguments);
        ASSERT_FALSE(command) << c.message;
        EXPECT_EQ(command.error().message, c.message);
    }
}

TEST(Commands, ExitCodes) {
    StopFlags quiet, interrupted, terminated;
    interrupted.request_interrupt();
    terminated.request_termination();
    EXPECT_EQ(exit_code(Ending::all_off, quiet), ExitCode::all_off);
    EXPECT_EQ(exit_code(Ending::crashed, quiet), ExitCode::crashed);
    EXPECT_EQ(exit_code(Ending::timeout, quiet), ExitCode::timeout);
    EXPECT_EQ(exit_code(Ending::interrupted, interrupted), ExitCode::interrupted);
    EXPECT_EQ(exit_code(Ending::interrupted, terminated), ExitCode::terminated);
    EXPECT_EQ(exit_code(Ending::all_off, interrupted), ExitCode::all_off) << "the machines were faster";
}

TEST(Commands, TheEndOfBoot) {
    RackReport report;
    MachineReport machine;
    machine.state = MachineState::crashed;
    machine.cause = "triple fault";
    machine.rip = 0x1000;
    machine.instructions = 5;
    machine.virtual_time = milliseconds(1);
    report.machines.push_back(machine);
    EXPECT_EQ(boot_summary(report),
              "backplane: crashed: triple fault at rip 0x1000 after 0.001000 s of virtual time, 5 instructions; "
              "host: 0.00 s, 0.00 s of CPU time\n");
}

}  // namespace
}  // namespace backplane
