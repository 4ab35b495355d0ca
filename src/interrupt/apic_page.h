// The page of the local APICs: at one address each processor sees its own ([SDM3A] 10.4.1).
#pragma once

#include "interrupt/local_apic.h"

namespace backplane {

class ApicPage final : public RegisterBank {
  public:
    /// Whose accesses come now. The APIC must outlive that.
    void select(LocalApic& apic) { apic_ = &apic; }

    [[nodiscard]] std::string_view name() const override { return "local-apic"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override { return apic_->read(offset, width); }
    void write(std::uint64_t offset, Width width, std::uint64_t value) override { apic_->write(offset, width, value); }

  private:
    LocalApic* apic_{nullptr};
};

}  // namespace backplane
