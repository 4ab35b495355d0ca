#include "host/descriptor_sink.h"

#include <span>

#include "host/file.h"

namespace backplane {
namespace {
constexpr std::size_t kPieceBytes = 4096;
}  // namespace

void DescriptorSink::put(ConstByteSpan bytes) {
    if (broken_ || bytes.empty()) return;
    at_line_start_ = bytes.back() == std::byte{'\n'};
    pending_.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    if (pending_.size() >= kPieceBytes) flush();
}

void DescriptorSink::flush() {
    if (pending_.empty()) return;
    if (!write_all(fd_, std::as_bytes(std::span{pending_}))) broken_ = true;
    pending_.clear();
}

}  // namespace backplane
