// A rack: the machines and links of one rack file, and the loop that runs them (rack/monitor.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "debug/code_recorder.h"
#include "device/byte_port.h"
#include "device/vga/text_screen.h"
#include "host/console_input.h"
#include "host/stop_flags.h"
#include "machine/machine.h"
#include "rack/rack_file.h"
#include "rack/report.h"

namespace backplane {

/// What the outside offers to a rack. What is borrowed here must outlive the rack.
struct RackOptions {
    /// Where the console of the machine of that name goes; asked once a machine. Required; may return null for a
    /// console that nobody sees.
    std::function<ByteSink*(std::string const& machine)> console;
    /// How the screens of machines with a VGA adapter are written to their consoles.
    ScreenStyle screen{ScreenStyle::lines};
    /// Typed into the first machine's serial line, or on its keyboard if it has a screen; null when nobody types. With a console input the rack's report is
    /// not repeatable once a byte has been taken.
    ConsoleInput* console_input{nullptr};
    /// Called at each barrier and before each wait, so that a prompt without a newline becomes visible. Optional.
    std::function<void()> at_barrier;
    /// Traces (debug/machine_tracer.h) of all machines, each file at most `limit_bytes` long. Optional.
    struct Traces {
        std::optional<std::filesystem::path> instructions;
        std::optional<std::filesystem::path> exits;
        std::optional<std::filesystem::path> timeline;  ///< rack/timeline.h
        std::uint64_t limit_bytes{std::uint64_t{256} << 20};
    } traces;
    /// What translators make (debug/code_recorder.h), each file at most as long as a trace. Optional.
    CodeRecords code;
    /// For translated code, each processor. The result does not depend on it.
    std::size_t code_bytes{SimEngine::kDefaultCodeBytes};
    /// Where `backplane ctl` can connect; none: nowhere.
    std::optional<std::filesystem::path> control;
    /// Host threads that run machines between two barriers; the result does not depend on it.
    unsigned threads{1};
    /// Host time after which run() gives up; none: never.
    std::optional<std::chrono::nanoseconds> timeout;
    /// Run every machine a second time in the interpreter, compare both at every barrier, and stop at the first
    /// difference with the machine as crashed. Input from outside would make them differ.
    bool verify{false};
    /// Called with each machine once it stands, also with those of the other runs that `verify` needs. Optional.
    std::function<void(Machine&)> machine_made;
};

class Rack {
  public:
    /// Loads the images and builds the machines; nothing runs yet.
    /// Errors: bad_input (an image that is no kernel, an initrd that does not fit), host (memory).
    [[nodiscard]] static Expected<std::unique_ptr<Rack>, Error> create(RackFile const& file, RackOptions options);

    Rack(Rack const&) = delete;
    Rack& operator=(Rack const&) = delete;
    ~Rack();

    /// Runs until every machine is off or crashed, the time is over, or `stop` asks for the end. Call once.
    [[nodiscard]] Ending run(StopFlags const& stop);

    /// Why there is no control socket although one was asked for: one line.
    [[nodiscard]] std::optional<std::string> control_problem() const;

    /// With `verify`: the run has ended because the tiers differ.
    [[nodiscard]] bool has_difference() const;
    /// Runs both tiers again, up to three times, to find the block that made the difference: several lines about it
    /// (rack/block_search.h). `stop` ends the search.
    [[nodiscard]] std::string explain_difference(StopFlags const& stop) const;

    /// Where debuggers can connect, one line a machine: "alpha: 127.0.0.1:1234".
    [[nodiscard]] std::vector<std::string> debugger_addresses() const;
    /// The guests get less than the widest processor because the host has less, and the rack file did not say so.
    [[nodiscard]] bool has_smaller_processor() const;

    /// The state of everything; `ending` is that of run(). `host` is left to the caller.
    [[nodiscard]] RackReport report() const;

  private:
    struct Parts;
    class TwoTiers;
    explicit Rack(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace backplane
