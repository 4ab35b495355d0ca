#include "device/virtio/queue.h"

#include <gtest/gtest.h>

#include "device/virtio/testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;

constexpr std::uint16_t kSize = 8;

class QueueTest : public ::testing::Test {
  protected:
    void start(QueueFeatures features = {}) {
        queue_.settings().size = kSize;
        queue_.settings().descriptors = GuestPhys{ring_.descriptors()};
        queue_.settings().driver_area = GuestPhys{ring_.available()};
        queue_.settings().device_area = GuestPhys{ring_.used()};
        queue_.start(features);
    }
    bool peek(std::uint16_t ahead = 0) { return queue_.peek(machine_.memory, ahead, chain_); }
    /// Whether the only chain is refused, and the queue with it.
    bool breaks() {
        if (queue_.look(machine_.memory) == 0) return queue_.is_broken();
        bool const is_read = peek();
        EXPECT_EQ(is_read, !queue_.is_broken());
        return !is_read;
    }

    FakeMachine machine_;
    DriverRing ring_{machine_, 0x10000, kSize};
    Queue queue_{256};
    Chain chain_;
};

TEST_F(QueueTest, ChainsComeInTheirOrderAndGoBackInAnother) {
    start();
    EXPECT_EQ(queue_.look(machine_.memory), 0);
    std::uint16_t const first = ring_.offer_pieces({{0x4000, 10, 0, 0}, {0x5000, 20, 0, 0}, {0x6000, 30, kWrite, 0}});
    std::uint16_t const second = ring_.offer_pieces({{0x7000, 40, kWrite, 0}});
    EXPECT_EQ(queue_.look(machine_.memory), 2);
    EXPECT_EQ(queue_.look(machine_.memory), 0);
    ASSERT_TRUE(peek(0));
    EXPECT_EQ(chain_.head, first);
    EXPECT_EQ(chain_.readable, (std::vector<Piece>{{GuestPhys{0x4000}, 10}, {GuestPhys{0x5000}, 20}}));
    EXPECT_EQ(chain_.writable, (std::vector<Piece>{{GuestPhys{0x6000}, 30}}));
    EXPECT_EQ(chain_.readable_bytes, 30U);
    EXPECT_EQ(chain_.writable_bytes, 30U);
    ASSERT_TRUE(peek(1));
    EXPECT_EQ(chain_.head, second);
    EXPECT_EQ(queue_.waiting(), 2);
    queue_.take(2);
    EXPECT_EQ(queue_.waiting(), 0);
    queue_.push_used(machine_.memory, second, 40);
    queue_.push_used(machine_.memory, first, 7);
    EXPECT_EQ(ring_.used_index(), 0) << "not shown yet";
    EXPECT_TRUE(queue_.publish(machine_.memory));
    EXPECT_EQ(ring_.used_index(), 2);
    EXPECT_EQ(ring_.used_at(0), (Used{second, 40}));
    EXPECT_EQ(ring_.used_at(1), (Used{first, 7}));
    EXPECT_FALSE(queue_.publish(machine_.memory)) << "nothing new";
}

TEST_F(QueueTest, IndicesWrapAround) {
    start();
    for (std::uint32_t i = 0; i < 70000; ++i) {
        ring_.offer(static_cast<std::uint16_t>(i % kSize));
        ASSERT_EQ(queue_.look(machine_.memory), 1) << i;
        ASSERT_TRUE(peek());
        ASSERT_EQ(chain_.head, i % kSize);
        queue_.take(1);
        queue_.push_used(machine_.memory, chain_.head, 0);
        ASSERT_TRUE(queue_.publish(machine_.memory));
    }
    EXPECT_EQ(ring_.used_index(), static_cast<std::uint16_t>(70000));
}

TEST_F(QueueTest, InterruptsWhenTheFlagOrTheEventIndexSaysSo) {
    start();
    auto const use = [&](int count) {
        for (int i = 0; i < count; ++i) ring_.offer(0);
        (void)queue_.look(machine_.memory);
        queue_.take(static_cast<std::uint16_t>(count));
        for (int i = 0; i < count; ++i) queue_.push_used(machine_.memory, 0, 0);
        return queue_.publish(machine_.memory);
    };
    EXPECT_TRUE(use(1));
    machine_.put(ring_.available(), std::uint16_t{1});
    EXPECT_FALSE(use(1));
    ring_ = DriverRing{machine_, 0x10000, kSize};
    machine_.put_bytes(0x10000, std::vector<std::uint8_t>(0x3000));
    start({.indirect = false, .event_index = true});
    ring_.set_used_event(2);
    EXPECT_FALSE(use(2));
    EXPECT_TRUE(use(1)) << "passes index 2";
    EXPECT_FALSE(use(1));
    ring_.set_used_event(5);
    EXPECT_TRUE(use(3)) << "passes it in the middle";
    EXPECT_EQ(ring_.available_event(), 7) << "the next one rings again";
}

TEST_F(QueueTest, IndirectTablesAreOneChain) {
    start({.indirect = true, .event_index = false});
    machine_.put(0x8000, Slot{0x4000, 10, kNext, 2});
    machine_.put(0x8020, Slot{0x5000, 20, kWrite, 0});
    ring_.offer_pieces({{0x3000, 5, 0, 0}, {0x8000, 48, kIndirect, 0}});
    ASSERT_FALSE(breaks());
    EXPECT_EQ(chain_.readable, (std::vector<Piece>{{GuestPhys{0x3000}, 5}, {GuestPhys{0x4000}, 10}}));
    EXPECT_EQ(chain_.writable, (std::vector<Piece>{{GuestPhys{0x5000}, 20}}));
}

