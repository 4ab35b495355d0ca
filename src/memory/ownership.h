// Pages that change hands between machines: DONATE, LEND, SHARE, RETRIEVE, RELINQUISH, RECLAIM (claims S1.3, S1.5),
// in the terms of Arm FF-A (docs/design/ownership.md).
//
// A call moves all of its pages or none. Everything is checked and reserved before the first page map changes; from
// there on nothing can fail. Whoever loses a page has lost every cached translation to it before another can see it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.h"
#include "base/expected.h"
#include "memory/frame_stock.h"
#include "memory/page_map.h"

namespace backplane {

/// Names one offer from the moment it is made until all of its pages are where they stay.
using TransferHandle = Number<struct TransferHandleTag, std::uint64_t>;

enum class TransferKind : std::uint8_t { donate, lend, share };

/// What a donation leaves at the sender.
enum class Remainder : std::uint8_t {
    hole,           ///< reads ones, drops stores
    exchange,       ///< a hole until the receiver has the page, then a zeroed page at the same address
    copy_on_write,  ///< the same page, read-only; the first store of either side makes a private copy
    copy,           ///< the page itself: the receiver gets a copy made at the time of the offer
};

enum class OwnershipStatus : std::uint8_t {
    ok,
    invalid,    ///< nonsense: no page, a page twice, outside of the machine's pages, wrong kind for this handle
    denied,     ///< the page's state or the offered permissions do not allow it, or it is not yours
    busy,       ///< a quota that will have room again is used up
    no_memory,  ///< the frames that this call needs are not there
    not_found,  ///< no such handle or machine
};
[[nodiscard]] std::string_view ownership_status_text(OwnershipStatus status);

/// The most that one machine may hold at a time.
struct OwnershipQuota {
    std::uint64_t pages{0};       ///< frames it owns or borrows, those on their way from it included
    std::uint64_t lent_pages{0};  ///< lent and shared out
    std::uint64_t borrowed_pages{0};
    std::uint32_t handles{64};  ///< offers not yet finished
    std::uint32_t pages_per_call{64};
};

/// A machine's share of the pages that can change hands.
struct OwnershipParty {
    PageMap* pages;  ///< outlives the Ownership
    GuestPage first{};
    std::uint64_t page_count{0};
    OwnershipQuota quota;
};

struct TransferOffer {
    MachineId sender{};
    TransferKind kind{TransferKind::donate};
    Remainder remainder{Remainder::hole};  ///< of a donation
    Access access{Access::read};           ///< lend, share: the most that a receiver gets
    std::uint64_t message_bytes{0};        ///< donate, lend: what lies beyond in its pages is zeroed for the receiver
    std::uint64_t deadline_ns{~std::uint64_t{0}};  ///< lend, share: when borrowers lose the pages
};

class Ownership {
  public:
    static constexpr std::uint64_t kNoDeadline = ~std::uint64_t{0};

    explicit Ownership(FrameStock& stock) : stock_{stock} {}
    /// Held by whoever calls while machines run on several threads: what a machine submits, and its stores to
    /// copy-on-write pages, which take it by themselves. Nothing that a guest can see depends on who is first: frames
    /// have no names there, handles count by machine, and the stock covers all quotas together.
    [[nodiscard]] std::mutex& mutex() { return mutex_; }
    ~Ownership();
    Ownership(Ownership const&) = delete;
    Ownership& operator=(Ownership const&) = delete;

    /// Machines are numbered in the order of joining. Pages that are in the map already are its own. The stock must have quota.pages frames for each, in all.
    MachineId join(OwnershipParty const& party);

    /// Holes become zeroed pages of one's own. Errors: invalid, denied (not a hole), busy (quota).
    OwnershipStatus populate(MachineId owner, std::span<GuestPage const> pages);
    /// Pages of one's own become holes. Errors: invalid, denied (not exclusively owned).
    OwnershipStatus release(MachineId owner, std::span<GuestPage const> pages);

    /// Pages of one's own change their frames with as many pages of `ram` from `first` on, which are the same machine's
    /// and nobody else's. Errors: invalid, denied (not exclusively owned, on either side), no_memory.
    OwnershipStatus swap(MachineId owner, std::span<GuestPage const> pages, PageMap& ram, GuestPage first);

