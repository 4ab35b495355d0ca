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

/// What a page becomes: all of it nonsense, or one 16-bit word of each submission, while the rest stays plausible. That
/// is what finds an exchange that reads a field once to check it and once to use it (docs/design/queue-device.md
/// says which such mistakes this test was seen to find).
enum class Change : std::uint8_t { ones, zeroes, small, flags, receiver, page_count, bytes, pages };
constexpr std::array kChanges{Change::ones,     Change::zeroes,     Change::small, Change::flags,
                              Change::receiver, Change::page_count, Change::bytes, Change::pages};

/// Where the word is in a submission; 0 for a change of everything.
std::size_t word_offset(Change change) {
    switch (change) {
        case Change::flags:
            return 2;
        case Change::receiver:
            return 4;
        case Change::page_count:
            return 6;
        case Change::bytes:
            return 8;
        case Change::pages:
            return 16;
        default:
            return 0;
    }
}

void spoil(ByteSpan page, Change change, std::uint64_t n) {
    if (std::size_t const offset = word_offset(change); offset != 0) {
        for (std::size_t entry = 0; entry < 16; ++entry)
            store(page, entry * queue::kSubmitBytes + offset, std::uint16_t{0x0FF8});
        return;
    }
    for (std::size_t i = 0; i < 1024; ++i) {
        std::uint64_t const small = (i * 7 + n * 13) % 5;
        page[i] = static_cast<std::byte>(change == Change::ones ? 0xFF : change == Change::zeroes ? 0 : small);
    }
}

/// What a receiver is told keeps the rules, whoever sent it.
void expect_rules(QueueGuest& receiver, Arrival const& arrival) {
    EXPECT_LE(arrival.page_count, queue::kMessagePages);
    EXPECT_LE(arrival.bytes, arrival.page_count == 0 ? kInlineMessageBytes : arrival.page_count * kPageBytes);
    for (std::size_t i = 0; i < std::min<std::size_t>(arrival.page_count, queue::kMessagePages); ++i) {
        ASSERT_GE(arrival.pages[i], kP);
        ASSERT_LT(arrival.pages[i], kWindowPages);
        EXPECT_NE(receiver.owner(arrival.pages[i]), OwnerState::none);
    }
}

/// Calls of all kinds wait in the rings of alpha, and messages of the others.
void prepare(QueueRack& rack) {
    QueueGuest& alpha = rack[0];
    for (std::size_t receiver : {1U, 2U}) rack[receiver].post({{kP, 4}});
    rack.barrier();
    alpha.place_pages(QueueOperation::send, {{kP, 1}, {kP + 4, 1}}, 1, 5000);
    alpha.place_text(1, "one");
    alpha.place_pages(QueueOperation::lend, {{kP + 1, 1}}, 2, 100);
    alpha.place_pages(QueueOperation::post, {{kP + 8, 2}, {kP + 12, 1}});
    alpha.place_pages(QueueOperation::release, {{kP + 16, 2}});
    alpha.place_pages(QueueOperation::populate, {{kP + 16, 1}});
    rack[1].place_text(0, "to alpha");
    rack[2].place_pages(QueueOperation::donate, {{kP + 8, 1}}, 0, 50);
    rack[1].place_text(2, "to gamma");
    rack[2].place_text(1, "to beta");
}

TEST(HostileGuest, AsLongAsNothingChangesAllCallsSucceed) {
    QueueRack rack;
    prepare(rack);
    rack.barrier();
    std::vector<QueueStatus> statuses;
    for (Completion const& each : rack[0].completions()) statuses.push_back(each.status);
    EXPECT_EQ(statuses, std::vector<QueueStatus>(6, QueueStatus::ok));
    EXPECT_EQ(rack[0].arrivals().size(), 2U);
    EXPECT_EQ(rack[1].arrivals().size(), 3U);
    EXPECT_EQ(rack[2].arrivals().size(), 2U);
}

// Before each access of the exchange to alpha's control page and rings, what is about to be accessed turns into
// nonsense. Whatever becomes of alpha's calls, the others' messages arrive, no page is lost, and a reset helps.
TEST(HostileGuest, RingsThatChangeBetweenAnyTwoAccesses) {
    std::uint64_t n = 0;
    for (bool has_changed = true; has_changed; ++n) {
        for (Change const change : kChanges) {
            SCOPED_TRACE(::testing::Message() << n << " " << static_cast<int>(change));
            QueueRack rack;
            QueueGuest& alpha = rack[0];
            prepare(rack);
            std::vector<ByteSpan> pages;
            for (std::uint32_t page = 0; page < queue::kRingPages; ++page)
                pages.emplace_back(rack.pool.host(alpha.frame(page)), kPageBytes);
            ChangingMemory changing{pages};
            has_changed = changing.run(
                n, [&](ByteSpan page) { spoil(page, change, n); }, [&] { rack.barrier(); });
            auto const texts_from = [&](QueueGuest& receiver, std::uint16_t sender) {
                std::vector<std::string> texts;
                for (Arrival const& each : receiver.arrivals()) {
                    expect_rules(receiver, each);
                    if (each.sender == sender && each.page_count == 0) texts.push_back(QueueGuest::text_of(each));
                }
                return texts;
            };
            EXPECT_EQ(texts_from(rack[2], 1), std::vector<std::string>{"to gamma"});
            EXPECT_EQ(texts_from(rack[1], 2), std::vector<std::string>{"to beta"});
            EXPECT_TRUE(is_no_page_lost(rack));

            // What it lent comes back at the latest when the borrower's time is over.
            alpha.set(queue::kControlRegister, queue::kControlReset);
            for (int i = 0; i < 1000 && alpha.get(queue::kStatusRegister) != 0; ++i) rack.barrier();
            EXPECT_EQ(alpha.get(queue::kStatusRegister), 0U);
            alpha.enable();
            alpha.place_text(2, "again");
            rack.barrier();
            EXPECT_EQ(texts_from(rack[2], 0), std::vector<std::string>{"again"});
            EXPECT_TRUE(is_no_page_lost(rack));
        }
    }
    RecordProperty("accesses", static_cast<int>(n - 1));
    EXPECT_GT(n, 20U) << "the test looks between all reads";
}

}  // namespace
}  // namespace backplane
