// Blocks that end at their own beginning: what is worth preparing before the first turn.
#include <algorithm>
#include <array>

#include "jit/emitter.h"

namespace backplane::jit {

namespace {

bool is_saved_by_thunks(std::uint8_t guest) {
    return guest == backplane::rax || guest == backplane::rcx || guest == backplane::rdx || guest == backplane::rsi || guest == backplane::rdi;
}

}  // namespace

void Emitter::prepare_loop() {
    is_loop_ = ends_at_its_beginning();
    if (!is_loop_) return;
    choose_lodgers();
    begins_with_carry_ = begins_with_carry();
}

bool Emitter::ends_at_its_beginning() const {
    Instruction const& last = instructions_.back();
    bool const branches = last.effects.treatment == Treatment::jcc || last.effects.treatment == Treatment::jmp;
    bool const is_direct = branches && last.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    bool const falls_there = last.effects.treatment == Treatment::jcc && last.offset + last.decoded.length == page_offset_;
    return is_direct && (falls_there || branch_target(last) == page_offset_);
}

bool Emitter::begins_with_carry() const {
    auto const first = std::find_if(instructions_.begin(), instructions_.end(), [](Instruction const& at) {
        return at.effects.treatment == Treatment::handler || at.effects.consumes || at.effects.produces != Produces::nothing;
    });
    if (first == instructions_.end() || first->effects.treatment != Treatment::copy) return false;
    bool const keeps_carry = first->effects.producer == FlagProducer::inc || first->effects.producer == FlagProducer::dec;
    return keeps_carry && is_visible(static_cast<std::size_t>(first - instructions_.begin()));
}

void Emitter::choose_lodgers() {
    std::array<unsigned, 16> uses{};  // reads and writes
    auto const count = [&](ZydisRegister reg, unsigned times) {
        ZydisRegister const whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64) uses[guest_of(whole)] += times;
    };
    for (Instruction const& at : instructions_) {
        for (unsigned i = 0; i < at.decoded.operand_count; ++i) {
            ZydisDecodedOperand const& operand = at.operands[i];
            bool const is_changed = is_written(operand) && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
            if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) count(operand.reg.value, is_changed ? 2 : 1);
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) count(operand.mem.base, 1), count(operand.mem.index, 1);
        }
    }
    // First those that functions of ours keep, so that only what may leave the block has to move anything.
    std::array<std::uint8_t, 10> constexpr kOwners{backplane::rbx, backplane::rbp, backplane::r12, backplane::r13, backplane::r14,
                                                   backplane::rax, backplane::rcx, backplane::rdx, backplane::rsi, backplane::rdi};
    std::array<std::uint8_t, 5> guests{backplane::r8, backplane::r9, backplane::r10, backplane::r11, backplane::r15};
    std::stable_sort(guests.begin(), guests.end(), [&](auto a, auto b) { return uses[a] > uses[b]; });
    auto guest = guests.begin();
    for (std::uint8_t const owner : kOwners) {
        if (guest == guests.end() || uses[*guest] < 2) return;
        if (uses[owner] != 0) continue;
        lodgers_.push_back({*guest, owner});
        host_of_[*guest] = kHostOf[owner];
        is_lost_in_calls_ = is_lost_in_calls_ || is_saved_by_thunks(owner);
        ++guest;
    }
}

void Emitter::call_quietly(std::uint8_t const* thunk) {
    if (is_lost_in_calls_) move_out();
    call(thunk);
    if (is_lost_in_calls_) move_in();
}

void Emitter::enter_loop() {
    if (begins_with_carry_) {
        call(request_->thunks.keep_carry);  // everybody is at home yet
        is_carry_kept_ = true;
    }
    move_in();
    body_ = getCurr();
}

void Emitter::move_in() {
    for (Lodger const& lodger : lodgers_) {
        mov(state64(slot(lodger.owner)), host(kHostOf[lodger.owner]));
        mov(host(kHostOf[lodger.owner]), state64(slot(lodger.guest)));
    }
}

void Emitter::move_out() {
    for (Lodger const& lodger : lodgers_) {
        mov(state64(slot(lodger.guest)), host(kHostOf[lodger.owner]));
        mov(host(kHostOf[lodger.owner]), state64(slot(lodger.owner)));
    }
}

/// Flags that the next turn overwrites unseen are written down only if there is none.
void Emitter::loop() {
    if (begins_with_carry_) keep_carry();
    if (is_visible_from(0)) flush_pending();
    sub(state64(o_.remaining), static_cast<std::uint32_t>(instructions_.size()));
    jae(static_cast<void const*>(body_));
    if (pending_) write_down(*pending_);
    move_out();
    no_quota_[1] = jump_ahead();
}

}  // namespace backplane::jit
