// The same bits on every host: what instructions give whose results the manuals leave partly open (approximations,
// transcendental functions, undefined flags, propagated NaNs), and what is left to the host's own arithmetic, summed up
// over random operands and compared with figures written down here. No host's processor is asked.
//
// A sum that changes is a change of every guest's run: it wants a line in the changelog. The sums hold for both models of
// the processor and for both tiers (tests/system/translate_all.cc runs this file again in translated code).
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr std::uint64_t kResults = kData + 32;
constexpr std::uint64_t kResultBytes = 160;
constexpr unsigned kRounds = 300;

// With RDI = kData: operands from there, results behind them.
constexpr std::string_view kLoadVectors = "0f1007 0f104f10";           // movups xmm0, [rdi]; xmm1, [rdi+16]
constexpr std::string_view kStoreVectors = "0f114720 0fae5f30 f4";     // movups [rdi+32], xmm0; stmxcsr; hlt
constexpr std::string_view kLoadX87 = "dbe3 db6f10 db2f";              // fninit; fld [rdi+16]; fld [rdi]
constexpr std::string_view kStoreX87 = "dd7740 f4";                    // fnsave [rdi+64]; hlt
constexpr std::string_view kLoadWords = "488b07 488b4f08 488b5f10";    // rax, rcx, rbx from [rdi], [rdi+8], [rdi+16]
constexpr std::string_view kStoreWords = "48894720 48895f28 48895730 9c 8f4738 f4";  // rax, rbx, rdx, flags

enum class Operands : std::uint8_t { words, vectors, x87 };

struct Golden {
    std::string_view name;
    Operands operands;
    std::string_view code;
    std::uint64_t sum;
};

