#include "host/terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "base/unique_fd.h"

namespace backplane {
namespace {

class TerminalTest : public testing::Test {
  protected:
    TerminalTest() {
        int outside = -1;
        int inside = -1;
        EXPECT_EQ(::openpty(&outside, &inside, nullptr, nullptr, nullptr), 0);
        outside_ = UniqueFd{outside};
        inside_ = UniqueFd{inside};
        before_ = mode();
    }

    [[nodiscard]] termios mode() const {
        termios now{};
        EXPECT_EQ(::tcgetattr(inside_.get(), &now), 0);
        return now;
    }
    [[nodiscard]] bool is_as_before() const {
        termios const now = mode();
        return now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag && now.c_lflag == before_.c_lflag &&
               now.c_cflag == before_.c_cflag && std::memcmp(now.c_cc, before_.c_cc, sizeof now.c_cc) == 0;
    }
    /// Runs `body` in a child that holds a guard, and gives its wait status.
    template <typename Body>
    [[nodiscard]] int status_of_child(Body body) const {
        pid_t const child = ::fork();
        if (child == 0) {
            auto const guard = TerminalGuard::create(inside_.get());
            if (!guard) ::_exit(99);
            body();
            ::_exit(98);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        return status;
    }

    UniqueFd outside_;
    UniqueFd inside_;
    termios before_{};
};

TEST_F(TerminalTest, PassesKeysOnRawAndLeavesOutputProcessingAlone) {
    auto const guard = TerminalGuard::create(inside_.get());
    ASSERT_TRUE(guard);
    EXPECT_EQ(mode().c_lflag & static_cast<tcflag_t>(ISIG | ICANON | ECHO), 0U);
    EXPECT_EQ(mode().c_iflag & static_cast<tcflag_t>(ICRNL | IXON), 0U);
    EXPECT_EQ(mode().c_oflag, before_.c_oflag);

    char const interrupt_key = 0x03;
    ASSERT_EQ(::write(outside_.get(), &interrupt_key, 1), 1);
    char got = 0;
    ASSERT_EQ(::read(inside_.get(), &got, 1), 1);
    EXPECT_EQ(got, interrupt_key);
}

TEST_F(TerminalTest, RestoresWhenTheGuardDies) {
    {
        auto guard = TerminalGuard::create(inside_.get());
        ASSERT_TRUE(guard);
        TerminalGuard const moved = *std::move(guard);
        EXPECT_FALSE(is_as_before());
    }
    EXPECT_TRUE(is_as_before());
    EXPECT_TRUE(TerminalGuard::create(inside_.get())) << "and can be taken again";
}

TEST_F(TerminalTest, OnlyOneGuardAtATime) {
    auto const guard = TerminalGuard::create(inside_.get());
    ASSERT_TRUE(guard);
    EXPECT_FALSE(TerminalGuard::create(inside_.get()));
    EXPECT_FALSE(is_as_before()) << "the refused second guard must not end the first";
}

TEST_F(TerminalTest, RestoresAtExit) {
    int const status = status_of_child([] { std::exit(7); });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
    EXPECT_TRUE(is_as_before());
}

TEST_F(TerminalTest, RestoresWhenASignalKills) {
    for (int const number : {SIGABRT, SIGTERM, SIGHUP, SIGINT, SIGQUIT}) {
        int const killed = status_of_child([number] { ::raise(number); });
        EXPECT_TRUE(WIFSIGNALED(killed) && WTERMSIG(killed) == number) << number << ": " << killed;
        EXPECT_TRUE(is_as_before()) << number;
    }
}

TEST_F(TerminalTest, RefusesWhatIsNoTerminal) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    UniqueFd const read_end{pipe_ends[0]};
    UniqueFd const write_end{pipe_ends[1]};
    EXPECT_FALSE(TerminalGuard::create(read_end.get()));
    EXPECT_FALSE(is_terminal(read_end.get()));
    EXPECT_TRUE(is_terminal(inside_.get()));
}

}  // namespace
}  // namespace backplane
