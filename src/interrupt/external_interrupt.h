// The wire from the 8259s to a processor, which carries no vector: the processor asks for it.
#pragma once

#include "base/address.h"

namespace backplane {

class ExternalInterrupt {
  public:
    virtual ~ExternalInterrupt() = default;
    /// INTR, the output of the controller.
    [[nodiscard]] virtual bool is_asserted() const = 0;
    /// The processor's two INTA cycles: the vector, whose request goes into service.
    [[nodiscard]] virtual Vector acknowledge() = 0;
};

}  // namespace backplane
