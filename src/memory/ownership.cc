#include "memory/ownership.h"

#include <algorithm>
#include <cstring>

namespace backplane {

namespace {

constexpr PageEntry kHole{};
constexpr unsigned kHandleMachineShift = 48;  // the rest counts: one machine's calls never reach another's numbers

PageEntry owned(FrameNumber frame) { return {frame, OwnerState::owner_exclusive, Access::read_write}; }

bool is_own(PageEntry const& entry) { return entry.owner == OwnerState::owner_exclusive; }

}  // namespace

std::string_view ownership_status_text(OwnershipStatus status) {
    switch (status) {
        case OwnershipStatus::ok:
            return "ok";
        case OwnershipStatus::invalid:
            return "invalid";
        case OwnershipStatus::denied:
            return "denied";
        case OwnershipStatus::busy:
            return "busy";
        case OwnershipStatus::no_memory:
            return "no memory";
        case OwnershipStatus::not_found:
            return "not found";
    }
    return "";
}

Ownership::~Ownership() {
    for (Party& party : parties_) party.party.pages->remove_write_resolver(*party.resolver);
}

MachineId Ownership::join(OwnershipParty const& party) {
    MachineId const id{static_cast<std::uint16_t>(parties_.size())};
    parties_.push_back({party, {}, std::make_unique<Resolver>(*this, id), std::vector<bool>(party.page_count), 0});
    for (std::uint64_t i = 0; i < party.page_count; ++i)
        parties_.back().holdings.pages += is_own(party.pages->lookup(GuestPage{party.first.value() + i})) ? 1 : 0;
    party.pages->add_write_resolver(*parties_.back().resolver);
    return id;
}

// --- checks: nothing changes ------------------------------------------------------------------------------------

bool Ownership::is_pending(Party const& party, GuestPage page) {
    return party.is_pending[page.value() - party.party.first.value()];
}

/// Some pages, each once, all within what can change hands.
OwnershipStatus Ownership::check_pages(Party const& party, Pages pages) {
    if (pages.empty() || pages.size() > party.party.quota.pages_per_call) return OwnershipStatus::invalid;
    GuestPage const first = party.party.first;
    for (GuestPage const page : pages)
        if (page < first || page.value() - first.value() >= party.party.page_count) return OwnershipStatus::invalid;
    if (std::is_sorted(pages.begin(), pages.end(), std::less_equal<>{})) return OwnershipStatus::ok;  // the usual case
    sorted_.assign(pages.begin(), pages.end());
    std::sort(sorted_.begin(), sorted_.end());
    bool const twice = std::adjacent_find(sorted_.begin(), sorted_.end()) != sorted_.end();
    return twice ? OwnershipStatus::invalid : OwnershipStatus::ok;
}

OwnershipStatus Ownership::check_holes(Party const& party, Pages pages) const {
    for (GuestPage const page : pages) {
        bool const is_hole = party.party.pages->lookup(page).owner == OwnerState::none;
        if (!is_hole || is_pending(party, page)) return OwnershipStatus::denied;
    }
    return OwnershipStatus::ok;
}

/// Leaves the pages' entries in old_entries_.
OwnershipStatus Ownership::check_own(Party const& party, Pages pages) {
    look_up(party, pages);
    return std::all_of(old_entries_.begin(), old_entries_.end(), is_own) ? OwnershipStatus::ok : OwnershipStatus::denied;
}

void Ownership::look_up(Party const& party, Pages pages) {
    party.party.pages->lookup(pages, old_entries_);
}

OwnershipStatus Ownership::check_receivers(TransferOffer const& offer, std::span<MachineId const> receivers) const {
    if (receivers.empty()) return OwnershipStatus::invalid;
    if (offer.kind == TransferKind::donate && receivers.size() != 1) return OwnershipStatus::denied;
    for (std::size_t i = 0; i < receivers.size(); ++i) {
        if (!is_known(receivers[i])) return OwnershipStatus::not_found;
        if (receivers[i] == offer.sender) return OwnershipStatus::invalid;
        if (std::find(receivers.begin(), receivers.begin() + static_cast<std::ptrdiff_t>(i), receivers[i]) !=
            receivers.begin() + static_cast<std::ptrdiff_t>(i))
            return OwnershipStatus::invalid;
    }
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::check_quota(TransferOffer const& offer, std::uint64_t page_count) const {
    Party const& sender = parties_[offer.sender.value()];
    OwnershipQuota const& quota = sender.party.quota;
    if (sender.holdings.handles >= quota.handles) return OwnershipStatus::busy;
    if (offer.kind != TransferKind::donate)
        return sender.holdings.lent_pages + page_count > quota.lent_pages ? OwnershipStatus::busy : OwnershipStatus::ok;
    bool const keeps_pages = offer.remainder == Remainder::copy || offer.remainder == Remainder::copy_on_write;
    if (keeps_pages && sender.holdings.pages + page_count > quota.pages) return OwnershipStatus::busy;
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::check_offer(TransferOffer const& offer, Pages pages, std::span<MachineId const> receivers) {
    Party const& sender = party_of(offer.sender);
    if (auto const status = check_pages(sender, pages); status != OwnershipStatus::ok) return status;
    if (offer.message_bytes > pages.size() * kPageBytes) return OwnershipStatus::invalid;
    if (offer.kind != TransferKind::donate && offer.access == Access::none) return OwnershipStatus::invalid;
    if (auto const status = check_receivers(offer, receivers); status != OwnershipStatus::ok) return status;
    if (auto const status = check_own(sender, pages); status != OwnershipStatus::ok) return status;
    return check_quota(offer, pages.size());
}

bool Ownership::can_hold(Party const& party, GuestPage page, PageEntry const& entry) {
    return is_own(entry) || (entry.owner == OwnerState::none && !is_pending(party, page));
}

bool Ownership::can_receive_at(MachineId receiver, GuestPage page) const {
    OwnershipParty const& party = parties_[receiver.value()].party;
    bool const inside = page >= party.first && page.value() - party.first.value() < party.page_count;
    return inside && can_hold(parties_[receiver.value()], page, party.pages->lookup(page));
}

OwnershipStatus Ownership::check_targets(Party const& party, Transfer const& transfer, Pages targets) {
    if (targets.size() != transfer.pages.size()) return OwnershipStatus::invalid;
    if (auto const status = check_pages(party, targets); status != OwnershipStatus::ok) return status;
    look_up(party, targets);
    std::uint64_t new_pages = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (!can_hold(party, targets[i], old_entries_[i])) return OwnershipStatus::denied;
        if (old_entries_[i].owner == OwnerState::none) ++new_pages;
    }
    OwnershipQuota const& quota = party.party.quota;
    if (party.holdings.pages + new_pages > quota.pages) return OwnershipStatus::busy;
    bool const borrows = transfer.offer.kind != TransferKind::donate;
    if (borrows && party.holdings.borrowed_pages + targets.size() > quota.borrowed_pages) return OwnershipStatus::busy;
    return OwnershipStatus::ok;
}

// --- changes of page maps ---------------------------------------------------------------------------------------

/// Each run of neighbours is one update, and its invalidation is run before the next.
void Ownership::replace(Party& party, Pages pages, std::span<PageEntry const> entries) {
    for (std::size_t begin = 0; begin < pages.size();) {
        std::size_t end = begin + 1;
        while (end < pages.size() && pages[end].value() == pages[end - 1].value() + 1) ++end;
        party.party.pages->replace(pages[begin], entries.subspan(begin, end - begin)).run();
        begin = end;
    }
}

void Ownership::replace_all(Party& party, Pages pages, PageEntry const& entry) {
    new_entries_.assign(pages.size(), entry);
    replace(party, pages, new_entries_);
}

void Ownership::mark_pending(Party& party, Pages pages, bool pending) {
    for (GuestPage const page : pages) party.is_pending[page.value() - party.party.first.value()] = pending;
}

/// One holder less of a frame; the last one gives it back.
void Ownership::put_frame(FrameNumber frame) {
    auto const found = sharers_.find(frame.value());
    if (found == sharers_.end()) return stock_.give_back(frame);
    if (--found->second < 2) sharers_.erase(found);
}

bool Ownership::make_private(MachineId machine, GuestPage page) {
    Party& party = party_of(machine);
    PageEntry const entry = party.party.pages->lookup(page);
    if (!entry.copy_on_write) return false;
    FrameNumber frame = entry.frame;
    if (sharers_.contains(frame.value())) {
        // quota.pages of all machines are in the stock, and a shared frame counts for each of its holders: one is left.
        auto const copy = stock_.take_dirty();
        check(copy.has_value(), "the stock covers every machine's quota");
        std::memcpy(stock_.host(*copy), stock_.host(frame), kPageBytes);
        put_frame(frame);
        frame = *copy;
        ++counters_.copied_pages;
    }
    PageEntry const writable = owned(frame);
    party.party.pages->replace(page, std::span{&writable, 1}).run();
    return true;
}

/// Of pages in old_entries_, which are up to date again afterwards.
void Ownership::make_all_private(Party const& party, MachineId machine, Pages pages) {
    bool any = false;
    for (std::size_t i = 0; i < pages.size(); ++i)
        if (old_entries_[i].copy_on_write) any = make_private(machine, pages[i]);
    if (any) look_up(party, pages);
}

// --- pages of one's own -----------------------------------------------------------------------------------------

OwnershipStatus Ownership::populate(MachineId owner, Pages pages) {
    if (!is_known(owner)) return OwnershipStatus::not_found;
    Party& party = party_of(owner);
    if (auto const status = check_pages(party, pages); status != OwnershipStatus::ok) return status;
    if (auto const status = check_holes(party, pages); status != OwnershipStatus::ok) return status;
    if (party.holdings.pages + pages.size() > party.party.quota.pages) return OwnershipStatus::busy;
    if (!may_reserve() || stock_.count() < pages.size()) return OwnershipStatus::no_memory;
    new_entries_.clear();
    for (std::size_t i = 0; i < pages.size(); ++i) new_entries_.push_back(owned(*stock_.take_zeroed()));
    party.holdings.pages += pages.size();
    replace(party, pages, new_entries_);
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::release(MachineId owner, Pages pages) {
    if (!is_known(owner)) return OwnershipStatus::not_found;
    Party& party = party_of(owner);
    if (auto const status = check_pages(party, pages); status != OwnershipStatus::ok) return status;
    if (auto const status = check_own(party, pages); status != OwnershipStatus::ok) return status;
    std::vector<FrameNumber> frames;
    for (PageEntry const& entry : old_entries_) frames.push_back(entry.frame);
    replace_all(party, pages, kHole);
    for (FrameNumber const frame : frames) put_frame(frame);
    party.holdings.pages -= pages.size();
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::swap(MachineId owner, Pages pages, PageMap& ram, GuestPage first) {
    if (!is_known(owner)) return OwnershipStatus::not_found;
    Party& party = party_of(owner);
    if (auto const status = check_pages(party, pages); status != OwnershipStatus::ok) return status;
    if (auto const status = check_own(party, pages); status != OwnershipStatus::ok) return status;
    for (std::uint64_t i = 0; i < pages.size(); ++i) {
        PageEntry const entry = ram.lookup(GuestPage{first.value() + i});
        if (!is_own(entry) || entry.access != Access::read_write) return OwnershipStatus::denied;
    }
    if (!may_reserve()) return OwnershipStatus::no_memory;
    // A frame that others still read as copy-on-write stays in the window.
    make_all_private(party, owner, pages);
    std::vector<PageEntry> from_window;
    new_entries_.clear();
    for (std::uint64_t i = 0; i < pages.size(); ++i) {
        from_window.push_back(owned(old_entries_[i].frame));
        new_entries_.push_back(owned(ram.lookup(GuestPage{first.value() + i}).frame));
    }
    replace(party, pages, new_entries_);
    ram.replace(first, from_window).run();
    return OwnershipStatus::ok;
}

// --- offers -----------------------------------------------------------------------------------------------------

Expected<TransferHandle, OwnershipStatus> Ownership::offer(TransferOffer const& offer, Pages pages,
                                                           std::span<MachineId const> receivers) {
    if (!is_known(offer.sender)) return Unexpected{OwnershipStatus::not_found};
    if (auto const status = check_offer(offer, pages, receivers); status != OwnershipStatus::ok)
        return Unexpected{status};
    Party& sender = party_of(offer.sender);
    bool const copies = offer.kind == TransferKind::donate && offer.remainder == Remainder::copy;
    if (!may_reserve() || (copies && stock_.count() < pages.size())) return Unexpected{OwnershipStatus::no_memory};

    Transfer transfer{offer, {pages.begin(), pages.end()}, {}, {}};
    for (MachineId const receiver : receivers) transfer.receivers.push_back({.machine = receiver});
    std::uint64_t const handle = std::uint64_t{offer.sender.value()} << kHandleMachineShift | ++sender.handle_count;
    auto const [place, is_new] = transfers_.emplace(handle, std::move(transfer));
    check(is_new, "a handle is new");
    // Nothing can fail any more.
    ++sender.holdings.handles;
    take_from_sender(sender, place->second);
    if (offer.kind != TransferKind::donate) next_deadline_ns_ = std::min(next_deadline_ns_, offer.deadline_ns);
    return TransferHandle{handle};
}

void Ownership::take_from_sender(Party& sender, Transfer& transfer) {
    TransferOffer const& offer = transfer.offer;
    std::uint64_t const count = transfer.pages.size();
    bool const stays = offer.kind == TransferKind::donate && offer.remainder == Remainder::copy_on_write;
    // A page that is copy-on-write from an earlier message leaves as a page of the sender alone.
    if (!stays) make_all_private(sender, offer.sender, transfer.pages);
    transfer.entries.reserve(count);
    for (PageEntry const& entry : old_entries_)
        transfer.entries.push_back({entry.frame, OwnerState::none, Access::none});
    if (offer.kind != TransferKind::donate) {
        sender.holdings.lent_pages += count;
        (offer.kind == TransferKind::lend ? counters_.lent_pages : counters_.shared_pages) += count;
        return protect_at_sender(sender, transfer);
    }
    counters_.donated_pages += count;
    if (stays || offer.remainder == Remainder::copy) sender.holdings.pages += count;  // those on their way
    if (stays) return protect_at_sender(sender, transfer);
    if (offer.remainder == Remainder::copy) return copy_from_sender(transfer);
    mark_pending(sender, transfer.pages, true);
    replace_all(sender, transfer.pages, kHole);
}

void Ownership::protect_at_sender(Party& sender, Transfer& transfer) {
    PageEntry entry{};
    switch (transfer.offer.kind) {
        case TransferKind::donate:
            entry = {{}, OwnerState::owner_exclusive, Access::read, false, true};
            break;
        case TransferKind::lend:
            entry = {{}, OwnerState::owner_lent, Access::none};
            break;
        case TransferKind::share:
            entry = {{}, OwnerState::owner_shared, Access::read_write};
            break;
    }
    new_entries_.assign(transfer.pages.size(), entry);
    for (std::size_t i = 0; i < new_entries_.size(); ++i) {
        FrameNumber const frame = new_entries_[i].frame = transfer.entries[i].frame;
        if (!entry.copy_on_write) continue;
        auto const [sharers, is_new] = sharers_.try_emplace(frame.value(), 1);
        ++sharers->second;
    }
    replace(sender, transfer.pages, new_entries_);
}

void Ownership::copy_from_sender(Transfer& transfer) {
    std::uint64_t left = transfer.offer.message_bytes;
    for (PageEntry& entry : transfer.entries) {
        FrameNumber const copy = *stock_.take_dirty();  // counted before
        std::uint64_t const bytes = std::min(left, kPageBytes);
        std::memcpy(stock_.host(copy), stock_.host(entry.frame), bytes);
        entry.frame = copy;
        left -= bytes;
    }
    counters_.copied_pages += transfer.entries.size();
}

// --- arrival ----------------------------------------------------------------------------------------------------

OwnershipStatus Ownership::retrieve(MachineId receiver, TransferHandle handle, TransferKind kind, Access access,
                                    Pages targets) {
    auto const found = transfers_.find(handle.value());
    if (found == transfers_.end() || !is_known(receiver)) return OwnershipStatus::not_found;
    Transfer& transfer = found->second;
    Receiver* const to = find_receiver(transfer, receiver);
    if (to == nullptr || to->state != Receiver::State::offered || kind != transfer.offer.kind)
        return OwnershipStatus::denied;
    bool const donated = kind == TransferKind::donate;
    if (!donated && (access == Access::none || access > transfer.offer.access)) return OwnershipStatus::denied;
    Party& party = party_of(receiver);
    if (auto const status = check_targets(party, transfer, targets); status != OwnershipStatus::ok) return status;
    // The displaced frames go to the stock first: it has one for each page that `exchange` gives.
    if (!may_reserve()) return OwnershipStatus::no_memory;

    zero_tail(transfer);
    give(party, *to, transfer, access, targets);
    if (donated) finish_donation(found);
    return OwnershipStatus::ok;
}

/// What the sender's pages hold beyond the message is not the receiver's to see. A shared page stays as it is: its
/// owner uses it, too. A copy-on-write page is shared with the sender, so its last page is copied.
void Ownership::zero_tail(Transfer& transfer) {
    if (transfer.offer.kind == TransferKind::share || std::exchange(transfer.tail_is_zero, true)) return;
    std::uint64_t offset = transfer.offer.message_bytes;
    for (; offset < transfer.entries.size() * kPageBytes; offset = (offset | kPageMask) + 1) {
        PageEntry& entry = transfer.entries[offset / kPageBytes];
        std::uint64_t const within = offset & kPageMask;
        if (sharers_.contains(entry.frame.value())) {
            auto const copy = stock_.take_dirty();
            check(copy.has_value(), "the stock covers every machine's quota");
            std::memcpy(stock_.host(*copy), stock_.host(entry.frame), within);
            put_frame(entry.frame);
            entry.frame = *copy;
            ++counters_.copied_pages;
        }
        std::memset(stock_.host(entry.frame) + within, 0, kPageBytes - within);
    }
}

void Ownership::give(Party& party, Receiver& receiver, Transfer const& transfer, Access access, Pages targets) {
    bool const donated = transfer.offer.kind == TransferKind::donate;
    OwnerState const borrower = transfer.offer.kind == TransferKind::lend && transfer.receivers.size() == 1
                                    ? OwnerState::borrower_exclusive
                                    : OwnerState::borrower_shared;
    std::vector<FrameNumber> displaced;
    new_entries_.clear();
    for (std::size_t i = 0; i < targets.size(); ++i) {
        PageEntry const& old = old_entries_[i];
        if (old.owner != OwnerState::none) displaced.push_back(old.frame);
        FrameNumber const frame = transfer.entries[i].frame;
        bool const shared = donated && !sharers_.empty() && sharers_.contains(frame.value());
        new_entries_.push_back(shared    ? PageEntry{frame, OwnerState::owner_exclusive, Access::read, false, true}
                               : donated ? owned(frame)
                                         : PageEntry{frame, borrower, access});
    }
    replace(party, targets, new_entries_);
    for (FrameNumber const frame : displaced) put_frame(frame);
    party.holdings.pages += targets.size() - displaced.size();
    if (!donated) {
        party.holdings.borrowed_pages += targets.size();
        receiver.targets.assign(targets.begin(), targets.end());
    }
    receiver.state = donated ? Receiver::State::done : Receiver::State::holds;
}

/// The receiver owns the pages for good; what the sender gets is settled.
void Ownership::finish_donation(Transfers::iterator transfer) {
    TransferOffer const& offer = transfer->second.offer;
    std::vector<GuestPage> const& pages = transfer->second.pages;
    Party& sender = party_of(offer.sender);
    sender.holdings.pages -= pages.size();
    bool const left_holes = offer.remainder == Remainder::hole || offer.remainder == Remainder::exchange;
    if (left_holes && !transfer->second.sender_is_gone) {
        mark_pending(sender, pages, false);
        if (offer.remainder == Remainder::exchange) {
            new_entries_.clear();
            for (std::size_t i = 0; i < pages.size(); ++i) {
                auto const frame = stock_.take_zeroed();
                check(frame.has_value(), "the stock covers every machine's quota");
                new_entries_.push_back(owned(*frame));
            }
            sender.holdings.pages += pages.size();
            replace(sender, pages, new_entries_);
        }
    }
    erase(transfer);
}

// --- the way back -----------------------------------------------------------------------------------------------

void Ownership::return_donation(Transfers::iterator transfer) {
    TransferOffer const& offer = transfer->second.offer;
    std::vector<GuestPage> const& pages = transfer->second.pages;
    Party& sender = party_of(offer.sender);
    counters_.returned_pages += pages.size();
    bool const left_holes = offer.remainder == Remainder::hole || offer.remainder == Remainder::exchange;
    if (left_holes && !transfer->second.sender_is_gone) {
        mark_pending(sender, pages, false);
        new_entries_.clear();
        for (PageEntry const& entry : transfer->second.entries) new_entries_.push_back(owned(entry.frame));
        replace(sender, pages, new_entries_);
    } else {
        for (PageEntry const& entry : transfer->second.entries) put_frame(entry.frame);
        sender.holdings.pages -= pages.size();
    }
    erase(transfer);
}

void Ownership::take_back(Transfer const& transfer, Receiver& receiver) {
    Party& party = party_of(receiver.machine);
    replace_all(party, receiver.targets, kHole);
    party.holdings.pages -= transfer.pages.size();
    party.holdings.borrowed_pages -= transfer.pages.size();
    receiver.targets.clear();
    receiver.state = Receiver::State::done;
}

/// Pages whose owner is gone are freed with their last borrower.
void Ownership::free_if_orphaned(Transfers::iterator transfer) {
    Transfer const& t = transfer->second;
    bool const in_use = std::any_of(t.receivers.begin(), t.receivers.end(),
                                    [](Receiver const& r) { return r.state != Receiver::State::done; });
    if (!t.sender_is_gone || in_use) return;
    for (PageEntry const& entry : t.entries) put_frame(entry.frame);
    erase(transfer);
}

void Ownership::erase(Transfers::iterator transfer) {
    --party_of(transfer->second.offer.sender).holdings.handles;
    transfers_.erase(transfer);
}

OwnershipStatus Ownership::relinquish(MachineId borrower, TransferHandle handle) {
    auto const found = transfers_.find(handle.value());
    if (found == transfers_.end()) return OwnershipStatus::not_found;
    Receiver* const receiver = find_receiver(found->second, borrower);
    if (receiver == nullptr || receiver->state != Receiver::State::holds) return OwnershipStatus::denied;
    take_back(found->second, *receiver);
    free_if_orphaned(found);
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::refuse(MachineId receiver, TransferHandle handle) {
    auto const found = transfers_.find(handle.value());
    if (found == transfers_.end()) return OwnershipStatus::not_found;
    Receiver* const offered = find_receiver(found->second, receiver);
    if (offered == nullptr || offered->state != Receiver::State::offered) return OwnershipStatus::denied;
    offered->state = Receiver::State::done;
    if (found->second.offer.kind == TransferKind::donate)
        return_donation(found);
    else
        free_if_orphaned(found);
    return OwnershipStatus::ok;
}

OwnershipStatus Ownership::reclaim(MachineId sender, TransferHandle handle) {
    auto const found = transfers_.find(handle.value());
    if (found == transfers_.end()) return OwnershipStatus::not_found;
    Transfer& transfer = found->second;
    if (transfer.offer.sender != sender || transfer.sender_is_gone || holder_count(handle) != 0)
        return OwnershipStatus::denied;
    if (transfer.offer.kind == TransferKind::donate) return return_donation(found), OwnershipStatus::ok;
    Party& party = party_of(sender);
    new_entries_.clear();
    for (PageEntry const& entry : transfer.entries) new_entries_.push_back(owned(entry.frame));
    replace(party, transfer.pages, new_entries_);
    party.holdings.lent_pages -= transfer.pages.size();
    erase(found);
    return OwnershipStatus::ok;
}

void Ownership::expire(std::uint64_t now_ns) {
    if (now_ns < next_deadline_ns_) return;
    next_deadline_ns_ = kNoDeadline;
    for (auto next = transfers_.begin(); next != transfers_.end();) {
        auto const place = next++;
        Transfer& transfer = place->second;
        if (transfer.offer.kind == TransferKind::donate) continue;
        bool const in_use = std::any_of(transfer.receivers.begin(), transfer.receivers.end(),
                                        [](Receiver const& r) { return r.state != Receiver::State::done; });
        if (!in_use) continue;
        if (transfer.offer.deadline_ns > now_ns) {
            next_deadline_ns_ = std::min(next_deadline_ns_, transfer.offer.deadline_ns);
            continue;
        }
        for (Receiver& receiver : transfer.receivers) {
            if (receiver.state == Receiver::State::holds) take_back(transfer, receiver), ++counters_.expired_borrowers;
            receiver.state = Receiver::State::done;
        }
        free_if_orphaned(place);
    }
}

// --- death ------------------------------------------------------------------------------------------------------

void Ownership::forget_as_receiver(MachineId machine) {
    for (auto next = transfers_.begin(); next != transfers_.end();) {
        auto const place = next++;
        Receiver* const receiver = find_receiver(place->second, machine);
        if (receiver == nullptr) continue;
        TransferHandle const handle{place->first};
        if (receiver->state == Receiver::State::holds) {
            (void)relinquish(machine, handle);
        } else if (receiver->state == Receiver::State::offered) {
            (void)refuse(machine, handle);
        }
    }
}

void Ownership::forget_as_sender(MachineId machine) {
    Party& party = party_of(machine);
    for (auto next = transfers_.begin(); next != transfers_.end();) {
        auto const place = next++;
        Transfer& transfer = place->second;
        if (transfer.offer.sender != machine || std::exchange(transfer.sender_is_gone, true)) continue;
        if (transfer.offer.kind == TransferKind::donate) continue;  // still arrives
        party.holdings.lent_pages -= transfer.pages.size();
        party.holdings.pages -= transfer.pages.size();
        replace_all(party, transfer.pages, kHole);
        for (Receiver& receiver : transfer.receivers)
            if (receiver.state == Receiver::State::offered) receiver.state = Receiver::State::done;
        free_if_orphaned(place);
    }
    std::fill(party.is_pending.begin(), party.is_pending.end(), false);
}

void Ownership::forget_pages(Party& party) {
    std::vector<GuestPage> pages;
    std::vector<FrameNumber> frames;
    for (std::uint64_t i = 0; i < party.party.page_count; ++i) {
        GuestPage const page{party.party.first.value() + i};
        PageEntry const entry = party.party.pages->lookup(page);
        if (entry.owner == OwnerState::none) continue;
        check(is_own(entry), "what was lent or borrowed is gone already");
        pages.push_back(page);
        frames.push_back(entry.frame);
    }
    replace_all(party, pages, kHole);
    for (FrameNumber const frame : frames) put_frame(frame);
    party.holdings.pages -= pages.size();
}

void Ownership::leave(MachineId machine) {
    if (!is_known(machine)) return;
    forget_as_receiver(machine);
    forget_as_sender(machine);
    forget_pages(party_of(machine));
}

// --- questions --------------------------------------------------------------------------------------------------

Ownership::Receiver* Ownership::find_receiver(Transfer& transfer, MachineId machine) {
    for (Receiver& receiver : transfer.receivers)
        if (receiver.machine == machine) return &receiver;
    return nullptr;
}

std::uint32_t Ownership::holder_count(TransferHandle handle) const {
    auto const found = transfers_.find(handle.value());
    if (found == transfers_.end()) return 0;
    return static_cast<std::uint32_t>(
        std::count_if(found->second.receivers.begin(), found->second.receivers.end(),
                      [](Receiver const& receiver) { return receiver.state == Receiver::State::holds; }));
}

std::vector<FrameNumber> Ownership::frames_in_flight() const {
    std::vector<FrameNumber> frames;
    for (auto const& [handle, transfer] : transfers_) {
        bool const held_by_maps = transfer.offer.kind != TransferKind::donate;
        if (held_by_maps) continue;
        for (PageEntry const& entry : transfer.entries) frames.push_back(entry.frame);
    }
    return frames;
}

}  // namespace backplane
