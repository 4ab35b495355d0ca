#include "host/backing_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/host_mapping.h"

namespace backplane {
namespace {

Error backing_error(std::filesystem::path const& path, std::string const& what) { return bad_input(path.string() + ": " + what); }

Error host_says(std::filesystem::path const& path, int error_number) {
    if (error_number == ENOENT || error_number == ENOTDIR)
        return backing_error(path, "no such file; expected one that is there: it is never created");
    return backing_error(path, std::generic_category().message(error_number));
}

/// Before it is opened: opening a pipe would wait, and opening some devices does something.
Expected<void, Error> check_kind(std::filesystem::path const& path) {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) return Unexpected{host_says(path, errno)};
    if (S_ISREG(facts.st_mode) || S_ISCHR(facts.st_mode)) return {};
    return Unexpected{backing_error(path, std::string{S_ISDIR(facts.st_mode)   ? "a folder"
                                                      : S_ISBLK(facts.st_mode) ? "a block device"
                                                                               : "a pipe or socket"} +
                                              "; expected a file or character device that can be mapped")};
}

/// Devices do not say how long they are; mapping them does.
Expected<void, Error> check_length(std::filesystem::path const& path, int fd, std::uint64_t bytes) {
    struct stat facts {};
    if (::fstat(fd, &facts) != 0) return Unexpected{host_says(path, errno)};
    auto const length = static_cast<std::uint64_t>(facts.st_size);
    if (!S_ISREG(facts.st_mode) || length >= bytes) return {};
    return Unexpected{backing_error(path, std::to_string(length) + " bytes; expected at least " + std::to_string(bytes) +
                                              ", for the common part and all sections")};
}

/// A mapping of larger pages would not fit in between the pool's other frames.
Expected<void, Error> check_pages(std::filesystem::path const& path, int fd) {
    struct statfs system {};
    if (::fstatfs(fd, &system) != 0 || system.f_type != HUGETLBFS_MAGIC ||
        static_cast<std::uint64_t>(system.f_bsize) <= kHostHugePageBytes)
        return {};
    return Unexpected{backing_error(path, "in pages of " + std::to_string(system.f_bsize >> 20) + " MiB; expected at most 2 MiB")};
}

/// A store into a hole of a file on a full disk would be a signal. Who has no holes, or no way to fill them, says so.
Expected<void, Error> reserve(std::filesystem::path const& path, int fd, std::uint64_t bytes) {
    if (::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0) return {};
    if (errno != ENOSPC && errno != EDQUOT && errno != ENOMEM) return {};
    return Unexpected{host_says(path, errno)};
}

Expected<void, Error> try_mapping(std::filesystem::path const& path, int fd, std::uint64_t bytes) {
    HostMapping const place = BACKPLANE_TRY(HostMapping::create(bytes));
    auto const mapped = map_file_over(place.span(), bytes, fd);
    if (mapped) return {};
    return Unexpected{backing_error(path, mapped.error().message + "; expected a file or character device that can be")};
}

}  // namespace

Expected<UniqueFd, Error> open_backing(std::filesystem::path const& path, std::uint64_t bytes) {
    BACKPLANE_TRY_VOID(check_kind(path));
    UniqueFd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.is_open()) return Unexpected{host_says(path, errno)};
    BACKPLANE_TRY_VOID(check_length(path, fd.get(), bytes));
    BACKPLANE_TRY_VOID(check_pages(path, fd.get()));
    BACKPLANE_TRY_VOID(try_mapping(path, fd.get(), bytes));
    BACKPLANE_TRY_VOID(reserve(path, fd.get(), bytes));
    return Expected<UniqueFd, Error>{std::move(fd)};
}

}  // namespace backplane
