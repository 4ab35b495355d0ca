// How the processors of a machine hang together, as CPUID tells it. Processor n has APIC identifier n: the threads of one
// core are neighbours.
#pragma once

#include <bit>

namespace backplane {

inline constexpr unsigned kMaxCpus = 16;

struct CpuTopology {
    unsigned cpus{1};              ///< 1 to kMaxCpus, a multiple of threads_per_core
    unsigned threads_per_core{1};  ///< 1, or 2 for hyper-threading siblings
    /// Bits of an APIC identifier that tell the threads of a core apart, and all of a package.
    [[nodiscard]] constexpr unsigned thread_bits() const { return threads_per_core - 1; }
    [[nodiscard]] constexpr unsigned package_bits() const { return static_cast<unsigned>(std::bit_width(cpus - 1)); }
};

}  // namespace backplane
