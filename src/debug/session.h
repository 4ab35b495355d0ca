// One debugger and one machine: what each packet of the remote serial protocol does ([GDB] appendix E).
//
// A session knows nothing of sockets: it takes payloads and gives payloads. The machine is held as long as the debugger
// believes it to be; the session tells it when that changes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "debug/debug_target.h"

namespace backplane {

class Session {
  public:
    static constexpr std::size_t kMaxBreakpoints = 1024;
    static constexpr std::size_t kMaxWatchpoints = 64;
    static constexpr std::uint64_t kMaxWatchedBytes = 1 << 20;

    /// The machine is held from now on. It must outlive the session.
    explicit Session(DebugTarget& target);
    Session(Session const&) = delete;
    Session& operator=(Session const&) = delete;
    /// All points are gone and the machine runs on.
    ~Session();

    /// Carries a packet out. \return  the reply; empty optional: it comes later, from take_stop_reply()
    [[nodiscard]] std::optional<std::string> handle(std::string_view packet);
    /// Ctrl-C.
    void interrupt();
    /// What there is to say without being asked: that the machine has stopped, crashed or ended. Once each time.
    [[nodiscard]] std::optional<std::string> take_stop_reply();

    /// The debugger has taken its leave (detach, kill, or the machine is off): the connection is to be closed.
    [[nodiscard]] bool is_over() const { return over_; }
    /// Replies need no acknowledgement any more.
    [[nodiscard]] bool is_without_acknowledgements() const { return without_acknowledgements_; }
    /// The debugger looks at the machine: time stands still.
    [[nodiscard]] bool is_stopped() const { return stopped_; }

  private:
    using Reply = std::optional<std::string>;

    [[nodiscard]] Reply handle_query(std::string_view packet);
    [[nodiscard]] Reply handle_set(std::string_view packet);
    [[nodiscard]] Reply handle_v(std::string_view packet);
    [[nodiscard]] Reply vcont(std::string_view actions);
    [[nodiscard]] Reply resume(std::string_view arguments, bool step);
    [[nodiscard]] Reply continue_or_step(bool step, unsigned cpu);
    [[nodiscard]] std::string choose_thread(std::string_view packet);
    [[nodiscard]] std::string features(std::string_view arguments) const;
    [[nodiscard]] std::string read_register(std::string_view arguments) const;
    [[nodiscard]] std::string write_register(std::string_view arguments);
    [[nodiscard]] std::string write_registers(std::string_view digits);
    [[nodiscard]] std::string read_memory(std::string_view arguments) const;
    [[nodiscard]] std::string write_memory(std::string_view arguments, bool binary);
    [[nodiscard]] std::string change_point(std::string_view packet);
    [[nodiscard]] std::string monitor(std::string_view digits);
    [[nodiscard]] std::string stop_reply() const;
    [[nodiscard]] bool apply_points(bool stepping);
    [[nodiscard]] std::string detach();
    void kill();

    DebugTarget& target_;
    DebugPoints points_;
    std::vector<std::uint64_t> hardware_;  // those of points_.breakpoints that were asked for as hardware ones
    unsigned cpu_{0};                      // that registers and memory are meant for
    bool stopped_{true};
    bool reports_breakpoint_kind_{false};  // the debugger knows swbreak and hwbreak
    bool physical_{false};                 // memory packets mean physical addresses
    bool step_with_interrupts_{false};
    bool over_{false};
    bool without_acknowledgements_{false};
    bool told_of_crash_{false};
};

}  // namespace backplane
