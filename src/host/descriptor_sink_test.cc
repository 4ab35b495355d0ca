#include "host/descriptor_sink.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace backplane {
namespace {

class DescriptorSinkTest : public testing::Test {
  protected:
    DescriptorSinkTest() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK), 0);
        read_end_ = UniqueFd{ends[0]};
        write_end_ = UniqueFd{ends[1]};
    }
    static void put(DescriptorSink& sink, std::string_view text) { sink.put(std::as_bytes(std::span{text})); }
    [[nodiscard]] std::string written() const {
        std::array<char, 8192> buffer;
        ssize_t const got = ::read(read_end_.get(), buffer.data(), buffer.size());
        return {buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
    }

    UniqueFd read_end_;
    UniqueFd write_end_;
};

TEST_F(DescriptorSinkTest, WritesAtFlushWhenFullAndAtTheEnd) {
    {
        DescriptorSink sink{write_end_.get()};
        put(sink, "login: ");
        EXPECT_EQ(written(), "");
        sink.flush();
        EXPECT_EQ(written(), "login: ");
        put(sink, std::string(5000, 'x'));
        EXPECT_EQ(written().size(), 5000U);
        put(sink, "end");
    }
    EXPECT_EQ(written(), "end");
}

TEST_F(DescriptorSinkTest, KnowsWhetherALineHasEnded) {
    DescriptorSink sink{write_end_.get()};
    EXPECT_TRUE(sink.is_at_line_start());
    put(sink, "# ");
    EXPECT_FALSE(sink.is_at_line_start());
    put(sink, "\n");
    sink.flush();
    EXPECT_TRUE(sink.is_at_line_start());
}

TEST_F(DescriptorSinkTest, AReaderThatHasGoneAwayStopsNothing) {
    auto const before = ::signal(SIGPIPE, SIG_IGN);
    read_end_ = UniqueFd{};
    DescriptorSink sink{write_end_.get()};
    for (int i = 0; i < 3; ++i) put(sink, std::string(5000, 'x'));
    sink.flush();
    ::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace backplane
