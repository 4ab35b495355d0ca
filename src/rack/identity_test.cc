#include "rack/identity.h"

#include <gtest/gtest.h>

#include <set>

#include "rack/rack_values.h"

namespace backplane {
namespace {

TEST(Identity, IsPartOfTheFileFormat) {
    // Computed once with an independent program (Python); they must never change.
    EXPECT_EQ(derive_seed(1, "alpha", "rdrand"), 0xd807c8b1a5e79510U);
    EXPECT_EQ(mac_text(derive_mac(1, "alpha", 0)), "02:89:74:ad:95:84");
}

TEST(Identity, MachinesPurposesAndSeedsDiffer) {
    std::set<std::uint64_t> seeds;
    for (std::uint64_t const seed : {0, 1, 2}) {
        for (auto const* machine : {"a", "b", "ab"}) {
            for (auto const* purpose : {"", "b", "bc"}) seeds.insert(derive_seed(seed, machine, purpose));
        }
    }
    EXPECT_EQ(seeds.size(), 27U) << "(\"a\", \"b\") and (\"ab\", \"\") must differ too";
}

TEST(Identity, AddressesAreLocalAndOfOneStation) {
    std::set<MacAddress> addresses;
    for (unsigned nic = 0; nic < 1000; ++nic) {
        MacAddress const mac = derive_mac(1, "alpha", nic);
        EXPECT_EQ(mac[0], 0x02);
        addresses.insert(mac);
    }
    EXPECT_EQ(addresses.size(), 1000U);
}

}  // namespace
}  // namespace backplane
