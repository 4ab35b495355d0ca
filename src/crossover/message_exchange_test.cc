#include "crossover/message_exchange.h"

#include <gtest/gtest.h>

#include <set>

#include "crossover/queue_testing.h"

namespace backplane {
namespace {

using namespace backplane::testing;
using Op = QueueOperation;
using Kind = QueueArrival::Kind;
using Status = QueueStatus;

constexpr std::uint32_t kP = kFirst;

MessageExchangeOptions mode(TransferMode transfer) { return {.transfer = transfer, .quotas = {.flight_pages = 64}}; }

/// Every frame is in the stock, on its way, or in a window.
void expect_no_page_lost(QueueRack& rack) {
    std::set<std::uint32_t> frames;
    for (FrameNumber const frame : rack.exchange.ownership().frames_in_flight()) frames.insert(frame.value());
    for (auto const& guest : rack.guests) {
        for (std::uint32_t p = kP; p < kWindowPages; ++p)
            if (guest->owner(p) != OwnerState::none) frames.insert(guest->frame(p).value());
    }
    std::uint64_t const needed = MessageExchange::frames_needed(kWindowPages, {.flight_pages = 64});
    EXPECT_EQ(frames.size() + rack.exchange.stock().count(), rack.guests.size() * needed);
}

TEST(MessageExchange, TheDirectoryNamesTheMachines) {
    QueueRack rack;
    EXPECT_EQ(rack[1].get(queue::kIdRegister), queue::kMagic);
    EXPECT_EQ(rack[1].get(queue::kSelfRegister), 1u);
    EXPECT_EQ(rack[1].get(queue::kPeerCountRegister), 3u);
    std::array<std::byte, 8> name{};
    EXPECT_TRUE(rack[1].memory.read(QueueGuest::at(queue::kDirectoryPage, 2 * 64 + queue::kDirectoryName), name));
    EXPECT_EQ(std::memcmp(name.data(), "gamma", 6), 0);
    rack[1].put(queue::kDirectoryPage, 0);
    EXPECT_NE(rack[1].word(queue::kDirectoryPage), 0u) << "the directory is not the guest's to write";
}

// Claim S1.4, first path: memory only; found at the next exit that happens anyway, at the latest at the barrier.
TEST(MessageExchange, NaturalFormNeedsNoExitOfItsOwn) {
    QueueRack rack;
    std::uint64_t const accesses = rack[0].bus.access_count();
    rack[0].place_text(1, "hello", 7);
    EXPECT_EQ(rack[0].bus.access_count(), accesses) << "plain memory";
    rack.barrier();
    auto const arrivals = rack[1].arrivals();
    ASSERT_EQ(arrivals.size(), 1u);
    EXPECT_EQ(QueueGuest::text_of(arrivals[0]), "hello");
    EXPECT_EQ(arrivals[0].cookie, 7u);
    EXPECT_EQ(rack.exchange.report(MachineId{0}).natural, 1u);
    auto const completions = rack[0].completions();
    ASSERT_EQ(completions.size(), 1u);
    EXPECT_EQ(completions[0].status, Status::ok);
    EXPECT_EQ(completions[0].cookie, 7u);
}

TEST(MessageExchange, NaturalFormIsFoundAtAnyExit) {
    QueueRack rack;
    rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8);
    EXPECT_EQ(rack[0].owner(kP), OwnerState::owner_exclusive);
    rack[0].device->notice_exit();
    EXPECT_EQ(rack[0].owner(kP), OwnerState::none);
    rack[0].device->notice_exit();
    EXPECT_EQ(rack.exchange.report(MachineId{0}).natural, 1u);
}

// Second path: placed, then the doorbell.
TEST(MessageExchange, ImmediateFormTakesThePageWithTheInstruction) {
    QueueRack rack;
    rack[1].post({{kP + 4, 1}});
    rack[0].put(kP, 0xABCD);
    FrameNumber const frame = rack[0].frame(kP);
    rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8);
    rack[0].ring();
    rack[0].put(kP, 0x6666);  // the sender tries to change what it has sent
    EXPECT_EQ(rack[0].word(kP), ~std::uint64_t{0}) << "a hole reads ones";
    rack.barrier();
    auto const arrivals = rack[1].arrivals();
    ASSERT_EQ(arrivals.size(), 1u);
    EXPECT_EQ(arrivals[0].kind, Kind::donated);
    ASSERT_EQ(arrivals[0].page_count, 1u);
    EXPECT_EQ(arrivals[0].pages[0], kP + 4);
    EXPECT_EQ(rack[1].frame(kP + 4), frame) << "no byte was copied";
    EXPECT_EQ(rack[1].word(kP + 4), 0xABCDu);
    EXPECT_EQ(rack.exchange.report(MachineId{0}).immediate, 1u);
    EXPECT_EQ(rack.exchange.ownership().counters().copied_pages, 0u);
    expect_no_page_lost(rack);
}

