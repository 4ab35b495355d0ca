// Whole files: read at once with a limit, written at once or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// The size of a file that can be read and is not empty.
/// Errors: bad_input, `PATH: no such file`, `PATH: a folder; expected a file`, `PATH: empty`, ...
[[nodiscard]] Expected<std::uint64_t, Error> readable_file_bytes(std::filesystem::path const& path);

/// Reads a whole file of at most `max_bytes`.
/// Errors: those of readable_file_bytes(), too large, and what the host says.
[[nodiscard]] Expected<std::vector<std::byte>, Error> read_file(std::filesystem::path const& path,
                                                                std::uint64_t max_bytes);

/// Writes all of `content`, waiting when the other side is slow.
/// Errors: what the host says; some of it may be written.
[[nodiscard]] Expected<void, Error> write_all(int fd, ConstByteSpan content);

/// Where a report goes: `-` for standard output, a device or pipe, or a file that is replaced as a whole.
class ReportFile {
  public:
    /// Checks, before a long run, that the report can be written: the folder exists and lets us make a file.
    /// Errors: bad_input, naming the folder; nothing is written.
    [[nodiscard]] static Expected<ReportFile, Error> create(std::filesystem::path path);

    [[nodiscard]] bool is_standard_output() const { return path_ == "-"; }
    [[nodiscard]] std::filesystem::path const& path() const { return path_; }

    /// A new file beside the old one, then renamed over it: a reader sees the old content or the new, never a part.
    /// Errors: what the host says; the old content stays.
    [[nodiscard]] Expected<void, Error> write(std::string_view content) const;

  private:
    explicit ReportFile(std::filesystem::path path) : path_{std::move(path)} {}
    [[nodiscard]] Expected<void, Error> write_in_place(std::string_view content) const;
    [[nodiscard]] Expected<void, Error> replace(std::string_view content) const;
    std::filesystem::path path_;
};

}  // namespace backplane
