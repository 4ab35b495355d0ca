#include "interpreted.h"

#include <array>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "cpu/cpu.h"
#include "jit/translator.h"
#include "cpu/trace_cache.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/local_apic.h"
#include "memory/frame_pool.h"
#include "memory/guest_memory.h"

namespace backplane::isa {
namespace {

// Guest-physical memory: four page tables, then the pages in no particular order, so that neighbours in linear memory
// are none in physical memory.
constexpr std::uint64_t kTables = 0x1000;
constexpr std::uint64_t kMemoryPages = 32;
constexpr std::uint64_t kCodeFrames[] = {0x9000, 0x7000};
constexpr std::uint64_t kWindowFrames[] = {0xd000, 0xb000, 0xc000};

constexpr std::uint64_t kPresent = 1, kWritable = 2, kUser = 4, kNoExecute = std::uint64_t{1} << 63;

Segment user_segment(std::uint16_t selector, std::uint8_t type) {
    return {.selector = selector,
            .limit = 0xffff'ffff,
            .type = type,
            .code_or_data = true,
            .dpl = 3,
            .present = true,
            .granular = true};
}

/// Linux' user mode: the selectors can be read by instructions.
CpuState user_mode() {
    CpuState state;
    state.cr0 = cr0::kProtection | cr0::kMonitorCoprocessor | cr0::kExtensionType | cr0::kNumericError |
                cr0::kWriteProtect | cr0::kAlignmentMask | cr0::kPaging;
    state.cr3 = kTables;
    state.cr4 =
        cr4::kPhysicalAddressExtension | cr4::kGlobalPages | cr4::kFxsave | cr4::kSimdExceptions | cr4::kFsgsbase |
        cr4::kXsave;
    state.efer = efer::kSyscall | efer::kLongModeEnable | efer::kLongModeActive | efer::kNoExecute;
    state.segments[cs] = user_segment(0x33, 0xb);
    state.segments[cs].long_mode = true;
    state.segments[ss] = user_segment(0x2b, 0x3);
    state.segments[ss].big = true;
    return state;
}

unsigned top(FxState const& fx) { return fx.status >> 11 & 7; }

void put_state(UserState const& from, CpuState& to) {
    for (unsigned i = 0; i < 16; ++i) to.gpr[i] = from.gpr[i];
    to.rip = from.rip;
    to.rflags = from.rflags;
    to.segments[fs].base = from.fs_base;
    to.segments[gs].base = from.gs_base;
    to.x87 = {};
    for (unsigned i = 0; i < 8; ++i)
        to.x87.registers[(top(from.fx) + i) & 7] = {from.fx.st[i].significand, from.fx.st[i].sign_exponent};
    to.x87.control = from.fx.control;
    to.x87.status = from.fx.status;
    to.x87.valid = from.fx.valid;
    for (unsigned i = 0; i < 16; ++i) to.xmm[i].words = {from.fx.xmm[i][0], from.fx.xmm[i][1]};
    for (unsigned i = 0; i < 16; ++i) to.ymm_high[i].words = {from.ymm_high[i][0], from.ymm_high[i][1]};
    to.mxcsr = from.fx.mxcsr;
}

void take_state(CpuState const& from, UserState& to) {
    to = {};
    for (unsigned i = 0; i < 16; ++i) to.gpr[i] = from.gpr[i];
    to.rip = from.rip;
    to.rflags = from.rflags;
    to.fs_base = from.segments[fs].base;
    to.gs_base = from.segments[gs].base;
    to.fx.control = from.x87.control;
    to.fx.status = from.x87.status;
    to.fx.valid = from.x87.valid;
    for (unsigned i = 0; i < 8; ++i) {
        auto const& value = from.x87.registers[(top(to.fx) + i) & 7];
        to.fx.st[i] = {value.significand, value.sign_exponent, {}};
    }
    for (unsigned i = 0; i < 16; ++i) std::memcpy(to.fx.xmm[i], from.xmm[i].words.data(), sizeof to.fx.xmm[i]);
    for (unsigned i = 0; i < 16; ++i) std::memcpy(to.ymm_high[i], from.ymm_high[i].words.data(), sizeof to.ymm_high[i]);
    to.fx.mxcsr = from.mxcsr;
}

}  // namespace

struct Interpreted::Machine {
    explicit Machine(FramePool&& frames)
        : pool{std::move(frames)},
          memory{pool},
          bus{memory},
          apic{clock, tsc, 0, fabric},
          traces{memory.map()},
          cpu{{.bus = bus,
               .clock = clock,
               .tsc = tsc,
               .apic = apic,
               .traces = traces,
               .instructions_per_second = 1'000'000'000,
               .random_seed = 1}} {
        memory.map().add_observer(traces);
        cpu.set_fault_hook([this](Fault const& met, std::uint64_t) {
            fault = met;
            return true;
        });
    }
    ~Machine() { memory.map().remove_observer(traces); }

