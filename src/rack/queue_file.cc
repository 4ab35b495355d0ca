#include "rack/queue_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "rack/nearest_word.h"
#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

constexpr std::array<std::string_view, 12> kQueueKeys{"transfer", "window",   "wait",    "deadline", "queued", "group",
                                                      "allow",    "in-flight", "lent", "borrowed", "handles", "machine"};
constexpr std::array<std::string_view, 1> kGroupKeys{"machines"};
constexpr std::array<std::string_view, 4> kQuotaKeys{"in-flight", "lent", "borrowed", "handles"};
constexpr std::array<std::string_view, 4> kAllowKeys{"from", "to", "calls", "queued"};
constexpr std::uint64_t kMostHandles = 65536;
constexpr std::array<std::string_view, 4> kTransfers{"remap", "cow", "shared", "copy"};
constexpr std::array<std::string_view, 4> kCalls{"inline", "send", "lend", "share"};
constexpr std::uint16_t kEveryCall =
    QueuePeer::kMayInline | QueuePeer::kMayDonate | QueuePeer::kMayLend | QueuePeer::kMayShare;

Expected<std::uint64_t, Error> parse_window(std::string_view text) {
    constexpr std::uint64_t kLeast = std::uint64_t{256} << 10;
    constexpr std::uint64_t kMost = std::uint64_t{256} << 20;
    auto const bytes = bytes_in_text(text);
    if (bytes && std::has_single_bit(*bytes) && *bytes >= kLeast && *bytes <= kMost) return *bytes;
    return Unexpected{bad_input(fmt::format("\"{}\"; expected a power of two, \"256K\" to \"256M\"", text))};
}

Expected<std::uint64_t, Error> parse_queued(std::string_view text) {
    constexpr std::uint64_t kLeast = 4096;
    constexpr std::uint64_t kMost = std::uint64_t{256} << 20;
    auto const bytes = bytes_in_text(text);
    if (bytes && *bytes >= kLeast && *bytes <= kMost) return *bytes;
    return Unexpected{bad_input(fmt::format("\"{}\"; expected a size such as \"4M\", \"4K\" to \"256M\"", text))};
}

Expected<std::uint64_t, Error> parse_pages(std::string_view text) {
    return BACKPLANE_TRY(parse_queued(text)) / kPageBytes;
}

class Reader {
  public:
    explicit Reader(std::vector<std::string> const& machines) : machines_{machines} {
        for (std::uint32_t i = 0; i < machines.size(); ++i) members_[machines[i]] = {i};
    }

    Expected<std::optional<QueueFile>, Error> read(TomlTable const& top) {
        std::optional<TomlTable> const table = BACKPLANE_TRY(top.table("queue"));
        if (!table) return std::optional<QueueFile>{};
        BACKPLANE_TRY_VOID(table->check_keys(kQueueKeys, {}));
        BACKPLANE_TRY_VOID(read_options(*table));
        queue_.options.quotas = BACKPLANE_TRY(read_quotas(*table, queue_.options.quotas));
        BACKPLANE_TRY_VOID(read_machines(*table));
        BACKPLANE_TRY_VOID(read_groups(*table));
        std::vector<TomlTable> const rules = BACKPLANE_TRY(table->tables("allow"));
        for (TomlTable const& rule : rules) BACKPLANE_TRY_VOID(read_rule(rule));
        return std::optional{std::move(queue_)};
    }

  private:
    Expected<void, Error> read_options(TomlTable const& table) {
        MessageExchangeOptions& options = queue_.options;
        auto const transfer = BACKPLANE_TRY(table.word("transfer", kTransfers, {}));
        for (TransferMode const mode :
             {TransferMode::remap, TransferMode::cow, TransferMode::shared, TransferMode::copy})
            if (transfer == transfer_mode_text(mode)) options.transfer = mode;
        auto const window = BACKPLANE_TRY(table.parsed("window", parse_window));
        queue_.window_bytes = window.value_or(queue_.window_bytes);
        auto const wait = BACKPLANE_TRY(table.parsed("wait", parse_duration));
        options.wait = wait.value_or(options.wait);
        auto const deadline = BACKPLANE_TRY(table.parsed("deadline", parse_duration));
        options.deadline = deadline.value_or(options.deadline);
        auto const queued = BACKPLANE_TRY(table.parsed("queued", parse_queued));
        options.queued_bytes = queued.value_or(options.queued_bytes);
        return {};
    }

    /// The four quotas in `table`, where it has none those of `otherwise`.
    static Expected<QueueQuotas, Error> read_quotas(TomlTable const& table, QueueQuotas const& otherwise) {
        QueueQuotas quotas = otherwise;
        quotas.flight_pages = BACKPLANE_TRY(table.parsed("in-flight", parse_pages)).value_or(quotas.flight_pages);
        quotas.lent_pages = BACKPLANE_TRY(table.parsed("lent", parse_pages)).value_or(quotas.lent_pages);
        quotas.borrowed_pages = BACKPLANE_TRY(table.parsed("borrowed", parse_pages)).value_or(quotas.borrowed_pages);
        auto const handles = BACKPLANE_TRY(table.number("handles", 1, kMostHandles));
        quotas.handles = static_cast<std::uint32_t>(handles.value_or(quotas.handles));
        return quotas;
    }

