// One processor while it executes: the architectural state, its soft TLB, and the vocabulary in which instruction
// handlers are written. Every store of a guest begins here.
//
// A handler reads everything, checks everything, then writes: until its first write it may give up with `leave`, and
// the instruction has not happened. It gives up in two cases: a fault, or an access that is not plain RAM (a device,
// a store into decoded code) while other instructions share the trace; the dispatcher then runs the instruction alone,
// where such accesses are carried out with the clock exact.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "cpu/cpu_model.h"
#include "cpu/cpu_topology.h"
#include "cpu/debug_points.h"
#include "cpu/deferred_flags.h"
#include "cpu/exception.h"
#include "cpu/flags.h"
#include "cpu/op.h"
#include "cpu/state.h"
#include "cpu/tier.h"
#include "cpu/translated_state.h"
#include "mmu/page_walk.h"
#include "mmu/tlb.h"

namespace backplane {

class DecodeCache;
class LocalApic;
struct Gate;
struct TaskImage;
class TraceCache;

/// Why the dispatcher got control back.
enum class Leave : std::uint8_t {
    next,       ///< go on at rip
    fault,      ///< pending_fault() is to be delivered at rip
    alone,      ///< run the instruction at rip in a trace of its own
    halt,       ///< HLT
    shutdown,   ///< triple fault
    device,     ///< a device register was accessed: timers and interrupts may have changed
    debug,      ///< a breakpoint or watchpoint: debug_stop() says which
    pause,      ///< PAUSE while other processors wait for their turn
};

template <typename T>
struct Loaded {
    T value;
    bool ok;
};

/// What an access needs of its segment.
enum class Right : std::uint8_t { read, write };

/// What an interrupt vector comes from; decides about error codes and privilege checks.
enum class EventSource : std::uint8_t { external, exception, software };

/// INT n; INT3 and INTO; INT1, which raises #DB as a trap.
enum class IntKind : std::uint8_t { by_number, fixed, debug_trap };

enum class FarKind : std::uint8_t { jump, call };

/// Counters that the report and the benchmarks show.
struct CpuCounters {
    std::uint64_t traces_decoded{0};
    std::uint64_t tlb_misses{0};
    std::uint64_t exceptions{0};
    std::uint64_t interrupts{0};
    std::uint64_t device_accesses{0};
    std::uint64_t code_writes{0};
};

class Cpu final : public TranslationObserver {
  public:
    struct Parts {
        Bus& bus;
        MachineClock& clock;
        TimeStampCounter& tsc;
        LocalApic& apic;
        TraceCache& traces;
        std::uint64_t instructions_per_second;
        std::uint64_t random_seed;
        CpuModel model{widest_cpu_model()};
        CpuTopology topology{};
    };
    explicit Cpu(Parts const& parts);
    ~Cpu() override;

    // --- the state from outside (engine, tests, debugger) ---------------------------------------------------------
    /// The whole architectural state; valid between runs.
    [[nodiscard]] CpuState state() const;
    void set_state(CpuState const& state);

    // --- registers ------------------------------------------------------------------------------------------------
    template <typename T>
    [[nodiscard]] T reg(std::uint8_t offset) const {
        T value;
        std::memcpy(&value, reinterpret_cast<char const*>(slot_) + offset, sizeof(T));
        return value;
    }
    /// Writes a register; a 32-bit write clears the upper half ([SDM1] 3.4.1.1).
    template <typename T>
    void set_reg(std::uint8_t offset, T value) {
        if constexpr (sizeof(T) == 4) {
            std::uint64_t const wide = static_cast<std::uint32_t>(value);
            std::memcpy(reinterpret_cast<char*>(slot_) + offset, &wide, 8);
        } else {
            std::memcpy(reinterpret_cast<char*>(slot_) + offset, &value, sizeof(T));
        }
    }
    [[nodiscard]] std::uint64_t& gpr(Gpr name) { return slot_[name]; }
    [[nodiscard]] std::uint64_t gpr(Gpr name) const { return slot_[name]; }

    /// The linear address of a memory operand. Outside 64-bit mode the segment is checked here: an access that it does
    /// not allow gets an address that no page has, and the access itself then notes #GP(0) or #SS(0)
    /// (docs/design/segmentation.md).
    [[nodiscard]] std::uint64_t address(Op const* op) const { return address(op, reg<std::uint64_t>(op->index)); }
    /// The same with an index that is not in a general register (gathers).
    [[nodiscard]] std::uint64_t address(Op const* op, std::uint64_t index) const {
        std::uint64_t const offset = reg<std::uint64_t>(op->base) + (index << op->scale) +
                                     static_cast<std::uint64_t>(static_cast<std::int64_t>(op->disp));
        if (op->form != AddressForm::flat64) [[unlikely]] return address_other(op, offset);
        return offset + segment_base_[op->segment];
    }
    /// The offset alone, as LEA computes it (not yet cut to the operand size).
    [[nodiscard]] std::uint64_t effective_address(Op const* op) const;

