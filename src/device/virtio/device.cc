#include "device/virtio/device.h"

namespace backplane::virtio {

namespace {

// The common configuration structure, [VIRTIO] 4.1.4.3.
constexpr std::uint64_t kDeviceFeatureSelect = 0x00;
constexpr std::uint64_t kDeviceFeature = 0x04;
constexpr std::uint64_t kDriverFeatureSelect = 0x08;
constexpr std::uint64_t kDriverFeature = 0x0C;
constexpr std::uint64_t kConfigVector = 0x10;
constexpr std::uint64_t kQueueCount = 0x12;
constexpr std::uint64_t kDeviceStatus = 0x14;
constexpr std::uint64_t kConfigGeneration = 0x15;
constexpr std::uint64_t kQueueSelect = 0x16;
constexpr std::uint64_t kQueueSize = 0x18;
constexpr std::uint64_t kQueueVector = 0x1A;
constexpr std::uint64_t kQueueEnable = 0x1C;
constexpr std::uint64_t kQueueNotifyOffset = 0x1E;
constexpr std::uint64_t kQueueDescriptors = 0x20;
constexpr std::uint64_t kQueueDriver = 0x28;
constexpr std::uint64_t kQueueDevice = 0x30;

std::uint32_t half_of(std::uint64_t features, std::uint32_t select) {
    return select < 2 ? static_cast<std::uint32_t>(features >> (32 * select)) : 0;
}

// 64-bit registers may be accessed as two halves, and drivers do so. [VIRTIO] 4.1.3.1
std::uint64_t read_wide(GuestPhys value, bool is_high, Width width) {
    if (width == Width::qword && !is_high) return value.value();
    return value.value() >> (is_high ? 32 : 0) & 0xFFFFFFFF;
}
void write_wide(GuestPhys& into, bool is_high, Width width, std::uint64_t value) {
    if (width == Width::qword) {
        into = GuestPhys{value};
    } else if (is_high) {
        into = GuestPhys{(into.value() & 0xFFFFFFFF) | value << 32};
    } else {
        into = GuestPhys{(into.value() & ~std::uint64_t{0xFFFFFFFF}) | value};
    }
}

constexpr QueueSettings kNoQueue{};

}  // namespace

Device::Device(Wiring& wiring, std::uint16_t queue_count, std::uint16_t queue_size)
    : wiring_{wiring}, queues_(queue_count, Queue{queue_size}) {}

std::uint64_t Device::offered_features() const {
    return device_features() | kVersion1 | kIndirectDescriptors | kEventIndex;
}

Queue* Device::selected() { return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr; }

void Device::reset() {
    for (Queue& each : queues_) each.reset();
    device_feature_select_ = driver_feature_select_ = 0;
    driver_features_ = 0;
    config_vector_ = kNoVector;
    queue_select_ = 0;
    status_ = 0;
    wiring_.clear_interrupt();
    was_reset();
}

void Device::notify(std::uint16_t queue) {
    if (!is_started() || queue >= queues_.size() || !queues_[queue].is_running()) return;
    notified(queue);
    check_queue(queue);
}

bool Device::publish(std::uint16_t index, GuestMemory& memory) {
    Queue& each = queues_[index];
    bool const is_wanted = each.publish(memory);
    check_queue(index);
    if (!is_wanted) return false;
    wiring_.interrupt(Wiring::Reason::queue, each.settings().vector);
    return true;
}

void Device::check_queue(std::uint16_t index) {
    if (!queues_[index].is_broken() || (status_ & kNeedsReset) != 0) return;
    ++errors_.broken_queues;
    status_ |= kNeedsReset;
    configuration_changed();
}

void Device::configuration_changed() {
    ++generation_;
    if ((status_ & kDriverOk) != 0) wiring_.interrupt(Wiring::Reason::configuration, config_vector_);
}

std::uint64_t Device::read_common(std::uint64_t offset, Width width) {
    Queue* const each = selected();
    QueueSettings const& settings = each != nullptr ? each->settings() : kNoQueue;
    auto const at = [&](std::uint64_t reg, Width natural) { return offset == reg && width == natural; };
    if (at(kDeviceFeatureSelect, Width::dword)) return device_feature_select_;
    if (at(kDeviceFeature, Width::dword)) return half_of(offered_features(), device_feature_select_);
    // Drivers must use the natural width (4.1.3.1), but iPXE looks for VERSION_1 in the lower half of the upper word.
    if (at(kDeviceFeature, Width::word)) return half_of(offered_features(), device_feature_select_) & 0xffff;
    if (at(kDriverFeatureSelect, Width::dword)) return driver_feature_select_;
    if (at(kDriverFeature, Width::dword)) return half_of(driver_features_, driver_feature_select_);
    if (at(kConfigVector, Width::word)) return config_vector_;
    if (at(kQueueCount, Width::word)) return queues_.size();
    if (at(kDeviceStatus, Width::byte)) return status_;
    if (at(kConfigGeneration, Width::byte)) return generation_;
    if (at(kQueueSelect, Width::word)) return queue_select_;
    if (at(kQueueSize, Width::word)) return settings.size;  // 0: there is no such queue
    if (at(kQueueVector, Width::word)) return settings.vector;
    if (at(kQueueEnable, Width::word)) return settings.is_enabled ? 1 : 0;
    if (at(kQueueNotifyOffset, Width::word)) return each != nullptr ? queue_select_ : 0;
    if (offset >= kQueueDescriptors && offset + bytes_in(width) <= kCommonBytes && offset % 4 == 0 &&
        bytes_in(width) >= 4) {
        bool const is_high = offset % 8 != 0;
        if (offset < kQueueDriver) return read_wide(settings.descriptors, is_high, width);
        return read_wide(offset < kQueueDevice ? settings.driver_area : settings.device_area, is_high, width);
    }
    ++errors_.bad_accesses;
    return 0;
}

void Device::write_common(std::uint64_t offset, Width width, std::uint64_t value) {
    auto const at = [&](std::uint64_t reg, Width natural) { return offset == reg && width == natural; };
    auto const dword = static_cast<std::uint32_t>(value);
    if (at(kDeviceFeatureSelect, Width::dword)) {
        device_feature_select_ = dword;
    } else if (at(kDriverFeatureSelect, Width::dword)) {
        driver_feature_select_ = dword;
    } else if (at(kDriverFeature, Width::dword)) {
        write_driver_features(dword);
    } else if (at(kConfigVector, Width::word)) {
        config_vector_ = checked_vector(value);
    } else if (at(kDeviceStatus, Width::byte)) {
        write_status(static_cast<std::uint8_t>(value));
    } else if (at(kQueueSelect, Width::word)) {
        queue_select_ = static_cast<std::uint16_t>(value);
    } else if (!write_queue_register(offset, width, value) && !write_queue_address(offset, width, value)) {
        ++errors_.bad_accesses;
    }
}

// A vector that the device does not have reads back as "none". [VIRTIO] 4.1.5.1.2.1
std::uint16_t Device::checked_vector(std::uint64_t value) const {
    return value < vector_count() ? static_cast<std::uint16_t>(value) : kNoVector;
}

// Once FEATURES_OK is set the choice is made. [VIRTIO] 3.1.1
void Device::write_driver_features(std::uint32_t value) {
    if ((status_ & kFeaturesOk) != 0 || driver_feature_select_ > 1) return;
    unsigned const shift = 32 * driver_feature_select_;
    driver_features_ = (driver_features_ & ~(std::uint64_t{0xFFFFFFFF} << shift)) | std::uint64_t{value} << shift;
}

// FEATURES_OK stays off when the driver chose what was not offered; a legacy driver finds no device. [VIRTIO] 2.2.2
void Device::write_status(std::uint8_t status) {
    if (status == 0) return reset();
    bool const is_legal = (driver_features_ & ~offered_features()) == 0 && (driver_features_ & kVersion1) != 0 &&
                          is_good_choice(driver_features_);
    bool const was_chosen = (status_ & kFeaturesOk) != 0;
    if (!was_chosen && !is_legal) status &= static_cast<std::uint8_t>(~kFeaturesOk);
    bool const starts = (status & kDriverOk) != 0 && (status_ & kDriverOk) == 0;
    if ((status & kFeaturesOk) == 0) status &= static_cast<std::uint8_t>(~kDriverOk);
    status_ = static_cast<std::uint8_t>((status & ~kNeedsReset) | (status_ & kNeedsReset));
    if (starts && (status_ & kDriverOk) != 0) start();
}

void Device::start() {
    QueueFeatures const features{.indirect = (driver_features_ & kIndirectDescriptors) != 0,
                                 .event_index = (driver_features_ & kEventIndex) != 0};
    for (std::uint16_t i = 0; i < queues_.size(); ++i) {
        if (!queues_[i].settings().is_enabled) continue;
        queues_[i].start(features);
        check_queue(i);
    }
    started();
}

// A queue that runs keeps what it was given. [VIRTIO] 4.1.4.3.2: the driver must not change it.
bool Device::write_queue_register(std::uint64_t offset, Width width, std::uint64_t value) {
    if (offset < kQueueSize || offset >= kQueueNotifyOffset || offset % 2 != 0 || width != Width::word) return false;
    Queue* const each = selected();
    if (each == nullptr) return false;
    QueueSettings& settings = each->settings();
    if (offset == kQueueVector) {
        settings.vector = checked_vector(value);
    } else if (settings.is_enabled) {
        return offset == kQueueEnable;
    } else if (offset == kQueueSize) {
        settings.size = static_cast<std::uint16_t>(value);
    } else if (value == 1) {
        settings.is_enabled = true;
    }
    return true;
}

bool Device::write_queue_address(std::uint64_t offset, Width width, std::uint64_t value) {
    if (offset < kQueueDescriptors || offset + bytes_in(width) > kCommonBytes || offset % 4 != 0) return false;
    bool const is_high = offset % 8 != 0;
    if (bytes_in(width) < 4 || (width == Width::qword && is_high)) return false;
    Queue* const each = selected();
    if (each == nullptr || each->settings().is_enabled) return false;
    QueueSettings& settings = each->settings();
    if (offset < kQueueDriver) {
        write_wide(settings.descriptors, is_high, width, value);
    } else {
        write_wide(offset < kQueueDevice ? settings.driver_area : settings.device_area, is_high, width, value);
    }
    return true;
}

}  // namespace backplane::virtio
