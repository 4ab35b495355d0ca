#include "machine/unpack.h"

#include <gtest/gtest.h>

#include <string>

#include "machine/boot_test_images.h"

namespace backplane {
namespace {

class UnpackEach : public testing::TestWithParam<Packing> {};
INSTANTIATE_TEST_SUITE_P(Packings, UnpackEach, testing::Values(Packing::xz, Packing::lz4, Packing::zstd, Packing::gzip),
                         [](auto const& each) { return std::string{name_of(each.param)}; });

TEST_P(UnpackEach, GivesTheOriginalBytes) {
    test::Bytes const plain = test::make_text(100'000);
    test::Bytes const packed = test::pack(GetParam(), plain);
    EXPECT_EQ(detect_packing(packed), GetParam());
    auto const unpacked = unpack(packed);
    ASSERT_TRUE(unpacked) << unpacked.error().message;
    EXPECT_EQ(unpacked.value(), plain);
}

TEST_P(UnpackEach, GivesWhatIsLargerThanOneStep) {
    test::Bytes const plain = test::make_text(20'000'001);  // three lz4 blocks
    auto const unpacked = unpack(test::pack(GetParam(), plain));
    ASSERT_TRUE(unpacked) << unpacked.error().message;
    EXPECT_EQ(unpacked.value(), plain);
}

TEST_P(UnpackEach, RefusesEveryTruncation) {
    test::Bytes const packed = test::pack(GetParam(), test::make_text(3'000));
    for (std::size_t length = 0; length < packed.size(); ++length) {
        auto const unpacked = unpack(ConstByteSpan{packed}.first(length));
        bool const only_size_is_cut = GetParam() != Packing::gzip && length >= packed.size() - 4;
        EXPECT_EQ(unpacked.has_value(), only_size_is_cut) << length;
        if (!unpacked) {
            EXPECT_EQ(unpacked.error().message.find('\n'), std::string::npos);
        }
    }
}

TEST_P(UnpackEach, SurvivesEveryFlippedByte) {
    test::Bytes const plain = test::make_text(2'000);
    test::Bytes const packed = test::pack(GetParam(), plain);
    for (std::size_t at = 0; at < packed.size(); ++at) {
        test::Bytes damaged = packed;
        damaged[at] ^= std::byte{0x55};
        auto const unpacked = unpack(damaged, 1U << 20);
        if (unpacked) {
            EXPECT_LE(unpacked->size(), std::size_t{1} << 20);
        }
    }
}

TEST_P(UnpackEach, StopsAtTheLimit) {
    test::Bytes const plain = test::make_text(100'000);
    test::Bytes const packed = test::pack(GetParam(), plain);
    EXPECT_TRUE(unpack(packed, plain.size()));
    auto const unpacked = unpack(packed, plain.size() - 1);
    ASSERT_FALSE(unpacked);
    EXPECT_EQ(unpacked.error().message, "it unpacks to more than 99999 bytes");
}

// gzip's own end holds the size, and lz4's legacy frame has no end.
TEST(Unpack, ToleratesBytesBehindTheStreamButNotAWrongSize) {
    for (Packing const packing : {Packing::xz, Packing::zstd}) {
        test::Bytes packed = test::pack(packing, test::make_text(5'000));
        test::Bytes wrong = packed;
        wrong.back() ^= std::byte{1};
        EXPECT_FALSE(unpack(wrong));
        packed.resize(packed.size() + 100);
        EXPECT_TRUE(unpack(packed));
    }
}

TEST(Unpack, Lz4NeedsTheRightSize) {
    test::Bytes packed = test::pack(Packing::lz4, test::make_text(5'000));
    packed.back() ^= std::byte{1};
    EXPECT_FALSE(unpack(packed));
}

TEST(Unpack, Lz4UnpacksTheHighestRatio) {
    test::Bytes const plain(30'000'000);
    auto const unpacked = unpack(test::pack(Packing::lz4, plain));
    ASSERT_TRUE(unpacked) << unpacked.error().message;
    EXPECT_EQ(unpacked.value(), plain);
}

TEST(Unpack, NamesWhatItCannotUnpack) {
    test::Bytes bzip2(100);
    store(ByteSpan{bzip2}, 0, std::array<char, 4>{'B', 'Z', 'h', '9'});
    EXPECT_EQ(unpack(bzip2).error().message, "packed with bzip2: expected xz, lz4, zstd or gzip");
    EXPECT_EQ(unpack({}).error().message, "packed with an unknown method: expected xz, lz4, zstd or gzip");
    EXPECT_EQ(unpack(test::make_text(100)).error().message,
              "packed with an unknown method: expected xz, lz4, zstd or gzip");
}

}  // namespace
}  // namespace backplane
