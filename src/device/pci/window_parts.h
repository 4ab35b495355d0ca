// What lies behind the BARs of a function with registers, a window of pages and a message table: the queue device and the
// shared window.
#pragma once

#include <cstdint>
#include <string_view>

#include "bus/bus.h"
#include "device/pci/function.h"
#include "device/pci/msix_table.h"

namespace backplane {

/// Registers of a dword each; other accesses read ones and write nothing.
class DwordRegisters final : public RegisterBank {
  public:
    class Owner {
      public:
        virtual ~Owner() = default;
        [[nodiscard]] virtual std::uint32_t read_register(std::uint64_t offset) = 0;
        virtual void write_register(std::uint64_t offset, std::uint32_t value) = 0;
    };

    explicit DwordRegisters(std::string_view name) : name_{name} {}
    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override {
        return is_register(offset, width) ? owner->read_register(offset) : ones(width);
    }
    void write(std::uint64_t offset, Width width, std::uint64_t value) override {
        if (is_register(offset, width)) owner->write_register(offset, static_cast<std::uint32_t>(value));
    }
    Owner* owner{nullptr};

  private:
    static bool is_register(std::uint64_t offset, Width width) { return width == Width::dword && offset % 4 == 0; }
    std::string_view name_;
};

/// A base class, so that it is made before the PCI function that refers to it.
class PciWindowParts {
  protected:
    PciWindowParts(std::string_view registers_name, std::uint64_t page_count, unsigned vectors)
        : registers_{registers_name}, window_{page_count}, message_table_{vectors} {}

    DwordRegisters registers_;
    PageWindow window_;
    MsixTable message_table_;
};

}  // namespace backplane
