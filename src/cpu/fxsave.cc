#include "cpu/fxsave.h"

#include <cstring>

#include "cpu/mxcsr.h"

namespace backplane {

namespace {

template <typename T>
void put(FxsaveImage& image, std::size_t offset, T value) {
    std::memcpy(image.data() + offset, &value, sizeof value);
}
template <typename T>
[[nodiscard]] T get(FxsaveImage const& image, std::size_t offset) {
    T value;
    std::memcpy(&value, image.data() + offset, sizeof value);
    return value;
}

[[nodiscard]] constexpr unsigned top_of(std::uint16_t status) { return status >> 11 & 7; }

}  // namespace

FxsaveImage make_fxsave_image(CpuState const& state, FxsaveForm form) {
    FxsaveImage image{};
    X87State const& x87 = state.x87;
    put(image, 0, x87.control);
    put(image, 2, x87.status);
    put(image, 4, x87.valid);
    put(image, 6, x87.last_opcode);
    if (form == FxsaveForm::wide) {
        put(image, 8, x87.last_instruction);
        put(image, 16, x87.last_data);
    } else {
        put(image, 8, static_cast<std::uint32_t>(x87.last_instruction));
        put(image, 16, static_cast<std::uint32_t>(x87.last_data));
    }
    put(image, 24, state.mxcsr);
    put(image, fxsave::kMxcsrMask, mxcsr::kWritable);
    for (unsigned i = 0; i < 8; ++i) {
        X87Register const& source = x87.registers[(top_of(x87.status) + i) & 7];
        put(image, fxsave::kRegisters + 16 * i, source.significand);
        put(image, fxsave::kRegisters + 16 * i + 8, source.sign_exponent);
    }
    std::memcpy(image.data() + fxsave::kVectors, state.xmm.data(), sizeof state.xmm);
    return image;
}

X87State x87_from_image(FxsaveImage const& image, FxsaveForm form) {
    X87State x87;
    x87.control = x87_control_word(get<std::uint16_t>(image, 0));
    x87.status = x87_status_word(get<std::uint16_t>(image, 2), x87.control);
    x87.valid = get<std::uint8_t>(image, 4);
    x87.last_opcode = get<std::uint16_t>(image, 6) & 0x7ff;
    bool const wide = form == FxsaveForm::wide;
    x87.last_instruction = wide ? get<std::uint64_t>(image, 8) : get<std::uint32_t>(image, 8);
    x87.last_data = wide ? get<std::uint64_t>(image, 16) : get<std::uint32_t>(image, 16);
    for (unsigned i = 0; i < 8; ++i) {
        x87.registers[(top_of(x87.status) + i) & 7] = {get<std::uint64_t>(image, fxsave::kRegisters + 16 * i),
                                                       get<std::uint16_t>(image, fxsave::kRegisters + 16 * i + 8)};
    }
    return x87;
}

std::uint32_t mxcsr_from_image(FxsaveImage const& image) { return get<std::uint32_t>(image, 24); }

}  // namespace backplane
