// Instructions against the host's processor: random cases run natively and interpreted, and everything is compared.
// README.md beside this file says how to use it.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "advertised.h"
#include "block.h"
#include "compare.h"
#include "faults.h"
#include "flags_undefined.h"
#include "interpreted.h"
#include "native.h"
#include "single.h"

namespace backplane::isa {
namespace {

constexpr std::uint64_t kLeastRuns = 20;  ///< of each form
constexpr std::uint64_t kLeastReads = 5;  ///< of each form's flags
constexpr std::uint64_t kCasesForEachProducer = 100;  ///< that suffice for them
constexpr int kPassed = 0, kFailed = 1, kBadInput = 2;

struct Options {
    std::uint64_t seed{1};
    std::uint64_t cases{100'000};
    std::uint64_t show{3};  ///< failures printed for each mnemonic
    std::optional<std::uint64_t> only_case{};
    std::vector<std::string> filter{};
    Execution execution{Execution::interpreter};
    bool faults{false};  ///< at every access
    enum class Kinds { both, singles, blocks, flags } kinds{Kinds::both};
    enum class List { none, forms, exclusions } list{List::none};
};

struct Tally {
    std::uint64_t passed{0};
    std::uint64_t failed{0};
};

struct FormTally {
    std::uint64_t ran{0};
    std::uint64_t completed{0};  ///< without a fault
    std::uint64_t read{0};       ///< its flags, by the next instruction of a block
};

class Test {
  public:
    /// \param injector   null: no faults but those that the cases meet by themselves
    /// \param reference  an interpreter, which must give the same to the last undefined flag; null: not compared
    Test(Options const& options, Native& native, Interpreted& interpreted, FaultInjector* injector, Interpreted* reference)
        : options_{options}, native_{native}, interpreted_{interpreted}, injector_{injector}, reference_{reference}, pattern_{options.seed} {}

    int run() {
        Advertised const advertised{interpreted_.cpuid(), host_cpuid()};
        forms_ =
            enumerate_forms([&](Decoded const& decoded) { return advertised.contains(decoded) && is_wanted(decoded); });
        if (options_.list == Options::List::forms) return list_forms();
        if (forms_.empty()) return std::fprintf(stderr, "isa: no form matches the filter\n"), kBadInput;
        form_tallies_.resize(forms_.size());
        block_forms_.emplace(forms_);
        std::printf("isa: seed %llu, %llu cases, %zu forms\n", number(options_.seed), number(options_.cases),
                    forms_.size());
        for (auto const& name : advertised.missing_on_host())
            std::printf("isa: the host lacks %s: not compared\n", name.c_str());
        if (!native_.starts_with_any_stack_pointer())
            std::printf("isa: the host starts no program whose stack pointer is not canonical: cases get a canonical one\n");
        if (!sees_every_difference()) return kFailed;
        auto const begin = std::chrono::steady_clock::now();
        if (!run_cases()) return kFailed;
        auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        return report(advertised, seconds);
    }

  private:
    static unsigned long long number(std::uint64_t value) { return value; }

    bool is_wanted(Decoded const& decoded) const {
        if (options_.filter.empty()) return true;
        std::string_view const name = ZydisMnemonicGetString(decoded.instruction.mnemonic);
        std::string_view const set = ZydisISASetGetString(decoded.instruction.meta.isa_set);
        return std::ranges::any_of(options_.filter, [&](std::string const& word) {
            if (word.ends_with('*')) return name.starts_with(std::string_view{word}.substr(0, word.size() - 1));
            return name == word || (word.starts_with('@') && set == word.substr(1));
        });
    }
    int list_forms() const {
        for (auto const& form : forms_) std::printf("%s  @%s\n", form.name.c_str(), ZydisISASetGetString(form.isa_set));
        std::printf("%zu forms\n", forms_.size());
        return kPassed;
    }

    // --- running --------------------------------------------------------------------------------------------------
    /// Cases are independent of each other: each has a generator of its own, from the seed and its number.
    Rng rng_of(std::uint64_t number_of_case) const {
        return Rng{Rng{options_.seed * 0x1'0000'0001 + number_of_case}.next()};
    }

