// Several pairs of queues: negotiation, steering, turns of the senders.
#include <gtest/gtest.h>

#include <set>

#include "device/flow.h"
#include "device/virtio/net.h"
#include "device/virtio/testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;

constexpr std::uint16_t kPairs = 4;
constexpr std::uint64_t kWithoutPairs = kEverything & ~net_feature::kMultiqueue;
constexpr NetHeader kPlain{};
constexpr std::uint8_t kOk = 0;
constexpr std::uint8_t kError = 1;

std::vector<std::uint8_t> pairs_command(std::uint16_t pairs) {
    return {4, 0, static_cast<std::uint8_t>(pairs & 0xFF), static_cast<std::uint8_t>(pairs >> 8)};
}

/// A UDP packet of 100 bytes; flows differ in their source port.
std::vector<std::uint8_t> flow_frame(std::uint16_t flow, std::uint8_t number = 0) {
    std::vector<std::uint8_t> frame = make_frame(100);
    std::vector<std::uint8_t> const head{0x08, 0x00, 0x45, 0,  0, 86, 0, 0,  0, 0, 64,
                                         17,   0,    0,    10, 0, 0,  1, 10, 0, 0, 2};
    std::ranges::copy(head, frame.begin() + 12);
    frame[34] = static_cast<std::uint8_t>(flow >> 8);
    frame[35] = static_cast<std::uint8_t>(flow);
    frame[99] = number;
    return frame;
}
std::uint16_t pair_of(std::vector<std::uint8_t> const& frame, std::uint16_t pairs) {
    return static_cast<std::uint16_t>(flow_hash(std::as_bytes(std::span{frame}).first(kFlowHeadBytes)) % pairs);
}
/// One flow for each pair, by pair.
std::vector<std::uint16_t> flow_of_each(std::uint16_t pairs) {
    std::vector<std::uint16_t> flows(pairs);
    for (std::uint16_t flow = 1; flow < 1000; ++flow) flows[pair_of(flow_frame(flow), pairs)] = flow;
    EXPECT_EQ(std::ranges::count(flows, 0), 0);
    return flows;
}

class NetPairsTest : public ::testing::Test {
  protected:
    std::vector<std::uint16_t> received() {
        std::vector<std::uint16_t> counts;
        for (std::uint16_t pair = 0; pair < nic_.usable_pairs; ++pair)
            counts.push_back(nic_.ring_of(Net::receive_queue(pair)).used_index());
        return counts;
    }
    void post_to_all(std::uint16_t pairs = kPairs) {
        for (std::uint16_t pair = 0; pair < pairs; ++pair) nic_.post_buffer(2048, pair);
    }
    /// The senders of all frames that wait, in the order in which they are taken: each frame has its pair's number.
    std::vector<int> take_all() {
        std::vector<int> senders;
        while (Frame const* const front = nic_.net.front()) {
            senders.push_back(bytes_in(*front).back());
            nic_.net.complete_transmit(nic_.net.take_front());
        }
        return senders;
    }
    void send_from(std::uint16_t pair) {
        std::vector<std::uint8_t> frame = make_frame(60, kPeerMac);
        frame.back() = static_cast<std::uint8_t>(pair);
        nic_.send(with_header(kPlain, frame), kBuffers + 0x200000 + 0x1000 * sent_++, pair);
    }

    std::uint64_t sent_{0};
    RunningNet nic_{kEverything, {.pairs = kPairs}};
};

TEST_F(NetPairsTest, OffersMultiqueueOnlyWithSeveralPairs) {
    EXPECT_NE(nic_.offered() & net_feature::kMultiqueue, 0U);
    EXPECT_EQ(nic_.read(0x12, Width::word), 9U) << "queues";
    EXPECT_EQ(nic_.net.read_config(8, Width::word), kPairs);
    EXPECT_EQ(nic_.net.vector_count(), 10);
    RunningNet one;
    EXPECT_EQ(one.offered() & net_feature::kMultiqueue, 0U);
    EXPECT_EQ(one.read(0x12, Width::word), 3U);
    EXPECT_EQ(one.net.read_config(8, Width::word), 1U);
    EXPECT_EQ(one.command(pairs_command(1)), kError) << "not negotiated";
}

