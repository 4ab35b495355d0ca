#include "rack/nearest_word.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace backplane {
namespace {

constexpr std::size_t kLongestWord = 64;  // longer words are no typing slips

/// Optimal string alignment distance; `a` and `b` are at most kLongestWord long.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            std::size_t const replaced = last[j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0);
            row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
            bool const swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
        }
        before_last.swap(last);
        last.swap(row);
    }
    return last[b.size()];
}

}  // namespace

std::string_view nearest_word(std::string_view word, std::span<std::string_view const> known) {
    if (word.size() > kLongestWord) return {};
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (std::string_view const candidate : known) {
        if (candidate.size() > kLongestWord) continue;
        std::size_t const distance = edit_distance(word, candidate);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = candidate;
    }
    return best;
}

std::string did_you_mean(std::string_view word, std::span<std::string_view const> known) {
    std::string_view const nearest = nearest_word(word, known);
    if (nearest.empty() || nearest == word) return {};
    return "; did you mean \"" + std::string{nearest} + "\"?";
}

std::string comma_list(std::span<std::string_view const> words) {
    std::string list;
    for (std::string_view const word : words) {
        if (!list.empty()) list += ", ";
        list += word;
    }
    return list;
}

}  // namespace backplane
