#include "device/window/window_device.h"

#include <array>
#include <utility>

#include "base/bytes.h"

namespace backplane {

using namespace window;

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x1AF4,
    .device = 0x1110,
    .class_code = 0x050000,  // RAM
    .revision = 1,
    .subsystem_vendor = 0x1AF4,
    .subsystem = 0x1100,
    .interrupt_pin = 1,
};

/// From offset 2 of the capability on.
std::array<std::byte, kCapabilityBytes - 2> capability(Layout const& layout) {
    std::array<std::byte, kCapabilityBytes - 2> contents{};
    ByteSpan const bytes{contents};
    store(bytes, 0, kCapabilityBytes);
    store(bytes, 1, kCapabilityVersion);
    store(bytes, 2, layout.peers);
    store(bytes, 6, layout.common_bytes);
    store(bytes, 14, layout.section_bytes);
    return contents;
}

}  // namespace

WindowDevice::WindowDevice(WindowDeviceSettings const& settings, Bus& bus, MachineClock& clock)
    : PciWindowParts{"window registers", settings.layout.bar_pages(), settings.vectors},
      PciFunction{
          settings.name, kIdentity,
          [this] {
              std::array<PciBar, 6> bars{};
              bars[0] = {.kind = PciBar::Kind::memory32, .bytes = kRegisterBytes, .bank = &registers_};
              bars[1] = {.kind = PciBar::Kind::memory32, .bytes = message_table_.bank_bytes(), .bank = &message_table_};
              bars[2] = {.kind = PciBar::Kind::memory64,
                         .bytes = window_.page_count() * kPageBytes,
                         .prefetchable = true,
                         .window = &window_};
              return bars;
          }()},
      settings_{settings},
      bus_{bus},
      clock_{clock},
      is_rung_(std::size_t{settings.layout.peers} * settings.vectors) {
    add_capability(kCapability, capability(settings_.layout));
    add_msix(message_table_, 1);
    registers_.owner = this;
    bus_.add_observer(*this);
    bus_.memory().map().add_observer(*this);
}

WindowDevice::~WindowDevice() {
    bus_.memory().map().remove_observer(*this);
    bus_.remove_observer(*this);
}

std::uint32_t WindowDevice::read_register(std::uint64_t offset) {
    switch (offset) {
        case kInterruptMask:
            return state_.mask;
        case kInterruptStatus: {
            std::uint32_t const status = std::exchange(state_.status, 0);
            update_pin();
            return status;
        }
        case kPosition:
            return settings_.position;
        default:
            return 0;
    }
}

void WindowDevice::write_register(std::uint64_t offset, std::uint32_t value) {
    switch (offset) {
        case kInterruptMask:
            state_.mask = value;
            return update_pin();
        case kInterruptStatus:
            state_.status = value;
            return update_pin();
        case kDoorbell:
            return ring(value);
        default:
            return;
    }
}

/// The vector in bits 15:0, the peer in bits 31:16.
void WindowDevice::ring(std::uint32_t value) {
    std::uint32_t const peer = value >> 16, vector = value & 0xffff;
    ++counters_.rung;
    if (peer >= settings_.layout.peers || vector >= settings_.vectors) {
        ++counters_.lost;
        return;
    }
    std::vector<bool>::reference is_rung = is_rung_[std::size_t{peer} * settings_.vectors + vector];
    if (is_rung) {
        ++counters_.merged;
        return;
    }
    is_rung = true;
    doorbells_.push_back({clock_.now(), peer, vector});
}

std::vector<Doorbell> WindowDevice::take_doorbells() {
    for (Doorbell const& doorbell : doorbells_)
        is_rung_[std::size_t{doorbell.peer} * settings_.vectors + doorbell.vector] = false;
    return std::exchange(doorbells_, {});
}

void WindowDevice::hear(std::uint32_t vector) {
    ++counters_.heard;
    if (send_message(vector)) return;
    state_.status |= 1;
    update_pin();
}

// A store into a page that is read-only reaches nothing on the bus.
void WindowDevice::accessed(BusAccess const& access) {
    if (access.space != BusAccess::Space::memory || access.direction != BusAccess::Direction::write || !window_.base())
        return;
    std::uint64_t const offset = access.address - address_of(*window_.base()).value();
    if (offset >= window_.page_count() * kPageBytes) return;
    if (window_.pages().lookup(GuestPage{offset / kPageBytes}).access == Access::read) ++counters_.refused_stores;
}

void WindowDevice::watch_stores(GuestPage page) {
    if (window_.base() && page >= *window_.base() && page.value() - window_.base()->value() < window_.page_count())
        code_pages_.push_back(page);
}

void WindowDevice::forget_code() {
    // What has moved meanwhile is forgotten once too often.
    for (GuestPage const page : std::exchange(code_pages_, {}))
        bus_.memory().map().report_code_write(address_of(page), kPageBytes);
}

}  // namespace backplane
