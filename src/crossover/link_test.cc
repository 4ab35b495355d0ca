#include "crossover/link.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "crossover/link_testing.h"

namespace backplane {
namespace {

using namespace link_testing;

TEST(Link, TwoMachinesBothDirections) {
    Net net{2};
    net.post_all(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{10});
    net[1].send(make_frame(mac_of(0), 2), Ticks{11});
    net[0].send(make_frame(mac_of(1), 3), Ticks{12});
    EXPECT_TRUE(net.link.has_work());
    EXPECT_EQ(net[0].receive_calls, 0u) << "nothing lands before the barrier";
    net.link.deliver(Ticks{100});
    EXPECT_EQ(net[1].received, (std::vector<Bytes>{make_frame(mac_of(1), 1), make_frame(mac_of(1), 3)}));
    EXPECT_EQ(net[0].received, (std::vector<Bytes>{make_frame(mac_of(0), 2)}));
    EXPECT_EQ(net[0].frames_done, 2u);
    EXPECT_EQ(net[1].frames_done, 1u);
    EXPECT_FALSE(net.link.has_work());
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());

    LinkReport const& report = net.link.report();
    EXPECT_EQ(report.frames, 3u);
    EXPECT_EQ(report.bytes, 3u * 64);
    EXPECT_EQ(report.copies, 3u);
    EXPECT_EQ(report.copied_bytes, 3u * 64);
    EXPECT_EQ(report.copies_per_frame(), 1.0);
    EXPECT_EQ(report.stored_bytes_peak, 0u);
    EXPECT_EQ(report.crosstalk_hits, 3u);
    EXPECT_EQ(report.waited_frames, 0u);
    EXPECT_EQ(report.ports[0].frames_sent, 2u);
    EXPECT_EQ(report.ports[0].bytes_sent, 128u);
    EXPECT_EQ(report.ports[0].frames_received, 1u);
    EXPECT_EQ(report.ports[1].bytes_received, 128u);
}

/// A TCP packet of three segments, and what it lacks.
constexpr Offload kThreeSegments{.needs_checksum = true,
                                 .segments = Offload::Segments::tcp_ipv4,
                                 .checksum_start = 34,
                                 .checksum_offset = 16,
                                 .segment_bytes = 1000,
                                 .header_bytes = 54};
Bytes make_three_segments(MacAddress to) {
    Bytes bytes(54 + 2500);
    std::ranges::transform(to, bytes.begin(), [](std::uint8_t byte) { return std::byte{byte}; });
    for (std::size_t i = 54; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
    store_be16(bytes, 12, 0x0800);
    bytes[14] = std::byte{0x45};
    store_be16(bytes, 16, static_cast<std::uint16_t>(bytes.size() - 14));
    bytes[23] = std::byte{6};
    bytes[46] = std::byte{0x50};
    return bytes;
}

TEST(Link, ClaimS211ASegmentStaysWholeTowardsWhoTakesIt) {
    Net net{2};
    net.post_all(8);
    EXPECT_TRUE(net[0].may_be_unfinished);
    net[1].set_accepts({.checksum = true, .tcp_ipv4 = true});
    net[0].send(make_three_segments(mac_of(1)), Ticks{1}, kThreeSegments);
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[1].received, std::vector<Bytes>{make_three_segments(mac_of(1))}) << "not a byte was changed";
    EXPECT_EQ(net[1].received_offloads, std::vector<Offload>{kThreeSegments});
    LinkReport const& report = net.link.report();
    EXPECT_EQ(report.whole_frames, 1u);
    EXPECT_EQ(report.unsummed_frames, 1u);
    EXPECT_EQ(report.cut_frames, 0u);
    EXPECT_EQ(report.copies, 1u);
    EXPECT_EQ(report.copied_bytes, 2554u);
}

TEST(Link, ClaimS211ASegmentIsCutWhileItCrossesToOneThatDoesNotTakeIt) {
    for (OffloadSet const accepts : {OffloadSet{}, OffloadSet{.checksum = true}, OffloadSet{.tcp_ipv4 = true}}) {
        Net net{2};
        net.post_all(8);
        net[1].set_accepts(accepts);
        net[0].send(make_three_segments(mac_of(1)), Ticks{1}, kThreeSegments);
        net.link.deliver(Ticks{1});
        ASSERT_EQ(net[1].received.size(), 3u);
        EXPECT_EQ(net[1].received[0].size(), 1054u);
        EXPECT_EQ(net[1].received[2].size(), 554u);
        for (Offload const& offload : net[1].received_offloads) EXPECT_EQ(offload, Offload{.is_checked = true});
        EXPECT_EQ(net[0].frames_done, 1u);
        LinkReport const& report = net.link.report();
        EXPECT_EQ(report.frames, 1u);
        EXPECT_EQ(report.cut_frames, 1u);
        EXPECT_EQ(report.cut_segments, 3u);
        EXPECT_EQ(report.whole_frames, 0u);
        EXPECT_EQ(report.deliveries, 3u);
        EXPECT_EQ(report.copies_per_frame(), 1.0);
        EXPECT_EQ(report.copied_bytes, 2500u + 3 * 54);
        EXPECT_EQ(report.ports[1].frames_received, 3u);
    }
}

TEST(Link, ACutPacketGoesOnWhereItStopped) {
    Net net{2};
    net[1].post_buffers(2);
    net[0].send(make_three_segments(mac_of(1)), Ticks{1}, kThreeSegments);
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[1].received.size(), 2u);
    EXPECT_EQ(net[0].frames_done, 0u);
    net[1].post_buffers(2);
    net.link.deliver(Ticks{2});
    ASSERT_EQ(net[1].received.size(), 3u) << "what had landed does not land again";
    EXPECT_EQ(net[1].received[2].size(), 554u);
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_EQ(net.link.report().cut_frames, 1u);
    EXPECT_EQ(net.link.report().drops.no_buffer, 0u);
}

