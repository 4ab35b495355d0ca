// What a text mode shows at one moment, and how it gets to a terminal or into a log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "device/byte_port.h"

namespace backplane {

struct TextCell {
    std::uint8_t character{' '};  ///< of code page 437
    std::uint8_t attribute{0x07};  ///< foreground, background << 4; the blink bit is ignored
    bool operator==(TextCell const&) const = default;
};

struct TextScreen {
    struct Place {
        unsigned row;
        unsigned column;
        bool operator==(Place const&) const = default;
    };
    unsigned columns{0};  ///< 0 in a graphics mode: nothing to show
    unsigned rows{0};
    std::vector<TextCell> cells{};  ///< row by row
    std::optional<Place> cursor{};  ///< where it is visible
    bool operator==(TextScreen const&) const = default;

    /// A row in UTF-8 without colours and without blanks at its end.
    [[nodiscard]] std::string text(unsigned row) const;
};

/// How a screen is written to a byte sink.
enum class ScreenStyle : std::uint8_t {
    lines,     ///< a log: each line that is new, once, when the cursor has left it or rests
    terminal,  ///< the screen itself, with colours: ANSI sequences that put changed lines where they are
};

/// Writes to a sink what has changed on a screen. Nothing but its own sequences and printable characters come out,
/// whatever the guest has in its memory.
class ScreenPainter {
  public:
    ScreenPainter(ByteSink& sink, ScreenStyle style) : sink_{sink}, style_{style} {}

    /// \return true when the painter wants to see the screen again, even if nothing changes
    bool paint(TextScreen const& screen);
    /// The machine has ended: what is still held back comes out, and the cursor is left below the screen.
    void finish(TextScreen const& screen);

  private:
    bool paint_lines(TextScreen const& screen);
    void paint_terminal(TextScreen const& screen);
    void put(std::string_view text);

    ByteSink& sink_;
    ScreenStyle style_;
    TextScreen shown_;                // style terminal
    std::vector<std::string> lines_;  // style lines: what was written, where it is now
    std::string resting_;             // the cursor's line as it was when last looked at
    bool finished_{false};
};

}  // namespace backplane
