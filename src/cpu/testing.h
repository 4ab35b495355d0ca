// A machine for the tests of this folder: a processor in long mode with tables of its own, and code given as bytes.
//
//     TestMachine machine;
//     machine.put(kCode, hex("b8 2a000000" /* mov eax, 42 */ "f4" /* hlt */));
//     machine.start_kernel();
//     EXPECT_EQ(machine.run(), Ended::halted);
//
// The first 2 MiB are mapped one to one. Every vector has an interrupt gate to a HLT of its own, so that after run()
// arrived() says which vector came, and frame() what it pushed.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "cpu/cpu.h"
#include "cpu/descriptor.h"
#include "cpu/trace_cache.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/local_apic.h"
#include "memory/frame_pool.h"
#include "memory/guest_memory.h"

namespace backplane {

/// Machine code from hexadecimal digits; spaces do not matter.
[[nodiscard]] inline std::vector<std::uint8_t> hex(std::string_view digits) {
    std::vector<std::uint8_t> bytes;
    std::optional<unsigned> high;
    for (char const c : digits) {
        if (c == ' ') continue;
        check(std::isxdigit(static_cast<unsigned char>(c)) != 0, "code is given in hexadecimal digits");
        unsigned const digit = c <= '9' ? static_cast<unsigned>(c - '0') : (static_cast<unsigned>(c) & 7) + 9;
        if (high) bytes.push_back(static_cast<std::uint8_t>(*high << 4 | digit));
        high = high ? std::nullopt : std::optional{digit};
    }
    check(!high, "code has whole bytes");
    return bytes;
}

namespace layout {

// Where things are, linear and physical.
inline constexpr std::uint64_t kRamBytes = 2 << 20;
inline constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kPd = 0x3000, kPt = 0x4000;
inline constexpr std::uint64_t kGdt = 0x5000, kIdt = 0x6000, kTss = 0x7000, kLdt = 0x7800, kHandlers = 0x8000;
inline constexpr std::uint64_t kHandlerBytes = 16;
inline constexpr std::uint64_t kCode = 0x10000, kUserCode = 0x20000, kData = 0x30000;
inline constexpr std::uint64_t kStack = 0x40000;       ///< top of what the code runs on
inline constexpr std::uint64_t kRing0Stack = 0x50000;  ///< TSS.RSP0
inline constexpr std::uint64_t kIst1Stack = 0x60000, kIst2Stack = 0x68000;
inline constexpr std::uint64_t kBitmapOffset = 0x80;  ///< of the I/O permission bitmap in the TSS
inline constexpr std::uint32_t kTssLimit = 0x100;

// Selectors, RPL 0.
inline constexpr std::uint16_t kKernelCode = 0x08, kKernelData = 0x10, kUserCode32 = 0x18, kUserData = 0x20,
                               kUserCode64 = 0x28, kConforming = 0x30, kAbsentCode = 0x38, kAbsentData = 0x40,
                               kReadOnlyData = 0x48, kTask = 0x50, kLocalTable = 0x60, kKernelCode32 = 0x70,
                               kExecuteOnly = 0x78, kBothSizes = 0x80, kRing1Code = 0x88, kRing1Data = 0x90,
                               kAbsentTask = 0x98, kBusyTask = 0xa8, kGdtEnd = 0xb8;

}  // namespace layout

enum class Ended : std::uint8_t { halted, quota, shutdown };

class TestMachine {
  public:
    /// Gives each machine's processor a second tier; null: the interpreter alone. Set by tests/system/translate_all.cc,
    /// with which all tests of this folder run a second time.
    using MakeTier = std::shared_ptr<CodeTier> (*)(Cpu&);
    static inline MakeTier make_tier = nullptr;

    /// `arena_bytes` for decoded code; small ones make the trace cache flush.
    explicit TestMachine(CpuModel model) : TestMachine{1 << 20, model} {}
    explicit TestMachine(std::size_t arena_bytes = 1 << 20, CpuModel model = widest_cpu_model())
        : pool_{FramePool::create(layout::kRamBytes / kPageBytes).value()},
          memory{pool_},
          bus{memory},
          apic{clock, tsc, 0, fabric},
          traces{memory.map(), arena_bytes},
          cpu{{.bus = bus,
               .clock = clock,
               .tsc = tsc,
               .apic = apic,
               .traces = traces,
               .instructions_per_second = 1'000'000'000,
               .random_seed = 1,
               .model = model}} {
        check(memory.add_ram(GuestPage{0}, layout::kRamBytes / kPageBytes).has_value(),
              "the pool is as large as the RAM");
        build_tables();
        build_segments();
        build_gates();
        enable_apic();
    }