// Third path: the operands are in the instruction.
TEST(MessageExchange, RegisterFormPlacesNothing) {
    QueueRack rack;
    rack[0].set(queue::kShortDataRegister, 0x64636261);
    rack[0].set(queue::kShortCookieRegister, 99);
    rack[0].set(queue::kShortSendRegister, 4U << 16 | 2);
    EXPECT_EQ(rack[0].get(queue::kShortStatusRegister), 0u);
    rack.barrier();
    auto const arrivals = rack[2].arrivals();
    ASSERT_EQ(arrivals.size(), 1u);
    EXPECT_EQ(QueueGuest::text_of(arrivals[0]), "abcd");
    EXPECT_EQ(arrivals[0].cookie, 99u);
    EXPECT_TRUE(rack[0].completions().empty());
    EXPECT_EQ(rack.exchange.report(MachineId{0}).registers, 1u);
    rack[0].set(queue::kShortSendRegister, 4U << 16 | 9);
    EXPECT_EQ(rack[0].get(queue::kShortStatusRegister), static_cast<std::uint32_t>(Status::not_found));
    rack[0].set(queue::kShortSendRegister, 49U << 16 | 1);
    EXPECT_EQ(rack[0].get(queue::kShortStatusRegister), static_cast<std::uint32_t>(Status::invalid));
}

// Claim S1.9: no bit that the sender can write names the sender.
TEST(MessageExchange, TheSenderCannotBeForged) {
    QueueRack rack;
    for (std::uint16_t bit = 0; bit < 16; ++bit) {
        std::array<std::byte, kInlineMessageBytes> operand;
        operand.fill(std::byte{2});
        rack[0].place(Op::send, queue::kFlagInline, 1, 48, 0xFFFF'FFFF, operand, static_cast<std::uint16_t>(1U << bit));
    }
    rack.barrier();
    auto const arrivals = rack[1].arrivals();
    ASSERT_EQ(arrivals.size(), 16u);
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
        EXPECT_EQ(arrivals[i].sender, 0u);
        EXPECT_EQ(arrivals[i].receiver, 1u);
        EXPECT_EQ(arrivals[i].sequence, i + 1);
    }
}

