#include "interrupt/pic8259.h"

#include <optional>

namespace backplane {

namespace {

constexpr unsigned kCascadeInput = 2;
constexpr unsigned kSpuriousInput = 7;
// [ICH10] 13.4.9, 13.4.10: the timer, the keyboard, the cascade, the clock and the coprocessor are always
// edge-triggered.
constexpr std::array<std::uint8_t, 2> kMayBeLevel{0xf8, 0xde};

// Initialization and operation words, [8259A] figures 7 and 8.
constexpr std::uint8_t kIsWord1 = 0x10;
constexpr std::uint8_t kWord1NeedsWord4 = 0x01;
constexpr std::uint8_t kWord1Single = 0x02;
constexpr std::uint8_t kWord4AutomaticEnd = 0x02;
constexpr std::uint8_t kIsWord3 = 0x08;

constexpr std::uint8_t bit(unsigned input) { return static_cast<std::uint8_t>(1U << input); }

}  // namespace

void Pic8259::set_level(unsigned input, bool asserted) {
    bool const was_asserted = (levels_ & bit(input)) != 0;
    levels_ = static_cast<std::uint8_t>(asserted ? levels_ | bit(input) : levels_ & ~bit(input));
    bool const is_level = (state_.level_triggered & bit(input)) != 0;
    // A request must last until it is acknowledged: when the line falls before, it is gone ([8259A] "Edge and level").
    if (!asserted)
        state_.requested &= static_cast<std::uint8_t>(~bit(input));
    else if (is_level || !was_asserted)
        state_.requested |= bit(input);
}

/// The one with the highest priority among `inputs`.
std::optional<unsigned> Pic8259::first_of(std::uint8_t inputs) const {
    for (unsigned i = 1; i <= kInputCount; ++i) {
        unsigned const input = (state_.lowest + i) % kInputCount;
        if ((inputs & bit(input)) != 0) return input;
    }
    return std::nullopt;
}

std::optional<unsigned> Pic8259::next() const {
    // Special mask mode: what is in service and masked does not hold others back.
    auto const blocking =
        static_cast<std::uint8_t>(state_.special_mask ? state_.in_service & ~state_.masked : state_.in_service);
    auto const candidate = first_of(static_cast<std::uint8_t>(state_.requested & ~state_.masked));
    if (!candidate || state_.next_word != 0) return std::nullopt;
    auto const serving = first_of(blocking);
    if (!serving) return candidate;
    unsigned const first = (state_.lowest + 1U) % kInputCount;
    auto const rank = [&](unsigned input) { return (input + kInputCount - first) % kInputCount; };
    // A cascade's input may be requested again by the other inputs behind it only after its end: fully nested mode.
    return rank(*candidate) < rank(*serving) ? candidate : std::nullopt;
}

unsigned Pic8259::acknowledge() {
    auto const input = next();
    if (!input) return kSpuriousInput;
    bool const is_level = (state_.level_triggered & bit(*input)) != 0;
    if (!is_level) state_.requested &= static_cast<std::uint8_t>(~bit(*input));
    if (!state_.automatic_end)
        state_.in_service |= bit(*input);
    else if (state_.rotates_at_automatic_end)
        state_.lowest = static_cast<std::uint8_t>(*input);
    return *input;
}

void Pic8259::end_of_interrupt(unsigned input, bool rotate) {
    state_.in_service &= static_cast<std::uint8_t>(~bit(input));
    if (rotate) state_.lowest = static_cast<std::uint8_t>(input);
}

void Pic8259::initialize(std::uint8_t word1) {
    std::uint8_t const edge_level = state_.level_triggered;
    state_ = State{};
    state_.masked = 0;
    state_.level_triggered = edge_level;
    state_.requested = static_cast<std::uint8_t>(levels_ & edge_level);
    state_.is_single = (word1 & kWord1Single) != 0;
    state_.wants_word4 = (word1 & kWord1NeedsWord4) != 0;
    state_.next_word = 2;
}

// OCW2: R, SL, EOI in bits 7:5.
void Pic8259::write_word2(std::uint8_t value) {
    unsigned const named = value & 7U;
    auto const serving = first_of(state_.in_service);
    switch (value >> 5) {
        case 0b000:
            state_.rotates_at_automatic_end = false;
            break;
        case 0b100:
            state_.rotates_at_automatic_end = true;
            break;
        case 0b001:
        case 0b101:
            if (serving) end_of_interrupt(*serving, value >> 5 == 0b101);
            break;
        case 0b011:
            end_of_interrupt(named, false);
            break;
        case 0b111:
            end_of_interrupt(named, true);
            break;
        case 0b110:
            state_.lowest = static_cast<std::uint8_t>(named);
            break;
        default:
            break;  // 010: no operation
    }
}

void Pic8259::write_word3(std::uint8_t value) {
    if ((value & 0x40) != 0) state_.special_mask = (value & 0x20) != 0;
    if ((value & 0x02) != 0) state_.reads_in_service = (value & 0x01) != 0;
    state_.poll = (value & 0x04) != 0;
}

std::uint8_t Pic8259::read(unsigned port) {
    if (state_.poll) {
        state_.poll = false;
        bool const is_there = is_asserted();
        unsigned const input = is_there ? acknowledge() : 0;
        return static_cast<std::uint8_t>(is_there ? 0x80 | input : 0);
    }
    if (port == 1) return state_.masked;
    return state_.reads_in_service ? state_.in_service : state_.requested;
}

void Pic8259::write(unsigned port, std::uint8_t value) {
    if (port == 0) {
        if ((value & kIsWord1) != 0) return initialize(value);
        return (value & kIsWord3) != 0 ? write_word3(value) : write_word2(value);
    }
    switch (state_.next_word) {
        case 2:
            state_.vector_base = value & 0xf8;
            state_.next_word = !state_.is_single ? 3 : state_.wants_word4 ? 4 : 0;
            break;
        case 3:  // where the other one is; a PC's wiring is known
            state_.next_word = state_.wants_word4 ? 4 : 0;
            break;
        case 4:
            state_.automatic_end = (value & kWord4AutomaticEnd) != 0;
            state_.next_word = 0;
            break;
        default:
            state_.masked = value;
            break;
    }
}

void Pic8259::set_edge_level(std::uint8_t value) {
    state_.level_triggered = value & kMayBeLevel[is_secondary_ ? 1 : 0];
    state_.requested |= static_cast<std::uint8_t>(levels_ & state_.level_triggered);
}

PicPair::PicPair()
    : primary_ports_{*this, Ports::Role::primary},
      secondary_ports_{*this, Ports::Role::secondary},
      edge_level_ports_{*this, Ports::Role::edge_level} {}

Expected<void, Error> PicPair::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach_ports(PortNumber{0x20}, 2, primary_ports_));
    BACKPLANE_TRY_VOID(bus.attach_ports(PortNumber{0xa0}, 2, secondary_ports_));
    return bus.attach_ports(PortNumber{0x4d0}, 2, edge_level_ports_);
}

