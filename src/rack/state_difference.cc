#include "rack/state_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "debug/registers.h"
#include "machine/layout.h"

namespace backplane {
namespace {

DebugRegister::Value value_of(DebugRegister const& reg, CpuState const& state) {
    DebugRegister::Value value{};
    reg.read(state, reg.index, value);
    return value;
}

std::string flag_names(std::uint64_t flags) {
    static constexpr std::array<std::pair<std::uint64_t, char const*>, 9> kNames{{{rflags::kOverflow, "OF"},
                                                                                  {rflags::kSign, "SF"},
                                                                                  {rflags::kZero, "ZF"},
                                                                                  {rflags::kAuxiliary, "AF"},
                                                                                  {rflags::kParity, "PF"},
                                                                                  {rflags::kCarry, "CF"},
                                                                                  {rflags::kDirection, "DF"},
                                                                                  {rflags::kInterrupt, "IF"},
                                                                                  {rflags::kTrap, "TF"}}};
    std::string text = " [";
    for (auto const& [bit, name] : kNames)
        if ((flags & bit) != 0) text += std::string{' '} + name;
    return text + " ]";
}

}  // namespace

std::vector<std::string> different_registers(CpuState const& one, CpuState const& other) {
    std::vector<std::string> names;
    for (DebugRegister const& reg : debug_registers())
        if (value_of(reg, one) != value_of(reg, other)) names.emplace_back(reg.name);
    if (names.empty() && !(one == other)) names.emplace_back("(hidden)");  // nothing that GDB would show
    return names;
}

std::string register_value(CpuState const& state, std::string const& name) {
    DebugRegister const* const reg = find_debug_register(name);
    if (reg == nullptr) return "?";
    DebugRegister::Value const value = value_of(*reg, state);
    std::uint64_t low = 0, high = 0;
    std::memcpy(&low, value.data(), 8);
    std::memcpy(&high, value.data() + 8, 8);
    std::string const text = high == 0 ? fmt::format("{:#x}", low) : fmt::format("{:#x}{:016x}", high, low);
    return name == "eflags" ? text + flag_names(low) : text;
}

std::string general_registers(CpuState const& state) {
    static constexpr std::array<std::string_view, 16> kNames{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    std::string text;
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        std::uint64_t value = 0;
        std::memcpy(&value, value_of(*find_debug_register(kNames[i]), state).data(), sizeof value);
        fmt::format_to(std::back_inserter(text), "  {:<3} {:016x}{}", kNames[i], value, i % 4 == 3 ? "\n" : "");
    }
    fmt::format_to(std::back_inserter(text), "  rip {:016x}  eflags {}\n", state.rip, register_value(state, "eflags"));
    return text;
}

bool is_same_page(Machine const& one, Machine const& other, GuestPage page) {
    auto const bytes = [&](Machine const& machine) { return machine.memory().readable(address_of(page), kPageBytes); };
    ConstByteSpan const a = bytes(one), b = bytes(other);
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

std::vector<GuestPage> different_pages(Machine const& one, Machine const& other) {
    std::vector<GuestPage> pages;
    for (std::uint64_t page = 0; page < kPciWindow64.value() >> kPageShift; ++page) {
        // The map is sparse; what lies above the last RAM page of the largest machine is not visited twice.
        if (other.memory().map().lookup(GuestPage{page}).access == Access::none) {
            if (page << kPageShift >= kMemoryAbove4GiB.value()) break;
            continue;
        }
        if (!is_same_page(one, other, GuestPage{page})) pages.emplace_back(page);
    }
    return pages;
}

std::vector<std::byte> copy_of_page(Machine const& machine, GuestPage page) {
    ConstByteSpan const bytes = machine.memory().readable(address_of(page), kPageBytes);
    return {bytes.begin(), bytes.end()};
}

}  // namespace backplane
