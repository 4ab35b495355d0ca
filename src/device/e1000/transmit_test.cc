#include "device/e1000/transmit.h"

#include <gtest/gtest.h>

#include "device/e1000/testing.h"
#include "device/segmenter.h"

namespace backplane::e1000 {
namespace {

using namespace testing;

constexpr std::uint32_t kContext = kTxDext;
constexpr std::uint32_t kData = kTxDext | 1U << 20;
constexpr std::uint32_t kIxsm = 1U << 8;
constexpr std::uint32_t kTxsm = 2U << 8;

// IPv4 at 14, checksum at 24 over [14, 33]; TCP at 34, checksum at 50 over the rest: as Linux sets it.
constexpr std::uint64_t kTcpOffsets = 14 | 24ULL << 8 | 33ULL << 16 | 34ULL << 32 | 50ULL << 40;

class TransmitTest : public ::testing::Test {
  protected:
    Frame const* front() { return nic_.controller.front(); }
    std::vector<std::uint8_t> front_bytes() {
        Frame const* const frame = front();
        if (frame == nullptr) return {};
        std::vector<std::uint8_t> bytes = bytes_in(*frame);
        EXPECT_EQ(bytes.size(), frame->bytes);
        return bytes;
    }
    void describe_segmentation(std::uint32_t header, std::uint32_t mss,
                               std::uint32_t flags = kTxContextTcp | kTxContextIp) {
        nic_.describe(kTcpOffsets, kContext | kTxTse | flags, header << 8 | mss << 16);
    }
    void put_tcp_for_segmentation(std::size_t payload) {
        std::vector<std::uint8_t> frame = make_tcp(payload);
        put_be16(frame, kIp + 2, 0);
        put_be16(frame, kTransport + 16, plain_sum(frame, 0, 0, pseudo_sum(frame)));
        nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    }
    void expect_dropped() {
        std::uint64_t const before = nic_.controller.guest_errors().bad_packets;
        nic_.send();
        EXPECT_EQ(front(), nullptr);
        EXPECT_GT(nic_.controller.guest_errors().bad_packets, before);
        EXPECT_EQ(nic_.get(kTdh), nic_.get(kTdt)) << "the ring moves on";
    }

