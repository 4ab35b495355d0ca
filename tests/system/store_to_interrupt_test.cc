// The path of one store (ARCHITECTURE.md), folder by folder: an instruction of one machine moves its NIC's tail
// register, and the handler in the other machine runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "cpu/testing.h"
#include "crossover/link.h"
#include "device/e1000/descriptors.h"
#include "device/e1000/registers.h"
#include "device/pci/host.h"
#include "machine/layout.h"
#include "machine/machine.h"
#include "rack/monitor.h"

namespace backplane {
namespace {

using testing::ElementsAre;

constexpr MacAddress kSenderMac{2, 0, 0, 0, 0, 1};
constexpr MacAddress kReceiverMac{2, 0, 0, 0, 0, 2};
constexpr unsigned kNicSlot = 3;
constexpr std::uint8_t kVector = 0x41;

// Guest-physical addresses, the same in both machines.
constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kGdt = 0x3000, kIdt = 0x4000, kCode = 0x1'0000,
                        kHandler = 0x1'1000, kStack = 0x2'0000, kMark = 0x3'0000, kRing = 0x4'0000, kBuffer = 0x5'0000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kFrameBytes = 64;

/// A machine without a kernel: tables, a program and a driver's worth of set-up, put there from outside.
class BareMachine {
  public:
    BareMachine(char const* name, MacAddress const& mac, FramePool& pool)
        : machine{Machine::create({.name = name,
                                   .memory_bytes = kMinMemoryBytes,
                                   .instructions_per_second = 1'000'000'000,
                                   .random_seed = 1,
                                   .nics = {{.model = NicModel::e1000, .mac = mac}}},
                                  pool, console_)
                      .value()} {
        // Linear 0 to 1 GiB is physical; the gigabyte above it is the one with the devices.
        put(kPml4, kPdpt | 3);
        put(kPdpt, std::uint64_t{0x83});
        put(kPdpt + 8, 3 * kGiB | 0x83);
        put(kGdt + 8, std::uint64_t{0x00af'9b00'0000'ffff});
        put(kIdt + kVector * 16,
            (kHandler & 0xffff) | std::uint64_t{8} << 16 | std::uint64_t{0x8e} << 40 | kHandler >> 16 << 48);
        enable_bus_master();
        bar_ = read_bar();
    }
    template <typename T>
    void put(std::uint64_t at, T const& value) {
        EXPECT_TRUE(machine->memory().write_object(GuestPhys{at}, value));
    }
    template <typename T = std::uint64_t>
    [[nodiscard]] T get(std::uint64_t at) const {
        T value{};
        EXPECT_TRUE(machine->memory().read_object(GuestPhys{at}, value));
        return value;
    }
    void put_code(std::uint64_t at, std::string_view code) {
        std::vector<std::uint8_t> const bytes = hex(code);
        EXPECT_TRUE(machine->memory().write(GuestPhys{at}, std::as_bytes(std::span{bytes})));
    }
    void set_register(std::uint32_t offset, std::uint64_t value) {
        machine->bus().write(GuestPhys{bar_ + offset}, Width::dword, value);
    }
    [[nodiscard]] std::uint64_t get_register(std::uint32_t offset) {
        return machine->bus().read(GuestPhys{bar_ + offset}, Width::dword);
    }
    /// Where the program sees a register of the NIC.
    [[nodiscard]] std::uint64_t linear(std::uint32_t offset) const { return kGiB + (bar_ - 3 * kGiB) + offset; }
    [[nodiscard]] std::uint64_t physical(std::uint32_t offset) const { return bar_ + offset; }

    void start(std::uint64_t register_address) {
        CpuState state = TestMachine::kernel_state(kCode);
        state.cr3 = kPml4;
        state.gdtr = {kGdt, 15};
        state.idtr = {kIdt, 4095};
        state.gpr[rsp] = kStack;
        state.gpr[rbx] = register_address;
        machine->engine(0).set_state(state);
    }
    [[nodiscard]] CpuCounters const& cpu() const { return machine->engine(0).cpu().counters(); }

  private:
    void enable_bus_master() {
        machine->bus().out(PortNumber{0xcf8}, Width::dword, 0x8000'0000U | kNicSlot << 11 | 4);
        machine->bus().out(PortNumber{0xcfc}, Width::word, 7);
    }
    [[nodiscard]] std::uint64_t read_bar() {
        machine->bus().out(PortNumber{0xcf8}, Width::dword, 0x8000'0000U | kNicSlot << 11 | 0x10);
        return machine->bus().in(PortNumber{0xcfc}, Width::dword) & ~std::uint64_t{15};
    }
    NullSink console_;
    std::uint64_t bar_{0};

  public:
    std::unique_ptr<Machine> machine;
};

struct StoreLog final : BusObserver {
    void accessed(BusAccess const& access) override {
        if (access.direction == BusAccess::Direction::write) stores.push_back(access);
    }
    std::vector<BusAccess> stores;
};

class StoreToInterrupt : public testing::Test {
  protected:
    StoreToInterrupt() {
        link.attach(MachineId{0}, sender.machine->nic(0).port(), "nic0");
        link.attach(MachineId{1}, receiver.machine->nic(0).port(), "nic0");
        link.set_carrier(Carrier::up);
        prepare_sender();
        prepare_receiver();
        sender.machine->bus().add_observer(log);
    }
    void prepare_sender() {
        frame.fill(std::byte{0x5a});
        std::copy_n(reinterpret_cast<std::byte const*>(kReceiverMac.data()), 6, frame.begin());
        sender.put(kBuffer, frame);
        sender.put(kRing, kBuffer);
        sender.put(kRing + 8, std::uint64_t{kFrameBytes} | e1000::kTxEop | e1000::kTxIfcs | e1000::kTxRs);
        sender.set_register(e1000::kTdbal, kRing);
        sender.set_register(e1000::kTdlen, 128);
        sender.set_register(e1000::kTctl, e1000::kTctlEn | e1000::kTctlPsp);
        sender.put_code(kCode, "b801000000 8903 fbf4");  // mov eax, 1; mov [rbx], eax: THE STORE; sti; hlt
        sender.start(sender.linear(e1000::kTdt));
    }
    void prepare_receiver() {
        receiver.put(kRing, kBuffer);
        receiver.set_register(e1000::kRdbal, kRing);
        receiver.set_register(e1000::kRdlen, 128);
        receiver.set_register(e1000::kRctl, e1000::kRctlEn | e1000::kRctlBam | e1000::kRctlSecrc);
        receiver.set_register(e1000::kRdt, 1);
        receiver.set_register(e1000::kIms, e1000::kCauseRxt0);
        (void)receiver.get_register(e1000::kIcr);
        // The I/O APIC's entry of the NIC's pin: level-triggered, active low, to processor 0.
        auto const redirect = [&](unsigned index, std::uint64_t value) {
            receiver.machine->bus().write(kIoApic, Width::dword, index);
            receiver.machine->bus().write(GuestPhys{kIoApic.value() + 0x10}, Width::dword, value);
        };
        unsigned const input = IntxRouter::input_of(kNicSlot);
        redirect(0x10 + 2 * input, kVector | 1U << 13 | 1U << 15);
        redirect(0x11 + 2 * input, 0);
        receiver.machine->bus().write(GuestPhys{LocalApic::kBase.value() + 0xf0}, Width::dword, 0x1ff);
        receiver.put_code(kCode, "fb f4");
        receiver.put_code(kHandler, "c7042500000300 2a000000 f4");  // mov dword [kMark], 42; hlt
        receiver.start(receiver.linear(e1000::kIcr));
    }

    /// What each folder of the path shows, at one moment.
    struct Snapshot {
        std::uint64_t sender_device_stores, sender_walks, bus_stores, tail_moves;
        std::uint64_t frames, landed_byte, head_moves;
        bool interrupt_waits;
        std::uint64_t mark;
    };
    [[nodiscard]] Snapshot look() const {
        return {.sender_device_stores = sender.cpu().device_accesses,
                .sender_walks = sender.cpu().tlb_misses,
                .bus_stores = stores.size(),
                .tail_moves = sender.machine->nic(0).counters().tail_moves,
                .frames = link.report().frames,
                .landed_byte = receiver.get<std::uint8_t>(kBuffer + kFrameBytes - 1),
                .head_moves = receiver.machine->nic(0).counters().head_moves,
                .interrupt_waits = receiver.machine->engine(0).cpu().has_wake_event(),
                .mark = receiver.get(kMark)};
    }
    /// The hops since `before`, in the order of the path.
    [[nodiscard]] std::vector<std::string> hops_since(Snapshot const& before) const {
        Snapshot const now = look();
        std::vector<std::string> hops;
        auto const hop = [&](bool moved, char const* words) {
            if (moved) hops.emplace_back(words);
        };
        hop(now.sender_device_stores != before.sender_device_stores, "cpu: the sender's store");
        hop(now.sender_walks != before.sender_walks, "mmu: translated");
        hop(now.bus_stores != before.bus_stores, "bus: routed to a device");
        hop(now.tail_moves != before.tail_moves, "device: tail moved");
        hop(now.frames != before.frames, "crossover: frame moved");
        hop(now.landed_byte != before.landed_byte, "memory: bytes landed");
        hop(now.head_moves != before.head_moves, "device: head moved");
        hop(now.interrupt_waits && !before.interrupt_waits, "interrupt: vector waits");
        hop(now.mark != before.mark, "cpu: the receiver's handler");
        return hops;
    }

    FramePool pool{FramePool::create(2 * kMinMemoryBytes / kPageBytes).value()};
    BareMachine sender{"sender", kSenderMac, pool};
    BareMachine receiver{"receiver", kReceiverMac, pool};
    Link link{{.name = "lan"}};
    std::array<std::byte, kFrameBytes> frame{};
    StoreLog log;
    std::vector<BusAccess>& stores{log.stores};
};

TEST_F(StoreToInterrupt, FolderByFolder) {
    Ticks const quantum{10'000};
    receiver.machine->run_until(quantum);  // it waits in HLT
    Snapshot const start = look();

    sender.machine->run_until(quantum);
    EXPECT_THAT(hops_since(start), ElementsAre("cpu: the sender's store", "mmu: translated", "bus: routed to a device",
                                               "device: tail moved"));
    ASSERT_EQ(stores.size(), 1u);
    EXPECT_EQ(stores[0].address, sender.physical(e1000::kTdt));
    EXPECT_EQ(stores[0].value, 1u);
    EXPECT_EQ(stores[0].width, Width::dword);
    EXPECT_EQ(stores[0].device, "e1000 registers");

    Snapshot const at_barrier = look();
    link.deliver(quantum);
    EXPECT_THAT(hops_since(at_barrier), ElementsAre("crossover: frame moved", "memory: bytes landed",
                                                    "device: head moved", "interrupt: vector waits"));
    std::array<std::byte, kFrameBytes> landed{};
    ASSERT_TRUE(receiver.machine->memory().read_object(GuestPhys{kBuffer}, landed));
    EXPECT_EQ(landed, frame);
    EXPECT_EQ(link.report().copies, 1u);
    EXPECT_EQ(receiver.get_register(e1000::kRdh), 1u);
    EXPECT_NE(sender.get<std::uint8_t>(kRing + 12) & e1000::kStatusDd, 0);  // the sender's descriptor is done

    Snapshot const before_handler = look();
    receiver.machine->run_until(quantum + quantum);
    EXPECT_THAT(hops_since(before_handler), ElementsAre("cpu: the receiver's handler"));
    EXPECT_EQ(receiver.get<std::uint32_t>(kMark), 42u);
    EXPECT_EQ(receiver.cpu().interrupts, 1u);
}

// The same by the monitor, which does the three steps in one barrier and a quantum.
TEST_F(StoreToInterrupt, UnderTheMonitor) {
    Monitor monitor{{sender.machine.get(), receiver.machine.get()}, {&link}, Ticks{10'000}};
    Snapshot const start = look();
    monitor.run_to_barrier();
    EXPECT_EQ(hops_since(start).back(), "interrupt: vector waits");
    monitor.run_to_barrier();
    EXPECT_EQ(hops_since(start).back(), "cpu: the receiver's handler");
    EXPECT_EQ(hops_since(start).size(), 8u);  // all, and the vector no longer waits
}

}  // namespace
}  // namespace backplane
