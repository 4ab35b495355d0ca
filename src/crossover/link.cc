#include "crossover/link.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace backplane {

Link::Link(LinkOptions options) : options_{std::move(options)} { report_.name = options_.name; }

Link::~Link() {
    for (Port const& port : ports_) port.device->set_observer(nullptr);
}

namespace {

/// In the delivery order, what is no machine comes after all machines.
constexpr MachineId kNoMachine{0xFFFF};

}  // namespace

PortIndex Link::attach(MachineId machine, FramePort& port, std::string name, PortOptions options) {
    PortIndex const index = detector_.add(port.mac());
    detector_.set_default_mapping(index, std::move(options.device));
    bool const may_delay = options.impairment.latency > options_.longest_hold || options.impairment.reorder != 0;
    ports_.push_back({.device = &port,
                      .machine = machine,
                      .index = index,
                      .group = group_number(options.group),
                      .impairer = Impairer{options.impairment, options.seed, options_.longest_hold}});
    report_.ports.push_back({.machine = machine, .name = std::move(name)});
    if (may_delay) add_delay_line(index);
    for_each_sender([this](Port& each) {
        each.missing.reserve(ports_.size());
        each.landings.reserve(ports_.size());
    });
    port.set_observer(this);
    port.allow_unfinished_frames();
    port.set_carrier(carrier_ == Carrier::up);
    port_changed();
    return index;
}

PortIndex Link::attach_service(FramePort& port, std::string name) {
    return attach_outside(detector_.add_service(port.mac()), port, std::move(name));
}

PortIndex Link::attach_uplink(FramePort& port, std::string name) {
    return attach_outside(detector_.add_uplink(), port, std::move(name));
}

PortIndex Link::attach_outside(PortIndex index, FramePort& port, std::string name) {
    ports_.push_back({.device = &port, .machine = kNoMachine, .index = index, .impairer = Impairer{{}, 0, Ticks{}}});
    report_.ports.push_back({.machine = kNoMachine, .name = std::move(name)});
    for_each_sender([this](Port& each) {
        each.missing.reserve(ports_.size());
        each.landings.reserve(ports_.size());
    });
    port.set_observer(this);
    port.allow_unfinished_frames();
    port.set_carrier(carrier_ == Carrier::up);
    port_changed();
    return index;
}

void Link::add_delay_line(PortIndex index) {
    delay_lines_.push_back(std::make_unique<DelayLine>(options_.most_stored_bytes));
    DelayLine& line = *delay_lines_.back();
    port(index).delay_line = &line;
    delayed_.push_back({.device = &line,
                        .machine = port(index).machine,
                        .index = index,
                        .source = Source::delay_line,
                        .group = port(index).group,
                        .impairer = Impairer{{}, 0, Ticks{}}});
}

std::uint32_t Link::group_number(std::string const& name) {
    if (name.empty()) return 0;
    auto const found = std::ranges::find(groups_, name);
    auto const number = static_cast<std::uint32_t>(found - groups_.begin()) + 1;
    if (found == groups_.end()) groups_.push_back(name);
    return number;
}

void Link::couple(PortIndex one, PortIndex other) {
    if (!detector_.couple(one, other)) return;
    map_to(one, {Destination::Kind::one, other});
    map_to(other, {Destination::Kind::one, one});
}

void Link::compare_default_mappings() {
    for (Port const& each : ports_) {
        if (detector_.default_mapping(each.index).empty() || detector_.partner(each.index)) continue;
        if (auto const uplink = detector_.uplink()) map_to(each.index, {Destination::Kind::outside, *uplink});
        if (auto const peer = detector_.only_other_on_device(each.index)) {
            map_to(each.index, {Destination::Kind::one, *peer});
        }
    }
}

/// A delay line has a mapping of its own, which lasts as its port's does.
void Link::map_to(PortIndex index, Destination to) {
    port(index).mapping.map_lasting(to);
    for (Port& each : delayed_) {
        if (each.index == index) each.mapping.map_lasting(to);
    }
}

