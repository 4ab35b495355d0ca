#include "cpu/deferred_flags.h"

#include <type_traits>

namespace backplane {

namespace {

template <typename T>
void resolve_as(DeferredFlags const& deferred, LazyFlags& flags) {
    auto const a = static_cast<T>(deferred.a);
    auto const b = static_cast<T>(deferred.b);
    constexpr unsigned kTop = 8 * sizeof(T) - 1;
    auto const top = [](T value) { return (value >> kTop & 1) != 0; };
    auto const add = [&](T x, T y, T result) {
        flags.set_arithmetic(result, static_cast<T>((x & y) | ((x | y) & ~result)));
    };
    auto const sub = [&](T x, T y, T result) {
        flags.set_arithmetic(result, static_cast<T>((~x & y) | (~(x ^ y) & result)));
    };
    bool const carry = deferred.base_carry != 0;
    switch (static_cast<FlagProducer>(deferred.kind >> 2)) {
        case FlagProducer::lazy:
            break;
        case FlagProducer::add:
            add(static_cast<T>(a - b), b, a);
            break;
        case FlagProducer::sub:
            sub(static_cast<T>(a + b), b, a);
            break;
        case FlagProducer::cmp:
            sub(a, b, static_cast<T>(a - b));
            break;
        case FlagProducer::logic:
            flags.set_logic(a);
            break;
        case FlagProducer::inc:
            add(static_cast<T>(a - 1), T{1}, a);
            flags.set_carry(carry);
            break;
        case FlagProducer::dec:
            sub(static_cast<T>(a + 1), T{1}, a);
            flags.set_carry(carry);
            break;
        case FlagProducer::neg:
            sub(T{0}, static_cast<T>(-a), a);
            break;
        case FlagProducer::multiply:
            flags.set_result(a, carry, carry);
            break;
        case FlagProducer::shl:
            flags.set_result(a, carry, top(a) != carry);
            break;
        case FlagProducer::shr:
            flags.set_result(a, carry, top(static_cast<T>(static_cast<T>(a << 1) ^ a)));
            break;
        case FlagProducer::sar:
        case FlagProducer::bits:
            flags.set_result(a, carry, false);
            break;
        case FlagProducer::popcnt:
            flags.set(a == 0 ? rflags::kZero : 0);
            break;
        case FlagProducer::raw:
            flags.set((deferred.a >> 8 & 0xff) | ((deferred.a & 1) != 0 ? rflags::kOverflow : 0));
            break;
    }
}

}  // namespace

void DeferredFlags::resolve(LazyFlags& flags) {
    switch (kind & 3) {
        case 0:
            resolve_as<std::uint8_t>(*this, flags);
            break;
        case 1:
            resolve_as<std::uint16_t>(*this, flags);
            break;
        case 2:
            resolve_as<std::uint32_t>(*this, flags);
            break;
        default:
            resolve_as<std::uint64_t>(*this, flags);
            break;
    }
    kind = 0;
    if (has_carry != 0) flags.set_carry(carry != 0);
    if (has_overflow != 0) flags.set_carry_overflow(flags.carry(), overflow != 0);
    if (has_zero != 0) flags.set_zero(zero != 0);
    has_carry = has_overflow = has_zero = 0;
}

}  // namespace backplane
