// Packets of GDB's remote serial protocol ([GDB] appendix E.1): `$payload#checksum`, acknowledgements, and the
// interrupt byte. Whatever bytes come, the reader holds at most one packet of kMaxPacketBytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace backplane {

/// The longest payload that is taken, and that a reply has; the debugger is told.
inline constexpr std::size_t kMaxPacketBytes = 0x4000;

class PacketReader {
  public:
    enum class Found : std::uint8_t {
        packet,     ///< payload() is whole and its checksum right
        damaged,    ///< a packet with a wrong checksum, or a too long one: to be asked for again
        interrupt,  ///< the byte 0x03 between packets: the user pressed Ctrl-C
        again,      ///< a negative acknowledgement: the last reply is to be sent again
    };
    /// Takes bytes up to the end of the next thing found and removes them from `bytes`; empty when they are used up.
    [[nodiscard]] std::optional<Found> take(std::string_view& bytes);
    /// Of the packet found last; binary data in it is still escaped.
    [[nodiscard]] std::string const& payload() const { return payload_; }

  private:
    enum class State : std::uint8_t { between, payload, first_digit, second_digit };
    [[nodiscard]] std::optional<Found> take_byte(char byte);
    [[nodiscard]] std::optional<Found> take_between(char byte);
    [[nodiscard]] Found judge(char byte);

    State state_{State::between};
    std::string payload_;
    std::uint8_t sum_{0};
    bool too_long_{false};
    int first_digit_{0};
};

/// `$payload#checksum`; `payload` is text without `$`, `#`, `}` or `*`, or was made by escape().
[[nodiscard]] std::string framed(std::string_view payload);
/// Binary data as a payload may contain it, and back. A lone escape character at the end is dropped.
[[nodiscard]] std::string escaped(std::string_view data);
[[nodiscard]] std::string unescaped(std::string_view data);

/// Two hexadecimal digits a byte.
[[nodiscard]] std::string hex_of(ConstByteSpan bytes);
[[nodiscard]] std::string hex_of(std::string_view text);
/// Empty when the text is not pairs of hexadecimal digits.
[[nodiscard]] std::optional<std::string> bytes_from_hex(std::string_view digits);
/// A whole text of 1 to 16 hexadecimal digits as a number.
[[nodiscard]] std::optional<std::uint64_t> number_from_hex(std::string_view digits);

}  // namespace backplane
