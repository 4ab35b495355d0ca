#include "host/signal_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "host/terminal.h"

namespace backplane {
namespace {

constexpr int kInterruptedExitCode = 130;  // 128 + SIGINT, as shells report it

sigset_t watched_signals() {
    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    struct sigaction hangup {};
    bool const hangup_ignored = ::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    if (!hangup_ignored) sigaddset(&watched, SIGHUP);
    return watched;
}

void take_signal(std::uint32_t number, StopFlags& flags) {
    if (number != SIGINT) return flags.request_termination();
    if (flags.is_interrupt_requested()) {
        TerminalGuard::restore_now();
        ::_exit(kInterruptedExitCode);
    }
    flags.request_interrupt();
}

}  // namespace

Expected<std::unique_ptr<SignalWatcher>, Error> SignalWatcher::create(StopFlags& flags) {
    sigset_t const watched = watched_signals();
    UniqueFd signals{::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!signals.is_open()) return Unexpected{host_error("signalfd", errno)};
    UniqueFd quit{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!quit.is_open()) return Unexpected{host_error("eventfd", errno)};
    sigset_t before;
    if (int const refused = ::pthread_sigmask(SIG_BLOCK, &watched, &before); refused != 0) {
        return Unexpected{host_error("pthread_sigmask", refused)};
    }
    return std::unique_ptr<SignalWatcher>{
        new SignalWatcher{flags, std::move(signals), std::move(quit), before}};  // private constructor
}

SignalWatcher::SignalWatcher(StopFlags& flags, UniqueFd signals, UniqueFd quit, sigset_t before)
    : flags_{flags}, signals_{std::move(signals)}, quit_{std::move(quit)}, before_{before} {
    thread_ = std::thread{[this] { watch(); }};
}

SignalWatcher::~SignalWatcher() {
    std::uint64_t const one = 1;
    [[maybe_unused]] ssize_t const put = ::write(quit_.get(), &one, sizeof one);
    thread_.join();
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void SignalWatcher::watch() {
    std::array<pollfd, 2> watched{{{signals_.get(), POLLIN, 0}, {quit_.get(), POLLIN, 0}}};
    for (;;) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof info) == sizeof info) take_signal(info.ssi_signo, flags_);
        if ((watched[1].revents & POLLIN) != 0) return;
    }
}

}  // namespace backplane
