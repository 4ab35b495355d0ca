#include "device/virtio/net.h"

#include <gtest/gtest.h>

#include "device/e1000/testing.h"
#include "device/virtio/testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;
using e1000::testing::kTransport;
using e1000::testing::make_tcp;

constexpr std::uint64_t kNoOffloads = kVersion1 | net_feature::kMac;
constexpr NetHeader kPlain{};

/// A TCP packet with room for segments, and the header with which Linux sends it.
NetHeader whole_header(std::uint16_t segment_bytes) {
    return {kHeaderNeedsChecksum, kSegmentationTcp4, 54, segment_bytes, kTransport, 16, 0};
}

class NetTest : public ::testing::Test {
  protected:
    RunningNet nic_;
};

TEST_F(NetTest, ConfigurationSpace) {
    for (std::size_t i = 0; i < kMac.size(); ++i) EXPECT_EQ(nic_.net.read_config(i, Width::byte), kMac[i]);
    EXPECT_EQ(nic_.net.read_config(6, Width::word), 1U) << "link up";
    EXPECT_EQ(nic_.net.read_config(10, Width::word), 1500U);
    int const before = nic_.machine.configuration_interrupts;
    nic_.net.set_carrier(false);
    nic_.net.set_carrier(false);
    EXPECT_EQ(nic_.net.read_config(6, Width::word), 0U);
    EXPECT_EQ(nic_.machine.configuration_interrupts, before + 1);
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
}

TEST_F(NetTest, OffersToSendUnfinishedOnlyWhatTheCarrierFinishes) {
    FakeMachine machine;
    Net alone{kMac, machine.clock, machine};
    alone.write_common(0, Width::dword, 0);
    std::uint64_t const sending = net_feature::kChecksum | net_feature::kHostTso4 | net_feature::kHostTso6;
    EXPECT_EQ(alone.read_common(4, Width::dword) & sending, 0U);
    alone.allow_unfinished_frames();
    EXPECT_EQ(alone.read_common(4, Width::dword) & sending, sending);
}

TEST_F(NetTest, AFrameLiesInTheGuestUntilItIsTakenAndIsDoneWhenCompleted) {
    std::vector<std::uint8_t> const frame = make_frame(100, kPeerMac);
    nic_.machine.clock.advance_to(Ticks{777});
    constexpr std::uint64_t at = kBuffers + 0x200000;
    std::uint16_t const head = nic_.send(with_header(kPlain, frame), at);
    nic_.machine.clock.advance_to(Ticks{999});
    Frame const* const front = nic_.net.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(bytes_in(*front), frame);
    EXPECT_EQ(front->bytes, 100U);
    EXPECT_EQ(front->sent, Ticks{777});
    EXPECT_EQ(front->offload, Offload{});
    EXPECT_EQ(front->pieces[0].data(), nic_.machine.memory.readable(GuestPhys{at + 12}, 1).data()) << "in place";
    EXPECT_EQ(nic_.net.take_front(), 1U);
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.transmit_ring.used_index(), 0);
    nic_.net.complete_transmit(1);
    EXPECT_EQ(nic_.transmit_ring.used_index(), 1);
    EXPECT_EQ(nic_.transmit_ring.used_at(0), (Used{head, 0}));
    EXPECT_EQ(nic_.machine.queue_interrupts, 1);
    EXPECT_EQ(nic_.machine.last_vector, 1);
    EXPECT_EQ(nic_.net.counters().tail_moves, 1U);
    EXPECT_EQ(nic_.net.counters().transmit_complete_interrupts, 1U);
}

TEST_F(NetTest, ThePiecesOfAPacketMayLieAnywhere) {
    std::vector<std::uint8_t> const packet = with_header(kPlain, make_frame(3000, kPeerMac));
    std::vector<Slot> pieces;
    for (std::size_t at = 0, i = 0; at < packet.size(); ++i) {
        std::size_t const count = std::min<std::size_t>(i < 4 ? 5 : 500, packet.size() - at);
        std::uint64_t const place = kBuffers + i * 0x2000 + 4000;  // over the end of a page
        nic_.machine.put_bytes(
            place, {packet.begin() + static_cast<long>(at), packet.begin() + static_cast<long>(at + count)});
        pieces.push_back({place, static_cast<std::uint32_t>(count), 0, 0});
        at += count;
    }
    nic_.transmit_ring.offer_pieces(pieces);
    nic_.net.notify(Net::kTransmitQueue);
    ASSERT_NE(nic_.net.front(), nullptr);
    EXPECT_EQ(bytes_in(*nic_.net.front()), make_frame(3000, kPeerMac));
}

