#include "jit/translator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/deferred_flags.h"
#include "cpu/code_runner.h"
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
    constexpr std::size_t kWays = TranslatedState::kJumpWays;
    TranslatedState const state;
    for (auto const& view : state.jumps)
        for (std::size_t i = 0; i < view.size(); ++i) EXPECT_NE(TranslatedState::jump_index(view[i].rip) / kWays, i / kWays);
}

TEST(TranslatedState, TargetsOfASetAreAllThereAndTheOldestGoes) {
    constexpr std::size_t kWays = TranslatedState::kJumpWays;
    auto const state = std::make_unique<TranslatedState>();
    std::vector<std::uint64_t> set;  // more than it has slots
    for (std::uint64_t rip = 0x1000; set.size() <= kWays; rip += 16)
        if (TranslatedState::jump_index(rip) / kWays == 77) set.push_back(rip);
    auto const code_of = [&](std::uint64_t rip) { return reinterpret_cast<void const*>(rip + 1); };
    for (std::size_t i = 0; i < kWays; ++i) state->remember(1, set[i], code_of(set[i]));
    for (std::size_t i = 0; i < kWays; ++i) EXPECT_EQ(state->find(1, set[i]), code_of(set[i]));
    state->remember(1, set[1], code_of(set[1])), state->remember(1, set[1], code_of(7));
    for (std::size_t i = 0; i < kWays; ++i) EXPECT_EQ(state->find(1, set[i]), i == 1 ? code_of(7) : code_of(set[i]));
    EXPECT_EQ(state->jumps[1][TranslatedState::jump_index(set[1])].rip, set[1]) << "where translated code looks";
    EXPECT_EQ(state->used[1].size(), kWays);
    state->remember(1, set[kWays], code_of(set[kWays]));
    std::size_t found = 0;
    for (std::uint64_t const rip : set) found += state->find(1, rip) != nullptr ? 1 : 0;
    EXPECT_EQ(found, kWays);
    EXPECT_EQ(state->find(0, set[0]), nullptr);
    state->forget_page(set[1]);
    EXPECT_EQ(state->find(1, set[1]), nullptr);
    for (std::size_t const i : {0, 2, 3, 4, 0, 3}) state->remember(1, set[i], code_of(set[i]));  // free slots before them and behind
    state->forget_view(1);
    for (std::size_t i = 0; i < kWays; ++i) EXPECT_EQ(state->jumps[1][77 * kWays + i].code, nullptr) << "all of them were listed";
}

