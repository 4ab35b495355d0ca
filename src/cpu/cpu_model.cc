#include "cpu/cpu_model.h"

#include <cpuid.h>

namespace backplane {

char const* missing_on_host() {
    struct Needed {
        unsigned bit;  ///< of CPUID 1.ECX
        char const* name;
    };
    constexpr Needed kNeeded[] = {{0, "SSE3"},    {1, "PCLMULQDQ"}, {9, "SSSE3"}, {19, "SSE4.1"},
                                  {20, "SSE4.2"}, {23, "POPCNT"},   {25, "AES"}};
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __cpuid(1, eax, ebx, ecx, edx);
    for (Needed const& needed : kNeeded)
        if ((ecx >> needed.bit & 1) == 0) return needed.name;
    return nullptr;
}

// Clang's __builtin_cpu_supports does not know F16C.
CpuModel widest_cpu_model() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __cpuid(1, eax, ebx, ecx, edx);
    constexpr unsigned kNeeded = 1U << 29 /* F16C */;
    // The built-in's answer includes that the host's kernel saves the registers (XCR0).
    bool const wide = (ecx & kNeeded) == kNeeded && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return wide ? CpuModel::avx2 : CpuModel::sse;
}

}  // namespace backplane
