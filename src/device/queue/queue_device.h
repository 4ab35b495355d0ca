// The queue device: messages whose pages change owner (claims S1.1 to S1.9).
//
// State:    stable
// Features: submission, completion and receive rings in a control structure of plain memory, doorbell, messages by
//           registers, a window of message pages that change places with RAM, directory of machines, MSI-X and INTx
// Missing:  messages to several receivers
// Differs from the hardware: there is no hardware; the device is specified in docs/design/queue-device.md
// Source:   docs/design/queue-device.md
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/pci/function.h"
#include "device/pci/window_parts.h"
#include "device/queue/layout.h"
#include "device/queue_port.h"
#include "memory/frame_pool.h"

namespace backplane {

struct QueueDeviceSettings {
    std::string name{"queue"};
    std::uint64_t page_count{4096};  ///< of the window: a power of two, more than kFirstMessagePage
    std::uint32_t peer_count{1};     ///< machines in the directory, at most 1024
    std::uint32_t transfer{0};       ///< what the transfer register reads
};

class QueueDevice final : private PciWindowParts, private DwordRegisters::Owner, public PciFunction, public QueuePort {
  public:
    /// Frames of the pool that a device takes for itself; those of messages are not among them.
    [[nodiscard]] static std::uint64_t own_frames(std::uint32_t peer_count);

    /// Errors: the pool is empty.
    [[nodiscard]] static Expected<std::unique_ptr<QueueDevice>, Error> create(QueueDeviceSettings const& settings,
                                                                              FramePool& pool, MachineClock& clock);

    [[nodiscard]] QueuePort& port() { return *this; }
    /// The machine left its engine: whatever the guest has placed in the control structure is found (natural form).
    void notice_exit();
    /// The machine's reset: the guest has to find and enable the device again.
    void reset();

    // QueuePort
    void set_observer(QueuePortObserver* observer) override { observer_ = observer; }
    [[nodiscard]] PageWindow& window() override { return window_; }
    [[nodiscard]] GuestPage first_message_page() const override { return GuestPage{queue::kFirstMessagePage}; }
    [[nodiscard]] PageMap* ram(GuestPage first, std::uint64_t count) override;
    void set_directory(MachineId self, std::span<QueuePeer const> peers) override;
    [[nodiscard]] bool is_enabled() const override { return state_.status == queue::kStatusEnabled; }
    [[nodiscard]] std::optional<QueueSubmission> take_submission(SendForm form) override;
    void complete(QueueSubmission const& submission, QueueStatus status, std::uint64_t handle) override;
    [[nodiscard]] bool has_receive_room() const override;
    void receive(QueueArrival const& arrival) override;
    void reset_done() override { state_.status &= ~queue::kStatusResetting; }
    void space_available() override { raise(queue::kCauseSpace); }

  private:
    /// All that a reset forgets. The device keeps its own indexes and only shows them in the control structure.
    struct State {
        std::uint32_t status{0};
        std::uint32_t cause{0};
        std::uint32_t mask{0};
        std::uint32_t submit_consumer{0};
        std::uint32_t complete_producer{0};
        std::uint32_t receive_producer{0};
        std::uint32_t incomplete{0};  // taken from the ring, without a completion
        std::array<std::uint32_t, kInlineMessageBytes / 4> short_data{};
        std::uint32_t short_status{0};
        std::uint32_t short_cookie{0};
    };

    QueueDevice(QueueDeviceSettings const& settings, FramePool& pool, MachineClock& clock, FrameNumber frames);
    [[nodiscard]] std::uint32_t read_register(std::uint64_t offset) override;
    void write_register(std::uint64_t offset, std::uint32_t value) override;
    void control(std::uint32_t value);
    void start_over();
    void send_registers(std::uint32_t value);
    void raise(std::uint32_t cause);
    void break_rings() { state_.status = queue::kStatusEnabled | queue::kStatusBroken; }
    [[nodiscard]] ByteSpan page(std::uint32_t number) const;
    [[nodiscard]] ByteSpan pages(std::uint32_t first, std::uint32_t count) const;
    [[nodiscard]] std::uint32_t index(std::size_t offset) const;
    void set_index(std::size_t offset, std::uint32_t value);

    QueueDeviceSettings settings_;
    FramePool& pool_;
    MachineClock& clock_;
    FrameNumber frames_;
    QueuePortObserver* observer_{nullptr};
    MachineId self_{};
    State state_;
};

}  // namespace backplane
