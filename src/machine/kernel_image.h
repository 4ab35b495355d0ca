// A Linux kernel, or another ELF kernel, ready to be put into any number of machines: unpacked and checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "machine/elf.h"
#include "machine/unpack.h"

namespace backplane {

/// The part of a bzImage that the 64-bit boot protocol hands on to the kernel, and the limits it states.
/// Source: [LinuxBoot] "The Real-Mode Kernel Header"
struct LinuxHeader {
    std::vector<std::byte> bytes;        ///< from offset 0x1F1 of the file to the header's end
    GuestPhys highest_initrd{};          ///< initrd_addr_max: the last byte that an initrd may take
    std::uint64_t command_line_bytes{};  ///< cmdline_size, without the final zero
    GuestPhys preferred{};               ///< pref_address
    std::uint64_t init_bytes{};          ///< init_size: memory from pref_address that the kernel takes at its start
    bool has_64_bit_entry{};             ///< xloadflags bit 0
};

/// What is to be made of the file.
enum class KernelForm : std::uint8_t {
    unpacked,   ///< the vmlinux itself, unpacked by the host
    bzimage,    ///< the bzImage as it is: its own decompressor runs in the machine
    multiboot,  ///< [Multiboot] version 1: ELF32, ELF64 or flat
};

class KernelImage {
  public:
    /// Reads a bzImage (boot protocol 2.08 or later) whose payload is an ELF64 x86-64 vmlinux, or such a vmlinux.
    /// Errors: one line that begins with the path and says what was expected.
    [[nodiscard]] static Expected<KernelImage, Error> load(std::string const& path,
                                                             KernelForm form = KernelForm::unpacked);

    /// The same from bytes; `name` stands for the path in messages.
    [[nodiscard]] static Expected<KernelImage, Error> parse(std::string name, std::vector<std::byte> file,
                                                            std::uint64_t max_unpacked_bytes = kMaxUnpackedBytes);
    /// The other two forms.
    [[nodiscard]] static Expected<KernelImage, Error> parse_bzimage(std::string name, std::vector<std::byte> file);
    [[nodiscard]] static Expected<KernelImage, Error> parse_multiboot_image(std::string name,
                                                                            std::vector<std::byte> file);

    [[nodiscard]] std::string const& name() const { return name_; }
    [[nodiscard]] std::vector<ElfSegment> const& segments() const { return elf_.segments; }
    /// The bytes of a segment that come from the file; the rest of its memory is zero.
    [[nodiscard]] ConstByteSpan contents(ElfSegment const& segment) const;
    /// The first byte after everything that the kernel takes at its start.
    [[nodiscard]] GuestPhys end() const;

    /// Entered in 32-bit protected mode without paging: the Xen note's address. [PVH]
    [[nodiscard]] std::optional<GuestPhys> pvh_entry() const { return elf_.pvh_entry; }
    /// Entered in long mode: startup_64. [LinuxBoot] "64-bit Boot Protocol"
    [[nodiscard]] std::optional<GuestPhys> long_mode_entry() const;
    /// Entered in 32-bit protected mode with EAX and EBX set; only of KernelForm::multiboot.
    [[nodiscard]] std::optional<GuestPhys> multiboot_entry() const {
        return is_multiboot_ ? std::optional{elf_.entry} : std::nullopt;
    }
    /// Absent when the file was a bare ELF.
    [[nodiscard]] std::optional<LinuxHeader> const& linux_header() const { return header_; }

  private:
    KernelImage(std::string name, std::vector<std::byte> elf_file, ElfKernel elf, std::optional<LinuxHeader> header);

    std::string name_;
    std::vector<std::byte> elf_file_;
    ElfKernel elf_;
    std::optional<LinuxHeader> header_;
    bool is_multiboot_{false};
};

}  // namespace backplane
