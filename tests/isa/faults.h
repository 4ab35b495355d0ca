// Faults at every memory access of a case: nothing of the instruction must have happened, and when the page is back, the
// case must end as if nothing had been.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "interpreted.h"
#include "program.h"

namespace backplane::isa {

class FaultInjector {
  public:
    /// \param under_test  whose accesses fail
    /// \param reference   runs the same instructions undisturbed, one by one by their handlers
    FaultInjector(Interpreted& under_test, Interpreted& reference) : under_test_{under_test}, reference_{reference} {}

    /// Runs the case once for each access it makes (the first kMostAccesses). One line for each difference.
    [[nodiscard]] std::vector<std::string> run(Program const& program, Case const& from);
    [[nodiscard]] std::uint64_t injected() const { return injected_; }

    static constexpr std::size_t kMostAccesses = 64;

  private:
    struct Stop {
        std::uint64_t rip;
        Access access;
    };
    [[nodiscard]] bool was_granted(Access const& access, std::uint64_t rip) const;
    void compare_before(Program const& program, Stop const& stop, bool keeps_progress);
    void compare_after(Program const& program);
    void add(std::string const& what, std::vector<std::string> const& lines);

    Interpreted& under_test_;
    Interpreted& reference_;
    std::uint64_t injected_{0};
    std::vector<Stop> stops_;  // so far, of this case
    Case expected_{};  // its native half is what the other is compared with
    Result undisturbed_{}, stopped_{}, ended_{};
    std::vector<std::string> lines_;
};

}  // namespace backplane::isa
