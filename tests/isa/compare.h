// What differs between the two halves of a case, as lines to read.
#pragma once

#include <string>
#include <vector>

#include "program.h"

namespace backplane::isa {

/// One line for each difference; empty when both agree.
[[nodiscard]] std::vector<std::string> differences(Program const& program, Case const& from, Result const& interpreted);

/// The code, and of the state before it what its instructions use.
[[nodiscard]] std::string describe(Program const& program, Case const& from);

}  // namespace backplane::isa
