// Finds the first block after which translator and interpreter differ, and says all about it
// (docs/design/translator.md).
//
// Both runs are repeatable, so the search begins them anew: it looks at every barrier, all memory included, then in
// pieces of the quantum in which they part, then block by block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "machine/machine.h"

namespace backplane {

/// A rack twice, from its beginning: with the translator, and in the interpreter.
class LockstepRun {
  public:
    virtual ~LockstepRun() = default;
    [[nodiscard]] virtual std::size_t machine_count() const = 0;
    [[nodiscard]] virtual Machine& translated(std::size_t machine) = 0;
    [[nodiscard]] virtual Machine& interpreted(std::size_t machine) = 0;
    /// Both to the next barrier; before it when a machine holds, and then on to the same barrier.
    virtual void run_to_barrier() = 0;
};
using MakeLockstepRun = std::function<Expected<std::unique_ptr<LockstepRun>, Error>()>;

/// What was seen: equal with all memory after so many barriers (0: the start), and different after so many.
struct SeenDifference {
    std::uint64_t equal_barriers;
    std::uint64_t different_barriers;
};

/// Several lines: which machine and processor, instruction count and time, the registers before, the block with its
/// host code, and what differs behind it. When the difference does not come again as it came, how far the search got.
/// \param should_stop  asked at each barrier; ends the search
[[nodiscard]] std::string explain_difference(MakeLockstepRun const& make, SeenDifference seen,
                                             std::function<bool()> const& should_stop);

}  // namespace backplane
