// With this file in the program, the unit tests of src/cpu run in translated code: each trace at its first entry.
#include "cpu/testing.h"
#include "jit/translator.h"

namespace backplane {
namespace {

std::shared_ptr<CodeTier> make_translator(Cpu& cpu) {
    constexpr std::size_t kCodeBytes = 1 << 20;
    auto translator = Translator::create(cpu, kCodeBytes);
    check(translator.has_value(), "the host gives memory for translated code");
    cpu.set_hot_uses(1);
    return std::shared_ptr<Translator>{std::move(*translator)};
}

[[maybe_unused]] bool const registered = [] {
    TestMachine::make_tier = make_translator;
    return true;
}();

}  // namespace
}  // namespace backplane
