#include "device/fw_cfg/fw_cfg.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace backplane {

namespace {

constexpr std::uint64_t kSelector = 0;
constexpr std::uint64_t kData = 1;
constexpr std::uint64_t kDmaHigh = 4;
constexpr std::uint64_t kDmaLow = 8;

constexpr std::uint32_t kHasDma = 3;                            // bit 0: the ports, bit 1: DMA
constexpr std::uint64_t kDmaSignature = 0x5145'4d55'2043'4647;  // "QEMU CFG"

// Bits of a DMA's control word.
constexpr std::uint32_t kError = 1U << 0;
constexpr std::uint32_t kRead = 1U << 1;
constexpr std::uint32_t kSkip = 1U << 2;
constexpr std::uint32_t kSelect = 1U << 3;
constexpr std::uint32_t kWrite = 1U << 4;

constexpr std::uint64_t kMostPadding = 64 * 1024;
constexpr std::uint16_t kMostFiles = 0x3fe0;  // numbers have 14 bits

std::vector<std::byte> bytes_of_text(std::string_view text) {
    auto const bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

void append_big_endian(std::vector<std::byte>& into, std::uint32_t value, unsigned bytes) {
    for (unsigned i = bytes; i-- > 0;) into.push_back(static_cast<std::byte>(value >> (8 * i)));
}

}  // namespace

FwCfg::FwCfg() {
    set_item(kSignature, bytes_of_text("QEMU"));
    set_number(kInterface, kHasDma);
    make_directory();
}

Expected<void, Error> FwCfg::attach(Bus& bus) {
    memory_ = &bus.memory();
    return bus.attach_ports(kPorts, kPortCount, *this);
}

void FwCfg::set_item(std::uint16_t number, std::vector<std::byte> contents) { items_[number] = std::move(contents); }

void FwCfg::set_file(std::string const& name, std::vector<std::byte> contents) {
    check(name.size() < kNameBytes && files_.size() < kMostFiles, "fw_cfg: names are short and numbers suffice");
    auto const number = static_cast<std::uint16_t>(kFirstFile + files_.size());
    set_item(files_.emplace(name, number).first->second, std::move(contents));
    make_directory();
}

void FwCfg::make_directory() {
    std::vector<std::byte> directory;
    append_big_endian(directory, static_cast<std::uint32_t>(files_.size()), 4);
    for (auto const& [name, number] : files_) {
        append_big_endian(directory, static_cast<std::uint32_t>(items_[number].size()), 4);
        append_big_endian(directory, number, 2);
        append_big_endian(directory, 0, 2);
        std::vector<std::byte> text = bytes_of_text(name);
        text.resize(kNameBytes);
        directory.insert(directory.end(), text.begin(), text.end());
    }
    set_item(kDirectory, std::move(directory));
}

// Bits 15 and 14 choose writing and items of the architecture; nothing can be written.
void FwCfg::select(std::uint16_t number) {
    selected_ = number;
    position_ = 0;
}

ConstByteSpan FwCfg::rest() const {
    auto const item = items_.find(selected_);
    if (item == items_.end() || position_ >= item->second.size()) return {};
    return ConstByteSpan{item->second}.subspan(position_);
}

std::uint8_t FwCfg::next_byte() {
    ConstByteSpan const bytes = rest();
    if (bytes.empty()) return 0;
    ++position_;
    return std::to_integer<std::uint8_t>(bytes[0]);
}

std::uint64_t FwCfg::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    if (offset == kData) {
        for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= std::uint64_t{next_byte()} << (8 * i);
    } else if (offset >= kDmaHigh) {
        // Big-endian: the first port has the most significant byte.
        for (std::uint64_t i = 0; i < bytes_in(width) && offset + i < kPortCount; ++i)
            value |= (kDmaSignature >> (8 * (kPortCount - 1 - offset - i)) & 0xff) << (8 * i);
    }
    return value;
}

void FwCfg::write(std::uint64_t offset, Width width, std::uint64_t value) {
    if (offset == kSelector && width == Width::word) return select(static_cast<std::uint16_t>(value));
    if (width != Width::dword) return;
    std::uint32_t const address = __builtin_bswap32(static_cast<std::uint32_t>(value));
    if (offset == kDmaHigh) dma_high_ = address;
    if (offset == kDmaLow) run_dma(GuestPhys{std::uint64_t{std::exchange(dma_high_, 0U)} << 32 | address});
}

/// The control structure is {control, length, address}, big-endian; its control word is written back: 0, or the error.
void FwCfg::run_dma(GuestPhys control_at) {
    std::array<std::byte, 16> request{};
    if (memory_ == nullptr || !memory_->read(control_at, request)) return;
    std::uint32_t const control = __builtin_bswap32(load<std::uint32_t>(request, 0));
    std::uint32_t const bytes = __builtin_bswap32(load<std::uint32_t>(request, 4));
    GuestPhys const into{__builtin_bswap64(load<std::uint64_t>(request, 8))};
    if ((control & kSelect) != 0) select(static_cast<std::uint16_t>(control >> 16));
    bool done = (control & kWrite) == 0;
    if ((control & kRead) != 0)
        done = copy(into, bytes);
    else if ((control & kSkip) != 0)
        position_ += std::min<std::uint64_t>(bytes, rest().size());
    static_cast<void>(memory_->write_object(control_at, __builtin_bswap32(done ? 0 : kError)));
}

/// Beyond the item's end come zeros, but not without end.
bool FwCfg::copy(GuestPhys into, std::uint32_t bytes) {
    ConstByteSpan const contents = rest();
    std::uint64_t const copied = std::min<std::uint64_t>(bytes, contents.size());
    std::uint64_t const padding = bytes - copied;
    if (padding > kMostPadding) return false;
    position_ += copied;
    std::vector<std::byte> const zeros(padding);
    return memory_->write(into, contents.first(copied)) && memory_->write(into + copied, zeros);
}

}  // namespace backplane