TEST_F(NetPairsTest, MultiqueueNeedsTheControlQueue) {
    nic_.set_status(0);
    nic_.set_status(kAcknowledge | kDriver);
    nic_.choose(kVersion1 | net_feature::kMultiqueue);
    nic_.set_status(kAcknowledge | kDriver | kFeaturesOk);
    EXPECT_EQ(nic_.status() & kFeaturesOk, 0U);
}

TEST_F(NetPairsTest, OnlyTheFirstPairIsUsedBeforeTheCommand) {
    post_to_all();
    for (std::uint16_t const flow : flow_of_each(kPairs)) (void)nic_.receive(flow_frame(flow));
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{1, 0, 0, 0}));
    send_from(2);
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.command(pairs_command(3)), kOk);
    EXPECT_EQ(take_all(), (std::vector<int>{2})) << "what waited there goes when its pair is used";
}

TEST_F(NetPairsTest, EachFlowHasItsQueue) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    std::vector<std::uint16_t> const flows = flow_of_each(kPairs);
    for (std::uint8_t number = 0; number < 3; ++number) {
        for (std::uint16_t pair = 0; pair < kPairs; ++pair) {
            std::uint64_t const at = nic_.post_buffer(2048, pair);
            std::vector<std::uint8_t> const frame = flow_frame(flows[pair], number);
            ASSERT_EQ(nic_.receive(frame), ReceiveResult::landed);
            EXPECT_EQ(nic_.machine.get_bytes(at + sizeof(NetHeader), frame.size()), frame);
            EXPECT_EQ(nic_.machine.last_vector, Net::receive_queue(pair));
            EXPECT_EQ(nic_.net.pair_counters()[pair].received_frames, number + 1U);
        }
    }
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{3, 3, 3, 3}));
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed) << "what is no flow";
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{4, 3, 3, 3}));
}

TEST_F(NetPairsTest, AFullQueueDoesNotStopTheOthers) {
    EXPECT_EQ(nic_.command(pairs_command(2)), kOk);
    std::vector<std::uint16_t> const flows = flow_of_each(2);
    nic_.post_buffer(2048, 1);
    EXPECT_EQ(nic_.receive(flow_frame(flows[0])), ReceiveResult::no_buffer);
    EXPECT_EQ(nic_.receive(flow_frame(flows[1])), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive(flow_frame(flows[1])), ReceiveResult::no_buffer);
}

TEST_F(NetPairsTest, FewerPairsTakeTheFlowsOver) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    for (int i = 0; i < 4; ++i) post_to_all();
    std::vector<std::uint16_t> const flows = flow_of_each(kPairs);
    EXPECT_EQ(nic_.command(pairs_command(1)), kOk);
    for (std::uint16_t const flow : flows) EXPECT_EQ(nic_.receive(flow_frame(flow)), ReceiveResult::landed);
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{4, 0, 0, 0}));
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    EXPECT_EQ(nic_.receive(flow_frame(flows[3])), ReceiveResult::landed);
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{4, 0, 0, 1}));
}

// Linux tells the device about fewer pairs before its other processors stop sending on the rest.
TEST_F(NetPairsTest, WhatIsSentOnAPairThatWasUsedStillGoes) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    send_from(3);
    EXPECT_EQ(nic_.command(pairs_command(1)), kOk);
    send_from(2);
    EXPECT_EQ(take_all(), (std::vector<int>{2, 3}));
    EXPECT_EQ(nic_.ring_of(Net::transmit_queue(3)).used_index(), 1);
    EXPECT_EQ(nic_.ring_of(Net::transmit_queue(2)).used_index(), 1);
}