constexpr auto kGolden = std::to_array<Golden>({
    {"rcpps", Operands::vectors, "0f53c1", 0xdbaa'9e9a'd377'079b},
    {"rsqrtps", Operands::vectors, "0f52c1", 0xc8ef'9032'5036'82fd},
    {"addps", Operands::vectors, "0f58c1", 0xff06'2541'0517'e8eb},
    {"mulps", Operands::vectors, "0f59c1", 0x0b20'ca62'ff96'd6ef},
    {"divps", Operands::vectors, "0f5ec1", 0x3cd6'f508'1160'6831},
    {"sqrtps", Operands::vectors, "0f51c1", 0x3e01'ff37'184b'12b5},
    {"minps", Operands::vectors, "0f5dc1", 0xcfc9'95a3'062a'5edd},
    {"mulpd", Operands::vectors, "660f59c1", 0xdd98'69c7'e18d'4602},
    {"divpd", Operands::vectors, "660f5ec1", 0xd080'fc00'ac47'116a},
    {"sqrtpd", Operands::vectors, "660f51c1", 0x63db'fcab'f257'e4eb},
    {"cvtps2dq", Operands::vectors, "660f5bc1", 0xae11'9d23'b46e'3b1c},
    {"cvttpd2dq", Operands::vectors, "660fe6c1", 0xc38c'49e4'0aeb'f6a1},
    {"cvtpd2ps", Operands::vectors, "660f5ac1", 0xef1d'b33e'216e'f19b},
    {"dpps", Operands::vectors, "660f3a40c1ff", 0x658d'4b6a'0471'd472},
    {"dppd", Operands::vectors, "660f3a41c133", 0x70a6'9b28'f4da'ef0b},
    {"haddps", Operands::vectors, "f20f7cc1", 0x6846'eba6'e23c'cd02},
    {"addsubps", Operands::vectors, "f20fd0c1", 0x8d42'ec64'2a72'9ae7},
    {"maxpd", Operands::vectors, "660f5fc1", 0x43c5'9ed2'7723'4097},
    {"cvtdq2ps", Operands::vectors, "0f5bc1", 0xbf01'04be'0d44'7b67},
    {"roundps", Operands::vectors, "660f3a08c104", 0xf6a5'4713'0378'4fe9},
    {"aesenc", Operands::vectors, "660f38dcc1", 0xb00b'a4a2'bf04'ddc4},
    {"pclmulqdq", Operands::vectors, "660f3a44c101", 0xa180'3383'd592'f7dd},
    {"fsin", Operands::x87, "d9fe", 0x6c6b'1525'936b'5f1d},
    {"fcos", Operands::x87, "d9ff", 0xec3f'2871'c609'6f6a},
    {"fsincos", Operands::x87, "d9fb", 0xbea1'b513'f976'b85f},
    {"fptan", Operands::x87, "d9f2", 0xfbb3'fbc2'957e'1e70},
    {"fpatan", Operands::x87, "d9f3", 0xe853'c7a0'f00e'3604},
    {"f2xm1", Operands::x87, "d9f0", 0xee18'4d54'd88b'77e3},
    {"fyl2x", Operands::x87, "d9f1", 0x83d6'fc87'e7ec'6b0f},
    {"fyl2xp1", Operands::x87, "d9f9", 0xb9e8'f6b9'206f'4b8b},
    {"fprem", Operands::x87, "d9f8", 0xa983'd378'aec9'f8df},
    {"fprem1", Operands::x87, "d9f5", 0x7d8e'c3ee'283b'e13f},
    {"fscale", Operands::x87, "d9fd", 0xc02e'c5ec'2171'2597},
    {"fsqrt", Operands::x87, "d9fa", 0xae22'ea6f'cf8e'6e74},
    {"fdiv", Operands::x87, "d8f1", 0xe462'd87d'dd6a'cf58},
    {"fmul", Operands::x87, "d8c9", 0x4692'763e'a304'c55e},
    {"fadd", Operands::x87, "d8c1", 0x14b1'57e8'9981'1909},
    {"fsubr", Operands::x87, "d8e9", 0x2154'ae9c'337e'ca7b},
    {"frndint", Operands::x87, "d9fc", 0xa422'49a1'95c7'8441},
    {"fxtract", Operands::x87, "d9f4", 0x66b9'db77'1e0b'd3b7},
    {"fbstp", Operands::x87, "df7720", 0x6f62'3693'04bd'daaf},
    {"imul", Operands::words, "480fafc1", 0xa8ab'8a20'31cd'0a24},
    {"mul", Operands::words, "48f7e1", 0x23a8'1a2d'ab7b'2e71},
    {"div", Operands::words, "31d2 48f7f1", 0x697c'1239'e86b'84de},
    {"shl", Operands::words, "48d3e0", 0x8342'87f4'a5da'e1fe},
    {"shr", Operands::words, "d3e8", 0x6b3a'fb6d'1a38'4c2d},
    {"sar", Operands::words, "48d3f8", 0xe819'6d5b'c53b'ded2},
    {"rol", Operands::words, "48d3c0", 0xa08b'852d'295a'8af2},
    {"rcr", Operands::words, "48d3d8", 0xff62'd12b'f2a9'6d4a},
    {"shld", Operands::words, "480fa5d8", 0x50c0'3cfe'4d0b'e034},
    {"shrd16", Operands::words, "660fadd8", 0xa620'a12f'445f'1c35},
    {"bsf", Operands::words, "480fbcc3", 0x9329'f2d7'eb59'1e7e},
    {"bsr", Operands::words, "0fbdc3", 0x5e1d'2879'9fcb'ef7d},
    {"bt", Operands::words, "480fa3d8", 0x95a8'5072'75b3'faf4},
    {"lzcnt", Operands::words, "f3480fbdc3", 0x15b0'7558'd057'8ae4},
    {"tzcnt", Operands::words, "f30fbcc3", 0x00c8'bac9'237e'58aa},
    {"crc32", Operands::words, "f2480f38f1c3", 0x8367'e290'4d3c'd7ff},
    {"rdrand", Operands::words, "480fc7f0", 0xb6d3'8fbd'bf7f'7a5d},
});

/// FNV-1a.
class Sum {
  public:
    void add(std::uint64_t word) {
        for (unsigned i = 0; i < 8; ++i) value_ = (value_ ^ (word >> 8 * i & 0xff)) * 0x100'0000'01b3;
    }
    [[nodiscard]] std::uint64_t value() const { return value_; }

  private:
    std::uint64_t value_{0xcbf2'9ce4'8422'2325};
};

/// Random bits, and often a value where rules change. The generator is the same everywhere, by the C++ standard.
class Source {
  public:
    std::uint64_t word() { return random_(); }
    std::uint64_t singles() { return single() | std::uint64_t{single()} << 32; }
    std::uint16_t exponent() {  // of the x87: mostly near 1
        constexpr std::array<std::uint16_t, 6> kEdges{0, 1, 0x3fff, 0x403e, 0x7ffe, 0x7fff};
        std::uint64_t const choice = random_();
        auto const sign = static_cast<std::uint16_t>(choice << 15);
        auto const near = static_cast<std::uint16_t>(0x3fff - 40 + (choice >> 8) % 80);
        return sign | ((choice >> 4 & 7) != 0 ? near : kEdges[(choice >> 8) % kEdges.size()]);
    }
    std::uint64_t significand() { return (random_() & 31) == 0 ? random_() >> 1 : random_() | std::uint64_t{1} << 63; }

  private:
    std::uint32_t single() {
        constexpr std::array<std::uint32_t, 12> kEdges{0,           0x8000'0000, 1,           0x007f'ffff, 0x0080'0000, 0x3f80'0000,
                                                       0x7f7f'ffff, 0x7f80'0000, 0xff80'0000, 0x7fc0'1234, 0x7f80'4321, 0x4f00'0000};
        std::uint64_t const choice = random_();
        auto const bits = static_cast<std::uint32_t>(choice >> 32);
        if ((choice & 3) == 0) return kEdges[(choice >> 4) % kEdges.size()];
        // Else near 1, so that results neither overflow nor vanish.
        return (bits & 0x807f'ffff) | (0x70 + (choice >> 4 & 0x1f)) << 23;
    }
    std::mt19937_64 random_{1};
};

std::string whole_code(Golden const& golden) {
    std::string_view load = kLoadWords;
    std::string_view store = kStoreWords;
    if (golden.operands == Operands::vectors) load = kLoadVectors, store = kStoreVectors;
    if (golden.operands == Operands::x87) load = kLoadX87, store = kStoreX87;
    return std::string{load} + std::string{golden.code} + std::string{store};
}

void put_operands(TestMachine& machine, Operands kind, Source& source) {
    for (std::uint64_t at = kData; at < kData + 32; at += 16) {
        if (kind == Operands::x87) {
            machine.put_value(at, source.significand());
            machine.put_value(at + 8, source.exponent());
        } else {
            machine.put_value(at, kind == Operands::vectors ? source.singles() : source.word());
            machine.put_value(at + 8, kind == Operands::vectors ? source.singles() : source.word());
        }
    }
}

std::uint64_t sum_of(Golden const& golden, CpuModel model) {
    TestMachine machine{model};
    Source source;
    Sum sum;
    machine.put(kCode, whole_code(golden));
    for (unsigned round = 0; round < kRounds; ++round) {
        for (std::uint64_t at = kResults; at < kResults + kResultBytes; at += 8) machine.put_value(at, std::uint64_t{0});
        put_operands(machine, golden.operands, source);
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rdi] = kData; });
        EXPECT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived(), std::nullopt) << golden.name << " raised an exception";
        for (std::uint64_t at = kResults; at < kResults + kResultBytes; at += 8) sum.add(machine.get(at));
    }
    return sum.value();
}

TEST(GoldenResults, AreTheSameOnEveryHost) {
    for (Golden const& golden : kGolden)
        EXPECT_EQ(sum_of(golden, CpuModel::sse), golden.sum) << golden.name << std::hex << " 0x" << sum_of(golden, CpuModel::sse);
}

TEST(GoldenResults, AreTheSameForBothModels) {
    if (widest_cpu_model() == CpuModel::sse) GTEST_SKIP() << "this host carries out one model only";
    for (Golden const& golden : kGolden) EXPECT_EQ(sum_of(golden, CpuModel::avx2), golden.sum) << golden.name;
}

}  // namespace
}  // namespace backplane
