// What joins the local APICs and the I/O APIC of one machine: where an interrupt message finds its processors.
//
// State:    stable
// Features: physical and logical destinations, lowest priority, shorthands, MSI as a store, EOI broadcast
// Missing:  SMI and ExtINT messages are dropped
// Differs from the hardware: lowest-priority arbitration is by PPR, then by the order of the processors; delivery is
//           immediate, so that no delivery status is ever pending
// Source:   [SDM3A] 10.6, 10.11
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "interrupt/message.h"

namespace backplane {

class IoApic;
class LocalApic;

/// Bits 19:18 of the ICR ([SDM3A] 10.6.1).
enum class Shorthand : std::uint8_t { none, self, all, all_but_self };

class ApicFabric final : public MessageSink {
  public:
    ApicFabric() = default;
    ApicFabric(ApicFabric const&) = delete;
    ApicFabric& operator=(ApicFabric const&) = delete;

    /// Local and I/O APICs register themselves for as long as they live.
    void add(LocalApic& apic) { local_apics_.push_back(&apic); }
    void remove(LocalApic& apic) { std::erase(local_apics_, &apic); }
    void set_io_apic(IoApic* io_apic) { io_apic_ = io_apic; }

    /// \return true when at least one local APIC has taken the message
    bool send(InterruptMessage const& message);
    /// An interprocessor interrupt; `message.destination` matters only without a shorthand. Combinations that
    /// [SDM3A] table 10-3 calls invalid are dropped.
    bool send_from(LocalApic& sender, Shorthand shorthand, InterruptMessage const& message);

    /// A device's store of `data` to `address`. What does not lie in 0xFEE00000 to 0xFEEFFFFF is no message.
    /// \return true when a local APIC has taken it
    bool send_msi(GuestPhys address, std::uint32_t data) override;

    /// A local APIC ended a level-triggered interrupt ([SDM3A] 10.8.5).
    void end_of_interrupt(Vector vector);
    /// A local APIC began to accept interrupts: the I/O APIC sends again what nobody took.
    void acceptance_changed();

  private:
    template <typename Predicate>
    bool send_where(InterruptMessage const& message, Predicate is_target);

    std::vector<LocalApic*> local_apics_;
    IoApic* io_apic_{nullptr};
};

}  // namespace backplane
