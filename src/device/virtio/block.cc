#include "device/virtio/block.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace backplane::virtio {

namespace {

using namespace block_feature;

// Types of requests, [VIRTIO] 5.2.6.
constexpr std::uint32_t kIn = 0;
constexpr std::uint32_t kOut = 1;
constexpr std::uint32_t kFlushRequest = 4;
constexpr std::uint32_t kGetId = 8;
constexpr std::uint32_t kDiscardRequest = 11;
constexpr std::uint32_t kWriteZeroesRequest = 13;

// struct virtio_blk_config, [VIRTIO] 5.2.4.
struct Config {
    std::uint64_t capacity;
    std::uint32_t size_max;
    std::uint32_t segment_max;
    std::uint32_t geometry;
    std::uint32_t block_bytes;
    std::uint8_t physical_block_exponent;
    std::uint8_t alignment_offset;
    std::uint16_t least_io_blocks;
    std::uint32_t best_io_blocks;
    std::uint8_t writeback;
    std::uint8_t unused;
    std::uint16_t queue_count;
    std::uint32_t discard_sectors;
    std::uint32_t discard_segments;
    std::uint32_t discard_alignment;
    std::uint32_t zeroes_sectors;
    std::uint32_t zeroes_segments;
    std::uint32_t zeroes_may_unmap;
};
static_assert(offsetof(Config, zeroes_may_unmap) + 4 == Block::kConfigBytes);

// struct virtio_blk_discard_write_zeroes, [VIRTIO] 5.2.6.
struct ClearRange {
    std::uint64_t sector;
    std::uint32_t sector_count;
    std::uint32_t flags;
};
static_assert(sizeof(ClearRange) == 16);
constexpr std::uint32_t kMayUnmap = 1;

/// `bytes` of the pieces, after `skipped` of them; there are as many.
std::vector<Piece> part_of(std::span<Piece const> pieces, std::uint64_t skipped, std::uint64_t bytes) {
    std::vector<Piece> part;
    for (Piece piece : pieces) {
        auto const before = static_cast<std::uint32_t>(std::min<std::uint64_t>(skipped, piece.bytes));
        skipped -= before;
        piece.start = piece.start + before;
        piece.bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, piece.bytes - before));
        bytes -= piece.bytes;
        if (piece.bytes != 0) part.push_back(piece);
    }
    return part;
}

// Copies an object that may lie in any number of pieces. [VIRTIO] 2.7.4: a device assumes no framing
template <typename T>
bool read_pieces(GuestMemory const& memory, std::span<Piece const> pieces, std::uint64_t skipped, T& object) {
    std::size_t done = 0;
    ByteSpan const into{reinterpret_cast<std::byte*>(&object), sizeof object};
    for (Piece const& piece : part_of(pieces, skipped, sizeof object)) {
        if (!memory.read(piece.start, into.subspan(done, piece.bytes))) return false;
        done += piece.bytes;
    }
    return done == sizeof object;
}

}  // namespace

Block::Block(BlockPort& port, std::string_view id, MachineClock& clock, Wiring& wiring)
    : Device{wiring, 1, kQueueSize}, port_{port}, timer_{clock, [this] { finish_request(); }}, clock_{clock} {
    std::memcpy(id_.data(), id.data(), std::min(id.size(), id_.size()));
}

std::uint64_t Block::device_features() const {
    std::uint64_t const writing = port_.is_read_only() ? kReadOnly : kDiscard | kWriteZeroes;
    return writing | kSizeMax | kSegmentMax | kBlockSize | kFlush | kTopology;
}

void Block::was_reset() { timer_.disarm(); }

void Block::started() { notify(0); }

void Block::notified(std::uint16_t /*queue*/) {
    GuestMemory* const memory = wiring().dma();
    if (memory != nullptr && !timer_.is_armed()) begin_next(*memory);
}

// The chain stays in the queue until it is served, so that a driver that takes bus mastering away can give it back.
void Block::begin_next(GuestMemory& memory) {
    Queue& ring = queue(0);
    ring.look(memory);
    if (!ring.is_running() || ring.waiting() == 0 || !ring.peek(memory, 0, chain_)) return check_queue(0);
    std::uint64_t const bytes = std::min(chain_.readable_bytes + chain_.writable_bytes, kLongestRequestBytes);
    timer_.arm(clock_.now() + Ticks{kRequestTimeNs + bytes / kBytesPerNs});
}

void Block::finish_request() {
    GuestMemory* const memory = wiring().dma();
    if (memory == nullptr || !is_started()) return;
    Queue& ring = queue(0);
    ring.take(1);
    ring.push_used(*memory, chain_.head, serve(*memory));
    publish(0, *memory);
    if (is_started()) begin_next(*memory);
}

std::uint32_t Block::serve(GuestMemory& memory) {
    std::uint64_t written = 0;
    Answer const answer = execute(memory, written);
    if (answer != Answer::ok) ++counters_.failures;
    // The answer is the last byte that the device may write; a chain without one cannot be answered.
    if (chain_.writable_bytes == 0) {
        ++errors_.bad_packets;
        return 0;
    }
    Piece const place = part_of(chain_.writable, chain_.writable_bytes - 1, 1).front();
    if (!memory.write_object(place.start, answer)) {
        ++errors_.bad_buffers;
        return static_cast<std::uint32_t>(written);
    }
    // What counts as written are the bytes from the start of the buffer on without a gap. [VIRTIO] 2.7.8.2
    return static_cast<std::uint32_t>(written + 1 == chain_.writable_bytes ? written + 1 : written);
}

