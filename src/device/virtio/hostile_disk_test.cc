// A driver of a disk whose rings and requests change while the device reads them.
#include <gtest/gtest.h>

#include <vector>

#include "device/hostile_testing.h"
#include "device/virtio/block_testing.h"

namespace backplane::virtio {
namespace {

using namespace testing;
using backplane::testing::change_before_each_access;

constexpr std::uint32_t kIn = 0, kOut = 1, kGetId = 8, kDiscardRequest = 11;

/// After a reset the disk works as if nothing had been.
void expect_recovers(RunningBlock& driver, std::uint64_t which) {
    driver.set_up(~std::uint64_t{0});
    EXPECT_EQ(driver.ask(kIn, 2, {{RunningBlock::kData, 512, kWrite, 0}}), 0) << which;
    auto const read = driver.machine.get_bytes(RunningBlock::kData, 512);
    EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span{read}), std::span{driver.disk.content}.subspan(1024, 512))) << which;
}

TEST(HostileDisk, MemoryThatChangesBetweenAnyTwoAccesses) {
    RunningBlock driver;
    std::uint64_t const header = RunningBlock::kHeader, status = RunningBlock::kStatus, data = RunningBlock::kData, range = data + 0x1000;
    auto const offer = [&](std::uint64_t at, std::uint32_t type, std::uint64_t sector, std::vector<Slot> pieces) {
        driver.put_header(type, sector, at);
        driver.machine.put(status + (at - header) / 16, std::uint8_t{0xEE});
        driver.offer(at, std::move(pieces), status + (at - header) / 16);
    };
    // The last sectors there are, so that whatever reaches further is seen by the disk.
    auto const prepare = [&] {
        driver.set_up(~std::uint64_t{0});
        offer(header, kIn, 62, {{data, 600, kWrite, 0}, {data + 600, 424, kWrite, 0}});
        offer(header + 16, kOut, 63, {{data, 512, 0, 0}});
        offer(header + 32, kGetId, 0, {{data + 0x800, 20, kWrite, 0}});
        driver.machine.put(range, std::uint64_t{60});
        driver.machine.put(range + 8, std::uint64_t{4});  // sectors, no flags
        offer(header + 48, kDiscardRequest, 0, {{range, 16, 0, 0}});
    };
    auto const work = [&] {
        driver.block.notify(0);
        for (int i = 0; i < 8; ++i) driver.pass(100'000'000);  // one request after the other
    };
    std::vector<ByteSpan> watched;
    for (std::uint64_t const page : {header, data, range, driver.ring.descriptors(), driver.ring.available(), driver.ring.used()})
        watched.push_back(driver.machine.memory.writable(GuestPhys{page}, kPageBytes));
    prepare();
    work();
    for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(driver.machine.get<std::uint8_t>(status + i), 0) << "as long as nothing changes, request " << i;

    std::uint64_t const n = change_before_each_access(watched, prepare, work, [&](std::uint64_t which) { expect_recovers(driver, which); });
    RecordProperty("accesses", static_cast<int>(n));
    EXPECT_GT(n, 40U) << "the test looks between all reads";
}

}  // namespace
}  // namespace backplane::virtio