    /// DONATE, LEND or SHARE: the pages leave the sender (or are write-protected there) and wait for the receivers.
    /// Errors: invalid; denied (not exclusively owned; more access than the sender has; more than one receiver of a
    /// donation); busy, no_memory; not_found (a receiver).
    [[nodiscard]] Expected<TransferHandle, OwnershipStatus> offer(TransferOffer const& offer,
                                                                  std::span<GuestPage const> pages,
                                                                  std::span<MachineId const> receivers);
    /// RETRIEVE: the pages appear at `targets`, holes or pages of one's own, whose frames go back to the stock.
    /// Errors: invalid, not_found, denied (not a receiver, another kind, more access than offered, a target that is
    /// lent out or borrowed), busy (quota).
    OwnershipStatus retrieve(MachineId receiver, TransferHandle handle, TransferKind kind, Access access,
                             std::span<GuestPage const> targets);
    /// Whether a page of the receiver could be a target of retrieve().
    [[nodiscard]] bool can_receive_at(MachineId receiver, GuestPage page) const;
    /// RELINQUISH: the borrower's pages become holes. Errors: not_found, denied (holds nothing of it).
    OwnershipStatus relinquish(MachineId borrower, TransferHandle handle);
    /// RECLAIM: everything is as before the offer. Errors: not_found, denied (not the sender; a borrower holds it).
    OwnershipStatus reclaim(MachineId sender, TransferHandle handle);

    /// A receiver that does not want, or cannot take, what it was offered. A donation then goes back to its sender.
    OwnershipStatus refuse(MachineId receiver, TransferHandle handle);

    /// Deadlines up to `now_ns` have passed: those borrowers relinquish.
    void expire(std::uint64_t now_ns);
    /// No borrower expires before this.
    [[nodiscard]] std::uint64_t next_deadline_ns() const { return next_deadline_ns_; }

    /// The machine is gone, or starts over, and its pages are holes. What it borrowed and what it was offered goes
    /// back. Its donations still arrive. What others borrowed of it stays theirs until they relinquish.
    void leave(MachineId machine);

    /// True while the offer is not finished.
    [[nodiscard]] bool is_open(TransferHandle handle) const { return transfers_.contains(handle.value()); }
    /// Borrowers that hold the pages now.
    [[nodiscard]] std::uint32_t holder_count(TransferHandle handle) const;

    struct Holdings {
        std::uint64_t pages{0};  ///< what quota.pages counts
        std::uint64_t lent_pages{0};
        std::uint64_t borrowed_pages{0};
        std::uint32_t handles{0};
        bool operator==(Holdings const&) const = default;
    };
    [[nodiscard]] Holdings const& holdings(MachineId machine) const { return parties_[machine.value()].holdings; }
    [[nodiscard]] OwnershipParty const& party(MachineId machine) const { return parties_[machine.value()].party; }

    struct Counters {
        std::uint64_t donated_pages{0};
        std::uint64_t lent_pages{0};
        std::uint64_t shared_pages{0};
        std::uint64_t copied_pages{0};    ///< by Remainder::copy and by copy-on-write
        std::uint64_t returned_pages{0};  ///< offers that went back
        std::uint64_t expired_borrowers{0};
    };
    [[nodiscard]] Counters const& counters() const { return counters_; }

    /// Frames between machines: offered, held by no page map. For the sum that never changes.
    [[nodiscard]] std::vector<FrameNumber> frames_in_flight() const;
    /// Called before each reservation; false makes it fail. For tests of "all or nothing".
    void set_reservation_gate(std::function<bool()> gate) { gate_ = std::move(gate); }

