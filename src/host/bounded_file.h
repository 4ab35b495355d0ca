// A text file that grows line by line up to a limit, for traces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"

namespace backplane {

class BoundedFile {
  public:
    /// Makes the file, or empties it. It will never have more than `limit_bytes`, but for a last line that says so.
    /// Errors: what the host says, with the path.
    [[nodiscard]] static Expected<BoundedFile, Error> create(std::filesystem::path const& path,
                                                             std::uint64_t limit_bytes);

    BoundedFile(BoundedFile&&) noexcept = default;
    BoundedFile& operator=(BoundedFile&&) = delete;
    ~BoundedFile() { flush(); }

    /// Appends a whole line, with its newline. False: the file is full (or the disk is), and nothing more will be
    /// taken; what a trace costs can be saved from now on.
    bool append(std::string_view line);
    void flush();

  private:
    BoundedFile(UniqueFd fd, std::uint64_t limit_bytes) : fd_{std::move(fd)}, left_bytes_{limit_bytes} {}
    UniqueFd fd_;
    std::uint64_t left_bytes_;
    bool full_{false};
    std::string pending_;
};

}  // namespace backplane
