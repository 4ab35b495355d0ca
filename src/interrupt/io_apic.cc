#include "interrupt/io_apic.h"

namespace backplane {

namespace {

constexpr std::uint64_t kSelect = 0x00;  // IOREGSEL
constexpr std::uint64_t kWindow = 0x10;  // IOWIN
constexpr std::uint64_t kEndOfInterrupt = 0x40;

constexpr std::uint8_t kId = 0x00;
constexpr std::uint8_t kVersion = 0x01;
constexpr std::uint8_t kArbitration = 0x02;
constexpr std::uint8_t kFirstEntry = 0x10;

// Redirection table entry, [82093AA] 3.2.4.
constexpr std::uint64_t kLogical = 1U << 11;
constexpr std::uint64_t kRemoteIrr = 1U << 14;
constexpr std::uint64_t kLevel = 1U << 15;
constexpr std::uint64_t kMasked = 1U << 16;
constexpr std::uint64_t kWritable = 0xff00'0000'0001'afff;

// Version 0x20 announces the EOI register; bits 23:16 are the index of the last entry.
constexpr std::uint32_t kVersionValue = (IoApic::kInputCount - 1) << 16 | 0x20;

// Only these two modes are acknowledged by an EOI; a level-triggered NMI would be sent for ever.
bool is_held(std::uint64_t entry) {
    DeliveryMode const mode = delivery_mode_in(static_cast<std::uint32_t>(entry));
    return (entry & kLevel) != 0 && (mode == DeliveryMode::fixed || mode == DeliveryMode::lowest_priority);
}

}  // namespace

IoApic::IoApic(ApicFabric& fabric) : fabric_{fabric} {
    fabric_.set_io_apic(this);
    reset();
}

void IoApic::reset() {
    state_ = State{};
    state_.entries.fill(kMasked);
}

std::uint64_t IoApic::read(std::uint64_t offset, Width width) {
    std::uint64_t const base = offset & ~std::uint64_t{3};
    std::uint32_t value = 0;
    if (base == kSelect) value = state_.selected;
    if (base == kWindow) value = read_register(state_.selected);
    return (std::uint64_t{value} >> (8 * (offset & 3))) & ones(width);
}

void IoApic::write(std::uint64_t offset, Width width, std::uint64_t value) {
    if (offset == kSelect) {
        state_.selected = static_cast<std::uint8_t>(value);
    } else if (offset == kEndOfInterrupt) {
        end_of_interrupt(vector_in(static_cast<std::uint32_t>(value)));
    } else if (offset == kWindow && (width == Width::dword || width == Width::qword)) {
        write_register(state_.selected, static_cast<std::uint32_t>(value));
    }
}

std::uint32_t IoApic::read_register(std::uint8_t index) const {
    if (index == kId || index == kArbitration) return std::uint32_t{state_.id} << 24;
    if (index == kVersion) return kVersionValue;
    if (index < kFirstEntry || index >= kFirstEntry + 2 * kInputCount) return 0;
    std::uint64_t const entry = state_.entries[(index - kFirstEntry) / 2];
    return static_cast<std::uint32_t>((index & 1) != 0 ? entry >> 32 : entry);
}

void IoApic::write_register(std::uint8_t index, std::uint32_t value) {
    if (index == kId) state_.id = value >> 24 & 0xf;
    if (index < kFirstEntry || index >= kFirstEntry + 2 * kInputCount) return;
    write_entry((index - kFirstEntry) / 2, index & 1, value);
}

// An edge on a masked input is neither sent nor held pending; a level is sent when it is unmasked. Writing edge
// triggering forgets remote IRR, which is how software clears it without an EOI register.
void IoApic::write_entry(unsigned input, unsigned half, std::uint32_t value) {
    std::uint64_t& entry = state_.entries[input];
    std::uint64_t const changed = (std::uint64_t{0xffff'ffff} << (32 * half)) & kWritable;
    entry = (entry & ~changed) | ((std::uint64_t{value} << (32 * half)) & changed);
    if ((entry & kLevel) == 0) entry &= ~kRemoteIrr;
    send_if_level(input);
}

void IoApic::set_level(unsigned number, bool asserted) {
    if (number >= kInputCount) return;
    std::uint32_t const bit = 1U << number;
    if (((levels_ & bit) != 0) == asserted) return;
    levels_ ^= bit;
    if (!asserted) return;
    std::uint64_t const entry = state_.entries[number];
    if (is_held(entry)) {
        send_if_level(number);
    } else if ((entry & kMasked) == 0) {
        static_cast<void>(send(number));  // an edge that no local APIC takes is lost
    }
}

void IoApic::send_if_level(unsigned input) {
    std::uint64_t& entry = state_.entries[input];
    if (!is_held(entry) || (entry & (kMasked | kRemoteIrr)) != 0 || (levels_ >> input & 1) == 0) return;
    if (send(input)) entry |= kRemoteIrr;
}

bool IoApic::send(unsigned input) {
    std::uint64_t const entry = state_.entries[input];
    auto const low = static_cast<std::uint32_t>(entry);
    return fabric_.send({
        .vector = vector_in(low),
        .mode = delivery_mode_in(low),
        .destination_mode = (entry & kLogical) != 0 ? DestinationMode::logical : DestinationMode::physical,
        .trigger = is_held(entry) ? TriggerMode::level : TriggerMode::edge,
        .destination = widen_destination(static_cast<std::uint8_t>(entry >> 56)),
    });
}

void IoApic::end_of_interrupt(Vector vector) {
    for (unsigned input = 0; input < kInputCount; ++input) {
        std::uint64_t& entry = state_.entries[input];
        if (vector_in(static_cast<std::uint32_t>(entry)) != vector || (entry & kRemoteIrr) == 0) continue;
        entry &= ~kRemoteIrr;
        send_if_level(input);
    }
}

void IoApic::send_untaken() {
    for (unsigned input = 0; input < kInputCount; ++input) send_if_level(input);
}

}  // namespace backplane
