// The native half: a program of its own, so that its address space holds little but the cases' code and window, and no
// sanitizer's shadow. It needs no assembly: a signal handler takes the state of the case that ended out of its frame
// and puts the state of the next one in; returning from the handler starts it.
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "case.h"

namespace backplane::isa {
namespace {

Mailbox* mailbox;
void* window_alias;  // the window once more, all of it writable
std::uint32_t next_case = 0;
bool case_is_running = false;

constexpr int kGregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// Linux, arch/x86/include/uapi/asm/sigcontext.h: the software-reserved bytes of the frame's FXSAVE area say whether the
// XSAVE header follows.
constexpr std::size_t kMagicOffset = 464;
constexpr std::uint32_t kXstateMagic = 0x46505853;
constexpr std::size_t kXstateBitsOffset = 512;
constexpr std::size_t kYmmHighOffset = 576;  // [SDM1] 13.4.3, standard format
constexpr std::byte kX87AndSse{3}, kAvx{4};

/// The frame holds the upper halves of the YMM registers.
bool has_ymm = false;

// The bases of FS and GS are not in the frame. The handler needs its own FS (thread-local storage).
bool has_base_instructions = false;
std::uint64_t own_fs_base = 0;
std::uint64_t case_fs_base = 0;
std::uint64_t case_gs_base = kGsBase;

// Linux, arch/x86/include/uapi/asm/prctl.h
constexpr long kSetGs = 0x1001, kSetFs = 0x1002, kGetFs = 0x1003, kGetGs = 0x1004;
/// arch_prctl(2) without errno, which is thread-local.
void arch_prctl(long code, std::uint64_t argument) {
    long result = SYS_arch_prctl;
    asm volatile("syscall" : "+a"(result) : "D"(code), "S"(argument) : "rcx", "r11", "memory");
}
[[gnu::target("fsgsbase")]] void take_bases() {
    if (has_base_instructions) {
        case_fs_base = _readfsbase_u64();
        case_gs_base = _readgsbase_u64();
        _writefsbase_u64(own_fs_base);
    } else {
        arch_prctl(kGetFs, reinterpret_cast<std::uint64_t>(&case_fs_base));
        arch_prctl(kGetGs, reinterpret_cast<std::uint64_t>(&case_gs_base));
        arch_prctl(kSetFs, own_fs_base);
    }
}
[[gnu::target("fsgsbase")]] void put_bases(UserState const& state) {
    if (has_base_instructions) {
        _writegsbase_u64(state.gs_base);
        _writefsbase_u64(state.fs_base);
    } else {
        arch_prctl(kSetGs, state.gs_base);
        arch_prctl(kSetFs, state.fs_base);
    }
}

void take_result(ucontext_t const& context, Result& result) {
    auto const& machine = context.uc_mcontext;
    for (int i = 0; i < 16; ++i) result.state.gpr[i] = static_cast<std::uint64_t>(machine.gregs[kGregs[i]]);
    result.state.rip = static_cast<std::uint64_t>(machine.gregs[REG_RIP]);
    result.state.rflags = static_cast<std::uint64_t>(machine.gregs[REG_EFL]);
    std::memcpy(&result.state.fx, machine.fpregs, sizeof(FxState));
    auto const* const frame = reinterpret_cast<std::byte const*>(machine.fpregs);
    if (has_ymm && (frame[kXstateBitsOffset] & kAvx) != std::byte{0})
        std::memcpy(result.state.ymm_high, frame + kYmmHighOffset, sizeof result.state.ymm_high);
    else
        std::memset(result.state.ymm_high, 0, sizeof result.state.ymm_high);
    result.outcome = {static_cast<std::uint32_t>(machine.gregs[REG_TRAPNO]),
                      static_cast<std::uint32_t>(machine.gregs[REG_ERR]),
                      static_cast<std::uint64_t>(machine.gregs[REG_CR2])};
    result.state.fs_base = case_fs_base;
    result.state.gs_base = case_gs_base;
    std::memcpy(result.window, reinterpret_cast<void const*>(kWindow), kWritableBytes);
}

void start(Case const& next, ucontext_t& context) {
    std::memcpy(window_alias, next.window, kWindowBytes);
    std::memset(reinterpret_cast<void*>(kCode), kCodeFiller, kCodeBytes);
    std::memcpy(reinterpret_cast<void*>(kCode + next.code_offset), next.code, next.code_bytes);

    auto& machine = context.uc_mcontext;
    for (int i = 0; i < 16; ++i) machine.gregs[kGregs[i]] = static_cast<greg_t>(next.before.gpr[i]);
    machine.gregs[REG_RIP] = static_cast<greg_t>(next.before.rip);
    machine.gregs[REG_EFL] = static_cast<greg_t>(next.before.rflags);
    auto* const frame = reinterpret_cast<std::byte*>(machine.fpregs);
    std::uint32_t const mask = machine.fpregs->mxcr_mask;
    std::memcpy(frame, &next.before.fx, sizeof(FxState));
    machine.fpregs->mxcr_mask = mask;
    std::uint32_t magic;
    std::memcpy(&magic, frame + kMagicOffset, sizeof magic);
    if (magic != kXstateMagic) return;
    frame[kXstateBitsOffset] |= kX87AndSse;  // they are not in their initial state
    if (!has_ymm) return;
    frame[kXstateBitsOffset] |= kAvx;
    std::memcpy(frame + kYmmHighOffset, next.before.ymm_high, sizeof next.before.ymm_high);
}

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
    syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

void wait_for_batch() {
    std::uint32_t const answered = mailbox->answered.load();
    while (mailbox->requested.load() == answered) futex(mailbox->requested, FUTEX_WAIT, answered);
}

void on_signal(int, siginfo_t*, void* frame) {
    take_bases();  // nothing that uses thread-local storage may come before this
    // The kernel leaves these as the case had them.
    constexpr std::uint64_t kNestedTask = 1 << 14, kAlignmentCheck = 1 << 18, kIdentification = 1 << 21;
    __writeeflags(__readeflags() & ~(kNestedTask | kAlignmentCheck | kIdentification));

    auto& context = *static_cast<ucontext_t*>(frame);
    if (case_is_running) {
        take_result(context, mailbox->cases[next_case].native);
        ++next_case;
        if (next_case == mailbox->count) {
            next_case = 0;
            mailbox->answered.fetch_add(1);
            futex(mailbox->answered, FUTEX_WAKE, 1);
            wait_for_batch();
        }
    } else {
        wait_for_batch();
        case_is_running = true;
    }
    mailbox->running.store(next_case);
    start(mailbox->cases[next_case], context);
    put_bases(mailbox->cases[next_case].before);
}

void* map_fixed(std::uint64_t address, std::size_t bytes, int protection) {
    return mmap(reinterpret_cast<void*>(address), bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                -1, 0);
}

bool map_window() {
    int const memory = memfd_create("window", 0);
    if (memory < 0 || ftruncate(memory, kWindowBytes) != 0) return false;
    window_alias = mmap(nullptr, kWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (window_alias == MAP_FAILED) return false;
    auto const map = [&](std::uint64_t offset, std::size_t bytes, int protection) {
        return mmap(reinterpret_cast<void*>(kWindow + offset), bytes, protection,
                    MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, memory, static_cast<off_t>(offset)) != MAP_FAILED;
    };
    if (!map(0, kWritableBytes, PROT_READ | PROT_WRITE) || !map(kWritableBytes, kPage, PROT_READ)) return false;
    // Present from now on, as the guest's page tables have it: it shows in the error codes of page faults.
    std::memset(window_alias, 0, kWindowBytes);
    std::memset(reinterpret_cast<void*>(kWindow), 0, kWritableBytes);
    return *reinterpret_cast<char const volatile*>(kWindow + kWritableBytes) == 0;
}

int run() {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    void* const shared = mmap(nullptr, sizeof(Mailbox), PROT_READ | PROT_WRITE, MAP_SHARED, kMailboxFd, 0);
    if (shared == MAP_FAILED) return 2;
    mailbox = static_cast<Mailbox*>(shared);
    close(kMailboxFd);
    if (map_fixed(kCode, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC) == MAP_FAILED) return 3;
    std::memset(reinterpret_cast<void*>(kCode), kCodeFiller, kCodeBytes);  // present from now on
    if (!map_window()) return 4;
    arch_prctl(kSetGs, kGsBase);

    has_base_instructions = has_fsgsbase();
    arch_prctl(kGetFs, reinterpret_cast<std::uint64_t>(&own_fs_base));
    has_ymm = __builtin_cpu_supports("avx");

    constexpr std::size_t kStackBytes = 256 * 1024;
    void* const stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) return 5;
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = kStackBytes;
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    for (int const signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigaction(signal, &action, nullptr);
    raise(SIGTRAP);
    return 6;  // not reached: the handler never returns to here
}

}  // namespace
}  // namespace backplane::isa

int main() { return backplane::isa::run(); }
