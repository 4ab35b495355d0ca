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

Expected<BoundedFile, Error> BoundedFile::create(std::filesystem::path const& path, std::uint64_t limit_bytes, FileFrame frame) {
    UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode)};
    if (!fd.is_open()) return Unexpected{host_error(path.string(), errno)};
    return BoundedFile{std::move(fd), limit_bytes, frame};
}

BoundedFile::~BoundedFile() {
    if (fd_.is_open()) pending_ += frame_.closing;
    flush();
}

bool BoundedFile::append(std::string_view lines) {
    if (full_) return false;
    if (lines.size() > left_bytes_) {
        pending_ += frame_.when_full;
        flush();
        full_ = true;
        return false;
    }
    left_bytes_ -= lines.size();
    pending_ += lines;
    if (pending_.size() >= kPieceBytes) flush();
    return !full_;
}

void BoundedFile::flush() {
    if (!fd_.is_open() || pending_.empty()) return;
    if (!write_all(fd_.get(), std::as_bytes(std::span{pending_}))) full_ = true;
    pending_.clear();
}

}  // namespace backplane