    bool is_single(std::uint64_t number_of_case) const {
        if (options_.kinds == Options::Kinds::singles || block_forms_->empty()) return true;
        if (options_.kinds == Options::Kinds::blocks || options_.kinds == Options::Kinds::flags) return false;
        return number_of_case < kLeastRuns * forms_.size() || number_of_case % 3 == 0;
    }
    Program make(std::uint64_t number_of_case, Case& to) {
        Rng rng = rng_of(number_of_case);
        if (is_single(number_of_case)) {
            std::size_t const form = number_of_case % forms_.size();
            if (auto made = make_single(forms_[form], rng, pattern_, to)) return *std::move(made);
            return {};  // the form's tally stays behind, and the report names it
        }
        return make_block(*block_forms_, rng, pattern_, to, block_kind(number_of_case));
    }
    /// Every other block that is about flags reads undefined ones, if there is an interpreter to compare with.
    BlockKind block_kind(std::uint64_t number_of_case) const {
        if (options_.kinds != Options::Kinds::flags) return BlockKind::any;
        return reference_ != nullptr && number_of_case % 2 != 0 ? BlockKind::loose_flags : BlockKind::flags;
    }

    bool run_cases() {
        if (options_.only_case) return run_batch(*options_.only_case, 1);
        for (std::uint64_t first = 0; first < options_.cases; first += Native::kBatch) {
            auto const count =
                static_cast<std::uint32_t>(std::min<std::uint64_t>(Native::kBatch, options_.cases - first));
            if (!run_batch(first, count)) return false;
        }
        return true;
    }
    bool run_batch(std::uint64_t first, std::uint32_t count) {
        std::vector<Program> programs(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            programs[i] = make(first + i, native_.slot(i));
            native_.fit(native_.slot(i));
            if (programs[i].steps.empty()) lay_out(programs[i], 0, kCode, native_.slot(i));
        }
        if (!run_native(count)) return false;
        std::vector<Failure> failures;
        for (std::uint32_t i = 0; i < count; ++i) {
            if (programs[i].steps.empty()) continue;
            Case const& done = native_.slot(i);
            count_forms(programs[i], done);
            Found found = compare(first + i, programs[i], done);
            if (found.lines.empty())
                ++tallies_[mnemonic_of(programs[i])].passed;
            else
                failures.push_back({first + i, std::move(programs[i]), done, result_, found.by_host, std::move(found.lines)});
        }
        for (auto& failure : failures)
            if (!examine(failure)) return false;
        return true;
    }
    struct Found {
        std::vector<std::string> lines;
        bool by_host;  ///< else ours differ among each other
    };
    /// Runs our half of a case whose native half is done.
    Found compare(std::uint64_t number_of_case, Program const& program, Case const& done) {
        interpreted_.run(done, result_);
        if (block_kind(number_of_case) != BlockKind::loose_flags) {
            auto lines = differences(program, done, result_);
            if (!lines.empty()) return {std::move(lines), true};
        }
        std::vector<std::string> lines;
        if (reference_ != nullptr) lines = differences_of_tiers(program, done);
        if (injector_ != nullptr && lines.empty()) lines = injector_->run(program, done);
        return {std::move(lines), false};
    }
    /// With no flag left out. What says "native" is the interpreter's.
    std::vector<std::string> differences_of_tiers(Program const& program, Case const& done) {
        Program exact = program;
        for (Step& step : exact.steps) step.undefined_flags = 0;
        exact.undefined_flags_at_end = 0;
        expected_ = done;
        reference_->run(done, expected_.native);
        auto lines = differences(exact, expected_, result_);
        if (!lines.empty()) lines.insert(lines.begin(), "tiers: \"native\" is the interpreter, \"interpreted\" the translator");
        return lines;
    }
    bool run_native(std::uint32_t count) {
        auto const result = native_.run(count);
        if (!result) std::fprintf(stderr, "isa: %s\n", result.error().message.c_str());
        return result.has_value();
    }
    void count_forms(Program const& program, Case const& done) {
        ++(program.steps.size() == 1 ? singles_ : blocks_);
        if (program.steps.size() != 1 && done.native.state.rip == program.end) ++whole_blocks_;
        for (std::size_t i = 0; i < program.steps.size(); ++i) {
            Step const& step = program.steps[i];
            if (step.instruction.form == nullptr) continue;
            FormTally& tally = form_tallies_[static_cast<std::size_t>(step.instruction.form - forms_.data())];
            if (i + 1 < program.steps.size() && flag_effect(program.steps[i + 1].instruction.decoded, {}).read != 0) ++tally.read;
            if (program.steps.size() != 1) continue;
            ++tally.ran;
            bool const branch = step.instruction.is_branch();
            if (done.native.state.rip == program.end || (branch && done.native.state.rip != step.rip))
                ++tally.completed;
        }
    }

