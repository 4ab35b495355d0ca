#include "jit/translator.h"

#include <gtest/gtest.h>

#include <numeric>

#include "cpu/deferred_flags.h"
#include "cpu/test_machine.h"
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

/// A machine whose traces are translated at their first entry; null when the host refuses memory for code.
struct Translated {
    std::unique_ptr<TestMachine> machine{TestMachine::create()};
    std::unique_ptr<Translator> translator{};

    [[nodiscard]] static Translated create() {
        Translated made;
        auto translator = Translator::create(made.machine->cpu(), 1 << 20);
        check(translator.has_value(), "the host gives memory for translated code");
        made.translator = std::move(*translator);
        made.machine->cpu().set_hot_uses(1);
        return made;
    }
};

TEST(Translator, CountsWhatIsNotFast) {
    Translated const with = Translated::create();
    TestMachine& machine = *with.machine;
    // mov ecx, 10; loop: lahf; mov rax, [0x8000]; dec ecx; jnz loop
    machine.run(TestMachine::ready(), {0xb9, 10, 0, 0, 0, 0x9f, 0x48, 0x8b, 0x04, 0x25, 0, 0x80, 0, 0, 0xff, 0xc9, 0x75, 0xf3});
    ASSERT_FALSE(machine.fault());
    TranslatorCounters const& counters = with.translator->counters();
    EXPECT_EQ(machine.cpu().instructions(), 1u + 10 * 4);
    EXPECT_EQ(counters.instructions, machine.cpu().instructions());
    EXPECT_EQ(counters.slow_accesses, 1u);
    EXPECT_EQ(counters.chained, 3u);  // into the loop, from the loop to its beginning, and out of it
    auto const calls = with.translator->handler_calls();
    ASSERT_EQ(calls.size(), 2u);
    EXPECT_EQ(calls[0].mnemonic, "lahf");
    EXPECT_EQ(calls[0].calls, 10u);
    EXPECT_EQ(calls[1].mnemonic, "ud2");
    EXPECT_EQ(counters.exits[static_cast<std::size_t>(TranslatorExit::fault)], 1u);
    EXPECT_EQ(std::accumulate(counters.exits.begin(), counters.exits.end(), std::uint64_t{0}), counters.entries);
}

}  // namespace
}  // namespace backplane
