#include "machine/table_loader.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>

#include "base/bytes.h"

namespace backplane {
namespace {

unsigned sum(ConstByteSpan bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), 0U,
                           [](unsigned total, std::byte byte) { return total + std::to_integer<unsigned>(byte); }) %
           256;
}

/// Does what firmware does with the commands, with the files at fixed addresses.
class Firmware {
  public:
    explicit Firmware(TableLoader loader) {
        offered_[TableLoader::kRsdpName] = std::move(loader.rsdp);
        offered_[TableLoader::kTablesName] = std::move(loader.tables);
        EXPECT_EQ(loader.commands.size() % 128, 0U);
        for (std::size_t at = 0; at < loader.commands.size(); at += 128)
            run(ConstByteSpan{loader.commands}.subspan(at, 128));
    }
    static constexpr std::uint64_t kTablesAddress = 0x0fff'f000;
    [[nodiscard]] ConstByteSpan rsdp() { return placed_[TableLoader::kRsdpName]; }
    [[nodiscard]] ConstByteSpan table(std::uint64_t address) {
        EXPECT_GE(address, kTablesAddress);
        ConstByteSpan const rest = ConstByteSpan{placed_[TableLoader::kTablesName]}.subspan(address - kTablesAddress);
        return rest.first(load<std::uint32_t>(rest, 4));
    }

  private:
    static std::string name(ConstByteSpan command, std::size_t at) {
        return reinterpret_cast<char const*>(command.data()) + at;
    }
    void run(ConstByteSpan command) {
        std::string const file = name(command, 4);
        std::vector<std::byte>& bytes = placed_[file];
        switch (load<std::uint32_t>(command)) {
            case 1:
                bytes = offered_.at(file);
                break;
            case 2: {
                EXPECT_EQ(name(command, 60), TableLoader::kTablesName);
                auto const at = load<std::uint32_t>(command, 116);
                if (load<std::uint8_t>(command, 120) == 8)
                    store(bytes, at, load<std::uint64_t>(bytes, at) + kTablesAddress);
                else
                    store(bytes, at, static_cast<std::uint32_t>(load<std::uint32_t>(bytes, at) + kTablesAddress));
                break;
            }
            case 3: {
                auto const at = load<std::uint32_t>(command, 60);
                ConstByteSpan const range =
                    ConstByteSpan{bytes}.subspan(load<std::uint32_t>(command, 64), load<std::uint32_t>(command, 68));
                store(bytes, at, static_cast<std::uint8_t>(load<std::uint8_t>(bytes, at) - sum(range)));
                break;
            }
            default:
                ADD_FAILURE() << "an unknown command";
        }
    }
    std::map<std::string, std::vector<std::byte>> offered_;
    std::map<std::string, std::vector<std::byte>> placed_;
};

TEST(TableLoader, FirmwareLinksAndSumsTheTables) {
    for (AcpiPlatform platform : {AcpiPlatform::reduced, AcpiPlatform::full}) {
        Firmware firmware{make_table_loader({.platform = platform})};
        EXPECT_EQ(sum(firmware.rsdp()), 0U);
        EXPECT_EQ(sum(firmware.rsdp().first(20)), 0U);
        ConstByteSpan const xsdt = firmware.table(load<std::uint64_t>(firmware.rsdp(), 24));
        EXPECT_EQ(sum(xsdt), 0U);
        EXPECT_EQ(xsdt.size(), platform == AcpiPlatform::full ? 60U : 52U);
        ConstByteSpan const fadt = firmware.table(load<std::uint64_t>(xsdt, 36));
        EXPECT_EQ(load<std::uint32_t>(fadt), 0x5043'4146U);
        EXPECT_EQ(sum(fadt), 0U);
        ConstByteSpan const dsdt = firmware.table(load<std::uint64_t>(fadt, 140));
        EXPECT_EQ(load<std::uint32_t>(dsdt), 0x5444'5344U);
        EXPECT_EQ(sum(dsdt), 0U);
        if (platform != AcpiPlatform::full) continue;
        EXPECT_EQ(load<std::uint32_t>(firmware.table(load<std::uint32_t>(fadt, 40))), 0x5444'5344U);
        EXPECT_EQ(load<std::uint32_t>(firmware.table(load<std::uint32_t>(fadt, 36))), 0x5343'4146U) << "FACS";
        EXPECT_EQ(load<std::uint32_t>(firmware.table(load<std::uint64_t>(xsdt, 52))), 0x4746'434dU) << "MCFG";
    }
}

}  // namespace
}  // namespace backplane
