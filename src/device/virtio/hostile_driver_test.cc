// Drivers that want to do harm: rings and buffers that make no sense, and memory that changes while the device reads
// it.
#include <gtest/gtest.h>

#include "device/e1000/testing.h"
#include "device/flow.h"
#include "device/hostile_testing.h"
#include "device/virtio/testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;
using backplane::testing::carry_one;
using backplane::testing::change_before_each_access;
using e1000::testing::kTransport;
using e1000::testing::make_tcp;

constexpr NetHeader kPlain{};
constexpr std::uint64_t kAll = ~std::uint64_t{0};
constexpr std::uint64_t kTable = 0x40000;
constexpr std::uint64_t kPacket = 0x41000;
constexpr std::uint64_t kCommand = 0x42000;
constexpr std::uint64_t kSink = 0x50000;

NetHeader whole_header(std::uint16_t segment_bytes) {
    return {kHeaderNeedsChecksum, kSegmentationTcp4, 54, segment_bytes, kTransport, 16, 0};
}

/// After a reset the device works as if nothing had been.
void expect_recovers(RunningNet& nic, char const* what, std::uint64_t which = 0) {
    nic.set_up(kEverything);
    std::uint64_t const at = nic.post_buffer();
    std::vector<std::uint8_t> const frame = make_frame(100);
    EXPECT_EQ(nic.receive(frame), ReceiveResult::landed) << what << " " << which;
    EXPECT_EQ(nic.machine.get_bytes(at + sizeof(NetHeader), 100), frame) << what << " " << which;
    nic.send(with_header(kPlain, frame));
    Frame const* const front = nic.net.front();
    ASSERT_NE(front, nullptr) << what << " " << which;
    EXPECT_EQ(bytes_in(*front), frame) << what << " " << which;
    std::uint16_t const before = nic.transmit_ring.used_index();
    nic.net.complete_transmit(nic.net.take_front());
    EXPECT_EQ(nic.transmit_ring.used_index(), before + 1) << what << " " << which;
}

TEST(HostileDriver, PiecesWithoutBytesCountAsPiecesOnly) {
    RunningNet nic;
    std::vector<std::uint8_t> const packet = with_header(kPlain, make_frame(60, kPeerMac));
    nic.machine.put_bytes(kPacket, packet);
    nic.transmit_ring.offer_pieces({{0, 0, 0, 0},
                                    {kPacket, 12, 0, 0},
                                    {kHole, 0, 0, 0},
                                    {~std::uint64_t{0}, 0, 0, 0},
                                    {kPacket + 12, 60, 0, 0},
                                    {kPacket, 0, 0, 0}});
    nic.net.notify(Net::kTransmitQueue);
    Frame const* const front = nic.net.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(bytes_in(*front), make_frame(60, kPeerMac));
    nic.post({{kHole, 0, 0, 0}, {kSink, 100, 0, 0}, {0, 0, 0, 0}, {kSink + 100, 1000, 0, 0}});
    nic.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic.receive(make_frame(200)), ReceiveResult::landed);
    EXPECT_EQ(nic.machine.get_bytes(kSink + sizeof(NetHeader), 200), make_frame(200));
}

TEST(HostileDriver, ARingOfNothingButEmptyPiecesEnds) {
    RunningNet nic;
    for (std::uint16_t i = 0; i < RunningNet::kSize; ++i) {
        nic.transmit_ring.offer_pieces({{kPacket, 0, 0, 0}});
        nic.post({{kSink, 0, 0, 0}});
    }
    nic.net.notify(Net::kTransmitQueue);
    nic.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic.net.front(), nullptr);
    EXPECT_EQ(nic.net.guest_errors().bad_packets, RunningNet::kSize);
    EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::refused) << "all together cannot hold it";
    EXPECT_EQ(nic.receive_ring.used_index(), RunningNet::kSize);
    expect_recovers(nic, "empty pieces");
}

