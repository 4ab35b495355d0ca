// A split virtqueue seen from the device: chains of buffers in, used chains out (docs/design/virtio.md).
//
// Everything in the rings is written by the guest. It is copied out once, checked, and only then used; what makes no
// sense breaks the queue (is_broken()), after which it does nothing until it is reset.
//
// Source: [VIRTIO] 2.7
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "memory/guest_memory.h"
#include "memory/guest_view.h"

namespace backplane::virtio {

inline constexpr std::uint16_t kNoVector = 0xFFFF;  ///< VIRTIO_MSI_NO_VECTOR, [VIRTIO] 4.1.4.3

/// What the driver tells about a queue before it enables it. Any value is legal guest input.
struct QueueSettings {
    std::uint16_t size{0};
    std::uint16_t vector{kNoVector};
    bool is_enabled{false};
    GuestPhys descriptors{};
    GuestPhys driver_area{};  ///< the available ring
    GuestPhys device_area{};  ///< the used ring
    bool operator==(QueueSettings const&) const = default;
};

struct QueueFeatures {
    bool indirect{false};     ///< VIRTIO_F_INDIRECT_DESC
    bool event_index{false};  ///< VIRTIO_F_EVENT_IDX
};

/// A piece of a buffer: not checked to be RAM.
struct Piece {
    GuestPhys start{};
    std::uint32_t bytes{0};
    bool operator==(Piece const&) const = default;
};

/// One descriptor chain, copied out of the guest.
struct Chain {
    std::uint16_t head{0};
    std::vector<Piece> readable{};  ///< for the device to read
    std::vector<Piece> writable{};
    std::uint64_t readable_bytes{0};
    std::uint64_t writable_bytes{0};
    /// Forgets the chain, keeping the vectors' room.
    void clear();
};

class Queue {
  public:
    static constexpr std::uint16_t kMaximumSize = 1024;

    explicit Queue(std::uint16_t maximum_size);

    [[nodiscard]] QueueSettings& settings() { return settings_; }
    [[nodiscard]] QueueSettings const& settings() const { return settings_; }
    [[nodiscard]] std::uint16_t maximum_size() const { return maximum_size_; }
    /// As after power-on: disabled, with the largest size.
    void reset();
    /// The driver has enabled the queue and set DRIVER_OK. Size, alignment and addresses that cannot be break it.
    void start(QueueFeatures features);
    [[nodiscard]] bool is_running() const { return is_running_ && !is_broken_; }
    [[nodiscard]] bool is_broken() const { return is_broken_; }

    /// Looks at the available ring, and asks the driver to notify again when it adds more.
    /// \return how many chains were added since the last look
    std::uint16_t look(GuestMemory& memory);
    /// Chains made available since start(), of which take() has taken some.
    [[nodiscard]] std::uint64_t seen_count() const { return seen_; }
    [[nodiscard]] std::uint64_t taken_count() const { return taken_; }
    [[nodiscard]] std::uint16_t waiting() const { return static_cast<std::uint16_t>(seen_ - taken_); }

    /// Copies the chain that is `ahead` places behind the next one; `ahead` is below waiting().
    /// \return false when it makes no sense: the queue is broken then
    [[nodiscard]] bool peek(GuestMemory const& memory, std::uint16_t ahead, Chain& chain);
    void take(std::uint16_t count) { taken_ += count; }

    /// Writes the next used element; the driver does not see it before publish().
    void push_used(GuestMemory& memory, std::uint16_t head, std::uint32_t written_bytes);
    /// Shows the driver all pushed elements. \return whether it wants an interrupt for them
    [[nodiscard]] bool publish(GuestMemory& memory);

  private:
    bool read_chain(GuestMemory const& memory, Chain& chain);
    bool break_queue();

    std::uint16_t maximum_size_;
    QueueSettings settings_{};
    QueueFeatures features_{};
    GuestView descriptors_;
    GuestView available_;
    GuestView used_ring_;
    bool is_running_{false};
    bool is_broken_{false};
    std::uint64_t seen_{0};
    std::uint64_t taken_{0};
    std::uint16_t used_{0};       // index of the next used element
    std::uint16_t published_{0};  // what the driver can see of them
};

}  // namespace backplane::virtio
