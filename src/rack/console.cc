#include "rack/console.h"

#include <fmt/format.h>

#include <span>

#include "rack/printable.h"

namespace backplane {
namespace {

constexpr std::size_t kLongestLine = 4096;
constexpr unsigned kFirstColour = 31;  // red to cyan: 31 to 36 ([ECMA-48] 8.3.117)
constexpr unsigned kColours = 6;

std::string make_prefix(ConsolePrefixer::Style const& style) {
    std::string const plain = fmt::format("{:<{}} |", style.name, style.name_width);
    if (!style.hue) return plain + " ";
    return fmt::format("\x1b[{}m{}\x1b[0m ", kFirstColour + *style.hue % kColours, plain);
}

}  // namespace

ConsolePrefixer::ConsolePrefixer(ByteSink& out, Style const& style) : out_{out}, prefix_{make_prefix(style)} {}

void ConsolePrefixer::put(ConstByteSpan bytes) {
    for (std::byte const byte : bytes) take(static_cast<char>(byte));
}

void ConsolePrefixer::take(char letter) {
    if (letter == '\r') {
        after_return_ = true;
        return;
    }
    bool const alone = after_return_ && letter != '\n';
    after_return_ = false;
    if (alone && !line_.empty()) end_line();
    if (letter == '\n') return end_line();
    line_ += letter;
    if (line_.size() == kLongestLine) end_line();
}

void ConsolePrefixer::end_line() {
    std::string const text = prefix_ + printable(line_) + '\n';
    line_.clear();
    out_.put(std::as_bytes(std::span{text}));
}

void ConsolePrefixer::flush() {
    after_return_ = false;
    if (!line_.empty()) end_line();
}

}  // namespace backplane
