// DPPS and DPPD, defined here so that they are the same on every host: which of several NaNs a dot product gives is up to
// the processor's maker.
#pragma once

#include "cpu/simd.h"

namespace backplane {

/// The dot product of the elements that bits 7:4 of the immediate choose, in those that bits 3:0 choose, in the steps of
/// [SDM2A] DPPS. False: an exception arose that is not masked.
/// \param watched  not null: the processor, because exceptions are unmasked; those of one step keep the next from taking place
[[nodiscard]] bool dot_singles(Cpu* watched, Vector128 a, Vector128 b, unsigned immediate, Vector128& result);
[[nodiscard]] bool dot_doubles(Cpu* watched, Vector128 a, Vector128 b, unsigned immediate, Vector128& result);

}  // namespace backplane
