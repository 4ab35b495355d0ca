#include "single.h"

#include <algorithm>
#include <cstring>

#include "advertised.h"
#include "flags_undefined.h"

namespace backplane::isa {
namespace {

constexpr unsigned kRax = 0, kRcx = 1, kRdx = 2, kRsp = 4, kRbp = 5;

class SingleCase {
  public:
    SingleCase(Rng& rng, MemoryPattern const& pattern, Case& to)
        : rng_{rng}, pattern_{pattern}, case_{to}, state_{to.before} {}

    std::optional<Program> make(Form const& form) {
        auto const made = make_instruction(form, rng_, {});
        if (!made) return {};
        program_.steps.push_back({.instruction = *made});
        state_ = random_state(rng_);
        pattern_.fill(rng_, case_.window);
        lay_out(program_, 1, choose_start(), case_);
        choose_values_in_registers();
        for (auto const& operand : instruction().decoded.all())
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
                operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB ? place_gather(operand) : place(operand);
        mask_x87_where_it_faults();
        choose_values_in_memory();
        choose_target();
        ignore_what_is_open();
        if (!has_defined_result()) return {};
        lay_out(program_, 1, program_.start, case_);
        program_.undefined_flags_at_end = flag_effect(decoded(), state_.gpr[kRcx]).undefined;
        return std::move(program_);
    }

  private:
    Instruction& instruction() { return program_.steps[0].instruction; }
    Decoded const& decoded() const { return program_.steps[0].instruction.decoded; }
    ZydisMnemonic mnemonic() const { return decoded().instruction.mnemonic; }
    std::uint64_t size() const { return decoded().operands[0].size; }

    std::uint64_t choose_start() {
        unsigned const length = instruction().length;
        std::uint64_t const kind = rng_.below(100);
        if (kind < 12) return kCode + kPage - rng_.below(length + 1);  // across the border of the two pages
        // UD0 has no ModRM for AMD and one for Intel: whether bytes behind it are fetched is not the same.
        if (kind < 14 && !always_faults(mnemonic()))
            return kCode + kCodeBytes - rng_.below(length + 1);  // across the end of all code
        return kCode + rng_.below(kCodeBytes - kMostCode);
    }

