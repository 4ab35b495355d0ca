#include "interrupt/apic_fabric.h"

#include "interrupt/io_apic.h"
#include "interrupt/local_apic.h"

namespace backplane {

template <typename Predicate>
bool ApicFabric::send_where(InterruptMessage const& message, Predicate is_target) {
    if (message.mode != DeliveryMode::lowest_priority) {
        bool taken = false;
        for (LocalApic* apic : local_apics_) {
            if (is_target(*apic)) taken |= apic->deliver(message);
        }
        return taken;
    }
    LocalApic* best = nullptr;
    for (LocalApic* apic : local_apics_) {
        if (!is_target(*apic) || !apic->is_software_enabled()) continue;
        if (best == nullptr || apic->processor_priority() < best->processor_priority()) best = apic;
    }
    return best != nullptr && best->deliver(message);
}

bool ApicFabric::send(InterruptMessage const& message) {
    return send_where(
        message, [&](LocalApic const& apic) { return apic.matches(message.destination, message.destination_mode); });
}

bool ApicFabric::send_from(LocalApic& sender, Shorthand shorthand, InterruptMessage const& message) {
    bool const fixed = message.mode == DeliveryMode::fixed;
    switch (shorthand) {
        case Shorthand::none:
            return send(message);
        case Shorthand::self:
            return fixed && sender.deliver(message);
        case Shorthand::all:
            return fixed && send_where(message, [](LocalApic const& apic) { return apic.is_enabled(); });
        case Shorthand::all_but_self:
            break;
    }
    return send_where(message, [&](LocalApic const& apic) { return &apic != &sender && apic.is_enabled(); });
}

// Like every known chipset the destination mode is honoured whatever the redirection hint says; the hint only turns a
// fixed message into one of the lowest priority. [SDM3A] 10.11.1 says that DM is ignored without RH, but Linux relies
// on logical MSI destinations with RH = 0.
bool ApicFabric::send_msi(GuestPhys address, std::uint32_t data) {
    if (address.value() >> 20 != 0xfee) return false;
    bool const redirect = (address.value() & 1U << 3) != 0;
    bool const logical = (address.value() & 1U << 2) != 0;
    InterruptMessage message{
        .vector = vector_in(data),
        .mode = delivery_mode_in(data),
        .destination_mode = logical ? DestinationMode::logical : DestinationMode::physical,
        .trigger = (data & 1U << 15) != 0 ? TriggerMode::level : TriggerMode::edge,
        .destination = widen_destination(static_cast<std::uint8_t>(address.value() >> 12)),
    };
    if (redirect && logical && message.mode == DeliveryMode::fixed) message.mode = DeliveryMode::lowest_priority;
    // The de-assert message of a level is no event ([SDM3A] 10.11.2).
    if (message.trigger == TriggerMode::level && (data & 1U << 14) == 0) return false;
    return send(message);
}

void ApicFabric::end_of_interrupt(Vector vector) {
    if (io_apic_ != nullptr) io_apic_->end_of_interrupt(vector);
}

void ApicFabric::acceptance_changed() {
    if (io_apic_ != nullptr) io_apic_->send_untaken();
}

}  // namespace backplane
