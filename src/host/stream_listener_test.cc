#include "host/stream_listener.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string>

namespace backplane {
namespace {

std::string temporary_path() {
    return (std::filesystem::path{::testing::TempDir()} / ("listener-" + std::to_string(::getpid()))).string();
}

UniqueFd connect_to(std::string const& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.c_str(), path.size());
    UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr const*>(&name), sizeof name), 0);
    return fd;
}

TEST(StreamListener, AddressesThatAreNone) {
    for (char const* const address : {"", ":", "12x", "70000", "-1", "localhost:1"}) {
        EXPECT_FALSE(StreamListener::check_address(address)) << address;
    }
    EXPECT_FALSE(StreamListener::check_address("/" + std::string(200, 'a')));
    for (char const* const address : {"0", ":1234", "1234", "./socket", "/run/a"}) {
        EXPECT_TRUE(StreamListener::check_address(address)) << address;
    }
}

TEST(StreamListener, ASocketInTheFileSystemCarriesBothWaysAndGoesAway) {
    std::string const path = temporary_path();
    {
        auto listener = StreamListener::create(path);
        ASSERT_TRUE(listener);
        EXPECT_EQ(listener->address(), path);
        EXPECT_FALSE(listener->accept().is_open()) << "nobody has come";
        EXPECT_FALSE(StreamListener::create(path)) << "it is in use";
        ASSERT_TRUE(std::filesystem::exists(path));
        UniqueFd peer = connect_to(path);
        Stream stream{listener->accept()};
        EXPECT_EQ(stream.receive(), "");
        EXPECT_FALSE(stream.is_ended());
        ASSERT_EQ(::write(peer.get(), "abc", 3), 3);
        std::array<int, 1> const fds{stream.fd()};
        wait_readable(fds, std::chrono::milliseconds{10'000});
        EXPECT_EQ(stream.receive(), "abc");
        stream.send("xyz");
        std::array<char, 8> got{};
        EXPECT_EQ(::read(peer.get(), got.data(), got.size()), 3);
        peer = UniqueFd{};
        wait_readable(fds, std::chrono::milliseconds{10'000});
        EXPECT_EQ(stream.receive(), "");
        EXPECT_TRUE(stream.is_ended());
        stream.send("nobody listens: no signal");
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(StreamListener, APeerThatNeverReadsIsDropped) {
    std::string const path = temporary_path();
    auto listener = StreamListener::create(path);
    ASSERT_TRUE(listener);
    UniqueFd const peer = connect_to(path);
    Stream stream{listener->accept()};
    std::string const piece(1 << 16, 'a');
    for (int i = 0; i < 1000 && !stream.is_ended(); ++i) stream.send(piece);
    EXPECT_TRUE(stream.is_ended());
}

TEST(StreamListener, AFreePortOfThisHostOnly) {
    auto const listener = StreamListener::create(":0");
    ASSERT_TRUE(listener);
    ASSERT_TRUE(listener->address().starts_with("127.0.0.1:"));
    EXPECT_NE(listener->address(), "127.0.0.1:0");
    EXPECT_FALSE(StreamListener::create(listener->address().substr(9))) << "it is in use";
}

}  // namespace
}  // namespace backplane
