#include "base/host_mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "base/check.h"

namespace backplane {

namespace {

constexpr std::size_t kHugePageBytes = kHostHugePageBytes;

bool try_map_over(std::byte* start, std::size_t bytes, int fd) {
    return ::mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
}

}  // namespace

Expected<HostMapping, Error> HostMapping::create(std::size_t bytes) {
    std::size_t const size = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    // One huge page more than asked, so that an aligned range lies inside; the ends go back.
    void* const raw = ::mmap(nullptr, size + kHugePageBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return Unexpected{host_error("cannot reserve " + std::to_string(size) + " bytes", errno)};
    auto* const start = static_cast<std::byte*>(raw);
    std::size_t const head = (kHugePageBytes - reinterpret_cast<std::uintptr_t>(start) % kHugePageBytes) % kHugePageBytes;
    if (head != 0) ::munmap(start, head);
    if (head != kHugePageBytes) ::munmap(start + head + size, kHugePageBytes - head);
    ::madvise(start + head, size, MADV_HUGEPAGE);  // a wish: without huge pages the memory is merely slower
    return HostMapping{start + head, size};
}

Expected<void, Error> map_file_over(ByteSpan place, std::size_t bytes, int fd) {
    check(reinterpret_cast<std::uintptr_t>(place.data()) % kHugePageBytes == 0 && place.size() % kHugePageBytes == 0 &&
              bytes <= place.size() && place.size() - bytes < kHugePageBytes,
          "a file takes the place of whole huge pages");
    if (try_map_over(place.data(), bytes, fd)) return {};
    // Devices of huge pages (DAX) refuse parts of one.
    if (errno == EINVAL && try_map_over(place.data(), place.size(), fd)) return {};
    int const error_number = errno;
    // What was there may be gone, and somebody else could get the hole.
    check(::mmap(place.data(), place.size(), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED,
          "what was reserved can be reserved again");
    return Unexpected{host_error("cannot be mapped", error_number)};
}

void advise_huge_pages(ByteSpan memory) {
    auto const address = reinterpret_cast<std::uintptr_t>(memory.data());
    std::size_t const head = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    if (memory.size() < head + kHugePageBytes) return;
    ::madvise(memory.data() + head, (memory.size() - head) / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
}

HostMapping::~HostMapping() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
}

}  // namespace backplane
