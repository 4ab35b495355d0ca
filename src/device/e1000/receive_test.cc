#include "device/e1000/receive.h"

#include <gtest/gtest.h>

#include <cstring>

#include "device/checksum.h"
#include "device/e1000/testing.h"

namespace backplane::e1000 {
namespace {

using namespace testing;

class ReceiveTest : public ::testing::Test {
  protected:
    void post(std::uint32_t tail) { nic_.set(kRdt, tail); }
    std::vector<std::uint8_t> landed(std::uint32_t i, std::size_t bytes) {
        return nic_.machine.get_bytes(RunningController::rx_buffer(i), bytes);
    }

    RunningController nic_;
};

TEST_F(ReceiveTest, AFrameLandsWithStatusHeadAndInterrupt) {
    post(15);
    nic_.set(kIms, kCauseRxt0);
    std::vector<std::uint8_t> const frame = make_frame(100);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
    EXPECT_EQ(landed(0, 100), frame);
    ReceiveWriteBack const status = nic_.rx_status(0);
    EXPECT_EQ(status.length, 104);
    EXPECT_EQ(status.status, kStatusDd | kRxEop | kRxIxsm);
    EXPECT_EQ(status.errors, 0);
    FrameCheck fcs;
    fcs.add(std::as_bytes(std::span{frame}));
    EXPECT_EQ(nic_.machine.get<std::uint32_t>(RunningController::rx_buffer(0) + 100), fcs.value());
    EXPECT_EQ(nic_.get(kRdh), 1U);
    EXPECT_TRUE(nic_.machine.line);
    EXPECT_EQ(nic_.get(kIcr), kCauseRxt0);
    EXPECT_FALSE(nic_.machine.line);
    EXPECT_EQ(nic_.get(kGprc), 1U);
    EXPECT_EQ(nic_.get(kGorcl), 104U);
    EXPECT_EQ(nic_.get(kGorcl + 4), 0U);
    EXPECT_EQ(nic_.get(kGorcl), 0U);
    EXPECT_EQ(nic_.controller.counters().head_moves, 1U);
    EXPECT_EQ(nic_.controller.counters().receive_interrupts, 1U);
}

TEST_F(ReceiveTest, StrippedFcsIsNotStored) {
    post(15);
    nic_.set(kRctl, kRctlEn | kRctlSecrc);
    nic_.machine.put(RunningController::rx_buffer(0) + 100, std::uint32_t{0xABABABAB});
    EXPECT_EQ(nic_.receive(make_frame(100)), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(0).length, 100);
    EXPECT_EQ(nic_.machine.get<std::uint32_t>(RunningController::rx_buffer(0) + 100), 0xABABABABU);
}

TEST_F(ReceiveTest, ALongFrameFillsSeveralBuffers) {
    nic_.set(kRctl, kRctlEn | 3U << 16);  // 256 bytes each
    post(15);
    std::vector<std::uint8_t> const frame = make_frame(700);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
    std::vector<std::uint8_t> all;
    for (std::uint32_t i = 0; i < 3; ++i) {
        ReceiveWriteBack const status = nic_.rx_status(i);
        EXPECT_EQ(status.status & (kStatusDd | kRxEop), i == 2 ? kStatusDd | kRxEop : kStatusDd);
        EXPECT_EQ(status.length, i == 2 ? 704 - 512 : 256);
        std::vector<std::uint8_t> const part = landed(i, status.length);
        all.insert(all.end(), part.begin(), part.end());
    }
    all.resize(700);
    EXPECT_EQ(all, frame);
    EXPECT_EQ(nic_.get(kRdh), 3U);
}

TEST_F(ReceiveTest, TheFcsMayHaveABufferOfItsOwn) {
    nic_.set(kRctl, kRctlEn | 3U << 16);
    post(15);
    EXPECT_EQ(nic_.receive(make_frame(256)), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(0).length, 256);
    EXPECT_EQ(nic_.rx_status(1).length, 4);
}

TEST_F(ReceiveTest, BufferSizesOfTheManual) {
    struct Case {
        std::uint32_t rctl;
        std::uint32_t bytes;
    };
    for (Case const& c : {Case{0, 2048}, Case{1U << 16, 1024}, Case{2U << 16, 512}, Case{3U << 16, 256},
                          Case{kRctlBsex | 2U << 16, 8192}, Case{kRctlBsex | 3U << 16, 4096}}) {
        RunningController nic;
        nic.set(kRctl, kRctlEn | kRctlLpe | kRctlSecrc | c.rctl);
        nic.set(kRdt, 15);
        std::uint32_t const bytes = std::min(c.bytes + 60, 2100U);
        EXPECT_EQ(nic.receive(make_frame(bytes)), ReceiveResult::landed);
        EXPECT_EQ(nic.rx_status(0).length, std::min(bytes, c.bytes));
    }
}

TEST_F(ReceiveTest, WithoutBuffersNothingChanges) {
    post(2);
    nic_.set(kRctl, kRctlEn | 3U << 16);
    State const before = nic_.controller.state();
    EXPECT_EQ(nic_.receive(make_frame(700)), ReceiveResult::no_buffer);
    EXPECT_EQ(nic_.controller.state(), before);
    EXPECT_EQ(nic_.rx_status(0).status, 0);
    post(3);
    EXPECT_EQ(nic_.receive(make_frame(700)), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::no_buffer);
}

TEST_F(ReceiveTest, AFrameThatTheRingCanNeverHoldIsRefused) {
    nic_.set(kRdlen, 128);
    nic_.set(kRctl, kRctlEn | kRctlLpe | 3U << 16);
    post(7);
    EXPECT_EQ(nic_.receive(make_frame(2048)), ReceiveResult::refused);
    EXPECT_EQ(nic_.get(kMpc), 1U);
}

TEST_F(ReceiveTest, GivingBuffersBackIsReading) {
    post(15);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.controller.landed_count(), 3U);
    EXPECT_EQ(nic_.controller.read_count(), 0U);
    int const before = nic_.observer.count;
    post(0);
    EXPECT_EQ(nic_.observer.count, before + 1);
    EXPECT_EQ(nic_.controller.read_count(), 1U);
    post(2);
    EXPECT_EQ(nic_.controller.read_count(), 3U);
}

TEST_F(ReceiveTest, AFrameIsReadWhenAllItsDescriptorsCameBack) {
    nic_.set(kRctl, kRctlEn | 3U << 16);
    post(12);
    EXPECT_EQ(nic_.receive(make_frame(700)), ReceiveResult::landed);
    post(14);
    EXPECT_EQ(nic_.controller.read_count(), 0U);
    post(15);
    EXPECT_EQ(nic_.controller.read_count(), 1U);
}

TEST_F(ReceiveTest, ResetCountsAllAsRead) {
    post(15);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    nic_.set(kCtrl, kCtrlRst);
    EXPECT_EQ(nic_.controller.landed_count(), 1U);
    EXPECT_EQ(nic_.controller.read_count(), 1U);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
}

TEST_F(ReceiveTest, AddressFilters) {
    post(15);
    MacAddress const broadcast = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    MacAddress const group = {0x01, 0x00, 0x5E, 0x00, 0x00, 0xFB};
    auto const result = [&](MacAddress const& to, std::uint32_t rctl) {
        nic_.set(kRctl, kRctlEn | rctl);
        return nic_.receive(make_frame(60, to)) == ReceiveResult::landed;
    };
    EXPECT_TRUE(result(kMac, 0));
    EXPECT_FALSE(result(kPeerMac, 0));
    EXPECT_TRUE(result(kPeerMac, kRctlUpe));
    EXPECT_NE(nic_.rx_status(1).status & kRxPif, 0);
    EXPECT_FALSE(result(broadcast, 0));
    EXPECT_TRUE(result(broadcast, kRctlBam));
    EXPECT_FALSE(result(group, kRctlBam | kRctlUpe));
    EXPECT_TRUE(result(group, kRctlMpe));
    // Bits 47:36 of the address are 0xFB0: word 0x7D, bit 0x10 of the table.
    nic_.set(kMta + 4 * 0x7D, 1U << 0x10);
    EXPECT_TRUE(result(group, 0));
    EXPECT_FALSE(result(group, 3U << 12)) << "another part of the address is looked up";
    nic_.set(kRa + 8 * 15, 0xAB005452);
    nic_.set(kRa + 8 * 15 + 4, kRahAv | 0xEFCD);
    EXPECT_TRUE(result(kPeerMac, 0));
    nic_.set(kRa + 8 * 15 + 4, 0xEFCD);
    EXPECT_FALSE(result(kPeerMac, 0)) << "not valid";
    EXPECT_EQ(nic_.get(kBprc), 1U);
    EXPECT_EQ(nic_.get(kMprc), 2U);
}

std::vector<std::uint8_t> make_tagged(std::uint16_t tag, std::size_t count = 100) {
    std::vector<std::uint8_t> frame = make_frame(count);
    put_be16(frame, 12, 0x8100);
    put_be16(frame, 14, tag);
    put_be16(frame, 16, 0x88B5);
    return frame;
}

// [8254x] 9.2, 9.3.
TEST_F(ReceiveTest, VlanTagsAreTakenOutIntoTheDescriptor) {
    post(15);
    std::vector<std::uint8_t> const tagged = make_tagged(0x6123);
    EXPECT_EQ(nic_.receive(tagged), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(0).status & kRxVp, 0) << "without CTRL.VME it stays where it is";
    EXPECT_EQ(nic_.rx_status(0).length, 104);

    nic_.set(kCtrl, nic_.get(kCtrl) | kCtrlVme);
    EXPECT_EQ(nic_.receive(tagged), ReceiveResult::landed);
    EXPECT_NE(nic_.rx_status(1).status & kRxVp, 0);
    EXPECT_EQ(nic_.rx_status(1).special, 0x6123);
    EXPECT_EQ(nic_.rx_status(1).length, 100);
    std::vector<std::uint8_t> untagged = tagged;
    untagged.erase(untagged.begin() + 12, untagged.begin() + 16);
    EXPECT_EQ(landed(1, 96), untagged);
    FrameCheck fcs;
    fcs.add(std::as_bytes(std::span{tagged}));
    EXPECT_EQ(nic_.machine.get<std::uint32_t>(RunningController::rx_buffer(1) + 96), fcs.value()) << "the wire's FCS";

    EXPECT_EQ(nic_.receive(make_frame(100)), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(2).status & kRxVp, 0);
    nic_.set(kVet, 0x88A8);
    EXPECT_EQ(nic_.receive(tagged), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(3).status & kRxVp, 0) << "VET is another type";
}

TEST_F(ReceiveTest, TheVlanFilterTable) {
    post(15);
    nic_.set(kRctl, kRctlEn | kRctlVfe);
    EXPECT_EQ(nic_.receive(make_tagged(0x123)), ReceiveResult::refused);
    EXPECT_EQ(nic_.receive(make_frame(100)), ReceiveResult::landed) << "no tag, no filter";
    nic_.set(kVfta + 4 * (0x123 >> 5), 1U << (0x123 & 31));
    EXPECT_EQ(nic_.receive(make_tagged(0xF123)), ReceiveResult::landed) << "priority and CFI are not looked up";
    EXPECT_EQ(nic_.receive(make_tagged(0x124)), ReceiveResult::refused);
    nic_.set(kRctl, kRctlEn | kRctlVfe | kRctlCfien);
    EXPECT_EQ(nic_.receive(make_tagged(0x1123)), ReceiveResult::refused);
    EXPECT_EQ(nic_.receive(make_tagged(0x0123)), ReceiveResult::landed);
    nic_.set(kRctl, kRctlEn | kRctlVfe | kRctlCfien | kRctlCfi);
    EXPECT_EQ(nic_.receive(make_tagged(0x1123)), ReceiveResult::landed);
}

TEST_F(ReceiveTest, FrameSizes) {
    post(15);
    EXPECT_EQ(nic_.receive(make_frame(1514)), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive(make_frame(1515)), ReceiveResult::refused);
    EXPECT_EQ(nic_.get(kRoc), 1U);
    std::vector<std::uint8_t> tagged = make_frame(1518);
    put_be16(tagged, 12, 0x8100);
    EXPECT_EQ(nic_.receive(tagged), ReceiveResult::landed);
    nic_.set(kRctl, kRctlEn | kRctlLpe);
    EXPECT_EQ(nic_.receive(make_frame(9014)), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive(make_frame(16381)), ReceiveResult::refused);
    std::vector<std::uint8_t> runt = make_frame(14);
    runt.pop_back();
    EXPECT_EQ(nic_.receive(runt), ReceiveResult::refused);
    EXPECT_EQ(nic_.get(kRuc), 1U);
    std::uint32_t const head = nic_.get(kRdh);
    EXPECT_EQ(nic_.receive(make_frame(42)), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(head).length, 64) << "padded";
}

TEST_F(ReceiveTest, NothingLandsWhileDisabledOrWithoutLinkOrBusMastering) {
    post(15);
    nic_.set(kRctl, 0);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    nic_.set(kRctl, kRctlEn);
    nic_.machine.is_bus_master = false;
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    nic_.machine.is_bus_master = true;
    nic_.controller.set_carrier(false);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
}

TEST_F(ReceiveTest, ChecksumsAreChecked) {
    post(15);
    nic_.set(kRxcsum, kRxcsumIpofl | kRxcsumTuofl);
    auto const status_of = [&](std::vector<std::uint8_t> frame, std::size_t broken_at = 0) {
        std::memcpy(frame.data(), kMac.data(), 6);
        if (broken_at != 0) frame[broken_at] ^= 0x40;
        std::uint32_t const head = nic_.get(kRdh);
        EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
        ReceiveWriteBack const back = nic_.rx_status(head);
        return std::pair<int, int>{back.status & ~(kStatusDd | kRxEop), back.errors};
    };
    using Result = std::pair<int, int>;
    EXPECT_EQ(status_of(make_summed_tcp(501)), (Result{kRxIpcs | kRxTcpcs, 0}));
    EXPECT_EQ(status_of(make_summed_tcp(501), 200), (Result{kRxIpcs | kRxTcpcs, kRxErrorTcpe}));
    EXPECT_EQ(status_of(make_summed_tcp(501), kIp + 8), (Result{kRxIpcs | kRxTcpcs, kRxErrorIpe}));
    EXPECT_EQ(status_of(make_frame(100)), (Result{kRxIxsm, 0})) << "no IPv4";
    EXPECT_EQ(status_of(make_summed_tcp(501), kIp + 6), (Result{kRxIpcs | kRxTcpcs, kRxErrorIpe}))
        << "do not fragment says nothing about fragments";
    std::vector<std::uint8_t> fragment = make_summed_tcp(100);
    put_be16(fragment, kIp + 6, 0x2000);
    EXPECT_EQ(status_of(fragment).first, kRxIpcs) << "a fragment has no checksum of its own";
    std::vector<std::uint8_t> lying = make_summed_tcp(100);
    put_be16(lying, kIp + 2, 2000);
    EXPECT_EQ(status_of(lying), (Result{kRxIxsm, 0})) << "longer than its frame";
    nic_.set(kRxcsum, 0);
    EXPECT_EQ(status_of(make_summed_tcp(501)), (Result{kRxIxsm, 0}));
}

TEST_F(ReceiveTest, WhatTheCarrierHasJustSummedIsNotSummedAgain) {
    post(15);
    nic_.set(kRxcsum, kRxcsumIpofl | kRxcsumTuofl);
    std::vector<std::uint8_t> frame = make_summed_tcp(501);
    std::memcpy(frame.data(), kMac.data(), 6);
    frame[200] ^= 1;  // only to see that nobody looks
    ConstByteSpan const piece = std::as_bytes(std::span{frame});
    Frame const checked{{&piece, 1}, static_cast<std::uint32_t>(frame.size()), Ticks{}, {.is_checked = true}};
    ASSERT_EQ(nic_.controller.receive(checked), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(0).status & kRxTcpcs, kRxTcpcs);
    EXPECT_EQ(nic_.rx_status(0).errors, 0);
}

TEST_F(ReceiveTest, PaddingBehindThePacketIsNotSummed) {
    post(15);
    nic_.set(kRxcsum, kRxcsumTuofl);
    std::vector<std::uint8_t> frame = make_summed_tcp(1);
    std::memcpy(frame.data(), kMac.data(), 6);
    frame.resize(60, 0xEE);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
    EXPECT_EQ(nic_.rx_status(0).errors, 0);
    EXPECT_NE(nic_.rx_status(0).status & kRxTcpcs, 0);
}

TEST_F(ReceiveTest, FewDescriptorsLeftIsTold) {
    post(15);
    nic_.set(kRctl, kRctlEn | 1U << 8);  // a quarter of 16
    for (int i = 0; i < 10; ++i) EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.get(kIcr) & kCauseRxdmt0, 0U);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.get(kIcr) & kCauseRxdmt0, kCauseRxdmt0);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.get(kIcr) & kCauseRxdmt0, 0U) << "once";
}

TEST_F(ReceiveTest, BuffersOutsideRamComeBackWithAnError) {
    for (std::uint64_t const bad : {FakeMachine::kHole, FakeMachine::kHole - 10, std::uint64_t{0}, ~std::uint64_t{0}}) {
        RunningController nic;
        nic.machine.put(nic.rx_descriptor(0), bad);
        nic.set(kRdt, 15);
        EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::refused);
        EXPECT_EQ(nic.rx_status(0).errors, kRxErrorRxe);
        EXPECT_EQ(nic.get(kRdh), 1U) << "the ring moves on";
        EXPECT_EQ(nic.controller.guest_errors().bad_buffers, 1U);
        EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::landed);
    }
}

TEST_F(ReceiveTest, ContradictoryRingsReceiveNothing) {
    post(15);
    nic_.set(kRdlen, 128);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    nic_.set(kRdlen, 0);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    nic_.set(kRdlen, 256);
    nic_.set(kRdbah, 0x12345678);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    EXPECT_GT(nic_.controller.guest_errors().bad_buffers, 0U);
}

}  // namespace
}  // namespace backplane::e1000
