#include "rack/lockstep.h"

#include <fmt/format.h>

#include <iterator>

#include "rack/state_difference.h"

namespace backplane {

namespace {

void compare(std::string& text, char const* name, std::uint64_t translated, std::uint64_t interpreted) {
    if (translated != interpreted)
        text += fmt::format(" {}: translated {:#x}, interpreted {:#x};", name, translated, interpreted);
}

void compare_cpu(std::string& text, unsigned cpu, CpuState const& translated, CpuState const& interpreted) {
    if (translated == interpreted) return;
    for (std::string const& name : different_registers(translated, interpreted)) {
        fmt::format_to(std::back_inserter(text), " cpu{} {}: translated {}, interpreted {};", cpu, name,
                       register_value(translated, name), register_value(interpreted, name));
    }
}

}  // namespace

std::optional<std::string> find_difference(Machine const& translated, Machine const& interpreted) {
    std::string text;
    compare(text, "instructions", translated.instructions(), interpreted.instructions());
    compare(text, "clock", translated.now().ns(), interpreted.now().ns());
    for (unsigned cpu = 0; cpu < translated.cpu_count(); ++cpu)
        compare_cpu(text, cpu, translated.engine(cpu).state(), interpreted.engine(cpu).state());
    if (text.empty()) return {};
    return fmt::format("at {} ns:{}", interpreted.now().ns(), text);
}

std::optional<std::string> find_memory_difference(Machine const& translated, Machine const& interpreted) {
    auto const pages = different_pages(translated, interpreted);
    if (pages.empty()) return {};
    return fmt::format("at {} ns: {} pages of memory, the first at {:#x}", interpreted.now().ns(), pages.size(),
                       address_of(pages.front()).value());
}

}  // namespace backplane
