// Decoded code of one machine, by guest-physical address (docs/design/interpreter.md).
//
// Physical keys make aliases, and a kernel that patches itself through a temporary mapping, come out right. A page
// with traces is marked in the page map, so that stores into it are seen; a bitmap of 64-byte granules tells those
// that hit code from those that hit data beside it.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cpu/op.h"
#include "cpu/tier.h"
#include "memory/page_map.h"

namespace backplane {

class TraceCache final : public TranslationObserver {
  public:
    static constexpr std::size_t kDefaultArenaBytes = 15U << 20;

    explicit TraceCache(PageMap& map, std::size_t arena_bytes = kDefaultArenaBytes);
    ~TraceCache() override;
    TraceCache(TraceCache const&) = delete;
    TraceCache& operator=(TraceCache const&) = delete;

    /// The trace that starts at a guest-physical address and continues on `second_page`, or null.
    [[nodiscard]] Trace* find(std::uint64_t address, CodeMode mode) const {
        for (Trace* trace = buckets_[bucket(address)]; trace != nullptr; trace = trace->bucket_next)
            if (trace->address == address && trace->mode == mode) return trace;
        return nullptr;
    }

    /// How often the rest of a trace is run before a trace that begins there is decoded.
    static constexpr std::uint8_t kMostRests = 4;
    /// Execution left a trace before its instruction `position`, and may come back there: after a quota's end, an interrupt
    /// or a fault.
    void note_cut(Trace& trace, std::uint32_t position);
    struct Rest {
        Trace* trace;        ///< null: none
        std::uint32_t first; ///< position of its first instruction
    };
    [[nodiscard]] Rest find_rest(std::uint64_t address, CodeMode mode) {
        Cut& cut = cuts_[cut_index(address)];
        bool const usable = cut.address == address && cut.trace != nullptr && cut.trace->cost != Trace::kInvalid && cut.trace->mode == mode;
        if (!usable || cut.uses == kMostRests) return {nullptr, 0};
        ++cut.uses;
        return {cut.trace, cut.position};
    }

    /// Storage for a trace of `count` instructions, not yet findable. Null when the arena is full: flush() and retry.
    [[nodiscard]] Trace* allocate(std::uint32_t count);
    [[nodiscard]] bool has_room_for(std::uint32_t count) const {
        return arena_used_ + sizeof(Trace) + count * sizeof(Op) <= arena_bytes_;
    }
    /// Makes a filled trace findable and watches its bytes.
    void insert(Trace* trace);
    /// Forgets all traces. Pointers to them are dangling afterwards: only between runs of traces.
    void flush();

    /// The second tier is told when traces die; null: there is none.
    void set_tier(CodeTier* tier) { tier_ = tier; }

    /// A trace that can never be entered: what links point to until they are made.
    [[nodiscard]] Trace* nowhere() { return &nowhere_; }
    [[nodiscard]] std::uint64_t flush_count() const { return flush_count_; }
    [[nodiscard]] std::uint64_t dropped_count() const { return dropped_count_; }
    /// Of the host's time, for the report.
    [[nodiscard]] std::chrono::nanoseconds longest_flush() const { return longest_flush_; }

    // TranslationObserver
    void drop_pages(GuestPage first, std::uint64_t count) override;
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys start, std::uint64_t bytes) override;
    [[nodiscard]] bool covers(GuestPhys start, std::uint64_t bytes) const override;

  private:
    static constexpr std::size_t kBuckets = 1U << 16;
    static constexpr unsigned kGranuleShift = 6;

    static constexpr std::size_t kCuts = 256;
    struct Cut {
        std::uint64_t address{0};
        Trace* trace{nullptr};
        std::uint8_t position{0}, uses{0};
    };

    struct CodePage {
        std::uint64_t granules{0};
        std::vector<Trace*> traces;
    };

    /// Neighbours share a line of the host's cache.
    [[nodiscard]] static std::size_t bucket(std::uint64_t address) {
        return (address >> 2 ^ address >> 18) & (kBuckets - 1);
    }
    [[nodiscard]] static std::size_t cut_index(std::uint64_t address) { return (address ^ address >> 12) & (kCuts - 1); }
    [[nodiscard]] static std::uint64_t granules(std::uint64_t offset, std::uint64_t bytes);
    void watch(std::uint64_t page, Trace* trace, std::uint64_t granule_bits);
    void drop(Trace* trace);
    void unlink_from_page(std::uint64_t page, Trace* trace);

    PageMap& map_;
    std::unique_ptr<std::byte[]> arena_;
    std::size_t arena_bytes_;
    std::size_t arena_used_{0};
    std::vector<Trace*> buckets_;
    std::unordered_map<std::uint64_t, CodePage> pages_;
    std::array<Cut, kCuts> cuts_{};
    Trace nowhere_{};
    CodeTier* tier_{nullptr};
    std::uint64_t flush_count_{0};
    std::uint64_t dropped_count_{0};
    std::chrono::nanoseconds longest_flush_{0};
};

}  // namespace backplane
