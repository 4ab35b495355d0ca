#include "device/e1000/eeprom.h"

#include "device/e1000/registers.h"

namespace backplane::e1000 {

namespace {

using Phase = EepromState::Phase;

constexpr std::uint32_t kAddressBits = 6;
constexpr std::uint32_t kCommandBits = 3 + kAddressBits;  // start bit, opcode, address
constexpr std::uint32_t kPins = kEecdSk | kEecdCs | kEecdDi | kEecdReq;

// [93C46] opcodes, with the start bit.
enum class Opcode : std::uint32_t { extended = 4, write = 5, read = 6, erase = 7 };

void begin_command(EepromState& state) {
    state.phase = Phase::command;
    state.shift = 0;
    state.bit_count = 0;
    state.data_out = true;
}

// EWEN and EWDS are told apart by the two upper address bits.
void run_extended(EepromState& state) {
    std::uint32_t const kind = state.address >> (kAddressBits - 2);
    if (kind == 3) state.writes_enabled = true;
    if (kind == 0) state.writes_enabled = false;
    state.phase = Phase::ignoring;
}

void load_word(EepromState& state) {
    state.shift = state.words[state.address % kEepromWords];
    state.bit_count = 16;
}

void run_command(EepromState& state) {
    state.address = static_cast<std::uint8_t>(state.shift & (kEepromWords - 1));
    auto const opcode = static_cast<Opcode>(state.shift >> kAddressBits);
    state.shift = 0;
    state.bit_count = 0;
    switch (opcode) {
        case Opcode::read:
            state.phase = Phase::reading;
            state.data_out = false;  // the dummy zero bit before the data
            load_word(state);
            break;
        case Opcode::write:
            state.phase = Phase::writing;
            break;
        case Opcode::erase:
            if (state.writes_enabled) state.words[state.address] = 0xFFFF;
            state.phase = Phase::ignoring;
            break;
        default:
            run_extended(state);
            break;
    }
}

void clock_command_bit(EepromState& state, std::uint32_t bit) {
    if (state.bit_count == 0 && bit == 0) return;  // zeros before the start bit mean nothing
    state.shift = state.shift << 1 | bit;
    if (++state.bit_count == kCommandBits) run_command(state);
}

void clock_read_bit(EepromState& state) {
    if (state.bit_count == 0) {  // sequential read: the next word follows without a dummy bit
        state.address = static_cast<std::uint8_t>((state.address + 1) % kEepromWords);
        load_word(state);
    }
    state.data_out = (state.shift >> --state.bit_count & 1) != 0;
}

void clock_write_bit(EepromState& state, std::uint32_t bit) {
    state.shift = state.shift << 1 | bit;
    if (++state.bit_count < 16) return;
    if (state.writes_enabled) state.words[state.address] = static_cast<std::uint16_t>(state.shift);
    state.phase = Phase::ignoring;
    state.data_out = true;
}

void clock_bit(EepromState& state, std::uint32_t bit) {
    switch (state.phase) {
        case Phase::command:
            clock_command_bit(state, bit);
            break;
        case Phase::reading:
            clock_read_bit(state);
            break;
        case Phase::writing:
            clock_write_bit(state, bit);
            break;
        case Phase::ignoring:
            break;
    }
}

}  // namespace

std::array<std::uint16_t, kEepromWords> make_eeprom_image(MacAddress const& mac) {
    std::array<std::uint16_t, kEepromWords> words{};
    for (std::size_t i = 0; i < 3; ++i) words[i] = static_cast<std::uint16_t>(mac[2 * i] | mac[2 * i + 1] << 8);
    words[0x0A] = 0x4403;  // initialization control 1: signature 01, load the IDs and subsystem IDs ([8254x] 5.6.8)
    words[0x0B] = 0x001E;  // subsystem: PRO/1000 MT Desktop Adapter
    words[0x0C] = 0x8086;
    words[0x0D] = 0x100E;
    words[0x0E] = 0x8086;
    std::uint16_t sum = 0;
    for (std::uint16_t const word : words) sum = static_cast<std::uint16_t>(sum + word);
    words[kEepromWords - 1] = static_cast<std::uint16_t>(kEepromSum - sum);
    return words;
}

std::uint32_t read_eecd(EepromState const& state) {
    std::uint32_t value = state.pins | kEecdPres;
    if (state.data_out) value |= kEecdDo;
    if ((state.pins & kEecdReq) != 0) value |= kEecdGnt;
    return value;
}

void write_eecd(EepromState& state, std::uint32_t value) {
    std::uint32_t const before = state.pins;
    state.pins = value & kPins;
    std::uint32_t const rising = state.pins & ~before;
    if ((state.pins & kEecdCs) == 0 || (rising & kEecdCs) != 0) return begin_command(state);
    if ((rising & kEecdSk) != 0) clock_bit(state, (value & kEecdDi) != 0 ? 1 : 0);
}

std::uint32_t access_eerd(EepromState const& state, std::uint32_t value) {
    if ((value & kEerdStart) == 0) return value & 0xFFFFFF00;
    std::uint32_t const address = value >> 8 & 0xFF;
    std::uint32_t const word = address < kEepromWords ? state.words[address] : 0xFFFF;
    return word << 16 | address << 8 | kEerdDone;
}

}  // namespace backplane::e1000
