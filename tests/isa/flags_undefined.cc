#include "flags_undefined.h"

#include <algorithm>

namespace backplane::isa {
namespace {

constexpr std::uint64_t kC = 1 << 0, kP = 1 << 2, kA = 1 << 4, kZ = 1 << 6, kS = 1 << 7, kO = 1 << 11;
constexpr std::uint64_t kAll = kC | kP | kA | kZ | kS | kO;

/// When the flags are undefined.
enum class When : std::uint8_t {
    always,
    shift,        ///< count 0: no flag changes; OF only for counts other than 1
    shift_carry,  ///< as shift; CF too when the count is not less than the operand's bits
    rotate,       ///< OF only, for counts other than 1
};

struct Undefined {
    ZydisMnemonic mnemonic;
    std::uint64_t flags;
    When when;
};

// [SDM2A], [SDM2B], [SDM2C]: "Flags Affected" on the page of the mnemonic.
constexpr Undefined kTable[] = {
    {ZYDIS_MNEMONIC_AND, kA, When::always},
    {ZYDIS_MNEMONIC_OR, kA, When::always},
    {ZYDIS_MNEMONIC_XOR, kA, When::always},
    {ZYDIS_MNEMONIC_TEST, kA, When::always},
    {ZYDIS_MNEMONIC_MUL, kS | kZ | kA | kP, When::always},
    {ZYDIS_MNEMONIC_IMUL, kS | kZ | kA | kP, When::always},
    {ZYDIS_MNEMONIC_DIV, kAll, When::always},
    {ZYDIS_MNEMONIC_IDIV, kAll, When::always},
    {ZYDIS_MNEMONIC_BSF, kC | kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_BSR, kC | kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_BT, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_BTC, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_BTR, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_BTS, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_ANDN, kA | kP, When::always},
    {ZYDIS_MNEMONIC_BEXTR, kA | kS | kP, When::always},
    {ZYDIS_MNEMONIC_BLSI, kA | kP, When::always},
    {ZYDIS_MNEMONIC_BLSMSK, kA | kP, When::always},
    {ZYDIS_MNEMONIC_BLSR, kA | kP, When::always},
    {ZYDIS_MNEMONIC_BZHI, kA | kP, When::always},
    {ZYDIS_MNEMONIC_LZCNT, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_TZCNT, kO | kS | kA | kP, When::always},
    {ZYDIS_MNEMONIC_SHL, kA, When::shift_carry},
    {ZYDIS_MNEMONIC_SHR, kA, When::shift_carry},
    {ZYDIS_MNEMONIC_SAR, kA, When::shift},
    {ZYDIS_MNEMONIC_SHLD, kA, When::shift},
    {ZYDIS_MNEMONIC_SHRD, kA, When::shift},
    {ZYDIS_MNEMONIC_ROL, 0, When::rotate},
    {ZYDIS_MNEMONIC_ROR, 0, When::rotate},
    {ZYDIS_MNEMONIC_RCL, 0, When::rotate},
    {ZYDIS_MNEMONIC_RCR, 0, When::rotate},
};

/// The count of a shift or rotate, masked as the processor masks it; empty when it is in CL and that is not known.
std::optional<std::uint64_t> shift_count(Decoded const& decoded, std::optional<std::uint64_t> rcx) {
    auto const operands = decoded.visible();
    auto const& count = operands.back();
    std::uint64_t const mask = operands.front().size == 64 ? 63 : 31;
    if (count.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return count.imm.value.u & mask;
    if (rcx) return *rcx & mask;
    return {};
}

FlagEffect shift_effect(Undefined const& entry, Decoded const& decoded, std::optional<std::uint64_t> rcx,
                        std::uint64_t written) {
    auto const count = shift_count(decoded, rcx);
    bool const carries = entry.when == When::shift_carry;
    if (!count) return {entry.flags | kO | (carries && decoded.operands[0].size < 32 ? kC : 0), 0, 0};
    if (*count == 0) return {};
    std::uint64_t undefined = entry.flags | (*count == 1 ? 0 : kO);
    if (carries && *count >= decoded.operands[0].size) undefined |= kC;
    return {undefined, written & ~undefined, 0};
}

bool is_repeated(Decoded const& decoded) {
    return (decoded.instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) !=
           0;
}

Undefined const* find(ZydisMnemonic mnemonic) {
    auto const* const found = std::ranges::find(kTable, mnemonic, &Undefined::mnemonic);
    return found == std::end(kTable) ? nullptr : found;
}

}  // namespace

FlagEffect flag_effect(Decoded const& decoded, std::optional<std::uint64_t> rcx) {
    FlagEffect effect{};
    auto const* const flags = decoded.instruction.cpu_flags;
    if (flags == nullptr) return effect;
    std::uint64_t const written = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & kAll;
    auto const* const entry = find(decoded.instruction.mnemonic);
    if (entry == nullptr) {
        bool const none_possible = is_repeated(decoded) && (!rcx || *rcx == 0);
        effect = {0, none_possible ? 0 : written, 0};
    } else if (entry->when == When::always) {
        effect = {entry->flags, written & ~entry->flags, 0};
    } else {
        effect = shift_effect(*entry, decoded, rcx, written);
    }
    effect.read = flags->tested & kAll;
    return effect;
}

bool agrees_with_zydis(Decoded const& decoded) {
    auto const* const flags = decoded.instruction.cpu_flags;
    std::uint64_t const theirs = flags == nullptr ? 0 : flags->undefined & kAll;
    auto const* const entry = find(decoded.instruction.mnemonic);
    std::uint64_t const ours = entry == nullptr ? 0 : entry->flags;
    // Zydis 4.0 has AF of one SBB as undefined; [SDM2B] SBB sets it according to the result.
    if (decoded.instruction.mnemonic == ZYDIS_MNEMONIC_SBB) return ours == 0;
    // And it has SF of BEXTR as defined; [SDM2A] BEXTR has it as undefined.
    if (decoded.instruction.mnemonic == ZYDIS_MNEMONIC_BEXTR) return ours == (kA | kS | kP);
    if (entry == nullptr || entry->when == When::always) return theirs == ours;
    return (theirs & ~(kO | kC)) == ours;
}

}  // namespace backplane::isa