    // --- failures -------------------------------------------------------------------------------------------------
    struct Failure {
        std::uint64_t number;
        Program program;
        Case done;
        Result ours;
        bool by_host;  ///< it differs from the host; else only with a fault at some access, or between the tiers
        std::vector<std::string> lines;
    };
    static std::string mnemonic_of(Program const& program) {
        return program.steps.size() == 1
                   ? ZydisMnemonicGetString(program.steps[0].instruction.decoded.instruction.mnemonic)
                   : "(blocks)";
    }
    /// Finds the shortest beginning of a block that fails, and names its last instruction as the culprit.
    bool examine(Failure& failure) {
        std::string culprit = mnemonic_of(failure.program);
        if (failure.by_host) {
            // Ours gives the same every time; a host that does not was interrupted in a way that shows.
            native_.slot(0) = failure.done;
            if (!run_native(1)) return false;
            if (differences(failure.program, native_.slot(0), failure.ours).empty()) {
                std::printf("isa: case %llu: the host gave two results, one of which is ours\n", number(failure.number));
                ++tallies_[culprit].passed;
                return true;
            }
        }
        std::size_t const all = failure.program.steps.size();
        for (std::size_t count = 1; count < all; ++count) {
            Case& shorter = native_.slot(0);
            shorter = failure.done;
            Program program = failure.program;
            program.undefined_flags_at_end = program.steps[count].undefined_flags;
            lay_out(program, count, failure.program.start, shorter);
            if (!run_native(1)) return false;
            Found found = compare(failure.number, program, shorter);
            if (found.lines.empty()) continue;
            failure.program = std::move(program);
            failure.done = shorter;
            failure.lines = std::move(found.lines);
            culprit =
                "(blocks) up to " + std::string{ZydisMnemonicGetString(
                                        failure.program.steps[count - 1].instruction.decoded.instruction.mnemonic)};
            break;
        }
        if (++tallies_[culprit].failed <= options_.show) print(failure, culprit);
        return true;
    }
    void print(Failure const& failure, std::string const& culprit) const {
        auto const* const form = failure.program.steps[0].instruction.form;
        bool const single = failure.program.steps.size() == 1 && form != nullptr;
        std::printf("FAIL case %llu: %s\n%s", number(failure.number), single ? form->name.c_str() : culprit.c_str(),
                    describe(failure.program, failure.done).c_str());
        for (auto const& line : failure.lines) std::printf("  %s\n", line.c_str());
    }

    /// A test of the test: whatever of a result is changed, the comparison must see it.
    bool sees_every_difference() {
        Case& done = native_.slot(0);
        Rng rng{options_.seed};
        done = {};
        done.before = random_state(rng);
        done.native.state = done.before;
        Program program;
        auto const notices = [&](char const* what, auto&& change) {
            result_ = done.native;
            bool const quiet = differences(program, done, result_).empty();
            change(result_);
            bool const seen = !differences(program, done, result_).empty();
            if (!quiet || !seen) std::printf("isa: the comparison does not see a change of %s\n", what);
            return quiet && seen;
        };
        bool all = notices("rip", [](Result& r) { r.state.rip ^= 1; }) &&
                   notices("the exception", [](Result& r) { r.outcome.vector ^= 1; }) &&
                   notices("CF", [](Result& r) { r.state.rflags ^= 1; }) &&
                   notices("DF", [](Result& r) { r.state.rflags ^= 0x400; }) &&
                   notices("MXCSR", [](Result& r) { r.state.fx.mxcsr ^= 1; }) &&
                   notices("the x87 control word", [](Result& r) { r.state.fx.control ^= 1; }) &&
                   notices("the x87 status word", [](Result& r) { r.state.fx.status ^= 1; }) &&
                   notices("the x87 tags", [](Result& r) { r.state.fx.valid ^= 1; }) &&
                   notices("GS base", [](Result& r) { r.state.gs_base ^= 1; }) &&
                   notices("the window's last byte", [](Result& r) { r.window[kWritableBytes - 1] ^= 1; });
        for (unsigned i = 0; i < 16; ++i) {
            all = all && notices("a general register", [&](Result& r) { r.state.gpr[i] ^= 1; });
            all = all && notices("an XMM register", [&](Result& r) { r.state.fx.xmm[i][i & 1] ^= 1; });
            all = all && notices("a YMM register", [&](Result& r) { r.state.ymm_high[i][i & 1] ^= 1; });
            all = all && notices("an x87 register", [&](Result& r) { r.state.fx.st[i & 7].sign_exponent ^= 1; });
        }
        return all;
    }

