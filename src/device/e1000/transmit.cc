// The ring: which descriptors are whose, what they say, and what is written back. The frame itself: gather.cc.
#include "device/e1000/transmit.h"

#include <algorithm>

namespace backplane::e1000 {

namespace {

constexpr std::uint32_t kDtypData = 1;
constexpr std::uint32_t kDtypContext = 0;

constexpr std::uint8_t byte_of(std::uint64_t value, unsigned index) {
    return static_cast<std::uint8_t>(value >> (8 * index));
}
constexpr std::uint16_t word_of(std::uint64_t value, unsigned index) {
    return static_cast<std::uint16_t>(value >> (16 * index));
}

// The field holds the last byte's offset; 0 stands for the end of the packet. [8254x] 3.3.6
constexpr std::uint32_t end_of(std::uint16_t last_byte) { return last_byte == 0 ? 0 : last_byte + 1U; }

}  // namespace

Transmit::Transmit(MachineClock& clock, State& state, Wiring& wiring, Interrupts& interrupts, GuestErrors& errors)
    : clock_{clock},
      state_{state},
      transmit_{state.transmit},
      wiring_{wiring},
      interrupts_{interrupts},
      errors_{errors} {}

void Transmit::reset() {
    std::uint64_t const taken = transmit_.taken_count;
    transmit_ = {};
    transmit_.taken_count = taken;
    is_gathered_ = false;
}

bool Transmit::is_running() const { return state_.has(kTctl, kTctlEn) && state_.has(kStatus, kStatusLu); }

bool Transmit::tail_written() {
    std::uint64_t const before = transmit_.tail;
    std::optional<Ring> const ring = ring_of(state_, kTdbal);
    if (!ring) ++errors_.bad_rings;
    set_outstanding(ring ? ring->filled() : 0);
    return transmit_.tail > before;
}

void Transmit::ring_written() {
    is_gathered_ = false;
    transmit_.packet.clear();
    transmit_.tail_moves.clear();
    transmit_.tail = transmit_.head;
    std::optional<Ring> const ring = ring_of(state_, kTdbal);
    set_outstanding(ring ? ring->filled() : 0);
}

// The hardware owns `descriptors` descriptors from now on. Taking descriptors back is legal.
void Transmit::set_outstanding(std::uint32_t descriptors) {
    is_gathered_ = false;
    std::uint64_t const tail = transmit_.head + descriptors;
    auto& moves = transmit_.tail_moves;
    if (tail > transmit_.tail) moves.push_back({tail, clock_.now()});
    while (!moves.empty() && moves.back().end > tail) {
        std::uint64_t const before = moves.size() > 1 ? moves[moves.size() - 2].end : transmit_.head;
        if (before >= tail) {
            moves.pop_back();
        } else {
            moves.back().end = tail;
        }
    }
    transmit_.tail = tail;
    if (transmit_.packet.descriptors > descriptors) transmit_.packet.clear();
}

Frame const* Transmit::front() {
    is_gathered_ = false;
    GuestMemory* const memory = wiring_.dma();
    if (memory == nullptr || !is_running() || transmit_.in_flight.size() >= kMaximumFramesInFlight) return nullptr;
    // Every turn moves the head over at least one descriptor, and the tail stands still: a ring's length at most.
    for (;;) {
        std::optional<Ring> const ring = ring_of(state_, kTdbal);
        if (!ring || !read_packet(*memory, *ring)) return nullptr;
        if (!transmit_.packet.is_bad && gather(*memory)) break;
        drop_packet(*memory);
    }
    is_gathered_ = true;
    return &frame_;
}

// Goes on reading descriptors where it stopped. \return whether there is a complete packet
bool Transmit::read_packet(GuestMemory& memory, Ring const& ring) {
    TransmitPacket& packet = transmit_.packet;
    while (packet.progress != TransmitPacket::Progress::complete) {
        if (transmit_.head + packet.descriptors >= transmit_.tail) break;
        read_descriptor(memory, ring.descriptor(packet.descriptors));
    }
    if (packet.progress == TransmitPacket::Progress::complete) return true;
    // Context descriptors that no data follows yet are done: a driver may wait for the head to reach the tail.
    if (packet.progress == TransmitPacket::Progress::no_data && packet.descriptors != 0) {
        std::vector<GuestPhys> reports;
        retire(reports);
        write_reports(memory, reports, Interrupts::Delay::none);
    }
    return false;
}

void Transmit::read_descriptor(GuestMemory& memory, GuestPhys at) {
    TransmitPacket& packet = transmit_.packet;
    ++packet.descriptors;
    TransmitDescriptor descriptor{};
    if (!memory.read_object(at, descriptor)) {  // the ring is not in RAM
        ++errors_.bad_rings;
        packet.is_bad = true;
        packet.progress = TransmitPacket::Progress::complete;
        return;
    }
    if ((descriptor.lower & kTxRs) != 0) packet.reports.push_back(at);
    bool const is_extended = (descriptor.lower & kTxDext) != 0;
    std::uint32_t const type = descriptor.lower >> 20 & 0xF;
    if (is_extended && type == kDtypContext) return load_context(descriptor);
    if (is_extended && type != kDtypData) packet.is_bad = true;
    if (packet.progress == TransmitPacket::Progress::no_data) begin_packet(descriptor);
    add_fragment(GuestPhys{descriptor.address}, descriptor.lower & (is_extended ? 0xFFFFFU : 0xFFFFU));
    if ((descriptor.lower & kTxRs) != 0 && (descriptor.lower & kTxIde) == 0) packet.delays_interrupt = false;
    if ((descriptor.lower & kTxEop) != 0) finish_packet(descriptor);
}

// [8254x] 3.3.6. Takes effect for the packets that start after it.
void Transmit::load_context(TransmitDescriptor const& descriptor) {
    TransmitContext context;
    context.ipcss = byte_of(descriptor.address, 0);
    context.ipcso = byte_of(descriptor.address, 1);
    context.ipcse = word_of(descriptor.address, 1);
    context.tucss = byte_of(descriptor.address, 4);
    context.tucso = byte_of(descriptor.address, 5);
    context.tucse = word_of(descriptor.address, 3);
    context.header_bytes = byte_of(descriptor.upper, 1);
    context.mss = word_of(descriptor.upper, 1);
    context.is_tcp = (descriptor.lower & kTxContextTcp) != 0;
    context.is_ipv4 = (descriptor.lower & kTxContextIp) != 0;
    transmit_.contexts[(descriptor.lower & kTxTse) != 0 ? 1 : 0] = context;
}

// The first data descriptor says how the whole packet is treated. [8254x] 3.3.7
void Transmit::begin_packet(TransmitDescriptor const& descriptor) {
    TransmitPacket& packet = transmit_.packet;
    packet.progress = TransmitPacket::Progress::gathering;
    packet.delays_interrupt = true;
    if ((descriptor.lower & kTxDext) == 0) return;
    packet.is_segmented = (descriptor.lower & kTxTse) != 0;
    packet.context = transmit_.contexts[packet.is_segmented ? 1 : 0];
    TransmitContext const& context = packet.context;
    std::uint8_t const options = byte_of(descriptor.upper, 1);  // POPTS: IXSM, TXSM
    if ((options & 1) != 0) packet.ip_checksum = {context.ipcss, end_of(context.ipcse), context.ipcso};
    if ((options & 2) != 0) packet.payload_checksum = {context.tucss, end_of(context.tucse), context.tucso};
}

void Transmit::add_fragment(GuestPhys start, std::uint32_t bytes) {
    TransmitPacket& packet = transmit_.packet;
    std::uint32_t const limit = packet.is_segmented ? kMaximumHeaderBytes + kMaximumPayloadBytes : kMaximumFrameBytes;
    if (packet.bytes + bytes > limit) packet.is_bad = true;
    if (packet.is_bad || bytes == 0) return;
    packet.bytes += bytes;
    packet.fragments.push_back({start, bytes});
}

// IFCS, VLE and, in a legacy descriptor, IC count in the last one. [8254x] 3.3.3.1
void Transmit::finish_packet(TransmitDescriptor const& last) {
    TransmitPacket& packet = transmit_.packet;
    packet.progress = TransmitPacket::Progress::complete;
    packet.inserts_fcs = (last.lower & kTxIfcs) != 0;
    packet.inserts_vlan = (last.lower & kTxVle) != 0 && state_.has(kCtrl, kCtrlVme);  // [8254x] 3.3.3.1
    packet.vlan_tag = word_of(last.upper, 1);
    packet.sent = time_of(transmit_.head + packet.descriptors);
    if ((last.lower & (kTxDext | kTxIc)) == kTxIc) {
        packet.payload_checksum = ChecksumInsertion{byte_of(last.upper, 1), 0, byte_of(last.lower, 2)};
    }
    if (packet.is_segmented && !is_valid_segmentation()) packet.is_bad = true;
}

// All fields that are edited in each segment's header must lie within it.
bool Transmit::is_valid_segmentation() const {
    TransmitContext const& context = transmit_.packet.context;
    std::uint32_t const header = context.header_bytes;
    constexpr std::uint32_t kIpBytes = 20;
    std::uint32_t const transport_bytes = context.is_tcp ? 20 : 8;
    return context.mss != 0 && header >= kEthernetHeaderBytes && header <= kMaximumHeaderBytes &&
           transmit_.packet.bytes >= header && context.mss + header + kFcsBytes <= kMaximumFrameBytes &&
           context.ipcss + kIpBytes <= header && context.tucss + transport_bytes <= header &&
           context.ipcso + 2U <= header && context.tucso + 2U <= header;
}

Ticks Transmit::time_of(std::uint64_t descriptor_end) const {
    for (TailMove const& move : transmit_.tail_moves) {
        if (move.end >= descriptor_end) return move.time;
    }
    return clock_.now();
}

std::uint64_t Transmit::take_front() {
    if (!is_gathered_ && front() == nullptr) return transmit_.taken_count;
    is_gathered_ = false;
    FrameInFlight frame;
    frame.number = ++transmit_.taken_count;
    frame.bytes = frame.last_bytes = frame_.bytes + kFcsBytes;
    frame.cast = cast_of(destination_of(frame_));
    TransmitPacket& packet = transmit_.packet;
    bool is_last = true;
    if (frame_.offload.segments != Offload::Segments::none) {
        note_segments(frame);
    } else if (packet.is_segmented) {
        advance_segment();
        is_last = packet.payload_taken == packet.bytes - packet.context.header_bytes;
        frame.is_last_segment = is_last;
    }
    frame.delays_interrupt = packet.delays_interrupt;
    if (is_last) retire(frame.reports);
    transmit_.in_flight.push_back(std::move(frame));
    return transmit_.taken_count;
}

// What a whole packet is on a wire, for the statistics.
void Transmit::note_segments(FrameInFlight& frame) const {
    std::uint32_t const header = frame_.offload.header_bytes;
    std::uint32_t const payload = frame_.bytes - header;
    std::uint32_t const each = frame_.offload.segment_bytes;
    frame.is_last_segment = true;
    frame.count = (payload + each - 1) / each;
    frame.bytes = header + each + kFcsBytes;
    frame.last_bytes = header + payload - (frame.count - 1) * each + kFcsBytes;
}

// The packet's payload starts with the next segment now.
void Transmit::advance_segment() {
    TransmitPacket& packet = transmit_.packet;
    std::uint32_t left = segment_payload();
    packet.payload_taken += left;
    ++packet.segments_taken;
    while (left != 0) {
        std::uint32_t const part = std::min(left, packet.fragments[packet.next_fragment].bytes - packet.next_offset);
        left -= part;
        packet.next_offset += part;
        if (packet.next_offset == packet.fragments[packet.next_fragment].bytes) {
            ++packet.next_fragment;
            packet.next_offset = 0;
        }
    }
}

// The head moves over the packet. \param reports  gets the descriptors whose status is still to be written
void Transmit::retire(std::vector<GuestPhys>& reports) {
    TransmitPacket& packet = transmit_.packet;
    std::optional<Ring> const ring = ring_of(state_, kTdbal);
    if (ring) state_.at(kTdh) = (ring->head + packet.descriptors) % ring->count;
    transmit_.head += packet.descriptors;
    auto& moves = transmit_.tail_moves;
    while (!moves.empty() && moves.front().end <= transmit_.head) moves.pop_front();
    reports.insert(reports.end(), packet.reports.begin(), packet.reports.end());
    packet.clear();
}

// A packet that cannot be sent is done, in its turn: after the frames that are still on their way.
void Transmit::drop_packet(GuestMemory& memory) {
    ++errors_.bad_packets;
    if (!transmit_.in_flight.empty()) return retire(transmit_.in_flight.back().reports);
    std::vector<GuestPhys> reports;
    retire(reports);
    write_reports(memory, reports, Interrupts::Delay::none);
}

void Transmit::complete(std::uint64_t number) {
    GuestMemory* const memory = wiring_.dma();
    auto& in_flight = transmit_.in_flight;
    bool was_any = false;
    while (!in_flight.empty() && in_flight.front().number <= number) {
        FrameInFlight const frame = std::move(in_flight.front());
        in_flight.pop_front();
        was_any = true;
        count_frame(frame);
        auto const delay = frame.delays_interrupt ? Interrupts::Delay::allowed : Interrupts::Delay::none;
        if (memory != nullptr) write_reports(*memory, frame.reports, delay);
    }
    if (was_any && in_flight.empty() && transmit_.head == transmit_.tail) interrupts_.raise(kCauseTxqe);
}

void Transmit::write_reports(GuestMemory& memory, std::vector<GuestPhys> const& reports, Interrupts::Delay delay) {
    if (reports.empty()) return;
    for (GuestPhys const at : reports) {
        if (!memory.write_object(at + kTxStatusOffset, kStatusDd)) ++errors_.bad_rings;
    }
    interrupts_.descriptors_written(delay);
}

void Transmit::count_frame(FrameInFlight const& frame) {
    for (std::uint32_t i = 1; i <= frame.count; ++i) {
        std::uint32_t const bytes = i == frame.count ? frame.last_bytes : frame.bytes;
        count(state_, kTpt);
        count(state_, kGptc);
        count_octets(state_, kTotl, bytes);
        count_octets(state_, kGotcl, bytes);
        count_size(state_, kPtc64, bytes);
        if (frame.cast == Cast::multicast) count(state_, kMptc);
        if (frame.cast == Cast::broadcast) count(state_, kBptc);
    }
    if (frame.is_last_segment) count(state_, kTsctc);
}

}  // namespace backplane::e1000
