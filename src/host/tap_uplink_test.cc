#include "host/tap_uplink.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "device/e1000/testing.h"
#include "device/virtio/net_header.h"

namespace backplane {
namespace {

using e1000::testing::kTransport;
using e1000::testing::make_tcp;
using virtio::NetHeader;

constexpr NetHeader kSegment{virtio::kHeaderNeedsChecksum, virtio::kSegmentationTcp4, 54, 1448, kTransport, 16, 0};

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
    EXPECT_EQ(::recv(host.get(), got.data(), got.size(), 0), static_cast<ssize_t>(sizeof(NetHeader) + 100));
    for (int i = 0; i < 100'000 && uplink.refusals().full == 0; ++i) send_through(uplink, 1500);
    EXPECT_EQ(uplink.refusals(), (OutsideRefusals{.full = 1}));
    host = UniqueFd{};
    send_through(uplink, 100);
    EXPECT_EQ(uplink.refusals(), (OutsideRefusals{.full = 1, .other = 1}));
}

TEST(TapUplink, GivesTheHostSegmentsWhole) {
    auto [device, host] = make_pair();
    TapUplink uplink{std::move(device)};
    std::vector<std::uint8_t> const bytes = make_tcp(20'000);
    ConstByteSpan const piece = std::as_bytes(std::span{bytes});
    Frame frame{{&piece, 1}, static_cast<std::uint32_t>(bytes.size())};
    frame.offload = virtio::offload_of(kSegment, frame).value();
    ASSERT_TRUE(uplink.accepts().covers(frame.offload));
    EXPECT_EQ(uplink.receive(frame), ReceiveResult::landed);
    std::vector<std::uint8_t> got(sizeof(NetHeader) + bytes.size() + 1);
    ASSERT_EQ(::recv(host.get(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size() - 1));
    NetHeader header{};
    std::memcpy(&header, got.data(), sizeof header);
    EXPECT_EQ(header.flags, kSegment.flags);
    EXPECT_EQ(header.segmentation, kSegment.segmentation);
    EXPECT_EQ(header.header_bytes, 54);
    EXPECT_EQ(header.segment_bytes, 1448);
    EXPECT_EQ(header.checksum_start, kTransport);
    EXPECT_EQ(header.checksum_offset, 16);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), got.begin() + sizeof header));
}

TEST(TapUplink, TakesWhatTheHostHasNotCutAndDropsWhatMakesNoSense) {
    std::array<UniqueFd, 2> ends = make_pair();
    TapUplink uplink{std::move(ends[0])};
    UniqueFd const& host = ends[1];  // Clang 14 captures no structured binding
    uplink.set_carrier(true);
    std::vector<std::uint8_t> const bytes = make_tcp(20'000);
    auto const send = [&](NetHeader const& header, std::size_t count) {
        std::vector<std::uint8_t> packet(sizeof header + bytes.size());
        std::memcpy(packet.data(), &header, sizeof header);
        std::copy(bytes.begin(), bytes.end(), packet.begin() + sizeof header);
        ASSERT_EQ(::send(host.get(), packet.data(), count, 0), static_cast<ssize_t>(count));
        PollSet set;
        uplink.add_descriptors(set);
        set.descriptors.front().revents = POLLIN;
        uplink.handle(set.descriptors, Ticks{5});
    };
    std::size_t const whole = sizeof(NetHeader) + bytes.size();
    NetHeader beyond = kSegment, unknown = kSegment;
    beyond.checksum_start = 0xFFF0, unknown.segmentation = 3;
    for (NetHeader const& header : {beyond, unknown}) send(header, whole);
    send(kSegment, 7);
    EXPECT_EQ(uplink.dropped_frames(), 3U);
    EXPECT_EQ(uplink.front(), nullptr);
    send(kSegment, whole);
    Frame const* const frame = uplink.front();
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->bytes, bytes.size());
    EXPECT_EQ(frame->offload.segments, Offload::Segments::tcp_ipv4);
    EXPECT_EQ(frame->offload.segment_bytes, 1448);
    EXPECT_EQ(frame->offload.header_bytes, 54);
    EXPECT_TRUE(frame->offload.needs_checksum);
}

}  // namespace
}  // namespace backplane
