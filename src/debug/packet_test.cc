#include "debug/packet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace backplane {
namespace {

using ::testing::ElementsAre;
using Found = PacketReader::Found;

/// Everything found in `bytes`: payloads, and words for the rest.
std::vector<std::string> all_in(PacketReader& reader, std::string_view bytes) {
    std::vector<std::string> all;
    while (auto const found = reader.take(bytes)) {
        switch (*found) {
            case Found::packet:
                all.push_back(reader.payload());
                break;
            case Found::damaged:
                all.emplace_back("<damaged>");
                break;
            case Found::interrupt:
                all.emplace_back("<interrupt>");
                break;
            case Found::again:
                all.emplace_back("<again>");
                break;
        }
    }
    return all;
}

TEST(PacketReader, PacketsAcknowledgementsAndInterrupts) {
    PacketReader reader;
    EXPECT_THAT(all_in(reader, "+$OK#9a-\x03$#00+"), ElementsAre("OK", "<again>", "<interrupt>", ""));
}

TEST(PacketReader, InAnyPieces) {
    PacketReader reader;
    std::vector<std::string> all;
    for (char const byte : std::string{"$m10,4#"} + framed("m10,4").substr(7)) {
        for (auto const& found : all_in(reader, {&byte, 1})) all.push_back(found);
    }
    EXPECT_THAT(all, ElementsAre("m10,4"));
}

TEST(PacketReader, DamagedPackets) {
    PacketReader reader;
    EXPECT_THAT(all_in(reader, "$OK#9b"), ElementsAre("<damaged>"));
    EXPECT_THAT(all_in(reader, "$OK#zz"), ElementsAre("<damaged>"));
    EXPECT_THAT(all_in(reader, "$OK#9A"), ElementsAre("OK")) << "capital digits are digits";
    EXPECT_THAT(all_in(reader, "noise between $OK#9a"), ElementsAre("OK"));
}

TEST(PacketReader, TheInterruptByteInsideOfAPacketIsData) {
    PacketReader reader;
    EXPECT_THAT(all_in(reader, framed("a\x03")), ElementsAre("a\x03"));
}

TEST(PacketReader, HoldsNoMoreThanTheLongestPacket) {
    PacketReader reader;
    EXPECT_THAT(all_in(reader, framed(std::string(kMaxPacketBytes, 'x'))),
                ElementsAre(std::string(kMaxPacketBytes, 'x')));
    EXPECT_THAT(all_in(reader, framed(std::string(kMaxPacketBytes + 1, 'x'))), ElementsAre("<damaged>"));
    std::string_view endless = "x";
    EXPECT_FALSE(reader.take(endless));
    for (int i = 0; i < 100; ++i) {
        std::string more(kMaxPacketBytes, 'x');
        if (i == 0) more.front() = '$';
        std::string_view bytes = more;
        EXPECT_FALSE(reader.take(bytes));
        EXPECT_LE(reader.payload().capacity(), 2 * kMaxPacketBytes);
    }
    EXPECT_THAT(all_in(reader, "#00$OK#9a"), ElementsAre("<damaged>", "OK"));
}

TEST(Packet, BinaryDataSurvivesEscaping) {
    std::string data;
    for (int byte = 0; byte < 256; ++byte) data += static_cast<char>(byte);
    EXPECT_EQ(unescaped(escaped(data)), data);
    EXPECT_EQ(escaped("$#}*"), "}\x04}\x03}]}\x0a");
    EXPECT_EQ(unescaped("a}"), "a");
}

TEST(Packet, HexadecimalTexts) {
    EXPECT_EQ(hex_of(std::string_view{"\x01\xfe", 2}), "01fe");
    EXPECT_EQ(bytes_from_hex("01FE"), std::string("\x01\xfe"));
    EXPECT_FALSE(bytes_from_hex("0"));
    EXPECT_FALSE(bytes_from_hex("0x"));
    EXPECT_EQ(number_from_hex("ffffffffffffffff"), ~std::uint64_t{0});
    for (char const* const wrong : {"", "10000000000000000", "0x1", "-1", "+1", "1 ", "g"})
        EXPECT_FALSE(number_from_hex(wrong)) << wrong;
}

}  // namespace
}  // namespace backplane
