// A TOML document as the rack file's reader wants it: keys are asked for by name and kind, and every answer that is
// not as expected is one line with file, line, column and key.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"

namespace toml {
inline namespace v3 {
class table;
class node;
}  // namespace v3
}  // namespace toml

namespace backplane {

class TomlTable;

/// Owns what was parsed; the tables borrow from it.
class TomlDocument {
  public:
    /// `file` is what errors call the document.
    /// Errors: bad_input, `file:line:column: not TOML: ...`, also for a name defined twice.
    [[nodiscard]] static Expected<TomlDocument, Error> parse(std::string_view text, std::string file);

    TomlDocument(TomlDocument&&) noexcept;
    TomlDocument& operator=(TomlDocument&&) = delete;
    ~TomlDocument();

    [[nodiscard]] TomlTable top() const;

  private:
    TomlDocument(std::unique_ptr<toml::table> table, std::string file);
    std::unique_ptr<toml::table> table_;
    std::string file_;
};

/// One table. Every getter gives nothing when the key is absent.
class TomlTable {
  public:
    using Words = std::span<std::string_view const>;
    template <typename T>
    using Maybe = Expected<std::optional<T>, Error>;

    /// `name` is the dotted name, empty for the whole document. The document must outlive the table.
    TomlTable(std::string_view file, std::string name, toml::table const& table);

    [[nodiscard]] std::string const& name() const { return name_; }
    [[nodiscard]] std::vector<std::string> keys_in_file_order() const;

    /// Errors: a key that is in neither list, with the nearest of `known`; a key of `not_built`.
    [[nodiscard]] Expected<void, Error> check_keys(Words known, Words not_built) const;

    [[nodiscard]] Maybe<std::string> text(std::string_view key) const;
    /// A whole number within [least, most].
    [[nodiscard]] Maybe<std::uint64_t> number(std::string_view key, std::uint64_t least, std::uint64_t most) const;
    /// true or false.
    [[nodiscard]] Maybe<bool> truth(std::string_view key) const;
    /// A list of strings, or a single one; empty when the key is absent.
    [[nodiscard]] Expected<std::vector<std::string>, Error> texts(std::string_view key) const;
    /// A string that is one of `known`; one of `not_built` is refused in words of its own.
    [[nodiscard]] Maybe<std::string> word(std::string_view key, Words known, Words not_built) const;
    [[nodiscard]] Maybe<TomlTable> table(std::string_view key) const;
    [[nodiscard]] Expected<TomlTable, Error> required_table(std::string_view key) const;
    /// `[[key]]`; named key[0], key[1], ...
    [[nodiscard]] Expected<std::vector<TomlTable>, Error> tables(std::string_view key) const;

    /// A string in a form that `parse` knows; its error gets the place put in front.
    template <typename T>
    [[nodiscard]] Maybe<T> parsed(std::string_view key, Expected<T, Error> (*parse)(std::string_view)) const {
        std::optional<std::string> const found = BACKPLANE_TRY(text(key));
        return parsed_text(key, found, parse);
    }
    /// A list of such strings, or a single one.
    template <typename T>
    [[nodiscard]] Expected<std::vector<T>, Error> parsed_list(std::string_view key,
                                                              Expected<T, Error> (*parse)(std::string_view)) const {
        std::vector<std::string> const found = BACKPLANE_TRY(texts(key));
        std::vector<T> values;
        for (std::string const& text : found) {
            Expected<T, Error> value = parse(text);
            if (!value) return Unexpected{error_at(key, value.error().message)};
            values.push_back(*std::move(value));
        }
        return values;
    }
    /// The same, but a plain number will do as well.
    template <typename T>
    [[nodiscard]] Maybe<T> parsed_or_number(std::string_view key, Expected<T, Error> (*parse)(std::string_view)) const {
        std::optional<std::string> const found = BACKPLANE_TRY(text_or_number(key));
        return parsed_text(key, found, parse);
    }

    /// The place of the key's value, or of this table when the key is absent.
    [[nodiscard]] Error error_at(std::string_view key, std::string_view what) const;
    [[nodiscard]] Error not_built(std::string_view key, std::string_view value, Words expected) const;

  private:
    template <typename T>
    [[nodiscard]] Maybe<T> parsed_text(std::string_view key, std::optional<std::string> const& found,
                                       Expected<T, Error> (*parse)(std::string_view)) const {
        if (!found) return std::optional<T>{};
        Expected<T, Error> value = parse(*found);
        if (!value) return Unexpected{error_at(key, value.error().message)};
        return std::optional<T>{*std::move(value)};
    }
    [[nodiscard]] Maybe<std::string> text_or_number(std::string_view key) const;
    [[nodiscard]] toml::node const* find(std::string_view key) const;
    [[nodiscard]] std::string name_of(std::string_view key) const;
    [[nodiscard]] Error wrong_kind(std::string_view key, toml::node const& node, std::string_view expected) const;
    [[nodiscard]] Error unknown_key(std::string_view key, unsigned line, unsigned column, Words known) const;

    std::string_view file_;
    std::string name_;
    toml::table const* table_;  // never null; a pointer so that tables can be assigned
};

}  // namespace backplane
