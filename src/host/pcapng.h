// Captures of frames in the pcapng format, which Wireshark and tcpdump read.
//
// The file holds whole blocks at every moment at which this process does not write: blocks are collected and written
// together, and when the host refuses (disk full), what was written of the last ones is cut off again, the capture
// ends, and error() says why. Nothing of the host is in the file, so two equal runs give equal files.
//
// Source: [pcapng] 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet)
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "device/frame_port.h"

namespace backplane {

class PcapngFile {
  public:
    /// Makes the file, or empties it, and writes the section header.
    /// Errors: bad_input, `PATH: what the host says`
    [[nodiscard]] static Expected<PcapngFile, Error> create(std::filesystem::path path);

    PcapngFile(PcapngFile&& other) noexcept;
    PcapngFile& operator=(PcapngFile&&) = delete;
    ~PcapngFile();

    /// Describes one more interface; they are numbered from 0. All before the first frame.
    void add_interface(std::string_view name);
    /// A frame that left through an interface, at frame.sent of virtual time.
    void add_frame(std::uint32_t interface, Frame const& frame, std::string_view comment);
    /// Writes what is collected.
    void flush();

    [[nodiscard]] std::filesystem::path const& path() const { return path_; }
    [[nodiscard]] std::uint64_t frame_count() const { return frame_count_; }
    /// Why the capture ended early.
    [[nodiscard]] std::optional<std::string> const& error() const { return error_; }

  private:
    PcapngFile(std::filesystem::path path, UniqueFd fd) : path_{std::move(path)}, fd_{std::move(fd)} {}
    void put32(std::uint32_t value);
    void put_padded(ConstByteSpan bytes);
    void put_option(std::uint16_t code, ConstByteSpan value);
    [[nodiscard]] std::size_t begin_block(std::uint32_t type);
    void end_block(std::size_t start);

    std::filesystem::path path_;
    UniqueFd fd_;
    std::vector<std::byte> collected_;  // whole blocks; bounded by kFlushBytes and one block
    std::uint64_t written_bytes_{0};
    std::uint64_t frame_count_{0};
    std::optional<std::string> error_;
};

}  // namespace backplane
