#include "host/console_input.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "host/terminal.h"

namespace backplane {
namespace {

using Command = EscapeFilter::Command;

struct Filtered {
    std::string text;
    Command command;
};

Filtered filter(EscapeFilter& escape, std::string_view keys) {
    std::vector<std::byte> out;
    Command const command = escape.filter(std::as_bytes(std::span{keys}), out);
    return {{reinterpret_cast<char const*>(out.data()), out.size()}, command};
}

TEST(EscapeFilter, KnowsItsKey) {
    struct Case {
        std::string_view keys, text;
        Command command;
    };
    constexpr Case kCases[] = {
        {"ls\r", "ls\r", Command::none},       {"\x03", "\x03", Command::none},   {"\x01x", "", Command::quit},
        {"\x01X", "", Command::quit},          {"a\x01xb", "a", Command::quit},   {"\x01\x01", "\x01", Command::none},
        {"\x01\x01x", "\x01x", Command::none}, {"\x01q", "\x01q", Command::none},
    };
    for (Case const& c : kCases) {
        EscapeFilter escape;
        Filtered const got = filter(escape, c.keys);
        EXPECT_EQ(got.text, c.text);
        EXPECT_EQ(got.command, c.command) << c.keys;
    }
}

TEST(EscapeFilter, RemembersTheKeyBetweenReads) {
    EscapeFilter escape;
    EXPECT_EQ(filter(escape, "a\x01").text, "a");
    EXPECT_EQ(filter(escape, "x").command, Command::quit);
}

std::string take_all(ConsoleInput& input) {
    std::string text;
    std::array<std::byte, 3> buffer;  // smaller than what is there, on purpose
    while (std::size_t const got = input.take(buffer)) text.append(reinterpret_cast<char*>(buffer.data()), got);
    return text;
}

TEST(DescriptorInput, APipeIsPassedOnAsItIs) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    UniqueFd const read_end{ends[0]};
    UniqueFd write_end{ends[1]};
    StopFlags flags;
    DescriptorInput input{read_end.get(), flags};
    EXPECT_FALSE(input.is_interactive());
    EXPECT_EQ(take_all(input), "");
    EXPECT_FALSE(input.is_ended());
    ASSERT_EQ(::write(write_end.get(), "echo \x01x\n", 8), 8);
    EXPECT_EQ(take_all(input), "echo \x01x\n");
    EXPECT_FALSE(flags.should_stop());
    write_end = UniqueFd{};
    EXPECT_EQ(take_all(input), "");
    EXPECT_TRUE(input.is_ended());
}

TEST(DescriptorInput, ATerminalHasTheEscapeKey) {
    int outside = -1;
    int inside = -1;
    ASSERT_EQ(::openpty(&outside, &inside, nullptr, nullptr, nullptr), 0);
    UniqueFd const outer{outside};
    UniqueFd const inner{inside};
    auto const guard = TerminalGuard::create(inner.get());
    ASSERT_TRUE(guard);
    StopFlags flags;
    DescriptorInput input{inner.get(), flags};
    EXPECT_TRUE(input.is_interactive());
    ASSERT_EQ(::write(outer.get(), "\x03k\x01x", 4), 4);
    input.wait(std::chrono::seconds{5});
    EXPECT_EQ(take_all(input), "\x03k") << "Ctrl-C goes to the guest";
    EXPECT_TRUE(flags.is_interrupt_requested());
}

TEST(DescriptorInput, AClosedDescriptorHasEnded) {
    StopFlags flags;
    DescriptorInput input{-1, flags};
    std::array<std::byte, 1> buffer;
    EXPECT_EQ(input.take(buffer), 0U);
    EXPECT_FALSE(input.is_interactive());
}

}  // namespace
}  // namespace backplane
