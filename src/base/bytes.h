// Little-endian values in byte spans: how every structure that a guest or a file holds is read and written.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace backplane {

static_assert(std::endian::native == std::endian::little, "the host is x86-64");

using ByteSpan = std::span<std::byte>;
using ConstByteSpan = std::span<std::byte const>;

/// The value at `offset`; the caller has checked that it lies within `bytes`.
template <typename T>
    requires std::is_trivially_copyable_v<T>
[[nodiscard]] inline T load(ConstByteSpan bytes, std::size_t offset = 0) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

template <typename T>
    requires std::is_trivially_copyable_v<T>
inline void store(ByteSpan bytes, std::size_t offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

template <typename T>
[[nodiscard]] inline ByteSpan bytes_of(T& object) {
    return std::as_writable_bytes(std::span{&object, 1});
}
template <typename T>
[[nodiscard]] inline ConstByteSpan bytes_of(T const& object) {
    return std::as_bytes(std::span{&object, 1});
}

/// Network byte order, as frames have it.
[[nodiscard]] inline std::uint16_t load_be16(ConstByteSpan bytes, std::size_t offset) {
    return __builtin_bswap16(load<std::uint16_t>(bytes, offset));
}
inline void store_be16(ByteSpan bytes, std::size_t offset, std::uint16_t value) {
    store(bytes, offset, __builtin_bswap16(value));
}

}  // namespace backplane
