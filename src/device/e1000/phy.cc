#include "device/e1000/phy.h"

namespace backplane::e1000 {

namespace {

// Which bits a guest can change, and the values after reset. [8254x] 8.5
struct PhyRegister {
    std::uint16_t reset;
    std::uint16_t writable;
};

constexpr std::uint32_t kControl = 0;
constexpr std::uint32_t kStatus = 1;
constexpr std::uint32_t kPartnerAbility = 5;
constexpr std::uint32_t kExpansion = 6;
constexpr std::uint32_t k1000Status = 10;
constexpr std::uint32_t kSpecificStatus = 17;

constexpr std::uint16_t kControlReset = 1U << 15;
constexpr std::uint16_t kControlLoopback = 1U << 14;
constexpr std::uint16_t kControlPowerDown = 1U << 11;
constexpr std::uint16_t kControlRestart = 1U << 9;
constexpr std::uint16_t kStatusComplete = 1U << 5;
constexpr std::uint16_t kStatusLink = 1U << 2;

constexpr std::array<PhyRegister, kPhyRegisters> kRegisters = {{
    {0x1140, 0x7DC0},  // 0 control: negotiate, full duplex, 1000 Mb/s
    {0x7949, 0},       // 1 status: all abilities, extended registers
    {0x0141, 0},       // 2 identifier: Marvell
    {0x0C20, 0},       // 3 identifier: M88E1011
    {0x01E1, 0xFFFF},  // 4 advertisement: 10 and 100 Mb/s
    {0, 0},            // 5 partner ability: with link
    {0x0004, 0},       // 6 expansion
    {0x2001, 0xFFFF},  // 7 next page
    {0, 0},            // 8 partner's next page
    {0x0F00, 0xFF00},  // 9 1000BASE-T control: full and half duplex, multiport
    {0, 0},            // 10 1000BASE-T status: with link
    {0, 0},            // 11 reserved
    {0, 0},            // 12 reserved
    {0, 0},            // 13 reserved
    {0, 0},            // 14 reserved
    {0x3000, 0},       // 15 extended status: 1000BASE-T
    {0x0068, 0xFFFF},  // 16 specific control: automatic crossover
    {0, 0},            // 17 specific status: with link
    {0, 0xFFFF},       // 18 interrupt enable
    {0, 0},            // 19 interrupt status
    {0x0CE4, 0xFFFF},  // 20 extended specific control
    {0, 0},            // 21 receive errors
    {0, 0xFFFF},       // 22
    {0, 0},            // 23
    {0x4100, 0xFFFF},  // 24 LED control
    {0, 0xFFFF},       // 25 LED override
    {0x000A, 0xFFFF},  // 26 extended specific control 2
    {0, 0},            // 27 extended specific status
    {0, 0},            // 28
    {0, 0xFFFF},       // 29 page select
    {0, 0xFFFF},       // 30 page data
    {0, 0},            // 31
}};

// Registers that say something else while there is a link.
std::uint16_t link_bits(std::uint32_t index) {
    switch (index) {
        case kStatus:
            return kStatusComplete | kStatusLink;
        case kPartnerAbility:
            return 0x41E1;  // acknowledged; 10 and 100 Mb/s, no pause
        case kExpansion:
            return 0x000B;  // page received, the partner negotiates, with next pages
        case k1000Status:
            return 0x7C00;  // master; both receivers good; 1000 Mb/s full and half duplex
        case kSpecificStatus:
            return 0xAC80;  // 1000 Mb/s, full duplex, resolved, link, 50 to 80 m
        default:
            return 0;
    }
}

}  // namespace

void reset_phy(PhyState& state) {
    for (std::uint32_t i = 0; i < kPhyRegisters; ++i) state.registers[i] = kRegisters[i].reset;
}

bool loops_back(PhyState const& state) { return (state.registers[kControl] & kControlLoopback) != 0; }

bool has_link(PhyState const& state) {
    return (state.carrier || loops_back(state)) && (state.registers[kControl] & kControlPowerDown) == 0;
}

void set_phy_carrier(PhyState& state, bool carrier) {
    if (state.carrier && !carrier) state.link_was_lost = true;
    state.carrier = carrier;
}

std::uint16_t read_phy(PhyState& state, std::uint32_t index) {
    std::uint16_t value = state.registers[index];
    if (has_link(state)) value |= link_bits(index);
    if (index == kStatus && state.link_was_lost) {
        value = static_cast<std::uint16_t>(value & ~kStatusLink);
        state.link_was_lost = false;
    }
    return value;
}

bool write_phy(PhyState& state, std::uint32_t index, std::uint16_t value) {
    bool const had_link = has_link(state);
    std::uint16_t const writable = kRegisters[index].writable;
    state.registers[index] = static_cast<std::uint16_t>((state.registers[index] & ~writable) | (value & writable));
    if (had_link && !has_link(state)) state.link_was_lost = true;
    // Both bits clear themselves. What was written to the other registers takes effect, and stays, with a reset.
    return index == kControl && (value & (kControlRestart | kControlReset)) != 0;
}

}  // namespace backplane::e1000
