#include "rack/block_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "debug/block_book.h"
#include "debug/inspect.h"
#include "rack/lockstep.h"
#include "rack/printable.h"
#include "rack/state_difference.h"

namespace backplane {
namespace {

/// Instructions between two looks at all memory, in the quantum in which the runs part.
constexpr std::uint64_t kPiece = 16'384;
/// Pages that are looked at after each block, of those that differ in the end.
constexpr std::size_t kMostPages = 64;
/// Words of each page that the report shows.
constexpr std::size_t kMostWords = 8;

/// One processor's instructions at its present place.
struct Place {
    unsigned cpu;
    CpuState state;
    std::optional<GuestPhys> physical;
    Trace const* trace;  ///< null: not decoded yet, or not 64-bit code
};

Place place_of(Machine const& machine) {
    unsigned const cpu = machine.current_cpu();
    SimEngine const& engine = machine.engine(cpu);
    Place place{cpu, engine.state(), {}, nullptr};
    place.physical =
        translate_quietly(machine.memory(), place.state, GuestVirt{place.state.rip + place.state.segments[cs].base});
    bool const is_64_bit = (place.state.efer & efer::kLongModeActive) != 0 && place.state.segments[cs].long_mode;
    if (place.physical && is_64_bit)
        place.trace = engine.cpu().traces().find(place.physical->value(), CodeMode::bits64);
    return place;
}

/// A machine between two blocks.
struct Snapshot {
    std::vector<CpuState> states;
    std::vector<std::uint64_t> instructions;
    std::uint64_t now_ns;
    std::vector<std::vector<std::byte>> pages;
};

Snapshot snapshot_of(Machine const& machine, std::vector<GuestPage> const& pages) {
    Snapshot out;
    for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu) {
        out.states.push_back(machine.engine(cpu).state());
        out.instructions.push_back(machine.engine(cpu).instructions());
    }
    out.now_ns = machine.now().ns();
    for (GuestPage const page : pages) out.pages.push_back(copy_of_page(machine, page));
    return out;
}

bool is_equal(Machine const& translated, Machine const& interpreted) {
    return translated.state() == interpreted.state() && !find_difference(translated, interpreted);
}

/// Both sides behind the block, and what was before it.
struct Parting {
    Machine const& translated;
    Machine const& interpreted;
    Snapshot const& before;
    std::vector<GuestPage> const& pages;
};

std::string row(std::string const& name, std::string const& before, std::string const& translated,
                std::string const& interpreted) {
    auto const marked = [&](std::string const& value) { return value + (value == before ? "" : " *"); };
    return fmt::format("  {:<18} {:<20} {:<22} {}\n", name, before, marked(translated), marked(interpreted));
}

std::string number(std::uint64_t value) { return fmt::format("{:#x}", value); }

void add_words(std::string& text, Parting const& parting, std::size_t index) {
    GuestPage const page = parting.pages[index];
    auto const translated = copy_of_page(parting.translated, page),
               interpreted = copy_of_page(parting.interpreted, page);
    auto const& before = parting.before.pages[index];
    auto const word = [](std::vector<std::byte> const& bytes, std::size_t at) {
        return at + 8 <= bytes.size() ? number(load<std::uint64_t>(bytes, at)) : std::string{"no RAM"};
    };
    std::size_t shown = 0;
    for (std::size_t at = 0; at < kPageBytes; at += 8) {
        if (word(translated, at) == word(interpreted, at)) continue;
        if (++shown <= kMostWords)
            text += row(fmt::format("memory {:#x}", address_of(page).value() + at), word(before, at),
                        word(translated, at), word(interpreted, at));
    }
    if (shown > kMostWords)
        fmt::format_to(std::back_inserter(text), "  and {} words more of this page\n", shown - kMostWords);
}

std::string state_text(Machine const& machine) {
    return machine.state() == Machine::State::running ? "runs"
           : machine.cause().empty()                  ? "ended"
                                                      : printable(machine.cause());
}

std::string differences(Parting const& parting) {
    std::string text = fmt::format("  {:<18} {:<20} {:<22} {}\n", "", "before", "translated", "interpreted");
    for (unsigned cpu = 0; cpu < parting.translated.cpu_count(); ++cpu) {
        std::string const prefix = parting.translated.cpu_count() == 1 ? "" : fmt::format("cpu{} ", cpu);
        CpuState const& before = parting.before.states[cpu];
        CpuState const translated = parting.translated.engine(cpu).state(),
                       interpreted = parting.interpreted.engine(cpu).state();
        auto const counted = [cpu](Machine const& machine) {
            return std::to_string(machine.engine(cpu).instructions());
        };
        if (counted(parting.translated) != counted(parting.interpreted))
            text += row(prefix + "instructions", std::to_string(parting.before.instructions[cpu]),
                        counted(parting.translated), counted(parting.interpreted));
        for (std::string const& name : different_registers(translated, interpreted))
            text += row(prefix + name, register_value(before, name), register_value(translated, name),
                        register_value(interpreted, name));
    }
    if (parting.translated.now() != parting.interpreted.now())
        text += row("clock (ns)", std::to_string(parting.before.now_ns), std::to_string(parting.translated.now().ns()),
                    std::to_string(parting.interpreted.now().ns()));
    if (parting.translated.state() != parting.interpreted.state())
        text += row("machine", "runs", state_text(parting.translated), state_text(parting.interpreted));
    for (std::size_t i = 0; i < parting.pages.size(); ++i) add_words(text, parting, i);
    return text + "  (*: not what it was before the block)\n";
}

/// Instructions from linear memory, for a block that is not translated.
std::string guest_code(Machine const& machine, Place const& place, std::uint64_t count) {
    Disassembler const disassembler;
    std::uint64_t at = place.state.rip + place.state.segments[cs].base;
    bool const is_64_bit = (place.state.efer & efer::kLongModeActive) != 0 && place.state.segments[cs].long_mode;
    CodeMode const mode = is_64_bit                      ? CodeMode::bits64
                          : place.state.segments[cs].big ? CodeMode::bits32
                                                         : CodeMode::bits16;
    std::string text;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::array<std::byte, 15> bytes{};
        std::size_t const got = peek(machine.memory(), place.state, GuestVirt{at}, bytes);
        auto const line = disassembler.line(ConstByteSpan{bytes}.first(got), mode, at);
        if (line.bytes == 0) break;
        fmt::format_to(std::back_inserter(text), "{:016x}  {}  {}\n", at,
                       hex_bytes(ConstByteSpan{bytes}.first(line.bytes)), line.text);
        at += line.bytes;
    }
    return text;
}

