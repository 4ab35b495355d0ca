#include "device/pci/host.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "device/pci/config_space.h"

namespace backplane {

namespace {

constexpr std::uint64_t kAddressPort = 0;  // CONFIG_ADDRESS, 0xCF8
constexpr std::uint64_t kResetOffset = 1;  // 0xCF9
constexpr std::uint64_t kDataPort = 4;     // CONFIG_DATA, 0xCFC

constexpr std::uint32_t kAddressEnable = 1U << 31;
constexpr std::uint32_t kAddressWritable = 0x80ff'fffc;

constexpr PciIdentity kBridgeIdentity{
    .vendor = 0x8086,
    .device = 0x1237,
    .class_code = 0x06'0000,
    .revision = 2,
    .subsystem_vendor = 0x1af4,  // firmware that is made for QEMU's boards looks for these two before it uses fw_cfg
    .subsystem = 0x1100,
    .interrupt_pin = 0,
};

struct Placement {
    unsigned slot;
    unsigned bar;
    PciBar const* what;
};

/// Hands out aligned addresses of one window, upwards. Address 0 is never one, because it means "not assigned".
class Window {
  public:
    Window(std::uint64_t base, std::uint64_t bytes) : next_{std::max<std::uint64_t>(base, 1)}, end_{base + bytes} {}
    [[nodiscard]] std::optional<std::uint64_t> take(std::uint64_t bytes) {
        std::uint64_t const start = (next_ + bytes - 1) & ~(bytes - 1);
        if (start < next_ || start > end_ || bytes > end_ - start) return std::nullopt;
        next_ = start + bytes;
        return start;
    }

