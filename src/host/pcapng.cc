#include "host/pcapng.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

#include "host/file.h"

namespace backplane {
namespace {

constexpr std::size_t kFlushBytes = std::size_t{256} << 10;
constexpr mode_t kMode = 0644;
constexpr std::size_t kAlignment = 4;

// Block types
constexpr std::uint32_t kSectionHeader = 0x0A0D0D0A;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kEnhancedPacket = 6;

// Options
constexpr std::uint16_t kEndOfOptions = 0;
constexpr std::uint16_t kComment = 1;
constexpr std::uint16_t kUserApplication = 4;
constexpr std::uint16_t kInterfaceName = 2;
constexpr std::uint16_t kTimestampResolution = 9;
constexpr std::uint16_t kPacketFlags = 2;

constexpr std::uint32_t kByteOrderMagic = 0x1A2B3C4D;
constexpr std::uint32_t kVersion = 1;  // major 1 in the low half, minor 0
constexpr std::uint32_t kUnknown = 0xFFFF'FFFF;
constexpr std::uint32_t kEthernet = 1;
constexpr std::uint8_t kNanoseconds = 9;  // ten to the minus nine
constexpr std::uint32_t kOutbound = 2;

ConstByteSpan bytes_of_text(std::string_view text) { return std::as_bytes(std::span{text}); }

}  // namespace

Expected<PcapngFile, Error> PcapngFile::create(std::filesystem::path path) {
    UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode)};
    if (!fd.is_open()) {
        return Unexpected{bad_input(path.string() + ": " + std::generic_category().message(errno))};
    }
    PcapngFile file{std::move(path), std::move(fd)};
    std::size_t const block = file.begin_block(kSectionHeader);
    file.put32(kByteOrderMagic);
    file.put32(kVersion);
    file.put32(kUnknown);  // length of the section, 64 bits
    file.put32(kUnknown);
    file.put_option(kUserApplication, bytes_of_text("Backplane"));
    file.put_option(kEndOfOptions, {});
    file.end_block(block);
    return file;
}

PcapngFile::PcapngFile(PcapngFile&& other) noexcept
    : path_{std::move(other.path_)},
      fd_{std::move(other.fd_)},
      collected_{std::exchange(other.collected_, {})},
      written_bytes_{other.written_bytes_},
      frame_count_{other.frame_count_},
      error_{std::move(other.error_)} {}

PcapngFile::~PcapngFile() { flush(); }

void PcapngFile::add_interface(std::string_view name) {
    if (error_) return;
    std::size_t const block = begin_block(kInterfaceDescription);
    put32(kEthernet);
    put32(0);  // no limit on the length of frames
    put_option(kInterfaceName, bytes_of_text(name));
    put_option(kTimestampResolution, bytes_of(kNanoseconds));
    put_option(kEndOfOptions, {});
    end_block(block);
}

void PcapngFile::add_frame(std::uint32_t interface, Frame const& frame, std::string_view comment) {
    if (error_) return;
    std::size_t const block = begin_block(kEnhancedPacket);
    put32(interface);
    put32(static_cast<std::uint32_t>(frame.sent.ns() >> 32));
    put32(static_cast<std::uint32_t>(frame.sent.ns()));
    put32(frame.bytes);  // captured
    put32(frame.bytes);  // on the wire
    std::size_t const data = collected_.size();
    for (ConstByteSpan const piece : frame.pieces) collected_.insert(collected_.end(), piece.begin(), piece.end());
    collected_.resize(data + (frame.bytes + kAlignment - 1) / kAlignment * kAlignment);
    put_option(kPacketFlags, bytes_of(kOutbound));
    put_option(kComment, bytes_of_text(comment));
    put_option(kEndOfOptions, {});
    end_block(block);
    ++frame_count_;
    if (collected_.size() >= kFlushBytes) flush();
}

void PcapngFile::flush() {
    if (error_ || !fd_.is_open() || collected_.empty()) return;
    auto const written = write_all(fd_.get(), collected_);
    if (written) {
        written_bytes_ += collected_.size();
    } else {
        error_ = written.error().message;
        // Only a file can be cut; in a pipe there is nothing to be saved.
        [[maybe_unused]] int const cut = ::ftruncate(fd_.get(), static_cast<off_t>(written_bytes_));
    }
    collected_.clear();
}

void PcapngFile::put32(std::uint32_t value) {
    ConstByteSpan const bytes = bytes_of(value);
    collected_.insert(collected_.end(), bytes.begin(), bytes.end());
}

void PcapngFile::put_padded(ConstByteSpan bytes) {
    collected_.insert(collected_.end(), bytes.begin(), bytes.end());
    std::size_t const rest = bytes.size() % kAlignment;
    if (rest != 0) collected_.resize(collected_.size() + kAlignment - rest);
}

void PcapngFile::put_option(std::uint16_t code, ConstByteSpan value) {
    put32(code | static_cast<std::uint32_t>(value.size()) << 16);
    put_padded(value);
}

std::size_t PcapngFile::begin_block(std::uint32_t type) {
    std::size_t const start = collected_.size();
    put32(type);
    put32(0);  // the length, known at the end
    return start;
}

void PcapngFile::end_block(std::size_t start) {
    auto const length = static_cast<std::uint32_t>(collected_.size() - start + sizeof(std::uint32_t));
    put32(length);
    backplane::store(collected_, start + sizeof(std::uint32_t), length);
}

}  // namespace backplane
