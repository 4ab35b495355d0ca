#include "jit/recode.h"

#include <limits>

namespace backplane::jit {

namespace {

class Recoder {
  public:
    Recoder(Instruction const& at, ZydisEncoderRequest const& request, InstructionBytes& out)
        : at_{at}, request_{request}, out_{out} {}

    std::size_t run() {
        ZydisDecodedInstruction const& decoded = at_.decoded;
        if (decoded.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || request_.mnemonic != decoded.mnemonic) return 0;
        opcode_ = decoded.opcode;
        reg_ = decoded.raw.modrm.reg, rm_ = decoded.raw.modrm.rm;
        reg_high_ = decoded.raw.rex.R, rm_high_ = decoded.raw.rex.B;
        if (is_register_to_become_memory(1) && !turn_round()) return 0;
        for (unsigned i = 0; i < request_.operand_count; ++i)
            if (!place(at_.operands[i], request_.operands[i])) return 0;
        return write() ? length_ : 0;
    }

  private:
    static constexpr std::uint8_t kNeedsSib = 4;

    [[nodiscard]] bool is_register_to_become_memory(unsigned i) const {
        return request_.operand_count > i && at_.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
               request_.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
    }
    /// The form with the second operand in ModRM.rm, where memory may be.
    bool turn_round() {
        if (at_.operands[1].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) return true;
        bool const is_default = at_.decoded.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
        bool const has_both = is_default && ((opcode_ & 0xc6) == 0 || (opcode_ & 0xfe) == 0x88);  // arithmetic, MOV
        if (!has_both || at_.operands[1].encoding != ZYDIS_OPERAND_ENCODING_MODRM_REG) return false;
        opcode_ |= 2;
        turned_ = true;
        return true;
    }

    bool place(ZydisDecodedOperand const& old, ZydisEncoderOperand const& wanted) {
        switch (wanted.type) {
            case ZYDIS_OPERAND_TYPE_REGISTER:
                return place_register(old, wanted.reg.value);
            case ZYDIS_OPERAND_TYPE_MEMORY:
                return place_memory(old, wanted);
            case ZYDIS_OPERAND_TYPE_IMMEDIATE:
                return wanted.imm.u == old.imm.value.u;
            default:
                return false;
        }
    }

    bool place_register(ZydisDecodedOperand const& old, ZydisRegister reg) {
        bool const is_high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
        bool const is_low = reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B;
        auto const number = static_cast<std::uint8_t>(is_high  ? 4 + (reg - ZYDIS_REGISTER_AH)
                                                      : is_low ? 4 + (reg - ZYDIS_REGISTER_SPL)
                                                               : ZydisRegisterGetId(reg));
        has_high_ = has_high_ || is_high;
        has_rex_ = has_rex_ || (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_DIL);
        switch (turned(old.encoding)) {
            case ZYDIS_OPERAND_ENCODING_MODRM_REG:
                reg_ = number & 7, reg_high_ = number >> 3;
                return true;
            case ZYDIS_OPERAND_ENCODING_MODRM_RM:
                mode_ = 3, rm_ = number & 7, rm_high_ = number >> 3;
                return true;
            case ZYDIS_OPERAND_ENCODING_OPCODE:
                opcode_ = static_cast<std::uint8_t>((opcode_ & ~7) | (number & 7)), rm_high_ = number >> 3;
                return true;
            case ZYDIS_OPERAND_ENCODING_NONE:
                return old.type == ZYDIS_OPERAND_TYPE_REGISTER && old.reg.value == reg;
            default:
                return false;
        }
    }
    [[nodiscard]] ZydisOperandEncoding turned(ZydisOperandEncoding encoding) const {
        if (!turned_) return encoding;
        return encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ? ZYDIS_OPERAND_ENCODING_MODRM_REG : ZYDIS_OPERAND_ENCODING_MODRM_RM;
    }