  private:
    std::uint64_t next_;
    std::uint64_t end_;
};

void write_dword(PciFunction& function, std::uint8_t offset, std::uint64_t value) {
    function.write_config(offset, Width::dword, static_cast<std::uint32_t>(value));
}

}  // namespace

void IntxRouter::set_level(unsigned slot, bool asserted) {
    if (slot >= PciHost::kSlotCount) return;
    std::uint32_t const bit = 1U << slot;
    levels_ = asserted ? levels_ | bit : levels_ & ~bit;
    constexpr std::uint32_t kEveryFourth = 0x1111'1111;
    inputs_.set_level(input_of(slot), (levels_ & kEveryFourth << slot % kInputCount) != 0);
}

PciHost::PciHost(Bus& bus, LineInputs& interrupt_inputs, MessageSink* messages)
    : bus_{bus}, router_{interrupt_inputs}, messages_{messages}, bridge_{"host-bridge", kBridgeIdentity, {}} {
    slots_[0] = &bridge_;
    bridge_.connect(bus_, {});
}

Expected<void, Error> PciHost::plug(unsigned slot, PciFunction& function) {
    std::string const what = "PCI slot " + std::to_string(slot) + ", " + std::string{function.name()};
    if (slot >= kSlotCount) return Unexpected{bad_input(what + ": there are " + std::to_string(kSlotCount) + " slots")};
    if (slots_[slot] != nullptr) return Unexpected{bad_input(what + ": taken by " + std::string{slots_[slot]->name()})};
    if (function.identity().interrupt_pin > 1) return Unexpected{bad_input(what + ": only INTA is wired")};
    slots_[slot] = &function;
    function.connect(bus_, InterruptLine{router_, slot}, messages_);
    return {};
}

void PciHost::reset() {
    address_ = 0;
    for (PciFunction* function : slots_) {
        if (function != nullptr) function->reset_config();
    }
}

Expected<void, Error> PciHost::assign_bars(PciWindows const& windows) {
    std::vector<Placement> placements;
    for (unsigned slot = 0; slot < kSlotCount; ++slot) {
        for (unsigned bar = 0; slots_[slot] != nullptr && bar < 6; ++bar) {
            PciBar const& what = slots_[slot]->bars()[bar];
            if (what.kind != PciBar::Kind::none) placements.push_back({slot, bar, &what});
        }
    }
    std::ranges::stable_sort(placements, [](auto const& a, auto const& b) { return a.what->bytes > b.what->bytes; });

    Window memory{windows.memory_base.value(), windows.memory_bytes};
    Window ports{windows.port_base.value(), windows.port_count};
    for (Placement const& placement : placements) {
        PciFunction& function = *slots_[placement.slot];
        auto const address = (placement.what->kind == PciBar::Kind::io ? ports : memory).take(placement.what->bytes);
        std::string const where = std::string{function.name()} + ", BAR " + std::to_string(placement.bar);
        if (!address) return Unexpected{bad_input(where + ": does not fit into the PCI window")};
        if (placement.what->kind == PciBar::Kind::memory32 && *address >> 32 != 0)
            return Unexpected{bad_input(where + ": the PCI window is above 4 GiB")};
        write_dword(function, pci::bar_offset(placement.bar), *address);
        if (placement.what->kind == PciBar::Kind::memory64)
            write_dword(function, pci::bar_offset(placement.bar + 1), *address >> 32);
    }
    for (unsigned slot = 0; slot < kSlotCount; ++slot) {
        if (slots_[slot] == nullptr) continue;
        PciFunction& function = *slots_[slot];
        function.write_config(pci::kCommand, Width::word, pci::kDecodeIo | pci::kDecodeMemory);
        if (function.identity().interrupt_pin != 0)
            function.write_config(pci::kInterruptLine, Width::byte, IntxRouter::input_of(slot));
    }
    for (Placement const& placement : placements) {
        PciFunction const& function = *slots_[placement.slot];
        if (!function.decoded_at(placement.bar))
            return Unexpected{bad_input(std::string{function.name()} + ", BAR " + std::to_string(placement.bar) +
                                        ": something else is at its address")};
    }
    return {};
}

PciFunction* PciHost::selected() const {
    bool const is_ours = (address_ & kAddressEnable) != 0 && (address_ >> 16 & 0xff) == 0 && (address_ >> 8 & 7) == 0;
    return is_ours ? slots_[address_ >> 11 & 31] : nullptr;
}

// An access that does not lie within one of the two dwords is that many byte accesses. Anything but a dword at 0xCF8
// is not for CONFIG_ADDRESS ([PCI30] 3.2.2.3.2).
std::uint64_t PciHost::read(std::uint64_t offset, Width width) {
    if ((offset & 3) + bytes_in(width) > 4) {
        std::uint64_t value = 0;
        for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= read(offset + i, Width::byte) << (8 * i);
        return value;
    }
    if (offset == kAddressPort && width == Width::dword) return address_;
    if (offset == kResetOffset && width == Width::byte && reset_register_ != nullptr)
        return reset_register_->read(0, width);
    if (offset < kDataPort || offset >= kPortCount) return ones(width);
    PciFunction* const function = selected();
    if (function == nullptr) return ones(width);
    return function->read_config(static_cast<std::uint8_t>((address_ & 0xfc) + (offset - kDataPort)), width);
}

void PciHost::write(std::uint64_t offset, Width width, std::uint64_t value) {
    if ((offset & 3) + bytes_in(width) > 4) {
        for (std::uint64_t i = 0; i < bytes_in(width); ++i) write(offset + i, Width::byte, value >> (8 * i) & 0xff);
        return;
    }
    if (offset == kAddressPort && width == Width::dword) {
        address_ = static_cast<std::uint32_t>(value) & kAddressWritable;
    } else if (offset == kResetOffset && width == Width::byte && reset_register_ != nullptr) {
        reset_register_->write(0, width, value);
    } else if (offset >= kDataPort && offset < kPortCount) {
        if (PciFunction* const function = selected())
            function->write_config(static_cast<std::uint8_t>((address_ & 0xfc) + (offset - kDataPort)), width,
                                   static_cast<std::uint32_t>(value));
    }
}

namespace {

struct EcamPlace {
    unsigned slot;
    bool is_function_zero;
    std::uint64_t offset;
};
EcamPlace ecam_place(std::uint64_t offset) {
    return {static_cast<unsigned>(offset >> 15 & 31), (offset >> 12 & 7) == 0, offset & 0xfff};
}

constexpr std::uint64_t kConfigBytes = 256;

}  // namespace

std::uint64_t PciHost::Ecam::read(std::uint64_t offset, Width width) {
    if ((offset & 3) + bytes_in(width) > 4) {
        std::uint64_t value = 0;
        for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= read(offset + i, Width::byte) << (8 * i);
        return value;
    }
    EcamPlace const place = ecam_place(offset);
    PciFunction* const function = owner_.slots_[place.slot];
    if (function == nullptr || !place.is_function_zero || place.offset >= kConfigBytes) return ones(width);
    return function->read_config(static_cast<std::uint8_t>(place.offset), width);
}

void PciHost::Ecam::write(std::uint64_t offset, Width width, std::uint64_t value) {
    if ((offset & 3) + bytes_in(width) > 4) {
        for (std::uint64_t i = 0; i < bytes_in(width); ++i) write(offset + i, Width::byte, value >> (8 * i) & 0xff);
        return;
    }
    EcamPlace const place = ecam_place(offset);
    PciFunction* const function = owner_.slots_[place.slot];
    if (function == nullptr || !place.is_function_zero || place.offset >= kConfigBytes) return;
    function->write_config(static_cast<std::uint8_t>(place.offset), width, static_cast<std::uint32_t>(value));
}

}  // namespace backplane
