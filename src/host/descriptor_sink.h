// Console output on its way to a terminal, pipe or file.
#pragma once

#include <string>

#include "base/bytes.h"
#include "device/byte_port.h"

namespace backplane {

/// Collects what comes and writes it at flush(), when a piece is full, and at the end. Does not own the descriptor.
/// When the other side has gone away, what comes is dropped and the machine runs on.
class DescriptorSink final : public ByteSink {
  public:
    explicit DescriptorSink(int fd) : fd_{fd} {}
    DescriptorSink(DescriptorSink const&) = delete;
    DescriptorSink& operator=(DescriptorSink const&) = delete;
    ~DescriptorSink() override { flush(); }

    void put(ConstByteSpan bytes) override;
    void flush();
    /// Nothing came yet, or the last byte was a newline: what follows starts a line of its own.
    [[nodiscard]] bool is_at_line_start() const { return at_line_start_; }

  private:
    int fd_;
    bool broken_{false};
    bool at_line_start_{true};
    std::string pending_;  // at most kPieceBytes and one put()
};

}  // namespace backplane
