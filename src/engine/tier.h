// How the simulator's processor executes instructions.
#pragma once

#include <cstdint>

namespace backplane {

enum class Tier : std::uint8_t {
    interpreter,  ///< every instruction by its handler
    translator,   ///< hot code as host code, the rest by handlers; the same results to the instruction
};

}  // namespace backplane
