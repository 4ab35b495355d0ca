// The second tier: host code for hot traces of one processor (docs/design/translator.md).
//
// State:    partial
// Features: integer and SSE2 code of 64-bit mode, flags kept in the host's or deferred, soft TLB inlined, direct jumps
//           chained within a page and followed into superblocks, indirect jumps and jumps across pages through a cache, exact quotas and faults
// Source:   docs/design/translator.md
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "cpu/tier.h"
#include "jit/block.h"
#include "jit/code_listener.h"
#include "jit/layout.h"

namespace backplane {

/// Why translated code went back to the dispatcher.
enum class TranslatorExit : std::uint8_t {
    event,       ///< an interrupt, a trap, a device or the monitor wants attention
    fault,       ///< to be delivered
    alone,       ///< an instruction that the interpreter runs by itself: a device, a page crossing, code written
    stopped,     ///< HLT, PAUSE, a debugger, shutdown
    unmapped,    ///< no execute TLB entry for where it goes on
    not_hot,     ///< no host code there, or none for this view of the address space
    quota,       ///< what is left of it does not suffice for the next block
};
inline constexpr std::size_t kTranslatorExits = 7;
[[nodiscard]] std::string_view translator_exit_text(TranslatorExit exit);

/// Counters for the report. None is counted on the fast path, where code runs into code.
struct TranslatorCounters {
    std::uint64_t blocks{0};
    std::uint64_t guest_instructions{0};  ///< in blocks
    std::uint64_t guest_bytes{0};
    std::uint64_t host_bytes{0};
    std::uint64_t direct_jumps{0};   ///< within a page, which can be chained
    std::uint64_t chained{0};        ///< those of them that were
    std::uint64_t entries{0};        ///< from the dispatcher
    std::uint64_t instructions{0};   ///< executed between an entry and the exit that follows
    std::uint64_t slow_accesses{0};  ///< that found nothing in the TLB
    std::uint64_t split_groups{0};   ///< those of them whose group lies in two pages
    std::uint64_t guesses_given_up{0};  ///< accesses in loops whose page changes too often to be guessed
    std::uint64_t flushes{0};
    std::array<std::uint64_t, kTranslatorExits> exits{};  ///< by TranslatorExit
};

class Translator final : public CodeTier {
  public:
    static constexpr std::size_t kDefaultBytes = 10U << 20;
    /// Room for shared code and a few blocks; and what a jump reaches.
    static constexpr std::size_t kLeastBytes = 64U << 10, kMostBytes = 1U << 30;

    /// A translator for `cpu`, with a code buffer of `bytes`. When it is full, all of it is forgotten.
    /// Errors: bad_input, a size below kLeastBytes or above kMostBytes; host, there is no memory that can be written and executed.
    [[nodiscard]] static Expected<std::unique_ptr<Translator>, Error> create(Cpu& cpu,
                                                                             std::size_t bytes = kDefaultBytes);
    ~Translator() override;

    bool translate(Trace& trace, CodeView view) override;
    void enter(Cpu& cpu, Trace& trace) override;
    void forget(Trace& trace) override;
    void forget_all() override;
    void page_unmapped(std::uint64_t address) override;
    void view_unmapped(CodeView view) override;
    [[nodiscard]] bool is_full() const override { return full_; }

    /// May the instruction at this guest-physical address lead a group of accesses?
    [[nodiscard]] bool may_lead(std::uint64_t address) const { return !may_cross_.test(crossing_slot(address)) || !crossings_.contains(address); }

    /// Tells of thunks at once, and of blocks from now on. The listener outlives the last run.
    void add_listener(CodeListener& listener);

    [[nodiscard]] TranslatorCounters const& counters() const { return counters_; }
    /// How often translated code called which instruction's handler: most first, those never called left out.
    struct HandlerCalls {
        std::string_view mnemonic;
        std::uint64_t calls;
    };
    [[nodiscard]] std::vector<HandlerCalls> handler_calls() const;

  private:
    friend class JitRuntime;
    Translator(Cpu& cpu, std::uint8_t* arena, std::size_t bytes);
    void make_thunks();
    void tell_block(jit::BlockCode const& made, CodeView view, jit::BlockMarks const& marks);
    void make_link(jit::Link& link, Trace const& target);
    void forget_code(Trace& trace);
    /// The group of accesses that the instruction leads lies in two pages this time, and other code has to go on with it, in
    /// which it leads none. When that happens often, the code that it is in now is made again as well.
    void note_crossing(Trace& trace, Op const& op, std::uint64_t executed);

    [[nodiscard]] static std::size_t crossing_slot(std::uint64_t address) { return (address ^ address >> 12) & 4095; }
    struct Crossings {
        std::uint32_t count;
        std::uint64_t since;  // instructions that had been executed kMostCrossings ago
    };
    // A crossing costs some 40 ns.
    static constexpr std::uint32_t kMostCrossings = 64, kRareCrossing = 1000;

    Cpu& cpu_;
    std::uint8_t* arena_;
    std::size_t arena_bytes_;
    std::size_t thunk_bytes_{0};
    std::size_t used_{0};
    bool full_{false};
    jit::Offsets offsets_{};
    jit::Places places_{};
    jit::BlockMaker maker_;
    jit::Thunks thunks_{};
    void (*enter_code_)(Cpu*, void*){nullptr};
    std::deque<jit::Link> links_;
    std::deque<jit::HandlerSite> sites_;
    std::deque<jit::Guess> guesses_;
    std::deque<TraceUser> users_;  // of all traces
    std::unordered_map<std::uint64_t, Crossings> crossings_;  // by guest-physical address of the instruction
    std::bitset<4096> may_cross_;  // by hash of those addresses
    std::vector<std::uint64_t> handler_calls_;  // by mnemonic
    jit::Link* wanted_link_{nullptr};
    std::uint64_t wanted_rip_{0};
    TranslatorExit exit_{TranslatorExit::unmapped};  // why next_code() found nothing
    std::vector<Thunk> named_thunks_;
    std::vector<CodeListener*> listeners_;
    TranslatorCounters counters_;
};

}  // namespace backplane
