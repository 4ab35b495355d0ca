#include "device/vga/text_screen.h"

#include <algorithm>
#include <array>
#include <span>

namespace backplane {

namespace {

// Code page 437 in Unicode, without 0x20 to 0x7E, which are ASCII.
constexpr std::array<char16_t, 32> kBelow{
    0x0020, 0x263A, 0x263B, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25D8, 0x25CB, 0x25D9, 0x2642, 0x2640, 0x266A, 0x266B, 0x263C,
    0x25BA, 0x25C4, 0x2195, 0x203C, 0x00B6, 0x00A7, 0x25AC, 0x21A8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221F, 0x2194, 0x25B2, 0x25BC};
constexpr std::array<char16_t, 129> kAbove{
    0x2302,
    0x00C7, 0x00FC, 0x00E9, 0x00E2, 0x00E4, 0x00E0, 0x00E5, 0x00E7, 0x00EA, 0x00EB, 0x00E8, 0x00EF, 0x00EE, 0x00EC, 0x00C4, 0x00C5,
    0x00C9, 0x00E6, 0x00C6, 0x00F4, 0x00F6, 0x00F2, 0x00FB, 0x00F9, 0x00FF, 0x00D6, 0x00DC, 0x00A2, 0x00A3, 0x00A5, 0x20A7, 0x0192,
    0x00E1, 0x00ED, 0x00F3, 0x00FA, 0x00F1, 0x00D1, 0x00AA, 0x00BA, 0x00BF, 0x2310, 0x00AC, 0x00BD, 0x00BC, 0x00A1, 0x00AB, 0x00BB,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255D, 0x255C, 0x255B, 0x2510,
    0x2514, 0x2534, 0x252C, 0x251C, 0x2500, 0x253C, 0x255E, 0x255F, 0x255A, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256C, 0x2567,
    0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256B, 0x256A, 0x2518, 0x250C, 0x2588, 0x2584, 0x258C, 0x2590, 0x2580,
    0x03B1, 0x00DF, 0x0393, 0x03C0, 0x03A3, 0x03C3, 0x00B5, 0x03C4, 0x03A6, 0x0398, 0x03A9, 0x03B4, 0x221E, 0x03C6, 0x03B5, 0x2229,
    0x2261, 0x00B1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00F7, 0x2248, 0x00B0, 0x2219, 0x00B7, 0x221A, 0x207F, 0x00B2, 0x25A0, 0x00A0};

char16_t unicode_of(std::uint8_t character) {
    if (character < kBelow.size()) return kBelow[character];
    return character < 0x7f ? character : kAbove[character - 0x7fU];
}

void append_utf8(std::string& out, char16_t code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
        return;
    }
    if (code < 0x800) {
        out += static_cast<char>(0xC0 | code >> 6);
    } else {
        out += static_cast<char>(0xE0 | code >> 12);
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    }
    out += static_cast<char>(0x80 | (code & 0x3F));
}

// The bits of a colour are blue, green, red on the adapter, and red, green, blue in ANSI.
unsigned ansi_colour(unsigned colour) { return (colour & 1) << 2 | (colour & 2) | (colour & 4) >> 2; }

std::string colour_sequence(std::uint8_t attribute) {
    unsigned const base = (attribute & 0x08) != 0 ? 90 : 30;
    return "\x1b[0;" + std::to_string(base + ansi_colour(attribute & 7U)) + ';' +
           std::to_string(40 + ansi_colour(attribute >> 4 & 7U)) + 'm';
}

std::string place_sequence(unsigned row, unsigned column) {
    return "\x1b[" + std::to_string(row + 1) + ';' + std::to_string(column + 1) + 'H';
}

constexpr std::string_view kClear{"\x1b[0m\x1b[2J"};
constexpr std::string_view kShowCursor{"\x1b[?25h"};
constexpr std::string_view kHideCursor{"\x1b[?25l"};

std::span<TextCell const> row_of(TextScreen const& screen, unsigned row) {
    return std::span{screen.cells}.subspan(std::size_t{row} * screen.columns, screen.columns);
}

/// By how many rows the screen was scrolled: the shift that explains most lines that are there.
std::size_t find_scroll(std::vector<std::string> const& before, std::vector<std::string> const& after) {
    std::size_t best = 0;
    std::size_t most = 0;
    for (std::size_t shift = 0; shift < before.size(); ++shift) {
        std::size_t equal = 0;
        for (std::size_t i = 0; i + shift < before.size() && i < after.size(); ++i)
            if (!after[i].empty() && before[i + shift] == after[i]) ++equal;
        if (equal > most) most = equal, best = shift;
    }
    return best;
}

}  // namespace

std::string TextScreen::text(unsigned row) const {
    std::string out;
    std::size_t end = 0;  // behind the last character that is no blank
    for (TextCell const cell : row_of(*this, row)) {
        append_utf8(out, unicode_of(cell.character));
        if (cell.character != ' ' && cell.character != 0 && cell.character != 0xff) end = out.size();
    }
    out.resize(end);
    return out;
}

void ScreenPainter::put(std::string_view text) {
    if (!text.empty()) sink_.put(std::as_bytes(std::span{text}));
}

bool ScreenPainter::paint(TextScreen const& screen) {
    if (screen.columns == 0) return false;
    if (style_ == ScreenStyle::lines) return paint_lines(screen);
    paint_terminal(screen);
    return false;
}

void ScreenPainter::finish(TextScreen const& screen) {
    if (finished_) return;
    finished_ = true;
    if (paint(screen)) paint(screen);  // the second look finds the cursor's line at rest
    if (style_ == ScreenStyle::terminal && shown_.rows != 0)
        put("\x1b[0m" + std::string{kShowCursor} + place_sequence(shown_.rows - 1, 0) + "\n");
}

bool ScreenPainter::paint_lines(TextScreen const& screen) {
    std::vector<std::string> now;
    for (unsigned row = 0; row < screen.rows; ++row) now.push_back(screen.text(row));
    std::size_t const scroll = find_scroll(lines_, now);
    lines_.erase(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(scroll));
    lines_.resize(screen.rows);
    std::string out;
    bool is_held_back = false;
    for (unsigned row = 0; row < screen.rows; ++row) {
        if (now[row] == lines_[row]) continue;
        bool const is_being_written = screen.cursor && screen.cursor->row == row && now[row] != resting_;
        if (is_being_written) {
            resting_ = now[row];
            is_held_back = true;
            continue;
        }
        lines_[row] = now[row];
        if (!now[row].empty()) out += now[row] + '\n';
    }
    put(out);
    return is_held_back;
}

void ScreenPainter::paint_terminal(TextScreen const& screen) {
    if (screen == shown_) return;
    std::string out{kHideCursor};
    bool const has_new_size = screen.columns != shown_.columns || screen.rows != shown_.rows;
    if (has_new_size) out += kClear;
    for (unsigned row = 0; row < screen.rows; ++row) {
        std::span<TextCell const> const cells = row_of(screen, row);
        if (!has_new_size && std::ranges::equal(cells, row_of(shown_, row))) continue;
        out += place_sequence(row, 0);
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i == 0 || cells[i].attribute != cells[i - 1].attribute) out += colour_sequence(cells[i].attribute);
            append_utf8(out, unicode_of(cells[i].character));
        }
    }
    if (screen.cursor) out += place_sequence(screen.cursor->row, screen.cursor->column) + std::string{kShowCursor};
    shown_ = screen;
    put(out);
}

}  // namespace backplane