TEST(MessageExchange, MessagesLandInTheOrderOfTimeThenMachine) {
    QueueRack rack;
    rack[2].clock.advance_to(microseconds(10));
    rack[1].clock.advance_to(microseconds(20));
    rack[0].clock.advance_to(microseconds(20));
    for (std::size_t const sender : {0U, 1U, 2U}) {
        rack[sender].place_text(sender == 2 ? 0 : 2, std::to_string(sender));
        if (sender != 2) rack[sender].ring();
    }
    rack[1].place_text(0, "late");
    rack[1].clock.advance_to(microseconds(30));
    rack[1].ring();
    rack[2].ring();
    rack.barrier();
    auto const at_zero = rack[0].arrivals();
    ASSERT_EQ(at_zero.size(), 2u);
    EXPECT_EQ(at_zero[0].sender, 2u);
    EXPECT_EQ(at_zero[0].sent, 10'000u);
    auto const at_two = rack[2].arrivals();
    ASSERT_EQ(at_two.size(), 2u);
    EXPECT_EQ(at_two[0].sender, 0u);
    EXPECT_EQ(at_two[1].sender, 1u);
}

TEST(MessageExchange, TheFourTransferModes) {
    for (TransferMode const transfer :
         {TransferMode::remap, TransferMode::cow, TransferMode::shared, TransferMode::copy}) {
        QueueRack rack{mode(transfer)};
        rack[1].post({{kP, 8}});
        (void)rack[1].completions();
        for (std::uint32_t i = 0; i < 3; ++i) rack[0].put(kP + i, 10 + i);
        rack[0].put(kP + 2, 77, 512);
        rack[0].place_pages(Op::send, {{kP, 1}, {kP + 2, 1}}, 1, kPageBytes + 512, 0, 5);
        rack[0].ring();
        rack.barrier();
        auto const arrivals = rack[1].arrivals();
        ASSERT_EQ(arrivals.size(), 1u) << transfer_mode_text(transfer);
        EXPECT_EQ(rack[1].word(arrivals[0].pages[0]), 10u);
        EXPECT_EQ(rack[1].word(arrivals[0].pages[1]), 12u);
        bool const shared = transfer == TransferMode::shared;
        EXPECT_EQ(arrivals[0].kind, shared ? Kind::shared : Kind::donated);
        EXPECT_EQ(rack[1].word(arrivals[0].pages[1], 512), shared ? 77u : 0u);
        EXPECT_EQ(rack[0].word(kP), transfer == TransferMode::remap ? ~std::uint64_t{0} : 10u);
        // A sender that goes on writing reaches the receiver only through memory that is shared.
        rack[0].put(kP, 666);
        EXPECT_EQ(rack[1].word(arrivals[0].pages[0]), shared ? 666u : 10u) << transfer_mode_text(transfer);
        EXPECT_EQ(rack[0].completions().size(), shared ? 0u : 1u);
        if (shared) {
            rack[1].place_handle(Op::relinquish, arrivals[0].handle);
            rack.barrier();
            EXPECT_EQ(rack[0].completions().size(), 1u) << "the pages are the sender's again";
            EXPECT_EQ(rack[0].owner(kP), OwnerState::owner_exclusive);
            EXPECT_EQ(rack[1].owner(arrivals[0].pages[0]), OwnerState::none);
        }
        std::uint64_t const copies = rack.exchange.ownership().counters().copied_pages;
        EXPECT_EQ(copies, transfer == TransferMode::copy ? 2u : transfer == TransferMode::cow ? 2u : 0u);
        expect_no_page_lost(rack);
    }
}

TEST(MessageExchange, ExchangeGivesTheSenderAZeroedPageWhenTheReceiverHasItsOwn) {
    QueueRack rack;
    rack[0].put(kP, 5);
    rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8, queue::kFlagExchange);
    rack.barrier();
    EXPECT_EQ(rack[0].owner(kP), OwnerState::none) << "nothing is posted yet";
    rack[1].post({{kP, 1}});
    rack.barrier();
    EXPECT_EQ(rack[0].owner(kP), OwnerState::owner_exclusive);
    EXPECT_EQ(rack[0].word(kP), 0u);
    EXPECT_EQ(rack[1].word(kP), 5u);
    expect_no_page_lost(rack);
}

TEST(MessageExchange, PagesMoveInARingWithoutNewFrames) {
    QueueRack rack;
    // The receiver posts one more than it holds, so each page that it gets can go back in turn.
    rack[1].post({{kP, 4}});
    for (std::uint64_t round = 0; round < 1000; ++round) {
        rack[0].put(kP, round);
        rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8);
        rack.barrier();
        auto const arrivals = rack[1].arrivals();
        ASSERT_EQ(arrivals.size(), 1u);
        ASSERT_EQ(rack[1].word(arrivals[0].pages[0]), round);
        rack[0].post({{kP, 1}});
        rack[1].place_pages(Op::send, {{arrivals[0].pages[0], 1}}, 0, 8);
        rack.barrier();
        ASSERT_EQ(rack[0].arrivals().size(), 1u);
        rack[1].post({{arrivals[0].pages[0], 1}});
        (void)rack[0].completions();
        (void)rack[1].completions();
    }
    expect_no_page_lost(rack);
}

