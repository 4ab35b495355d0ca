#include "machine/kernel_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "machine/boot_test_images.h"

namespace backplane {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(test::Bytes file) {
    auto const image = KernelImage::parse("boot/vmlinuz", std::move(file));
    return image ? "no error" : image.error().message;
}

/// A file that is gone at the end of the test.
class TemporaryFile {
  public:
    explicit TemporaryFile(ConstByteSpan bytes)
        : path_{testing::TempDir() + "kernel_image_test." + std::to_string(::getpid())} {
        std::ofstream stream{path_, std::ios::binary};
        stream.write(reinterpret_cast<char const*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    ~TemporaryFile() { std::filesystem::remove(path_); }
    [[nodiscard]] std::string const& path() const { return path_; }

  private:
    std::string path_;
};

class KernelImageEach : public testing::TestWithParam<Packing> {};
INSTANTIATE_TEST_SUITE_P(Packings, KernelImageEach,
                         testing::Values(Packing::xz, Packing::lz4, Packing::zstd, Packing::gzip),
                         [](auto const& each) { return std::string{name_of(each.param)}; });

TEST_P(KernelImageEach, ReadsABzImage) {
    test::Bytes const elf = test::make_elf();
    auto const image = KernelImage::parse("k", test::make_bzimage(test::pack(GetParam(), elf)));
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->pvh_entry(), GuestPhys{0x100'0850});
    EXPECT_EQ(image->long_mode_entry(), GuestPhys{0x100'0000});
    ASSERT_EQ(image->segments().size(), 1U);
    ElfSegment const& segment = image->segments()[0];
    EXPECT_EQ(segment.start, GuestPhys{0x100'0000});
    EXPECT_EQ(segment.memory_bytes, 0x3000U + 0x1234);
    ConstByteSpan const text = image->contents(segment);
    EXPECT_EQ(test::Bytes(text.begin(), text.end()), test::make_text(0x3000));
    ASSERT_TRUE(image->linux_header());
    EXPECT_EQ(image->linux_header()->command_line_bytes, 2047U);
    EXPECT_EQ(image->linux_header()->highest_initrd, GuestPhys{0x7FFF'FFFF});
    EXPECT_EQ(image->linux_header()->bytes.size(), 0x26CU - 0x1F1);
    EXPECT_EQ(image->end(), GuestPhys{0x120'0000});  // pref_address + init_size
}

TEST_P(KernelImageEach, RefusesEveryTruncation) {
    test::Bytes const payload = test::pack(GetParam(), test::make_elf());
    test::Bytes const whole = test::make_bzimage(payload);
    std::size_t const needed = whole.size() - 512;  // what follows the payload may be missing
    for (std::size_t length = 0; length < needed; ++length) {
        std::string const message = error_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
        ASSERT_THAT(message, StartsWith("boot/vmlinuz: ")) << length;
        ASSERT_EQ(message.find('\n'), std::string::npos);
    }
    EXPECT_TRUE(KernelImage::parse("k", {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(needed)}));
}

TEST(KernelImage, RefusesEveryTruncationOfAnElf) {
    test::Bytes const whole = test::make_elf();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        ASSERT_THAT(error_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}),
                    StartsWith("boot/vmlinuz: not a"))
            << length;
    }
    EXPECT_TRUE(KernelImage::parse("k", whole));
}

TEST(KernelImage, ReadsABareElfAndAnUnpackedPayload) {
    auto const bare = KernelImage::parse("k", test::make_elf());
    ASSERT_TRUE(bare);
    EXPECT_FALSE(bare->linux_header());
    EXPECT_EQ(bare->end(), GuestPhys{0x100'0000 + 0x3000 + 0x1234});
    EXPECT_TRUE(KernelImage::parse("k", test::make_bzimage(test::make_elf())));
}

TEST(KernelImage, FindsTheEntries) {
    auto const without_note = KernelImage::parse("k", test::make_elf({.pvh_entry = {}}));
    ASSERT_TRUE(without_note);
    EXPECT_FALSE(without_note->pvh_entry());
    EXPECT_TRUE(without_note->long_mode_entry());

    auto const virtual_entry = KernelImage::parse("k", test::make_elf({.entry = 0xFFFF'FFFF'8100'0040}));
    ASSERT_TRUE(virtual_entry);
    EXPECT_EQ(virtual_entry->long_mode_entry(), GuestPhys{0x100'0040});

    test::Bytes only_32_bit = test::make_bzimage(test::make_elf());
    store<std::uint16_t>(ByteSpan{only_32_bit}, 0x236, 0x007E);
    auto const image = KernelImage::parse("k", only_32_bit);
    ASSERT_TRUE(image);
    EXPECT_FALSE(image->long_mode_entry());
    EXPECT_TRUE(image->pvh_entry());
}

TEST(KernelImage, SaysWhatIsWrong) {
    EXPECT_EQ(error_of(test::make_text(100'000)),
              "boot/vmlinuz: not a Linux kernel: expected a bzImage (\"HdrS\" at 0x202) or an ELF64 x86-64 image");
    EXPECT_EQ(error_of(test::make_bzimage(test::make_text(1'000))),
              "boot/vmlinuz: cannot unpack the kernel: packed with an unknown method: expected xz, lz4, zstd or gzip");
    EXPECT_EQ(error_of(test::make_bzimage(test::pack(Packing::gzip, test::make_text(1'000)))),
              "boot/vmlinuz: not a kernel: not an ELF file");
    EXPECT_EQ(error_of(test::make_elf({.entry = 0x50})),
              "boot/vmlinuz: not a kernel: the ELF entry 0x50 is outside of the segments");
    EXPECT_EQ(error_of(test::make_elf({.pvh_entry = 0x200'0000})),
              "boot/vmlinuz: not a kernel: the PVH entry 0x2000000 is outside of the segments");
    EXPECT_EQ(error_of(test::make_elf({.physical = 0x1000, .pvh_entry = {}, .entry = 0x1000})),
              "boot/vmlinuz: the ELF segment at 0x1000 is below 1 MiB: expected a kernel above");
    EXPECT_THAT(error_of(test::make_elf({.zero_bytes = ~std::uint64_t{0} - 0x3000})),
                EndsWith("is outside of any machine's memory"));
    EXPECT_THAT(error_of(test::make_elf({.physical = ~std::uint64_t{0} - 5})),
                EndsWith("is outside of any machine's memory"));

    test::Bytes old = test::make_bzimage(test::make_elf());
    store<std::uint16_t>(ByteSpan{old}, 0x206, 0x0207);
    EXPECT_EQ(error_of(old), "boot/vmlinuz: boot protocol 2.07: expected 2.08 or later");

    test::Bytes no_payload = test::make_bzimage(test::make_elf());
    store<std::uint32_t>(ByteSpan{no_payload}, 0x24C, 0);
    EXPECT_THAT(error_of(no_payload), HasSubstr("without a payload"));

    test::Bytes far_payload = test::make_bzimage(test::make_elf());
    store<std::uint32_t>(ByteSpan{far_payload}, 0x248, 0xFFFF'FFFF);
    EXPECT_THAT(error_of(far_payload), HasSubstr("truncated: the packed kernel ends at byte"));

    test::Bytes arm = test::make_elf();
    store<std::uint16_t>(ByteSpan{arm}, offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    EXPECT_THAT(error_of(arm), HasSubstr("expected ELF64 for x86-64"));
}

TEST(KernelImage, RefusesProgramsForAnOperatingSystem) {
    test::Bytes elf = test::make_elf();
    store<std::uint32_t>(ByteSpan{elf}, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), PT_TLS);
    EXPECT_EQ(error_of(elf), "boot/vmlinuz: not a kernel: a program for an operating system: expected a kernel");
    auto const self = KernelImage::load("/proc/self/exe");
    ASSERT_FALSE(self);
    EXPECT_THAT(self.error().message, StartsWith("/proc/self/exe: not a kernel: "));
}

TEST(KernelImage, SurvivesNotesOfAnySize) {
    std::size_t const notes_at = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    for (std::size_t field : {0U, 4U}) {  // n_namesz, n_descsz of the first note
        for (std::uint32_t value : {0U, 1U, 3U, 1000U, 0x7FFF'FFFFU, 0xFFFF'FFFFU}) {
            test::Bytes elf = test::make_elf();
            store(ByteSpan{elf}, notes_at + field, value);
            auto const image = KernelImage::parse("k", elf);
            ASSERT_TRUE(image);
            EXPECT_NE(image->pvh_entry(), GuestPhys{0}) << value;
        }
    }
}

TEST(KernelImage, LoadsAFile) {
    TemporaryFile const file{test::make_bzimage(test::pack(Packing::lz4, test::make_elf()))};
    auto const image = KernelImage::load(file.path());
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->name(), file.path());
}

TEST(KernelImage, NamesTheFileThatCannotBeRead) {
    EXPECT_EQ(KernelImage::load("/no/such/vmlinuz").error().message,
              "/no/such/vmlinuz: cannot read: No such file or directory");
    EXPECT_EQ(KernelImage::load("/").error().message, "/: is a directory: expected a file");
    EXPECT_EQ(KernelImage::load("/dev/null").error().message, "/dev/null: expected a regular file");
    TemporaryFile const empty{{}};
    EXPECT_EQ(KernelImage::load(empty.path()).error().message, empty.path() + ": the file is empty");
}

TEST(KernelImage, LoadsARealKernel) {
    char const* const path = std::getenv("BACKPLANE_TEST_KERNEL");
    if (path == nullptr) GTEST_SKIP() << "BACKPLANE_TEST_KERNEL names no kernel";
    auto const start = std::chrono::steady_clock::now();
    auto const image = KernelImage::load(path);
    ASSERT_TRUE(image) << image.error().message;
    std::chrono::duration<double> const duration = std::chrono::steady_clock::now() - start;
    EXPECT_TRUE(image->pvh_entry());
    EXPECT_TRUE(image->long_mode_entry());
    EXPECT_GT(image->end(), GuestPhys{0x200'0000});
    RecordProperty("seconds", std::to_string(duration.count()));
}

}  // namespace
}  // namespace backplane
