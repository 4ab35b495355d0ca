#include "debug/machine_tracer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "debug/inspect.h"

namespace backplane {
namespace {

unsigned bits_of(CodeMode mode) {
    switch (mode) {
        case CodeMode::bits16:
            return 16;
        case CodeMode::bits32:
        case CodeMode::bits32_bounded:
            return 32;
        case CodeMode::bits64:
            return 64;
    }
    return 64;
}

}  // namespace

MachineTracer::MachineTracer(Machine& machine, BoundedFile* instructions, BoundedFile* exits)
    : machine_{machine}, instructions_{instructions}, exits_{exits} {
    if (instructions_ != nullptr) {
        // An engine that cannot report instructions leaves the file empty; the one there is can.
        for (unsigned cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
            static_cast<void>(machine_.engine(cpu).set_instruction_hook(
                [this](RetiredInstruction const& instruction) { return write_instruction(instruction); }));
        }
    }
    if (exits_ != nullptr) {
        machine_.bus().add_observer(*this);
        machine_.add_observer(*this);
    }
}

MachineTracer::~MachineTracer() {
    for (unsigned cpu = 0; instructions_ != nullptr && cpu < machine_.cpu_count(); ++cpu)
        static_cast<void>(machine_.engine(cpu).set_instruction_hook({}));
    if (exits_ == nullptr) return;
    machine_.bus().remove_observer(*this);
    machine_.remove_observer(*this);
}

bool MachineTracer::write_instruction(RetiredInstruction const& instruction) {
    std::array<std::byte, 15> bytes{};
    std::size_t const length = std::min<std::size_t>(instruction.length, bytes.size());
    std::size_t const here = std::min<std::size_t>(length, kPageBytes - (instruction.physical & kPageMask));
    std::size_t got = peek(machine_.memory(), GuestPhys{instruction.physical}, ByteSpan{bytes}.first(here));
    if (got == here && here != length)
        got +=
            peek(machine_.memory(), GuestPhys{instruction.second_page}, ByteSpan{bytes}.subspan(here, length - here));
    std::string line = fmt::format("{} {} {} {} {:016x}", machine_.name(), instruction.number,
                                   bits_of(instruction.mode), instruction.privilege, instruction.linear);
    if (got != 0) line += ' ' + hex_bytes(ConstByteSpan{bytes}.first(got));
    line += "  ";
    line += disassembler_.text(ConstByteSpan{bytes}.first(got), instruction.mode, instruction.linear);
    line += '\n';
    return instructions_->append(line);
}

void MachineTracer::accessed(BusAccess const& access) {
    exits_->append(fmt::format("{} {} {} {} {} {:#x} {} {:#x} {}\n", machine_.name(), machine_.now().ns(),
                               machine_.instructions(), access.space == BusAccess::Space::port ? "port" : "memory",
                               access.direction == BusAccess::Direction::read ? "read" : "write", access.address,
                               bytes_in(access.width), access.value, access.device));
}

void MachineTracer::executed(unsigned, Ticks, VirtualizationEvent const& event) {
    exits_->append(fmt::format("{} {} {} {} {}{}{}\n", machine_.name(), machine_.now().ns(), machine_.instructions(),
                               kind_name(event.kind), event.instructions, event.cause != nullptr ? " " : "",
                               event.cause != nullptr ? event.cause : ""));
}

}  // namespace backplane
