#include "memory/ownership.h"

#include <gtest/gtest.h>

#include "memory/ownership_testing.h"

namespace backplane {
namespace {

using namespace backplane::testing;
using Status = OwnershipStatus;
using Kind = TransferKind;
using State = OwnerState;

constexpr TransferOffer kDonate{.sender = kAlpha, .kind = Kind::donate};
constexpr TransferOffer kLend{.sender = kAlpha, .kind = Kind::lend, .access = Access::read_write};
constexpr TransferOffer kShare{.sender = kAlpha, .kind = Kind::share, .access = Access::read_write};

TransferOffer donation(Remainder remainder, std::uint64_t bytes = 0) {
    return {.sender = kAlpha, .kind = Kind::donate, .remainder = remainder, .message_bytes = bytes};
}

TEST(Ownership, DonateMovesThePageAndNotItsBytes) {
    Machines m;
    FrameNumber const frame = m.entry(kAlpha, 2).frame;
    EXPECT_EQ(m.read(kAlpha, 2), 102u);
    auto const handle = m.offer(kDonate, {2}, {kBeta});
    ASSERT_TRUE(handle);
    EXPECT_EQ(m.state(kAlpha, 2), State::none);
    EXPECT_EQ(m.read(kAlpha, 2), ~std::uint64_t{0});
    EXPECT_FALSE(m.write(kAlpha, 2, 666));  // a store after the instruction never reaches the receiver
    EXPECT_EQ(m.read(kBeta, 5), 205u);
    ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {5}), Status::ok);
    EXPECT_EQ(m.entry(kBeta, 5).frame, frame);
    EXPECT_EQ(m.state(kBeta, 5), State::owner_exclusive);
    EXPECT_EQ(m.read(kBeta, 5), 102u);
    EXPECT_TRUE(m.write(kBeta, 5, 7));
    EXPECT_FALSE(m.ownership.is_open(*handle));
    EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::not_found);  // for good
    m.expect_sound();
}

TEST(Ownership, LendTakesThePageUntilItIsRelinquishedAndReclaimed) {
    Machines m;
    auto const handle = m.offer(kLend, {0, 1}, {kBeta});
    ASSERT_TRUE(handle);
    EXPECT_EQ(m.state(kAlpha, 0), State::owner_lent);
    EXPECT_EQ(m.read(kAlpha, 0), ~std::uint64_t{0});
    ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::lend, {6, 3}, Access::read_write), Status::ok);
    EXPECT_EQ(m.state(kBeta, 6), State::borrower_exclusive);
    EXPECT_TRUE(m.write(kBeta, 3, 77));
    EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::denied);
    EXPECT_EQ(m.ownership.relinquish(kBeta, *handle), Status::ok);
    EXPECT_EQ(m.state(kBeta, 6), State::none);
    EXPECT_EQ(m.ownership.relinquish(kBeta, *handle), Status::denied);
    EXPECT_EQ(m.ownership.reclaim(kBeta, *handle), Status::denied);
    EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::ok);
    EXPECT_EQ(m.state(kAlpha, 1), State::owner_exclusive);
    EXPECT_EQ(m.read(kAlpha, 1), 77u);
    m.expect_sound();
}

TEST(Ownership, LendToSeveralIsSharedAmongThem) {
    Machines m;
    auto const handle = m.offer(kLend, {0}, {kBeta, kGamma});
    ASSERT_TRUE(handle);
    ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::lend, {0}), Status::ok);
    EXPECT_EQ(m.state(kBeta, 0), State::borrower_shared);
    ASSERT_EQ(m.retrieve(kGamma, *handle, Kind::lend, {0}), Status::ok);
    EXPECT_EQ(m.ownership.holder_count(*handle), 2u);
    EXPECT_EQ(m.ownership.relinquish(kBeta, *handle), Status::ok);
    EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::denied);
    EXPECT_EQ(m.ownership.relinquish(kGamma, *handle), Status::ok);
    EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::ok);
    m.expect_sound();
}

