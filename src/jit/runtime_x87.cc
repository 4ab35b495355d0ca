// The guest's x87 in the host's, and back (docs/design/translator.md).
#include "base/check.h"
#include "cpu/x87.h"
#include "cpu/x87_image.h"
#include "jit/runtime.h"

namespace backplane {

namespace {

/// Of FNSAVE and FRSTOR in 64-bit mode. The host's pointers are not taken: translated code notes the guest's.
constexpr x87::Layout kHostLayout{.field_bytes = 4, .real = false};

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
    x87::StateImage image;
    x87::put_environment(image, x87(*cpu), kHostLayout);
    x87::put_registers(image, x87(*cpu), kHostLayout);
    state(*cpu).x87_loaded = 1;
    asm volatile("frstor %0" : : "m"(image));
}

void JitRuntime::unload_x87(Cpu* cpu) {
    x87::StateImage image;
    asm volatile("fnsave %0" : "=m"(image));  // and the host's x87 is in its initial state
    state(*cpu).x87_loaded = 0;
    x87::get_words(x87(*cpu), image, kHostLayout);
    x87::get_registers(x87(*cpu), image, kHostLayout);
}

}  // namespace backplane
