// A translated block as text: guest instructions, and the host's that were made of each.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "debug/disassembler.h"
#include "jit/code_listener.h"

namespace backplane {

/// What a block is called in all views of the code: "bp_user_0x401000", after its first instruction's linear address.
[[nodiscard]] std::string block_name(NewBlock const& block);

class BlockText {
  public:
    /// Jumps and calls to it are named.
    void add_thunk(Thunk const& thunk) { thunks_.emplace(address_of_code(thunk.code), thunk.name); }
    /// Several lines: name, addresses and sizes; then the code (debug/code_recorder.h shows an example).
    [[nodiscard]] std::string block(NewBlock const& block) const;

  private:
    static std::uint64_t address_of_code(HostCode code) { return reinterpret_cast<std::uintptr_t>(code.data()); }
    void add_guest(std::string& text, NewBlock const& block, std::size_t index) const;
    void add_host(std::string& text, HostCode code) const;

    std::map<std::uint64_t, std::string> thunks_;
    Disassembler disassembler_;
};

}  // namespace backplane
