#include "jit/thunk_maker.h"

#include <array>

#include "cpu/deferred_flags.h"
#include "cpu/translated_state.h"

namespace backplane {

namespace {

/// The guest registers that live in host registers, in the order in which they are saved.
constexpr std::array<std::uint8_t, 6> kCallerSaved{rax, rcx, rdx, rsp, rsi, rdi};
constexpr std::array<std::uint8_t, 5> kCalleeSaved{rbx, rbp, r12, r13, r14};

constexpr std::uint32_t kFrameBytes = 8 * (jit::kPins + jit::kGuesses);
std::array<Xbyak::Reg64, 6> const kHostSaved{Xbyak::util::rbx, Xbyak::util::rbp, Xbyak::util::r12,
                                             Xbyak::util::r13, Xbyak::util::r14, Xbyak::util::r15};

template <typename Function>
void const* address_of(Function* function) {
    return reinterpret_cast<void const*>(function);
}

}  // namespace

ThunkMaker::Code ThunkMaker::make_enter() {
    Code const start = here();
    for (auto const& reg : kHostSaved) push(reg);
    sub(Xbyak::util::rsp, kFrameBytes);
    mov(state_, Xbyak::util::rdi);
    mov(address_, Xbyak::util::rsi);
    load(kCallerSaved), load(kCalleeSaved);
    jmp(address_);
    return start;
}

ThunkMaker::Code ThunkMaker::make_return() {
    Code const start = here();
    add(Xbyak::util::rsp, kFrameBytes);
    for (auto reg = kHostSaved.rbegin(); reg != kHostSaved.rend(); ++reg) pop(*reg);
    ret();
    return start;
}

ThunkMaker::Code ThunkMaker::make_exit(Code leave, bool with_link) {
    Code const start = here();
    mov(qword[state_ + o_.rip], address_);
    save(kCallerSaved);
    save_xmm_if_loaded();
    unload_x87();
    mov(Xbyak::util::rdi, state_);
    if (with_link)
        mov(Xbyak::util::rsi, Xbyak::util::r10);
    else
        xor_(Xbyak::util::esi, Xbyak::util::esi);
    go_on(leave, address_of(&JitRuntime::next_code), Registers::caller_saved);
    return start;
}

ThunkMaker::Code ThunkMaker::make_look_again(unsigned view, Code exit_rip) {
    Code const start = here();
    Xbyak::Label found;
    Xbyak::Reg64 const slot = Xbyak::util::r10;
    imul(slot.cvt32(), address_.cvt32(), TranslatedState::kJumpFactor);
    shr(slot.cvt32(), TranslatedState::kJumpShift - 4);  // an entry has 16 bytes
    and_(slot.cvt32(), (TranslatedState::kJumpEntries - 1) << 4);
    for (std::uint32_t way = 1; way < TranslatedState::kJumpWays; ++way) {
        xor_(slot.cvt32(), (way ^ (way - 1)) << 4);
        cmp(address_, qword[state_ + slot + o_.jumps[view]]);
        je(found);
    }
    jmp(exit_rip, T_NEAR);
    L(found);
    and_(address_, -static_cast<std::int32_t>(kPageBytes));
    mov(qword[state_ + o_.page_address], address_);
    jmp(qword[state_ + slot + (o_.jumps[view] + 8)]);
    return start;
}

void ThunkMaker::make_forward(std::uint32_t offset, jit::Link const& link, Code exit_link) {
    mov(address_, qword[state_ + o_.page_address]);
    if (offset != 0) add(address_, offset);
    mov(Xbyak::util::r10, reinterpret_cast<std::uint64_t>(&link));
    jmp(exit_link, T_NEAR);
}

ThunkMaker::Code ThunkMaker::make_exit_dispatch(Code leave) {
    Code const start = here();
    mov(qword[state_ + o_.rip], address_);
    save(kCallerSaved), save(kCalleeSaved);
    give_up_xmm();
    unload_x87();
    jmp(leave);
    return start;
}

void ThunkMaker::go_on(Code leave, void const* next_code, Registers lost) {
    Xbyak::Label out;
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(next_code));
    call(Xbyak::util::rax);
    test(Xbyak::util::rax, Xbyak::util::rax);
    jz(out, T_NEAR);
    mov(address_, Xbyak::util::rax);
    load_xmm_if_loaded();
    load(kCallerSaved);
    if (lost == Registers::all) load(kCalleeSaved);
    jmp(address_);
    L(out);
    if (lost == Registers::caller_saved) save(kCalleeSaved);
    mov(byte[state_ + o_.xmm_loaded], 0);
    jmp(leave);
}

