#include "debug/machine_tracer.h"

#include <Zydis/Zydis.h>
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

class MachineTracer::Disassembler {
  public:
    Disassembler() { ZydisFormatterInit(&formatter_, ZYDIS_FORMATTER_STYLE_INTEL); }

    [[nodiscard]] std::string text(ConstByteSpan bytes, CodeMode mode, std::uint64_t address) const {
        ZydisDecoder decoder;
        switch (mode) {
            case CodeMode::bits16:
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
                break;
            case CodeMode::bits32:
            case CodeMode::bits32_bounded:
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
                break;
            case CodeMode::bits64:
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
                break;
        }
        ZydisDecodedInstruction instruction;
        std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
        std::array<char, 128> text{};
        if (!ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &instruction, operands.data())) ||
            !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter_, &instruction, operands.data(),
                                                          instruction.operand_count_visible, text.data(), text.size(),
                                                          address, nullptr)))
            return "?";
        return text.data();
    }

  private:
    ZydisFormatter formatter_;
};

MachineTracer::MachineTracer(Machine& machine, BoundedFile* instructions, BoundedFile* exits)
    : machine_{machine}, instructions_{instructions}, exits_{exits}, disassembler_{std::make_unique<Disassembler>()} {
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
    for (std::byte const byte : ConstByteSpan{bytes}.first(got))
        fmt::format_to(std::back_inserter(line), " {:02x}", std::to_integer<unsigned>(byte));
    line += "  ";
    line += disassembler_->text(ConstByteSpan{bytes}.first(got), instruction.mode, instruction.linear);
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
