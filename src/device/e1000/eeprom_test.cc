#include "device/e1000/eeprom.h"

#include <gtest/gtest.h>

#include "device/e1000/registers.h"
#include "device/e1000/testing.h"

namespace backplane::e1000 {
namespace {

using testing::kMac;

// A driver that knows nothing but EECD.
class Driver {
  public:
    explicit Driver(EepromState& state) : state_{state} { write_eecd(state_, kEecdReq); }

    void select() { drive(kEecdCs); }
    void deselect() { drive(0); }
    void shift_out(std::uint32_t value, unsigned count) {
        for (unsigned i = count; i-- > 0;) {
            std::uint32_t const data = (value >> i & 1) != 0 ? kEecdDi : 0;
            drive(kEecdCs | data);
            drive(kEecdCs | data | kEecdSk);
            drive(kEecdCs | data);
        }
    }
    std::uint16_t shift_in() {
        std::uint32_t value = 0;
        for (int i = 0; i < 16; ++i) {
            drive(kEecdCs | kEecdSk);
            value = value << 1 | ((read_eecd(state_) & kEecdDo) != 0 ? 1U : 0U);
            drive(kEecdCs);
        }
        return static_cast<std::uint16_t>(value);
    }
    std::uint16_t read_word(std::uint32_t address) {
        select();
        shift_out(6, 3);
        shift_out(address, 6);
        std::uint16_t const word = shift_in();
        deselect();
        return word;
    }
    void command(std::uint32_t bits) {
        select();
        shift_out(bits, 9);
        deselect();
    }

  private:
    void drive(std::uint32_t pins) { write_eecd(state_, pins | kEecdReq); }
    EepromState& state_;
};

class EepromTest : public ::testing::Test {
  protected:
    EepromTest() { state_.words = make_eeprom_image(kMac); }
    EepromState state_;
};

TEST_F(EepromTest, RequestIsGranted) {
    EXPECT_EQ(read_eecd(state_) & kEecdGnt, 0U);
    Driver const driver{state_};
    EXPECT_NE(read_eecd(state_) & kEecdGnt, 0U);
    EXPECT_NE(read_eecd(state_) & kEecdPres, 0U);
}

TEST_F(EepromTest, BitsAndWordsReadTheSameAndAddUp) {
    Driver driver{state_};
    std::uint16_t sum = 0;
    for (std::uint32_t i = 0; i < kEepromWords; ++i) {
        std::uint16_t const word = driver.read_word(i);
        EXPECT_EQ(access_eerd(state_, i << 8 | kEerdStart), std::uint32_t{word} << 16 | i << 8 | kEerdDone) << i;
        sum = static_cast<std::uint16_t>(sum + word);
    }
    EXPECT_EQ(sum, 0xBABA);
    EXPECT_EQ(driver.read_word(0), 0x5452);
    EXPECT_EQ(driver.read_word(1), 0x1200);
    EXPECT_EQ(driver.read_word(2), 0x5634);
}

TEST_F(EepromTest, SequentialReadGoesOnAndWrapsAround) {
    Driver driver{state_};
    driver.select();
    driver.shift_out(6, 3);
    driver.shift_out(63, 6);
    EXPECT_EQ(driver.shift_in(), state_.words[63]);
    EXPECT_EQ(driver.shift_in(), state_.words[0]);
    EXPECT_EQ(driver.shift_in(), state_.words[1]);
}

TEST_F(EepromTest, ZerosBeforeTheStartBitAreIgnored) {
    Driver driver{state_};
    driver.select();
    driver.shift_out(0, 5);
    driver.shift_out(6, 3);
    driver.shift_out(2, 6);
    EXPECT_EQ(driver.shift_in(), state_.words[2]);
}

TEST_F(EepromTest, WritesNeedToBeEnabled) {
    Driver driver{state_};
    auto const write = [&](std::uint32_t address, std::uint32_t word) {
        driver.select();
        driver.shift_out(5, 3);
        driver.shift_out(address, 6);
        driver.shift_out(word, 16);
        driver.deselect();
    };
    std::uint16_t const before = state_.words[7];
    write(7, 0xCAFE);
    EXPECT_EQ(driver.read_word(7), before);
    driver.command(4 << 6 | 0x30);  // EWEN
    write(7, 0xCAFE);
    EXPECT_EQ(driver.read_word(7), 0xCAFE);
    driver.command(7 << 6 | 7);  // ERASE
    EXPECT_EQ(driver.read_word(7), 0xFFFF);
    driver.command(4 << 6);  // EWDS
    write(7, 1);
    EXPECT_EQ(driver.read_word(7), 0xFFFF);
}

TEST_F(EepromTest, DeselectingAbandonsACommand) {
    Driver driver{state_};
    driver.select();
    driver.shift_out(6, 3);
    driver.deselect();
    EXPECT_EQ(driver.read_word(1), state_.words[1]);
}

TEST_F(EepromTest, EerdBeyondTheChipReadsOnes) {
    EXPECT_EQ(access_eerd(state_, 200 << 8 | kEerdStart) >> 16, 0xFFFFU);
    EXPECT_EQ(access_eerd(state_, 1 << 8) & kEerdDone, 0U);
}

}  // namespace
}  // namespace backplane::e1000