ThunkMaker::Code ThunkMaker::make_slow(JitRuntime::Resolved (*function)(Cpu*, std::uint64_t, Op const*, std::uint64_t), Code leave) {
    Code const start = here();
    Xbyak::Label failed;
    save(kCallerSaved);
    save_xmm_if_loaded();
    mov(qword[state_ + o_.temporary], address_);
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rsi, address_);
    mov(Xbyak::util::rdx, Xbyak::util::r10);
    mov(Xbyak::util::rcx, Xbyak::util::r11);
    call_aligned(reinterpret_cast<void const*>(function));
    test(Xbyak::util::rdx, Xbyak::util::rdx);
    jz(failed, T_NEAR);
    mov(Xbyak::util::r11, Xbyak::util::rax);
    load_xmm_if_loaded();
    mov(address_, qword[state_ + o_.temporary]);
    load(kCallerSaved);
    ret();
    L(failed);
    add(Xbyak::util::rsp, 8);
    unload_x87();
    mov(Xbyak::util::rdi, state_);
    go_on(leave, address_of(&JitRuntime::after_handler), Registers::caller_saved);
    return start;
}

ThunkMaker::Code ThunkMaker::make_call_handler(Code leave) {
    Code const start = here();
    Xbyak::Label failed;
    save(kCallerSaved), save(kCalleeSaved);
    save_xmm_if_loaded();
    unload_x87();
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rsi, Xbyak::util::r10);
    call_aligned(address_of(&JitRuntime::call_handler));
    test(Xbyak::util::rax, Xbyak::util::rax);
    jz(failed, T_NEAR);
    load_xmm_if_loaded();
    load(kCallerSaved), load(kCalleeSaved);
    ret();
    L(failed);
    leave_from_call(leave, false);
    return start;
}

ThunkMaker::Code ThunkMaker::make_last(void const* function, Code leave) {
    Code const start = here();
    save(kCallerSaved), save(kCalleeSaved);
    give_up_xmm();
    unload_x87();
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rsi, Xbyak::util::r10);
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
    call(Xbyak::util::rax);
    mov(Xbyak::util::rdi, state_);
    go_on(leave, address_of(&JitRuntime::after_handler), Registers::all);
    return start;
}

ThunkMaker::Code ThunkMaker::make_materialize() {
    Code const start = here();
    save(kCallerSaved);
    save_xmm_if_loaded();
    push(Xbyak::util::r9), push(Xbyak::util::r10), push(Xbyak::util::r11);
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(&JitRuntime::materialize));
    call(Xbyak::util::rax);  // aligned: the return address and three registers
    mov(qword[state_ + o_.temporary_flags], Xbyak::util::rax);
    load_xmm_if_loaded();
    pop(Xbyak::util::r11), pop(Xbyak::util::r10), pop(Xbyak::util::r9);
    load(kCallerSaved);
    push(qword[state_ + o_.temporary_flags]);
    popfq();
    ret();
    return start;
}

ThunkMaker::Code ThunkMaker::make_flags_image(Code materialize) {
    Code const start = here();
    Xbyak::Label done;
    push(Xbyak::util::r11);  // and the stack is aligned as for a call from a block
    call(materialize);
    pushfq();
    pop(Xbyak::util::r10);
    and_(Xbyak::util::r10d, static_cast<std::uint32_t>(rflags::kArithmetic));
    // Of a logical operation the host's AF is undefined, and ours 0.
    movzx(Xbyak::util::r11d, byte[state_ + o_.flags_kind]);
    and_(Xbyak::util::r11d, ~3);
    cmp(Xbyak::util::r11d, DeferredFlags::kind_of(FlagProducer::logic, 1));
    jne(done);
    and_(Xbyak::util::r10d, ~static_cast<std::uint32_t>(rflags::kAuxiliary));
    L(done);
    mov(Xbyak::util::r11, qword[state_ + o_.rflags]);
    and_(Xbyak::util::r11, ~static_cast<std::uint32_t>(rflags::kArithmetic | rflags::kVirtual8086 | rflags::kResume));
    or_(Xbyak::util::r10, Xbyak::util::r11);
    pop(Xbyak::util::r11);
    ret();
    return start;
}

ThunkMaker::Code ThunkMaker::make_quiet_call(void const* function) {
    Code const start = here();
    save(kCallerSaved);
    save_xmm_if_loaded();
    push(Xbyak::util::r9), push(Xbyak::util::r10), push(Xbyak::util::r11);
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rsi, Xbyak::util::r10);
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
    call(Xbyak::util::rax);
    load_xmm_if_loaded();
    pop(Xbyak::util::r11), pop(Xbyak::util::r10), pop(Xbyak::util::r9);
    load(kCallerSaved);
    ret();
    return start;
}

