#include "host/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace backplane {
namespace {

class FileTest : public testing::Test {
  protected:
    FileTest() { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
    ~FileTest() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::filesystem::path make(std::string const& name, std::string_view content) const {
        std::filesystem::path path = std::filesystem::path{folder_} / name;
        std::ofstream{path} << content;
        return path;
    }
    [[nodiscard]] static std::string content_of(std::filesystem::path const& path) {
        std::ifstream stream{path};
        return {std::istreambuf_iterator<char>{stream}, {}};
    }
    [[nodiscard]] std::size_t entries() const {
        using Walk = std::filesystem::directory_iterator;
        return static_cast<std::size_t>(std::distance(Walk{folder_}, Walk{}));
    }

    std::string folder_{"/tmp/backplane-file-test-XXXXXX"};
};

TEST_F(FileTest, ReadsAWholeFile) {
    auto const content = read_file(make("kernel", "bytes"), 5);
    ASSERT_TRUE(content);
    EXPECT_EQ(std::string(reinterpret_cast<char const*>(content->data()), content->size()), "bytes");
}

TEST_F(FileTest, SaysWhyAFileCannotBeRead) {
    EXPECT_EQ(read_file("/nowhere/kernel", 10).error().message, "/nowhere/kernel: no such file");
    EXPECT_EQ(read_file(make("file", "x") / "below", 10).error().message, folder_ + "/file/below: no such file");
    EXPECT_EQ(read_file(folder_, 10).error().message, folder_ + ": a folder; expected a file");
    EXPECT_EQ(read_file("/dev/null", 10).error().message, "/dev/null: a device or pipe; expected a file");
    EXPECT_EQ(read_file(make("empty", ""), 10).error().message, folder_ + "/empty: empty");
    EXPECT_EQ(read_file(make("large", "0123456789"), 9).error().message,
              folder_ + "/large: 10 bytes; expected at most 9");
}

TEST_F(FileTest, APipeWithoutAWriterDoesNotHoldUs) {
    std::string const pipe = folder_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_EQ(readable_file_bytes(pipe).error().message, pipe + ": a device or pipe; expected a file");
}

TEST_F(FileTest, AReportReplacesTheOldOneAndLeavesNothingBeside) {
    std::filesystem::path const path = make("report.json", "a longer old report");
    auto const report = ReportFile::create(path);
    ASSERT_TRUE(report);
    EXPECT_EQ(content_of(path), "a longer old report");
    ASSERT_TRUE(report->write("new"));
    EXPECT_EQ(content_of(path), "new");
    EXPECT_EQ(entries(), 1U);
}

TEST_F(FileTest, AReportThatCannotBeWrittenIsKnownBeforeTheRun) {
    EXPECT_EQ(ReportFile::create("/nowhere/report.json").error().message,
              "/nowhere/report.json: the report cannot be written there: /nowhere: No such file or directory");
    EXPECT_EQ(ReportFile::create(folder_).error().message, folder_ + ": a folder; expected a file for the report");
    EXPECT_EQ(ReportFile::create("").error().message, "report: no file name; expected a file or \"-\"");
    EXPECT_TRUE(ReportFile::create("-")->is_standard_output());
    EXPECT_EQ(entries(), 0U);
}

TEST_F(FileTest, AFailedWriteLeavesTheOldReportAlone) {
    std::filesystem::path const path = make("report.json", "old");
    auto const report = ReportFile::create(path);
    ASSERT_TRUE(report);
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);  // now the rename must fail
    std::ofstream{path / "inside"} << "";
    EXPECT_FALSE(report->write("new"));
    EXPECT_EQ(entries(), 1U);
}

TEST_F(FileTest, AReportToADeviceIsWrittenInPlace) {
    auto const report = ReportFile::create("/dev/null");
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->write("gone"));
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

}  // namespace
}  // namespace backplane
