#include "crossover/link.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace backplane {

Link::Link(LinkOptions options) : options_{std::move(options)} { report_.name = options_.name; }

Link::~Link() {
    for (Port const& port : ports_) port.device->set_observer(nullptr);
}

PortIndex Link::attach(MachineId machine, FramePort& port, std::string name) {
    PortIndex const index = detector_.add(port.mac());
    ports_.push_back({.device = &port, .machine = machine, .index = index});
    report_.ports.push_back({.machine = machine, .name = std::move(name)});
    for (Port& each : ports_) {
        each.missing.reserve(ports_.size());
        each.landings.reserve(ports_.size());
    }
    port.set_observer(this);
    port.allow_unfinished_frames();
    port.set_carrier(carrier_ == Carrier::up);
    port_changed();
    return index;
}

void Link::set_carrier(Carrier carrier) {
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
    for (Port& each : ports_) {
        each.budget = kCopiesPerBarrier;
        each.full = false;
        detector_.set_current(each.index, each.device->mac());
        complete(each, barrier);
    }
    for (Port& each : ports_) look_at_head(each, barrier);
}

void Link::end_barrier(Ticks barrier) {
    next_deadline_ = Ticks::never();
    for (Port const& each : ports_) {
        next_deadline_ = std::min(next_deadline_, each.next_visit);
        if (!each.unread.empty()) next_deadline_ = std::min(next_deadline_, each.unread.front().deadline);
    }
    has_leftover_ = next_deadline_ <= barrier;
}

/// Decides whether the head of the port's ring can be served in this barrier, and if not, when to look again.
void Link::look_at_head(Port& sender, Ticks barrier) {
    sender.ready = false;
    sender.next_visit = Ticks::never();
    if (carrier_ == Carrier::down) return;
    Frame const* const frame = sender.device->front();
    if (sender.mapping.holds_head() && (frame == nullptr || !sender.mapping.is_head(*frame))) withdraw(sender);
    if (frame == nullptr) return;
    if (!sender.unread.empty() && sender.unread.size() + ports_.size() > kMostUnread) return;  // its deadline calls
    sender.sent = frame->sent;
    sender.next_visit = std::max(frame->sent, barrier);
    sender.ready = frame->sent <= barrier && sender.budget != 0;
}

/// The port whose head is next in the delivery order, or null. The position in the ring needs no comparison.
Link::Port* Link::earliest() {
    Port* first = nullptr;
    auto const key = [](Port const& port) { return std::tuple{port.sent, port.machine, port.index}; };
    for (Port& each : ports_) {
        if (each.ready && (first == nullptr || key(each) < key(*first))) first = &each;
    }
    return first;
}

void Link::serve(Port& sender, Ticks barrier) {
    Frame const* const frame = sender.device->front();
    if (frame == nullptr) return look_at_head(sender, barrier);
    if (sender.mapping.holds_head()) {
        sender.mapping.resume(*frame);
    } else {
        open(sender, *frame, barrier);
    }
    std::uint32_t const frame_bytes = frame->bytes;
    sender.budget -= std::min(sender.budget, std::max<std::uint32_t>(1, sender.missing.size()));
    copy_to_missing(sender, *frame);
    give_up(sender, barrier);
    if (!sender.missing.empty()) return hold(sender);
    finish(sender, frame_bytes, barrier);
    look_at_head(sender, barrier);
}

/// Finds out whom a frame is for. One that is for nobody is mapped to nobody: it only leaves its ring.
void Link::open(Port& sender, Frame const& frame, Ticks barrier) {
    auto const address = destination_of(frame);
    Destination const to = address ? detector_.find(*address, sender.index) : Destination{};
    sender.expires = barrier + options_.wait;
    switch (to.kind) {
        case Destination::Kind::nobody:
            ++report_.drops.no_destination;
            return;
        case Destination::Kind::one:
            ++report_.crosstalk_hits;
            sender.missing.push_back({to.port});
            break;
        case Destination::Kind::group:
            ++report_.group_frames;
            for (Port const& each : ports_) {
                if (each.index != sender.index) sender.missing.push_back({each.index});
            }
            break;
    }
    sender.mapping.map_head(frame, to);
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
            if (options_.completion == Completion::read) {
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
    ++report_.deliveries;
    ++report_.copies;
    report_.copied_bytes += landed.bytes;
    ++report_of(receiver).frames_received;
    report_of(receiver).bytes_received += landed.bytes;
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

/// Takes the head off its ring and, when nothing is left to wait for, tells the sender.
void Link::finish(Port& sender, std::uint32_t frame_bytes, Ticks barrier) {
    sender.taken = sender.device->take_front();
    if (sender.mapping.holds_head()) sender.mapping.take_head(sender.taken);
    for (Landing const& landing : sender.landings) {
        sender.unread.push({sender.taken, landing, barrier + options_.read_wait});
    }
    sender.landings.clear();
    sender.waited = false;
    ++report_.frames;
    report_.bytes += frame_bytes;
    ++report_of(sender.index).frames_sent;
    report_of(sender.index).bytes_sent += frame_bytes;
    complete(sender, barrier);
}

void Link::withdraw(Port& sender) {
    report_.drops.withdrawn += sender.missing.size();
    sender.missing.clear();
    sender.landings.clear();
    sender.waited = false;
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
