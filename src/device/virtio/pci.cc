#include "device/virtio/pci.h"

#include <array>
#include <utility>

#include "device/pci/config_space.h"

namespace backplane::virtio {

namespace {

constexpr std::uint16_t kVendor = 0x1AF4;
constexpr std::uint16_t kFirstDevice = 0x1040;  // of those without a legacy interface, [VIRTIO] 4.1.2
constexpr unsigned kRegionsBar = 0;
constexpr unsigned kMessagesBar = 1;

// cfg_type, [VIRTIO] 4.1.4
constexpr std::uint8_t kCommonType = 1;
constexpr std::uint8_t kNotifyType = 2;
constexpr std::uint8_t kIsrType = 3;
constexpr std::uint8_t kDeviceType = 4;
constexpr std::uint8_t kWindowType = 5;

// struct virtio_pci_cap from its third byte on, and what follows it for two of the types. [VIRTIO] 4.1.4, 4.1.4.9
struct Capability {
    std::uint8_t length{0};
    std::uint8_t type{0};
    std::uint8_t bar{0};
    std::uint32_t offset{0};
    std::uint32_t bytes{0};
    std::uint32_t extra{0};  // multiplier of the doorbells; data of the window
};
constexpr std::size_t kCapabilityBytes = 16;
constexpr std::size_t kLongCapabilityBytes = 20;
constexpr std::uint8_t kWindowBar = 4;  // offsets in the capability
constexpr std::uint8_t kWindowOffset = 8;
constexpr std::uint8_t kWindowBytes = 12;
constexpr std::uint8_t kWindowData = 16;

// Two bytes of a capability's head are the list's, so that its fields are not aligned here.
using CapabilityBytes = std::array<std::byte, kLongCapabilityBytes - 2>;
CapabilityBytes bytes_of_capability(Capability const& capability) {
    CapabilityBytes bytes{};
    store(ByteSpan{bytes}, 0, capability.length);
    store(ByteSpan{bytes}, 1, capability.type);
    store(ByteSpan{bytes}, kWindowBar - 2, capability.bar);
    store(ByteSpan{bytes}, kWindowOffset - 2, capability.offset);
    store(ByteSpan{bytes}, kWindowBytes - 2, capability.bytes);
    store(ByteSpan{bytes}, kWindowData - 2, capability.extra);
    return bytes;
}

PciIdentity identity_of(std::uint16_t id, std::uint32_t class_code) {
    return {.vendor = kVendor,
            .device = static_cast<std::uint16_t>(kFirstDevice + id),
            .class_code = class_code,
            .revision = 1,
            .subsystem_vendor = kVendor,
            .subsystem = static_cast<std::uint16_t>(kFirstDevice + id),
            .interrupt_pin = 1};
}

std::array<PciBar, 6> make_bars(RegisterBank& regions, MsixTable& messages) {
    std::array<PciBar, 6> bars{};
    bars[kRegionsBar] = {.kind = PciBar::Kind::memory32, .bytes = kNotifyRegion + kRegionBytes, .bank = &regions};
    bars[kMessagesBar] = {.kind = PciBar::Kind::memory32, .bytes = messages.bank_bytes(), .bank = &messages};
    return bars;
}

}  // namespace

std::uint64_t PciBanks::Regions::read(std::uint64_t offset, Width width) {
    return transport_.read_region(offset, width);
}
void PciBanks::Regions::write(std::uint64_t offset, Width width, std::uint64_t value) {
    transport_.write_region(offset, width, value);
}

PciTransport::PciTransport(std::string name, std::uint16_t id, std::uint32_t class_code, Device& device,
                           unsigned vector_count)
    : PciBanks{*this, vector_count},
      PciFunction{std::move(name), identity_of(id, class_code), make_bars(regions_, table_)},
      device_{device} {
    add_region(kCommonType, kCommonRegion, Device::kCommonBytes);
    add_region(kIsrType, kIsrRegion, 1);
    add_region(kDeviceType, kConfigRegion, kRegionBytes);
    add_region(kNotifyType, kNotifyRegion, kRegionBytes);
    CapabilityBytes const window = bytes_of_capability({.length = kLongCapabilityBytes, .type = kWindowType});
    CapabilityBytes const writable =
        bytes_of_capability({.bar = 0xFF, .offset = 0xFFFFFFFF, .bytes = 0xFFFFFFFF, .extra = 0xFFFFFFFF});
    window_at_ = add_capability(pci::kVendorCapability, window, writable);
    add_msix(table_, kMessagesBar);
}

void PciTransport::add_region(std::uint8_t type, std::uint64_t offset, std::uint64_t bytes) {
    bool const is_doorbell = type == kNotifyType;
    std::size_t const length = is_doorbell ? kLongCapabilityBytes : kCapabilityBytes;
    CapabilityBytes const contents = bytes_of_capability({.length = static_cast<std::uint8_t>(length),
                                                          .type = type,
                                                          .bar = kRegionsBar,
                                                          .offset = static_cast<std::uint32_t>(offset),
                                                          .bytes = static_cast<std::uint32_t>(bytes),
                                                          .extra = is_doorbell ? kNotifyMultiplier : 0});
    add_capability(pci::kVendorCapability, ConstByteSpan{contents}.first(length - 2));
}

void PciTransport::reset() {
    device_.reset();
    reset_config();
}

void PciTransport::interrupt(Reason reason, std::uint16_t vector) {
    if (uses_messages()) {
        if (vector != kNoVector) send_message(vector);
        return;
    }
    reasons_ |= static_cast<std::uint8_t>(reason);
    set_interrupt(true);
}

void PciTransport::clear_interrupt() {
    reasons_ = 0;
    set_interrupt(false);
}

std::uint64_t PciTransport::read_region(std::uint64_t offset, Width width) {
    std::uint64_t const within = offset % kRegionBytes;
    switch (offset - within) {
        case kCommonRegion:
            return device_.read_common(within, width);
        case kConfigRegion:
            return device_.read_config(within, width);
        case kIsrRegion: {  // reading acknowledges, [VIRTIO] 4.1.4.5
            std::uint8_t const reasons = within == 0 ? reasons_ : 0;
            if (within == 0) clear_interrupt();
            return reasons;
        }
        default:
            return 0;  // doorbells
    }
}

void PciTransport::write_region(std::uint64_t offset, Width width, std::uint64_t value) {
    std::uint64_t const within = offset % kRegionBytes;
    switch (offset - within) {
        case kCommonRegion:
            return device_.write_common(within, width, value);
        case kConfigRegion:
            return device_.write_config(within, width, value);
        case kNotifyRegion:
            return device_.notify(static_cast<std::uint16_t>(within / kNotifyMultiplier));
        default:
            return;
    }
}

// What the PCI configuration access capability points to. [VIRTIO] 4.1.4.9
PciTransport::Window PciTransport::window() {
    std::uint32_t const bar = config_dword(static_cast<std::uint8_t>(window_at_ + kWindowBar)) & 0xFF;
    std::uint32_t const offset = config_dword(static_cast<std::uint8_t>(window_at_ + kWindowOffset));
    std::uint32_t const bytes = config_dword(static_cast<std::uint8_t>(window_at_ + kWindowBytes));
    if (bar >= bars().size() || bars()[bar].bank == nullptr || (bytes != 1 && bytes != 2 && bytes != 4)) return {};
    if (offset % bytes != 0 || offset >= bars()[bar].bytes) return {};
    return {bars()[bar].bank, offset, static_cast<Width>(bytes)};
}

void PciTransport::capability_written(std::uint8_t offset) {
    if (window_at_ == 0 || offset != window_at_ + kWindowData) return;
    Window const to = window();
    if (to.bank != nullptr) to.bank->write(to.offset, to.width, config_dword(offset) & ones(to.width));
}

std::uint32_t PciTransport::read_capability(std::uint8_t offset, std::uint32_t stored) {
    if (window_at_ == 0 || offset != window_at_ + kWindowData) return stored;
    Window const from = window();
    return from.bank != nullptr ? static_cast<std::uint32_t>(from.bank->read(from.offset, from.width)) : stored;
}

}  // namespace backplane::virtio
