// A virtio device on the PCI bus: its register regions behind one BAR, MSI-X behind another, the INTx pin for drivers
// that use no messages.
//
// State:    stable
// Features: modern interface (common, notify, ISR, device and PCI configuration access capabilities), MSI-X with a
//           message for each queue and one for the configuration, INTx
// Missing:  legacy and transitional interface, notification data, queue reset, shared memory regions
// Differs from the hardware: a queue whose rings make no sense stops the whole device until its reset
// Source:   [VIRTIO] 4.1
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "device/pci/function.h"
#include "device/virtio/device.h"

namespace backplane::virtio {

class PciTransport;

/// Where the regions lie in BAR 0.
inline constexpr std::uint64_t kCommonRegion = 0x0000;
inline constexpr std::uint64_t kIsrRegion = 0x1000;
inline constexpr std::uint64_t kConfigRegion = 0x2000;
inline constexpr std::uint64_t kNotifyRegion = 0x3000;
inline constexpr std::uint64_t kRegionBytes = 0x1000;
inline constexpr std::uint32_t kNotifyMultiplier = 4;

/// The register banks behind the two BARs; made before the PCI function that refers to them.
class PciBanks {
  protected:
    PciBanks(PciTransport& transport, unsigned vector_count) : regions_{transport}, table_{vector_count} {}

    class Regions final : public RegisterBank {
      public:
        explicit Regions(PciTransport& transport) : transport_{transport} {}
        [[nodiscard]] std::string_view name() const override { return "virtio registers"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        PciTransport& transport_;
    };

    Regions regions_;
    MsixTable table_;
};

class PciTransport : private Wiring, private PciBanks, public PciFunction {
  public:
    /// \param id  of the virtio device type, [VIRTIO] 5
    /// \param device  may be made later, but before connect()
    PciTransport(std::string name, std::uint16_t id, std::uint32_t class_code, Device& device, unsigned vector_count);

    /// The machine's reset: device and PCI configuration.
    void reset();

  protected:
    [[nodiscard]] Wiring& wiring() { return *this; }

  private:
    friend class PciBanks::Regions;
    [[nodiscard]] GuestMemory* dma() override { return is_bus_master() ? &memory() : nullptr; }
    void interrupt(Reason reason, std::uint16_t vector) override;
    void clear_interrupt() override;
    void capability_written(std::uint8_t offset) override;
    [[nodiscard]] std::uint32_t read_capability(std::uint8_t offset, std::uint32_t stored) override;

    void add_region(std::uint8_t type, std::uint64_t offset, std::uint64_t bytes);
    struct Window {
        RegisterBank* bank{nullptr};  ///< null when the driver's choice is nothing that exists
        std::uint64_t offset{0};
        Width width{Width::dword};
    };
    [[nodiscard]] Window window();
    [[nodiscard]] std::uint64_t read_region(std::uint64_t offset, Width width);
    void write_region(std::uint64_t offset, Width width, std::uint64_t value);

    Device& device_;
    std::uint8_t reasons_{0};  // why the pin is asserted
    std::uint8_t window_at_{0};
};

}  // namespace backplane::virtio
