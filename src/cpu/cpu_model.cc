#include "cpu/cpu_model.h"

#include <cpuid.h>

namespace backplane {

// Clang's __builtin_cpu_supports does not know F16C.
CpuModel widest_cpu_model() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __cpuid(1, eax, ebx, ecx, edx);
    constexpr unsigned kNeeded = 1U << 1 /* PCLMULQDQ */ | 1U << 20 /* SSE4.2 */ | 1U << 25 /* AES */ | 1U << 29 /* F16C */;
    // The built-in's answer includes that the host's kernel saves the registers (XCR0).
    bool const wide = (ecx & kNeeded) == kNeeded && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return wide ? CpuModel::avx2 : CpuModel::sse;
}

}  // namespace backplane
