// check(): an invariant of ours, on in release builds too. Never for what a guest, a user or the host did:
// a guest can reach neither an abort nor an exception.
#pragma once

namespace backplane {

/// Prints the place and the words to standard error and aborts.
[[noreturn]] void check_failed(char const* what, char const* file, int line);

constexpr void check(bool holds, char const* what, char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (!holds) [[unlikely]] check_failed(what, file, line);
}

}  // namespace backplane
