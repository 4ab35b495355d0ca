#include "rack/lockstep.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "machine/layout.h"

namespace backplane {

namespace {

constexpr std::array<char const*, 16> kGprNames{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

void compare(std::string& text, char const* name, std::uint64_t translated, std::uint64_t interpreted) {
    if (translated != interpreted)
        text += fmt::format(" {}: translated {:#x}, interpreted {:#x};", name, translated, interpreted);
}

void compare_cpu(std::string& text, SimEngine const& translated, SimEngine const& interpreted) {
    CpuState const a = translated.state();
    CpuState const b = interpreted.state();
    compare(text, "rip", a.rip, b.rip);
    compare(text, "rflags", a.rflags, b.rflags);
    for (std::size_t i = 0; i < kGprNames.size(); ++i) compare(text, kGprNames[i], a.gpr[i], b.gpr[i]);
    for (std::size_t i = 0; i < a.xmm.size(); ++i) {
        compare(text, "xmm (low)", a.xmm[i].words[0], b.xmm[i].words[0]);
        compare(text, "xmm (high)", a.xmm[i].words[1], b.xmm[i].words[1]);
    }
    compare(text, "mxcsr", a.mxcsr, b.mxcsr);
    compare(text, "cr2", a.cr2, b.cr2);
    compare(text, "cr3", a.cr3, b.cr3);
    if (text.empty() && !(a == b)) text = " a segment, system or x87 register differs;";
}

}  // namespace

std::optional<std::string> find_difference(Machine const& translated, Machine const& interpreted) {
    std::string text;
    compare(text, "instructions", translated.instructions(), interpreted.instructions());
    compare(text, "clock", translated.now().ns(), interpreted.now().ns());
    for (unsigned cpu = 0; cpu < translated.cpu_count(); ++cpu)
        compare_cpu(text, translated.engine(cpu), interpreted.engine(cpu));
    if (text.empty()) return {};
    return fmt::format("at {} ns:{}", interpreted.now().ns(), text);
}

std::optional<std::string> find_memory_difference(Machine& translated, Machine& interpreted) {
    PageMap const& map = interpreted.memory().map();
    for (std::uint64_t page = 0; page < kPciWindow64.value() >> kPageShift; ++page) {
        // The map is sparse; what lies above the last RAM page of the largest machine is not visited twice.
        if (map.lookup(GuestPage{page}).access == Access::none) {
            if (page << kPageShift >= kMemoryAbove4GiB.value()) break;
            continue;
        }
        GuestPhys const start = address_of(GuestPage{page});
        ConstByteSpan const a = translated.memory().readable(start, kPageBytes);
        ConstByteSpan const b = interpreted.memory().readable(start, kPageBytes);
        if (a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0) continue;
        return fmt::format("guest page {:#x} differs", start.value());
    }
    return {};
}

}  // namespace backplane
