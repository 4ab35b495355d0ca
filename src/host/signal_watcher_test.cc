#include "host/signal_watcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace backplane {
namespace {

template <typename Condition>
bool becomes_true(Condition condition) {
    for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    return condition();
}

TEST(SignalWatcher, TurnsSignalsIntoFlags) {
    StopFlags flags;
    auto const watcher = SignalWatcher::create(flags);
    ASSERT_TRUE(watcher);
    EXPECT_FALSE(flags.should_stop());
    ::kill(::getpid(), SIGTERM);
    EXPECT_TRUE(becomes_true([&] { return flags.is_termination_requested(); }));
    EXPECT_FALSE(flags.is_interrupt_requested());
    ::kill(::getpid(), SIGINT);
    EXPECT_TRUE(becomes_true([&] { return flags.is_interrupt_requested(); }));
}

TEST(SignalWatcher, GivesTheSignalsBack) {
    {
        StopFlags flags;
        ASSERT_TRUE(SignalWatcher::create(flags));
    }
    sigset_t now;
    ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &now), 0);
    EXPECT_EQ(::sigismember(&now, SIGINT), 0);
    EXPECT_EQ(::sigismember(&now, SIGTERM), 0);
}

TEST(SignalWatcher, TheSecondInterruptDoesNotWait) {
    pid_t const child = ::fork();
    if (child == 0) {
        StopFlags flags;
        auto const watcher = SignalWatcher::create(flags);
        ::kill(::getpid(), SIGINT);
        if (!becomes_true([&] { return flags.is_interrupt_requested(); })) ::_exit(1);
        ::kill(::getpid(), SIGINT);
        for (;;) ::pause();
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 130) << status;
}

}  // namespace
}  // namespace backplane
