// The interpreted half: one simulated processor in 64-bit user mode, with the code and the window mapped where the
// native half has them.
#pragma once

#include <memory>

#include "advertised.h"
#include "base/error.h"
#include "base/expected.h"
#include "case.h"

namespace backplane::isa {

/// What executes: every instruction by its handler, or translated code from the first run of each trace.
enum class Execution : std::uint8_t { interpreter, translator };

class Interpreted {
  public:
    /// Errors: the host refused memory.
    [[nodiscard]] static Expected<Interpreted, Error> create(Execution execution);
    Interpreted(Interpreted&&) noexcept;
    ~Interpreted();

    /// Runs a case to its first fault. The outcome is kNoVector when it met none within many instructions.
    void run(Case const& from, Result& to);
    [[nodiscard]] Cpuid cpuid() const;
    [[nodiscard]] std::uint64_t instructions() const;

  private:
    struct Machine;
    explicit Interpreted(std::unique_ptr<Machine> machine);
    std::unique_ptr<Machine> machine_;
};

}  // namespace backplane::isa