void Link::set_carrier(Carrier carrier) {
    if (carrier == Carrier::down && carrier_ == Carrier::up) {
        ++report_.cuts;
        for (Port& each : delayed_) {
            each.missing.clear();  // counted as cut, not as withdrawn
            if (each.mapping.holds_head()) withdraw(each);
            report_.drops.cut += port(each.index).delay_line->clear();
        }
    }
    carrier_ = carrier;
    for (Port const& port : ports_) port.device->set_carrier(carrier == Carrier::up);
    port_changed();
}

void Link::port_changed() {
    // Looking first keeps the line shared among the machines' threads while a busy link is already marked.
    if (!changed_.load(std::memory_order_relaxed)) changed_.store(true, std::memory_order_relaxed);
}

void Link::deliver(Ticks barrier) {
    if (!has_work() && barrier < next_deadline_) return;
    begin_barrier(barrier);
    while (Port* const sender = earliest()) serve(*sender, barrier);
    end_barrier(barrier);
}

void Link::begin_barrier(Ticks barrier) {
    changed_.store(false, std::memory_order_relaxed);
    change_carrier(barrier);
    for (Port& each : ports_) {
        each.full = false;
        detector_.set_current(each.index, each.device->mac());
    }
    for_each_sender([&](Port& each) {
        each.budget = kCopiesPerBarrier;
        complete(each, barrier);
    });
    ready_.clear();
    for_each_sender([&](Port& each) {
        look_at_head(each, barrier);
        if (each.ready) ready_.push_back(&each);
    });
}

void Link::end_barrier(Ticks barrier) {
    looked_at_ = {};
    next_deadline_ = Ticks::never();
    for_each_sender([&](Port const& each) {
        next_deadline_ = std::min(next_deadline_, each.next_visit);
        if (!each.unread.empty()) next_deadline_ = std::min(next_deadline_, each.unread.front().deadline);
    });
    // What was stored in this barrier was not there when its delay line was looked at.
    if (carrier_ == Carrier::up) {
        for (auto const& line : delay_lines_) next_deadline_ = std::min(next_deadline_, line->next_arrival());
    }
    has_leftover_ = next_deadline_ <= barrier;
    if (next_carrier_change_ < options_.carrier_changes.size()) {
        next_deadline_ = std::min(next_deadline_, options_.carrier_changes[next_carrier_change_].time);
    }
}

void Link::change_carrier(Ticks barrier) {
    auto const& changes = options_.carrier_changes;
    while (next_carrier_change_ < changes.size() && changes[next_carrier_change_].time <= barrier) {
        set_carrier(changes[next_carrier_change_++].carrier);
    }
}

/// Decides whether the head of the port's ring can be served in this barrier, and if not, when to look again.
void Link::look_at_head(Port& sender, Ticks barrier) {
    sender.ready = false;
    sender.next_visit = Ticks::never();
    if (carrier_ == Carrier::down) return;
    Frame const* const frame = sender.device->front();
    looked_at_ = {&sender, frame};
    if (sender.mapping.holds_head() && (frame == nullptr || !sender.mapping.is_head(*frame))) withdraw(sender);
    if (frame == nullptr) return;
    if (!sender.unread.empty() && sender.unread.size() + ports_.size() > kMostUnread) return;  // its deadline calls
    sender.sent = sender.impairer.is_none() ? frame->sent : plan_of(sender, *frame).leaves;
    sender.next_visit = std::max(sender.sent, barrier);
    sender.ready = sender.sent <= barrier && sender.budget != 0;
}

/// Made once for each frame; a reset of the sender that puts another frame there makes a new one.
FramePlan const& Link::plan_of(Port& sender, Frame const& frame) {
    bool const is_known = sender.planned && sender.planned->sent == frame.sent && sender.planned->bytes == frame.bytes;
    if (!is_known) sender.planned = {frame.sent, frame.bytes, sender.impairer.plan(frame)};
    return sender.planned->plan;
}

/// The port whose head is next in the delivery order, or null. The position in the ring needs no comparison. A port
/// that is not ready does not become so before the next barrier.
Link::Port* Link::earliest() {
    std::erase_if(ready_, [](Port const* each) { return !each->ready; });
    auto const key = [](Port const* port) { return std::tuple{port->sent, port->machine, port->index, port->source}; };
    auto const first = std::ranges::min_element(ready_, {}, key);
    return first == ready_.end() ? nullptr : *first;
}

