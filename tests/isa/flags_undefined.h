// The one table of flags that an instruction leaves undefined, so that they are not compared.
#pragma once

#include <cstdint>
#include <optional>

#include "form.h"

namespace backplane::isa {

/// What an instruction does to the six arithmetic flags, as bits of RFLAGS.
struct FlagEffect {
    std::uint64_t undefined;  ///< may hold anything afterwards
    std::uint64_t defined;    ///< certainly have a defined value afterwards, whatever they were before
    std::uint64_t read;
};

/// \param rcx  the count's register where it is known: shifts and REP are then told exactly, else conservatively
[[nodiscard]] FlagEffect flag_effect(Decoded const& decoded, std::optional<std::uint64_t> rcx);

/// True when the table says the same as Zydis' own data about a form (the count taken as unknown).
[[nodiscard]] bool agrees_with_zydis(Decoded const& decoded);

}  // namespace backplane::isa
