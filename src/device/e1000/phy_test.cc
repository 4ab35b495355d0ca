#include "device/e1000/phy.h"

#include <gtest/gtest.h>

namespace backplane::e1000 {
namespace {

class PhyTest : public ::testing::Test {
  protected:
    PhyTest() {
        reset_phy(state_);
        set_phy_carrier(state_, true);
    }
    PhyState state_;
};

TEST_F(PhyTest, IsTheTransceiverThatLinuxExpectsInAn82540) {
    EXPECT_EQ(read_phy(state_, 2), 0x0141);
    EXPECT_EQ(read_phy(state_, 3) & 0xFFF0, 0x0C20);
}

TEST_F(PhyTest, ReportsAGigabitLink) {
    EXPECT_EQ(read_phy(state_, 1) & 0x24, 0x24);       // complete, link
    EXPECT_EQ(read_phy(state_, 17) & 0xEC00, 0xAC00);  // 1000 Mb/s, full duplex, resolved, link
    EXPECT_EQ(read_phy(state_, 10) & 0x3800, 0x3800);  // receivers good, partner does 1000BASE-T full duplex
}

TEST_F(PhyTest, LostLinkIsLatchedUntilRead) {
    set_phy_carrier(state_, false);
    EXPECT_FALSE(has_link(state_));
    set_phy_carrier(state_, true);
    EXPECT_EQ(read_phy(state_, 1) & 4, 0);
    EXPECT_EQ(read_phy(state_, 1) & 4, 4);
}

TEST_F(PhyTest, PowerDownTakesTheLinkDown) {
    EXPECT_FALSE(write_phy(state_, 0, 0x1940));
    EXPECT_FALSE(has_link(state_));
    EXPECT_EQ(read_phy(state_, 17), 0);
    write_phy(state_, 0, 0x1140);
    EXPECT_TRUE(has_link(state_));
}

TEST_F(PhyTest, ResetAndRestartClearThemselvesAndNegotiate) {
    EXPECT_TRUE(write_phy(state_, 0, 0x9140));
    EXPECT_TRUE(write_phy(state_, 0, 0x1340));
    EXPECT_EQ(read_phy(state_, 0), 0x1140);
}

TEST_F(PhyTest, ReadOnlyRegistersStay) {
    write_phy(state_, 2, 0xFFFF);
    write_phy(state_, 1, 0xFFFF);
    EXPECT_EQ(read_phy(state_, 2), 0x0141);
    EXPECT_EQ(read_phy(state_, 1), 0x796D);
}

}  // namespace
}  // namespace backplane::e1000
