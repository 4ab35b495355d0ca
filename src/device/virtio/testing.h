// What the tests and the fuzzer of this folder share: a machine's memory, its driver's side of the rings, a wire.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "device/virtio/net.h"

namespace backplane::virtio::testing {

inline constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
inline constexpr MacAddress kPeerMac = {0x52, 0x54, 0x00, 0xAB, 0xCD, 0xEF};
inline constexpr std::uint64_t kRamBytes = 8 << 20;
inline constexpr std::uint64_t kHole = 0x70000;  ///< one page that is no RAM
inline constexpr std::uint64_t kBuffers = 0x100000;
inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

/// RAM from 0 to kRamBytes with a hole, and the wire for interrupts.
class FakeMachine final : public Wiring {
  public:
    FakeMachine() : pool_{FramePool::create(kRamBytes / kPageBytes).value()}, memory{pool_} {
        check(memory.add_ram(GuestPage{0}, kRamBytes / kPageBytes).has_value(), "the pool is as large as the RAM");
        memory.map().unmap(page_of(GuestPhys{kHole}), 1).run();
    }
    [[nodiscard]] GuestMemory* dma() override { return is_bus_master ? &memory : nullptr; }
    void interrupt(Reason reason, std::uint16_t vector) override {
        ++(reason == Reason::queue ? queue_interrupts : configuration_interrupts);
        last_vector = vector;
    }
    void clear_interrupt() override { ++clears; }

    template <typename T>
    void put(std::uint64_t at, T const& value) {
        check(memory.write_object(GuestPhys{at}, value), "tests write to RAM");
    }
    template <typename T>
    [[nodiscard]] T get(std::uint64_t at) const {
        T value{};
        check(memory.read_object(GuestPhys{at}, value), "tests read from RAM");
        return value;
    }
    void put_bytes(std::uint64_t at, std::vector<std::uint8_t> const& bytes) {
        check(memory.write(GuestPhys{at}, std::as_bytes(std::span{bytes})), "tests write to RAM");
    }
    [[nodiscard]] std::vector<std::uint8_t> get_bytes(std::uint64_t at, std::size_t count) const {
        std::vector<std::uint8_t> bytes(count);
        check(memory.read(GuestPhys{at}, std::as_writable_bytes(std::span{bytes})), "tests read from RAM");
        return bytes;
    }

    MachineClock clock;
    bool is_bus_master{true};
    int queue_interrupts{0};
    int configuration_interrupts{0};
    int clears{0};
    std::uint16_t last_vector{kNoVector};

  private:
    FramePool pool_;

  public:
    GuestMemory memory;
};

/// A driver's descriptor.
struct Slot {
    std::uint64_t address;
    std::uint32_t bytes;
    std::uint16_t flags;
    std::uint16_t next;
};
struct Used {
    std::uint32_t head;
    std::uint32_t bytes;
    bool operator==(Used const&) const = default;
};

/// The driver's side of one ring, in three pages from `base`.
class DriverRing {
  public:
    DriverRing(FakeMachine& machine, std::uint64_t base, std::uint16_t size)
        : machine_{&machine}, base_{base}, size_{size} {}
    [[nodiscard]] std::uint64_t descriptors() const { return base_; }
    [[nodiscard]] std::uint64_t available() const { return base_ + 0x1000; }
    [[nodiscard]] std::uint64_t used() const { return base_ + 0x2000; }
    [[nodiscard]] std::uint16_t size() const { return size_; }

