#include "host/pcapng.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "host/file.h"

namespace backplane {
namespace {

/// What a reader of the format finds: blocks of a type, whose two lengths agree and fill the file.
struct Block {
    std::uint32_t type;
    std::vector<std::byte> body;
};

std::vector<Block> blocks_of(std::vector<std::byte> const& file) {
    std::vector<Block> blocks;
    ConstByteSpan rest{file};
    while (!rest.empty()) {
        EXPECT_GE(rest.size(), 12u);
        auto const length = load<std::uint32_t>(rest, 4);
        EXPECT_EQ(length % 4, 0u);
        EXPECT_LE(length, rest.size());
        if (length < 12 || length > rest.size()) break;
        EXPECT_EQ(load<std::uint32_t>(rest, length - 4), length);
        blocks.push_back({load<std::uint32_t>(rest), {rest.begin() + 8, rest.begin() + length - 4}});
        rest = rest.subspan(length);
    }
    return blocks;
}

std::string option_text(ConstByteSpan options, std::uint16_t wanted) {
    while (options.size() >= 4) {
        auto const code = load<std::uint16_t>(options);
        auto const length = load<std::uint16_t>(options, 2);
        if (code == wanted) return {reinterpret_cast<char const*>(options.data()) + 4, length};
        options = options.subspan(4 + (length + 3U) / 4 * 4);
    }
    return "none";
}

struct PcapngTest : testing::Test {
    PcapngTest() { EXPECT_NE(::mkdtemp(folder.data()), nullptr); }
    ~PcapngTest() override { std::filesystem::remove_all(folder); }
    std::string folder{"/tmp/backplane-pcapng-test-XXXXXX"};
};

TEST_F(PcapngTest, HoldsInterfacesAndFramesWithTimeAndComment) {
    std::string const path = folder + "/lan.pcapng";
    std::array<std::byte, 5> const data{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}};
    std::array<ConstByteSpan, 2> const pieces{ConstByteSpan{data}.first(2), ConstByteSpan{data}.subspan(2)};
    {
        auto file = PcapngFile::create(path);
        ASSERT_TRUE(file) << file.error().message;
        file->add_interface("alpha.nic0");
        file->add_interface("beta");
        file->add_frame(1, {pieces, 5, Ticks{0x1'0000'0002}}, "beta -> alpha.nic0");
        EXPECT_EQ(file->frame_count(), 1u);
    }
    auto const blocks = blocks_of(*read_file(path, 1 << 20));
    ASSERT_EQ(blocks.size(), 4u);
    EXPECT_EQ(blocks[0].type, 0x0A0D0D0Au);
    EXPECT_EQ(load<std::uint32_t>(blocks[0].body), 0x1A2B3C4Du);
    EXPECT_EQ(blocks[1].type, 1u);
    EXPECT_EQ(load<std::uint16_t>(blocks[1].body), 1u) << "Ethernet";
    EXPECT_EQ(option_text(ConstByteSpan{blocks[1].body}.subspan(8), 2), "alpha.nic0");
    EXPECT_EQ(option_text(ConstByteSpan{blocks[2].body}.subspan(8), 2), "beta");
    EXPECT_EQ(option_text(ConstByteSpan{blocks[2].body}.subspan(8), 9), "\x09") << "nanoseconds";
    ConstByteSpan const packet{blocks[3].body};
    EXPECT_EQ(blocks[3].type, 6u);
    EXPECT_EQ(load<std::uint32_t>(packet, 0), 1u);
    EXPECT_EQ(load<std::uint32_t>(packet, 4), 1u);
    EXPECT_EQ(load<std::uint32_t>(packet, 8), 2u);
    EXPECT_EQ(load<std::uint32_t>(packet, 12), 5u);
    EXPECT_EQ(load<std::uint32_t>(packet, 16), 5u);
    EXPECT_EQ(packet[20], std::byte{1});
    EXPECT_EQ(packet[24], std::byte{5});
    EXPECT_EQ(option_text(packet.subspan(28), 1), "beta -> alpha.nic0");
    EXPECT_EQ(option_text(packet.subspan(28), 2), std::string("\x02\0\0\0", 4)) << "outbound";
}

TEST_F(PcapngTest, AManyTimesFlushedFileHasWholeBlocks) {
    std::string const path = folder + "/lan.pcapng";
    std::vector<std::byte> const data(1501);
    ConstByteSpan const piece{data};
    auto file = PcapngFile::create(path);
    ASSERT_TRUE(file);
    file->add_interface("a");
    for (std::uint64_t i = 0; i < 1000; ++i) file->add_frame(0, {{&piece, 1}, 1501, Ticks{i}}, "a -> b");
    auto const early = blocks_of(*read_file(path, 1 << 24));
    EXPECT_GT(early.size(), 500u) << "written on the way";
    file->flush();
    EXPECT_EQ(blocks_of(*read_file(path, 1 << 24)).size(), 1002u);
    EXPECT_FALSE(file->error());
}

TEST_F(PcapngTest, AFullDiskEndsTheCaptureAndSaysWhy) {
    auto file = PcapngFile::create("/dev/full");
    ASSERT_TRUE(file);
    file->add_interface("a");
    file->flush();
    ASSERT_TRUE(file->error());
    EXPECT_NE(file->error()->find("No space left"), std::string::npos) << *file->error();
    file->add_frame(0, {{}, 0, Ticks{}}, "");
    EXPECT_EQ(file->frame_count(), 0u);
}

TEST_F(PcapngTest, AFileThatCannotBeMadeIsRefused) {
    auto const file = PcapngFile::create(folder + "/none/lan.pcapng");
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().message, folder + "/none/lan.pcapng: No such file or directory");
}

}  // namespace
}  // namespace backplane
