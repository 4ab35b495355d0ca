// The [window] table of a rack file: memory that machines have in common (docs/design/window.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "device/window/layout.h"
#include "rack/toml_table.h"

namespace backplane {

inline constexpr std::uint64_t kDefaultSectionBytes = std::uint64_t{64} << 10;

struct WindowFile {
    window::Layout layout{.section_bytes = kDefaultSectionBytes};
    std::vector<std::uint32_t> machines;  ///< by their place in the file; their place here is their peer number
    unsigned vectors{1};
    std::optional<std::filesystem::path> backing{};  ///< whose memory it is, when it is not the rack's own
    std::uint32_t outside{0};                        ///< the last peers, who are no machines and use the backing

    [[nodiscard]] std::optional<std::uint32_t> position_of(std::uint32_t machine) const;
};

/// Reads [window] of the whole document; nothing when there is none. `machines` are the machines' names in file order, paths are
/// relative to `folder`.
[[nodiscard]] Expected<std::optional<WindowFile>, Error> read_window(TomlTable const& top,
                                                                     std::vector<std::string> const& machines,
                                                                     std::filesystem::path const& folder = {});

}  // namespace backplane
