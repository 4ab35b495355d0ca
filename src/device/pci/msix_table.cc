#include "device/pci/msix_table.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace backplane {

namespace {

constexpr std::uint32_t kEntryBytes = 16;
constexpr std::uint32_t kMasked = 1U << 0;
constexpr std::uint32_t kSmallestHalf = 2048;

}  // namespace

MsixTable::MsixTable(unsigned vector_count)
    : entries_(vector_count), pending_offset_{std::max(kSmallestHalf, std::bit_ceil(vector_count * kEntryBytes))} {
    check(vector_count >= 1 && vector_count <= kMaxVectors, "MSI-X has 1 to 2048 vectors");
}

void MsixTable::reset() {
    std::ranges::fill(entries_, Entry{});
    mode_ = Mode::disabled;
}

void MsixTable::set_mode(Mode mode) {
    if (mode == mode_) return;
    mode_ = mode;
    for (Entry& entry : entries_) send_if_ready(entry);
}

void MsixTable::raise(unsigned vector) {
    if (mode_ == Mode::disabled || vector >= entries_.size()) return;
    entries_[vector].is_pending = true;
    send_if_ready(entries_[vector]);
}

void MsixTable::send_if_ready(Entry& entry) {
    if (!entry.is_pending || mode_ != Mode::open || (entry.control & kMasked) != 0 || sink_ == nullptr) return;
    entry.is_pending = false;
    sink_->send_msi(GuestPhys{entry.address_low | std::uint64_t{entry.address_high} << 32}, entry.data);
}

std::uint32_t MsixTable::read_dword(std::uint64_t offset) const {
    if (offset >= pending_offset_) {
        std::uint32_t bits = 0;
        std::uint64_t const first = (offset - pending_offset_) * 8;
        for (std::uint64_t i = 0; i < 32 && first + i < entries_.size(); ++i)
            bits |= static_cast<std::uint32_t>(entries_[first + i].is_pending) << i;
        return bits;
    }
    if (offset / kEntryBytes >= entries_.size()) return 0;
    Entry const& entry = entries_[offset / kEntryBytes];
    switch (offset % kEntryBytes) {
        case 0:
            return entry.address_low;
        case 4:
            return entry.address_high;
        case 8:
            return entry.data;
        default:
            return entry.control;
    }
}

void MsixTable::write_dword(std::uint64_t offset, std::uint32_t value, std::uint32_t mask) {
    if (offset / kEntryBytes >= entries_.size()) return;  // the pending bits too: they are the function's
    Entry& entry = entries_[offset / kEntryBytes];
    auto const change = [&](std::uint32_t& field, std::uint32_t writable) {
        field = (field & ~(mask & writable)) | (value & mask & writable);
    };
    switch (offset % kEntryBytes) {
        case 0:
            change(entry.address_low, ~std::uint32_t{3});
            break;
        case 4:
            change(entry.address_high, ~std::uint32_t{0});
            break;
        case 8:
            change(entry.data, ~std::uint32_t{0});
            break;
        default:
            change(entry.control, kMasked);
            send_if_ready(entry);
            break;
    }
}

// An access is cut at dwords, so that a quad word is two of them and nothing else needs thought.
std::uint64_t MsixTable::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width);) {
        std::uint64_t const within = (offset + i) & 3;
        value |= std::uint64_t{read_dword((offset + i) & ~std::uint64_t{3})} >> (8 * within) << (8 * i);
        i += 4 - within;
    }
    return value & ones(width);
}

void MsixTable::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width);) {
        std::uint64_t const within = (offset + i) & 3;
        auto const part = static_cast<std::uint32_t>(value >> (8 * i) << (8 * within));
        auto const mask = static_cast<std::uint32_t>(ones(width) >> (8 * i) << (8 * within));
        write_dword((offset + i) & ~std::uint64_t{3}, part, mask);
        i += 4 - within;
    }
}

}  // namespace backplane