TEST(MessageExchange, LendAndShareByHandle) {
    QueueRack rack;
    rack[1].post({{kP, 4}});
    rack[0].put(kP, 1);
    rack[0].place_pages(Op::lend, {{kP, 1}}, 1, 8, queue::kFlagWritable);
    rack.barrier();
    auto const arrival = rack[1].arrivals().at(0);
    std::uint64_t const handle = rack[0].completions().at(0).handle;
    EXPECT_EQ(arrival.kind, Kind::lent);
    EXPECT_EQ(arrival.handle, handle);
    rack[1].put(arrival.pages[0], 2);
    rack[0].place_handle(Op::reclaim, handle);
    rack[0].ring();
    EXPECT_EQ(rack[0].completions().at(0).status, Status::denied);
    (void)rack[1].completions();
    rack[1].place_handle(Op::relinquish, handle);
    rack.barrier();
    EXPECT_EQ(rack[1].completions().at(0).status, Status::ok);
    rack[0].place_handle(Op::reclaim, handle);
    rack[0].ring();
    EXPECT_EQ(rack[0].completions().at(0).status, Status::ok);
    EXPECT_EQ(rack[0].word(kP), 2u);
    expect_no_page_lost(rack);
}

TEST(MessageExchange, ABorrowerThatKeepsPagesLosesThemAtTheDeadline) {
    QueueRack rack;
    rack[1].post({{kP, 4}});
    rack[0].place_pages(Op::lend, {{kP, 1}}, 1, 8);
    rack.barrier();
    std::uint64_t const handle = rack[0].completions().at(0).handle;
    rack.now = rack.exchange.next_deadline();
    rack.barrier();
    EXPECT_EQ(rack[1].word(kP), ~std::uint64_t{0});
    rack[0].place_handle(Op::reclaim, handle);
    rack[0].ring();
    EXPECT_EQ(rack[0].completions().at(0).status, Status::ok);
}

// Bare metal donates and receives RAM: its pages change places with pages of the window, and never leave a hole.
TEST(MessageExchange, RamIsDonatedAndReceivedWithoutACopy) {
    constexpr std::uint64_t kRam = 256, kRamPages = 4;
    QueueRack rack{{.quotas = {.flight_pages = 64}}, 3, 2 * kRamPages};
    for (std::size_t i : {0U, 1U}) ASSERT_TRUE(rack[i].memory.add_ram(GuestPage{kRam}, kRamPages));
    auto const ram_word = [&](std::size_t guest, std::uint64_t page) {
        return rack[guest].bus.read(GuestPhys{page * kPageBytes}, Width::qword);
    };
    rack[0].bus.write(GuestPhys{(kRam + 1) * kPageBytes}, Width::qword, 0xABCD);
    FrameNumber const frame = rack[0].memory.map().lookup(GuestPage{kRam + 1}).frame;
    rack[0].put(kP + 2, 0x77);
    rack[0].place_swap({{kP + 2, 1}}, kRam + 1);
    rack[0].place_pages(Op::donate, {{kP + 2, 1}}, 1, 8);
    rack[0].ring();
    EXPECT_EQ(ram_word(0, kRam + 1), 0x77u) << "what the window page had";
    rack[1].post({{kP, 1}});
    rack.barrier();
    ASSERT_EQ(rack[1].arrivals().size(), 1u);
    rack[1].place_swap({{kP, 1}}, kRam + 3);
    rack[1].ring();
    EXPECT_EQ(ram_word(1, kRam + 3), 0xABCDu);
    EXPECT_EQ(rack[1].memory.map().lookup(GuestPage{kRam + 3}).frame, frame) << "no byte was copied";
    for (auto const& completion : rack[0].completions()) EXPECT_EQ(completion.status, Status::ok);
    EXPECT_EQ(rack.exchange.ownership().counters().copied_pages, 0u);
}

TEST(MessageExchange, OnlyOnesOwnRamChangesPlacesWithPagesThatAreOnesOwn) {
    constexpr std::uint64_t kRam = 256, kRamPages = 4;
    QueueRack rack{{.quotas = {.flight_pages = 64}}, 3, kRamPages};
    ASSERT_TRUE(rack[0].memory.add_ram(GuestPage{kRam}, kRamPages));
    rack[0].place_pages(Op::lend, {{kP + 8, 1}}, 1, 8);
    struct Case {
        std::pair<std::uint32_t, std::uint32_t> pages;
        std::uint64_t ram;
        Status expected;
    };
    for (Case const& c : {Case{{kP, 2}, kRam + 3, Status::denied},                            // beyond its end
                          Case{{kP, 1}, kRam - 1, Status::denied},                            // a hole
                          Case{{kP, 1}, ~std::uint64_t{0}, Status::denied},                   // nowhere
                          Case{{kP, 1}, kWindow / kPageBytes + kP + 1, Status::denied},       // the window itself
                          Case{{kP + 8, 1}, kRam, Status::denied},                            // lent out
                          Case{{2, 1}, kRam, Status::invalid},                                // a ring
                          Case{{kP, 0}, kRam, Status::invalid}, Case{{kP, 65}, kRam, Status::invalid},
                          Case{{kP, 2}, kRam, Status::ok}}) {
        rack[0].place_swap({c.pages}, c.ram);
        rack[0].ring();
        auto const completions = rack[0].completions();
        ASSERT_EQ(completions.size(), 1u);
        EXPECT_EQ(completions[0].status, c.expected) << c.pages.first << ' ' << c.pages.second << ' ' << c.ram;
    }
}