    // --- memory ---------------------------------------------------------------------------------------------------
    void put(std::uint64_t at, std::vector<std::uint8_t> const& bytes) {
        check(memory.write(GuestPhys{at}, std::as_bytes(std::span{bytes})), "tests write to RAM");
    }
    void put(std::uint64_t at, std::string_view code) { put(at, hex(code)); }
    template <typename T>
    void put_value(std::uint64_t at, T const& value) {
        check(memory.write_object(GuestPhys{at}, value), "tests write to RAM");
    }
    template <typename T = std::uint64_t>
    [[nodiscard]] T get(std::uint64_t at) const {
        T value{};
        check(memory.read_object(GuestPhys{at}, value), "tests read from RAM");
        return value;
    }
    /// Maps a page of the first 2 MiB anew. `bits` are those of the entry (1 present, 2 R/W, 4 U/S, bit 63 NX).
    void map(std::uint64_t linear, std::uint64_t physical, std::uint64_t bits) {
        put_value(layout::kPt + linear / kPageBytes * 8, physical | bits);
    }

    // --- tables ---------------------------------------------------------------------------------------------------
    void set_descriptor(std::uint16_t selector, std::uint64_t descriptor) {
        put_value(layout::kGdt + (selector & ~7u), descriptor);
    }
    struct Gate {
        std::uint64_t target;
        std::uint16_t selector{layout::kKernelCode};
        std::uint8_t type{kTypeInterruptGate};
        std::uint8_t dpl{0};
        std::uint8_t stack{0};
        bool present{true};
    };
    void set_gate(std::uint8_t vector, Gate const& gate) {
        std::uint64_t const low = (gate.target & 0xffff) | std::uint64_t{gate.selector} << 16 |
                                  std::uint64_t{gate.stack} << 32 | std::uint64_t{gate.type} << 40 |
                                  std::uint64_t{gate.dpl} << 45 | std::uint64_t{gate.present} << 47 |
                                  (gate.target >> 16 & 0xffff) << 48;
        put_value(layout::kIdt + vector * 16u, low);
        put_value(layout::kIdt + vector * 16u + 8, gate.target >> 32);
    }
    [[nodiscard]] static std::uint64_t handler(std::uint8_t vector) {
        return layout::kHandlers + vector * layout::kHandlerBytes;
    }
    /// The gate of `vector` as it was made, to be changed by a test.
    [[nodiscard]] static Gate default_gate(std::uint8_t vector) { return {.target = handler(vector)}; }

    // --- running --------------------------------------------------------------------------------------------------
    /// Long mode, CPL 0, at kCode, interrupts off.
    void start_kernel(std::uint64_t at = layout::kCode) { cpu.set_state(kernel_state(at)); }
    /// The same with CPL 3, at kUserCode, interrupts on.
    void start_user(std::uint64_t at = layout::kUserCode) { cpu.set_state(user_state(at)); }

    [[nodiscard]] static CpuState kernel_state(std::uint64_t at = layout::kCode) {
        CpuState state;
        state.cr0 = cr0::kProtection | cr0::kExtensionType | cr0::kNumericError | cr0::kWriteProtect | cr0::kPaging;
        state.cr3 = layout::kPml4;
        state.cr4 = cr4::kPhysicalAddressExtension | cr4::kFxsave | cr4::kSimdExceptions;
        state.efer = efer::kSyscall | efer::kLongModeEnable | efer::kLongModeActive | efer::kNoExecute;
        state.gdtr = {layout::kGdt, layout::kGdtEnd - 1};
        state.idtr = {layout::kIdt, 256 * 16 - 1};
        state.tr = {.selector = layout::kTask,
                    .base = layout::kTss,
                    .limit = layout::kTssLimit,
                    .type = kTypeTssBusy,
                    .present = true};
        state.segments[cs] = flat_code(layout::kKernelCode, 0, true);
        for (SegmentName const name : {ss, ds, es}) state.segments[name] = flat_data(layout::kKernelData, 0);
        state.gpr[rsp] = layout::kStack;
        state.rip = at;
        return state;
    }
    [[nodiscard]] static CpuState user_state(std::uint64_t at = layout::kUserCode) {
        CpuState state = kernel_state(at);
        state.segments[cs] = flat_code(layout::kUserCode64 | 3, 3, true);
        for (SegmentName const name : {ss, ds, es}) state.segments[name] = flat_data(layout::kUserData | 3, 3);
        state.rflags |= rflags::kInterrupt;
        return state;
    }
    /// Runs until HLT, shutdown, or `instructions` are over; timers fire as on a board.
    Ended run(std::uint64_t instructions = 100'000) {
        std::uint64_t left = instructions;
        while (left != 0) {
            auto const result = cpu.run(left);
            left -= result.executed;
            clock.fire_due();
            if (result.reason == Leave::halt) return Ended::halted;
            if (result.reason == Leave::shutdown) return Ended::shutdown;
        }
        return Ended::quota;
    }
    [[nodiscard]] bool is_in_handler() const {
        std::uint64_t const rip = cpu.state().rip;
        return rip >= layout::kHandlers && rip <= handler(255) + layout::kHandlerBytes;
    }
    /// The vector whose handler is halted.
    [[nodiscard]] std::optional<unsigned> arrived() const {
        CpuState const state = cpu.state();
        std::uint64_t const first = state.rip - 1;  // behind the HLT
        if (!state.halted || first < layout::kHandlers || first >= handler(255) + layout::kHandlerBytes) return {};
        return static_cast<unsigned>((first - layout::kHandlers) / layout::kHandlerBytes);
    }
    /// What the delivery pushed. Vectors with an error code have it first.
    struct Frame {
        std::uint64_t error_code, rip, cs, rflags, rsp, ss;
        bool operator==(Frame const&) const = default;
    };
    [[nodiscard]] Frame frame() const {
        unsigned const vector = arrived().value_or(0);
        std::uint64_t at = cpu.state().gpr[rsp];
        Frame frame{};
        if (has_error_code(static_cast<ExceptionVector>(vector))) frame.error_code = get(at), at += 8;
        frame.rip = get(at), frame.cs = get(at + 8), frame.rflags = get(at + 16), frame.rsp = get(at + 24),
        frame.ss = get(at + 32);
        return frame;
    }
    [[nodiscard]] std::uint64_t reg(Gpr name) const { return cpu.state().gpr[name]; }
    /// Changes the state by `change(CpuState&)`.
    template <typename Change>
    void with_state(Change&& change) {
        CpuState state = cpu.state();
        change(state);
        cpu.set_state(state);
    }
    void interrupt(std::uint8_t vector) { apic.deliver({.vector = Vector{vector}}); }
    void send_nmi() { apic.deliver({.mode = DeliveryMode::nmi}); }

