// The second tier: host code for hot traces of one processor (docs/design/translator.md).
//
// State:    partial
// Features: integer and SSE2 code of 64-bit mode, flags kept in the host's or deferred, soft TLB inlined, direct jumps
//           chained within a page, indirect jumps and jumps across pages through a cache, exact quotas and faults
// Missing:  superblocks, coalesced TLB checks, native x87; those instructions call the interpreter's handlers
// Source:   docs/design/translator.md
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>

#include "base/error.h"
#include "base/expected.h"
#include "cpu/tier.h"
#include "jit/block.h"
#include "jit/layout.h"

namespace backplane {

/// Counters for the report.
struct TranslatorCounters {
    std::uint64_t blocks{0};
    std::uint64_t guest_instructions{0};
    std::uint64_t guest_bytes{0};
    std::uint64_t host_bytes{0};
    std::uint64_t links{0};    ///< direct jumps that were chained
    std::uint64_t entries{0};  ///< from the dispatcher
    std::uint64_t slow_accesses{0};
    std::uint64_t handler_calls{0};
    std::uint64_t flushes{0};
};

class Translator final : public CodeTier {
  public:
    static constexpr std::size_t kDefaultBytes = 10U << 20;

    /// A translator for `cpu`, with a code buffer of `bytes`.
    /// Errors: the host gives no memory that can be written and executed; the machine then goes on interpreted.
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

    [[nodiscard]] TranslatorCounters const& counters() const { return counters_; }

  private:
    friend class JitRuntime;
    Translator(Cpu& cpu, std::uint8_t* arena, std::size_t bytes);
    void make_thunks();
    void make_link(jit::Link& link, Trace const& target);

    Cpu& cpu_;
    std::uint8_t* arena_;
    std::size_t arena_bytes_;
    std::size_t thunk_bytes_{0};
    std::size_t used_{0};
    bool full_{false};
    jit::Offsets offsets_{};
    jit::Thunks thunks_{};
    void (*enter_code_)(Cpu*, void*){nullptr};
    std::deque<jit::Link> links_;
    std::deque<std::array<Op, 2>> calls_;
    jit::Link* wanted_link_{nullptr};
    std::uint64_t wanted_rip_{0};
    TranslatorCounters counters_;
};

}  // namespace backplane
