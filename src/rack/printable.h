// Text that somebody else wrote, made safe for a terminal, a log and an error message.
#pragma once

#include <string>
#include <string_view>

namespace backplane {

/// `text` with everything that could move a cursor, change a title or hide something made visible or taken out:
/// colour and cursor sequences (ESC [ ... letter) vanish, tabs and valid UTF-8 stay, every other byte that is not
/// printable becomes `\xNN`. Control characters of Unicode (U+0080 to U+009F) count as not printable.
[[nodiscard]] std::string printable(std::string_view text);

/// `printable()` in double quotes, cut after 80 bytes.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace backplane
