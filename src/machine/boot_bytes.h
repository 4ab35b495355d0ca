// Builds byte strings piece by piece: tables and structures for a guest's firmware area.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/bytes.h"

namespace backplane {

/// Appends the object's bytes, padding included. (Resize and store: GCC 12 warns of vector::insert without cause.)
template <typename T>
requires std::is_trivially_copyable_v<T>
void append_object(std::vector<std::byte>& bytes, T const& object) {
    bytes.resize(bytes.size() + sizeof(T));
    store(bytes, bytes.size() - sizeof(T), object);
}

inline void append_bytes(std::vector<std::byte>& bytes, ConstByteSpan more) {
    std::size_t const used = bytes.size();
    bytes.resize(used + more.size());
    if (!more.empty()) std::memcpy(bytes.data() + used, more.data(), more.size());
}

}  // namespace backplane
