#include "cli/control.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "host/console_input.h"
#include "host/file.h"
#include "host/runtime_folder.h"
#include "host/stream_listener.h"
#include "host/terminal.h"
#include "rack/printable.h"

namespace backplane {
namespace {

using Json = nlohmann::ordered_json;

void print(int fd, std::string_view text) { [[maybe_unused]] auto const done = write_all(fd, std::as_bytes(std::span{text})); }

ExitCode refuse(std::string_view message) {
    print(STDERR_FILENO, "backplane: " + printable(message) + '\n');
    return ExitCode::bad_input;
}

/// A name, a rack file, or the path of a socket.
std::filesystem::path socket_of(std::string const& rack) {
    if (rack.ends_with(".toml")) {
        auto const file = read_rack_file(rack);
        if (file && file->control) return *file->control;
        return runtime_folder() / ((file ? file->name : rack_name(rack)) + ".sock");
    }
    if (rack.find('/') != std::string::npos) return rack;
    return runtime_folder() / (rack + ".sock");
}

/// One line, without its end; none: the rack has gone away.
std::optional<std::string> read_line(Stream& stream) {
    std::string line;
    while (line.find('\n') == std::string::npos) {
        if (stream.is_ended()) return std::nullopt;
        std::array const fds{stream.fd()};
        wait_readable(fds, std::chrono::milliseconds{1000});
        line += stream.receive();
    }
    line.erase(line.find('\n'));
    return line;
}

std::string human_stats(Json const& stats) {
    auto const seconds = [](Json const& ns) { return ns.get<double>() / 1e9; };
    std::string text = fmt::format("{:.6f} s of virtual time, {} quanta of {} us\n", seconds(stats["rack"]["virtual_ns"]),
                                   stats["rack"]["barriers"].get<std::uint64_t>(),
                                   stats["rack"]["quantum_ns"].get<std::uint64_t>() / 1000);
    for (Json const& machine : stats["machines"])
        text += fmt::format("machine {}: {}, {} instructions, {:.2f} % idle\n", machine["name"].get<std::string>(),
                            machine["state"].get<std::string>(), machine["instructions"].get<std::uint64_t>(),
                            100 * machine["idle_share"].get<double>());
    for (Json const& cpu : stats["host"]["translators"])
        text += fmt::format("translator {}: {:.2f} % of the instructions, {} blocks, {} of {} jumps chained, {} TLB misses, {} handler calls, {} flushes\n",
                            cpu["processor"].get<std::string>(), 100 * cpu["share"].get<double>(), cpu["blocks"].get<std::uint64_t>(),
                            cpu["chained"].get<std::uint64_t>(), cpu["direct_jumps"].get<std::uint64_t>(),
                            cpu["slow_accesses"].get<std::uint64_t>(), cpu["handler_calls"].get<std::uint64_t>(),
                            cpu["flushes"].get<std::uint64_t>());
    for (Json const& link : stats["links"])
        text += fmt::format("link {}: {} frames, {} bytes\n", link["name"].get<std::string>(),
                            link["frames"].get<std::uint64_t>(), link["bytes"].get<std::uint64_t>());
    return text;
}

/// The terminal on one side, the machine's serial line on the other, until either ends or Ctrl-A x is typed.
ExitCode show_console(Stream& stream) {
    StopFlags stop;
    std::optional<TerminalGuard> raw;
    if (is_terminal(STDIN_FILENO)) {
        print(STDERR_FILENO, "backplane: the console of the machine; Ctrl-A x leaves it\n");
        auto guard = TerminalGuard::create(STDIN_FILENO);
        if (!guard) return refuse(guard.error().message);
        raw.emplace(*std::move(guard));
    }
    DescriptorInput input{STDIN_FILENO, stop};
    while (!stop.should_stop() && !stream.is_ended()) {
        std::array<pollfd, 2> watched{pollfd{stream.fd(), POLLIN, 0}, pollfd{input.is_ended() ? -1 : STDIN_FILENO, POLLIN, 0}};
        if (::poll(watched.data(), watched.size(), 1000) < 0) continue;
        std::string const shown = stream.receive();
        print(STDOUT_FILENO, shown);
        std::array<std::byte, 256> typed;
        std::size_t const count = input.is_ended() ? 0 : input.take(typed);
        stream.send({reinterpret_cast<char const*>(typed.data()), count});
    }
    return ExitCode::all_off;
}

}  // namespace

ExitCode control_rack(ControlCommand const& command) {
    std::filesystem::path const path = socket_of(command.rack);
    auto fd = connect_stream(path.string());
    if (!fd) return refuse("no rack " + in_quotes(command.rack) + ": " + fd.error().message);
    Stream stream{*std::move(fd)};
    Json request{{"command", command.request.command}};
    if (!command.request.argument.empty()) request["argument"] = command.request.argument;
    if (command.request.quanta != 0) request["quanta"] = command.request.quanta;
    stream.send(request.dump() + '\n');
    auto const line = read_line(stream);
    if (!line) {
        print(STDERR_FILENO, "backplane: the rack has ended\n");
        return ExitCode::crashed;
    }
    Json const answer = Json::parse(*line, nullptr, false);
    if (!answer.is_object() || !answer.contains("ok")) return refuse(path.string() + ": no rack answers there");
    if (command.as_json) print(STDOUT_FILENO, *line + '\n');
    if (!answer["ok"].get<bool>())
        return command.as_json ? ExitCode::bad_input : refuse(answer.value("error", std::string{"refused"}));
    if (command.request.command == "console") return show_console(stream);
    bool const has_stats = command.request.command == "stats" || command.request.command == "step";
    if (!command.as_json && has_stats) print(STDOUT_FILENO, human_stats(answer["result"]));
    return ExitCode::all_off;
}

}  // namespace backplane
