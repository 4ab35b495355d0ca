// A NIC and its guest for tests: frames and buffers without registers. Obeys frame_port_contract.h.
//
// It is strict where a real device would be silently wrong: the pieces of front() are poisoned by the next call of
// any member.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "device/frame_port.h"

namespace backplane {

class FakeFramePort final : public FramePort {
  public:
    using Bytes = std::vector<std::byte>;
    /// What a device does, in the words of claim S2.8.
    enum class Step { copy, head, status, receive_interrupt, transmit_head, transmit_status, transmit_interrupt };

    static constexpr std::size_t kMostBytes = 1514;
    static constexpr std::size_t kLeastBytes = 14;
    static constexpr std::size_t kPieceBytes = 5;  // shorter than an address

    explicit FakeFramePort(MacAddress address) : address_{address} {}

    // The guest.
    void send(Bytes frame, Ticks now, Offload const& offload = {}) {
        ring_.push_back({std::move(frame), now, offload});
        tell_observer();
    }
    void post_buffers(std::uint64_t count) {
        buffers_ += count;
        tell_observer();
    }
    /// Reads up to `count` frames; their buffers are not posted again.
    void read(std::uint64_t count) {
        read_ = std::min(read_ + count, landed_);
        tell_observer();
    }
    void reset() {
        touch();
        ring_.clear();
        buffers_ = 0;
        read_ = landed_;
        in_flight_from_ = taken_ + 1;
        tell_observer();
    }
    void set_address(MacAddress address) { address_ = address; }
    /// What its address filter does with multicast frames; broadcast is always taken.
    void refuse_multicast() { takes_multicast_ = false; }
    /// What its receiver takes unfinished; it then takes frames of any length.
    void set_accepts(OffloadSet set) { accepts_ = set; }

    // What the guest and the test see.
    std::vector<Bytes> received;
    std::vector<Offload> received_offloads;  ///< of the same frames
    bool may_be_unfinished{false};
    std::uint64_t receive_calls{0};
    std::uint64_t complete_calls{0};
    std::uint64_t receive_interrupts{0};
    std::uint64_t transmit_interrupts{0};
    std::uint64_t frames_done{0};  ///< frames whose descriptors are done
    bool carrier{false};
    bool has_observer() const { return observer_ != nullptr; }
    std::size_t frames_in_ring() const { return ring_.size(); }
    std::function<void(Step)> probe;  ///< called after each step

    // FramePort
    void set_observer(FramePortObserver* observer) override { observer_ = observer; }
    MacAddress mac() const override {
        touch();
        return address_;
    }
    void set_carrier(bool up) override {
        touch();
        carrier = up;
    }
    void allow_unfinished_frames() override { may_be_unfinished = true; }
    OffloadSet accepts() const override { return accepts_; }
    Frame const* front() override {
        touch();
        if (ring_.empty()) return nullptr;
        gathered_ = ring_.front().bytes;
        for (std::size_t start = 0; start < gathered_.size(); start += kPieceBytes) {
            pieces_.push_back(ConstByteSpan{gathered_}.subspan(start, std::min(kPieceBytes, gathered_.size() - start)));
        }
        frame_ = {pieces_, static_cast<std::uint32_t>(gathered_.size()), ring_.front().sent, ring_.front().offload};
        return &frame_;
    }
    std::uint64_t take_front() override {
        touch();
        ring_.pop_front();
        ++taken_;
        note(Step::transmit_head);
        return taken_;
    }
    void complete_transmit(std::uint64_t number) override {
        touch();
        ++complete_calls;
        if (number < in_flight_from_) return;  // from before a reset
        frames_done += number + 1 - in_flight_from_;
        in_flight_from_ = number + 1;
        note(Step::transmit_status);
        ++transmit_interrupts;
        note(Step::transmit_interrupt);
    }
    ReceiveResult receive(Frame const& frame) override {
        touch();
        ++receive_calls;
        Bytes bytes;
        for (ConstByteSpan const piece : frame.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
        if (!passes_filter(bytes)) return ReceiveResult::refused;
        if (buffers_ == 0) return ReceiveResult::no_buffer;
        received.push_back(std::move(bytes));
        received_offloads.push_back(frame.offload);
        note(Step::copy);
        --buffers_;
        note(Step::head);
        ++landed_;
        note(Step::status);
        ++receive_interrupts;
        note(Step::receive_interrupt);
        return ReceiveResult::landed;
    }
    std::uint64_t landed_count() const override {
        touch();
        return landed_;
    }
    std::uint64_t read_count() const override {
        touch();
        return read_;
    }

  private:
    struct Sent {
        Bytes bytes;
        Ticks sent;
        Offload offload;
    };

    void tell_observer() {
        if (observer_ != nullptr) observer_->port_changed();
    }
    void note(Step step) {
        if (probe) probe(step);
    }
    /// Ends the validity of what front() gave.
    void touch() const {
        std::ranges::fill(gathered_, std::byte{0xDD});
        pieces_.clear();
    }
    bool passes_filter(Bytes const& bytes) const {
        bool const is_too_long = bytes.size() > kMostBytes && accepts_ == OffloadSet{};
        if (bytes.size() < kLeastBytes || is_too_long) return false;
        MacAddress to;
        std::ranges::transform(std::span{bytes}.first(to.size()), to.begin(), std::to_integer<std::uint8_t>);
        bool const is_broadcast = std::ranges::all_of(to, [](std::uint8_t byte) { return byte == 0xFF; });
        bool const is_multicast = (to[0] & 1) != 0;
        return to == address_ || is_broadcast || (is_multicast && takes_multicast_);
    }

    MacAddress address_;
    FramePortObserver* observer_{nullptr};
    std::deque<Sent> ring_;
    std::uint64_t buffers_{0};
    std::uint64_t taken_{0};
    std::uint64_t in_flight_from_{1};
    std::uint64_t landed_{0};
    std::uint64_t read_{0};
    bool takes_multicast_{true};
    OffloadSet accepts_{};
    mutable Bytes gathered_;
    mutable std::vector<ConstByteSpan> pieces_;
    Frame frame_;
};

}  // namespace backplane
