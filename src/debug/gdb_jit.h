// Names and frames of translated code for a GDB that debugs this process (not a guest): `bt` goes through blocks, and
// `info symbol` knows them.
//
// GDB stops the process for each registration and looks through all objects for each address, so objects of blocks are
// merged: sixteen of one size become one of the next.
//
// Source: [GDB] chapter 30; [DWARF] 6.4; [ELF]
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jit/code_listener.h"

namespace backplane {

/// A piece of host code that GDB shall know.
struct CodeSymbol {
    std::uintptr_t start;
    std::size_t bytes;
    std::string name;
    std::uint8_t pushed_bytes;  ///< see Thunk
};

/// An ELF file, in memory, with symbols and frames for pieces of code in the order of their addresses.
[[nodiscard]] std::vector<std::byte> make_symbol_file(std::vector<CodeSymbol> const& symbols);

/// Tells GDB of one translator's code. All of it is taken back when the listener goes.
class GdbJit final : public CodeListener {
  public:
    explicit GdbJit(std::string processor);
    ~GdbJit() override;

    void made_thunk(Thunk const& thunk) override;
    void made_block(NewBlock const& block) override;
    void forgot_block(std::uint8_t const*, std::uint64_t, HostCode) override {}  // it may still be running
    void flushed() override;

  private:
    class Object;
    void merge();

    std::string processor_;
    std::unique_ptr<Object> thunks_;
    std::vector<CodeSymbol> thunk_symbols_;
    std::vector<std::vector<std::unique_ptr<Object>>> blocks_;  ///< by size: one block, sixteen, ...
};

}  // namespace backplane