    // --- memory ---------------------------------------------------------------------------------------------------
    template <typename T>
    [[nodiscard]] Loaded<T> load(std::uint64_t address) {
        TlbEntry const& entry = tlb_->read.slot(address);
        if (address - entry.tag <= kPageBytes - sizeof(T)) [[likely]] {
            T value;
            std::memcpy(&value, reinterpret_cast<void const*>(address + entry.addend), sizeof(T));
            return {value, true};
        }
        return load_slow<T>(address);
    }
    template <typename T>
    [[nodiscard]] bool store(std::uint64_t address, T value) {
        TlbEntry const& entry = tlb_->write.slot(address);
        if (address - entry.tag <= kPageBytes - sizeof(T)) [[likely]] {
            std::memcpy(reinterpret_cast<void*>(address + entry.addend), &value, sizeof(T));
            return true;
        }
        return store_slow<T>(address, value);
    }
    /// For read-modify-write: the value, with the right to store checked, so that the store() that follows cannot fail.
    template <typename T>
    [[nodiscard]] Loaded<T> load_to_modify(std::uint64_t address) {
        TlbEntry const& entry = tlb_->write.slot(address);
        if (address - entry.tag <= kPageBytes - sizeof(T)) [[likely]] {
            T value;
            std::memcpy(&value, reinterpret_cast<void const*>(address + entry.addend), sizeof(T));
            return {value, true};
        }
        if (!may_store(address, sizeof(T))) return {T{}, false};
        return load_slow<T>(address);
    }
    /// Larger objects (16 bytes and more, FXSAVE areas, far pointers): any size up to a page.
    [[nodiscard]] bool load_bytes(std::uint64_t address, void* into, std::uint32_t bytes);
    [[nodiscard]] bool store_bytes(std::uint64_t address, void const* from, std::uint32_t bytes);
    /// True when [address, address + bytes) may be stored to (both pages); otherwise a fault or `alone` is pending.
    [[nodiscard]] bool may_store(std::uint64_t address, std::uint32_t bytes);
    /// Host memory behind a linear address within its page, for string instructions; null when the slow path is needed.
    [[nodiscard]] std::byte const* read_pointer(std::uint64_t address) {
        TlbEntry const& entry = tlb_->read.slot(address);
        return address - entry.tag < kPageBytes ? reinterpret_cast<std::byte const*>(address + entry.addend) : nullptr;
    }
    [[nodiscard]] std::byte* write_pointer(std::uint64_t address) {
        TlbEntry const& entry = tlb_->write.slot(address);
        return address - entry.tag < kPageBytes ? reinterpret_cast<std::byte*>(address + entry.addend) : nullptr;
    }
    /// Accesses that the processor makes for itself, with supervisor rights (descriptor tables, TSS, IDT).
    template <typename T>
    [[nodiscard]] Loaded<T> load_system(std::uint64_t address) {
        TlbEntry const& entry = supervisor_tlb_.read.slot(address);
        if (address - entry.tag <= kPageBytes - sizeof(T)) [[likely]] {
            T value;
            std::memcpy(&value, reinterpret_cast<void const*>(address + entry.addend), sizeof(T));
            return {value, true};
        }
        return load_system_slow<T>(address);
    }
    template <typename T>
    [[nodiscard]] bool store_system(std::uint64_t address, T value);

    // --- the stack ------------------------------------------------------------------------------------------------
    // The stack's width is 64 bits in 64-bit mode, else SS.B chooses 32 or 16 ([SDM1] 6.2.3).
    [[nodiscard]] std::uint64_t stack_masked(std::uint64_t value) const {
        if (mode_ == CodeMode::bits64) [[likely]] return value;
        return state_.segments[ss].big ? static_cast<std::uint32_t>(value) : static_cast<std::uint16_t>(value);
    }
    [[nodiscard]] std::uint64_t stack_pointer() const { return stack_masked(slot_[rsp]); }
    [[nodiscard]] std::uint64_t stack_pointer_minus(std::uint64_t bytes) const { return stack_masked(slot_[rsp] - bytes); }
    [[nodiscard]] std::uint64_t stack_pointer_plus(std::uint64_t bytes) const { return stack_masked(slot_[rsp] + bytes); }
    void set_stack_pointer(std::uint64_t value) {
        if (mode_ == CodeMode::bits64 || state_.segments[ss].big)
            slot_[rsp] = value;
        else
            slot_[rsp] = (slot_[rsp] & ~std::uint64_t{0xffff}) | value;
    }
    [[nodiscard]] std::uint64_t stack_address(std::uint64_t offset, std::uint32_t bytes) const {
        if (mode_ == CodeMode::bits64) [[likely]] return offset;
        return checked_linear(ss, offset, bytes, Right::write);
    }
    /// The linear address of `bytes` at an offset in a segment that an Op names.
    [[nodiscard]] std::uint64_t segment_linear(std::uint8_t slot, std::uint64_t offset, std::uint32_t bytes, Right right) const {
        if (mode_ == CodeMode::bits64) [[likely]] return offset + segment_base_[slot];
        return checked_linear(slot, offset, bytes, right);
    }
    /// How many bytes from `offset` on, up to `most`, the segment allows without a wrap of a 16-bit offset.
    [[nodiscard]] std::uint64_t segment_room(std::uint8_t slot, std::uint64_t offset, AddressForm form, std::uint64_t most, Right right) const;
    /// The linear address of the operand, whatever the segment allows (INVLPG).
    [[nodiscard]] std::uint64_t address_unchecked(Op const* op) const;
    /// Like leave(), for an access to the stack: a non-canonical address is #SS, not #GP.
    [[nodiscard]] Op const* leave_stack(Op const* op);

