// For tests only: small kernels and packed payloads, made on the spot.
#pragma once

#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "machine/boot_bytes.h"
#include "machine/unpack.h"

namespace backplane::test {

using Bytes = std::vector<std::byte>;

/// Bytes that pack to about half: a repeatable mixture of runs and noise.
inline Bytes make_text(std::size_t count) {
    Bytes bytes(count);
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < count; ++i) {
        state = state * 1664525 + 1013904223;
        bytes[i] = i / 64 % 2 == 0 ? std::byte{0x90} : static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

inline void append_size(Bytes& packed, std::size_t unpacked_bytes) {
    append_object(packed, static_cast<std::uint32_t>(unpacked_bytes));
}

/// An xz stream with the x86 filter, CRC32 and a 1 MiB dictionary, as Linux' xz_wrap.sh makes it.
inline Bytes pack_xz(ConstByteSpan plain) {
    lzma_options_lzma options{};
    check(!lzma_lzma_preset(&options, 6), "liblzma has preset 6");
    options.dict_size = 1U << 20;
    lzma_filter const filters[]{{LZMA_FILTER_X86, nullptr}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
    Bytes packed(lzma_stream_buffer_bound(plain.size()));
    std::size_t used = 0;
    check(lzma_stream_buffer_encode(const_cast<lzma_filter*>(filters), LZMA_CHECK_CRC32, nullptr,
                                    reinterpret_cast<std::uint8_t const*>(plain.data()), plain.size(),
                                    reinterpret_cast<std::uint8_t*>(packed.data()), &used, packed.size()) == LZMA_OK,
          "xz packs");
    packed.resize(used);
    return packed;
}

/// lz4's legacy frame: blocks of 8 MiB.
inline Bytes pack_lz4(ConstByteSpan plain) {
    constexpr std::size_t kBlockBytes = std::size_t{8} << 20;
    Bytes packed;
    append_object(packed, std::uint32_t{0x184C2102});
    for (std::size_t at = 0; at < plain.size(); at += kBlockBytes) {
        ConstByteSpan const block = plain.subspan(at, std::min(kBlockBytes, plain.size() - at));
        Bytes room(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(block.size()))));
        int const used =
            LZ4_compress_default(reinterpret_cast<char const*>(block.data()), reinterpret_cast<char*>(room.data()),
                                 static_cast<int>(block.size()), static_cast<int>(room.size()));
        check(used > 0, "lz4 packs");
        append_object(packed, static_cast<std::uint32_t>(used));
        append_bytes(packed, ConstByteSpan{room}.first(static_cast<std::size_t>(used)));
    }
    return packed;
}

inline Bytes pack_zstd(ConstByteSpan plain) {
    Bytes packed(ZSTD_compressBound(plain.size()));
    std::size_t const used = ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3);
    check(ZSTD_isError(used) == 0, "zstd packs");
    packed.resize(used);
    return packed;
}

inline Bytes pack_gzip(ConstByteSpan plain) {
    z_stream stream{};
    check(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib starts");
    Bytes packed(deflateBound(&stream, plain.size()));
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(plain.data()));
    stream.avail_in = static_cast<uInt>(plain.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib packs");
    packed.resize(packed.size() - stream.avail_out);
    deflateEnd(&stream);
    return packed;
}

/// A payload as Linux' build makes it: with the unpacked size behind it, which gzip has already.
inline Bytes pack(Packing packing, ConstByteSpan plain) {
    Bytes packed = packing == Packing::xz     ? pack_xz(plain)
                   : packing == Packing::lz4  ? pack_lz4(plain)
                   : packing == Packing::zstd ? pack_zstd(plain)
                                              : pack_gzip(plain);
    if (packing != Packing::gzip) append_size(packed, plain.size());
    return packed;
}

struct ElfOptions {
    std::uint64_t physical{0x100'0000};
    std::uint64_t virtual_offset{0xFFFF'FFFF'8000'0000};
    std::uint64_t text_bytes{0x3000};
    std::uint64_t zero_bytes{0x1234};  ///< .bss
    std::optional<std::uint64_t> pvh_entry{0x100'0850};
    std::uint64_t entry{0x100'0000};
};

inline constexpr std::size_t kElfTextOffset = 0x1000;

/// ELF header, a LOAD and a NOTE segment (two notes), text at kElfTextOffset.
inline Bytes make_elf(ElfOptions const& options = {}) {
    Bytes notes;
    append_object(notes, Elf64_Nhdr{4, 4, 1});
    append_object(notes, std::array<char, 8>{'G', 'N', 'U', 0, 1, 2, 3, 4});
    if (options.pvh_entry) {
        append_object(notes, Elf64_Nhdr{4, 8, 18});
        append_object(notes, std::array<char, 4>{'X', 'e', 'n', 0});
        append_object(notes, *options.pvh_entry);
    }
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_entry = options.entry;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    Elf64_Phdr load{};
    load.p_type = PT_LOAD;
    load.p_offset = kElfTextOffset;
    load.p_paddr = options.physical;
    load.p_vaddr = options.physical + options.virtual_offset;
    load.p_filesz = options.text_bytes;
    load.p_memsz = options.text_bytes + options.zero_bytes;
    Elf64_Phdr note{};
    note.p_type = PT_NOTE;
    note.p_offset = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    note.p_filesz = notes.size();
    note.p_align = 4;
    Bytes elf;
    append_object(elf, header);
    append_object(elf, load);
    append_object(elf, note);
    append_bytes(elf, notes);
    elf.resize(kElfTextOffset);
    append_bytes(elf, make_text(options.text_bytes));
    return elf;
}

inline constexpr std::size_t kPayloadInSetup = 0x300;  ///< payload_offset, from the end of two setup sectors

/// A bzImage of protocol 2.15 around a payload, with bytes behind the payload as a signed kernel has them.
inline Bytes make_bzimage(ConstByteSpan payload) {
    constexpr std::size_t kSetupBytes = 3 * 512;
    Bytes image(kSetupBytes + kPayloadInSetup);
    ByteSpan const view{image};
    store<std::uint8_t>(view, 0x1F1, 2);
    store<std::uint16_t>(view, 0x1FE, 0xAA55);
    store<std::uint16_t>(view, 0x200, 0x6AEB);  // jmp to 0x26C: the header's end
    store(view, 0x202, std::array<char, 4>{'H', 'd', 'r', 'S'});
    store<std::uint16_t>(view, 0x206, 0x020F);
    store<std::uint32_t>(view, 0x22C, 0x7FFF'FFFF);
    store<std::uint16_t>(view, 0x236, 0x007F);
    store<std::uint32_t>(view, 0x238, 2047);
    store<std::uint32_t>(view, 0x248, kPayloadInSetup);
    store<std::uint32_t>(view, 0x24C, static_cast<std::uint32_t>(payload.size()));
    store<std::uint64_t>(view, 0x258, 0x100'0000);
    store<std::uint32_t>(view, 0x260, 0x20'0000);
    append_bytes(image, payload);
    image.resize(image.size() + 512, std::byte{0xA5});
    return image;
}

}  // namespace backplane::test
