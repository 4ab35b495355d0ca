#include "machine/aml.h"

#include <gtest/gtest.h>

namespace backplane::aml {
namespace {

Code bytes(std::initializer_list<int> values) {
    Code code;
    for (int const value : values) code.push_back(static_cast<std::byte>(value));
    return code;
}

// The expected bytes are those of [ACPI65] 20.2 and 6.4.

TEST(Aml, IntegersTakeTheShortestForm) {
    EXPECT_EQ(integer(0), bytes({0x00}));
    EXPECT_EQ(integer(1), bytes({0x01}));
    EXPECT_EQ(integer(2), bytes({0x0A, 0x02}));
    EXPECT_EQ(integer(0x100), bytes({0x0B, 0x00, 0x01}));
    EXPECT_EQ(integer(0x1'0000), bytes({0x0C, 0x00, 0x00, 0x01, 0x00}));
    EXPECT_EQ(integer(0x1'0000'0000), bytes({0x0E, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(Aml, IdentifiersAndStrings) {
    EXPECT_EQ(eisa_id("PNP0A03"), bytes({0x0C, 0x41, 0xD0, 0x0A, 0x03}));
    EXPECT_EQ(eisa_id("PNP0501"), bytes({0x0C, 0x41, 0xD0, 0x05, 0x01}));
    EXPECT_EQ(string("A"), bytes({0x0D, 'A', 0}));
}

TEST(Aml, PathsArePaddedAndCounted) {
    EXPECT_EQ(path("_S5"), bytes({'_', 'S', '5', '_'}));
    EXPECT_EQ(path("\\_SB"), bytes({'\\', '_', 'S', 'B', '_'}));
    EXPECT_EQ(path("\\_SB.PCI0"), bytes({'\\', 0x2E, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'}));
    EXPECT_EQ(path("A.B.C"), bytes({0x2F, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_'}));
}

TEST(Aml, LengthsChangeTheirFormAt64AndAt4096) {
    // A buffer's contents begin with its size as an integer: two bytes below 0x100, three above.
    Code const one = buffer(Code(60));
    EXPECT_EQ(one[1], std::byte{63});
    EXPECT_EQ(one.size(), 1U + 63);
    Code const two = buffer(Code(61));
    EXPECT_EQ(two[1], std::byte{0x40 | (65 & 0xF)});
    EXPECT_EQ(two[2], std::byte{65 >> 4});
    EXPECT_EQ(two.size(), 1U + 65);
    Code const last_two = buffer(Code(4090));
    EXPECT_EQ(last_two.size(), 1U + 4095);
    EXPECT_EQ(last_two[1], std::byte{0x4F});
    EXPECT_EQ(last_two[2], std::byte{0xFF});
    Code const three = buffer(Code(4091));
    EXPECT_EQ(three.size(), 1U + 4097);
    EXPECT_EQ(three[1], std::byte{0x81});
    EXPECT_EQ(three[2], std::byte{0x00});
    EXPECT_EQ(three[3], std::byte{0x01});
}

TEST(Aml, ObjectsHoldTheirContents) {
    EXPECT_EQ(package({integer(5), integer(0)}), bytes({0x12, 0x05, 0x02, 0x0A, 0x05, 0x00}));
    EXPECT_EQ(name("_UID", integer(0)), bytes({0x08, '_', 'U', 'I', 'D', 0x00}));
    EXPECT_EQ(scope("\\_SB", {name("A", integer(1))}),
              bytes({0x10, 0x0C, '\\', '_', 'S', 'B', '_', 0x08, 'A', '_', '_', '_', 0x01}));
    EXPECT_EQ(device("COM1", {}), bytes({0x5B, 0x82, 0x05, 'C', 'O', 'M', '1'}));
}

TEST(Aml, Resources) {
    EXPECT_EQ(io_ports(0x3F8, 8), bytes({0x47, 0x01, 0xF8, 0x03, 0xF8, 0x03, 0x01, 0x08}));
    EXPECT_EQ(edge_interrupt(4), bytes({0x89, 0x06, 0x00, 0x03, 0x01, 0x04, 0x00, 0x00, 0x00}));
    EXPECT_EQ(bus_window(0, 1), bytes({0x88, 0x0D, 0, 2, 0x0C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}));
    EXPECT_EQ(io_window(0xD00, 0xF300), bytes({0x88, 0x0D, 0, 1, 0x0C, 3, 0, 0, 0, 0x0D, 0xFF, 0xFF, 0, 0, 0, 0xF3}));
    EXPECT_EQ(memory_window32(0xC000'0000, 0x1000), bytes({0x87, 0x17, 0,    0, 0x0C, 1, 0, 0, 0, 0, 0,    0, 0,
                                                           0xC0, 0xFF, 0x0F, 0, 0xC0, 0, 0, 0, 0, 0, 0x10, 0, 0}));
    EXPECT_EQ(memory_window64(0x40'0000'0000, 0x40'0000'0000).size(), 3U + 0x2B);
    EXPECT_EQ(resource_template({}), bytes({0x11, 0x05, 0x0A, 0x02, 0x79, 0x00}));
}

}  // namespace
}  // namespace backplane::aml
