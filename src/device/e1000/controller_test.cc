#include "device/e1000/controller.h"

#include <gtest/gtest.h>

#include <memory>

#include "device/e1000/testing.h"

namespace backplane::e1000 {
namespace {

using namespace testing;

class ControllerTest : public ::testing::Test {
  protected:
    std::uint32_t mdi_read(std::uint32_t index) {
        nic_.set(kMdic, kMdicRead | 1U << 21 | index << 16);
        return nic_.get(kMdic);
    }
    void advance_to(std::uint64_t ns) {
        nic_.machine.clock.advance_to(Ticks{ns});
        nic_.machine.clock.fire_due();
    }

    RunningController nic_;
};

TEST_F(ControllerTest, AddressComesFromTheEepromAtReset) {
    EXPECT_EQ(nic_.get(kRa), 0x12005452U);
    EXPECT_EQ(nic_.get(kRa + 4), kRahAv | 0x5634);
    nic_.set(kRa, 1);
    nic_.set(kCtrl, kCtrlRst);
    EXPECT_EQ(nic_.get(kRa), 0x12005452U);
    EXPECT_EQ(nic_.controller.mac(), kMac);
}

TEST_F(ControllerTest, ResetThroughThePortsClearsRegistersButNotTables) {
    nic_.set(kMta + 8, 5);
    nic_.set(kItr, 77);
    nic_.set(kIms, kCauseLsc);
    nic_.controller.write_io_bar(0, Width::dword, kCtrl);
    EXPECT_EQ(nic_.controller.read_io_bar(0, Width::dword), kCtrl);
    nic_.controller.write_io_bar(4, Width::dword, kCtrlRst);
    EXPECT_EQ(nic_.get(kCtrl) & kCtrlRst, 0U) << "clears itself";
    EXPECT_EQ(nic_.get(kItr), 0U);
    EXPECT_EQ(nic_.get(kIms), 0U);
    EXPECT_EQ(nic_.get(kIcr), 0U);
    EXPECT_EQ(nic_.get(kTdlen), 0U);
    EXPECT_EQ(nic_.get(kMta + 8), 5U);
    EXPECT_NE(nic_.get(kStatus) & kStatusLu, 0U) << "the cable is still in";
}

TEST_F(ControllerTest, PortsReachEveryRegister) {
    nic_.controller.write_io_bar(0, Width::dword, kRdbal);
    nic_.controller.write_io_bar(4, Width::dword, 0x12345678);
    EXPECT_EQ(nic_.get(kRdbal), 0x12345670U);
    EXPECT_EQ(nic_.controller.read_io_bar(4, Width::dword), 0x12345670U);
    EXPECT_EQ(nic_.controller.read_io_bar(8, Width::dword), 0U);
}

TEST_F(ControllerTest, OnlyWholeRegistersAreWritten) {
    nic_.controller.write_memory_bar(kTdbah, Width::byte, 0xFF);
    nic_.controller.write_memory_bar(kTdbah + 1, Width::dword, 0xFF);
    EXPECT_EQ(nic_.get(kTdbah), 0U);
    nic_.controller.write_memory_bar(kTdbal, Width::qword, 0x1'2345'6780);
    EXPECT_EQ(nic_.get(kTdbal), 0x23456780U);
    EXPECT_EQ(nic_.get(kTdbah), 1U);
    EXPECT_EQ(nic_.controller.read_memory_bar(kTdbal, Width::qword), 0x1'2345'6780U);
    EXPECT_EQ(nic_.controller.read_memory_bar(kTdbal + 2, Width::word), 0x2345U);
    EXPECT_EQ(nic_.controller.read_memory_bar(kTdbal + 3, Width::dword), 0xFFFFFFFFU);
    EXPECT_EQ(nic_.controller.guest_errors().bad_accesses, 3U);
}

TEST_F(ControllerTest, ReservedBitsAndOffsetsReadAsZero) {
    nic_.set(kTdlen, 0xFFFFFFFF);
    EXPECT_EQ(nic_.get(kTdlen), 0xFFF80U);
    nic_.set(kStatus, 0);
    EXPECT_NE(nic_.get(kStatus), 0U);
    EXPECT_EQ(nic_.get(0x0004), 0U);
    EXPECT_EQ(nic_.get(0x1FFFC), 0U);
}

TEST_F(ControllerTest, PacketBufferIsShared) {
    nic_.set(kPba, 40);
    EXPECT_EQ(nic_.get(kPba), 40U | 24U << 16);
    nic_.set(kPba, 0x7F);
    EXPECT_EQ(nic_.get(kPba), 0x7FU);
}

TEST_F(ControllerTest, TransceiverByMdic) {
    EXPECT_EQ(mdi_read(2), kMdicReady | kMdicRead | 1U << 21 | 2U << 16 | 0x0141);
    nic_.set(kMdic, kMdicRead | 2U << 21);
    EXPECT_NE(nic_.get(kMdic) & kMdicError, 0U) << "nobody at that address";
    nic_.set(kMdic, kMdicWrite | kMdicInterrupt | 1U << 21 | 4U << 16 | 0x0DE1);
    EXPECT_EQ(nic_.get(kIcr), kCauseMdac);
    EXPECT_EQ(mdi_read(4) & 0xFFFF, 0x0DE1U);
}

TEST_F(ControllerTest, LinkChangesAreToldAndHeard) {
    nic_.set(kIms, kCauseLsc);
    nic_.controller.set_carrier(false);
    EXPECT_EQ(nic_.get(kStatus) & kStatusLu, 0U);
    EXPECT_TRUE(nic_.machine.line);
    EXPECT_EQ(nic_.get(kIcr), kCauseLsc);
    EXPECT_EQ(nic_.observer.count, 1);
    nic_.controller.set_carrier(false);
    EXPECT_FALSE(nic_.machine.line) << "no change";
    nic_.controller.set_carrier(true);
    EXPECT_EQ(nic_.get(kIcr), kCauseLsc);
    nic_.set(kMdic, kMdicWrite | 1U << 21 | 0x1940);  // power down
    EXPECT_EQ(nic_.get(kStatus) & kStatusLu, 0U);
    nic_.set(kCtrl, kCtrlPhyRst | kCtrlSlu);
    EXPECT_NE(nic_.get(kStatus) & kStatusLu, 0U) << "the transceiver was reset";
}

TEST_F(ControllerTest, MaskSetAndClear) {
    nic_.set(kIms, kCauseRxt0 | kCauseLsc);
    nic_.set(kImc, kCauseLsc);
    EXPECT_EQ(nic_.get(kIms), kCauseRxt0);
    nic_.set(kIcs, kCauseLsc);
    EXPECT_FALSE(nic_.machine.line);
    nic_.set(kIms, kCauseLsc);
    EXPECT_TRUE(nic_.machine.line) << "a cause that was waiting";
    nic_.set(kImc, 0xFFFFFFFF);
    EXPECT_FALSE(nic_.machine.line);
    EXPECT_EQ(nic_.get(kIcr), kCauseLsc);
    EXPECT_EQ(nic_.get(kIcr), 0U);
    nic_.set(kIcs, kCauseLsc | kCauseRxt0);
    nic_.set(kIcr, kCauseLsc);
    EXPECT_EQ(nic_.get(kIcr), kCauseRxt0) << "writing ones clears";
}

TEST_F(ControllerTest, ThrottleKeepsInterruptsApart) {
    advance_to(1'000'000);
    nic_.set(kItr, 195);  // 49,920 ns
    nic_.set(kIms, kCauseRxt0);
    nic_.set(kIcs, kCauseRxt0);
    EXPECT_TRUE(nic_.machine.line) << "the first one is free";
    (void)nic_.get(kIcr);
    nic_.set(kIcs, kCauseRxt0);
    EXPECT_FALSE(nic_.machine.line);
    EXPECT_EQ(nic_.machine.clock.next_deadline(), Ticks{1'049'920});
    advance_to(1'049'919);
    EXPECT_FALSE(nic_.machine.line);
    advance_to(1'049'920);
    EXPECT_TRUE(nic_.machine.line);
    EXPECT_EQ(nic_.controller.counters().receive_interrupts, 2U);
    (void)nic_.get(kIcr);
    nic_.set(kIcs, kCauseRxt0);
    nic_.set(kItr, 0);
    EXPECT_TRUE(nic_.machine.line) << "the throttle was opened";
}

TEST_F(ControllerTest, ReceiveDelayWaitsForCompanyButNotForEver) {
    nic_.set(kRdt, 15);
    nic_.set(kIms, kCauseRxt0);
    nic_.set(kRdtr, 10);
    nic_.set(kRadv, 25);
    for (std::uint64_t us = 0; us < 3; ++us) {
        advance_to(us * 9 * 1024);
        EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
        EXPECT_FALSE(nic_.machine.line);
    }
    EXPECT_EQ(nic_.machine.clock.next_deadline(), Ticks{25 * 1024});
    advance_to(25 * 1024);
    EXPECT_TRUE(nic_.machine.line);
    EXPECT_EQ(nic_.machine.clock.next_deadline(), Ticks::never());
    (void)nic_.get(kIcr);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    nic_.set(kRdtr, kDelayFpd | 10);
    EXPECT_TRUE(nic_.machine.line) << "flushed";
}

TEST_F(ControllerTest, InterruptsAreCountedByKind) {
    nic_.set(kRdt, 15);
    nic_.set(kIms, kCauseRxt0 | kCauseTxdw);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    nic_.send_frame(make_frame(60));
    ASSERT_NE(nic_.controller.front(), nullptr);
    nic_.controller.complete_transmit(nic_.controller.take_front());
    FramePortCounters const counters = nic_.controller.counters();
    EXPECT_EQ(counters.receive_interrupts, 2U) << "the second one kept the line raised";
    EXPECT_EQ(counters.transmit_complete_interrupts, 1U);
    nic_.set(kImc, 0xFFFFFFFF);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
    EXPECT_EQ(nic_.controller.counters().receive_interrupts, 2U) << "masked";
}

TEST_F(ControllerTest, StatisticsStickAtTheirMaximum) {
    auto const owned = std::make_unique<State>();
    State& state = *owned;
    state.at(kGptc) = 0xFFFFFFFE;
    count(state, kGptc);
    count(state, kGptc);
    EXPECT_EQ(state.at(kGptc), 0xFFFFFFFFU);
    count_octets(state, kGotcl, 0x80000000);
    count_octets(state, kGotcl, 0x80000001);
    EXPECT_EQ(state.at(kGotcl), 1U);
    EXPECT_EQ(state.at(kGotcl + 4), 1U);
    for (std::uint32_t const bytes : {64U, 65U, 127U, 128U, 1023U, 1024U, 1518U, 9000U})
        count_size(state, kPrc64, bytes);
    EXPECT_EQ(state.at(kPrc64), 1U);
    EXPECT_EQ(state.at(kPrc64 + 4), 2U);
    EXPECT_EQ(state.at(kPrc64 + 8), 1U);
    EXPECT_EQ(state.at(kPrc64 + 16), 1U);
    EXPECT_EQ(state.at(kPrc64 + 20), 3U);
}

// What a transceiver's loopback, or RCTL.LBM, brings back; without a cable too.
TEST_F(ControllerTest, WhatIsSentInALoopbackComesBackAndDoesNotReachTheCable) {
    constexpr std::uint32_t kControlWrite = kMdicWrite | 1U << 21 | 0U << 16;
    for (bool const in_transceiver : {true, false}) {
        RunningController nic;
        nic.controller.allow_unfinished_frames();
        nic.set(kRctl, kRctlEn | kRctlBam | kRctlSecrc | (in_transceiver ? 0 : kRctlLbmMac));
        if (in_transceiver) {
            nic.controller.set_carrier(false);
            nic.set(kMdic, kControlWrite | 0x4140);
        }
        EXPECT_NE(nic.get(kStatus) & kStatusLu, 0U);
        nic.set(kRdt, 15);
        std::vector<std::uint8_t> const frame = make_frame(1024, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF});
        for (int i = 0; i < 3; ++i) nic.send_frame(frame);
        EXPECT_EQ(nic.controller.front(), nullptr);
        EXPECT_EQ(nic.receive(make_frame(60)), ReceiveResult::refused) << "the cable is not connected";
        for (std::uint32_t i = 0; i < 3; ++i) {
            EXPECT_TRUE(nic.tx_done(i));
            EXPECT_EQ(nic.rx_status(i).length, 1024);
            EXPECT_EQ(nic.machine.get_bytes(RunningController::rx_buffer(i), 1024), frame);
        }
        EXPECT_EQ(nic.get(kGptc), 3U);
        EXPECT_EQ(nic.get(kGprc), 3U);
        if (in_transceiver) {
            nic.set(kMdic, kControlWrite | 0x1140);
            EXPECT_EQ(nic.get(kStatus) & kStatusLu, 0U);
        } else {
            nic.set(kRctl, kRctlEn | kRctlBam);
        }
        nic.controller.set_carrier(true);
        nic.send_frame(frame);
        EXPECT_NE(nic.controller.front(), nullptr) << "to the cable again";
    }
}

TEST_F(ControllerTest, ALoopbackTakesItsTimeAndLosesWhatFindsNoBuffer) {
    RunningController nic{128};
    nic.set(kRctl, kRctlEn | kRctlBam | kRctlLbmMac);
    nic.set(kRdt, 10);
    std::vector<std::uint8_t> const frame = make_frame(60);
    nic.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{frame}));
    for (std::uint32_t i = 0; i < 100; ++i) nic.describe(kTxBuffers, 60U | kTxEop | kTxIfcs | kTxRs);
    nic.send();
    EXPECT_EQ(nic.get(kGptc), 64U);
    EXPECT_EQ(nic.get(kGprc), 10U);
    EXPECT_EQ(nic.get(kMpc), 54U);
    nic.machine.clock.advance_to(nic.machine.clock.next_deadline());
    nic.machine.clock.fire_due();
    EXPECT_EQ(nic.get(kGptc), 36U);
    EXPECT_EQ(nic.machine.clock.next_deadline(), Ticks::never());
}

