// A guest whose rings change while the exchange reads them, as another of its processors could do.
#include <gtest/gtest.h>

#include <set>

#include "crossover/queue_testing.h"
#include "device/changing_memory.h"

namespace backplane {
namespace {

using namespace testing;

constexpr std::uint32_t kP = kFirst;

/// Every frame is in the stock, on its way, or in a window.
bool is_no_page_lost(QueueRack& rack) {
    std::set<std::uint32_t> frames;
    for (FrameNumber const frame : rack.exchange.ownership().frames_in_flight()) frames.insert(frame.value());
    for (auto const& guest : rack.guests) {
        for (std::uint32_t page = kP; page < kWindowPages; ++page)
            if (guest->owner(page) != OwnerState::none) frames.insert(guest->frame(page).value());
    }
    std::uint64_t const needed = MessageExchange::frames_needed(kWindowPages, {.flight_pages = 64});
    return frames.size() + rack.exchange.stock().count() == rack.guests.size() * needed;
}

// Before each access of the exchange to alpha's control page and rings, what is about to be accessed turns into
// nonsense. Whatever becomes of alpha's calls, the others' messages arrive, no page is lost, and a reset helps.
TEST(HostileGuest, RingsThatChangeBetweenAnyTwoAccesses) {
    std::uint64_t n = 0;
    for (bool has_changed = true; has_changed; ++n) {
        for (unsigned kind = 0; kind < 3; ++kind) {
            QueueRack rack;
            QueueGuest& alpha = rack[0];
            for (std::size_t receiver : {1U, 2U}) rack[receiver].post({{kP, 4}});
            alpha.place_pages(QueueOperation::populate, {{kP, 2}, {kP + 4, 1}});
            rack.barrier();
            alpha.place_pages(QueueOperation::send, {{kP, 1}, {kP + 4, 1}}, 1, 5000);
            alpha.place_text(1, "one");
            alpha.place_pages(QueueOperation::lend, {{kP + 1, 1}}, 2, 100);
            rack[1].place_text(0, "to alpha");
            rack[1].place_text(2, "to gamma");
            rack[2].place_text(1, "to beta");
            std::vector<ByteSpan> pages;
            for (std::uint32_t page = 0; page < queue::kRingPages; ++page)
                pages.emplace_back(rack.pool.host(alpha.frame(page)), kPageBytes);
            ChangingMemory changing{pages};
            has_changed = changing.run(
                n,
                [&](ByteSpan page) {
                    for (std::size_t i = 0; i < 512; ++i)
                        page[i] = static_cast<std::byte>(kind == 0 ? 0xFF : kind == 1 ? 0 : (i * 7 + n * 13) % 5);
                },
                [&] { rack.barrier(); });
            auto const texts_from = [](std::vector<Arrival> const& arrivals, std::uint16_t sender) {
                std::vector<std::string> texts;
                for (Arrival const& each : arrivals)
                    if (each.sender == sender && each.page_count == 0) texts.push_back(QueueGuest::text_of(each));
                return texts;
            };
            EXPECT_EQ(texts_from(rack[2].arrivals(), 1), std::vector<std::string>{"to gamma"}) << n << " " << kind;
            EXPECT_EQ(texts_from(rack[1].arrivals(), 2), std::vector<std::string>{"to beta"}) << n << " " << kind;
            EXPECT_TRUE(is_no_page_lost(rack)) << n << " " << kind;

            // What it lent comes back at the latest when the borrower's time is over.
            alpha.set(queue::kControlRegister, queue::kControlReset);
            for (int i = 0; i < 1000 && alpha.get(queue::kStatusRegister) != 0; ++i) rack.barrier();
            EXPECT_EQ(alpha.get(queue::kStatusRegister), 0U) << n << " " << kind;
            alpha.enable();
            alpha.place_text(2, "again");
            rack.barrier();
            EXPECT_EQ(texts_from(rack[2].arrivals(), 0), std::vector<std::string>{"again"}) << n << " " << kind;
            EXPECT_TRUE(is_no_page_lost(rack)) << n << " " << kind;
        }
    }
    RecordProperty("accesses", static_cast<int>(n - 1));
    EXPECT_GT(n, 20U) << "the test looks between all reads";
}

}  // namespace
}  // namespace backplane
