#include "device/rtc/cmos_clock.h"

#include <algorithm>
#include <limits>

#include "clock/frequency.h"

namespace backplane {

namespace {

// [MC146818] "Address map"; the century is where [ACPI65] 5.2.9 lets the FADT say that it is.
enum Register : std::uint8_t {
    kSecond = 0,
    kSecondAlarm = 1,
    kMinute = 2,
    kMinuteAlarm = 3,
    kHour = 4,
    kHourAlarm = 5,
    kWeekday = 6,
    kDay = 7,
    kMonth = 8,
    kYear = 9,
    kStatusA = 10,
    kStatusB = 11,
    kStatusC = 12,
    kStatusD = 13,
    kCentury = 0x32,
};

constexpr std::uint8_t kUpdateInProgress = 0x80;  // A
constexpr std::uint8_t kSet = 0x80;               // B, and the enables that follow
constexpr std::uint8_t kPeriodic = 0x40;          // B and C
constexpr std::uint8_t kAlarm = 0x20;
constexpr std::uint8_t kUpdateEnded = 0x10;
constexpr std::uint8_t kBinary = 0x04;
constexpr std::uint8_t k24Hours = 0x02;
constexpr std::uint8_t kInterruptFlag = 0x80;  // C
constexpr std::uint8_t kBatteryGood = 0x80;    // D
constexpr std::uint8_t kAfternoon = 0x80;
constexpr std::uint8_t kAnyValue = 0xc0;  // in an alarm register: every one
constexpr std::uint64_t kUpdateNs = 244'000;

constexpr std::uint64_t kMinutesADay = 24 * 60;
constexpr std::uint64_t kSecondsADay = kMinutesADay * 60;

/// Days since 1970-01-01 of a date of the Gregorian calendar; months and days beyond their range count on.
std::int64_t days_from_date(std::int64_t year, std::int64_t month, std::int64_t day) {
    // Years begin in March, so that the leap day is their last.
    std::int64_t const shifted = year * 12 + month - 3;
    std::int64_t const y = shifted / 12;
    std::int64_t const m = shifted % 12;
    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719'468;
}

struct Date {
    std::int64_t year;
    std::uint32_t month, day;
};

Date date_of(std::int64_t days) {
    std::int64_t year = 1970 + days / 366;
    while (days_from_date(year + 1, 1, 1) <= days) ++year;  // at most as often as there were leap years / 366
    std::uint32_t month = 12;
    while (days_from_date(year, month, 1) > days) --month;
    return {year, month, static_cast<std::uint32_t>(days - days_from_date(year, month, 1) + 1)};
}

}  // namespace

CmosClock::CmosClock(MachineClock& clock, InterruptLine line)
    : clock_{clock}, line_{line}, timer_{clock, [this] { update(); }} {}

void CmosClock::reset() {
    status_b_ &= static_cast<std::uint8_t>(~(kPeriodic | kAlarm | kUpdateEnded));
    flags_ = 0;
    collected_ = clock_.now();
    update();
}

std::uint64_t CmosClock::seconds() const {
    return kEpochSeconds + clock_.now().ns() / kNanosecondsPerSecond + static_cast<std::uint64_t>(offset_);
}

CmosClock::Fields CmosClock::fields() const {
    if ((status_b_ & kSet) != 0) return held_;
    std::uint64_t const now = seconds();
    std::uint64_t const days = now / kSecondsADay;
    auto const of_day = static_cast<std::uint32_t>(now % kSecondsADay);
    Date const date = date_of(static_cast<std::int64_t>(days));
    return {of_day % 60,
            of_day / 60 % 60,
            of_day / 3600,
            static_cast<std::uint32_t>((days + 4) % 7 + 1),
            date.day,
            date.month,
            static_cast<std::uint32_t>(date.year)};
}

void CmosClock::set_time(Fields const& fields) {
    std::int64_t const days =
        days_from_date(std::clamp(fields.year, 1970U, 9999U), std::clamp(fields.month, 1U, 12U), fields.day);
    std::int64_t const wanted = (days * 24 + fields.hour) * 3600 + fields.minute * 60 + fields.second;
    offset_ += std::max<std::int64_t>(wanted, 0) - static_cast<std::int64_t>(seconds());
}

std::uint8_t CmosClock::encode(std::uint32_t value) const {
    return static_cast<std::uint8_t>((status_b_ & kBinary) != 0 ? value : value / 10 << 4 | value % 10);
}
std::uint32_t CmosClock::decode(std::uint8_t value) const {
    return (status_b_ & kBinary) != 0 ? value : (value >> 4) * 10U + (value & 0xfU);
}
std::uint8_t CmosClock::encode_hour(std::uint32_t hour) const {
    if ((status_b_ & k24Hours) != 0) return encode(hour);
    return static_cast<std::uint8_t>(encode((hour + 11) % 12 + 1) | (hour >= 12 ? kAfternoon : 0));
}
std::uint32_t CmosClock::decode_hour(std::uint8_t value) const {
    if ((status_b_ & k24Hours) != 0) return decode(value);
    return decode(value & 0x7f) % 12 + ((value & kAfternoon) != 0 ? 12 : 0);
}

std::uint8_t CmosClock::read_time(std::uint8_t index) const {
    Fields const now = fields();
    switch (index) {
        case kSecond:
            return encode(now.second);
        case kMinute:
            return encode(now.minute);
        case kHour:
            return encode_hour(now.hour);
        case kWeekday:
            return encode(now.weekday);
        case kDay:
            return encode(now.day);
        case kMonth:
            return encode(now.month);
        case kYear:
            return encode(now.year % 100);
        case kCentury:
            return encode(now.year / 100);
        default:
            return alarm_[index / 2];
    }
}

std::uint8_t CmosClock::read_register(std::uint8_t index) {
    if (index < kStatusA || index == kCentury) return read_time(index);
    switch (index) {
        case kStatusA: {
            bool const updating = clock_.now().ns() % kNanosecondsPerSecond >= kNanosecondsPerSecond - kUpdateNs;
            return status_a_ | (updating && (status_b_ & kSet) == 0 ? kUpdateInProgress : std::uint8_t{0});
        }
        case kStatusB:
            return status_b_;
        case kStatusC: {  // reading clears it
            update();
            std::uint8_t const flags = flags_;
            flags_ = 0;
            update();
            return flags;
        }
        case kStatusD:
            return kBatteryGood;
        default:
            return memory_[index];
    }
}

void CmosClock::write_register(std::uint8_t index, std::uint8_t value) {
    if (index < kStatusA || index == kCentury) return write_time(index, value);
    update();  // what was due so far followed the old settings
    switch (index) {
        case kStatusA:
            status_a_ = value & 0x7f;
            break;
        case kStatusB:
            write_status_b(value);
            break;
        case kStatusC:
        case kStatusD:
            break;
        default:
            memory_[index] = value;
            break;
    }
    update();
}

void CmosClock::write_status_b(std::uint8_t value) {
    bool const was_set = (status_b_ & kSet) != 0;
    bool const is_set = (value & kSet) != 0;
    if (is_set) value &= static_cast<std::uint8_t>(~kUpdateEnded);  // [MC146818] "SET"
    if (is_set && !was_set) held_ = fields();
    if (!is_set && was_set) set_time(held_);
    status_b_ = value;
}

void CmosClock::write_time(std::uint8_t index, std::uint8_t value) {
    Fields now = fields();
    switch (index) {
        case kSecond:
            now.second = decode(value);
            break;
        case kMinute:
            now.minute = decode(value);
            break;
        case kHour:
            now.hour = decode_hour(value);
            break;
        case kWeekday:
            now.weekday = decode(value);
            break;
        case kDay:
            now.day = decode(value);
            break;
        case kMonth:
            now.month = decode(value);
            break;
        case kYear:
            now.year = now.year / 100 * 100 + decode(value) % 100;
            break;
        case kCentury:
            now.year = decode(value) * 100 + now.year % 100;
            break;
        default:
            alarm_[index / 2] = value;
            return update();
    }
    if ((status_b_ & kSet) != 0)
        held_ = now;
    else
        set_time(now);
    update();
}

/// [MC146818] table 3 with the usual 32.768 kHz; 0: no periodic event.
std::uint64_t CmosClock::period_ns() const {
    unsigned rate = status_a_ & 0xf;
    if (rate == 0) return 0;
    if (rate <= 2) rate += 7;
    return (kNanosecondsPerSecond << (rate - 1)) / 32'768;
}

/// The first second after `after` at which the alarm registers match; the largest number when they never do.
std::uint64_t CmosClock::next_alarm(std::uint64_t after) const {
    auto const matches = [](std::uint8_t alarm, std::uint32_t wanted, std::uint64_t value) {
        return alarm >= kAnyValue || wanted == value;
    };
    std::uint32_t const second = decode(alarm_[0]);
    if (alarm_[0] < kAnyValue && second > 59) return std::numeric_limits<std::uint64_t>::max();
    std::uint64_t const first = after + 1;
    for (std::uint64_t minute = first / 60; minute <= first / 60 + kMinutesADay; ++minute) {
        bool const hour_matches = matches(alarm_[2], decode_hour(alarm_[2]), minute / 60 % 24);
        if (!hour_matches || !matches(alarm_[1], decode(alarm_[1]), minute % 60)) continue;
        std::uint64_t const candidate = alarm_[0] >= kAnyValue ? std::max(minute * 60, first) : minute * 60 + second;
        if (candidate >= first) return candidate;
    }
    return std::numeric_limits<std::uint64_t>::max();
}

/// Notes in register C what has happened since it was last looked at.
void CmosClock::collect_flags() {
    std::uint64_t const from = collected_.ns();
    std::uint64_t const to = clock_.now().ns();
    collected_ = clock_.now();
    std::uint64_t const period = period_ns();
    if (period != 0 && from / period != to / period) flags_ |= kPeriodic;
    std::uint64_t const passed = to / kNanosecondsPerSecond - from / kNanosecondsPerSecond;
    if (passed == 0 || (status_b_ & kSet) != 0) return;
    flags_ |= kUpdateEnded;
    if (next_alarm(seconds() - passed) <= seconds()) flags_ |= kAlarm;
}

void CmosClock::update() {
    collect_flags();
    constexpr std::uint8_t kEvents = kPeriodic | kAlarm | kUpdateEnded;
    bool const asserted = (flags_ & status_b_ & kEvents) != 0;
    if (asserted) flags_ |= kInterruptFlag;
    line_.set(asserted);

    std::uint64_t const now = clock_.now().ns();
    Ticks next = Ticks::never();
    if (asserted) return timer_.disarm();  // nothing changes before register C is read
    if ((status_b_ & kPeriodic) != 0 && period_ns() != 0) next = Ticks{(now / period_ns() + 1) * period_ns()};
    std::uint64_t const second = now / kNanosecondsPerSecond;
    bool const updates = (status_b_ & kSet) == 0;
    if (updates && (status_b_ & kUpdateEnded) != 0) next = std::min(next, Ticks{(second + 1) * kNanosecondsPerSecond});
    if (updates && (status_b_ & kAlarm) != 0) {
        std::uint64_t const alarm = next_alarm(seconds());
        // A day is the longest wait, so that only "never" is far away.
        if (alarm - seconds() <= kSecondsADay)
            next = std::min(next, Ticks{(second + (alarm - seconds())) * kNanosecondsPerSecond});
    }
    if (next == Ticks::never()) return timer_.disarm();
    timer_.arm(next);
}

std::uint64_t CmosClock::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) {
        std::uint8_t const byte = offset + i == 1 ? read_register(index_) : 0xff;  // the index cannot be read
        value |= std::uint64_t{byte} << (8 * i);
    }
    return value;
}

void CmosClock::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) {
        auto const byte = static_cast<std::uint8_t>(value >> (8 * i));
        if (offset + i == 0) index_ = byte & 0x7f;
        if (offset + i == 1) write_register(index_, byte);
    }
}

}  // namespace backplane
