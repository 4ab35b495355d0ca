// A driver whose rings and packets change while the card reads them.
#include <gtest/gtest.h>

#include <vector>

#include "device/e1000/testing.h"
#include "device/hostile_testing.h"

namespace backplane::e1000 {
namespace {

using namespace testing;
using backplane::testing::carry_one;
using backplane::testing::change_before_each_access;

constexpr std::uint32_t kRingCount = 16;
constexpr std::uint32_t kData = kTxDext | 1U << 20;
// As Linux sets it: IPv4 at 14, checksum at 24 over [14, 33]; TCP at 34, checksum at 50 over the rest.
constexpr std::uint64_t kTcpOffsets = 14 | 24ULL << 8 | 33ULL << 16 | 34ULL << 32 | 50ULL << 40;

void start_again(RunningController& nic) {
    nic.set(kCtrl, kCtrlRst);
    nic.set_up();
    nic.set(kRdt, kRingCount - 1);
}

/// After a reset the card works as if nothing had been.
void expect_recovers(RunningController& nic, std::uint64_t which) {
    start_again(nic);
    std::vector<std::uint8_t> const frame = make_frame(100);
    EXPECT_EQ(nic.receive(frame), ReceiveResult::landed) << which;
    EXPECT_EQ(nic.machine.get_bytes(RunningController::rx_buffer(0), 100), frame) << which;
    nic.send_frame(make_frame(100, kPeerMac, kMac));
    Frame const* const front = nic.controller.front();
    ASSERT_NE(front, nullptr) << which;
    EXPECT_EQ(bytes_in(*front), make_frame(100, kPeerMac, kMac)) << which;
    nic.controller.complete_transmit(nic.controller.take_front());
    EXPECT_TRUE(nic.tx_done(0)) << which;
}

TEST(HostileE1000Driver, MemoryThatChangesBetweenAnyTwoAccesses) {
    RunningController nic{kRingCount};
    auto const prepare = [&] {
        start_again(nic);
        // A large segment of two pieces to be cut, one frame to be summed, and two old-fashioned ones, all to the card itself.
        std::vector<std::uint8_t> segment = make_tcp(250);
        std::ranges::copy(kMac, segment.begin());
        nic.machine.put_bytes(kTxBuffers, std::as_bytes(std::span{segment}));
        auto const bytes = static_cast<std::uint32_t>(segment.size());
        nic.describe(kTcpOffsets, kTxDext | kTxTse | kTxContextTcp | kTxContextIp | (bytes - 54), 54U << 8 | 100U << 16);
        nic.describe(kTxBuffers, kData | kTxTse | 60);
        nic.describe(kTxBuffers + 60, kData | kTxTse | kTxEop | kTxIfcs | kTxRs | (bytes - 60));
        nic.describe(kTcpOffsets, kTxDext | kTxContextTcp | kTxContextIp);
        nic.describe(kTxBuffers, kData | kTxEop | kTxIfcs | kTxRs | bytes, 3U << 8);
        std::vector<std::uint8_t> const plain = make_frame(120);
        nic.machine.put_bytes(kTxBuffers + 0x800, std::as_bytes(std::span{plain}));
        nic.describe(kTxBuffers + 0x800, 20);
        nic.describe(kTxBuffers + 0x814, 100 | kTxEop | kTxIfcs | kTxRs);
        nic.describe(kTxBuffers + 0x800, 120 | kTxEop | kTxIfcs | kTxRs);
    };
    auto const work = [&] {
        nic.send();
        unsigned carried = 0;
        while (carry_one(nic.controller)) check(++carried <= kRingCount, "no more frames than the ring has places");
        for (int i = 0; i < 3; ++i) (void)nic.receive(make_frame(300));
    };
    std::vector<ByteSpan> watched;
    for (std::uint64_t const page : {kTxRing, kRxRing, kTxBuffers, kRxBuffers})
        watched.push_back(nic.machine.dma()->writable(GuestPhys{page}, kPageBytes));
    // As long as nothing changes all of it is sent, and received again as far as it is finished.
    prepare();
    work();
    EXPECT_TRUE(nic.tx_done(2) && nic.tx_done(4) && nic.tx_done(6) && nic.tx_done(7));
    EXPECT_EQ(nic.get(kTdh), nic.get(kTdt));
    EXPECT_EQ(nic.controller.guest_errors().bad_packets, 0U);

    std::uint64_t const n = change_before_each_access(watched, prepare, work, [&](std::uint64_t which) { expect_recovers(nic, which); });
    RecordProperty("accesses", static_cast<int>(n));
    EXPECT_GT(n, 20U) << "the test looks between all reads";
}

}  // namespace
}  // namespace backplane::e1000
