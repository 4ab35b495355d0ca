#include "device/checksum.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace backplane {

namespace {

constexpr std::uint64_t add_with_carry(std::uint64_t a, std::uint64_t b) {
    std::uint64_t const sum = a + b;
    return sum + (sum < a ? 1 : 0);
}

// Folds a 64-bit ones' complement sum to 16 bits; the words keep their byte order.
constexpr std::uint16_t fold(std::uint64_t sum) {
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::uint64_t sum_of(ConstByteSpan bytes) {
    std::uint64_t sum = 0;
    std::size_t at = 0;
    // No carry leaves 64 bits, so the compiler may take several words at once.
    for (; at + 4 <= bytes.size(); at += 4) sum += load<std::uint32_t>(bytes, at);
    for (; at + 2 <= bytes.size(); at += 2) sum = add_with_carry(sum, load<std::uint16_t>(bytes, at));
    if (at < bytes.size()) sum = add_with_carry(sum, std::to_integer<std::uint64_t>(bytes[at]));
    return sum;
}

// Eight tables: the CRC of a byte followed by 0 to 7 zero bytes, so that eight bytes are one step.
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_crc_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
        tables[0][i] = crc;
    }
    for (std::size_t t = 1; t < 8; ++t) {
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t const before = tables[t - 1][i];
            tables[t][i] = (before >> 8) ^ tables[0][before & 0xFF];
        }
    }
    return tables;
}
constexpr auto kCrcTables = make_crc_tables();

std::uint32_t crc_by_tables(std::uint32_t crc, ConstByteSpan bytes) {
    auto const& t = kCrcTables;
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        std::uint64_t const word = load<std::uint64_t>(bytes, at) ^ crc;
        crc = t[7][word & 0xFF] ^ t[6][word >> 8 & 0xFF] ^ t[5][word >> 16 & 0xFF] ^ t[4][word >> 24 & 0xFF] ^
              t[3][word >> 32 & 0xFF] ^ t[2][word >> 40 & 0xFF] ^ t[1][word >> 48 & 0xFF] ^ t[0][word >> 56];
    }
    for (; at < bytes.size(); ++at) crc = (crc >> 8) ^ t[0][(crc ^ std::to_integer<std::uint32_t>(bytes[at])) & 0xFF];
    return crc;
}

// Folding ([CRCFOLD] "Folding by 4"): 16 bytes that lie `bits` before others can be replaced by a product that is added
// to those. x^n modulo the polynomial, with bit 0 as the highest power; one bit further up, because a product of such
// numbers is one bit short.
constexpr std::int64_t power_of_x(int n) {
    std::uint32_t power = 0x80000000;
    for (int i = 0; i < n; ++i) power = (power >> 1) ^ ((power & 1) != 0 ? 0xEDB88320U : 0U);
    return static_cast<std::int64_t>(std::uint64_t{power} << 1);
}

constexpr std::size_t kLanes = 4, kLaneBytes = 16, kFoldBytes = kLanes * kLaneBytes;

template <int kBits>
[[gnu::target("pclmul")]] __m128i fold_into(__m128i before, __m128i after) {
    __m128i const powers = _mm_set_epi64x(power_of_x(kBits - 32), power_of_x(kBits + 32));
    return _mm_xor_si128(
        after, _mm_xor_si128(_mm_clmulepi64_si128(before, powers, 0x00), _mm_clmulepi64_si128(before, powers, 0x11)));
}

// Of whole groups of lanes, at least one.
[[gnu::target("pclmul")]] std::uint32_t crc_by_folding(std::uint32_t crc, ConstByteSpan bytes) {
    auto const lane_at = [&](std::size_t at) {
        return _mm_loadu_si128(reinterpret_cast<__m128i const*>(bytes.data() + at));
    };
    __m128i lanes[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = lane_at(i * kLaneBytes);
    lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
    for (std::size_t at = kFoldBytes; at < bytes.size(); at += kFoldBytes) {
        for (std::size_t i = 0; i < kLanes; ++i)
            lanes[i] = fold_into<kFoldBytes * 8>(lanes[i], lane_at(at + i * kLaneBytes));
    }
    __m128i left = lanes[0];
    for (std::size_t i = 1; i < kLanes; ++i) left = fold_into<kLaneBytes * 8>(left, lanes[i]);
    std::array<std::byte, kLaneBytes> rest;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), left);
    return crc_by_tables(0, rest);
}

}  // namespace

void InternetSum::add(ConstByteSpan bytes) {
    if (bytes.empty()) return;
    std::uint16_t part = fold(sum_of(bytes));
    if (odd_) part = __builtin_bswap16(part);
    sum_ = add_with_carry(sum_, part);
    odd_ ^= bytes.size() % 2 != 0;
}

void InternetSum::add(Pieces pieces, std::uint32_t first, std::uint32_t last) {
    std::uint64_t start = 0;  // of the piece, within the frame
    for (ConstByteSpan const piece : pieces) {
        std::uint64_t const end = start + piece.size();
        std::uint64_t const from = std::max<std::uint64_t>(start, first);
        std::uint64_t const to = std::min<std::uint64_t>(end, last);
        if (from < to) add(piece.subspan(from - start, to - from));
        if (end >= last) return;
        start = end;
    }
}

std::uint16_t InternetSum::folded() const { return __builtin_bswap16(fold(sum_)); }

void FrameCheck::add(ConstByteSpan bytes) {
    std::size_t const folded = bytes.size() / kFoldBytes * kFoldBytes;
    if (folded != 0 && __builtin_cpu_supports("pclmul") != 0) {
        crc_ = crc_by_folding(crc_, bytes.first(folded));
        bytes = bytes.subspan(folded);
    }
    crc_ = crc_by_tables(crc_, bytes);
}

}  // namespace backplane
