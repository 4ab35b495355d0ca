// An interrupt wire: what a device holds, and what takes it in.
#pragma once

namespace backplane {

/// The inputs of an interrupt controller.
class LineInputs {
  public:
    virtual ~LineInputs() = default;
    /// Sets the level of input `number`; setting the level it has already is allowed and does nothing.
    virtual void set_level(unsigned number, bool asserted) = 0;
};

/// One wire, held by one source. Several sources on one input are joined before it (PCI INTx: device/pci).
class InterruptLine {
  public:
    InterruptLine() = default;
    InterruptLine(LineInputs& inputs, unsigned number) : inputs_{&inputs}, number_{number} {}
    void set(bool asserted) const {
        if (inputs_ != nullptr) inputs_->set_level(number_, asserted);
    }

  private:
    LineInputs* inputs_{nullptr};
    unsigned number_{0};
};

}  // namespace backplane
