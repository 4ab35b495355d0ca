#include "cpu/decode_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace backplane {
namespace {

// Any bytes, the same ones again, and with other ends, at any place of a trace: always what the decoder says.
TEST(DecodeCache, SaysWhatTheDecoderSays) {
    std::mt19937_64 random{1};
    auto const cache = std::make_unique<DecodeCache>();
    constexpr std::uint8_t kBegins[] = {0x48, 0x8b, 0x89, 0x0f, 0x66, 0xf3, 0x65, 0xe8, 0x74, 0x50, 0x83, 0xc7, 0x41, 0x4c, 0x8d, 0xff, 0x90, 0xc5, 0x67, 0xf0};
    std::vector<DecodeCache::Bytes> known(3000);
    for (auto& bytes : known) {
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        for (std::size_t i = 0, some = random() % 4; i < some; ++i) bytes[i] = kBegins[random() % std::size(kBegins)];
    }
    for (unsigned round = 0; round < 300'000; ++round) {
        DecodeCache::Bytes bytes = known[random() % known.size()];
        for (std::size_t i = 1 + random() % 15; random() % 2 == 0 && i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(random());
        std::size_t const available = random() % 4 != 0 ? 15 : random() % 16;
        std::memset(bytes.data() + available, 0xff, bytes.size() - available);
        CodeMode const mode = random() % 8 != 0 ? CodeMode::bits64 : CodeMode::bits32;
        auto const position = static_cast<std::uint32_t>(random() % 32), offset = position * static_cast<std::uint32_t>(random() % 16);
        Op expected{}, met{};
        DecodeStatus const status = decode({bytes.data(), available}, mode, offset, position, expected);
        ASSERT_EQ(cache->decode(bytes, available, mode, offset, position, met), status) << round;
        if (status == DecodeStatus::needs_more_bytes) continue;
        ASSERT_EQ(std::memcmp(&met, &expected, sizeof(Op)), 0) << round;
    }
}

// RIP-relative operands and branches are found again with another distance.
TEST(DecodeCache, DistancesAreOfEachInstruction) {
    DecodeCache cache;
    auto const decode_both = [&](DecodeCache::Bytes const& bytes, std::uint32_t offset) {
        Op expected{}, met{};
        EXPECT_EQ(cache.decode(bytes, 15, CodeMode::bits64, offset, 3, met), decode({bytes.data(), 15}, CodeMode::bits64, offset, 3, expected));
        EXPECT_EQ(std::memcmp(&met, &expected, sizeof(Op)), 0);
        return met;
    };
    EXPECT_EQ(decode_both({0x48, 0x8b, 0x05, 0x10, 0, 0, 0}, 0).disp, 0x17);
    EXPECT_EQ(decode_both({0x48, 0x8b, 0x05, 0x20, 0, 0, 0}, 5).disp, 0x2c);
    EXPECT_EQ(decode_both({0x48, 0x8b, 0x05, 0xff, 0xff, 0xff, 0x7f}, 5).form, AddressForm::far64);
    EXPECT_EQ(decode_both({0x48, 0x8b, 0x05, 0xfe, 0xff, 0xff, 0xff}, 5).disp, 10);
    EXPECT_EQ(decode_both({0x74, 0x10}, 0).imm, 0x12);
    EXPECT_EQ(decode_both({0x74, 0xf0}, 4).imm, -10);
    EXPECT_EQ(decode_both({0xe8, 0, 1, 0, 0}, 4).imm, 0x109);
    EXPECT_EQ(decode_both({0x83, 0x43, 0x08, 0x01}, 4).disp, 8);
    EXPECT_EQ(decode_both({0x83, 0x43, 0xf8, 0x01}, 4).disp, -8);
    EXPECT_EQ(decode_both({0x83, 0x43, 0xf8, 0xf2}, 4).imm, -14);
    EXPECT_EQ(decode_both({0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}, 4).imm, 0x0807'0605'0403'0201);
    EXPECT_EQ(decode_both({0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0x88}, 4).imm, static_cast<std::int64_t>(0x8807'0605'0403'0201));
    EXPECT_EQ(decode_both({0x66, 0x81, 0xc1, 0xff, 0xff}, 4).imm, -1);
    EXPECT_EQ(decode_both({0x66, 0x81, 0xc1, 0xff, 0x7f}, 4).imm, 0x7fff);
}

}  // namespace
}  // namespace backplane
