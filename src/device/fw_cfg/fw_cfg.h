// The firmware configuration device: numbered and named items that firmware reads from its board.
//
// State:    stable
// Features: selector and data port, DMA (read, skip, select), the directory of named items
// Missing:  writable items
// Differs from the hardware: no PC has it; it is what QEMU calls fw_cfg. One DMA reads at most 64 KiB beyond its item
// Source:   [QEMU] docs/specs/fw_cfg.txt
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"

namespace backplane {

class FwCfg final : public RegisterBank {
  public:
    static constexpr PortNumber kPorts{0x510};
    static constexpr std::uint16_t kPortCount = 12;  // selector, data, and the DMA address at 0x514
    static constexpr std::size_t kNameBytes = 56;    // of a named item, with a zero

    /// Numbers of items that firmware knows without looking them up.
    enum Item : std::uint16_t {
        kSignature = 0x00,
        kInterface = 0x01,
        kRamBytes = 0x03,
        kProcessorCount = 0x05,
        kShowBootMenu = 0x0e,
        kProcessorLimit = 0x0f,
        kDirectory = 0x19,
        kFirstFile = 0x20,
    };

    FwCfg();

    /// Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);

    void set_item(std::uint16_t number, std::vector<std::byte> contents);
    template <typename T>
    void set_number(std::uint16_t number, T value) {
        ConstByteSpan const bytes = bytes_of(value);
        set_item(number, {bytes.begin(), bytes.end()});
    }
    /// A named item; a name that is there already gets new contents. Names have fewer than kNameBytes bytes.
    void set_file(std::string const& name, std::vector<std::byte> contents);

    [[nodiscard]] std::string_view name() const override { return "fw-cfg"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    void select(std::uint16_t number);
    [[nodiscard]] std::uint8_t next_byte();
    void run_dma(GuestPhys control);
    [[nodiscard]] bool copy(GuestPhys into, std::uint32_t bytes);
    [[nodiscard]] ConstByteSpan rest() const;
    void make_directory();

    std::map<std::uint16_t, std::vector<std::byte>> items_;
    std::map<std::string, std::uint16_t> files_;  // name to number
    std::uint16_t selected_{0};
    std::uint64_t position_{0};
    std::uint32_t dma_high_{0};
    GuestMemory* memory_{nullptr};
};

}  // namespace backplane
