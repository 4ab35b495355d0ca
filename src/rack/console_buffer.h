// What a machine writes to its console between two barriers, so that the consoles of machines that run on several
// threads come out in one order: barrier by barrier, machine by machine.
#pragma once

#include <vector>

#include "device/byte_port.h"

namespace backplane {

class ConsoleBuffer final : public ByteSink {
  public:
    /// `out` must outlive the buffer.
    explicit ConsoleBuffer(ByteSink& out) : out_{out} {}
    void put(ConstByteSpan bytes) override { held_.insert(held_.end(), bytes.begin(), bytes.end()); }
    [[nodiscard]] ConstByteSpan held() const { return held_; }
    void pass_on() {
        if (held_.empty()) return;
        out_.put(held_);
        held_.clear();
    }

  private:
    ByteSink& out_;
    std::vector<std::byte> held_;
};

}  // namespace backplane
