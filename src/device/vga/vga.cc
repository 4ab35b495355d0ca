#include "device/vga/vga.h"

#include <algorithm>

namespace backplane {

namespace {

constexpr std::uint16_t kFirstPort = 0x3c0;
constexpr std::uint16_t kCrtcPorts = 0x3d4;
constexpr std::uint16_t kStatusPort = 0x3da;

// [VGA] "Video Subsystem Registers": indexes and bits that have a meaning here.
constexpr std::uint8_t kMemoryEnabled = 0x02;  // miscellaneous output
constexpr unsigned kMapMask = 2;               // sequencer
constexpr unsigned kMemoryMode = 4;
constexpr std::uint8_t kPlaneByPlane = 0x04;
constexpr std::uint8_t kChain4 = 0x08;
constexpr unsigned kReadMap = 4;  // graphics controller
constexpr unsigned kGraphicsMiscellaneous = 6;
constexpr std::uint8_t kGraphics = 0x01;
constexpr unsigned kColumns = 0x01;  // CRT controller
constexpr unsigned kOverflow = 0x07;
constexpr unsigned kCharacterHeight = 0x09;
constexpr unsigned kCursorStart = 0x0a;
constexpr std::uint8_t kCursorOff = 0x20;
constexpr unsigned kStartAddress = 0x0c;
constexpr unsigned kCursor = 0x0e;
constexpr unsigned kVerticalRetraceEnd = 0x11;
constexpr std::uint8_t kProtected = 0x80;
constexpr unsigned kVerticalEnd = 0x12;
constexpr unsigned kOffset = 0x13;
constexpr std::uint8_t kDoubleScan = 0x80;

// What is on the screen is shown at these intervals of virtual time: more often where no line must be missed.
constexpr Ticks kLinesInterval = milliseconds(4);
constexpr Ticks kTerminalInterval = milliseconds(20);
constexpr unsigned kMostColumns = 132;
constexpr unsigned kMostRows = 60;

// 70 frames a second of 449 lines, of which 400 are visible; four fifths of a line are.
constexpr std::uint64_t kLineNs = 31'778;
constexpr std::uint64_t kVisibleLineNs = kLineNs * 4 / 5;
constexpr std::uint64_t kFrameLines = 449;
constexpr std::uint64_t kVisibleLines = 400;
constexpr std::uint64_t kRetraceFirstLine = 412;
constexpr std::uint64_t kRetraceLines = 2;

}  // namespace

// [VGA] "Video modes", mode 3: 720 by 400 dots, characters of 9 by 16.
Vga::State Vga::mode3() {
    State state{.miscellaneous = 0x67,
                .sequencer = {0x03, 0x00, 0x03, 0x00, 0x02},
                .graphics = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff},
                .attribute = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
                              0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00},
                .crtc = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
                         0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff}};
    state.attribute_index = 0x20;  // the palette belongs to the screen
    return state;
}

Vga::Vga(MachineClock& clock, ByteSink& console, ScreenStyle style)
    : clock_{clock},
      interval_{style == ScreenStyle::lines ? kLinesInterval : kTerminalInterval},
      sees_every_scroll_{style == ScreenStyle::lines},
      painter_{console, style},
      timer_{clock, [this] { look(); }},
      main_ports_{*this, kFirstPort},
      crtc_ports_{*this, kCrtcPorts},
      status_port_{*this, kStatusPort},
      state_{mode3()} {
    reset();
}

Expected<void, Error> Vga::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach(kMemory, kMemoryBytes, *this));
    BACKPLANE_TRY_VOID(bus.attach_ports(PortNumber{kFirstPort}, 16, main_ports_));
    BACKPLANE_TRY_VOID(bus.attach_ports(PortNumber{kCrtcPorts}, 2, crtc_ports_));
    return bus.attach_ports(PortNumber{kStatusPort}, 1, status_port_);
}

void Vga::reset() {
    state_ = mode3();
    planes_.assign(kPlaneCount * kPlaneBytes, 0);
    for (std::size_t place = 0; place < kPlaneBytes; place += 2) at(0, place) = ' ', at(1, place) = 0x07;
}

void Vga::changed() {
    if (!timer_.is_armed()) timer_.arm(clock_.now() + interval_);
}

void Vga::look() {
    if (painter_.paint(screen())) changed();
}

