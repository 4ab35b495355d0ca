// A text file that grows piece by piece up to a limit, for traces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"

namespace backplane {

/// What stands around the pieces, as long as the program; not counted.
struct FileFrame {
    std::string_view opening{};
    std::string_view when_full{"# the limit is reached, the rest is missing\n"};
    std::string_view closing{};  ///< written at the end, however the file came to it
};

class BoundedFile {
  public:
    /// Makes the file, or empties it. It will never have more than `limit_bytes`, but for its frame.
    /// Errors: what the host says, with the path.
    [[nodiscard]] static Expected<BoundedFile, Error> create(std::filesystem::path const& path, std::uint64_t limit_bytes, FileFrame frame = {});

    BoundedFile(BoundedFile&&) noexcept = default;
    BoundedFile& operator=(BoundedFile&&) = delete;
    ~BoundedFile();

    /// Appends whole lines, with their newlines; nothing, or all of them. False: the file is full (or the disk is), and nothing more will be
    /// taken; what a trace costs can be saved from now on.
    bool append(std::string_view lines);
    [[nodiscard]] bool is_full() const { return full_; }
    void flush();

  private:
    BoundedFile(UniqueFd fd, std::uint64_t limit_bytes, FileFrame frame)
        : fd_{std::move(fd)}, frame_{frame}, left_bytes_{limit_bytes}, pending_{frame.opening} {}
    UniqueFd fd_;
    FileFrame frame_;
    std::uint64_t left_bytes_;
    bool full_{false};
    std::string pending_;
};

}  // namespace backplane
