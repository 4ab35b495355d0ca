// A million random calls against a reference that knows no frames, only contents: what copy-on-write or a remap does
// must look like what the words say. After each call the sum of pages is what it was.
#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <random>

#include "memory/ownership_testing.h"

namespace backplane {
namespace {

using namespace backplane::testing;
using Status = OwnershipStatus;
using Kind = TransferKind;
using State = OwnerState;

#if defined(__SANITIZE_ADDRESS__)
constexpr unsigned kSteps = 50'000;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr unsigned kSteps = 50'000;
#else
constexpr unsigned kSteps = 1'000'000;
#endif
#else
constexpr unsigned kSteps = 1'000'000;
#endif

/// A page's content, in a place of its own or shared with those who borrow it.
using Content = std::shared_ptr<std::uint64_t>;

struct ModelPage {
    State state{State::none};
    Content content;
    bool writable{false};
    bool pending{false};
};

struct ModelTransfer {
    TransferOffer offer;
    std::vector<std::uint64_t> pages;
    std::vector<Content> contents;
    struct To {
        MachineId machine;
        int state;  // 0 offered, 1 holds, 2 done
        std::vector<std::uint64_t> targets;
    };
    std::vector<To> to;
    bool orphan{false};
};

struct Model {
    std::array<std::array<ModelPage, kPages>, 3> pages;
    std::array<std::uint64_t, 3> in_flight{};
    std::map<std::uint64_t, ModelTransfer> transfers;

    ModelPage& at(MachineId machine, std::uint64_t index) { return pages[machine.value()][index]; }
    [[nodiscard]] std::uint64_t count(MachineId machine, auto&& predicate) const {
        auto const& all = pages[machine.value()];
        return static_cast<std::uint64_t>(std::count_if(all.begin(), all.end(), predicate));
    }
    [[nodiscard]] std::uint64_t held(MachineId machine) const {
        return in_flight[machine.value()] + count(machine, [](ModelPage const& p) { return p.state != State::none; });
    }
    [[nodiscard]] std::uint64_t lent(MachineId machine) const {
        return count(machine,
                     [](ModelPage const& p) { return p.state == State::owner_lent || p.state == State::owner_shared; });
    }
    [[nodiscard]] std::uint64_t borrowed(MachineId machine) const {
        return count(machine, [](ModelPage const& p) {
            return p.state == State::borrower_exclusive || p.state == State::borrower_shared;
        });
    }
    [[nodiscard]] std::uint64_t handles(MachineId machine) const {
        return static_cast<std::uint64_t>(std::count_if(
            transfers.begin(), transfers.end(), [&](auto const& t) { return t.second.offer.sender == machine; }));
    }
    static bool keeps(TransferOffer const& offer) {
        return offer.remainder == Remainder::copy || offer.remainder == Remainder::copy_on_write;
    }

