// Makes the host code of one block: what its parts share. block.cc goes through the instructions; the others emit, each
// one subject: emit_copy.cc instructions that stay what they are, emit_special.cc those that are rewritten, emit_system.cc those
// of the system, emit_x87.cc
// those of the x87, emit_memory.cc addresses and the TLB, emit_flags.cc the guest's flags, emit_loop.cc loops, emit_control.cc entry, exits and branches.
#pragma once

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "cpu/condition.h"
#include "cpu/deferred_flags.h"
#include "jit/block.h"
#include "jit/effects.h"
#include "jit/instruction.h"

namespace backplane::jit {

using Xbyak::Reg16;
using Xbyak::Reg32;
using Xbyak::Reg64;
using Xbyak::Reg8;

/// Where an input of a flag computation can still be found.
struct Place {
    enum class Kind : std::uint8_t { none, reg, imm, stored } kind{Kind::none};
    std::uint8_t reg{0};
    std::int32_t imm{0};
};

/// Flags that were produced and not written down yet.
struct Pending {
    FlagProducer producer;
    std::uint8_t bytes;
    Place a, b;
};

/// Flags that stand in DeferredFlags, of a kind that is known while code is made.
struct Written {
    FlagProducer producer;
    std::uint8_t bytes;
};

/// Which of the guest's flags RFLAGS holds.
enum class HostFlags : std::uint8_t { stale, carry_only, zero_only, carry_zero, overflow_only, carry_overflow_only, no_overflow, no_carry, all };

/// Behind a jump whose target comes later; null: there is none. Xbyak's labels would cost a hash table's entries each.
using Jump = std::uint8_t*;

/// What is known of one block while it is made.
struct BlockState {
    BlockRequest const* request_{nullptr};
    unsigned view_{0};
    unsigned tables_{0};  // whose entries accesses look for: with AC, another view's
    std::uint32_t page_offset_{0};
    std::size_t index_{0};
    bool ended_{false};
    bool is_loop_{false};  // it ends at its own beginning
    std::array<std::uint8_t, 16> host_of_{kHostOf};
    bool is_lost_in_calls_{false};  // a lodger, since thunks save and load its owner
    bool begins_with_carry_{false};  // INC or DEC is the first to look at flags, and CF is put where it looks at each turn
    bool is_carry_kept_{false};
    unsigned next_guess_{0};
    bool needs_xmm_{false};
    bool needs_ymm_{false};
    std::optional<Pending> pending_{};
    std::optional<Written> written_{};
    HostFlags host_flags_{HostFlags::stale};
    bool carry_in_host_{false};  // before the instruction that is being emitted
    std::optional<std::uint8_t> pin_in_r11_{};
    std::int32_t stack_moved_{0};  // what R8 is behind
    std::uint8_t* entry_{nullptr};
    std::uint8_t const* body_{nullptr};  // of a loop
    std::uint8_t const* vectors_loaded_{nullptr};
    Jump load_xmm_{nullptr};
    bool needs_x87_{false};
    Jump load_x87_{nullptr};
    std::uint8_t const* x87_loaded_{nullptr};
    std::array<Jump, 2> no_quota_{};  // at the entry, and behind a turn of a loop
    std::array<Jump, 2> second_page_unknown_{};
};

/// One for all blocks of a translator: what it allocates, and Xbyak's hundreds of registers, are made once.
class Emitter : public Xbyak::CodeGenerator, private BlockState {
  public:
    Emitter(Offsets const& offsets, std::uint8_t* arena, std::size_t bytes) : CodeGenerator{bytes, arena}, o_{offsets} {
        instructions_.reserve(kMostInstructions);
    }
    BlockCode make(BlockRequest const& request, std::size_t at, std::size_t room);

  private:
    void begin(BlockRequest const& request);
    struct Misses {
        Jump page, alignment;
    };

    struct AccessStub {
        Misses slow;
        std::uint8_t const* back;
        Op const* op;
        std::optional<Pending> pending;
        MissedAccess what;
        bool write;
    };
    struct SideExit {  // a branch that usually goes the other way
        Jump from;
        std::optional<Pending> pending;
        std::uint32_t rest;
        std::int64_t offset;
    };
    struct MissStub {
        Jump from;
        Op const* op;
        std::int32_t undo;  // what the stack pointer gets back
    };
    struct HandlerStub {  // where an instruction goes that its handler has to carry out after all
        std::array<Jump, 7> slow;
        std::uint8_t const* back;
        Instruction const* at;
        std::optional<Pending> pending;
    };
    struct GuessStub {
        Jump from;
        Guess const* guess;
        std::int32_t place;  // on the host's stack
    };
    struct LinkStub {
        Jump from;
        Link* link;
        std::uint32_t offset;
    };

