// The guest's x87 in the host's, and back (docs/design/translator.md).
#include <array>
#include <cstring>

#include "base/check.h"
#include "cpu/fxsave.h"
#include "cpu/x87.h"
#include "jit/runtime.h"

namespace backplane {

namespace {

/// What FNSAVE stores and FRSTOR loads in 64-bit mode ([SDM1] 8.1.10); registers are in the order of the stack.
struct [[gnu::packed]] Image {
    std::uint32_t control, status, tags;
    std::uint32_t pointers[4];  // of the last instruction; the guest's are noted by translated code
    std::array<std::byte, 80> registers;
};
static_assert(sizeof(Image) == 108);
constexpr std::size_t kRegisterBytes = 10;
constexpr unsigned kEmpty = 3;

Image image_of(X87State const& state) {
    Image image{};
    image.control = state.control;
    image.status = state.status;
    for (unsigned i = 0; i < 8; ++i) {
        if ((state.valid >> i & 1) == 0) image.tags |= kEmpty << 2 * i;
        X87Register const& value = read_st(state, static_cast<int>(i));
        std::byte* const at = image.registers.data() + kRegisterBytes * i;
        std::memcpy(at, &value.significand, 8);
        std::memcpy(at + 8, &value.sign_exponent, 2);
    }
    return image;
}

void take(X87State& state, Image const& image) {
    state.control = x87_control_word(static_cast<std::uint16_t>(image.control));
    state.status = x87_status_word(static_cast<std::uint16_t>(image.status), state.control);
    unsigned valid = 0;
    for (unsigned i = 0; i < 8; ++i) {
        if ((image.tags >> 2 * i & 3) != kEmpty) valid |= 1U << i;
        X87Register& value = state.registers[physical(state, static_cast<int>(i))];
        std::byte const* const at = image.registers.data() + kRegisterBytes * i;
        std::memcpy(&value.significand, at, 8);
        std::memcpy(&value.sign_exponent, at + 8, 2);
    }
    state.valid = static_cast<std::uint8_t>(valid);
}

/// An exception that is not masked would be the host's; with all of them masked none can wait.
bool masks_all(X87State const& state) { return (state.control & x87::kExceptions) == x87::kExceptions; }

}  // namespace

std::uint64_t JitRuntime::load_x87(Cpu* cpu, Op const* op) {
    if (may_load(cpu, op, cpu->x87_ok() && masks_all(x87(*cpu))) == 0) return 0;
    reload_x87(cpu);
    return 1;
}

void JitRuntime::reload_x87(Cpu* cpu) {
    check(masks_all(x87(*cpu)), "what may unmask x87 exceptions ends its block");
    Image const image = image_of(x87(*cpu));
    state(*cpu).x87_loaded = 1;
    asm volatile("frstor %0" : : "m"(image));
}

void JitRuntime::unload_x87(Cpu* cpu) {
    Image image;
    asm volatile("fnsave %0" : "=m"(image));  // and the host's x87 is in its initial state
    state(*cpu).x87_loaded = 0;
    take(x87(*cpu), image);
}

}  // namespace backplane
