#include "machine/kernel_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "machine/boot_file.h"
#include "machine/multiboot.h"

namespace backplane {

namespace {

constexpr std::uint64_t kMaxKernelFileBytes = std::uint64_t{512} << 20;

// Offsets in a bzImage: [LinuxBoot] "The Real-Mode Kernel Header".
constexpr std::uint64_t kSetupSectors = 0x1F1;
constexpr std::uint64_t kBootFlag = 0x1FE;
constexpr std::uint64_t kJumpOffset = 0x201;  // the jump's distance from 0x202 is where the header ends
constexpr std::uint64_t kSignature = 0x202;
constexpr std::uint64_t kVersion = 0x206;
constexpr std::uint64_t kCode32Start = 0x214;
constexpr std::uint64_t kInitrdAddressMax = 0x22C;
constexpr std::uint64_t kRelocatable = 0x234;
constexpr std::uint64_t kXloadFlags = 0x236;
constexpr std::uint64_t kCommandLineSize = 0x238;
constexpr std::uint64_t kPayloadOffset = 0x248;
constexpr std::uint64_t kPayloadLength = 0x24C;
constexpr std::uint64_t kPreferredAddress = 0x258;
constexpr std::uint64_t kInitSize = 0x260;
constexpr std::uint64_t kHeaderEnd = 0x264;

constexpr std::uint16_t kBootFlagValue = 0xAA55;
constexpr std::string_view kSignatureValue{"HdrS"};
constexpr std::uint16_t kOldestVersion = 0x0208;  // the first with a payload_offset
constexpr std::uint16_t kPreferredAddressVersion = 0x020A;
constexpr std::uint16_t kXloadFlagsVersion = 0x020C;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kBootParamsHeaderEnd = 0x290;  // struct boot_params: the header's room ends here

Unexpected<Error> refuse(std::string_view name, std::string_view what) {
    return Unexpected{bad_input(fmt::format("{}: {}", name, what))};
}

bool is_bzimage(ConstByteSpan file) {
    if (file.size() < kSignature + kSignatureValue.size()) return false;
    std::string_view const signature{reinterpret_cast<char const*>(file.data() + kSignature), kSignatureValue.size()};
    return signature == kSignatureValue && load<std::uint16_t>(file, kBootFlag) == kBootFlagValue;
}

LinuxHeader read_header(ConstByteSpan file) {
    auto const version = load<std::uint16_t>(file, kVersion);
    std::uint64_t const stated_end = kSignature + load<std::uint8_t>(file, kJumpOffset);
    std::uint64_t const end = std::min({stated_end, kBootParamsHeaderEnd, std::uint64_t{file.size()}});
    LinuxHeader header{};
    header.bytes.assign(file.begin() + kSetupSectors, file.begin() + static_cast<std::ptrdiff_t>(end));
    header.highest_initrd = GuestPhys{load<std::uint32_t>(file, kInitrdAddressMax)};
    header.command_line_bytes = load<std::uint32_t>(file, kCommandLineSize);
    if (version >= kPreferredAddressVersion) {
        header.preferred = GuestPhys{load<std::uint64_t>(file, kPreferredAddress)};
        header.init_bytes = load<std::uint32_t>(file, kInitSize);
    }
    header.has_64_bit_entry = version >= kXloadFlagsVersion && (load<std::uint16_t>(file, kXloadFlags) & 1U) != 0;
    return header;
}

/// Where the protected-mode part begins; setup_sects 0 means 4.
std::uint64_t setup_bytes(ConstByteSpan file) {
    std::uint64_t const sectors = load<std::uint8_t>(file, kSetupSectors);
    return ((sectors == 0 ? 4 : sectors) + 1) * kSectorBytes;
}

/// The payload's place, checked against the file.
Expected<ConstByteSpan, Error> find_payload(std::string_view name, ConstByteSpan file) {
    if (file.size() < kHeaderEnd) return refuse(name, "truncated: the setup header ends beyond the end of the file");
    auto const version = load<std::uint16_t>(file, kVersion);
    if (version < kOldestVersion) {
        return refuse(name,
                      fmt::format("boot protocol {}.{:02}: expected 2.08 or later", version >> 8, version & 0xFF));
    }
    std::uint64_t const offset = setup_bytes(file) + load<std::uint32_t>(file, kPayloadOffset);
    std::uint64_t const length = load<std::uint32_t>(file, kPayloadLength);
    if (length == 0) return refuse(name, "a bzImage without a payload: expected a packed vmlinux");
    if (offset > file.size() || length > file.size() - offset) {
        return refuse(name, fmt::format("truncated: the packed kernel ends at byte {}, but the file has {}",
                                        offset + length, file.size()));
    }
    return file.subspan(offset, length);
}

Expected<std::vector<std::byte>, Error> unpack_payload(std::string_view name, ConstByteSpan payload,
                                                       std::uint64_t max_bytes) {
    if (is_elf(payload)) return std::vector<std::byte>{payload.begin(), payload.end()};  // KERNEL_UNCOMPRESSED
    auto unpacked = unpack(payload, max_bytes);
    if (!unpacked) return refuse(name, fmt::format("cannot unpack the kernel: {}", unpacked.error().message));
    return unpacked;
}

/// A kernel uses conventional memory for the boot structures, so its segments begin above.
Expected<ElfKernel, Error> parse_kernel_elf(std::string_view name, ConstByteSpan file) {
    constexpr GuestPhys kFirstMiB{0x10'0000};
    auto elf = parse_elf(file);
    if (!elf) return refuse(name, fmt::format("not a kernel: {}", elf.error().message));
    for (ElfSegment const& segment : elf->segments) {
        if (segment.start >= kFirstMiB) continue;
        return refuse(name, fmt::format("the ELF segment at {:#x} is below 1 MiB: expected a kernel above",
                                        segment.start.value()));
    }
    return elf;
}

}  // namespace

KernelImage::KernelImage(std::string name, std::vector<std::byte> elf_file, ElfKernel elf,
                         std::optional<LinuxHeader> header)
    : name_{std::move(name)}, elf_file_{std::move(elf_file)}, elf_{std::move(elf)}, header_{std::move(header)} {}

Expected<KernelImage, Error> KernelImage::load(std::string const& path, KernelForm form) {
    std::vector<std::byte> file = BACKPLANE_TRY(read_boot_file(path, kMaxKernelFileBytes));
    switch (form) {
        case KernelForm::bzimage:
            return parse_bzimage(path, std::move(file));
        case KernelForm::multiboot:
            return parse_multiboot_image(path, std::move(file));
        case KernelForm::unpacked:
            break;
    }
    return parse(path, std::move(file));
}

// [LinuxBoot] "64-bit Boot Protocol": the protected-mode part goes to its preferred address, or to code32_start when it
// cannot be moved, and is entered 0x200 bytes behind its start.
Expected<KernelImage, Error> KernelImage::parse_bzimage(std::string name, std::vector<std::byte> file) {
    constexpr std::uint64_t kEntryOffset = 0x200;
    constexpr GuestPhys kFirstMiB{0x10'0000};
    if (!is_bzimage(file) || file.size() < kHeaderEnd)
        return refuse(name, "not a bzImage: expected \"HdrS\" at 0x202 and a whole setup header");
    LinuxHeader header = read_header(file);
    if (!header.has_64_bit_entry) return refuse(name, "a bzImage without a 64-bit entry (xloadflags bit 0)");
    std::uint64_t const offset = setup_bytes(file);
    if (offset + kEntryOffset >= file.size()) return refuse(name, "truncated: nothing behind the setup sectors");
    bool const can_move = backplane::load<std::uint8_t>(file, kRelocatable) != 0;
    GuestPhys const start = can_move ? header.preferred : GuestPhys{backplane::load<std::uint32_t>(file, kCode32Start)};
    std::uint64_t const bytes = file.size() - offset;
    constexpr std::uint64_t kHighestStart = std::uint64_t{1} << 32;
    if (start < kFirstMiB || start.value() > kHighestStart)
        return refuse(name, fmt::format("the bzImage wants to be at {:#x}: expected 1 MiB to 4 GiB", start.value()));
    ElfKernel elf{};
    elf.segments.push_back({start, std::max<std::uint64_t>(bytes, header.init_bytes), offset, bytes});
    elf.entry = start + kEntryOffset;
    return KernelImage{std::move(name), std::move(file), std::move(elf), std::move(header)};
}

Expected<KernelImage, Error> KernelImage::parse_multiboot_image(std::string name, std::vector<std::byte> file) {
    constexpr GuestPhys kFirstMiB{0x10'0000};
    auto elf = parse_multiboot(file);
    if (!elf) return refuse(name, fmt::format("not a multiboot kernel: {}", elf.error().message));
    for (ElfSegment const& segment : elf->segments) {
        if (segment.start < kFirstMiB)
            return refuse(name, fmt::format("a segment at {:#x} is below 1 MiB: expected a kernel above",
                                            segment.start.value()));
    }
    KernelImage image{std::move(name), std::move(file), *std::move(elf), std::nullopt};
    image.is_multiboot_ = true;
    return image;
}

Expected<KernelImage, Error> KernelImage::parse(std::string name, std::vector<std::byte> file,
                                                std::uint64_t max_unpacked_bytes) {
    std::optional<LinuxHeader> header;
    if (is_bzimage(file)) {
        ConstByteSpan const payload = BACKPLANE_TRY(find_payload(name, file));
        header = read_header(file);
        file = BACKPLANE_TRY(unpack_payload(name, payload, max_unpacked_bytes));
    } else if (!is_elf(file)) {
        return refuse(name, "not a Linux kernel: expected a bzImage (\"HdrS\" at 0x202) or an ELF64 x86-64 image");
    }
    ElfKernel elf = BACKPLANE_TRY(parse_kernel_elf(name, file));
    return KernelImage{std::move(name), std::move(file), std::move(elf), std::move(header)};
}

ConstByteSpan KernelImage::contents(ElfSegment const& segment) const {
    return ConstByteSpan{elf_file_}.subspan(segment.file_offset, segment.file_bytes);
}

GuestPhys KernelImage::end() const {
    GuestPhys end{};
    for (ElfSegment const& segment : elf_.segments) end = std::max(end, segment.end());
    // init_size is the decompressor's need as well; an absurd value in the header cannot wrap around (32 bits).
    bool const is_preferred = header_ && elf_.segments.front().start == header_->preferred;
    return is_preferred ? std::max(end, header_->preferred + header_->init_bytes) : end;
}

std::optional<GuestPhys> KernelImage::long_mode_entry() const {
    if (header_ && !header_->has_64_bit_entry) return std::nullopt;
    return elf_.entry;
}

}  // namespace backplane