    /// Of a base that is no RSP, RBP or such, and an index with factor 1 or none.
    bool place_memory(ZydisDecodedOperand const& old, ZydisEncoderOperand const& wanted) {
        std::int64_t const displacement = wanted.mem.displacement;
        bool const fits = displacement >= std::numeric_limits<std::int32_t>::min() && displacement <= std::numeric_limits<std::int32_t>::max();
        auto const base = static_cast<std::uint8_t>(ZydisRegisterGetId(wanted.mem.base));
        bool const has_index = wanted.mem.index != ZYDIS_REGISTER_NONE;
        if (turned(old.encoding) != ZYDIS_OPERAND_ENCODING_MODRM_RM || !fits || (base & 6) == 4 || (has_index && wanted.mem.scale != 1)) return false;
        displacement_ = static_cast<std::int32_t>(displacement);
        mode_ = displacement == 0 ? 0 : displacement >= -128 && displacement < 128 ? 1 : 2;
        rm_ = base & 7, rm_high_ = base >> 3;
        if (!has_index) return true;
        auto const index = static_cast<std::uint8_t>(ZydisRegisterGetId(wanted.mem.index));
        sib_ = static_cast<std::uint8_t>((index & 7) << 3 | rm_), index_high_ = index >> 3;
        rm_ = kNeedsSib;
        return true;
    }

    void put(std::uint8_t byte) { out_[length_++] = byte; }
    bool write() {
        ZydisDecodedInstruction const& decoded = at_.decoded;
        for (unsigned i = 0; i < decoded.raw.prefix_count; ++i) {
            auto const& prefix = decoded.raw.prefixes[i];
            bool const is_size = prefix.value == 0x66 && prefix.type == ZYDIS_PREFIX_TYPE_EFFECTIVE;
            if (is_size || prefix.type == ZYDIS_PREFIX_TYPE_MANDATORY) put(prefix.value);
        }
        auto const rex = static_cast<std::uint8_t>(decoded.raw.rex.W << 3 | reg_high_ << 2 | index_high_ << 1 | rm_high_);
        has_rex_ = has_rex_ || rex != 0;
        if (has_rex_ && has_high_) return false;
        if (has_rex_) put(static_cast<std::uint8_t>(0x40 | rex));
        if (!put_map()) return false;
        put(opcode_);
        if ((decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0) put_operands();
        std::uint8_t const immediates = decoded.raw.imm[0].size != 0 ? decoded.raw.imm[0].offset : decoded.length;
        for (std::uint8_t i = immediates; i < decoded.length; ++i) put(at_.bytes[i]);
        return true;
    }
    bool put_map() {
        switch (at_.decoded.opcode_map) {
            case ZYDIS_OPCODE_MAP_DEFAULT:
                return true;
            case ZYDIS_OPCODE_MAP_0F:
                put(0x0f);
                return true;
            case ZYDIS_OPCODE_MAP_0F38:
                put(0x0f), put(0x38);
                return true;
            case ZYDIS_OPCODE_MAP_0F3A:
                put(0x0f), put(0x3a);
                return true;
            default:
                return false;
        }
    }
    void put_operands() {
        put(static_cast<std::uint8_t>(mode_ << 6 | reg_ << 3 | rm_));
        if (mode_ == 3) return;
        if (rm_ == kNeedsSib) put(sib_);
        if (mode_ == 0) return;
        auto const bits = static_cast<std::uint32_t>(displacement_);
        put(static_cast<std::uint8_t>(bits));
        for (unsigned shift = 8; mode_ == 2 && shift < 32; shift += 8) put(static_cast<std::uint8_t>(bits >> shift));
    }

    Instruction const& at_;
    ZydisEncoderRequest const& request_;
    InstructionBytes& out_;
    std::size_t length_{0};
    bool has_rex_{false}, has_high_{false}, turned_{false};
    std::uint8_t opcode_{0}, mode_{3}, reg_{0}, rm_{0}, reg_high_{0}, rm_high_{0}, index_high_{0}, sib_{0};
    std::int32_t displacement_{0};
};

}  // namespace

std::size_t recode(Instruction const& at, ZydisEncoderRequest const& request, InstructionBytes& out) {
    return Recoder{at, request, out}.run();
}

}  // namespace backplane::jit
