#include "host/stream_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <vector>

namespace backplane {
namespace {

constexpr int kBacklog = 1;

std::optional<std::uint16_t> port_of(std::string_view address) {
    if (address.starts_with(':')) address.remove_prefix(1);
    std::uint16_t port = 0;
    auto const [end, problem] = std::from_chars(address.data(), address.data() + address.size(), port);
    bool const whole = problem == std::errc{} && end == address.data() + address.size();
    return whole ? std::optional{port} : std::nullopt;
}

bool is_path(std::string_view address) { return address.find('/') != std::string_view::npos; }

Error refused(std::string_view address, int error_number) {
    return host_error("cannot listen at " + std::string{address}, error_number);
}

sockaddr_un socket_name(std::string_view path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    return name;
}

/// \return 0, or what the host said
int connect_to(std::string_view path, UniqueFd& fd) {
    sockaddr_un const name = socket_name(path);
    fd = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    bool const done = fd.is_open() && ::connect(fd.get(), reinterpret_cast<sockaddr const*>(&name), sizeof name) == 0;
    return done ? 0 : errno;
}

/// Binds and listens.
template <typename Address>
Expected<void, Error> listen_at(UniqueFd const& fd, Address const& address, std::string_view name) {
    if (!fd.is_open()) return Unexpected{refused(name, errno)};
    if (::bind(fd.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
        return Unexpected{refused(name, errno)};
    if (::listen(fd.get(), kBacklog) != 0) return Unexpected{refused(name, errno)};
    return {};
}

}  // namespace

// --- a connection
// -----------------------------------------------------------------------------------------------------

std::string Stream::receive() {
    std::array<char, 4096> buffer;
    if (ended_) return {};
    ssize_t const got = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) return {buffer.data(), static_cast<std::size_t>(got)};
    ended_ = got == 0 || (errno != EAGAIN && errno != EINTR);
    return {};
}

void Stream::send(std::string_view text) {
    if (ended_) return;
    unsent_ += text;
    flush();
    if (unsent_.size() > kMaxUnsentBytes) ended_ = true;
}

void Stream::flush() {
    while (!ended_ && !unsent_.empty()) {
        ssize_t const sent = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0)
            ended_ = true;
        else
            unsent_.erase(0, static_cast<std::size_t>(sent));
    }
}

// --- the listener
// -----------------------------------------------------------------------------------------------------

Expected<void, Error> StreamListener::check_address(std::string_view address) {
    if (is_path(address)) {
        if (address.size() < sizeof(sockaddr_un::sun_path)) return {};
        return Unexpected{bad_input("a socket's path of " + std::to_string(address.size()) +
                                    " bytes; expected at most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1))};
    }
    if (port_of(address)) return {};
    return Unexpected{
        bad_input('"' + std::string{address} + "\"; expected a port such as \":1234\", or a path with a \"/\"")};
}

Expected<StreamListener, Error> StreamListener::create(std::string_view address) {
    BACKPLANE_TRY_VOID(check_address(address));
    if (is_path(address)) {
        sockaddr_un const name = socket_name(address);
        UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        BACKPLANE_TRY_VOID(listen_at(fd, name, address));
        return StreamListener{std::move(fd), std::string{address}, std::filesystem::path{address}};
    }
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons(*port_of(address));
    UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    int const yes = 1;
    if (fd.is_open()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    BACKPLANE_TRY_VOID(listen_at(fd, name, address));
    socklen_t length = sizeof name;
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length) != 0)
        return Unexpected{refused(address, errno)};
    return StreamListener{std::move(fd), "127.0.0.1:" + std::to_string(ntohs(name.sin_port)), {}};
}

Expected<StreamListener, Error> StreamListener::create_replacing(std::string_view path) {
    BACKPLANE_TRY_VOID(check_address(path));
    UniqueFd peer;
    if (connect_to(path, peer) == ECONNREFUSED) ::unlink(std::string{path}.c_str());
    return create(path);
}

StreamListener::~StreamListener() {
    if (fd_.is_open() && !path_.empty()) ::unlink(path_.c_str());
}

UniqueFd StreamListener::accept() const {
    UniqueFd peer{::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    int const yes = 1;  // fails for a socket in the file system, which has no delays
    if (peer.is_open()) ::setsockopt(peer.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return peer;
}

Expected<UniqueFd, Error> connect_stream(std::string_view path) {
    BACKPLANE_TRY_VOID(StreamListener::check_address(path));
    UniqueFd fd;
    int const problem = connect_to(path, fd);
    if (problem != 0) return Unexpected{host_error("cannot connect to " + std::string{path}, problem)};
    return fd;
}

void wait_readable(std::span<int const> fds, std::chrono::milliseconds at_most) {
    std::vector<pollfd> watched;
    for (int const fd : fds) watched.push_back({fd, POLLIN, 0});
    [[maybe_unused]] int const ready = ::poll(watched.data(), watched.size(), static_cast<int>(at_most.count()));
}

}  // namespace backplane