TEST_F(NetPairsTest, BadNumbersOfPairs) {
    std::uint64_t const before = nic_.net.guest_errors().bad_packets;
    std::uint64_t errors = 0;
    EXPECT_EQ(nic_.command(pairs_command(2)), kOk);
    for (std::uint16_t const pairs : {0, 5, 0x8000, 0xFFFF}) {
        EXPECT_EQ(nic_.command(pairs_command(pairs)), kError) << pairs;
        ++errors;
    }
    for (std::vector<std::uint8_t> const& command :
         std::vector<std::vector<std::uint8_t>>{{4, 0}, {4, 0, 1}, {4, 0, 1, 0, 0}, {4, 1, 1, 0}, {4, 2, 1, 0}}) {
        EXPECT_EQ(nic_.command(command), kError);
        ++errors;
    }
    EXPECT_EQ(nic_.net.guest_errors().bad_packets, before + errors);
    EXPECT_EQ(nic_.net.receive_pairs(), 2) << "as before";
}

TEST_F(NetPairsTest, APairThatIsNotSetUpCannotBeUsed) {
    nic_.set_status(0);
    nic_.set_status(kAcknowledge | kDriver);
    nic_.choose(nic_.offered() & kEverything);
    nic_.set_status(kAcknowledge | kDriver | kFeaturesOk);
    for (std::uint16_t const queue : {0, 1, 2}) nic_.describe_queue(queue, nic_.ring_of(queue));  // half of the second
    nic_.describe_queue(8, nic_.control_ring);
    nic_.set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(nic_.command(pairs_command(2)), kError);
    EXPECT_EQ(nic_.net.receive_pairs(), 1);
    EXPECT_EQ(nic_.command(pairs_command(1)), kOk);
}

TEST_F(NetPairsTest, WithoutMultiqueueTheControlQueueIsTheThird) {
    nic_.set_up(kWithoutPairs);
    ASSERT_EQ(nic_.usable_pairs, 1);
    EXPECT_EQ(nic_.net.read_config(8, Width::word), kPairs) << "what the device has";
    EXPECT_EQ(nic_.command({0, 0, 1}), kOk);
    EXPECT_TRUE(nic_.net.filter().promiscuous);
    EXPECT_EQ(nic_.command(pairs_command(2)), kError);
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(flow_frame(7)), ReceiveResult::landed);
    for (std::uint16_t queue = 3; queue < 12; ++queue) nic_.net.notify(queue);
    EXPECT_EQ(nic_.net.guest_errors().sum(), 1U);
}

TEST_F(NetPairsTest, TheControlQueueMovesWithTheNegotiation) {
    EXPECT_EQ(nic_.command({0, 0, 1}), kOk);
    nic_.set_up(kWithoutPairs);
    EXPECT_EQ(nic_.command({0, 0, 1}), kOk);
    nic_.set_up(kEverything);
    EXPECT_EQ(nic_.usable_pairs, kPairs);
    EXPECT_EQ(nic_.command({0, 0, 1}), kOk);
}

TEST_F(NetPairsTest, AResetUsesOnePairAgain) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    send_from(3);
    ASSERT_NE(nic_.net.front(), nullptr);
    std::uint64_t const number = nic_.net.take_front();
    std::uint16_t const flow = flow_of_each(kPairs)[2];
    nic_.post_buffer(2048, 2);
    EXPECT_EQ(nic_.receive(flow_frame(flow)), ReceiveResult::landed);
    nic_.set_up(kEverything);
    EXPECT_EQ(nic_.net.receive_pairs(), 1);
    EXPECT_EQ(nic_.net.read_count(), 1U);
    nic_.net.complete_transmit(number);
    EXPECT_EQ(nic_.ring_of(Net::transmit_queue(3)).used_index(), 0) << "the guest has its ring back";
    post_to_all();
    EXPECT_EQ(nic_.receive(flow_frame(flow)), ReceiveResult::landed);
    EXPECT_EQ(received(), (std::vector<std::uint16_t>{1, 0, 0, 0}));
}