    // --- leaving a trace ------------------------------------------------------------------------------------------
    /// Gives the instruction up: nothing of it has happened. A fault or `alone` has been noted by what failed.
    [[nodiscard]] Op const* leave(Op const* op);
    /// Raises a fault from a handler: `return cpu.raise(op, ...)`.
    [[nodiscard]] Op const* raise(Op const* op, ExceptionVector vector, std::uint32_t error_code = 0);
    /// Notes a fault and returns false, for use below handlers.
    bool fault(ExceptionVector vector, std::uint32_t error_code = 0);
    bool page_fault(std::uint64_t address, std::uint32_t error_code);
    /// The instruction is done and was the last of its trace; execution goes on behind it.
    [[nodiscard]] Op const* finish(Op const* op, Leave reason = Leave::next);
    /// The same from the middle of a trace: what follows in it has not been executed.
    [[nodiscard]] Op const* finish_early(Op const* op);
    [[nodiscard]] bool is_last_of_trace(Op const* op) const { return op->position + 1U == trace_->count; }
    /// The instruction is done; execution goes on at `target` (linear, checked).
    [[nodiscard]] Op const* jump(Op const* op, std::uint64_t target);
    /// The instruction is done; execution goes on at a successor known at decode time.
    static constexpr unsigned kFallThrough = 0, kTaken = 1;
    [[nodiscard]] Op const* go(std::uint64_t target, unsigned successor) {
        Trace* const next = trace_->links[successor];
        if (remaining_ >= next->cost + link_toll_) [[likely]] return follow(next, target);
        return go_slow(target, successor);
    }
    [[nodiscard]] std::uint64_t rip_of(Op const* op) const { return slot_[kCodeSlot] + op->offset; }
    [[nodiscard]] std::uint64_t next_rip(Op const* op) const { return slot_[kCodeSlot] + op->offset + op->length; }
    /// True when the running instruction is alone in its trace and nothing is linked behind it, so that devices may be
    /// touched: the clock can be brought to it, and the dispatcher looks at interrupts right after it.
    [[nodiscard]] bool is_alone() const { return trace_->cost == Trace::kInvalid && trace_->count <= 1; }
    /// Notes that the running instruction must be run alone; `return cpu.leave(op)` follows.
    void ask_to_run_alone() { leave_reason_ = Leave::alone; }
    /// Brings the machine's clock to the running instruction, which must be the last of its trace.
    void bring_clock_up() { clock_to(instructions_before_run_ + quota_ - remaining_ - (trace_->count != 0 ? 1 : 0)); }
    /// A device register was touched: the dispatcher goes back to the monitor after this instruction, since timers and
    /// interrupt lines may have changed.
    void touch_device() {
        ++counters_.device_accesses;
        attention_ = device_touched_ = true;
    }
    /// REP: how many iterations the quota still allows, the first included. A single step is one ([SDM3A] 17.3.1.4).
    [[nodiscard]] std::uint64_t iterations_allowed() const {
        return (state_.rflags & rflags::kTrap) != 0 ? 1 : remaining_ + 1;
    }
    /// REP: counts iterations after the first.
    void count_iterations(std::uint64_t iterations) { remaining_ -= iterations - 1; }