TEST(Link, ABroadcastIsFinishedForThoseThatNeedIt) {
    Net net{3};
    net.post_all(8);
    net[1].set_accepts({.checksum = true});
    net[0].send(make_three_segments(kBroadcast), Ticks{1},
                {.needs_checksum = true, .checksum_start = 34, .checksum_offset = 16});
    net[2].set_accepts({.tcp_ipv4 = true});  // long frames, but not this one's missing sum
    net.link.deliver(Ticks{1});
    ASSERT_EQ(net[1].received.size(), 1u);
    ASSERT_EQ(net[2].received.size(), 1u);
    EXPECT_TRUE(net[1].received_offloads[0].needs_checksum);
    EXPECT_TRUE(net[2].received_offloads[0].is_checked);
    EXPECT_EQ(net.link.report().unsummed_frames, 1u);
    EXPECT_EQ(net.link.report().cut_frames, 0u);
}

TEST(Link, APacketThatContradictsItselfIsDropped) {
    Net net{2};
    net.post_all(8);
    Offload nonsense = kThreeSegments;
    nonsense.segment_bytes = 0;
    net[0].send(make_three_segments(mac_of(1)), Ticks{1}, nonsense);
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net.link.report().drops.refused, 1u);
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_EQ(net[1].receive_calls, 0u);
}

TEST(Link, CostsNothingWhenNothingChanged) {
    Net net{3};
    net.link.deliver(Ticks{1});
    for (auto& port : net.ports) port->probe = [](Step) { ADD_FAILURE(); };
    net.link.deliver(Ticks{2});
    EXPECT_FALSE(net.link.has_work());
    EXPECT_EQ(LinkReport{}.copies_per_frame(), 0.0);
}

