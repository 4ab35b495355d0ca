// What the tests and the fuzzer of this folder share: a machine's memory, a wire for interrupts, and small builders.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "device/e1000/controller.h"

namespace backplane::e1000::testing {

inline constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
inline constexpr MacAddress kPeerMac = {0x52, 0x54, 0x00, 0xAB, 0xCD, 0xEF};
inline constexpr std::uint64_t kRamBytes = 1 << 20;
inline constexpr std::uint64_t kTxRing = 0x10000;
inline constexpr std::uint64_t kRxRing = 0x20000;
inline constexpr std::uint64_t kTxBuffers = 0x30000;
inline constexpr std::uint64_t kRxBuffers = 0x80000;

/// Counts how often the port had news.
struct CountingObserver final : FramePortObserver {
    void port_changed() override { ++count; }
    int count{0};
};

/// RAM from 0 to kRamBytes, except for a hole of one page at 0x70000.
class FakeMachine final : public Wiring {
  public:
    static constexpr std::uint64_t kHole = 0x70000;

    FakeMachine() : pool_{FramePool::create(2 * kRamBytes / kPageBytes).value()}, memory_{pool_} {
        check(memory_.add_ram(GuestPage{0}, kRamBytes / kPageBytes).has_value(), "the pool is as large as the RAM");
        memory_.map().unmap(page_of(GuestPhys{kHole}), 1).run();
    }
    /// As much again at this address.
    void add_high_ram(std::uint64_t at) {
        check(memory_.add_ram(page_of(GuestPhys{at}), kRamBytes / kPageBytes).has_value(), "the pool has twice the RAM");
    }
    [[nodiscard]] GuestMemory* dma() override { return is_bus_master ? &memory_ : nullptr; }
    void drive_interrupt(bool asserted) override { line = asserted; }

    template <typename T>
    void put(std::uint64_t at, T const& value) {
        check(memory_.write_object(GuestPhys{at}, value), "tests write to RAM");
    }
    void put_bytes(std::uint64_t at, ConstByteSpan bytes) {
        check(memory_.write(GuestPhys{at}, bytes), "tests write to RAM");
    }
    template <typename T>
    [[nodiscard]] T get(std::uint64_t at) const {
        T value{};
        check(memory_.read_object(GuestPhys{at}, value), "tests read from RAM");
        return value;
    }
    [[nodiscard]] std::vector<std::uint8_t> get_bytes(std::uint64_t at, std::size_t count) const {
        std::vector<std::uint8_t> bytes(count);
        check(memory_.read(GuestPhys{at}, std::as_writable_bytes(std::span{bytes})), "tests read from RAM");
        return bytes;
    }

    MachineClock clock;
    bool line{false};
    bool is_bus_master{true};

