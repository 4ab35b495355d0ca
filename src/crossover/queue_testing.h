// Queue devices on small boards, with a driver for each, and their exchange: for tests and the fuzz target.
#pragma once

#include <array>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crossover/message_exchange.h"
#include "device/pci/config_space.h"
#include "device/queue/queue_device.h"
#include "interrupt/line.h"

namespace backplane::testing {

inline constexpr std::uint64_t kRegisters = 0xC000'0000;
inline constexpr std::uint64_t kWindow = 0x40'0000'0000;
inline constexpr std::uint64_t kWindowPages = 64;
inline constexpr std::uint32_t kFirst = queue::kFirstMessagePage;

struct Line final : LineInputs {
    void set_level(unsigned, bool asserted) override { level = asserted; }
    bool level{false};
};

struct Completion {
    std::uint32_t cookie;
    QueueStatus status;
    QueueOperation operation;
    std::uint64_t handle;
};

struct Arrival {
    std::uint64_t sequence, sent, handle;
    std::uint16_t sender, receiver;
    QueueArrival::Kind kind;
    std::uint16_t page_count;
    std::uint32_t bytes, cookie;
    std::array<std::byte, kInlineMessageBytes> data;
    std::array<std::uint32_t, queue::kMessagePages> pages;
};

using Ranges = std::initializer_list<std::pair<std::uint32_t, std::uint32_t>>;

/// A machine that is nothing but a bus and a queue device, driven as docs/design/queue-device.md says.
class QueueGuest {
  public:
    QueueGuest(FramePool& pool, std::uint32_t peers)
        : memory{pool},
          device{std::move(*QueueDevice::create({.page_count = kWindowPages, .peer_count = peers}, pool, clock))} {
        device->connect(bus, InterruptLine{line, 0});
        write_config(pci::bar_offset(0), kRegisters);
        write_config(pci::bar_offset(2), static_cast<std::uint32_t>(kWindow));
        write_config(pci::bar_offset(3), kWindow >> 32);
        write_config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    }
    void write_config(unsigned offset, std::uint64_t value) {
        device->write_config(static_cast<std::uint8_t>(offset), Width::dword, static_cast<std::uint32_t>(value));
    }
    std::uint32_t get(std::uint64_t offset) {
        return static_cast<std::uint32_t>(bus.read(GuestPhys{kRegisters + offset}, Width::dword));
    }
    void set(std::uint64_t offset, std::uint32_t value) {
        bus.write(GuestPhys{kRegisters + offset}, Width::dword, value);
    }
    static GuestPhys at(std::uint64_t page, std::uint64_t offset = 0) {
        return GuestPhys{kWindow + page * kPageBytes + offset};
    }
    std::uint64_t word(std::uint64_t page, std::uint64_t offset = 0) {
        return bus.read(at(page, offset), Width::qword);
    }
    void put(std::uint64_t page, std::uint64_t value, std::uint64_t offset = 0) {
        bus.write(at(page, offset), Width::qword, value);
    }
    std::uint32_t index(std::size_t offset) {
        return static_cast<std::uint32_t>(bus.read(at(0, offset), Width::dword));
    }
    void set_index(std::size_t offset, std::uint32_t value) { bus.write(at(0, offset), Width::dword, value); }

    void enable() { set(queue::kControlRegister, queue::kControlEnable); }

    void place(QueueOperation operation, std::uint16_t flags, std::uint16_t receiver, std::uint32_t bytes,
               std::uint32_t cookie, ConstByteSpan operand, std::uint16_t page_count = 0) {
        std::array<std::byte, queue::kSubmitBytes> entry{};
        store(entry, 0, static_cast<std::uint16_t>(operation));
        store(entry, 2, flags);
        store(entry, 4, receiver);
        store(entry, 6, page_count);
        store(entry, 8, bytes);
        store(entry, 12, cookie);
        if (!operand.empty()) std::memcpy(entry.data() + 16, operand.data(), operand.size());
        std::uint32_t const producer = index(queue::kSubmitProducer);
        (void)memory.write(at(queue::kSubmitPage, producer % queue::kSubmitEntries * queue::kSubmitBytes), entry);
        set_index(queue::kSubmitProducer, producer + 1);
    }
    void place_pages(QueueOperation operation, Ranges ranges, std::uint16_t receiver = 0, std::uint32_t bytes = 0,
                     std::uint16_t flags = 0, std::uint32_t cookie = 0) {
        std::array<std::byte, kInlineMessageBytes> operand{};
        std::size_t offset = 0;
        std::uint32_t pages = 0;
        for (auto const& [first, count] : ranges) {
            store(operand, offset, first);
            store(operand, offset + 4, count);
            offset += 8;
            pages += count;
        }
        place(operation, flags, receiver, bytes, cookie, operand, static_cast<std::uint16_t>(pages));
    }
    void place_text(std::uint16_t receiver, std::string const& text, std::uint32_t cookie = 0) {
        place(QueueOperation::send, queue::kFlagInline, receiver, static_cast<std::uint32_t>(text.size()), cookie,
              std::as_bytes(std::span{text}));
    }
    void place_swap(Ranges ranges, std::uint64_t ram) {
        std::array<std::byte, kInlineMessageBytes> operand{};
        std::size_t offset = 0;
        std::uint32_t pages = 0;
        for (auto const& [first, count] : ranges) {
            store(operand, offset, first);
            store(operand, offset + 4, count);
            offset += 8, pages += count;
        }
        store(operand, queue::kSwapRamOffset, ram);
        place(QueueOperation::swap, 0, 0, 0, 0, operand, static_cast<std::uint16_t>(pages));
    }
    void place_handle(QueueOperation operation, std::uint64_t handle) {
        place(operation, 0, 0, 0, 0, bytes_of(handle));
    }
    void ring() { set(queue::kDoorbellRegister, 1); }
    void post(Ranges ranges) {
        place_pages(QueueOperation::post, ranges);
        ring();
    }