TEST(HostileDriver, LengthsAtTheirLimits) {
    constexpr std::uint32_t kMost = 0xFFFFFFFF;
    RunningNet nic;
    std::uint64_t bad = 0;
    auto const expect_dropped = [&](std::vector<Slot> pieces, char const* what) {
        nic.transmit_ring.offer_pieces(std::move(pieces));
        nic.net.notify(Net::kTransmitQueue);
        EXPECT_EQ(nic.net.front(), nullptr) << what;
        EXPECT_EQ(nic.net.guest_errors().bad_packets, ++bad) << what;
    };
    expect_dropped({{kPacket, kMost, 0, 0}}, "4 GiB");
    expect_dropped({{kPacket, kMost, 0, 0}, {kPacket, kMost, 0, 0}, {kPacket, 100, 0, 0}}, "more than 32 bits");
    expect_dropped({{~std::uint64_t{0} - 20, 100, 0, 0}}, "over the end of the address space");
    expect_dropped({{kRamBytes - 20, 100, 0, 0}}, "over the end of RAM");
    expect_dropped({{kHole - 20, 100, 0, 0}}, "into a hole");
    expect_dropped({{kPacket, 12, 0, 0}, {kBuffers, 18 + 40 + 65535 + 1, 0, 0}}, "one byte too many");
    EXPECT_EQ(nic.net.guest_errors().broken_queues, 0U);

    // Buffers may be as long as they like: only what the frame fills has to be RAM.
    nic.post({{kRamBytes - 0x1000, kMost, 0, 0}});
    nic.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::landed);
    nic.post({{kRamBytes - 20, kMost, 0, 0}});
    nic.net.notify(Net::kReceiveQueue);
    EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::refused);
    EXPECT_EQ(nic.net.guest_errors().bad_buffers, 1U);
    expect_recovers(nic, "lengths");
}

TEST(HostileDriver, AFrameOf64KibAndOneByteCrossesWhole) {
    RunningNet nic{kEverything & ~net_feature::kMtu};
    std::vector<std::uint8_t> const frame = make_frame((64 << 10) + 1);
    nic.machine.put_bytes(kBuffers, with_header(kPlain, frame));
    nic.transmit_ring.offer_pieces({{kBuffers, 12 + (64 << 10) + 1, 0, 0}});
    nic.net.notify(Net::kTransmitQueue);
    Frame const* const front = nic.net.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(front->bytes, frame.size());
    for (int i = 0; i < 2; ++i) nic.post({{kBuffers + 0x100000 + static_cast<unsigned>(i) * 0x10000, 0x10000, 0, 0}});
    nic.net.notify(Net::kReceiveQueue);
    ASSERT_EQ(nic.net.receive(*front), ReceiveResult::landed);
    EXPECT_EQ(nic.machine.get_bytes(kBuffers + 0x100000 + sizeof(NetHeader), frame.size()), frame);
    EXPECT_EQ(nic.receive_ring.used_at(1).bytes, frame.size() + sizeof(NetHeader) - 0x10000);
}

TEST(HostileDriver, BuffersThatOverlapHarmOnlyTheirDriver) {
    RunningNet nic;
    auto const land_in = [&](std::vector<Slot> pieces) {
        nic.post(std::move(pieces));
        nic.net.notify(Net::kReceiveQueue);
        return nic.receive(make_frame(300));
    };
    EXPECT_EQ(land_in({{kSink, 100, 0, 0}, {kSink, 100, 0, 0}, {kSink + 50, 300, 0, 0}}), ReceiveResult::landed);
    EXPECT_EQ(nic.machine.get_bytes(kSink + 50, 1)[0], make_frame(300)[200 - 12]) << "the last one wins";
    std::uint64_t const targets[] = {
        nic.receive_ring.descriptors(),  nic.receive_ring.available(),  nic.receive_ring.used(),
        nic.transmit_ring.descriptors(), nic.transmit_ring.available(), nic.transmit_ring.used(),
        nic.control_ring.descriptors(),  nic.control_ring.available(),  nic.receive_ring.available() - 6};
    for (std::uint64_t const target : targets) {
        nic.set_up(kEverything);
        nic.send(with_header(kPlain, make_frame(60, kPeerMac)));
        (void)land_in({{target, 2048, 0, 0}});
        for (std::uint16_t queue = 0; queue < 3; ++queue) nic.net.notify(queue);
        carry_one(nic.net);
        expect_recovers(nic, "overlaps a ring", target);
    }
}