// Inputs are wires of the board and keep their level.
void PicPair::reset() {
    for (Pic8259* pic : {&primary_, &secondary_}) {
        pic->write(0, kIsWord1);
        pic->set_edge_level(0);
        for (unsigned word = 2; word <= 3; ++word) pic->write(1, 0);
        pic->write(1, 0xff);
    }
    update();
}

void PicPair::set_level(unsigned number, bool asserted) {
    if (number >= kInputCount || number == kCascadeInput) return;
    if (number < Pic8259::kInputCount)
        primary_.set_level(number, asserted);
    else
        secondary_.set_level(number - Pic8259::kInputCount, asserted);
    update();
}

void PicPair::update() {
    primary_.set_level(kCascadeInput, secondary_.is_asserted());
    if (changed_) changed_();
}

Vector PicPair::acknowledge() {
    unsigned const input = primary_.acknowledge();
    Vector vector = primary_.vector_of(input);
    if (input == kCascadeInput) {
        vector = secondary_.vector_of(secondary_.acknowledge());
        // The next request behind the cascade is a new edge for the first controller.
        primary_.set_level(kCascadeInput, false);
    }
    update();
    return vector;
}

std::uint8_t PicPair::Ports::read_byte(unsigned port) {
    if (role_ == Role::edge_level) return (port == 0 ? owner_.primary_ : owner_.secondary_).edge_level();
    std::uint8_t const value = (role_ == Role::primary ? owner_.primary_ : owner_.secondary_).read(port);
    owner_.update();  // a poll may have acknowledged something
    return value;
}

void PicPair::Ports::write_byte(unsigned port, std::uint8_t value) {
    if (role_ == Role::edge_level)
        (port == 0 ? owner_.primary_ : owner_.secondary_).set_edge_level(value);
    else
        (role_ == Role::primary ? owner_.primary_ : owner_.secondary_).write(port, value);
    // While the second's output was high all along, an end of interrupt makes a new edge of it.
    owner_.primary_.set_level(kCascadeInput, false);
    owner_.update();
}

std::uint64_t PicPair::Ports::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        value |= std::uint64_t{offset + i < 2 ? read_byte(static_cast<unsigned>(offset + i)) : std::uint8_t{0xff}}
                 << (8 * i);
    return value;
}

void PicPair::Ports::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width) && offset + i < 2; ++i)
        write_byte(static_cast<unsigned>(offset + i), static_cast<std::uint8_t>(value >> (8 * i)));
}

}  // namespace backplane