TEST(Ownership, ShareIsSeenByBothAndPermissionsAreNotExceeded) {
    Machines m;
    TransferOffer readable = kShare;
    readable.access = Access::read;
    auto const handle = m.offer(readable, {4}, {kBeta});
    ASSERT_TRUE(handle);
    EXPECT_EQ(m.state(kAlpha, 4), State::owner_shared);
    EXPECT_EQ(m.retrieve(kBeta, *handle, Kind::share, {4}, Access::read_write), Status::denied);
    ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::share, {4}, Access::read), Status::ok);
    EXPECT_EQ(m.state(kBeta, 4), State::borrower_shared);
    EXPECT_TRUE(m.write(kAlpha, 4, 9));
    EXPECT_EQ(m.read(kBeta, 4), 9u);
    EXPECT_FALSE(m.write(kBeta, 4, 10));
    m.expect_sound();
}

/// Brings alpha's page 0 into a state; the handle is that of the transfer that did it, if any.
TransferHandle bring_to(Machines& m, State state) {
    auto const made = [&](MachineId sender, TransferOffer offer, MachineId to) {
        offer.sender = sender;
        auto const handle = m.offer(offer, {0}, {to});
        EXPECT_TRUE(handle);
        return *handle;
    };
    switch (state) {
        case State::none:
            EXPECT_EQ(m.release(kAlpha, {0}), Status::ok);
            break;
        case State::owner_exclusive:
            break;
        case State::owner_shared:
            return made(kAlpha, kShare, kBeta);
        case State::owner_lent:
            return made(kAlpha, kLend, kBeta);
        case State::borrower_exclusive: {
            TransferHandle const handle = made(kBeta, kLend, kAlpha);
            EXPECT_EQ(m.retrieve(kAlpha, handle, Kind::lend, {0}), Status::ok);
            return handle;
        }
        case State::borrower_shared: {
            TransferHandle const handle = made(kBeta, kShare, kAlpha);
            EXPECT_EQ(m.retrieve(kAlpha, handle, Kind::share, {0}), Status::ok);
            return handle;
        }
    }
    return TransferHandle{0};
}

constexpr State kStates[] = {State::none,       State::owner_exclusive,    State::owner_shared,
                             State::owner_lent, State::borrower_exclusive, State::borrower_shared};

/// What a call on a page in each of kStates answers. The rows of the table in docs/design/ownership.md.
struct Row {
    char const* call;
    Status (*make)(Machines&, TransferHandle);
    Status expected[6];
};

Status offered(Machines& m, TransferOffer const& offer) {
    auto const handle = m.offer(offer, {0}, {kGamma});
    return handle ? Status::ok : handle.error();
}

constexpr Status kOk = Status::ok, kNo = Status::denied, kNone = Status::not_found;
constexpr Row kTable[] = {
    //                                                                             none EA   SA    NA    !EA   !SA
    {"donate", [](Machines& m, TransferHandle) { return offered(m, kDonate); }, {kNo, kOk, kNo, kNo, kNo, kNo}},
    {"lend", [](Machines& m, TransferHandle) { return offered(m, kLend); }, {kNo, kOk, kNo, kNo, kNo, kNo}},
    {"share", [](Machines& m, TransferHandle) { return offered(m, kShare); }, {kNo, kOk, kNo, kNo, kNo, kNo}},
    {"copy on write",
     [](Machines& m, TransferHandle) { return offered(m, donation(Remainder::copy_on_write)); },
     {kNo, kOk, kNo, kNo, kNo, kNo}},
    {"copy",
     [](Machines& m, TransferHandle) { return offered(m, donation(Remainder::copy)); },
     {kNo, kOk, kNo, kNo, kNo, kNo}},
    {"retrieve here",
     [](Machines& m, TransferHandle) {
         TransferOffer offer = kDonate;
         offer.sender = kGamma;
         return m.retrieve(kAlpha, *m.offer(offer, {7}, {kAlpha}), Kind::donate, {0});
     },
     {kOk, kOk, kNo, kNo, kNo, kNo}},
    {"relinquish",
     [](Machines& m, TransferHandle handle) { return m.ownership.relinquish(kAlpha, handle); },
     {kNone, kNone, kNo, kNo, kOk, kOk}},
    {"reclaim",
     [](Machines& m, TransferHandle handle) { return m.ownership.reclaim(kAlpha, handle); },
     {kNone, kNone, kOk, kOk, kNo, kNo}},
    {"reclaim by the lender",
     [](Machines& m, TransferHandle handle) { return m.ownership.reclaim(kBeta, handle); },
     {kNone, kNone, kNo, kNo, kNo, kNo}},
    {"populate", [](Machines& m, TransferHandle) { return m.populate(kAlpha, {0}); }, {kOk, kNo, kNo, kNo, kNo, kNo}},
    {"release", [](Machines& m, TransferHandle) { return m.release(kAlpha, {0}); }, {kNo, kOk, kNo, kNo, kNo, kNo}},
};