    // --- the end --------------------------------------------------------------------------------------------------
    int report(Advertised const& advertised, double seconds) {
        std::uint64_t passed = 0;
        std::uint64_t failed = 0;
        for (auto const& [name, tally] : tallies_) {
            passed += tally.passed;
            failed += tally.failed;
            if (tally.failed != 0)
                std::printf("%-32s %llu passed, %llu failed\n", name.c_str(), number(tally.passed),
                            number(tally.failed));
        }
        if (injector_ != nullptr) std::printf("isa: faults at %llu accesses\n", number(injector_->injected()));
        bool const complete = check_flag_table() && (options_.kinds == Options::Kinds::flags ? report_producers() : is_full_run() ? report_forms(advertised) : say_incomplete());
        std::printf(
            "isa: seed %llu: %llu passed, %llu failed; %llu single, %llu blocks (%llu without a fault), %zu forms, "
            "%.1f s\n",
            number(options_.seed), number(passed), number(failed), number(singles_), number(blocks_),
            number(whole_blocks_), forms_.size(), seconds);
        return failed == 0 && passed != 0 && complete && (injector_ == nullptr || injector_->injected() != 0) ? kPassed : kFailed;
    }
    /// Long enough for every form.
    bool is_full_run() const {
        return !options_.only_case && options_.kinds != Options::Kinds::blocks &&
               options_.cases >= kLeastRuns * forms_.size();
    }
    /// The list of forms that were not run, which must be empty.
    bool report_forms(Advertised const& advertised) {
        std::uint64_t missing = 0;
        for (auto const& name : advertised.not_generated()) {
            std::printf("not run: CPUID advertises %s, whose encodings are not generated\n", name.c_str());
            ++missing;
        }
        for (std::size_t i = 0; i < forms_.size(); ++i) {
            FormTally const& tally = form_tallies_[i];
            bool const never_completed = tally.completed == 0 && !always_faults(forms_[i].mnemonic);
            if ((tally.ran >= kLeastRuns && !never_completed)) continue;
            std::printf("not run: %s: %llu times, %llu without a fault\n", forms_[i].name.c_str(), number(tally.ran),
                        number(tally.completed));
            ++missing;
        }
        std::printf("isa: forms not executed at least %llu times: %llu\n", number(kLeastRuns), number(missing));
        return missing == 0;
    }
    /// Producers of flags that had none of their flags read right behind them; the list must be empty in a run that is long
    /// enough and reads undefined flags too, which are all that a division leaves.
    bool report_producers() {
        bool const is_full = reference_ != nullptr && options_.cases >= kCasesForEachProducer * block_forms_->producers_.size();
        std::uint64_t missing = 0;
        for (Form const* const form : block_forms_->producers_) {
            FormTally const& tally = form_tallies_[static_cast<std::size_t>(form - forms_.data())];
            if (tally.read >= kLeastReads) continue;
            if (is_full)
                std::printf("not read: the flags of %s: %llu times\n", form->name.c_str(), number(tally.read));
            ++missing;
        }
        std::printf("isa: of %zu forms that make flags, %llu had them read less than %llu times by the next instruction\n",
                    block_forms_->producers_.size(), number(missing), number(kLeastReads));
        return missing == 0 || !is_full;
    }
    bool say_incomplete() const {
        std::printf("isa: too few cases to ask that every form ran; %llu or more do, of both kinds or --singles\n",
                    number(kLeastRuns * forms_.size()));
        return true;
    }
    bool check_flag_table() {
        bool agrees = true;
        Rng rng{options_.seed};
        for (auto const& form : forms_) {
            auto const made = make_instruction(form, rng, {});
            if (!made || agrees_with_zydis(made->decoded)) continue;
            std::printf("undefined flags: the table and Zydis differ for %s\n", form.name.c_str());
            agrees = false;
        }
        return agrees;
    }

