#include "interrupt/local_apic.h"

#include <algorithm>
#include <utility>

#include "interrupt/local_apic_registers.h"

namespace backplane {

using namespace local_apic;

namespace {

constexpr std::uint64_t kBootstrap = 1U << 8;
constexpr std::uint64_t kX2apic = 1U << 10;
constexpr std::uint64_t kEnabled = 1U << 11;
constexpr std::uint8_t kFirstLegalVector = 16;  // [SDM3A] 10.5.2
constexpr unsigned kLint0 = 3;                  // among the LVT entries

}  // namespace

LocalApic::LocalApic(MachineClock& clock, TimeStampCounter& counter, std::uint32_t apic_id, ApicFabric& fabric)
    : id_{apic_id}, fabric_{fabric}, timer_{clock, counter, [this] { deliver_local(state_.lvt[0]); }} {
    fabric_.add(*this);
    reset(ResetKind::power_on);
}

LocalApic::~LocalApic() { fabric_.remove(*this); }

// [SDM3A] 10.4.7.1: everything is 0 except that the LVT entries are masked, DFR is all ones and SVR is 0xFF.
void LocalApic::reset(ResetKind kind) {
    std::uint64_t const bootstrap = is_bootstrap() ? kBootstrap : 0;
    std::uint64_t const base = kind == ResetKind::init ? state_.base : kBase.value() | kEnabled | bootstrap;
    state_ = State{};
    state_.base = base;
    state_.lvt.fill(kLvtMasked);
    if (lint0_ != nullptr) state_.lvt[kLint0] = static_cast<std::uint32_t>(DeliveryMode::external) << 8;
    timer_.reset();
    update();
    wake();
}

bool LocalApic::is_enabled() const { return (state_.base & kEnabled) != 0; }
bool LocalApic::is_x2apic() const { return (state_.base & kX2apic) != 0; }
bool LocalApic::is_software_enabled() const { return (state_.svr & kSoftwareEnabled) != 0; }

void LocalApic::wake() {
    if (attention_ != nullptr) *attention_ = true;
}

void LocalApic::connect_lint0(ExternalInterrupt& source) {
    lint0_ = &source;
    reset(ResetKind::power_on);
}

// [SDM3A] 10.4.3, 10.5.1: an APIC that is switched off leaves LINT0 as the INTR pin; else the entry decides. No priority
// is compared: the 8259s have their own.
bool LocalApic::external_ready() const {
    if (lint0_ == nullptr || !lint0_->is_asserted()) return false;
    std::uint32_t const entry = state_.lvt[kLint0];
    return !is_enabled() || ((entry & kLvtMasked) == 0 && delivery_mode_in(entry) == DeliveryMode::external);
}

void LocalApic::update() {
    auto const highest = state_.requested.highest();
    own_ready_ = highest && is_enabled() && is_software_enabled() && highest->value() >> 4 > processor_priority() >> 4;
    bool const was_ready = std::exchange(ready_, own_ready_ || external_ready());
    if (ready_ && !was_ready) wake();
}

std::uint8_t LocalApic::processor_priority() const {
    auto const serviced = state_.in_service.highest();
    unsigned const service_class = serviced ? serviced->value() & 0xf0U : 0;
    return static_cast<std::uint8_t>((state_.tpr & 0xf0U) >= service_class ? state_.tpr : service_class);
}

// [SDM3A] 10.6.2.4.
std::uint8_t LocalApic::arbitration_priority() const {
    auto const class_of = [](std::optional<Vector> vector) { return vector ? vector->value() & 0xf0U : 0U; };
    unsigned const requested = class_of(state_.requested.highest());
    unsigned const serviced = class_of(state_.in_service.highest());
    unsigned const task = state_.tpr & 0xf0U;
    if (task >= requested && task > serviced) return state_.tpr;
    return static_cast<std::uint8_t>(std::max({task, requested, serviced}));
}

Vector LocalApic::acknowledge() {
    if (!own_ready_) {
        if (!ready_) return vector_in(state_.svr);
        Vector const vector = lint0_->acknowledge();
        update();
        return vector;
    }
    Vector const vector = *state_.requested.highest();
    state_.requested.erase(vector);
    state_.in_service.insert(vector);
    update();
    return vector;
}

bool LocalApic::take_init() { return std::exchange(state_.init, false); }
std::optional<std::uint8_t> LocalApic::take_startup() { return std::exchange(state_.startup, std::nullopt); }

void LocalApic::set_task_priority(std::uint8_t priority_class) {
    state_.tpr = static_cast<std::uint8_t>(priority_class << 4);
    update();
}

void LocalApic::time_stamp_counter_changed() {
    timer_.time_stamp_counter_changed();
    wake();
}

// [SDM3A] 10.12.10.2: the logical x2APIC ID is derived from the ID and cannot be written.
std::uint32_t LocalApic::logical_id() const { return is_x2apic() ? id_ >> 4 << 16 | 1U << (id_ & 0xf) : state_.ldr; }

// [SDM3A] 10.6.2.1, 10.6.2.2, 10.12.10.
bool LocalApic::matches(std::uint32_t destination, DestinationMode mode) const {
    if (!is_enabled()) return false;
    if (destination == kBroadcastDestination) return true;
    if (mode == DestinationMode::physical) return destination == (is_x2apic() ? id_ : id_ & 0xff);
    std::uint32_t const own = logical_id();
    if (is_x2apic()) return destination >> 16 == own >> 16 && (destination & own & 0xffff) != 0;
    std::uint32_t const model = state_.dfr >> 28;
    if (model == 0xf) return (destination & own >> 24) != 0;
    bool const same_cluster = (destination >> 4 & 0xf) == own >> 28 || (destination >> 4 & 0xf) == 0xf;
    return model == 0 && same_cluster && (destination & own >> 24 & 0xf) != 0;
}

bool LocalApic::deliver(InterruptMessage const& message) {
    switch (message.mode) {
        case DeliveryMode::fixed:
        case DeliveryMode::lowest_priority:
            return accept(message.vector, message.trigger);
        case DeliveryMode::nmi:
            state_.nmi = true;
            break;
        case DeliveryMode::init:
            state_.init = true;
            state_.startup.reset();
            break;
        case DeliveryMode::startup:
            state_.startup = message.vector.value();
            break;
        case DeliveryMode::smi:
        case DeliveryMode::reserved:
        case DeliveryMode::external:
            return false;
    }
    wake();
    return true;
}

// The trigger mode register is set on acceptance, so that the EOI knows whether the I/O APIC waits ([SDM3A] 10.8.4).
bool LocalApic::accept(Vector vector, TriggerMode trigger) {
    if (!is_software_enabled()) return false;
    if (vector.value() < kFirstLegalVector) {
        note_error(kReceiveIllegalVector);
        return false;
    }
    state_.requested.insert(vector);
    if (trigger == TriggerMode::level) {
        state_.level_triggered.insert(vector);
    } else {
        state_.level_triggered.erase(vector);
    }
    update();
    return true;
}

void LocalApic::deliver_local(std::uint32_t lvt_entry) {
    if ((lvt_entry & kLvtMasked) == 0) static_cast<void>(accept(vector_in(lvt_entry), TriggerMode::edge));
}

// One interrupt until software writes ESR, which rearms it ([SDM3A] 10.5.3). So an error entry whose own vector is
// illegal comes back here once and no further.
void LocalApic::note_error(std::uint32_t bit) {
    bool const is_first = state_.errors == 0;
    state_.errors |= bit;
    if (is_first) deliver_local(state_.lvt[kLvtLast - kLvtFirst]);
}

void LocalApic::end_interrupt() {
    auto const vector = state_.in_service.highest();
    if (!vector) return;
    state_.in_service.erase(*vector);
    bool const is_level = state_.level_triggered.contains(*vector);
    update();
    if (is_level) fabric_.end_of_interrupt(*vector);
}

// [SDM3A] table 10-3: all but INIT ignore the trigger mode; an INIT level de-assert has done nothing since the
// Pentium 4.
void LocalApic::send_interrupt() {
    std::uint32_t const low = state_.icr_low;
    InterruptMessage const message{
        .vector = vector_in(low),
        .mode = delivery_mode_in(low),
        .destination_mode = (low & 1U << 11) != 0 ? DestinationMode::logical : DestinationMode::physical,
        .trigger = TriggerMode::edge,
        .destination =
            is_x2apic() ? state_.icr_high : widen_destination(static_cast<std::uint8_t>(state_.icr_high >> 24)),
    };
    bool const is_deassert = (low & 1U << 15) != 0 && (low & 1U << 14) == 0;
    if (message.mode == DeliveryMode::init && is_deassert) return;
    bool const has_vector = message.mode == DeliveryMode::fixed || message.mode == DeliveryMode::lowest_priority;
    if (has_vector && message.vector.value() < kFirstLegalVector) return note_error(kSendIllegalVector);
    fabric_.send_from(*this, static_cast<Shorthand>(low >> 18 & 3), message);
}

void LocalApic::send_to_self(Vector vector) {
    if (vector.value() < kFirstLegalVector) return note_error(kSendIllegalVector);
    static_cast<void>(accept(vector, TriggerMode::edge));
}

// [SDM3A] 10.12.5, figure 10-27. From x2APIC mode the way back leads through disabled, and into it through xAPIC.
Expected<void, MsrFault> LocalApic::write_base(std::uint64_t value) {
    constexpr std::uint64_t kKnown = kBootstrap | kX2apic | kEnabled;
    if ((value & ~kKnown) != kBase.value()) return Unexpected{MsrFault{}};
    bool const enable = (value & kEnabled) != 0;
    bool const x2apic = (value & kX2apic) != 0;
    if (x2apic && !enable) return Unexpected{MsrFault{}};
    if (x2apic && !is_enabled()) return Unexpected{MsrFault{}};
    if (!x2apic && enable && is_x2apic()) return Unexpected{MsrFault{}};
    std::uint64_t const base = kBase.value() | (state_.base & kBootstrap) | (value & (kX2apic | kEnabled));
    if (x2apic && !is_x2apic()) state_.icr_high = 0;
    bool const is_switched_off = is_enabled() && !enable;
    state_.base = base;
    if (is_switched_off) reset(ResetKind::init);  // 10.4.3: prior initialization is lost
    update();
    return {};
}

}  // namespace backplane
