// The ELF file for GDB: sections .text (addresses only), .symtab, .strtab and .debug_frame.
#include <elf.h>

#include <cstring>
#include <initializer_list>

#include "debug/gdb_jit.h"

namespace backplane {
namespace {

class Bytes {
  public:
    template <typename T>
    std::size_t add(T const& value) {
        std::size_t const at = bytes_.size();
        bytes_.resize(at + sizeof value);
        std::memcpy(bytes_.data() + at, &value, sizeof value);
        return at;
    }
    void add_bytes(std::initializer_list<unsigned> values) {
        for (unsigned const value : values) bytes_.push_back(static_cast<std::byte>(value));
    }
    std::size_t add_text(std::string_view text) {
        std::size_t const at = bytes_.size();
        for (char const c : text) bytes_.push_back(static_cast<std::byte>(c));
        bytes_.push_back(std::byte{0});
        return at;
    }
    void align(std::size_t to) { bytes_.resize((bytes_.size() + to - 1) / to * to); }
    template <typename T>
    void put(std::size_t at, T const& value) {
        std::memcpy(bytes_.data() + at, &value, sizeof value);
    }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    [[nodiscard]] std::vector<std::byte> const& get() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

/// [DWARF] 6.4: where a caller's registers are while translated code, or a thunk that it called, calls a function of
/// ours.
class FrameTable {
  public:
    FrameTable() {
        // Alignments 1 and -8; the return address is register 16, at CFA - 8.
        in_block_ = begin(~std::uint32_t{0});
        static_assert(kHostFrameBytes >= 0x80 && kHostFrameBytes < 0x4000, "its LEB128 has two bytes");
        table_.add_bytes({1, 0, 1, 0x78, 16, kDefineCfa, kRsp, kHostFrameBytes % 0x80 | 0x80, kHostFrameBytes / 0x80, kOffset | 16, 1});
        // RBX, RBP, R12 to R15, as `enter` pushed them.
        table_.add_bytes(
            {kOffset | 3, 2, kOffset | 6, 3, kOffset | 12, 4, kOffset | 13, 5, kOffset | 14, 6, kOffset | 15, 7});
        end(in_block_);
        in_thunk_ = begin(~std::uint32_t{0});
        table_.add_bytes({1, 0, 1, 0x78, 16, kDefineCfa, kRsp, 8, kOffset | 16, 1});
        end(in_thunk_);
    }
    void add(std::uintptr_t start, std::size_t bytes, std::uint8_t pushed_bytes) {
        std::size_t const at = begin(static_cast<std::uint32_t>(pushed_bytes == 0 ? in_block_ : in_thunk_));
        table_.add(std::uint64_t{start});
        table_.add(std::uint64_t{bytes});
        if (pushed_bytes != 0) table_.add_bytes({kDefineCfaOffset, pushed_bytes});
        end(at);
    }
    [[nodiscard]] std::vector<std::byte> const& bytes() const { return table_.get(); }

  private:
    static constexpr unsigned kDefineCfa = 0x0c, kDefineCfaOffset = 0x0e, kOffset = 0x80, kRsp = 7;

    std::size_t begin(std::uint32_t identifier_or_common) {
        std::size_t const at = table_.add(std::uint32_t{0});
        table_.add(identifier_or_common);
        return at;
    }
    void end(std::size_t at) {
        table_.align(8);  // with DW_CFA_nop, which is 0
        table_.put(at, static_cast<std::uint32_t>(table_.size() - at - 4));
    }
    Bytes table_;
    std::size_t in_block_, in_thunk_;
};

enum SectionIndex : std::uint16_t { kNone, kText, kSymbols, kStrings, kFrames, kSections };

struct Contents {
    Bytes symbols, strings;
    FrameTable frames;
};

Contents contents_of(std::vector<CodeSymbol> const& symbols) {
    Contents out;
    out.strings.add_text("");
    out.symbols.add(Elf64_Sym{});
    for (CodeSymbol const& symbol : symbols) {
        auto const name = static_cast<std::uint32_t>(out.strings.add_text(symbol.name));
        out.symbols.add(Elf64_Sym{name, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, kText, symbol.start, symbol.bytes});
        out.frames.add(symbol.start, symbol.bytes, symbol.pushed_bytes);
    }
    return out;
}

Elf64_Ehdr header() {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = header.e_version = EV_CURRENT;
    header.e_type = ET_EXEC;  // addresses are what they are
    header.e_machine = EM_X86_64;
    header.e_ehsize = sizeof header;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = kSections;
    header.e_shstrndx = kStrings;
    return header;
}

}  // namespace

std::vector<std::byte> make_symbol_file(std::vector<CodeSymbol> const& symbols) {
    Contents contents = contents_of(symbols);
    Elf64_Shdr sections[kSections]{};
    auto const describe = [&](SectionIndex index, std::string_view name, std::uint32_t type) -> Elf64_Shdr& {
        sections[index].sh_name = static_cast<std::uint32_t>(contents.strings.add_text(name));
        sections[index].sh_type = type;
        sections[index].sh_addralign = 8;
        return sections[index];
    };
    Elf64_Shdr& text = describe(kText, ".text", SHT_NOBITS);
    text.sh_flags = SHF_ALLOC | SHF_EXECINSTR;
    text.sh_addr = symbols.front().start;
    text.sh_size = symbols.back().start + symbols.back().bytes - symbols.front().start;
    Elf64_Shdr& table = describe(kSymbols, ".symtab", SHT_SYMTAB);
    table.sh_link = kStrings;
    table.sh_info = 1;  // the first that is not local
    table.sh_entsize = sizeof(Elf64_Sym);
    describe(kFrames, ".debug_frame", SHT_PROGBITS);
    describe(kStrings, ".strtab", SHT_STRTAB);

    Bytes file;
    Elf64_Ehdr head = header();
    file.add(head);
    auto const append = [&](SectionIndex index, std::vector<std::byte> const& bytes) {
        file.align(8);
        sections[index].sh_offset = file.size();
        sections[index].sh_size = bytes.size();
        for (std::byte const byte : bytes) file.add(byte);
    };
    append(kSymbols, contents.symbols.get());
    append(kStrings, contents.strings.get());
    append(kFrames, contents.frames.bytes());
    file.align(8);
    head.e_shoff = file.size();
    file.put(0, head);
    for (Elf64_Shdr const& section : sections) file.add(section);
    return file.get();
}

}  // namespace backplane
