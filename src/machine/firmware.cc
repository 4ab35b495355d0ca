#include "machine/firmware.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "machine/boot_bytes.h"
#include "machine/layout.h"
#include "machine/table_loader.h"

namespace backplane {

namespace {

constexpr std::uint64_t kGranularity = 64 * 1024;
constexpr std::uint64_t kLowCopyBytes = 128 * 1024;
constexpr GuestPhys kLowCopyEnd{0x10'0000};
constexpr GuestPhys kImageEnd{0x1'0000'0000};

constexpr std::uint16_t kMenuWaitMs = 1000;

}  // namespace

Expected<void, Error> check_firmware(std::string_view name, std::uint64_t bytes) {
    if (bytes != 0 && bytes <= kMaxFirmwareBytes && bytes % kGranularity == 0) return {};
    return Unexpected{
        bad_input(fmt::format("{}: {} bytes: expected a flat firmware image, a multiple of 64 KiB up to {} MiB", name,
                              bytes, kMaxFirmwareBytes / kMiB))};
}

Expected<void, Error> load_firmware(ConstByteSpan image, GuestMemory& memory) {
    GuestPhys const start{kImageEnd.value() - image.size()};
    std::uint64_t const pages = image.size() / kPageBytes;
    FrameNumber const frames = BACKPLANE_TRY(memory.pool().allocate(pages));
    memory.map().map(page_of(start), frames, pages, OwnerState::owner_exclusive, Access::read_write).run();
    std::uint64_t const low_bytes = std::min<std::uint64_t>(image.size(), kLowCopyBytes);
    GuestPhys const low_start{kLowCopyEnd.value() - low_bytes};
    if (!memory.write(start, image) || !memory.write(low_start, image.last(low_bytes)))
        return Unexpected{bad_input("the machine has no memory for its firmware")};
    memory.map().map(page_of(start), frames, pages, OwnerState::owner_exclusive, Access::read).run();
    return {};
}

void describe_board(FwCfg& fw_cfg, std::uint64_t memory_bytes, AcpiSettings const& acpi) {
    fw_cfg.set_number(FwCfg::kRamBytes, low_memory_end(memory_bytes).value());
    fw_cfg.set_number(FwCfg::kProcessorCount, static_cast<std::uint16_t>(acpi.processor_count));
    fw_cfg.set_number(FwCfg::kProcessorLimit, static_cast<std::uint16_t>(acpi.processor_count));
    fw_cfg.set_number(FwCfg::kShowBootMenu, std::uint16_t{1});
    std::vector<std::byte> map;
    for (MemoryRange const& range : memory_map(memory_bytes)) {
        // Firmware makes its own arrangements below 1 MiB; RAM begins at 0 for it.
        if (range.start > kHighMemory || range.start.value() == 0) {
            std::uint64_t const first = range.start.value();
            append_object(map, first);
            append_object(map, range.start.value() == 0 ? low_memory_end(memory_bytes).value() : range.bytes);
            append_object(map, static_cast<std::uint32_t>(range.kind));
        }
    }
    fw_cfg.set_file("etc/e820", std::move(map));
    std::vector<std::byte> wait;
    append_object(wait, kMenuWaitMs);
    fw_cfg.set_file("etc/boot-menu-wait", std::move(wait));
    if (!acpi.has_vga) {  // else the screen is its console
        std::vector<std::byte> serial;
        append_object(serial, std::uint64_t{kSerialPorts.value()});
        fw_cfg.set_file("etc/sercon-port", std::move(serial));
    }
    TableLoader loader = make_table_loader(acpi);
    fw_cfg.set_file(TableLoader::kRsdpName, std::move(loader.rsdp));
    fw_cfg.set_file(TableLoader::kTablesName, std::move(loader.tables));
    fw_cfg.set_file("etc/table-loader", std::move(loader.commands));
}

}  // namespace backplane
