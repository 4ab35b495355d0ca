#include "crossover/message_exchange.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include "device/queue/layout.h"

namespace backplane {

using queue::kFlagExchange;
using queue::kFlagInline;
using queue::kFlagWhole;
using queue::kFlagWritable;

namespace {

/// What a sender may have on its way, whatever its quotas: also those whose operands were in registers.
constexpr std::uint32_t kMostInTransit = 512;
/// What a message without pages counts for in the quota of bytes.
constexpr std::uint64_t kInlineQuotaBytes = 64;

QueueStatus status_of(OwnershipStatus status) {
    switch (status) {
        case OwnershipStatus::ok:
            return QueueStatus::ok;
        case OwnershipStatus::invalid:
            return QueueStatus::invalid;
        case OwnershipStatus::denied:
            return QueueStatus::denied;
        case OwnershipStatus::busy:
            return QueueStatus::busy;
        case OwnershipStatus::no_memory:
            return QueueStatus::no_memory;
        case OwnershipStatus::not_found:
            return QueueStatus::not_found;
    }
    return QueueStatus::invalid;
}

QueueOperation operation_of(QueueSubmission const& submission) {
    bool const is_known = submission.operation <= static_cast<std::uint16_t>(QueueOperation::swap);
    return is_known ? static_cast<QueueOperation>(submission.operation) : QueueOperation::none;
}

bool is_inline(QueueSubmission const& submission) { return (submission.flags & kFlagInline) != 0; }

TransferHandle handle_of(QueueSubmission const& submission) {
    return TransferHandle{load<std::uint64_t>(submission.operand)};
}

std::uint16_t needed_permission(QueueSubmission const& submission) {
    if (is_inline(submission)) return QueuePeer::kMayInline;
    switch (operation_of(submission)) {
        case QueueOperation::lend:
            return QueuePeer::kMayLend;
        case QueueOperation::share:
            return QueuePeer::kMayShare;
        default:
            return QueuePeer::kMayDonate;
    }
}

Remainder remainder_of(QueueSubmission const& submission, TransferMode mode) {
    if (operation_of(submission) == QueueOperation::send && mode == TransferMode::cow) return Remainder::copy_on_write;
    if (operation_of(submission) == QueueOperation::send && mode == TransferMode::copy) return Remainder::copy;
    return (submission.flags & kFlagExchange) != 0 ? Remainder::exchange : Remainder::hole;
}

TransferKind kind_of(QueueArrival::Kind kind) {
    if (kind == QueueArrival::Kind::lent) return TransferKind::lend;
    return kind == QueueArrival::Kind::shared ? TransferKind::share : TransferKind::donate;
}

/// What of its pages the receiver may see: the message, or all that the sender left in them.
std::uint64_t visible_bytes(QueueSubmission const& submission) {
    bool const is_whole = (submission.flags & kFlagWhole) != 0 && submission.bytes <= submission.page_count * kPageBytes;
    return is_whole ? submission.page_count * kPageBytes : submission.bytes;
}

QueueArrival::Kind arrival_kind(QueueSubmission const& submission, TransferMode mode) {
    if (is_inline(submission)) return QueueArrival::Kind::in_line;
    switch (operation_of(submission)) {
        case QueueOperation::lend:
            return QueueArrival::Kind::lent;
        case QueueOperation::share:
            return QueueArrival::Kind::shared;
        case QueueOperation::send:
            return mode == TransferMode::shared ? QueueArrival::Kind::shared : QueueArrival::Kind::donated;
        default:
            return QueueArrival::Kind::donated;
    }
}

}  // namespace

std::string_view transfer_mode_text(TransferMode mode) {
    switch (mode) {
        case TransferMode::remap:
            return "remap";
        case TransferMode::cow:
            return "cow";
        case TransferMode::shared:
            return "shared";
        case TransferMode::copy:
            return "copy";
    }
    return "";
}

std::uint64_t MessageExchange::frames_needed(std::uint64_t window_pages, QueueQuotas const& quotas) {
    return window_pages - queue::kFirstMessagePage + quotas.flight_pages;
}

MessageExchange::MessageExchange(MessageExchangeOptions const& options, FramePool& pool)
    : options_{options}, stock_{pool}, ownership_{stock_} {}

MessageExchange::~MessageExchange() {
    for (auto const& port : ports_) port->device->set_observer(nullptr);
}

Expected<MachineId, Error> MessageExchange::attach(QueuePort& device, std::string name,
                                                   std::optional<QueueQuotas> const& given) {
    PageWindow& window = device.window();
    QueueQuotas const quotas = given.value_or(options_.quotas);
    std::uint64_t const frames = frames_needed(window.page_count(), quotas);
    BACKPLANE_TRY_VOID(stock_.grow(frames));
    MachineId const id = ownership_.join({.pages = &window.pages(),
                                          .first = device.first_message_page(),
                                          .page_count = window.page_count() - device.first_message_page().value(),
                                          .quota = {.pages = frames,
                                                    .lent_pages = quotas.lent_pages,
                                                    .borrowed_pages = quotas.borrowed_pages,
                                                    .handles = quotas.handles,
                                                    .pages_per_call = queue::kMessagePages}});
    ports_.push_back(std::make_unique<Port>(Port{.device = &device, .id = id, .name = name}));
    Port& port = *ports_.back();
    port.report.machine = std::move(name);
    port.is_posted.resize(window.page_count());
    fill(port);
    device.set_observer(this);
    return id;
}

/// Every message page is the machine's own, and zero.
void MessageExchange::fill(Port& port) {
    OwnershipParty const& party = ownership_.party(port.id);
    std::vector<GuestPage> pages;
    for (std::uint64_t i = 0; i < party.page_count; ++i) {
        pages.push_back(GuestPage{party.first.value() + i});
        if (pages.size() < queue::kMessagePages && i + 1 != party.page_count) continue;
        OwnershipStatus const status = ownership_.populate(port.id, pages);
        check(status == OwnershipStatus::ok, "the stock covers every machine's quota");
        pages.clear();
    }
}

void MessageExchange::allow(MachineId from, MachineId to, std::uint16_t calls, std::optional<std::uint64_t> queued_bytes) {
    auto& allowed = port(from).allowed;
    if (allowed.size() <= to.value()) allowed.resize(to.value() + std::size_t{1});
    allowed[to.value()] |= calls;
    if (queued_bytes) port(from).most_queued_bytes[to.value()] = *queued_bytes;
}

std::uint64_t MessageExchange::most_queued(Port const& port, std::size_t to) const {
    auto const own = port.most_queued_bytes.find(to);
    return own == port.most_queued_bytes.end() ? options_.queued_bytes : own->second;
}

void MessageExchange::publish() {
    for (auto const& from : ports_) {
        from->allowed.resize(ports_.size());
        from->sequences.resize(ports_.size());
        from->queued_bytes.resize(ports_.size());
        std::vector<QueuePeer> peers;
        for (auto const& to : ports_) peers.push_back({to->name, from->allowed[to->id.value()]});
        from->device->set_directory(from->id, peers);
    }
}

MessageExchange::Port& MessageExchange::port_of(QueuePort& device) {
    auto const found = std::find_if(ports_.begin(), ports_.end(), [&](auto const& p) { return p->device == &device; });
    check(found != ports_.end(), "a port that calls was attached");
    return **found;
}

// --- what a machine submits, while it runs ----------------------------------------------------------------------

void MessageExchange::submitted(QueuePort& device, SendForm form) {
    std::lock_guard const lock{ownership_.mutex()};
    take_submissions(device, form);
}

void MessageExchange::take_submissions(QueuePort& device, SendForm form) {
    Port& port = port_of(device);
    while (auto const submission = device.take_submission(form)) handle(port, *submission);
}

void MessageExchange::complete(Port& port, QueueSubmission const& submission, QueueStatus status,
                               std::uint64_t handle) {
    if (submission.form != SendForm::registers) port.device->complete(submission, status, handle);
}

void MessageExchange::handle(Port& port, QueueSubmission const& submission) {
    ++(submission.form == SendForm::natural ? port.report.natural : port.report.immediate);
    QueueStatus status = QueueStatus::invalid;
    switch (operation_of(submission)) {
        case QueueOperation::send:
        case QueueOperation::donate:
        case QueueOperation::lend:
        case QueueOperation::share:
            status = send(port, submission);
            if (status == QueueStatus::ok) return;  // its completion comes with its landing
            break;
        case QueueOperation::post:
            status = post(port, submission);
            break;
        case QueueOperation::populate:
            status = status_of(ownership_.populate(port.id, pages_of(submission)));
            break;
        case QueueOperation::release:
            status = status_of(ownership_.release(port.id, pages_of(submission)));
            break;
        case QueueOperation::relinquish:
            // Others see this, so it waits for the barrier.
            port.relinquished.emplace_back(submission, handle_of(submission));
            return;
        case QueueOperation::reclaim:
            status = returns_.contains(handle_of(submission).value())
                         ? QueueStatus::denied
                         : status_of(ownership_.reclaim(port.id, handle_of(submission)));
            break;
        case QueueOperation::swap:
            status = swap(port, submission);
            break;
        case QueueOperation::none:
            status = submission.operation == 0 ? QueueStatus::ok : QueueStatus::invalid;
            break;
    }
    complete(port, submission, status);
}

QueueStatus MessageExchange::submitted_registers(QueuePort& device, QueueSubmission const& submission) {
    std::lock_guard const lock{ownership_.mutex()};
    Port& port = port_of(device);
    ++port.report.registers;
    return send(port, submission);
}

/// The pages that an entry names; empty when it contradicts itself. Pages outside of the window are found out later.
std::vector<GuestPage> MessageExchange::pages_of(QueueSubmission const& submission) const {
    std::vector<GuestPage> pages;
    if (submission.page_count == 0 || submission.page_count > queue::kMessagePages) return pages;
    for (std::uint32_t i = 0; i < queue::kRangesPerEntry && pages.size() < submission.page_count; ++i) {
        auto const first = load<std::uint32_t>(submission.operand, 8 * std::size_t{i});
        auto const count = load<std::uint32_t>(submission.operand, 8 * std::size_t{i} + 4);
        if (count > submission.page_count - pages.size()) return {};
        for (std::uint32_t p = 0; p < count; ++p) pages.push_back(GuestPage{std::uint64_t{first} + p});
    }
    if (pages.size() != submission.page_count) pages.clear();
    return pages;
}

QueueStatus MessageExchange::check_send(Port const& port, QueueSubmission const& submission) const {
    if ((submission.flags & ~queue::kFlags) != 0) return QueueStatus::invalid;
    if (is_inline(submission) &&
        (submission.bytes > kInlineMessageBytes || operation_of(submission) != QueueOperation::send))
        return QueueStatus::invalid;
    if (submission.receiver.value() >= ports_.size()) return QueueStatus::not_found;
    if (submission.receiver == port.id) return QueueStatus::invalid;
    if ((port.allowed[submission.receiver.value()] & needed_permission(submission)) == 0) return QueueStatus::denied;
    return QueueStatus::ok;
}

/// Takes the pages from the sender. The message waits for the barrier.
QueueStatus MessageExchange::send(Port& port, QueueSubmission const& submission) {
    QueueStatus status = check_send(port, submission);
    QueuedMessage message{
        .submission = submission,
        .sender = port.id,
        .kind = arrival_kind(submission, options_.transfer),
        .quota_bytes = is_inline(submission) ? kInlineQuotaBytes : submission.page_count * kPageBytes};
    std::size_t const to = submission.receiver.value();
    if (status == QueueStatus::ok &&
        (port.in_transit >= kMostInTransit || port.queued_bytes[to] + message.quota_bytes > most_queued(port, to)))
        status = QueueStatus::busy;
    if (status == QueueStatus::ok && !is_inline(submission)) status = make_offer(port, message);
    if (status == QueueStatus::denied) ++port.report.denied;
    if (status == QueueStatus::busy) ++port.report.busy, port.wants_space = true;
    if (status != QueueStatus::ok) return status;
    ++port.in_transit;
    port.queued_bytes[to] += message.quota_bytes;
    message.sequence = ++port.sequences[to];
    port.outgoing.push_back(std::move(message));
    return QueueStatus::ok;
}

QueueStatus MessageExchange::make_offer(Port& port, QueuedMessage& message) {
    QueueSubmission const& submission = message.submission;
    TransferOffer const offer{.sender = port.id,
                              .kind = kind_of(message.kind),
                              .remainder = remainder_of(submission, options_.transfer),
                              .access = (submission.flags & kFlagWritable) != 0 ? Access::read_write : Access::read,
                              .message_bytes = visible_bytes(submission),
                              .deadline_ns = (submission.sent + options_.wait + options_.deadline).ns()};
    message.comes_back = operation_of(submission) == QueueOperation::send && message.kind == QueueArrival::Kind::shared;
    auto const handle = ownership_.offer(offer, pages_of(submission), {&submission.receiver, 1});
    if (!handle) return status_of(handle.error());
    message.handle = *handle;
    return QueueStatus::ok;
}

QueueStatus MessageExchange::post(Port& port, QueueSubmission const& submission) {
    std::vector<GuestPage> const pages = pages_of(submission);
    OwnershipParty const& party = ownership_.party(port.id);
    auto const is_good = [&](GuestPage page) {
        return page >= party.first && page.value() - party.first.value() < party.page_count &&
               !port.is_posted[page.value()];
    };
    if (pages.empty() || !std::all_of(pages.begin(), pages.end(), is_good)) return QueueStatus::invalid;
    for (std::size_t i = 0; i < pages.size(); ++i) {
        if (!port.is_posted[pages[i].value()]) {
            port.is_posted[pages[i].value()] = true;
            port.posted.push_back(pages[i]);
        }
    }
    return QueueStatus::ok;
}

/// Pages of the window change their frames with RAM of the same machine: so RAM is donated, and received into, without
/// a copy, and never has a hole.
QueueStatus MessageExchange::swap(Port& port, QueueSubmission const& submission) {
    GuestPage const ram{load<std::uint64_t>(submission.operand, queue::kSwapRamOffset)};
    std::vector<GuestPage> const pages = pages_of(submission);
    if (pages.empty()) return QueueStatus::invalid;
    PageMap* const map = port.device->ram(ram, pages.size());
    if (map == nullptr) return QueueStatus::denied;
    return status_of(ownership_.swap(port.id, pages, *map, ram));
}

void MessageExchange::port_reset(QueuePort& device) {
    std::lock_guard const lock{ownership_.mutex()};
    port_of(device).is_resetting = true;
}

// --- at a barrier -----------------------------------------------------------------------------------------------

void MessageExchange::deliver(Ticks barrier) {
    begin_barrier(barrier);
    relinquish_all();
    ownership_.expire(barrier.ns());
    bring_back_shares();
    has_work_ = false;
    next_deadline_ = Ticks{ownership_.next_deadline_ns()};
    enqueue(barrier);
    for (auto const& receiver : ports_) dequeue(*receiver, barrier);
}

void MessageExchange::begin_barrier(Ticks barrier) {
    now_ = barrier;
    for (auto const& port : ports_) {
        take_submissions(*port->device, SendForm::natural);
        if (!port->is_resetting) continue;
        port->is_resetting = false;
        forget(*port);
        fill(*port);
        port->device->reset_done();
    }
}

void MessageExchange::relinquish_all() {
    for (auto const& port : ports_) {
        for (auto const& [submission, handle] : port->relinquished)
            complete(*port, submission, status_of(ownership_.relinquish(port->id, handle)));
        port->relinquished.clear();
    }
}

/// Mode `shared`: the receiver is done with the pages, so the sender has them back without asking.
void MessageExchange::bring_back_shares() {
    for (auto next = returns_.begin(); next != returns_.end();) {
        auto const place = next++;
        TransferHandle const handle{place->first};
        if (ownership_.holder_count(handle) != 0) continue;
        auto const [sender, submission, is_silent] = place->second;
        returns_.erase(place);
        (void)ownership_.reclaim(sender, handle);  // not found when the sender is gone
        if (!is_silent) complete(port(sender), submission, QueueStatus::ok);
    }
}

/// From the senders to the queues of the receivers, in the order of the delivery rule.
void MessageExchange::enqueue(Ticks barrier) {
    std::vector<bool> stuck(ports_.size());
    for (;;) {
        Port* earliest = nullptr;
        for (auto const& port : ports_) {
            if (port->outgoing.empty() || stuck[port->id.value()]) continue;
            if (earliest == nullptr ||
                port->outgoing.front().submission.sent < earliest->outgoing.front().submission.sent)
                earliest = port.get();
        }
        if (earliest == nullptr) break;
        Port& receiver = port(earliest->outgoing.front().submission.receiver);
        if (!receiver.queue.has_room()) {
            stuck[earliest->id.value()] = has_work_ = true;
            continue;
        }
        QueuedMessage message = std::move(earliest->outgoing.front());
        earliest->outgoing.pop_front();
        message.expires = barrier + options_.wait;
        receiver.queue.put(std::move(message));
    }
}

/// From the queue of a receiver into its control structure and its address space (claim S1.7). A message that has to
/// wait keeps back the later ones of the same sender, and no other's.
void MessageExchange::dequeue(Port& receiver, Ticks barrier) {
    std::set<MachineId> waiting;
    auto& messages = receiver.queue.messages();
    for (auto next = messages.begin(); next != messages.end();) {
        auto const place = next++;
        bool const is_late = barrier >= place->expires;
        if (!receiver.has_left && !waiting.contains(place->sender) && land(receiver, *place)) {
            messages.erase(place);
        } else if (receiver.has_left || is_late) {
            give_back(receiver, *place, receiver.has_left ? QueueStatus::gone : QueueStatus::expired);
            messages.erase(place);
        } else {
            waiting.insert(place->sender);
            next_deadline_ = std::min(next_deadline_, place->expires);
        }
    }
}

/// \return false when it has to wait
bool MessageExchange::land(Port& receiver, QueuedMessage const& message) {
    if (!receiver.device->has_receive_room()) return false;
    QueueSubmission const& submission = message.submission;
    QueueArrival arrival{.sequence = message.sequence,
                         .sent = submission.sent,
                         .sender = message.sender,
                         .receiver = receiver.id,
                         .kind = message.kind,
                         .bytes = submission.bytes,
                         .cookie = submission.cookie};
    if (message.kind == QueueArrival::Kind::in_line) {
        std::copy_n(submission.operand.begin(), submission.bytes, arrival.data.begin());
    } else {
        if (!take_posted(receiver, submission.page_count, arrival.pages)) return false;
        Access const access = (submission.flags & kFlagWritable) != 0 ? Access::read_write : Access::read;
        if (ownership_.retrieve(receiver.id, message.handle, kind_of(message.kind), access, arrival.pages) !=
            OwnershipStatus::ok)
            return false;
        for (GuestPage const page : arrival.pages) {
            receiver.posted.pop_front();
            receiver.is_posted[page.value()] = false;
        }
        if (message.kind != QueueArrival::Kind::donated) arrival.handle = message.handle.value();
    }
    receiver.device->receive(arrival);
    if (recorder_ != nullptr) recorder_->record(arrival, now_);
    ++receiver.report.received_messages;
    receiver.report.received_bytes += submission.bytes;
    Port& sender = port(message.sender);
    ++sender.report.sent_messages;
    sender.report.sent_bytes += submission.bytes;
    settle(message, QueueStatus::ok);
    return true;
}

/// The pages that the receiver posted first. What it has since given to others is no longer posted.
bool MessageExchange::take_posted(Port& receiver, std::size_t count, std::vector<GuestPage>& pages) {
    while (pages.size() < count && pages.size() < receiver.posted.size()) {
        auto const place = receiver.posted.begin() + static_cast<std::ptrdiff_t>(pages.size());
        if (ownership_.can_receive_at(receiver.id, *place)) {
            pages.push_back(*place);
        } else {
            receiver.is_posted[place->value()] = false;
            receiver.posted.erase(place);
        }
    }
    return pages.size() == count;
}

/// The message is where it stays: its sender's quotas are free again, and it is told.
void MessageExchange::settle(QueuedMessage const& message, QueueStatus status) {
    Port& sender = port(message.sender);
    --sender.in_transit;
    sender.queued_bytes[message.submission.receiver.value()] -= message.quota_bytes;
    if (std::exchange(sender.wants_space, false)) sender.device->space_available();
    if (message.comes_back && status == QueueStatus::ok) {
        returns_.emplace(message.handle.value(), Return{message.sender, message.submission, message.is_silent});
        return;
    }
    bool const names_handle = status == QueueStatus::ok &&
                              (message.kind == QueueArrival::Kind::lent || message.kind == QueueArrival::Kind::shared);
    if (!message.is_silent) complete(sender, message.submission, status, names_handle ? message.handle.value() : 0);
}

void MessageExchange::give_back(Port& receiver, QueuedMessage const& message, QueueStatus status) {
    if (message.kind != QueueArrival::Kind::in_line) {
        (void)ownership_.refuse(receiver.id, message.handle);
        if (message.kind != QueueArrival::Kind::donated) (void)ownership_.reclaim(message.sender, message.handle);
    }
    ++port(message.sender).report.expired;
    settle(message, status);
}

// --- the end of a machine, or a new start -----------------------------------------------------------------------

void MessageExchange::make_silent(MachineId sender) {
    for (auto const& other : ports_) {
        for (QueuedMessage& message : other->queue.messages())
            if (message.sender == sender) message.is_silent = true;
        for (QueuedMessage& message : other->outgoing)
            if (message.sender == sender) message.is_silent = true;
    }
    for (auto& [handle, waiting] : returns_)
        if (waiting.sender == sender) waiting.is_silent = true;
}

void MessageExchange::forget(Port& gone) {
    make_silent(gone.id);
    for (QueuedMessage const& message : gone.queue.messages()) give_back(gone, message, QueueStatus::gone);
    gone.queue.messages().clear();
    gone.posted.clear();
    std::fill(gone.is_posted.begin(), gone.is_posted.end(), false);
    gone.relinquished.clear();
    gone.wants_space = false;
    ownership_.leave(gone.id);
}

void MessageExchange::machine_left(MachineId machine) {
    Port& gone = port(machine);
    if (std::exchange(gone.has_left, true)) return;
    take_submissions(*gone.device, SendForm::natural);  // its last words
    forget(gone);
}

}  // namespace backplane