    RunningController nic_;
};

TEST_F(TransmitTest, AFrameLiesInTheGuestUntilItIsTakenAndIsDoneWhenCompleted) {
    std::vector<std::uint8_t> const sent = make_frame(100, kPeerMac, kMac);
    nic_.machine.clock.advance_to(Ticks{777});
    nic_.set(kIms, kCauseTxdw);
    nic_.send_frame(sent);
    EXPECT_EQ(nic_.observer.count, 1);
    nic_.machine.clock.advance_to(Ticks{999});
    EXPECT_EQ(front_bytes(), sent);
    EXPECT_EQ(front_bytes(), sent) << "asking again gives the same frame";
    EXPECT_EQ(front()->sent, Ticks{777});
    GuestMemory const& memory = *nic_.machine.dma();
    EXPECT_EQ(front()->pieces[0].data(), memory.readable(GuestPhys{kTxBuffers}, 1).data()) << "in place";
    EXPECT_EQ(nic_.get(kTdh), 0U);

    EXPECT_EQ(nic_.controller.take_front(), 1U);
    EXPECT_EQ(nic_.get(kTdh), 1U);
    EXPECT_EQ(front(), nullptr);
    EXPECT_FALSE(nic_.tx_done(0));
    EXPECT_FALSE(nic_.machine.line);

    nic_.controller.complete_transmit(1);
    EXPECT_TRUE(nic_.tx_done(0));
    EXPECT_TRUE(nic_.machine.line);
    EXPECT_EQ(nic_.get(kIcr), kCauseTxdw | kCauseTxqe);
    EXPECT_FALSE(nic_.machine.line) << "reading clears";
    EXPECT_EQ(nic_.get(kGptc), 1U);
    EXPECT_EQ(nic_.get(kGptc), 0U);
    EXPECT_EQ(nic_.get(kGotcl), 104U);
    FramePortCounters const counters = nic_.controller.counters();
    EXPECT_EQ(counters.tail_moves, 1U);
    EXPECT_EQ(counters.transmit_complete_interrupts, 1U);
}

TEST_F(TransmitTest, CompletionReportsOnlyWhatItNames) {
    for (int i = 0; i < 3; ++i) nic_.send_frame(make_frame(64));
    for (std::uint64_t number = 1; number <= 3; ++number) {
        ASSERT_NE(front(), nullptr);
        EXPECT_EQ(nic_.controller.take_front(), number);
    }
    nic_.controller.complete_transmit(2);
    EXPECT_TRUE(nic_.tx_done(0));
    EXPECT_TRUE(nic_.tx_done(1));
    EXPECT_FALSE(nic_.tx_done(2));
    EXPECT_EQ(nic_.get(kIcr), kCauseTxdw);
}

TEST_F(TransmitTest, WithoutReportStatusTheDescriptorStays) {
    nic_.describe(kTxBuffers, 64 | kTxEop | kTxIfcs);
    nic_.send();
    ASSERT_NE(front(), nullptr);
    nic_.controller.complete_transmit(nic_.controller.take_front());
    EXPECT_FALSE(nic_.tx_done(0));
    EXPECT_EQ(nic_.get(kIcr), kCauseTxqe);
}

TEST_F(TransmitTest, PacketOverSeveralDescriptorsAndPages) {
    std::vector<std::uint8_t> const sent = make_frame(1514);
    nic_.machine.put_bytes(kTxBuffers + 0xFF0, std::as_bytes(std::span{sent}));
    nic_.describe(kTxBuffers + 0xFF0, 14 | kTxIfcs);
    nic_.describe(kTxBuffers + 0xFF0 + 14, 0);
    nic_.describe(kTxBuffers + 0xFF0 + 14, 700);
    nic_.send();
    EXPECT_EQ(front(), nullptr) << "its end is not there yet";
    EXPECT_EQ(nic_.get(kTdh), 0U);
    nic_.machine.clock.advance_to(Ticks{5});
    nic_.describe(kTxBuffers + 0xFF0 + 714, 800 | kTxEop | kTxIfcs | kTxRs);
    nic_.send();
    EXPECT_EQ(front_bytes(), sent);
    EXPECT_EQ(front()->sent, Ticks{5});
    nic_.controller.take_front();
    EXPECT_EQ(nic_.get(kTdh), 4U);
}

TEST_F(TransmitTest, TheRingWrapsAround) {
    for (std::uint32_t i = 0; i < 40; ++i) {
        std::vector<std::uint8_t> const sent = make_frame(60 + i);
        nic_.send_frame(sent);
        ASSERT_EQ(front_bytes(), sent);
        nic_.controller.complete_transmit(nic_.controller.take_front());
        EXPECT_EQ(nic_.get(kTdh), (i + 1) % 16);
    }
}

TEST_F(TransmitTest, ShortFramesArePaddedWhenAskedFor) {
    std::vector<std::uint8_t> sent = make_frame(20);
    nic_.send_frame(sent);
    sent.resize(60);
    EXPECT_EQ(front_bytes(), sent);
    nic_.set(kTctl, kTctlEn);
    EXPECT_EQ(front()->bytes, 20U);
}

TEST_F(TransmitTest, OwnFcsIsNoPartOfTheFrame) {
    std::vector<std::uint8_t> sent = make_frame(102);
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{sent}));
    nic_.describe(kTxBuffers, 100);
    nic_.describe(kTxBuffers + 100, 2 | kTxEop | kTxRs);
    nic_.send();
    sent.resize(98);
    EXPECT_EQ(front_bytes(), sent);
}