    void describe(std::uint16_t slot, Slot const& value) { machine_->put(base_ + slot * 16U, value); }
    /// Makes the chain that starts at `head` available.
    void offer(std::uint16_t head) {
        machine_->put(available() + 4 + index_ % size_ * 2U, head);
        machine_->put(available() + 2, ++index_);
    }
    void set_index(std::uint16_t index) { machine_->put(available() + 2, index_ = index); }
    /// The next chain of these pieces, in slots of its own.
    std::uint16_t offer_pieces(std::vector<Slot> pieces) {
        std::uint16_t const head = next_slot_;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            std::uint16_t const slot = next_slot_;
            next_slot_ = static_cast<std::uint16_t>((next_slot_ + 1) % size_);
            if (i + 1 < pieces.size()) pieces[i].flags |= kNext;
            pieces[i].next = next_slot_;
            describe(slot, pieces[i]);
        }
        offer(head);
        return head;
    }
    [[nodiscard]] std::uint16_t used_index() const { return machine_->get<std::uint16_t>(used() + 2); }
    [[nodiscard]] Used used_at(std::uint16_t index) const {
        return machine_->get<Used>(used() + 4 + index % size_ * 8U);
    }
    /// The driver wants an interrupt when the used index passes this.
    void set_used_event(std::uint16_t index) { machine_->put(available() + 4 + size_ * 2U, index); }
    [[nodiscard]] std::uint16_t available_event() const {
        return machine_->get<std::uint16_t>(used() + 4 + size_ * 8U);
    }

  private:
    FakeMachine* machine_;
    std::uint64_t base_;
    std::uint16_t size_;
    std::uint16_t index_{0};
    std::uint16_t next_slot_{0};
};

struct CountingObserver final : FramePortObserver {
    void port_changed() override { ++count; }
    int count{0};
};

inline std::vector<std::uint8_t> bytes_in(Frame const& frame) {
    std::vector<std::uint8_t> all;
    for (ConstByteSpan const piece : frame.pieces)
        for (std::byte const byte : piece) all.push_back(std::to_integer<std::uint8_t>(byte));
    return all;
}

inline std::vector<std::uint8_t> make_frame(std::size_t count, MacAddress const& to = kMac, std::uint8_t seed = 3) {
    std::vector<std::uint8_t> frame(std::max<std::size_t>(count, 14));
    for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<std::uint8_t>(i * 7 + seed);
    std::memcpy(frame.data(), to.data(), to.size());
    frame[12] = 0x88;
    frame[13] = 0xB5;  // local experimental
    frame.resize(count);
    return frame;
}

inline std::vector<std::uint8_t> with_header(NetHeader const& header, std::vector<std::uint8_t> const& frame) {
    std::vector<std::uint8_t> all(sizeof header + frame.size());
    std::memcpy(all.data(), &header, sizeof header);
    if (!frame.empty()) std::memcpy(all.data() + sizeof header, frame.data(), frame.size());
    return all;
}

inline constexpr std::uint64_t kEverything = ~(kIndirectDescriptors | kEventIndex);

/// A device that its driver has set up, with a cable plugged in.
class RunningNet {
  public:
    static constexpr std::uint16_t kSize = 16;

