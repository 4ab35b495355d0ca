#include "host/console_input.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "host/terminal.h"

namespace backplane {
namespace {

constexpr std::byte kEscapeKey{0x01};  // Ctrl-A
constexpr std::byte kQuitKey{'x'};
constexpr std::byte kQuitKeyWithShift{'X'};

bool is_readable(int fd, int timeout_ms) {
    pollfd watched{fd, POLLIN, 0};
    return ::poll(&watched, 1, timeout_ms) == 1;
}

}  // namespace

EscapeFilter::Command EscapeFilter::filter(ConstByteSpan bytes, std::vector<std::byte>& out) {
    for (std::byte const key : bytes) {
        if (!escaped_) {
            escaped_ = key == kEscapeKey;
            if (!escaped_) out.push_back(key);
            continue;
        }
        escaped_ = false;
        if (key == kQuitKey || key == kQuitKeyWithShift) return Command::quit;
        out.push_back(kEscapeKey);
        if (key != kEscapeKey) out.push_back(key);
    }
    return Command::none;
}

DescriptorInput::DescriptorInput(int fd, StopFlags& flags) : fd_{fd}, flags_{flags}, interactive_{is_terminal(fd)} {}

std::size_t DescriptorInput::take(ByteSpan into) {
    if (pending_.empty() && !ended_ && is_readable(fd_, 0)) fill();
    std::size_t const taken = std::min(into.size(), pending_.size());
    std::copy_n(pending_.begin(), taken, into.begin());
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken));
    return taken;
}

void DescriptorInput::fill() {
    std::array<std::byte, 256> buffer;
    ssize_t const got = ::read(fd_, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    ended_ = got <= 0;
    if (ended_) return;
    ConstByteSpan const bytes{buffer.data(), static_cast<std::size_t>(got)};
    if (!interactive_) return pending_.assign(bytes.begin(), bytes.end());
    if (escape_.filter(bytes, pending_) == EscapeFilter::Command::quit) flags_.request_interrupt();
}

void DescriptorInput::wait(std::chrono::nanoseconds at_most) {
    if (!pending_.empty()) return;
    if (ended_) return std::this_thread::sleep_for(at_most);
    auto const whole_ms = std::chrono::ceil<std::chrono::milliseconds>(at_most);
    constexpr std::chrono::milliseconds kLongest{60'000};
    [[maybe_unused]] bool const readable = is_readable(fd_, static_cast<int>(std::min(whole_ms, kLongest).count()));
}

}  // namespace backplane