TEST_F(TransmitTest, VlanTagIsInserted) {
    std::vector<std::uint8_t> sent = make_frame(100);
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{sent}));
    nic_.describe(kTxBuffers, 100 | kTxEop | kTxIfcs | kTxVle, 0x2ABCU << 16);
    nic_.send();
    EXPECT_EQ(front_bytes(), sent) << "not without CTRL.VME";
    EXPECT_EQ(nic_.controller.take_front(), 1U);
    nic_.set(kCtrl, nic_.get(kCtrl) | kCtrlVme);
    nic_.describe(kTxBuffers, 100 | kTxEop | kTxIfcs | kTxVle, 0x2ABCU << 16);
    nic_.send();
    std::vector<std::uint8_t> const tag = {0x81, 0x00, 0x2A, 0xBC};
    sent.insert(sent.begin() + 12, tag.begin(), tag.end());
    EXPECT_EQ(front_bytes(), sent);
}

TEST_F(TransmitTest, LegacyChecksumInsertion) {
    std::vector<std::uint8_t> frame = make_tcp(101);
    put_be16(frame, kTransport + 16, plain_sum(frame, 0, 0, pseudo_sum(frame) + 121));
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    nic_.describe(kTxBuffers, 155 | kTxEop | kTxIfcs | kTxIc | 50U << 16, 34U << 8);
    nic_.send();
    EXPECT_TRUE(has_right_tcp_sum(front_bytes()));
}

TEST_F(TransmitTest, ContextDescriptorInsertsBothChecksumsWhereverThePiecesEnd) {
    std::vector<std::uint8_t> frame = make_tcp(333);
    put_be16(frame, kTransport + 16, plain_sum(frame, 0, 0, pseudo_sum(frame) + 353));
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    auto const bytes = static_cast<std::uint32_t>(frame.size());
    for (std::uint32_t cut : {1U, 24U, 25U, 26U, 50U, 51U, 52U, 200U}) {
        nic_.describe(kTcpOffsets, kContext | kTxContextTcp | kTxContextIp);
        nic_.describe(kTxBuffers, kData | kTxIfcs | cut, kIxsm | kTxsm);
        nic_.describe(kTxBuffers + cut, kData | kTxIfcs | kTxEop | kTxRs | (bytes - cut));
        nic_.send();
        std::vector<std::uint8_t> const out = front_bytes();
        ASSERT_EQ(out.size(), frame.size());
        EXPECT_TRUE(has_right_ip_sum(out)) << cut;
        EXPECT_TRUE(has_right_tcp_sum(out)) << cut;
        EXPECT_EQ(out, make_summed_tcp(333)) << "nothing else changed";
        nic_.controller.complete_transmit(nic_.controller.take_front());
    }
}

TEST_F(TransmitTest, ChecksumOfZeroIsSentAsOnes) {
    std::vector<std::uint8_t> frame = make_frame(64);
    std::fill(frame.begin() + 14, frame.end(), std::uint8_t{0});
    put_be16(frame, 20, 0xFFFF);
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    nic_.describe(kTxBuffers, 64 | kTxEop | kTxIfcs | kTxIc | 40U << 16, 14U << 8);
    nic_.send();
    EXPECT_EQ(get_be16(front_bytes(), 40), 0xFFFF);
}