TEST_F(NetTest, WhatIsAddedAfterTheDoorbellWaitsForTheNextOne) {
    nic_.send(with_header(kPlain, make_frame(60, kPeerMac)));
    nic_.transmit_ring.offer(0);
    ASSERT_NE(nic_.net.front(), nullptr);
    nic_.net.take_front();
    EXPECT_EQ(nic_.net.front(), nullptr);
    nic_.machine.clock.advance_to(Ticks{5});
    nic_.net.notify(Net::kTransmitQueue);
    ASSERT_NE(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.net.front()->sent, Ticks{5});
}

TEST_F(NetTest, ASegmentLeavesWhole) {
    nic_.send(with_header(whole_header(1000), make_tcp(2500)));
    Frame const* const front = nic_.net.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(front->bytes, 2554U);
    EXPECT_EQ(front->offload, (Offload{.needs_checksum = true,
                                       .segments = Offload::Segments::tcp_ipv4,
                                       .checksum_start = kTransport,
                                       .checksum_offset = 16,
                                       .segment_bytes = 1000,
                                       .header_bytes = 54}));
}

TEST_F(NetTest, NonsenseIsGivenBackAndCounted) {
    std::uint64_t errors = 0;
    auto const expect_dropped = [&](std::vector<std::uint8_t> const& packet) {
        std::uint16_t const before = nic_.transmit_ring.used_index();
        nic_.send(packet);
        EXPECT_EQ(nic_.net.front(), nullptr);
        EXPECT_EQ(nic_.net.guest_errors().bad_packets, ++errors);
        EXPECT_EQ(nic_.transmit_ring.used_index(), before + 1);
    };
    auto const changed = [](auto change) {
        NetHeader header = whole_header(1000);
        change(header);
        return with_header(header, make_tcp(2500));
    };
    expect_dropped(with_header(kPlain, {}));
    expect_dropped(with_header(kPlain, std::vector<std::uint8_t>(13)));
    expect_dropped({1, 2, 3});
    expect_dropped(with_header(kPlain, make_frame(65536 + 18 + 40)));
    expect_dropped(changed([](NetHeader& h) { h.segment_bytes = 0; }));
    expect_dropped(changed([](NetHeader& h) { h.segment_bytes = 7; }));
    expect_dropped(changed([](NetHeader& h) { h.segmentation = 3; }));
    expect_dropped(changed([](NetHeader& h) { h.segmentation = 0x81; }));
    expect_dropped(changed([](NetHeader& h) { h.segmentation = kSegmentationTcp6; }));
    expect_dropped(changed([](NetHeader& h) { h.flags = 0; }));
    expect_dropped(changed([](NetHeader& h) { h.checksum_start = 0xFFFF; }));
    expect_dropped(changed([](NetHeader& h) { h.segmentation = 0, h.checksum_offset = 0xFFFF; }));
    nic_.transmit_ring.offer_pieces({{kHole, 100, 0, 0}});
    nic_.net.notify(Net::kTransmitQueue);
    EXPECT_EQ(nic_.net.front(), nullptr);
    nic_.transmit_ring.offer_pieces({{kBuffers, 100, 0, 0}, {kBuffers, 100, kWrite, 0}});
    nic_.net.notify(Net::kTransmitQueue);
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.net.guest_errors().bad_packets, errors + 2);
    nic_.send(with_header(kPlain, make_frame(60, kPeerMac)));
    EXPECT_NE(nic_.net.front(), nullptr) << "and the next one goes";
}

TEST_F(NetTest, WhatWasNotNegotiatedIsNonsense) {
    nic_.set_up(kNoOffloads);
    nic_.send(with_header(whole_header(1000), make_tcp(2500)));
    EXPECT_EQ(nic_.net.front(), nullptr);
    NetHeader header = whole_header(1000);
    header.segmentation = 0;
    nic_.send(with_header(header, make_tcp(100)));
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.net.guest_errors().bad_packets, 2U);
    EXPECT_EQ(nic_.net.accepts(), OffloadSet{});
}

