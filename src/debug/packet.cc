#include "debug/packet.h"

#include <charconv>

namespace backplane {
namespace {

constexpr char kInterruptByte = 0x03;
constexpr char kEscape = '}';
constexpr char kEscapeMask = 0x20;
constexpr std::string_view kDigits = "0123456789abcdef";

int digit_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

void append_hex(std::string& text, std::uint8_t byte) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
}

}  // namespace

std::optional<PacketReader::Found> PacketReader::take(std::string_view& bytes) {
    while (!bytes.empty()) {
        char const byte = bytes.front();
        bytes.remove_prefix(1);
        if (auto const found = take_byte(byte)) return found;
    }
    return {};
}

std::optional<PacketReader::Found> PacketReader::take_byte(char byte) {
    switch (state_) {
        case State::between:
            return take_between(byte);
        case State::payload:
            if (byte == '#') {
                state_ = State::first_digit;
                return {};
            }
            sum_ = static_cast<std::uint8_t>(sum_ + static_cast<std::uint8_t>(byte));
            too_long_ = too_long_ || payload_.size() == kMaxPacketBytes;
            if (!too_long_) payload_ += byte;
            return {};
        case State::first_digit:
            first_digit_ = digit_value(byte);
            state_ = State::second_digit;
            return {};
        case State::second_digit:
            state_ = State::between;
            return judge(byte);
    }
    return {};
}

std::optional<PacketReader::Found> PacketReader::take_between(char byte) {
    if (byte == kInterruptByte) return Found::interrupt;
    if (byte == '-') return Found::again;
    if (byte == '$') {
        state_ = State::payload;
        payload_.clear();
        sum_ = 0;
        too_long_ = false;
    }
    return {};  // acknowledgements, and what is no part of any packet
}

PacketReader::Found PacketReader::judge(char byte) {
    int const second = digit_value(byte);
    bool const right = first_digit_ >= 0 && second >= 0 && first_digit_ * 16 + second == sum_;
    return right && !too_long_ ? Found::packet : Found::damaged;
}

std::string framed(std::string_view payload) {
    std::uint8_t sum = 0;
    for (char const byte : payload) sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
    std::string text = "$";
    text += payload;
    text += '#';
    append_hex(text, sum);
    return text;
}

std::string escaped(std::string_view data) {
    std::string text;
    for (char const byte : data) {
        bool const special = byte == '$' || byte == '#' || byte == kEscape || byte == '*';
        if (special) text += kEscape;
        text += special ? static_cast<char>(byte ^ kEscapeMask) : byte;
    }
    return text;
}

std::string unescaped(std::string_view data) {
    std::string bytes;
    for (std::size_t i = 0; i < data.size(); ++i) {
        if (data[i] != kEscape)
            bytes += data[i];
        else if (++i < data.size())
            bytes += static_cast<char>(data[i] ^ kEscapeMask);
    }
    return bytes;
}

std::string hex_of(ConstByteSpan bytes) {
    std::string text;
    text.reserve(2 * bytes.size());
    for (std::byte const byte : bytes) append_hex(text, std::to_integer<std::uint8_t>(byte));
    return text;
}

std::string hex_of(std::string_view text) { return hex_of(std::as_bytes(std::span{text})); }

std::optional<std::string> bytes_from_hex(std::string_view digits) {
    if (digits.size() % 2 != 0) return {};
    std::string bytes;
    for (std::size_t i = 0; i < digits.size(); i += 2) {
        int const high = digit_value(digits[i]);
        int const low = digit_value(digits[i + 1]);
        if (high < 0 || low < 0) return {};
        bytes += static_cast<char>(high << 4 | low);
    }
    return bytes;
}

std::optional<std::uint64_t> number_from_hex(std::string_view digits) {
    std::uint64_t value = 0;
    auto const [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    bool const whole = problem == std::errc{} && end == digits.data() + digits.size();
    return whole && digits.front() != '-' ? std::optional{value} : std::nullopt;
}

}  // namespace backplane
