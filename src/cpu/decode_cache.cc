#include "cpu/decode_cache.h"

#include <cstring>
#include <limits>

namespace backplane {

namespace {

/// How many of the first bytes tell instructions apart, at most: those behind them may belong to the next instruction, or are
/// a displacement.
std::uint64_t telling_bytes(std::uint64_t bytes) {
    auto const byte = [&](unsigned i) { return static_cast<std::uint8_t>(bytes >> 8 * i); };
    auto const first = [&](unsigned count) { return bytes & ((std::uint64_t{1} << 8 * count) - 1); };
    auto const is_alone = [](std::uint8_t opcode) {  // without ModRM: PUSH and POP, Jcc, exchanges with RAX, RET, what has an immediate and so on
        bool const of_accumulator = (opcode < 0x40 && (opcode & 6) == 4) || opcode == 0xa8 || opcode == 0xa9;
        return of_accumulator || opcode == 0x68 || opcode == 0x6a || (opcode >= 0xb0 && opcode < 0xc0) || (opcode >= 0x50 && opcode < 0x60) || (opcode >= 0x70 && opcode < 0x80) || (opcode >= 0x90 && opcode < 0x9a) || opcode == 0xc3 ||
               opcode == 0xc9 || opcode == 0xcc || (opcode >= 0xe8 && opcode < 0xec) || (opcode >= 0xf4 && opcode < 0xf6) || (opcode >= 0xf8 && opcode < 0xfe);
    };
    bool const has_rex = (byte(0) & 0xf0) == 0x40;
    bool const has_prefix = byte(0) == 0x64 || byte(0) == 0x65 || byte(0) == 0x66 || byte(0) == 0xf0 || byte(0) == 0xf2 || byte(0) == 0xf3;
    if (is_alone(byte(0))) return first(1);
    if (has_rex) return first(is_alone(byte(1)) ? 2 : byte(1) == 0x0f ? 4 : 3);
    if (byte(0) == 0x0f) return first((byte(1) & 0xf0) == 0x80 || byte(1) == 0x05 || byte(1) == 0x0b ? 2 : 3);
    return has_prefix ? first(is_alone(byte(1)) ? 2 : 4) : first(2);
}

std::int64_t value_of(DecodedForm::Field const& field, DecodeCache::Bytes const& bytes) {
    if (field.bytes == 0) return 0;
    std::uint64_t value = 0;
    std::memcpy(&value, &bytes[field.at], sizeof(value));  // there are 8 bytes behind any field
    unsigned const above = 64 - 8 * field.bytes;
    value <<= above;
    return field.is_signed ? static_cast<std::int64_t>(value) >> above : static_cast<std::int64_t>(value >> above);
}

}  // namespace

std::size_t DecodeCache::index_of(std::uint64_t first_bytes) {
    constexpr std::uint64_t kFactor = 0x9e37'79b9'7f4a'7c15;
    return telling_bytes(first_bytes) * kFactor >> (64 - kIndexBits);
}

DecodeStatus DecodeCache::decode(Bytes const& bytes, std::size_t available, CodeMode mode, std::uint32_t offset, std::uint32_t position, Op& op) {
    std::span<std::uint8_t const> const given{bytes.data(), available};
    if (mode != CodeMode::bits64) return backplane::decode(given, mode, offset, position, op);
    std::uint64_t words[2];
    std::memcpy(words, bytes.data(), sizeof(words));
    Entry& entry = entries_[index_of(words[0])];
    bool const is_same = ((words[0] ^ entry.bytes[0]) & entry.mask[0]) == 0 && ((words[1] ^ entry.bytes[1]) & entry.mask[1]) == 0;
    if (is_same && entry.length != 0 && entry.length <= available && fill(entry, bytes, offset, position, op)) return entry.status;
    DecodedForm form;
    DecodeStatus const status = decode_form(given, offset, position, op, form);
    if (form.is_plain) entry = make(bytes, status, op, form);
    return status;
}

/// False: a displacement that needs another form of address.
bool DecodeCache::fill(Entry const& entry, Bytes const& bytes, std::uint32_t offset, std::uint32_t position, Op& op) {
    using Distance = DecodedForm::Distance;
    std::int64_t distance = value_of(entry.form.displacement, bytes);
    if (entry.form.distance == Distance::to_operand_from_rip || entry.form.distance == Distance::of_branch) distance += offset + entry.length;
    if (distance > std::numeric_limits<std::int32_t>::max() && entry.form.distance == Distance::to_operand_from_rip) return false;
    op = entry.op;
    op.offset = static_cast<std::uint16_t>(offset);
    op.position = static_cast<std::uint8_t>(position);
    if (entry.form.distance == Distance::of_branch)
        op.imm = distance;
    else if (entry.form.distance != Distance::none)
        op.disp = static_cast<std::int32_t>(distance);
    if (entry.form.immediate.bytes != 0) op.imm = value_of(entry.form.immediate, bytes);
    return true;
}

DecodeCache::Entry DecodeCache::make(Bytes const& bytes, DecodeStatus status, Op const& op, DecodedForm const& form) {
    Entry entry{};
    entry.op = op;
    entry.length = op.length;
    entry.status = status;
    entry.form = form;
    Bytes mask{};
    for (std::size_t i = 0; i < op.length; ++i) mask[i] = form.displacement.has(i) || form.immediate.has(i) ? 0 : 0xff;
    std::memcpy(entry.bytes, bytes.data(), sizeof(entry.bytes));
    std::memcpy(entry.mask, mask.data(), sizeof(entry.mask));
    return entry;
}

}  // namespace backplane
