// A VGA adapter in its text modes, whose screen is shown on the machine's console.
//
// State:    partial
// Features: text modes up to 132 by 60 with 16 colours, the text cursor, hardware scrolling, the planes with their odd/even,
//           chained and plane-by-plane addressing (fonts are stored), all registers of the VGA as stored, the palette,
//           retrace bits that follow virtual time
// Missing:  graphics modes (nothing is shown), the logic of the graphics controller (write modes 1 to 3, set/reset,
//           rotation, bit mask), line compare, fonts and palette as shown, monochrome at 0x3Bx, interrupts
// Differs from the hardware: after power-on the adapter is in mode 3 (80 by 25), as its BIOS would leave it; characters are
//           shown as code page 437 whatever the font says; what the screen shows is looked at every few milliseconds
// Source:   [VGA] "Video Subsystem"
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/vga/text_screen.h"

namespace backplane {

/// The bank is the memory from 0xA0000 to 0xBFFFF.
class Vga final : public RegisterBank {
  public:
    static constexpr GuestPhys kMemory{0xA'0000};
    static constexpr std::uint64_t kMemoryBytes = 0x2'0000;

    /// `console` gets the screen and outlives the adapter.
    Vga(MachineClock& clock, ByteSink& console, ScreenStyle style);
    Vga(Vga const&) = delete;
    Vga& operator=(Vga const&) = delete;

    /// Errors: its memory or a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    void reset();

    [[nodiscard]] TextScreen screen() const;
    /// The machine has ended: shows the screen as it is now.
    void finish() { painter_.finish(screen()); }

    [[nodiscard]] std::string_view name() const override { return "vga"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    class Ports final : public RegisterBank {
      public:
        Ports(Vga& owner, std::uint16_t first) : owner_{owner}, first_{first} {}
        [[nodiscard]] std::string_view name() const override { return "vga-ports"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        Vga& owner_;
        std::uint16_t first_;
    };
    static constexpr std::size_t kPlaneBytes = 0x1'0000;
    static constexpr unsigned kPlaneCount = 4;
    struct State {
        std::uint8_t miscellaneous;
        std::uint8_t feature_control{0};
        std::uint8_t sequencer_index{0};
        std::array<std::uint8_t, 8> sequencer;
        std::uint8_t graphics_index{0};
        std::array<std::uint8_t, 16> graphics;
        std::uint8_t attribute_index{0};
        bool attribute_takes_data{false};  // the flip-flop
        std::array<std::uint8_t, 32> attribute;
        std::uint8_t crtc_index{0};
        std::array<std::uint8_t, 32> crtc;
        std::uint8_t palette_mask{0xff};
        std::uint8_t palette_state{0};   // 3 after the index for reading was written, 0 after that for writing
        unsigned palette_read{0};        // component: 3 * index + 0 to 2
        unsigned palette_write{0};
        std::array<std::uint8_t, 768> palette{};
    };
    [[nodiscard]] static State mode3();
    [[nodiscard]] std::optional<std::size_t> place_in_window(std::uint64_t offset) const;
    [[nodiscard]] std::uint8_t read_byte(std::uint64_t offset) const;
    void write_byte(std::uint64_t offset, std::uint8_t value);
    [[nodiscard]] std::uint8_t& at(unsigned plane, std::size_t place) { return planes_[plane * kPlaneBytes + place]; }
    [[nodiscard]] std::uint8_t at(unsigned plane, std::size_t place) const { return planes_[plane * kPlaneBytes + place]; }
    [[nodiscard]] std::uint8_t read_port(std::uint16_t port);
    void write_port(std::uint16_t port, std::uint8_t value);
    void write_attribute(std::uint8_t value);
    void write_crtc(std::uint8_t value);
    [[nodiscard]] std::uint8_t input_status();
    [[nodiscard]] unsigned crtc_pair(unsigned high) const { return unsigned{state_.crtc[high]} << 8 | state_.crtc[high + 1]; }
    void changed();
    void look();
    void look_before_scroll();

    MachineClock& clock_;
    Ticks interval_;
    bool sees_every_scroll_;
    bool is_half_scrolled_{false};
    ScreenPainter painter_;
    Timer timer_;
    Ports main_ports_;
    Ports crtc_ports_;
    Ports status_port_;
    State state_;
    std::vector<std::uint8_t> planes_;
};

}  // namespace backplane
