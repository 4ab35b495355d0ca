#include "program.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "flags_undefined.h"

namespace backplane::isa {

std::uint64_t Program::undefined_flags_at(std::uint64_t rip) const {
    if (auto const* const step = step_at(rip)) return step->undefined_flags;
    return undefined_flags_at_end;
}

Step const* Program::step_at(std::uint64_t rip) const {
    auto const found = std::ranges::find(steps, rip, &Step::rip);
    return found == steps.end() ? nullptr : &*found;
}

void Program::track_flags() {
    std::vector<std::uint64_t> arriving(steps.size() + 1, 0);
    std::uint64_t undefined = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        undefined |= arriving[i];
        steps[i].undefined_flags = undefined;
        FlagEffect const effect = flag_effect(steps[i].instruction.decoded, {});
        undefined = (undefined & ~effect.defined) | effect.undefined;
        if (steps[i].jump_to != kNoStep && steps[i].jump_to > i)
            arriving[std::min<std::size_t>(steps[i].jump_to, steps.size())] |= undefined;
    }
    undefined_flags_at_end = undefined | arriving[steps.size()];
}

void lay_out(Program& program, std::size_t count, std::uint64_t start, Case& to) {
    program.start = start;
    std::uint64_t rip = start;
    for (std::size_t i = 0; i < count; ++i) {
        program.steps[i].rip = rip;
        rip += program.steps[i].instruction.length;
    }
    program.end = rip;
    for (std::size_t i = count; i < program.steps.size(); ++i) program.steps[i].rip = 0;

    auto const rip_of = [&](std::uint32_t step) { return step < count ? program.steps[step].rip : program.end; };
    std::vector<std::uint8_t> code;
    for (std::size_t i = 0; i < count; ++i) {
        Step& step = program.steps[i];
        Instruction& instruction = step.instruction;
        std::uint64_t const next = step.rip + instruction.length;
        if (step.jump_to != kNoStep) {
            std::uint64_t const distance = rip_of(step.jump_to) - next;
            if (instruction.decoded.instruction.raw.disp.size != 0)
                instruction.patch_displacement(distance);
            else
                instruction.patch_immediate(distance);
        }
        if (step.modifies != kNoStep) {
            Step const& target = program.steps[step.modifies];
            std::uint64_t const address = step.modifies < count ? target.rip + target.instruction.length - 4 : kWindow;
            instruction.patch_displacement(address - next);
        }
        code.insert(code.end(), instruction.bytes.begin(), instruction.bytes.begin() + instruction.length);
    }
    for (unsigned i = 0; i < kUd2s; ++i) code.insert(code.end(), {0x0f, 0x0b});

    to.code_offset = static_cast<std::uint32_t>(start - kCode);
    to.code_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(code.size(), kCodeBytes - to.code_offset));
    check(to.code_bytes <= kMostCode, "a program fits a case");
    std::memcpy(to.code, code.data(), to.code_bytes);
    to.before.rip = start;
}

Instruction instruction_of(std::initializer_list<unsigned> bytes) {
    Instruction made;
    std::ranges::transform(bytes, made.bytes.begin(), [](unsigned byte) { return static_cast<std::uint8_t>(byte); });
    check(decode(made.bytes, made.decoded) && made.decoded.instruction.length == bytes.size(),
          "bytes of an instruction");
    made.length = made.decoded.instruction.length;
    return made;
}

std::string disassemble(Instruction const& instruction, std::uint64_t rip) {
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    char text[256]{};
    ZydisFormatterFormatInstruction(&formatter, &instruction.decoded.instruction, instruction.decoded.operands,
                                    instruction.decoded.instruction.operand_count_visible, text, sizeof text, rip,
                                    nullptr);
    return text;
}

}  // namespace backplane::isa