TEST_F(TransmitTest, SegmentationCutsEditsAndSums) {
    constexpr std::uint32_t kPayload = 2501;
    constexpr std::uint32_t kMss = 1000;
    put_tcp_for_segmentation(kPayload);
    describe_segmentation(54, kMss);
    nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | 54, kIxsm | kTxsm);
    nic_.describe(kTxBuffers + 54, kData | kTxTse | kTxIfcs | 1111, kIxsm | kTxsm);
    nic_.describe(kTxBuffers + 54 + 1111, kData | kTxTse | kTxIfcs | kTxEop | kTxRs | (kPayload - 1111), kIxsm | kTxsm);
    nic_.send();
    std::vector<std::uint8_t> const whole = make_tcp(kPayload);
    for (std::uint32_t i = 0; i < 3; ++i) {
        std::vector<std::uint8_t> const segment = front_bytes();
        std::uint32_t const payload = i < 2 ? kMss : kPayload - 2 * kMss;
        ASSERT_EQ(segment.size(), 54 + payload);
        EXPECT_EQ(get_be16(segment, kIp + 2), 40 + payload);
        EXPECT_EQ(get_be16(segment, kIp + 4), 0x1234 + i);
        EXPECT_EQ(get_be32(segment, kTransport + 4), 0x0102FFFE + i * kMss);
        EXPECT_EQ(segment[kTransport + 13], i == 2 ? 0x19 : 0x10) << "FIN and PSH on the last one only";
        EXPECT_TRUE(has_right_ip_sum(segment));
        EXPECT_TRUE(has_right_tcp_sum(segment));
        EXPECT_TRUE(std::equal(segment.begin() + 54, segment.end(), whole.begin() + 54 + i * kMss));
        GuestMemory const& memory = *nic_.machine.dma();
        std::uint64_t const start = kTxBuffers + 54 + i * kMss;
        EXPECT_EQ(front()->pieces[1].data(), memory.readable(GuestPhys{start}, 1).data()) << "payload in place";
        EXPECT_EQ(nic_.get(kTdh), 0U) << "the packet is not used up";
        EXPECT_EQ(nic_.controller.take_front(), i + 1);
    }
    EXPECT_EQ(front(), nullptr);
    EXPECT_EQ(nic_.get(kTdh), 4U);
    nic_.controller.complete_transmit(2);
    EXPECT_FALSE(nic_.tx_done(3));
    nic_.controller.complete_transmit(3);
    EXPECT_TRUE(nic_.tx_done(3));
    EXPECT_EQ(nic_.get(kTsctc), 1U);
    EXPECT_EQ(nic_.get(kTpt), 3U);
    EXPECT_EQ(nic_.get(kGotcl), kPayload + 3 * 58);
}

TEST_F(TransmitTest, ACarrierThatCutsGetsThePacketWhole) {
    constexpr std::uint32_t kPayload = 2500;
    constexpr std::uint32_t kMss = 1000;
    nic_.controller.allow_unfinished_frames();
    put_tcp_for_segmentation(kPayload);
    describe_segmentation(54, kMss);
    nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | 54, kIxsm | kTxsm);
    nic_.describe(kTxBuffers + 54, kData | kTxTse | kTxIfcs | kTxEop | kTxRs | kPayload);
    nic_.send();
    std::vector<std::uint8_t> const whole = front_bytes();
    ASSERT_EQ(whole.size(), 54 + kPayload);
    EXPECT_EQ(get_be16(whole, kIp + 2), 40 + kPayload) << "as the receiver's stack expects it";
    EXPECT_TRUE(has_right_ip_sum(whole));
    Offload const offload = front()->offload;
    EXPECT_EQ(offload, (Offload{.needs_checksum = true,
                                .segments = Offload::Segments::tcp_ipv4,
                                .checksum_start = kTransport,
                                .checksum_offset = 16,
                                .segment_bytes = kMss,
                                .header_bytes = 54}));
    GuestMemory const& memory = *nic_.machine.dma();
    EXPECT_EQ(front()->pieces[1].data(), memory.readable(GuestPhys{kTxBuffers + 54}, 1).data()) << "payload in place";

    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(*front()), 3U);
    for (std::uint32_t i = 0; i < 3; ++i) {
        std::vector<std::uint8_t> const segment = bytes_in(segmenter.segment(i));
        EXPECT_TRUE(has_right_ip_sum(segment));
        EXPECT_TRUE(has_right_tcp_sum(segment));
    }
    EXPECT_EQ(nic_.controller.take_front(), 1U);
    EXPECT_EQ(front(), nullptr);
    nic_.controller.complete_transmit(1);
    EXPECT_TRUE(nic_.tx_done(2));
    EXPECT_EQ(nic_.get(kTsctc), 1U);
    EXPECT_EQ(nic_.get(kTpt), 3U) << "the statistics count what is on a wire";
    EXPECT_EQ(nic_.get(kGotcl), kPayload + 3 * 58);
}

