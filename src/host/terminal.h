// A terminal in raw mode, always given back as it was.
#pragma once

#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// While it lives, the terminal passes on every key at once and without echo, Ctrl-C included; output processing
/// stays as it was. The old mode comes back with the destructor, at exit(), and when a signal kills the process
/// (all but SIGKILL). At most one guard at a time: the signal handlers need one place that they can find, which is
/// the one exception to "no global state" in this folder.
class TerminalGuard {
  public:
    /// Errors: `fd` is no terminal, another guard lives, or the host refused.
    [[nodiscard]] static Expected<TerminalGuard, Error> create(int fd);

    TerminalGuard(TerminalGuard&& other) noexcept;
    TerminalGuard& operator=(TerminalGuard&&) = delete;
    ~TerminalGuard();

    /// Restores the terminal if a guard lives. Safe in a signal handler and before _exit().
    static void restore_now();

  private:
    TerminalGuard() = default;
    bool owns_{true};
};

[[nodiscard]] bool is_terminal(int fd);
/// A terminal that this process may change without being stopped for it.
[[nodiscard]] bool is_foreground_terminal(int fd);

}  // namespace backplane