TEST(Link, BroadcastAndMulticastReachAllButTheSender) {
    Net net{3};
    net.post_all(8);
    net[2].refuse_multicast();
    net[1].send(make_frame(kBroadcast, 1), Ticks{1});
    net[1].send(make_frame(kMulticast, 2), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(labels(net[0]), (Labels{1, 2}));
    EXPECT_EQ(labels(net[1]), Labels{});
    EXPECT_EQ(labels(net[2]), (Labels{1}));
    EXPECT_EQ(net[1].frames_done, 2u);
    EXPECT_EQ(net[1].receive_calls, 0u);
    EXPECT_EQ(net.link.report().group_frames, 2u);
    EXPECT_EQ(net.link.report().crosstalk_hits, 0u);
    EXPECT_EQ(net.link.report().copies, 3u);
    EXPECT_EQ(net.link.report().copies_per_frame(), 1.0);
    EXPECT_EQ(net.link.report().drops.refused, 1u);
}

TEST(Link, FramesForNobodyLeaveTheRingAndAreCounted) {
    Net net{2};
    net.post_all(8);
    net[0].send(make_frame(kStranger, 1), Ticks{1});
    net[0].send(make_frame(mac_of(0), 2), Ticks{1});
    net[0].send(Bytes(5), Ticks{1});
    net[0].send(Bytes{}, Ticks{1});
    net[0].send(make_frame(mac_of(1), 3), Ticks{1});
    std::vector<State> states;
    net[0].probe = [&](Step step) {
        if (step == Step::transmit_interrupt) states.push_back(net.state(0));
    };
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net.link.report().drops.no_destination, 4u);
    EXPECT_EQ(net.link.report().frames, 5u);
    EXPECT_EQ(net[0].frames_done, 5u);
    EXPECT_EQ(labels(net[1]), (Labels{3}));
    EXPECT_EQ(net[1].receive_calls, 1u);
    EXPECT_EQ(states, (std::vector{State::unmapped, State::unmapped, State::unmapped, State::unmapped, State::peer}));
}

TEST(Link, RefusedByTheReceiverIsCountedAndDone) {
    Net net{2};
    net.post_all(1);
    net[1].set_address(kStranger);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net.link.report().drops.refused, 1u);
    EXPECT_EQ(net.link.report().copies, 0u);
    EXPECT_EQ(net[0].frames_done, 1u);
    net[0].send(make_frame(kStranger, 2), Ticks{2});
    net.link.deliver(Ticks{2});
    EXPECT_EQ(labels(net[1]), (Labels{2})) << "the address that the guest gave itself is found";
}

TEST(Link, OrderIsTimeThenMachineThenPortThenRing) {
    Net net{0};
    net.add(5);  // the receiver
    net.add(3);
    net.add(2);
    net.add(2);
    net.post_all(16);
    net[1].send(make_frame(mac_of(0), 30), Ticks{10});
    net[1].send(make_frame(mac_of(0), 31), Ticks{10});
    net[1].send(make_frame(mac_of(0), 32), Ticks{40});
    net[3].send(make_frame(mac_of(0), 21), Ticks{10});
    net[2].send(make_frame(mac_of(0), 20), Ticks{10});
    net[2].send(make_frame(mac_of(0), 22), Ticks{20});
    net[3].send(make_frame(mac_of(0), 23), Ticks{5000});
    net.link.deliver(Ticks{100});
    EXPECT_EQ(labels(net[0]), (Labels{20, 21, 30, 31, 22, 32}));
    EXPECT_EQ(net.link.next_deadline(), Ticks{5000}) << "a frame from after the barrier stays";
    net.link.deliver(Ticks{4999});
    EXPECT_EQ(net[0].received.size(), 6u);
    net.link.deliver(Ticks{5000});
    EXPECT_EQ(labels(net[0]).back(), 23u);
    EXPECT_EQ(net.link.report().waited_frames, 0u);
}

