#include "rack/toml_table.h"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "rack/nearest_word.h"
#include "rack/printable.h"

namespace backplane {
namespace {

std::string place_text(std::string_view file, toml::source_position position) {
    // A node that no line of the file made has position 0:0; the file as a whole is meant.
    return fmt::format("{}:{}:{}", file, std::max(position.line, 1U), std::max(position.column, 1U));
}

std::string_view kind_text(toml::node const& node) {
    switch (node.type()) {
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return node.is_array_of_tables() ? "a list of tables" : "a list";
        case toml::node_type::string:
            return "a string";
        case toml::node_type::integer:
            return "a whole number";
        case toml::node_type::floating_point:
            return "a number with a fraction";
        case toml::node_type::boolean:
            return "true or false";
        case toml::node_type::date:
        case toml::node_type::time:
        case toml::node_type::date_time:
            return "a date or time";
        case toml::node_type::none:
            break;
    }
    return "nothing";
}

/// `"sim"`, `"landed" or "read"`.
std::string choice_text(TomlTable::Words words) {
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i != 0) text += i + 1 == words.size() ? " or " : ", ";
        text += '"' + std::string{words[i]} + '"';
    }
    return text;
}

bool contains(TomlTable::Words words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

std::string syntax_error(toml::parse_error const& error) {
    std::string const what = printable(error.description());
    if (what.find("cannot redefine") != std::string::npos) return what + "; expected every name once";
    return what;
}

}  // namespace

TomlDocument::TomlDocument(std::unique_ptr<toml::table> table, std::string file)
    : table_{std::move(table)}, file_{std::move(file)} {}
TomlDocument::TomlDocument(TomlDocument&&) noexcept = default;
TomlDocument::~TomlDocument() = default;

Expected<TomlDocument, Error> TomlDocument::parse(std::string_view text, std::string file) {
    toml::parse_result result = toml::parse(text);
    if (!result) {
        toml::parse_error const& error = result.error();
        return Unexpected{bad_input(place_text(file, error.source().begin) + ": not TOML: " + syntax_error(error))};
    }
    return TomlDocument{std::make_unique<toml::table>(std::move(result).table()), std::move(file)};
}

TomlTable TomlDocument::top() const { return {file_, "", *table_}; }

TomlTable::TomlTable(std::string_view file, std::string name, toml::table const& table)
    : file_{file}, name_{std::move(name)}, table_{&table} {}

toml::node const* TomlTable::find(std::string_view key) const { return table_->get(key); }

std::string TomlTable::name_of(std::string_view key) const {
    return name_.empty() ? printable(key) : name_ + '.' + printable(key);
}

std::vector<std::string> TomlTable::keys_in_file_order() const {
    std::vector<std::pair<toml::source_position, std::string>> found;
    for (auto const& [key, node] : *table_) found.emplace_back(key.source().begin, key.str());
    std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
    std::vector<std::string> keys;
    for (auto& [position, key] : found) keys.push_back(std::move(key));
    return keys;
}

Expected<void, Error> TomlTable::check_keys(Words known, Words not_built) const {
    for (std::string const& key : keys_in_file_order()) {
        if (contains(known, key)) continue;
        toml::source_position const place = table_->find(key)->first.source().begin;
        if (!contains(not_built, key)) return Unexpected{unknown_key(key, place.line, place.column, known)};
        return Unexpected{bad_input(
            fmt::format("{}: {}: not built yet; expected no such key", place_text(file_, place), name_of(key)))};
    }
    return {};
}

Error TomlTable::unknown_key(std::string_view key, unsigned line, unsigned column, Words known) const {
    std::string const expected = "unknown key; expected one of " + comma_list(known);
    return bad_input(
        fmt::format("{}:{}:{}: {}: {}{}", file_, line, column, name_of(key), expected, did_you_mean(key, known)));
}

Error TomlTable::error_at(std::string_view key, std::string_view what) const {
    toml::node const* const node = find(key);
    toml::source_position const position = node != nullptr ? node->source().begin : table_->source().begin;
    return bad_input(fmt::format("{}: {}: {}", place_text(file_, position), name_of(key), what));
}

Error TomlTable::not_built(std::string_view key, std::string_view value, Words expected) const {
    return error_at(key, in_quotes(value) + " is not built yet; expected " + choice_text(expected));
}

