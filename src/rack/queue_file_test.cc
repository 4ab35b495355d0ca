#include "rack/queue_file.h"

#include <gtest/gtest.h>

namespace backplane {
namespace {

Expected<std::optional<QueueFile>, Error> read(std::string const& text) {
    auto const document = TomlDocument::parse(text, "r.toml");
    EXPECT_TRUE(document);
    return read_queue(document->top(), {"alpha", "beta", "gamma"});
}

std::uint16_t allowed(QueueFile const& file, std::uint32_t from, std::uint32_t to) {
    std::uint16_t calls = 0;
    for (QueueRule const& rule : file.rules)
        if (rule.from == from && rule.to == to) calls = static_cast<std::uint16_t>(calls | rule.calls);
    return calls;
}

TEST(QueueFile, NoTableMeansNoDevice) {
    auto const file = read("[rack]\n");
    ASSERT_TRUE(file);
    EXPECT_FALSE(file->has_value());
}

TEST(QueueFile, WithoutGroupsAllMachinesMayDoEverything) {
    QueueFile const file = **read("[queue]\n");
    EXPECT_EQ(file.options.transfer, TransferMode::remap);
    EXPECT_EQ(file.window_bytes, kDefaultQueueWindowBytes);
    EXPECT_EQ(allowed(file, 0, 2), 15);
    EXPECT_EQ(allowed(file, 1, 1), 0);
}

TEST(QueueFile, BetweenGroupsOnlyWhatIsSaidIsAllowed) {
    QueueFile const file = **read(
        "[queue]\ntransfer = \"cow\"\nwindow = \"512K\"\nwait = \"5ms\"\ndeadline = \"7ms\"\nqueued = \"64K\"\n"
        "[queue.group.web]\nmachines = [\"alpha\", \"beta\"]\n"
        "[queue.group.store]\nmachines = \"gamma\"\n"
        "[[queue.allow]]\nfrom = \"web\"\nto = \"store\"\ncalls = [\"send\", \"lend\"]\n"
        "[[queue.allow]]\nfrom = \"gamma\"\nto = \"alpha\"\ncalls = \"inline\"\n");
    EXPECT_EQ(file.options.transfer, TransferMode::cow);
    EXPECT_EQ(file.window_bytes, 512U << 10);
    EXPECT_EQ(file.options.wait, milliseconds(5));
    EXPECT_EQ(file.options.deadline, milliseconds(7));
    EXPECT_EQ(file.options.queued_bytes, 64U << 10);
    EXPECT_EQ(allowed(file, 0, 1), 15);
    EXPECT_EQ(allowed(file, 1, 2), QueuePeer::kMayDonate | QueuePeer::kMayLend);
    EXPECT_EQ(allowed(file, 2, 0), QueuePeer::kMayInline);
    EXPECT_EQ(allowed(file, 2, 1), 0);
}

TEST(QueueFile, QuotasOfAllOfAMachineAndOfARule) {
    QueueFile const file = **read(
        "[queue]\nin-flight = \"64K\"\nlent = \"1M\"\n"
        "[queue.machine.beta]\nborrowed = \"8K\"\nhandles = 3\n"
        "[[queue.allow]]\nfrom = \"alpha\"\nto = \"beta\"\nqueued = \"12K\"\n");
    EXPECT_EQ(file.quotas_of(0), (QueueQuotas{.flight_pages = 16, .lent_pages = 256}));
    EXPECT_EQ(file.quotas_of(1),
              (QueueQuotas{.flight_pages = 16, .lent_pages = 256, .borrowed_pages = 2, .handles = 3}));
    EXPECT_EQ(file.rules.back().queued_bytes, 12U << 10);
    EXPECT_FALSE(file.rules.front().queued_bytes);
}

TEST(QueueFile, WhatIsWrongIsNamedWithItsPlace) {
    struct Case {
        char const* text;
        char const* message;
    };
    for (Case const& c : {
             Case{"[queue]\ntransfer = \"move\"\n",
                  "r.toml:2:12: queue.transfer: \"move\"; expected \"remap\", \"cow\", \"shared\" or \"copy\""},
             Case{"[queue]\nwindow = \"3M\"\n",
                  "r.toml:2:10: queue.window: \"3M\"; expected a power of two, \"256K\" to \"256M\""},
             Case{"[queue]\nqueued = \"lots\"\n",
                  "r.toml:2:10: queue.queued: \"lots\"; expected a size such as \"4M\", \"4K\" to \"256M\""},
             Case{"[queue]\nhandles = 0\n", "r.toml:2:11: queue.handles: 0; expected 1 to 65536"},
             Case{"[queue.machine.bta]\nlent = \"4K\"\n",
                  "r.toml:1:1: queue.machine.bta: \"bta\"; expected one of alpha, beta, gamma; did you mean \"beta\"?"},
             Case{"[queue.machine.beta]\nlent = \"4\"\n",
                  "r.toml:2:8: queue.machine.beta.lent: \"4\"; expected a size such as \"4M\", \"4K\" to \"256M\""},
             Case{"[queue.group.alpha]\nmachines = []\n",
                  "r.toml:1:1: queue.group.alpha: is a machine's name; expected another"},
             Case{"[queue.group.g]\nmachines = []\n",
                  "r.toml:2:12: queue.group.g.machines: nothing; expected names of machines"},
             Case{"[queue.group.g]\nmachines = [\"bta\"]\n",
                  "r.toml:2:12: queue.group.g.machines: \"bta\"; expected one of alpha, beta, gamma; did you mean "
                  "\"beta\"?"},
             Case{"[queue]\n[[queue.allow]]\nfrom = \"alpha\"\nto = \"beta\"\ncalls = [\"talk\"]\n",
                  "r.toml:5:9: queue.allow[0].calls: \"talk\"; expected some of inline, send, lend, share"},
         }) {
        auto const file = read(c.text);
        ASSERT_FALSE(file) << c.text;
        EXPECT_EQ(file.error().message, c.message);
    }
}

}  // namespace
}  // namespace backplane
