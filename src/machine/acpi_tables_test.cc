#include "machine/acpi_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "base/bytes.h"
#include "machine/layout.h"

namespace backplane {
namespace {

using testing::HasSubstr;

constexpr AcpiSettings kSettings{.processor_count = 3,
                                 .sleep_control = PortNumber{0x600},
                                 .sleep_status = PortNumber{0x601},
                                 .reset = PortNumber{0x604},
                                 .reset_value = 0x42,
                                 .sleep_type_off = 5};

/// Walks the tables as a kernel does, from the RSDP's address on.
class Tables {
  public:
    explicit Tables(AcpiSettings const& settings = kSettings) : image_{make_acpi_tables(settings, kAcpiTables)} {}

    [[nodiscard]] ConstByteSpan at(std::uint64_t address) const {
        EXPECT_GE(address, kAcpiTables.value());
        EXPECT_LT(address, kAcpiTables.value() + image_.size());
        return ConstByteSpan{image_}.subspan(address - kAcpiTables.value());
    }
    [[nodiscard]] ConstByteSpan table(std::uint64_t address) const {
        ConstByteSpan const rest = at(address);
        return rest.first(load<std::uint32_t>(rest, 4));
    }
    [[nodiscard]] ConstByteSpan xsdt() const { return table(load<std::uint64_t>(at(kAcpiTables.value()), 24)); }
    [[nodiscard]] ConstByteSpan listed(std::size_t index) const {
        return table(load<std::uint64_t>(xsdt(), 36 + 8 * index));
    }
    [[nodiscard]] ConstByteSpan fadt() const { return listed(0); }
    [[nodiscard]] ConstByteSpan madt() const { return listed(1); }
    [[nodiscard]] ConstByteSpan dsdt() const { return table(load<std::uint64_t>(fadt(), 140)); }

  private:
    std::vector<std::byte> image_;
};

unsigned sum(ConstByteSpan bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), 0U,
                           [](unsigned total, std::byte byte) { return total + std::to_integer<unsigned>(byte); }) %
           256;
}

std::string text(ConstByteSpan bytes, std::size_t offset, std::size_t count) {
    return {reinterpret_cast<char const*>(bytes.data()) + offset, count};
}

TEST(AcpiTables, RsdpLeadsToTheTables) {
    Tables const tables;
    ConstByteSpan const rsdp = tables.at(kAcpiTables.value());
    EXPECT_EQ(text(rsdp, 0, 8), "RSD PTR ");
    EXPECT_EQ(load<std::uint8_t>(rsdp, 15), 2);
    EXPECT_EQ(sum(rsdp.first(20)), 0U);
    EXPECT_EQ(sum(rsdp.first(36)), 0U);
    EXPECT_EQ(text(tables.xsdt(), 0, 4), "XSDT");
    EXPECT_EQ(tables.xsdt().size(), 36U + 2 * 8);
    EXPECT_EQ(text(tables.fadt(), 0, 4), "FACP");
    EXPECT_EQ(text(tables.madt(), 0, 4), "APIC");
    EXPECT_EQ(text(tables.dsdt(), 0, 4), "DSDT");
    for (ConstByteSpan const table : {tables.xsdt(), tables.fadt(), tables.madt(), tables.dsdt()}) {
        EXPECT_EQ(sum(table), 0U) << text(table, 0, 4);
    }
}