Error TomlTable::wrong_kind(std::string_view key, toml::node const& node, std::string_view expected) const {
    return error_at(key, fmt::format("{}; expected {}", kind_text(node), expected));
}

TomlTable::Maybe<std::string> TomlTable::text(std::string_view key) const {
    toml::node const* const node = find(key);
    if (node == nullptr) return std::optional<std::string>{};
    if (!node->is_string()) return Unexpected{wrong_kind(key, *node, "a string")};
    return std::optional{node->as_string()->get()};
}

TomlTable::Maybe<std::string> TomlTable::text_or_number(std::string_view key) const {
    toml::node const* const node = find(key);
    if (node != nullptr && node->is_integer()) return std::optional{std::to_string(node->as_integer()->get())};
    if (node != nullptr && !node->is_string()) return Unexpected{wrong_kind(key, *node, "a string or a whole number")};
    return text(key);
}

TomlTable::Maybe<std::uint64_t> TomlTable::number(std::string_view key, std::uint64_t least, std::uint64_t most) const {
    toml::node const* const node = find(key);
    if (node == nullptr) return std::optional<std::uint64_t>{};
    if (!node->is_integer()) return Unexpected{wrong_kind(key, *node, "a whole number")};
    std::int64_t const value = node->as_integer()->get();
    bool const within =
        value >= 0 && static_cast<std::uint64_t>(value) >= least && static_cast<std::uint64_t>(value) <= most;
    if (within) return std::optional{static_cast<std::uint64_t>(value)};
    return Unexpected{error_at(key, fmt::format("{}; expected {} to {}", value, least, most))};
}

TomlTable::Maybe<bool> TomlTable::truth(std::string_view key) const {
    toml::node const* const node = find(key);
    if (node == nullptr) return std::optional<bool>{};
    if (!node->is_boolean()) return Unexpected{wrong_kind(key, *node, "true or false")};
    return std::optional{node->as_boolean()->get()};
}

Expected<std::vector<std::string>, Error> TomlTable::texts(std::string_view key) const {
    std::vector<std::string> found;
    toml::node const* const node = find(key);
    if (node == nullptr) return found;
    if (node->is_string()) return std::vector{node->as_string()->get()};
    if (!node->is_array()) return Unexpected{wrong_kind(key, *node, "a list of strings")};
    for (toml::node const& element : *node->as_array()) {
        if (!element.is_string()) return Unexpected{wrong_kind(key, element, "a list of strings")};
        found.push_back(element.as_string()->get());
    }
    return found;
}

TomlTable::Maybe<std::string> TomlTable::word(std::string_view key, Words known, Words not_built_yet) const {
    std::optional<std::string> found = BACKPLANE_TRY(text(key));
    if (!found || contains(known, *found)) return found;
    if (contains(not_built_yet, *found)) return Unexpected{not_built(key, *found, known)};
    return Unexpected{error_at(key, in_quotes(*found) + "; expected " + choice_text(known))};
}

TomlTable::Maybe<TomlTable> TomlTable::table(std::string_view key) const {
    toml::node const* const node = find(key);
    if (node == nullptr) return std::optional<TomlTable>{};
    if (!node->is_table()) return Unexpected{wrong_kind(key, *node, fmt::format("a table [{}]", name_of(key)))};
    return std::optional{TomlTable{file_, name_of(key), *node->as_table()}};
}

Expected<TomlTable, Error> TomlTable::required_table(std::string_view key) const {
    std::optional<TomlTable> found = BACKPLANE_TRY(table(key));
    check(found.has_value(), "required_table() of a key that keys_in_file_order() did not give");
    return *std::move(found);
}

Expected<std::vector<TomlTable>, Error> TomlTable::tables(std::string_view key) const {
    std::vector<TomlTable> found;
    toml::node const* const node = find(key);
    if (node == nullptr) return found;
    std::string const expected = fmt::format("a list of tables [[{}]]", name_of(key));
    toml::array const* const list = node->as_array();
    if (list == nullptr) return Unexpected{wrong_kind(key, *node, expected)};
    for (toml::node const& element : *list) {
        if (!element.is_table()) return Unexpected{wrong_kind(key, *node, expected)};
        found.emplace_back(file_, fmt::format("{}[{}]", name_of(key), found.size()), *element.as_table());
    }
    return found;
}

}  // namespace backplane
