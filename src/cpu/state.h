// The architectural state of one processor: plain data, comparable, the same for every engine.
#pragma once

#include <array>
#include <cstdint>

namespace backplane {

enum Gpr : std::uint8_t { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
enum SegmentName : std::uint8_t { es, cs, ss, ds, fs, gs };

/// A segment register with its hidden part ([SDM3A] 3.4.3), limit in bytes.
struct Segment {
    std::uint16_t selector{0};
    std::uint64_t base{0};
    std::uint32_t limit{0};
    std::uint8_t type{0};       ///< bits 11:8 of the descriptor's second word
    bool code_or_data{false};   ///< S
    std::uint8_t dpl{0};
    bool present{false};
    bool long_mode{false};      ///< L
    bool big{false};            ///< D/B
    bool granular{false};       ///< G
    bool available{false};      ///< AVL
    bool operator==(Segment const&) const = default;
};

struct DescriptorTable {
    std::uint64_t base{0};
    std::uint16_t limit{0xffff};
    bool operator==(DescriptorTable const&) const = default;
};

namespace cr0 {
inline constexpr std::uint64_t kProtection = 1 << 0, kMonitorCoprocessor = 1 << 1, kEmulation = 1 << 2,
                               kTaskSwitched = 1 << 3, kExtensionType = 1 << 4, kNumericError = 1 << 5,
                               kWriteProtect = 1 << 16, kAlignmentMask = 1 << 18, kNotWriteThrough = 1 << 29,
                               kCacheDisable = 1 << 30, kPaging = std::uint64_t{1} << 31;
}
namespace cr4 {
inline constexpr std::uint64_t kTimeStampDisable = 1 << 2, kDebuggingExtensions = 1 << 3, kPageSizeExtensions = 1 << 4,
                               kPhysicalAddressExtension = 1 << 5, kMachineCheck = 1 << 6, kGlobalPages = 1 << 7,
                               kPerformanceCounters = 1 << 8, kFxsave = 1 << 9, kSimdExceptions = 1 << 10,
                               kUserModeInstructionPrevention = 1 << 11, kFsgsbase = 1 << 16, kPcid = 1 << 17,
                               kXsave = 1 << 18, kSmep = 1 << 20, kSmap = 1 << 21;
}
namespace efer {
inline constexpr std::uint64_t kSyscall = 1 << 0, kLongModeEnable = 1 << 8, kLongModeActive = 1 << 10,
                               kNoExecute = 1 << 11, kFastFxsave = 1 << 14;
}

namespace xcr0 {
/// State components ([SDM1] 13.1).
inline constexpr std::uint64_t kX87 = 1 << 0, kSse = 1 << 1, kAvx = 1 << 2;
}

namespace dr6 {
inline constexpr std::uint64_t kBreakpoints = 15, kRegisterAccess = 1 << 13, kSingleStep = 1 << 14, kTaskSwitch = 1 << 15;
}
namespace dr7 {
inline constexpr std::uint64_t kGeneralDetect = 1 << 13;
}

/// 16 bytes of a vector register.
struct alignas(16) Xmm {
    std::array<std::uint64_t, 2> words{};
    bool operator==(Xmm const&) const = default;
};

/// An x87 register: 64-bit significand, sign and 15-bit exponent.
struct X87Register {
    std::uint64_t significand{0};
    std::uint16_t sign_exponent{0};
    bool operator==(X87Register const&) const = default;
};

/// [SDM1] 8.1. Registers are in physical order R0..R7; ST(i) is registers[(TOP + i) & 7].
struct X87State {
    std::array<X87Register, 8> registers{};
    std::uint16_t control{0x37f};
    std::uint16_t status{0};      ///< TOP in bits 13:11
    std::uint8_t valid{0};        ///< one bit a physical register: 1 = not empty (the abridged tag of FXSAVE)
    std::uint16_t last_opcode{0};
    std::uint64_t last_instruction{0};
    std::uint64_t last_data{0};
    bool operator==(X87State const&) const = default;
};

struct CpuState {
    std::array<std::uint64_t, 16> gpr{};
    std::uint64_t rip{0xfff0};
    std::uint64_t rflags{2};
    std::array<Segment, 6> segments{};
    Segment ldtr{};
    Segment tr{};
    DescriptorTable gdtr{};
    DescriptorTable idtr{};
    std::uint64_t cr0{cr0::kCacheDisable | cr0::kNotWriteThrough | cr0::kExtensionType};
    std::uint64_t cr2{0};
    std::uint64_t cr3{0};
    std::uint64_t cr4{0};
    std::uint64_t efer{0};
    std::uint64_t xcr0{1};
    std::array<std::uint64_t, 4> dr{};
    std::uint64_t dr6{0xffff0ff0};
    std::uint64_t dr7{0x400};
    X87State x87{};
    std::array<Xmm, 16> xmm{};
    std::array<Xmm, 16> ymm_high{};  ///< bits 255:128: apart, as XSAVE has them, so that SSE alone does not touch them
    std::uint32_t mxcsr{0x1f80};

    // Model-specific registers that instructions use directly; the rest is in cpu/msr.
    std::uint64_t star{0}, lstar{0}, cstar{0}, sfmask{0};
    std::uint64_t kernel_gs_base{0};
    std::uint64_t sysenter_cs{0}, sysenter_esp{0}, sysenter_eip{0};
    std::uint64_t tsc_aux{0};

    /// The page-directory-pointer entries, loaded with CR3 in PAE mode ([SDM3A] 4.4.1).
    std::array<std::uint64_t, 4> pdpte{};

    /// Debug traps met but not delivered yet, as bits of DR6.
    std::uint64_t pending_debug{0};

    bool halted{false};
    /// After INIT, of any but the bootstrap processor: halted until a start-up message ([SDM3A] 9.4.3).
    bool waits_for_startup{false};
    /// A non-maskable interrupt was delivered and IRET has not been executed since ([SDM3A] 6.7.1).
    bool nmi_blocked{false};
    /// Interrupts are held off for one instruction: after STI, MOV SS, POP SS.
    bool interrupt_shadow{false};
    /// Debug exceptions too are held off: after MOV SS and POP SS ([SDM3A] 6.8.3).
    bool trap_shadow{false};

    bool operator==(CpuState const&) const = default;
};

}  // namespace backplane
