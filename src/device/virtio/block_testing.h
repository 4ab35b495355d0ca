// What the disk's tests and its fuzzer share: an image in memory and a device that its driver has set up.
#pragma once

#include <algorithm>
#include <vector>

#include "device/virtio/block.h"
#include "device/virtio/testing.h"

namespace backplane::virtio::testing {

class FakeDisk final : public BlockPort {
  public:
    explicit FakeDisk(std::uint64_t size) : content(size) {
        for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<std::byte>(i / 512 * 3 + i);
    }
    [[nodiscard]] std::uint64_t bytes() const override { return content.size(); }
    [[nodiscard]] bool is_read_only() const override { return read_only; }
    [[nodiscard]] bool read(std::uint64_t offset, ByteSpan into) override {
        check_range(offset, into.size());
        if (fails) return false;
        std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
        return true;
    }
    [[nodiscard]] bool write(std::uint64_t offset, ConstByteSpan from) override {
        check_range(offset, from.size());
        check(!read_only, "the device knows what is read-only");
        if (fails) return false;
        std::copy(from.begin(), from.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
        return true;
    }
    [[nodiscard]] bool write_zeroes(std::uint64_t offset, std::uint64_t size) override {
        check_range(offset, size);
        check(!read_only, "the device knows what is read-only");
        std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), size, std::byte{0});
        return !fails;
    }
    [[nodiscard]] bool flush() override { return ++flushes, !fails; }

    std::vector<std::byte> content;
    bool read_only{false};
    bool fails{false};
    int flushes{0};

  private:
    void check_range(std::uint64_t offset, std::uint64_t size) const {
        check(offset <= content.size() && size <= content.size() - offset, "the device asks only for what is on the disk");
    }
};

class RunningBlock {
  public:
    static constexpr std::uint16_t kSize = 16;
    static constexpr std::uint64_t kDiskBytes = 64 * 512;
    static constexpr std::uint64_t kHeader = kBuffers;  ///< where request() puts the header
    static constexpr std::uint64_t kStatus = kBuffers + 0x800;
    static constexpr std::uint64_t kData = kBuffers + 0x1000;

    explicit RunningBlock(bool read_only = false)
        : disk{kDiskBytes}, ring{machine, 0x10000, kSize}, block{disk, "alpha.disk0", machine.clock, machine} {
        disk.read_only = read_only;
        set_up(~std::uint64_t{0});
    }
    void write(std::uint64_t offset, Width width, std::uint64_t value) { block.write_common(offset, width, value); }
    [[nodiscard]] std::uint64_t offered() {
        write(0, Width::dword, 0);
        std::uint64_t const low = block.read_common(4, Width::dword);
        write(0, Width::dword, 1);
        return low | block.read_common(4, Width::dword) << 32;
    }
    void set_up(std::uint64_t features) {
        constexpr std::uint8_t kReady = kAcknowledge | kDriver | kFeaturesOk;
        write(0x14, Width::byte, 0);
        std::uint64_t const chosen = offered() & features;
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(8, Width::dword, half);
            write(12, Width::dword, chosen >> (32 * half) & 0xFFFFFFFF);
        }
        write(0x14, Width::byte, kReady);
        machine.put_bytes(ring.descriptors(), std::vector<std::uint8_t>(0x3000));
        ring = DriverRing{machine, ring.descriptors(), kSize};
        write(0x16, Width::word, 0);
        write(0x18, Width::word, kSize);
        write(0x1A, Width::word, 0);
        write(0x20, Width::dword, ring.descriptors());
        write(0x28, Width::dword, ring.available());
        write(0x30, Width::dword, ring.used());
        write(0x1C, Width::word, 1);
        write(0x14, Width::byte, kReady | kDriverOk);
    }
    void put_header(std::uint32_t type, std::uint64_t sector, std::uint64_t at = kHeader) {
        machine.put(at, type);
        machine.put(at + 4, std::uint32_t{0});
        machine.put(at + 8, sector);
        machine.put(kStatus, std::uint8_t{0xEE});
    }
    /// Makes a request of a header, these pieces and a status byte available.
    void request(std::uint32_t type, std::uint64_t sector, std::vector<Slot> pieces) {
        put_header(type, sector);
        offer(kHeader, std::move(pieces), kStatus);
        block.notify(0);
    }
    /// The same of a header that is there, without a doorbell.
    void offer(std::uint64_t header, std::vector<Slot> pieces, std::uint64_t status) {
        std::vector<Slot> all;
        all.reserve(pieces.size() + 2);
        all.push_back({header, 16, 0, 0});
        all.insert(all.end(), pieces.begin(), pieces.end());
        all.push_back({status, 1, kWrite, 0});
        ring.offer_pieces(std::move(all));
    }
    void pass(std::uint64_t ns) {
        machine.clock.advance_to(machine.clock.now() + Ticks{ns});
        machine.clock.fire_due();
    }
    /// A request and the time that it takes. \return its status
    std::uint8_t ask(std::uint32_t type, std::uint64_t sector, std::vector<Slot> pieces) {
        request(type, sector, std::move(pieces));
        pass(10'000'000);
        return status();
    }
    [[nodiscard]] std::uint8_t status() const { return machine.get<std::uint8_t>(kStatus); }

    FakeMachine machine;
    FakeDisk disk;
    DriverRing ring;
    Block block;
};

}  // namespace backplane::virtio::testing
