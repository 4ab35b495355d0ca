#include "host/bounded_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "host/file.h"

namespace backplane {
namespace {

class BoundedFileTest : public ::testing::Test {
  protected:
    void TearDown() override { std::filesystem::remove(path_); }
    [[nodiscard]] std::string content() const {
        auto const bytes = read_file(path_, 1 << 20);
        return bytes ? std::string{reinterpret_cast<char const*>(bytes->data()), bytes->size()} : std::string{};
    }
    std::filesystem::path path_ =
        std::filesystem::path{::testing::TempDir()} / ("bounded-file-" + std::to_string(::getpid()));
};

TEST_F(BoundedFileTest, TakesLinesUpToItsLimit) {
    {
        auto file = BoundedFile::create(path_, 10);
        ASSERT_TRUE(file);
        EXPECT_TRUE(file->append("one\n"));
        EXPECT_TRUE(file->append("two\n"));
        EXPECT_FALSE(file->append("three\n"));
        EXPECT_FALSE(file->append("4\n")) << "a line that would fit comes too late";
    }
    EXPECT_EQ(content(), "one\ntwo\n# the limit is reached, the rest is missing\n");
}

TEST_F(BoundedFileTest, AnOldFileIsEmptied) {
    for (char const* const text : {"a longer text\n", "short\n"}) {
        auto file = BoundedFile::create(path_, 100);
        ASSERT_TRUE(file);
        EXPECT_TRUE(file->append(text));
    }
    EXPECT_EQ(content(), "short\n");
}

TEST_F(BoundedFileTest, AFolderThatIsNotThereIsNamed) {
    auto const file = BoundedFile::create("/nonexistent/trace", 100);
    ASSERT_FALSE(file);
    EXPECT_NE(file.error().message.find("/nonexistent/trace"), std::string::npos);
}

TEST_F(BoundedFileTest, AFullDiskEndsIt) {
    auto file = BoundedFile::create("/dev/full", 1 << 20);
    ASSERT_TRUE(file);
    bool more = true;
    for (int i = 0; i < 100'000 && more; ++i) more = file->append("0123456789\n");
    EXPECT_FALSE(more);
}

}  // namespace
}  // namespace backplane
