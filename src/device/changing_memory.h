// Guest memory that changes between any two of a device's accesses, as if another processor of the guest had written
// it: for tests. No hook in the device or the memory: the watched pages cannot be accessed; the access that faults is
// counted, and let through as a single step.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"

namespace backplane::testing {

class ChangingMemory {
  public:
    /// Gets the page that is about to be accessed.
    using Change = std::function<void(ByteSpan page)>;

    /// \param pages  whole host pages; they outlive this
    explicit ChangingMemory(std::vector<ByteSpan> pages) : pages_{std::move(pages)} {}

    /// Runs `work` and calls `change` before its access number `n`, from 0, to the pages.
    /// \return whether there were so many
    bool run(std::uint64_t n, Change change, std::function<void()> const& work) {
        left_ = n;
        change_ = std::move(change);
        has_changed_ = false;
        current() = this;
        struct sigaction faults {
        }, steps{}, old_faults{}, old_steps{};
        faults.sa_sigaction = &on_fault;
        steps.sa_sigaction = &on_step;
        faults.sa_flags = steps.sa_flags = SA_SIGINFO;
        check(::sigaction(SIGSEGV, &faults, &old_faults) == 0 && ::sigaction(SIGTRAP, &steps, &old_steps) == 0,
              "signals can be handled");
        protect_all(PROT_NONE);
        work();
        protect_all(PROT_READ | PROT_WRITE);
        check(::sigaction(SIGSEGV, &old_faults, nullptr) == 0 && ::sigaction(SIGTRAP, &old_steps, nullptr) == 0,
              "signals can be handled");
        return has_changed_;
    }

  private:
    static constexpr greg_t kTrapFlag = 0x100;

    static ChangingMemory*& current() {
        static ChangingMemory* memory = nullptr;
        return memory;
    }
    static greg_t& flags_of(void* context) { return static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL]; }
    static void on_fault(int, siginfo_t* info, void* context) {
        ByteSpan const page = current()->page_at(static_cast<std::byte*>(info->si_addr));
        if (page.empty()) {
            (void)::signal(SIGSEGV, SIG_DFL);  // the access comes again
            return;
        }
        if (!current()->count(page)) flags_of(context) |= kTrapFlag;
    }
    static void on_step(int, siginfo_t*, void* context) {
        flags_of(context) &= ~kTrapFlag;
        for (std::size_t i = 0; i < current()->open_count_; ++i) protect(current()->open_[i], PROT_NONE);
        current()->open_count_ = 0;
    }
    /// \return whether that was the access; all pages are free from then on
    bool count(ByteSpan page) {
        if (left_-- != 0) {
            check(open_count_ < open_.size(), "an instruction reaches few pages");
            protect(open_[open_count_++] = page, PROT_READ | PROT_WRITE);
            return false;
        }
        protect_all(PROT_READ | PROT_WRITE);
        open_count_ = 0;
        has_changed_ = true;
        change_(page);
        return true;
    }
    [[nodiscard]] ByteSpan page_at(std::byte const* at) const {
        for (ByteSpan const page : pages_)
            if (at >= page.data() && at < page.data() + page.size()) return page;
        return {};
    }
    static void protect(ByteSpan page, int access) {
        check(::mprotect(page.data(), page.size(), access) == 0, "a page's protection can be changed");
    }
    void protect_all(int access) {
        for (ByteSpan const page : pages_) protect(page, access);
    }

    std::array<ByteSpan, 4> open_{};  // for the instruction that is being stepped
    std::size_t open_count_{0};
    std::vector<ByteSpan> pages_;
    Change change_;
    std::uint64_t left_{0};
    bool has_changed_{false};
};

}  // namespace backplane::testing