TEST(Link, WaitsInTheRingUntilABufferIsPosted) {
    Net net{3};
    net[2].post_buffers(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net[0].send(make_frame(mac_of(2), 2), Ticks{1});
    net[1].send(make_frame(mac_of(2), 3), Ticks{2});
    net.link.deliver(Ticks{1000});
    EXPECT_EQ(net[0].frames_in_ring(), 2u) << "head of line: frame 2 stays behind frame 1";
    EXPECT_EQ(net[0].frames_done, 0u);
    EXPECT_EQ(labels(net[2]), (Labels{3})) << "another sender goes on";
    EXPECT_FALSE(net.link.has_work());
    EXPECT_EQ(net.link.next_deadline(), Ticks{1000} + kWait);
    EXPECT_EQ(net.state(0), State::peer);
    EXPECT_TRUE(net.link.mapping(PortIndex{0}).pieces().empty()) << "machines run now";

    net.link.deliver(Ticks{2000});
    EXPECT_EQ(net[1].receive_calls, 1u) << "no port changed, nothing is tried";
    net[1].post_buffers(1);
    EXPECT_TRUE(net.link.has_work());
    net.link.deliver(Ticks{3000});
    EXPECT_EQ(labels(net[1]), (Labels{1}));
    EXPECT_EQ(labels(net[2]), (Labels{3, 2}));
    EXPECT_EQ(net[0].frames_done, 2u);
    EXPECT_EQ(net.state(0), State::unmapped);
    EXPECT_EQ(net.link.report().waited_frames, 1u);
    EXPECT_EQ(net.link.report().drops.no_buffer, 0u);
    EXPECT_EQ(net.link.report().copies, 3u);
}

TEST(Link, ExpiresAfterTheWaitAndIsCounted) {
    Net net{2};
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1000});
    net[0].send(make_frame(mac_of(1), 2), Ticks{1001});
    net.link.deliver(Ticks{999} + kWait);
    EXPECT_EQ(net[0].frames_in_ring(), 2u);
    EXPECT_EQ(net.link.report().drops.no_buffer, 0u);
    net.link.deliver(net.link.next_deadline());
    EXPECT_EQ(net[0].frames_in_ring(), 0u);
    EXPECT_EQ(net[0].frames_done, 2u);
    EXPECT_EQ(net.link.report().drops.no_buffer, 2u) << "a receiver that let a frame expire gets no second wait";
    EXPECT_EQ(net.link.report().ports[1].frames_missed, 2u);
    EXPECT_EQ(net.link.report().waited_frames, 1u);
    EXPECT_EQ(net.link.report().frames, 2u);
    EXPECT_EQ(net.link.report().copies, 0u);
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
    EXPECT_EQ(net.state(0), State::unmapped);
}

TEST(Link, AFrameThatFindsABufferAtItsDeadlineLands) {
    Net net{2};
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1000});
    net[1].post_buffers(1);
    net.link.deliver(Ticks{1000} + kWait);
    EXPECT_EQ(labels(net[1]), (Labels{1}));
    EXPECT_EQ(net.link.report().drops.no_buffer, 0u);
}

TEST(Link, AStalledReceiverIsWaitedForAgainOnceSomethingLanded) {
    Net net{2};
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1});
    net.link.deliver(Ticks{1} + kWait);
    ASSERT_EQ(net.link.report().drops.no_buffer, 1u);
    net[1].post_buffers(1);
    net[0].send(make_frame(mac_of(1), 2), Ticks{2} + kWait);
    net[0].send(make_frame(mac_of(1), 3), Ticks{2} + kWait);
    net.link.deliver(milliseconds(20));
    EXPECT_EQ(labels(net[1]), (Labels{2}));
    EXPECT_EQ(net[0].frames_in_ring(), 1u);
    EXPECT_EQ(net.link.next_deadline(), milliseconds(20) + kWait);
    EXPECT_EQ(net.link.report().waited_frames, 2u);
}

TEST(Link, AFullReceiverKeepsTheOrderAmongItsSenders) {
    Net net{3};
    net[0].send(make_frame(mac_of(2), 1), Ticks{1});
    net[1].send(make_frame(mac_of(2), 2), Ticks{2});
    net.link.deliver(Ticks{10});
    EXPECT_EQ(net[2].receive_calls, 1u);
    net[2].post_buffers(1);
    net.link.deliver(Ticks{20});
    net[2].post_buffers(1);
    net.link.deliver(Ticks{30});
    EXPECT_EQ(labels(net[2]), (Labels{1, 2}));
    EXPECT_EQ(net.link.report().waited_frames, 2u);
}

