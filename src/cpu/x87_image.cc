#include "cpu/x87_image.h"

#include <cstring>

#include "cpu/fxsave.h"
#include "cpu/x87.h"

namespace backplane::x87 {

namespace {

enum class Tag : std::uint8_t { valid, zero, special, empty };

Tag tag_of(X87Register const& value) {
    unsigned const exponent = value.sign_exponent & 0x7fff;
    if (exponent == 0 && value.significand == 0) return Tag::zero;
    bool const has_integer_bit = value.significand >> 63 != 0;
    return exponent == 0 || exponent == 0x7fff || !has_integer_bit ? Tag::special : Tag::valid;
}

std::uint16_t tag_word(X87State const& state) {
    unsigned word = 0;
    for (unsigned i = 0; i < 8; ++i) {
        Tag const tag = (state.valid >> i & 1) == 0 ? Tag::empty : tag_of(state.registers[i]);
        word |= static_cast<unsigned>(tag) << 2 * i;
    }
    return static_cast<std::uint16_t>(word);
}
/// Of a tag word that is loaded, only "empty" matters.
std::uint8_t valid_from_tags(std::uint32_t word) {
    unsigned valid = 0;
    for (unsigned i = 0; i < 8; ++i)
        if ((word >> 2 * i & 3) != static_cast<unsigned>(Tag::empty)) valid |= 1u << i;
    return static_cast<std::uint8_t>(valid);
}

/// The last four fields: instruction pointer, selector or its high bits with the opcode, the same for data.
std::array<std::uint32_t, 4> pointers_of(X87State const& state, Layout layout) {
    auto const ip = static_cast<std::uint32_t>(state.last_instruction);
    auto const data = static_cast<std::uint32_t>(state.last_data);
    if (!layout.real) {
        // Protected mode: the opcode shares its dword with the selector; 16-bit images have no place for it.
        return {ip, layout.field_bytes == 4 ? std::uint32_t{state.last_opcode} << 16 : 0, data, 0};
    }
    return {ip & 0xffff, (ip >> 16 << 12) | state.last_opcode, data & 0xffff, data >> 16 << 12};
}

void set_pointers(X87State& state, std::array<std::uint32_t, 4> const& fields, Layout layout) {
    if (!layout.real) {
        state.last_instruction = fields[0];
        state.last_data = fields[2];
        state.last_opcode = layout.field_bytes == 4 ? fields[1] >> 16 & 0x7ff : 0;
        return;
    }
    state.last_instruction = (fields[0] & 0xffff) | (fields[1] >> 12 & 0xffff) << 16;
    state.last_data = (fields[2] & 0xffff) | (fields[3] >> 12 & 0xffff) << 16;
    state.last_opcode = fields[1] & 0x7ff;
}

void put_field(StateImage& image, Layout layout, unsigned index, std::uint32_t value) {
    std::memcpy(image.data() + index * layout.field_bytes, &value, layout.field_bytes);
}
std::uint32_t get_field(StateImage const& image, Layout layout, unsigned index) {
    std::uint32_t value = 0;
    std::memcpy(&value, image.data() + index * layout.field_bytes, layout.field_bytes);
    return value;
}

}  // namespace

// Reserved upper halves of 32-bit fields are stored as ones.
void put_environment(StateImage& image, X87State const& state, Layout layout) {
    constexpr std::uint32_t kReserved = 0xffff'0000;
    put_field(image, layout, 0, kReserved | state.control);
    put_field(image, layout, 1, kReserved | state.status);
    put_field(image, layout, 2, kReserved | tag_word(state));
    auto const pointers = pointers_of(state, layout);
    for (unsigned i = 0; i < 4; ++i) put_field(image, layout, 3 + i, pointers[i]);
    if (!layout.real) put_field(image, layout, 6, kReserved | pointers[3]);
}

void get_words(X87State& state, StateImage const& image, Layout layout) {
    state.control = x87_control_word(static_cast<std::uint16_t>(get_field(image, layout, 0)));
    state.status = x87_status_word(static_cast<std::uint16_t>(get_field(image, layout, 1)), state.control);
    state.valid = valid_from_tags(get_field(image, layout, 2));
}

void get_environment(X87State& state, StateImage const& image, Layout layout) {
    get_words(state, image, layout);
    std::array<std::uint32_t, 4> pointers;
    for (unsigned i = 0; i < 4; ++i) pointers[i] = get_field(image, layout, 3 + i);
    set_pointers(state, pointers, layout);
}

void put_registers(StateImage& image, X87State const& state, Layout layout) {
    for (unsigned i = 0; i < 8; ++i) {
        X87Register const& value = read_st(state, static_cast<int>(i));
        std::memcpy(image.data() + layout.bytes() + 10 * i, &value.significand, 8);
        std::memcpy(image.data() + layout.bytes() + 10 * i + 8, &value.sign_exponent, 2);
    }
}
void get_registers(X87State& state, StateImage const& image, Layout layout) {
    for (unsigned i = 0; i < 8; ++i) {
        X87Register& value = state.registers[physical(state, static_cast<int>(i))];
        std::memcpy(&value.significand, image.data() + layout.bytes() + 10 * i, 8);
        std::memcpy(&value.sign_exponent, image.data() + layout.bytes() + 10 * i + 8, 2);
    }
}

}  // namespace backplane::x87
