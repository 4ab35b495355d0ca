#include "rack/nearest_word.h"

#include <gtest/gtest.h>

#include <array>

namespace backplane {
namespace {

constexpr std::array<std::string_view, 4> kKnown{"memory", "kernel", "nic", "run"};

TEST(NearestWord, FindsSlips) {
    EXPECT_EQ(nearest_word("memroy", kKnown), "memory");  // one swap
    EXPECT_EQ(nearest_word("memor", kKnown), "memory");
    EXPECT_EQ(nearest_word("kernal", kKnown), "kernel");
    EXPECT_EQ(nearest_word("nics", kKnown), "nic");
    EXPECT_EQ(nearest_word("rnu", kKnown), "run");
}

TEST(NearestWord, LeavesOtherWordsAlone) {
    EXPECT_EQ(nearest_word("colour", kKnown), "");
    EXPECT_EQ(nearest_word("", kKnown), "");
    EXPECT_EQ(nearest_word(std::string(100'000, 'm'), kKnown), "");
    EXPECT_EQ(did_you_mean("colour", kKnown), "");
    EXPECT_EQ(did_you_mean("nic", kKnown), "") << "right word, wrong place";
    EXPECT_EQ(did_you_mean("nics", kKnown), "; did you mean \"nic\"?");
}

}  // namespace
}  // namespace backplane