    // --- mode and flags -------------------------------------------------------------------------------------------
    [[nodiscard]] unsigned cpl() const { return cpl_; }
    [[nodiscard]] bool long_mode_active() const { return (state_.efer & efer::kLongModeActive) != 0; }
    [[nodiscard]] bool in_64_bit_mode() const { return mode_ == CodeMode::bits64; }
    [[nodiscard]] bool protected_mode() const { return (state_.cr0 & cr0::kProtection) != 0; }
    [[nodiscard]] CodeMode mode() const { return mode_; }
    [[nodiscard]] std::uint64_t rflags() const { return (state_.rflags & ~rflags::kArithmetic) | flags.value(); }
    /// Sets RFLAGS as a whole (already checked and masked by the caller).
    void set_rflags(std::uint64_t value);
    /// To be called when interrupts or NMIs may have become deliverable: makes the dispatcher look if one waits.
    void look_for_interrupts();
    [[nodiscard]] bool has_waiting_interrupt() const;
    [[nodiscard]] bool direction_down() const { return (state_.rflags & rflags::kDirection) != 0; }
    /// To be called after any change of CR0, CR3, CR4, EFER, CPL, CS or EFLAGS.AC.
    void mode_changed();
    void flush_tlb();             ///< everything
    void flush_tlb_non_global();  ///< MOV CR3 with CR4.PGE
    void flush_tlb_page(std::uint64_t address);
    /// Another PCID becomes the current one; `keep`: its translations may be used again if they are still known.
    void change_pcid(std::uint16_t from, std::uint16_t to, bool keep);
    void forget_pcid(std::uint16_t pcid);  ///< one that is not the current one
    void forget_other_pcids();
    /// False: a near branch to `target` is #GP(0) at the branch ([SDM3A] 5.3, [SDM1] 3.3.7.1).
    [[nodiscard]] bool may_branch_to(std::uint64_t target) const {
        return mode_ == CodeMode::bits64 ? is_canonical(target) : target <= code_limit_;
    }
    [[nodiscard]] bool virtual_8086() const { return (state_.rflags & rflags::kVirtual8086) != 0; }
    /// Real mode and virtual-8086 mode: a selector is a base, and nothing is read from a table.
    [[nodiscard]] bool real_addressing() const { return !protected_mode() || virtual_8086(); }
    [[nodiscard]] static constexpr bool is_canonical(std::uint64_t address) {
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << 16) >> 16) == address;
    }

    // --- segments and control transfers (segments.cc, deliver.cc) -------------------------------------------------
    void set_segment(SegmentName name, Segment const& segment);
    [[nodiscard]] Segment const& segment(SegmentName name) const { return state_.segments[name]; }
    /// MOV Sreg, POP Sreg, LDS...: loads and checks a data or stack segment. False: a fault is pending.
    [[nodiscard]] bool load_segment(SegmentName name, std::uint16_t selector);
    /// Delivers an interrupt or exception through the IDT. Faults on the way become double faults and shutdown.
    void deliver(std::uint8_t vector, EventSource source, std::optional<std::uint32_t> error_code);
    /// A descriptor of the GDT or LDT as two halves of 64 bits (the second only for system descriptors in long mode).
    /// Empty: the selector is beyond its table, and `vector`(selector) is pending, or the read faulted.
    [[nodiscard]] std::optional<std::uint64_t> read_descriptor(std::uint16_t selector, ExceptionVector vector);
    [[nodiscard]] bool load_ldtr(std::uint16_t selector);
    [[nodiscard]] bool load_tr(std::uint16_t selector);
    // Handlers of control transfers; each ends its trace.
    [[nodiscard]] Op const* far_jump(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes);
    [[nodiscard]] Op const* far_call(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes);
    [[nodiscard]] Op const* far_return(Op const* op, unsigned operand_bytes, std::uint64_t extra_bytes);
    [[nodiscard]] Op const* interrupt_return(Op const* op, unsigned operand_bytes);
    [[nodiscard]] Op const* software_interrupt(Op const* op, std::uint8_t vector, IntKind kind);
    [[nodiscard]] Op const* syscall(Op const* op);
    [[nodiscard]] Op const* sysret(Op const* op, unsigned operand_bytes);
    [[nodiscard]] Op const* sysenter(Op const* op);
    [[nodiscard]] Op const* sysexit(Op const* op);

    // --- debug registers (debug.cc) -------------------------------------------------------------------------------
    /// Both keep what the registers mean up to date.
    void set_dr(unsigned number, std::uint64_t address);
    void set_dr7(std::uint64_t value);
    /// IN and OUT: notes the trap of a breakpoint on a port, which needs CR4.DE.
    void watch_port(std::uint16_t port, std::uint32_t bytes);
    /// A data breakpoint has been hit: a repeated string instruction stops here, and #DB follows.
    [[nodiscard]] bool has_debug_trap() const { return state_.pending_debug != 0; }

    // --- what instructions need of the machine --------------------------------------------------------------------
    [[nodiscard]] Bus& bus() { return bus_; }
    [[nodiscard]] LocalApic& apic() { return apic_; }
    [[nodiscard]] std::uint64_t time_stamp();
    [[nodiscard]] std::uint64_t random();
    /// RDMSR, WRMSR (msr.cc); false: #GP.
    [[nodiscard]] std::optional<std::uint64_t> read_msr(std::uint32_t msr);
    [[nodiscard]] bool write_msr(std::uint32_t msr, std::uint64_t value);
    /// CPUID (cpuid.cc) as eax, ebx, ecx, edx.
    [[nodiscard]] std::array<std::uint32_t, 4> cpuid(std::uint32_t leaf, std::uint32_t subleaf) const;
    /// INVPCID with its checks. False: a fault is pending.
    [[nodiscard]] bool invalidate_by_pcid(std::uint64_t type, std::uint64_t pcid, std::uint64_t address);
    /// Writes of control registers with all their checks (control_registers.cc). False: a fault is pending.
    [[nodiscard]] bool write_cr0(std::uint64_t value);
    [[nodiscard]] bool write_cr3(std::uint64_t value);
    [[nodiscard]] bool write_cr4(std::uint64_t value);
    [[nodiscard]] bool write_xcr0(std::uint64_t value);
    /// The state components that this processor has, as bits of XCR0.
    [[nodiscard]] std::uint64_t state_components() const {
        return xcr0::kX87 | xcr0::kSse | (model_ == CpuModel::avx2 ? xcr0::kAvx : 0);
    }

    // --- vectors and floating point -------------------------------------------------------------------------------
    /// False when SSE instructions raise #UD or #NM now (CR0.EM, CR0.TS, CR4.OSFXSR); see raise_simd_unavailable().
    [[nodiscard]] bool simd_ok() const { return !simd_blocked_; }
    /// False when VEX-encoded vector instructions raise #UD or #NM now (mode, CR4.OSXSAVE, XCR0, CR0.TS); see
    /// raise_avx_unavailable().
    [[nodiscard]] bool avx_ok() const { return !avx_blocked_; }
    /// False when x87 and MMX instructions raise #NM (or, MMX with CR0.EM, #UD) now.
    [[nodiscard]] bool x87_ok() const { return !x87_blocked_; }
    [[nodiscard]] Xmm& xmm(std::uint8_t number) { return state_.xmm[number]; }
    [[nodiscard]] Xmm& ymm_high(std::uint8_t number) { return state_.ymm_high[number]; }
    [[nodiscard]] X87State& x87() { return state_.x87; }
    /// The raw state, for system instructions and the engine. Lazy parts (rip, arithmetic flags, GPRs) are not in it.
    [[nodiscard]] CpuState& raw_state() { return state_; }

    /// Arithmetic flags.
    LazyFlags flags;

    // --- for the dispatcher (interpreter.cc) ----------------------------------------------------------------------
    struct RunResult {
        Leave reason;
        std::uint64_t executed;  ///< instructions retired
    };
    /// Runs at most `quota` instructions. Returns `next` at the quota's end, halt, shutdown or device.
    [[nodiscard]] RunResult run(std::uint64_t quota);
    /// Set by whatever may have made an interrupt deliverable; looked at between traces.
    [[nodiscard]] bool* attention_flag() { return &attention_; }
    [[nodiscard]] std::uint64_t instructions() const { return instructions_; }
    [[nodiscard]] CpuCounters const& counters() const { return counters_; }
    [[nodiscard]] TraceCache const& traces() const { return traces_; }
    [[nodiscard]] bool is_halted() const { return state_.halted; }
    /// Whether PAUSE ends a run: another processor of the machine has something to do.
    void set_yields(bool yields) { yields_ = yields; }
    [[nodiscard]] bool yields() const { return yields_; }
    /// An interrupt that is not masked, or an NMI, is pending: a halted processor would wake up.
    [[nodiscard]] bool has_wake_event() const;
    /// An error that the hardware has found: bank 0 notes it, and INT 18 comes before the next instruction; a processor with
    /// CR4.MCE = 0, or that has another one in progress, shuts down ([SDM3B] 15.3, 15.10.4.1).
    void raise_machine_check(std::uint64_t status, std::uint64_t address);
    /// Time passed without instructions (idle): the clock's base moves.
    void skip_to(Ticks time);
    void reset();
    /// INIT and start-up messages that came for this processor, which does not run ([SDM3A] 9.4.3, table 9-1).
    void take_start_signals();

    /// Called with every fault before it is delivered; true swallows it, and run() returns Leave::fault. For tests and
    /// debuggers.
    void set_fault_hook(std::function<bool(Fault const&, std::uint64_t rip)> hook) { fault_hook_ = std::move(hook); }

    /// Called with every access to data that looks for its page, as each does from now on; false: this one finds its page
    /// absent. Null ends it. Between runs only; for tests.
    void set_access_hook(std::function<bool(std::uint64_t address, AccessKind kind)> hook);

    /// What a debugger wants, in place of what it wanted before; empty points end it. Between runs only.
    void set_debug_points(DebugPoints points);
    /// Called with the vector of every interrupt and NMI before it is delivered, and the time; null ends it.
    void set_interrupt_hook(std::function<void(std::uint8_t vector, Ticks now)> hook) { interrupt_hook_ = std::move(hook); }
    /// Called after every instruction, which then are executed one by one; null ends it. Between runs only.
    void set_instruction_hook(InstructionHook hook);
    /// Why the last run ended with Leave::debug.
    [[nodiscard]] DebugStop debug_stop() const { return debug_ != nullptr ? debug_->last_stop : DebugStop{}; }
    /// Gives hot traces to a second tier; null: everything is interpreted.
    void set_tier(CodeTier* tier);
    /// After how many entries a trace is given to the second tier; 1 in tests.
    void set_hot_uses(std::uint16_t uses) { hot_uses_ = uses; }

    // TranslationObserver
    void drop_pages(GuestPage first, std::uint64_t count) override;
    void watch_stores(GuestPage page) override;
    void code_written(GuestPhys, std::uint64_t) override {}

    /// The last instruction that could not be executed, for the report (claim S3.3: "cannot execute", with the bytes).
    struct Refused {
        std::uint64_t rip{0};
        std::uint8_t bytes[15]{};
        std::uint8_t length{0};
    };
    [[nodiscard]] Refused const& last_refused() const { return refused_; }
    void note_refused(std::uint64_t rip);
    /// The cause of a shutdown, in words.
    [[nodiscard]] char const* shutdown_cause() const { return shutdown_cause_; }

  private:
    friend class JitRuntime;  // jit/: the translated code of this processor, which works on its members

    /// The offsets of a segment that may be accessed, both ends included; first > last: none.
    struct SegmentWindow {
        std::uint64_t first, last;
    };
    template <typename T>
    [[gnu::noinline]] Loaded<T> load_slow(std::uint64_t address);
    template <typename T>
    [[gnu::noinline]] bool store_slow(std::uint64_t address, T value);
    template <typename T>
    [[gnu::noinline]] Loaded<T> load_system_slow(std::uint64_t address);
    [[nodiscard]] std::uint64_t address_other(Op const* op, std::uint64_t offset) const;
    /// `offset` has 32 bits. An access beyond the segment's window yields kRefused or kRefusedStack.
    [[nodiscard]] std::uint64_t checked_linear(std::uint8_t slot, std::uint64_t offset, std::uint32_t bytes, Right right) const {
        SegmentWindow const& window = window_[static_cast<unsigned>(right)][slot];
        if (offset < window.first || offset + bytes - 1 > window.last) [[unlikely]] return slot == ss ? kRefusedStack : kRefused;
        return static_cast<std::uint32_t>(offset + segment_base_[slot]);
    }
    [[nodiscard]] std::uint64_t operand_linear(Op const* op, std::uint64_t offset) const;
    /// Where an access goes on behind its first page: outside long mode linear addresses wrap at 4 GiB.
    [[nodiscard]] std::uint64_t next_piece(std::uint64_t address, std::uint64_t bytes, bool system) const {
        std::uint64_t const next = address + bytes;
        return mode_ == CodeMode::bits64 || (system && long_mode_active()) ? next : static_cast<std::uint32_t>(next);
    }
    /// Of the TLB, by CPL and EFLAGS.AC.
    void choose_view();
    [[nodiscard]] static SegmentWindow window_of(Segment const& segment);
    void compute_windows();
    [[nodiscard]] Op const* go_slow(std::uint64_t target, unsigned successor);
    [[nodiscard]] Op const* follow(Trace* next, std::uint64_t target) {
        remaining_ -= next->cost;
        trace_ = next;
        slot_[kCodeSlot] = target;
        return next->ops;
    }
    /// Counts an entry, as the dispatcher would. False: it would not leave the trace to the interpreter.
    [[nodiscard]] bool stays_cold(Trace& next) const;

    struct Target {  // where one page-internal piece of an access goes
        std::byte* host;     // RAM, or null: through the bus
        GuestPhys physical;
    };
    /// Where one piece goes, by the TLB or by translate(). Of RAM found in the TLB `physical` is not known.
    std::optional<Target> locate(std::uint64_t address, AccessKind kind, std::uint32_t bytes, bool system);
    /// Translates one piece; fills the TLB when it may. Empty: fault or `alone` is noted.
    std::optional<Target> translate(std::uint64_t address, AccessKind kind, std::uint32_t bytes, bool system);
    [[nodiscard]] Expected<Translation, PageFault> walk(std::uint64_t address, AccessKind kind, bool system);
    bool load_pieces(std::uint64_t address, void* into, std::uint32_t bytes, bool system);
    bool store_pieces(std::uint64_t address, void const* from, std::uint32_t bytes, bool system);
    TlbSet& set_for(bool system);

    struct Found {
        Trace* trace{nullptr};
        std::uint32_t first{0};  ///< of its instructions; those before it have been executed
    };
    /// Null: a fault is pending.
    Found find_trace(std::uint64_t rip);
    Trace* decode_at(std::uint64_t rip, std::uint64_t physical, std::uint64_t second_page, std::uint32_t most);
    std::optional<std::uint64_t> fetch_page(std::uint64_t address);
    void run_trace(Trace* trace);
    [[nodiscard]] bool is_hot(Trace& trace);
    /// Host code does not check direct branches across pages, so where one might leave the canonical half it is not
    /// used: within 2 GiB of the edge, if the last instruction may be such a branch.
    [[nodiscard]] static bool may_leave_canonical(std::uint64_t rip, Trace const& trace) {
        constexpr std::uint64_t kReach = (std::uint64_t{1} << 31) + kPageBytes;
        if (is_canonical(rip + kReach) && is_canonical(rip - kReach)) [[likely]] return false;
        if (trace.code != nullptr && trace.code_count != trace.count) return true;  // several may leave it
        return !is_canonical(rip + static_cast<std::uint64_t>(trace.ops[trace.count - 1].imm));
    }
    /// What follows a trace that is translated at its first entry (in tests) has not run yet. Null: no room, or it might
    /// reach into another page.
    Trace* decode_ahead(std::uint64_t physical);
    Trace* scratch_copy(Trace const& trace, std::uint32_t first, std::uint32_t count);
    Trace* part_of(Trace& trace, std::uint32_t first, std::uint32_t count);
    bool take_events();
    [[nodiscard]] Ticks time_of(std::uint64_t instructions) const;
    void clock_to(std::uint64_t instructions) { clock_.advance_to(time_of(instructions)); }
    void note_interrupt(std::uint8_t vector) const;
    void take_machine_check();
    void drop_debugging_if_idle();
    [[nodiscard]] bool take_debug_stop();
    void report_retired(std::uint64_t linear, unsigned privilege);

    // Delivery (deliver.cc). False: a fault is pending, and nothing has changed.
    using ErrorCode = std::optional<std::uint32_t>;
    bool deliver_once(std::uint8_t vector, EventSource source, ErrorCode error_code);
    bool deliver_real(std::uint8_t vector);
    bool deliver_protected(std::uint8_t vector, EventSource source, ErrorCode error_code);
    bool deliver_through_gate(Gate const& gate, ErrorCode error_code, std::uint64_t flags_image, std::uint32_t external);
    bool deliver_to_task(std::uint16_t selector, ErrorCode error_code, std::uint32_t external);
    bool deliver_long(std::uint8_t vector, EventSource source, ErrorCode error_code);
    [[nodiscard]] std::uint64_t flags_to_push(std::uint8_t vector, EventSource source) const;

    // Stacks of other privilege levels.
    struct Stack {
        Segment segment;
        std::uint64_t pointer;
        std::uint32_t error_code;  ///< of the #SS when there is no room
        bool wide;                 ///< 64 bits: no segment
        bool system;               ///< with supervisor rights, whatever the current level
    };
    [[nodiscard]] Stack current_stack() const;
    /// The stack of an inner level, from the TSS. Empty: #TS, #SS or a page fault is pending.
    std::optional<Stack> inner_stack(unsigned level, std::uint32_t external);
    /// Pushes onto a stack that is not the current one yet. False: #SS or a page fault is pending.
    bool push_to(Stack& stack, std::uint64_t value, unsigned bytes);
    /// Makes it the current stack; the code segment must be set already.
    void adopt_stack(Stack const& stack);

    // Far transfers (far_transfer.cc).
    /// A code segment for a far transfer. Empty: a fault is pending.
    std::optional<Segment> code_segment_for(std::uint16_t selector, std::uint64_t descriptor);
    Op const* far_transfer_real(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes, FarKind kind);
    Op const* far_transfer(Op const* op, std::uint16_t selector, std::uint64_t offset, unsigned operand_bytes, FarKind kind);
    Op const* through_system_descriptor(Op const* op, std::uint16_t selector, std::uint64_t descriptor, FarKind kind);
    Op const* through_call_gate(Op const* op, std::uint16_t gate_selector, Gate const& gate, FarKind kind);
    std::optional<Stack> inner_stack_long(unsigned level);
    Op const* call_inner(Op const* op, Gate const& gate, Segment code, std::uint64_t target, unsigned bytes);
    Op const* call_same(Op const* op, Segment const& code, std::uint64_t target, unsigned bytes);
    Op const* through_task(Op const* op, std::uint16_t selector, FarKind kind);
    [[nodiscard]] bool is_in_code(Segment const& code, std::uint64_t target) const;
    /// Code and, for an outer level, stack segment of a far RET or IRET. False: a fault is pending.
    bool check_return_code(std::uint16_t selector, Segment& code);
    bool check_return_stack(std::uint16_t selector, Segment const& code, Segment& stack);
    void set_real_segment(SegmentName name, std::uint16_t selector);
    std::optional<std::uint64_t> known_descriptor(std::uint16_t selector);
    bool return_plainly(std::uint64_t const* frame);
    Op const* return_in_real_mode(Op const* op, std::array<std::uint64_t, 3> const& frame, unsigned operand_bytes);
    Op const* return_to_virtual_8086(Op const* op, std::array<std::uint64_t, 3> const& frame);
    Op const* return_from_task(Op const* op);

    // Task switching (task.cc).
    enum class TaskCause : std::uint8_t { jump, call, interrupt, iret };
    /// Leaves for the task of an available (IRET: busy) TSS. False: a fault is pending in the old task, which has not
    /// been left. True: the new task runs, though a fault may be pending in it (leave_reason_).
    bool switch_task(std::uint16_t selector, TaskCause cause, std::uint64_t next_instruction, std::uint32_t external);
    bool save_task(TaskCause cause, std::uint64_t next_instruction);
    enum class BusyBit : std::uint8_t { clear, set };
    bool mark_busy(std::uint16_t selector, BusyBit bit);
    void load_task(TaskImage const& image, TaskCause cause);
    bool load_task_segments(TaskImage const& image);
    bool load_task_ldt(std::uint16_t selector);
    bool load_task_segment(SegmentName name, std::uint16_t selector);

    /// Adds bits 63:32 of a 16-byte descriptor's base. False: a fault is pending.
    bool extend_base(std::uint16_t selector, Segment& segment);
    /// The second half of a 16-byte descriptor whose first half was read.
    std::optional<std::uint64_t> read_descriptor_high(std::uint16_t selector);
    void mark_accessed(std::uint16_t selector, std::uint64_t descriptor);
    void drop_inner_segments();
    // Debugging (debug.cc).
    void debug_registers_changed();
    [[nodiscard]] bool stops_at(std::uint64_t rip) const;
    [[nodiscard]] std::uint32_t count_before_breakpoint(Trace const& trace) const;
    [[nodiscard]] std::uint64_t segment_linear_of_code(std::uint64_t rip) const {
        return mode_ == CodeMode::bits64 ? rip : static_cast<std::uint32_t>(rip + segment_base_[cs]);
    }
    void set_dr6_hits(std::uint64_t bits);
    void note_breakpoint_fault();
    void note_debug_trap(std::uint64_t dr6_bits);
    void deliver_debug_trap();
    /// Watchpoints in the page of `address`, so that it may have no TLB entry.
    [[nodiscard]] bool is_watched_page(std::uint64_t address) const;
    /// False: the access hits a watchpoint and must be made alone.
    bool watch(std::uint64_t address, std::uint32_t bytes, AccessKind kind);
    [[nodiscard]] std::uint32_t count_in_segment(Trace const& trace) const;

    /// PAE: the four entries behind CR3, checked. False: #GP is pending.
    bool load_pdptes(std::uint64_t new_cr3);
    void write_paravirtual_clock(std::uint64_t value);
    void write_paravirtual_wall_clock(std::uint64_t value);

    // Neither is canonical, so that no TLB entry matches; both are even multiples of a page, so that no handler takes
    // them for misaligned before the segment's fault was noted.
    static constexpr std::uint64_t kRefused = 0x8000'0000'0000'0000;
    static constexpr std::uint64_t kRefusedStack = 0x8100'0000'0000'0000;

    // Hot: what every handler touches.
    std::uint64_t slot_[18]{};
    std::uint64_t segment_base_[7]{};
    TlbSet* tlb_;
    Trace* trace_{nullptr};
    std::uint64_t remaining_{0};
    std::uint64_t link_toll_{0};  // more than there is when entries have to be counted for a second tier
    std::uint64_t rip_{0};  // between traces
    Leave leave_reason_{Leave::next};
    CodeMode mode_{CodeMode::bits16};
    std::uint8_t cpl_{0};
    bool attention_{false};
    bool device_touched_{false};
    bool non_canonical_{false};
    bool simd_blocked_{true};
    bool avx_blocked_{true};
    bool x87_blocked_{false};
    Fault pending_{};

    SegmentWindow window_[2][7]{};       // by Right; outside 64-bit mode
    bool has_code_breakpoints_{false};
    bool has_watchpoints_{false};
    bool trap_dropped_{false};           // the instruction was one after which TF does not trap (INT n)
    std::uint64_t code_limit_{0xffff};   // the highest RIP that the code segment allows

    CpuState state_;
    Bus& bus_;
    MachineClock& clock_;
    TimeStampCounter& tsc_;
    LocalApic& apic_;
    TraceCache& traces_;
    std::uint64_t instructions_per_second_;
    std::uint64_t random_state_;
    CpuModel model_;
    CpuTopology topology_;
    bool yields_{false};  // PAUSE ends the run

    std::uint64_t quota_{0};
    std::uint64_t instructions_{0};              // retired, up to the last run's end
    std::uint64_t instructions_before_run_{0};
    std::uint64_t clock_base_instructions_{0};   // the clock showed clock_base_ at this count
    Ticks clock_base_{};
    CodeTier* tier_{nullptr};
    std::uint16_t hot_uses_{16};  // most code of a boot runs less often than this
    TranslatedState translated_;
    DeferredFlags deferred_flags_{};             // what translated code left; lazy while the interpreter runs
    std::unique_ptr<DecodeCache> decoded_;
    Trace** pending_link_{nullptr};              // a link to set once its target is found
    bool code_touched_{false};
    CpuCounters counters_{};
    Refused refused_{};
    char const* shutdown_cause_{"none"};
    std::function<bool(Fault const&, std::uint64_t)> fault_hook_;
    std::function<bool(std::uint64_t, AccessKind)> access_hook_;  // while there is one, the TLB holds no data pages
    std::function<void(std::uint8_t, Ticks)> interrupt_hook_;
    std::unique_ptr<Debugging> debug_;           // null: neither debugged nor traced; keeps attention_ set

    struct Msrs {
        std::uint64_t pat{0x0007'0406'0007'0406};
        std::uint64_t mtrr_default{0x806};
        std::array<std::uint64_t, 11> mtrr_fixed{};
        std::array<std::uint64_t, 16> mtrr_variable{};
        std::uint64_t tsc_adjust{0};
        std::uint64_t kvm_wall_clock{0};
        std::uint64_t kvm_system_time{0};
        std::uint64_t spec_ctrl{0};
        std::uint64_t syscfg{0}, hwcr{0}, northbridge{0};
        std::uint64_t debug_control{0};
        std::uint64_t machine_check_status{0};
        std::array<std::uint64_t, 4> bank{};  ///< CTL, STATUS, ADDR, MISC
        std::uint64_t misc_enable{1};
    } msrs_;
    bool has_machine_check_{false};

    TlbSet user_tlb_, supervisor_tlb_, supervisor_ac_tlb_;
    /// Translations of PCIDs that do not run (docs/design/tlb.md); its jumps are on the translated state's shelf of the
    /// same number.
    struct ShelvedSpace {
        std::uint16_t pcid{0};
        bool used{false};
        std::array<TlbShelf, 3> views;
    };
    std::array<ShelvedSpace, TranslatedState::kShelves> shelved_;
    unsigned next_shelf_{0};
    alignas(16) std::byte scratch_trace_[sizeof(Trace) + 40 * sizeof(Op)];
};

