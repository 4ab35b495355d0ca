// Lock-step: the same machine in the interpreter and in the translator, compared at every barrier
// (docs/design/translator.md).
#pragma once

#include <optional>
#include <string>

#include "machine/machine.h"

namespace backplane {

/// The first differences between two machines that should be in the same state, in one line; none: they are equal.
/// Compares instruction counts, clocks and the whole architectural state.
[[nodiscard]] std::optional<std::string> find_difference(Machine const& translated, Machine const& interpreted);

/// The first page of RAM that differs: a look at all memory.
[[nodiscard]] std::optional<std::string> find_memory_difference(Machine const& translated, Machine const& interpreted);

}  // namespace backplane
