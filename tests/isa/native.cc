#include "native.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

extern char** environ;

namespace backplane::isa {
namespace {

constexpr unsigned kRsp = 4;
constexpr std::uint64_t kFirstNonCanonical = std::uint64_t{1} << 47;

}  // namespace

Native::Native(std::string program, UniqueFd memory, Mailbox* mailbox)
    : program_{std::move(program)}, memory_{std::move(memory)}, mailbox_{mailbox} {}

Native::Native(Native&& other) noexcept
    : program_{std::move(other.program_)},
      memory_{std::move(other.memory_)},
      mailbox_{std::exchange(other.mailbox_, nullptr)},
      child_{std::exchange(other.child_, -1)},
      starts_with_any_stack_pointer_{other.starts_with_any_stack_pointer_} {}

Native::~Native() {
    stop();
    if (mailbox_ != nullptr) munmap(mailbox_, sizeof(Mailbox));
}

Expected<Native, Error> Native::create(std::string program) {
    UniqueFd memory{memfd_create("isa-mailbox", 0)};
    if (!memory.is_open()) return Unexpected{host_error("memfd_create", errno)};
    if (ftruncate(memory.get(), sizeof(Mailbox)) != 0) return Unexpected{host_error("ftruncate", errno)};
    void* const shared = mmap(nullptr, sizeof(Mailbox), PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    if (shared == MAP_FAILED) return Unexpected{host_error("mmap", errno)};
    Native native{std::move(program), std::move(memory), static_cast<Mailbox*>(shared)};
    BACKPLANE_TRY_VOID(native.start());
    BACKPLANE_TRY_VOID(native.probe_stack_pointers());
    return Expected<Native, Error>{std::move(native)};
}

Expected<void, Error> Native::start() {
    mailbox_->requested = 0;
    mailbox_->answered = 0;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // dup2 of a descriptor onto itself keeps it open only if it is not close-on-exec, and this one is not.
    posix_spawn_file_actions_adddup2(&actions, memory_.get(), kMailboxFd);
    char* const arguments[] = {program_.data(), nullptr};
    int const failed = posix_spawn(&child_, program_.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        child_ = -1;
        return Unexpected{host_error(program_, failed)};
    }
    return {};
}

Expected<void, Error> Native::probe_stack_pointers() {
    Case& probe = mailbox_->cases[0];
    probe = {};
    constexpr std::uint8_t kUd2[] = {0x0f, 0x0b};
    std::ranges::copy(kUd2, probe.code);
    probe.code_bytes = sizeof kUd2;
    probe.before.rip = kCode;
    probe.before.rflags = 0x202;
    probe.before.gpr[kRsp] = kFirstNonCanonical;
    probe.before.fx.control = 0x37f;
    probe.before.fx.mxcsr = 0x1f80;
    BACKPLANE_TRY_VOID(run(1));
    constexpr std::uint32_t kInvalidOpcode = 6;
    starts_with_any_stack_pointer_ = probe.native.outcome.vector == kInvalidOpcode;
    return {};
}

void Native::fit(Case& to) const {
    if (starts_with_any_stack_pointer_) return;
    auto& rsp = to.before.gpr[kRsp];
    rsp = static_cast<std::uint64_t>(static_cast<std::int64_t>(rsp << 16) >> 16);
}

void Native::stop() {
    if (child_ < 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
}

/// True when the batch was answered, false when the child died or took ten seconds.
bool Native::wait() {
    constexpr int kTries = 100;
    timespec const slice{0, 100'000'000};
    for (int i = 0; i < kTries; ++i) {
        std::uint32_t const answered = mailbox_->answered.load();
        if (answered == mailbox_->requested.load()) return true;
        syscall(SYS_futex, &mailbox_->answered, FUTEX_WAIT, answered, &slice, nullptr, 0);
        if (mailbox_->answered.load() == mailbox_->requested.load()) return true;
        if (waitpid(child_, nullptr, WNOHANG) == child_) {
            child_ = -1;
            return false;
        }
    }
    return false;
}

Expected<void, Error> Native::run(std::uint32_t count) {
    std::uint32_t const total = count;
    std::uint32_t done = 0;  // cases set aside in front
    while (done < total) {
        mailbox_->count = total - done;
        mailbox_->running = 0;
        mailbox_->requested.fetch_add(1);
        syscall(SYS_futex, &mailbox_->requested, FUTEX_WAKE, 1, nullptr, nullptr, 0);
        if (wait()) break;
        // The case that ended the child is set aside with those before it; what is behind it runs in a new child.
        std::uint32_t const culprit = std::min(mailbox_->running.load(), total - done - 1);
        stop();
        mailbox_->cases[culprit].native.outcome = {kNoVector, 0, 0};
        for (std::uint32_t i = 0; i <= culprit; ++i) aside_.push_back(mailbox_->cases[i]);
        std::move(mailbox_->cases + culprit + 1, mailbox_->cases + (total - done), mailbox_->cases);
        done += culprit + 1;
        BACKPLANE_TRY_VOID(start());
    }
    if (done == 0) return {};
    std::move_backward(mailbox_->cases, mailbox_->cases + (total - done), mailbox_->cases + total);
    std::move(aside_.begin(), aside_.end(), mailbox_->cases);
    aside_.clear();
    return {};
}

}  // namespace backplane::isa
