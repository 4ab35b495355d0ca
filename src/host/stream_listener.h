// A place where one peer at a time can connect: a TCP port of this host, or a socket in the file system.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"

namespace backplane {

/// A connection, never waited for: what cannot be sent at once is kept (bounded by the peer's patience: see send()).
class Stream {
  public:
    explicit Stream(UniqueFd fd) : fd_{std::move(fd)} {}
    /// What has come, up to a few KiB; empty when nothing has, or the stream has ended.
    [[nodiscard]] std::string receive();
    /// Sends `text` behind what is still to be sent. A peer that lets more than kMaxUnsentBytes pile up is dropped.
    void send(std::string_view text);
    /// Sends what could not be sent before.
    void flush();
    [[nodiscard]] bool is_ended() const { return ended_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }

  private:
    static constexpr std::size_t kMaxUnsentBytes = 1 << 20;
    UniqueFd fd_;
    std::string unsent_;
    bool ended_{false};
};

class StreamListener {
  public:
    /// "1234" or ":1234" is a TCP port of 127.0.0.1 alone (0: any free one); what contains a "/" is the path of a
    /// socket, which must not exist and which the destructor removes.
    /// Errors: bad_input, `"12x"; expected ...`, without the place.
    [[nodiscard]] static Expected<void, Error> check_address(std::string_view address);
    /// Errors: those of check_address(), and what the host says (in use, no such folder).
    [[nodiscard]] static Expected<StreamListener, Error> create(std::string_view address);
    /// The same for a path, where a socket that nobody listens at any more may lie: it is replaced.
    [[nodiscard]] static Expected<StreamListener, Error> create_replacing(std::string_view path);

    StreamListener(StreamListener&&) noexcept = default;
    StreamListener& operator=(StreamListener&&) = delete;
    ~StreamListener();

    /// As a debugger's `target remote` wants it: "127.0.0.1:1234" or the path.
    [[nodiscard]] std::string const& address() const { return address_; }
    /// The next peer that waits, if one does.
    [[nodiscard]] UniqueFd accept() const;
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    StreamListener(UniqueFd fd, std::string address, std::filesystem::path path)
        : fd_{std::move(fd)}, address_{std::move(address)}, path_{std::move(path)} {}
    UniqueFd fd_;
    std::string address_;
    std::filesystem::path path_;  // empty: TCP, or moved away
};

/// Connects to a socket in the file system.
/// Errors: bad_input (the path), what the host says: nobody is there, no right to.
[[nodiscard]] Expected<UniqueFd, Error> connect_stream(std::string_view path);

/// Waits until one of the descriptors can be read, or the time is over.
void wait_readable(std::span<int const> fds, std::chrono::milliseconds at_most);

}  // namespace backplane