    // --- registers whose value decides whether the instruction does something interesting -------------------------
    void choose_values_in_registers() {
        bool const shifts = decoded().instruction.meta.category == ZYDIS_CATEGORY_SHIFT ||
                            decoded().instruction.meta.category == ZYDIS_CATEGORY_ROTATE;
        if (shifts && rng_.chance(70)) set_low_byte(kRcx, rng_.below(72));
        if (is_xsave()) {
            state_.gpr[kRax] = rng_.next() << 32 | rng_.below(8);
            state_.gpr[kRdx] = rng_.next() << 32;
        }
        if (instruction().has_repeat()) set_count(rng_.chance(5) ? rng_.below(1500) : rng_.below(24));
        switch (mnemonic()) {
            case ZYDIS_MNEMONIC_DIV:
            case ZYDIS_MNEMONIC_IDIV:
                choose_dividend();
                break;
            case ZYDIS_MNEMONIC_SHLD:
            case ZYDIS_MNEMONIC_SHRD:
                keep_count_defined();
                break;
            case ZYDIS_MNEMONIC_LOOP:
            case ZYDIS_MNEMONIC_LOOPE:
            case ZYDIS_MNEMONIC_LOOPNE:
            case ZYDIS_MNEMONIC_JRCXZ:
            case ZYDIS_MNEMONIC_JECXZ:
                if (rng_.chance(75)) set_count(rng_.below(3));
                break;
            case ZYDIS_MNEMONIC_ENTER:
            case ZYDIS_MNEMONIC_LEAVE:
                if (rng_.chance(90)) state_.gpr[kRbp] = random_address(rng_, 8);
                break;
            case ZYDIS_MNEMONIC_VPCMPESTRI:
            case ZYDIS_MNEMONIC_VPCMPESTRM:
                for (unsigned const reg : {kRax, kRdx})
                    if (rng_.chance(70)) state_.gpr[reg] = (rng_.next() << 32) | static_cast<std::uint32_t>(rng_.below(40) - 20);
                break;
            case ZYDIS_MNEMONIC_BT:
            case ZYDIS_MNEMONIC_BTC:
            case ZYDIS_MNEMONIC_BTR:
            case ZYDIS_MNEMONIC_BTS:
                choose_bit_offset();
                break;
            default:
                break;
        }
    }
    static constexpr std::uint64_t kXsaveBytes = 832;
    bool is_xsave() const {
        switch (decoded().instruction.meta.isa_set) {
            case ZYDIS_ISA_SET_XSAVE:
            case ZYDIS_ISA_SET_XSAVEOPT:
            case ZYDIS_ISA_SET_XSAVEC:
                return true;
            default:
                return false;
        }
    }
    void set_low_byte(unsigned reg, std::uint64_t value) {
        state_.gpr[reg] = (state_.gpr[reg] & ~std::uint64_t{0xff}) | value;
    }
    /// RCX, or ECX with garbage above when addresses have 32 bits.
    void set_count(std::uint64_t count) {
        bool const narrow = decoded().instruction.address_width == 32;
        state_.gpr[kRcx] = narrow ? rng_.next() << 32 | count : count;
    }
    void choose_dividend() {
        if (rng_.chance(10)) return;
        bool const is_signed = mnemonic() == ZYDIS_MNEMONIC_IDIV;
        std::uint64_t& rax = state_.gpr[kRax];
        if (size() == 8) {
            auto const small = static_cast<std::uint16_t>(rng_.next() >> rng_.below(16));
            rax = (rax & ~std::uint64_t{0xffff}) |
                  (is_signed && rng_.chance(50) ? static_cast<std::uint16_t>(-small) : small);
            return;
        }
        std::uint64_t const top = rax << (64 - size()) >> 63;
        state_.gpr[kRdx] = is_signed && top != 0 ? ~std::uint64_t{0} : 0;
        if (rng_.chance(40)) state_.gpr[kRdx] += rng_.below(4);
    }
    /// [SDM2B] SHLD: with a count greater than the operand's size, the result is undefined.
    void keep_count_defined() {
        if (size() != 16) return;
        if (decoded().operands[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            instruction().patch_immediate(rng_.below(17));
        else
            set_low_byte(kRcx, rng_.below(17));
    }
    /// False when RCX, being part of the address as well, gives an undefined result after all.
    bool has_defined_result() const {
        // The mask of components in EDX:EAX must not have been changed to make an address.
        if (is_xsave()) return (state_.gpr[kRax] & 0xffff'ffff) < 8 && (state_.gpr[kRdx] & 0xffff'ffff) == 0;
        bool const doubles = mnemonic() == ZYDIS_MNEMONIC_SHLD || mnemonic() == ZYDIS_MNEMONIC_SHRD;
        if (!doubles || size() != 16 || decoded().operands[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return true;
        return (state_.gpr[kRcx] & 31) <= 16;
    }
    void choose_bit_offset() {
        if (decoded().operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY || rng_.chance(10)) return;
        if (decoded().operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER) return;
        auto const reg = gpr_number(decoded().operands[1].reg.value);
        if (reg) state_.gpr[*reg] = rng_.below(4096) - 2048;
    }

    // --- addresses ------------------------------------------------------------------------------------------------
    void place(ZydisDecodedOperand const& operand) {
        if (operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) return;
        auto const& mem = operand.mem;
        std::uint64_t want = random_address(rng_, is_xsave() ? kXsaveBytes : std::max(1u, operand.size / 8u));
        if (is_xsave() && rng_.chance(85)) want &= ~std::uint64_t{63};
        if (mem.segment == ZYDIS_REGISTER_GS) want -= state_.gs_base;
        if (mem.segment == ZYDIS_REGISTER_FS) want -= state_.fs_base;
        auto const base = gpr_number(mem.base);
        auto const index = mem.index == ZYDIS_REGISTER_AL ? std::nullopt : gpr_number(mem.index);
        auto const disp = static_cast<std::uint64_t>(mem.disp.has_displacement ? mem.disp.value : 0);
        if (base && index && *base == *index) return set_address(*base, (want - disp) / (1u + mem.scale));
        if (base) {
            if (index) state_.gpr[*index] = rng_.chance(60) ? rng_.below(128) - 64 : random_integer(rng_);
            std::uint64_t const offset = index ? state_.gpr[*index] * mem.scale : 0;
            return set_address(*base, want - disp - offset);
        }
        if (index) return set_address(*index, (want - disp) / mem.scale);
        place_constant(mem, want);
    }
    /// A base in the window, indexes that reach a little beyond it, and any mask.
    void place_gather(ZydisDecodedOperand const& operand) {
        auto const& mem = operand.mem;
        auto const disp = static_cast<std::uint64_t>(mem.disp.has_displacement ? mem.disp.value : 0);
        std::uint64_t want = kWindow + kPage + rng_.below(kPage) - 512 - disp;
        if (mem.segment == ZYDIS_REGISTER_GS) want -= state_.gs_base;
        if (mem.segment == ZYDIS_REGISTER_FS) want -= state_.fs_base;
        auto const base = gpr_number(mem.base);
        if (base) state_.gpr[*base] = want;
        std::uint64_t const origin = base ? 0 : want;
        bool const dword_index = mnemonic() == ZYDIS_MNEMONIC_VPGATHERDD || mnemonic() == ZYDIS_MNEMONIC_VPGATHERDQ ||
                                 mnemonic() == ZYDIS_MNEMONIC_VGATHERDPS || mnemonic() == ZYDIS_MNEMONIC_VGATHERDPD;
        unsigned const index = static_cast<unsigned>(ZydisRegisterGetId(mem.index));
        bool const all_inside = rng_.chance(60);
        for (auto* const half : {state_.fx.xmm[index], state_.ymm_high[index]}) {
            for (unsigned i = 0; i < 2; ++i) {
                auto const pick = [&] {
                    std::uint64_t const reach = all_inside ? 512 : 8192;
                    return (origin + rng_.below(reach) - reach / 2) / mem.scale;
                };
                half[i] = dword_index ? static_cast<std::uint32_t>(pick()) | pick() << 32 : pick();
            }
        }
        unsigned const mask = static_cast<unsigned>(ZydisRegisterGetId(decoded().operands[2].reg.value));
        for (auto* const half : {state_.fx.xmm[mask], state_.ymm_high[mask]})
            for (unsigned i = 0; i < 2; ++i) half[i] = rng_.chance(50) ? ~std::uint64_t{0} : rng_.next();
    }
    void set_address(unsigned reg, std::uint64_t value) {
        bool const narrow = decoded().instruction.address_width == 32 && reg != kRsp;
        state_.gpr[reg] = narrow && rng_.chance(50) ? rng_.next() << 32 | (value & 0xffff'ffff) : value;
    }
    /// Relative to RIP, or absolute: the displacement decides.
    void place_constant(ZydisDecodedOperandMem const& mem, std::uint64_t want) {
        bool const relative = mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP;
        std::uint64_t const origin = relative ? program_.start + instruction().length : 0;
        auto const fits = [&](std::uint64_t disp) {
            bool const wide = decoded().instruction.raw.disp.size == 64;
            return wide || static_cast<std::uint64_t>(static_cast<std::int32_t>(disp)) == disp;
        };
        if (!fits(want - origin)) {
            // Somewhere far, if not by chance in the code, which would be changed before it has run.
            std::uint64_t const there = origin + static_cast<std::uint64_t>(mem.disp.value);
            if (there - (kCode - kPage) > kCodeBytes + 2 * kPage) return;
            want = kWindow + rng_.below(kPage);
        }
        instruction().patch_displacement(want - origin);
    }

    // --- memory ---------------------------------------------------------------------------------------------------
    std::uint8_t* in_window(std::uint64_t address, std::uint64_t bytes) {
        bool const inside = address - kWindow < kWindowBytes && address - kWindow + bytes <= kWindowBytes;
        return inside ? case_.window + (address - kWindow) : nullptr;
    }
    std::uint64_t address_of(ZydisDecodedOperand const& operand) const {
        return linear_address(program_.steps[0].instruction, operand, state_, program_.start);
    }
    std::uint8_t* operand_bytes(unsigned operand, std::uint64_t bytes) {
        return in_window(address_of(decoded().operands[operand]), bytes);
    }
    template <typename T>
    static void put(std::uint8_t* to, std::size_t offset, T value) {
        std::memcpy(to + offset, &value, sizeof value);
    }

    void choose_values_in_memory() {
        switch (mnemonic()) {
            case ZYDIS_MNEMONIC_CMPXCHG:
                compare_equal();
                break;
            case ZYDIS_MNEMONIC_CMPXCHG8B:
                compare_pair_equal(8);
                break;
            case ZYDIS_MNEMONIC_CMPXCHG16B:
                compare_pair_equal(16);
                break;
            case ZYDIS_MNEMONIC_POPF:
            case ZYDIS_MNEMONIC_POPFQ:
                clear_traps_on_stack();
                break;
            case ZYDIS_MNEMONIC_MASKMOVQ:
            case ZYDIS_MNEMONIC_MASKMOVDQU:
            case ZYDIS_MNEMONIC_VMASKMOVDQU:
                store_all_where_it_faults();
                break;
            case ZYDIS_MNEMONIC_LDMXCSR:
            case ZYDIS_MNEMONIC_VLDMXCSR:
                choose_mxcsr(0);
                break;
            case ZYDIS_MNEMONIC_XRSTOR:
            case ZYDIS_MNEMONIC_XRSTOR64:
                choose_xsave_image();
                break;
            case ZYDIS_MNEMONIC_FXRSTOR:
            case ZYDIS_MNEMONIC_FXRSTOR64:
                choose_fx_image();
                break;
            case ZYDIS_MNEMONIC_FLDENV:
            case ZYDIS_MNEMONIC_FRSTOR:
                choose_environment();
                break;
            default:
                break;
        }
    }
    bool uses_rax_in_address() const {
        auto const& mem = decoded().operands[0].mem;
        return decoded().operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
               (gpr_number(mem.base) == kRax || gpr_number(mem.index) == kRax);
    }
    void compare_equal() {
        if (rng_.chance(50) || uses_rax_in_address()) return;
        auto const& operand = decoded().operands[0];
        std::uint64_t value = 0;
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
            auto const* const bytes = operand_bytes(0, 8);
            if (bytes == nullptr) return;
            std::memcpy(&value, bytes, 8);
        } else {
            value = state_.gpr[gpr_number(operand.reg.value).value_or(0)];
        }
        std::uint64_t const mask = size() == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << size()) - 1;
        state_.gpr[kRax] = (state_.gpr[kRax] & ~mask) | (value & mask);
    }
    void compare_pair_equal(unsigned bytes) {
        auto const& mem = decoded().operands[0].mem;
        for (auto const reg : {gpr_number(mem.base), gpr_number(mem.index)})
            if (reg == kRax || reg == kRdx) return;
        auto const* const pair = operand_bytes(0, bytes);
        if (pair == nullptr || rng_.chance(50)) return;
        std::memcpy(&state_.gpr[kRax], pair, bytes / 2);
        std::memcpy(&state_.gpr[kRdx], pair + bytes / 2, bytes / 2);
    }
    /// The trap flag would stop the child at every instruction, and the alignment check would end its handler.
    void clear_traps_on_stack() {
        auto* const flags = in_window(state_.gpr[kRsp], 8);
        if (flags == nullptr) return;  // the access faults
        flags[1] &= 0xfe;
        flags[2] &= 0xfb;
    }
    /// [SDM2B] MASKMOVDQU: whether bytes that are masked out fault depends on the processor.
    void store_all_where_it_faults() {
        std::uint64_t const bytes = mnemonic() == ZYDIS_MNEMONIC_MASKMOVQ ? 8 : 16;
        for (auto const& operand : decoded().all()) {
            if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
            if (address_of(operand) - kWindow <= kWritableBytes - bytes) return;
        }
        auto const mask = static_cast<unsigned>(ZydisRegisterGetId(decoded().operands[1].reg.value));
        unsigned const top = state_.fx.status >> 11 & 7;
        if (bytes == 8)
            state_.fx.st[(mask - top) & 7].significand = ~std::uint64_t{0};
        else
            state_.fx.xmm[mask][0] = state_.fx.xmm[mask][1] = ~std::uint64_t{0};
    }
    bool crosses_end_of_writable(ZydisDecodedOperand const& operand) const {
        std::uint64_t const to_end = kWindow + kWritableBytes - address_of(operand);
        return to_end < operand.size / 8;
    }
    /// Whether an unmasked x87 exception or the fault of the store comes first is up to the processor.
    void mask_x87_where_it_faults() {
        auto const& operand = decoded().operands[0];
        auto const& instruction = decoded().instruction;
        bool const is_x87 = instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (instruction.opcode & 0xf8) == 0xd8;
        bool const stores = is_x87 &&
                            operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
                            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        if (!stores) return;
        if (address_of(operand) - kWindow <= kWritableBytes - operand.size / 8) return;
        state_.fx.control |= 0x3f;
        state_.fx.status &= 0x7f7f;  // no summary without an unmasked exception
    }
    void choose_mxcsr(std::uint64_t offset) {
        auto* const bytes = operand_bytes(0, offset + 4);
        if (bytes == nullptr) return;
        // Bit 17 exists on AMD's processors only.
        auto const reserved = static_cast<std::uint32_t>(rng_.next()) & 0xfffd'0000;
        put(bytes, offset, random_mxcsr(rng_) | (rng_.chance(10) ? reserved : 0));
    }
    void choose_fx_image() {
        auto* const bytes = operand_bytes(0, 512);
        constexpr std::uint64_t kMxcsrOffset = 24;
        if (bytes == nullptr) return;
        UserState const other = random_state(rng_);
        std::memcpy(bytes, &other.fx, sizeof(FxState));
        choose_mxcsr(kMxcsrOffset);
    }
    /// Of components that the simulator has, in either format, and now and then with a header that is refused. What
    /// else the host has must not be asked for.
    void choose_xsave_image() {
        constexpr std::uint64_t kCompacted = std::uint64_t{1} << 63, kHeader = 512;
        auto* const bytes = operand_bytes(0, kXsaveBytes);
        if (bytes == nullptr) return;
        UserState const other = random_state(rng_);
        std::memcpy(bytes, &other.fx, sizeof(FxState));
        choose_mxcsr(24);
        std::memset(bytes + kHeader, 0, 64);
        std::uint64_t const present = rng_.below(8);
        bool const compacted = rng_.chance(50);
        put(bytes, kHeader, rng_.chance(90) ? compacted ? present & rng_.next() : present : present | std::uint64_t{1} << 62);
        if (compacted) put(bytes, kHeader + 8, kCompacted | (rng_.chance(90) ? present : present ^ 2));
        if (rng_.chance(10)) put(bytes, kHeader + 16 + rng_.below(40), std::uint8_t{1});
    }
    void choose_environment() {
        bool const short_form = decoded().instruction.operand_width == 16;
        auto* const bytes = operand_bytes(0, 28);
        if (bytes == nullptr) return;
        FxState const fx = random_state(rng_).fx;
        unsigned const step = short_form ? 2 : 4;
        put(bytes, 0, fx.control);
        put(bytes, step, fx.status);
        put(bytes, 2 * step, static_cast<std::uint16_t>(rng_.chance(50) ? 0 : rng_.next()));  // tags
    }

    // --- where a branch goes --------------------------------------------------------------------------------------
    void choose_target() {
        if (!instruction().is_branch()) return;
        std::uint64_t const target = program_.end + 2 * rng_.below(kUd2s);
        auto const& operand = decoded().operands[0];
        if (decoded().instruction.raw.imm[0].is_relative) return instruction().patch_immediate(target - program_.end);
        if (rng_.chance(8)) return;
        if (decoded().instruction.meta.category == ZYDIS_CATEGORY_RET) {
            if (auto* const bytes = in_window(state_.gpr[kRsp], 8)) put(bytes, 0, target);
        } else if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            state_.gpr[gpr_number(operand.reg.value).value_or(0)] = target;
        } else if (auto* const bytes = operand_bytes(0, 8)) {
            put(bytes, 0, target);
        }
    }

    // --- what is not compared -------------------------------------------------------------------------------------
    /// The last x87 instruction and its data: AMD's FXSAVE leaves them out ([APM2] 11.4.4.3), and the simulator does
    /// not follow them. The MXCSR mask and the bytes behind XMM15 belong to the model.
    void ignore_what_is_open() {
        auto const ignore = [&](std::uint64_t offset, std::uint32_t bytes) {
            program_.ignored.push_back({address_of(decoded().operands[0]) + offset, bytes});
        };
        switch (mnemonic()) {
            case ZYDIS_MNEMONIC_CALL:
                // A target that is not canonical: AMD's processors fault before the push, Intel's after it.
                program_.ignored.push_back({state_.gpr[kRsp] - 8, 8});
                break;
            case ZYDIS_MNEMONIC_FSTP:
                // Across the end of what is writable, Intel's processors have written the first part.
                if (decoded().operands[0].size == 80 && crosses_end_of_writable(decoded().operands[0])) ignore(0, 10);
                break;
            case ZYDIS_MNEMONIC_FNSTENV:
            case ZYDIS_MNEMONIC_FNSAVE:
                if (decoded().instruction.operand_width == 16)
                    ignore(6, 8);
                else
                    ignore(12, 16);
                break;
            case ZYDIS_MNEMONIC_FXSAVE:
            case ZYDIS_MNEMONIC_FXSAVE64:
                ignore(6, 18);
                ignore(28, 4);
                ignore(416, 96);
                break;
            // Which components are in use beyond those that differ from their initial state is up to the processor
            // ([SDM1] 13.6).
            case ZYDIS_MNEMONIC_XSAVE:
            case ZYDIS_MNEMONIC_XSAVE64:
            case ZYDIS_MNEMONIC_XSAVEOPT:
            case ZYDIS_MNEMONIC_XSAVEOPT64:
            case ZYDIS_MNEMONIC_XSAVEC:
            case ZYDIS_MNEMONIC_XSAVEC64:
                ignore(6, 18);
                ignore(28, 4);
                ignore(512, 1);
                break;
            default:
                break;
        }
    }

    Rng& rng_;
    MemoryPattern const& pattern_;
    Case& case_;
    UserState& state_;
    Program program_;
};

}  // namespace

std::uint64_t random_address(Rng& rng, std::uint64_t bytes) {
    constexpr std::uint64_t kEnd = kWindow + kWindowBytes;
    std::uint64_t const room = std::min<std::uint64_t>(bytes, kPage);
    auto const across = [&](std::uint64_t border) {
        return border - (room > 1 ? 1 + rng.below(room - 1) : rng.below(2));
    };
    std::uint64_t const kind = rng.below(100);
    if (kind < 74) {
        std::uint64_t const address = kWindow + rng.below(kWritableBytes - room + 1);
        bool const aligned = rng.chance(room >= 16 ? 88 : 50);
        std::uint64_t const boundary = room == 32 ? 32 : std::min<std::uint64_t>(room, 16);
        return aligned ? address & ~(boundary - 1) : address;
    }
    if (kind < 83) return across(kWindow + kPage);
    if (kind < 89) return (kWindow + kWritableBytes + rng.below(kPage - room + 1)) & ~std::uint64_t{15};
    if (kind < 91) return across(kWindow + kWritableBytes);
    if (kind < 93) return across(kEnd);
    if (kind < 95) return across(kWindow);
    if (kind < 97) return kEnd + rng.below(kPage);
    if (kind < 98) return 0x1'2000'0000'0000 + (rng.next() & 0xff'ffff);  // not canonical
    if (kind < 99) return rng.next() | std::uint64_t{1} << 62;
    return 0xffff'9000'0000'0000 | rng.below(1 << 30);  // the kernel's half
}

std::optional<Program> make_single(Form const& form, Rng& rng, MemoryPattern const& pattern, Case& to) {
    constexpr unsigned kTries = 10;
    for (unsigned i = 0; i < kTries; ++i)
        if (auto program = SingleCase{rng, pattern, to}.make(form)) return program;
    return {};
}

}  // namespace backplane::isa