TEST_F(NetPairsTest, SendersOfTheSameTimeTakeTurns) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    for (std::uint16_t pair = 0; pair < kPairs; ++pair)
        for (int i = 0; i < 3; ++i) send_from(pair);
    EXPECT_EQ(take_all(), (std::vector<int>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
    send_from(2);
    send_from(2);
    send_from(0);
    EXPECT_EQ(take_all(), (std::vector<int>{0, 2, 2})) << "nobody waits for a queue that is empty";
}

TEST_F(NetPairsTest, TheOldestDoorbellGoesFirst) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    std::uint64_t now = 100;
    for (std::uint16_t const pair : {3, 0, 3, 1, 1, 2, 0}) {
        nic_.machine.clock.advance_to(Ticks{now += 10});
        send_from(pair);
    }
    EXPECT_EQ(nic_.net.front()->sent, Ticks{110});
    EXPECT_EQ(take_all(), (std::vector<int>{3, 0, 3, 1, 1, 2, 0}));
}

TEST_F(NetPairsTest, AFrameThatWasShownStaysInFront) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    send_from(1);
    ASSERT_NE(nic_.net.front(), nullptr);
    send_from(0);  // at the same time, and it would have been its turn
    EXPECT_EQ(bytes_in(*nic_.net.front()).back(), 1);
    EXPECT_EQ(take_all(), (std::vector<int>{1, 0}));
}

TEST_F(NetPairsTest, FramesAreDoneInTheirOwnQueues) {
    EXPECT_EQ(nic_.command(pairs_command(kPairs)), kOk);
    int const before = nic_.machine.queue_interrupts;
    for (std::uint16_t const pair : {1, 2, 1, 3}) send_from(pair);
    std::uint64_t number = 0;
    while (nic_.net.front() != nullptr) number = nic_.net.take_front();
    nic_.net.complete_transmit(number);
    std::vector<std::uint16_t> done;
    for (std::uint16_t pair = 0; pair < kPairs; ++pair)
        done.push_back(nic_.ring_of(Net::transmit_queue(pair)).used_index());
    EXPECT_EQ(done, (std::vector<std::uint16_t>{0, 2, 1, 1}));
    EXPECT_EQ(nic_.machine.queue_interrupts, before + 3) << "one for each queue";
    EXPECT_EQ(nic_.machine.last_vector, Net::transmit_queue(3));
    EXPECT_EQ(nic_.net.pair_counters()[1].sent_frames, 2U);
}

// The carrier asks whether everything up to a frame was read: one queue's buffers do not stand for another's frames.
TEST_F(NetPairsTest, AFrameIsReadWhenAllBeforeItAre) {
    EXPECT_EQ(nic_.command(pairs_command(2)), kOk);
    std::vector<std::uint16_t> const flows = flow_of_each(2);
    post_to_all(2);
    ASSERT_EQ(nic_.receive(flow_frame(flows[0])), ReceiveResult::landed);
    ASSERT_EQ(nic_.receive(flow_frame(flows[1])), ReceiveResult::landed);
    EXPECT_EQ(nic_.net.landed_count(), 2U);
    nic_.post_buffer(2048, 1);
    EXPECT_EQ(nic_.net.read_count(), 0U) << "the first frame, in the other queue, is not";
    nic_.post_buffer(2048, 0);
    EXPECT_EQ(nic_.net.read_count(), 2U);
}

TEST(NetPairs, AsManyAsThereMayBe) {
    RunningNet nic{kEverything, {.pairs = NetOptions::kMaximumPairs}};
    EXPECT_EQ(nic.command(pairs_command(NetOptions::kMaximumPairs)), kOk);
    std::vector<std::uint16_t> const flows = flow_of_each(NetOptions::kMaximumPairs);
    std::set<std::uint16_t> vectors;
    for (std::uint16_t pair = 0; pair < NetOptions::kMaximumPairs; ++pair) {
        nic.post_buffer(2048, pair);
        EXPECT_EQ(nic.receive(flow_frame(flows[pair])), ReceiveResult::landed);
        vectors.insert(nic.machine.last_vector);
    }
    EXPECT_EQ(vectors.size(), NetOptions::kMaximumPairs);
}

}  // namespace
}  // namespace backplane::virtio
