#include "machine/unpack.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "base/host_mapping.h"

namespace backplane {

namespace {

struct Magic {
    std::string_view bytes;
    Packing packing;
};
using namespace std::string_view_literals;
constexpr std::array kMagics{
    Magic{"\xFD"
          "7zXZ\0"sv,
          Packing::xz},
    Magic{"\x02\x21\x4C\x18"sv, Packing::lz4},
    Magic{"\x28\xB5\x2F\xFD"sv, Packing::zstd},
    Magic{"\x1F\x8B"sv, Packing::gzip},
    Magic{"BZh"sv, Packing::bzip2},
    Magic{"\x5D\0\0"sv, Packing::lzma},
    Magic{"\x89LZO"sv, Packing::lzo},
};

constexpr std::uint64_t kTrailerBytes = 4;

// The kernel's own xz dictionaries are at most 128 MiB; a stream that wants more is refused by liblzma.
constexpr std::uint64_t kXzMemoryBytes = std::uint64_t{256} << 20;

// lz4's legacy frame: blocks that unpack to 8 MiB each, the last to less.
constexpr std::uint64_t kLz4BlockBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kLz4HeadBytes = 4;
constexpr std::uint64_t kLz4MostRatio = 255;  // a byte of a length adds at most that much

// The appended size is believed that far when memory is set aside; kernels pack to between a third and a tenth.
constexpr std::uint64_t kHintMostRatio = 16;

constexpr int kGzipWindow = MAX_WBITS + 16;  // zlib: + 16 means a gzip header and nothing else

Error damaged(Packing packing) {
    return bad_input(fmt::format("the {} data is damaged or truncated", name_of(packing)));
}

/// Where unpacked bytes go: grows by doubling, never beyond the limit.
class Output {
  public:
    Output(std::uint64_t limit_bytes, std::uint64_t hint_bytes) : limit_bytes_{limit_bytes} {
        // One block more than is expected: decoders want room for it before they know that they have come to the end, and
        // growing would copy everything into memory without huge pages.
        bytes_.reserve(std::min(limit_bytes, hint_bytes + kLz4BlockBytes));
        advise_huge_pages({bytes_.data(), bytes_.capacity()});  // a kernel is touched once, in 4 KiB steps otherwise
    }
    /// Space for the next step, in what is set aside while there is some; empty when the limit is reached.
    [[nodiscard]] ByteSpan room() {
        std::uint64_t const step = std::clamp(used_, kFirstStepBytes, kMostStepBytes);
        std::uint64_t const left = bytes_.capacity() - used_;
        return room(left != 0 ? std::min(step, left) : step);
    }
    /// Space for at most `wanted` more bytes.
    [[nodiscard]] ByteSpan room(std::uint64_t wanted) {
        bytes_.resize(std::min(limit_bytes_, used_ + wanted));
        return ByteSpan{bytes_}.subspan(used_);
    }
    void use(std::uint64_t count) { used_ += count; }
    [[nodiscard]] std::uint64_t size() const { return used_; }
    [[nodiscard]] std::vector<std::byte> take() {
        bytes_.resize(used_);
        return std::move(bytes_);
    }

  private:
    static constexpr std::uint64_t kFirstStepBytes = std::uint64_t{64} << 10;
    static constexpr std::uint64_t kMostStepBytes = std::uint64_t{4} << 20;
    std::uint64_t limit_bytes_;
    std::uint64_t used_{0};
    std::vector<std::byte> bytes_;
};

Error too_large(std::uint64_t limit_bytes) {
    return bad_input(fmt::format("it unpacks to more than {} bytes", limit_bytes));
}

/// How many bytes of `packed` the stream took; the unpacked bytes are in the output.
using Consumed = Expected<std::uint64_t, Error>;

Consumed unpack_xz(ConstByteSpan packed, Output& output, std::uint64_t limit_bytes) {
    lzma_stream stream = LZMA_STREAM_INIT;
    std::unique_ptr<lzma_stream, decltype(&lzma_end)> const owner{&stream, &lzma_end};
    if (lzma_stream_decoder(&stream, kXzMemoryBytes, 0) != LZMA_OK) return Unexpected{damaged(Packing::xz)};
    stream.next_in = reinterpret_cast<std::uint8_t const*>(packed.data());
    stream.avail_in = packed.size();
    while (true) {
        ByteSpan const room = output.room();
        stream.next_out = reinterpret_cast<std::uint8_t*>(room.data());
        stream.avail_out = room.size();
        lzma_ret const result = lzma_code(&stream, LZMA_RUN);
        output.use(room.size() - stream.avail_out);
        if (result == LZMA_STREAM_END) return packed.size() - stream.avail_in;
        if (result != LZMA_OK && !(result == LZMA_BUF_ERROR && room.empty())) return Unexpected{damaged(Packing::xz)};
        if (room.empty()) return Unexpected{too_large(limit_bytes)};
    }
}

Consumed unpack_gzip(ConstByteSpan packed, Output& output, std::uint64_t limit_bytes) {
    z_stream stream{};
    if (inflateInit2(&stream, kGzipWindow) != Z_OK) return Unexpected{damaged(Packing::gzip)};
    std::unique_ptr<z_stream, decltype(&inflateEnd)> const owner{&stream, &inflateEnd};
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));  // zlib does not write it
    stream.avail_in = static_cast<uInt>(packed.size());
    while (true) {
        ByteSpan const room = output.room();
        stream.next_out = reinterpret_cast<Bytef*>(room.data());
        stream.avail_out = static_cast<uInt>(room.size());
        int const result = inflate(&stream, Z_NO_FLUSH);
        output.use(room.size() - stream.avail_out);
        if (result == Z_STREAM_END) return packed.size() - stream.avail_in;
        if (result != Z_OK && !(result == Z_BUF_ERROR && room.empty())) return Unexpected{damaged(Packing::gzip)};
        if (room.empty()) return Unexpected{too_large(limit_bytes)};
    }
}

