// Which of our processors a guest gets: one, less what the host cannot carry out (docs/design/cpu-model.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace backplane {

enum class CpuModel : std::uint8_t {
    avx2,  ///< everything
    sse,   ///< without AVX, AVX2, FMA and F16C
};

inline constexpr std::string_view kCpuModelNames[] = {"avx2", "sse"};
[[nodiscard]] constexpr std::string_view cpu_model_name(CpuModel model) { return kCpuModelNames[static_cast<unsigned>(model)]; }

/// The name of an instruction set that both models need and this host lacks, or null.
[[nodiscard]] char const* missing_on_host();

/// The widest model whose instructions this host has.
[[nodiscard]] CpuModel widest_cpu_model();

}  // namespace backplane