TEST(HostileDriver, AFrameThatLandsOnItselfIsMovedAsAWhole) {
    RunningNet nic;
    std::vector<std::uint8_t> const frame = make_frame(1000);
    nic.machine.put_bytes(kPacket, with_header(kPlain, frame));
    nic.transmit_ring.offer_pieces({{kPacket, 1012, 0, 0}});
    nic.net.notify(Net::kTransmitQueue);
    nic.post({{kTable + 0x40, sizeof(NetHeader), 0, 0}, {kPacket + 100, 1000, 0, 0}});
    nic.net.notify(Net::kReceiveQueue);
    Frame const* const front = nic.net.front();
    ASSERT_NE(front, nullptr);
    ASSERT_EQ(nic.net.receive(*front), ReceiveResult::landed);
    EXPECT_EQ(nic.machine.get_bytes(kPacket + 100, 1000), frame);
}

TEST(HostileDriver, OneChainOfferedManyTimesIsServedAsOften) {
    RunningNet nic;
    nic.machine.put_bytes(kPacket, with_header(kPlain, make_frame(60, kPeerMac)));
    nic.transmit_ring.describe(0, {kPacket, 72, 0, 0});
    for (int i = 0; i < RunningNet::kSize; ++i) nic.transmit_ring.offer(0);
    nic.net.notify(Net::kTransmitQueue);
    int sent = 0;
    while (nic.net.front() != nullptr && sent <= RunningNet::kSize) {
        (void)nic.net.take_front();
        ++sent;
    }
    EXPECT_EQ(sent, RunningNet::kSize);
    nic.net.complete_transmit(RunningNet::kSize);
    EXPECT_EQ(nic.transmit_ring.used_index(), RunningNet::kSize);
}

TEST(HostileDriver, ARingInUseCannotBeMoved) {
    RunningNet nic;
    nic.send(with_header(kPlain, make_frame(60, kPeerMac)));
    ASSERT_NE(nic.net.front(), nullptr);
    std::uint64_t const errors = nic.net.guest_errors().bad_accesses;
    nic.write(0x16, Width::word, Net::kTransmitQueue);
    for (std::uint64_t const offset : {0x20U, 0x28U, 0x30U}) nic.write(offset, Width::dword, kHole);
    nic.write(0x18, Width::word, 2);
    EXPECT_EQ(nic.net.guest_errors().bad_accesses, errors + 4);
    nic.write(0x1C, Width::word, 0);
    EXPECT_EQ(nic.read(0x1C, Width::word), 1U) << "nor switched off";
    EXPECT_EQ(nic.read(0x18, Width::word), RunningNet::kSize);
    EXPECT_EQ(nic.read(0x20, Width::dword), nic.transmit_ring.descriptors());
    nic.net.complete_transmit(nic.net.take_front());
    EXPECT_EQ(nic.transmit_ring.used_index(), 1) << "in the old ring";
}

std::vector<std::uint8_t> pairs_command(std::uint16_t pairs) {
    return {4, 0, static_cast<std::uint8_t>(pairs & 0xFF), static_cast<std::uint8_t>(pairs >> 8)};
}

TEST(HostileDriver, NoQueueOfAnyPairCanBeMovedOrSwitchedOff) {
    RunningNet nic{kEverything, {.pairs = 3}};
    ASSERT_EQ(nic.command(pairs_command(3)), 0);
    std::uint64_t errors = nic.net.guest_errors().bad_accesses;
    for (std::uint16_t queue = 0; queue < Net::queues_of(3); ++queue) {
        nic.write(0x16, Width::word, queue);
        std::uint64_t const before = nic.read(0x28, Width::dword);
        for (std::uint64_t const offset : {0x20U, 0x28U, 0x30U}) nic.write(offset, Width::dword, kHole);
        nic.write(0x1C, Width::word, 0);
        EXPECT_EQ(nic.net.guest_errors().bad_accesses, errors += 3) << queue;
        EXPECT_EQ(nic.read(0x28, Width::dword), before) << queue;
        EXPECT_EQ(nic.read(0x1C, Width::word), 1U) << queue;
    }
    nic.write(0x16, Width::word, Net::queues_of(3));
    EXPECT_EQ(nic.read(0x18, Width::word), 0U) << "there is no such queue";
    expect_recovers(nic, "moved queues");
}

