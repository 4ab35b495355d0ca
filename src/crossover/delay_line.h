// Frames that have left their sender and have not arrived yet: the only place where a link stores data. Bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/frame_port.h"

namespace backplane {

/// To its link a delay line is one more sender: its frames are "sent" when they arrive at the far end. It has no
/// guest, receives nothing and needs no completion.
class DelayLine final : public FramePort {
  public:
    /// What a stored frame counts for besides its bytes.
    static constexpr std::size_t kFrameOverhead = 64;

    explicit DelayLine(std::size_t most_bytes) : most_bytes_{most_bytes} {}

    /// Whether a frame of this size can be pushed now. One always can when nothing is stored.
    [[nodiscard]] bool has_room(std::uint32_t frame_bytes) const;
    /// Copies the frame; it becomes front() in the order of arrival, and of pushing among equals.
    void push(Frame const& frame, Ticks arrival);
    /// Forgets everything. \return how many frames these were
    std::size_t clear();

    [[nodiscard]] std::uint64_t stored_bytes() const { return stored_bytes_; }
    /// never() when empty.
    [[nodiscard]] Ticks next_arrival() const { return heap_.empty() ? Ticks::never() : heap_.front().arrival; }

    void set_observer(FramePortObserver*) override {}
    [[nodiscard]] MacAddress mac() const override { return {}; }
    void set_carrier(bool) override {}
    [[nodiscard]] Frame const* front() override;
    std::uint64_t take_front() override;
    void complete_transmit(std::uint64_t) override {}
    ReceiveResult receive(Frame const&) override { return ReceiveResult::refused; }
    [[nodiscard]] std::uint64_t landed_count() const override { return 0; }
    [[nodiscard]] std::uint64_t read_count() const override { return 0; }

  private:
    struct Stored {
        Ticks arrival;
        std::uint64_t sequence;
        Offload offload;
        std::vector<std::byte> bytes;
    };
    static bool is_later(Stored const& one, Stored const& other);

    std::size_t most_bytes_;
    std::vector<Stored> heap_;  // earliest (arrival, sequence) first
    std::uint64_t next_sequence_{0};
    std::uint64_t stored_bytes_{0};
    std::uint64_t taken_{0};
    ConstByteSpan piece_{};
    Frame frame_{};
};

}  // namespace backplane
