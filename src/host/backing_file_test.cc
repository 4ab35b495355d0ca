#include "host/backing_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "base/host_mapping.h"

namespace backplane {
namespace {

constexpr std::uint64_t kBytes = 0x3000;

class BackingFileTest : public ::testing::Test {
  protected:
    BackingFileTest() : path_{std::filesystem::temp_directory_path() / ("backing_file_test." + std::to_string(::getpid()))} {
        std::ofstream{path_} << std::string(kBytes, 'o');
    }
    ~BackingFileTest() override { std::filesystem::remove(path_); }
    [[nodiscard]] std::string problem(std::filesystem::path const& path, std::uint64_t bytes = kBytes) const {
        auto const fd = open_backing(path, bytes);
        return fd ? "" : fd.error().message.substr(path.string().size());
    }
    [[nodiscard]] std::string content() const {
        std::ifstream in{path_};
        return {std::istreambuf_iterator<char>{in}, {}};
    }
    std::filesystem::path path_;
};

TEST_F(BackingFileTest, LeavesTheFileAsItIs) {
    ASSERT_TRUE(open_backing(path_, kBytes));
    ASSERT_TRUE(open_backing(path_, 1));
    EXPECT_EQ(content(), std::string(kBytes, 'o'));
}

TEST_F(BackingFileTest, TakesTheRoomThatAHoleHasNot) {
    std::filesystem::resize_file(path_, 0);
    std::filesystem::resize_file(path_, kBytes);
    struct stat before {}, after {};
    ASSERT_EQ(::stat(path_.c_str(), &before), 0);
    ASSERT_TRUE(open_backing(path_, kBytes));
    ASSERT_EQ(::stat(path_.c_str(), &after), 0);
    EXPECT_EQ(after.st_size, before.st_size);
    EXPECT_GE(static_cast<std::uint64_t>(after.st_blocks) * 512, kBytes);
    EXPECT_EQ(content(), std::string(kBytes, '\0'));
}

TEST_F(BackingFileTest, SaysWhatItCannotTake) {
    EXPECT_EQ(problem(path_.string() + ".none"), ": no such file; expected one that is there: it is never created");
    EXPECT_FALSE(std::filesystem::exists(path_.string() + ".none"));
    EXPECT_EQ(problem("/tmp"), ": a folder; expected a file or character device that can be mapped");
    EXPECT_EQ(problem(path_, kBytes + 1), ": 12288 bytes; expected at least 12289, for the common part and all sections");
    EXPECT_EQ(content().size(), kBytes);
    EXPECT_EQ(problem("/dev/tty0/x"), ": no such file; expected one that is there: it is never created");
    EXPECT_NE(problem("/dev/null").find("cannot be mapped"), std::string::npos) << problem("/dev/null");
}

TEST_F(BackingFileTest, DoesNotWaitForAPipe) {
    std::filesystem::remove(path_);
    ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
    EXPECT_EQ(problem(path_), ": a pipe or socket; expected a file or character device that can be mapped");
}

TEST_F(BackingFileTest, ADeviceNeedNoLength) { EXPECT_TRUE(open_backing("/dev/zero", kBytes)); }

// memfd_create(MFD_HUGETLB) is a file of hugetlbfs without a mount; the host has to have such pages.
TEST_F(BackingFileTest, AFileInHugePagesTakesOneOfOurs) {
    UniqueFd const file{::memfd_create("backing_file_test", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB)};
    if (!file.is_open() || ::ftruncate(file.get(), kHostHugePageBytes) != 0) GTEST_SKIP() << "no hugetlbfs";
    std::string const name = "/proc/self/fd/" + std::to_string(file.get());
    auto const backing = open_backing(name, kBytes);
    if (!backing) GTEST_SKIP() << backing.error().message << ": are there free huge pages (vm.nr_hugepages)?";
    HostMapping const memory = HostMapping::create(2 * kHostHugePageBytes).value();
    memory.data()[kHostHugePageBytes] = std::byte{7};
    ASSERT_TRUE(map_file_over(memory.span().first(kHostHugePageBytes), kBytes, backing->get()));
    memory.data()[1] = std::byte{5};
    EXPECT_EQ(memory.data()[kHostHugePageBytes], std::byte{7});
    HostMapping const other = HostMapping::create(kHostHugePageBytes).value();
    ASSERT_TRUE(map_file_over(other.span(), kBytes, file.get()));
    EXPECT_EQ(other.data()[1], std::byte{5});
}

}  // namespace
}  // namespace backplane
