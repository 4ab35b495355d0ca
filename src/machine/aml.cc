#include "machine/aml.h"

#include <span>
#include <string>

#include "base/check.h"
#include "machine/boot_bytes.h"

namespace backplane::aml {

namespace {

// [ACPI65] table 20.3, "AML Byte Stream Byte Values".
enum : std::uint8_t {
    kZeroOp = 0x00,
    kOneOp = 0x01,
    kNameOp = 0x08,
    kBytePrefix = 0x0A,
    kWordPrefix = 0x0B,
    kDWordPrefix = 0x0C,
    kStringPrefix = 0x0D,
    kQWordPrefix = 0x0E,
    kScopeOp = 0x10,
    kBufferOp = 0x11,
    kPackageOp = 0x12,
    kDualNamePrefix = 0x2E,
    kMultiNamePrefix = 0x2F,
    kExtOpPrefix = 0x5B,
    kDeviceOp = 0x82,  // after kExtOpPrefix
};

// [ACPI65] 6.4: the first byte of each descriptor.
enum : std::uint8_t {
    kIoPort = 0x47,
    kEndTag = 0x79,
    kAddress32 = 0x87,
    kAddress16 = 0x88,
    kMemory32Fixed = 0x86,
    kInterrupt = 0x89,
    kAddress64 = 0x8A,
};
// The kinds of address space, and what their specific flags say.
enum : std::uint8_t { kSpaceMemory = 0, kSpaceIo = 1, kSpaceBus = 2 };
enum : std::uint8_t { kFlagsNone = 0, kFlagsReadWrite = 0x01, kFlagsEntireRange = 0x03 };
constexpr std::uint8_t kFixedPositive = 0x0C;  // minimum and maximum fixed, positive decode

template <typename T>
Code prefixed(std::uint8_t prefix, T value) {
    Code code{std::byte{prefix}};
    append_object(code, value);
    return code;
}

/// PkgLength (20.2.4): counts itself too, so its own size comes first.
Code with_length(std::initializer_list<std::uint8_t> opcode, Code const& contents) {
    Code code;
    for (std::uint8_t const byte : opcode) append_object(code, byte);
    std::size_t const following = contents.size() + 2 < (1U << 12) ? 1 : contents.size() + 3 < (1U << 20) ? 2 : 3;
    if (contents.size() + 1 < 64) {
        append_object(code, static_cast<std::uint8_t>(contents.size() + 1));
    } else {
        std::size_t const length = contents.size() + 1 + following;
        check(length < (std::size_t{1} << 28), "an AML object fits into a PkgLength");
        append_object(code, static_cast<std::uint8_t>(following << 6 | (length & 0xF)));
        for (std::size_t i = 0; i < following; ++i)
            append_object(code, static_cast<std::uint8_t>(length >> (4 + 8 * i)));
    }
    append_bytes(code, contents);
    return code;
}

Code name_segment(std::string_view text) {
    check(!text.empty() && text.size() <= 4, "an AML name has one to four characters");
    std::string padded{text};
    padded.resize(4, '_');
    Code code;
    for (char const letter : padded) append_object(code, letter);
    return code;
}

/// The address space descriptors differ in the width of their five numbers only.
template <typename T>
Code address_space(std::uint8_t tag, std::uint8_t kind, std::uint8_t specific_flags, T first, T count) {
    constexpr T kGranularity = 0;
    constexpr T kTranslation = 0;
    Code code;
    append_object(code, tag);
    append_object(code, static_cast<std::uint16_t>(3 + 5 * sizeof(T)));
    for (std::uint8_t const byte : {kind, kFixedPositive, specific_flags}) append_object(code, byte);
    for (T const value : {kGranularity, first, static_cast<T>(first + (count - 1)), kTranslation, count}) {
        append_object(code, value);
    }
    return code;
}

}  // namespace

Code join(std::initializer_list<Code> parts) {
    Code code;
    for (Code const& part : parts) append_bytes(code, part);
    return code;
}

Code integer(std::uint64_t value) {
    if (value == 0) return {std::byte{kZeroOp}};
    if (value == 1) return {std::byte{kOneOp}};
    if (value <= 0xFF) return prefixed(kBytePrefix, static_cast<std::uint8_t>(value));
    if (value <= 0xFFFF) return prefixed(kWordPrefix, static_cast<std::uint16_t>(value));
    if (value <= 0xFFFF'FFFF) return prefixed(kDWordPrefix, static_cast<std::uint32_t>(value));
    return prefixed(kQWordPrefix, value);
}

Code string(std::string_view text) {
    Code code{std::byte{kStringPrefix}};
    for (char const letter : text) append_object(code, letter);
    append_object(code, '\0');
    return code;
}

// 19.3.4 "EISAID": five bits a letter, four bits a digit, the whole with its bytes swapped.
Code eisa_id(std::string_view id) {
    check(id.size() == 7, "an EISA identifier has three letters and four digits");
    std::uint32_t value = 0;
    for (char const letter : id.substr(0, 3)) value = value << 5 | static_cast<std::uint32_t>(letter - 'A' + 1);
    for (char const digit : id.substr(3)) {
        value = value << 4 | static_cast<std::uint32_t>(digit <= '9' ? digit - '0' : digit - 'A' + 10);
    }
    return prefixed(kDWordPrefix, __builtin_bswap32(value));
}

Code package(std::vector<Code> const& elements) {
    check(elements.size() <= 0xFF, "an AML package has at most 255 elements");
    Code contents{static_cast<std::byte>(elements.size())};
    for (Code const& element : elements) append_bytes(contents, element);
    return with_length({kPackageOp}, contents);
}

Code package(std::initializer_list<Code> elements) { return package(std::vector<Code>{elements}); }

Code buffer(Code const& bytes) { return with_length({kBufferOp}, join({integer(bytes.size()), bytes})); }

Code path(std::string_view text) {
    Code code;
    if (text.starts_with('\\')) {
        append_object(code, '\\');
        text.remove_prefix(1);
    }
    std::uint8_t count = 0;
    Code segments;
    for (std::size_t dot = 0; dot != std::string_view::npos; ++count) {
        dot = text.find('.');
        append_bytes(segments, name_segment(text.substr(0, dot)));
        text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
    }
    if (count == 2) append_object(code, std::uint8_t{kDualNamePrefix});
    if (count > 2) append_bytes(code, join({Code{std::byte{kMultiNamePrefix}, std::byte{count}}}));
    append_bytes(code, segments);
    return code;
}

Code name(std::string_view text, Code const& value) { return join({{std::byte{kNameOp}}, path(text), value}); }

Code scope(std::string_view text, std::initializer_list<Code> contents) {
    return with_length({kScopeOp}, join({path(text), join(contents)}));
}

Code device(std::string_view text, std::initializer_list<Code> contents) {
    return with_length({kExtOpPrefix, kDeviceOp}, join({path(text), join(contents)}));
}

Code resource_template(std::initializer_list<Code> descriptors) {
    constexpr std::byte kNoChecksum{0};  // 6.4.2.9: zero means that there is none
    return buffer(join({join(descriptors), {std::byte{kEndTag}, kNoChecksum}}));
}

Code io_ports(std::uint16_t first, std::uint8_t count) {
    constexpr std::uint8_t kDecodes16Bits = 1;
    constexpr std::uint8_t kAlignment = 1;
    Code code;
    append_object(code, std::uint8_t{kIoPort});
    append_object(code, kDecodes16Bits);
    append_object(code, first);
    append_object(code, first);
    append_object(code, kAlignment);
    append_object(code, count);
    return code;
}

Code fixed_memory(std::uint32_t first, std::uint32_t bytes) {
    constexpr std::uint8_t kReadWrite = 1;
    Code code;
    append_object(code, std::uint8_t{kMemory32Fixed});
    append_object(code, static_cast<std::uint16_t>(sizeof(kReadWrite) + sizeof(first) + sizeof(bytes)));
    append_object(code, kReadWrite);
    append_object(code, first);
    append_object(code, bytes);
    return code;
}

Code edge_interrupt(std::uint32_t number) {
    constexpr std::uint8_t kConsumerEdgeHighExclusive = 0x03;
    constexpr std::uint8_t kCount = 1;
    Code code;
    append_object(code, std::uint8_t{kInterrupt});
    append_object(code, static_cast<std::uint16_t>(2 + sizeof(number)));
    append_object(code, kConsumerEdgeHighExclusive);
    append_object(code, kCount);
    append_object(code, number);
    return code;
}

Code bus_window(std::uint16_t first, std::uint16_t count) {
    return address_space(kAddress16, kSpaceBus, kFlagsNone, first, count);
}
Code io_window(std::uint16_t first, std::uint16_t count) {
    return address_space(kAddress16, kSpaceIo, kFlagsEntireRange, first, count);
}
Code memory_window32(std::uint32_t first, std::uint32_t bytes) {
    return address_space(kAddress32, kSpaceMemory, kFlagsReadWrite, first, bytes);
}
Code memory_window64(std::uint64_t first, std::uint64_t bytes) {
    return address_space(kAddress64, kSpaceMemory, kFlagsReadWrite, first, bytes);
}

}  // namespace backplane::aml
