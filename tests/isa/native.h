// The native half, seen from the test: a child process that runs batches of cases on the host's processor.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "case.h"

namespace backplane::isa {

class Native {
  public:
    /// Starts the child; `program` is the path of isa_native.
    [[nodiscard]] static Expected<Native, Error> create(std::string program);
    Native(Native&& other) noexcept;
    Native& operator=(Native&&) = delete;
    ~Native();

    /// The cases to fill before run().
    [[nodiscard]] Case& slot(std::uint32_t i) { return mailbox_->cases[i]; }
    static constexpr std::uint32_t kBatch = Mailbox::kCases;

    /// Some hosts (seen: a guest of Firecracker on AMD family 1Ah) meet #GP on the way back to a program whose stack pointer
    /// is not canonical. There, cases get a canonical one, which this reports.
    [[nodiscard]] bool starts_with_any_stack_pointer() const { return starts_with_any_stack_pointer_; }
    /// Changes a case so that this host can start it.
    void fit(Case& to) const;

    /// Runs the first `count` cases. A case that killed or hung the child gets the outcome kNoVector; the child is then
    /// started anew and the cases behind it run. Errors: the child cannot be started any more.
    [[nodiscard]] Expected<void, Error> run(std::uint32_t count);

  private:
    Native(std::string program, UniqueFd memory, Mailbox* mailbox);
    [[nodiscard]] Expected<void, Error> start();
    [[nodiscard]] Expected<void, Error> probe_stack_pointers();
    void stop();
    [[nodiscard]] bool wait();

    std::string program_;
    UniqueFd memory_;
    Mailbox* mailbox_;
    pid_t child_{-1};
    bool starts_with_any_stack_pointer_{true};
    std::vector<Case> aside_;
};

}  // namespace backplane::isa
