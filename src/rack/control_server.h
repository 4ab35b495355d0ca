// The control socket of a running rack: one JSON object a line in each direction (docs/design/control.md).
//
// Requests are carried out between two barriers, while no machine runs. A client may turn its connection into a
// machine's console; from then on it carries the bytes themselves.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "host/stream_listener.h"

namespace backplane {

struct ControlRequest {
    std::string command;      ///< "pause"
    std::string argument;     ///< of a machine or link: its name; else empty
    std::uint64_t quanta{0};  ///< of "step"
};

/// A request out of one line. Errors: bad_input, what was expected.
[[nodiscard]] Expected<ControlRequest, Error> parse_control_request(std::string_view line);

/// What the server may ask of the rack.
class ControlTarget {
  public:
    struct Answer {
        std::optional<std::string> error{};      ///< one line
        std::string result{"{}"};                ///< JSON
        bool comes_when_paused{false};           ///< "step": the answer is sent when the rack has stopped again
        std::optional<std::size_t> console{};    ///< the connection is this machine's console from now on
    };
    virtual ~ControlTarget() = default;
    [[nodiscard]] virtual Answer carry_out(ControlRequest const& request) = 0;
    [[nodiscard]] virtual bool is_paused() const = 0;
    /// Bytes that somebody typed. \return how many the machine took; the rest is offered again
    [[nodiscard]] virtual std::size_t type(std::size_t machine, ConstByteSpan bytes) = 0;
};

class ControlServer {
  public:
    /// Errors: the path is in use by a running rack, or the host refuses it.
    [[nodiscard]] static Expected<std::unique_ptr<ControlServer>, Error> create(std::string_view path);

    [[nodiscard]] std::string const& path() const { return listener_.address(); }
    /// Takes what clients have sent and answers. Never waits; looks at the socket once in kInterval of the host's time.
    void serve(ControlTarget& target);
    /// Waits until a client has sent something, or the time is over.
    void wait(std::chrono::milliseconds at_most) const;
    /// What a machine has written to its console.
    void show(std::size_t machine, ConstByteSpan bytes);
    /// Somebody has a machine's console: time should pass as on the clock on the wall.
    [[nodiscard]] bool has_console() const;

  private:
    static constexpr std::chrono::microseconds kInterval{500};
    static constexpr std::size_t kMostClients = 64;
    static constexpr std::size_t kLongestLine = 4096;

    struct Client {
        explicit Client(UniqueFd fd) : stream{std::move(fd)} {}
        Stream stream;
        std::string received{};
        bool waits_for_pause{false};
        bool is_closing{false};
        std::optional<std::size_t> console{};
    };

    explicit ControlServer(StreamListener listener) : listener_{std::move(listener)} {}
    void accept();
    void take(Client& client, ControlTarget& target);
    void answer(Client& client, ControlTarget& target, std::string_view line);
    static void reply(Client& client, ControlTarget::Answer const& answer);

    StreamListener listener_;
    std::vector<std::unique_ptr<Client>> clients_;
    std::chrono::steady_clock::time_point next_look_{};
};

}  // namespace backplane
