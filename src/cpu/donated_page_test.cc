// What a processor knows of a page that changes its owner: nothing, from the moment the call is done.
#include <gtest/gtest.h>

#include "cpu/testing.h"
#include "memory/ownership.h"

namespace backplane {
namespace {

using namespace layout;

constexpr GuestPage kHere{kData / kPageBytes};
constexpr GuestPage kNext{kData / kPageBytes + 1};

/// The machine may give away two pages of its RAM, to a peer that is nothing but a page map.
struct DonatedPageTest : testing::Test {
    DonatedPageTest() {
        machine.put(kData, "b801000000 c3");               // mov eax, 1; ret
        machine.put(kData + kPageBytes, "b802000000 c3");  // mov eax, 2; ret
        self = ownership.join({.pages = &machine.memory.map(), .first = kHere, .page_count = 2, .quota = {.pages = 4}});
        other = ownership.join({.pages = &peer, .page_count = 2, .quota = {.pages = 4}});
    }
    void donate(MachineId from, GuestPage page, MachineId to, GuestPage target) {
        auto const handle = ownership.offer({.sender = from, .message_bytes = kPageBytes}, {&page, 1}, {&to, 1});
        ASSERT_TRUE(handle);
        ASSERT_EQ(ownership.retrieve(to, *handle, TransferKind::donate, Access::read, {&target, 1}),
                  OwnershipStatus::ok);
    }
    std::uint64_t result_of(char const* code) {
        machine.put(kCode, code);
        machine.start_kernel();
        EXPECT_EQ(machine.run(), Ended::halted);
        EXPECT_FALSE(machine.arrived().has_value());
        return machine.reg(rax);
    }

    TestMachine machine;
    PageMap peer;
    FrameStock stock{machine.memory.pool()};
    Ownership ownership{stock};
    MachineId self, other;
};

TEST_F(DonatedPageTest, AStaleTranslationIsNotUsed) {
    char const* const load = "488b042500000300 f4";                             // mov rax, [kData]; hlt
    char const* const store_and_load = "48890c2500000300 488b042500000300 f4";  // mov [kData], rcx first
    EXPECT_EQ(result_of(load) & 0xff, 0xb8u);
    EXPECT_EQ(ownership.holdings(self).pages, 2u);
    FrameNumber const frame = machine.memory.map().lookup(kHere).frame;
    donate(self, kHere, other, GuestPage{0});
    EXPECT_EQ(result_of(load), ~std::uint64_t{0});
    EXPECT_EQ(result_of(store_and_load), ~std::uint64_t{0});
    EXPECT_EQ(peer.lookup(GuestPage{0}).frame, frame);
    EXPECT_EQ(static_cast<unsigned>(*machine.memory.pool().host(frame)), 0xb8u) << "the store reached nobody";
    EXPECT_EQ(ownership.holdings(self).pages, 1u);
}

TEST_F(DonatedPageTest, CodeOfADonatedPageIsExecuted) {
    char const* const call = "e8fbff0100 f4";  // call kData; hlt
    EXPECT_EQ(result_of(call), 1u);
    donate(self, kNext, other, GuestPage{0});
    donate(self, kHere, other, GuestPage{1});
    donate(other, GuestPage{0}, self, kHere);
    EXPECT_EQ(result_of(call), 2u) << "what was decoded from the old page is gone";
}

}  // namespace
}  // namespace backplane
