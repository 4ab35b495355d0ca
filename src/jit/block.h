// Makes host code for a trace and those that usually follow it: a superblock, with one entry and several exits.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cpu/op.h"
#include "cpu/tier.h"
#include "jit/layout.h"

namespace backplane::jit {

/// The shared pieces of code that blocks jump to and call.
struct Thunks {
    std::uint8_t const* slow_read;  ///< R9 linear address, R10 Op, R11 MissedAccess: R11 = host minus linear, or exits
    std::uint8_t const* slow_write;
    std::uint8_t const* call_handler;  ///< R10 = HandlerSite: runs the interpreter's handler, or exits
    std::uint8_t const* last_handler;  ///< R10 = HandlerSite: runs a handler that ends the trace, then exits
    std::uint8_t const* materialize;   ///< RFLAGS = the guest's flags
    std::uint8_t const* flags_image;   ///< R10 = RFLAGS as PUSHF sees them; the host's flags are lost
    std::uint8_t const* keep_carry;    ///< DeferredFlags::base_carry = the guest's CF
    std::uint8_t const*
        load_xmm;  ///< puts the guest's XMM registers into the host's; R9 = rip to exit to if it may not
    std::uint8_t const* weigh_guess;  ///< R10 = Guess: keeps R11, R9 and the guest's registers
    std::uint8_t const* load_ymm;    ///< the same with bits 255:128
    std::uint8_t const* load_x87;    ///< the same for the x87
    std::uint8_t const* reload_x87;  ///< the same behind a handler, where it may
    std::uint8_t const* look_again[2];  ///< R9 = rip, which was not in its own slot: on to its code, or exits; by view
    std::uint8_t const* exit_rip;    ///< R9 = rip
    std::uint8_t const* exit_dispatch;  ///< R9 = rip: to the dispatcher, although code for it may be there
    std::uint8_t const* exit_link;   ///< R9 = rip, R10 = Link
    std::uint8_t const* exit_alone;  ///< R10 = Op: the interpreter is to run that instruction alone
};

/// Where the parts of a block's code begin, in bytes from its entry.
struct BlockMarks {
    std::vector<std::size_t> instructions;  ///< of the guest, in order; before the first comes the entry
    std::size_t stubs;                      ///< exits, and what rarely happens
};

/// Where the guest's code is found.
class GuestCode {
  public:
    virtual ~GuestCode() = default;
    /// A copy of a trace's code. Empty: a part of it is no RAM.
    [[nodiscard]] virtual std::vector<std::uint8_t> bytes_of(Trace const& trace) = 0;
    /// The trace at a guest-physical address if it runs often enough to be made part of a superblock, or null.
    [[nodiscard]] virtual Trace* warm_trace(std::uint64_t address) = 0;
    /// False: the group of accesses that the instruction at this guest-physical address would lead often lies in two pages.
    [[nodiscard]] virtual bool may_lead(std::uint64_t address) = 0;
};

struct BlockRequest {
    Trace& trace;
    CodeView view;
    GuestCode& code;
    Places const& places;
    Thunks const& thunks;
    std::deque<Link>& links;         ///< new ones are appended; addresses stay
    std::deque<HandlerSite>& sites;  ///< likewise
    std::deque<Guess>& guesses;      ///< likewise
    std::uint64_t* handler_calls;    ///< by mnemonic (ZydisMnemonic)
    BlockMarks* marks{nullptr};      ///< filled in, for tests
};

struct BlockCode {
    std::uint8_t* entry;
    std::uint8_t* exit;  ///< leaves at the block's own address
    std::size_t bytes;   ///< 0: it did not fit
    std::vector<Trace*> traces;  ///< it is made of, in order
    std::uint32_t count;         ///< instructions in them
};

/// The most instructions of a superblock; what a quota leaves below that runs in the interpreter.
inline constexpr std::uint32_t kMostInstructions = 64;

class Emitter;

/// Makes all blocks of a translator, whose arena it writes into.
class BlockMaker {
  public:
    /// Both outlive it.
    BlockMaker(Offsets const& offsets, std::uint8_t* arena, std::size_t bytes);
    ~BlockMaker();
    /// Emits a block of at most `room` bytes, `at` bytes from the arena's start on; the caller has checked that the trace is
    /// 64-bit code. What is behind it in the arena may be lost.
    [[nodiscard]] BlockCode make(BlockRequest const& request, std::size_t at, std::size_t room);

  private:
    std::unique_ptr<Emitter> emitter_;
};

}  // namespace backplane::jit
