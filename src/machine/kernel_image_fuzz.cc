// Whatever bytes a kernel file has, reading it ends with an image whose segments lie inside of it, or with an error.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "machine/kernel_image.h"

namespace {

using backplane::KernelImage;
constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{1} << 20;

void use(KernelImage const& image) {
    for (backplane::ElfSegment const& segment : image.segments()) {
        backplane::check(image.contents(segment).size() <= segment.memory_bytes, "a segment holds its contents");
        backplane::check(segment.end() <= image.end(), "the kernel ends behind its segments");
    }
    backplane::check(image.long_mode_entry().value_or(backplane::GuestPhys{0}) < image.end(), "entered inside");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::span const bytes = std::as_bytes(std::span{data, size});
    if (auto const image = KernelImage::parse("fuzz", {bytes.begin(), bytes.end()}, kMaxUnpackedBytes)) use(*image);
    // Random bytes seldom reach a payload behind a right header, so they are tried as a payload too.
    if (auto const unpacked = backplane::unpack(bytes, kMaxUnpackedBytes)) {
        backplane::check(unpacked->size() <= kMaxUnpackedBytes, "the limit holds");
    }
    return 0;
}