TEST_F(NetTest, AFrameLandsBehindItsHeader) {
    nic_.set_up(kNoOffloads);
    std::uint64_t const at = nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(1000)), ReceiveResult::landed);
    auto const header = nic_.machine.get<NetHeader>(at);
    EXPECT_EQ(header.flags, 0);
    EXPECT_EQ(header.segmentation, 0);
    EXPECT_EQ(header.buffer_count, 1);
    EXPECT_EQ(nic_.machine.get_bytes(at + 12, 1000), make_frame(1000));
    EXPECT_EQ(nic_.receive_ring.used_at(0), (Used{0, 1012}));
    EXPECT_EQ(nic_.machine.last_vector, 0);
    EXPECT_EQ(nic_.net.landed_count(), 1U);
    EXPECT_EQ(nic_.net.counters().head_moves, 1U);
    EXPECT_EQ(nic_.net.counters().receive_interrupts, 1U);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::no_buffer);
}

TEST_F(NetTest, AWholeSegmentLandsInMergedBuffers) {
    std::vector<std::uint64_t> places;
    for (int i = 0; i < 3; ++i) places.push_back(nic_.post_buffer(1000));
    EXPECT_EQ(nic_.net.accepts(), (OffloadSet{.checksum = true, .tcp_ipv4 = true, .tcp_ipv6 = true}));
    Offload const offload{.needs_checksum = true,
                          .segments = Offload::Segments::tcp_ipv4,
                          .checksum_start = kTransport,
                          .checksum_offset = 16,
                          .segment_bytes = 1000,
                          .header_bytes = 54};
    std::vector<std::uint8_t> frame = make_tcp(2400);
    std::memcpy(frame.data(), kMac.data(), kMac.size());
    ASSERT_EQ(nic_.receive(frame, offload), ReceiveResult::landed);
    auto const header = nic_.machine.get<NetHeader>(places[0]);
    EXPECT_EQ(header.flags, kHeaderNeedsChecksum);
    EXPECT_EQ(header.segmentation, kSegmentationTcp4);
    EXPECT_EQ(header.segment_bytes, 1000);
    EXPECT_EQ(header.header_bytes, 54);
    EXPECT_EQ(header.checksum_start, kTransport);
    EXPECT_EQ(header.checksum_offset, 16);
    EXPECT_EQ(header.buffer_count, 3);
    std::vector<std::uint8_t> landed = nic_.machine.get_bytes(places[0] + 12, 988);
    for (auto const& [at, count] : {std::pair{places[1], 1000}, std::pair{places[2], 466}}) {
        auto const part = nic_.machine.get_bytes(at, static_cast<std::size_t>(count));
        landed.insert(landed.end(), part.begin(), part.end());
    }
    EXPECT_EQ(landed, frame);
    EXPECT_EQ(nic_.receive_ring.used_index(), 3);
    EXPECT_EQ(nic_.receive_ring.used_at(1).bytes, 1000U);
    EXPECT_EQ(nic_.receive_ring.used_at(2).bytes, 466U);
    EXPECT_EQ(nic_.net.landed_count(), 1U);
    EXPECT_EQ(nic_.net.read_count(), 0U);
    nic_.post_buffer();
    nic_.post_buffer();
    EXPECT_EQ(nic_.net.read_count(), 0U);
    nic_.post_buffer();
    EXPECT_EQ(nic_.net.read_count(), 1U) << "all its buffers were posted anew";
}

TEST_F(NetTest, ASumThatTheCarrierComputedIsSaidToBeRight) {
    std::uint64_t const at = nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(60), {.is_checked = true}), ReceiveResult::landed);
    EXPECT_EQ(nic_.machine.get<NetHeader>(at).flags, kHeaderDataValid);
}