// What drivers' register tests write, and what they want to read. [8254x] 13.4, 13.5
TEST_F(ControllerTest, RegistersKeepJustTheBitsTheyHave) {
    struct Case {
        std::uint32_t offset;
        std::uint32_t bits;
        std::uint32_t written = 0xFFFFFFFF;
    };
    for (Case const& c : {Case{0x0028, 0xFFFFFFFF}, Case{0x002C, 0xFFFF}, Case{0x0030, 0xFFFF}, Case{kVet, 0xFFFF},
                          Case{kRdtr, 0xFFFF, 0x7FFFFFFF}, Case{kRdbal, 0xFFFFFFF0}, Case{kRdbah, 0xFFFFFFFF},
                          Case{kRdlen, 0xFFF80}, Case{kRdh, 0xFFFF}, Case{kRdt, 0xFFFF}, Case{0x2168, 0xFFF8},
                          Case{0x0170, 0xFFFF}, Case{0x0410, 0x3FFFFFFF}, Case{kTdbal, 0xFFFFFFF0},
                          Case{kTdbah, 0xFFFFFFFF}, Case{kTdlen, 0xFFF80}, Case{kTidv, 0xFFFF, 0x7FFFFFFF},
                          Case{kRa + 4, 0x8003FFFF}, Case{kRa + 124, 0x8003FFFF}, Case{kRa + 120, 0xFFFFFFFF},
                          Case{kMta, 0xFFFFFFFF}, Case{kMta + 508, 0xFFFFFFFF}, Case{kVfta + 508, 0xFFFFFFFF},
                          Case{0x5800, 0xFFFFFFFF}, Case{0x5808, 0xFFFFFFFF}, Case{0x5840, 0xFFFFFFFF}}) {
        for (std::uint32_t const pattern : {0x5A5A5A5AU, 0xA5A5A5A5U, 0U, 0xFFFFFFFFU}) {
            nic_.set(c.offset, pattern & c.written);
            EXPECT_EQ(nic_.get(c.offset), pattern & c.written & c.bits) << std::hex << c.offset;
        }
    }
}

