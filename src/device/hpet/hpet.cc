#include "device/hpet/hpet.h"

#include "base/int128.h"

namespace backplane {

namespace {

// [HPET] table 2: offsets of the registers.
constexpr std::uint64_t kCapabilities = 0x000;
constexpr std::uint64_t kConfiguration = 0x010;
constexpr std::uint64_t kStatus = 0x020;
constexpr std::uint64_t kCounter = 0x0f0;
constexpr std::uint64_t kComparators = 0x100;
constexpr std::uint64_t kComparatorBytes = 0x20;
constexpr std::uint64_t kComparatorConfiguration = 0x00;
constexpr std::uint64_t kComparatorValue = 0x08;
constexpr std::uint64_t kComparatorMessage = 0x10;

// 2.3.5.
constexpr std::uint64_t kEnable = 1U << 0;
constexpr std::uint64_t kLegacyReplacement = 1U << 1;

// 2.3.8. In capabilities the period is in femtoseconds.
constexpr std::uint64_t kLevelTriggered = 1U << 1;
constexpr std::uint64_t kInterruptEnable = 1U << 2;
constexpr std::uint64_t kPeriodic = 1U << 3;
constexpr std::uint64_t kSetValue = 1U << 6;
constexpr std::uint64_t k32Bits = 1U << 8;
constexpr std::uint64_t kRoute = 0x1fU << 9;
constexpr std::uint64_t kMessageEnable = 1U << 14;
constexpr std::uint64_t kWritable =
    kLevelTriggered | kInterruptEnable | kPeriodic | kSetValue | k32Bits | kRoute | kMessageEnable;
constexpr std::uint64_t kCanBePeriodic = 1U << 4;
constexpr std::uint64_t kHas64Bits = 1U << 5;
constexpr std::uint64_t kHasMessages = 1U << 15;
constexpr unsigned kFirstInput = 10;
constexpr unsigned kLastInput = 11;
constexpr std::uint64_t kInputs = (std::uint64_t{1} << kFirstInput | std::uint64_t{1} << kLastInput) << 32;

constexpr std::uint64_t kLow = 0xffff'ffff;

unsigned route_in(std::uint64_t configuration) { return static_cast<unsigned>((configuration & kRoute) >> 9); }

std::uint64_t merge(std::uint64_t old, std::uint64_t value, std::uint64_t written) {
    return (old & ~written) | (value & written);
}

}  // namespace

void LegacyTimerLines::set_level(unsigned number, bool asserted) {
    own_[number == kTimer ? 0 : 1] = asserted;
    if (!is_replaced_) isa_.set_level(number, asserted);
}

void LegacyTimerLines::set_replacement(unsigned comparator, bool asserted) {
    replacement_[comparator] = asserted;
    if (is_replaced_) isa_.set_level(comparator == 0 ? kTimer : kClock, asserted);
}

void LegacyTimerLines::select_replacement(bool is_selected) {
    if (is_replaced_ == is_selected) return;
    is_replaced_ = is_selected;
    update();
}

void LegacyTimerLines::update() {
    auto const& levels = is_replaced_ ? replacement_ : own_;
    isa_.set_level(kTimer, levels[0]);
    isa_.set_level(kClock, levels[1]);
}

Hpet::Hpet(MachineClock& clock, LegacyTimerLines& legacy, LineInputs& io_apic, MessageSink& messages)
    : clock_{clock},
      legacy_{legacy},
      io_apic_{io_apic},
      messages_{messages},
      timers_{Timer{clock, [this] { fire(0); }}, Timer{clock, [this] { fire(1); }}, Timer{clock, [this] { fire(2); }}} {
    reset();
}

void Hpet::reset() {
    state_ = {};
    for (Comparator& comparator : state_.comparators) comparator.configuration = std::uint64_t{kFirstInput} << 9;
    arm_all();
    update_lines();
}

bool Hpet::is_counting() const { return (state_.configuration & kEnable) != 0; }

std::uint64_t Hpet::counter() const {
    if (!is_counting()) return state_.counter;
    return state_.counter + (clock_.now() - state_.counted_from).ns() / kPeriodNs;
}

void Hpet::set_counter(std::uint64_t value) {
    state_.counter = value;
    state_.counted_from = clock_.now();
}

std::uint64_t Hpet::read(std::uint64_t offset, Width width) {
    return read_register(offset & ~std::uint64_t{7}) >> (8 * (offset & 7)) & ones(width);
}

void Hpet::write(std::uint64_t offset, Width width, std::uint64_t value) {
    std::uint64_t const shift = 8 * (offset & 7);
    write_register(offset & ~std::uint64_t{7}, value << shift, ones(width) << shift);
}

std::uint64_t Hpet::read_register(std::uint64_t offset) const {
    constexpr std::uint64_t kPeriodFs = kPeriodNs * 1'000'000;
    switch (offset) {
        case kCapabilities:
            return kPeriodFs << 32 | kBlockId;
        case kConfiguration:
            return state_.configuration;
        case kStatus:
            return state_.status;
        case kCounter:
            return counter();
        default:
            break;
    }
    std::uint64_t const index = (offset - kComparators) / kComparatorBytes;
    if (offset < kComparators || index >= kComparatorCount) return 0;
    Comparator const& comparator = state_.comparators[index];
    switch (offset % kComparatorBytes) {
        case kComparatorConfiguration:
            return comparator.configuration | kCanBePeriodic | kHas64Bits | kHasMessages | kInputs;
        case kComparatorValue:
            return comparator.value;
        case kComparatorMessage:
            return comparator.message;
        default:
            return 0;
    }
}

void Hpet::write_register(std::uint64_t offset, std::uint64_t value, std::uint64_t written) {
    switch (offset) {
        case kConfiguration:
            return write_configuration(merge(state_.configuration, value, written));
        case kStatus:  // a one clears
            state_.status &= ~(value & written);
            return update_lines();
        case kCounter:
            set_counter(merge(counter(), value, written));
            return arm_all();
        default:
            break;
    }
    std::uint64_t const index = (offset - kComparators) / kComparatorBytes;
    if (offset < kComparators || index >= kComparatorCount) return;
    write_comparator(static_cast<unsigned>(index), offset % kComparatorBytes, value, written);
}

void Hpet::write_configuration(std::uint64_t value) {
    set_counter(counter());
    state_.configuration = value & (kEnable | kLegacyReplacement);
    legacy_.select_replacement((value & kLegacyReplacement) != 0);
    arm_all();
    update_lines();
}

void Hpet::write_comparator(unsigned index, std::uint64_t offset, std::uint64_t value, std::uint64_t written) {
    Comparator& comparator = state_.comparators[index];
    switch (offset) {
        case kComparatorConfiguration:
            write_comparator_configuration(comparator, merge(comparator.configuration, value, written));
            if ((comparator.configuration & kLevelTriggered) == 0) state_.status &= ~(std::uint64_t{1} << index);
            arm(index, Match::now_is_over);
            return update_lines();
        case kComparatorValue:
            write_comparator_value(comparator, value, written);
            return arm(index, Match::now_counts);
        case kComparatorMessage:
            comparator.message = merge(comparator.message, value, written);
            return;
        default:
            return;
    }
}

void Hpet::write_comparator_configuration(Comparator& comparator, std::uint64_t value) {
    std::uint64_t next = value & kWritable;
    // 2.3.8: a route that is not possible does not read back.
    unsigned const route = route_in(next);
    if (route < kFirstInput || route > kLastInput) next = merge(next, comparator.configuration, kRoute);
    if ((next & kPeriodic) == 0) next &= ~kSetValue;
    comparator.configuration = next;
    if ((next & k32Bits) == 0) return;
    comparator.value &= kLow;
    comparator.period &= kLow;
}

// 2.3.9.2: in periodic mode what is written is the period, and with Tn_VAL_SET_CNF, which holds for one write, the
// comparator as well.
void Hpet::write_comparator_value(Comparator& comparator, std::uint64_t value, std::uint64_t written) {
    if ((comparator.configuration & k32Bits) != 0) {
        value &= kLow;
        written |= ~kLow;
    }
    bool const is_periodic = (comparator.configuration & kPeriodic) != 0;
    if (!is_periodic || (comparator.configuration & kSetValue) != 0)
        comparator.value = merge(comparator.value, value, written);
    if (is_periodic) comparator.period = merge(comparator.period, value, written);
    comparator.configuration &= ~kSetValue;
}

/// A comparator matches when the counter has its value; the counter of a 32-bit comparator wraps around earlier.
void Hpet::arm(unsigned index, Match match) {
    Comparator const& comparator = state_.comparators[index];
    timers_[index].disarm();
    if (!is_counting()) return;
    bool const is_narrow = (comparator.configuration & k32Bits) != 0;
    std::uint64_t const now = counter();
    std::uint64_t wait = comparator.value - now;
    if (is_narrow) wait &= kLow;
    if (wait == 0 && match == Match::now_is_over) {
        if (!is_narrow) return;  // 5,800 years
        wait = kLow + 1;
    }
    // The end of the wait in periods since the counter was set; what no Ticks can say never comes.
    Uint128 const periods = static_cast<Uint128>(now - state_.counter) + wait;
    Uint128 const ns = periods * kPeriodNs + state_.counted_from.ns();
    if (ns < Ticks::never().ns()) timers_[index].arm(Ticks{static_cast<std::uint64_t>(ns)});
}

void Hpet::arm_all() {
    for (unsigned i = 0; i < kComparatorCount; ++i) arm(i, Match::now_counts);
}

void Hpet::fire(unsigned index) {
    Comparator& comparator = state_.comparators[index];
    if ((comparator.configuration & kPeriodic) != 0 && comparator.period != 0) {
        std::uint64_t const mask = (comparator.configuration & k32Bits) != 0 ? kLow : ~std::uint64_t{0};
        std::uint64_t const late = (counter() - comparator.value) & mask;
        comparator.value = (comparator.value + (late / comparator.period + 1) * comparator.period) & mask;
    }
    interrupt(index);
    arm(index, Match::now_is_over);
}

// 2.4.1, 2.4.2: messages are edges always.
void Hpet::interrupt(unsigned index) {
    Comparator const& comparator = state_.comparators[index];
    bool const is_enabled = (comparator.configuration & kInterruptEnable) != 0;
    if ((comparator.configuration & kMessageEnable) != 0) {
        auto const data = static_cast<std::uint32_t>(comparator.message);
        if (is_enabled) messages_.send_msi(GuestPhys{comparator.message >> 32}, data);
        return;
    }
    if ((comparator.configuration & kLevelTriggered) != 0) {
        state_.status |= std::uint64_t{1} << index;
        return update_lines();
    }
    if (!is_enabled) return;
    bool const is_legacy = (state_.configuration & kLegacyReplacement) != 0 && index < 2;
    for (bool const level : {true, false}) {
        if (is_legacy)
            legacy_.set_replacement(index, level);
        else
            io_apic_.set_level(route_in(comparator.configuration), level);
    }
    update_lines();  // another comparator may hold the same input
}

void Hpet::update_lines() {
    bool const is_legacy = (state_.configuration & kLegacyReplacement) != 0;
    std::array<bool, 2> replacement{};
    std::array<bool, kLastInput + 1> inputs{};
    for (unsigned i = 0; i < kComparatorCount; ++i) {
        std::uint64_t const configuration = state_.comparators[i].configuration;
        bool const asserted = (configuration & kInterruptEnable) != 0 && (state_.status >> i & 1) != 0;
        bool& line = is_legacy && i < 2 ? replacement[i] : inputs[route_in(configuration)];
        line = line || asserted;
    }
    for (unsigned i = 0; i < replacement.size(); ++i) legacy_.set_replacement(i, replacement[i]);
    for (unsigned input = kFirstInput; input <= kLastInput; ++input) io_apic_.set_level(input, inputs[input]);
}

}  // namespace backplane
