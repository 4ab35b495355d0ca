// The fixed processor: what CPUID says, the same on every host. It announces only what works (docs/design/cpu-model.md).
//
// AMD family 19h, because Linux then knows that the processor needs no page-table isolation and no mitigation for
// Meltdown, L1TF, MDS and their kin; with automatic IBRS it also leaves out retpolines. The bits that say so describe
// a processor that does not speculate, which is what an interpreter is. [APM3] appendix E, [SDM2A] CPUID
#include <bit>
#include <cstring>

#include "cpu/cpu.h"
#include "cpu/power_on.h"
#include "interrupt/local_apic.h"

namespace backplane {

namespace {

constexpr std::uint32_t bit(unsigned number) { return std::uint32_t{1} << number; }

constexpr std::uint32_t kHighestBasic = 0xd;
constexpr std::uint32_t kHighestExtended = 0x8000'0021;
constexpr std::uint32_t kHighestHypervisor = 0x4000'0001;

constexpr std::uint32_t kLeaf1Edx = bit(0) /* FPU */ | bit(2) /* DE */ | bit(3) /* PSE */ | bit(4) /* TSC */ | bit(5) /* MSR */ |
                                    bit(6) /* PAE */ | bit(7) /* MCE */ | bit(8) /* CX8 */ | bit(11) /* SEP */ | bit(12) /* MTRR */ | bit(13) /* PGE */ | bit(14) /* MCA */ |
                                    bit(15) /* CMOV */ | bit(16) /* PAT */ | bit(17) /* PSE36 */ | bit(19) /* CLFSH */ |
                                    bit(23) /* MMX */ | bit(24) /* FXSR */ | bit(25) /* SSE */ | bit(26) /* SSE2 */;
constexpr std::uint32_t kLeaf1Ecx = bit(0) /* SSE3 */ | bit(1) /* PCLMULQDQ */ | bit(9) /* SSSE3 */ | bit(13) /* CX16 */ | bit(17) /* PCID */ | bit(19) /* SSE4.1 */ |
                                    bit(20) /* SSE4.2 */ | bit(21) /* x2APIC */ | bit(22) /* MOVBE */ | bit(23) /* POPCNT */ |
                                    bit(24) /* TSC-deadline */ | bit(25) /* AES */ | bit(26) /* XSAVE */ | bit(30) /* RDRAND */ | bit(31) /* hypervisor */;
constexpr std::uint32_t kLeaf7Ebx = bit(0) /* FSGSBASE */ | bit(1) /* TSC_ADJUST */ | bit(3) /* BMI1 */ | bit(7) /* SMEP */ | bit(8) /* BMI2 */ | bit(9) /* ERMS */ | bit(10) /* INVPCID */ |
                                    bit(18) /* RDSEED */ | bit(19) /* ADX */ | bit(20) /* SMAP */ | bit(23) /* CLFLUSHOPT */ | bit(24) /* CLWB */ |
                                    bit(29) /* SHA */;
constexpr std::uint32_t kLeaf7Ecx = bit(2) /* UMIP */ | bit(22) /* RDPID */;
constexpr std::uint32_t kAvxLeaf1Ecx = bit(12) /* FMA */ | bit(28) /* AVX */ | bit(29) /* F16C */;
constexpr std::uint32_t kAvxLeaf7Ebx = bit(5) /* AVX2 */;
constexpr std::uint32_t kLeaf7Edx = bit(4) /* FSRM */;
constexpr std::uint32_t kExtended1Ecx = bit(0) /* LAHF */ | bit(5) /* LZCNT */ | bit(8) /* 3DNowPrefetch */;
constexpr std::uint32_t kExtended1Edx = (kLeaf1Edx & 0x0183'f3ff) | bit(11) /* SYSCALL */ | bit(20) /* NX */ |
                                        bit(26) /* 1 GiB pages */ | bit(27) /* RDTSCP */ | bit(29) /* long mode */;

using Leaf = std::array<std::uint32_t, 4>;

Leaf text(char const* first12) {
    Leaf leaf{};
    std::memcpy(&leaf[1], first12, 4);
    std::memcpy(&leaf[2], first12 + 8, 4);
    std::memcpy(&leaf[3], first12 + 4, 4);
    return leaf;
}
Leaf brand(unsigned part) {
    char name[48] = "Backplane fixed x86-64 processor, version 1";
    Leaf leaf;
    std::memcpy(leaf.data(), name + 16 * part, 16);
    return leaf;
}

/// Leaf 0DH: the areas of XSAVE ([SDM1] 13.2).
Leaf extended_state(std::uint32_t subleaf, std::uint64_t enabled, std::uint64_t supported) {
    constexpr std::uint32_t kLegacyAndHeader = 576, kAvxBytes = 256;
    auto const bytes = [](std::uint64_t components) {
        return kLegacyAndHeader + ((components & xcr0::kAvx) != 0 ? kAvxBytes : 0);
    };
    switch (subleaf) {
        case 0: return {static_cast<std::uint32_t>(supported), bytes(enabled), bytes(supported), 0};
        case 1: return {bit(0) /* XSAVEOPT */ | bit(1) /* XSAVEC */ | bit(2) /* XGETBV 1 */, bytes(enabled), 0, 0};
        case 2: return (supported & xcr0::kAvx) != 0 ? Leaf{kAvxBytes, kLegacyAndHeader, 0, 0} : Leaf{};
        default: return {};
    }
}

/// Leaf 0BH: the threads of a core, then the cores of the package ([SDM2A] CPUID).
Leaf topology_level(CpuTopology const& topology, std::uint32_t subleaf, std::uint32_t apic_id) {
    constexpr std::uint32_t kThreads = 1U << 8, kCores = 2U << 8;
    switch (subleaf) {
        case 0: return {topology.thread_bits(), topology.threads_per_core, kThreads | subleaf, apic_id};
        case 1: return {topology.package_bits(), topology.cpus, kCores | subleaf, apic_id};
        default: return {0, 0, subleaf, apic_id};
    }
}

/// Leaf 8000001DH: the caches and how many threads share each ([APM3] E.4.15).
Leaf cache(CpuTopology const& topology, std::uint32_t subleaf) {
    constexpr std::uint32_t kData = 1, kCode = 2, kUnified = 3;
    auto const eight_ways = [&](std::uint32_t type, std::uint32_t level, std::uint32_t sets) -> Leaf {
        return {type | level << 5 | bit(8) | (topology.threads_per_core - 1) << 14, 63U | 7U << 22, sets - 1, 0};
    };
    switch (subleaf) {
        case 0: return eight_ways(kData, 1, 64);
        case 1: return eight_ways(kCode, 1, 64);
        case 2: return eight_ways(kUnified, 2, 1024);
        default: return {};
    }
}

}  // namespace

std::array<std::uint32_t, 4> Cpu::cpuid(std::uint32_t leaf, std::uint32_t subleaf) const {
    bool const has_avx = (state_components() & xcr0::kAvx) != 0;
    bool const has_siblings = topology_.cpus > 1;
    // A basic leaf that does not exist answers as zero (AMD), and so do unknown hypervisor and extended leaves.
    switch (leaf) {
        case 0: {
            Leaf out = text("AuthenticAMD");
            out[0] = kHighestBasic;
            return out;
        }
        case 1:
            return {kProcessorSignature, apic_.id() << 24 | topology_.cpus << 16 | 8U << 8 /* CLFLUSH line: 8 quadwords */,
                    kLeaf1Ecx | (has_avx ? kAvxLeaf1Ecx : 0) | ((state_.cr4 & cr4::kXsave) != 0 ? bit(27) /* OSXSAVE */ : 0),
                    kLeaf1Edx | (apic_.is_enabled() ? bit(9) : 0) | (has_siblings ? bit(28) /* HTT: leaf 1 counts */ : 0)};
        case 6: return {bit(2) /* ARAT */, 0, 0, 0};
        case 7: return subleaf == 0 ? Leaf{0, kLeaf7Ebx | (has_avx ? kAvxLeaf7Ebx : 0), kLeaf7Ecx, kLeaf7Edx} : Leaf{};
        case 0xb: return topology_level(topology_, subleaf, apic_.id());
        case 0xd: return extended_state(subleaf, state_.xcr0, state_components());
        case 0x4000'0000: {
            // The paravirtual clock of KVM: without it Linux would calibrate the TSC against timers that are not there.
            char const signature[12] = {'K', 'V', 'M', 'K', 'V', 'M', 'K', 'V', 'M', 0, 0, 0};
            Leaf out{kHighestHypervisor, 0, 0, 0};
            std::memcpy(&out[1], signature, 12);
            return out;
        }
        case 0x4000'0001: return {bit(1) /* NOP_IO_DELAY */ | bit(3) /* CLOCKSOURCE2 */ | bit(24) /* CLOCKSOURCE_STABLE */, 0, 0, 0};
        case 0x8000'0000: {
            Leaf out = text("AuthenticAMD");
            out[0] = kHighestExtended;
            return out;
        }
        case 0x8000'0001:
            return {kProcessorSignature, 0, kExtended1Ecx | (has_siblings ? bit(22) /* topology extensions */ | (topology_.threads_per_core == 1 ? bit(1) /* CmpLegacy */ : 0) : 0),
                    kExtended1Edx | (apic_.is_enabled() ? bit(9) : 0)};
        case 0x8000'0002:
        case 0x8000'0003:
        case 0x8000'0004: return brand(leaf - 0x8000'0002);
        case 0x8000'0005: return {0, 0, 0x2008'0140, 0x2008'0140};  // L1 data and code: 32 KiB, 8 ways, 64-byte lines
        case 0x8000'0006: return {0, 0, 0x0200'6140, 0};            // L2: 512 KiB, 8 ways
        case 0x8000'0007: return {0, 0, 0, bit(8) /* invariant TSC */};
        case 0x8000'0008:
            return {48U << 8 | PageMap::kAddressBits,
                    bit(12) /* IBPB */ | bit(14) /* IBRS */ | bit(26) /* SSB_NO */ | bit(29) /* BTC_NO */ | bit(30) /* IBPB_RET */,
                    topology_.package_bits() << 12 | (topology_.cpus - 1), 0};
        case 0x8000'001d: return has_siblings ? cache(topology_, subleaf) : Leaf{};
        case 0x8000'001e:
            if (!has_siblings) return {};
            return {apic_.id(), (topology_.threads_per_core - 1) << 8 | apic_.id() >> topology_.thread_bits(), 0, 0};
        case 0x8000'0021:
            return {bit(2) /* LFENCE serialises */ | bit(6) /* a null selector clears the base */ | bit(8) /* automatic IBRS */ | bit(29) /* SRSO_NO */, 0,
                    bit(1) | bit(2) /* TSA_SQ_NO, TSA_L1_NO */, 0};
        default: return {};
    }
}

}  // namespace backplane