    std::vector<Completion> completions() {
        std::vector<Completion> all;
        std::uint32_t consumer = index(queue::kCompleteConsumer);
        // A fuzzed guest may have written anything into its indexes.
        for (; consumer != index(queue::kCompleteProducer) && all.size() < queue::kCompleteEntries; ++consumer) {
            std::array<std::byte, queue::kCompleteBytes> entry{};
            (void)memory.read(at(queue::kCompletePage, consumer % queue::kCompleteEntries * queue::kCompleteBytes),
                              entry);
            all.push_back({load<std::uint32_t>(entry), load<QueueStatus>(entry, 4), load<QueueOperation>(entry, 6),
                           load<std::uint64_t>(entry, 8)});
        }
        set_index(queue::kCompleteConsumer, consumer);
        return all;
    }
    std::vector<Arrival> arrivals() {
        std::vector<Arrival> all;
        std::uint32_t consumer = index(queue::kReceiveConsumer);
        // A fuzzed guest may have written anything into its indexes.
        for (; consumer != index(queue::kReceiveProducer) && all.size() < queue::kReceiveEntries; ++consumer) {
            std::array<std::byte, queue::kReceiveBytes> e{};
            (void)memory.read(at(queue::kReceivePage, consumer % queue::kReceiveEntries * queue::kReceiveBytes), e);
            Arrival arrival{load<std::uint64_t>(e, 0),
                            load<std::uint64_t>(e, 8),
                            load<std::uint64_t>(e, 16),
                            load<std::uint16_t>(e, 24),
                            load<std::uint16_t>(e, 26),
                            load<QueueArrival::Kind>(e, 28),
                            load<std::uint16_t>(e, 30),
                            load<std::uint32_t>(e, 32),
                            load<std::uint32_t>(e, 36),
                            {},
                            {}};
            std::memcpy(arrival.data.data(), e.data() + queue::kArrivalData, arrival.data.size());
            std::memcpy(arrival.pages.data(), e.data() + queue::kArrivalPages, sizeof arrival.pages);
            all.push_back(arrival);
        }
        set_index(queue::kReceiveConsumer, consumer);
        return all;
    }
    static std::string text_of(Arrival const& arrival) {
        return {reinterpret_cast<char const*>(arrival.data.data()), arrival.bytes};
    }
    FrameNumber frame(std::uint32_t page) { return device->window().pages().lookup(GuestPage{page}).frame; }
    OwnerState owner(std::uint32_t page) { return device->window().pages().lookup(GuestPage{page}).owner; }

    MachineClock clock;
    Line line;
    GuestMemory memory;
    Bus bus{memory};
    std::unique_ptr<QueueDevice> device;
};

inline constexpr std::uint16_t kEveryCall = 15;
inline constexpr std::array<char const*, 3> kNames{"alpha", "beta", "gamma"};

/// Guests that may all talk to each other, and whose clocks go together.
class QueueRack {
  public:
    explicit QueueRack(MessageExchangeOptions const& options = {.quotas = {.flight_pages = 64}}, std::uint32_t count = 3,
                       std::uint64_t more_frames = 0)
        : pool{std::move(*FramePool::create(
              count * (MessageExchange::frames_needed(kWindowPages, options.quotas) + QueueDevice::own_frames(count)) + more_frames))},
          exchange{options, pool} {
        for (std::uint32_t i = 0; i < count; ++i) {
            guests.push_back(std::make_unique<QueueGuest>(pool, count));
            (void)exchange.attach(guests.back()->device->port(), std::string{kNames[i % kNames.size()]});
        }
        for (std::uint16_t from = 0; from < count; ++from)
            for (std::uint16_t to = 0; to < count; ++to) exchange.allow(MachineId{from}, MachineId{to}, kEveryCall);
        exchange.publish();
        for (auto const& guest : guests) guest->enable();
    }
    /// The next barrier, 100 us later.
    void barrier() {
        now = now + microseconds(100);
        for (auto const& guest : guests) guest->clock.advance_to(now);
        exchange.deliver(now);
    }
    QueueGuest& operator[](std::size_t index) { return *guests[index]; }

    FramePool pool;
    std::vector<std::unique_ptr<QueueGuest>> guests;
    MessageExchange exchange;
    Ticks now{};
};

}  // namespace backplane::testing
