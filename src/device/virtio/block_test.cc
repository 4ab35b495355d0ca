#include "device/virtio/block.h"

#include <gtest/gtest.h>

#include "device/virtio/block_testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;

constexpr std::uint32_t kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11, kWriteZeroes = 13;
constexpr std::uint8_t kOk = 0, kFailed = 1, kUnsupported = 2;
constexpr std::uint64_t kData = RunningBlock::kData;
constexpr std::uint64_t kNeverWritten = 0xEE;

class BlockTest : public ::testing::Test {
  protected:
    [[nodiscard]] std::vector<std::uint8_t> on_disk(std::uint64_t sector, std::size_t bytes) const {
        std::vector<std::uint8_t> found;
        for (std::size_t i = 0; i < bytes; ++i) found.push_back(std::to_integer<std::uint8_t>(b_.disk.content[sector * 512 + i]));
        return found;
    }
    RunningBlock b_;
};

// [VIRTIO] 5.2.6
TEST_F(BlockTest, ReadsIntoPiecesOfAnySize) {
    EXPECT_EQ(b_.ask(kIn, 3, {{kData, 100, kWrite, 0}, {kData + 0x0FF0, 924, kWrite, 0}}), kOk);
    auto const expected = on_disk(3, 1024);
    EXPECT_EQ(b_.machine.get_bytes(kData, 100), (std::vector(expected.begin(), expected.begin() + 100)));
    EXPECT_EQ(b_.machine.get_bytes(kData + 0x0FF0, 924), (std::vector(expected.begin() + 100, expected.end())));
    EXPECT_EQ(b_.ring.used_at(0), (Used{0, 1025}));
    EXPECT_EQ(b_.machine.queue_interrupts, 1);
    EXPECT_EQ(b_.block.counters().read_bytes, 1024U);
}

TEST_F(BlockTest, WritesAndFlushes) {
    std::vector<std::uint8_t> const bytes(512, 0x5A);
    b_.machine.put_bytes(kData, bytes);
    EXPECT_EQ(b_.ask(kOut, 63, {{kData, 512, 0, 0}}), kOk);
    EXPECT_EQ(on_disk(63, 512), bytes);
    EXPECT_EQ(b_.ask(kFlush, 0, {}), kOk);
    EXPECT_EQ(b_.disk.flushes, 1);
}

// [VIRTIO] 2.7.4: the header may lie in pieces, and together with the data.
TEST_F(BlockTest, AssumesNoFraming) {
    b_.put_header(kOut, 5);
    b_.machine.put_bytes(RunningBlock::kHeader + 16, std::vector<std::uint8_t>(512, 0x77));
    b_.ring.offer_pieces({{RunningBlock::kHeader, 3, 0, 0}, {RunningBlock::kHeader + 3, 525, 0, 0}, {RunningBlock::kStatus, 1, kWrite, 0}});
    b_.block.notify(0);
    b_.pass(1'000'000);
    EXPECT_EQ(b_.status(), kOk);
    EXPECT_EQ(on_disk(5, 512), std::vector<std::uint8_t>(512, 0x77));
    b_.put_header(kIn, 5);
    b_.ring.offer_pieces({{RunningBlock::kHeader, 16, 0, 0}, {kData, 513, kWrite, 0}});
    b_.block.notify(0);
    b_.pass(1'000'000);
    EXPECT_EQ(b_.machine.get<std::uint8_t>(kData + 511), 0x77U);
    EXPECT_EQ(b_.machine.get<std::uint8_t>(kData + 512), kOk) << "the last byte is the status";
}

TEST_F(BlockTest, TakesVirtualTimeAndServesInOrder) {
    b_.request(kIn, 0, {{kData, 512, kWrite, 0}});
    b_.request(kIn, 1, {{kData + 512, 512, kWrite, 0}});
    std::uint64_t const one = Block::kRequestTimeNs + (16 + 512 + 1) / Block::kBytesPerNs;
    b_.pass(one - 1);
    EXPECT_EQ(b_.ring.used_index(), 0U);
    b_.pass(1);
    EXPECT_EQ(b_.ring.used_index(), 1U);
    b_.pass(one);
    EXPECT_EQ(b_.ring.used_index(), 2U);
    EXPECT_EQ(b_.ring.used_at(0).head, 0U);
    EXPECT_EQ(b_.ring.used_at(1).head, 3U);
}

TEST_F(BlockTest, ClearsRanges) {
    auto const range = [&](std::uint64_t sector, std::uint32_t count, std::uint32_t flags) {
        b_.machine.put(kData, sector);
        b_.machine.put(kData + 8, count);
        b_.machine.put(kData + 12, flags);
        return std::vector<Slot>{{kData, 16, 0, 0}};
    };
    EXPECT_EQ(b_.ask(kDiscard, 0, range(2, 2, 0)), kOk);
    EXPECT_EQ(on_disk(2, 1024), std::vector<std::uint8_t>(1024));
    EXPECT_NE(on_disk(4, 512), std::vector<std::uint8_t>(512));
    EXPECT_EQ(b_.ask(kWriteZeroes, 0, range(63, 1, 1)), kOk);
    EXPECT_EQ(on_disk(63, 512), std::vector<std::uint8_t>(512));
    EXPECT_EQ(b_.ask(kWriteZeroes, 0, range(63, 2, 0)), kFailed) << "beyond the end";
    EXPECT_EQ(b_.ask(kWriteZeroes, 0, range(~std::uint64_t{0}, 2, 0)), kFailed);
    EXPECT_EQ(b_.ask(kWriteZeroes, 0, range(0, 0xFFFFFFFF, 0)), kFailed);
    EXPECT_EQ(b_.ask(kWriteZeroes, 0, range(0, 1, 2)), kUnsupported) << "reserved flags";
    EXPECT_EQ(b_.ask(kDiscard, 0, range(0, 1, 1)), kUnsupported) << "unmap means nothing here";
}

