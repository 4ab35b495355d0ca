// Who wants to know what host code a translator makes: profilers, debuggers, people (docs/design/translator.md).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "cpu/tier.h"
#include "jit/layout.h"

namespace backplane {

namespace jit {
struct BlockMarks;
}

using HostCode = std::span<std::uint8_t const>;

/// Code that blocks share.
struct Thunk {
    std::string_view name;
    HostCode code;
    /// What is on the host's stack, beside the frame of translated code, when it calls a function of ours; 0: it is
    /// jumped to, not called.
    std::uint8_t pushed_bytes;
};

/// The frame of translated code on the host's stack, which `enter` makes and nothing changes: the return address, RBX,
/// RBP, R12 to R15, the pins and the guesses.
inline constexpr std::uint32_t kHostFrameBytes = 56 + 8 * (jit::kPins + jit::kGuesses);

/// A block that has just been made. Its traces and host code stay until the block is forgotten or all are flushed; the rest
/// is lent for the call.
struct NewBlock {
    std::uint64_t linear;  ///< address of its first instruction; others may lead to the same physical one
    CodeView view;
    std::span<Trace* const> traces;       ///< all of one page, but that the last instruction of a lone one may cross
    std::span<std::uint8_t const> guest;  ///< their bytes, one behind the other
    HostCode host;
    jit::BlockMarks const& marks;  ///< which part of `host` belongs to which instruction
};

/// Told in the thread that runs the processor. Host code must not be called or changed.
class CodeListener {
  public:
    virtual ~CodeListener() = default;

    /// It stays as long as the translator does.
    virtual void made_thunk(Thunk const& thunk) = 0;
    virtual void made_block(NewBlock const& block) = 0;
    /// A block whose guest code is gone, by its first byte of host code. Whoever still jumps there is sent on by
    /// `forward`, which is empty when no room was left for it.
    virtual void forgot_block(std::uint8_t const* host, std::uint64_t physical, HostCode forward) = 0;
    /// All blocks and forwards are gone, and their memory will be used again.
    virtual void flushed() = 0;
};

}  // namespace backplane