TEST(Ownership, EveryCellOfTheStateTable) {
    for (Row const& row : kTable) {
        for (std::size_t i = 0; i < std::size(kStates); ++i) {
            Machines m;
            TransferHandle const handle = bring_to(m, kStates[i]);
            ASSERT_EQ(m.state(kAlpha, 0), kStates[i]);
            Status const status = row.make(m, handle);
            EXPECT_EQ(status, row.expected[i]) << row.call << " in state " << i;
            if (status != Status::ok) {
                EXPECT_EQ(m.state(kAlpha, 0), kStates[i]) << row.call << " in state " << i;
            }
            m.expect_sound();
        }
    }
}

TEST(Ownership, RetrieveWantsTheRightReceiverKindAndTargets) {
    Machines m;
    TransferHandle const handle = *m.offer(kDonate, {0, 1}, {kBeta});
    EXPECT_EQ(m.retrieve(kGamma, handle, Kind::donate, {0, 1}), Status::denied);
    EXPECT_EQ(m.retrieve(kAlpha, handle, Kind::donate, {0, 1}), Status::denied);
    EXPECT_EQ(m.retrieve(kBeta, handle, Kind::lend, {0, 1}), Status::denied);
    EXPECT_EQ(m.retrieve(kBeta, handle, Kind::donate, {0}), Status::invalid);
    EXPECT_EQ(m.retrieve(kBeta, handle, Kind::donate, {0, 0}), Status::invalid);
    EXPECT_EQ(m.retrieve(kBeta, handle, Kind::donate, {0, kPages}), Status::invalid);
    EXPECT_EQ(m.retrieve(kBeta, TransferHandle{99}, Kind::donate, {0, 1}), Status::not_found);
    EXPECT_EQ(m.retrieve(MachineId{9}, handle, Kind::donate, {0, 1}), Status::not_found);
    m.expect_sound();
    EXPECT_EQ(m.retrieve(kBeta, handle, Kind::donate, {1, 0}), Status::ok);
    EXPECT_EQ(m.read(kBeta, 1), 100u);
}