    bool populate(MachineId machine, std::vector<std::uint64_t> const& list) {
        for (auto const i : list)
            if (at(machine, i).state != State::none || at(machine, i).pending) return false;
        if (held(machine) + list.size() > kPages + kFlightPages) return false;
        for (auto const i : list)
            at(machine, i) = {State::owner_exclusive, std::make_shared<std::uint64_t>(0), true, false};
        return true;
    }
    bool release(MachineId machine, std::vector<std::uint64_t> const& list) {
        for (auto const i : list)
            if (at(machine, i).state != State::owner_exclusive) return false;
        for (auto const i : list) at(machine, i) = {};
        return true;
    }
    bool may_offer(TransferOffer const& offer, std::vector<std::uint64_t> const& list,
                   std::vector<MachineId> const& to) {
        if (offer.kind == Kind::donate && to.size() != 1) return false;
        if (std::find(to.begin(), to.end(), offer.sender) != to.end()) return false;
        for (auto const i : list)
            if (at(offer.sender, i).state != State::owner_exclusive) return false;
        if (handles(offer.sender) >= 4) return false;
        if (offer.kind != Kind::donate) return lent(offer.sender) + list.size() <= 6;
        return !keeps(offer) || held(offer.sender) + list.size() <= kPages + kFlightPages;
    }
    void offer(std::uint64_t handle, TransferOffer const& offer, std::vector<std::uint64_t> const& list,
               std::vector<MachineId> const& to) {
        ModelTransfer transfer{offer, list, {}, {}};
        for (MachineId const machine : to) transfer.to.push_back({machine, 0, {}});
        for (auto const i : list) {
            ModelPage& p = at(offer.sender, i);
            bool const copies = offer.kind == Kind::donate && keeps(offer);
            transfer.contents.push_back(copies ? std::make_shared<std::uint64_t>(*p.content) : p.content);
            if (offer.kind == Kind::lend) p.state = State::owner_lent;
            if (offer.kind == Kind::share) p.state = State::owner_shared;
            if (offer.kind == Kind::donate && !copies) p = {State::none, nullptr, false, true};
        }
        if (offer.kind == Kind::donate) in_flight[offer.sender.value()] += list.size();
        transfers[handle] = transfer;
    }
    bool retrieve(MachineId machine, std::uint64_t handle, Kind kind, Access access,
                  std::vector<std::uint64_t> const& list) {
        auto const found = transfers.find(handle);
        if (found == transfers.end()) return false;
        ModelTransfer& t = found->second;
        auto const to = std::find_if(t.to.begin(), t.to.end(), [&](auto const& x) { return x.machine == machine; });
        if (to == t.to.end() || to->state != 0 || kind != t.offer.kind || list.size() != t.pages.size()) return false;
        if (kind != Kind::donate && access > t.offer.access) return false;
        std::uint64_t fresh = 0;
        for (auto const i : list) {
            ModelPage const& p = at(machine, i);
            if (p.pending || (p.state != State::none && p.state != State::owner_exclusive)) return false;
            fresh += p.state == State::none ? 1 : 0;
        }
        if (held(machine) + fresh > kPages + kFlightPages) return false;
        if (kind != Kind::donate && borrowed(machine) + list.size() > 6) return false;
        State const state = kind == Kind::donate                     ? State::owner_exclusive
                            : kind == Kind::lend && t.to.size() == 1 ? State::borrower_exclusive
                                                                     : State::borrower_shared;
        for (std::size_t i = 0; i < list.size(); ++i)
            at(machine, list[i]) = {state, t.contents[i], kind == Kind::donate || access == Access::read_write, false};
        to->state = kind == Kind::donate ? 2 : 1;
        to->targets = list;
        if (kind == Kind::donate) {
            in_flight[t.offer.sender.value()] -= list.size();
            if (!keeps(t.offer) && !t.orphan) {
                for (auto const i : t.pages) {
                    at(t.offer.sender, i) = {};
                    if (t.offer.remainder == Remainder::exchange)
                        at(t.offer.sender, i) = {State::owner_exclusive, std::make_shared<std::uint64_t>(0), true,
                                                 false};
                }
            }
            transfers.erase(found);
        }
        return true;
    }
    void give_back(std::map<std::uint64_t, ModelTransfer>::iterator found) {
        ModelTransfer& t = found->second;
        in_flight[t.offer.sender.value()] -= t.pages.size();
        if (!keeps(t.offer) && !t.orphan)
            for (std::size_t i = 0; i < t.pages.size(); ++i)
                at(t.offer.sender, t.pages[i]) = {State::owner_exclusive, t.contents[i], true, false};
        transfers.erase(found);
    }
    void drop_if_over(std::map<std::uint64_t, ModelTransfer>::iterator found) {
        auto const& to = found->second.to;
        if (found->second.orphan && std::all_of(to.begin(), to.end(), [](auto const& x) { return x.state == 2; }))
            transfers.erase(found);
    }
    void let_go(ModelTransfer::To& to) {
        for (auto const i : to.targets) at(to.machine, i) = {};
        to.state = 2;
    }
    bool relinquish_or_refuse(MachineId machine, std::uint64_t handle, int wanted) {
        auto const found = transfers.find(handle);
        if (found == transfers.end()) return false;
        for (auto& to : found->second.to) {
            if (to.machine != machine || to.state != wanted) continue;
            if (wanted == 1) let_go(to);
            to.state = 2;
            if (found->second.offer.kind == Kind::donate)
                give_back(found);
            else
                drop_if_over(found);
            return true;
        }
        return false;
    }
    bool reclaim(MachineId machine, std::uint64_t handle) {
        auto const found = transfers.find(handle);
        if (found == transfers.end()) return false;
        ModelTransfer& t = found->second;
        if (t.offer.sender != machine || t.orphan) return false;
        for (auto const& to : t.to)
            if (to.state == 1) return false;
        if (t.offer.kind == Kind::donate) return give_back(found), true;
        for (auto const i : t.pages) at(machine, i).state = State::owner_exclusive;
        transfers.erase(found);
        return true;
    }
    void expire(std::uint64_t now) {
        for (auto next = transfers.begin(); next != transfers.end();) {
            auto const found = next++;
            if (found->second.offer.kind == Kind::donate || found->second.offer.deadline_ns > now) continue;
            for (auto& to : found->second.to) {
                if (to.state == 1) let_go(to);
                to.state = 2;
            }
            drop_if_over(found);
        }
    }
    void leave(MachineId machine) {
        std::vector<std::uint64_t> handles_now;
        for (auto const& [handle, transfer] : transfers) handles_now.push_back(handle);
        for (auto const handle : handles_now)
            if (!relinquish_or_refuse(machine, handle, 1)) (void)relinquish_or_refuse(machine, handle, 0);
        for (auto next = transfers.begin(); next != transfers.end();) {
            auto const found = next++;
            ModelTransfer& t = found->second;
            if (t.offer.sender != machine || std::exchange(t.orphan, true) || t.offer.kind == Kind::donate) continue;
            for (auto& to : t.to) to.state = to.state == 0 ? 2 : to.state;
            drop_if_over(found);
        }
        for (ModelPage& p : pages[machine.value()]) p = {};
    }
};

class Walk {
  public:
    Walk() {
        for (MachineId const id : {kAlpha, kBeta, kGamma}) {
            for (std::uint64_t i = 0; i < kPages; ++i) {
                model.at(id, i) = {State::owner_exclusive,
                                   std::make_shared<std::uint64_t>(100U * (id.value() + 1U) + i), true, false};
            }
        }
    }