// A copy-on-write frame that the other side still reads must not be reached through RAM.
TEST(MessageExchange, ASwappedPageIsItsOwnersAlone) {
    QueueRack rack{{.transfer = TransferMode::cow, .quotas = {.flight_pages = 64}}, 3, 1};
    ASSERT_TRUE(rack[0].memory.add_ram(GuestPage{256}, 1));
    rack[0].put(kP, 1);
    rack[1].post({{kP, 1}});
    rack[0].place_pages(Op::send, {{kP, 1}}, 1, 4096);
    rack[0].ring();
    rack.barrier();
    rack[0].place_swap({{kP, 1}}, 256);
    rack[0].ring();
    rack[0].bus.write(GuestPhys{256 * kPageBytes}, Width::qword, 2);
    EXPECT_EQ(rack[0].bus.read(GuestPhys{256 * kPageBytes}, Width::qword), 2u);
    EXPECT_EQ(rack[1].word(kP), 1u);
}

// What lies behind a message in its last page is zero for the receiver, unless the sender wants it to be seen.
TEST(MessageExchange, TheRestOfAPageIsSeenOnlyWhenItsSenderSaysSo) {
    for (bool const whole : {false, true}) {
        QueueRack rack;
        rack[0].put(kP, 1);
        rack[0].put(kP, 2, 8);
        rack[1].post({{kP, 1}});
        rack[0].place_pages(Op::donate, {{kP, 1}}, 1, 8, whole ? queue::kFlagWhole : std::uint16_t{0});
        rack[0].ring();
        rack.barrier();
        auto const arrivals = rack[1].arrivals();
        ASSERT_EQ(arrivals.size(), 1u);
        EXPECT_EQ(arrivals[0].bytes, 8u);
        EXPECT_EQ(rack[1].word(kP), 1u);
        EXPECT_EQ(rack[1].word(kP, 8), whole ? 2u : 0u);
    }
}

TEST(MessageExchange, QuotasOfAMachineAndOfARule) {
    MessageExchangeOptions const options{.quotas = {.flight_pages = 64}};
    QueueQuotas const few{.flight_pages = 64, .lent_pages = 1, .borrowed_pages = 64, .handles = 2};
    FramePool pool{std::move(
        *FramePool::create(2 * (MessageExchange::frames_needed(kWindowPages, options.quotas) + QueueDevice::own_frames(2))))};
    QueueGuest alpha{pool, 2}, beta{pool, 2};
    MessageExchange exchange{options, pool};
    ASSERT_TRUE(exchange.attach(alpha.device->port(), "alpha", few));
    ASSERT_TRUE(exchange.attach(beta.device->port(), "beta"));
    exchange.allow(MachineId{0}, MachineId{1}, kEveryCall, kPageBytes);
    exchange.allow(MachineId{1}, MachineId{0}, kEveryCall);
    exchange.publish();
    alpha.enable();
    beta.enable();
    alpha.place_pages(Op::lend, {{kP, 2}}, 1, 8);       // more pages than alpha may lend
    alpha.place_pages(Op::send, {{kP + 2, 1}}, 1, 8);   // fills what may be on its way to beta
    alpha.place_text(1, "too much");
    beta.place_pages(Op::lend, {{kP, 2}}, 0, 8);        // beta's are the exchange's
    alpha.ring();
    auto const answers = alpha.completions();
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0].status, Status::busy);
    EXPECT_EQ(answers[1].status, Status::busy);
    beta.ring();
    EXPECT_TRUE(beta.completions().empty()) << "on its way";
}

