// What went wrong with something the host or the user gave us: one line, ready to print.
#pragma once

#include <string>
#include <utility>

namespace backplane {

/// Why something could not be done. `message` names the place (file, key, line) and what was expected.
struct Error {
    enum class Kind {
        bad_input,  ///< the user's file, option or image: exit code 2
        host,       ///< the host refused (no memory, no permission): exit code 2 as well, but not the user's words
    };
    Kind kind{Kind::bad_input};
    std::string message;
};

[[nodiscard]] inline Error bad_input(std::string message) { return {Error::Kind::bad_input, std::move(message)}; }
/// Adds the meaning of `error_number` (an errno value) to the message.
[[nodiscard]] Error host_error(std::string message, int error_number);

}  // namespace backplane
