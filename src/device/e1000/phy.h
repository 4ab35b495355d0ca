// The M88E1011 transceiver inside the 82540EM, as MDIC reaches it.
//
// State:    partial
// Features: the registers of IEEE 802.3 clause 22 and Marvell's 16 to 31; 1000BASE-T full duplex negotiated at once
//           while a cable is in; software reset, power down, latched link status
// Missing:  loopback, forced speeds, cable diagnostics, register pages
// Differs from the hardware: negotiation takes no time, the partner always offers everything but pause
// Source:   [8254x] ch. 8 and 13.4.7, [IEEE8023] clause 22.2.4
#pragma once

#include <array>
#include <cstdint>

namespace backplane::e1000 {

inline constexpr std::uint32_t kPhyAddress = 1;  ///< of the internal PHY, [8254x] 13.4.7
inline constexpr std::uint32_t kPhyRegisters = 32;

struct PhyState {
    std::array<std::uint16_t, kPhyRegisters> registers{};
    bool carrier{false};        ///< a cable is plugged in, with a partner at its end
    bool link_was_lost{false};  ///< status bit 2 is latched low until it was read
    bool operator==(PhyState const&) const = default;
};

/// All registers as after power-on; the cable stays.
void reset_phy(PhyState& state);
[[nodiscard]] bool has_link(PhyState const& state);
/// Control bit 14: what is sent comes back, and the link is up without a cable. [8254x] 8.5, "PHY Control"
[[nodiscard]] bool loops_back(PhyState const& state);
/// Cable in or out.
void set_phy_carrier(PhyState& state, bool carrier);

/// `index` < 32. Reading the status clears its latch.
[[nodiscard]] std::uint16_t read_phy(PhyState& state, std::uint32_t index);
/// \return whether negotiation was restarted
bool write_phy(PhyState& state, std::uint32_t index, std::uint16_t value);

}  // namespace backplane::e1000
