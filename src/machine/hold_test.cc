// A machine that is held on its way to a barrier gets there as if nothing had been (docs/design/debug.md).
#include <gtest/gtest.h>

#include <memory>

#include "cpu/testing.h"
#include "machine/layout.h"
#include "machine/machine.h"

namespace backplane {
namespace {

constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kCode = 0x1'0000;

class HoldTest : public testing::TestWithParam<Tier> {
  protected:
    /// A machine with that share of its processor, which counts in RAX for ever.
    std::unique_ptr<Machine> make(std::uint32_t share_ppm) {
        auto machine = Machine::create({.name = "m",
                                        .memory_bytes = kMinMemoryBytes,
                                        .instructions_per_second = 1'000'000'000,
                                        .tier = GetParam(),
                                        .random_seed = 1,
                                        .nics = {},
                                        .share_ppm = share_ppm},
                                       pool_, console_)
                           .value();
        std::vector<std::uint8_t> const code = hex("48ffc0 ebfb");  // inc rax; jmp back
        EXPECT_TRUE(machine->memory().write_object(GuestPhys{kPml4}, kPdpt | 3));
        EXPECT_TRUE(machine->memory().write_object(GuestPhys{kPdpt}, std::uint64_t{0x83}));
        EXPECT_TRUE(machine->memory().write(GuestPhys{kCode}, std::as_bytes(std::span{code})));
        CpuState state = TestMachine::kernel_state(kCode);
        state.cr3 = kPml4;
        machine->engine(0).set_state(state);
        return machine;
    }

  private:
    FramePool pool_ = FramePool::create(4 * kMinMemoryBytes / kPageBytes).value();
    NullSink console_;
};

TEST_P(HoldTest, AShareIsTheSameInPieces) {
    for (std::uint32_t const share : {kWholeShare, kWholeShare / 3}) {
        auto const straight = make(share), stepped = make(share);
        straight->run_until(microseconds(100));
        for (unsigned i = 0; i < 1000; ++i) {
            stepped->resume(Machine::Resume::step);
            stepped->run_until(microseconds(100));
            ASSERT_TRUE(stepped->is_held());
        }
        stepped->resume(Machine::Resume::run);
        stepped->run_until(microseconds(100));
        EXPECT_EQ(stepped->instructions(), straight->instructions());
        EXPECT_EQ(stepped->stolen_time(), straight->stolen_time());
        EXPECT_EQ(stepped->engine(0).state(), straight->engine(0).state());
    }
}

TEST_P(HoldTest, PiecesEndToTheInstruction) {
    auto const straight = make(kWholeShare), pieces = make(kWholeShare);
    straight->run_until(microseconds(100));
    std::uint64_t executed = 0;
    for (std::uint64_t piece = 1; executed + piece < 100'000; piece += 7) {
        pieces->resume_for(piece);
        pieces->run_until(microseconds(100));
        ASSERT_TRUE(pieces->is_held());
        ASSERT_EQ(pieces->instructions(), executed += piece);
    }
    pieces->resume_for(100'000);
    pieces->run_until(microseconds(100));
    EXPECT_FALSE(pieces->is_held());
    EXPECT_EQ(pieces->engine(0).state(), straight->engine(0).state());
}

INSTANTIATE_TEST_SUITE_P(Tiers, HoldTest, testing::Values(Tier::interpreter, Tier::translator), [](auto const& tier) {
    return tier.param == Tier::interpreter ? "interpreter" : "translator";
});

}  // namespace
}  // namespace backplane
