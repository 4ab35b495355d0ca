// The outside end of a serial line.
#pragma once

#include "base/bytes.h"

namespace backplane {

/// Takes what the guest sends.
class ByteSink {
  public:
    virtual ~ByteSink() = default;
    virtual void put(ConstByteSpan bytes) = 0;
};

/// For what nobody hears.
class NullSink final : public ByteSink {
  public:
    void put(ConstByteSpan) override {}
};

}  // namespace backplane