TEST_F(BlockTest, SaysWhoItIs) {
    EXPECT_EQ(b_.ask(kGetId, 0, {{kData, 20, kWrite, 0}}), kOk);
    EXPECT_EQ(b_.machine.get_bytes(kData, 12), (std::vector<std::uint8_t>{'a', 'l', 'p', 'h', 'a', '.', 'd', 'i', 's', 'k', '0', 0}));
    EXPECT_EQ(b_.ask(99, 0, {}), kUnsupported);
}

TEST_F(BlockTest, ConfigurationSpace) {
    EXPECT_EQ(b_.block.read_config(0, Width::qword), 64U);
    EXPECT_EQ(b_.block.read_config(20, Width::dword), 512U);
    EXPECT_EQ(b_.block.read_config(34, Width::word), 1U);
    EXPECT_EQ(b_.block.read_config(56, Width::dword), 1U);
    EXPECT_EQ(b_.block.read_config(60, Width::byte), 0U);
    b_.block.write_config(0, Width::dword, 7);
    EXPECT_EQ(b_.block.read_config(0, Width::dword), 64U);
    EXPECT_EQ(b_.block.guest_errors().bad_accesses, 2U);
}

TEST_F(BlockTest, RequestsThatMakeNoSenseFail) {
    EXPECT_EQ(b_.ask(kIn, 64, {{kData, 512, kWrite, 0}}), kFailed) << "beyond the end";
    EXPECT_EQ(b_.ask(kIn, ~std::uint64_t{0}, {{kData, 1024, kWrite, 0}}), kFailed);
    EXPECT_EQ(b_.ask(kIn, 0, {{kData, 511, kWrite, 0}}), kFailed) << "no whole sectors";
    EXPECT_EQ(b_.ask(kOut, 0, {{kHole, 512, 0, 0}}), kFailed) << "no RAM";
    EXPECT_EQ(b_.ask(kIn, 0, {{kHole - 512, 1024, kWrite, 0}}), kFailed);
    EXPECT_EQ(b_.ask(kIn, 0, {{~std::uint64_t{511}, 1024, kWrite, 0}}), kFailed) << "the end of the address space";
    EXPECT_EQ(b_.ask(kIn, 0, {{kData, 0xFFFFFE00, kWrite, 0}}), kFailed) << "longer than any request may be";
    EXPECT_EQ(on_disk(0, 512), b_.machine.get_bytes(kHole - 512, 512)) << "what was before the hole has come";
    EXPECT_EQ(b_.block.counters().failures, 7U);
    EXPECT_EQ(b_.block.guest_errors().broken_queues, 0U);
}

TEST_F(BlockTest, ChainsWithoutStatusOrHeader) {
    b_.put_header(kIn, 0);
    b_.ring.offer_pieces({{RunningBlock::kHeader, 16, 0, 0}});
    b_.block.notify(0);
    b_.pass(1'000'000);
    EXPECT_EQ(b_.ring.used_at(0), (Used{0, 0}));
    EXPECT_EQ(b_.status(), kNeverWritten);
    b_.ring.offer_pieces({{RunningBlock::kStatus, 1, kWrite, 0}});
    b_.block.notify(0);
    b_.pass(1'000'000);
    EXPECT_EQ(b_.status(), kFailed);
}

TEST_F(BlockTest, TheHostsErrorsAreTheGuestsErrors) {
    b_.disk.fails = true;
    EXPECT_EQ(b_.ask(kIn, 0, {{kData, 512, kWrite, 0}}), kFailed);
    EXPECT_EQ(b_.ask(kOut, 0, {{kData, 512, 0, 0}}), kFailed);
    EXPECT_EQ(b_.ask(kFlush, 0, {}), kFailed);
}

TEST_F(BlockTest, AResetForgetsWhatIsUnderWay) {
    b_.request(kOut, 0, {{kData, 512, 0, 0}});
    auto const before = on_disk(0, 512);
    b_.set_up(~std::uint64_t{0});
    b_.pass(1'000'000);
    EXPECT_EQ(on_disk(0, 512), before);
    EXPECT_EQ(b_.ring.used_index(), 0U);
    EXPECT_EQ(b_.ask(kIn, 0, {{kData, 512, kWrite, 0}}), kOk);
}

TEST_F(BlockTest, WithoutBusMasteringARequestWaits) {
    b_.request(kIn, 0, {{kData, 512, kWrite, 0}});
    b_.machine.is_bus_master = false;
    b_.pass(1'000'000);
    EXPECT_EQ(b_.status(), kNeverWritten);
    b_.machine.is_bus_master = true;
    b_.block.notify(0);
    b_.pass(1'000'000);
    EXPECT_EQ(b_.status(), kOk);
}

TEST(ReadOnlyBlock, IsReadOnly) {
    RunningBlock b{true};
    EXPECT_EQ(b.offered() & (block_feature::kReadOnly | block_feature::kDiscard), block_feature::kReadOnly);
    EXPECT_EQ(b.ask(kIn, 0, {{kData, 512, kWrite, 0}}), kOk);
    EXPECT_EQ(b.ask(kOut, 0, {{kData, 512, 0, 0}}), kFailed);
    EXPECT_EQ(b.ask(kWriteZeroes, 0, {{kData, 16, 0, 0}}), kUnsupported);
}

}  // namespace
}  // namespace backplane::virtio