    Expected<void, Error> read_machines(TomlTable const& table) {
        std::optional<TomlTable> const machines = BACKPLANE_TRY(table.table("machine"));
        if (!machines) return {};
        for (std::string const& name : machines->keys_in_file_order()) {
            auto const found = members_.find(name);
            if (found == members_.end()) return Unexpected{machines->error_at(name, unknown(name))};
            TomlTable const machine = BACKPLANE_TRY(machines->required_table(name));
            BACKPLANE_TRY_VOID(machine.check_keys(kQuotaKeys, {}));
            queue_.quotas[found->second.front()] = BACKPLANE_TRY(read_quotas(machine, queue_.options.quotas));
        }
        return {};
    }

    /// Without groups all machines are one. Within a group everything is allowed.
    Expected<void, Error> read_groups(TomlTable const& table) {
        std::optional<TomlTable> const groups = BACKPLANE_TRY(table.table("group"));
        if (!groups) {
            std::vector<std::uint32_t> all;
            for (std::uint32_t i = 0; i < machines_.size(); ++i) all.push_back(i);
            allow(all, all, kEveryCall);
            return {};
        }
        for (std::string const& name : groups->keys_in_file_order()) {
            if (auto const valid = check_name(name); !valid)
                return Unexpected{groups->error_at(name, valid.error().message)};
            if (members_.contains(name))
                return Unexpected{groups->error_at(name, "is a machine's name; expected another")};
            TomlTable const group = BACKPLANE_TRY(groups->required_table(name));
            BACKPLANE_TRY_VOID(group.check_keys(kGroupKeys, {}));
            std::vector<std::uint32_t> const members = BACKPLANE_TRY(members_of(group, "machines"));
            allow(members, members, kEveryCall);
            groups_.emplace(name, members);
        }
        members_.insert(groups_.begin(), groups_.end());
        return {};
    }

    Expected<void, Error> read_rule(TomlTable const& table) {
        BACKPLANE_TRY_VOID(table.check_keys(kAllowKeys, {}));
        std::vector<std::uint32_t> const from = BACKPLANE_TRY(members_of(table, "from"));
        std::vector<std::uint32_t> const to = BACKPLANE_TRY(members_of(table, "to"));
        std::vector<std::string> const calls = BACKPLANE_TRY(table.texts("calls"));
        std::uint16_t bits = calls.empty() ? kEveryCall : 0;
        for (std::string const& call : calls) {
            auto const found = std::find(kCalls.begin(), kCalls.end(), call);
            if (found == kCalls.end())
                return Unexpected{
                    table.error_at("calls", in_quotes(call) + "; expected some of " + comma_list(kCalls))};
            bits = static_cast<std::uint16_t>(bits | 1U << (found - kCalls.begin()));
        }
        auto const queued = BACKPLANE_TRY(table.parsed("queued", parse_queued));
        allow(from, to, bits, queued);
        return {};
    }

    /// The machines that a list of machines and groups names.
    Expected<std::vector<std::uint32_t>, Error> members_of(TomlTable const& table, std::string_view key) {
        std::vector<std::string> const names = BACKPLANE_TRY(table.texts(key));
        if (names.empty())
            return Unexpected{table.error_at(
                key, "nothing; expected names of machines" + std::string{key == "machines" ? "" : " or groups"})};
        std::vector<std::uint32_t> all;
        for (std::string const& name : names) {
            auto const found = members_.find(name);
            if (found == members_.end()) return Unexpected{table.error_at(key, unknown(name))};
            all.insert(all.end(), found->second.begin(), found->second.end());
        }
        return all;
    }

    [[nodiscard]] std::string unknown(std::string const& name) const {
        std::vector<std::string_view> known;
        for (auto const& [member, machines] : members_) known.emplace_back(member);
        return in_quotes(name) + "; expected one of " + comma_list(known) + did_you_mean(name, known);
    }

    void allow(std::vector<std::uint32_t> const& from, std::vector<std::uint32_t> const& to, std::uint16_t calls,
               std::optional<std::uint64_t> queued_bytes = {}) {
        for (std::uint32_t const a : from)
            for (std::uint32_t const b : to)
                if (a != b) queue_.rules.push_back({a, b, calls, queued_bytes});
    }

    std::vector<std::string> const& machines_;
    std::map<std::string, std::vector<std::uint32_t>> members_;  // machines, and later groups, by name
    std::map<std::string, std::vector<std::uint32_t>> groups_;
    QueueFile queue_;
};

}  // namespace

Expected<std::optional<QueueFile>, Error> read_queue(TomlTable const& top, std::vector<std::string> const& machines) {
    return Reader{machines}.read(top);
}

}  // namespace backplane