/// What the translated side would run at once.
std::uint64_t count_at(Place const& place) {
    if (place.trace == nullptr) return 1;
    return place.trace->code != nullptr ? place.trace->code_count : place.trace->count;
}

class BlockSearch {
  public:
    BlockSearch(MakeLockstepRun const& make, SeenDifference seen, std::function<bool()> const& should_stop)
        : make_{make}, seen_{seen}, should_stop_{should_stop} {}

    /// False: the search is over, and the text says why.
    using Step = Expected<bool, Error>;
    std::string run() {
        Step (BlockSearch::*const steps[])() = {&BlockSearch::find_barrier, &BlockSearch::find_piece,
                                                &BlockSearch::find_block};
        for (auto const step : steps) {
            auto const found = (this->*step)();
            if (!found)
                return text_ + "the search for the block cannot go on: " + printable(found.error().message) + '\n';
            if (!*found) break;
        }
        return std::move(text_);
    }

  private:
    bool give_up(std::string_view why) { return text_ += why, text_ += '\n', false; }

    [[nodiscard]] Expected<void, Error> restart(std::uint64_t barriers) {
        run_.reset();
        books_.clear();
        run_ = BACKPLANE_TRY(make_());
        for (std::size_t i = 0; i < run_->machine_count(); ++i) listen(run_->translated(i));
        for (std::uint64_t i = 0; i < barriers; ++i) {
            if (should_stop_()) return Unexpected{bad_input("interrupted")};
            run_->run_to_barrier();
        }
        return {};
    }
    void listen(Machine& machine) {
        for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
            machine.engine(cpu).add_code_listener(*books_.emplace_back(std::make_unique<BlockBook>()));
    }
    /// In the order of listen().
    [[nodiscard]] BlockBook const& book(unsigned cpu) {
        std::size_t index = cpu;
        for (std::size_t i = 0; i < machine_; ++i) index += run_->translated(i).cpu_count();
        return *books_[index];
    }

