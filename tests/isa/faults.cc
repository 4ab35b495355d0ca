#include "faults.h"

#include <algorithm>

#include "compare.h"
#include "cpu/exception.h"
#include "mmu/page_walk.h"

namespace backplane::isa {

namespace {

/// ENTER leaves below the stack what it has pushed; which may be what it was to copy, so that it cannot begin again.
bool is_enter(Instruction const& instruction) {
    return instruction.decoded.instruction.mnemonic == ZYDIS_MNEMONIC_ENTER;
}
/// Iterations of a repeated instruction stay done, and elements of a gather.
bool may_keep_progress(Instruction const& instruction) {
    bool const gathers = std::ranges::any_of(instruction.decoded.visible(), [](auto const& operand) {
        return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB;
    });
    return instruction.has_repeat() || gathers;
}

}  // namespace

std::vector<std::string> FaultInjector::run(Program const& program, Case const& from) {
    lines_.clear();
    stops_.clear();
    expected_.before = from.before;
    under_test_.refuse_access({});
    under_test_.run(from, undisturbed_);
    // Their number differs between runs: some are given up first and made by the instruction alone after that.
    for (std::size_t i = 0; i < kMostAccesses && lines_.empty(); ++i) {
        std::uint64_t const begin = under_test_.instructions();
        under_test_.refuse_access(i);
        under_test_.run(from, stopped_);
        under_test_.refuse_access({});
        if (under_test_.accesses().size() <= i) break;
        std::uint64_t const completed = under_test_.instructions() - begin;
        ++injected_;
        Stop const stop{stopped_.state.rip, under_test_.accesses()[i]};
        bool const granted = was_granted(stop.access, stop.rip);
        stops_.push_back(stop);
        auto const* const step = program.step_at(stop.rip);
        if (granted || (step != nullptr && is_enter(step->instruction))) continue;
        reference_.run(from, expected_.native, completed);
        compare_before(program, stop, step != nullptr && may_keep_progress(step->instruction));
        under_test_.resume(ended_);
        compare_after(program);
        if (!lines_.empty())
            lines_.insert(lines_.begin(), "with a fault at access " + std::to_string(i));
    }
    return std::move(lines_);
}

/// The instruction has been at this page before, to write. No processor lets a page go away within an instruction that
/// has looked at it: instructions of several stores look first and rely on it.
bool FaultInjector::was_granted(Access const& access, std::uint64_t rip) const {
    auto const other = [&](Stop const& stop) { return stop.rip != rip; };
    auto const first = std::find_if(stops_.rbegin(), stops_.rend(), other).base();
    return std::any_of(first, stops_.end(), [&](Stop const& stop) {
        return stop.access.kind == AccessKind::write && stop.access.address / kPage == access.address / kPage;
    });
}

void FaultInjector::compare_before(Program const& program, Stop const& stop, bool keeps_progress) {
    std::uint32_t const error = page_fault::kUser | (stop.access.kind == AccessKind::write ? page_fault::kWrite : 0);
    expected_.native.outcome = {static_cast<std::uint32_t>(ExceptionVector::page_fault), error, stop.access.address};
    if (!keeps_progress) add("stopped", differences(program, expected_, stopped_));
}

void FaultInjector::compare_after(Program const& program) {
    expected_.native = undisturbed_;
    add("resumed", differences(program, expected_, ended_));
}

void FaultInjector::add(std::string const& what, std::vector<std::string> const& lines) {
    for (std::string const& line : lines) lines_.push_back(what + ": " + line);
}

}  // namespace backplane::isa