    // --- small vocabulary -----------------------------------------------------------------------------------------
    Xbyak::Address state64(std::int32_t offset) { return qword[r15 + offset]; }
    Xbyak::Address state32(std::int32_t offset) { return dword[r15 + offset]; }
    Xbyak::Address state8(std::int32_t offset) { return byte[r15 + offset]; }
    std::int32_t slot(unsigned guest) const { return o_.slots + static_cast<std::int32_t>(8 * guest); }
    static Reg64 host(std::uint8_t number) { return Reg64{number}; }
    /// The number of the general register that this is, or a part of.
    static unsigned guest_of(ZydisRegister reg) {
        return static_cast<unsigned>(ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)));
    }
    Jump here() { return const_cast<std::uint8_t*>(getCurr()); }
    Jump jump_ahead() { return db(0xe9), dd(0), here(); }
    Jump jump_ahead_if(Condition condition) { return db(0x0f), db(0x80 | static_cast<int>(condition)), dd(0), here(); }
    static Condition opposite(Condition condition) { return static_cast<Condition>(static_cast<unsigned>(condition) ^ 1); }
    void land(Jump from) {
        if (from == nullptr) return;
        auto const distance = static_cast<std::int32_t>(here() - from);
        std::memcpy(from - sizeof(distance), &distance, sizeof(distance));
    }
    void land(Misses const& misses) { land(misses.page), land(misses.alignment); }

    // --- the block (block.cc) -------------------------------------------------------------------------------------
    bool decode_all();
    void drop_copies();
    /// Appends the instructions of a trace. False: its code cannot be read.
    bool decode(Trace& trace);
    void decode(Instruction& at, std::span<std::uint8_t const> code);
    /// The trace that usually follows the last one, if it is to be part of the block.
    [[nodiscard]] Trace* successor();
    [[nodiscard]] Trace* more_often(Instruction const& branch);
    [[nodiscard]] Trace* warm_trace(std::int64_t offset);
    static bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }
    [[nodiscard]] bool names_memory_register(Instruction const& at) const;
    static bool uses_high_byte(Instruction const& at);
    /// Passes without looking at flags, unless it makes them.
    [[nodiscard]] static bool is_blind(Instruction const& at);
    /// May somebody see the flags that instruction i makes: a consumer, a fault, an exit?
    bool is_visible(std::size_t i) const { return is_visible_from(i + 1); }
    /// The same for flags that are there before instruction i.
    bool is_visible_from(std::size_t i) const;

    // --- loops (emit_loop.cc) -------------------------------------------------------------------------------------
    /// A guest register that lives in memory elsewhere, in the host's register of one that the loop does not name.
    struct Lodger {
        std::uint8_t guest, owner;
    };
    void prepare_loop();
    [[nodiscard]] bool ends_at_its_beginning() const;
    [[nodiscard]] bool begins_with_carry() const;
    void choose_lodgers();
    /// What precedes the first turn.
    void enter_loop();
    /// Before an exit, and before what may not come back: every register is where it is expected. No flag changes.
    void move_out();
    void move_in();
    /// A thunk that comes back and knows no lodgers.
    void call_quietly(std::uint8_t const* thunk);
    /// To the block's own beginning.
    void loop();

    // --- flags (emit_flags.cc) ------------------------------------------------------------------------------------
    void store_place(std::int32_t where, Place const& place);
    /// Writes pending flags down; touches no register and no flag.
    void write_down(Pending const& pending);
    void flush_pending();
    static bool covers(HostFlags have, ZydisMnemonic mnemonic);
    /// Brings the flags that `mnemonic` needs into RFLAGS.
    void need_flags(ZydisMnemonic mnemonic);
    /// A comparison whose inputs are still there costs one instruction to repeat.
    bool repeat_comparison(Pending const& pending);
    static Reg8 reg8(std::uint8_t number) { return Reg8{number, number >= 4 && number < 8}; }
    void compare8(Pending const& pending, bool logic);
    /// Before an instruction that writes host registers: pending flags whose inputs it destroys are written down, or
    /// dropped when the instruction makes new ones.
    void protect_pending(Instruction const& at);
    /// Does it write a register that pending flags follow from?
    [[nodiscard]] bool destroys_pending(Instruction const& at) const;

    // --- memory (emit_memory.cc) ----------------------------------------------------------------------------------
    /// R9 = linear address of the explicit memory operand, or one below it.
    void emit_address(ZydisDecodedOperandMem const& memory, Instruction const& at, std::int32_t below = 0);
    Reg64 address_register(ZydisRegister reg, Reg64 const& scratch);
    /// The host's address of the explicit memory operand. Of all that look into the TLB: R9 and R11 are part of it, R10 and
    /// the host's flags are lost; those that follow a leader are in R11, and nothing else is lost.
    Xbyak::RegExp find_operand(Instruction const& at, ZydisDecodedOperand const& operand);
    /// The same of 8 bytes on the stack, `distance` from the guest's RSP.
    Xbyak::RegExp find_stack(Instruction const& at, std::int32_t distance, bool write);
    /// R9 = linear address of the access, or of the lowest byte of the group that it leads: looks that up.
    Xbyak::RegExp find(Instruction const& at, Access const& access, std::uint32_t bytes, bool write, bool alignment = false);
    Xbyak::RegExp pinned(Access const& access);
    /// Instructions with `last` in the place of their last 4 bytes.
    void append(std::span<std::uint8_t const> code, std::int32_t last);
    void guess_addend(std::int32_t addend);
    void emit_guess_stub(GuessStub const& stub);
    Misses look_up(std::uint32_t bytes, bool write, bool alignment);
    Xbyak::Address pin(std::uint8_t number) { return qword[rsp + 8 * number]; }

    // --- entry, exits, branches (emit_control.cc) -----------------------------------------------------------------
    void emit_entry();
    /// An instruction that reaches into the next page: that one must be mapped where it was when the code was made.
    void check_second_page();
    /// To an address at a known distance from the page's start; pending flags are written down already.
    void exit_direct(std::int64_t offset);
    /// Through the cache of jump targets. A computed target that is not canonical faults on the branch `op` itself,
    /// which the interpreter then repeats with the stack pointer moved back by `undo`.
    void jump_to_r9(Op const* op, std::int32_t undo);
    /// On `condition`, out of the block to an offset in the page.
    void side_exit(Instruction const& at, Condition condition, std::int64_t offset);
    std::uint8_t const* emit_stubs();
    void emit(Instruction const& at);

    /// What may make SIMD exceptions visible, so that what follows must be looked at anew.
    static bool may_unmask(ZydisMnemonic mnemonic);
    void emit_handler(Instruction const& at);
    /// Flags are written down. False: it jumped to the handler, and what follows is not reached.
    bool call_handler(Instruction const& at);
    bool is_last() const { return index_ + 1 == instructions_.size(); }

    // --- instructions that stay what they are (emit_copy.cc) ------------------------------------------------------
    static ZydisRegister register_of(std::uint8_t number, unsigned bits);

    struct Resident {  // a guest register that lives in memory, in scratch for this instruction
        unsigned guest;
        std::uint8_t scratch;
        bool high;  // AH to BH: in a register of the host, but not where REX prefixes reach it
        bool read;
        bool written;
    };
    /// May its place in memory be the source operand itself?
    [[nodiscard]] bool can_stay_in_memory(Instruction const& at, Resident const& resident, bool visible) const;
    /// No flag is touched.
    void load_resident(Resident const& resident);
    void store_resident(Resident const& resident);

    static bool is_written(ZydisDecodedOperand const& operand) {
        return (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    }
    bool emit_copy(Instruction const& at);
    /// INC and DEC keep CF: it is put where their note looks for it. After another INC or DEC it stands there already.
    void keep_carry();
    void need_flags_for(Instruction const& at);

    /// R10 from and to memory.
    void load_value(unsigned bits, Xbyak::RegExp const& from);
    void store_value(unsigned bits, Xbyak::RegExp const& to);

    static std::uint8_t number_of(ZydisEncoderOperand const& operand) {
        return static_cast<std::uint8_t>(guest_of(operand.reg.value));
    }
    static bool is_scratch(std::uint8_t number) { return number >= 9 && number <= 11; }
    static bool two_inputs(FlagProducer producer) {
        return producer == FlagProducer::add || producer == FlagProducer::sub || producer == FlagProducer::cmp;
    }
    /// Inputs that will not be there afterwards are stored now. No flag is touched.
    void before_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded);
    Place place_of(ZydisEncoderOperand const& operand);
    void after(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible);
    void after_arithmetic(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible);
    /// LAHF and SETO through the guest's RAX.
    void store_raw();
    void after_shift_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible);
    /// The value rotated there and back by one has the flags of the last step.
    void after_rotate_by_cl(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible);
    /// R11 = the value before. OF: has the sign changed?
    void after_double_shift(Instruction const& at, ZydisEncoderRequest const& encoded, bool visible);

    // --- instructions that are rewritten (emit_special.cc) --------------------------------------------------------
    [[nodiscard]] bool is_in_register(ZydisRegister reg) const {
        return host_of_[guest_of(reg)] != kInMemory;
    }
    /// Straight into the destination, where that and the address are in registers.
    bool emit_direct_lea(Instruction const& at);
    void emit_lea(Instruction const& at);
    void push_value(Instruction const& at, Xbyak::Address const& to);
    void pop_value(Instruction const& at, Xbyak::Address const& from);
    /// The guest's RSP moves, once for all of several that follow each other and cannot fault.
    void move_stack(std::int32_t bytes);
    [[nodiscard]] bool is_stack_follower(std::size_t i) const;
    void emit_push(Instruction const& at);
    void emit_pop(Instruction const& at);
    void emit_leave(Instruction const& at);
    /// The flags keep what they were, as the interpreter has it.
    void emit_divide(Instruction const& at);
    void load_general(Reg64 const& into, ZydisRegister reg);
    void emit_push_memory(Instruction const& at);
    /// The offset, in bits and signed, chooses the operand-sized piece of memory.
    void emit_bit_string(Instruction const& at);

    // --- instructions of the x87 (emit_x87.cc) --------------------------------------------------------------------
    /// FIP, FOP and FDP of an instruction that has been executed; no flag is touched, R9 and R10 are lost.
    void note_x87(Instruction const& at);
    /// FLDCW that leaves all exceptions masked.
    void emit_x87_control(Instruction const& at);

    // --- instructions of the system (emit_system.cc) --------------------------------------------------------------
    /// What is asked of them inline, so that their handler is called only if there is more to do. Flags stay pending.
    HandlerStub& handler_behind(Instruction const& at);
    /// At CPL 0; elsewhere IOPL decides, or it is a fault.
    HandlerStub& if_not_kernel(Instruction const& at);
    void emit_cli(Instruction const& at);
    void emit_sti(Instruction const& at);
    /// In 64-bit mode the base of GS is all that the processor's derived state has of it.
    void emit_swapgs(Instruction const& at);
    /// STAC and CLAC: what follows in the block looks into the tables of the other view.
    void emit_access_check(Instruction const& at);
    /// The clock is brought to the instruction.
    void emit_time_stamp(Instruction const& at);
    /// Nothing, unless another processor waits for its turn.
    void emit_pause(Instruction const& at);
    void emit_push_flags(Instruction const& at);
    void emit_load_control(Instruction const& at);
    void emit_load_selector(Instruction const& at);
    /// All of it.
    void store_general(ZydisRegister reg, Reg64 const& value);
    /// REP STOS and REP MOVS forwards, inside one page on each side and the quota.
    void emit_fill_or_move(Instruction const& at);
    /// R11 = host minus linear of the page of R9.
    void find_page(HandlerStub& stub, unsigned number, std::uint32_t bytes, bool write);
    std::int64_t branch_target(Instruction const& at) const;
    void emit_jcc(Instruction const& at);
    void end_with_jcc(Instruction const& at, Condition condition);
    /// R9 = the target of an indirect branch. False: a form for the handler.
    bool emit_indirect_target(Instruction const& at);
    void emit_jmp(Instruction const& at);
    void emit_call(Instruction const& at);
    void emit_ret(Instruction const& at);
    void pop_return(Instruction const& at);
    static std::int32_t return_bytes(Instruction const& at);

    Offsets const& o_;
    std::vector<Trace*> traces_;
    std::vector<Instruction> instructions_;
    std::vector<Lodger> lodgers_;
    std::vector<AccessStub> access_stubs_;
    std::vector<GuessStub> guess_stubs_;
    std::vector<HandlerStub> handler_stubs_;
    std::vector<SideExit> side_exits_;
    std::vector<MissStub> miss_stubs_;
    std::vector<LinkStub> link_stubs_;
};

}  // namespace backplane::jit
