// What a fuzzer offers, taken piece by piece; zeros when it is used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace backplane {

class FuzzInput {
  public:
    FuzzInput(std::uint8_t const* data, std::size_t size) : data_{data}, left_{size} {}
    [[nodiscard]] bool is_empty() const { return left_ == 0; }
    template <typename T>
    T take() {
        T value{};
        std::size_t const part = left_ < sizeof value ? left_ : sizeof value;
        if (part != 0) std::memcpy(&value, data_, part);
        data_ += part;
        left_ -= part;
        return value;
    }

  private:
    std::uint8_t const* data_;
    std::size_t left_;
};

}  // namespace backplane
