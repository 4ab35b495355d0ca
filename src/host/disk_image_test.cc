#include "host/disk_image.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

namespace backplane {
namespace {

class DiskImageTest : public ::testing::Test {
  protected:
    DiskImageTest() : path_{std::filesystem::temp_directory_path() / ("disk_image_test." + std::to_string(::getpid()))} {
        put(std::string(12 * 512, 'o'));
    }
    ~DiskImageTest() override { std::filesystem::remove(path_); }
    void put(std::string const& content) { std::ofstream{path_, std::ios::trunc} << content; }
    [[nodiscard]] std::string file() const {
        std::ifstream in{path_};
        return {std::istreambuf_iterator<char>{in}, {}};
    }
    [[nodiscard]] std::string problem(DiskMode mode = DiskMode::in_place) const {
        auto const disk = DiskImage::open(path_, mode);
        return disk ? "" : disk.error().message;
    }
    static std::string read(DiskImage& disk, std::uint64_t offset, std::size_t bytes) {
        std::string text(bytes, '?');
        return disk.read(offset, std::as_writable_bytes(std::span{text})) ? text : "failed";
    }
    static bool write(DiskImage& disk, std::uint64_t offset, std::string const& text) {
        return disk.write(offset, std::as_bytes(std::span{text}));
    }
    std::filesystem::path path_;
};

TEST_F(DiskImageTest, WritesInPlace) {
    auto const disk = DiskImage::open(path_, DiskMode::in_place).value();
    EXPECT_EQ(disk->bytes(), 12 * 512U);
    EXPECT_TRUE(write(*disk, 510, "abcd"));
    EXPECT_TRUE(disk->write_zeroes(1024, 1024));
    EXPECT_TRUE(disk->flush());
    EXPECT_EQ(read(*disk, 509, 6), "oabcdo");
    EXPECT_EQ(file().substr(509, 6), "oabcdo");
    EXPECT_EQ(file().substr(1023, 1026), "o" + std::string(1024, '\0') + "o");
    EXPECT_EQ(file().size(), 12 * 512U);
}

TEST_F(DiskImageTest, ASnapshotLeavesTheFileAlone) {
    auto const disk = DiskImage::open(path_, DiskMode::snapshot).value();
    EXPECT_TRUE(write(*disk, 4090, "0123456789"));  // over the border of two clusters, of which the second is not whole
    EXPECT_TRUE(disk->write_zeroes(0, 512));
    EXPECT_EQ(read(*disk, 4089, 12), "o0123456789o");
    EXPECT_EQ(read(*disk, 511, 2), std::string(1, '\0') + "o");
    EXPECT_EQ(read(*disk, 12 * 512 - 1, 1), "o");
    EXPECT_EQ(file(), std::string(12 * 512, 'o'));
}

TEST_F(DiskImageTest, ASnapshotIsBounded) {
    auto const disk = DiskImage::open(path_, DiskMode::snapshot, 4096).value();
    EXPECT_TRUE(write(*disk, 0, "a"));
    EXPECT_FALSE(write(*disk, 4096, "b"));
    EXPECT_TRUE(write(*disk, 4095, "c"));
    EXPECT_EQ(read(*disk, 4095, 2), "co");
}

TEST_F(DiskImageTest, ReadOnly) {
    auto const disk = DiskImage::open(path_, DiskMode::read_only).value();
    EXPECT_TRUE(disk->is_read_only());
    EXPECT_FALSE(write(*disk, 0, "a"));
    EXPECT_FALSE(disk->write_zeroes(0, 512));
    EXPECT_EQ(file(), std::string(12 * 512, 'o'));
}

TEST_F(DiskImageTest, AFileThatBecameShorterFails) {
    auto const disk = DiskImage::open(path_, DiskMode::read_only).value();
    put("short");
    EXPECT_EQ(read(*disk, 512, 512), "failed");
}

TEST_F(DiskImageTest, OneWriterAlone) {
    {
        auto const writer = DiskImage::open(path_, DiskMode::in_place).value();
        EXPECT_NE(problem().find("another machine's disk"), std::string::npos);
        EXPECT_NE(problem(DiskMode::snapshot).find("another machine's disk"), std::string::npos);
    }
    auto const reader = DiskImage::open(path_, DiskMode::snapshot).value();
    EXPECT_EQ(problem(DiskMode::read_only), "");
    EXPECT_NE(problem().find("another machine's disk"), std::string::npos);
}

TEST_F(DiskImageTest, WhatIsNoDisk) {
    put(std::string(1000, 'x'));
    EXPECT_EQ(problem(), path_.string() + ": 1000 bytes; expected a multiple of 512");
    put("QFI\xFB" + std::string(508, 'x'));
    EXPECT_NE(problem().find("a qcow2 image; expected a raw one"), std::string::npos);
    put("");
    EXPECT_NE(problem().find("empty"), std::string::npos);
    std::filesystem::remove(path_);
    EXPECT_NE(problem().find("no such file"), std::string::npos);
}

}  // namespace
}  // namespace backplane
