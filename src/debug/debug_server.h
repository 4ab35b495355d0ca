// The debuggers of a rack: at most one a machine, each at an address of its own.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "debug/machine_target.h"
#include "debug/packet.h"
#include "debug/session.h"
#include "host/stream_listener.h"

namespace backplane {

class DebugServer {
  public:
    enum class Start : std::uint8_t {
        running,  ///< the machine runs until a debugger connects
        held,     ///< it executes nothing before a debugger has connected and lets it go
    };

    DebugServer() = default;
    DebugServer(DebugServer const&) = delete;
    DebugServer& operator=(DebugServer const&) = delete;

    /// Lets a debugger connect to `machine`, which must outlive the server.
    /// Errors: the address (host/stream_listener.h).
    [[nodiscard]] Expected<void, Error> add(Machine& machine, std::string_view address, Start start);

    /// Takes what debuggers have sent and answers. To be called between runs of the machines: nothing may run now.
    /// Never waits.
    void serve();
    /// A debugger holds a machine (or is awaited by one): no machine may run, and serve() is the way on.
    [[nodiscard]] bool holds_any() const;
    /// Waits until a debugger has sent something, or the time is over.
    void wait(std::chrono::milliseconds at_most) const;
    /// Some debugger has been connected: the run depends on the outside.
    [[nodiscard]] bool was_used() const { return used_; }

    /// "alpha: 127.0.0.1:1234", one line a machine.
    [[nodiscard]] std::vector<std::string> addresses() const;

  private:
    struct Port {
        StreamListener listener;
        MachineTarget target;
        std::optional<Stream> stream;
        std::unique_ptr<Session> session;
        PacketReader reader;
        std::string last_reply;
    };

    void accept(Port& port);
    void take(Port& port);
    void answer(Port& port, PacketReader::Found found);
    void reply(Port& port, std::string_view payload);
    void close(Port& port);

    std::vector<std::unique_ptr<Port>> ports_;
    bool used_{false};
};

}  // namespace backplane
