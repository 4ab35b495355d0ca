#include "jit/recode.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/lower.h"

namespace backplane::jit {
namespace {

struct Decoded {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

bool decode(std::uint8_t const* bytes, std::size_t length, Decoded& into) {
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(CodeMode::bits64), bytes, length, &into.instruction, into.operands)) &&
           into.instruction.length == length;
}

/// Do both bytes say the same?
void expect_same(InstructionBytes const& a, std::size_t a_length, InstructionBytes const& b, std::size_t b_length, std::string const& what) {
    Decoded first, second;
    ASSERT_TRUE(decode(a.data(), a_length, first)) << what;
    ASSERT_TRUE(decode(b.data(), b_length, second)) << what;
    EXPECT_EQ(first.instruction.mnemonic, second.instruction.mnemonic) << what;
    ASSERT_EQ(first.instruction.operand_count, second.instruction.operand_count) << what;
    EXPECT_EQ(first.instruction.attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_SEGMENT), 0u) << what;
    for (unsigned i = 0; i < first.instruction.operand_count; ++i) {
        ZydisDecodedOperand const &x = first.operands[i], &y = second.operands[i];
        EXPECT_EQ(x.type, y.type) << what;
        EXPECT_EQ(x.size, y.size) << what;
        if (x.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            EXPECT_EQ(x.reg.value, y.reg.value) << what;
        }
        if (x.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            EXPECT_EQ(x.imm.value.u, y.imm.value.u) << what;
        }
        if (x.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
        EXPECT_EQ(x.mem.base, y.mem.base) << what;
        EXPECT_EQ(x.mem.index, y.mem.index) << what;
        EXPECT_EQ(x.mem.disp.value, y.mem.disp.value) << what;
    }
}

struct Form {
    char const* name;
    std::vector<std::uint8_t> bytes;
};

Form const kForms[]{{"add eax, ebx", {0x01, 0xd8}},
                    {"add rax, [rbx+8]", {0x48, 0x03, 0x43, 8}},
                    {"add al, 5", {0x04, 5}},
                    {"add eax, 12345678h", {0x05, 0x78, 0x56, 0x34, 0x12}},
                    {"lock add [rdi], ecx", {0xf0, 0x01, 0x0f}},
                    {"mov fs:[rax], edx", {0x64, 0x89, 0x10}},
                    {"mov sil, dl", {0x40, 0x88, 0xd6}},
                    {"mov bpl, 7", {0x40, 0xb5, 7}},
                    {"mov ax, 1234h", {0x66, 0xb8, 0x34, 0x12}},
                    {"mov rax, imm64", {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}},
                    {"mov qword [rsp+8], -2", {0x48, 0xc7, 0x44, 0x24, 8, 0xfe, 0xff, 0xff, 0xff}},
                    {"mov word [rip+4], 99", {0x66, 0xc7, 0x05, 4, 0, 0, 0, 99, 0}},
                    {"cmp byte [rcx+rdx*4], 1", {0x80, 0x3c, 0x91, 1}},
                    {"xchg rax, r8", {0x49, 0x90}},
                    {"xchg [rbx], dl", {0x86, 0x13}},
                    {"bswap r9", {0x49, 0x0f, 0xc9}},
                    {"movzx ecx, byte [rsi]", {0x0f, 0xb6, 0x0e}},
                    {"movsxd rdx, esi", {0x48, 0x63, 0xd6}},
                    {"imul edx, [rsi], 100", {0x6b, 0x16, 100}},
                    {"imul r9, rdx", {0x4c, 0x0f, 0xaf, 0xca}},
                    {"mul rsi", {0x48, 0xf7, 0xe6}},
                    {"not word [rbx]", {0x66, 0xf7, 0x13}},
                    {"shl edx, cl", {0xd3, 0xe2}},
                    {"sar qword [rbx], 1", {0x48, 0xd1, 0x3b}},
                    {"shld rsi, rdx, 9", {0x48, 0x0f, 0xa4, 0xd6, 9}},
                    {"bt [rbx], 5", {0x0f, 0xba, 0x23, 5}},
                    {"setz dil", {0x40, 0x0f, 0x94, 0xc7}},
                    {"cmovne rdx, [rbx]", {0x48, 0x0f, 0x45, 0x13}},
                    {"cmpxchg [rbx], rdx", {0x48, 0x0f, 0xb1, 0x13}},
                    {"lock xadd [rbx], ecx", {0xf0, 0x0f, 0xc1, 0x0b}},
                    {"cmpxchg16b [rbx]", {0x48, 0x0f, 0xc7, 0x0b}},
                    {"popcnt ax, bx", {0x66, 0xf3, 0x0f, 0xb8, 0xc3}},
                    {"crc32 eax, word [rbx]", {0x66, 0xf2, 0x0f, 0x38, 0xf1, 0x03}},
                    {"movbe ecx, [rbx]", {0x0f, 0x38, 0xf0, 0x0b}},
                    {"cdqe", {0x48, 0x98}},
                    {"cwd", {0x66, 0x99}},
                    {"movups xmm9, [rbx]", {0x44, 0x0f, 0x10, 0x0b}},
                    {"movdqa [rdi], xmm3", {0x66, 0x0f, 0x7f, 0x1f}},
                    {"movsd xmm1, xmm10", {0xf2, 0x41, 0x0f, 0x10, 0xca}},
                    {"movq rdx, xmm12", {0x66, 0x4c, 0x0f, 0x7e, 0xe2}},
                    {"pshufd xmm0, [rbx], 27", {0x66, 0x0f, 0x70, 0x03, 27}},
                    {"pinsrw xmm2, edx, 3", {0x66, 0x0f, 0xc4, 0xd2, 3}},
                    {"pextrq rsi, xmm2, 1", {0x66, 0x48, 0x0f, 0x3a, 0x16, 0xd6, 1}},
                    {"cvtsi2sd xmm1, r9", {0xf2, 0x49, 0x0f, 0x2a, 0xc9}},
                    {"pmovmskb edx, xmm9", {0x66, 0x41, 0x0f, 0xd7, 0xd1}}};

/// Another register of the same size; those that an instruction names by itself stay.
ZydisRegister moved(ZydisDecodedOperand const& operand, unsigned by) {
    ZydisRegister const reg = operand.reg.value;
    if (operand.encoding == ZYDIS_OPERAND_ENCODING_NONE) return reg;
    switch (ZydisRegisterGetClass(reg)) {
        case ZYDIS_REGCLASS_GPR8:
            return by % 8 < 4 ? static_cast<ZydisRegister>(ZYDIS_REGISTER_AL + by % 4) : static_cast<ZydisRegister>(ZYDIS_REGISTER_SPL + by % 12);
        case ZYDIS_REGCLASS_GPR16:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_AX + by % 16);
        case ZYDIS_REGCLASS_GPR32:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_EAX + by % 16);
        case ZYDIS_REGCLASS_GPR64:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + by % 16);
        default:
            return reg;
    }
}

