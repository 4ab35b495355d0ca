#include "rack/window_file.h"

#include <gtest/gtest.h>

namespace backplane {
namespace {

Expected<std::optional<WindowFile>, Error> read(std::string const& text) {
    auto const document = TomlDocument::parse(text, "r.toml");
    EXPECT_TRUE(document);
    return read_window(document->top(), {"alpha", "beta", "gamma"});
}

TEST(WindowFile, NoTableMeansNoDevice) {
    auto const file = read("[rack]\n");
    ASSERT_TRUE(file);
    EXPECT_FALSE(file->has_value());
}

TEST(WindowFile, WithoutKeysAllMachinesHaveASection) {
    WindowFile const file = **read("[window]\n");
    EXPECT_EQ(file.machines, (std::vector<std::uint32_t>{0, 1, 2}));
    EXPECT_EQ(file.layout.peers, 3U);
    EXPECT_EQ(file.layout.section_bytes, 64U << 10);
    EXPECT_EQ(file.layout.common_bytes, 0U);
    EXPECT_EQ(file.vectors, 1U);
}

TEST(WindowFile, SizesVectorsAndTheOrderOfThePeers) {
    WindowFile const file =
        **read("[window]\nsection = \"1M\"\ncommon = \"8K\"\nmachines = [\"gamma\", \"alpha\"]\nvectors = 4\n");
    EXPECT_EQ(file.layout.section_bytes, 1U << 20);
    EXPECT_EQ(file.layout.common_bytes, 8U << 10);
    EXPECT_EQ(file.layout.used_pages(), 2U + 2 * 256);
    EXPECT_EQ(file.vectors, 4U);
    EXPECT_EQ(file.position_of(2), 0U);
    EXPECT_EQ(file.position_of(0), 1U);
    EXPECT_FALSE(file.position_of(1));
}

TEST(WindowFile, MemoryOfAnotherAndPeersOutside) {
    WindowFile const file = **read("[window]\nbacking = \"/dev/zero\"\noutside = 2\nmachines = \"beta\"\n");
    EXPECT_EQ(file.backing, "/dev/zero");
    EXPECT_EQ(file.outside, 2U);
    EXPECT_EQ(file.layout.peers, 3U);
    EXPECT_EQ(file.position_of(1), 0U);
    EXPECT_FALSE((*read("[window]\n"))->backing);
}

TEST(WindowFile, WhatIsWrongIsNamedWithItsPlace) {
    struct Case {
        char const* text;
        char const* message;
    };
    for (Case const& c : {
             Case{"[window]\nsections = \"4K\"\n",
                  "r.toml:2:1: window.sections: unknown key; expected one of section, common, machines, vectors, backing, "
                  "outside; did you mean \"section\"?"},
             Case{"[window]\nsection = \"3K\"\n",
                  "r.toml:2:11: window.section: \"3K\"; expected a power of two, \"4K\" to \"256M\""},
             Case{"[window]\ncommon = \"much\"\n",
                  "r.toml:2:10: window.common: \"much\"; expected a power of two, \"4K\" to \"256M\""},
             Case{"[window]\nmachines = [\"alpha\", \"bta\"]\n",
                  "r.toml:2:12: window.machines: \"bta\"; expected one of alpha, beta, gamma; did you mean \"beta\"?"},
             Case{"[window]\nmachines = [\"alpha\", \"alpha\"]\n",
                  "r.toml:2:12: window.machines: \"alpha\" twice; expected each machine once"},
             Case{"[window]\nmachines = [\"alpha\"]\n", "r.toml:2:12: window.machines: 1 machines; expected 2 to 64"},
             Case{"[window]\nmachines = []\n", "r.toml:2:12: window.machines: 0 machines; expected 2 to 64"},
             Case{"[window]\nvectors = 33\n", "r.toml:2:11: window.vectors: 33; expected 1 to 32"},
             Case{"[window]\noutside = 1\n",
                  "r.toml:2:11: window.outside: memory that nobody outside can reach; expected backing = \"FILE\""},
             Case{"[window]\nbacking = \"/dev/zero\"\noutside = 64\n", "r.toml:3:11: window.outside: 64; expected 1 to 63"},
             Case{"[window]\nbacking = \"/dev/zero\"\noutside = 62\n", "r.toml:1:1: window.machines: 3 machines; expected 1 to 2"},
             Case{"[window]\nbacking = \"/none\"\n",
                  "r.toml:2:11: window.backing: /none: no such file; expected one that is there: it is never created"},
             Case{"[window]\nbacking = \"/tmp\"\n",
                  "r.toml:2:11: window.backing: /tmp: a folder; expected a file or character device that can be mapped"},
             Case{"[window]\nbacking = 1\n", "r.toml:2:11: window.backing: a whole number; expected a string"},
             Case{"[window]\nsection = \"64M\"\nbacking = \"/dev/zero\"\noutside = 2\n",
                  "r.toml:2:11: window.section: 64M for each of 5 peers; expected at most 256M in all"},
             Case{"[window]\nsection = \"128M\"\n",
                  "r.toml:2:11: window.section: 128M for each of 3 machines; expected at most 256M in all"},
         }) {
        auto const file = read(c.text);
        ASSERT_FALSE(file) << c.text;
        EXPECT_EQ(file.error().message, c.message);
    }
}

}  // namespace
}  // namespace backplane