void Link::serve(Port& sender, Ticks barrier) {
    // What was looked at last is still as it was: no device has been called since.
    auto const [latest, head] = std::exchange(looked_at_, {});
    Frame const* const frame = latest == &sender ? head : sender.device->front();
    if (frame == nullptr) return look_at_head(sender, barrier);
    if (sender.mapping.holds_head()) {
        sender.mapping.resume(*frame);
    } else if (!begin(sender, *frame, barrier)) {
        return wait_for_room(sender);
    }
    std::uint32_t const frame_bytes = frame->bytes;
    sender.budget -= std::min(sender.budget, std::max<std::uint32_t>(1, sender.missing.size()));
    copy_to_missing(sender, *frame);
    give_up(sender, barrier);
    if (!sender.missing.empty()) return hold(sender);
    if (std::exchange(sender.repeats, false)) return land_again(sender, barrier);
    finish(sender, frame_bytes, barrier);
    look_at_head(sender, barrier);
}

/// Finds out whom a frame is for and what becomes of it. One that is for nobody is mapped to nobody: it only leaves
/// its ring. \return false when it has to stay there, because the store is full
bool Link::begin(Port& sender, Frame const& frame, Ticks barrier) {
    FrameRecord const record = examine(sender, frame);
    if (record.fate == FrameFate::delayed && !sender.delay_line->has_room(frame.bytes)) return false;
    if (sender.source == Source::ring)
        for (FrameRecorder* recorder : recorders_) recorder->record(record);
    switch (record.fate) {
        case FrameFate::sent:
            open(sender, frame, record.to, barrier);
            break;
        case FrameFate::delayed:
            store(sender, frame, barrier);
            break;
        default:
            drop(record.fate);
    }
    return true;
}

FrameRecord Link::examine(Port& sender, Frame const& frame) {
    auto const address = destination_of(frame);
    Destination const to = address ? detector_.find(*address, sender.index) : Destination{};
    return {sender.index, to, fate_of(sender, frame, to), frame};
}

FrameFate Link::fate_of(Port& sender, Frame const& frame, Destination to) {
    if (is_spoofed(sender, frame)) return FrameFate::spoofed;
    if (to.kind == Destination::Kind::nobody) return FrameFate::nobody;
    if (to.kind != Destination::Kind::group && !may_reach(sender, port(to.port))) return FrameFate::isolated;
    if (sender.impairer.is_none()) return FrameFate::sent;
    FramePlan const& plan = plan_of(sender, frame);
    if (plan.is_lost) return FrameFate::lost;
    return plan.arrives > plan.leaves ? FrameFate::delayed : FrameFate::sent;
}

bool Link::is_spoofed(Port const& sender, Frame const& frame) const {
    if (options_.source_check == SourceCheck::off || !detector_.is_machine(sender.index)) return false;
    auto const source = source_of(frame);
    return !source || !detector_.is_given(sender.index, *source);
}

bool Link::may_reach(Port const& sender, Port const& receiver) const {
    return sender.group == 0 || receiver.group == 0 || sender.group == receiver.group;
}

void Link::drop(FrameFate fate) {
    switch (fate) {
        case FrameFate::lost:
            ++report_.drops.lost;
            break;
        case FrameFate::spoofed:
            ++report_.drops.spoofed;
            break;
        case FrameFate::isolated:
            ++report_.drops.isolated;
            break;
        case FrameFate::nobody:
        case FrameFate::sent:
        case FrameFate::delayed:
            ++report_.drops.no_destination;
            break;
    }
}

void Link::open(Port& sender, Frame const& frame, Destination to, Ticks barrier) {
    sender.expires = barrier + options_.wait;
    add_receivers(sender, to);
    sender.repeats = sender.planned && sender.planned->plan.is_doubled;
    count_detection(sender, to);
    sender.mapping.map_head(frame, to);
    note_remaps(sender);
}

void Link::add_receivers(Port& sender, Destination to) {
    if (to.kind != Destination::Kind::group) return sender.missing.push_back({to.port});
    for (Port const& each : ports_) {
        if (each.index != sender.index && may_reach(sender, each)) sender.missing.push_back({each.index});
    }
}