// [VIRTIO] 5.1.4.1
TEST_F(NetTest, ADriverThatKnowsTheMtuGetsNothingLonger) {
    RunningNet nic{kEverything, {.mtu_bytes = 4000}};
    EXPECT_EQ(nic.net.read_config(10, Width::word), 4000U);
    for (int i = 0; i < 16; ++i) nic.post_buffer();
    EXPECT_EQ(nic.receive(make_frame(14 + 4000)), ReceiveResult::landed);
    EXPECT_EQ(nic.receive(make_frame(14 + 4001)), ReceiveResult::refused);
    EXPECT_EQ(nic.command({2, 0, 42, 0}), 0);
    for (std::size_t const bytes : {4000, 4001}) {
        std::vector<std::uint8_t> tagged = make_frame(18 + bytes);
        tagged[12] = 0x81;
        tagged[13] = 0x00;
        tagged[14] = 0;
        tagged[15] = 42;
        EXPECT_EQ(nic.receive(tagged), bytes == 4000 ? ReceiveResult::landed : ReceiveResult::refused) << bytes;
    }
    Offload const whole{.needs_checksum = true,
                        .segments = Offload::Segments::tcp_ipv4,
                        .checksum_start = kTransport,
                        .checksum_offset = 16,
                        .segment_bytes = 3960,
                        .header_bytes = 54};
    std::vector<std::uint8_t> segment = make_tcp(9000);
    std::memcpy(segment.data(), kMac.data(), kMac.size());
    EXPECT_EQ(nic.receive(segment, whole), ReceiveResult::landed) << "what it cuts in thought";
    nic.set_up(kEverything & ~net_feature::kMtu);
    for (int i = 0; i < 16; ++i) nic.post_buffer();
    EXPECT_EQ(nic.receive(make_frame(14 + 4001)), ReceiveResult::landed) << "a driver that does not";
}

TEST_F(NetTest, TooFewBuffersChangeNothing) {
    nic_.post_buffer(1000);
    EXPECT_EQ(nic_.receive(make_frame(1500)), ReceiveResult::no_buffer);
    EXPECT_EQ(nic_.receive_ring.used_index(), 0);
    nic_.post_buffer(1000);
    EXPECT_EQ(nic_.receive(make_frame(1500)), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive_ring.used_index(), 2);
}

TEST_F(NetTest, ABufferThatCanNeverHoldTheFrameComesBackEmpty) {
    nic_.set_up(kNoOffloads);
    nic_.post_buffer(100);
    EXPECT_EQ(nic_.receive(make_frame(1000)), ReceiveResult::refused);
    EXPECT_EQ(nic_.receive_ring.used_at(0), (Used{0, 0}));
    nic_.set_up(kEverything);
    for (int i = 0; i < RunningNet::kSize; ++i) nic_.post_buffer(10);
    EXPECT_EQ(nic_.receive(make_frame(1000)), ReceiveResult::refused) << "nor can the whole queue";
    EXPECT_EQ(nic_.receive_ring.used_index(), RunningNet::kSize);
    EXPECT_EQ(nic_.net.guest_errors().bad_buffers, 2U);
}

TEST_F(NetTest, BuffersThatAreNoRamComeBackEmpty) {
    for (std::uint64_t const at : {kHole, kHole - 50, ~std::uint64_t{0} - 20}) {
        nic_.post({{at, 2048, 0, 0}});
        nic_.net.notify(Net::kReceiveQueue);
        EXPECT_EQ(nic_.receive(make_frame(100)), ReceiveResult::refused);
    }
    EXPECT_EQ(nic_.receive_ring.used_index(), 3);
    EXPECT_EQ(nic_.receive_ring.used_at(2).bytes, 0U);
    EXPECT_EQ(nic_.net.landed_count(), 0U);
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(100)), ReceiveResult::landed);
}

TEST_F(NetTest, ABufferInsideItsOwnRingHarmsOnlyItsDriver) {
    nic_.post({{nic_.receive_ring.used(), 2048, 0, 0}});
    nic_.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic_.receive(make_frame(1500)), ReceiveResult::landed);
    nic_.post({{nic_.receive_ring.available(), 2048, 0, 0}});
    nic_.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic_.receive(make_frame(1500)), ReceiveResult::landed);
    (void)nic_.receive(make_frame(1500));
    EXPECT_EQ(nic_.status() & kNeedsReset, kNeedsReset) << "the index is no index any more";
}

