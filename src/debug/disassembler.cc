#include "debug/disassembler.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace backplane {
namespace {

ZydisDecoder decoder_of(CodeMode mode) {
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
    return decoder;
}

}  // namespace

Disassembler::Line Disassembler::line(ConstByteSpan code, CodeMode mode, std::uint64_t address) const {
    ZydisDecoder const decoder = decoder_of(mode);
    ZydisDecodedInstruction instruction;
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
    std::array<char, 128> text{};
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction, operands.data())) ||
        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter_, &instruction, operands.data(),
                                                      instruction.operand_count_visible, text.data(), text.size(),
                                                      address, nullptr)))
        return {0, 0, "?"};
    ZyanU64 target = 0;
    bool const is_direct = instruction.operand_count_visible != 0 && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
                           operands[0].imm.is_relative != 0;
    if (is_direct) static_cast<void>(ZydisCalcAbsoluteAddress(&instruction, operands.data(), address, &target));
    return {instruction.length, target, text.data()};
}

std::string hex_bytes(ConstByteSpan bytes) {
    std::string text;
    for (std::byte const byte : bytes)
        fmt::format_to(std::back_inserter(text), "{}{:02x}", text.empty() ? "" : " ", std::to_integer<unsigned>(byte));
    return text;
}

}  // namespace backplane
