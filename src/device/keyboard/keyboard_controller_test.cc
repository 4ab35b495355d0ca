#include "device/keyboard/keyboard_controller.h"

#include <gtest/gtest.h>

#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memory/frame_pool.h"

namespace backplane {
namespace {

class OneLine final : public LineInputs {
  public:
    void set_level(unsigned /*number*/, bool asserted) override {
        if (asserted && !level) ++edges;
        level = asserted;
    }
    bool level{false};
    unsigned edges{0};
};

class KeyboardTest : public testing::Test {
  protected:
    KeyboardTest() { EXPECT_TRUE(keyboard_.attach(bus_).has_value()); }
    void command(unsigned value) { bus_.out(KeyboardController::kCommandPort, Width::byte, value); }
    void data(unsigned value) { bus_.out(KeyboardController::kDataPort, Width::byte, value); }
    unsigned status() { return static_cast<unsigned>(bus_.in(KeyboardController::kCommandPort, Width::byte)); }
    void pass_key() {
        clock_.advance_to(clock_.next_deadline());
        clock_.fire_due();
    }
    std::vector<unsigned> answers() {
        std::vector<unsigned> result;
        while ((status() & 1) != 0)
            result.push_back(static_cast<unsigned>(bus_.in(KeyboardController::kDataPort, Width::byte)));
        return result;
    }
    using Bytes = std::vector<unsigned>;

    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    OneLine line_;
    PowerControl power_;
    MachineClock clock_;
    KeyboardController keyboard_{clock_, InterruptLine{line_, 1}, power_};
};

// What firmware does at its start.
TEST_F(KeyboardTest, ControllerTests) {
    EXPECT_EQ(status() & 0x03, 0U) << "both buffers empty";
    command(0xaa);
    EXPECT_EQ(status() & 0x0d, 0x0dU);
    EXPECT_EQ(answers(), Bytes{0x55});
    command(0xab);
    EXPECT_EQ(answers(), Bytes{0});
    command(0xa9);
    EXPECT_EQ(answers(), Bytes{1}) << "no mouse";
}

TEST_F(KeyboardTest, Configuration) {
    command(0x60);
    data(0x44);
    command(0x20);
    EXPECT_FALSE(line_.level) << "interrupt off";
    EXPECT_EQ(answers(), Bytes{0x44});
    command(0x60);
    data(0x45);
    command(0x20);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(answers(), Bytes{0x45});
    EXPECT_FALSE(line_.level);
    command(0xad);
    command(0x20);
    EXPECT_EQ(answers(), Bytes{0x55});
    command(0xae);
    command(0x20);
    EXPECT_EQ(answers(), Bytes{0x45});
}

TEST_F(KeyboardTest, TheKeyboardAnswers) {
    data(0xff);
    EXPECT_EQ(answers(), (Bytes{0xfa, 0xaa}));
    data(0xf2);
    EXPECT_EQ(answers(), (Bytes{0xfa, 0xab, 0x83}));
    data(0xed);
    data(0x07);
    EXPECT_EQ(answers(), (Bytes{0xfa, 0xfa}));
    data(0xee);
    EXPECT_EQ(answers(), Bytes{0xee});
    data(0x01);
    EXPECT_EQ(answers(), Bytes{0xfe});
}

TEST_F(KeyboardTest, CharactersBecomeScanCodes) {
    line_.edges = 0;
    EXPECT_TRUE(keyboard_.type('a'));
    EXPECT_EQ(answers(), (Bytes{0x1e, 0x9e}));
    EXPECT_EQ(line_.edges, 2U) << "an interrupt each";
    EXPECT_TRUE(keyboard_.type('Q'));
    EXPECT_EQ(answers(), (Bytes{0x2a, 0x10, 0x90, 0xaa}));
    for (auto const& [character, code] : std::vector<std::pair<char, unsigned>>{{'\n', 0x1c},
                                                                                {'\x7f', 0x0e},
                                                                                {'\t', 0x0f},
                                                                                {'\x1b', 0x01},
                                                                                {' ', 0x39},
                                                                                {'1', 0x02},
                                                                                {'z', 0x2c},
                                                                                {'/', 0x35},
                                                                                {'\'', 0x28}}) {
        EXPECT_TRUE(keyboard_.type(character));
        EXPECT_EQ(answers(), (Bytes{code, code | 0x80}));
    }
    EXPECT_TRUE(keyboard_.type('\x1f'));
    EXPECT_EQ(answers(), Bytes{});
    data(0xf5);
    EXPECT_EQ(answers(), Bytes{0xfa});
    EXPECT_TRUE(keyboard_.type('a'));
    EXPECT_EQ(answers(), Bytes{}) << "scanning is off";
}

TEST_F(KeyboardTest, AFullBufferTakesNoMore) {
    int typed = 0;
    while (keyboard_.type('A') && typed < 100) ++typed;
    EXPECT_EQ(typed, 8);
    for (int i = 0; i < 100; ++i) data(0xff);
    EXPECT_EQ(answers().size(), 32U);
    EXPECT_TRUE(keyboard_.type('A'));
}

// What a terminal sends for Up, F2, Ctrl-C and Delete, one key after the other.
TEST_F(KeyboardTest, SequencesOfATerminalBecomeKeys) {
    std::string_view const typed{"\x1b[A\x1bOQ\x03\x1b[3~\x1b"};
    EXPECT_EQ(keyboard_.type(std::as_bytes(std::span{typed})), typed.size());
    EXPECT_EQ(answers(), Bytes{});
    for (Bytes const& codes : {Bytes{0xe0, 0x48, 0xe0, 0xc8}, Bytes{0x3c, 0xbc}, Bytes{0x1d, 0x2e, 0xae, 0x9d},
                               Bytes{0xe0, 0x53, 0xe0, 0xd3}, Bytes{0x01, 0x81}}) {
        pass_key();
        EXPECT_EQ(answers(), codes);
    }
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
}

TEST_F(KeyboardTest, WhatFindsNoRoomIsTypedLaterAndNobodyWaitsForADeafGuest) {
    std::string const typed(1000, 'a');
    std::size_t const taken = keyboard_.type(std::as_bytes(std::span{typed}));
    EXPECT_EQ(taken, 256U);
    for (std::size_t i = 0; i < taken; ++i) pass_key();
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
    EXPECT_EQ(answers().size(), 30U);
}

TEST_F(KeyboardTest, ResetPulses) {
    command(0xaa);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    command(0xfe);
    EXPECT_EQ(power_.take_event(), PowerEvent::reset);
    command(0xff);
    EXPECT_EQ(power_.take_event(), PowerEvent::none) << "no line pulsed";
    command(0xd1);
    data(0xdd);
    EXPECT_EQ(power_.take_event(), PowerEvent::none);
    command(0xd0);
    EXPECT_EQ(answers().back(), 0xddU);
    command(0xd1);
    data(0xde);
    EXPECT_EQ(power_.take_event(), PowerEvent::reset);
}

TEST_F(KeyboardTest, AnyGuestInputIsLegal) {
    std::mt19937 random{8042};
    for (int i = 0; i < 100'000; ++i) {
        unsigned const value = random() & 0xff;
        switch (random() % 4) {
            case 0:
                command(value);
                break;
            case 1:
                data(value);
                break;
            case 2:
                static_cast<void>(bus_.in(KeyboardController::kDataPort, Width::byte));
                break;
            default:
                static_cast<void>(keyboard_.type(static_cast<char>(value)));
                break;
        }
        EXPECT_NE(status(), 0xffU);
    }
}

}  // namespace
}  // namespace backplane
