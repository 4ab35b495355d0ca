#include "block.h"

#include <algorithm>
#include <bit>

#include "advertised.h"
#include "flags_undefined.h"

namespace backplane::isa {
namespace {

constexpr std::uint8_t kRcx = 1, kRsp = 4, kRsi = 6, kRdi = 7;
constexpr std::uint32_t kStepLimit = 12, kFlagStepLimit = 24;

/// What a block cannot contain, because a state must be made to fit it (cases of one instruction have that) or because
/// it writes bytes that are not compared and that others could read.
bool fits_blocks(Decoded const& decoded) {
    switch (decoded.instruction.mnemonic) {
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_POPFQ:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_VLDMXCSR:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XSAVEOPT:
        case ZYDIS_MNEMONIC_XSAVEOPT64:
        case ZYDIS_MNEMONIC_XSAVEC:
        case ZYDIS_MNEMONIC_XSAVEC64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64:
        case ZYDIS_MNEMONIC_ENTER:
        case ZYDIS_MNEMONIC_LEAVE:
        case ZYDIS_MNEMONIC_XLAT:
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2:
        case ZYDIS_MNEMONIC_LOOP:
        case ZYDIS_MNEMONIC_LOOPE:
        case ZYDIS_MNEMONIC_LOOPNE:
            return false;
        // Results that are undefined for counts above 16.
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD:
            return decoded.operands[0].size != 16;
        // A bit offset in a register reaches anywhere.
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTC:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTS:
            return decoded.operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY ||
                   decoded.operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER;
        default:
            return decoded.instruction.meta.isa_set != ZYDIS_ISA_SET_AVX2GATHER;
    }
}

bool is_integer(ZydisISASet set) {
    switch (set) {
        case ZYDIS_ISA_SET_X87:
        case ZYDIS_ISA_SET_FCMOV:
        case ZYDIS_ISA_SET_PENTIUMMMX:
        case ZYDIS_ISA_SET_SSE:
        case ZYDIS_ISA_SET_SSEMXCSR:
        case ZYDIS_ISA_SET_SSE2:
        case ZYDIS_ISA_SET_SSE2MMX:
        case ZYDIS_ISA_SET_SSE3:
        case ZYDIS_ISA_SET_SSE3X87:
        case ZYDIS_ISA_SET_SSSE3:
        case ZYDIS_ISA_SET_SSSE3MMX:
        case ZYDIS_ISA_SET_SSE4:
        case ZYDIS_ISA_SET_AES:
        case ZYDIS_ISA_SET_AVX:
        case ZYDIS_ISA_SET_AVXAES:
        case ZYDIS_ISA_SET_AVX2:
        case ZYDIS_ISA_SET_FMA:
        case ZYDIS_ISA_SET_F16C:
        case ZYDIS_ISA_SET_SHA:
        case ZYDIS_ISA_SET_PCLMULQDQ:
            return false;
        default:
            return true;
    }
}

class BlockCase {
  public:
    BlockCase(BlockForms const& forms, Rng& rng, MemoryPattern const& pattern, Case& to, BlockKind kind)
        : forms_{forms}, rng_{rng}, case_{to}, kind_{kind} {
        to.before = random_state(rng);
        pattern.fill(rng, to.window);
    }

    Program make() {
        choose_registers();
        bool const flags = kind_ != BlockKind::any;
        auto const count = static_cast<std::uint32_t>(flags ? 2 + rng_.below(kFlagStepLimit - 1) : 1 + rng_.below(kStepLimit));
        if (flags)
            while (program_.steps.size() < count) add_flag_step();
        else if (rng_.chance(8))
            add_loop(count);
        else
            while (program_.steps.size() < count) add_something();
        keep_sequences_whole();
        program_.track_flags();
        bool const crosses = rng_.chance(15);
        std::uint64_t const start =
            crosses ? kCode + kPage - rng_.below(64) : kCode + rng_.below(kCodeBytes - kMostCode);
        lay_out(program_, program_.steps.size(), start, case_);
        return std::move(program_);
    }

