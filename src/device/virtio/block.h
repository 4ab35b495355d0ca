// virtio block device without its bus: one queue of requests, served one after the other (docs/design/virtio.md).
//
// A request takes virtual time, so that a run is the same whatever the host's disk does: kRequestTime and kByteTime for
// each byte. Its bytes move when that time is over, between the image and the guest's buffers, in one copy.
//
// Source: [VIRTIO] 5.2
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "clock/machine_clock.h"
#include "device/block_port.h"
#include "device/virtio/device.h"

namespace backplane::virtio {

/// Feature bits, [VIRTIO] 5.2.3.
namespace block_feature {
inline constexpr std::uint64_t kSizeMax = 1U << 1;
inline constexpr std::uint64_t kSegmentMax = 1U << 2;
inline constexpr std::uint64_t kReadOnly = 1U << 5;
inline constexpr std::uint64_t kBlockSize = 1U << 6;
inline constexpr std::uint64_t kFlush = 1U << 9;
inline constexpr std::uint64_t kTopology = 1U << 10;
inline constexpr std::uint64_t kDiscard = 1U << 13;
inline constexpr std::uint64_t kWriteZeroes = 1U << 14;
}  // namespace block_feature

struct BlockCounters {
    std::uint64_t reads{0};
    std::uint64_t read_bytes{0};
    std::uint64_t writes{0};
    std::uint64_t written_bytes{0};
    std::uint64_t flushes{0};
    std::uint64_t failures{0};  ///< answered with an error, whoever made it
};

class Block final : public Device {
  public:
    static constexpr std::uint16_t kQueueSize = 128;
    static constexpr std::uint64_t kSectorBytes = 512;
    static constexpr std::uint32_t kLongestPieceBytes = 64 << 10;
    static constexpr std::uint32_t kMostPieces = 126;  // and the header and the status, in a queue of 128
    static constexpr std::uint64_t kLongestRequestBytes = std::uint64_t{kLongestPieceBytes} * kMostPieces;
    static constexpr std::uint64_t kConfigBytes = 60;
    static constexpr std::size_t kIdBytes = 20;
    static constexpr std::uint64_t kRequestTimeNs = 20'000;
    static constexpr std::uint64_t kBytesPerNs = 2;

    /// \param id  what GET_ID says; cut to kIdBytes
    /// `port`, `clock` and `wiring` outlive the device.
    Block(BlockPort& port, std::string_view id, MachineClock& clock, Wiring& wiring);

    [[nodiscard]] std::uint64_t read_config(std::uint64_t offset, Width width) override;
    void write_config(std::uint64_t offset, Width width, std::uint64_t value) override;
    [[nodiscard]] BlockCounters const& counters() const { return counters_; }

  private:
    /// What the last byte of a request says, [VIRTIO] 5.2.6.
    enum class Answer : std::uint8_t { ok = 0, failed = 1, unsupported = 2 };
    struct Request {
        std::uint32_t type;
        std::uint32_t reserved;
        std::uint64_t sector;
    };
    static_assert(sizeof(Request) == 16);

    [[nodiscard]] std::uint64_t device_features() const override;
    void started() override;
    void was_reset() override;
    void notified(std::uint16_t queue) override;
    void begin_next(GuestMemory& memory);
    void finish_request();
    /// Writes the answer. \return how many bytes the chain says were written
    std::uint32_t serve(GuestMemory& memory);
    [[nodiscard]] Answer execute(GuestMemory& memory, std::uint64_t& written);
    [[nodiscard]] Answer read(GuestMemory& memory, std::uint64_t offset, std::uint64_t& written);
    [[nodiscard]] Answer write(GuestMemory& memory, std::uint64_t offset);
    [[nodiscard]] Answer clear(GuestMemory& memory, bool is_discard);
    [[nodiscard]] Answer flush();
    [[nodiscard]] Answer tell_id(GuestMemory& memory, std::uint64_t& written);
    /// Whether these bytes are whole sectors of the disk.
    [[nodiscard]] bool is_on_disk(std::uint64_t sector, std::uint64_t bytes) const;

    BlockPort& port_;
    std::array<std::byte, kIdBytes> id_{};
    Timer timer_;  // armed while chain_ is being served
    MachineClock& clock_;
    Chain chain_;
    BlockCounters counters_{};
};

}  // namespace backplane::virtio
