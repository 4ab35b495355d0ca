#include "device/virtio/device.h"

#include <gtest/gtest.h>

#include "device/virtio/testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;

class DeviceTest : public ::testing::Test {
  protected:
    RunningNet nic_;
};

TEST_F(DeviceTest, TheDriversWay) {
    EXPECT_EQ(nic_.status(), kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(nic_.read(0x12, Width::word), 3U);
    nic_.write(0x16, Width::word, 1);
    EXPECT_EQ(nic_.read(0x18, Width::word), RunningNet::kSize);
    EXPECT_EQ(nic_.read(0x1A, Width::word), 1U);
    EXPECT_EQ(nic_.read(0x1C, Width::word), 1U);
    EXPECT_EQ(nic_.read(0x1E, Width::word), 1U);
    EXPECT_EQ(nic_.read(0x20, Width::dword), nic_.transmit_ring.descriptors());
    EXPECT_EQ(nic_.read(0x28, Width::qword), nic_.transmit_ring.available());
    EXPECT_EQ(nic_.read(0x34, Width::dword), 0U);
    EXPECT_EQ(nic_.net.guest_errors().sum(), 0U);
}

TEST_F(DeviceTest, FeaturesThatWereNotOfferedAreRefused) {
    auto const is_taken = [&](std::uint64_t features) {
        nic_.set_status(0);
        nic_.choose(features);
        nic_.set_status(kAcknowledge | kDriver | kFeaturesOk);
        return (nic_.status() & kFeaturesOk) != 0;
    };
    EXPECT_TRUE(is_taken(kVersion1));
    EXPECT_TRUE(is_taken(nic_.offered()));
    EXPECT_FALSE(is_taken(0)) << "a legacy driver";
    EXPECT_FALSE(is_taken(kVersion1 | 1U << 22)) << "several queue pairs";
    EXPECT_FALSE(is_taken(kVersion1 | net_feature::kGuestTso4)) << "needs the checksum";
    EXPECT_FALSE(is_taken(kVersion1 | net_feature::kControlVlan)) << "needs the control queue";
}

TEST_F(DeviceTest, WithoutFeaturesOkNothingRuns) {
    nic_.set_status(0);
    nic_.set_status(kAcknowledge | kDriver | kDriverOk);
    EXPECT_EQ(nic_.status(), kAcknowledge | kDriver);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
}

TEST_F(DeviceTest, TheChoiceIsMadeOnce) {
    nic_.choose(kVersion1);
    nic_.write(8, Width::dword, 0);
    EXPECT_NE(nic_.read(12, Width::dword), 0U) << "what was chosen before FEATURES_OK";
    nic_.write(0x16, Width::word, 0);
    nic_.write(0x20, Width::dword, 0x5000);
    EXPECT_EQ(nic_.read(0x20, Width::dword), nic_.receive_ring.descriptors()) << "an enabled queue stays where it is";
}

TEST_F(DeviceTest, ResetTakesEverythingBack) {
    nic_.post_buffer();
    nic_.write(0x10, Width::word, 2);
    nic_.set_status(0);
    EXPECT_EQ(nic_.status(), 0U);
    EXPECT_EQ(nic_.read(0x10, Width::word), kNoVector);
    nic_.write(0x16, Width::word, 0);
    EXPECT_EQ(nic_.read(0x18, Width::word), Net::kQueueSize);
    EXPECT_EQ(nic_.read(0x1C, Width::word), 0U);
    EXPECT_GT(nic_.machine.clears, 0);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
}

TEST_F(DeviceTest, VectorsThatDoNotExistReadBackAsNone) {
    nic_.write(0x10, Width::word, 3);
    EXPECT_EQ(nic_.read(0x10, Width::word), 3U);
    nic_.write(0x10, Width::word, 4);
    EXPECT_EQ(nic_.read(0x10, Width::word), kNoVector);
}

TEST_F(DeviceTest, QueuesThatDoNotExistHaveNoPlaces) {
    nic_.write(0x16, Width::word, 3);
    EXPECT_EQ(nic_.read(0x18, Width::word), 0U);
    nic_.write(0x1C, Width::word, 1);
    EXPECT_EQ(nic_.read(0x1C, Width::word), 0U);
    nic_.net.notify(3);
    nic_.net.notify(0xFFFF);
}

TEST_F(DeviceTest, ABrokenQueueNeedsAReset) {
    int const before = nic_.machine.configuration_interrupts;
    std::uint64_t const generation = nic_.read(0x15, Width::byte);
    nic_.write(0x10, Width::word, 3);
    nic_.transmit_ring.set_index(RunningNet::kSize + 1);
    nic_.net.notify(Net::kTransmitQueue);
    EXPECT_EQ(nic_.status() & kNeedsReset, kNeedsReset);
    EXPECT_EQ(nic_.machine.configuration_interrupts, before + 1);
    EXPECT_EQ(nic_.machine.last_vector, 3);
    EXPECT_NE(nic_.read(0x15, Width::byte), generation);
    EXPECT_EQ(nic_.net.guest_errors().broken_queues, 1U);
    EXPECT_EQ(nic_.net.front(), nullptr);
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::refused);
    EXPECT_EQ(nic_.net.accepts(), OffloadSet{});
    nic_.set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    EXPECT_EQ(nic_.status() & kNeedsReset, kNeedsReset) << "only a reset helps";
    nic_.set_up(kEverything);
    nic_.post_buffer();
    EXPECT_EQ(nic_.receive(make_frame(60)), ReceiveResult::landed);
}

// As iPXE reads the features: VERSION_1 is bit 32.
TEST_F(DeviceTest, FeaturesCanBeReadByHalves) {
    nic_.write(0, Width::dword, 1);
    EXPECT_EQ(nic_.read(4, Width::word) & 1, 1U);
    nic_.write(0, Width::dword, 0);
    EXPECT_EQ(nic_.read(4, Width::word), nic_.read(4, Width::dword) & 0xffff);
    EXPECT_NE(nic_.read(4, Width::word), 0U);
}

TEST_F(DeviceTest, CrookedAccessesAreCounted) {
    for (std::uint64_t offset = 0; offset < 0x40; ++offset) {
        if (offset != 0x14 && offset != 0x15) {
            EXPECT_EQ(nic_.read(offset, Width::byte), 0U);
        }
        if (offset % 4 != 0) {
            EXPECT_EQ(nic_.read(offset, Width::dword), 0U);
            nic_.write(offset, Width::qword, ~std::uint64_t{0});
        }
    }
    EXPECT_GT(nic_.net.guest_errors().bad_accesses, 100U);
    EXPECT_EQ(nic_.net.read_config(11, Width::word), 0U);
    nic_.net.write_config(0, Width::byte, 1);
    EXPECT_EQ(nic_.net.read_config(0, Width::byte), kMac[0]);
}

}  // namespace
}  // namespace backplane::virtio