    Step find_barrier() {
        BACKPLANE_TRY_VOID(restart(seen_.equal_barriers));
        for (barriers_ = seen_.equal_barriers; barriers_ < seen_.different_barriers; ++barriers_) {
            if (should_stop_()) return give_up("the search for the block was interrupted");
            run_->run_to_barrier();
            for (machine_ = 0; machine_ < run_->machine_count(); ++machine_)
                if (!is_equal(translated(), interpreted()) || !different_pages(translated(), interpreted()).empty())
                    return true;
        }
        return give_up(
            "the difference does not come again when both run again: something came from outside, or the search "
            "disturbs it");
    }

    Step find_piece() {
        BACKPLANE_TRY_VOID(restart(barriers_));
        for (pieces_ = 0;; ++pieces_) {
            bool const more = run_piece(kPiece);
            pages_ = different_pages(translated(), interpreted());
            if (!is_equal(translated(), interpreted()) || !pages_.empty()) break;
            if (!more) return give_up(where() + "the tiers part in this quantum, but not when it is run in pieces");
        }
        if (pages_.size() > kMostPages) pages_.resize(kMostPages);
        return true;
    }

    Step find_block() {
        BACKPLANE_TRY_VOID(restart(barriers_));
        for (std::uint64_t i = 0; i < pieces_; ++i) static_cast<void>(run_piece(kPiece));
        for (;;) {
            Place const place = place_of(translated());
            Snapshot const before = snapshot_of(interpreted(), pages_);
            std::uint64_t const count = count_at(place);
            std::string block = host_code(place);  // before it runs: it may be forgotten meanwhile
            bool const more = run_piece(count);
            if (block.empty()) block = host_code(place);  // it may have been translated when it was entered
            if (is_different()) return report(place, before, block, count), true;
            if (!more)
                return give_up(where() + "the tiers part in this quantum, but not when it is run block by block");
        }
    }
    [[nodiscard]] std::string host_code(Place const& place) {
        return place.trace != nullptr ? book(place.cpu).find(place.physical->value()).value_or("") : "";
    }
    [[nodiscard]] bool is_different() {
        return !is_equal(translated(), interpreted()) || std::any_of(pages_.begin(), pages_.end(), [&](GuestPage page) {
            return !is_same_page(translated(), interpreted(), page);
        });
    }

    /// False: they have reached the barrier, or an end.
    [[nodiscard]] bool run_piece(std::uint64_t instructions) {
        for (Machine* const machine : {&translated(), &interpreted()}) machine->resume_for(instructions);
        run_->run_to_barrier();
        return translated().is_held() && interpreted().is_held();
    }

    [[nodiscard]] Machine& translated() { return run_->translated(machine_); }
    [[nodiscard]] Machine& interpreted() { return run_->interpreted(machine_); }
    [[nodiscard]] std::string where() {
        return fmt::format("machine {}, after barrier {}: ", translated().name(), barriers_);
    }

    void report(Place const& place, Snapshot const& before, std::string const& block, std::uint64_t count) {
        auto const text = std::back_inserter(text_);
        fmt::format_to(text,
                       "machine {}, processor {}: the tiers are equal up to its instruction {}, at {:.9f} s of virtual "
                       "time (barrier {})\n",
                       translated().name(), place.cpu, before.instructions[place.cpu],
                       static_cast<double>(before.now_ns) / 1e9, barriers_);
        text_ += "\nbefore, in both:\n" + general_registers(before.states[place.cpu]);
        if (block.empty())
            text_ += fmt::format("\nthe next {}, not translated:\n",
                                 count == 1 ? "instruction" : fmt::format("{} instructions", count)) +
                     guest_code(interpreted(), place, count);
        else
            text_ += "\nthe next block, guest instructions and the host's made of them:\n" + block;
        text_ += "\nbehind it:\n" + differences({translated(), interpreted(), before, pages_});
    }

    MakeLockstepRun const& make_;
    SeenDifference seen_;
    std::function<bool()> const& should_stop_;
    std::vector<std::unique_ptr<BlockBook>> books_;  // outlive the run that they listen to
    std::unique_ptr<LockstepRun> run_;
    std::size_t machine_{0};
    std::uint64_t barriers_{0};  ///< after which they are still equal
    std::uint64_t pieces_{0};    ///< likewise
    std::vector<GuestPage> pages_;
    std::string text_;
};

}  // namespace

std::string explain_difference(MakeLockstepRun const& make, SeenDifference seen,
                               std::function<bool()> const& should_stop) {
    return BlockSearch{make, seen, should_stop}.run();
}

}  // namespace backplane
