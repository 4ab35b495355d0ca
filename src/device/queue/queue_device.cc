#include "device/queue/queue_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace backplane {

using namespace queue;

namespace {

// Neither number is registered; a driver goes by the pair and the magic number in BAR 0.
constexpr PciIdentity kIdentity{
    .vendor = 0xBAC0,
    .device = 0x0001,
    .class_code = 0x088000,  // base system peripheral, other
    .revision = 1,
    .subsystem_vendor = 0xBAC0,
    .subsystem = 0x0001,
    .interrupt_pin = 1,
};

std::uint32_t directory_pages(std::uint32_t peer_count) {
    return static_cast<std::uint32_t>((peer_count * kDirectoryBytes + kPageBytes - 1) / kPageBytes);
}

}  // namespace

std::uint64_t QueueDevice::own_frames(std::uint32_t peer_count) { return kRingPages + directory_pages(peer_count); }

QueueDevice::QueueDevice(QueueDeviceSettings const& settings, FramePool& pool, MachineClock& clock, FrameNumber frames)
    : PciWindowParts{"queue registers", settings.page_count, 1},
      PciFunction{
          settings.name, kIdentity,
          [this] {
              std::array<PciBar, 6> bars{};
              bars[0] = {.kind = PciBar::Kind::memory32, .bytes = kRegisterBytes, .bank = &registers_};
              bars[2] = {.kind = PciBar::Kind::memory64,
                         .bytes = window_.page_count() * kPageBytes,
                         .prefetchable = true,
                         .window = &window_};
              bars[4] = {.kind = PciBar::Kind::memory32, .bytes = message_table_.bank_bytes(), .bank = &message_table_};
              return bars;
          }()},
      settings_{settings},
      pool_{pool},
      clock_{clock},
      frames_{frames} {
    add_msix(message_table_, 4);
    registers_.owner = this;
    window_.pages().map(GuestPage{0}, frames_, kRingPages, OwnerState::owner_exclusive, Access::read_write).run();
    FrameNumber const directory{frames_.value() + kRingPages};
    window_.pages()
        .map(GuestPage{kDirectoryPage}, directory, directory_pages(settings_.peer_count), OwnerState::owner_exclusive,
             Access::read)
        .run();
}

Expected<std::unique_ptr<QueueDevice>, Error> QueueDevice::create(QueueDeviceSettings const& settings, FramePool& pool,
                                                                  MachineClock& clock) {
    FrameNumber const frames = BACKPLANE_TRY(pool.allocate(own_frames(settings.peer_count)));
    return std::unique_ptr<QueueDevice>{new QueueDevice{settings, pool, clock, frames}};
}

std::uint32_t QueueDevice::read_register(std::uint64_t offset) {
    if (offset >= kShortDataRegister && offset < kShortDataRegister + kInlineMessageBytes)
        return state_.short_data[(offset - kShortDataRegister) / 4];
    switch (offset) {
        case kIdRegister:
            return kMagic;
        case kVersionRegister:
            return kVersion;
        case kSelfRegister:
            return self_.value();
        case kPeerCountRegister:
            return settings_.peer_count;
        case kPageCountRegister:
            return static_cast<std::uint32_t>(settings_.page_count);
        case kFirstPageRegister:
            return kFirstMessagePage;
        case kTransferRegister:
            return settings_.transfer;
        case kControlRegister:
            return state_.status & kStatusEnabled;
        case kStatusRegister:
            return state_.status;
        case kCauseRegister:
            return state_.cause;
        case kMaskRegister:
            return state_.mask;
        case kShortStatusRegister:
            return state_.short_status;
        case kShortCookieRegister:
            return state_.short_cookie;
        default:
            return 0;
    }
}

void QueueDevice::write_register(std::uint64_t offset, std::uint32_t value) {
    if (offset >= kShortDataRegister && offset < kShortDataRegister + kInlineMessageBytes) {
        state_.short_data[(offset - kShortDataRegister) / 4] = value;
        return;
    }
    switch (offset) {
        case kControlRegister:
            return control(value);
        case kCauseRegister:
            state_.cause &= ~value;
            return raise(0);
        case kMaskRegister:
            state_.mask = value & kCauses;
            return raise(0);
        case kDoorbellRegister:
            if (is_enabled() && observer_ != nullptr) observer_->submitted(*this, SendForm::immediate);
            return;
        case kShortSendRegister:
            return send_registers(value);
        case kShortCookieRegister:
            state_.short_cookie = value;
            return;
        default:
            return;
    }
}

void QueueDevice::control(std::uint32_t value) {
    bool const enable = (value & kControlEnable) != 0;
    if ((value & kControlReset) != 0 || (!enable && state_.status != 0))
        start_over();
    else if (enable && state_.status == 0)
        state_.status = kStatusEnabled;
}

void QueueDevice::start_over() {
    state_ = State{};
    std::ranges::fill(pages(0, kRingPages), std::byte{0});
    set_interrupt(false);
    if (observer_ == nullptr) return;
    state_.status = kStatusResetting;
    observer_->port_reset(*this);
}

void QueueDevice::reset() {
    start_over();
    reset_config();
}

/// A message without anything placed in memory: the receiver in bits 15:0, the number of bytes in bits 31:16.
void QueueDevice::send_registers(std::uint32_t value) {
    if (!is_enabled() || observer_ == nullptr) return;
    QueueSubmission submission{.operation = static_cast<std::uint16_t>(QueueOperation::send),
                               .flags = kFlagInline,
                               .receiver = MachineId{static_cast<std::uint16_t>(value)},
                               .bytes = value >> 16,
                               .cookie = state_.short_cookie,
                               .form = SendForm::registers,
                               .sent = clock_.now()};
    std::memcpy(submission.operand.data(), state_.short_data.data(), kInlineMessageBytes);
    state_.short_status = static_cast<std::uint32_t>(observer_->submitted_registers(*this, submission));
}

