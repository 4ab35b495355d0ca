// Emits the thunks of a translator: the pieces of code that its blocks share, between them and what they call in
// jit/runtime.h. A thunk saves what the C++ function may destroy, and loads it again.
#pragma once

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "jit/layout.h"
#include "jit/runtime.h"

namespace backplane {

class ThunkMaker : public Xbyak::CodeGenerator {
  public:
    ThunkMaker(std::uint8_t* where, std::size_t room, jit::Offsets const& offsets)
        : CodeGenerator{room, where}, o_{offsets} {}

    using Code = std::uint8_t const*;

    /// void enter(Cpu* rdi, void* code rsi)
    Code make_enter();
    /// The registers are in memory already.
    Code make_return();
    /// R9 = rip; with_link: R10 = Link.
    Code make_exit(Code leave, bool with_link);
    /// R9 = rip, which is not in its own slot of the cache: looks into the others of its set.
    Code make_look_again(unsigned view, Code exit_rip);
    /// To the address at `offset` in the running page, through a link.
    void make_forward(std::uint32_t offset, jit::Link const& link, Code exit_link);
    /// R9 = rip; always to the dispatcher.
    Code make_exit_dispatch(Code leave);
    /// R9 = linear address, R10 = Op, R11 = MissedAccess. Returns with R11 = host minus linear.
    Code make_slow(JitRuntime::Resolved (*function)(Cpu*, std::uint64_t, Op const*, std::uint64_t), Code leave);
    /// R10 = HandlerSite.
    Code make_call_handler(Code leave);
    /// R10 = its second argument; jumped to: runs a function that ends the block, and goes on at rip.
    template <typename Argument>
    Code make_last(void (*function)(Cpu*, Argument), Code leave) {
        return make_last(reinterpret_cast<void const*>(function), leave);
    }
    Code make_materialize();
    /// R10 = RFLAGS as PUSHF sees them; the host's flags are lost.
    Code make_flags_image(Code materialize);
    /// Calls a function and changes no register. R10 = its second argument, if it has one.
    template <typename... Arguments>
    Code make_quiet_call(void (*function)(Cpu*, Arguments...)) {
        return make_quiet_call(reinterpret_cast<void const*>(function));
    }
    /// R10 = the block's first Op.
    Code make_load_xmm(Code leave);
    Code make_load_ymm(Code leave);
    Code make_load_x87(Code leave);

  private:
    Code here();
    Code make_last(void const* function, Code leave);
    /// Calls `may` with the block's first Op; when that is not 0, emits what `load_it` does, else leaves.
    template <typename Load>
    Code make_load(std::uint64_t (*may)(Cpu*, Op const*), Code leave, Load load_it);
    Code make_quiet_call(void const* function);
    /// To the code at rip, if `next_code` knows it, else to the dispatcher. Its arguments are set, XMM registers are saved,
    /// and so are the caller-saved of the guest's; `lost` says which have to be loaded again.
    enum class Registers : std::uint8_t { caller_saved, all };
    void go_on(Code leave, void const* next_code, Registers lost);
    void save(std::span<std::uint8_t const> guests);
    void load(std::span<std::uint8_t const> guests);
    void load_xmm();
    void load_high();
    void load_xmm_if_loaded();
    void save_xmm_if_loaded();
    void give_up_xmm();
    /// General and XMM registers are saved; R9 to R11 are kept.
    void unload_x87();
    /// From inside a called thunk, where the stack is off by the return address.
    void call_aligned(void const* function);
    /// Out of a called thunk to the dispatcher; XMM registers were saved before the call.
    void leave_from_call(Code leave, bool save_callee_saved);

    jit::Offsets const& o_;
    Xbyak::Reg64 const state_{jit::kState};
    Xbyak::Reg64 const address_{jit::kScratchA};
};

}  // namespace backplane