    void step() {
        switch (pick(16)) {
            case 0:
            case 1: {
                // Often and page by page, else most pages would be holes most of the time.
                MachineId const id = some_machine();
                for (int i = 0; i < 4; ++i) {
                    std::vector<std::uint64_t> const list{pick(kPages)};
                    ASSERT_EQ(m.populate(id, list) == Status::ok, model.populate(id, list));
                }
                break;
            }
            case 2: {
                if (pick(8) != 0) break;
                auto const list = some_pages();
                MachineId const id = some_machine();
                ASSERT_EQ(m.release(id, list) == Status::ok, model.release(id, list));
                break;
            }
            case 3:
            case 4:
            case 5:
            case 6:
                return offer();
            case 7:
            case 8:
            case 9:
            case 10:
                return retrieve();
            case 11: {
                auto const handle = some_handle();
                MachineId const id = receiver_or_any(handle);
                ASSERT_EQ(m.ownership.relinquish(id, TransferHandle{handle}) == Status::ok,
                          model.relinquish_or_refuse(id, handle, 1));
                break;
            }
            case 12:
            case 14: {
                auto const handle = some_handle();
                auto const found = model.transfers.find(handle);
                bool const right = found != model.transfers.end() && pick(4) != 0;
                MachineId const id = right ? found->second.offer.sender : some_machine();
                ASSERT_EQ(m.ownership.reclaim(id, TransferHandle{handle}) == Status::ok, model.reclaim(id, handle));
                break;
            }
            case 13:
                return rare();
            default: {
                MachineId const id = some_machine();
                std::uint64_t const index = pick(kPages);
                std::uint64_t const value = ++last_value_;
                ModelPage& p = model.at(id, index);
                bool const reachable = p.state != State::none && p.state != State::owner_lent;
                ASSERT_EQ(m.write(id, index, value), reachable && p.writable);
                if (reachable && p.writable) *p.content = value;
            }
        }
    }

    void expect_equal(MachineId id, std::uint64_t index) {
        ModelPage const& p = model.at(id, index);
        ASSERT_EQ(m.state(id, index), p.state);
        bool const reachable = p.state != State::none && p.state != State::owner_lent;
        ASSERT_EQ(m.read(id, index), reachable ? *p.content : ~std::uint64_t{0});
    }
    void expect_holdings() {
        for (MachineId const id : {kAlpha, kBeta, kGamma})
            ASSERT_EQ(m.ownership.holdings(id),
                      (Ownership::Holdings{.pages = model.held(id),
                                           .lent_pages = model.lent(id),
                                           .borrowed_pages = model.borrowed(id),
                                           .handles = static_cast<std::uint32_t>(model.handles(id))}));
    }
    void expect_no_page_lost() const {
        std::bitset<Machines::kTotal> frames;
        for (FrameNumber const frame : m.ownership.frames_in_flight()) frames.set(frame.value());
        for (PageMap const& map : m.maps) {
            for (std::uint64_t i = 0; i < kPages; ++i) {
                PageEntry const e = map.lookup(page(i));
                if (e.owner != State::none) frames.set(e.frame.value());
            }
        }
        // What orphans hold is in their borrowers' maps.
        ASSERT_EQ(frames.count() + m.stock.count(), Machines::kTotal);
    }
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    MachineId some_machine() { return MachineId{static_cast<std::uint16_t>(pick(3))}; }

