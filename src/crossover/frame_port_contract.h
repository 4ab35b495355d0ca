// What every FramePort must do, as tests: the fake and the real devices run the same list.
//
//     class E1000Contract : public testing::TestWithParam<PortContractCase> {};
//     TEST_P(E1000Contract, Holds) { E1000UnderTest port; GetParam().run(port); }
//     INSTANTIATE_TEST_SUITE_P(All, E1000Contract, testing::ValuesIn(kPortContract), port_contract_name);
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "device/frame_port.h"

namespace backplane {

/// A port together with a driver for it. Frames have 60 to 1514 bytes. At first the port is set up, has carrier,
/// takes frames for its address and broadcast, and has no buffers posted.
class PortUnderTest {
  public:
    using Bytes = std::vector<std::byte>;
    virtual ~PortUnderTest() = default;
    virtual FramePort& port() = 0;
    /// Puts one frame into the transmit ring and moves the tail.
    virtual void send(Bytes const& frame, Ticks now) = 0;
    /// Posts buffers for `count` more frames.
    virtual void post_buffers(std::uint32_t count) = 0;
    /// Every frame that the driver found landed since the port was made, in order.
    virtual std::vector<Bytes> received() = 0;
    /// Gives the descriptors of all landed frames back.
    virtual void give_back() = 0;
    /// Frames whose transmit descriptors are done, since the port was made.
    virtual std::uint64_t frames_done() = 0;
    /// Whether the cause is raised; acknowledges it.
    virtual bool take_receive_interrupt() = 0;
    virtual bool take_transmit_interrupt() = 0;
    /// Resets the device and sets it up as at first.
    virtual void reset() = 0;
};

struct PortContractCase {
    char const* name;
    void (*run)(PortUnderTest&);
};

inline std::string port_contract_name(testing::TestParamInfo<PortContractCase> const& info) { return info.param.name; }

namespace port_contract {

using Bytes = PortUnderTest::Bytes;

inline constexpr MacAddress kBroadcast{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
inline constexpr MacAddress kStranger{0x02, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A};

/// A frame whose bytes after the destination all differ from those of a frame with another seed.
inline Bytes make_frame(MacAddress to, std::uint8_t seed, std::size_t frame_bytes = 64) {
    Bytes bytes(frame_bytes);
    for (std::size_t i = 0; i < frame_bytes; ++i) bytes[i] = static_cast<std::byte>(i < to.size() ? to[i] : seed + i);
    return bytes;
}

inline Bytes gather(Frame const& frame) {
    Bytes bytes;
    for (ConstByteSpan const piece : frame.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
    return bytes;
}

/// Hands bytes to a port in pieces of odd sizes.
inline ReceiveResult receive(FramePort& port, Bytes const& bytes) {
    ConstByteSpan const all{bytes};
    std::array<ConstByteSpan, 4> const pieces{all.first(3), all.subspan(3, 0), all.subspan(3, 18), all.subspan(21)};
    return port.receive({pieces, static_cast<std::uint32_t>(bytes.size()), Ticks{}});
}

class CountingObserver final : public FramePortObserver {
  public:
    explicit CountingObserver(FramePort& port) : port_{port} { port.set_observer(this); }
    ~CountingObserver() override { port_.set_observer(nullptr); }
    void port_changed() override { ++changes; }
    int changes{0};

  private:
    FramePort& port_;
};

inline void front_is_stable(PortUnderTest& nic) {
    CountingObserver observer{nic.port()};
    EXPECT_EQ(nic.port().front(), nullptr);
    Bytes const sent = make_frame(kStranger, 1);
    nic.send(sent, Ticks{1000});
    EXPECT_GE(observer.changes, 1);
    for (int i = 0; i < 2; ++i) {
        Frame const* const frame = nic.port().front();
        ASSERT_NE(frame, nullptr);
        EXPECT_EQ(gather(*frame), sent);
        EXPECT_EQ(frame->bytes, sent.size());
        EXPECT_EQ(frame->sent, Ticks{1000});
    }
    EXPECT_EQ(nic.frames_done(), 0u);
}

inline void taken_is_not_done(PortUnderTest& nic) {
    for (std::uint8_t i = 1; i <= 3; ++i) nic.send(make_frame(kStranger, i, 60 + i), Ticks{i});
    for (std::uint8_t i = 1; i <= 3; ++i) {
        Frame const* const frame = nic.port().front();
        ASSERT_NE(frame, nullptr);
        EXPECT_EQ(gather(*frame), make_frame(kStranger, i, 60 + i));
        EXPECT_EQ(nic.port().take_front(), i);
    }
    EXPECT_EQ(nic.port().front(), nullptr);
    EXPECT_EQ(nic.frames_done(), 0u);
    EXPECT_FALSE(nic.take_transmit_interrupt());
    nic.port().complete_transmit(2);
    EXPECT_EQ(nic.frames_done(), 2u);
    EXPECT_TRUE(nic.take_transmit_interrupt());
    nic.port().complete_transmit(3);
    EXPECT_EQ(nic.frames_done(), 3u);
    EXPECT_TRUE(nic.take_transmit_interrupt());
}

inline void no_buffer_changes_nothing(PortUnderTest& nic) {
    Bytes const frame = make_frame(nic.port().mac(), 1);
    EXPECT_EQ(receive(nic.port(), frame), ReceiveResult::no_buffer);
    EXPECT_EQ(nic.port().landed_count(), 0u);
    EXPECT_FALSE(nic.take_receive_interrupt());
    EXPECT_TRUE(nic.received().empty());
    nic.post_buffers(1);
    EXPECT_EQ(receive(nic.port(), frame), ReceiveResult::landed);
    EXPECT_EQ(receive(nic.port(), frame), ReceiveResult::no_buffer);
    EXPECT_EQ(nic.port().landed_count(), 1u);
}

inline void landed_then_read(PortUnderTest& nic) {
    CountingObserver observer{nic.port()};
    nic.post_buffers(4);
    Bytes const small = make_frame(nic.port().mac(), 1, 60);
    Bytes const large = make_frame(nic.port().mac(), 2, 1514);
    EXPECT_EQ(receive(nic.port(), small), ReceiveResult::landed);
    EXPECT_EQ(receive(nic.port(), large), ReceiveResult::landed);
    EXPECT_TRUE(nic.take_receive_interrupt());
    EXPECT_EQ(nic.received(), (std::vector<Bytes>{small, large}));
    EXPECT_EQ(nic.port().landed_count(), 2u);
    EXPECT_EQ(nic.port().read_count(), 0u);
    int const changes = observer.changes;
    nic.give_back();
    EXPECT_EQ(nic.port().read_count(), 2u);
    EXPECT_GT(observer.changes, changes);
}

inline void filters_addresses(PortUnderTest& nic) {
    nic.post_buffers(4);
    EXPECT_EQ(receive(nic.port(), make_frame(kStranger, 1)), ReceiveResult::refused);
    EXPECT_EQ(nic.port().landed_count(), 0u);
    EXPECT_EQ(receive(nic.port(), make_frame(kBroadcast, 2)), ReceiveResult::landed);
    EXPECT_EQ(nic.received(), std::vector<Bytes>{make_frame(kBroadcast, 2)});
}

inline void reset_forgets(PortUnderTest& nic) {
    nic.post_buffers(2);
    EXPECT_EQ(receive(nic.port(), make_frame(nic.port().mac(), 1)), ReceiveResult::landed);
    nic.send(make_frame(kStranger, 1), Ticks{1});
    nic.send(make_frame(kStranger, 2), Ticks{1});
    std::uint64_t const old_number = (static_cast<void>(nic.port().front()), nic.port().take_front());
    nic.reset();
    EXPECT_EQ(nic.port().front(), nullptr);
    EXPECT_EQ(nic.port().read_count(), nic.port().landed_count());
    EXPECT_EQ(receive(nic.port(), make_frame(nic.port().mac(), 1)), ReceiveResult::no_buffer);

    nic.send(make_frame(kStranger, 3), Ticks{2});
    Frame const* const frame = nic.port().front();
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(gather(*frame), make_frame(kStranger, 3));
    std::uint64_t const number = nic.port().take_front();
    EXPECT_GT(number, old_number);
    std::uint64_t const done = nic.frames_done();
    nic.port().complete_transmit(old_number);
    EXPECT_EQ(nic.frames_done(), done);
    nic.port().complete_transmit(number);
    EXPECT_EQ(nic.frames_done(), done + 1);
}

}  // namespace port_contract

inline constexpr std::array kPortContract{
    PortContractCase{"FrontIsStable", port_contract::front_is_stable},
    PortContractCase{"TakenIsNotDone", port_contract::taken_is_not_done},
    PortContractCase{"NoBufferChangesNothing", port_contract::no_buffer_changes_nothing},
    PortContractCase{"LandedThenRead", port_contract::landed_then_read},
    PortContractCase{"FiltersAddresses", port_contract::filters_addresses},
    PortContractCase{"ResetForgets", port_contract::reset_forgets},
};

}  // namespace backplane