TEST(Link, ABroadcastLandsOnceAtEachReceiverAndWaitsForTheRest) {
    Net net{4};
    net[1].post_buffers(8);
    net[3].post_buffers(8);
    net[0].send(make_frame(kBroadcast, 1), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(labels(net[1]), (Labels{1}));
    EXPECT_EQ(labels(net[3]), (Labels{1}));
    EXPECT_EQ(net[0].frames_done, 0u);
    net[1].post_buffers(1);
    net.link.deliver(Ticks{2});
    EXPECT_EQ(net[1].received.size() + net[3].received.size(), 2u);
    net[2].post_buffers(1);
    net.link.deliver(Ticks{3});
    EXPECT_EQ(labels(net[2]), (Labels{1}));
    EXPECT_EQ(net[1].received.size() + net[3].received.size(), 2u);
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_EQ(net.link.report().frames, 1u);
    EXPECT_EQ(net.link.report().copies, 3u);
    EXPECT_EQ(net.link.report().waited_frames, 1u);
}

TEST(Link, ABroadcastExpiresForTheRestOnly) {
    Net net{3};
    net[1].post_buffers(8);
    net[0].send(make_frame(kBroadcast, 1), Ticks{1});
    net[0].send(make_frame(kBroadcast, 2), Ticks{1});
    net.link.deliver(Ticks{1});
    net.link.deliver(Ticks{1} + kWait);
    EXPECT_EQ(labels(net[1]), (Labels{1, 2}));
    EXPECT_EQ(labels(net[2]), Labels{});
    EXPECT_EQ(net[0].frames_done, 2u);
    EXPECT_EQ(net.link.report().drops.no_buffer, 2u);
    EXPECT_EQ(net.link.report().ports[2].frames_missed, 2u);
    EXPECT_EQ(net.link.report().ports[1].frames_missed, 0u);
}

TEST(Link, AResetOfTheSenderWithdrawsTheWaitingFrame) {
    Net net{3};
    net[1].post_buffers(1);
    net[0].send(make_frame(kBroadcast, 1), Ticks{1});
    net.link.deliver(Ticks{1});
    net[0].reset();
    net[0].send(make_frame(kBroadcast, 2), Ticks{5});
    net.post_all(4);
    net.link.deliver(Ticks{5});
    EXPECT_EQ(labels(net[1]), (Labels{1, 2})) << "the new frame is not taken for the old one";
    EXPECT_EQ(labels(net[2]), (Labels{2}));
    EXPECT_EQ(net.link.report().drops.withdrawn, 1u);

    net[0].send(make_frame(mac_of(1), 3), Ticks{6});
    net[1].reset();
    net.link.deliver(Ticks{6});
    net[0].reset();
    net.link.deliver(Ticks{7});
    EXPECT_EQ(net.link.report().drops.withdrawn, 2u);
    EXPECT_EQ(net.state(0), State::unmapped);
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
}

TEST(Link, WithoutCarrierNothingMoves) {
    Net net{2};
    EXPECT_TRUE(net[0].carrier);
    net.post_all(4);
    net.link.set_carrier(Carrier::down);
    EXPECT_FALSE(net[0].carrier);
    EXPECT_FALSE(net[1].carrier);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[0].frames_in_ring(), 1u);
    EXPECT_FALSE(net.link.has_work());
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
    net.link.set_carrier(Carrier::up);
    EXPECT_TRUE(net[1].carrier);
    net.link.deliver(Ticks{2});
    EXPECT_EQ(labels(net[1]), (Labels{1}));
}

TEST(Link, LetsGoOfItsPorts) {
    FakeFramePort port{mac_of(0)};
    {
        Link link{{}};
        link.attach(MachineId{0}, port, "eth0");
        EXPECT_TRUE(port.has_observer());
    }
    EXPECT_FALSE(port.has_observer());
    port.post_buffers(1);
}

// Mode `read`.

LinkOptions read_mode() { return {.name = "lan", .completion = Completion::read, .read_wait = milliseconds(3)}; }

