// The MSI-X table and its pending bits: what a function's message interrupts say and where they go.
//
// State:    stable
// Features: 1 to 2048 vectors, mask bit of each vector, function mask, pending bits, sent when they are unmasked
// Missing:  -
// Differs from the hardware: accesses narrower than a dword work too; a masked vector's message is read when it is sent
// Source:   [PCI30] 6.8.2, 6.8.3
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "interrupt/message.h"

namespace backplane {

/// One register bank with the table from offset 0 and the pending bits in its upper half; a function puts it behind a
/// memory BAR and names it with PciFunction::add_msix().
class MsixTable final : public RegisterBank {
  public:
    static constexpr unsigned kMaxVectors = 2048;  // [PCI30] 6.8.2.3, table size
    enum class Mode : std::uint8_t { disabled, masked, open };

    explicit MsixTable(unsigned vector_count);

    [[nodiscard]] unsigned vector_count() const { return static_cast<unsigned>(entries_.size()); }
    /// The size of the BAR: a power of two, at least a page.
    [[nodiscard]] std::uint32_t bank_bytes() const { return 2 * pending_offset_; }
    [[nodiscard]] std::uint32_t pending_offset() const { return pending_offset_; }

    // For PciFunction.
    void set_sink(MessageSink* sink) { sink_ = sink; }
    /// Enable and function mask; opening sends what is pending.
    void set_mode(Mode mode);
    /// After power-on: every vector masked, nothing pending.
    void reset();

    /// Sends the message of `vector`, or keeps it pending while it is masked. Dropped while MSI-X is disabled, or when
    /// there is no such vector: the guest chose it (virtio's queue_msix_vector).
    void raise(unsigned vector);
    [[nodiscard]] bool is_pending(unsigned vector) const { return entries_[vector].is_pending; }

    [[nodiscard]] std::string_view name() const override { return "msix-table"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    struct Entry {
        std::uint32_t address_low{0};
        std::uint32_t address_high{0};
        std::uint32_t data{0};
        std::uint32_t control{1};  // bit 0: masked
        bool is_pending{false};
    };
    [[nodiscard]] std::uint32_t read_dword(std::uint64_t offset) const;
    void write_dword(std::uint64_t offset, std::uint32_t value, std::uint32_t mask);
    void send_if_ready(Entry& entry);

    std::vector<Entry> entries_;
    std::uint32_t pending_offset_;
    Mode mode_{Mode::disabled};
    MessageSink* sink_{nullptr};
};

}  // namespace backplane