extern template Loaded<std::uint8_t> Cpu::load_slow(std::uint64_t);
extern template Loaded<std::uint16_t> Cpu::load_slow(std::uint64_t);
extern template Loaded<std::uint32_t> Cpu::load_slow(std::uint64_t);
extern template Loaded<std::uint64_t> Cpu::load_slow(std::uint64_t);
extern template bool Cpu::store_slow(std::uint64_t, std::uint8_t);
extern template Loaded<std::uint8_t> Cpu::load_system_slow(std::uint64_t);
extern template bool Cpu::store_slow(std::uint64_t, std::uint16_t);
extern template Loaded<std::uint16_t> Cpu::load_system_slow(std::uint64_t);
extern template bool Cpu::store_slow(std::uint64_t, std::uint32_t);
extern template Loaded<std::uint32_t> Cpu::load_system_slow(std::uint64_t);
extern template bool Cpu::store_slow(std::uint64_t, std::uint64_t);
extern template Loaded<std::uint64_t> Cpu::load_system_slow(std::uint64_t);

/// Ends a handler whose instruction is done: on to the next one of the trace. In release builds this is a tail call, so
/// that each handler has an indirect jump of its own; debug builds return to a loop.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(BACKPLANE_LOOP_DISPATCH)
#if defined(__clang__)
#define BACKPLANE_NEXT(cpu, op) [[clang::musttail]] return (op)[1].run((cpu), (op) + 1)
#else
#define BACKPLANE_NEXT(cpu, op) return (op)[1].run((cpu), (op) + 1)
#endif
#else
#define BACKPLANE_NEXT(cpu, op) return static_cast<void>(cpu), (op) + 1
#endif

}  // namespace backplane
