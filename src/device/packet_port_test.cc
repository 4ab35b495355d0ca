#include "device/packet_port.h"

#include <gtest/gtest.h>

#include <array>

namespace backplane {
namespace {

class Echo final : public PacketPort {
  public:
    Echo() : PacketPort{{2, 0, 0, 0, 0, 1}} {}
    using PacketPort::send;
    std::vector<std::vector<std::byte>> seen;

  private:
    void take(ConstByteSpan frame, Ticks, Offload const&) override { seen.emplace_back(frame.begin(), frame.end()); }
};

struct Observer final : FramePortObserver {
    void port_changed() override { ++changes; }
    int changes{0};
};

struct PacketPortTest : testing::Test {
    PacketPortTest() {
        port.set_carrier(true);
        port.set_observer(&observer);
    }
    Echo port;
    Observer observer;
    std::array<std::byte, 100> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
};

TEST_F(PacketPortTest, GathersWhatItTakesAndHasReadItAtOnce) {
    std::array<ConstByteSpan, 2> const pieces{ConstByteSpan{bytes}.first(2), ConstByteSpan{bytes}.subspan(2, 60)};
    EXPECT_EQ(port.receive({pieces, 62, Ticks{1}}), ReceiveResult::landed);
    ASSERT_EQ(port.seen.size(), 1u);
    EXPECT_EQ(port.seen[0], std::vector<std::byte>(bytes.begin(), bytes.begin() + 62));
    EXPECT_EQ(port.landed_count(), 1u);
    EXPECT_EQ(port.read_count(), 1u);
}

TEST_F(PacketPortTest, SendsInOrderAndPadsShortFrames) {
    EXPECT_EQ(port.front(), nullptr);
    port.send(ConstByteSpan{bytes}.first(3), Ticks{5});
    port.send(bytes, Ticks{6});
    EXPECT_EQ(observer.changes, 2);
    ASSERT_NE(port.front(), nullptr);
    EXPECT_EQ(port.front()->bytes, 60u);
    EXPECT_EQ(port.front()->sent, Ticks{5});
    EXPECT_EQ(port.front()->pieces[0][2], std::byte{3});
    EXPECT_EQ(port.front()->pieces[0][59], std::byte{0});
    EXPECT_EQ(port.take_front(), 1u);
    EXPECT_EQ(port.front()->bytes, 100u);
    EXPECT_EQ(port.take_front(), 2u);
    EXPECT_EQ(port.front(), nullptr);
}

TEST_F(PacketPortTest, TheQueueIsBoundedAndNothingIsQueuedWithoutCarrier) {
    for (std::size_t i = 0; i < PacketPort::kMostQueuedFrames + 5; ++i) port.send(bytes, Ticks{});
    EXPECT_EQ(port.dropped_frames(), 5u);
    EXPECT_FALSE(port.has_room());
    port.take_front();
    EXPECT_TRUE(port.has_room());
    std::vector<std::byte> const large(1 << 20);
    for (int i = 0; i < 5; ++i) port.send(large, Ticks{});
    EXPECT_EQ(port.dropped_frames(), 9u);
    Echo other;
    other.send(bytes, Ticks{});
    EXPECT_EQ(other.dropped_frames(), 1u);
    EXPECT_EQ(other.front(), nullptr);
}

}  // namespace
}  // namespace backplane
