#include "rack/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace backplane {
namespace {

constexpr std::size_t kLongestSequence = 64;  // a longer control sequence is shown, not believed
constexpr std::size_t kLongestQuote = 80;

bool is_between(char letter, unsigned low, unsigned high) {
    unsigned const value = static_cast<unsigned char>(letter);
    return value >= low && value <= high;
}

/// The length of the control sequence at the start of `text`, ESC included; 0 when there is none ([ECMA-48] 5.4).
std::size_t control_sequence_bytes(std::string_view text) {
    if (!text.starts_with("\x1b[")) return 0;
    std::size_t const end = std::min(text.size(), kLongestSequence);
    for (std::size_t i = 2; i < end; ++i) {
        if (is_between(text[i], 0x40, 0x7e)) return i + 1;
        if (!is_between(text[i], 0x20, 0x3f)) return 0;
    }
    return 0;
}

/// The length of the valid, printable UTF-8 sequence of two or more bytes at the start of `text`; 0 if there is none.
std::size_t utf8_bytes(std::string_view text) {
    struct Form {
        unsigned first_low, first_high;
        std::size_t bytes;
        unsigned second_low, second_high;
    };
    // Table 3-7 of the Unicode standard, without U+0080 to U+009F.
    static constexpr Form kForms[] = {
        {0xc2, 0xc2, 2, 0xa0, 0xbf}, {0xc3, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    for (Form const& form : kForms) {
        if (!is_between(text[0], form.first_low, form.first_high)) continue;
        if (text.size() < form.bytes || !is_between(text[1], form.second_low, form.second_high)) return 0;
        std::string_view const rest = text.substr(2, form.bytes - 2);
        bool const valid = std::all_of(rest.begin(), rest.end(), [](char c) { return is_between(c, 0x80, 0xbf); });
        return valid ? form.bytes : 0;
    }
    return 0;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        std::size_t taken = control_sequence_bytes(text);
        if (taken == 0) {
            bool const plain = is_between(text[0], 0x20, 0x7e) || text[0] == '\t';
            taken = plain ? 1 : utf8_bytes(text);
            if (taken != 0) {
                out += text.substr(0, taken);
            } else {
                out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
                taken = 1;
            }
        }
        text.remove_prefix(taken);
    }
    return out;
}

std::string in_quotes(std::string_view text) {
    bool const cut = text.size() > kLongestQuote;
    return '"' + printable(text.substr(0, kLongestQuote)) + (cut ? "...\"" : "\"");
}

}  // namespace backplane
