#include "bus/bus.h"

#include <iterator>

namespace backplane {

Expected<void, Error> Bus::insert(Ranges& ranges, std::uint64_t first, std::uint64_t bytes, RegisterBank& bank) {
    std::string const what = std::string{bank.name()} + " at " + std::to_string(first);
    if (bytes == 0) return Unexpected{bad_input(what + ": an empty range")};
    if (first + bytes - 1 < first) return Unexpected{bad_input(what + ": the range wraps around")};
    auto const next = ranges.upper_bound(first + bytes - 1);
    if (next != ranges.begin()) {
        auto const& [start, range] = *std::prev(next);
        if (start + range.bytes > first)
            return Unexpected{bad_input(what + ": overlaps " + std::string{range.bank->name()})};
    }
    ranges.emplace(first, Range{bytes, &bank});
    return {};
}

Expected<void, Error> Bus::attach(GuestPhys base, std::uint64_t bytes, RegisterBank& bank) {
    BACKPLANE_TRY_VOID(insert(banks_, base.value(), bytes, bank));
    return {};
}

void Bus::detach(GuestPhys base, RegisterBank& bank) {
    if (auto const found = banks_.find(base.value()); found != banks_.end() && found->second.bank == &bank)
        banks_.erase(found);
}

Expected<void, Error> Bus::attach_ports(PortNumber first, std::uint16_t count, RegisterBank& bank) {
    BACKPLANE_TRY_VOID(insert(ports_, first.value(), count, bank));
    return {};
}

void Bus::detach_ports(PortNumber first, RegisterBank& bank) {
    if (auto const found = ports_.find(first.value()); found != ports_.end() && found->second.bank == &bank)
        ports_.erase(found);
}

bool Bus::is_plain_ram(GuestPage page) const {
    return memory_.map().lookup(page).access != Access::none && is_free(page);
}

bool Bus::is_free(GuestPage page) const {
    std::uint64_t const first = address_of(page).value();
    auto const next = banks_.upper_bound(first + kPageBytes - 1);
    if (next == banks_.begin()) return true;
    auto const& [start, range] = *std::prev(next);
    return start + range.bytes <= first;
}

Bus::Hit Bus::find(Ranges const& ranges, std::uint64_t address, Width width) {
    std::uint64_t const last = address + bytes_in(width) - 1;
    auto const next = ranges.upper_bound(last);
    if (next == ranges.begin()) return {nullptr, 0, true};
    auto const& [start, range] = *std::prev(next);
    if (address >= start && last < start + range.bytes) return {range.bank, address - start, true};
    return {nullptr, 0, start + range.bytes <= address};  // not whole: the access straddles an edge of this bank
}

std::uint64_t Bus::access(BusAccess::Space space, BusAccess::Direction direction, std::uint64_t address, Width width,
                          std::uint64_t value) {
    bool const reading = direction == BusAccess::Direction::read;
    Hit const hit = find(space == BusAccess::Space::memory ? banks_ : ports_, address, width);
    if (!hit.whole && width != Width::byte) {
        std::uint64_t result = 0;
        for (std::uint64_t i = 0; i < bytes_in(width); ++i)
            result |= access(space, direction, address + i, Width::byte, value >> (8 * i) & 0xff) << (8 * i);
        return result;
    }
    if (hit.bank == nullptr && space == BusAccess::Space::memory) {
        std::uint64_t ram = value;
        ByteSpan const bytes = bytes_of(ram).first(bytes_in(width));
        if (reading ? memory_.read(GuestPhys{address}, bytes) : memory_.write(GuestPhys{address}, bytes))
            return ram & ones(width);
    }
    ++access_count_;
    if (hit.bank == nullptr) {
        ++unclaimed_count_;
        if (reading) value = ones(width);
    } else if (reading) {
        value = hit.bank->read(hit.offset, width) & ones(width);
    } else {
        hit.bank->write(hit.offset, width, value & ones(width));
    }
    for (BusObserver* observer : observers_)
        observer->accessed({space, direction, width, address, value & ones(width), hit.bank == nullptr ? "-" : hit.bank->name()});
    return value;
}

std::uint64_t Bus::read(GuestPhys address, Width width) {
    return access(BusAccess::Space::memory, BusAccess::Direction::read, address.value(), width, 0);
}
void Bus::write(GuestPhys address, Width width, std::uint64_t value) {
    access(BusAccess::Space::memory, BusAccess::Direction::write, address.value(), width, value);
}
std::uint64_t Bus::in(PortNumber port, Width width) {
    return access(BusAccess::Space::port, BusAccess::Direction::read, port.value(), width, 0);
}
void Bus::out(PortNumber port, Width width, std::uint64_t value) {
    access(BusAccess::Space::port, BusAccess::Direction::write, port.value(), width, value);
}

}  // namespace backplane