TEST(HostileDriver, ABrokenQueueOfAnyPairStopsTheDeviceUntilItsReset) {
    RunningNet nic{kEverything, {.pairs = 3}};
    for (std::uint16_t queue = 0; queue < Net::control_queue(3); ++queue) {
        nic.set_up(kEverything);
        ASSERT_EQ(nic.command(pairs_command(3)), 0);
        nic.send(with_header(kPlain, make_frame(60, kPeerMac)));
        nic.ring_of(queue).set_index(RunningNet::kSize + 2);
        nic.net.notify(queue);
        EXPECT_EQ(nic.status() & kNeedsReset, kNeedsReset) << queue;
        EXPECT_EQ(nic.net.front(), nullptr) << queue;
        EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::refused) << queue;
        nic.net.complete_transmit(~std::uint64_t{0});
        expect_recovers(nic, "a broken queue", queue);
    }
}

// The rings of the pairs that the command names are looked at while it is carried out.
TEST(HostileDriver, ACommandThatUsesABrokenQueue) {
    RunningNet nic{kEverything, {.pairs = 3}};
    nic.ring_of(Net::transmit_queue(2)).set_index(RunningNet::kSize + 1);
    EXPECT_EQ(nic.command(pairs_command(3)), 0);
    EXPECT_EQ(nic.status() & kNeedsReset, kNeedsReset);
    EXPECT_EQ(nic.net.guest_errors().broken_queues, 1U);
    expect_recovers(nic, "a command");
}

TEST(HostileDriver, AsManyCommandsAsTheRingHolds) {
    RunningNet nic{kEverything, {.pairs = 3}};
    constexpr std::uint16_t kCommands = RunningNet::kSize / 2;
    for (std::uint16_t i = 0; i < kCommands; ++i) {
        nic.machine.put_bytes(kCommand + i * 16U, pairs_command(static_cast<std::uint16_t>(i % 5)));
        nic.control_ring.offer_pieces({{kCommand + i * 16U, 4, 0, 0}, {kCommand + i * 16U + 8, 1, kWrite, 0}});
    }
    nic.net.notify(Net::control_queue(3));
    for (std::uint16_t i = 0; i < kCommands; ++i) {
        bool const is_good = i % 5 >= 1 && i % 5 <= 3;
        EXPECT_EQ(nic.machine.get<std::uint8_t>(kCommand + i * 16U + 8), is_good ? 0 : 1) << i;
    }
    EXPECT_EQ(nic.net.receive_pairs(), 2) << "the last good one";
    expect_recovers(nic, "many commands");
}

TEST(HostileDriver, RingsOfOneMemoryForAllThreeQueues) {
    RunningNet nic;
    nic.set_status(0);
    nic.set_status(kAcknowledge | kDriver);
    nic.choose(nic.offered());
    nic.set_status(kAcknowledge | kDriver | kFeaturesOk);
    nic.machine.put_bytes(0x10000, std::vector<std::uint8_t>(0x3000));
    DriverRing ring{nic.machine, 0x10000, RunningNet::kSize};
    for (std::uint16_t i = 0; i < 3; ++i) nic.describe_queue(i, ring);
    nic.set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    for (int i = 0; i < 100; ++i) {
        nic.machine.put_bytes(kPacket, with_header(kPlain, make_frame(60)));
        ring.offer_pieces({{kPacket, 72, static_cast<std::uint16_t>(i % 3 == 0 ? kWrite : 0), 0}});
        nic.net.notify(static_cast<std::uint16_t>(i % 3));
        carry_one(nic.net);
        (void)nic.receive(make_frame(60));
    }
    expect_recovers(nic, "one memory for all rings");
}

/// A TCP packet for the card itself, of a flow whose frames go to this one of two pairs.
std::vector<std::uint8_t> own_tcp(std::size_t payload, std::uint16_t pair) {
    std::vector<std::uint8_t> frame = make_tcp(payload);
    std::ranges::copy(kMac, frame.begin());
    while (flow_hash(std::as_bytes(std::span{frame})) % 2 != pair) ++frame[kTransport];
    return frame;
}