    Options const& options_;
    Native& native_;
    Interpreted& interpreted_;
    FaultInjector* injector_;
    Interpreted* reference_;
    MemoryPattern pattern_;
    std::vector<Form> forms_;
    std::vector<FormTally> form_tallies_;
    std::optional<BlockForms> block_forms_;
    std::map<std::string, Tally> tallies_;
    Result result_{};
    Case expected_{};  ///< its native half is the reference's
    std::uint64_t singles_{0};
    std::uint64_t blocks_{0};
    std::uint64_t whole_blocks_{0};  ///< that no fault cut short
};

// --- the command line ---------------------------------------------------------------------------------------------

constexpr char const* kUsage =
    "usage: isa [--seed N] [--cases N] [--filter WORDS] [--singles | --blocks | --flags] [--translator] [--faults] [--case N] [--show N]\n"
    "           [--forms] [--exclusions]\n"
    "  --filter   comma-separated: add, fld*, @SSE2 (one of Zydis' ISA sets, as --forms shows them)\n"
    "  --translator  our half runs translated code from the first run of each trace on\n"
    "  --faults   each case once more for each access to memory it makes, which meets an absent page\n"
    "  --singles  one instruction a case;  --blocks  several, with jumps, loops and self-modification\n"
    "  --flags    blocks that make flags and read them at random points; with --translator also against the interpreter,\n"
    "             every other one with undefined flags, which have to be the interpreter's\n"
    "  --case     runs one case alone (same seed, filter and kind as in the run that printed it)\n"
    "  --show     failures to print for each mnemonic (default 3)\n"
    "  --forms    lists the forms, --exclusions what is not compared and why\n";

std::vector<std::string> split(std::string_view words) {
    std::vector<std::string> result;
    while (!words.empty()) {
        std::size_t const comma = std::min(words.find(','), words.size());
        result.emplace_back(words.substr(0, comma));
        words.remove_prefix(std::min(comma + 1, words.size()));
    }
    return result;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

std::optional<Options> parse(int count, char** words) {
    Options options;
    for (int i = 1; i < count; ++i) {
        std::string_view const word = words[i];
        if (word == "--singles")
            options.kinds = Options::Kinds::singles;
        else if (word == "--blocks")
            options.kinds = Options::Kinds::blocks;
        else if (word == "--flags")
            options.kinds = Options::Kinds::flags;
        else if (word == "--translator")
            options.execution = Execution::translator;
        else if (word == "--faults")
            options.faults = true;
        else if (word == "--forms")
            options.list = Options::List::forms;
        else if (word == "--exclusions")
            options.list = Options::List::exclusions;
        else if (i + 1 == count)
            return {};
        else if (word == "--filter")
            options.filter = split(words[++i]);
        else {
            auto const value = parse_number(words[++i]);
            if (!value) return {};
            if (word == "--seed")
                options.seed = *value;
            else if (word == "--cases")
                options.cases = *value;
            else if (word == "--show")
                options.show = *value;
            else if (word == "--case")
                options.only_case = *value;
            else
                return {};
        }
    }
    return options;
}

std::string path_of_child() {
    char path[4096];
    ssize_t const length = readlink("/proc/self/exe", path, sizeof path - 1);
    std::string self{path, length > 0 ? static_cast<std::size_t>(length) : 0};
    return self.substr(0, self.rfind('/') + 1) + "isa_native";
}

int run(int count, char** words) {
    auto const options = parse(count, words);
    if (!options) return std::fputs(kUsage, stderr), kBadInput;
    if (options->list == Options::List::exclusions) {
        for (auto const& [mnemonic, reason] : exclusions())
            std::printf("%-10s %s\n", ZydisMnemonicGetString(mnemonic), reason);
        std::fputs(excluded_forms(), stdout);
        return kPassed;
    }
    auto native = Native::create(path_of_child());
    if (!native) return std::fprintf(stderr, "isa: %s\n", native.error().message.c_str()), kFailed;
    auto interpreted = Interpreted::create(options->execution);
    if (!interpreted) return std::fprintf(stderr, "isa: %s\n", interpreted.error().message.c_str()), kFailed;
    auto reference = Interpreted::create(Execution::interpreter);
    if (!reference) return std::fprintf(stderr, "isa: %s\n", reference.error().message.c_str()), kFailed;
    bool const compares_tiers = options->kinds == Options::Kinds::flags && options->execution == Execution::translator;
    Interpreted* const tier = compares_tiers ? &*reference : nullptr;
    if (!options->faults) return Test{*options, *native, *interpreted, nullptr, tier}.run();
    interpreted->watch_accesses();
    FaultInjector injector{*interpreted, *reference};
    return Test{*options, *native, *interpreted, &injector, tier}.run();
}

}  // namespace
}  // namespace backplane::isa

int main(int count, char** words) { return backplane::isa::run(count, words); }