  private:
    void build_tables() {
        put_value(layout::kPml4, layout::kPdpt | 7);
        put_value(layout::kPdpt, layout::kPd | 7);
        put_value(layout::kPd, layout::kPt | 7);
        for (std::uint64_t page = 0; page < 512; ++page) map(page * kPageBytes, page * kPageBytes, 7);
    }
    void build_segments() {
        using namespace layout;
        constexpr std::uint64_t kFlat = 0x000f'0000'0000'ffff, kGranular = std::uint64_t{1} << 55;
        auto const code = [&](std::uint16_t selector, std::uint64_t access, std::uint64_t size) {
            set_descriptor(selector, kFlat | kGranular | access << 40 | size << 53);
        };
        code(kKernelCode, 0x9b, 1);
        code(kKernelData, 0x93, 2);
        code(kUserCode32, 0xfb, 2);
        code(kUserData, 0xf3, 2);
        code(kUserCode64, 0xfb, 1);
        code(kConforming, 0x9f, 1);
        code(kAbsentCode, 0x1b, 1);
        code(kAbsentData, 0x13, 2);
        code(kReadOnlyData, 0x91, 2);
        code(kKernelCode32, 0x9b, 2);
        code(kExecuteOnly, 0x99, 1);
        code(kBothSizes, 0x9b, 3);
        code(kRing1Code, 0xbb, 1);
        code(kRing1Data, 0xb3, 2);
        set_descriptor(kTask, kTssLimit | kTss << 16 | std::uint64_t{0x89} << 40);
        set_descriptor(kLocalTable, 0x7f | kLdt << 16 | std::uint64_t{0x82} << 40);
        set_descriptor(kAbsentTask, kTssLimit | kTss << 16 | std::uint64_t{0x09} << 40);
        set_descriptor(kBusyTask, kTssLimit | kTss << 16 | std::uint64_t{0x8b} << 40);
        put_value(kTss + 4, kRing0Stack);
        put_value(kTss + 0x24, kIst1Stack);
        put_value(kTss + 0x2c, kIst2Stack);
        put_value(kTss + 102, static_cast<std::uint16_t>(kBitmapOffset));
        for (std::uint64_t at = kBitmapOffset; at <= kTssLimit; ++at) put_value(kTss + at, std::uint8_t{0xff});
    }
    void build_gates() {
        for (unsigned vector = 0; vector < 256; ++vector) {
            put_value(handler(static_cast<std::uint8_t>(vector)), std::uint8_t{0xf4});
            set_gate(static_cast<std::uint8_t>(vector), default_gate(static_cast<std::uint8_t>(vector)));
        }
    }
    void enable_apic() {
        check(apic.write_msr(0x1b, 0xfee0'0d00).has_value() && apic.write_msr(0x80f, 0x1ff).has_value(),
              "x2APIC mode, enabled");
    }

    FramePool pool_;

  public:
    GuestMemory memory;
    Bus bus;
    MachineClock clock;
    TimeStampCounter tsc;
    ApicFabric fabric;
    LocalApic apic;
    TraceCache traces;
    Cpu cpu;

  private:
    std::shared_ptr<CodeTier> tier_{make_tier != nullptr ? make_tier(cpu) : nullptr};
};

}  // namespace backplane
