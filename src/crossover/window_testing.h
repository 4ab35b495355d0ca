// Shared windows on small boards: for tests and the fuzz target.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "clock/machine_clock.h"
#include "crossover/shared_window.h"
#include "device/pci/config_space.h"
#include "device/testing.h"
#include "device/window/window_device.h"
#include "interrupt/line.h"

namespace backplane::testing {

/// A machine that is nothing but a bus and a window device.
class WindowGuest {
  public:
    static constexpr std::uint64_t kRegisters = 0xC000'0000;
    static constexpr std::uint64_t kMessages = 0xC000'1000;
    static constexpr std::uint64_t kMemory = 0x40'0000'0000;

    struct Line final : LineInputs {
        void set_level(unsigned, bool asserted) override { level = asserted; }
        bool level{false};
    };

    WindowGuest(FramePool& pool, WindowDeviceSettings const& settings) : memory{pool}, device{settings, bus, clock} {
        device.connect(bus, InterruptLine{line, 0}, &messages);
        place();
    }
    void place() {
        config(pci::bar_offset(0), kRegisters);
        config(pci::bar_offset(1), kMessages);
        config(pci::bar_offset(2), static_cast<std::uint32_t>(kMemory));
        config(pci::bar_offset(3), kMemory >> 32);
        config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    }
    void config(unsigned offset, std::uint64_t value) {
        device.write_config(static_cast<std::uint8_t>(offset), Width::dword, static_cast<std::uint32_t>(value));
    }
    std::uint32_t config(unsigned offset) {
        return device.read_config(static_cast<std::uint8_t>(offset), Width::dword);
    }
    std::uint32_t get(std::uint64_t offset) {
        return static_cast<std::uint32_t>(bus.read(GuestPhys{kRegisters + offset}, Width::dword));
    }
    void set(std::uint64_t offset, std::uint32_t value) {
        bus.write(GuestPhys{kRegisters + offset}, Width::dword, value);
    }
    void ring(std::uint32_t peer, std::uint32_t vector) { set(window::kDoorbell, peer << 16 | vector); }
    std::uint64_t load(std::uint64_t offset) { return bus.read(GuestPhys{kMemory + offset}, Width::qword); }
    void store(std::uint64_t offset, std::uint64_t value) {
        bus.write(GuestPhys{kMemory + offset}, Width::qword, value);
    }
    /// Where MSI-X is in configuration space.
    unsigned msix() {
        unsigned at = config(pci::kCapabilities) & 0xff;
        while ((config(at) & 0xff) != 0x11) at = config(at) >> 8 & 0xff;
        return at;
    }
    /// Enabled, each vector's message being its number.
    void use_messages(unsigned vectors) {
        for (unsigned i = 0; i < vectors; ++i) {
            bus.write(GuestPhys{kMessages + 16 * i}, Width::dword, 0xfee0'0000);
            bus.write(GuestPhys{kMessages + 16 * i + 8}, Width::dword, i);
            bus.write(GuestPhys{kMessages + 16 * i + 12}, Width::dword, 0);
        }
        config(msix(), 1U << 31);
    }

    MachineClock clock;
    Line line;
    MessageLog messages;
    GuestMemory memory;
    Bus bus{memory};
    WindowDevice device;
};

/// Guests whose windows are one.
class WindowRack {
  public:
    /// With a backing the last peer is outside.
    explicit WindowRack(window::Layout const& layout, unsigned vectors = 2, UniqueFd const& backing = UniqueFd{})
        : pool{std::move(*FramePool::create(std::max(layout.used_pages(), FramePool::kBackingFrames)))},
          shared{std::move(*SharedWindow::create(layout, pool, backing))} {
        for (std::uint32_t i = 0; i < layout.peers - (backing.is_open() ? 1 : 0); ++i) {
            guests.push_back(std::make_unique<WindowGuest>(
                pool, WindowDeviceSettings{.layout = layout, .position = i, .vectors = vectors}));
            shared.attach(guests.back()->device, std::to_string(i));
        }
    }
    WindowGuest& operator[](std::size_t index) { return *guests[index]; }

    FramePool pool;
    SharedWindow shared;
    std::vector<std::unique_ptr<WindowGuest>> guests;
};

}  // namespace backplane::testing
