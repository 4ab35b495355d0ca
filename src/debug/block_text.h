// A translated block as text: guest instructions, and the host's that were made of each.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "debug/disassembler.h"
#include "jit/code_listener.h"

namespace backplane {

/// What a block is called in all views of the code: "bp_user_0x401000", after its first instruction's linear address.
[[nodiscard]] std::string block_name(NewBlock const& block);

/// Instructions in it.
[[nodiscard]] std::size_t count_of(NewBlock const& block);

class BlockText {
  public:
    /// Jumps and calls to it are named.
    void add_thunk(Thunk const& thunk) { thunks_.emplace(address_of_code(thunk.code), thunk.name); }
    /// Several lines: name, addresses and sizes; then the code (debug/code_recorder.h shows an example).
    [[nodiscard]] std::string block(NewBlock const& block) const;

  private:
    static std::uint64_t address_of_code(HostCode code) { return reinterpret_cast<std::uintptr_t>(code.data()); }
    struct GuestInstruction {
        std::uint64_t linear;
        std::span<std::uint8_t const> bytes;
    };
    [[nodiscard]] static std::vector<GuestInstruction> instructions_of(NewBlock const& block);
    void add_guest(std::string& text, GuestInstruction const& instruction) const;
    void add_host(std::string& text, HostCode code) const;

    std::map<std::uint64_t, std::string> thunks_;
    Disassembler disassembler_;
};

}  // namespace backplane