TEST(Ownership, OffersOfNonsenseChangeNothing) {
    Machines m;
    auto const refused = [&](TransferOffer const& offer, std::vector<std::uint64_t> const& pages,
                             std::vector<MachineId> const& to, Status expected) {
        auto const handle = m.offer(offer, pages, to);
        ASSERT_FALSE(handle);
        EXPECT_EQ(handle.error(), expected) << ownership_status_text(handle.error());
        for (std::uint64_t i = 0; i < kPages; ++i) EXPECT_EQ(m.read(kAlpha, i), 100 + i);
        EXPECT_EQ(m.ownership.holdings(kAlpha), (Ownership::Holdings{.pages = kPages}));
        m.expect_sound();
    };
    refused(kDonate, {}, {kBeta}, Status::invalid);
    refused(kDonate, {kPages}, {kBeta}, Status::invalid);
    refused(kDonate, {3, 3}, {kBeta}, Status::invalid);
    refused(kDonate, {5, 3, 5}, {kBeta}, Status::invalid);
    refused(kDonate, {0, 1, 2, 3, 4, 5, 6, 7, 0}, {kBeta}, Status::invalid);
    refused(kDonate, {0}, {}, Status::invalid);
    refused(kDonate, {0}, {kAlpha}, Status::invalid);
    refused(kDonate, {0}, {kBeta, kGamma}, Status::denied);
    refused(kLend, {0}, {kBeta, kBeta}, Status::invalid);
    refused(kDonate, {0}, {MachineId{3}}, Status::not_found);
    refused(donation(Remainder::hole, kPageBytes + 1), {0}, {kBeta}, Status::invalid);
    TransferOffer unreachable = kShare;
    unreachable.access = Access::none;
    refused(unreachable, {0}, {kBeta}, Status::invalid);
    TransferOffer stranger = kDonate;
    stranger.sender = MachineId{3};
    refused(stranger, {0}, {kBeta}, Status::not_found);
}

TEST(Ownership, OnePageOfManyThatIsNotOnesOwnStopsTheWholeCall) {
    Machines m;
    ASSERT_TRUE(m.offer(kLend, {5}, {kBeta}));
    auto const handle = m.offer(kDonate, {4, 5, 6}, {kBeta});
    ASSERT_FALSE(handle);
    EXPECT_EQ(handle.error(), Status::denied);
    EXPECT_EQ(m.read(kAlpha, 4), 104u);
    EXPECT_EQ(m.read(kAlpha, 6), 106u);
    m.expect_sound();
}

TEST(Ownership, TheTailBeyondTheMessageIsZero) {
    for (Remainder const remainder :
         {Remainder::hole, Remainder::exchange, Remainder::copy_on_write, Remainder::copy}) {
        Machines m;
        m.write(kAlpha, 1, 0x11, 8);
        m.write(kAlpha, 1, 0x22, 16);
        auto const handle = m.offer(donation(remainder, kPageBytes + 16), {0, 1, 2}, {kBeta});
        ASSERT_TRUE(handle);
        ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {0, 1, 2}), Status::ok);
        EXPECT_EQ(m.read(kBeta, 0), 100u);
        EXPECT_EQ(m.read(kBeta, 1, 8), 0x11u);
        EXPECT_EQ(m.read(kBeta, 1, 16), 0u);
        EXPECT_EQ(m.read(kBeta, 2), 0u);
        m.expect_sound();
    }
}

TEST(Ownership, WhatTheSenderKeeps) {
    Machines m;
    auto const send = [&](Remainder remainder, std::uint64_t index) {
        auto const handle = m.offer(donation(remainder), {index}, {kBeta});
        EXPECT_TRUE(handle);
        EXPECT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {index}), Status::ok);
        EXPECT_EQ(m.read(kBeta, index), 100 + index);
    };
    send(Remainder::hole, 0);
    EXPECT_EQ(m.state(kAlpha, 0), State::none);
    send(Remainder::exchange, 1);
    EXPECT_EQ(m.read(kAlpha, 1), 0u);
    EXPECT_TRUE(m.write(kAlpha, 1, 5));
    send(Remainder::copy_on_write, 2);
    EXPECT_EQ(m.entry(kAlpha, 2).frame, m.entry(kBeta, 2).frame);
    EXPECT_EQ(m.read(kAlpha, 2), 102u);
    send(Remainder::copy, 3);
    EXPECT_NE(m.entry(kAlpha, 3).frame, m.entry(kBeta, 3).frame);
    EXPECT_EQ(m.read(kAlpha, 3), 103u);
    EXPECT_EQ(m.ownership.counters().copied_pages, 1u);
    m.expect_sound();
}

