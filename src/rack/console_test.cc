#include "rack/console.h"

#include <gtest/gtest.h>

#include <span>

#include "device/testing.h"

namespace backplane {
namespace {

void put(ConsolePrefixer& console, std::string_view text) { console.put(std::as_bytes(std::span{text})); }

/// What comes out for `text`, put in one piece and byte by byte: it must be the same.
std::string prefixed(std::string_view text) {
    TextSink whole, pieces;
    {
        ConsolePrefixer one{whole, {"a", 1, std::nullopt}};
        ConsolePrefixer two{pieces, {"a", 1, std::nullopt}};
        put(one, text);
        for (std::size_t i = 0; i < text.size(); ++i) put(two, text.substr(i, 1));
    }
    EXPECT_EQ(whole.text, pieces.text);
    return whole.text;
}

TEST(ConsolePrefixer, PutsTheNameBeforeEachLine) {
    struct Case {
        std::string_view in, out;
    };
    constexpr Case kCases[] = {
        {"", ""},
        {"one\ntwo\n", "a | one\na | two\n"},
        {"one\r\ntwo\r\n", "a | one\na | two\n"},
        {"one\r\r\n", "a | one\n"},
        {"\n\r\n", "a | \na | \n"},
        {"10%\r20%\rdone\n", "a | 10%\na | 20%\na | done\n"},
        {"\r\r\rlogin: ", "a | login: \n"},
        {"no end", "a | no end\n"},
        {"no end\r", "a | no end\n"},
        {"\x1b[1;32mgreen\x1b[0m\x1b[6n\n", "a | green\n"},
        {"\x1b]0;title\x07\n", "a | \\x1b]0;title\\x07\n"},
        {"tab\there\b\x7f\n", "a | tab\there\\x08\\x7f\n"},
        {"caf\xc3\xa9 \xe2\x82\xac\n", "a | caf\xc3\xa9 \xe2\x82\xac\n"},
        {"\xff \xc3( \xc2\x9b \xed\xa0\x80\n", "a | \\xff \\xc3( \\xc2\\x9b \\xed\\xa0\\x80\n"},
    };
    for (Case const& c : kCases) EXPECT_EQ(prefixed(c.in), c.out);
}

TEST(ConsolePrefixer, AZeroByteIsShown) { EXPECT_EQ(prefixed(std::string_view{"a\0b\n", 4}), "a | a\\x00b\n"); }

TEST(ConsolePrefixer, NothingOfALineComesBeforeItsEnd) {
    TextSink out;
    ConsolePrefixer console{out, {"alpha", 6, std::nullopt}};
    put(console, "/ # ");
    EXPECT_EQ(out.text, "");
    console.flush();
    EXPECT_EQ(out.text, "alpha  | / # \n");
    console.flush();
    EXPECT_EQ(out.text, "alpha  | / # \n");
}

TEST(ConsolePrefixer, ALineWithoutEndIsPassedOnInPieces) {
    TextSink out;
    ConsolePrefixer console{out, {"a", 1, std::nullopt}};
    put(console, std::string(10'000, 'x'));
    EXPECT_EQ(out.text, "a | " + std::string(4096, 'x') + "\na | " + std::string(4096, 'x') + "\n");
}

TEST(ConsolePrefixer, ColoursOnlyThePrefix) {
    TextSink out;
    ConsolePrefixer console{out, {"a", 1, 7}};
    put(console, "text\n");
    EXPECT_EQ(out.text, "\x1b[32ma |\x1b[0m text\n");
}

}  // namespace
}  // namespace backplane