void Link::count_detection(Port const& sender, Destination to) {
    switch (to.kind) {
        case Destination::Kind::nobody:
            break;
        case Destination::Kind::group:
            ++report_.group_frames;
            break;
        case Destination::Kind::outside:
            ++report_.outside_frames;
            ++report_of(sender.index).frames_to_outside;
            break;
        case Destination::Kind::one:
            if (!detector_.is_machine(sender.index)) break;
            ++report_.crosstalk_hits;
            switch (detector_.detected_by(sender.index, to.port)) {
                case DetectedBy::destination:
                    ++report_.detected.destination;
                    break;
                case DetectedBy::default_mapping:
                    ++report_.detected.default_mapping;
                    break;
                case DetectedBy::configuration:
                    ++report_.detected.configuration;
                    break;
            }
            break;
    }
}

void Link::note_remaps(Port const& sender) {
    if (sender.source != Source::ring) return;
    PortReport& of_port = report_of(sender.index);
    report_.remaps_to_uplink += sender.mapping.remaps_to_uplink() - of_port.remaps_to_uplink;
    report_.remaps_to_peer += sender.mapping.remaps_to_peer() - of_port.remaps_to_peer;
    of_port.remaps_to_uplink = sender.mapping.remaps_to_uplink();
    of_port.remaps_to_peer = sender.mapping.remaps_to_peer();
}

/// Copies the frame, for once not into a guest.
void Link::store(Port& sender, Frame const& frame, Ticks barrier) {
    FramePlan const& plan = plan_of(sender, frame);
    int const times = plan.is_doubled ? 2 : 1;
    // A frame that waited for room may be due already; it must not overtake one that waits at the far end.
    Ticks const arrival = std::max(plan.arrives, barrier);
    for (int i = 0; i < times; ++i) sender.delay_line->push(frame, arrival);
    report_.doubled_frames += plan.is_doubled ? 1 : 0;
    ++report_.delayed_frames;
    report_.copies += times;
    report_.copied_bytes += std::uint64_t{frame.bytes} * times;
    std::uint64_t stored_bytes = 0;
    for (auto const& line : delay_lines_) stored_bytes += line->stored_bytes();
    report_.stored_bytes_peak = std::max(report_.stored_bytes_peak, stored_bytes);
}

/// Leaves the head in its ring until something has left the store.
void Link::wait_for_room(Port& sender) {
    sender.ready = false;
    sender.next_visit = sender.delay_line->next_arrival();
}

/// Tries every receiver that has not had the frame; keeps those without a buffer, in their order.
void Link::copy_to_missing(Port& sender, Frame const& frame) {
    std::size_t kept = 0;
    for (Missing& missing : sender.missing) {
        if (copy_to(sender, missing, frame) == ReceiveResult::no_buffer) sender.missing[kept++] = missing;
    }
    sender.missing.resize(kept);
}

ReceiveResult Link::copy_to(Port& sender, Missing& missing, Frame const& frame) {
    Port& to = port(missing.receiver);
    // No machine runs, so what was full stays full; and a small frame must not overtake a large one that waits.
    if (to.full) return ReceiveResult::no_buffer;
    ReceiveResult const result = land(sender, missing, frame);
    switch (result) {
        case ReceiveResult::no_buffer:
            to.full = true;
            break;
        case ReceiveResult::refused:
            ++report_.drops.refused;
            break;
        case ReceiveResult::landed:
            if (options_.completion == Completion::read && sender.source == Source::ring) {
                sender.landings.push_back({missing.receiver, to.device->landed_count()});
            }
            break;
    }
    return result;
}

/// As it is if the receiver takes it so, else finished: summed, and cut into what fits on a wire.
ReceiveResult Link::land(Port& sender, Missing& missing, Frame const& frame) {
    FramePort& device = *port(missing.receiver).device;
    if (!device.accepts().covers(frame.offload)) return land_segments(sender, missing, frame);
    ReceiveResult const result = device.receive(frame);
    if (result != ReceiveResult::landed) return result;
    if (frame.offload.needs_checksum) ++report_.unsummed_frames;
    if (frame.offload.segments != Offload::Segments::none) ++report_.whole_frames;
    count_landing(missing.receiver, frame);
    return result;
}

