#include "machine/acpi_tables.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/bytes.h"
#include "base/check.h"
#include "device/acpi/pm_registers.h"
#include "device/hpet/hpet.h"
#include "device/keyboard/keyboard_controller.h"
#include "device/pci/host.h"
#include "device/rtc/cmos_clock.h"
#include "machine/aml.h"
#include "machine/boot_bytes.h"
#include "machine/layout.h"

namespace backplane {

namespace {

constexpr std::string_view kOemId{"BCKPLN"};
constexpr std::string_view kOemTableId{"BACKPLAN"};
constexpr std::string_view kCreatorId{"BKPL"};

using Table = std::vector<std::byte>;

void put_text(Table& table, std::size_t offset, std::string_view text) {
    std::ranges::copy(std::as_bytes(std::span{text}), table.begin() + static_cast<std::ptrdiff_t>(offset));
}

/// Makes the bytes [0, count) sum up to 0 ([ACPI65] 5.2.2).
void put_checksum(Table& table, std::size_t offset, std::size_t count) {
    std::uint8_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum = static_cast<std::uint8_t>(sum + std::to_integer<unsigned>(table[i]));
    store(table, offset, static_cast<std::uint8_t>(load<std::uint8_t>(table, offset) - sum));
}

// The header that all tables but the RSDP begin with: [ACPI65] 5.2.6.
constexpr std::size_t kHeaderBytes = 36;
constexpr std::size_t kHeaderChecksum = 9;

// Not inline: GCC 12 would otherwise see a size that cannot be (-Wstringop-overflow).
[[gnu::noinline]] Table make_table(std::string_view signature, std::uint8_t revision, Table const& contents) {
    Table table(kHeaderBytes);
    put_text(table, 0, signature);
    store(table, 4, static_cast<std::uint32_t>(kHeaderBytes + contents.size()));
    store(table, 8, revision);
    put_text(table, 10, kOemId);
    put_text(table, 16, kOemTableId);
    store(table, 24, std::uint32_t{1});  // OEM revision
    put_text(table, 28, kCreatorId);
    store(table, 32, std::uint32_t{1});  // creator revision
    append_bytes(table, contents);
    put_checksum(table, kHeaderChecksum, table.size());
    return table;
}

// [ACPI65] 5.2.5.3.
constexpr std::size_t kRsdpBytes = 36;

Table make_rsdp(GuestPhys xsdt) {
    constexpr std::size_t kFirstPartBytes = 20;
    Table table(kRsdpBytes);
    put_text(table, 0, "RSD PTR ");
    put_text(table, 9, kOemId);
    store(table, 15, std::uint8_t{2});  // revision: this structure; the 32-bit RSDT is absent
    store(table, 20, static_cast<std::uint32_t>(kRsdpBytes));
    store(table, 24, xsdt.value());
    put_checksum(table, 8, kFirstPartBytes);
    put_checksum(table, 32, kRsdpBytes);
    return table;
}

Table make_xsdt(std::vector<GuestPhys> const& tables) {
    Table contents;
    for (GuestPhys const table : tables) {
        append_object(contents, table.value());
    }
    return make_table("XSDT", 1, contents);
}

// Generic address structure, [ACPI65] 5.2.3.2: one byte-wide port.
void put_port(Table& table, std::size_t offset, PortNumber port) {
    constexpr std::array<std::uint8_t, 4> kSystemIoByte{1, 8, 0, 1};  // space, bits, bit offset, access size
    store(table, offset, kSystemIoByte);
    store(table, offset + 4, std::uint64_t{port.value()});
}

// [ACPI65] table 5.9; offsets are from the table's start. Fields that are not named are zero: their hardware is absent.
namespace fadt {
constexpr std::size_t kBytes = 276;
constexpr std::size_t kFacs = 36;
constexpr std::size_t kDsdt = 40;
constexpr std::size_t kSciInterrupt = 46;
constexpr std::size_t kPm1aEvent = 56;
constexpr std::size_t kPm1aControl = 64;
constexpr std::size_t kPmTimer = 76;
constexpr std::size_t kPm1EventBytes = 88;
constexpr std::size_t kPm1ControlBytes = 89;
constexpr std::size_t kPmTimerBytes = 91;
constexpr std::size_t kC2Latency = 96;
constexpr std::size_t kC3Latency = 98;
constexpr std::size_t kCentury = 108;
constexpr std::size_t kBootFlags = 109;
constexpr std::size_t kFlags = 112;
constexpr std::size_t kResetRegister = 116;
constexpr std::size_t kResetValue = 128;
constexpr std::size_t kMinorVersion = 131;
constexpr std::size_t kDsdt64 = 140;
constexpr std::size_t kPm1aEvent64 = 148;
constexpr std::size_t kPm1aControl64 = 172;
constexpr std::size_t kPmTimer64 = 208;
constexpr std::size_t kSleepControl = 244;
constexpr std::size_t kSleepStatus = 256;
constexpr std::size_t kHypervisorVendor = 268;

constexpr std::uint8_t kRevision = 6;
constexpr std::uint8_t kMinorRevision = 5;
// Table 5.11. Message-signalled interrupts are allowed: bit 3 is clear.
constexpr std::uint16_t kLegacyDevices = 1U << 0;
constexpr std::uint16_t kHas8042 = 1U << 1;
constexpr std::uint16_t kVgaAbsent = 1U << 2;
constexpr std::uint16_t kCmosClockAbsent = 1U << 5;
// Table 5.10.
constexpr std::uint32_t kWbinvd = 1U << 0;
constexpr std::uint32_t kNoFixedPowerButton = 1U << 4;
constexpr std::uint32_t kNoFixedSleepButton = 1U << 5;
constexpr std::uint32_t kNoClockWakeStatus = 1U << 6;
constexpr std::uint32_t kTimer32Bits = 1U << 8;
constexpr std::uint32_t kResetSupported = 1U << 10;
constexpr std::uint32_t kHeadless = 1U << 12;
constexpr std::uint32_t kHardwareReduced = 1U << 20;
}  // namespace fadt

struct TablePlaces {
    GuestPhys dsdt;
    GuestPhys facs;
};

void describe_reduced_platform(Table& table, AcpiSettings const& settings) {
    std::uint16_t const vga = settings.has_vga ? 0 : fadt::kVgaAbsent;
    store(table, fadt::kBootFlags, static_cast<std::uint16_t>(vga | fadt::kCmosClockAbsent));
    store(table, fadt::kFlags,
          fadt::kWbinvd | fadt::kNoFixedPowerButton | fadt::kNoFixedSleepButton | fadt::kNoClockWakeStatus |
              fadt::kResetSupported | (settings.has_vga ? 0 : fadt::kHeadless) | fadt::kHardwareReduced);
    put_port(table, fadt::kSleepControl, settings.sleep_control);
    put_port(table, fadt::kSleepStatus, settings.sleep_status);
}

// A block of ports, by its old field and as a generic address.
void put_block(Table& table, std::size_t field, std::size_t field64, PortNumber port, std::uint8_t bits,
               std::uint8_t access) {
    store(table, field, std::uint32_t{port.value()});
    store(table, field64, std::array<std::uint8_t, 4>{1, bits, 0, access});
    store(table, field64 + 4, std::uint64_t{port.value()});
}

// There is no SMI command port: ACPI mode is always on. Latencies above 100 and 1000 mean that C2 and C3 do not exist.
void describe_full_platform(Table& table, AcpiSettings const& settings, GuestPhys facs) {
    constexpr std::uint16_t kNoC2 = 101;
    constexpr std::uint16_t kNoC3 = 1001;
    constexpr std::uint8_t kCenturyRegister = 0x32;
    constexpr std::uint8_t kWord = 2;  // access sizes
    constexpr std::uint8_t kDword = 3;
    store(table, fadt::kFacs, static_cast<std::uint32_t>(facs.value()));
    store(table, fadt::kSciInterrupt, static_cast<std::uint16_t>(kAcpiInterrupt));
    put_block(table, fadt::kPm1aEvent, fadt::kPm1aEvent64, kPmEventPorts, 32, kWord);
    put_block(table, fadt::kPm1aControl, fadt::kPm1aControl64, kPmControlPorts, 16, kWord);
    put_block(table, fadt::kPmTimer, fadt::kPmTimer64, kPmTimerPorts, 32, kDword);
    store(table, fadt::kPm1EventBytes, std::uint8_t{4});
    store(table, fadt::kPm1ControlBytes, std::uint8_t{2});
    store(table, fadt::kPmTimerBytes, std::uint8_t{4});
    store(table, fadt::kC2Latency, kNoC2);
    store(table, fadt::kC3Latency, kNoC3);
    store(table, fadt::kCentury, kCenturyRegister);
    std::uint16_t const vga = settings.has_vga ? 0 : fadt::kVgaAbsent;
    store(table, fadt::kBootFlags, static_cast<std::uint16_t>(fadt::kLegacyDevices | fadt::kHas8042 | vga));
    store(table, fadt::kFlags,
          fadt::kWbinvd | fadt::kNoFixedSleepButton | fadt::kNoClockWakeStatus | fadt::kTimer32Bits |
              fadt::kResetSupported);
}

Table make_fadt(AcpiSettings const& settings, TablePlaces const& places) {
    Table table = make_table("FACP", fadt::kRevision, Table(fadt::kBytes - kHeaderBytes));
    if (settings.platform == AcpiPlatform::reduced)
        describe_reduced_platform(table, settings);
    else
        describe_full_platform(table, settings, places.facs);
    put_port(table, fadt::kResetRegister, settings.reset);
    store(table, fadt::kResetValue, settings.reset_value);
    store(table, fadt::kMinorVersion, fadt::kMinorRevision);
    if (settings.platform == AcpiPlatform::full)
        store(table, fadt::kDsdt, static_cast<std::uint32_t>(places.dsdt.value()));
    store(table, fadt::kDsdt64, places.dsdt.value());
    put_text(table, fadt::kHypervisorVendor, kOemTableId);
    put_checksum(table, kHeaderChecksum, table.size());
    return table;
}

// 5.2.10: it has neither a checksum nor the common header.
Table make_facs() {
    constexpr std::size_t kBytes = 64;
    constexpr std::uint8_t kVersion = 2;
    Table table(kBytes);
    put_text(table, 0, "FACS");
    store(table, 4, static_cast<std::uint32_t>(kBytes));
    store(table, 32, kVersion);
    return table;
}

// [PCIFW] 4.1.2: one range, bus 0 alone.
Table make_mcfg() {
    Table contents(8);  // reserved
    append_object(contents, kPciEcam.value());
    append_object(contents, std::uint64_t{0});  // segment 0, buses 0 to 0, reserved
    return make_table("MCFG", 1, contents);
}

// [HPET] 3.2.4.
Table make_hpet() {
    constexpr std::array<std::uint8_t, 4> kSystemMemory{0, 64, 0, 0};
    constexpr std::uint16_t kLeastTicks = 128;  // of a periodic comparator without lost interrupts
    constexpr std::uint8_t kPageIsItsOwn = 1;
    Table contents;
    append_object(contents, Hpet::kBlockId);
    append_object(contents, kSystemMemory);
    append_object(contents, kHpet.value());
    append_object(contents, std::uint8_t{0});  // its number
    append_object(contents, kLeastTicks);
    append_object(contents, kPageIsItsOwn);
    return make_table("HPET", 1, contents);
}

// [ACPI65] 5.2.12.2, 5.2.12.3, 5.2.12.7: the structures of the MADT that we have.
#pragma pack(push, 1)
struct MadtHead {
    std::uint32_t local_apic{static_cast<std::uint32_t>(kLocalApic.value())};
    std::uint32_t flags{0};  // bit 0: there are 8259s
};
struct MadtLocalApic {
    std::uint8_t kind{0};
    std::uint8_t bytes{8};
    std::uint8_t processor;
    std::uint8_t apic_id;
    std::uint32_t flags{1};  // enabled
};
struct MadtIoApic {
    std::uint8_t kind{1};
    std::uint8_t bytes{12};
    std::uint8_t io_apic_id{kIoApicId};
    std::uint8_t reserved{0};
    std::uint32_t address{static_cast<std::uint32_t>(kIoApic.value())};
    std::uint32_t first_interrupt{0};
};
struct MadtOverride {
    std::uint8_t kind{2};
    std::uint8_t bytes{10};
    std::uint8_t bus{0};  // ISA
    std::uint8_t source;
    std::uint32_t input;
    std::uint16_t flags;  // 5.2.12.5: 0 as the bus has it; 0x0D level-triggered, active high
};
struct MadtLocalNmi {
    std::uint8_t kind{4};
    std::uint8_t bytes{6};
    std::uint8_t processor{0xFF};  // all
    std::uint16_t flags{0};        // as the bus has it: edge, active high
    std::uint8_t input{1};         // LINT1
};
#pragma pack(pop)
static_assert(sizeof(MadtLocalApic) == 8 && sizeof(MadtOverride) == 10 && sizeof(MadtIoApic) == 12 &&
              sizeof(MadtLocalNmi) == 6);

Table make_madt(AcpiSettings const& settings) {
    bool const is_full = settings.platform == AcpiPlatform::full;
    constexpr std::uint8_t kRevision = 5;
    Table contents;
    append_object(contents, MadtHead{.flags = is_full ? 1U : 0U});
    for (unsigned i = 0; i < settings.processor_count; ++i) {
        append_object(contents, MadtLocalApic{.processor = static_cast<std::uint8_t>(i),
                                              .apic_id = static_cast<std::uint8_t>(i)});
    }
    append_object(contents, MadtIoApic{});
    if (is_full) {
        constexpr std::uint16_t kLevelHigh = 0x0d;
        append_object(contents, MadtOverride{.source = kTimerInterrupt, .input = kTimerInput, .flags = 0});
        append_object(contents, MadtOverride{.source = kAcpiInterrupt, .input = kAcpiInterrupt, .flags = kLevelHigh});
    }
    append_object(contents, MadtLocalNmi{});
    return make_table("APIC", kRevision, contents);
}

// 6.2.13: {address with function ~0, pin, source 0, I/O APIC input}: INTA of each slot but that of the bridge.
aml::Code make_interrupt_routing() {
    constexpr std::uint64_t kAnyFunction = 0xFFFF;
    std::vector<aml::Code> routes;
    for (unsigned slot = 1; slot < PciHost::kSlotCount; ++slot) {
        routes.push_back(aml::package({aml::integer(std::uint64_t{slot} << 16 | kAnyFunction), aml::integer(0),
                                       aml::integer(0), aml::integer(IntxRouter::input_of(slot))}));
    }
    return aml::package(routes);
}

// PNP0A03 and not PNP0A08: configuration space is reached through ports only. The ports 0xCF8 to 0xCFF are the
// bridge's own, all others are handed on.
aml::Code make_pci_root() {
    constexpr std::uint16_t kConfigFirst = PciHost::kPorts.value();
    constexpr std::uint16_t kConfigEnd = kConfigFirst + PciHost::kPortCount;
    constexpr std::uint16_t kPortsAfter = static_cast<std::uint16_t>(0x1'0000 - kConfigEnd);
    return aml::device("PCI0",
                       {aml::name("_HID", aml::eisa_id("PNP0A03")), aml::name("_UID", aml::integer(0)),
                        aml::name("_SEG", aml::integer(0)), aml::name("_BBN", aml::integer(0)),
                        aml::name("_CRS", aml::resource_template({
                                              aml::bus_window(0, 1),
                                              aml::io_ports(kConfigFirst, PciHost::kPortCount),
                                              aml::io_window(0, kConfigFirst),
                                              aml::io_window(kConfigEnd, kPortsAfter),
                                              aml::memory_window32(static_cast<std::uint32_t>(kPciWindow32.value()),
                                                                   static_cast<std::uint32_t>(kPciWindow32Bytes)),
                                              aml::memory_window64(kPciWindow64.value(), kPciWindow64Bytes),
                                          })),
                        aml::name("_PRT", make_interrupt_routing())});
}

aml::Code make_serial_port() {
    return aml::device("COM1", {aml::name("_HID", aml::eisa_id("PNP0501")), aml::name("_UID", aml::integer(0)),
                                aml::name("_CRS", aml::resource_template({
                                                      aml::io_ports(kSerialPorts.value(), kSerialPortCount),
                                                      aml::edge_interrupt(kSerialInterrupt),
                                                  }))});
}

// What a PC has at fixed places, with the identifiers that drivers look for.
aml::Code make_legacy_devices() {
    constexpr std::uint16_t kPit = 0x40;
    constexpr std::uint16_t kKeyboardData = KeyboardController::kDataPort.value();
    constexpr std::uint16_t kKeyboardCommand = KeyboardController::kCommandPort.value();
    auto const ecam = static_cast<std::uint32_t>(kPciEcam.value());
    return aml::join({
        aml::device("TIMR", {aml::name("_HID", aml::eisa_id("PNP0100")),
                             aml::name("_CRS", aml::resource_template(
                                                   {aml::io_ports(kPit, 4), aml::edge_interrupt(kTimerInput)}))}),
        aml::device("RTC", {aml::name("_HID", aml::eisa_id("PNP0B00")),
                            aml::name("_CRS", aml::resource_template(
                                                  {aml::io_ports(CmosClock::kPorts.value(), CmosClock::kPortCount),
                                                   aml::edge_interrupt(kClockInterrupt)}))}),
        aml::device("KBD", {aml::name("_HID", aml::eisa_id("PNP0303")),
                            aml::name("_CRS", aml::resource_template({aml::io_ports(kKeyboardData, 1),
                                                                      aml::io_ports(kKeyboardCommand, 1),
                                                                      aml::edge_interrupt(kKeyboardInterrupt)}))}),
        // Motherboard resources: the ECAM belongs to nobody else ([PCIFW] 4.1.2).
        aml::device("MBRD", {aml::name("_HID", aml::eisa_id("PNP0C02")),
                             aml::name("_CRS", aml::resource_template({aml::fixed_memory(
                                                   ecam, static_cast<std::uint32_t>(kPciEcamBytes))}))}),
    });
}

aml::Code make_hpet_device() {
    return aml::device("HPET", {aml::name("_HID", aml::eisa_id("PNP0103")),
                                aml::name("_CRS", aml::resource_template({aml::fixed_memory(
                                                      static_cast<std::uint32_t>(kHpet.value()), Hpet::kBytes)}))});
}

Table make_dsdt(AcpiSettings const& settings) {
    constexpr std::uint8_t kRevision = 2;  // integers have 64 bits
    // 7.4.2.6; without PM1b registers, the second value is the first's copy.
    std::uint8_t const type = settings.sleep_type_off;
    aml::Code const off = aml::package({aml::integer(type), aml::integer(type), aml::integer(0), aml::integer(0)});
    aml::Code devices = aml::join({make_pci_root(), make_serial_port()});
    if (settings.platform == AcpiPlatform::full) devices = aml::join({devices, make_legacy_devices()});
    if (settings.has_hpet) devices = aml::join({devices, make_hpet_device()});
    return make_table("DSDT", kRevision, aml::join({aml::name("\\_S5", off), aml::scope("\\_SB", {devices})}));
}

}  // namespace

std::vector<std::byte> make_acpi_tables(AcpiSettings const& settings, GuestPhys address) {
    constexpr std::uint64_t kAlignment = 64;
    check(settings.processor_count >= 1 && settings.processor_count <= kMaxProcessors, "1 to 255 processors");
    Table image(kRsdpBytes);
    auto const place = [&](Table const& table) {
        image.resize((image.size() + kAlignment - 1) / kAlignment * kAlignment);
        GuestPhys const start = address + image.size();
        append_bytes(image, table);
        return start;
    };
    bool const is_full = settings.platform == AcpiPlatform::full;
    TablePlaces places{};
    places.dsdt = place(make_dsdt(settings));
    if (is_full) places.facs = place(make_facs());  // 5.2.10: on a boundary of 64 bytes
    std::vector<GuestPhys> listed{place(make_fadt(settings, places)), place(make_madt(settings))};
    if (is_full) listed.push_back(place(make_mcfg()));
    if (settings.has_hpet) listed.push_back(place(make_hpet()));
    GuestPhys const xsdt = place(make_xsdt(listed));
    std::ranges::copy(make_rsdp(xsdt), image.begin());
    check(image.size() <= kAcpiTablesBytes, "the ACPI tables fit into their range");
    return image;
}

}  // namespace backplane