TEST(LinkReadMode, CompletesWhenTheReceiverHasRead) {
    Net net{2, read_mode()};
    net.post_all(8);
    for (std::uint32_t i = 1; i <= 3; ++i) net[0].send(make_frame(mac_of(1), i), Ticks{i});
    net.link.deliver(Ticks{10});
    EXPECT_EQ(labels(net[1]), (Labels{1, 2, 3}));
    EXPECT_EQ(net[0].frames_in_ring(), 0u);
    EXPECT_EQ(net[0].frames_done, 0u);
    EXPECT_EQ(net.state(0), State::peer);
    EXPECT_EQ(net.link.next_deadline(), Ticks{10} + milliseconds(3));
    net[1].read(2);
    net.link.deliver(Ticks{20});
    EXPECT_EQ(net[0].frames_done, 2u);
    EXPECT_EQ(net.state(0), State::peer);
    net[1].read(1);
    net.link.deliver(Ticks{30});
    EXPECT_EQ(net[0].frames_done, 3u);
    EXPECT_EQ(net[0].complete_calls, 2u) << "only when there is something to say";
    EXPECT_EQ(net.state(0), State::unmapped);
    EXPECT_EQ(net.link.report().read_expired, 0u);
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
}

TEST(LinkReadMode, CompletesAtTheDeadlineAnyway) {
    Net net{2, read_mode()};
    net.post_all(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{10});
    Ticks const deadline = net.link.next_deadline();
    net.link.deliver(deadline - Ticks{1});
    EXPECT_EQ(net[0].frames_done, 0u);
    net.link.deliver(deadline);
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_EQ(net.link.report().read_expired, 1u);
}

TEST(LinkReadMode, AResetOfTheReceiverCountsAsRead) {
    Net net{2, read_mode()};
    net.post_all(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{10});
    net[1].reset();
    net.link.deliver(Ticks{11});
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_EQ(net.link.report().read_expired, 0u);
}

TEST(LinkReadMode, ABroadcastNeedsAllItsReaders) {
    Net net{3, read_mode()};
    net[1].post_buffers(4);
    net[0].send(make_frame(kBroadcast, 1), Ticks{1});
    net.link.deliver(Ticks{1});
    net[1].read(1);
    net[2].post_buffers(4);
    net.link.deliver(Ticks{2});
    EXPECT_EQ(net[0].frames_done, 0u) << "port 2 has it but has not read it";
    net[2].read(1);
    net.link.deliver(Ticks{3});
    EXPECT_EQ(net[0].frames_done, 1u);
}

TEST(LinkReadMode, FramesForNobodyAreDoneInTheirTurn) {
    Net net{2, read_mode()};
    net.post_all(4);
    net[0].send(make_frame(kStranger, 1), Ticks{1});
    net[0].send(make_frame(mac_of(1), 2), Ticks{2});
    net[0].send(make_frame(kStranger, 3), Ticks{3});
    net.link.deliver(Ticks{10});
    EXPECT_EQ(net[0].frames_in_ring(), 0u);
    EXPECT_EQ(net[0].frames_done, 1u);
    net[1].read(1);
    net.link.deliver(Ticks{11});
    EXPECT_EQ(net[0].frames_done, 3u);
}

TEST(LinkReadMode, UnreadFramesAreBounded) {
    Net net{2, read_mode()};
    net.post_all(3 * Link::kMostUnread);
    for (std::uint32_t i = 0; i < 2 * Link::kMostUnread; ++i) net[0].send(make_frame(mac_of(1), i), Ticks{1});
    for (std::uint64_t i = 0; i < 4; ++i) net.link.deliver(Ticks{10 + i});
    EXPECT_LE(net[1].received.size(), Link::kMostUnread);
    EXPECT_GE(net[1].received.size(), Link::kMostUnread / 2);
    EXPECT_EQ(net.link.next_deadline(), Ticks{10} + milliseconds(3));
    for (int i = 0; i < 4 && net.link.next_deadline() != Ticks::never(); ++i) {
        net.link.deliver(std::max(net.link.next_deadline(), Ticks{20}));
    }
    EXPECT_EQ(net[0].frames_done, 2 * Link::kMostUnread);
    EXPECT_EQ(net.link.report().read_expired, 2 * Link::kMostUnread);
}

// A guest that floods.

