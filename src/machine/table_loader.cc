#include "machine/table_loader.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace backplane {

namespace {

constexpr std::size_t kCommandBytes = 128;
constexpr std::size_t kNameBytes = 56;
constexpr std::uint64_t kTablesAt = 64;  // make_acpi_tables() puts the first table behind the RSDP, 64-byte aligned
constexpr std::size_t kRsdpBytes = 36;
constexpr std::size_t kHeaderBytes = 36;
constexpr std::size_t kHeaderChecksum = 9;

enum class Zone : std::uint8_t { high = 1, first_mib = 2 };

class Commands {
  public:
    void allocate(std::string_view file, std::uint32_t alignment, Zone zone) {
        ByteSpan const command = next(1);
        put_name(command, 4, file);
        store(command, 60, alignment);
        store(command, 64, zone);
    }
    /// The field at `offset` of `file` holds an offset into the tables, and becomes an address.
    void add_pointer(std::string_view file, std::size_t offset, std::uint8_t bytes) {
        ByteSpan const command = next(2);
        put_name(command, 4, file);
        put_name(command, 60, TableLoader::kTablesName);
        store(command, 116, static_cast<std::uint32_t>(offset));
        store(command, 120, bytes);
    }
    void add_checksum(std::string_view file, std::size_t at, std::size_t start, std::size_t bytes) {
        ByteSpan const command = next(3);
        put_name(command, 4, file);
        store(command, 60, static_cast<std::uint32_t>(at));
        store(command, 64, static_cast<std::uint32_t>(start));
        store(command, 68, static_cast<std::uint32_t>(bytes));
    }
    [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

  private:
    ByteSpan next(std::uint32_t kind) {
        bytes_.resize(bytes_.size() + kCommandBytes);
        ByteSpan const command = ByteSpan{bytes_}.last(kCommandBytes);
        store(command, 0, kind);
        return command;
    }
    static void put_name(ByteSpan command, std::size_t offset, std::string_view name) {
        std::ranges::copy(std::as_bytes(std::span{name}).first(std::min(name.size(), kNameBytes - 1)),
                          command.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    std::vector<std::byte> bytes_;
};

// [ACPI65] table 5.9: FIRMWARE_CTRL, DSDT, X_DSDT; a field that is 0 names nothing. The DSDT's offset is 0 as well, so
// only the FADT's flag for a field says more: X_DSDT is always there, the other two with the full platform.
void link_fadt(Commands& commands, std::size_t at, bool is_full) {
    constexpr std::size_t kFacs = 36, kDsdt = 40, kDsdt64 = 140;
    if (is_full) {
        commands.add_pointer(TableLoader::kTablesName, at + kFacs, 4);
        commands.add_pointer(TableLoader::kTablesName, at + kDsdt, 4);
    }
    commands.add_pointer(TableLoader::kTablesName, at + kDsdt64, 8);
}

}  // namespace

TableLoader make_table_loader(AcpiSettings const& settings) {
    std::vector<std::byte> const image = make_acpi_tables(settings, GuestPhys{0} + (0 - kTablesAt));
    TableLoader result;
    result.rsdp.assign(image.begin(), image.begin() + kRsdpBytes);
    result.tables.assign(image.begin() + kTablesAt, image.end());
    ConstByteSpan const tables{result.tables};

    constexpr std::size_t kRsdpXsdt = 24;
    Commands commands;
    commands.allocate(TableLoader::kTablesName, kTablesAt, Zone::high);
    commands.allocate(TableLoader::kRsdpName, 16, Zone::first_mib);
    commands.add_pointer(TableLoader::kRsdpName, kRsdpXsdt, 8);
    commands.add_checksum(TableLoader::kRsdpName, 8, 0, 20);
    commands.add_checksum(TableLoader::kRsdpName, 32, 0, kRsdpBytes);
    auto const xsdt = load<std::uint64_t>(result.rsdp, kRsdpXsdt);
    auto const bytes_at = [&](std::uint64_t at) { return load<std::uint32_t>(tables, at + 4); };
    for (std::uint64_t entry = xsdt + kHeaderBytes; entry < xsdt + bytes_at(xsdt); entry += 8) {
        commands.add_pointer(TableLoader::kTablesName, entry, 8);
        auto const table = load<std::uint64_t>(tables, entry);
        if (load<std::uint32_t>(tables, table) != 0x5043'4146) continue;  // "FACP"
        link_fadt(commands, table, settings.platform == AcpiPlatform::full);
        commands.add_checksum(TableLoader::kTablesName, table + kHeaderChecksum, table, bytes_at(table));
    }
    commands.add_checksum(TableLoader::kTablesName, xsdt + kHeaderChecksum, xsdt, bytes_at(xsdt));
    result.commands = commands.take();
    return result;
}

}  // namespace backplane
