// Ports on a link for tests: what every test of a link begins with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "crossover/fake_frame_port.h"
#include "crossover/link.h"

namespace backplane::link_testing {

using Bytes = FakeFramePort::Bytes;
using Step = FakeFramePort::Step;
using State = Mapping::State;

inline constexpr MacAddress kBroadcast{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
inline constexpr MacAddress kMulticast{0x33, 0x33, 0, 0, 0, 1};
inline constexpr MacAddress kStranger{0x52, 0x54, 1, 1, 1, 1};
inline constexpr Ticks kWait = milliseconds(10);

inline MacAddress mac_of(std::size_t port) { return {0x52, 0x54, 0, 0, 0, static_cast<std::uint8_t>(port)}; }

/// A 64-byte frame that says which one it is.
inline Bytes make_frame(MacAddress to, std::uint32_t label) {
    Bytes bytes(64);
    std::ranges::transform(to, bytes.begin(), [](std::uint8_t byte) { return std::byte{byte}; });
    store(bytes, 32, label);
    return bytes;
}

inline std::vector<std::uint32_t> labels(FakeFramePort const& port) {
    std::vector<std::uint32_t> result;
    for (Bytes const& bytes : port.received) result.push_back(load<std::uint32_t>(bytes, 32));
    return result;
}

using Labels = std::vector<std::uint32_t>;

/// Ports 0, 1, ... on one link; port n belongs to machine n.
struct Net {
    explicit Net(std::size_t count, LinkOptions options = {}) : link{std::move(options)} {
        for (std::size_t i = 0; i < count; ++i) add(static_cast<std::uint16_t>(i));
    }
    PortIndex add(std::uint16_t machine, PortOptions port_options = {}) {
        ports.push_back(std::make_unique<FakeFramePort>(mac_of(ports.size())));
        return link.attach(MachineId{machine}, *ports.back(), "eth0", std::move(port_options));
    }
    FakeFramePort& operator[](std::size_t i) { return *ports[i]; }
    void post_all(std::uint64_t count) {
        for (auto& port : ports) port->post_buffers(count);
    }
    State state(std::uint32_t port) { return link.mapping(PortIndex{port}).state(); }

    std::vector<std::unique_ptr<FakeFramePort>> ports;
    Link link;
};

}  // namespace backplane::link_testing