  private:
    /// Registers that hold addresses and are not written: two bases, an index, RSP, and RSI and RDI in every other
    /// block.
    void choose_registers() {
        strings_ = rng_.chance(50);
        reserve(kRsp);
        for (auto& base : bases_) base = take_register();
        if (strings_) bases_ = {kRsi, kRdi}, reserve(kRsi), reserve(kRdi);
        indexes_[0] = take_register();
        for (auto const base : bases_) case_.before.gpr[base] = kWindow + 1024 + 16 * rng_.below(384);
        case_.before.gpr[kRsp] = kWindow + 1024 + 8 * rng_.below(768);
        case_.before.gpr[indexes_[0]] = 16 * rng_.below(8) + (rng_.chance(20) ? rng_.below(16) : 0);
        mixed_ = rng_.chance(45) && !forms_.other_.empty();
    }
    void reserve(std::uint8_t reg) { reserved_ |= 1u << reg; }
    std::uint8_t take_register() {
        for (;;) {
            auto const reg = static_cast<std::uint8_t>(rng_.below(16));
            // CL, RSI and RDI have other uses.
            if ((reserved_ >> reg & 1) != 0 || reg == kRcx || reg == kRsi || reg == kRdi) continue;
            reserve(reg);
            return reg;
        }
    }
    std::uint8_t free_register() {
        for (;;) {
            auto const reg = static_cast<std::uint8_t>(rng_.below(16));
            if ((reserved_ >> reg & 1) == 0) return reg;
        }
    }

    Step& add(Instruction const& instruction) {
        program_.steps.push_back({.instruction = instruction});
        if (program_.steps.size() > 1) {
            program_.track_flags();
            undefined_ = program_.undefined_flags_at_end;
        } else {
            undefined_ = flag_effect(instruction.decoded, {}).undefined;
        }
        return program_.steps.back();
    }
    std::uint32_t next_step() const { return static_cast<std::uint32_t>(program_.steps.size()); }

    void add_something() {
        std::uint64_t const kind = rng_.below(100);
        if (kind < 3)
            add_jump();
        else if (kind < 5)
            add_indirect_jump();
        else if (kind < 7)
            add_call();
        else if (kind < 9)
            add_self_modification();
        else if (kind < 12)
            add_repeated_string();
        else if (kind < 32)
            add_random(forms_.flag_readers_);
        else if (kind < 66 && mixed_)
            add_random(forms_.other_);
        else
            add_random(forms_.integer_);
    }

    /// Whoever makes flags, and whoever reads some or all of them, in any order.
    void add_flag_step() {
        static Instruction const pushfq = instruction_of({0x9c}), lahf = instruction_of({0x9f});
        std::uint64_t const kind = rng_.below(100);
        if (kind < 25 && is_suitable(pushfq))
            add(pushfq);
        else if (kind < 32 && is_suitable(lahf))
            add(lahf);
        else if (kind < 50)
            add_random(forms_.flag_readers_);
        else if (kind < 93)
            add_random(forms_.producers_);
        else if (kind < 98)
            add_random(forms_.integer_);
        else
            add_jump();
    }

    // --- one instruction ------------------------------------------------------------------------------------------
    void add_random(std::vector<Form const*> const& from) {
        if (from.empty()) return add_nop();
        for (unsigned tries = 0; tries < 20; ++tries) {
            auto made = make_instruction(*rng_.pick(from), rng_, {bases_, indexes_});
            if (!made || !is_suitable(*made)) continue;
            aim(*made);
            bool const jumps = made->is_branch();
            Step& step = add(*made);
            if (jumps) step.jump_to = next_step() + static_cast<std::uint32_t>(rng_.below(4));
            return;
        }
        add_nop();
    }
    /// Adds a step that jumps must not go to: what it needs is set by the one before.
    void add_glued(Instruction const& instruction) { add(instruction).no_target = true; }
    void keep_sequences_whole() {
        auto const& steps = program_.steps;
        for (auto& step : program_.steps)
            while (step.jump_to < steps.size() && steps[step.jump_to].no_target) ++step.jump_to;
    }
    void add_nop() { add(instruction_of({0x90})); }