/// No line is missed that scrolls away between two looks. The start address is written in two halves, the upper first;
/// between them it is that of neither screen.
void Vga::look_before_scroll() {
    if (state_.crtc_index != kStartAddress && state_.crtc_index != kStartAddress + 1) return;
    if (state_.crtc_index == kStartAddress || !is_half_scrolled_) look();
    is_half_scrolled_ = state_.crtc_index == kStartAddress;
}

TextScreen Vga::screen() const {
    TextScreen screen;
    if ((state_.graphics[kGraphicsMiscellaneous] & kGraphics) != 0) return screen;
    unsigned const height = (state_.crtc[kCharacterHeight] & 0x1fU) + 1;
    unsigned const overflow = state_.crtc[kOverflow];
    unsigned const lines = (state_.crtc[kVerticalEnd] | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1U;
    unsigned const scans = (state_.crtc[kCharacterHeight] & kDoubleScan) != 0 ? 2 : 1;
    screen.columns = std::min(state_.crtc[kColumns] + 1U, kMostColumns);
    screen.rows = std::clamp(lines / scans / height, 1U, kMostRows);
    unsigned const stride = state_.crtc[kOffset] * 2U;
    unsigned const start = crtc_pair(kStartAddress);
    for (unsigned row = 0; row < screen.rows; ++row) {
        for (unsigned column = 0; column < screen.columns; ++column) {
            std::size_t const place = std::size_t{start + row * stride + column} * 2 % kPlaneBytes;
            screen.cells.push_back({at(0, place), at(1, place)});
        }
    }
    unsigned const cursor = (crtc_pair(kCursor) - start) & 0xffffU;
    bool const is_on = (state_.crtc[kCursorStart] & kCursorOff) == 0 && stride != 0;
    if (is_on && cursor / stride < screen.rows && cursor % stride < screen.columns)
        screen.cursor = TextScreen::Place{cursor / stride, cursor % stride};
    return screen;
}

// [VGA] "Miscellaneous Register" of the graphics controller, memory map: which part of the 128 KiB is decoded, and from which address on.
std::optional<std::size_t> Vga::place_in_window(std::uint64_t offset) const {
    struct Window {
        std::uint64_t first;
        std::uint64_t bytes;
    };
    constexpr std::array<Window, 4> kWindows{
        {{0, 0x2'0000}, {0, 0x1'0000}, {0x1'0000, 0x8000}, {0x1'8000, 0x8000}}};
    Window const window = kWindows[state_.graphics[kGraphicsMiscellaneous] >> 2 & 3];
    if ((state_.miscellaneous & kMemoryEnabled) == 0 || offset - window.first >= window.bytes) return std::nullopt;
    return static_cast<std::size_t>(offset - window.first) % kPlaneBytes;
}

std::uint8_t Vga::read_byte(std::uint64_t offset) const {
    auto const place = place_in_window(offset);
    if (!place) return 0xff;
    std::uint8_t const mode = state_.sequencer[kMemoryMode];
    unsigned const map = state_.graphics[kReadMap] & 3U;
    if ((mode & kChain4) != 0) return at(*place & 3, *place & ~std::size_t{3});
    if ((mode & kPlaneByPlane) != 0) return at(map, *place);
    return at((map & 2) | (*place & 1), *place & ~std::size_t{1});
}

void Vga::write_byte(std::uint64_t offset, std::uint8_t value) {
    auto const place = place_in_window(offset);
    if (!place) return;
    std::uint8_t const mode = state_.sequencer[kMemoryMode];
    unsigned planes = state_.sequencer[kMapMask] & 0xfU;
    std::size_t first = *place;
    if ((mode & kChain4) != 0) {
        planes &= 1U << (*place & 3);
        first = *place & ~std::size_t{3};
    } else if ((mode & kPlaneByPlane) == 0) {
        planes &= (*place & 1) != 0 ? 0b1010U : 0b0101U;
        first = *place & ~std::size_t{1};
    }
    for (unsigned plane = 0; plane < kPlaneCount; ++plane)
        if ((planes >> plane & 1) != 0) at(plane, first) = value;
    if ((planes & 0b0011U) != 0) changed();
}

std::uint64_t Vga::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= std::uint64_t{read_byte(offset + i)} << (8 * i);
    return value;
}

void Vga::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        write_byte(offset + i, static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint64_t Vga::Ports::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        value |= std::uint64_t{owner_.read_port(static_cast<std::uint16_t>(first_ + offset + i))} << (8 * i);
    return value;
}

