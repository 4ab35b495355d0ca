#include "host/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "base/unique_fd.h"

namespace backplane {
namespace {

constexpr mode_t kReportMode = 0644;

Error file_error(std::filesystem::path const& path, std::string_view what) {
    return bad_input(path.string() + ": " + std::string{what});
}

Error open_error(std::filesystem::path const& path, int error_number) {
    if (error_number == ENOENT || error_number == ENOTDIR) return file_error(path, "no such file");
    return bad_input(path.string() + ": " + std::generic_category().message(error_number));
}

struct OpenFile {
    UniqueFd fd;
    std::uint64_t bytes;
};

Expected<OpenFile, Error> open_for_reading(std::filesystem::path const& path) {
    // O_NONBLOCK: a pipe without a writer must not hold us before we can refuse it.
    UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.is_open()) return Unexpected{open_error(path, errno)};
    struct stat facts {};
    if (::fstat(fd.get(), &facts) != 0) return Unexpected{open_error(path, errno)};
    if (S_ISDIR(facts.st_mode)) return Unexpected{file_error(path, "a folder; expected a file")};
    if (!S_ISREG(facts.st_mode)) return Unexpected{file_error(path, "a device or pipe; expected a file")};
    if (facts.st_size == 0) return Unexpected{file_error(path, "empty")};
    return OpenFile{std::move(fd), static_cast<std::uint64_t>(facts.st_size)};
}

/// The folder in which `path` stands, "." when it has none.
std::filesystem::path folder_of(std::filesystem::path const& path) {
    std::filesystem::path const parent = path.parent_path();
    return parent.empty() ? std::filesystem::path{"."} : parent;
}

}  // namespace

Expected<std::uint64_t, Error> readable_file_bytes(std::filesystem::path const& path) {
    OpenFile const file = BACKPLANE_TRY(open_for_reading(path));
    return file.bytes;
}

Expected<std::vector<std::byte>, Error> read_file(std::filesystem::path const& path, std::uint64_t max_bytes) {
    OpenFile const file = BACKPLANE_TRY(open_for_reading(path));
    if (file.bytes > max_bytes) {
        return Unexpected{
            file_error(path, std::to_string(file.bytes) + " bytes; expected at most " + std::to_string(max_bytes))};
    }
    std::vector<std::byte> content(file.bytes);
    std::size_t done = 0;
    while (done < content.size()) {
        ssize_t const got = ::read(file.fd.get(), content.data() + done, content.size() - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Unexpected{open_error(path, errno)};
        if (got == 0) return Unexpected{file_error(path, "became shorter while it was read")};
        done += static_cast<std::size_t>(got);
    }
    return content;
}

Expected<void, Error> write_all(int fd, ConstByteSpan content) {
    while (!content.empty()) {
        ssize_t const put = ::write(fd, content.data(), content.size());
        if (put >= 0) {
            content = content.subspan(static_cast<std::size_t>(put));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return Unexpected{host_error("write", errno)};
        ::usleep(1000);  // someone made our output non-blocking; the reader is behind
    }
    return {};
}

Expected<ReportFile, Error> ReportFile::create(std::filesystem::path path) {
    if (path.empty()) return Unexpected{bad_input("report: no file name; expected a file or \"-\"")};
    if (path == "-") return ReportFile{std::move(path)};
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
        return Unexpected{file_error(path, "a folder; expected a file for the report")};
    }
    bool const exists_already = std::filesystem::exists(path, error);
    bool const in_place = exists_already && !std::filesystem::is_regular_file(path, error);
    std::filesystem::path const probed = in_place ? path : folder_of(path);
    int const wanted = in_place ? W_OK : W_OK | X_OK;
    if (::access(probed.c_str(), wanted) != 0) {
        std::string const reason = std::generic_category().message(errno);
        return Unexpected{file_error(path, "the report cannot be written there: " + probed.string() + ": " + reason)};
    }
    return ReportFile{std::move(path)};
}

Expected<void, Error> ReportFile::write(std::string_view content) const {
    if (is_standard_output()) return write_all(STDOUT_FILENO, std::as_bytes(std::span{content}));
    std::error_code error;
    bool const special = std::filesystem::exists(path_, error) && !std::filesystem::is_regular_file(path_, error);
    return special ? write_in_place(content) : replace(content);
}

Expected<void, Error> ReportFile::write_in_place(std::string_view content) const {
    UniqueFd const fd{::open(path_.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!fd.is_open()) return Unexpected{host_error(path_.string(), errno)};
    return write_all(fd.get(), std::as_bytes(std::span{content}));
}

Expected<void, Error> ReportFile::replace(std::string_view content) const {
    std::string temporary = path_.string() + ".XXXXXX";
    UniqueFd fd{::mkstemp(temporary.data())};
    if (!fd.is_open()) return Unexpected{host_error(path_.string(), errno)};
    auto written = write_all(fd.get(), std::as_bytes(std::span{content}));
    bool const kept =
        written.has_value() && ::fchmod(fd.get(), kReportMode) == 0 && ::rename(temporary.c_str(), path_.c_str()) == 0;
    if (kept) return {};
    int const error_number = errno;
    ::unlink(temporary.c_str());
    if (!written) return written;
    return Unexpected{host_error(path_.string(), error_number)};
}

}  // namespace backplane
