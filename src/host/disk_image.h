// A raw image file as a machine's disk.
//
// Written in place, or not at all: a snapshot keeps what is written in memory, so that the next run finds the same
// disk. Two disks may share a file only if neither writes to it; that is held by locks of the host, which other
// processes of Backplane see too.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <unordered_map>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "device/block_port.h"

namespace backplane {

/// What happens to writes.
enum class DiskMode : std::uint8_t { in_place, read_only, snapshot };

class DiskImage final : public BlockPort {
  public:
    /// The most that a snapshot keeps: more writes fail, as on a disk that is broken.
    static constexpr std::uint64_t kMaxSnapshotBytes = std::uint64_t{1} << 30;

    /// Opens and locks the file.
    /// Errors: bad_input, `PATH: ...; expected ...`: no file, empty, not whole sectors, a qcow2 image, in use.
    [[nodiscard]] static Expected<std::unique_ptr<DiskImage>, Error> open(std::filesystem::path const& path, DiskMode mode,
                                                                          std::uint64_t snapshot_bytes = kMaxSnapshotBytes);

    [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
    [[nodiscard]] bool is_read_only() const override { return mode_ == DiskMode::read_only; }
    [[nodiscard]] bool read(std::uint64_t offset, ByteSpan into) override;
    [[nodiscard]] bool write(std::uint64_t offset, ConstByteSpan from) override;
    [[nodiscard]] bool write_zeroes(std::uint64_t offset, std::uint64_t bytes) override;
    [[nodiscard]] bool flush() override;

  private:
    static constexpr std::uint64_t kClusterBytes = 4096;
    using Cluster = std::array<std::byte, kClusterBytes>;

    DiskImage(UniqueFd fd, std::uint64_t bytes, DiskMode mode, std::uint64_t snapshot_bytes)
        : fd_{std::move(fd)}, bytes_{bytes}, mode_{mode}, most_clusters_{snapshot_bytes / kClusterBytes} {}
    [[nodiscard]] bool read_file(std::uint64_t offset, ByteSpan into);
    [[nodiscard]] bool write_file(std::uint64_t offset, ConstByteSpan from);
    /// The cluster that keeps what is written there; null: no room.
    [[nodiscard]] Cluster* cluster_for_writing(std::uint64_t index);

    UniqueFd fd_;
    std::uint64_t bytes_;
    DiskMode mode_;
    std::uint64_t most_clusters_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Cluster>> written_;  // of a snapshot
};

}  // namespace backplane
