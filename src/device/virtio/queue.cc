#include "device/virtio/queue.h"

#include <bit>

#include "base/check.h"

namespace backplane::virtio {

namespace {

// [VIRTIO] 2.7.5
struct Descriptor {
    std::uint64_t address;
    std::uint32_t bytes;
    std::uint16_t flags;
    std::uint16_t next;
};
static_assert(sizeof(Descriptor) == 16);
constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kWrite = 2;
constexpr std::uint16_t kIndirect = 4;

// The rings, [VIRTIO] 2.7.6 and 2.7.8: flags, index, elements, and behind them the other side's event index.
constexpr std::uint64_t kIndexOffset = 2;
constexpr std::uint64_t kElementsOffset = 4;
constexpr std::uint64_t kAvailableBytes = 2;
struct UsedElement {
    std::uint32_t head;
    std::uint32_t written_bytes;
};
constexpr std::uint64_t kUsedBytes = sizeof(UsedElement);
constexpr std::uint64_t kEventBytes = 2;
constexpr std::uint16_t kNoInterrupt = 1;

bool is_aligned(GuestPhys address, std::uint64_t to) { return address.value() % to == 0; }

// [VIRTIO] 2.7.10: whether the index has passed `event` on its way from `before` to `now`; all wrap at 16 bits.
bool has_passed(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
    return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

}  // namespace

void Chain::clear() {
    head = 0;
    readable.clear();
    writable.clear();
    readable_bytes = 0;
    writable_bytes = 0;
}

Queue::Queue(std::uint16_t maximum_size) : maximum_size_{maximum_size} {
    check(maximum_size <= kMaximumSize && std::has_single_bit(maximum_size), "a queue's size is a power of two");
    reset();
}

void Queue::reset() {
    settings_ = {};
    settings_.size = maximum_size_;
    is_running_ = false;
    is_broken_ = false;
}

// [VIRTIO] 2.7 says the alignments.
void Queue::start(QueueFeatures features) {
    features_ = features;
    seen_ = taken_ = 0;
    used_ = published_ = 0;
    std::uint64_t const size = settings_.size;
    descriptors_ = {settings_.descriptors, size * sizeof(Descriptor)};
    available_ = {settings_.driver_area, kElementsOffset + size * kAvailableBytes + kEventBytes};
    used_ring_ = {settings_.device_area, kElementsOffset + size * kUsedBytes + kEventBytes};
    is_running_ = true;
    is_broken_ = settings_.size > maximum_size_ || !std::has_single_bit(settings_.size) ||
                 !is_aligned(settings_.descriptors, 16) || !is_aligned(settings_.driver_area, 2) ||
                 !is_aligned(settings_.device_area, 4);
}

bool Queue::break_queue() {
    is_broken_ = true;
    return false;
}

// More chains than the ring has places cannot be outstanding: an index that jumps further is nonsense.
std::uint16_t Queue::look(GuestMemory& memory) {
    if (!is_running()) return 0;
    std::uint16_t index = 0;
    bool const is_read = available_.read(memory, kIndexOffset, index);
    if (!is_read || static_cast<std::uint16_t>(index - used_) > settings_.size ||
        static_cast<std::uint16_t>(index - used_) < static_cast<std::uint16_t>(seen_ - used_)) {
        is_broken_ = true;
        return 0;
    }
    auto const added = static_cast<std::uint16_t>(index - static_cast<std::uint16_t>(seen_));
    seen_ += added;
    if (features_.event_index &&
        !used_ring_.write(memory, kElementsOffset + settings_.size * kUsedBytes, index))
        is_broken_ = true;
    return added;
}

bool Queue::peek(GuestMemory const& memory, std::uint16_t ahead, Chain& chain) {
    check(ahead < waiting(), "a chain that look() has found");
    chain.clear();
    std::uint64_t const place = (taken_ + ahead) % settings_.size;
    if (is_broken_ || !available_.read(memory, kElementsOffset + place * kAvailableBytes, chain.head))
        return break_queue();
    return read_chain(memory, chain);
}

// Follows one chain, which may end in an indirect table ([VIRTIO] 2.7.5.3). A chain of more pieces than the queue has
// places is a loop or forbidden. Buffers for reading come first ([VIRTIO] 2.7.4.2).
bool Queue::read_chain(GuestMemory const& memory, Chain& chain) {
    bool is_indirect = false;
    GuestPhys table{};
    std::uint32_t count = settings_.size;
    for (std::uint32_t i = chain.head, read = 0;; ++read) {
        if (i >= count || read > settings_.size) return break_queue();
        Descriptor descriptor{};
        std::uint64_t const at = std::uint64_t{i} * sizeof descriptor;
        bool const is_read =
            is_indirect ? memory.read_object(table + at, descriptor) : descriptors_.read(memory, at, descriptor);
        if (!is_read) return break_queue();
        if ((descriptor.flags & kIndirect) != 0) {
            bool const is_legal = features_.indirect && !is_indirect && (descriptor.flags & kNext) == 0 &&
                                  descriptor.bytes % sizeof descriptor == 0 && descriptor.bytes != 0;
            if (!is_legal) return break_queue();
            is_indirect = true;
            table = GuestPhys{descriptor.address};
            count = descriptor.bytes / sizeof descriptor;
            i = 0;
            continue;
        }
        bool const is_writable = (descriptor.flags & kWrite) != 0;
        if (chain.readable.size() + chain.writable.size() >= settings_.size) return break_queue();
        if (!is_writable && !chain.writable.empty()) return break_queue();
        (is_writable ? chain.writable : chain.readable).push_back({GuestPhys{descriptor.address}, descriptor.bytes});
        (is_writable ? chain.writable_bytes : chain.readable_bytes) += descriptor.bytes;
        if ((descriptor.flags & kNext) == 0) return true;
        i = descriptor.next;
    }
}

void Queue::push_used(GuestMemory& memory, std::uint16_t head, std::uint32_t written_bytes) {
    if (!is_running()) return;
    check(head < settings_.size, "a head that peek() has found good");
    std::uint64_t const at = kElementsOffset + used_ % settings_.size * kUsedBytes;
    if (!used_ring_.write(memory, at, UsedElement{head, written_bytes})) is_broken_ = true;
    ++used_;
}

bool Queue::publish(GuestMemory& memory) {
    if (!is_running() || published_ == used_) return false;
    std::uint16_t const before = published_;
    published_ = used_;
    if (!used_ring_.write(memory, kIndexOffset, used_)) return break_queue();
    std::uint64_t const event = features_.event_index ? kElementsOffset + settings_.size * kAvailableBytes : 0;
    std::uint16_t value = 0;
    if (!available_.read(memory, event, value)) return break_queue();
    return features_.event_index ? has_passed(value, used_, before) : (value & kNoInterrupt) == 0;
}

}  // namespace backplane::virtio