TEST(AcpiTables, FadtDescribesAHardwareReducedPlatform) {
    Tables const tables;
    ConstByteSpan const fadt = tables.fadt();
    ASSERT_EQ(fadt.size(), 276U);
    EXPECT_EQ(load<std::uint8_t>(fadt, 8), 6);
    EXPECT_EQ(load<std::uint16_t>(fadt, 109), 0x24);  // no VGA, no CMOS clock, no 8042
    EXPECT_EQ(load<std::uint32_t>(fadt, 112) & (1U << 20 | 1U << 10), 1U << 20 | 1U << 10);
    EXPECT_EQ(load<std::uint8_t>(fadt, 116), 1);  // system I/O
    EXPECT_EQ(load<std::uint64_t>(fadt, 120), 0x604U);
    EXPECT_EQ(load<std::uint8_t>(fadt, 128), 0x42);
    EXPECT_EQ(load<std::uint64_t>(fadt, 248), 0x600U);
    EXPECT_EQ(load<std::uint64_t>(fadt, 260), 0x601U);
    for (std::size_t offset = 148; offset < 244; ++offset) EXPECT_EQ(fadt[offset], std::byte{0}) << offset;  // X_PM...
}

AcpiSettings full_settings() {
    AcpiSettings settings = kSettings;
    settings.platform = AcpiPlatform::full;
    return settings;
}