TEST_F(TransmitTest, ACarrierThatSumsGetsTheFrameUnsummed) {
    nic_.controller.allow_unfinished_frames();
    nic_.set(kCtrl, nic_.get(kCtrl) | kCtrlVme);
    std::vector<std::uint8_t> frame = make_tcp(100);
    put_be16(frame, kTransport + 16, plain_sum(frame, 0, 0, pseudo_sum(frame) + 120));
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    nic_.describe(kTcpOffsets, kContext);
    nic_.describe(kTxBuffers, kData | kTxIfcs | kTxEop | kTxVle | static_cast<std::uint32_t>(frame.size()), kTxsm);
    nic_.send();
    ASSERT_NE(front(), nullptr);
    EXPECT_EQ(front()->offload, (Offload{.needs_checksum = true, .checksum_start = 38, .checksum_offset = 16}));
    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(*front()), 1U);
    std::vector<std::uint8_t> summed = bytes_in(segmenter.segment(0));
    summed.erase(summed.begin() + 12, summed.begin() + 16);  // the VLAN tag
    EXPECT_TRUE(has_right_tcp_sum(summed));
}

TEST_F(TransmitTest, WhatTheCarrierCannotCutIsCutHere) {
    nic_.controller.allow_unfinished_frames();
    put_tcp_for_segmentation(400);
    auto const expect_segment = [&](std::uint64_t offsets, std::uint32_t mss, std::uint32_t options) {
        nic_.describe(offsets, kContext | kTxTse | kTxContextTcp | kTxContextIp, 54U << 8 | mss << 16);
        nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | kTxEop | 454, options);
        nic_.send();
        ASSERT_NE(front(), nullptr);
        EXPECT_EQ(front()->offload, Offload{});
        EXPECT_EQ(front()->bytes, 54 + mss);
        while (front() != nullptr) nic_.controller.take_front();
    };
    expect_segment(kTcpOffsets, 63, kIxsm | kTxsm);                     // more frames than are worth it
    expect_segment(kTcpOffsets, 100, kTxsm);                            // without the IP header's checksum
    expect_segment(kTcpOffsets, 100, kIxsm);                            // without TCP's
    expect_segment(kTcpOffsets | 0xFFFFULL << 48, 100, kIxsm | kTxsm);  // a sum that ends before the frame
    expect_segment((kTcpOffsets & ~0xFFULL) | 16, 100, kIxsm | kTxsm);  // an IP header that is none
}

TEST_F(TransmitTest, SegmentationOfUdpOverIpv6WritesBothLengths) {
    std::vector<std::uint8_t> frame = make_frame(62 + 300);
    put_be16(frame, 12, 0x86DD);
    nic_.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    nic_.describe(14 | 14ULL << 8 | 54ULL << 32 | 60ULL << 40, kContext | kTxTse, 62U << 8 | 200U << 16);
    nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | kTxEop | 362);
    nic_.send();
    std::vector<std::uint8_t> segment = front_bytes();
    EXPECT_EQ(get_be16(segment, 14 + 4), 208U);
    EXPECT_EQ(get_be16(segment, 54 + 4), 208U);
    nic_.controller.take_front();
    segment = front_bytes();
    EXPECT_EQ(segment.size(), 162U);
    EXPECT_EQ(get_be16(segment, 14 + 4), 108U);
    EXPECT_EQ(get_be16(segment, 54 + 4), 108U);
}

TEST_F(TransmitTest, NothingIsSentWhileDisabledOrWithoutLinkOrBusMastering) {
    nic_.send_frame(make_frame(64));
    nic_.set(kTctl, 0);
    EXPECT_EQ(front(), nullptr);
    nic_.set(kTctl, kTctlEn);
    nic_.controller.set_carrier(false);
    EXPECT_EQ(front(), nullptr);
    nic_.controller.set_carrier(true);
    nic_.machine.is_bus_master = false;
    EXPECT_EQ(front(), nullptr);
    nic_.machine.is_bus_master = true;
    EXPECT_NE(front(), nullptr);
}

