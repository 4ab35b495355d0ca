// The [queue] table of a rack file: what the machines' queue devices may do (docs/design/queue-device.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "crossover/message_exchange.h"
#include "rack/toml_table.h"

namespace backplane {

inline constexpr std::uint64_t kDefaultQueueWindowBytes = std::uint64_t{16} << 20;

struct QueueRule {
    std::uint32_t from;  ///< machines by their place in the file
    std::uint32_t to;
    std::uint16_t calls;  ///< bits of QueuePeer
    std::optional<std::uint64_t> queued_bytes{};  ///< on their way, in place of the options'
};

struct QueueFile {
    MessageExchangeOptions options;
    std::uint64_t window_bytes{kDefaultQueueWindowBytes};
    std::vector<QueueRule> rules;  ///< what is not in it is not allowed
    std::map<std::uint32_t, QueueQuotas> quotas{};  ///< of machines that have their own
    [[nodiscard]] QueueQuotas quotas_of(std::uint32_t machine) const {
        auto const own = quotas.find(machine);
        return own == quotas.end() ? options.quotas : own->second;
    }
};

/// Reads [queue] of the whole document; nothing when there is none. `machines` are the machines' names in file order.
[[nodiscard]] Expected<std::optional<QueueFile>, Error> read_queue(TomlTable const& top,
                                                                   std::vector<std::string> const& machines);

}  // namespace backplane
