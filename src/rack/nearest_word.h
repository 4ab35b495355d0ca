// "Did you mean ...?" for mistyped keys and commands.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace backplane {

/// The word of `known` that `word` was probably meant to be: the one with the fewest insertions, deletions,
/// replacements and swaps of neighbours, if these are few for its length; empty when none is near.
[[nodiscard]] std::string_view nearest_word(std::string_view word, std::span<std::string_view const> known);

/// `; did you mean "memory"?`, or nothing when no word is near or it is the same.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<std::string_view const> known);

/// `a, b, c`.
[[nodiscard]] std::string comma_list(std::span<std::string_view const> words);

}  // namespace backplane