// With every register, and memory at each kind of distance, it is what the encoder of Zydis makes.
TEST(Recode, SaysWhatTheEncoderSays) {
    struct Place {
        ZydisRegister base, index;
        std::int64_t displacement;
    };
    Place const places[]{{ZYDIS_REGISTER_R9, ZYDIS_REGISTER_R11, 0}, {ZYDIS_REGISTER_R11, ZYDIS_REGISTER_NONE, 0},  {ZYDIS_REGISTER_R11, ZYDIS_REGISTER_NONE, 127},
                         {ZYDIS_REGISTER_R9, ZYDIS_REGISTER_NONE, 0}, {ZYDIS_REGISTER_R11, ZYDIS_REGISTER_NONE, 200}, {ZYDIS_REGISTER_R15, ZYDIS_REGISTER_NONE, -128}};
    for (Form const& form : kForms) {
        Instruction at{};
        std::copy(form.bytes.begin(), form.bytes.end(), at.bytes);
        ASSERT_TRUE(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(CodeMode::bits64), form.bytes.data(), form.bytes.size(), &at.decoded, at.operands))) << form.name;
        ASSERT_EQ(at.decoded.length, form.bytes.size()) << form.name;
        for (unsigned round = 0; round < 96; ++round) {
            ZydisEncoderRequest request;
            ASSERT_TRUE(ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(&at.decoded, at.operands, at.decoded.operand_count_visible, &request)));
            request.prefixes = 0;
            request.allowed_encodings = ZYDIS_ENCODABLE_ENCODING_LEGACY;
            for (unsigned i = 0; i < request.operand_count; ++i) {
                if (request.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER) request.operands[i].reg.value = moved(at.operands[i], round + 5 * i);
                if (request.operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
                Place const& place = places[round % std::size(places)];
                request.operands[i].mem = {place.base, place.index, place.index == ZYDIS_REGISTER_NONE ? std::uint8_t{0} : std::uint8_t{1}, place.displacement,
                                           static_cast<ZyanU16>(at.operands[i].size / 8)};
            }
            InstructionBytes expected, made;
            ZyanUSize length = expected.size();
            ASSERT_TRUE(ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, expected.data(), &length))) << form.name;
            std::size_t const made_length = recode(at, request, made);
            ASSERT_NE(made_length, 0u) << form.name;
            expect_same(made, made_length, expected, length, form.name);
        }
    }
}

TEST(Recode, PutsMemoryInTheRegistersPlaceAndBack) {
    Form const forms[]{{"mov esi, r9d", {0x44, 0x89, 0xce}}, {"add rsi, r9", {0x4c, 0x01, 0xce}}, {"cmp si, r9w", {0x66, 0x44, 0x39, 0xce}},
                       {"sbb sil, r9b", {0x44, 0x18, 0xce}}, {"movsx rsi, r9b", {0x49, 0x0f, 0xbe, 0xf1}}, {"mov esi, r9d, the other way", {0x41, 0x8b, 0xf1}}};
    for (Form const& form : forms) {
        Instruction at{};
        std::copy(form.bytes.begin(), form.bytes.end(), at.bytes);
        ASSERT_TRUE(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(CodeMode::bits64), form.bytes.data(), form.bytes.size(), &at.decoded, at.operands))) << form.name;
        ZydisEncoderRequest request;
        ASSERT_TRUE(ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(&at.decoded, at.operands, 2, &request)));
        request.operands[1] = {};
        request.operands[1].type = ZYDIS_OPERAND_TYPE_MEMORY;
        request.operands[1].mem = {ZYDIS_REGISTER_R15, ZYDIS_REGISTER_NONE, 0, 80, static_cast<ZyanU16>(at.operands[1].size / 8)};
        InstructionBytes expected, made;
        ZyanUSize length = expected.size();
        ASSERT_TRUE(ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, expected.data(), &length))) << form.name;
        std::size_t const made_length = recode(at, request, made);
        ASSERT_NE(made_length, 0u) << form.name;
        expect_same(made, made_length, expected, length, form.name);
    }
}

}  // namespace
}  // namespace backplane::jit
