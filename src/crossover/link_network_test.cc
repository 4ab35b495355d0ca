#include <gtest/gtest.h>

#include <set>
#include <string>

#include "crossover/link.h"
#include "crossover/link_testing.h"

// What a link does to frames on purpose, whom it lets talk to whom, and the way out.
namespace backplane {
namespace {

using namespace link_testing;

Bytes from(Bytes frame, MacAddress source) {
    std::ranges::transform(source, frame.begin() + 6, [](std::uint8_t byte) { return std::byte{byte}; });
    return frame;
}

TEST(LinkLatency, AFrameArrivesLaterAndItsSenderIsDoneAtOnce) {
    Net net{0};
    net.add(0, {.impairment = {.latency = milliseconds(5)}});
    net.add(1);
    net.post_all(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{100});
    net[1].send(make_frame(mac_of(0), 2), Ticks{100});
    net.link.deliver(Ticks{1000});
    EXPECT_EQ(labels(net[0]), Labels{2}) << "the other direction has no latency";
    EXPECT_EQ(net[0].frames_done, 1u);
    EXPECT_TRUE(net[1].received.empty());
    EXPECT_EQ(net.link.next_deadline(), Ticks{100} + milliseconds(5));
    EXPECT_FALSE(net.link.has_work());
    net.link.deliver(Ticks{99} + milliseconds(5));
    EXPECT_TRUE(net[1].received.empty());
    net.link.deliver(Ticks{100} + milliseconds(5));
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
    LinkReport const& report = net.link.report();
    EXPECT_EQ(report.frames, 2u);
    EXPECT_EQ(report.deliveries, 2u);
    EXPECT_EQ(report.copies, 3u) << "the stored frame was copied twice";
    EXPECT_EQ(report.stored_bytes_peak, 64u);
    EXPECT_EQ(report.delayed_frames, 1u);
}

TEST(LinkLatency, AShortOneIsSpentInTheRingAndStoresNothing) {
    Net net{0, {.longest_hold = microseconds(100)}};
    net.add(0, {.impairment = {.latency = microseconds(100)}});
    net.add(1);
    net.post_all(8);
    net[0].send(make_frame(mac_of(1), 1), Ticks{100});
    net.link.deliver(Ticks{1000});
    EXPECT_EQ(net[0].frames_in_ring(), 1u);
    EXPECT_EQ(net.link.next_deadline(), Ticks{100} + microseconds(100));
    net.link.deliver(net.link.next_deadline());
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(net.link.report().copies_per_frame(), 1.0);
    EXPECT_EQ(net.link.report().stored_bytes_peak, 0u);
}

TEST(LinkLatency, TheStoreIsBoundedAndTheRestWaitsInTheRing) {
    Net net{0, {.most_stored_bytes = 2 * (64 + DelayLine::kFrameOverhead)}};
    net.add(0, {.impairment = {.latency = milliseconds(5)}});
    net.add(1);
    net.post_all(8);
    for (std::uint32_t i = 1; i <= 5; ++i) net[0].send(make_frame(mac_of(1), i), Ticks{i});
    net.link.deliver(Ticks{10});
    EXPECT_EQ(net[0].frames_in_ring(), 3u);
    EXPECT_EQ(net.link.report().stored_bytes_peak, 128u);
    while (net.link.next_deadline() != Ticks::never()) net.link.deliver(std::max(Ticks{11}, net.link.next_deadline()));
    EXPECT_EQ(labels(net[1]), (Labels{1, 2, 3, 4, 5})) << "nothing is lost, and the order is kept";
    EXPECT_EQ(net.link.report().stored_bytes_peak, 128u);
    EXPECT_EQ(net[0].frames_done, 5u);
}

TEST(LinkLatency, AStoredFrameWaitsForABufferAndExpiresLikeAnyOther) {
    Net net{0};
    net.add(0, {.impairment = {.latency = milliseconds(5)}});
    net.add(1);
    net[0].send(make_frame(mac_of(1), 1), Ticks{});
    net[0].send(make_frame(mac_of(1), 2), milliseconds(6));
    net.link.deliver(Ticks{});
    net.link.deliver(milliseconds(6));
    EXPECT_EQ(net.link.report().waited_frames, 1u);
    net[1].post_buffers(1);
    net.link.deliver(milliseconds(7));
    EXPECT_EQ(labels(net[1]), Labels{1});
    net.link.deliver(milliseconds(11));
    net.link.deliver(milliseconds(11) + kWait);
    EXPECT_EQ(net.link.report().drops.no_buffer, 1u);
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
}

TEST(LinkLatency, ABroadcastIsStoredOnceAndLandsEverywhere) {
    Net net{0};
    net.add(0, {.impairment = {.latency = milliseconds(5)}});
    net.add(1);
    net.add(2);
    net.post_all(8);
    net[0].send(make_frame(kBroadcast, 1), Ticks{});
    net.link.deliver(Ticks{});
    net.link.deliver(milliseconds(5));
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(labels(net[2]), Labels{1});
    EXPECT_EQ(net.link.report().copies, 3u);
    EXPECT_EQ(net[0].received.size(), 0u);
}

TEST(LinkRate, FramesLeaveTheirRingAtTheRateAndAreNotStored) {
    Net net{0};
    net.add(0, {.impairment = {.rate_bits_per_s = 512'000}});  // 64 bytes a millisecond
    net.add(1);
    net.post_all(8);
    for (std::uint32_t i = 1; i <= 3; ++i) net[0].send(make_frame(mac_of(1), i), Ticks{});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net.link.next_deadline(), milliseconds(1));
    net.link.deliver(milliseconds(1));
    EXPECT_EQ(labels(net[1]), Labels{1});
    net.link.deliver(milliseconds(3));
    EXPECT_EQ(labels(net[1]), (Labels{1, 2, 3}));
    EXPECT_EQ(net.link.report().stored_bytes_peak, 0u);
    EXPECT_EQ(net.link.report().copies_per_frame(), 1.0);
}

TEST(LinkLoss, LostFramesAreDoneForTheirSender) {
    Net net{0};
    net.add(0, {.impairment = {.loss = 500'000}, .seed = 3});
    net.add(1);
    net.post_all(1000);
    for (std::uint32_t i = 0; i < 1000; ++i) net[0].send(make_frame(mac_of(1), i), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[0].frames_done, 1000u);
    EXPECT_EQ(net[1].received.size() + net.link.report().drops.lost, 1000u);
    EXPECT_NEAR(static_cast<double>(net.link.report().drops.lost), 500, 80);
}

TEST(LinkDuplicate, ADoubledFrameLandsTwiceInSuccession) {
    for (Ticks const latency : {Ticks{}, milliseconds(2)}) {
        Net net{0};
        net.add(0, {.impairment = {.latency = latency, .duplicate = kAlways}});
        net.add(1);
        net.add(2);
        net.post_all(8);
        net[0].send(make_frame(mac_of(1), 1), Ticks{1});
        net[0].send(make_frame(kBroadcast, 2), Ticks{2});
        net.link.deliver(Ticks{3});
        if (latency != Ticks{}) net.link.deliver(milliseconds(3));
        EXPECT_EQ(labels(net[1]), (Labels{1, 1, 2, 2}));
        EXPECT_EQ(labels(net[2]), (Labels{2, 2}));
        EXPECT_EQ(net[0].frames_done, 2u);
        EXPECT_EQ(net.link.report().doubled_frames, 2u);
        EXPECT_EQ(net.link.report().frames, 2u);
    }
}

TEST(LinkDuplicate, TheSecondLandingWaitsForABufferToo) {
    Net net{0};
    net.add(0, {.impairment = {.duplicate = kAlways}});
    net.add(1);
    net[1].post_buffers(1);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net[1].received.size(), 1u);
    EXPECT_EQ(net[0].frames_done, 0u);
    net[1].post_buffers(1);
    net.link.deliver(Ticks{2});
    EXPECT_EQ(net[1].received.size(), 2u);
    EXPECT_EQ(net[0].frames_done, 1u);
}

TEST(LinkReorder, AFrameHeldBackIsOvertaken) {
    Net net{0};
    net.add(0, {.impairment = {.reorder = 200'000, .reorder_by = milliseconds(1)}, .seed = 5});
    net.add(1);
    net.post_all(100);
    Labels in_order;
    for (std::uint32_t i = 0; i < 100; ++i) {
        net[0].send(make_frame(mac_of(1), i), Ticks{i * 100'000ULL});
        in_order.push_back(i);
    }
    for (std::uint64_t ms = 1; ms <= 20; ++ms) net.link.deliver(milliseconds(ms));
    Labels got = labels(net[1]);
    EXPECT_EQ(got.size(), 100u);
    EXPECT_NE(got, in_order);
    std::ranges::sort(got);
    EXPECT_EQ(got, in_order) << "each arrived once";
}

TEST(LinkImpaired, IsRepeatable) {
    auto const run = [](std::uint64_t seed) {
        Net net{0};
        Impairment const all{.latency = milliseconds(1),
                             .rate_bits_per_s = 10'000'000,
                             .loss = 50'000,
                             .duplicate = 50'000,
                             .reorder = 50'000};
        for (std::uint16_t i = 0; i < 3; ++i) net.add(i, {.impairment = all, .seed = seed + i});
        net.post_all(10'000);
        for (std::uint32_t i = 0; i < 300; ++i) {
            net[i % 3].send(make_frame(i % 7 == 0 ? kBroadcast : mac_of((i + 1) % 3), i), Ticks{i * 1000ULL});
        }
        for (std::uint64_t ms = 1; ms <= 100; ++ms) net.link.deliver(milliseconds(ms));
        return std::vector{labels(net[0]), labels(net[1]), labels(net[2])};
    };
    EXPECT_EQ(run(1), run(1));
    EXPECT_NE(run(1), run(100));
}

TEST(LinkSourceCheck, AStrictLinkDropsForgedSources) {
    Net net{2, {.source_check = SourceCheck::strict}};
    net.post_all(8);
    net[0].set_address(mac_of(9));
    net[0].send(from(make_frame(mac_of(1), 1), mac_of(9)), Ticks{1});
    net[0].send(from(make_frame(kBroadcast, 2), mac_of(1)), Ticks{1});
    net[0].send(from(make_frame(mac_of(1), 3), mac_of(0)), Ticks{1});
    net[0].send(Bytes(11), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(labels(net[1]), Labels{3});
    EXPECT_EQ(net.link.report().drops.spoofed, 3u);
    EXPECT_EQ(net[0].frames_done, 4u);
    Net lax{2};
    lax.post_all(8);
    lax[0].send(from(make_frame(mac_of(1), 1), mac_of(9)), Ticks{1});
    lax.link.deliver(Ticks{1});
    EXPECT_EQ(labels(lax[1]), Labels{1});
}

TEST(LinkGroups, OnlyTheSameGroupAndThoseWithoutOneAreReached) {
    Net net{0};
    net.add(0, {.group = "red"});
    net.add(1, {.group = "red"});
    net.add(2, {.group = "blue"});
    net.add(3);
    net.post_all(16);
    for (std::uint32_t to = 1; to <= 3; ++to) net[0].send(make_frame(mac_of(to), to), Ticks{1});
    net[0].send(make_frame(kBroadcast, 9), Ticks{1});
    net[3].send(make_frame(mac_of(2), 32), Ticks{2});
    net.link.deliver(Ticks{2});
    EXPECT_EQ(labels(net[1]), (Labels{1, 9}));
    EXPECT_EQ(labels(net[2]), Labels{32});
    EXPECT_EQ(labels(net[3]), (Labels{3, 9}));
    EXPECT_EQ(net.link.report().drops.isolated, 1u);
}

TEST(LinkCarrier, IsCutAndHealedAtGivenTimes) {
    Net net{2, {.carrier_changes = {{milliseconds(1), Carrier::down}, {milliseconds(2), Carrier::up}}}};
    net.post_all(8);
    net.link.deliver(Ticks{1});
    EXPECT_EQ(net.link.next_deadline(), milliseconds(1)) << "the monitor comes back for it";
    EXPECT_FALSE(net.link.has_work());
    net.link.deliver(milliseconds(1));
    EXPECT_FALSE(net[0].carrier);
    net[0].send(make_frame(mac_of(1), 1), milliseconds(1));
    net.link.deliver(Ticks{1} + milliseconds(1));
    EXPECT_TRUE(net[1].received.empty());
    EXPECT_EQ(net.link.next_deadline(), milliseconds(2));
    net.link.deliver(milliseconds(2));
    EXPECT_TRUE(net[0].carrier);
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(net.link.next_deadline(), Ticks::never());
    EXPECT_EQ(net.link.report().cuts, 1u);
}

TEST(LinkCarrier, ACutLosesWhatIsUnderWay) {
    Net net{0};
    net.add(0, {.impairment = {.latency = milliseconds(5)}});
    net.add(1);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net[0].send(make_frame(mac_of(1), 2), Ticks{1});
    net.link.deliver(Ticks{1});
    net.link.deliver(milliseconds(6));
    ASSERT_EQ(net.link.report().waited_frames, 1u) << "one stands at the far end, without a buffer";
    net.link.set_carrier(Carrier::down);
    net.link.set_carrier(Carrier::up);
    net.post_all(8);
    net.link.deliver(milliseconds(20));
    EXPECT_TRUE(net[1].received.empty());
    EXPECT_EQ(net.link.report().drops.cut, 2u);
    EXPECT_EQ(net.link.report().drops.withdrawn, 0u);
}

struct Recorder final : FrameRecorder {
    void record(FrameRecord const& record) override {
        Bytes bytes;
        for (ConstByteSpan const piece : record.frame.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
        seen.push_back({record.from.value(), record.to, record.fate, load<std::uint32_t>(bytes, 32)});
    }
    struct Seen {
        std::uint32_t from;
        Destination to;
        FrameFate fate;
        std::uint32_t label;
        bool operator==(Seen const&) const = default;
    };
    std::vector<Seen> seen;
};

TEST(LinkRecorder, SeesEachSentFrameOnceWithItsFate) {
    Recorder recorder;
    Net net{0};
    net.add(0, {.impairment = {.latency = milliseconds(1)}, .group = "red"});
    net.add(1, {.impairment = {.loss = kAlways}});
    net.add(2, {.group = "blue"});
    net.link.add_recorder(recorder);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net[0].send(make_frame(mac_of(2), 2), Ticks{2});
    net[1].send(make_frame(mac_of(0), 3), Ticks{3});
    net[2].send(make_frame(kStranger, 4), Ticks{4});
    net[2].send(make_frame(mac_of(1), 5), Ticks{5});
    for (std::uint64_t ms = 0; ms < 30; ++ms) net.link.deliver(milliseconds(ms));
    using Kind = Destination::Kind;
    std::vector<Recorder::Seen> const wanted{
        {0, {Kind::one, PortIndex{1}}, FrameFate::delayed, 1}, {0, {Kind::one, PortIndex{2}}, FrameFate::isolated, 2},
        {1, {Kind::one, PortIndex{0}}, FrameFate::lost, 3},    {2, {}, FrameFate::nobody, 4},
        {2, {Kind::one, PortIndex{1}}, FrameFate::sent, 5},
    };
    EXPECT_EQ(recorder.seen, wanted) << "a frame that waits is seen when it is looked at first";
}

// Detection and remapping (S2.2, S2.3, S2.5, S2.9).

/// Machines 0 and 1, then an uplink on port 2.
struct WithUplink : testing::Test {
    WithUplink() {
        net.link.attach_uplink(uplink, "uplink");
        net.post_all(100);
        uplink.post_buffers(100);
    }
    void send(std::size_t sender, MacAddress to) {
        net[sender].send(make_frame(to, ++label), now = now + Ticks{1});
        net.link.deliver(now);
    }
    State state(std::uint32_t port) { return net.state(port); }
    Mapping const& mapping(std::uint32_t port) { return net.link.mapping(PortIndex{port}); }

    FakeFramePort uplink{kStranger};  // takes frames for this address and broadcast; outlives the link
    Net net{2};
    std::uint32_t label{0};
    Ticks now{};
};

TEST_F(WithUplink, WhatIsForNoMachineGoesOut) {
    std::vector<State> during;
    uplink.probe = [&](Step) { during.push_back(state(0)); };
    send(0, kStranger);
    EXPECT_EQ(labels(uplink), Labels{1});
    ASSERT_FALSE(during.empty());
    EXPECT_TRUE(std::ranges::all_of(during, [](State s) { return s == State::uplink; }));
    EXPECT_EQ(state(0), State::unmapped) << "this mapping does not last";
    LinkReport const& report = net.link.report();
    EXPECT_EQ(report.outside_frames, 1u);
    EXPECT_EQ(report.outside_deliveries, 1u);
    EXPECT_EQ(report.deliveries, 0u);
    EXPECT_EQ(report.crosstalk_hits, 0u);
    EXPECT_EQ(report.drops.no_destination, 0u);
}

TEST_F(WithUplink, BroadcastsGoOutAndToTheMachines) {
    send(0, kBroadcast);
    EXPECT_EQ(labels(uplink), Labels{1});
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(net.link.report().deliveries, 1u);
    EXPECT_EQ(net.link.report().copies_per_frame(), 1.0);
}

TEST_F(WithUplink, WhatComesInGoesToItsMachineAndNeverBackOut) {
    uplink.send(make_frame(mac_of(1), 1), Ticks{1});
    uplink.send(make_frame(mac_of(7), 2), Ticks{1});
    uplink.send(make_frame(kBroadcast, 3), Ticks{1});
    net.link.deliver(Ticks{2});
    EXPECT_EQ(labels(net[0]), Labels{3});
    EXPECT_EQ(labels(net[1]), (Labels{1, 3}));
    EXPECT_EQ(net.link.report().drops.no_destination, 1u);
    EXPECT_EQ(net.link.report().crosstalk_hits, 0u) << "the sender is no machine";
}

TEST_F(WithUplink, AStaticCouplingIsMappedBeforeTheFirstFrame) {
    net.link.couple(PortIndex{0}, PortIndex{1});
    EXPECT_EQ(state(0), State::peer);
    EXPECT_EQ(state(1), State::peer);
    EXPECT_EQ(mapping(0).peer(), (Destination{Destination::Kind::one, PortIndex{1}}));
    EXPECT_TRUE(mapping(0).pieces().empty());
    send(0, mac_of(1));
    EXPECT_EQ(state(0), State::peer) << "and stays so";
    EXPECT_EQ(net.link.report().detected.configuration, 1u);
    EXPECT_EQ(net.link.report().detected.destination, 0u);
    EXPECT_EQ(mapping(0).unmaps(), 0u);
}

TEST_F(WithUplink, AStaticallyCoupledPairStillNoticesOtherDestinationsAndRemaps) {
    net.link.couple(PortIndex{0}, PortIndex{1});
    std::vector<State> at_uplink;
    std::vector<State> at_peer;
    uplink.probe = [&](Step) { at_uplink.push_back(state(0)); };
    net[1].probe = [&](Step step) {
        if (step == Step::copy) at_peer.push_back(state(0));
    };
    send(0, mac_of(1));
    send(0, kStranger);
    EXPECT_EQ(state(0), State::uplink);
    EXPECT_EQ(mapping(0).unmaps(), 1u) << "unmapped first (S2.5)";
    send(0, kStranger);
    EXPECT_EQ(mapping(0).unmaps(), 1u);
    send(0, kBroadcast);
    EXPECT_EQ(state(0), State::uplink) << "a broadcast is for both: nothing to remap";
    send(0, mac_of(1));
    EXPECT_EQ(state(0), State::peer);
    EXPECT_EQ(mapping(0).unmaps(), 2u);
    EXPECT_EQ(at_peer, (std::vector{State::peer, State::uplink, State::peer}));
    EXPECT_TRUE(std::ranges::all_of(at_uplink, [](State s) { return s == State::uplink; }));
    LinkReport const& report = net.link.report();
    EXPECT_EQ(report.remaps_to_uplink, 1u);
    EXPECT_EQ(report.remaps_to_peer, 1u);
    EXPECT_EQ(report.ports[0].remaps_to_uplink, 1u);
    EXPECT_EQ(report.ports[0].frames_to_outside, 2u);
    EXPECT_EQ(report.detected.configuration, 2u);
    EXPECT_EQ(state(1), State::peer) << "the other direction is not touched";
}

TEST(LinkDefaultMappings, TheSameDeviceMeansCrossover) {
    FakeFramePort uplink{kStranger};
    Net net{0};
    net.add(0, {.device = "tap:x"});
    net.add(1, {.device = "tap:x"});
    net.link.attach_uplink(uplink, "tap:x");
    EXPECT_EQ(net.state(0), State::unmapped);
    net.link.compare_default_mappings();
    EXPECT_EQ(net.state(0), State::peer);
    EXPECT_EQ(net.state(1), State::peer);
    EXPECT_EQ(net.link.mapping(PortIndex{0}).unmaps(), 1u) << "it was mapped to the device, and was unmapped first";
    net.post_all(4);
    net[0].send(make_frame(mac_of(1), 1), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(labels(net[1]), Labels{1});
    EXPECT_EQ(net.link.report().detected.default_mapping, 1u);
    EXPECT_EQ(net.link.report().crosstalk_hits, 1u);
}

TEST(LinkDefaultMappings, OneAloneOrManyStayAtTheDeviceUntilAFrameIsForAMachine) {
    FakeFramePort uplink{kStranger};
    Net net{0};
    for (std::uint16_t i = 0; i < 3; ++i) net.add(i, {.device = "tap:x"});
    net.add(3, {.device = "tap:y"});
    net.add(4);
    net.link.attach_uplink(uplink, "tap:x");
    net.link.compare_default_mappings();
    for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(net.state(i), State::uplink) << i;
    EXPECT_EQ(net.state(4), State::unmapped);
    net.post_all(4);
    net[0].send(make_frame(mac_of(2), 1), Ticks{1});
    net[0].send(make_frame(mac_of(3), 2), Ticks{2});
    net.link.deliver(Ticks{2});
    EXPECT_EQ(net.state(0), State::peer);
    EXPECT_EQ(net.link.report().remaps_to_peer, 1u);
    EXPECT_EQ(net.link.report().detected.default_mapping, 1u);
    EXPECT_EQ(net.link.report().detected.destination, 1u) << "another device";
}

TEST(LinkService, HasItsOwnAddressAndTheRestGoesNowhere) {
    FakeFramePort service{mac_of(100)};
    Net net{2};
    net.link.attach_service(service, "names");
    net.post_all(8);
    service.post_buffers(8);
    net[0].send(make_frame(mac_of(100), 1), Ticks{1});
    net[0].send(make_frame(kStranger, 2), Ticks{1});
    net[0].send(make_frame(kBroadcast, 3), Ticks{1});
    net.link.deliver(Ticks{1});
    EXPECT_EQ(labels(service), (Labels{1, 3}));
    EXPECT_EQ(net.link.report().drops.no_destination, 1u);
    service.send(make_frame(mac_of(0), 4), Ticks{2});
    net.link.deliver(Ticks{2});
    EXPECT_EQ(labels(net[0]), Labels{4});
}

}  // namespace
}  // namespace backplane
