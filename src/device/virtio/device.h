// What every virtio device has, whatever carries its registers: negotiation of features, status, queues, interrupts.
//
// Source: [VIRTIO] 2, 3.1, 4.1.4.3
#pragma once

#include <cstdint>
#include <vector>

#include "bus/bus.h"
#include "device/virtio/queue.h"

namespace backplane::virtio {

// Bits of the device status, [VIRTIO] 2.1.
inline constexpr std::uint8_t kAcknowledge = 1;
inline constexpr std::uint8_t kDriver = 2;
inline constexpr std::uint8_t kDriverOk = 4;
inline constexpr std::uint8_t kFeaturesOk = 8;
inline constexpr std::uint8_t kNeedsReset = 64;
inline constexpr std::uint8_t kFailed = 128;

/// Feature bits that every device has, [VIRTIO] 6.
inline constexpr std::uint64_t kIndirectDescriptors = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kEventIndex = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;

/// What a device reaches of the machine around it.
class Wiring {
  public:
    virtual ~Wiring() = default;
    /// The machine's memory; null while the function is not a bus master.
    [[nodiscard]] virtual GuestMemory* dma() = 0;
    /// A queue has used chains, or the configuration has changed: the message `vector`, or the pin with this reason.
    enum class Reason : std::uint8_t { queue = 1, configuration = 2 };
    virtual void interrupt(Reason reason, std::uint16_t vector) = 0;
    /// The device was reset: the pin falls.
    virtual void clear_interrupt() = 0;
};

/// How often the guest gave us nonsense (docs/design/virtio.md says how each is answered).
struct GuestErrors {
    std::uint64_t broken_queues{0};  ///< the device needs a reset since then
    std::uint64_t bad_packets{0};    ///< given back without effect
    std::uint64_t bad_buffers{0};    ///< posted buffers that are not RAM or too small
    std::uint64_t bad_accesses{0};   ///< of a width or at an offset that does not exist
    [[nodiscard]] std::uint64_t sum() const { return broken_queues + bad_packets + bad_buffers + bad_accesses; }
};

class Device {
  public:
    /// The common configuration structure, [VIRTIO] 4.1.4.3.
    static constexpr std::uint64_t kCommonBytes = 0x38;

    Device(Wiring& wiring, std::uint16_t queue_count, std::uint16_t queue_size);
    virtual ~Device() = default;
    Device(Device const&) = delete;
    Device& operator=(Device const&) = delete;

    [[nodiscard]] std::uint16_t queue_count() const { return static_cast<std::uint16_t>(queues_.size()); }
    /// Messages it may be given: one for each queue and one for the configuration.
    [[nodiscard]] std::uint16_t vector_count() const { return static_cast<std::uint16_t>(queues_.size() + 1); }
    [[nodiscard]] GuestErrors const& guest_errors() const { return errors_; }

    /// Registers. Every offset, width and value is legal guest input.
    [[nodiscard]] std::uint64_t read_common(std::uint64_t offset, Width width);
    void write_common(std::uint64_t offset, Width width, std::uint64_t value);
    [[nodiscard]] virtual std::uint64_t read_config(std::uint64_t offset, Width width) = 0;
    virtual void write_config(std::uint64_t offset, Width width, std::uint64_t value) = 0;
    /// The driver's doorbell.
    void notify(std::uint16_t queue);
    /// The driver wrote status 0, or the machine was reset.
    void reset();

  protected:
    /// What the device can do now; kVersion1, kIndirectDescriptors and kEventIndex are added.
    [[nodiscard]] virtual std::uint64_t device_features() const = 0;
    /// Whether the driver's choice agrees with itself ([VIRTIO] 5.1.3.1 for a network card).
    [[nodiscard]] virtual bool is_good_choice(std::uint64_t /*features*/) const { return true; }
    /// DRIVER_OK: the queues run.
    virtual void started() = 0;
    virtual void was_reset() = 0;
    virtual void notified(std::uint16_t queue) = 0;

    [[nodiscard]] bool has(std::uint64_t feature) const { return is_started() && (driver_features_ & feature) != 0; }
    /// DRIVER_OK is set and nothing has gone wrong since.
    [[nodiscard]] bool is_started() const { return (status_ & (kDriverOk | kNeedsReset)) == kDriverOk; }
    [[nodiscard]] Queue& queue(std::uint16_t index) { return queues_[index]; }
    [[nodiscard]] Wiring& wiring() { return wiring_; }
    /// Shows used chains to the driver. \return whether it was interrupted
    bool publish(std::uint16_t queue, GuestMemory& memory);
    /// To be called after work on a queue: a broken one stops the device until its reset. [VIRTIO] 2.1.2
    void check_queue(std::uint16_t queue);
    /// The configuration space has changed.
    void configuration_changed();

    GuestErrors errors_{};

  private:
    [[nodiscard]] std::uint64_t offered_features() const;
    [[nodiscard]] Queue* selected();
    void write_status(std::uint8_t status);
    void write_driver_features(std::uint32_t value);
    void start();
    bool write_queue_register(std::uint64_t offset, Width width, std::uint64_t value);
    bool write_queue_address(std::uint64_t offset, Width width, std::uint64_t value);
    [[nodiscard]] std::uint16_t checked_vector(std::uint64_t value) const;

    Wiring& wiring_;
    std::vector<Queue> queues_;
    std::uint32_t device_feature_select_{0};
    std::uint32_t driver_feature_select_{0};
    std::uint64_t driver_features_{0};
    std::uint16_t config_vector_{kNoVector};
    std::uint16_t queue_select_{0};
    std::uint8_t status_{0};
    std::uint8_t generation_{0};
};

}  // namespace backplane::virtio