// [ACPI65] table 5.9.
TEST(AcpiTables, FullFadtDescribesThePcsRegisters) {
    Tables const tables{full_settings()};
    ConstByteSpan const fadt = tables.fadt();
    EXPECT_EQ(sum(fadt), 0U);
    EXPECT_EQ(load<std::uint16_t>(fadt, 46), 9) << "SCI";
    EXPECT_EQ(load<std::uint32_t>(fadt, 48), 0U) << "no SMI command port";
    EXPECT_EQ(load<std::uint32_t>(fadt, 56), 0x620U);
    EXPECT_EQ(load<std::uint64_t>(fadt, 152), 0x620U);
    EXPECT_EQ(load<std::uint32_t>(fadt, 64), 0x624U);
    EXPECT_EQ(load<std::uint64_t>(fadt, 176), 0x624U);
    EXPECT_EQ(load<std::uint32_t>(fadt, 76), 0x628U);
    EXPECT_EQ(load<std::uint32_t>(fadt, 208), 0x0300'2001U) << "32 ports' bits, dword accesses";
    EXPECT_EQ(load<std::uint16_t>(fadt, 109), 0x07) << "legacy devices, 8042, no VGA";
    std::uint32_t const flags = load<std::uint32_t>(fadt, 112);
    EXPECT_EQ(flags & 1U << 20, 0U) << "not hardware-reduced";
    EXPECT_EQ(flags & (1U << 4 | 1U << 8), 1U << 8) << "a power button and 32 timer bits";
    EXPECT_EQ(load<std::uint32_t>(fadt, 40), load<std::uint64_t>(fadt, 140));
    ConstByteSpan const facs = tables.at(load<std::uint32_t>(fadt, 36));
    EXPECT_EQ(text(facs, 0, 4), "FACS");
    EXPECT_EQ(load<std::uint32_t>(fadt, 36) % 64, 0U);
    AcpiSettings with_vga = full_settings();
    with_vga.has_vga = true;
    EXPECT_EQ(load<std::uint16_t>(Tables{with_vga}.fadt(), 109), 0x03);
}

// [ACPI65] 5.2.12.5.
TEST(AcpiTables, FullMadtSaysWhereIsaInterruptsAre) {
    Tables const tables{full_settings()};
    ConstByteSpan const madt = tables.madt();
    EXPECT_EQ(load<std::uint32_t>(madt, 40), 1U) << "8259s";
    std::size_t const overrides = 44 + 3 * 8 + 12;
    EXPECT_EQ(load<std::uint32_t>(madt, overrides), 0x0000'0a02U);
    EXPECT_EQ(load<std::uint32_t>(madt, overrides + 4), 2U) << "the timer";
    EXPECT_EQ(load<std::uint32_t>(madt, overrides + 10), 0x0900'0a02U);
    EXPECT_EQ(load<std::uint16_t>(madt, overrides + 18), 0x0d) << "level, active high";
}

// [PCIFW] 4.1.2.
TEST(AcpiTables, McfgNamesTheMemoryMappedConfigurationSpace) {
    Tables const tables{full_settings()};
    EXPECT_EQ(tables.xsdt().size(), 36U + 3 * 8);
    ConstByteSpan const mcfg = tables.listed(2);
    EXPECT_EQ(text(mcfg, 0, 4), "MCFG");
    EXPECT_EQ(sum(mcfg), 0U);
    ASSERT_EQ(mcfg.size(), 60U);
    EXPECT_EQ(load<std::uint64_t>(mcfg, 44), kPciEcam.value());
    EXPECT_EQ(load<std::uint64_t>(mcfg, 52), 0U);
}

// [HPET] 3.2.4.
TEST(AcpiTables, HpetIsListedWhenThereIsOne) {
    AcpiSettings settings = full_settings();
    settings.has_hpet = true;
    Tables const tables{settings};
    ConstByteSpan const hpet = tables.listed(3);
    ASSERT_EQ(text(hpet, 0, 4), "HPET");
    EXPECT_EQ(hpet.size(), 56U);
    EXPECT_EQ(sum(hpet), 0U);
    EXPECT_EQ(load<std::uint32_t>(hpet, 36), 0x8086'A201U);
    EXPECT_EQ(load<std::uint64_t>(hpet, 44), 0xFED0'0000U);
}

TEST(AcpiTables, MadtListsProcessorsAndIoApic) {
    Tables const tables;
    ConstByteSpan const madt = tables.madt();
    EXPECT_EQ(load<std::uint32_t>(madt, 36), 0xFEE0'0000U);
    EXPECT_EQ(load<std::uint32_t>(madt, 40), 0U);  // no 8259
    std::size_t at = 44;
    for (unsigned i = 0; i < 3; ++i, at += 8) {
        EXPECT_EQ(load<std::uint16_t>(madt, at), 0x0800);
        EXPECT_EQ(load<std::uint8_t>(madt, at + 2), i);
        EXPECT_EQ(load<std::uint8_t>(madt, at + 3), i);
        EXPECT_EQ(load<std::uint32_t>(madt, at + 4), 1U);
    }
    EXPECT_EQ(load<std::uint16_t>(madt, at), 0x0C01);
    EXPECT_EQ(load<std::uint32_t>(madt, at + 4), 0xFEC0'0000U);
    EXPECT_EQ(load<std::uint32_t>(madt, at + 8), 0U);
    at += 12;
    EXPECT_EQ(load<std::uint16_t>(madt, at), 0x0604);
    EXPECT_EQ(load<std::uint8_t>(madt, at + 5), 1);
    EXPECT_EQ(at + 6, madt.size());
}

TEST(AcpiTables, TheLargestMachineFits) {
    AcpiSettings settings = kSettings;
    settings.processor_count = kMaxProcessors;
    EXPECT_LE(make_acpi_tables(settings, kAcpiTables).size(), kAcpiTablesBytes);
}

/// Runs a command in a shell; its exit code, and what it printed.
std::pair<int, std::string> run(std::string const& command) {
    std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return {-1, {}};
    std::string output;
    std::array<char, 512> piece{};
    while (std::fgets(piece.data(), piece.size(), pipe) != nullptr) output += piece.data();
    int const status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

std::string read_text(std::filesystem::path const& path) {
    std::ifstream stream{path};
    return {std::istreambuf_iterator<char>{stream}, {}};
}

/// The tables as files in a folder of their own, for ACPICA's compiler.
class Disassembly : public testing::Test {
  protected:
    void SetUp() override {
        if (run("command -v iasl").first != 0) GTEST_SKIP() << "iasl (acpica-tools) is not installed";
        std::filesystem::create_directories(folder_);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string disassemble(std::string const& name, ConstByteSpan table) {
        std::ofstream{folder_ / (name + ".aml"), std::ios::binary}.write(reinterpret_cast<char const*>(table.data()),
                                                                         static_cast<std::streamsize>(table.size()));
        auto const [code, output] = run("cd " + folder_.string() + " && iasl -d " + name + ".aml");
        EXPECT_EQ(code, 0) << output;
        EXPECT_EQ(output.find("rror"), std::string::npos) << output;
        EXPECT_EQ(output.find("nvalid"), std::string::npos) << output;
        return read_text(folder_ / (name + ".dsl"));
    }

    std::filesystem::path folder_{testing::TempDir() + "acpi_tables_test." + std::to_string(::getpid())};
    Tables tables_;
};

TEST_F(Disassembly, DsdtReadsAsIntended) {
    std::string const source = disassemble("dsdt", tables_.dsdt());
    for (char const* expected :
         {"Name (\\_S5, Package (0x04)", "Device (PCI0)", "EisaId (\"PNP0A03\")", "WordBusNumber (ResourceProducer",
          "0xC0000000,         // Range Minimum", "0xFEBFFFFF,         // Range Maximum",
          "0x0000004000000000, // Range Minimum", "0x0000007FFFFFFFFF, // Range Maximum", "Name (_PRT, Package (0x1F)",
          "Device (COM1)", "EisaId (\"PNP0501\")", "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"}) {
        EXPECT_THAT(source, HasSubstr(expected));
    }
    EXPECT_THAT(source, HasSubstr("0x001FFFFF"));  // slot 31
    // What was read compiles again without a complaint, so that its structure is legal ASL too.
    auto const [code, output] = run("cd " + folder_.string() + " && iasl -p again dsdt.dsl");
    EXPECT_EQ(code, 0) << output;
    EXPECT_THAT(output, HasSubstr("0 Errors, 0 Warnings")) << output;
}

TEST_F(Disassembly, FullTablesReadAsIntended) {
    Tables const full{full_settings()};
    std::string const source = disassemble("full", full.dsdt());
    for (char const* expected :
         {"EisaId (\"PNP0100\")", "EisaId (\"PNP0B00\")", "EisaId (\"PNP0303\")", "EisaId (\"PNP0C02\")",
          "Memory32Fixed (ReadWrite", "0xFEF00000,         // Address Base"})
        EXPECT_THAT(source, HasSubstr(expected));
    auto const [code, output] = run("cd " + folder_.string() + " && iasl -p again full.dsl");
    EXPECT_EQ(code, 0) << output;
    EXPECT_THAT(output, HasSubstr("0 Errors, 0 Warnings")) << output;
    std::string const fadt = disassemble("fadt", full.fadt());
    EXPECT_THAT(fadt, HasSubstr("Hardware Reduced (V5) : 0"));
    EXPECT_THAT(fadt, HasSubstr("SCI Interrupt : 0009"));
    EXPECT_THAT(disassemble("madt", full.madt()), HasSubstr("PC-AT Compatibility : 1"));
    EXPECT_THAT(disassemble("mcfg", full.listed(2)), HasSubstr("Base Address : 00000000FEF00000"));
}

TEST_F(Disassembly, DataTablesReadAsIntended) {
    std::string const fadt = disassemble("fadt", tables_.fadt());
    EXPECT_THAT(fadt, HasSubstr("Hardware Reduced (V5) : 1"));
    EXPECT_THAT(fadt, HasSubstr("Reset Register Supported (V2) : 1"));
    EXPECT_THAT(fadt, HasSubstr("VGA Not Present (V4) : 1"));
    EXPECT_THAT(fadt, HasSubstr("CMOS RTC Not Present (V5) : 1"));
    EXPECT_THAT(fadt, HasSubstr("MSI Not Supported (V4) : 0"));
    EXPECT_THAT(disassemble("madt", tables_.madt()), HasSubstr("Interrupt Input LINT : 01"));
    EXPECT_THAT(disassemble("xsdt", tables_.xsdt()), HasSubstr("ACPI Table Address   1"));
}

}  // namespace
}  // namespace backplane
