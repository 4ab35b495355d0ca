// Cases of one instruction, whose state is made to fit it.
#pragma once

#include <optional>

#include "program.h"
#include "random.h"

namespace backplane::isa {

/// Fills a case with one instruction of `form`. Empty when none could be made.
[[nodiscard]] std::optional<Program> make_single(Form const& form, Rng& rng, MemoryPattern const& pattern, Case& to);

/// A linear address for an access of `bytes`: mostly in the window, at its borders, or outside.
[[nodiscard]] std::uint64_t random_address(Rng& rng, std::uint64_t bytes);

}  // namespace backplane::isa
