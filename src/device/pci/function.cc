#include "device/pci/function.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "device/pci/config_space.h"

namespace backplane {

using namespace pci;

namespace {

constexpr std::uint64_t kMemoryEnd = std::uint64_t{1} << PageMap::kAddressBits;
constexpr std::uint64_t kPortEnd = 0x1'0000;
constexpr std::uint64_t kIoBarLimit = 256;  // [PCI30] 6.2.5.1

// The MSI capability with 64-bit address and masking, [PCI30] figure 6-9.
constexpr unsigned kMsiAddress = 4;
constexpr unsigned kMsiAddressHigh = 8;
constexpr unsigned kMsiData = 12;
constexpr unsigned kMsiMask = 16;
constexpr unsigned kMsiPending = 20;
constexpr unsigned kMsiBytes = 24;

bool is_memory(PciBar::Kind kind) { return kind == PciBar::Kind::memory32 || kind == PciBar::Kind::memory64; }

void check_bar(PciBar const& bar, unsigned index, std::array<PciBar, 6> const& bars) {
    using Kind = PciBar::Kind;
    if (bar.kind == Kind::none) return;
    check(std::has_single_bit(bar.bytes), "the size of a BAR is a power of two");
    check(bar.bytes >= (bar.kind == Kind::io ? 4 : 16), "a BAR has address bits of its own");
    check(bar.kind != Kind::io || (bar.bytes <= kIoBarLimit && bar.window == nullptr),
          "an I/O BAR is at most 256 ports");
    check(bar.kind != Kind::memory32 || bar.bytes <= std::uint64_t{1} << 31, "a 32-bit BAR fits below 4 GiB");
    check(bar.kind != Kind::memory64 || (index < 5 && bars[index + 1].kind == Kind::none), "a 64-bit BAR takes two");
    check((bar.bank != nullptr) != (bar.window != nullptr), "a BAR has registers or pages behind it");
    check(bar.window == nullptr || bar.bytes == bar.window->page_count() * kPageBytes,
          "a BAR is as large as its window");
}

// A PC's chipset gives addresses of RAM to RAM, whatever a BAR says. A page that was lent out still counts.
bool overlaps_ram(PageMap const& map, std::uint64_t address, std::uint64_t bytes) {
    std::uint64_t const last = (address + bytes - 1) >> kPageShift;
    for (std::uint64_t page = address >> kPageShift; page <= last; ++page) {
        if (map.lookup(GuestPage{page}).owner != OwnerState::none) return true;
    }
    return false;
}

}  // namespace

PciFunction::PciFunction(std::string name, PciIdentity const& identity, std::array<PciBar, 6> const& bars)
    : name_{std::move(name)}, identity_{identity}, bars_{bars} {
    std::uint32_t command = kBusMaster | kWriteInvalidate | kParityResponse | kSystemError;
    if (identity_.interrupt_pin != 0) command |= kInterruptDisable;
    for (unsigned i = 0; i < bars_.size(); ++i) {
        PciBar const& bar = bars_[i];
        check_bar(bar, i, bars_);
        if (bar.kind == PciBar::Kind::none) continue;
        command |= is_memory(bar.kind) ? kDecodeMemory : kDecodeIo;
        std::uint64_t const address_bits = ~(bar.bytes - 1);
        writable_[kFirstBar / 4 + i] = static_cast<std::uint32_t>(address_bits);
        if (bar.kind == PciBar::Kind::memory64)
            writable_[kFirstBar / 4 + i + 1] = static_cast<std::uint32_t>(address_bits >> 32);
    }
    writable_[kCommand / 4] = command;
    writable_[kCacheLine / 4] = 0xffff;  // cache line size, latency timer
    writable_[kInterruptLine / 4] = 0xff;
    reset_config();
}

void PciFunction::connect(Bus& bus, InterruptLine line, MessageSink* messages) {
    bus_ = &bus;
    line_ = line;
    messages_ = messages;
    if (msix_table_ != nullptr) msix_table_->set_sink(messages);
    update_mappings();
    update_line();
}

void PciFunction::reset_config() {
    config_ = capabilities_;
    config_[kCapabilities / 4] = first_capability_;
    msi_pending_ = 0;
    if (msix_table_ != nullptr) msix_table_->reset();
    config_[kVendor / 4] = std::uint32_t{identity_.device} << 16 | identity_.vendor;
    config_[kRevision / 4] = identity_.class_code << 8 | identity_.revision;
    config_[kSubsystemVendor / 4] = std::uint32_t{identity_.subsystem} << 16 | identity_.subsystem_vendor;
    config_[kInterruptLine / 4] = std::uint32_t{identity_.interrupt_pin} << 8;
    for (unsigned i = 0; i < bars_.size(); ++i) {
        PciBar const& bar = bars_[i];
        std::uint32_t flags = bar.kind == PciBar::Kind::io ? kBarIo : 0;
        if (bar.kind == PciBar::Kind::memory64) flags |= kBar64;
        if (is_memory(bar.kind) && bar.prefetchable) flags |= kBarPrefetchable;
        config_[kFirstBar / 4 + i] = flags;
    }
    update_mappings();
    update_messages();
    update_line();
}

std::uint32_t PciFunction::read_config(std::uint8_t offset, Width width) {
    std::uint32_t value = config_[offset / 4];
    if (offset / 4 == kCommand / 4) {
        if (asserted_) value |= kInterruptStatus;
        if (first_capability_ != 0) value |= kHasCapabilities;
    }
    if (msi_ != 0 && offset / 4 == (msi_ + kMsiPending) / 4) value = msi_pending_;
    if (offset >= kHeaderEnd) value = read_capability(static_cast<std::uint8_t>(offset & ~3U), value);
    return static_cast<std::uint32_t>((value >> (8 * (offset & 3))) & ones(width));
}

void PciFunction::write_config(std::uint8_t offset, Width width, std::uint32_t value) {
    unsigned const index = offset / 4;
    unsigned const shift = 8 * (offset & 3);
    auto const changed = static_cast<std::uint32_t>(ones(width) << shift) & writable_[index];
    config_[index] = (config_[index] & ~changed) | (value << shift & changed);
    if (index == kCommand / 4 || index >= kHeaderEnd / 4) {
        update_messages();
        update_line();
    }
    if (index >= kHeaderEnd / 4) capability_written(static_cast<std::uint8_t>(index * 4));
    if (index == kCommand / 4 || (index >= kFirstBar / 4 && index < kFirstBar / 4 + 6)) update_mappings();
}

void PciFunction::set_interrupt(bool asserted) {
    asserted_ = asserted;
    update_line();
}

void PciFunction::update_line() {
    if (identity_.interrupt_pin == 0) return;
    line_.set(asserted_ && !uses_messages() && (config_[kCommand / 4] & kInterruptDisable) == 0);
}

std::uint8_t PciFunction::add_capability(std::uint8_t id, ConstByteSpan contents, ConstByteSpan writable) {
    constexpr unsigned kCapabilityHead = 2;  // identifier, pointer to the next
    std::uint8_t const start = capabilities_end_;
    std::size_t const end = (start + kCapabilityHead + contents.size() + 3) & ~std::size_t{3};
    check(end <= 0xfc && writable.size() <= contents.size(), "the capabilities fit into configuration space");
    ByteSpan const space = std::as_writable_bytes(std::span{capabilities_});
    ByteSpan const bits = std::as_writable_bytes(std::span{writable_});
    store(space, start, id);
    std::ranges::copy(contents, space.begin() + start + kCapabilityHead);
    std::ranges::copy(writable, bits.begin() + start + kCapabilityHead);
    if (last_capability_ != 0)
        store(space, last_capability_ + 1U, start);
    else
        first_capability_ = start;
    last_capability_ = start;
    capabilities_end_ = static_cast<std::uint8_t>(end);
    reset_config();
    return start;
}

void PciFunction::add_msi(unsigned vector_count) {
    check(std::has_single_bit(vector_count) && vector_count <= 32 && msi_ == 0, "MSI has 1 to 32 vectors, once");
    auto const control = static_cast<std::uint16_t>(
        (kMsi64Bit | kMsiMaskable | static_cast<unsigned>(std::countr_zero(vector_count)) << kMsiCapableShift) >> 16);
    std::array<std::byte, kMsiBytes - 2> contents{};
    std::array<std::byte, kMsiBytes - 2> writable{};
    store(contents, 0, control);
    store(writable, 0, std::uint16_t{0x0071});            // multiple message enable, enable
    store(writable, kMsiAddress - 2, ~std::uint32_t{3});  // dword-aligned
    store(writable, kMsiAddressHigh - 2, ~std::uint32_t{0});
    store(writable, kMsiData - 2, std::uint16_t{0xffff});
    store(writable, kMsiMask - 2, static_cast<std::uint32_t>((std::uint64_t{1} << vector_count) - 1));
    msi_ = add_capability(kMsiCapability, contents, writable);
}

void PciFunction::add_msix(MsixTable& table, unsigned bar, std::uint32_t offset) {
    check(msix_ == 0 && bar < bars_.size() && offset % 8 == 0, "MSI-X once, 8-byte aligned in a BAR");
    std::array<std::byte, 10> contents{};
    std::array<std::byte, 10> writable{};
    store(contents, 0, static_cast<std::uint16_t>(table.vector_count() - 1));
    store(contents, 2, offset | bar);
    store(contents, 6, (offset + table.pending_offset()) | bar);
    store(writable, 0, std::uint16_t{0xc000});  // enable, function mask
    msix_table_ = &table;
    msix_ = add_capability(kMsixCapability, contents, writable);
}

bool PciFunction::is_msi_enabled() const { return msi_ != 0 && (config_[msi_ / 4] & kMsiEnable) != 0; }
bool PciFunction::is_msix_enabled() const { return msix_ != 0 && (config_[msix_ / 4] & kMsixEnable) != 0; }

bool PciFunction::send_message(unsigned vector) {
    if (is_msix_enabled()) {
        msix_table_->raise(vector);
    } else if (is_msi_enabled()) {
        send_msi(vector);
    } else {
        return false;
    }
    return true;
}

/// With fewer vectors than it asked for a function folds them ([PCI30] 6.8.3.1: at its own discretion).
void PciFunction::send_msi(unsigned vector) {
    unsigned const enabled = std::min(config_[msi_ / 4] >> kMsiEnabledShift & 7,  // more than offered is as offered
                                      config_[msi_ / 4] >> kMsiCapableShift & 7);
    msi_pending_ |= 1U << (vector & ((1U << enabled) - 1));
    send_unmasked_msi();
}

void PciFunction::send_unmasked_msi() {
    if (!is_msi_enabled() || !is_bus_master() || messages_ == nullptr) return;
    std::uint32_t const ready = msi_pending_ & ~config_[(msi_ + kMsiMask) / 4];
    msi_pending_ &= ~ready;
    GuestPhys const address{config_[(msi_ + kMsiAddress) / 4] | std::uint64_t{config_[(msi_ + kMsiAddressHigh) / 4]}
                                                                    << 32};
    for (std::uint32_t rest = ready; rest != 0; rest &= rest - 1)
        messages_->send_msi(
            address, (config_[(msi_ + kMsiData) / 4] & 0xffff) | static_cast<std::uint32_t>(std::countr_zero(rest)));
}

void PciFunction::update_messages() {
    send_unmasked_msi();
    if (msix_ == 0) return;
    bool const is_open = (config_[msix_ / 4] & kMsixFunctionMask) == 0 && is_bus_master();
    using Mode = MsixTable::Mode;
    msix_table_->set_mode(!is_msix_enabled() ? Mode::disabled : is_open ? Mode::open : Mode::masked);
}

bool PciFunction::is_bus_master() const { return (config_[kCommand / 4] & kBusMaster) != 0; }

/// Where the registers say that the BAR is; nullopt when decoding is off or no address was assigned.
std::optional<std::uint64_t> PciFunction::decoded_address(unsigned index) const {
    PciBar::Kind const kind = bars_[index].kind;
    if (kind == PciBar::Kind::none) return std::nullopt;
    std::uint32_t const enable = is_memory(kind) ? kDecodeMemory : kDecodeIo;
    if ((config_[kCommand / 4] & enable) == 0) return std::nullopt;
    std::uint64_t address = config_[kFirstBar / 4 + index] & (is_memory(kind) ? kBarMemoryAddress : kBarIoAddress);
    if (kind == PciBar::Kind::memory64) address |= std::uint64_t{config_[kFirstBar / 4 + index + 1]} << 32;
    if (address == 0) return std::nullopt;
    return address;
}

// Everything that leaves its place goes first, so that BARs of one function can change places.
void PciFunction::update_mappings() {
    if (bus_ == nullptr) return;
    for (unsigned i = 0; i < bars_.size(); ++i) {
        if (mapped_[i] && mapped_[i] != decoded_address(i)) unmap_bar(i);
    }
    for (unsigned i = 0; i < bars_.size(); ++i) {
        auto const address = decoded_address(i);
        if (!address || mapped_[i]) continue;
        if (map_bar(i, *address)) {
            mapped_[i] = address;
        } else {
            ++refused_mapping_count_;
        }
    }
}

bool PciFunction::map_bar(unsigned index, std::uint64_t address) {
    PciBar const& bar = bars_[index];
    std::uint64_t const end = is_memory(bar.kind) ? kMemoryEnd : kPortEnd;
    if (address > end || bar.bytes > end - address) return false;
    if (bar.kind == PciBar::Kind::io) {
        PortNumber const first{static_cast<std::uint16_t>(address)};
        return bus_->attach_ports(first, static_cast<std::uint16_t>(bar.bytes), *bar.bank).has_value();
    }
    if (overlaps_ram(memory().map(), address, bar.bytes)) return false;
    if (bar.window != nullptr) return place_window(bar, page_of(GuestPhys{address}));
    return bus_->attach(GuestPhys{address}, bar.bytes, *bar.bank).has_value();
}

// Registers in front of the pages would hide them; then they are not shown at all.
bool PciFunction::place_window(PciBar const& bar, GuestPage first) {
    for (std::uint64_t i = 0; i < bar.window->page_count(); ++i)
        if (!bus_->is_free(GuestPage{first.value() + i})) return false;
    bar.window->place(memory().map(), first);
    return true;
}

void PciFunction::unmap_bar(unsigned index) {
    PciBar const& bar = bars_[index];
    std::uint64_t const address = *std::exchange(mapped_[index], std::nullopt);
    if (bar.kind == PciBar::Kind::io) {
        bus_->detach_ports(PortNumber{static_cast<std::uint16_t>(address)}, *bar.bank);
    } else if (bar.window != nullptr) {
        bar.window->remove();
    } else {
        bus_->detach(GuestPhys{address}, *bar.bank);
    }
}

}  // namespace backplane