/// A receiver that runs out of buffers in the middle gets the rest later. One that refuses a segment gets none of the
/// rest; so a barrier's work is bounded by the buffers that are posted.
ReceiveResult Link::land_segments(Port& sender, Missing& missing, Frame const& frame) {
    FramePort& device = *port(missing.receiver).device;
    std::uint32_t const count = segmenter_.start(frame);
    if (count == 0) return ReceiveResult::refused;
    bool const is_cut = frame.offload.segments != Offload::Segments::none;
    for (; missing.segments_landed < count; ++missing.segments_landed) {
        Frame const& segment = segmenter_.segment(missing.segments_landed);
        ReceiveResult const result = device.receive(segment);
        if (result != ReceiveResult::landed) return result;
        if (is_cut) {
            if (missing.segments_landed == 0) ++report_.cut_frames;
            ++report_.cut_segments;
            sender.budget -= std::min<std::uint32_t>(sender.budget, 1);
        }
        count_landing(missing.receiver, segment);
    }
    return ReceiveResult::landed;
}

void Link::count_landing(PortIndex receiver, Frame const& landed) {
    port(receiver).stalled = false;
    ++report_of(receiver).frames_received;
    report_of(receiver).bytes_received += landed.bytes;
    if (!detector_.is_machine(receiver)) {
        ++report_.outside_deliveries;
        return;
    }
    ++report_.deliveries;
    ++report_.copies;
    report_.copied_bytes += landed.bytes;
}

/// Drops the frame for the receivers that had their time. A receiver that let one frame expire has no more time to
/// give until something lands there: otherwise a machine that died would hold up its peers' rings frame by frame.
void Link::give_up(Port& sender, Ticks barrier) {
    bool const expired = barrier >= sender.expires;
    std::erase_if(sender.missing, [&](Missing const& missing) {
        Port& receiver = port(missing.receiver);
        if (!expired && !receiver.stalled) return false;
        receiver.stalled = true;
        ++report_.drops.no_buffer;
        ++report_of(missing.receiver).frames_missed;
        return true;
    });
}

/// Leaves the head in its ring.
void Link::hold(Port& sender) {
    sender.mapping.rest();
    sender.ready = false;
    sender.next_visit = sender.expires;
    if (!std::exchange(sender.waited, true)) ++report_.waited_frames;
}

/// The head has landed everywhere and does so once more: its next visit finds the receivers missing again.
void Link::land_again(Port& sender, Ticks barrier) {
    ++report_.doubled_frames;
    add_receivers(sender, sender.mapping.peer());
    look_at_head(sender, barrier);
}

/// Takes the head off its ring and, when nothing is left to wait for, tells the sender.
void Link::finish(Port& sender, std::uint32_t frame_bytes, Ticks barrier) {
    sender.taken = sender.device->take_front();
    if (sender.mapping.holds_head()) sender.mapping.take_head(sender.taken);
    for (Landing const& landing : sender.landings) {
        sender.unread.push({sender.taken, landing, barrier + options_.read_wait});
    }
    sender.landings.clear();
    sender.waited = false;
    sender.planned.reset();
    complete(sender, barrier);
    if (sender.source == Source::delay_line) return;  // counted when it left its ring
    ++report_.frames;
    report_.bytes += frame_bytes;
    ++report_of(sender.index).frames_sent;
    report_of(sender.index).bytes_sent += frame_bytes;
}

void Link::withdraw(Port& sender) {
    report_.drops.withdrawn += sender.missing.size();
    sender.missing.clear();
    sender.landings.clear();
    sender.waited = false;
    sender.repeats = false;
    sender.planned.reset();
    sender.mapping.withdraw_head();
}

/// Tells the sender about the frames before the first one that is not read yet; in mode `landed` these are all.
void Link::complete(Port& sender, Ticks barrier) {
    while (!sender.unread.empty() && is_done(sender.unread.front(), barrier)) sender.unread.pop();
    std::uint64_t const number = sender.unread.empty() ? sender.taken : sender.unread.front().number - 1;
    if (number <= sender.completed) return;
    sender.completed = number;
    sender.device->complete_transmit(number);
    sender.mapping.complete(number);
}

bool Link::is_done(Unread const& unread, Ticks barrier) {
    if (port(unread.landing.receiver).device->read_count() >= unread.landing.landed) return true;
    if (barrier < unread.deadline) return false;
    ++report_.read_expired;
    return true;
}

}  // namespace backplane