TEST(Ownership, CopyOnWriteInBothDirectionsOfTheFirstStore) {
    for (MachineId const writer : {kAlpha, kBeta}) {
        Machines m;
        MachineId const reader = writer == kAlpha ? kBeta : kAlpha;
        auto const handle = m.offer(donation(Remainder::copy_on_write), {0}, {kBeta});
        ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {0}), Status::ok);
        EXPECT_TRUE(m.write(writer, 0, 1));
        EXPECT_EQ(m.read(reader, 0), 100u);
        EXPECT_EQ(m.read(writer, 0), 1u);
        EXPECT_TRUE(m.write(reader, 0, 2));  // the last holder needs no copy
        EXPECT_EQ(m.ownership.counters().copied_pages, 1u);
        EXPECT_EQ(m.read(writer, 0), 1u);
        m.expect_sound();
    }
}

TEST(Ownership, AStoreOfTheSenderDuringTheFlightIsNotInTheMessage) {
    Machines m;
    auto const handle = m.offer(donation(Remainder::copy_on_write), {0}, {kBeta});
    EXPECT_TRUE(m.write(kAlpha, 0, 666));
    ASSERT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {0}), Status::ok);
    EXPECT_EQ(m.read(kBeta, 0), 100u);
    EXPECT_FALSE(m.entry(kBeta, 0).copy_on_write);
    m.expect_sound();
}

TEST(Ownership, ADonationCanBeReclaimedBeforeItIsRetrieved) {
    for (Remainder const remainder :
         {Remainder::hole, Remainder::exchange, Remainder::copy_on_write, Remainder::copy}) {
        Machines m;
        auto const handle = m.offer(donation(remainder, 8), {0, 3}, {kBeta});
        EXPECT_EQ(m.ownership.reclaim(kBeta, *handle), Status::denied);
        EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::ok);
        EXPECT_EQ(m.read(kAlpha, 0), 100u);
        EXPECT_EQ(m.read(kAlpha, 3), 103u);  // the tail as well
        EXPECT_TRUE(m.write(kAlpha, 3, 1));
        EXPECT_EQ(m.retrieve(kBeta, *handle, Kind::donate, {0, 1}), Status::not_found);
        EXPECT_EQ(m.ownership.holdings(kAlpha), (Ownership::Holdings{.pages = kPages}));
        m.expect_sound();
    }
}

TEST(Ownership, AHoleThatAnOfferMayComeBackToIsKeptFree) {
    Machines m;
    auto const handle = m.offer(kDonate, {0}, {kBeta});
    EXPECT_EQ(m.populate(kAlpha, {0}), Status::denied);
    TransferOffer other = kDonate;
    other.sender = kGamma;
    EXPECT_EQ(m.retrieve(kAlpha, *m.offer(other, {0}, {kAlpha}), Kind::donate, {0}), Status::denied);
    EXPECT_EQ(m.ownership.refuse(kBeta, *handle), Status::ok);
    EXPECT_EQ(m.read(kAlpha, 0), 100u);
    m.expect_sound();
}

