#include "instruction.h"

#include <algorithm>
#include <cstring>

namespace backplane::isa {
namespace {

constexpr unsigned kTries = 60;

bool is_plain_branch(ZydisInstructionCategory category) {
    return category == ZYDIS_CATEGORY_COND_BR || category == ZYDIS_CATEGORY_UNCOND_BR ||
           category == ZYDIS_CATEGORY_CALL || category == ZYDIS_CATEGORY_RET;
}

bool has_any_prefix(Decoded const& decoded, std::initializer_list<std::uint8_t> prefixes) {
    auto const& raw = decoded.instruction.raw;
    for (unsigned i = 0; i < raw.prefix_count; ++i)
        if (std::ranges::find(prefixes, raw.prefixes[i].value) != prefixes.end()) return true;
    return false;
}

/// Puts an instruction together byte by byte. What is behind ModRM and SIB is random: the decoder says how much of it
/// belongs to the instruction.
class Assembler {
  public:
    Assembler(Form const& form, Rng& rng, AddressRegisters const& registers)
        : form_{form}, rng_{rng}, registers_{registers} {}

    void assemble(std::array<std::uint8_t, 15>& bytes) {
        bytes_ = &bytes;
        if (form_.has_modrm) choose_modrm();
        push_prefixes();
        if (form_.vex) {
            push_vex();
        } else {
            push_rex();
            if (form_.map != 0) push(0x0f);
            if (form_.map == 2) push(0x38);
            if (form_.map == 3) push(0x3a);
        }
        push(form_.opcode);
        if (form_.has_modrm) push_modrm();
        push_tail();
    }

  private:
    void push(unsigned byte) {
        if (count_ < bytes_->size()) (*bytes_)[count_++] = static_cast<std::uint8_t>(byte);
    }

    void choose_modrm() {
        reg_ = form_.fixed_reg ? form_.reg | (rng_.next() & 8) : rng_.below(16);
        if (!form_.memory) {
            mod_ = 3;
            rm_ = form_.fixed_rm ? form_.rm | (rng_.next() & 8) : rng_.below(16);
            return;
        }
        std::uint64_t const kind = rng_.below(100);
        bool const free = registers_.bases.empty();
        base_ = free ? rng_.below(16) : rng_.pick(registers_.bases);
        if (form_.vsib) {
            mod_ = rng_.below(3), rm_ = 4, index_ = rng_.below(16);
        } else if (kind < 12) {  // relative to RIP
            mod_ = 0, rm_ = 5;
        } else if (kind < 20) {  // SIB without base and index: an absolute address
            mod_ = 0, rm_ = 4, base_ = 5, index_ = 4;
        } else if (kind < 26 && free) {  // index only
            mod_ = 0, rm_ = 4, base_ = 5, index_ = pick_index();
        } else {
            mod_ = rng_.below(3);
            if (mod_ == 0 && (base_ & 7) == 5) mod_ = 1;
            bool const indexed = kind < 65 && (free || !registers_.indexes.empty());
            rm_ = indexed || (base_ & 7) == 4 ? 4 : base_;
            index_ = indexed ? pick_index() : 4;
        }
    }
    unsigned pick_index() {
        if (!registers_.indexes.empty()) return rng_.pick(registers_.indexes);
        unsigned const index = rng_.below(15);
        return index >= 4 ? index + 1 : index;
    }

    void push_prefixes() {
        // Which legacy prefixes, in any order.
        std::array<std::uint8_t, 6> prefixes{};
        std::size_t count = 0;
        if (!form_.vex)
            for (auto const prefix : form_.prefixes) prefixes[count++] = prefix;
        bool const may_be_redundant = registers_.bases.empty();
        if (rng_.chance(3))
            prefixes[count++] = rng_.chance(50) ? 0x65 : 0x64;  // GS, FS
        else if (rng_.chance(3))
            prefixes[count++] = rng_.chance(50) ? 0x2e : 0x3e;  // CS, DS: without effect
        if (may_be_redundant && rng_.chance(4)) prefixes[count++] = 0x67;
        if (may_be_redundant && !form_.vex && form_.prefixes.empty() && rng_.chance(3)) {
            static constexpr std::uint8_t kRedundant[] = {0x66, 0xf2, 0xf3};
            prefixes[count++] = kRedundant[rng_.below(3)];
        }
        for (std::size_t i = count; i > 1; --i) std::swap(prefixes[i - 1], prefixes[rng_.below(i)]);
        for (std::size_t i = 0; i < count; ++i) push(prefixes[i]);
    }

    unsigned rex_bits() const {
        return (reg_ & 8) >> 1 | (mod_ != 3 && rm_ == 4 ? (index_ & 8) >> 2 | (base_ & 8) >> 3 : (rm_ & 8) >> 3);
    }
    void push_vex() {
        unsigned const vvvv = form_.uses_vvvv ? static_cast<unsigned>(rng_.below(16)) : 15;
        unsigned const rex = form_.has_modrm ? rex_bits() : 0;
        auto const prefix = vex_prefix(form_, rex, vvvv);
        bool const has_short_form = (rex & 3) == 0 && !form_.rex_w && form_.map == 1;
        if (has_short_form && rng_.chance(50)) {
            push(0xc5);
            push((prefix[1] & 0x80) | (prefix[2] & 0x7f));
        } else {
            for (auto const byte : prefix) push(byte);
        }
    }
    void push_rex() {
        unsigned rex = form_.rex_w ? 8 : 0;
        if (form_.has_modrm) {
            rex |= rex_bits();
        } else {
            rex |= rng_.chance(50) ? rng_.next() & 7 : 0;
        }
        if (rex != 0 || rng_.chance(10)) push(0x40 | rex);
    }