TEST_F(ControllerTest, EveryStatisticIsClearedByReading) {
    State& state = const_cast<State&>(nic_.controller.state());
    for (std::uint32_t i = 0; i < kStatisticsCount; ++i) state.at(kStatistics + 4 * i) = 1000 + i;
    for (std::uint32_t i = 0; i < kStatisticsCount; ++i) EXPECT_EQ(nic_.get(kStatistics + 4 * i), 1000 + i);
    for (std::uint32_t i = 0; i < kStatisticsCount; ++i) EXPECT_EQ(nic_.get(kStatistics + 4 * i), 0U) << i;
}

TEST_F(ControllerTest, RingsAndBuffersMayLieAbove4GiB) {
    constexpr std::uint64_t kHigh = std::uint64_t{5} << 30;
    nic_.machine.add_high_ram(kHigh);
    nic_.set(kTdbal, 0x1000);
    nic_.set(kTdbah, kHigh >> 32);
    nic_.set(kRdbal, 0x2000 | (kHigh & 0xFFFFFFFF));
    nic_.set(kRdbah, kHigh >> 32);
    nic_.set(kTdbal, 0x1000 | (kHigh & 0xFFFFFFFF));
    std::vector<std::uint8_t> const frame = make_frame(300);
    nic_.machine.put_bytes(kHigh + 0x3000, std::as_bytes(std::span{frame}));
    nic_.machine.put(kHigh + 0x1000, TransmitDescriptor{kHigh + 0x3000, 300U | kTxEop | kTxIfcs | kTxRs, 0});
    nic_.machine.put(kHigh + 0x2000, kHigh + 0x4000);
    nic_.set(kRdt, 1);
    nic_.set(kTdt, 1);
    Frame const* const front = nic_.controller.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(bytes_in(*front), frame);
    EXPECT_EQ(nic_.receive(frame), ReceiveResult::landed);
    nic_.controller.complete_transmit(nic_.controller.take_front());
    EXPECT_EQ(nic_.machine.get_bytes(kHigh + 0x4000, 300), frame);
    EXPECT_EQ(nic_.machine.get<ReceiveWriteBack>(kHigh + 0x2008).length, 304);
    EXPECT_NE(nic_.machine.get<std::uint8_t>(kHigh + 0x100C) & kStatusDd, 0);
}

TEST_F(ControllerTest, OneControllersFramesLandInAnother) {
    RunningController other;
    nic_.set(kRdt, 15);
    std::vector<std::uint8_t> const frame = make_frame(1000);
    other.send_frame(frame);
    Frame const* const front = other.controller.front();
    ASSERT_NE(front, nullptr);
    EXPECT_EQ(nic_.controller.receive(*front), ReceiveResult::landed);
    other.controller.complete_transmit(other.controller.take_front());
    EXPECT_EQ(nic_.machine.get_bytes(RunningController::rx_buffer(0), 1000), frame);
    EXPECT_TRUE(other.tx_done(0));
}

}  // namespace
}  // namespace backplane::e1000
