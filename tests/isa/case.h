// One test case as both halves see it: code, state before, memory before, and what came out. Plain data, because it
// lies in memory that two processes share.
#pragma once

#include <sys/auxv.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace backplane::isa {

// Where things lie in both address spaces. The code and the window share one page table.
inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kCode = 0x1000'0000;  ///< two pages, readable, writable and executable
inline constexpr std::uint64_t kCodeBytes = 2 * kPage;
inline constexpr std::uint64_t kWindow = 0x1001'0000;       ///< data: what follows and precedes is not mapped
inline constexpr std::uint64_t kWritableBytes = 2 * kPage;  ///< its first part
inline constexpr std::uint64_t kWindowBytes = kWritableBytes + kPage;  ///< then one page that can only be read
inline constexpr std::uint64_t kGsBase = 0x0800'0000;                  ///< unless an instruction changes it
inline constexpr std::uint64_t kFsBase = 0x0400'0000;
inline constexpr std::size_t kMostCode = 512;
inline constexpr std::uint8_t kCodeFiller = 0xf4;  ///< HLT, which faults, where a case has no code

/// The state as FXSAVE64 lays it out ([SDM1] 10.5.1), up to XMM15.
struct FxState {
    std::uint16_t control;
    std::uint16_t status;
    std::uint8_t valid;  ///< one bit a physical register
    std::uint8_t reserved;
    std::uint16_t last_opcode;
    std::uint64_t last_instruction;
    std::uint64_t last_data;
    std::uint32_t mxcsr;
    std::uint32_t mxcsr_mask;
    struct Register {
        std::uint64_t significand;
        std::uint16_t sign_exponent;
        std::uint16_t padding[3];
    } st[8];  ///< ST(0) to ST(7)
    std::uint64_t xmm[16][2];
};
static_assert(sizeof(FxState) == 416);

struct alignas(16) UserState {
    std::uint64_t gpr[16];  ///< in the order of the encodings: rax rcx rdx rbx rsp rbp rsi rdi r8...
    std::uint64_t rip;
    std::uint64_t rflags;
    std::uint64_t fs_base;
    std::uint64_t gs_base;
    FxState fx;
    std::uint64_t ymm_high[16][2];  ///< bits 255:128
};

/// What ended the case: every case ends with an exception, that of the UD2 behind its code if nothing else happened.
struct Outcome {
    std::uint32_t vector;
    std::uint32_t error_code;
    std::uint64_t address;  ///< of a page fault
};
inline constexpr std::uint32_t kNoVector = 0xffff'ffff;

struct Result {
    UserState state;
    Outcome outcome;
    std::uint8_t window[kWritableBytes];
};

struct Case {
    UserState before;
    std::uint32_t code_offset;  ///< from kCode
    std::uint32_t code_bytes;
    std::uint8_t code[kMostCode];
    std::uint8_t window[kWindowBytes];
    Result native;
};

/// What the two processes share. Each counter is written by one side and waited for by the other (a futex).
struct Mailbox {
    static constexpr std::uint32_t kCases = 64;
    std::atomic<std::uint32_t> requested;  ///< batches asked for
    std::atomic<std::uint32_t> answered;   ///< batches done
    std::atomic<std::uint32_t> running;    ///< the case being run, for the report of a child that died
    std::uint32_t count;                   ///< cases in the batch
    Case cases[kCases];
};

/// Whether the kernel lets programs use RDFSBASE and its kin, and keeps what they write; CPUID alone does not say so.
inline bool has_fsgsbase() {
    constexpr unsigned long kHwcap2Fsgsbase = 2;  // Linux, arch/x86/include/uapi/asm/hwcap2.h
    return (getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) != 0;
}

/// The descriptor at which the child finds the mailbox.
inline constexpr int kMailboxFd = 3;

}  // namespace backplane::isa