TEST_F(TransmitTest, ResetForgetsTheRingButNotTheNumbering) {
    nic_.send_frame(make_frame(64));
    EXPECT_EQ(nic_.controller.take_front(), 1U);
    nic_.set(kCtrl, kCtrlRst);
    EXPECT_EQ(front(), nullptr);
    nic_.controller.complete_transmit(1);
    EXPECT_FALSE(nic_.tx_done(0)) << "the guest has its ring back";
    nic_.set(kTdbal, kTxRing);
    nic_.set(kTdlen, 256);
    nic_.set(kTctl, kTctlEn);
    nic_.set(kTdt, 1);
    ASSERT_NE(front(), nullptr);
    EXPECT_EQ(nic_.controller.take_front(), 2U);
}

TEST_F(TransmitTest, AContextAloneIsDone) {
    nic_.describe(kTcpOffsets, kContext | kTxRs);
    nic_.send();
    EXPECT_EQ(front(), nullptr);
    EXPECT_EQ(nic_.get(kTdh), 1U);
    EXPECT_TRUE(nic_.tx_done(0));
}

TEST_F(TransmitTest, ABadPacketIsDoneInItsTurn) {
    nic_.send_frame(make_frame(64));
    ASSERT_NE(front(), nullptr);
    EXPECT_EQ(nic_.controller.take_front(), 1U);
    nic_.describe(FakeMachine::kHole, 64 | kTxEop | kTxIfcs | kTxRs);
    expect_dropped();
    EXPECT_FALSE(nic_.tx_done(1));
    nic_.controller.complete_transmit(1);
    EXPECT_TRUE(nic_.tx_done(1));
}

TEST_F(TransmitTest, AGoodFrameBehindBadOnesIsFound) {
    nic_.describe(~std::uint64_t{0} - 8, 64 | kTxEop | kTxRs);
    nic_.describe(FakeMachine::kHole - 8, 64 | kTxEop | kTxRs);  // half of it is RAM
    nic_.send_frame(make_frame(64));
    EXPECT_EQ(front_bytes(), make_frame(64));
    EXPECT_EQ(nic_.controller.guest_errors().bad_packets, 2U);
    EXPECT_EQ(nic_.get(kTdh), 2U);
    EXPECT_TRUE(nic_.tx_done(0));
    EXPECT_TRUE(nic_.tx_done(1));
}

TEST_F(TransmitTest, NonsenseIsDroppedAndCounted) {
    nic_.describe(kTxBuffers, kTxEop | kTxIfcs);  // no bytes
    expect_dropped();
    nic_.describe(kTxBuffers, 13 | kTxEop | kTxIfcs);  // no Ethernet header
    expect_dropped();
    nic_.describe(kTxBuffers, 17 | kTxEop);  // none but for the FCS
    expect_dropped();
    nic_.describe(kTxBuffers, 16385 | kTxEop | kTxIfcs);  // longer than any frame
    expect_dropped();
    nic_.describe(kTxBuffers, kTxDext | 7U << 20 | kTxEop | 64);  // no such descriptor type
    expect_dropped();
    nic_.describe(kTxBuffers, 64 | kTxEop | kTxIfcs | kTxIc | 63U << 16, 14U << 8);  // half a checksum field
    expect_dropped();
    nic_.describe(kTxBuffers, 64 | kTxEop | kTxIfcs | kTxIc | 40U << 16, 64U << 8);  // a sum over nothing
    expect_dropped();
}

TEST_F(TransmitTest, NonsensicalSegmentationIsDropped) {
    put_tcp_for_segmentation(400);
    auto const try_context = [&](std::uint64_t offsets, std::uint32_t header, std::uint32_t mss, std::uint32_t bytes) {
        nic_.describe(offsets, kContext | kTxTse | kTxContextTcp | kTxContextIp, header << 8 | mss << 16);
        nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | kTxEop | bytes, kIxsm | kTxsm);
        expect_dropped();
    };
    try_context(kTcpOffsets, 54, 0, 454);                    // no segment size
    try_context(kTcpOffsets, 0, 100, 454);                   // no header
    try_context(kTcpOffsets, 241, 100, 454);                 // a header longer than the hardware can hold
    try_context(kTcpOffsets, 54, 100, 53);                   // a packet shorter than its header
    try_context(kTcpOffsets, 53, 100, 454);                  // the TCP header is cut
    try_context(kTcpOffsets, 54, 16384, 454);                // segments longer than any frame
    try_context(kTcpOffsets | 0xFFULL << 40, 54, 100, 454);  // a checksum field beyond the header
    EXPECT_EQ(nic_.controller.guest_errors().bad_packets, 7U);
}