  private:
    struct Receiver {
        enum class State : std::uint8_t { offered, holds, done };
        MachineId machine;
        State state{State::offered};
        std::vector<GuestPage> targets{};
    };
    struct Transfer {
        TransferOffer offer;
        std::vector<GuestPage> pages;    // at the sender
        std::vector<PageEntry> entries;  // what goes to the receivers
        std::vector<Receiver> receivers;
        bool sender_is_gone{false};
        bool tail_is_zero{false};
    };
    /// The copy-on-write pages of one machine ask here.
    struct Resolver final : WriteResolver {
        Resolver(Ownership& owner, MachineId id) : ownership{owner}, machine{id} {}
        [[nodiscard]] bool make_writable(GuestPage page) override {
            std::lock_guard const lock{ownership.mutex_};
            return ownership.make_private(machine, page);
        }
        Ownership& ownership;
        MachineId machine;
    };
    struct Party {
        OwnershipParty party;
        Holdings holdings;
        std::unique_ptr<Resolver> resolver;
        std::vector<bool> is_pending;  // holes that an offer on its way may come back to, by page - first
        std::uint64_t handle_count{0};
    };
    using Transfers = std::map<std::uint64_t, Transfer>;  // by handle, so that expiry and death have one order
    using Pages = std::span<GuestPage const>;

    [[nodiscard]] bool make_private(MachineId machine, GuestPage page);
    [[nodiscard]] bool may_reserve() const { return !gate_ || gate_(); }

    [[nodiscard]] OwnershipStatus check_pages(Party const& party, Pages pages);
    [[nodiscard]] OwnershipStatus check_holes(Party const& party, Pages pages) const;
    [[nodiscard]] OwnershipStatus check_own(Party const& party, Pages pages);
    [[nodiscard]] OwnershipStatus check_offer(TransferOffer const& offer, Pages pages,
                                              std::span<MachineId const> receivers);
    [[nodiscard]] OwnershipStatus check_receivers(TransferOffer const& offer,
                                                  std::span<MachineId const> receivers) const;
    [[nodiscard]] OwnershipStatus check_quota(TransferOffer const& offer, std::uint64_t page_count) const;
    [[nodiscard]] OwnershipStatus check_targets(Party const& party, Transfer const& transfer, Pages targets);

    void look_up(Party const& party, Pages pages);
    void make_all_private(Party const& party, MachineId machine, Pages pages);
    void replace(Party& party, Pages pages, std::span<PageEntry const> entries);
    void replace_all(Party& party, Pages pages, PageEntry const& entry);
    void mark_pending(Party& party, Pages pages, bool pending);
    void take_from_sender(Party& sender, Transfer& transfer);
    void copy_from_sender(Transfer& transfer);
    void protect_at_sender(Party& sender, Transfer& transfer);
    void zero_tail(Transfer& transfer);
    void give(Party& party, Receiver& receiver, Transfer const& transfer, Access access, Pages targets);
    void finish_donation(Transfers::iterator transfer);
    void return_donation(Transfers::iterator transfer);
    void take_back(Transfer const& transfer, Receiver& receiver);
    void free_if_orphaned(Transfers::iterator transfer);
    void erase(Transfers::iterator transfer);
    void put_frame(FrameNumber frame);

    void forget_as_receiver(MachineId machine);
    void forget_as_sender(MachineId machine);
    void forget_pages(Party& party);

    [[nodiscard]] static Receiver* find_receiver(Transfer& transfer, MachineId machine);
    [[nodiscard]] bool is_known(MachineId machine) const { return machine.value() < parties_.size(); }
    Party& party_of(MachineId machine) { return parties_[machine.value()]; }
    [[nodiscard]] static bool can_hold(Party const& party, GuestPage page, PageEntry const& entry);
    [[nodiscard]] static bool is_pending(Party const& party, GuestPage page);

    std::mutex mutex_;  // guards everything below while machines run
    FrameStock& stock_;
    std::vector<Party> parties_;
    Transfers transfers_;
    std::unordered_map<std::uint32_t, std::uint32_t> sharers_;  // of a copy-on-write frame, 2 or more; only looked up
    std::uint64_t next_deadline_ns_{kNoDeadline};               // or earlier
    Counters counters_;
    std::function<bool()> gate_;
    // Kept so that a call need not allocate them.
    std::vector<GuestPage> sorted_;
    std::vector<PageEntry> new_entries_;
    std::vector<PageEntry> old_entries_;  // of the pages that were checked last
};

}  // namespace backplane