    bool is_suitable(Instruction const& made) {
        auto const& decoded = made.decoded;
        if (!fits_blocks(decoded)) return false;
        auto const category = decoded.instruction.meta.category;
        if (made.is_branch() && category != ZYDIS_CATEGORY_COND_BR) return false;
        bool const divides =
            decoded.instruction.mnemonic == ZYDIS_MNEMONIC_DIV || decoded.instruction.mnemonic == ZYDIS_MNEMONIC_IDIV;
        if (divides && !rng_.chance(10)) return false;
        if (kind_ != BlockKind::loose_flags && (flag_effect(decoded, {}).read & undefined_) != 0) return false;
        if ((written_gprs(decoded) & reserved_ & ~hidden_pointers(made)) != 0) return false;
        return std::ranges::all_of(decoded.all(), [&](auto const& operand) { return has_known_address(operand); });
    }
    /// What string and stack instructions move by themselves.
    static std::uint32_t hidden_pointers(Instruction const& made) {
        if (made.is_string()) return 1u << kRsi | 1u << kRdi;
        bool const explicit_rsp = std::ranges::any_of(made.decoded.visible(), [](auto const& operand) {
            return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && gpr_number(operand.reg.value) == kRsp;
        });
        return explicit_rsp ? 0 : 1u << kRsp;
    }
    bool has_known_address(ZydisDecodedOperand const& operand) const {
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) return true;
        if (operand.mem.segment == ZYDIS_REGISTER_GS || operand.mem.segment == ZYDIS_REGISTER_FS) return false;
        auto const base = gpr_number(operand.mem.base);
        return !base || (reserved_ >> *base & 1) != 0;
    }
    /// Puts a displacement in place with which the address falls into the window.
    void aim(Instruction& made) {
        auto const& raw = made.decoded.instruction.raw.disp;
        if (raw.size < 32 || made.is_branch()) return;
        for (auto const& operand : made.decoded.visible()) {
            if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) continue;
            bool const wide = operand.size >= 128;
            std::uint64_t offset = rng_.below(1024);
            if (wide && rng_.chance(90)) offset &= ~std::uint64_t{15};
            if (gpr_number(operand.mem.base))
                made.patch_displacement(offset);
            else if (operand.mem.base == ZYDIS_REGISTER_NONE)
                made.patch_displacement(kWindow + 4 * offset);
            // Relative to RIP: anywhere near the middle of the window; not aligned.
            else
                made.patch_displacement(kWindow - kCode + offset);
        }
    }