// A message is sent for each new cause; the pin follows what is not masked.
void QueueDevice::raise(std::uint32_t cause) {
    std::uint32_t const fresh = cause & ~state_.cause;
    state_.cause |= cause;
    if ((fresh & state_.mask) != 0) (void)send_message(0);
    set_interrupt((state_.cause & state_.mask) != 0);
}

// --- the control structure --------------------------------------------------------------------------------------

ByteSpan QueueDevice::pages(std::uint32_t first, std::uint32_t count) const {
    return {pool_.host(FrameNumber{frames_.value() + first}), count * kPageBytes};
}
ByteSpan QueueDevice::page(std::uint32_t number) const { return pages(number, 1); }

std::uint32_t QueueDevice::index(std::size_t offset) const { return load<std::uint32_t>(page(kControlPage), offset); }
void QueueDevice::set_index(std::size_t offset, std::uint32_t value) { store(page(kControlPage), offset, value); }

void QueueDevice::notice_exit() {
    if (!is_enabled() || observer_ == nullptr || index(kSubmitProducer) == state_.submit_consumer) return;
    observer_->submitted(*this, SendForm::natural);
}

std::optional<QueueSubmission> QueueDevice::take_submission(SendForm form) {
    if (!is_enabled()) return std::nullopt;
    std::uint32_t const waiting = index(kSubmitProducer) - state_.submit_consumer;
    if (waiting == 0) return std::nullopt;
    std::uint32_t const unread = state_.complete_producer - index(kCompleteConsumer);
    if (waiting > kSubmitEntries || unread > kCompleteEntries) return break_rings(), std::nullopt;
    if (unread + state_.incomplete >= kCompleteEntries) return std::nullopt;

    std::size_t const at = state_.submit_consumer % kSubmitEntries * kSubmitBytes;
    std::array<std::byte, kSubmitBytes> entry;
    std::memcpy(entry.data(), pages(kSubmitPage, kSubmitPages).data() + at, entry.size());
    set_index(kSubmitConsumer, ++state_.submit_consumer);
    ++state_.incomplete;
    QueueSubmission submission{.operation = load<std::uint16_t>(entry, 0),
                               .flags = load<std::uint16_t>(entry, 2),
                               .receiver = MachineId{load<std::uint16_t>(entry, 4)},
                               .page_count = load<std::uint16_t>(entry, 6),
                               .bytes = load<std::uint32_t>(entry, 8),
                               .cookie = load<std::uint32_t>(entry, 12),
                               .form = form,
                               .sent = clock_.now()};
    std::memcpy(submission.operand.data(), entry.data() + 16, kInlineMessageBytes);
    return submission;
}

void QueueDevice::complete(QueueSubmission const& submission, QueueStatus status, std::uint64_t handle) {
    if (state_.incomplete == 0) return;  // of before a reset
    --state_.incomplete;
    ByteSpan const ring = page(kCompletePage);
    std::size_t const at = state_.complete_producer % kCompleteEntries * kCompleteBytes;
    store(ring, at, submission.cookie);
    store(ring, at + 4, static_cast<std::uint16_t>(status));
    store(ring, at + 6, submission.operation);
    store(ring, at + 8, handle);
    set_index(kCompleteProducer, ++state_.complete_producer);
    raise(kCauseCompleted);
}

bool QueueDevice::has_receive_room() const {
    return is_enabled() && state_.receive_producer - index(kReceiveConsumer) < kReceiveEntries;
}

void QueueDevice::receive(QueueArrival const& arrival) {
    std::array<std::byte, kReceiveBytes> entry{};
    ByteSpan const bytes{entry};
    store(bytes, 0, arrival.sequence);
    store(bytes, 8, arrival.sent.ns());
    store(bytes, 16, arrival.handle);
    store(bytes, 24, arrival.sender.value());
    store(bytes, 26, arrival.receiver.value());
    store(bytes, 28, arrival.kind);
    store(bytes, 30, static_cast<std::uint16_t>(arrival.pages.size()));
    store(bytes, 32, arrival.bytes);
    store(bytes, 36, arrival.cookie);
    std::memcpy(entry.data() + kArrivalData, arrival.data.data(), arrival.data.size());
    for (std::size_t i = 0; i < arrival.pages.size(); ++i)
        store(bytes, kArrivalPages + 4 * i, static_cast<std::uint32_t>(arrival.pages[i].value()));
    std::size_t const at = state_.receive_producer % kReceiveEntries * kReceiveBytes;
    std::memcpy(pages(kReceivePage, kReceivePages).data() + at, entry.data(), entry.size());
    set_index(kReceiveProducer, ++state_.receive_producer);
    raise(kCauseReceived);
}

PageMap* QueueDevice::ram(GuestPage first, std::uint64_t count) {
    return memory().is_ram(first, count) ? &memory().map() : nullptr;
}

void QueueDevice::set_directory(MachineId self, std::span<QueuePeer const> peers) {
    self_ = self;
    ByteSpan const directory = pages(kRingPages, directory_pages(settings_.peer_count));
    std::size_t const count = std::min<std::size_t>(peers.size(), settings_.peer_count);
    for (std::size_t i = 0; i < count; ++i) {
        ByteSpan const entry = directory.subspan(i * kDirectoryBytes, kDirectoryBytes);
        store(entry, 0, static_cast<std::uint16_t>(i));
        store(entry, 2, peers[i].allowed);
        std::size_t const length = std::min<std::size_t>(peers[i].name.size(), kDirectoryNameBytes - 1);
        std::memcpy(entry.data() + kDirectoryName, peers[i].name.data(), length);
    }
}

}  // namespace backplane
