#include "host/terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>

namespace backplane {
namespace {

/// What restore_now() needs, findable from a signal handler.
struct SavedTerminal {
    std::atomic<bool> active{false};
    int fd{-1};
    termios mode{};
};
SavedTerminal saved;  // see TerminalGuard: the one exception

constexpr std::array kFatalSignals{SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGHUP, SIGTERM, SIGINT};

/// Restores the terminal and lets the signal do what it would have done.
extern "C" void restore_and_raise(int number) {
    TerminalGuard::restore_now();
    ::raise(number);  // SA_RESETHAND: the default action now
}

/// Handlers of others (the fault handler of an engine) stay; signals that are blocked for SignalWatcher do no harm.
void install_handlers() {
    for (int const number : kFatalSignals) {
        struct sigaction before {};
        if (::sigaction(number, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) continue;
        struct sigaction action {};
        action.sa_handler = restore_and_raise;
        action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
        ::sigaction(number, &action, nullptr);
    }
}

void remove_handlers() {
    for (int const number : kFatalSignals) {
        struct sigaction now {};
        if (::sigaction(number, nullptr, &now) != 0 || now.sa_handler != restore_and_raise) continue;
        now = {};
        now.sa_handler = SIG_DFL;
        ::sigaction(number, &now, nullptr);
    }
}

/// For exit() from anywhere, which runs no destructors of locals.
void restore_at_exit() {
    static std::once_flag once;
    std::call_once(once, [] { [[maybe_unused]] int const refused = std::atexit(TerminalGuard::restore_now); });
}

termios raw_mode(termios mode) {
    mode.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INLCR | IGNCR | INPCK | ISTRIP | IXON);
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
    mode.c_cflag |= CS8;
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    return mode;
}

}  // namespace

bool is_terminal(int fd) { return ::isatty(fd) == 1; }
bool is_foreground_terminal(int fd) { return ::tcgetpgrp(fd) == ::getpgrp(); }

Expected<TerminalGuard, Error> TerminalGuard::create(int fd) {
    if (saved.active.load()) return Unexpected{Error{Error::Kind::host, "a terminal is in raw mode already"}};
    termios mode{};
    if (::tcgetattr(fd, &mode) != 0) return Unexpected{host_error("not a terminal", errno)};
    saved.fd = fd;
    saved.mode = mode;
    saved.active.store(true);
    restore_at_exit();
    install_handlers();
    termios const raw = raw_mode(mode);
    if (::tcsetattr(fd, TCSANOW, &raw) != 0) {
        int const error_number = errno;
        restore_now();
        remove_handlers();
        return Unexpected{host_error("terminal", error_number)};
    }
    return TerminalGuard{};
}

TerminalGuard::TerminalGuard(TerminalGuard&& other) noexcept : owns_{other.owns_} { other.owns_ = false; }

TerminalGuard::~TerminalGuard() {
    if (!owns_) return;
    restore_now();
    remove_handlers();
}

void TerminalGuard::restore_now() {
    if (!saved.active.exchange(false)) return;
    int const error_before = errno;
    ::tcsetattr(saved.fd, TCSANOW, &saved.mode);
    errno = error_before;
}

}  // namespace backplane
