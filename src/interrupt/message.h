// An interrupt on its way to the local APICs: what an I/O APIC entry, an MSI store or an ICR write asks for.
#pragma once

#include <cstdint>

#include "base/address.h"

namespace backplane {

/// [SDM3A] 10.6.1, figure 10-12; the encoding is that of the ICR, the LVT, the I/O APIC and MSI data.
enum class DeliveryMode : std::uint8_t {
    fixed = 0,
    lowest_priority = 1,
    smi = 2,
    reserved = 3,
    nmi = 4,
    init = 5,
    startup = 6,
    external = 7,
};
enum class DestinationMode : std::uint8_t { physical, logical };
enum class TriggerMode : std::uint8_t { edge, level };

/// All local APICs. Sources with 8-bit destinations say 0xFF and are widened by widen_destination().
inline constexpr std::uint32_t kBroadcastDestination = 0xffff'ffff;

[[nodiscard]] constexpr std::uint32_t widen_destination(std::uint8_t destination) {
    return destination == 0xff ? kBroadcastDestination : destination;
}

struct InterruptMessage {
    Vector vector{};
    DeliveryMode mode{DeliveryMode::fixed};
    DestinationMode destination_mode{DestinationMode::physical};
    TriggerMode trigger{TriggerMode::edge};
    std::uint32_t destination{0};
};

/// Bits 10:8 of every register that holds a delivery mode.
[[nodiscard]] constexpr DeliveryMode delivery_mode_in(std::uint32_t value) {
    return static_cast<DeliveryMode>(value >> 8 & 7);
}
/// Takes the stores by which devices interrupt (MSI): the machine's APIC fabric, or a test.
class MessageSink {
  public:
    virtual ~MessageSink() = default;
    /// A device's store of `data` to `address`. \return true when a processor has taken it as an interrupt
    virtual bool send_msi(GuestPhys address, std::uint32_t data) = 0;
};

[[nodiscard]] constexpr Vector vector_in(std::uint32_t value) { return Vector{static_cast<std::uint8_t>(value)}; }

}  // namespace backplane
