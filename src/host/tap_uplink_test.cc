#include "host/tap_uplink.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace backplane {
namespace {

/// A pair of sockets that keep frames apart, as a TAP device does; not blocking.
std::array<UniqueFd, 2> make_pair() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void send_through(TapUplink& uplink, std::size_t bytes) {
    std::vector<std::byte> const frame(bytes);
    ConstByteSpan const piece{frame};
    EXPECT_EQ(uplink.receive({{&piece, 1}, static_cast<std::uint32_t>(bytes)}), ReceiveResult::landed);
}

TEST(TapUplink, CountsWhatTheHostRefuses) {
    auto [device, host] = make_pair();
    TapUplink uplink{std::move(device)};
    send_through(uplink, 100);
    EXPECT_EQ(uplink.refusals(), (OutsideRefusals{}));
    std::array<std::byte, 200> got{};
    EXPECT_EQ(::recv(host.get(), got.data(), got.size(), 0), 100);
    for (int i = 0; i < 100'000 && uplink.refusals().full == 0; ++i) send_through(uplink, 1500);
    EXPECT_EQ(uplink.refusals(), (OutsideRefusals{.full = 1}));
    host = UniqueFd{};
    send_through(uplink, 100);
    EXPECT_EQ(uplink.refusals(), (OutsideRefusals{.full = 1, .other = 1}));
}

}  // namespace
}  // namespace backplane