template <typename Load>
ThunkMaker::Code ThunkMaker::make_load(std::uint64_t (*may)(Cpu*, Op const*), Code leave, Load load_it) {
    Code const start = here();
    Xbyak::Label failed;
    save(kCallerSaved);
    save_xmm_if_loaded();
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rsi, Xbyak::util::r10);
    call_aligned(address_of(may));
    test(Xbyak::util::rax, Xbyak::util::rax);
    jz(failed, T_NEAR);
    load_it();
    load(kCallerSaved);
    ret();
    L(failed);
    leave_from_call(leave, true);
    return start;
}

ThunkMaker::Code ThunkMaker::make_load_xmm(Code leave) {
    return make_load(&JitRuntime::may_load_xmm, leave, [this] {
        mov(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
        load_xmm();
    });
}

ThunkMaker::Code ThunkMaker::make_load_ymm(Code leave) {
    return make_load(&JitRuntime::may_load_ymm, leave, [this] {
        mov(byte[state_ + o_.xmm_loaded], VectorsLoaded::kYmm);
        load_xmm();
        load_high();
    });
}

ThunkMaker::Code ThunkMaker::make_load_x87(Code leave) {
    return make_load(&JitRuntime::load_x87, leave, [this] { load_xmm_if_loaded(); });
}

ThunkMaker::Code ThunkMaker::here() {
    align(16);
    return getCurr();
}

void ThunkMaker::save(std::span<std::uint8_t const> guests) {
    for (std::uint8_t const guest : guests)
        mov(qword[state_ + (o_.slots + 8 * guest)], Xbyak::Reg64{jit::kHostOf[guest]});
}

void ThunkMaker::load(std::span<std::uint8_t const> guests) {
    for (std::uint8_t const guest : guests)
        mov(Xbyak::Reg64{jit::kHostOf[guest]}, qword[state_ + (o_.slots + 8 * guest)]);
}

void ThunkMaker::load_xmm() {
    for (int i = 0; i < 16; ++i) movaps(Xbyak::Xmm{i}, xword[state_ + (o_.xmm + 16 * i)]);
}

void ThunkMaker::load_high() {
    for (int i = 0; i < 16; ++i) vinsertf128(Xbyak::Ymm{i}, Xbyak::Ymm{i}, xword[state_ + (o_.ymm_high + 16 * i)], 1);
}

void ThunkMaker::load_xmm_if_loaded() {
    Xbyak::Label done;
    cmp(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
    jb(done, T_NEAR);
    load_xmm();  // no flag changes
    je(done, T_NEAR);
    load_high();
    L(done);
}

void ThunkMaker::save_xmm_if_loaded() {
    Xbyak::Label done;
    cmp(byte[state_ + o_.xmm_loaded], VectorsLoaded::kXmm);
    jb(done, T_NEAR);
    for (int i = 0; i < 16; ++i) movaps(xword[state_ + (o_.xmm + 16 * i)], Xbyak::Xmm{i});
    je(done, T_NEAR);
    for (int i = 0; i < 16; ++i) vextractf128(xword[state_ + (o_.ymm_high + 16 * i)], Xbyak::Ymm{i}, 1);
    vzeroupper();  // our own code is SSE
    L(done);
}

void ThunkMaker::give_up_xmm() {
    save_xmm_if_loaded();
    mov(byte[state_ + o_.xmm_loaded], 0);
}

void ThunkMaker::unload_x87() {
    Xbyak::Label done;
    Xbyak::Reg64 const& stack = Xbyak::util::rsp;
    cmp(byte[state_ + o_.x87_loaded], 0);
    je(done, T_NEAR);
    mov(Xbyak::util::rax, stack);
    and_(stack, -16);  // thunks come here with and without a return address on it
    sub(stack, 32);
    mov(qword[stack], Xbyak::util::rax);
    mov(qword[stack + 8], Xbyak::util::r9);
    mov(qword[stack + 16], Xbyak::util::r10);
    mov(qword[stack + 24], Xbyak::util::r11);
    mov(Xbyak::util::rdi, state_);
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(&JitRuntime::unload_x87));
    call(Xbyak::util::rax);
    mov(Xbyak::util::r11, qword[stack + 24]);
    mov(Xbyak::util::r10, qword[stack + 16]);
    mov(Xbyak::util::r9, qword[stack + 8]);
    mov(stack, qword[stack]);
    L(done);
}

void ThunkMaker::call_aligned(void const* function) {
    sub(Xbyak::util::rsp, 8);
    mov(Xbyak::util::rax, reinterpret_cast<std::uint64_t>(function));
    call(Xbyak::util::rax);
    add(Xbyak::util::rsp, 8);
}

void ThunkMaker::leave_from_call(Code leave, bool save_callee_saved) {
    add(Xbyak::util::rsp, 8);
    if (save_callee_saved) save(kCalleeSaved);
    unload_x87();
    mov(byte[state_ + o_.xmm_loaded], 0);
    jmp(leave);
}

}  // namespace backplane
