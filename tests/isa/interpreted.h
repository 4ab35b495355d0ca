// The interpreted half: one simulated processor in 64-bit user mode, with the code and the window mapped where the
// native half has them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "advertised.h"
#include "base/error.h"
#include "base/expected.h"
#include "case.h"
#include "mmu/page_walk.h"

namespace backplane::isa {

/// What executes: every instruction by its handler, or translated code from the first run of each trace.
enum class Execution : std::uint8_t { interpreter, translator };

/// One access to data in one page, or an instruction's look at a page that it will write.
struct Access {
    std::uint64_t address;
    AccessKind kind;
};

class Interpreted {
  public:
    /// Errors: the host refused memory.
    [[nodiscard]] static Expected<Interpreted, Error> create(Execution execution);
    Interpreted(Interpreted&&) noexcept;
    ~Interpreted();

    /// Runs a case to its first fault, or for so many instructions. The outcome is kNoVector when it met none.
    void run(Case const& from, Result& to, std::uint64_t instructions = kManyInstructions);
    /// Goes on where the case stopped.
    void resume(Result& to);
    static constexpr std::uint64_t kManyInstructions = 100'000;

    /// From now on all accesses are noted, none is served by the TLB, and each may be made to fail.
    void watch_accesses();
    /// In the next run, the access of this number finds its page absent; none: all are as they are.
    void refuse_access(std::optional<std::size_t> number);
    /// Those of the last run.
    [[nodiscard]] std::vector<Access> const& accesses() const;
    [[nodiscard]] Cpuid cpuid() const;
    [[nodiscard]] std::uint64_t instructions() const;

  private:
    struct Machine;
    explicit Interpreted(std::unique_ptr<Machine> machine);
    std::unique_ptr<Machine> machine_;
};

}  // namespace backplane::isa
