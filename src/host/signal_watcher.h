// Turns SIGINT, SIGTERM and SIGHUP into StopFlags, without a handler and without state of its own in the process.
#pragma once

#include <signal.h>

#include <memory>
#include <thread>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "host/stop_flags.h"

namespace backplane {

/// While it lives, the three signals are blocked and read by one thread of its own. The second interrupt does not
/// wait for the loop: it restores the terminal and ends the process with 130.
class SignalWatcher {
  public:
    /// Make it before any other thread, since threads inherit which signals are blocked. SIGHUP is left alone when it
    /// is ignored already (nohup). `flags` must outlive the watcher.
    /// Errors: the host refused a descriptor.
    [[nodiscard]] static Expected<std::unique_ptr<SignalWatcher>, Error> create(StopFlags& flags);

    SignalWatcher(SignalWatcher const&) = delete;
    SignalWatcher& operator=(SignalWatcher const&) = delete;
    ~SignalWatcher();

  private:
    SignalWatcher(StopFlags& flags, UniqueFd signals, UniqueFd quit, sigset_t before);
    void watch();

    StopFlags& flags_;
    UniqueFd signals_;
    UniqueFd quit_;
    sigset_t before_;
    std::thread thread_;
};

}  // namespace backplane
