// The local APIC of one processor: what is requested, what is in service, and which vector comes next.
//
// State:    stable
// Features: xAPIC (MMIO) and x2APIC (MSR) mode, all registers of version 0x14 with six LVT entries, the timer in its
//           three modes, IPIs with all shorthands, flat and cluster destinations, NMI, INIT and start-up messages,
//           the 8259s at LINT0 (ExtINT)
// Missing:  SMI, other signals at LINT0/LINT1, ExtINT messages, the performance and thermal interrupts (entries are
//           stored)
// Differs from the hardware: the register page stays at 0xFEE00000 (a write that would move it is #GP); the xAPIC ID is
//           read-only; IPIs arrive at once, so the delivery status reads 0; xAPIC registers take aligned 32-bit writes
//           only; a disabled APIC holds its requests until it is enabled again; LINT0 of a processor with 8259s is ExtINT
//           and not masked after power-on, as firmware leaves it ("virtual wire mode")
// Source:   [SDM3A] chapter 10 (numbers of the 2022 editions)
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/address.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/apic_timer.h"
#include "interrupt/external_interrupt.h"
#include "interrupt/message.h"
#include "interrupt/vector_set.h"

namespace backplane {

/// The access raises #GP(0).
struct MsrFault {};

/// power_on: everything. init: ID and IA32_APIC_BASE, and so the mode, stay ([SDM3A] 10.4.7.3, 10.12.5.1).
enum class ResetKind : std::uint8_t { power_on, init };

class LocalApic final : public RegisterBank {
  public:
    static constexpr GuestPhys kBase{0xfee0'0000};
    static constexpr std::uint64_t kBytes = kPageBytes;

    /// The processor with ID 0 is the bootstrap processor. The APIC is part of `fabric` as long as it lives.
    LocalApic(MachineClock& clock, TimeStampCounter& counter, std::uint32_t apic_id, ApicFabric& fabric);
    ~LocalApic() override;
    LocalApic(LocalApic const&) = delete;
    LocalApic& operator=(LocalApic const&) = delete;

    void reset(ResetKind kind);

    /// Wires the 8259s to LINT0, for the bootstrap processor of a PC; resets. They outlive the APIC.
    void connect_lint0(ExternalInterrupt& source);
    /// The wire at LINT0 may have changed.
    void lint0_changed() { update(); }

    // What the processor asks and does.

    /// A request of higher priority than the processor's is there, and the APIC is enabled; or the 8259s have one.
    [[nodiscard]] bool interrupt_ready() const { return ready_; }
    /// The highest request goes into service. The spurious vector, with nothing in service, when none is ready.
    [[nodiscard]] Vector acknowledge();
    [[nodiscard]] bool nmi_pending() const { return state_.nmi; }
    /// Where both are kept, for translated code.
    [[nodiscard]] bool const* interrupt_ready_flag() const { return &ready_; }
    [[nodiscard]] bool const* nmi_pending_flag() const { return &state_.nmi; }
    void take_nmi() { state_.nmi = false; }
    /// True once after an INIT message; the processor then resets itself and calls reset(ResetKind::init).
    [[nodiscard]] bool take_init();
    /// The start page (address >> 12) of a start-up message, once. A processor that does not wait for one drops it.
    [[nodiscard]] std::optional<std::uint8_t> take_startup();

    /// IA32_APIC_BASE, IA32_TSC_DEADLINE, and 0x800 to 0x8FF in x2APIC mode. Errors: #GP(0) for a register that does
    /// not exist or may not be read or written, reserved bits, and illegal changes of mode; nothing has changed then.
    [[nodiscard]] Expected<std::uint64_t, MsrFault> read_msr(std::uint32_t msr);
    [[nodiscard]] Expected<void, MsrFault> write_msr(std::uint32_t msr, std::uint64_t value);

    /// The task priority class as CR8 holds it: 0 to 15, TPR bits 7:4 ([SDM3A] 10.8.6.1).
    [[nodiscard]] std::uint8_t task_priority() const { return static_cast<std::uint8_t>(state_.tpr >> 4); }
    void set_task_priority(std::uint8_t priority_class);

    /// CPUID.1:EDX.APIC follows this ([SDM3A] 10.4.3).
    [[nodiscard]] bool is_enabled() const;
    [[nodiscard]] bool is_x2apic() const;
    /// Someone moved the time-stamp counter that the constructor got.
    void time_stamp_counter_changed();

    /// `*attention` is set whenever the processor has to look at this APIC again (a request became ready; NMI, INIT or
    /// start-up came) or the machine's next deadline may have moved. Null to stop.
    void set_wake_flag(bool* attention) { attention_ = attention; }

    // What the fabric asks and does.

    [[nodiscard]] std::uint32_t id() const { return id_; }
    [[nodiscard]] bool is_bootstrap() const { return id_ == 0; }
    /// Never true while the APIC is disabled by IA32_APIC_BASE.
    [[nodiscard]] bool matches(std::uint32_t destination, DestinationMode mode) const;
    /// \return true when the message was accepted
    bool deliver(InterruptMessage const& message);
    [[nodiscard]] bool is_software_enabled() const;
    /// PPR, [SDM3A] 10.8.3.1.
    [[nodiscard]] std::uint8_t processor_priority() const;

    // The register page. Each processor sees its own; in x2APIC mode and while disabled it reads as ones.

    [[nodiscard]] std::string_view name() const override { return "local-apic"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    static constexpr unsigned kLvtCount = 6;
    struct State {
        std::uint64_t base{0};
        std::uint8_t tpr{0};
        std::uint32_t ldr{0};
        std::uint32_t dfr{0xffff'ffff};
        std::uint32_t svr{0xff};
        std::uint32_t esr{0};
        std::uint32_t errors{0};  ///< found since the last write of ESR
        std::uint32_t icr_low{0};
        std::uint32_t icr_high{0};
        std::array<std::uint32_t, kLvtCount> lvt{};  ///< in the order of their registers: 0x320, 0x330, ... 0x370
        VectorSet requested{};
        VectorSet in_service{};
        VectorSet level_triggered{};
        bool nmi{false};
        bool init{false};
        std::optional<std::uint8_t> startup{};
    };

    [[nodiscard]] bool external_ready() const;
    [[nodiscard]] bool accept(Vector vector, TriggerMode trigger);
    void deliver_local(std::uint32_t lvt_entry);
    void note_error(std::uint32_t bit);
    void update();
    void wake();

    [[nodiscard]] std::uint32_t read_register(unsigned index) const;
    void write_register(unsigned index, std::uint32_t value);
    void write_lvt(unsigned entry, std::uint32_t value);
    void write_spurious(std::uint32_t value);
    void end_interrupt();
    void send_interrupt();
    void send_to_self(Vector vector);
    [[nodiscard]] std::uint32_t logical_id() const;
    [[nodiscard]] std::uint8_t arbitration_priority() const;
    [[nodiscard]] Expected<void, MsrFault> write_base(std::uint64_t value);

    std::uint32_t const id_;
    ApicFabric& fabric_;
    ApicTimer timer_;
    State state_{};
    ExternalInterrupt* lint0_{nullptr};
    bool ready_{false};  // a request of our own, or one that LINT0 brings
    bool own_ready_{false};
    bool* attention_{nullptr};
};

}  // namespace backplane
