// The shared window as whole processors meet it (docs/design/window.md), in both tiers.
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "cpu/testing.h"
#include "crossover/shared_window.h"
#include "machine/layout.h"
#include "machine/machine.h"

namespace backplane {
namespace {

constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kGdt = 0x3000, kCount = 0x8000, kCode = 0x1'0000,
                        kStack = 0x2'0000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr window::Layout kLayout{.peers = 2, .common_bytes = 0, .section_bytes = kPageBytes};

class WindowTest : public testing::TestWithParam<Tier> {
  protected:
    WindowTest() {
        for (std::uint32_t i = 0; i < kLayout.peers; ++i) {
            machines_[i] = Machine::create({.name = std::to_string(i),
                                            .memory_bytes = kMinMemoryBytes,
                                            .instructions_per_second = 1'000'000'000,
                                            .tier = GetParam(),
                                            .random_seed = 1,
                                            .nics = {},
                                            .window = WindowDeviceSettings{.layout = kLayout, .position = i}},
                                           pool_, console_)
                               .value();
            shared_.attach(*machines_[i]->window(), machines_[i]->name());
            // Linear 0 to 1 GiB is physical; the gigabyte above it is the one with the PCI window.
            put(i, kPml4, kPdpt | 3);
            put(i, kPdpt, std::uint64_t{0x83});
            put(i, kPdpt + 8, 3 * kGiB | 0x83);
            put(i, kGdt + 8, std::uint64_t{0x00af'9b00'0000'ffff});
            CpuState state = TestMachine::kernel_state(kCode);
            state.cr3 = kPml4;
            state.gdtr = {kGdt, 15};
            state.gpr[rsp] = kStack;
            state.gpr[rbx] = kGiB + *machines_[i]->window()->decoded_at(2) - 3 * kGiB;
            machines_[i]->engine(0).set_state(state);
        }
    }
    template <typename T>
    void put(std::uint32_t machine, std::uint64_t at, T const& value) {
        EXPECT_TRUE(machines_[machine]->memory().write_object(GuestPhys{at}, value));
    }
    [[nodiscard]] std::uint32_t get(std::uint32_t machine, std::uint64_t at) {
        std::uint32_t value = 0;
        EXPECT_TRUE(machines_[machine]->memory().read_object(GuestPhys{at}, value));
        return value;
    }
    void put_code(std::uint32_t machine, std::string_view code) {
        std::vector<std::uint8_t> const bytes = hex(code);
        EXPECT_TRUE(machines_[machine]->memory().write(GuestPhys{kCode}, std::as_bytes(std::span{bytes})));
    }
    void run(std::uint64_t us) {
        for (auto const& machine : machines_) machine->run_until(microseconds(us));
        shared_.deliver();
    }
    [[nodiscard]] std::uint64_t section(std::uint32_t machine, std::uint32_t of) const {
        return *machines_[machine]->window()->decoded_at(2) + kLayout.section_page(of).value() * kPageBytes;
    }

    FramePool pool_{*FramePool::create(2 * kMinMemoryBytes / kPageBytes + kLayout.used_pages())};
    SharedWindow shared_{*SharedWindow::create(kLayout, pool_)};
    NullSink console_;
    std::array<std::unique_ptr<Machine>, kLayout.peers> machines_;
};

TEST_P(WindowTest, AStoreIntoAnothersSectionIsDroppedAndCounted) {
    // mov rcx, 1000; again: inc dword [rbx]; dec ecx; jnz again; mov dword [rbx + 0x1000], 7; hlt
    put_code(0, "48c7c1e8030000 ff03 ffc9 75fa c7830010000007000000 f4");
    // The other way: its own section is the second.
    put_code(1, "48c7c1e8030000 ff8300100000 ffc9 75f6 c70307000000 8b03 890425 00800000 f4");
    run(100);
    EXPECT_EQ(get(1, section(1, 0)), 1000U);
    EXPECT_EQ(get(0, section(0, 1)), 1000U);
    EXPECT_EQ(get(1, kCount), 1000U) << "what it could not overwrite it reads";
    EXPECT_EQ(shared_.report(0).counters.refused_stores, 1U);
    EXPECT_EQ(shared_.report(1).counters.refused_stores, 1U);
}

// The second machine runs a function in the first one's section until it is hot; the first one then replaces it.
TEST_P(WindowTest, CodeThatAnotherMachineReplacesIsNotExecutedAnyMore) {
    put_code(0, "ebfe");
    put_code(
        1, "ff0425 00800000 ffd3 890425 04800000 ebee");  // inc dword [kCount]; call rbx; mov [kCount + 4], eax; again
    std::vector<std::uint8_t> const first = hex("b811000000 c3"), second = hex("b822000000 c3");  // mov eax, N; ret
    ASSERT_TRUE(machines_[0]->memory().write(GuestPhys{section(0, 0)}, std::as_bytes(std::span{first})));
    run(100);
    run(200);
    EXPECT_GT(get(1, kCount), 10'000U) << "hot";
    EXPECT_EQ(get(1, kCount + 4), 0x11U);
    ASSERT_TRUE(machines_[0]->memory().write(GuestPhys{section(0, 0)}, std::as_bytes(std::span{second})));
    run(300);
    EXPECT_EQ(get(1, kCount + 4), 0x22U);
}

INSTANTIATE_TEST_SUITE_P(Tiers, WindowTest, testing::Values(Tier::interpreter, Tier::translator), [](auto const& tier) {
    return tier.param == Tier::interpreter ? "interpreter" : "translator";
});

}  // namespace
}  // namespace backplane