    // --- several that belong together -----------------------------------------------------------------------------
    void add_jump() {
        Step& step = add(rng_.chance(50) ? instruction_of({0xeb, 0}) : instruction_of({0xe9, 0, 0, 0, 0}));
        step.jump_to = next_step() + static_cast<std::uint32_t>(rng_.below(3));
    }
    Instruction load_address(std::uint8_t reg) {  // LEA reg, [RIP + ...]
        return instruction_of({0x48u | (reg & 8u) >> 1, 0x8d, 5u | (reg & 7u) << 3, 0, 0, 0, 0});
    }
    void add_indirect_jump() {
        std::uint8_t const reg = free_register();
        add(load_address(reg)).jump_to = next_step() + 2 + static_cast<std::uint32_t>(rng_.below(2));
        if (rng_.chance(50)) {  // JMP reg
            add_glued(instruction_of({0x40u | (reg & 8u) >> 3, 0xff, 0xe0u | (reg & 7u)}));
        } else {  // PUSH reg, RET
            program_.steps.back().jump_to += 1;
            add_glued(instruction_of({0x40u | (reg & 8u) >> 3, 0x50u | (reg & 7u)}));
            add_glued(instruction_of({0xc3}));
        }
    }
    /// CALL over a few instructions; sometimes the return address is popped again.
    void add_call() {
        add(instruction_of({0xe8, 0, 0, 0, 0})).jump_to = next_step() + static_cast<std::uint32_t>(rng_.below(2));
        if (rng_.chance(50)) {
            std::uint8_t const reg = free_register();
            add(instruction_of({0x40u | (reg & 8u) >> 3, 0x58u | (reg & 7u)}));
        }
    }
    /// A store into the immediate of a later instruction of this block.
    void add_self_modification() {
        auto const value = static_cast<unsigned>(rng_.next() & 0xff);
        std::uint8_t const reg = free_register();
        auto const between = static_cast<std::uint32_t>(rng_.below(3));
        std::uint32_t const store = next_step();
        add(instruction_of({0xc6, 0x05, 0, 0, 0, 0, value})).modifies = store + 1 + between;
        for (std::uint32_t i = 0; i < between; ++i) add_nop();
        add(instruction_of({0x40u | (reg & 8u) >> 3, 0xb8u | (reg & 7u), 0x11, 0x22, 0x33, 0x44}));
    }
    void add_repeated_string() {
        if (!strings_ || forms_.strings_.empty()) return add_nop();
        auto const made = make_instruction(*rng_.pick(forms_.strings_), rng_, {bases_, indexes_});
        if (!made || !is_suitable(*made)) return add_nop();
        add(set_rcx(rng_.below(20)));
        add_glued(*made);
    }
    Instruction set_rcx(std::uint64_t value) {  // MOV ECX, value
        return instruction_of({0xb9, static_cast<unsigned>(value), 0, 0, 0});
    }
    /// MOV ECX, n; some instructions; SUB ECX, 1; JNZ back. The SUB defines all flags, so the body may be tracked once.
    void add_loop(std::uint32_t count) {
        reserve(kRcx);
        add(set_rcx(2 + rng_.below(4)));
        std::uint32_t const head = next_step();
        while (program_.steps.size() < head + std::min(count, 8u)) {
            auto const& from = mixed_ && rng_.chance(40) ? forms_.other_ : forms_.integer_;
            add_random(from);
        }
        // Jumps of the body stay within it.
        add(instruction_of({0x83, 0xe9, 1}));
        std::uint32_t const tail = next_step() - 1;
        for (std::uint32_t i = head; i < tail; ++i)
            if (program_.steps[i].jump_to != kNoStep)
                program_.steps[i].jump_to = std::min(program_.steps[i].jump_to, tail);
        add(instruction_of({0x75, 0})).jump_to = head;
    }

    BlockForms const& forms_;
    Rng& rng_;
    Case& case_;
    BlockKind kind_;
    Program program_;
    std::array<std::uint8_t, 2> bases_{};
    std::array<std::uint8_t, 1> indexes_{};
    std::uint32_t reserved_{0};
    std::uint64_t undefined_{0};
    bool strings_{false};
    bool mixed_{false};
};

}  // namespace

BlockForms::BlockForms(std::vector<Form> const& forms) {
    Rng rng{1};
    for (auto const& form : forms) {
        auto const made = make_instruction(form, rng, {});
        if (!made || !fits_blocks(made->decoded) || is_approximation(form.mnemonic)) continue;
        auto const category = made->decoded.instruction.meta.category;
        bool const conditional = category == ZYDIS_CATEGORY_COND_BR;
        if (made->is_branch() && !conditional) continue;
        if (conditional || flag_effect(made->decoded, {}).read != 0) flag_readers_.push_back(&form);
        if (made->has_repeat())
            strings_.push_back(&form);
        else if (!is_integer(form.isa_set))
            other_.push_back(&form);
        else if (!conditional) {
            integer_.push_back(&form);
            FlagEffect const effect = flag_effect(made->decoded, {});
            if ((effect.defined | effect.undefined) != 0) producers_.push_back(&form);
        }
    }
}

Program make_block(BlockForms const& forms, Rng& rng, MemoryPattern const& pattern, Case& to, BlockKind kind) {
    return BlockCase{forms, rng, pattern, to, kind}.make();
}

}  // namespace backplane::isa
