// What somebody types, on its way into a machine's serial line.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "host/stop_flags.h"

namespace backplane {

/// Where a machine's console input comes from.
class ConsoleInput {
  public:
    virtual ~ConsoleInput() = default;
    /// Takes what is there, at most `into.size()` bytes, without waiting. \return how many; 0 when there is nothing
    [[nodiscard]] virtual std::size_t take(ByteSpan into) = 0;
    /// Nothing more will ever come.
    [[nodiscard]] virtual bool is_ended() const = 0;
    /// Somebody is watching the clock on the wall: idle time should pass at its pace (design, "Time").
    [[nodiscard]] virtual bool is_interactive() const = 0;
    /// Waits until there may be something to take, or until the time is over.
    virtual void wait(std::chrono::nanoseconds at_most) = 0;
};

/// Ctrl-A is ours: Ctrl-A x quits, Ctrl-A Ctrl-A sends one Ctrl-A, Ctrl-A and any other key sends both.
class EscapeFilter {
  public:
    enum class Command : std::uint8_t { none, quit };
    /// Appends to `out` what the guest gets of `bytes`. \return quit as soon as it was typed; the rest is dropped
    [[nodiscard]] Command filter(ConstByteSpan bytes, std::vector<std::byte>& out);

  private:
    bool escaped_{false};
};

/// A terminal (with the escape key) or a pipe or file (every byte as it is). Does not own the descriptor.
class DescriptorInput final : public ConsoleInput {
  public:
    /// `flags` is told of Ctrl-A x. A terminal must be in raw mode already (host/terminal.h).
    DescriptorInput(int fd, StopFlags& flags);

    [[nodiscard]] std::size_t take(ByteSpan into) override;
    [[nodiscard]] bool is_ended() const override { return ended_ && pending_.empty(); }
    [[nodiscard]] bool is_interactive() const override { return interactive_; }
    void wait(std::chrono::nanoseconds at_most) override;

  private:
    void fill();

    int fd_;
    StopFlags& flags_;
    bool interactive_;
    bool ended_{false};
    EscapeFilter escape_;
    std::vector<std::byte> pending_;  // read, not taken yet; bounded by one read
};

}  // namespace backplane
