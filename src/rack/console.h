// The consoles of several machines on one terminal: whole lines, each with its machine's name in front.
//
//     alpha | [    0.000000] Linux version 6.1.0 ...
//     beta  | / # ping 10.0.0.1
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "device/byte_port.h"

namespace backplane {

/// Collects what one machine writes into lines and passes them on, made safe (rack/printable.h). A carriage return
/// before a newline vanishes; one that stands alone ends the line too, so that nothing overwritten is lost. A line
/// longer than 4096 bytes is passed on in pieces: a guest cannot make us hold more.
class ConsolePrefixer final : public ByteSink {
  public:
    struct Style {
        std::string name;             ///< of the machine
        std::size_t name_width{0};    ///< the longest name in the rack, so that the bars stand in one column
        std::optional<unsigned> hue;  ///< which of the six colours the prefix has; none: no colours
    };
    /// `out` must outlive the prefixer.
    ConsolePrefixer(ByteSink& out, Style const& style);
    ConsolePrefixer(ConsolePrefixer const&) = delete;
    ConsolePrefixer& operator=(ConsolePrefixer const&) = delete;
    ~ConsolePrefixer() override { flush(); }

    void put(ConstByteSpan bytes) override;
    /// Passes on a line that has not ended.
    void flush();

  private:
    void take(char letter);
    void end_line();

    ByteSink& out_;
    std::string prefix_;
    std::string line_;
    bool after_return_{false};
};

}  // namespace backplane
