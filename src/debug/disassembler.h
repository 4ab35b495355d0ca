// Instructions as text, in Intel's notation.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "cpu/op.h"

namespace backplane {

class Disassembler {
  public:
    Disassembler() { ZydisFormatterInit(&formatter_, ZYDIS_FORMATTER_STYLE_INTEL); }

    struct Line {
        std::size_t bytes;     ///< 0: there is no whole instruction
        std::uint64_t target;  ///< of a direct jump or call; 0: it is none
        std::string text;
    };
    /// The instruction that `code` begins with.
    [[nodiscard]] Line line(ConstByteSpan code, CodeMode mode, std::uint64_t address) const;
    /// Its text; "?" if there is none.
    [[nodiscard]] std::string text(ConstByteSpan code, CodeMode mode, std::uint64_t address) const {
        return line(code, mode, address).text;
    }

  private:
    ZydisFormatter formatter_;
};

/// "48 89 e5"
[[nodiscard]] std::string hex_bytes(ConstByteSpan bytes);

}  // namespace backplane
