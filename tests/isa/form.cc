#include "form.h"

#include <algorithm>
#include <cstdio>
#include <unordered_set>

namespace backplane::isa {
namespace {

ZydisDecoder const& decoder() {
    static ZydisDecoder const instance = [] {
        ZydisDecoder made;
        ZydisDecoderInit(&made, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return made;
    }();
    return instance;
}

bool encoded_in(Decoded const& decoded, ZydisOperandEncoding encoding) {
    return std::ranges::any_of(decoded.all(), [&](auto const& operand) { return operand.encoding == encoding; });
}

bool is_vex(Decoded const& decoded) { return decoded.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX; }

std::string with_bits(std::string kind, ZydisDecodedOperand const& operand) {
    kind += std::to_string(operand.size);
    return kind;
}

std::string operand_name(ZydisDecodedOperand const& operand) {
    switch (operand.type) {
        case ZYDIS_OPERAND_TYPE_MEMORY:
            return with_bits("m", operand);
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            return with_bits(operand.imm.is_relative ? "rel" : "imm", operand);
        case ZYDIS_OPERAND_TYPE_REGISTER:
            break;
        default:
            return with_bits("far", operand);
    }
    if (operand.encoding == ZYDIS_OPERAND_ENCODING_NONE || operand.encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
        return ZydisRegisterGetString(operand.reg.value);
    switch (ZydisRegisterGetClass(operand.reg.value)) {
        case ZYDIS_REGCLASS_XMM:
            return "xmm";
        case ZYDIS_REGCLASS_YMM:
            return "ymm";
        case ZYDIS_REGCLASS_MMX:
            return "mm";
        case ZYDIS_REGCLASS_X87:
            return "st";
        case ZYDIS_REGCLASS_SEGMENT:
            return "sreg";
        default:
            return with_bits("r", operand);
    }
}

std::string form_name(Decoded const& decoded) {
    std::string name;
    auto const attributes = decoded.instruction.attributes;
    if ((attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) name += "lock ";
    if ((attributes & ZYDIS_ATTRIB_HAS_REP) != 0) name += "rep ";
    if ((attributes & ZYDIS_ATTRIB_HAS_REPE) != 0) name += "repe ";
    if ((attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0) name += "repne ";
    name += ZydisMnemonicGetString(decoded.instruction.mnemonic);
    char const* separator = " ";
    for (auto const& operand : decoded.visible()) {
        name += separator + operand_name(operand);
        separator = ", ";
    }
    static constexpr char const* kMaps[] = {"", "0f", "0f38", "0f3a"};
    char opcode[32];
    std::snprintf(opcode, sizeof opcode, " [%s%s%02x", is_vex(decoded) ? "vex " : "", kMaps[decoded.instruction.opcode_map & 3],
                  decoded.instruction.opcode);
    name += opcode;
    bool const has_modrm = (decoded.instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
    if (has_modrm && !encoded_in(decoded, ZYDIS_OPERAND_ENCODING_MODRM_REG))
        name.append("/").append(std::to_string(decoded.instruction.raw.modrm.reg));
    return name + "]";
}

struct Bytes {
    std::uint8_t data[16]{};
    std::size_t count{0};
    void push(unsigned byte) { data[count++] = static_cast<std::uint8_t>(byte); }
};

constexpr std::uint8_t kModMemory = 0, kModRegister = 3;
constexpr std::uint8_t kPlainBase = 3;  // rbx: neither SIB nor RIP-relative

void push_legacy_prefixes(Form const& form, Bytes& bytes) {
    for (auto const prefix : form.prefixes) bytes.push(prefix);
    if (form.rex_w) bytes.push(0x48);
    if (form.map != 0) bytes.push(0x0f);
    if (form.map == 2) bytes.push(0x38);
    if (form.map == 3) bytes.push(0x3a);
}

constexpr std::uint8_t kSib = 4, kVectorSib = 2 << 3 | kPlainBase;  // rbx and vector 2
constexpr std::uint8_t kGatherMask = 3;                             // the registers of a gather must differ

Bytes encode(Form const& form, unsigned mod, unsigned reg, unsigned rm) {
    Bytes bytes;
    bool const has_sib = mod == kModMemory && rm == kSib;
    if (form.vex) {
        auto const vex = vex_prefix(form, 0, has_sib ? 15 - kGatherMask : 15);
        for (auto const byte : vex) bytes.push(byte);
    } else {
        push_legacy_prefixes(form, bytes);
    }
    bytes.push(form.opcode);
    bytes.push(mod << 6 | reg << 3 | rm);
    if (has_sib) bytes.push(kVectorSib);
    bytes.count = 15;  // zeros as displacement and immediate
    return bytes;
}

class Enumeration {
  public:
    explicit Enumeration(std::function<bool(Decoded const&)> const& wanted) : wanted_{wanted} {}

    void try_opcode(Form form) {
        form.uses_vvvv = false;
        for (unsigned reg = 0; reg < 8; ++reg) {
            if (!try_bytes(form, kModMemory, reg, kPlainBase)) return;
            if (form.vex) try_bytes(form, kModMemory, reg, kSib);
            for (unsigned rm = 0; rm < 8; ++rm) try_bytes(form, kModRegister, reg, rm);
        }
    }
    std::vector<Form> take() { return std::move(forms_); }

  private:
    /// False when ModRM does not matter, because there is none.
    bool try_bytes(Form& form, unsigned mod, unsigned reg, unsigned rm) {
        Decoded decoded;
        if (!decode(encode(form, mod, reg, rm).data, decoded)) return true;
        auto const& instruction = decoded.instruction;
        bool const has_modrm = (instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
        // A byte after the prefixes that is a prefix itself is no opcode.
        if (instruction.opcode != form.opcode || instruction.opcode_map != form.map) return has_modrm;
        bool const same_encoding = form.vex ? is_vex(decoded) : instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
        if (!same_encoding || !wanted_(decoded)) return has_modrm;
        std::uint64_t const key = form_key(decoded);
        if (!seen_.insert(key).second) return has_modrm;
        Form found = form;
        found.key = key;
        found.name = form_name(decoded);
        found.mnemonic = instruction.mnemonic;
        found.isa_set = instruction.meta.isa_set;
        found.has_modrm = has_modrm;
        found.memory = has_modrm && mod != kModRegister;
        found.fixed_reg = has_modrm && !encoded_in(decoded, ZYDIS_OPERAND_ENCODING_MODRM_REG);
        found.reg = static_cast<std::uint8_t>(reg);
        found.fixed_rm = has_modrm && mod == kModRegister && !encoded_in(decoded, ZYDIS_OPERAND_ENCODING_MODRM_RM);
        found.rm = static_cast<std::uint8_t>(rm);
        found.vsib = std::ranges::any_of(decoded.visible(), [](auto const& operand) {
            return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB;
        });
        found.uses_vvvv = encoded_in(decoded, ZYDIS_OPERAND_ENCODING_NDSNDD);
        forms_.push_back(std::move(found));
        return has_modrm;
    }

    std::function<bool(Decoded const&)> const& wanted_;
    std::unordered_set<std::uint64_t> seen_;
    std::vector<Form> forms_;
};

}  // namespace

bool decode(std::span<std::uint8_t const> bytes, Decoded& decoded) {
    return ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoder(), bytes.data(), bytes.size(), &decoded.instruction, decoded.operands));
}

std::uint64_t form_key(Decoded const& decoded) {
    std::uint64_t key = 0xcbf2'9ce4'8422'2325;
    auto const mix = [&](std::uint64_t value) { key = (key ^ value) * 0x0000'0100'0000'01b3, key ^= key >> 29; };
    auto const& instruction = decoded.instruction;
    mix(instruction.mnemonic);
    mix(instruction.opcode_map);
    mix(instruction.opcode);
    mix(is_vex(decoded));
    mix(instruction.attributes &
        (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
    if ((instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0) {
        bool const is_register = instruction.raw.modrm.mod == kModRegister;
        mix(is_register);
        mix(encoded_in(decoded, ZYDIS_OPERAND_ENCODING_MODRM_REG) ? 8u : instruction.raw.modrm.reg);
        mix(!is_register || encoded_in(decoded, ZYDIS_OPERAND_ENCODING_MODRM_RM) ? 8u : instruction.raw.modrm.rm);
    }
    for (auto const& operand : decoded.visible()) {
        mix(operand.type);
        mix(operand.size);
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) mix(ZydisRegisterGetClass(operand.reg.value));
    }
    // PUSH and POP with 66, and string instructions: the size is in what is not visible.
    for (auto const& operand : decoded.all().subspan(decoded.visible().size()))
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY || operand.type == ZYDIS_OPERAND_TYPE_REGISTER) mix(operand.size);
    return key;
}

std::vector<Form> enumerate_forms(std::function<bool(Decoded const&)> const& wanted) {
    static std::vector<std::vector<std::uint8_t>> const kPrefixes = {{},           {0x66},       {0xf3}, {0xf2},
                                                                     {0x66, 0xf3}, {0x66, 0xf2}, {0xf0}, {0xf0, 0x66}};
    Enumeration enumeration{wanted};
    for (auto const& prefixes : kPrefixes) {
        for (unsigned code = 0; code < 2 * 4 * 256; ++code) {
            Form form{};
            form.prefixes = prefixes;
            form.rex_w = (code & 0x400) != 0;
            form.map = code >> 8 & 3;
            form.opcode = static_cast<std::uint8_t>(code);
            enumeration.try_opcode(std::move(form));
        }
    }
    // VEX: the maps 0F, 0F38 and 0F3A, each with the four values of pp.
    static std::vector<std::vector<std::uint8_t>> const kVexPrefixes = {{}, {0x66}, {0xf3}, {0xf2}};
    for (auto const& prefixes : kVexPrefixes) {
        for (unsigned code = 1 << 8; code < 4 * 4 * 256; ++code) {
            if ((code >> 8 & 3) == 0) continue;
            Form form{};
            form.prefixes = prefixes;
            form.vex = true;
            form.rex_w = (code & 0x400) != 0;
            form.vex_long = (code & 0x800) != 0;
            form.map = code >> 8 & 3;
            form.opcode = static_cast<std::uint8_t>(code);
            enumeration.try_opcode(std::move(form));
        }
    }
    return enumeration.take();
}

std::array<std::uint8_t, 3> vex_prefix(Form const& form, unsigned rex, unsigned vvvv_inverted) {
    unsigned const first = form.prefixes.empty() ? 0 : form.prefixes.front();
    unsigned const pp = first == 0x66 ? 1 : first == 0xf3 ? 2 : first == 0xf2 ? 3 : 0;
    return {0xc4, static_cast<std::uint8_t>((~rex & 7) << 5 | form.map),
            static_cast<std::uint8_t>((form.rex_w ? 0x80 : 0) | vvvv_inverted << 3 | (form.vex_long ? 4 : 0) | pp)};
}

}  // namespace backplane::isa
