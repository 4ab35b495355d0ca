#include "device/e1000/controller.h"

#include <utility>

namespace backplane::e1000 {

namespace {

constexpr std::uint64_t kIoAddress = 0;  // IOADDR
constexpr std::uint64_t kIoData = 4;     // IODATA
constexpr std::uint32_t kIoAddressBits = 0x000FFFFF;

// The bytes of an aligned 32-bit register that a narrower access sees.
std::uint64_t part_of(std::uint32_t value, std::uint64_t offset, Width width) {
    return std::uint64_t{value} >> (8 * (offset & 3)) & ones(width);
}

bool is_within_dword(std::uint64_t offset, Width width) { return (offset & 3) + bytes_in(width) <= 4; }

}  // namespace

Controller::Controller(MacAddress const& mac, MachineClock& clock, Wiring& wiring)
    : mac_{mac},
      clock_{clock},
      interrupts_{clock, state_, wiring},
      transmit_{clock, state_, wiring, interrupts_, errors_},
      receive_{state_, wiring, interrupts_, errors_},
      loopback_{clock, [this] { carry_back(); }} {
    state_.eeprom.words = make_eeprom_image(mac);
    power_on_reset();
}

void Controller::power_on_reset() {
    state_.registers = {};
    EepromState eeprom;
    eeprom.words = state_.eeprom.words;
    state_.eeprom = eeprom;
    state_.io_address = 0;
    reset_phy(state_.phy);
    reset_mac();
}

// What CTRL.RST does: everything but the PHY, the EEPROM and the PCI function. [8254x] 14.3
void Controller::reset_mac() {
    interrupts_.reset();
    loopback_.disarm();
    reset_registers();
    transmit_.reset();
    receive_.reset();
    load_address();
    update_link();
    interrupts_.reset();  // the link that is found after a reset is no change
    notify();
}

// Receive address 0 comes from the EEPROM. [8254x] 5.6.1
void Controller::load_address() {
    auto const& words = state_.eeprom.words;
    state_.at(kRa) = words[0] | std::uint32_t{words[1]} << 16;
    state_.at(kRa + 4) = words[2] | kRahAv;
}

void Controller::update_link() {
    bool const is_up = has_link(state_.phy) && state_.has(kCtrl, kCtrlSlu);
    if (is_up == state_.has(kStatus, kStatusLu)) return;
    state_.at(kStatus) ^= kStatusLu;
    interrupts_.raise(kCauseLsc);
    notify();
}

// In a loopback the controller is its own carrier. What finds no posted buffer is lost, as in a full FIFO. One call
// takes few frames, so that no ring, however large its packets, keeps the machine from its own time.
void Controller::carry_back() {
    constexpr int kBurst = 64;
    constexpr Ticks kBurstTime{kBurst * 12'000};  // of 1500 bytes each
    loopback_.disarm();
    for (int i = 0; i < kBurst; ++i) {
        Frame const* const frame = transmit_.front();
        if (frame == nullptr) return;
        if (receive_.receive(*frame) == ReceiveResult::no_buffer) count(state_, kMpc);
        transmit_.complete(transmit_.take_front());
    }
    loopback_.arm(clock_.now() + kBurstTime);
}

void Controller::set_carrier(bool up) {
    set_phy_carrier(state_.phy, up);
    update_link();
}

FramePortCounters Controller::counters() const {
    return {tail_moves_, receive_.head_moves(), interrupts_.receive_count(), interrupts_.transmit_complete_count()};
}

std::uint64_t Controller::read_memory_bar(std::uint64_t offset, Width width) {
    auto const dword = static_cast<std::uint32_t>(offset & ~std::uint64_t{3});
    if (width == Width::qword && offset % 4 == 0) {
        std::uint64_t const low = read_register(dword);
        return low | std::uint64_t{read_register(dword + 4)} << 32;
    }
    if (is_within_dword(offset, width)) return part_of(read_register(dword), offset, width);
    ++errors_.bad_accesses;
    return ones(width);
}

// Registers are written with 32 bits only. [8254x] 13.1
void Controller::write_memory_bar(std::uint64_t offset, Width width, std::uint64_t value) {
    auto const dword = static_cast<std::uint32_t>(offset);
    if (offset % 4 != 0 || bytes_in(width) < 4) {
        ++errors_.bad_accesses;
        return;
    }
    write_register(dword, static_cast<std::uint32_t>(value));
    if (width == Width::qword) write_register(dword + 4, static_cast<std::uint32_t>(value >> 32));
}

// [8254x] 13.2.2
std::uint64_t Controller::read_io_bar(std::uint64_t offset, Width width) {
    if (offset >= kIoData + 4) return 0;
    if (!is_within_dword(offset, width)) {
        ++errors_.bad_accesses;
        return ones(width);
    }
    std::uint32_t const value = offset < kIoData ? state_.io_address : read_register(state_.io_address);
    return part_of(value, offset, width);
}

void Controller::write_io_bar(std::uint64_t offset, Width width, std::uint64_t value) {
    if (width != Width::dword || (offset != kIoAddress && offset != kIoData)) {
        ++errors_.bad_accesses;
        return;
    }
    auto const dword = static_cast<std::uint32_t>(value);
    if (offset == kIoData) return write_register(state_.io_address, dword);
    state_.io_address = dword & kIoAddressBits;
}

void Controller::write_ctrl(Write const& write) {
    if ((write.value & kCtrlPhyRst) != 0) reset_phy(state_.phy);
    if ((write.value & kCtrlRst) != 0) return reset_mac();
    update_link();
}

void Controller::write_eecd_pins(Write const& write) { write_eecd(state_.eeprom, write.value); }
std::uint32_t Controller::read_eecd_pins(std::uint32_t) { return read_eecd(state_.eeprom); }
void Controller::write_eerd(Write const& write) { state_.at(kEerd) = access_eerd(state_.eeprom, write.value); }

// The operation is done at once. [8254x] 13.4.7
void Controller::write_mdic(Write const& write) {
    std::uint32_t const index = write.value >> 16 & 0x1F;
    std::uint32_t const address = write.value >> 21 & 0x1F;
    std::uint32_t const operation = write.value & kMdicOperation;
    std::uint32_t result = (write.value & ~(kMdicError | (1U << 31))) | kMdicReady;
    bool is_renegotiated = false;
    if (address != kPhyAddress || (operation != kMdicRead && operation != kMdicWrite)) {
        result |= kMdicError;
    } else if (operation == kMdicRead) {
        result = (result & 0xFFFF0000) | read_phy(state_.phy, index);
    } else {
        is_renegotiated = write_phy(state_.phy, index, static_cast<std::uint16_t>(write.value));
    }
    state_.at(kMdic) = result;
    update_link();
    if (is_renegotiated && state_.has(kStatus, kStatusLu)) interrupts_.raise(kCauseLsc);
    if ((write.value & kMdicInterrupt) != 0) interrupts_.raise(kCauseMdac);
}

std::uint32_t Controller::read_icr(std::uint32_t) { return interrupts_.read_causes(); }
void Controller::write_icr(Write const& write) { interrupts_.clear(write.value); }
void Controller::write_itr(Write const&) { interrupts_.update(); }
void Controller::write_ics(Write const& write) { interrupts_.raise(write.value); }

void Controller::write_ims(Write const& write) {
    state_.at(kIms) |= write.value & kCauses;
    interrupts_.update();
}

void Controller::write_imc(Write const& write) {
    state_.at(kIms) &= ~write.value;
    interrupts_.update();
}

void Controller::write_rctl(Write const& write) {
    if (((write.before ^ state_.at(kRctl)) & (kRctlEn | kRctlLbm)) != 0) notify();
}

void Controller::write_tctl(Write const& write) {
    if (((write.before ^ state_.at(kTctl)) & kTctlEn) != 0) notify();
}

// 64 KiB are shared: what receive does not get is transmit's. [8254x] 13.4.32
void Controller::write_pba(Write const&) {
    std::uint32_t const receive_kib = state_.at(kPba) & 0x7F;
    state_.at(kPba) = receive_kib | (receive_kib < 64 ? 64 - receive_kib : 0) << 16;
}

// Index 1 of each pair is RAH. [8254x] 13.5.3
void Controller::write_receive_address(Write const& write) {
    if ((write.offset & 4) != 0) state_.at(write.offset) &= kRahBits;
}

void Controller::write_receive_ring(Write const&) { receive_.ring_written(); }

void Controller::write_rdt(Write const&) {
    receive_.tail_written();
    notify();
}

void Controller::write_rdtr(Write const& write) {
    if ((write.value & kDelayFpd) != 0) interrupts_.flush_receive();
}

void Controller::write_transmit_ring(Write const&) { transmit_.ring_written(); }

void Controller::write_tdt(Write const&) {
    if (!transmit_.tail_written()) return;
    ++tail_moves_;
    notify();
}

void Controller::write_tidv(Write const& write) {
    if ((write.value & kDelayFpd) != 0) interrupts_.flush_transmit();
}

std::uint32_t Controller::read_statistic(std::uint32_t offset) { return std::exchange(state_.at(offset), 0); }
std::uint32_t Controller::read_low_octets(std::uint32_t offset) { return state_.at(offset); }

std::uint32_t Controller::read_high_octets(std::uint32_t offset) {
    state_.at(offset - 4) = 0;
    return std::exchange(state_.at(offset), 0);
}

}  // namespace backplane::e1000
