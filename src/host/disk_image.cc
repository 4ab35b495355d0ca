#include "host/disk_image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "host/file.h"

namespace backplane {

namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::array<char, 4> kQcowMagic{'Q', 'F', 'I', '\xFB'};

Error disk_error(std::filesystem::path const& path, std::string const& what) {
    return bad_input(path.string() + ": " + what);
}

bool is_qcow(int fd) {
    std::array<char, kQcowMagic.size()> head{};
    return ::pread(fd, head.data(), head.size(), 0) == static_cast<ssize_t>(head.size()) && head == kQcowMagic;
}

}  // namespace

Expected<std::unique_ptr<DiskImage>, Error> DiskImage::open(std::filesystem::path const& path, DiskMode mode,
                                                            std::uint64_t snapshot_bytes) {
    std::uint64_t const bytes = BACKPLANE_TRY(readable_file_bytes(path));
    bool const writes = mode == DiskMode::in_place;
    UniqueFd fd{::open(path.c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC)};
    if (!fd.is_open()) return Unexpected{disk_error(path, std::generic_category().message(errno))};
    if (is_qcow(fd.get())) return Unexpected{disk_error(path, "a qcow2 image; expected a raw one")};
    if (bytes % kSectorBytes != 0)
        return Unexpected{disk_error(path, std::to_string(bytes) + " bytes; expected a multiple of 512")};
    if (::flock(fd.get(), (writes ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0)
        return Unexpected{disk_error(path, "another machine's disk, and one of the two writes to it; expected readonly "
                                           "or snapshot for both")};
    return std::unique_ptr<DiskImage>{new DiskImage{std::move(fd), bytes, mode, snapshot_bytes}};
}

bool DiskImage::read_file(std::uint64_t offset, ByteSpan into) {
    while (!into.empty()) {
        ssize_t const count = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;  // 0: somebody made the file shorter
        into = into.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return true;
}

bool DiskImage::write_file(std::uint64_t offset, ConstByteSpan from) {
    while (!from.empty()) {
        ssize_t const count = ::pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        from = from.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return true;
}

bool DiskImage::read(std::uint64_t offset, ByteSpan into) {
    if (written_.empty()) return read_file(offset, into);
    while (!into.empty()) {
        std::uint64_t const within = offset % kClusterBytes;
        ByteSpan const part = into.first(std::min<std::size_t>(into.size(), kClusterBytes - within));
        auto const found = written_.find(offset / kClusterBytes);
        if (found != written_.end())
            std::memcpy(part.data(), found->second->data() + within, part.size());
        else if (!read_file(offset, part))
            return false;
        into = into.subspan(part.size());
        offset += part.size();
    }
    return true;
}

DiskImage::Cluster* DiskImage::cluster_for_writing(std::uint64_t index) {
    auto const found = written_.find(index);
    if (found != written_.end()) return found->second.get();
    if (written_.size() == most_clusters_) return nullptr;
    auto cluster = std::make_unique<Cluster>();
    std::uint64_t const start = index * kClusterBytes;
    std::size_t const bytes = std::min(kClusterBytes, bytes_ - start);
    if (!read_file(start, ByteSpan{*cluster}.first(bytes))) return nullptr;
    return written_.emplace(index, std::move(cluster)).first->second.get();
}

bool DiskImage::write(std::uint64_t offset, ConstByteSpan from) {
    if (mode_ == DiskMode::read_only) return false;
    if (mode_ == DiskMode::in_place) return write_file(offset, from);
    while (!from.empty()) {
        std::uint64_t const within = offset % kClusterBytes;
        std::size_t const bytes = std::min<std::size_t>(from.size(), kClusterBytes - within);
        Cluster* const cluster = cluster_for_writing(offset / kClusterBytes);
        if (cluster == nullptr) return false;
        std::memcpy(cluster->data() + within, from.data(), bytes);
        from = from.subspan(bytes);
        offset += bytes;
    }
    return true;
}

bool DiskImage::write_zeroes(std::uint64_t offset, std::uint64_t bytes) {
    if (mode_ == DiskMode::in_place &&
        ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(bytes)) == 0)
        return true;
    static constexpr Cluster kZeroes{};  // a file system without holes, or a snapshot
    while (bytes != 0) {
        std::uint64_t const part = std::min(bytes, kClusterBytes - offset % kClusterBytes);
        if (!write(offset, ConstByteSpan{kZeroes}.first(part))) return false;
        offset += part;
        bytes -= part;
    }
    return true;
}

bool DiskImage::flush() { return mode_ != DiskMode::in_place || ::fdatasync(fd_.get()) == 0; }

}  // namespace backplane
