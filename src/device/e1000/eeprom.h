// The 64-word Microwire EEPROM behind EECD (bit by bit) and EERD (word by word).
//
// State:    stable
// Features: READ with sequential read, EWEN, EWDS, WRITE, ERASE; EERD
// Missing:  ERAL, WRAL (the driver does not use them)
// Differs from the hardware: writing takes no time; what a guest writes lasts as long as the machine
// Source:   [8254x] 5.2 to 5.6, 13.4.3, 13.4.4; [93C46] for the Microwire commands
#pragma once

#include <array>
#include <cstdint>

#include "device/frame_port.h"

namespace backplane::e1000 {

inline constexpr std::uint32_t kEepromWords = 64;
inline constexpr std::uint16_t kEepromSum = 0xBABA;  ///< what all words add up to, [8254x] 5.6.35

struct EepromState {
    enum class Phase : std::uint8_t { command, reading, writing, ignoring };

    std::array<std::uint16_t, kEepromWords> words{};
    std::uint32_t pins{0};  ///< SK, CS, DI and REQ as the guest drives them, in EECD's positions
    bool data_out{true};    ///< the DO pin; high while the chip is ready
    bool writes_enabled{false};
    Phase phase{Phase::command};
    std::uint32_t shift{0};      ///< bits clocked in or, in `reading`, to be clocked out (the top one next)
    std::uint32_t bit_count{0};  ///< bits clocked in since the start bit, or still to be clocked out
    std::uint8_t address{0};

    bool operator==(EepromState const&) const = default;
};

/// A valid image for an 82540EM with this address: the checksum is right.
[[nodiscard]] std::array<std::uint16_t, kEepromWords> make_eeprom_image(MacAddress const& mac);

/// EECD as it reads: the pins, DO, GNT whenever REQ is set, PRES.
[[nodiscard]] std::uint32_t read_eecd(EepromState const& state);
void write_eecd(EepromState& state, std::uint32_t value);

/// \return what EERD reads after `value` was written: with START, the word and DONE
[[nodiscard]] std::uint32_t access_eerd(EepromState const& state, std::uint32_t value);

}  // namespace backplane::e1000
