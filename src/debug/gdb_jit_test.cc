#include "debug/gdb_jit.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "cpu/op.h"
#include "jit/block.h"

// As GDB reads them.
extern "C" {
struct jit_code_entry {
    jit_code_entry* next_entry;
    jit_code_entry* prev_entry;
    char const* symfile_addr;
    std::uint64_t symfile_size;
};
struct jit_descriptor {
    std::uint32_t version;
    std::uint32_t action_flag;
    jit_code_entry* relevant_entry;
    jit_code_entry* first_entry;
};
extern jit_descriptor __jit_debug_descriptor;
}

namespace backplane {
namespace {

template <typename T>
T read(char const* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// The functions of a symbol file: address and size by name.
std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> symbols_of(char const* file) {
    auto const head = read<Elf64_Ehdr>(file);
    auto const section = [&](std::size_t i) { return read<Elf64_Shdr>(file + head.e_shoff + i * sizeof(Elf64_Shdr)); };
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> out;
    for (std::size_t i = 0; i < head.e_shnum; ++i) {
        Elf64_Shdr const table = section(i);
        if (table.sh_type != SHT_SYMTAB) continue;
        char const* const names = file + section(table.sh_link).sh_offset;
        for (std::size_t at = sizeof(Elf64_Sym); at < table.sh_size; at += sizeof(Elf64_Sym)) {
            auto const symbol = read<Elf64_Sym>(file + table.sh_offset + at);
            out[names + symbol.st_name] = {symbol.st_value, symbol.st_size};
        }
    }
    return out;
}

/// What GDB would know now, and from how many files.
struct Known {
    std::size_t files{0};
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> symbols;
};
Known known() {
    Known out;
    jit_code_entry const* before = nullptr;
    for (jit_code_entry const* entry = __jit_debug_descriptor.first_entry; entry != nullptr;
         entry = entry->next_entry) {
        EXPECT_EQ(entry->prev_entry, before);
        before = entry;
        ++out.files;
        out.symbols.merge(symbols_of(entry->symfile_addr));
    }
    return out;
}

class GdbJitTest : public testing::Test {
  protected:
    void make_block(CodeListener& listener, std::uint64_t linear) {
        Trace trace{};
        jit::BlockMarks marks{};
        std::array<Trace*, 1> const traces{&trace};
        listener.made_block({linear, CodeView::user, traces, {}, HostCode{host_}.subspan(next_, 16), marks});
        next_ += 16;
    }
    [[nodiscard]] std::uint64_t host(std::size_t offset) const {
        return reinterpret_cast<std::uintptr_t>(host_.data()) + offset;
    }

    std::array<std::uint8_t, 65536> host_{};
    std::size_t next_{0};
};

TEST_F(GdbJitTest, BlocksAndThunksAreKnownUntilTheyAreFlushed) {
    {
        GdbJit one{"alpha.cpu0"}, other{"beta.cpu0"};
        one.made_thunk({"enter", HostCode{host_}.first(7), 0});
        make_block(one, 0x401000), make_block(one, 0x402000), make_block(other, 0x401000);
        Known const before = known();
        using Range = std::pair<std::uint64_t, std::uint64_t>;
        EXPECT_EQ(before.symbols.at("bp_thunk_enter@alpha.cpu0"), (Range{host(0), 7}));
        EXPECT_EQ(before.symbols.at("bp_user_0x402000@alpha.cpu0"), (Range{host(16), 16}));
        EXPECT_EQ(before.symbols.at("bp_user_0x401000@beta.cpu0"), (Range{host(32), 16}));
        one.flushed();
        Known const after = known();
        EXPECT_TRUE(after.symbols.contains("bp_thunk_enter@alpha.cpu0"));
        EXPECT_FALSE(after.symbols.contains("bp_user_0x402000@alpha.cpu0"));
        EXPECT_TRUE(after.symbols.contains("bp_user_0x401000@beta.cpu0"));
    }
    EXPECT_EQ(known().files, 0U);
}

// GDB looks through all files for each address.
TEST_F(GdbJitTest, ManyBlocksAreFewFiles) {
    GdbJit jit{"alpha.cpu0"};
    for (std::uint64_t i = 0; i < 1000; ++i) make_block(jit, i);
    Known const all = known();
    EXPECT_EQ(all.symbols.size(), 1000U);
    EXPECT_EQ(all.symbols.at("bp_user_0x3e7@alpha.cpu0").first, host(999 * 16));
    EXPECT_LE(all.files, 3U * 15);
}

}  // namespace
}  // namespace backplane
