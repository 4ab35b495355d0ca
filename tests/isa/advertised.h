// Which instructions are tested: those that the simulator's CPUID advertises, less a table of exclusions.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "form.h"

namespace backplane::isa {

/// CPUID of a processor: eax, ebx, ecx, edx of (leaf, subleaf).
using Cpuid = std::function<std::array<std::uint32_t, 4>(std::uint32_t leaf, std::uint32_t subleaf)>;
[[nodiscard]] Cpuid host_cpuid();

/// Answers whether an instruction is to be tested.
class Advertised {
  public:
    Advertised(Cpuid const& guest, Cpuid const& host);
    /// Advertised by the guest's processor, executable on the host, and not excluded.
    [[nodiscard]] bool contains(Decoded const& decoded) const;
    /// What the guest advertises and the host has not: cannot be compared here.
    [[nodiscard]] std::vector<std::string> const& missing_on_host() const { return missing_on_host_; }
    /// What the guest advertises and this program cannot generate: the test must not pass then.
    [[nodiscard]] std::vector<std::string> const& not_generated() const { return not_generated_; }

  private:
    std::array<bool, ZYDIS_ISA_SET_MAX_VALUE + 1> sets_{};
    std::vector<std::string> missing_on_host_;
    std::vector<std::string> not_generated_;
};

/// An instruction that is not compared, and why. Printed by --exclusions.
struct Exclusion {
    ZydisMnemonic mnemonic;
    char const* reason;
};
[[nodiscard]] std::vector<Exclusion> const& exclusions();

/// The excluded forms of mnemonics that are otherwise compared, in words.
[[nodiscard]] char const* excluded_forms();

/// Instructions that each processor approximates in its own way.
[[nodiscard]] bool is_approximation(ZydisMnemonic mnemonic);

/// Instructions that never end without a fault, so that a form of theirs counts as run when it has faulted.
[[nodiscard]] bool always_faults(ZydisMnemonic mnemonic);

}  // namespace backplane::isa
