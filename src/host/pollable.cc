#include "host/pollable.h"

#include <ctime>

namespace backplane {

void poll_all(std::span<Pollable* const> pollables, std::chrono::nanoseconds at_most, Ticks now) {
    PollSet set;
    set.at_most = at_most;
    std::vector<std::size_t> ends;
    for (Pollable* const pollable : pollables) {
        pollable->add_descriptors(set);
        ends.push_back(set.descriptors.size());
    }
    constexpr std::int64_t kSecondNs = 1'000'000'000;
    timespec const timeout{static_cast<time_t>(set.at_most.count() / kSecondNs), set.at_most.count() % kSecondNs};
    int const ready = ::ppoll(set.descriptors.data(), set.descriptors.size(), &timeout, nullptr);
    if (ready <= 0) {
        for (pollfd& each : set.descriptors) each.revents = 0;
    }
    std::size_t start = 0;
    std::span<pollfd const> const all{set.descriptors};
    for (std::size_t i = 0; i < pollables.size(); ++i) {
        pollables[i]->handle(all.subspan(start, ends[i] - start), now);
        start = ends[i];
    }
}

}  // namespace backplane
