// A value or the reason why there is none: our own small part of C++23's std::expected, with its names.
// GCC 12 has std::expected, Clang 14 on the same library has not; the day both have it, this file is an alias.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/check.h"

namespace backplane {

template <typename E>
class Unexpected {
  public:
    constexpr explicit Unexpected(E error) : error_{std::move(error)} {}
    [[nodiscard]] constexpr E const& error() const& { return error_; }
    [[nodiscard]] constexpr E&& error() && { return std::move(error_); }

  private:
    E error_;
};
template <typename E>
Unexpected(E) -> Unexpected<E>;

template <typename T, typename E>
class [[nodiscard]] Expected {
  public:
    constexpr Expected(T value) : content_{std::in_place_index<0>, std::move(value)} {}  // NOLINT: as in std
    template <typename G>
    constexpr Expected(Unexpected<G> unexpected)  // NOLINT: as in std
        : content_{std::in_place_index<1>, std::move(unexpected).error()} {}

    [[nodiscard]] constexpr bool has_value() const { return content_.index() == 0; }
    constexpr explicit operator bool() const { return has_value(); }

    [[nodiscard]] constexpr T& value() & { return check_value(), *std::get_if<0>(&content_); }
    [[nodiscard]] constexpr T const& value() const& { return check_value(), *std::get_if<0>(&content_); }
    [[nodiscard]] constexpr T&& value() && { return check_value(), std::move(*std::get_if<0>(&content_)); }
    [[nodiscard]] constexpr E& error() & { return *std::get_if<1>(&content_); }
    [[nodiscard]] constexpr E const& error() const& { return *std::get_if<1>(&content_); }
    [[nodiscard]] constexpr E&& error() && { return std::move(*std::get_if<1>(&content_)); }
    constexpr T& operator*() & { return value(); }
    constexpr T const& operator*() const& { return value(); }
    constexpr T&& operator*() && { return std::move(*this).value(); }
    constexpr T* operator->() { return &value(); }
    constexpr T const* operator->() const { return &value(); }

  private:
    constexpr void check_value() const { check(has_value(), "Expected::value() without a value"); }
    std::variant<T, E> content_;
};

template <typename E>
class [[nodiscard]] Expected<void, E> {
  public:
    constexpr Expected() = default;
    template <typename G>
    constexpr Expected(Unexpected<G> unexpected) : error_{std::move(unexpected).error()} {}  // NOLINT: as in std
    [[nodiscard]] constexpr bool has_value() const { return !error_.has_value(); }
    constexpr explicit operator bool() const { return has_value(); }
    [[nodiscard]] constexpr E& error() & { return *error_; }
    [[nodiscard]] constexpr E const& error() const& { return *error_; }
    [[nodiscard]] constexpr E&& error() && { return std::move(*error_); }

  private:
    std::optional<E> error_;
};

}  // namespace backplane

/// Passes the error of an expression on to the caller, or continues with its value.
#define BACKPLANE_TRY(expression)                                                          \
    __extension__({                                                                        \
        auto try_result = (expression);                                                    \
        if (!try_result) return ::backplane::Unexpected{std::move(try_result).error()};    \
        std::move(try_result).value();                                                     \
    })
#define BACKPLANE_TRY_VOID(expression)                                                       \
    do {                                                                                     \
        auto try_result = (expression);                                                      \
        if (!try_result) return ::backplane::Unexpected{std::move(try_result).error()};      \
    } while (false)