/// A machine whose traces are translated at their first entry; null when the host refuses memory for code.
struct Translated {
    std::unique_ptr<CodeRunner> machine{CodeRunner::create()};
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

struct Form {
    char const* name;
    std::vector<std::uint8_t> code;
    bool has_handlers{false};
};
void PrintTo(Form const& form, std::ostream* out) { *out << form.name; }

class SameAsInterpreted : public testing::TestWithParam<Form> {};

/// What runs before and behind the form: its flags are read at once, after an access, after another partial writer, or
/// by the fault that ends the code; those before it stand in the host's RFLAGS or in a note.
std::vector<std::uint8_t> around(std::vector<std::uint8_t> const& form, unsigned before, unsigned behind) {
    static std::vector<std::uint8_t> const kBefore[]{{},
                                                     {0x48, 0x39, 0xf2},
                                                     {0x41, 0x01, 0xd1},
                                                     {0xff, 0xce},
                                                     {0x48, 0x85, 0xf6, 0x4c, 0x8b, 0x2c, 0x25, 0, 0x90, 0, 0}};
    // setb r12b; seto r13b | mov r13, [0x9000]; setz r14b; setbe r12b | dec edi; cmovs r14, rsi
    static std::vector<std::uint8_t> const kBehind[]{
        {},
        {0x41, 0x0f, 0x92, 0xc4, 0x41, 0x0f, 0x90, 0xc5},
        {0x4c, 0x8b, 0x2c, 0x25, 0, 0x90, 0, 0, 0x41, 0x0f, 0x94, 0xc6, 0x41, 0x0f, 0x96, 0xc4},
        {0xff, 0xcf, 0x4c, 0x0f, 0x48, 0xf6}};
    std::vector<std::uint8_t> code = kBefore[before];
    code.insert(code.end(), form.begin(), form.end());
    code.insert(code.end(), kBehind[behind].begin(), kBehind[behind].end());
    return code;
}

TEST_P(SameAsInterpreted, InEverySurrounding) {
    Translated const with = Translated::create();
    CodeRunner& translated = *with.machine;
    auto const interpreted = CodeRunner::create();
    std::mt19937_64 random{1};
    auto const number = [&] {
        std::uint64_t const value = random();
        switch (value % 7) {
            case 0:
                return std::uint64_t{0};
            case 1:
                return ~std::uint64_t{0};
            case 2:
                return value >> 32 & 0x3f;
            case 3:
                return std::uint64_t{1} << (value >> 32 & 0x3f);
            default:
                return random() >> (value >> 32 & 0x3f);
        }
    };
    for (unsigned round = 0; round < 240; ++round) {
        auto const code = around(GetParam().code, round % 5, round / 5 % 4);
        CpuState state = CodeRunner::ready();
        for (auto& gpr : state.gpr) gpr = number();
        state.gpr[rbx] = CodeRunner::kData + 0x800;  // of memory operands, with room on both sides
        state.gpr[rsp] = CodeRunner::kData + 0xf00 + round % 8 * 0x28;  // several words may lie in two pages
        state.gpr[rbp] = (number() & 0x7ff) - 0x400;  // bit offsets
        if (round % 3 == 0)
            state.gpr[rdx] = static_cast<std::uint64_t>(static_cast<std::int64_t>(state.gpr[rax]) >> 63);
        if (round % 3 == 1) state.gpr[rdx] = 0;
        state.rflags |= random() & rflags::kArithmetic;
        state.rflags |= rflags::kInterrupt;
        state.kernel_gs_base = 0x1234;
        for (std::uint64_t at = CodeRunner::kData; at < CodeRunner::kData + 0x2000; at += 8) {
            std::uint64_t const value = number();
            translated.put(at, value), interpreted->put(at, value);
        }
        translated.run(state, code), interpreted->run(state, code);
        ASSERT_EQ(translated.after(), interpreted->after()) << GetParam().name << ", round " << round;
        ASSERT_EQ(translated.fault(), interpreted->fault()) << GetParam().name << ", round " << round;
        for (std::uint64_t at = CodeRunner::kData; at < CodeRunner::kData + 0x2000; at += 8)
            ASSERT_EQ(translated.get<std::uint64_t>(at), interpreted->get<std::uint64_t>(at))
                << GetParam().name << ", round " << round;
    }
    // None of them is left to the handler, but divisions that fail or divide more than a register, and what says so.
    if (GetParam().has_handlers) return;
    if (std::string_view{GetParam().name}.find("ret") != std::string_view::npos) return;  // it goes anywhere
    for (auto const& [mnemonic, calls] : with.translator->handler_calls())
        EXPECT_TRUE(mnemonic == "ud2" || mnemonic == "div" || mnemonic == "idiv") << mnemonic;
}

INSTANTIATE_TEST_SUITE_P(
    Forms, SameAsInterpreted,
    testing::Values(
        Form{"rol esi, 7", {0xc1, 0xc6, 7}}, Form{"ror r9, 33", {0x49, 0xc1, 0xc9, 33}},
        Form{"rol sil, 3", {0x40, 0xc0, 0xc6, 3}}, Form{"ror si, 15", {0x66, 0xc1, 0xce, 15}},
        Form{"rol dword [rbx], 5", {0xc1, 0x03, 5}}, Form{"ror byte [rbx], 1", {0xd0, 0x0b}},
        Form{"rol rsi, 1", {0x48, 0xd1, 0xc6}}, Form{"rol esi, cl", {0xd3, 0xc6}},
        Form{"ror r10, cl", {0x49, 0xd3, 0xca}}, Form{"rol dl, cl", {0xd2, 0xc2}},
        Form{"ror si, cl", {0x66, 0xd3, 0xce}}, Form{"ror qword [rbx], cl", {0x48, 0xd3, 0x0b}},
        Form{"rol ah, cl", {0xd2, 0xc4}}, Form{"shl dword [rbx], cl", {0xd3, 0x23}},
        Form{"sar word [rbx], cl", {0x66, 0xd3, 0x3b}}, Form{"shr qword [rbx], cl", {0x48, 0xd3, 0x2b}},
        Form{"shld esi, edx, 9", {0x0f, 0xa4, 0xd6, 9}}, Form{"shrd r9, r10, 40", {0x4d, 0x0f, 0xac, 0xd1, 40}},
        Form{"shld rsi, rsi, 1", {0x48, 0x0f, 0xa4, 0xf6, 1}}, Form{"shld rsi, rdx, cl", {0x48, 0x0f, 0xa5, 0xd6}},
        Form{"shrd r9d, r10d, cl", {0x45, 0x0f, 0xad, 0xd1}}, Form{"shrd edx, ecx, cl", {0x0f, 0xad, 0xca}},
        Form{"div ecx", {0xf7, 0xf1}}, Form{"div r9", {0x49, 0xf7, 0xf1}}, Form{"idiv rcx", {0x48, 0xf7, 0xf9}},
        Form{"idiv r10d", {0x41, 0xf7, 0xfa}}, Form{"div qword [rbx]", {0x48, 0xf7, 0x33}},
        Form{"idiv dword [rbx]", {0xf7, 0x3b}}, Form{"idiv rax", {0x48, 0xf7, 0xf8}}, Form{"push [rbx]", {0xff, 0x33}},
        Form{"push [rsp + 8]", {0xff, 0x74, 0x24, 8}}, Form{"bt [rbx], rbp", {0x48, 0x0f, 0xa3, 0x2b}},
        Form{"bts [rbx], ebp", {0x0f, 0xab, 0x2b}}, Form{"lock btr [rbx], rbp", {0xf0, 0x48, 0x0f, 0xb3, 0x2b}},
        Form{"btc [rbx], ebp", {0x0f, 0xbb, 0x2b}}, Form{"cli", {0xfa}}, Form{"swapgs", {0x0f, 0x01, 0xf8}},
        Form{"or ah, 12", {0x80, 0xcc, 12}}, Form{"and dh, cl", {0x20, 0xce}}, Form{"test ch, 4", {0xf6, 0xc5, 4}},
        Form{"test ah, ah", {0x84, 0xe4}}, Form{"cmp ah, dl", {0x38, 0xd4}}, Form{"cmp al, dh", {0x38, 0xf0}},
        Form{"add ah, ch", {0x00, 0xec}}, Form{"sbb dh, al", {0x18, 0xc6}}, Form{"inc ah", {0xfe, 0xc4}},
        Form{"shl ah, 3", {0xc0, 0xe4, 3}}, Form{"mov ah, [rbx]", {0x8a, 0x23}}, Form{"mov [rbx], dh", {0x88, 0x33}},
        Form{"add [rbx], ch", {0x00, 0x2b}}, Form{"xchg ah, al", {0x86, 0xc4}},
        Form{"lea r13, [rbx + rsi*8 - 5]", {0x4c, 0x8d, 0x6c, 0xf3, 0xfb}},
        Form{"lea esi, [rsi + rdx]", {0x8d, 0x34, 0x16}}, Form{"lea rsp, [rsp - 128]", {0x48, 0x8d, 0x64, 0x24, 0x80}},
        Form{"lea r9, [r10 + 1]", {0x4d, 0x8d, 0x4a, 1}},
        Form{"push rsi; push r9; push 5; push rdx", {0x56, 0x41, 0x51, 0x6a, 5, 0x52}},
        Form{"push rsp; push rsp; push rdi", {0x54, 0x54, 0x57}}, Form{"pop r9; pop rsi; pop rsi", {0x41, 0x59, 0x5e, 0x5e}},
        Form{"cmp rsi, rdx; pop rdx; pop r10; pop rsi", {0x48, 0x39, 0xd6, 0x5a, 0x41, 0x5a, 0x5e}},
        Form{"add rsp, 16; ret", {0x48, 0x83, 0xc4, 16, 0xc3}}, Form{"sub rsp, 16; pop rsi; ret 8", {0x48, 0x83, 0xec, 16, 0x5e, 0xc2, 8, 0}},
        Form{"mov rsi, [rbx]; add [rbx+8], rdx; mov r9, [rbx+8]", {0x48, 0x8b, 0x33, 0x48, 0x01, 0x53, 8, 0x4c, 0x8b, 0x4b, 8}},
        Form{"mov rsi, [rbx+7f8h]; mov rdx, [rbx+800h]", {0x48, 0x8b, 0xb3, 0xf8, 7, 0, 0, 0x48, 0x8b, 0x93, 0, 8, 0, 0}},
        Form{"mov [rbx+7f0h], rsi; mov [rbx+7fch], rdx", {0x48, 0x89, 0xb3, 0xf0, 7, 0, 0, 0x48, 0x89, 0x93, 0xfc, 7, 0, 0}},
        Form{"mov rsi, [rbx]; sub rbx, 8; lea r13, [rbx+16]; mov [r13], rdx; mov rdx, [rbx+16]",
             {0x48, 0x8b, 0x33, 0x48, 0x83, 0xeb, 8, 0x4c, 0x8d, 0x6b, 16, 0x49, 0x89, 0x55, 0, 0x48, 0x8b, 0x53, 16}},
        Form{"mov r10, [rbx]; cmp rsi, rdx; mov rsi, [rbx+4]; add rdx, [rbx+8]",
             {0x4c, 0x8b, 0x13, 0x48, 0x39, 0xd6, 0x48, 0x8b, 0x73, 4, 0x48, 0x03, 0x53, 8}},
        Form{"mov rsi, [rbx]; cmp r10, [rbx+2]; xchg [rbx+1], dh; sbb [rbx+4], r9d",
             {0x48, 0x8b, 0x33, 0x4c, 0x3b, 0x53, 2, 0x86, 0x73, 1, 0x44, 0x19, 0x4b, 4}},
        Form{"push rbp; mov rbp, rsp; push rsi; mov rdx, [rbp-8]; leave", {0x55, 0x48, 0x89, 0xe5, 0x56, 0x48, 0x8b, 0x55, 0xf8, 0xc9}},
        Form{"push rbx; push [rsp]; sub rsp, 8; pop rsi", {0x53, 0xff, 0x34, 0x24, 0x48, 0x83, 0xec, 8, 0x5e}},
        Form{"mov rsi, [rbx+rbp]; mov rdx, [rbx+rbp+8]; mov [rbx+rbp*1+4], r9d",
             {0x48, 0x8b, 0x34, 0x2b, 0x48, 0x8b, 0x54, 0x2b, 8, 0x44, 0x89, 0x4c, 0x2b, 4}},
        Form{"mov rsi, [rip+64]; mov edx, [rip+128]; movzx r9d, byte [rip+9]",
             {0x48, 0x8b, 0x35, 64, 0, 0, 0, 0x8b, 0x15, 0x80, 0, 0, 0, 0x44, 0x0f, 0xb6, 0x0d, 9, 0, 0, 0}},
        Form{"movups xmm1, [rbx]; paddq xmm1, xmm2; movups [rbx+8], xmm1; movsd [rbx+20], xmm1",
             {0x0f, 0x10, 0x0b, 0x66, 0x0f, 0xd4, 0xca, 0x0f, 0x11, 0x4b, 8, 0xf2, 0x0f, 0x11, 0x4b, 20}},
        Form{"mov r9d, esi", {0x41, 0x89, 0xf1}}, Form{"mov r9w, si", {0x66, 0x41, 0x89, 0xf1}},
        Form{"xor esi, r9d", {0x44, 0x31, 0xce}}, Form{"sub rsi, r9", {0x4c, 0x29, 0xce}}, Form{"adc si, r9w", {0x66, 0x44, 0x11, 0xce}},
        Form{"movsx rsi, r9b", {0x49, 0x0f, 0xbe, 0xf1}}, Form{"imul rsi, r9", {0x49, 0x0f, 0xaf, 0xf1}},
        Form{"test r10d, r11d", {0x45, 0x85, 0xda}}, Form{"rdtsc", {0x0f, 0x31}}, Form{"rdtscp; mov esi, eax", {0x0f, 0x01, 0xf9, 0x89, 0xc6}},
        Form{"lfence; rdtsc; mfence; inc rdx; rdtsc; sfence", {0x0f, 0xae, 0xe8, 0x0f, 0x31, 0x0f, 0xae, 0xf0, 0x48, 0xff, 0xc2, 0x0f, 0x31, 0x0f, 0xae, 0xf8}},
        Form{"pause; cmp rsi, rdx; pause", {0xf3, 0x90, 0x48, 0x39, 0xd6, 0xf3, 0x90}}, Form{"clc", {0xf8}}, Form{"stc", {0xf9}},
        Form{"cli; cmp rsi, rdx; sti", {0xfa, 0x48, 0x39, 0xd6, 0xfb}}, Form{"sti", {0xfb}}, Form{"pushfq", {0x9c}},
        Form{"cli; push rsi; pushfq; and rsi, rdx; pushfq; bt rsi, rdx; pushfq; pop rdi",
             {0xfa, 0x56, 0x9c, 0x48, 0x21, 0xd6, 0x9c, 0x48, 0x0f, 0xa3, 0xd6, 0x9c, 0x5f}},
        Form{"shl rsi, 3; pushfq; imul rsi, rdx; pushfq; inc esi; pushfq", {0x48, 0xc1, 0xe6, 3, 0x9c, 0x48, 0x0f, 0xaf, 0xf2, 0x9c, 0xff, 0xc6, 0x9c}},
        Form{"stac; mov rsi, [rbx]; add [rbx+8], rsi; pushfq; clac; mov r9, [rbx+16]",
             {0x0f, 0x01, 0xcb, 0x48, 0x8b, 0x33, 0x48, 0x01, 0x73, 8, 0x9c, 0x0f, 0x01, 0xca, 0x4c, 0x8b, 0x4b, 16}},
        Form{"mov [rsp+8], rbx; pop rsi; pop rsp; push rdx", {0x48, 0x89, 0x5c, 0x24, 8, 0x5e, 0x5c, 0x52}},
        Form{"cmpxchg16b [rbx]", {0x48, 0x0f, 0xc7, 0x0b}},
        Form{"mov rax, [rbx]; mov rdx, [rbx+8]; lock cmpxchg16b [rbx]", {0x48, 0x8b, 0x03, 0x48, 0x8b, 0x53, 8, 0xf0, 0x48, 0x0f, 0xc7, 0x0b}},
        // What fills the TLB comes first: a miss is the handler's.
        Form{"mov edx, [rbx]; mov [rbx], edx; mov ecx, 40; mov rdi, rbx; rep stosq", {0x8b, 0x13, 0x89, 0x13, 0xb9, 40, 0, 0, 0, 0x48, 0x89, 0xdf, 0xf3, 0x48, 0xab}},
        Form{"mov edx, [rbx]; mov [rbx], edx; mov ecx, 1; lea rdi, [rbx+7ffh]; cmp rsi, rdx; rep stosb",
             {0x8b, 0x13, 0x89, 0x13, 0xb9, 1, 0, 0, 0, 0x48, 0x8d, 0xbb, 0xff, 7, 0, 0, 0x48, 0x39, 0xd6, 0xf3, 0xaa}},
        Form{"mov edx, [rbx]; mov [rbx], edx; mov ecx, 9; lea rsi, [rbx-16]; mov rdi, rbx; rep movsd", {0x8b, 0x13, 0x89, 0x13, 0xb9, 9, 0, 0, 0, 0x48, 0x8d, 0x73, 0xf0, 0x48, 0x89, 0xdf, 0xf3, 0xa5}},
        Form{"mov edx, [rbx]; mov [rbx], edx; mov ecx, 100; lea rdi, [rbx-3]; mov rsi, rbx; rep movsb; rep movsw; mov cl, 3; rep stosw",
             {0x8b, 0x13, 0x89, 0x13, 0xb9, 100, 0, 0, 0, 0x48, 0x8d, 0x7b, 0xfd, 0x48, 0x89, 0xde, 0xf3, 0xa4, 0xb1, 3, 0x66, 0xf3, 0xa5, 0xb1, 3, 0x66, 0xf3, 0xab}},
        Form{"mov rsi, cr0; mov r9, cr4; or rsi, r9", {0x0f, 0x20, 0xc6, 0x41, 0x0f, 0x20, 0xe1, 0x4c, 0x09, 0xce}},
        Form{"cmp rsi, rdx; mov rdx, cr2; mov rdi, cr3", {0x48, 0x39, 0xd6, 0x0f, 0x20, 0xd2, 0x0f, 0x20, 0xdf}},
        Form{"mov esi, ds; mov r9, ss; mov edx, cs; push rdx", {0x8c, 0xde, 0x4d, 0x8c, 0xd1, 0x8c, 0xca, 0x52}},
        Form{"cmp rsi, r9", {0x4c, 0x39, 0xce}}, Form{"bsf r9, rsi", {0x4c, 0x0f, 0xbc, 0xce}}));

INSTANTIATE_TEST_SUITE_P(
    X87, SameAsInterpreted,
    testing::Values(
        Form{"fld qword [rbx]; fmul dword [rbx+8]; faddp st1, st0; fld1; fdivr qword [rbx+32]; fstp tword [rbx+16]; fstp qword [rbx+3]",
             {0xdd, 3, 0xd8, 0x4b, 8, 0xde, 0xc1, 0xd9, 0xe8, 0xdc, 0x7b, 0x20, 0xdb, 0x7b, 0x10, 0xdd, 0x5b, 3}},
        Form{"fld tword [rbx]; fild word [rbx+10]; fild qword [rbx+2]; fisubr dword [rbx+24]; fucomip st0, st1; fisttp qword [rbx+40]; fistp word [rbx+1]",
             {0xdb, 0x2b, 0xdf, 0x43, 0xa, 0xdf, 0x6b, 2, 0xda, 0x6b, 0x18, 0xdf, 0xe9, 0xdd, 0x4b, 0x28, 0xdf, 0x5b, 1}},
        Form{"fld tword [rbx]; fld qword [rbx+16]; fld st0; fabs; fsqrt; fprem; fnstsw ax; fxch st2; fcomi st0, st1; setp sil; fstp st1; fst dword [rbx+48]",
             {0xdb, 0x2b, 0xdd, 0x43, 0x10, 0xd9, 0xc0, 0xd9, 0xe1, 0xd9, 0xfa, 0xd9, 0xf8, 0xdf, 0xe0, 0xd9, 0xca, 0xdb, 0xf1, 0x40, 0xf, 0x9a, 0xc6, 0xdd, 0xd9, 0xd9, 0x53, 0x30}},
        Form{"fnstcw [rbx]; mov word [rbx+2], 0xf7f; fldcw [rbx+2]; fld qword [rbx+8]; frndint; fist dword [rbx+16]; fldcw [rbx]; fistp qword [rbx+24]; fnstcw [rbx+4]",
             {0xd9, 0x3b, 0x66, 0xc7, 0x43, 2, 0x7f, 0xf, 0xd9, 0x6b, 2, 0xdd, 0x43, 8, 0xd9, 0xfc, 0xdb, 0x53, 0x10, 0xd9, 0x2b, 0xdf, 0x7b, 0x18, 0xd9, 0x7b, 4}},
        Form{"fld1; fldpi; fldl2e; fldl2t; fldlg2; fldln2; fldz; fld1; fldpi; fnstsw ax; fstp st3",
             {0xd9, 0xe8, 0xd9, 0xeb, 0xd9, 0xea, 0xd9, 0xe9, 0xd9, 0xec, 0xd9, 0xed, 0xd9, 0xee, 0xd9, 0xe8, 0xd9, 0xeb, 0xdf, 0xe0, 0xdd, 0xdb}},
        Form{"fadd st0, st3; fcom st2; fnstsw [rbx]; fnclex; ftst; fxam; fnstsw ax; wait; fchs; fnop",
             {0xd8, 0xc3, 0xd8, 0xd2, 0xdd, 0x3b, 0xdb, 0xe2, 0xd9, 0xe4, 0xd9, 0xe5, 0xdf, 0xe0, 0x9b, 0xd9, 0xe0, 0xd9, 0xd0}},
        Form{"fld1; fldpi; cmp rsi, rdx; fcmovb st0, st1; fstp qword [rbx]; fldpi; fcmovnbe st0, st1; fcmovne st0, st1; fcmovu st0, st1; fstp qword [rbx+8]",
             {0xd9, 0xe8, 0xd9, 0xeb, 0x48, 0x39, 0xd6, 0xda, 0xc1, 0xdd, 0x1b, 0xd9, 0xeb, 0xdb, 0xd1, 0xdb, 0xc9, 0xda, 0xd9, 0xdd, 0x5b, 8}},
        Form{"fld qword [rsp]; fstp dword [rsp+8]; push rsi; fild qword [rsp]; pop rdx; fild dword [rsp]; fscale; fcompp; fnstsw ax; fld qword [rip+64]",
             {0xdd, 4, 0x24, 0xd9, 0x5c, 0x24, 8, 0x56, 0xdf, 0x2c, 0x24, 0x5a, 0xdb, 4, 0x24, 0xd9, 0xfd, 0xde, 0xd9, 0xdf, 0xe0, 0xdd, 5, 0xe5, 0, 0, 0}},
        Form{"fld dword [rbx]; cmp rsi, rdx; fcomip st0, st0; setb r9b; fld qword [rbx+rbp]; fdiv st0, st0; fst st1; fucom st1; fnstsw [rbx+6]",
             {0xd9, 3, 0x48, 0x39, 0xd6, 0xdf, 0xf0, 0x41, 0xf, 0x92, 0xc1, 0xdd, 4, 0x2b, 0xdc, 0xf8, 0xdd, 0xd1, 0xdd, 0xe1, 0xdd, 0x7b, 6}},
        Form{"fld qword [r10+rbx-1]; fxch st1; fsubrp st1, st0; fldz; fdivp st1, st0; fprem1; fstp tword [rbx+5]",
             {0x41, 0xdd, 0x44, 0x1a, 0xff, 0xd9, 0xc9, 0xde, 0xe1, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xf5, 0xdb, 0x7b, 5}},
        Form{"fld qword [rbx]; fsin; fadd qword [rbx+8]; fxtract; fnstsw ax; fstp qword [rbx+16]; fninit; fld1",
             {0xdd, 3, 0xd9, 0xfe, 0xdc, 0x43, 8, 0xd9, 0xf4, 0xdf, 0xe0, 0xdd, 0x5b, 0x10, 0xdb, 0xe3, 0xd9, 0xe8}, true},
        Form{"mov word [rbx], 0x37b; fld1; fldcw [rbx]; fldz; fdivp st1, st0; fnstsw ax; fld1",
             {0x66, 0xc7, 3, 0x7b, 3, 0xd9, 0xe8, 0xd9, 0x2b, 0xd9, 0xee, 0xde, 0xf9, 0xdf, 0xe0, 0xd9, 0xe8}, true},
        Form{"fld1; fld qword [rbx]; fnstenv [rbx+64]; fldpi; fnsave [rbx+128]; frstor [rbx+128]; fmulp st1, st0",
             {0xd9, 0xe8, 0xdd, 3, 0xd9, 0x73, 0x40, 0xd9, 0xeb, 0xdd, 0xb3, 0x80, 0, 0, 0, 0xdd, 0xa3, 0x80, 0, 0, 0, 0xde, 0xc9}, true},
        Form{"fld qword [fs:rbx]; fstp qword [rbx+8]; fstp qword [fs:rbx+16]",
             {0x64, 0xdd, 3, 0xdd, 0x5b, 8, 0x64, 0xdd, 0x5b, 0x10}, true}));

TEST(Translator, RefusesABufferThatHoldsNoBlock) {
    auto const machine = CodeRunner::create();
    for (std::size_t const bytes : {std::size_t{0}, Translator::kLeastBytes - 1, Translator::kMostBytes + 1}) {
        auto const translator = Translator::create(machine->cpu(), bytes);
        ASSERT_FALSE(translator.has_value());
        EXPECT_EQ(translator.error().message, "a buffer of " + std::to_string(bytes) + " bytes for translated code; expected 65536 to 1073741824");
    }
    EXPECT_TRUE(Translator::create(machine->cpu(), Translator::kLeastBytes).has_value());
}

// Iterations are instructions: a repeated one stops at the quota, in one page or two, and whatever it is short of.
TEST(Translator, RepeatedInstructionsKeepTheQuota) {
    Translated const with = Translated::create();
    auto const interpreted = CodeRunner::create();
    // loop: mov ecx, 20; rep stosq; mov cl, 7; rep movsb; rdtsc; add rbp, rax; dec ebx; jnz loop
    std::vector<std::uint8_t> const code{0xb9, 20, 0, 0, 0, 0xf3, 0x48, 0xab, 0xb1, 7, 0xf3, 0xa4, 0x0f, 0x31, 0x48, 0x01, 0xc5, 0xff, 0xcb, 0x75, 0xeb};
    for (std::uint64_t quota = 1; quota < 200; ++quota) {
        CpuState state = CodeRunner::ready();
        state.gpr[rdi] = CodeRunner::kData + 0xd00, state.gpr[rsi] = CodeRunner::kData + 0x2f00;
        state.gpr[rbx] = 6;
        if (quota % 7 == 0) state.rflags |= rflags::kDirection;
        for (CodeRunner* const machine : {with.machine.get(), interpreted.get()}) {
            machine->put_code(state, code);
            for (unsigned i = 0; i < 3; ++i) static_cast<void>(machine->cpu().run(quota));
        }
        ASSERT_EQ(with.machine->cpu().state(), interpreted->cpu().state()) << quota;
        ASSERT_EQ(with.machine->cpu().instructions(), interpreted->cpu().instructions()) << quota;
        for (std::uint64_t at = CodeRunner::kData; at < CodeRunner::kData + 0x4000; at += 8)
            ASSERT_EQ(with.machine->get<std::uint64_t>(at), interpreted->get<std::uint64_t>(at)) << quota << " at " << at;
    }
}

// Memory of the user is the kernel's between STAC and CLAC, and not before and behind.
TEST(Translator, UserMemoryIsReachedWithAccessCheckAlone) {
    constexpr std::uint64_t kTables = 0x2000, kUser = 0x20000;
    // loop: stac; inc dword [rsi]; mov eax, [rsi+4]; clac; dec ecx; jnz loop; and, with the access behind CLAC, mov edx, [rsi]
    std::vector<std::uint8_t> const code{0x0f, 0x01, 0xcb, 0xff, 0x06, 0x8b, 0x46, 4, 0x0f, 0x01, 0xca, 0xff, 0xc9, 0x75, 0xf1, 0x8b, 0x16};
    Translated const with = Translated::create();
    auto const interpreted = CodeRunner::create();
    for (CodeRunner* const machine : {with.machine.get(), interpreted.get()}) {
        for (std::uint64_t level = 0; level < 3; ++level) machine->put(kTables + level * 0x1000, kTables + (level + 1) * 0x1000 + 7);
        machine->put(kTables + 0x3000 + 8, std::uint64_t{CodeRunner::kCode | 3});
        machine->put(kTables + 0x3000 + 8 * (kUser >> kPageShift), std::uint64_t{CodeRunner::kData | 7});
        CpuState state = CodeRunner::ready();
        state.cr3 = kTables, state.cr4 |= cr4::kPhysicalAddressExtension | cr4::kSmap, state.cr0 |= cr0::kPaging;
        state.gpr[rcx] = 50, state.gpr[rsi] = kUser;
        machine->run(state, code);
        ASSERT_TRUE(machine->fault());
        EXPECT_EQ(machine->fault(), ExceptionVector::page_fault) << "behind the loop";
        EXPECT_EQ(machine->get<std::uint32_t>(CodeRunner::kData), 50u);
    }
    EXPECT_EQ(with.machine->after(), interpreted->after());
    EXPECT_EQ(with.machine->cpu().instructions(), interpreted->cpu().instructions());
    EXPECT_LT(with.translator->counters().slow_accesses, 8u) << "the tables of the view with AC are used";
}

TEST(Translator, PauseEndsTheRunWhileOthersWait) {
    Translated const with = Translated::create();
    CpuState state = CodeRunner::ready();
    state.rflags |= rflags::kCarry;
    std::vector<std::uint8_t> const code{0x48, 0x39, 0xf6, 0xf3, 0x90, 0xff, 0xc0, 0xeb, 0xf7};  // cmp rsi, rsi; pause; inc eax; jmp back
    with.machine->put_code(state, code);
    EXPECT_EQ(with.machine->cpu().run(100).executed, 100u);
    with.machine->cpu().set_yields(true);
    Cpu::RunResult const result = with.machine->cpu().run(100);
    EXPECT_EQ(result.reason, Leave::pause);
    EXPECT_EQ(result.executed, 2u);
    EXPECT_EQ(with.machine->cpu().state().rflags & rflags::kArithmetic, rflags::kZero | rflags::kParity);
    EXPECT_EQ(with.machine->cpu().run(100).executed, 4u);
}

// What translated code cannot execute, the interpreter does, with the whole state, and goes back to translated code.
TEST(Translator, ClaimS34LeavesForTheInterpreterAndComesBack) {
    Translated const with = Translated::create();
    CodeRunner& machine = *with.machine;
    // mov ecx, 10; loop: add rax, 7; mov [0x8ffd], rax (into two pages); dec ecx; jnz loop
    machine.run(CodeRunner::ready(), {0xb9, 10,   0,    0,    0,    0x48, 0x83, 0xc0, 7,    0x48, 0x89,
                                       0x04, 0x25, 0xfd, 0x8f, 0,    0,    0xff, 0xc9, 0x75, 0xf0});
    ASSERT_FALSE(machine.fault());
    TranslatorCounters const& counters = with.translator->counters();
    EXPECT_EQ(counters.exits[static_cast<std::size_t>(TranslatorExit::alone)], 10u);
    EXPECT_EQ(machine.cpu().instructions(), 1u + 10 * 4);
    EXPECT_EQ(counters.instructions, machine.cpu().instructions() - 10) << "all others ran in translated code";
    EXPECT_EQ(machine.get<std::uint64_t>(0x8ffd), machine.after().gpr[rax]);
    EXPECT_EQ(machine.after().gpr[rax], 70u);
}

// Loops whose registers live in others' places, left at each turn and in each way: to the end, before a store into code, at the
// quota's end, where there is no RAM, and for an exception.
TEST(Translator, LoopsPutRegistersBack) {
    // loop: add r8, [rbx]; mov [rbx+8], r8; lea rbx, [rbx+3f8h]; cmp r9d, r10d; adc r11, r8; dec r9d; jnz loop
    std::vector<std::uint8_t> const plain{0x4c, 0x03, 0x03, 0x4c, 0x89, 0x43, 8,    0x48, 0x8d, 0x9b, 0xf8, 3,    0,
                                          0,    0x45, 0x39, 0xd1, 0x4d, 0x11, 0xc3, 0x41, 0xff, 0xc9, 0x75, 0xe7};
    // the same with push r11; pop r15 and a handler (lahf) in between
    std::vector<std::uint8_t> const handled{0x4c, 0x03, 0x03, 0x4c, 0x89, 0x43, 8,    0x48, 0x8d, 0x9b, 0xf8, 3,    0,    0,   0x41, 0x53,
                                            0x41, 0x5f, 0x9f, 0x45, 0x39, 0xd1, 0x4d, 0x11, 0xc3, 0x41, 0xff, 0xc9, 0x75, 0xe2};
    // loop: dec r9d; jz out; mov eax, r10d; div dword [rbx+r9*4]; add r10d, eax; jmp loop (out: by #DE or the end)
    std::vector<std::uint8_t> const divides{0x41, 0xff, 0xc9, 0x74, 0x0d, 0x31, 0xd2, 0x44, 0x89, 0xd0, 0x42,
                                            0xf7, 0x34, 0x8b, 0x41, 0x01, 0xc2, 0xeb, 0xee};
    // loop: shl r8d, 3; pushfq; pop r10; xor r8, [rbx]; mov rbp, r12; mov r14, r13; add r11, r10; dec r9d; jnz loop
    std::vector<std::uint8_t> const images{0x41, 0xc1, 0xe0, 3,    0x9c, 0x41, 0x5a, 0x4c, 0x33, 0x03, 0x4c, 0x89,
                                           0xe5, 0x4d, 0x89, 0xee, 0x4d, 0x01, 0xd3, 0x41, 0xff, 0xc9, 0x75, 0xe8};
    Translated const with = Translated::create();
    auto const interpreted = CodeRunner::create();
    std::mt19937_64 random{3};
    for (auto const& code : {plain, handled, divides, images}) {
        for (std::uint64_t turns = 1; turns < 70; ++turns) {
            CpuState state = CodeRunner::ready();
            for (auto& gpr : state.gpr) gpr = random() >> (random() & 31);
            state.gpr[rbx] = turns % 5 == 0 ? 0x400 : CodeRunner::kData + 8 * turns;  // upwards over the code, or over the end of RAM
            state.gpr[rsp] = CodeRunner::kData;
            state.gpr[r9] = turns;
            for (std::uint64_t at = 0; at < 0x10000; at += 8) {
                std::uint64_t const value = random() % 40 == 0 ? 0 : random();
                with.machine->put(at, value), interpreted->put(at, value);
            }
            for (CodeRunner* const machine : {with.machine.get(), interpreted.get()}) {
                machine->put_code(state, code);
                static_cast<void>(machine->cpu().run(turns % 3 == 0 ? 4 * turns : 10'000));
            }
            ASSERT_EQ(with.machine->cpu().state(), interpreted->cpu().state()) << turns << " turns of " << code.size() << " bytes";
            ASSERT_EQ(with.machine->cpu().instructions(), interpreted->cpu().instructions());
            for (std::uint64_t at = 0; at < 0x10000; at += 8) ASSERT_EQ(with.machine->get<std::uint64_t>(at), interpreted->get<std::uint64_t>(at)) << at;
        }
    }
}

// A loop whose accesses find another page at each turn, mapped to frames in no order.
TEST(Translator, GivesGuessesUpThatAreWrong) {
    constexpr std::uint64_t kTables = 0x2000, kUsed = 8;  // frames 8 to 15
    // loop: mov rdx, rcx; and edx, 7; shl edx, 12; add [rdx+20000h], rcx; add rax, [rdx+20000h]; dec ecx; jnz loop
    std::vector<std::uint8_t> const code{0x48, 0x89, 0xca, 0x83, 0xe2, 7,    0xc1, 0xe2, 12,   0x48, 0x01, 0x8a, 0,    0,
                                         2,    0,    0x48, 0x03, 0x82, 0,    0,    2,    0,    0xff, 0xc9, 0x75, 0xe5};
    auto const run = [&](CodeRunner& machine) {
        for (std::uint64_t level = 0; level < 3; ++level) machine.put(kTables + level * 0x1000, kTables + (level + 1) * 0x1000 + 3);
        machine.put(kTables + 0x3000 + 8, std::uint64_t{CodeRunner::kCode | 3});
        for (std::uint64_t i = 0; i < kUsed; ++i) machine.put(kTables + 0x3000 + 8 * (0x20 + i), (CodeRunner::kData + (i * 3 & 7) * 0x1000) | 3);
        CpuState state = CodeRunner::ready();
        state.cr3 = kTables, state.cr4 |= cr4::kPhysicalAddressExtension, state.cr0 |= cr0::kPaging;
        state.gpr[rcx] = 500;
        machine.put_code(state, code);
        static_cast<void>(machine.cpu().run(100'000));
    };
    Translated const with = Translated::create();
    auto const interpreted = CodeRunner::create();
    run(*with.machine), run(*interpreted);
    EXPECT_EQ(with.machine->cpu().state(), interpreted->cpu().state());
    EXPECT_EQ(with.machine->cpu().instructions(), 500u * 7);
    for (std::uint64_t page = 0; page < kUsed; ++page)
        EXPECT_EQ(with.machine->get<std::uint64_t>(CodeRunner::kData + page * 0x1000), interpreted->get<std::uint64_t>(CodeRunner::kData + page * 0x1000));
    EXPECT_EQ(with.translator->counters().guesses_given_up, 2u) << "of the store and of the load";
}

// A group of accesses in two pages is left to code that looks at each of them, and that is where it stays.
TEST(Translator, GroupsInTwoPagesAreTakenApart) {
    Translated const with = Translated::create();
    CodeRunner& machine = *with.machine;
    // loop: inc eax; mov rsi, [rbx]; mov rdx, [rbx+8]; dec ecx; jnz loop
    std::vector<std::uint8_t> const code{0xff, 0xc0, 0x48, 0x8b, 0x33, 0x48, 0x8b, 0x53, 8, 0xff, 0xc9, 0x75, 0xf3};
    CpuState state = CodeRunner::ready();
    state.gpr[rbx] = CodeRunner::kData + 0xff8, state.gpr[rcx] = 1000;
    machine.put(CodeRunner::kData + 0xff8, std::uint64_t{11}), machine.put(CodeRunner::kData + 0x1000, std::uint64_t{22});
    machine.put_code(state, code);
    static_cast<void>(machine.cpu().run(100'000));
    EXPECT_EQ(machine.cpu().state().gpr[rsi], 11u);
    EXPECT_EQ(machine.cpu().state().gpr[rdx], 22u);
    EXPECT_EQ(machine.cpu().instructions(), 5000u);
    EXPECT_EQ(with.translator->counters().split_groups, 64u);
    EXPECT_EQ(with.translator->counters().exits[static_cast<std::size_t>(TranslatorExit::alone)], 0u);
}

// Code that is not translated yet goes from trace to trace without the dispatcher, which would have counted its entries.
TEST(Translator, ColdCodeThatIsLinkedGetsHot) {
    Translated const with = Translated::create();
    CodeRunner& machine = *with.machine;
    machine.cpu().set_hot_uses(16);
    // mov ecx, 100; loop: test cl, 1; jz even; inc eax; even: dec ecx; jnz loop
    machine.run(CodeRunner::ready(), {0xb9, 100, 0, 0, 0, 0xf6, 0xc1, 1, 0x74, 2, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf5});
    ASSERT_FALSE(machine.fault());
    EXPECT_EQ(machine.after().gpr[rax], 50u);
    EXPECT_EQ(machine.cpu().instructions(), 1u + 100 * 4 + 50);
    EXPECT_GE(with.translator->counters().instructions, 70u * 4) << "of 100 turns";
}

TEST(Translator, ControlRegistersAreTheKernels) {
    Translated const with = Translated::create();
    auto const interpreted = CodeRunner::create();
    for (unsigned level = 0; level < 4; ++level) {
        for (CodeRunner* const machine : {with.machine.get(), interpreted.get()}) {
            CpuState state = CodeRunner::ready();
            state.cr2 = 0x1234'5678'9abc;
            state.segments[ss].dpl = state.segments[cs].dpl = static_cast<std::uint8_t>(level);
            machine->run(state, {0xff, 0xc0, 0x48, 0x39, 0xc8, 0x0f, 0x20, 0xd2, 0xff, 0xc0});  // inc eax; cmp rax, rcx; mov rdx, cr2; inc eax
            EXPECT_EQ(machine->fault(), level == 0 ? std::nullopt : std::optional{ExceptionVector::general_protection}) << level;
            EXPECT_EQ(machine->after().gpr[rdx], level == 0 ? state.cr2 : 0) << level;
        }
        EXPECT_EQ(with.machine->after(), interpreted->after()) << level;
    }
}

TEST(Translator, CountsWhatIsNotFast) {
    Translated const with = Translated::create();
    CodeRunner& machine = *with.machine;
    // mov ecx, 10; loop: lahf; mov rax, [0x8000]; dec ecx; jnz loop
    machine.run(CodeRunner::ready(),
                {0xb9, 10, 0, 0, 0, 0x9f, 0x48, 0x8b, 0x04, 0x25, 0, 0x80, 0, 0, 0xff, 0xc9, 0x75, 0xf3});
    ASSERT_FALSE(machine.fault());
    TranslatorCounters const& counters = with.translator->counters();
    EXPECT_EQ(machine.cpu().instructions(), 1u + 10 * 4);
    EXPECT_EQ(counters.instructions, machine.cpu().instructions());
    EXPECT_EQ(counters.slow_accesses, 1u);
    EXPECT_EQ(counters.chained, 2u);  // into the loop and out of it; to its beginning the block jumps by itself
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