TEST_F(NetTest, FiltersByAddress) {
    for (int i = 0; i < 12; ++i) nic_.post_buffer();
    MacAddress const broadcast{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    MacAddress const group{0x33, 0x33, 0, 0, 0, 1};
    auto const passes = [&](MacAddress const& to) { return nic_.receive(make_frame(60, to)) == ReceiveResult::landed; };
    EXPECT_TRUE(passes(kMac));
    EXPECT_FALSE(passes(kPeerMac));
    EXPECT_TRUE(passes(broadcast));
    EXPECT_FALSE(passes(group));
    EXPECT_EQ(nic_.command({0, 1, 1}), 0) << "all multicast";
    EXPECT_TRUE(passes(group));
    EXPECT_EQ(nic_.command({0, 1, 0}), 0);
    std::vector<std::uint8_t> table{1, 0, 1, 0, 0, 0};
    table.insert(table.end(), kPeerMac.begin(), kPeerMac.end());
    table.insert(table.end(), {1, 0, 0, 0});
    table.insert(table.end(), group.begin(), group.end());
    EXPECT_EQ(nic_.command(table), 0);
    EXPECT_TRUE(passes(kPeerMac));
    EXPECT_TRUE(passes(group));
    EXPECT_EQ(nic_.command({0, 3, 1}), 0);
    EXPECT_FALSE(passes(group)) << "no multicast";
    EXPECT_EQ(nic_.command({0, 5, 1}), 0);
    EXPECT_FALSE(passes(broadcast));
    EXPECT_EQ(nic_.command({0, 4, 1}), 0);
    EXPECT_FALSE(passes(kMac));
    EXPECT_EQ(nic_.command({0, 0, 1}), 0) << "promiscuous";
    EXPECT_TRUE(passes(kPeerMac));
    EXPECT_EQ(nic_.command({1, 1, 2, 0, 0, 0, 0, 9}), 0);
    EXPECT_EQ(nic_.net.mac(), (MacAddress{2, 0, 0, 0, 0, 9}));
    nic_.set_up(kEverything);
    EXPECT_EQ(nic_.net.mac(), kMac);
    EXPECT_FALSE(nic_.net.filter().promiscuous);
}

TEST_F(NetTest, ADriverThatCannotNameGroupsGetsAll) {
    nic_.set_up(kNoOffloads);
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(60, {0x33, 0x33, 0, 0, 0, 1})), ReceiveResult::landed);
}

TEST_F(NetTest, FiltersByVlan) {
    for (int i = 0; i < 4; ++i) nic_.post_buffer();
    std::vector<std::uint8_t> frame = make_frame(64);
    frame[12] = 0x81;
    frame[13] = 0x00;
    frame[14] = 0xE0;  // priority 7
    frame[15] = 42;
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::refused);
    EXPECT_EQ(nic_.command({2, 0, 42, 0}), 0);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
    EXPECT_EQ(nic_.command({2, 1, 42, 0}), 0);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::refused);
}

TEST_F(NetTest, CommandsThatMakeNoSenseAreAnsweredSo) {
    for (std::vector<std::uint8_t> const& command : std::vector<std::vector<std::uint8_t>>{
             {},
             {0},
             {0, 0},
             {0, 0, 1, 1},
             {0, 6, 1},
             {9, 0, 1},
             {1, 0, 1, 0, 0, 0},
             {1, 0, 255, 255, 255, 255, 0, 0, 0, 0},
             {1, 0, 0, 0, 0, 0},
             {1, 1, 1},
             {1, 2, 1, 2, 3, 4, 5, 6},
             {2, 0, 0, 16},
             {2, 2, 1, 0},
             std::vector<std::uint8_t>(20000),
         }) {
        EXPECT_EQ(nic_.command(command), 1);
    }
    EXPECT_EQ(nic_.net.guest_errors().bad_packets, 14U);
    EXPECT_EQ(nic_.status() & kNeedsReset, 0U);
    std::vector<std::uint8_t> many(2 + 4 + 65 * 6 + 4);
    many[0] = 1;
    many[2] = 65;
    EXPECT_EQ(nic_.command(many), 0);
    EXPECT_TRUE(nic_.net.filter().unicast_overflow) << "more than the table holds: all pass";
}

TEST_F(NetTest, ResetForgetsTheRingsButNotTheNumbering) {
    nic_.send(with_header(kPlain, make_frame(60, kPeerMac)));
    ASSERT_NE(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.net.take_front(), 1U);
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    nic_.set_up(kEverything);
    EXPECT_EQ(nic_.net.read_count(), 1U);
    nic_.net.complete_transmit(1);
    EXPECT_EQ(nic_.transmit_ring.used_index(), 0) << "the guest has its ring back";
    nic_.send(with_header(kPlain, make_frame(60, kPeerMac)));
    ASSERT_NE(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.net.take_front(), 2U);
}

TEST_F(NetTest, NothingMovesWithoutBusMastering) {
    nic_.post_buffer();
    nic_.send(with_header(kPlain, make_frame(60, kPeerMac)));
    nic_.machine.is_bus_master = false;
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    nic_.machine.is_bus_master = true;
    EXPECT_NE(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
}

}  // namespace
}  // namespace backplane::virtio