    /// \param features  the driver takes what is offered of these
    /// \param options  of the pairs the driver sets up those that it can use
    explicit RunningNet(std::uint64_t features = kEverything, NetOptions options = {})
        : receive_ring{machine, 0x10000, kSize},
          transmit_ring{machine, 0x20000, kSize},
          control_ring{machine, 0x30000, kSize},
          net{kMac, machine.clock, machine, options} {
        for (std::uint64_t i = 0; i + 2 < 2U * options.pairs; ++i)
            more_rings.emplace_back(machine, 0x80000 + i * 0x4000, kSize);
        net.allow_unfinished_frames();
        net.set_observer(&observer);
        net.set_carrier(true);
        set_up(features);
    }
    void write(std::uint64_t offset, Width width, std::uint64_t value) { net.write_common(offset, width, value); }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) { return net.read_common(offset, width); }
    [[nodiscard]] std::uint64_t status() { return read(0x14, Width::byte); }
    void set_status(std::uint8_t status) { write(0x14, Width::byte, status); }
    [[nodiscard]] std::uint64_t offered() {
        write(0, Width::dword, 0);
        std::uint64_t const low = read(4, Width::dword);
        write(0, Width::dword, 1);
        return low | read(4, Width::dword) << 32;
    }
    void choose(std::uint64_t features) {
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(8, Width::dword, half);
            write(12, Width::dword, features >> (32 * half) & 0xFFFFFFFF);
        }
    }
    void describe_queue(std::uint16_t index, DriverRing const& ring) {
        write(0x16, Width::word, index);
        write(0x18, Width::word, ring.size());
        write(0x1A, Width::word, index);
        write(0x20, Width::dword, ring.descriptors());
        write(0x28, Width::dword, ring.available());
        write(0x30, Width::dword, ring.used());
        write(0x1C, Width::word, 1);
    }
    void set_up(std::uint64_t features) {
        set_status(0);
        set_status(kAcknowledge | kDriver);
        choose(offered() & features);
        set_status(kAcknowledge | kDriver | kFeaturesOk);
        bool const has_pairs = (chosen() & net_feature::kMultiqueue) != 0;
        usable_pairs = has_pairs ? static_cast<std::uint16_t>(1 + more_rings.size() / 2) : std::uint16_t{1};
        auto const set_up_ring = [&](std::uint16_t index, DriverRing& ring) {
            machine.put_bytes(ring.descriptors(), std::vector<std::uint8_t>(0x3000));
            ring = DriverRing{machine, ring.descriptors(), kSize};
            describe_queue(index, ring);
        };
        for (std::uint16_t index = 0; index < Net::control_queue(usable_pairs); ++index)
            set_up_ring(index, ring_of(index));
        set_up_ring(Net::control_queue(usable_pairs), control_ring);
        set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    }
    /// The features that the driver has taken.
    [[nodiscard]] std::uint64_t chosen() {
        std::uint64_t features = 0;
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(8, Width::dword, half);
            features |= read(12, Width::dword) << (32 * half);
        }
        return features;
    }
    /// Of data queues.
    [[nodiscard]] DriverRing& ring_of(std::uint16_t queue) {
        return queue == 0 ? receive_ring : queue == 1 ? transmit_ring : more_rings[queue - 2U];
    }

    void post(std::vector<Slot> pieces, std::uint16_t pair = 0) {
        for (Slot& piece : pieces) piece.flags |= kWrite;
        ring_of(Net::receive_queue(pair)).offer_pieces(std::move(pieces));
    }
    /// Posts a buffer of one piece, tells the device, and says where it is.
    std::uint64_t post_buffer(std::uint32_t bytes = 2048, std::uint16_t pair = 0) {
        std::uint64_t const at = kBuffers + 0x10000 * (posted_++ % 32U);
        post({{at, bytes, 0, 0}}, pair);
        net.notify(Net::receive_queue(pair));
        return at;
    }
    /// A packet in one piece, with the doorbell.
    std::uint16_t send(std::vector<std::uint8_t> const& packet, std::uint64_t at = kBuffers + 0x200000,
                       std::uint16_t pair = 0) {
        machine.put_bytes(at, packet);
        DriverRing& ring = ring_of(Net::transmit_queue(pair));
        std::uint16_t const head = ring.offer_pieces({{at, static_cast<std::uint32_t>(packet.size()), 0, 0}});
        net.notify(Net::transmit_queue(pair));
        return head;
    }
    ReceiveResult receive(std::vector<std::uint8_t> const& frame, Offload const& offload = {}) {
        ConstByteSpan const whole = std::as_bytes(std::span{frame});
        std::size_t const cut = frame.size() / 3;  // an odd place
        std::array<ConstByteSpan, 2> const pieces = {whole.first(cut), whole.subspan(cut)};
        return net.receive({pieces, static_cast<std::uint32_t>(frame.size()), Ticks{}, offload});
    }
    /// The answer to a command: 0 done, 1 refused.
    std::uint8_t command(std::vector<std::uint8_t> const& bytes) {
        constexpr std::uint64_t at = kBuffers + 0x280000;
        machine.put_bytes(at, bytes);
        machine.put(at + 0x8000, std::uint8_t{0xEE});
        control_ring.offer_pieces({{at, static_cast<std::uint32_t>(bytes.size()), 0, 0}, {at + 0x8000, 1, kWrite, 0}});
        net.notify(Net::control_queue(usable_pairs));
        return machine.get<std::uint8_t>(at + 0x8000);
    }

  private:
    std::uint32_t posted_{0};

  public:
    FakeMachine machine;
    DriverRing receive_ring;
    DriverRing transmit_ring;
    DriverRing control_ring;
    std::vector<DriverRing> more_rings;  // of the pairs behind the first
    std::uint16_t usable_pairs{1};
    CountingObserver observer;
    Net net;
};

}  // namespace backplane::virtio::testing
