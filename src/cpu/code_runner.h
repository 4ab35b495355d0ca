// For unit tests of instructions: a processor with 64 KiB of RAM, paging off, that runs given bytes until an exception.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "cpu/cpu.h"
#include "cpu/trace_cache.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/local_apic.h"
#include "memory/frame_pool.h"
#include "memory/guest_memory.h"

namespace backplane {

class CodeRunner {
  public:
    static constexpr std::uint64_t kPages = 16;
    static constexpr std::uint64_t kCode = 0x1000;
    static constexpr std::uint64_t kData = 0x8000;

    [[nodiscard]] static std::unique_ptr<CodeRunner> create() {
        auto frames = FramePool::create(kPages);
        if (!frames) return nullptr;
        std::unique_ptr<CodeRunner> machine{new CodeRunner{std::move(*frames)}};
        if (!machine->memory_.add_ram(GuestPage{0}, kPages)) return nullptr;
        return machine;
    }
    ~CodeRunner() { memory_.map().remove_observer(traces_); }

    /// Ring 0 with everything that vectors and x87 need.
    [[nodiscard]] static CpuState ready(CodeMode mode = CodeMode::bits64) {
        CpuState state;
        state.cr0 = cr0::kProtection | cr0::kMonitorCoprocessor | cr0::kExtensionType | cr0::kNumericError;
        state.cr4 = cr4::kFxsave | cr4::kSimdExceptions;
        if (mode == CodeMode::bits64) state.efer = efer::kLongModeEnable | efer::kLongModeActive;
        for (Segment& segment : state.segments)
            segment = {.limit = 0xffff'ffff, .type = 3, .code_or_data = true, .present = true, .big = true};
        state.segments[cs].type = 11;
        state.segments[cs].long_mode = mode == CodeMode::bits64;
        state.segments[cs].big = mode == CodeMode::bits32;
        return state;
    }

    template <typename T>
    void put(std::uint64_t address, T const& value) {
        check(memory_.write_object(GuestPhys{address}, value), "the test's data is in RAM");
    }
    template <typename T>
    [[nodiscard]] T get(std::uint64_t address) const {
        T value;
        auto const bytes = memory_.readable(GuestPhys{address}, sizeof(T));
        check(bytes.size() == sizeof(T), "the test's data is in RAM");
        std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }

    /// Runs the bytes and the UD2 behind them from `state`; the result is in after() and fault().
    void run(CpuState state, std::vector<std::uint8_t> code) {
        put_code(state, std::move(code));
        static_cast<void>(cpu_.run(1000));
        after_ = cpu_.state();
    }
    /// The same without running: for tests that call cpu().run() themselves.
    void put_code(CpuState state, std::vector<std::uint8_t> code) {
        code.insert(code.end(), {0x0f, 0x0b});
        check(memory_.write(GuestPhys{kCode}, std::as_bytes(std::span{code})), "the test's code is in RAM");
        traces_.flush();
        state.rip = kCode;
        cpu_.set_state(state);
        fault_.reset();
        end_ = kCode + code.size() - 2;
    }
    [[nodiscard]] Cpu& cpu() { return cpu_; }
    [[nodiscard]] CpuState const& after() const { return after_; }
    /// The exception that ended the run; empty when the code ran to its end.
    [[nodiscard]] std::optional<ExceptionVector> fault() const {
        if (fault_ && fault_->vector == ExceptionVector::invalid_opcode && after_.rip == end_) return {};
        return fault_ ? std::optional{fault_->vector} : std::nullopt;
    }

  private:
    explicit CodeRunner(FramePool&& frames)
        : pool_{std::move(frames)},
          memory_{pool_},
          bus_{memory_},
          apic_{clock_, tsc_, 0, fabric_},
          traces_{memory_.map()},
          cpu_{{.bus = bus_,
                .clock = clock_,
                .tsc = tsc_,
                .apic = apic_,
                .traces = traces_,
                .instructions_per_second = 1'000'000'000,
                .random_seed = 1}} {
        memory_.map().add_observer(traces_);
        cpu_.set_fault_hook([this](Fault const& met, std::uint64_t) {
            fault_ = met;
            return true;
        });
    }

    FramePool pool_;
    GuestMemory memory_;
    Bus bus_;
    MachineClock clock_;
    TimeStampCounter tsc_;
    ApicFabric fabric_;
    LocalApic apic_;
    TraceCache traces_;
    Cpu cpu_;
    CpuState after_;
    std::optional<Fault> fault_;
    std::uint64_t end_{0};
};

}  // namespace backplane