Block::Answer Block::execute(GuestMemory& memory, std::uint64_t& written) {
    Request request{};
    bool const is_whole = chain_.readable_bytes >= sizeof request && chain_.writable_bytes != 0;
    bool const is_short = chain_.readable_bytes + chain_.writable_bytes <= kLongestRequestBytes + sizeof request + 1;
    if (!is_whole || !is_short || !read_pieces(memory, chain_.readable, 0, request)) {
        ++errors_.bad_packets;
        return Answer::failed;
    }
    bool const has_sector = request.type == kIn || request.type == kOut;
    std::uint64_t const bytes = request.type == kIn ? chain_.writable_bytes - 1 : chain_.readable_bytes - sizeof request;
    if (has_sector && !is_on_disk(request.sector, bytes)) return Answer::failed;
    switch (request.type) {
        case kIn:
            return read(memory, request.sector * kSectorBytes, written);
        case kOut:
            return write(memory, request.sector * kSectorBytes);
        case kFlushRequest:
            return flush();
        case kGetId:
            return tell_id(memory, written);
        case kDiscardRequest:
            return clear(memory, true);
        case kWriteZeroesRequest:
            return clear(memory, false);
        default:
            return Answer::unsupported;
    }
}

bool Block::is_on_disk(std::uint64_t sector, std::uint64_t bytes) const {
    std::uint64_t const sectors = port_.bytes() / kSectorBytes;
    return bytes % kSectorBytes == 0 && sector <= sectors && bytes / kSectorBytes <= sectors - sector;
}

Block::Answer Block::read(GuestMemory& memory, std::uint64_t offset, std::uint64_t& written) {
    for (Piece const& piece : part_of(chain_.writable, 0, chain_.writable_bytes - 1)) {
        for (std::uint32_t done = 0; done < piece.bytes;) {
            GuestPhys const at = piece.start + done;
            ByteSpan const into = memory.writable(at, piece.bytes - done);
            if (into.empty()) ++errors_.bad_buffers;
            if (into.empty() || !port_.read(offset, into)) return Answer::failed;
            memory.wrote(at, into.size());
            offset += into.size();
            written += into.size();
            done += static_cast<std::uint32_t>(into.size());
        }
    }
    ++counters_.reads;
    counters_.read_bytes += written;
    return Answer::ok;
}

Block::Answer Block::write(GuestMemory& memory, std::uint64_t offset) {
    if (port_.is_read_only()) return Answer::failed;
    std::uint64_t const bytes = chain_.readable_bytes - sizeof(Request);
    for (Piece const& piece : part_of(chain_.readable, sizeof(Request), bytes)) {
        for (std::uint32_t done = 0; done < piece.bytes;) {
            ConstByteSpan const from = memory.readable(piece.start + done, piece.bytes - done);
            if (from.empty()) ++errors_.bad_buffers;
            if (from.empty() || !port_.write(offset, from)) return Answer::failed;
            offset += from.size();
            done += static_cast<std::uint32_t>(from.size());
        }
    }
    ++counters_.writes;
    counters_.written_bytes += bytes;
    return Answer::ok;
}

// Discarded sectors read as zeroes: what a driver may find there is the same in every run.
Block::Answer Block::clear(GuestMemory& memory, bool is_discard) {
    ClearRange range{};
    if (!has(is_discard ? kDiscard : kWriteZeroes)) return Answer::unsupported;
    if (chain_.readable_bytes != sizeof(Request) + sizeof range) return Answer::unsupported;
    if (!read_pieces(memory, chain_.readable, sizeof(Request), range)) return Answer::failed;
    if ((range.flags & ~(is_discard ? 0 : kMayUnmap)) != 0) return Answer::unsupported;
    std::uint64_t const bytes = range.sector_count * kSectorBytes;
    if (bytes > kLongestRequestBytes || !is_on_disk(range.sector, bytes)) return Answer::failed;
    return port_.write_zeroes(range.sector * kSectorBytes, bytes) ? Answer::ok : Answer::failed;
}

Block::Answer Block::flush() {
    ++counters_.flushes;
    return port_.flush() ? Answer::ok : Answer::failed;
}

Block::Answer Block::tell_id(GuestMemory& memory, std::uint64_t& written) {
    ConstByteSpan left{id_};
    for (Piece const& piece : part_of(chain_.writable, 0, std::min<std::uint64_t>(kIdBytes, chain_.writable_bytes - 1))) {
        if (!memory.write(piece.start, left.first(piece.bytes))) return Answer::failed;
        left = left.subspan(piece.bytes);
        written += piece.bytes;
    }
    return Answer::ok;
}

std::uint64_t Block::read_config(std::uint64_t offset, Width width) {
    constexpr std::uint32_t kMostSectors = kLongestRequestBytes / kSectorBytes;
    Config const config{.capacity = port_.bytes() / kSectorBytes,
                        .size_max = kLongestPieceBytes,
                        .segment_max = kMostPieces,
                        .geometry = 0,
                        .block_bytes = kSectorBytes,
                        .physical_block_exponent = 3,  // 4 KiB: the pages of the host's cache
                        .alignment_offset = 0,
                        .least_io_blocks = 8,
                        .best_io_blocks = 0,
                        .writeback = 1,
                        .unused = 0,
                        .queue_count = 1,
                        .discard_sectors = kMostSectors,
                        .discard_segments = 1,
                        .discard_alignment = 8,
                        .zeroes_sectors = kMostSectors,
                        .zeroes_segments = 1,
                        .zeroes_may_unmap = 1};
    if (offset + bytes_in(width) > kConfigBytes) {
        ++errors_.bad_accesses;
        return 0;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_of(config).data() + offset, bytes_in(width));
    return value;
}

// The cache mode (CONFIG_WCE) is not offered, and nothing else can be written.
void Block::write_config(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t /*value*/) { ++errors_.bad_accesses; }

}  // namespace backplane::virtio
