#include "debug/monitor_commands.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <vector>

namespace backplane {
namespace {

constexpr std::uint64_t kMaxItems = 256;
constexpr std::size_t kBytesALine = 16;

constexpr std::string_view kHelp = R"(monitor help
monitor info registers            general, segment, table, control and system registers
monitor info time                 virtual time and instructions of this machine
monitor xp/COUNT[b|h|w|g] ADDRESS physical memory in hexadecimal, such as xp/4g 0x1000
monitor gva2gpa ADDRESS           where a virtual address leads
monitor mce [STATUS [ADDRESS]]    the processor finds a machine check with this MC0_STATUS (an uncorrected error)
monitor phys on|off               memory commands of the debugger mean physical addresses
monitor step-interrupts on|off    single steps take interrupts (off: they wait until the machine continues)
)";

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        std::size_t const end = std::min(line.find(' '), line.size());
        if (end != 0) words.push_back(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return words;
}

/// 0x... or decimal.
std::optional<std::uint64_t> number_of(std::string_view text) {
    bool const hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    if (hexadecimal) text.remove_prefix(2);
    std::uint64_t value = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
    if (problem != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

void append_segment(std::string& out, std::string_view name, Segment const& segment) {
    fmt::format_to(std::back_inserter(out), "{:<4} {:04x} base {:016x} limit {:08x} type {:x} dpl {}{}{}{}{}{}\n", name,
                   segment.selector, segment.base, segment.limit, segment.type, segment.dpl,
                   segment.code_or_data ? "" : " system", segment.present ? "" : " absent",
                   segment.long_mode ? " long" : "", segment.big ? " 32" : "", segment.granular ? " pages" : "");
}

std::string registers_text(CpuState const& s) {
    static constexpr std::array<std::string_view, 16> kNames{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static constexpr std::array<std::string_view, 6> kSegments{"es", "cs", "ss", "ds", "fs", "gs"};
    std::string out;
    auto const add = [&](std::string_view name, std::uint64_t value, char after) {
        fmt::format_to(std::back_inserter(out), "{:<4} {:016x}{}", name, value, after);
    };
    for (unsigned i = 0; i < 16; ++i) add(kNames[i], s.gpr[i], i % 4 == 3 ? '\n' : ' ');
    add("rip", s.rip, ' ');
    add("rfl", s.rflags, ' ');
    out += s.halted ? "halted\n" : "\n";
    for (unsigned i = 0; i < 6; ++i) append_segment(out, kSegments[i], s.segments[i]);
    append_segment(out, "ldtr", s.ldtr);
    append_segment(out, "tr", s.tr);
    fmt::format_to(std::back_inserter(out), "gdtr base {:016x} limit {:04x}\nidtr base {:016x} limit {:04x}\n",
                   s.gdtr.base, s.gdtr.limit, s.idtr.base, s.idtr.limit);
    add("cr0", s.cr0, ' ');
    add("cr2", s.cr2, ' ');
    add("cr3", s.cr3, ' ');
    add("cr4", s.cr4, '\n');
    add("efer", s.efer, ' ');
    add("dr6", s.dr6, ' ');
    add("dr7", s.dr7, ' ');
    add("kgs", s.kernel_gs_base, '\n');
    return out;
}

/// "xp", or "xp/4g": how many of how many bytes each.
struct Format {
    std::uint64_t count{1};
    std::uint64_t bytes{4};
};
std::optional<Format> format_of(std::string_view word) {
    Format format;
    if (word == "xp") return format;
    word.remove_prefix(3);
    if (word.ends_with('x')) word.remove_suffix(1);
    if (word.empty()) return {};
    static constexpr std::string_view kSizes = "bhwg";
    if (std::size_t const size = kSizes.find(word.back()); size != std::string_view::npos) {
        format.bytes = std::uint64_t{1} << size;
        word.remove_suffix(1);
    }
    if (word.ends_with('x')) word.remove_suffix(1);
    auto const count = word.empty() ? std::optional<std::uint64_t>{1} : number_of(word);
    if (!count || *count == 0 || *count > kMaxItems) return {};
    format.count = *count;
    return format;
}

std::string physical_text(DebugTarget const& target, Format format, GuestPhys start) {
    std::string out;
    std::uint64_t const items_a_line = kBytesALine / format.bytes;
    for (std::uint64_t i = 0; i < format.count; ++i) {
        GuestPhys const at = start + i * format.bytes;
        if (i % items_a_line == 0)
            fmt::format_to(std::back_inserter(out), "{}{:016x}:", i == 0 ? "" : "\n", at.value());
        std::uint64_t value = 0;
        if (target.read_physical(at, bytes_of(value).first(format.bytes)) != format.bytes) return out + " no RAM\n";
        fmt::format_to(std::back_inserter(out), " 0x{:0{}x}", value, 2 * format.bytes);
    }
    return out + '\n';
}

std::string physical_command(std::vector<std::string_view> const& words, DebugTarget const& target) {
    auto const format = format_of(words[0]);
    auto const start = words.size() == 2 ? number_of(words[1]) : std::nullopt;
    if (!format || !start) return fmt::format("expected xp/COUNT[b|h|w|g] ADDRESS, COUNT 1 to {}\n", kMaxItems);
    return physical_text(target, *format, GuestPhys{*start});
}

std::string translate_command(std::vector<std::string_view> const& words, DebugTarget const& target, unsigned cpu) {
    auto const address = words.size() == 2 ? number_of(words[1]) : std::nullopt;
    if (!address) return "expected gva2gpa ADDRESS\n";
    auto const physical = target.translate(cpu, GuestVirt{*address});
    return physical ? fmt::format("gpa: {:#x}\n", physical->value()) : std::string{"not mapped\n"};
}

std::string machine_check_command(std::vector<std::string_view> const& words, DebugTarget& target, unsigned cpu) {
    // Valid, uncorrected, enabled, address valid, context corrupt; a data read error of the first cache.
    constexpr std::uint64_t kUncorrected = 0xb600'0000'0000'0135;
    auto const status = words.size() > 1 ? number_of(words[1]) : std::optional{kUncorrected};
    auto const address = words.size() > 2 ? number_of(words[2]) : std::optional<std::uint64_t>{0};
    if (!status || !address || words.size() > 3) return "expected mce, mce STATUS or mce STATUS ADDRESS\n";
    target.raise_machine_check(cpu, *status, GuestPhys{*address});
    return fmt::format("machine check {:#x} when processor {} goes on\n", *status, cpu);
}

std::string switch_command(std::vector<std::string_view> const& words, bool& choice) {
    if (words.size() == 2 && (words[1] == "on" || words[1] == "off"))
        choice = words[1] == "on";
    else if (words.size() != 1)
        return fmt::format("expected {} on or {} off\n", words[0], words[0]);
    return fmt::format("{} {}\n", words[0], choice ? "on" : "off");
}

std::string info_command(std::vector<std::string_view> const& words, DebugTarget const& target, unsigned cpu) {
    std::string_view const what = words.size() == 2 ? words[1] : "";
    if (what == "registers") return registers_text(target.state(cpu));
    if (what == "time") {
        return fmt::format("{}: {} ns of virtual time, {} instructions\n", target.name(), target.now().ns(),
                           target.instructions());
    }
    return "expected info registers or info time\n";
}

}  // namespace

std::string monitor_command(std::string_view line, DebugTarget& target, unsigned cpu, MonitorChoices choices) {
    auto const words = words_of(line);
    if (words.empty() || words[0] == "help") return std::string{kHelp};
    if (words[0] == "info") return info_command(words, target, cpu);
    if (words[0] == "xp" || words[0].starts_with("xp/")) return physical_command(words, target);
    if (words[0] == "gva2gpa") return translate_command(words, target, cpu);
    if (words[0] == "mce") return machine_check_command(words, target, cpu);
    if (words[0] == "phys") return switch_command(words, choices.physical);
    if (words[0] == "step-interrupts") return switch_command(words, choices.step_with_interrupts);
    return "unknown command; monitor help lists what there is\n";
}

}  // namespace backplane