Consumed unpack_zstd(ConstByteSpan packed, Output& output, std::uint64_t limit_bytes) {
    std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> const stream{ZSTD_createDStream(), &ZSTD_freeDStream};
    if (stream == nullptr) return Unexpected{damaged(Packing::zstd)};
    ZSTD_inBuffer in{packed.data(), packed.size(), 0};
    while (true) {
        ByteSpan const room = output.room();
        ZSTD_outBuffer out{room.data(), room.size(), 0};
        std::size_t const before = in.pos;
        std::size_t const result = ZSTD_decompressStream(stream.get(), &out, &in);
        output.use(out.pos);
        if (ZSTD_isError(result) != 0) return Unexpected{damaged(Packing::zstd)};
        if (result == 0) return in.pos;
        if (room.empty()) return Unexpected{too_large(limit_bytes)};
        if (out.pos == 0 && in.pos == before) return Unexpected{damaged(Packing::zstd)};
    }
}

// A block's size that cannot be one ends the stream: that is how the appended size is told from a block.
Consumed unpack_lz4(ConstByteSpan packed, Output& output, std::uint64_t limit_bytes) {
    std::uint64_t at = kLz4HeadBytes;
    while (packed.size() - at > kTrailerBytes) {
        std::uint64_t const block_bytes = load<std::uint32_t>(packed, at);
        if (block_bytes == 0 || block_bytes > packed.size() - at - kLz4HeadBytes)
            return Unexpected{damaged(Packing::lz4)};
        std::uint64_t const wanted = std::min(kLz4BlockBytes, block_bytes * kLz4MostRatio);
        ByteSpan const room = output.room(wanted);
        int const unpacked_bytes = LZ4_decompress_safe(
            reinterpret_cast<char const*>(packed.data() + at + kLz4HeadBytes), reinterpret_cast<char*>(room.data()),
            static_cast<int>(block_bytes), static_cast<int>(room.size()));
        if (unpacked_bytes < 0 && room.size() < wanted) return Unexpected{too_large(limit_bytes)};
        if (unpacked_bytes < 0) return Unexpected{damaged(Packing::lz4)};
        output.use(static_cast<std::uint64_t>(unpacked_bytes));
        at += kLz4HeadBytes + block_bytes;
    }
    if (output.size() == 0) return Unexpected{damaged(Packing::lz4)};
    return at;
}

}  // namespace

Packing detect_packing(ConstByteSpan packed) {
    std::string_view const text{reinterpret_cast<char const*>(packed.data()), packed.size()};
    for (Magic const& magic : kMagics) {
        if (text.starts_with(magic.bytes)) return magic.packing;
    }
    return Packing::unknown;
}

std::string_view name_of(Packing packing) {
    static constexpr std::array<std::string_view, 8> kNames{"unknown", "xz",    "lz4",  "zstd",
                                                            "gzip",    "bzip2", "lzma", "lzo"};
    return kNames[static_cast<std::size_t>(packing)];
}

Expected<std::vector<std::byte>, Error> unpack(ConstByteSpan packed, std::uint64_t max_bytes) {
    constexpr std::uint64_t kMaxPackedBytes = kMaxUnpackedBytes;  // sizes below fit into the libraries' int
    Packing const packing = detect_packing(packed);
    if (packed.size() > kMaxPackedBytes) return Unexpected{too_large(kMaxPackedBytes)};
    std::uint64_t const hint_bytes =
        packed.size() < kTrailerBytes ? 0 : load<std::uint32_t>(packed, packed.size() - kTrailerBytes);
    Output output{max_bytes, std::min(hint_bytes, packed.size() * kHintMostRatio)};
    auto const run = [&]() -> Consumed {
        switch (packing) {
            case Packing::xz:
                return unpack_xz(packed, output, max_bytes);
            case Packing::lz4:
                return unpack_lz4(packed, output, max_bytes);
            case Packing::zstd:
                return unpack_zstd(packed, output, max_bytes);
            case Packing::gzip:
                return unpack_gzip(packed, output, max_bytes);
            default:
                return Unexpected{
                    bad_input(fmt::format("packed with {}: expected xz, lz4, zstd or gzip",
                                          packing == Packing::unknown ? "an unknown method" : name_of(packing)))};
        }
    };
    std::uint64_t const consumed = BACKPLANE_TRY(run());
    if (packed.size() - consumed == kTrailerBytes && hint_bytes != output.size()) {
        return Unexpected{bad_input(
            fmt::format("the {} data unpacks to {} bytes: expected {}", name_of(packing), output.size(), hint_bytes))};
    }
    return output.take();
}

}  // namespace backplane
