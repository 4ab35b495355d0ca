#include "jit/translator.h"

#include <gtest/gtest.h>

#include "cpu/deferred_flags.h"
#include "cpu/translated_state.h"

namespace backplane {
namespace {

/// What the processor's ADD, SUB and so on would leave, computed from first principles.
std::uint64_t flags_of_sub(std::uint8_t a, std::uint8_t b) {
    int const difference = static_cast<std::int8_t>(a) - static_cast<std::int8_t>(b);
    auto const result = static_cast<std::uint8_t>(a - b);
    return (a < b ? rflags::kCarry : 0) | (__builtin_parity(result) == 0 ? rflags::kParity : 0) |
           ((a & 15) < (b & 15) ? rflags::kAuxiliary : 0) | (result == 0 ? rflags::kZero : 0) |
           ((result & 0x80) != 0 ? rflags::kSign : 0) | (difference < -128 || difference > 127 ? rflags::kOverflow : 0);
}

TEST(DeferredFlags, ComparisonAndSubtractionAgreeForAllBytes) {
    for (unsigned a = 0; a < 256; ++a) {
        for (unsigned b = 0; b < 256; ++b) {
            LazyFlags flags;
            DeferredFlags deferred;
            deferred.a = a, deferred.b = b;
            deferred.kind = DeferredFlags::kind_of(FlagProducer::cmp, 1);
            deferred.resolve(flags);
            ASSERT_EQ(flags.value(), flags_of_sub(static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b)))
                << a << ' ' << b;
            deferred.a = (a - b) & 0xff;
            deferred.kind = DeferredFlags::kind_of(FlagProducer::sub, 1);
            deferred.resolve(flags);
            ASSERT_EQ(flags.value(), flags_of_sub(static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b)))
                << a << ' ' << b;
        }
    }
}

TEST(DeferredFlags, OverridesApplyOnTopAndOnce) {
    LazyFlags flags;
    DeferredFlags deferred;
    deferred.a = 0;
    deferred.kind = DeferredFlags::kind_of(FlagProducer::logic, 8);
    deferred.carry = 1, deferred.has_carry = 1;
    deferred.zero = 0, deferred.has_zero = 1;
    deferred.resolve(flags);
    EXPECT_TRUE(flags.carry());
    EXPECT_FALSE(flags.zero());
    flags.set_carry(false);
    deferred.resolve(flags);
    EXPECT_FALSE(flags.carry());
}

TEST(TranslatedState, NoTargetFindsAnEmptyJumpEntry) {
    TranslatedState const state;
    for (auto const& view : state.jumps)
        for (std::size_t i = 0; i < view.size(); ++i) EXPECT_NE(TranslatedState::jump_index(view[i].rip), i);
}

}  // namespace
}  // namespace backplane