  private:
    FramePool pool_;
    GuestMemory memory_;
};

inline std::vector<std::uint8_t> bytes_in(Frame const& frame) {
    std::vector<std::uint8_t> all;
    for (ConstByteSpan const piece : frame.pieces) {
        for (std::byte const byte : piece) all.push_back(std::to_integer<std::uint8_t>(byte));
    }
    return all;
}

/// An Ethernet frame of `count` bytes from the peer to us, with a pattern behind the header.
inline std::vector<std::uint8_t> make_frame(std::size_t count, MacAddress const& to = kMac,
                                            MacAddress const& from = kPeerMac) {
    std::vector<std::uint8_t> frame(count);
    for (std::size_t i = 0; i < count; ++i) frame[i] = static_cast<std::uint8_t>(i * 7 + 3);
    std::memcpy(frame.data(), to.data(), to.size());
    std::memcpy(frame.data() + 6, from.data(), from.size());
    frame[12] = 0x88;
    frame[13] = 0xB5;  // local experimental
    return frame;
}

/// The plainest Internet checksum there is, to compare with; 0xFFFF over data that holds its own checksum.
inline std::uint16_t plain_sum(std::vector<std::uint8_t> const& bytes, std::size_t first, std::size_t last,
                               std::uint32_t sum = 0) {
    for (std::size_t i = first; i < last; i += 2) {
        sum += static_cast<std::uint32_t>(bytes[i] << 8) | (i + 1 < last ? bytes[i + 1] : 0U);
    }
    while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}
inline void put_be16(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint32_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
}
inline std::uint16_t get_be16(std::vector<std::uint8_t> const& bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
inline std::uint32_t get_be32(std::vector<std::uint8_t> const& bytes, std::size_t at) {
    return static_cast<std::uint32_t>(get_be16(bytes, at)) << 16 | get_be16(bytes, at + 2);
}

inline constexpr std::size_t kIp = 14;
inline constexpr std::size_t kTransport = 34;
/// The TCP or UDP pseudo header's sum without the length.
inline std::uint32_t pseudo_sum(std::vector<std::uint8_t> const& frame) {
    return plain_sum(frame, kIp + 12, kIp + 20) + frame[kIp + 9];
}

/// A TCP/IPv4 frame with `payload` bytes, as a driver hands it over: checksum fields are 0.
inline std::vector<std::uint8_t> make_tcp(std::size_t payload) {
    std::vector<std::uint8_t> frame = make_frame(54 + payload, kPeerMac, kMac);
    std::memset(frame.data() + 12, 0, 42);
    put_be16(frame, 12, 0x0800);
    frame[kIp] = 0x45;
    put_be16(frame, kIp + 2, static_cast<std::uint32_t>(40 + payload));
    put_be16(frame, kIp + 4, 0x1234);
    frame[kIp + 8] = 64;
    frame[kIp + 9] = 6;
    for (std::size_t i = 0; i < 8; ++i) frame[kIp + 12 + i] = static_cast<std::uint8_t>(10 + i);
    put_be16(frame, kTransport, 1000);
    put_be16(frame, kTransport + 2, 2000);
    put_be16(frame, kTransport + 4, 0x0102);
    put_be16(frame, kTransport + 6, 0xFFFE);
    frame[kTransport + 12] = 0x50;
    frame[kTransport + 13] = 0x19;  // FIN, PSH, ACK
    return frame;
}

/// The same with right checksums.
inline std::vector<std::uint8_t> make_summed_tcp(std::size_t payload) {
    std::vector<std::uint8_t> frame = make_tcp(payload);
    put_be16(frame, kIp + 10, static_cast<std::uint16_t>(~plain_sum(frame, kIp, kIp + 20)));
    std::uint32_t const pseudo = pseudo_sum(frame) + static_cast<std::uint32_t>(20 + payload);
    put_be16(frame, kTransport + 16, static_cast<std::uint16_t>(~plain_sum(frame, kTransport, frame.size(), pseudo)));
    return frame;
}

inline bool has_right_ip_sum(std::vector<std::uint8_t> const& frame) {
    return plain_sum(frame, kIp, kIp + 20) == 0xFFFF;
}
inline bool has_right_tcp_sum(std::vector<std::uint8_t> const& frame) {
    std::size_t const end = kIp + get_be16(frame, kIp + 2);
    std::uint32_t const pseudo = pseudo_sum(frame) + static_cast<std::uint32_t>(end - kTransport);
    return plain_sum(frame, kTransport, end, pseudo) == 0xFFFF;
}

/// A controller on a fake machine with both rings set up as Linux does it and a cable plugged in.
class RunningController {
  public:
    explicit RunningController(std::uint32_t ring_count = 16)
        : ring_count_{ring_count}, controller{kMac, machine.clock, machine} {
        controller.set_observer(&observer);
        controller.set_carrier(true);
        set_up();
    }
    /// What a driver does after a reset.
    void set_up() {
        next_tx_ = 0;
        set(kTdbal, kTxRing);
        set(kTdlen, ring_count_ * kDescriptorBytes);
        set(kTctl, kTctlEn | kTctlPsp);
        set(kRdbal, kRxRing);
        set(kRdlen, ring_count_ * kDescriptorBytes);
        for (std::uint32_t i = 0; i < ring_count_; ++i) machine.put(rx_descriptor(i), rx_buffer(i));
        set(kRctl, kRctlEn | kRctlBam);
        (void)get(kIcr);
        observer.count = 0;
    }
    void set(std::uint32_t offset, std::uint64_t value) {
        controller.write_register(offset, static_cast<std::uint32_t>(value));
    }
    [[nodiscard]] std::uint32_t get(std::uint32_t offset) { return controller.read_register(offset); }

    [[nodiscard]] std::uint64_t tx_descriptor(std::uint32_t i) const {
        return kTxRing + std::uint64_t{i % ring_count_} * kDescriptorBytes;
    }
    [[nodiscard]] std::uint64_t rx_descriptor(std::uint32_t i) const {
        return kRxRing + std::uint64_t{i % ring_count_} * kDescriptorBytes;
    }
    [[nodiscard]] static std::uint64_t rx_buffer(std::uint32_t i) { return kRxBuffers + std::uint64_t{i} * 0x1000; }
    [[nodiscard]] ReceiveWriteBack rx_status(std::uint32_t i) const {
        return machine.get<ReceiveWriteBack>(rx_descriptor(i) + 8);
    }
    [[nodiscard]] bool tx_done(std::uint32_t i) const {
        return (machine.get<std::uint8_t>(tx_descriptor(i) + 12) & kStatusDd) != 0;
    }

    /// Writes the next transmit descriptor; the tail is moved by send().
    void describe(std::uint64_t address, std::uint32_t lower, std::uint32_t upper = 0) {
        machine.put(tx_descriptor(next_tx_++), TransmitDescriptor{address, lower, upper});
    }
    void send() { set(kTdt, next_tx_ % ring_count_); }
    /// One legacy descriptor with one frame in one buffer.
    void send_frame(std::vector<std::uint8_t> const& frame, std::uint64_t at = kTxBuffers) {
        machine.put_bytes(at, std::as_bytes(std::span{frame}));
        describe(at, static_cast<std::uint32_t>(frame.size()) | kTxEop | kTxIfcs | kTxRs);
        send();
    }
    ReceiveResult receive(std::vector<std::uint8_t> const& frame) {
        ConstByteSpan const whole = std::as_bytes(std::span{frame});
        std::size_t const cut = frame.size() / 3;  // an odd place
        std::array<ConstByteSpan, 2> const pieces = {whole.first(cut), whole.subspan(cut)};
        return controller.receive({pieces, static_cast<std::uint32_t>(frame.size()), Ticks{}});
    }

  private:
    std::uint32_t ring_count_;
    std::uint32_t next_tx_{0};

  public:
    FakeMachine machine;
    CountingObserver observer;
    Controller controller;
};

}  // namespace backplane::e1000::testing
