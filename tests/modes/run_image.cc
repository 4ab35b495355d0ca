// Runs a firmware image of 64 KiB in the interpreter, from the reset vector, and prints what it writes to port e9h.
//
//     modes_run IMAGE
//
// Exit codes: 0 the image ended itself (port f4h), 1 it did something else, 2 wrong use.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "cpu/testing.h"

namespace backplane {
namespace {

constexpr std::uint64_t kImageBase = 0xf'0000;
constexpr std::uint64_t kImageBytes = 0x1'0000;
constexpr std::uint64_t kMostInstructions = 50'000'000;

class Console final : public RegisterBank {
  public:
    [[nodiscard]] std::string_view name() const override { return "console"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t, Width) override { return 0xe9; }
    void write(std::uint64_t, Width, std::uint64_t value) override { text.push_back(static_cast<char>(value)); }

    std::string text;
};

class Exit final : public RegisterBank {
  public:
    [[nodiscard]] std::string_view name() const override { return "exit"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t, Width) override { return 0; }
    void write(std::uint64_t, Width, std::uint64_t) override { asked = true; }

    bool asked{false};
};

/// As after reset, with the code segment's base where the image lies below 1 MiB.
CpuState reset_state(CpuState state) {
    state.segments[cs].base = kImageBase;
    return state;
}

int run(std::vector<std::uint8_t> const& image) {
    TestMachine machine;
    Console console;
    Exit exit;
    check(machine.bus.attach_ports(PortNumber{0xe9}, 1, console).has_value(), "port e9h is free");
    check(machine.bus.attach_ports(PortNumber{0xf4}, 1, exit).has_value(), "port f4h is free");
    for (std::uint64_t at = 0; at < 0x1'0000; at += 8) machine.put_value(at, std::uint64_t{0});
    machine.put(kImageBase, image);
    machine.cpu.reset();
    machine.cpu.set_state(reset_state(machine.cpu.state()));
    std::uint64_t left = kMostInstructions;
    Leave reason = Leave::next;
    while (!exit.asked && left != 0 && reason != Leave::halt && reason != Leave::shutdown) {
        auto const result = machine.cpu.run(left);
        reason = result.reason;
        left -= result.executed;
    }
    std::fwrite(console.text.data(), 1, console.text.size(), stdout);
    if (exit.asked) return 0;
    CpuState const state = machine.cpu.state();
    std::fprintf(stderr, "modes_run: the image did not end; cs=%04x rip=%llx\n", state.segments[cs].selector,
                 static_cast<unsigned long long>(state.rip));
    return 1;
}

}  // namespace
}  // namespace backplane

int main(int count, char** arguments) {
    if (count != 2) {
        std::fputs("usage: modes_run IMAGE\n", stderr);
        return 2;
    }
    std::ifstream file{arguments[1], std::ios::binary};
    std::vector<std::uint8_t> const image{std::istreambuf_iterator<char>{file}, {}};
    if (image.size() != backplane::kImageBytes) {
        std::fprintf(stderr, "modes_run: %s: expected an image of 65536 bytes\n", arguments[1]);
        return 2;
    }
    return backplane::run(image);
}