TEST(Ownership, QuotasAreExact) {
    Machines m;
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(m.offer(kDonate, {i}, {kBeta}));
    EXPECT_EQ(m.offer(kDonate, {4}, {kBeta}).error(), Status::busy);  // handles
    Machines lends;
    ASSERT_TRUE(lends.offer(kLend, {0, 1, 2, 3}, {kBeta}));
    EXPECT_EQ(lends.offer(kShare, {4, 5, 6}, {kBeta}).error(), Status::busy);  // lent pages
    EXPECT_TRUE(lends.offer(kShare, {4, 5}, {kBeta}));
    Machines copies;
    ASSERT_TRUE(copies.offer(donation(Remainder::copy), {0, 1, 2, 3, 4, 5, 6, 7}, {kBeta}));
    EXPECT_EQ(copies.offer(donation(Remainder::copy_on_write), {0}, {kBeta}).error(), Status::busy);  // pages
    Machines borrows;
    TransferHandle const four = *borrows.offer(kLend, {0, 1, 2, 3}, {kBeta});
    TransferOffer from_gamma = kLend;
    from_gamma.sender = kGamma;
    TransferHandle const three = *borrows.offer(from_gamma, {0, 1, 2}, {kBeta});
    ASSERT_EQ(borrows.retrieve(kBeta, four, Kind::lend, {0, 1, 2, 3}), Status::ok);
    EXPECT_EQ(borrows.retrieve(kBeta, three, Kind::lend, {4, 5, 6}), Status::busy);  // borrowed pages
    ASSERT_EQ(borrows.ownership.relinquish(kBeta, four), Status::ok);
    EXPECT_EQ(borrows.retrieve(kBeta, three, Kind::lend, {4, 5, 6}), Status::ok);
}

TEST(Ownership, AReceiverOverItsQuotaCostsTheSenderNothing) {
    Machines m;
    // Beta fills its quota with copies on their way, and makes itself holes.
    TransferOffer filler = donation(Remainder::copy);
    filler.sender = kBeta;
    ASSERT_TRUE(m.offer(filler, {0, 1, 2, 3, 4, 5, 6, 7}, {kGamma}));
    TransferHandle const handle = *m.offer(kDonate, {0}, {kBeta});
    ASSERT_EQ(m.release(kBeta, {0}), Status::ok);
    ASSERT_EQ(m.retrieve(kBeta, handle, Kind::donate, {0}), Status::ok);
    TransferOffer lend = kLend;
    lend.sender = kBeta;
    TransferHandle const second = *m.offer(kDonate, {1}, {kBeta});
    ASSERT_EQ(m.release(kBeta, {1}), Status::ok);
    ASSERT_EQ(m.populate(kBeta, {1}), Status::ok);
    EXPECT_EQ(m.ownership.holdings(kBeta).pages, kPages + kFlightPages);
    ASSERT_EQ(m.retrieve(kBeta, second, Kind::donate, {1}), Status::ok);  // displaces one of its own
    EXPECT_EQ(m.ownership.holdings(kBeta).pages, kPages + kFlightPages);
    m.expect_sound();
}

TEST(Ownership, DeadlinesRelinquishForTheBorrower) {
    Machines m;
    TransferOffer offer = kLend;
    offer.deadline_ns = 1000;
    TransferHandle const handle = *m.offer(offer, {0}, {kBeta});
    ASSERT_EQ(m.retrieve(kBeta, handle, Kind::lend, {0}), Status::ok);
    EXPECT_EQ(m.ownership.next_deadline_ns(), 1000u);
    m.ownership.expire(999);
    EXPECT_EQ(m.ownership.reclaim(kAlpha, handle), Status::denied);
    m.ownership.expire(1000);
    EXPECT_EQ(m.state(kBeta, 0), State::none);
    EXPECT_EQ(m.read(kBeta, 0), ~std::uint64_t{0});
    EXPECT_EQ(m.ownership.relinquish(kBeta, handle), Status::denied);
    EXPECT_EQ(m.ownership.reclaim(kAlpha, handle), Status::ok);
    EXPECT_EQ(m.ownership.counters().expired_borrowers, 1u);
    m.expect_sound();
}