TEST(MessageExchange, WithoutPermissionNothingLeaves) {
    MessageExchangeOptions const options{.quotas = {.flight_pages = 64}};
    FramePool pool{std::move(
        *FramePool::create(2 * (MessageExchange::frames_needed(kWindowPages, options.quotas) + QueueDevice::own_frames(2))))};
    QueueGuest alpha{pool, 2}, beta{pool, 2};
    MessageExchange exchange{options, pool};
    ASSERT_TRUE(exchange.attach(alpha.device->port(), "alpha"));
    ASSERT_TRUE(exchange.attach(beta.device->port(), "beta"));
    exchange.allow(MachineId{0}, MachineId{1}, QueuePeer::kMayInline);
    exchange.publish();
    alpha.enable();
    beta.enable();
    beta.post({{kP, 4}});
    (void)beta.completions();
    alpha.place_pages(Op::send, {{kP, 1}}, 1, 8);
    alpha.place_pages(Op::lend, {{kP, 1}}, 1, 8);
    alpha.place_pages(Op::share, {{kP, 1}}, 1, 8);
    alpha.place_text(1, "may");
    beta.place_text(0, "may not");
    exchange.deliver(microseconds(100));
    auto const answers = alpha.completions();
    ASSERT_EQ(answers.size(), 4u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(answers[i].status, Status::denied);
    EXPECT_EQ(answers[3].status, Status::ok);
    EXPECT_EQ(beta.completions().at(0).status, Status::denied);
    EXPECT_EQ(beta.arrivals().size(), 1u);
    EXPECT_EQ(exchange.report(MachineId{0}).denied, 3u);
    EXPECT_EQ(alpha.owner(kP), OwnerState::owner_exclusive);
}

TEST(MessageExchange, NonsenseIsRefusedEntryByEntry) {
    QueueRack rack;
    QueueGuest& g = rack[0];
    struct Case {
        char const* what;
        std::function<void()> place;
        Status expected;
    };
    std::array<std::byte, 8> const nothing{};
    Case const cases[] = {
        {"an operation that is none", [&] { g.place(static_cast<Op>(77), 0, 1, 0, 0, {}); }, Status::invalid},
        {"nothing", [&] { g.place(Op::none, 0, 1, 0, 0, {}); }, Status::ok},
        {"unknown flags",
         [&] {
             g.place_pages(Op::send, {{kP, 1}}, 1, 8, 0x80);
         },
         Status::invalid},
        {"49 bytes inline", [&] { g.place(Op::send, queue::kFlagInline, 1, 49, 0, {}); }, Status::invalid},
        {"inline lend", [&] { g.place(Op::lend, queue::kFlagInline, 1, 8, 0, nothing); }, Status::invalid},
        {"no such machine", [&] { g.place_text(3, "x"); }, Status::not_found},
        {"to oneself", [&] { g.place_text(0, "x"); }, Status::invalid},
        {"no pages", [&] { g.place(Op::send, 0, 1, 8, 0, {}, 0); }, Status::invalid},
        {"65 pages",
         [&] {
             g.place_pages(Op::send, {{kP, 65}}, 1, 8);
         },
         Status::invalid},
        {"more pages than ranges", [&] { g.place(Op::send, 0, 1, 8, 0, nothing, 3); }, Status::invalid},
        {"the control structure",
         [&] {
             g.place_pages(Op::send, {{0, 1}}, 1, 8);
         },
         Status::invalid},
        {"the directory",
         [&] {
             g.place_pages(Op::donate, {{queue::kDirectoryPage, 1}}, 1, 8);
         },
         Status::invalid},
        {"beyond the window",
         [&] {
             g.place_pages(Op::send, {{kWindowPages - 1, 2}}, 1, 8);
         },
         Status::invalid},
        {"pages that wrap around",
         [&] {
             g.place_pages(Op::send, {{0xFFFF'FFFF, 2}}, 1, 8);
         },
         Status::invalid},
        {"a page twice",
         [&] {
             g.place_pages(Op::send, {{kP, 2}, {kP + 1, 1}}, 1, 8);
         },
         Status::invalid},
        {"more bytes than pages",
         [&] {
             g.place_pages(Op::send, {{kP, 1}}, 1, 4097);
         },
         Status::invalid},
        {"posting rings",
         [&] {
             g.place_pages(Op::post, {{queue::kSubmitPage, 1}});
         },
         Status::invalid},
        {"populating what is there",
         [&] {
             g.place_pages(Op::populate, {{kP, 1}});
         },
         Status::denied},
        {"a handle out of the air", [&] { g.place_handle(Op::relinquish, 5); }, Status::not_found},
        {"reclaiming another's", [&] { g.place_handle(Op::reclaim, std::uint64_t{1} << 48 | 1); }, Status::not_found},
    };
    rack[1].post({{kP, 8}});
    for (Case const& c : cases) {
        c.place();
        rack.barrier();
        auto const answers = g.completions();
        ASSERT_EQ(answers.size(), 1u) << c.what;
        EXPECT_EQ(answers[0].status, c.expected) << c.what;
        EXPECT_EQ(rack[1].arrivals().size(), 0u) << c.what;
    }
    expect_no_page_lost(rack);
}

TEST(MessageExchange, WithoutPostedPagesTheMessageWaitsThenComesBack) {
    QueueRack rack;
    rack[0].put(kP, 9);
    rack[0].place_pages(Op::send, {{kP, 2}}, 1, kPageBytes);
    rack[0].place_text(1, "behind");
    rack[2].place_text(1, "another's");
    rack.barrier();
    EXPECT_EQ(rack.exchange.waiting_count(MachineId{1}), 2u);
    auto const arrivals = rack[1].arrivals();
    ASSERT_EQ(arrivals.size(), 1u) << "another sender is not kept back";
    EXPECT_EQ(arrivals[0].sender, 2u);
    rack.now = rack.exchange.next_deadline();
    rack.barrier();
    auto const answers = rack[0].completions();
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0].status, Status::expired);
    EXPECT_EQ(rack[0].word(kP), 9u);
    EXPECT_EQ(rack[1].arrivals().size(), 1u) << "what was behind is free";
    EXPECT_EQ(rack.exchange.report(MachineId{0}).expired, 1u);
    expect_no_page_lost(rack);
}

TEST(MessageExchange, OverItsQuotaASenderIsBusyAndToldWhenThereIsSpace) {
    MessageExchangeOptions options{.queued_bytes = 2 * kPageBytes, .quotas = {.flight_pages = 64}};
    QueueRack rack{options};
    rack[0].set(queue::kMaskRegister, queue::kCauseSpace);
    for (std::uint32_t i = 0; i < 3; ++i) rack[0].place_pages(Op::send, {{kP + i, 1}}, 1, 8);
    rack[0].place_pages(Op::send, {{kP + 8, 1}}, 2, 8);
    rack.barrier();
    auto answers = rack[0].completions();
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].status, Status::busy);
    EXPECT_EQ(rack[0].owner(kP + 2), OwnerState::owner_exclusive);
    EXPECT_FALSE(rack[0].line.level);
    rack[1].post({{kP, 1}});
    rack.barrier();
    EXPECT_TRUE(rack[0].line.level);
    EXPECT_EQ(rack[0].get(queue::kCauseRegister) & queue::kCauseSpace, queue::kCauseSpace);
    rack[0].set(queue::kCauseRegister, queue::kCauseSpace);
    EXPECT_FALSE(rack[0].line.level);
}