    void put(std::uint64_t physical, void const* bytes, std::size_t count) {
        check(memory.write(GuestPhys{physical}, {static_cast<std::byte const*>(bytes), count}),
              "the guest's RAM is mapped");
    }
    void map_pages() {
        auto const entry = [&](std::uint64_t table, std::uint64_t index, std::uint64_t value) {
            put(kTables + table * kPage + 8 * index, &value, 8);
        };
        constexpr std::uint64_t kAll = kPresent | kWritable | kUser;
        for (std::uint64_t level = 0; level < 3; ++level)
            entry(level, kCode >> (39 - 9 * level) & 511, (kTables + (level + 1) * kPage) | kAll);
        for (std::uint64_t i = 0; i < std::size(kCodeFrames); ++i)
            entry(3, (kCode >> 12 & 511) + i, kCodeFrames[i] | kAll);
        for (std::uint64_t i = 0; i < std::size(kWindowFrames); ++i)
            entry(3, (kWindow >> 12 & 511) + i,
                  kWindowFrames[i] | kNoExecute | (i * kPage < kWritableBytes ? kAll : kPresent | kUser));
    }
    void put_code(Case const& from) {
        code.fill(kCodeFiller);
        std::memcpy(code.data() + from.code_offset, from.code, from.code_bytes);
        for (std::uint64_t i = 0; i < std::size(kCodeFrames); ++i) {
            auto const there = memory.readable(GuestPhys{kCodeFrames[i]}, kPage);
            bool const same = std::memcmp(there.data(), code.data() + i * kPage, kPage) == 0;  // keeps what was translated
            if (!same) put(kCodeFrames[i], code.data() + i * kPage, kPage);
        }
    }
    void run(std::uint64_t instructions, Result& to) {
        fault.reset();
        accesses.clear();
        auto const result = cpu.run(instructions);
        CpuState const after = cpu.state();
        take_state(after, to.state);
        if (result.reason == Leave::fault && fault)
            to.outcome = {static_cast<std::uint32_t>(fault->vector), fault->error_code, after.cr2};
        else
            to.outcome = {kNoVector, static_cast<std::uint32_t>(result.reason), 0};
        for (std::uint64_t i = 0; i * kPage < kWritableBytes; ++i) {
            auto const page = memory.readable(GuestPhys{kWindowFrames[i]}, kPage);
            std::memcpy(to.window + i * kPage, page.data(), kPage);
        }
    }

    std::array<std::uint8_t, kCodeBytes> code{};
    FramePool pool;
    GuestMemory memory;
    Bus bus;
    MachineClock clock;
    TimeStampCounter tsc;
    ApicFabric fabric;
    LocalApic apic;
    TraceCache traces;
    Cpu cpu;
    std::unique_ptr<Translator> translator;
    std::optional<Fault> fault;
    std::vector<Access> accesses;
    std::optional<std::size_t> refused;
};

Interpreted::Interpreted(std::unique_ptr<Machine> machine) : machine_{std::move(machine)} {}
Interpreted::Interpreted(Interpreted&&) noexcept = default;
Interpreted::~Interpreted() = default;

Expected<Interpreted, Error> Interpreted::create(Execution execution) {
    auto machine = std::make_unique<Machine>(BACKPLANE_TRY(FramePool::create(kMemoryPages)));
    BACKPLANE_TRY_VOID(machine->memory.add_ram(GuestPage{0}, kMemoryPages));
    machine->map_pages();
    if (execution == Execution::translator) {
        machine->translator = BACKPLANE_TRY(Translator::create(machine->cpu));
        machine->cpu.set_hot_uses(1);
    }
    return Expected<Interpreted, Error>{Interpreted{std::move(machine)}};
}

void Interpreted::run(Case const& from, Result& to, std::uint64_t instructions) {
    Machine& machine = *machine_;
    machine.put_code(from);
    for (std::uint64_t i = 0; i < std::size(kWindowFrames); ++i)
        machine.put(kWindowFrames[i], from.window + i * kPage, kPage);
    CpuState state = user_mode();
    state.xcr0 = machine.cpu.state_components();
    put_state(from.before, state);
    machine.cpu.set_state(state);
    machine.run(instructions, to);
}

void Interpreted::resume(Result& to) { machine_->run(kManyInstructions, to); }

void Interpreted::watch_accesses() {
    machine_->cpu.set_access_hook([machine = machine_.get()](std::uint64_t address, AccessKind kind) {
        machine->accesses.push_back({address, kind});
        return machine->accesses.size() - 1 != machine->refused;
    });
}

void Interpreted::refuse_access(std::optional<std::size_t> number) { machine_->refused = number; }

std::vector<Access> const& Interpreted::accesses() const { return machine_->accesses; }

Cpuid Interpreted::cpuid() const {
    return [machine = machine_.get()](std::uint32_t leaf, std::uint32_t subleaf) {
        return machine->cpu.cpuid(leaf, subleaf);
    };
}

std::uint64_t Interpreted::instructions() const { return machine_->cpu.instructions(); }

}  // namespace backplane::isa
