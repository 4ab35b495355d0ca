// The two 8259A interrupt controllers of a PC, the second behind input 2 of the first.
//
// State:    stable
// Features: initialization, masks, fixed and rotating priority, specific and automatic end of interrupt, special mask
//           mode, poll command, edge and level triggering by ELCR, spurious interrupts 7 and 15
// Missing:  the vectors of an 8085, buffered mode, special fully nested mode (all stored)
// Differs from the hardware: after power-on every input is masked until it is initialized
// Source:   [8259A], [ICH10] 13.4
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "interrupt/external_interrupt.h"
#include "interrupt/line.h"

namespace backplane {

/// One 8259A.
class Pic8259 {
  public:
    static constexpr unsigned kInputCount = 8;

    explicit Pic8259(bool is_secondary) : is_secondary_{is_secondary} {}

    void set_level(unsigned input, bool asserted);
    /// INT: a request that is not masked and of higher priority than what is in service.
    [[nodiscard]] bool is_asserted() const { return next().has_value(); }
    /// The input that goes into service now; 7 without any request (spurious).
    unsigned acknowledge();
    [[nodiscard]] Vector vector_of(unsigned input) const {
        return Vector{static_cast<std::uint8_t>(state_.vector_base | input)};
    }

    [[nodiscard]] std::uint8_t read(unsigned port);
    void write(unsigned port, std::uint8_t value);
    [[nodiscard]] std::uint8_t edge_level() const { return state_.level_triggered; }
    void set_edge_level(std::uint8_t value);

  private:
    struct State {
        std::uint8_t requested{0};
        std::uint8_t in_service{0};
        std::uint8_t masked{0xff};
        std::uint8_t level_triggered{0};
        std::uint8_t vector_base{0};
        std::uint8_t lowest{7};     ///< the input of lowest priority
        std::uint8_t next_word{0};  ///< which initialization word comes next, 2 to 4; 0: none
        bool is_single{false};
        bool wants_word4{false};
        bool automatic_end{false};
        bool rotates_at_automatic_end{false};
        bool special_mask{false};
        bool reads_in_service{false};
        bool poll{false};
    };
    [[nodiscard]] std::optional<unsigned> next() const;
    [[nodiscard]] std::optional<unsigned> first_of(std::uint8_t inputs) const;
    void initialize(std::uint8_t word1);
    void write_word2(std::uint8_t value);
    void write_word3(std::uint8_t value);
    void end_of_interrupt(unsigned input, bool rotate);

    bool is_secondary_;
    State state_;
    std::uint8_t levels_{0};
};

/// The pair, at ports 0x20, 0xA0 and 0x4D0.
class PicPair final : public LineInputs, public ExternalInterrupt {
  public:
    static constexpr unsigned kInputCount = 16;

    PicPair();
    PicPair(PicPair const&) = delete;
    PicPair& operator=(PicPair const&) = delete;

    /// Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus);
    /// Called when is_asserted() may have changed.
    void set_listener(std::function<void()> listener) { changed_ = std::move(listener); }
    void reset();

    /// ISA interrupt `number`; those that do not exist, and 2, are ignored.
    void set_level(unsigned number, bool asserted) override;
    [[nodiscard]] bool is_asserted() const override { return primary_.is_asserted(); }
    [[nodiscard]] Vector acknowledge() override;

  private:
    /// Two ports of one controller, or the two ELCR.
    class Ports final : public RegisterBank {
      public:
        enum class Role : std::uint8_t { primary, secondary, edge_level };
        Ports(PicPair& owner, Role role) : owner_{owner}, role_{role} {}
        [[nodiscard]] std::string_view name() const override { return "pic"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        [[nodiscard]] std::uint8_t read_byte(unsigned port);
        void write_byte(unsigned port, std::uint8_t value);
        PicPair& owner_;
        Role role_;
    };
    void update();

    Pic8259 primary_{false};
    Pic8259 secondary_{true};
    Ports primary_ports_;
    Ports secondary_ports_;
    Ports edge_level_ports_;
    std::function<void()> changed_;
};

}  // namespace backplane
