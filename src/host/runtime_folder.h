// Where a user's running programs leave their sockets.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"

namespace backplane {

/// $XDG_RUNTIME_DIR/backplane, or /tmp/backplane-UID without that variable.
[[nodiscard]] std::filesystem::path runtime_folder();
/// Makes sure that the folder is there and nobody else's.
/// Errors: it cannot be made, or belongs to somebody else, or others may write into it.
[[nodiscard]] Expected<void, Error> make_runtime_folder(std::filesystem::path const& folder);

}  // namespace backplane