TEST(Ownership, DeathAtEveryStepOfATransfer) {
    enum class Step { offered, retrieved, relinquished };
    for (Kind const kind : {Kind::donate, Kind::lend, Kind::share}) {
        for (Step const step : {Step::offered, Step::retrieved, Step::relinquished}) {
            for (MachineId const dead : {kAlpha, kBeta}) {
                Machines m;
                TransferOffer offer = kind == Kind::donate ? kDonate : kind == Kind::lend ? kLend : kShare;
                TransferHandle const handle = *m.offer(offer, {0, 1}, {kBeta});
                if (step != Step::offered) {
                    EXPECT_EQ(m.retrieve(kBeta, handle, kind, {0, 1}), Status::ok);
                }
                if (step == Step::relinquished) (void)m.ownership.relinquish(kBeta, handle);
                m.ownership.leave(dead);
                m.expect_sound();
                for (std::uint64_t i = 0; i < kPages; ++i) EXPECT_EQ(m.state(dead, i), State::none);
                if (dead == kBeta) {
                    // The survivor has its pages back, or can have them.
                    if (m.ownership.is_open(handle)) {
                        EXPECT_EQ(m.ownership.reclaim(kAlpha, handle), Status::ok);
                    }
                    bool const gone = kind == Kind::donate && step != Step::offered;
                    EXPECT_EQ(m.read(kAlpha, 0), gone ? ~std::uint64_t{0} : 100u);
                } else if (step == Step::retrieved) {
                    EXPECT_EQ(m.read(kBeta, 0), 100u);  // borrowers keep what their owner left behind
                    if (kind != Kind::donate) {
                        EXPECT_EQ(m.ownership.relinquish(kBeta, handle), Status::ok);
                    }
                } else if (kind == Kind::donate && step == Step::offered) {
                    EXPECT_EQ(m.retrieve(kBeta, handle, kind, {0, 1}), Status::ok);  // the last words of a machine
                    EXPECT_EQ(m.read(kBeta, 1), 101u);
                }
                m.expect_sound();
                EXPECT_EQ(m.ownership.holdings(dead), Ownership::Holdings{});
                EXPECT_FALSE(m.ownership.is_open(handle));
                EXPECT_EQ(m.populate(dead, {0, 1, 2}), Status::ok);  // and can come back
                EXPECT_EQ(m.read(dead, 0), 0u);
                m.expect_sound();
            }
        }
    }
}

TEST(Ownership, AReservationThatFailsAtAnyStepLeavesEverythingUnchanged) {
    for (Remainder const remainder :
         {Remainder::hole, Remainder::exchange, Remainder::copy_on_write, Remainder::copy}) {
        for (unsigned nth = 0;; ++nth) {
            Machines m;
            unsigned reservations = 0;
            m.ownership.set_reservation_gate([&] { return reservations++ != nth; });
            auto const handle = m.offer(donation(remainder, 8), {0, 1}, {kBeta});
            if (!handle) {
                EXPECT_EQ(handle.error(), Status::no_memory);
                EXPECT_EQ(m.read(kAlpha, 1), 101u);
                EXPECT_TRUE(m.write(kAlpha, 1, 1));
                EXPECT_EQ(m.ownership.holdings(kAlpha), (Ownership::Holdings{.pages = kPages}));
                m.expect_sound();
                continue;
            }
            Status const status = m.retrieve(kBeta, *handle, Kind::donate, {0, 1});
            if (status != Status::ok) {
                EXPECT_EQ(status, Status::no_memory);
                EXPECT_EQ(m.read(kBeta, 0), 200u);
                EXPECT_EQ(m.ownership.reclaim(kAlpha, *handle), Status::ok);
                EXPECT_EQ(m.read(kAlpha, 1), 101u);
                m.expect_sound();
                continue;
            }
            EXPECT_GE(nth, 2u) << "each of the two calls reserves";
            break;
        }
    }
}

TEST(Ownership, FramesAreZeroBeforeTheyAreUsedAgain) {
    Machines m;
    ASSERT_EQ(m.release(kAlpha, {0}), Status::ok);
    ASSERT_EQ(m.populate(kBeta, {0}), Status::denied);
    ASSERT_EQ(m.release(kBeta, {0}), Status::ok);
    ASSERT_EQ(m.populate(kBeta, {0}), Status::ok);
    EXPECT_EQ(m.read(kBeta, 0), 0u);
}

}  // namespace
}  // namespace backplane
