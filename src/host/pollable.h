// What has something to say when the host says so: descriptors that are looked at between two barriers, and waited for
// when the rack idles.
#pragma once

#include <poll.h>

#include <chrono>
#include <span>
#include <vector>

#include "clock/virtual_time.h"

namespace backplane {

/// Descriptors to wait for, and how long at most.
struct PollSet {
    std::vector<pollfd> descriptors;
    std::chrono::nanoseconds at_most{};

    void wait_at_most(std::chrono::nanoseconds time) {
        if (time < at_most) at_most = time;
    }
};

class Pollable {
  public:
    virtual ~Pollable() = default;
    /// Adds its descriptors behind those that are there.
    virtual void add_descriptors(PollSet& set) = 0;
    /// \param own  what it added, with what happened
    /// \param now  the virtual time that all machines have reached
    virtual void handle(std::span<pollfd const> own, Ticks now) = 0;
};

/// Waits until one of them has something to do, or the time is over, or a signal came; then lets each handle its own.
void poll_all(std::span<Pollable* const> pollables, std::chrono::nanoseconds at_most, Ticks now);

}  // namespace backplane