TEST(MessageExchange, AReceiverThatDoesNotReadItsRingHoldsNoMoreThanItsQueue) {
    QueueRack rack;
    for (unsigned round = 0; round < 8; ++round) {
        for (unsigned i = 0; i < 100; ++i) rack[0].place_text(1, "x");
        rack.barrier();
        (void)rack[0].completions();
        EXPECT_LE(rack.exchange.waiting_count(MachineId{1}), VmQueue::kMostMessages);
    }
    EXPECT_EQ(rack[1].arrivals().size(), queue::kReceiveEntries);
    EXPECT_GT(rack.exchange.report(MachineId{0}).natural, 256u);
}

TEST(MessageExchange, BrokenRingsStopTheDeviceAndNothingElse) {
    QueueRack rack;
    rack[0].set_index(queue::kSubmitProducer, 257);
    rack[1].place_text(2, "on we go");
    rack.barrier();
    EXPECT_EQ(rack[0].get(queue::kStatusRegister), queue::kStatusEnabled | queue::kStatusBroken);
    EXPECT_EQ(rack[2].arrivals().size(), 1u);
    rack[0].set(queue::kControlRegister, queue::kControlReset);
    EXPECT_EQ(rack[0].get(queue::kStatusRegister), queue::kStatusResetting);
    rack.barrier();
    EXPECT_EQ(rack[0].get(queue::kStatusRegister), 0u);
    rack[0].enable();
    rack[0].place_text(2, "again");
    rack.barrier();
    EXPECT_EQ(rack[2].arrivals().size(), 1u);
    expect_no_page_lost(rack);
}