// A word is an index and its data.
void Vga::Ports::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        owner_.write_port(static_cast<std::uint16_t>(first_ + offset + i), static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint8_t Vga::read_port(std::uint16_t port) {
    switch (port) {
        case 0x3c0:
            return state_.attribute_index;
        case 0x3c1:
            return state_.attribute[state_.attribute_index & 0x1f];
        case 0x3c2:
            return 0x10;  // switch sense: a colour screen
        case 0x3c3:
            return 0x01;
        case 0x3c4:
            return state_.sequencer_index;
        case 0x3c5:
            return state_.sequencer[state_.sequencer_index];
        case 0x3c6:
            return state_.palette_mask;
        case 0x3c7:
            return state_.palette_state;
        case 0x3c8:
            return static_cast<std::uint8_t>(state_.palette_write / 3);
        case 0x3c9: {
            std::uint8_t const value = state_.palette[state_.palette_read];
            state_.palette_read = (state_.palette_read + 1) % static_cast<unsigned>(state_.palette.size());
            return value;
        }
        case 0x3ca:
            return state_.feature_control;
        case 0x3cc:
            return state_.miscellaneous;
        case 0x3ce:
            return state_.graphics_index;
        case 0x3cf:
            return state_.graphics[state_.graphics_index];
        case kCrtcPorts:
            return state_.crtc_index;
        case kCrtcPorts + 1:
            return state_.crtc[state_.crtc_index];
        case kStatusPort:
            return input_status();
        default:
            return 0xff;
    }
}

void Vga::write_port(std::uint16_t port, std::uint8_t value) {
    switch (port) {
        case 0x3c0:
            return write_attribute(value);
        case 0x3c2:
            state_.miscellaneous = value;
            return;
        case 0x3c4:
            state_.sequencer_index = value & 7;
            return;
        case 0x3c5:
            state_.sequencer[state_.sequencer_index] = value;
            return;
        case 0x3c6:
            state_.palette_mask = value;
            return;
        case 0x3c7:
            state_.palette_read = value * 3U;
            state_.palette_state = 3;
            return;
        case 0x3c8:
            state_.palette_write = value * 3U;
            state_.palette_state = 0;
            return;
        case 0x3c9:
            state_.palette[state_.palette_write] = value & 0x3f;
            state_.palette_write = (state_.palette_write + 1) % static_cast<unsigned>(state_.palette.size());
            return;
        case 0x3ce:
            state_.graphics_index = value & 0xf;
            return;
        case 0x3cf:
            state_.graphics[state_.graphics_index] = value;
            return changed();
        case kCrtcPorts:
            state_.crtc_index = value & 0x1f;
            return;
        case kCrtcPorts + 1:
            return write_crtc(value);
        case kStatusPort:
            state_.feature_control = value;
            return;
        default:
            return;
    }
}

// [VGA] "Attribute Controller Registers": one port takes index and data in turn.
void Vga::write_attribute(std::uint8_t value) {
    if (state_.attribute_takes_data)
        state_.attribute[state_.attribute_index & 0x1f] = value;
    else
        state_.attribute_index = value & 0x3f;
    state_.attribute_takes_data = !state_.attribute_takes_data;
}

// [VGA] "Vertical Retrace End": the registers 0 to 7 can be protected, but for a bit of line compare.
void Vga::write_crtc(std::uint8_t value) {
    constexpr std::uint8_t kLineCompare8 = 0x10;
    std::uint8_t& target = state_.crtc[state_.crtc_index];
    if (sees_every_scroll_ && value != target) look_before_scroll();
    bool const is_protected = (state_.crtc[kVerticalRetraceEnd] & kProtected) != 0 && state_.crtc_index <= kOverflow;
    if (!is_protected)
        target = value;
    else if (state_.crtc_index == kOverflow)
        target = static_cast<std::uint8_t>((target & ~kLineCompare8) | (value & kLineCompare8));
    changed();
}

std::uint8_t Vga::input_status() {
    constexpr std::uint8_t kNotVisible = 0x01;
    constexpr std::uint8_t kVerticalRetrace = 0x08;
    state_.attribute_takes_data = false;
    std::uint64_t const ns = clock_.now().ns();
    std::uint64_t const line = ns / kLineNs % kFrameLines;
    bool const is_visible = line < kVisibleLines && ns % kLineNs < kVisibleLineNs;
    bool const is_retrace = line >= kRetraceFirstLine && line < kRetraceFirstLine + kRetraceLines;
    return static_cast<std::uint8_t>((is_visible ? 0 : kNotVisible) | (is_retrace ? kVerticalRetrace : 0));
}

}  // namespace backplane
