#include "host/bounded_file.h"

#include <fcntl.h>

#include <cerrno>
#include <span>

#include "host/file.h"

namespace backplane {
namespace {
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr mode_t kFileMode = 0666;  // less the umask
}  // namespace

Expected<BoundedFile, Error> BoundedFile::create(std::filesystem::path const& path, std::uint64_t limit_bytes) {
    UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode)};
    if (!fd.is_open()) return Unexpected{host_error(path.string(), errno)};
    return BoundedFile{std::move(fd), limit_bytes};
}

bool BoundedFile::append(std::string_view line) {
    if (full_) return false;
    if (line.size() > left_bytes_) {
        pending_ += "# the limit is reached, the rest is missing\n";
        flush();
        full_ = true;
        return false;
    }
    left_bytes_ -= line.size();
    pending_ += line;
    if (pending_.size() >= kPieceBytes) flush();
    return !full_;
}

void BoundedFile::flush() {
    if (!fd_.is_open() || pending_.empty()) return;
    full_ = full_ || !write_all(fd_.get(), std::as_bytes(std::span{pending_})).has_value();
    pending_.clear();
}

}  // namespace backplane