// Every step at which a machine can end or start over, with pages of every kind out.
TEST(MessageExchange, AMachineIsKilledAtEveryStep) {
    for (bool const reset : {false, true}) {
        for (TransferMode const transfer : {TransferMode::remap, TransferMode::cow, TransferMode::shared}) {
            for (std::uint16_t const victim : {std::uint16_t{0}, std::uint16_t{1}}) {
                for (unsigned step = 0; step < 6; ++step) {
                    QueueRack rack{mode(transfer)};
                    rack[0].put(kP, 5);
                    unsigned done = 0;
                    auto const kill_at = [&] {
                        if (done++ != step) return;
                        if (reset)
                            rack[victim].set(queue::kControlRegister, queue::kControlReset);
                        else
                            rack.exchange.machine_left(MachineId{victim});
                    };
                    kill_at();
                    rack[0].place_pages(Op::send, {{kP, 2}}, 1, 8);
                    rack[0].place_pages(Op::lend, {{kP + 4, 2}}, 1, 8);
                    kill_at();
                    rack[0].ring();
                    kill_at();
                    rack.barrier();
                    kill_at();
                    rack[1].post({{kP + 6, 4}});
                    kill_at();
                    rack.barrier();
                    kill_at();
                    rack.barrier();
                    rack.now = rack.now + milliseconds(5000);
                    rack.barrier();
                    rack.barrier();
                    expect_no_page_lost(rack);
                    EXPECT_TRUE(rack.exchange.ownership().frames_in_flight().empty());
                    for (auto const& guest : rack.guests)
                        for (std::uint32_t p = kP; p < kWindowPages; ++p)
                            EXPECT_NE(guest->owner(p), OwnerState::borrower_exclusive);
                    rack[2].place_text(reset ? victim : 1 - victim, "still there?");
                    rack[victim].enable();
                    rack.barrier();
                    EXPECT_EQ(rack[2].completions().at(0).status, Status::ok);
                }
            }
        }
    }
}

TEST(MessageExchange, AMillionMessagesTakeNoMemory) {
    QueueRack rack;
    rack[1].post({{kP, 8}});
    std::uint64_t received = 0;
#if defined(__OPTIMIZE__)
    constexpr std::uint64_t kMessages = 1'000'000;
#else
    constexpr std::uint64_t kMessages = 20'000;
#endif
    while (received < kMessages) {
        for (unsigned i = 0; i < 60; ++i) rack[0].place_text(1, "ping");
        rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8, queue::kFlagExchange);
        rack.barrier();
        (void)rack[0].completions();
        (void)rack[1].completions();
        for (Arrival const& arrival : rack[1].arrivals()) {
            ASSERT_EQ(arrival.sequence, ++received);
            if (arrival.kind == Kind::donated) rack[1].post({{arrival.pages[0], 1}});
        }
    }
    EXPECT_EQ(rack.exchange.waiting_count(MachineId{1}), 0u);
    expect_no_page_lost(rack);
}

TEST(MessageExchange, AMovedWindowKeepsWhatWasGivenAway) {
    QueueRack rack;
    rack[1].post({{kP, 1}});
    rack[0].place_pages(Op::send, {{kP, 1}}, 1, 8);
    rack.barrier();
    rack[0].write_config(pci::bar_offset(3), 0x41);
    GuestPhys const moved{0x41'0000'0000 + std::uint64_t{kP} * kPageBytes};
    EXPECT_EQ(rack[0].bus.read(moved, Width::qword), ~std::uint64_t{0});
    EXPECT_NE(rack[0].bus.read(moved + kPageBytes, Width::qword), ~std::uint64_t{0});
    rack[0].write_config(pci::bar_offset(3), kWindow >> 32);
    EXPECT_EQ(rack[0].word(kP), ~std::uint64_t{0});
}

}  // namespace
}  // namespace backplane