    Machines m;
    Model model;

  private:
    std::vector<std::uint64_t> some_pages() {
        std::vector<std::uint64_t> list;
        std::uint64_t const count = 1 + pick(3);
        while (list.size() < count) {
            std::uint64_t const index = pick(kPages);
            if (std::find(list.begin(), list.end(), index) == list.end()) list.push_back(index);
        }
        return list;
    }
    std::uint64_t some_handle() {
        if (model.transfers.empty()) return 12345;
        auto place = model.transfers.begin();
        std::advance(place, static_cast<std::ptrdiff_t>(pick(model.transfers.size())));
        return place->first;
    }
    MachineId receiver_or_any(std::uint64_t handle) {
        auto const found = model.transfers.find(handle);
        if (found == model.transfers.end() || pick(4) == 0) return some_machine();
        return found->second.to[pick(found->second.to.size())].machine;
    }
    void offer() {
        TransferOffer offer{.sender = some_machine(),
                            .kind = static_cast<Kind>(pick(3)),
                            .remainder = static_cast<Remainder>(pick(4)),
                            .access = pick(2) == 0 ? Access::read : Access::read_write,
                            .deadline_ns = now_ + pick(200)};
        std::vector<MachineId> to{some_machine()};
        while (to[0] == offer.sender && pick(8) != 0) to[0] = some_machine();
        if (offer.kind != Kind::donate && pick(3) == 0)
            to.push_back(MachineId{static_cast<std::uint16_t>((to[0].value() + 1) % 3)});
        auto const list = some_pages();
        bool const expected = model.may_offer(offer, list, to);
        auto const handle = m.offer(offer, list, to);
        ASSERT_EQ(handle.has_value(), expected);
        if (handle) model.offer(handle->value(), offer, list, to);
    }
    void retrieve() {
        auto const handle = some_handle();
        auto const found = model.transfers.find(handle);
        MachineId const id = receiver_or_any(handle);
        Kind const kind = found != model.transfers.end() && pick(8) != 0 ? found->second.offer.kind : Kind::share;
        Access const access = pick(2) == 0 ? Access::read : Access::read_write;
        auto list = some_pages();
        while (found != model.transfers.end() && list.size() != found->second.pages.size() && pick(8) != 0)
            list = some_pages();
        bool const ok = m.retrieve(id, TransferHandle{handle}, kind, list, access) == Status::ok;
        ASSERT_EQ(ok, model.retrieve(id, handle, kind, access, list));
    }
    void rare() {
        now_ += pick(20);
        m.ownership.expire(now_);
        model.expire(now_);
        MachineId const id = some_machine();
        auto const handle = some_handle();
        if (pick(100) == 0) {
            m.ownership.leave(id);
            model.leave(id);
        } else {
            ASSERT_EQ(m.ownership.refuse(id, TransferHandle{handle}) == Status::ok,
                      model.relinquish_or_refuse(id, handle, 0));
        }
    }

    std::mt19937_64 random_{20240607};
    std::uint64_t last_value_{1000};
    std::uint64_t now_{0};
};

TEST(OwnershipModel, RandomCallsDoWhatTheWordsSay) {
    Walk walk;
    for (unsigned i = 0; i < kSteps; ++i) {
        walk.step();
        walk.expect_no_page_lost();
        walk.expect_equal(walk.some_machine(), walk.pick(kPages));
        if (i % 64 == 0) {
            walk.expect_holdings();
            for (MachineId const id : {kAlpha, kBeta, kGamma})
                for (std::uint64_t p = 0; p < kPages; ++p) walk.expect_equal(id, p);
            walk.m.expect_sound();
        }
        ASSERT_FALSE(::testing::Test::HasFailure()) << "step " << i;
    }
    RecordProperty("steps", static_cast<int>(kSteps));
    Ownership::Counters const& counters = walk.m.ownership.counters();
    EXPECT_GT(counters.donated_pages, kSteps / 40);
    EXPECT_GT(counters.lent_pages, kSteps / 40);
    EXPECT_GT(counters.shared_pages, kSteps / 40);
    EXPECT_GT(counters.expired_borrowers, kSteps / 1000);
}

}  // namespace
}  // namespace backplane