TEST_F(TransmitTest, ASegmentedPacketThatLeavesRamIsCutOff) {
    put_tcp_for_segmentation(10);
    describe_segmentation(54, 100);
    nic_.describe(kTxBuffers, kData | kTxTse | kTxIfcs | 54);
    nic_.describe(FakeMachine::kHole - 150, kData | kTxTse | kTxIfcs | kTxEop | kTxRs | 400);
    nic_.send();
    ASSERT_NE(front(), nullptr);
    EXPECT_EQ(nic_.controller.take_front(), 1U);
    EXPECT_EQ(front(), nullptr);
    EXPECT_EQ(nic_.get(kTdh), 3U);
    nic_.controller.complete_transmit(1);
    EXPECT_TRUE(nic_.tx_done(2));
}

TEST_F(TransmitTest, ContradictoryRingsDoNothing) {
    nic_.send_frame(make_frame(64));
    nic_.set(kTdlen, 0);
    EXPECT_EQ(front(), nullptr);
    nic_.set(kTdlen, 128);
    nic_.set(kTdh, 8);
    EXPECT_EQ(front(), nullptr);
    nic_.set(kTdh, 0);
    nic_.set(kTdt, 0xFFFF);
    EXPECT_EQ(front(), nullptr);
    EXPECT_GT(nic_.controller.guest_errors().bad_rings, 0U);
    nic_.set(kTdt, 1);
    EXPECT_EQ(front_bytes(), make_frame(64)) << "and are usable again once they agree";
}

TEST_F(TransmitTest, ARingOutsideRamIsUsedUpWithoutFrames) {
    nic_.set(kTdbah, 0xFFFFFFFF);
    nic_.set(kTdt, 15);
    EXPECT_EQ(front(), nullptr);
    EXPECT_EQ(nic_.get(kTdh), 15U);
}

TEST_F(TransmitTest, TakingDescriptorsBackIsLegal) {
    nic_.machine.clock.advance_to(Ticks{1});
    nic_.send_frame(make_frame(64));
    nic_.machine.clock.advance_to(Ticks{2});
    nic_.send_frame(make_frame(65));
    nic_.set(kTdt, 1);
    ASSERT_NE(front(), nullptr);
    nic_.controller.take_front();
    EXPECT_EQ(front(), nullptr);
    nic_.machine.clock.advance_to(Ticks{3});
    nic_.set(kTdt, 2);
    EXPECT_EQ(front_bytes(), make_frame(65, kMac));
    EXPECT_EQ(front()->sent, Ticks{3});
}

TEST_F(TransmitTest, DelayedInterruptWaitsForItsTimer) {
    nic_.set(kIms, kCauseTxdw);
    nic_.set(kTidv, 8);
    nic_.describe(kTxBuffers, 64 | kTxEop | kTxIfcs | kTxRs | kTxIde);
    nic_.send();
    ASSERT_NE(front(), nullptr);
    nic_.controller.complete_transmit(nic_.controller.take_front());
    EXPECT_TRUE(nic_.tx_done(0)) << "the status does not wait";
    EXPECT_FALSE(nic_.machine.line);
    EXPECT_EQ(nic_.machine.clock.next_deadline(), Ticks{8 * 1024});
    nic_.machine.clock.advance_to(Ticks{8 * 1024});
    nic_.machine.clock.fire_due();
    EXPECT_TRUE(nic_.machine.line);
}

}  // namespace
}  // namespace backplane::e1000