TEST(LinkFairness, AFloodIsBoundedPerBarrierAndOthersGoOn) {
    constexpr std::uint32_t kFlood = 2 * Link::kCopiesPerBarrier + 10;
    Net net{3};
    net.post_all(2 * kFlood);
    for (std::uint32_t i = 0; i < kFlood; ++i) net[0].send(make_frame(mac_of(2), i), Ticks{1});
    net[1].send(make_frame(mac_of(2), 777'777), Ticks{2});
    net.link.deliver(Ticks{5});
    EXPECT_EQ(net[2].received.size(), Link::kCopiesPerBarrier + 1);
    EXPECT_EQ(labels(net[2]).back(), 777'777u);
    EXPECT_TRUE(net.link.has_work());
    EXPECT_EQ(net.link.next_deadline(), Ticks{5});
    net.link.deliver(Ticks{6});
    net.link.deliver(Ticks{7});
    EXPECT_EQ(net[2].received.size(), kFlood + 1);
    EXPECT_FALSE(net.link.has_work());
    EXPECT_EQ(net[0].frames_done, kFlood);
}

TEST(LinkFairness, FramesForNobodyAndGroupFramesCountTowardsTheBound) {
    Net net{3};
    net.post_all(3 * Link::kCopiesPerBarrier);
    for (std::uint32_t i = 0; i < Link::kCopiesPerBarrier + 1; ++i) {
        net[0].send(make_frame(kStranger, i), Ticks{1});
        net[1].send(make_frame(kBroadcast, i), Ticks{1});
    }
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[0].frames_in_ring(), 1u);
    EXPECT_EQ(net[2].received.size(), Link::kCopiesPerBarrier / 2);
}

// Claim S2.8, step by step, with the sender's Mapping after each.

struct Seen {
    char const* who;
    Step step;
    State state;
    bool operator==(Seen const&) const = default;
};
std::ostream& operator<<(std::ostream& out, Seen const& seen) {
    return out << seen.who << " step " << static_cast<int>(seen.step) << " state " << static_cast<int>(seen.state);
}

struct ClaimS28 : testing::Test {
    void watch(Net& net) {
        net[0].probe = [&](Step step) { seen.push_back({"sender", step, net.state(0)}); };
        net[1].probe = [&](Step step) {
            Mapping const& mapping = net.link.mapping(PortIndex{0});
            seen.push_back({"receiver", step, mapping.state()});
            EXPECT_EQ(mapping.peer(), (Destination{Destination::Kind::one, PortIndex{1}}));
            std::size_t mapped_bytes = 0;
            for (ConstByteSpan const piece : mapping.pieces()) mapped_bytes += piece.size();
            EXPECT_EQ(mapped_bytes, 64u) << "the frame's own pieces are mapped while they are copied";
            EXPECT_EQ(net.state(1), State::unmapped) << "the other direction is not touched";
        };
    }
    std::vector<Seen> seen;
    std::vector<Seen> const landing{
        {"receiver", Step::copy, State::peer},        {"receiver", Step::head, State::peer},
        {"receiver", Step::status, State::peer},      {"receiver", Step::receive_interrupt, State::peer},
        {"sender", Step::transmit_head, State::peer},
    };
    std::vector<Seen> const completion{
        {"sender", Step::transmit_status, State::peer},
        {"sender", Step::transmit_interrupt, State::peer},
    };
};

TEST_F(ClaimS28, ModeLanded) {
    Net net{2};
    net.post_all(1);
    watch(net);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    EXPECT_EQ(net.state(0), State::unmapped) << "the tail moved, the detector has not looked";
    net.link.deliver(Ticks{10});
    std::vector<Seen> wanted = landing;
    wanted.insert(wanted.end(), completion.begin(), completion.end());
    EXPECT_EQ(seen, wanted);
    EXPECT_EQ(net.state(0), State::unmapped);
}

TEST_F(ClaimS28, ModeRead) {
    Net net{2, read_mode()};
    net.post_all(1);
    watch(net);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    EXPECT_EQ(net.state(0), State::unmapped);
    net.link.deliver(Ticks{10});
    EXPECT_EQ(seen, landing);
    EXPECT_EQ(net.state(0), State::peer) << "the receiver has not read it";
    EXPECT_TRUE(net.link.mapping(PortIndex{0}).is_in_flight());
    EXPECT_TRUE(net.link.mapping(PortIndex{0}).pieces().empty());
    seen.clear();
    net[1].read(1);
    net.link.deliver(Ticks{20});
    EXPECT_EQ(seen, completion);
    EXPECT_EQ(net.state(0), State::unmapped);
}

TEST_F(ClaimS28, WaitingForABuffer) {
    Net net{2};
    watch(net);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{10});
    EXPECT_TRUE(seen.empty());
    EXPECT_EQ(net.state(0), State::peer);
    EXPECT_TRUE(net.link.mapping(PortIndex{0}).holds_head());
    net[1].post_buffers(1);
    net.link.deliver(Ticks{20});
    std::vector<Seen> wanted = landing;
    wanted.insert(wanted.end(), completion.begin(), completion.end());
    EXPECT_EQ(seen, wanted);
    EXPECT_EQ(net.state(0), State::unmapped);
}

// Random guests. Whatever they do: nobody gets a frame twice or its own, one sender's frames keep their order, and
// every intended landing is a copy or a counted drop.

struct RandomRun {
    std::vector<Labels> received;
    std::vector<std::uint64_t> done;
    std::uint64_t copies;
    std::uint64_t no_buffer;
    bool operator==(RandomRun const&) const = default;
};

RandomRun run_random_guests(std::uint32_t seed, Completion completion) {
    constexpr std::uint32_t kPorts = 4;
    std::mt19937 random{seed};
    Net net{kPorts, {.name = "lan", .completion = completion, .wait = Ticks{300}, .read_wait = Ticks{200}}};
    std::uint64_t intended = 0;
    std::vector<std::uint32_t> sent(kPorts, 0);
    std::uint64_t now = 0;
    for (int step = 0; step < 3000; ++step) {
        ++now;
        std::uint32_t const port = random() % kPorts;
        switch (random() % 6) {
            case 0:
                net[port].post_buffers(random() % 4);
                break;
            case 1:
                net[port].read(random() % 4);
                break;
            case 2:
                net.link.deliver(Ticks{now += random() % 50});
                break;
            default: {
                bool const is_group = random() % 4 == 0;
                std::uint32_t const to = (port + 1 + random() % (kPorts - 1)) % kPorts;
                net[port].send(make_frame(is_group ? kBroadcast : mac_of(to), port << 24 | ++sent[port]), Ticks{now});
                intended += is_group ? kPorts - 1 : 1;
            }
        }
    }
    for (net.link.deliver(Ticks{now}); net.link.next_deadline() != Ticks::never();) {
        EXPECT_GT(net.link.next_deadline(), Ticks{now}) << "time goes on";
        now = net.link.next_deadline().ns();
        net.link.deliver(Ticks{now});
    }
    LinkReport const& report = net.link.report();
    EXPECT_EQ(intended, report.copies + report.drops.no_buffer);
    EXPECT_EQ(report.copies_per_frame(), 1.0);
    RandomRun run{{}, {}, report.copies, report.drops.no_buffer};
    for (std::uint32_t port = 0; port < kPorts; ++port) {
        EXPECT_EQ(net[port].frames_done, sent[port]);
        EXPECT_EQ(net.state(port), State::unmapped);
        run.received.push_back(labels(net[port]));
        run.done.push_back(net[port].transmit_interrupts);
        std::vector<std::uint32_t> last(kPorts, 0);
        for (std::uint32_t const label : run.received.back()) {
            EXPECT_NE(label >> 24, port) << "its own frame";
            EXPECT_LT(last[label >> 24], label) << "twice, or out of order";
            last[label >> 24] = label;
        }
    }
    return run;
}

TEST(LinkRandom, KeepsItsPromisesAndIsRepeatable) {
    std::uint64_t copies = 0;
    std::uint64_t dropped = 0;
    for (std::uint32_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        for (Completion const completion : {Completion::landed, Completion::read}) {
            RandomRun const run = run_random_guests(seed, completion);
            EXPECT_EQ(run, run_random_guests(seed, completion));
            copies += run.copies;
            dropped += run.no_buffer;
        }
    }
    EXPECT_GT(copies, 1000u) << "the runs did something";
    EXPECT_GT(dropped, 1000u) << "and were crowded";
}

}  // namespace
}  // namespace backplane