// The rings, an indirect table, a packet and commands.
TEST(HostileDriver, MemoryThatChangesBetweenAnyTwoAccesses) {
    RunningNet nic{kAll, {.pairs = 2}};
    auto const prepare = [&] {
        nic.set_up(kAll);
        std::vector<std::uint8_t> const packet = with_header(whole_header(100), own_tcp(250, 0));
        nic.machine.put_bytes(kPacket, packet);
        auto const bytes = static_cast<std::uint32_t>(packet.size());
        nic.machine.put(kTable, Slot{kPacket, 40, kNext, 1});
        nic.machine.put(kTable + 16, Slot{kPacket + 40, bytes - 40, 0, 0});
        nic.transmit_ring.offer_pieces({{kTable, 32, kIndirect, 0}});
        nic.transmit_ring.offer_pieces({{kPacket, 5, 0, 0}, {kPacket + 5, bytes - 5, 0, 0}});
        for (std::uint64_t i = 0; i < 6; ++i)
            nic.post({{kSink + i * 512, 128, 0, 0}, {kSink + i * 512 + 128, 64, 0, 0}});
        nic.machine.put_bytes(kCommand, {1, 0, 1, 0, 0, 0, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0});
        nic.control_ring.offer_pieces({{kCommand, 2, 0, 0}, {kCommand + 2, 14, 0, 0}, {kCommand + 64, 1, kWrite, 0}});
        nic.machine.put_bytes(kCommand + 80, pairs_command(2));
        nic.control_ring.offer_pieces({{kCommand + 80, 4, 0, 0}, {kCommand + 96, 1, kWrite, 0}});
        std::vector<std::uint8_t> const unsummed =
            with_header({kHeaderNeedsChecksum, kSegmentationNone, 0, 0, kTransport, 16, 0}, own_tcp(50, 1));
        nic.machine.put_bytes(kTable + 0x40, unsummed);
        nic.ring_of(3).offer_pieces({{kTable + 0x40, static_cast<std::uint32_t>(unsummed.size()), 0, 0}});
        for (std::uint64_t i = 0; i < 2; ++i) nic.post({{kSink + 0x4000 + i * 512, 512, 0, 0}}, 1);
    };
    auto const work = [&] {
        for (std::uint16_t const queue : {4, 0, 1, 2, 3}) nic.net.notify(queue);
        unsigned carried = 0;
        while (carry_one(nic.net)) check(++carried <= 2 * RunningNet::kSize, "no more frames than the rings have places");
        nic.net.notify(Net::kReceiveQueue);
    };
    std::vector<ByteSpan> watched;
    auto const watch = [&](std::uint64_t page) {
        watched.push_back(nic.machine.memory.writable(GuestPhys{page}, kPageBytes));
    };
    for (std::uint64_t const page : {kTable, kPacket, kCommand}) watch(page);
    for (DriverRing* const ring :
         {&nic.receive_ring, &nic.transmit_ring, &nic.control_ring, &nic.ring_of(2), &nic.ring_of(3)})
        for (std::uint64_t const page : {ring->descriptors(), ring->available(), ring->used()}) watch(page);
    // As long as nothing changes all of it is done: both directions of both pairs, and both commands.
    prepare();
    work();
    EXPECT_EQ(nic.net.guest_errors().sum(), 0U);
    EXPECT_EQ(nic.net.receive_pairs(), 2);
    EXPECT_EQ(nic.net.filter().unicast.size(), 1U);
    EXPECT_EQ(nic.net.pair_counters()[0], (QueuePairCounters{2, 2}));
    EXPECT_EQ(nic.net.pair_counters()[1], (QueuePairCounters{1, 1}));

    std::uint64_t const n =
        change_before_each_access(watched, prepare, work, [&](std::uint64_t which) { expect_recovers(nic, "changed before access", which); });
    RecordProperty("accesses", static_cast<int>(n));
    EXPECT_GT(n, 100U) << "the test looks between all reads";
}

}  // namespace
}  // namespace backplane::virtio