    void push_modrm() {
        push(mod_ << 6 | (reg_ & 7) << 3 | (rm_ & 7));
        if (mod_ == 3 || (rm_ & 7) != 4) return;
        push(rng_.below(4) << 6 | (index_ & 7) << 3 | (base_ & 7));
    }

    void push_tail() {
        if (form_.has_modrm && mod_ == 1) push(random_byte());
        if (form_.has_modrm && (mod_ == 2 || (mod_ == 0 && ((rm_ & 7) == 5 || (base_ & 7) == 5)))) {
            auto const disp = static_cast<std::uint32_t>(rng_.chance(70) ? static_cast<std::int64_t>(rng_.next()) >> 52
                                                                         : random_integer(rng_));
            for (unsigned i = 0; i < 4; ++i) push(disp >> 8 * i);
        }
        std::uint64_t const immediate = random_integer(rng_);
        for (unsigned i = 0; i < 8; ++i) push(static_cast<unsigned>(immediate >> 8 * i));
        while (count_ < bytes_->size()) push(random_byte());
    }
    unsigned random_byte() { return rng_.chance(30) ? 0xffu << rng_.below(9) & 0xff : rng_.next() & 0xff; }

    Form const& form_;
    Rng& rng_;
    AddressRegisters const& registers_;
    std::array<std::uint8_t, 15>* bytes_{nullptr};
    std::size_t count_{0};
    unsigned mod_{0}, reg_{0}, rm_{0}, base_{0}, index_{4};
};

}  // namespace

void Instruction::patch(unsigned offset, unsigned size, std::uint64_t value) {
    if (offset + size <= bytes.size()) std::memcpy(&bytes[offset], &value, size);
    (void)decode(bytes, decoded);
}

bool Instruction::is_branch() const { return is_plain_branch(decoded.instruction.meta.category); }

std::optional<unsigned> gpr_number(ZydisRegister reg) {
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) return reg - ZYDIS_REGISTER_AH;
    ZydisRegister const wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (wide < ZYDIS_REGISTER_RAX || wide > ZYDIS_REGISTER_R15) return {};
    return wide - ZYDIS_REGISTER_RAX;
}

std::uint32_t written_gprs(Decoded const& decoded) {
    std::uint32_t written = 0;
    for (auto const& operand : decoded.all()) {
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
            continue;
        if (auto const number = gpr_number(operand.reg.value)) written |= 1u << *number;
    }
    return written;
}

std::optional<Instruction> make_instruction(Form const& form, Rng& rng, AddressRegisters const& registers) {
    Instruction made;
    made.form = &form;
    for (unsigned i = 0; i < kTries; ++i) {
        Assembler{form, rng, registers}.assemble(made.bytes);
        if (!decode(made.bytes, made.decoded) || form_key(made.decoded) != form.key) continue;
        // Prefixes before a near branch mean different things to AMD's processors and to Intel's: 66 truncates RIP or
        // is ignored, F2 and F3 change LOOPE and LOOPNE or are ignored.
        // F3 90 with REX.B is XCHG for AMD's processors, PAUSE for Intel's.
        if (form.mnemonic == ZYDIS_MNEMONIC_PAUSE && (made.decoded.instruction.raw.rex.B != 0)) continue;
        if (made.is_branch() && form.prefixes.empty() && has_any_prefix(made.decoded, {0x66, 0xf2, 0xf3})) continue;
        made.length = made.decoded.instruction.length;
        return made;
    }
    return {};
}

std::uint64_t linear_address(Instruction const& instruction, ZydisDecodedOperand const& operand, UserState const& state,
                             std::uint64_t rip) {
    auto const& mem = operand.mem;
    auto address = static_cast<std::uint64_t>(mem.disp.has_displacement ? mem.disp.value : 0);
    if (auto const base = gpr_number(mem.base)) address += state.gpr[*base];
    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) address += rip + instruction.length;
    if (auto const index = gpr_number(mem.index)) {
        // XLAT's index is AL.
        std::uint64_t const value = mem.index == ZYDIS_REGISTER_AL ? state.gpr[*index] & 0xff : state.gpr[*index];
        address += value * (mem.scale == 0 ? 1 : mem.scale);
    }
    if (instruction.decoded.instruction.address_width == 32 && mem.base != ZYDIS_REGISTER_RSP) address &= 0xffff'ffff;
    if (mem.segment == ZYDIS_REGISTER_GS) address += state.gs_base;
    if (mem.segment == ZYDIS_REGISTER_FS) address += state.fs_base;
    return address;
}

}  // namespace backplane::isa