TEST_F(QueueTest, AbuseOfIndirectTablesBreaksTheQueue) {
    struct {
        char const* what;
        Slot slot;
        Slot entry;
        bool is_negotiated;
    } const cases[] = {
        {"not negotiated", {0x8000, 16, kIndirect, 0}, {0x4000, 10, 0, 0}, false},
        {"no entries", {0x8000, 0, kIndirect, 0}, {0x4000, 10, 0, 0}, true},
        {"half an entry", {0x8000, 24, kIndirect, 0}, {0x4000, 10, 0, 0}, true},
        {"goes on behind it", {0x8000, 16, kIndirect | kNext, 1}, {0x4000, 10, 0, 0}, true},
        {"one in the other", {0x8000, 16, kIndirect, 0}, {0x8000, 16, kIndirect, 0}, true},
        {"leads out of it", {0x8000, 16, kIndirect, 0}, {0x4000, 10, kNext, 1}, true},
        {"is a loop", {0x8000, 16, kIndirect, 0}, {0x4000, 10, kNext, 0}, true},
        {"is no RAM", {kHole, 16, kIndirect, 0}, {0x4000, 10, 0, 0}, true},
        {"lies at the end of the address space", {~std::uint64_t{15}, 32, kIndirect, 0}, {0x4000, 10, 0, 0}, true},
    };
    for (auto const& each : cases) {
        machine_.put_bytes(0x10000, std::vector<std::uint8_t>(0x3000));
        ring_ = DriverRing{machine_, 0x10000, kSize};
        start({.indirect = each.is_negotiated, .event_index = false});
        machine_.put(0x8000, each.entry);
        ring_.describe(0, each.slot);
        ring_.offer(0);
        EXPECT_TRUE(breaks()) << each.what;
    }
}

TEST_F(QueueTest, NonsensicalChainsBreakTheQueue) {
    struct {
        char const* what;
        std::uint16_t head;
        Slot first;
        Slot second;
    } const cases[] = {
        {"a head beyond the table", kSize, {}, {}},
        {"a next beyond the table", 0, {0x4000, 1, kNext, kSize}, {}},
        {"a loop of one", 0, {0x4000, 1, kNext, 0}, {}},
        {"a loop of two", 0, {0x4000, 1, kNext, 1}, {0x4000, 1, kNext, 0}},
        {"to be written, then to be read", 0, {0x4000, 1, kWrite | kNext, 1}, {0x4000, 1, 0, 0}},
    };
    for (auto const& each : cases) {
        machine_.put_bytes(0x10000, std::vector<std::uint8_t>(0x3000));
        ring_ = DriverRing{machine_, 0x10000, kSize};
        start();
        ring_.describe(0, each.first);
        ring_.describe(1, each.second);
        ring_.offer(each.head);
        EXPECT_TRUE(breaks()) << each.what;
        EXPECT_EQ(queue_.look(machine_.memory), 0) << "and it stays so";
        queue_.push_used(machine_.memory, 0, 0);
        EXPECT_FALSE(queue_.publish(machine_.memory));
        EXPECT_EQ(ring_.used_index(), 0);
    }
}

TEST_F(QueueTest, AnIndexThatJumpsBreaksTheQueue) {
    start();
    ring_.set_index(kSize);
    EXPECT_EQ(queue_.look(machine_.memory), kSize) << "as many as there are";
    start();
    ring_.set_index(kSize + 1);
    EXPECT_EQ(queue_.look(machine_.memory), 0);
    EXPECT_TRUE(queue_.is_broken());
    start();
    ring_.set_index(3);
    EXPECT_EQ(queue_.look(machine_.memory), 3);
    ring_.set_index(2);
    EXPECT_EQ(queue_.look(machine_.memory), 0);
    EXPECT_TRUE(queue_.is_broken()) << "backwards";
}

TEST_F(QueueTest, RingsThatCannotBeBreakTheQueue) {
    machine_.put(kHole - 2, std::uint16_t{1});  // an available ring that begins before the hole
    auto const expect_broken = [&](auto change, bool at_start) {
        start();
        change(queue_.settings());
        queue_.start({});
        EXPECT_EQ(queue_.is_broken(), at_start);
        ring_.set_index(1);
        if (queue_.look(machine_.memory) == 1 && peek()) {
            queue_.take(1);
            queue_.push_used(machine_.memory, 0, 0);
            (void)queue_.publish(machine_.memory);
        }
        EXPECT_TRUE(queue_.is_broken());
    };
    expect_broken([](QueueSettings& s) { s.size = 0; }, true);
    expect_broken([](QueueSettings& s) { s.size = 7; }, true);
    expect_broken([](QueueSettings& s) { s.size = 512; }, true);
    expect_broken([](QueueSettings& s) { s.descriptors = s.descriptors + 8; }, true);
    expect_broken([](QueueSettings& s) { s.driver_area = s.driver_area + 1; }, true);
    expect_broken([](QueueSettings& s) { s.device_area = s.device_area + 2; }, true);
    expect_broken([](QueueSettings& s) { s.descriptors = GuestPhys{kHole}; }, false);
    expect_broken([](QueueSettings& s) { s.driver_area = GuestPhys{kHole}; }, false);
    expect_broken([](QueueSettings& s) { s.driver_area = GuestPhys{kHole - 4}; }, false);
    expect_broken([](QueueSettings& s) { s.device_area = GuestPhys{kHole}; }, false);
    expect_broken([](QueueSettings& s) { s.device_area = GuestPhys{~std::uint64_t{3}}; }, false);
}

}  // namespace
}  // namespace backplane::virtio
