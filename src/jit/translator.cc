#include "jit/translator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/host_mapping.h"
#include "cpu/cpu.h"
#include "jit/flag_thunks.h"
#include "jit/runtime.h"
#include "jit/thunk_maker.h"

namespace backplane {

namespace {

constexpr std::size_t kThunkRoom = 16384;
constexpr std::size_t kForwardBytes = 48;
constexpr std::size_t kMostBlockBytes = 24000;

class CodeOf final : public jit::GuestCode {
  public:
    explicit CodeOf(Cpu& cpu) : cpu_{cpu} {}
    std::vector<std::uint8_t> bytes_of(Trace const& trace) override { return JitRuntime::code(cpu_, trace); }
    Trace* warm_trace(std::uint64_t address) override { return JitRuntime::warm_trace(cpu_, address); }
    bool may_lead(std::uint64_t address) override { return JitRuntime::translator(cpu_).may_lead(address); }

  private:
    Cpu& cpu_;
};

}  // namespace

Expected<std::unique_ptr<Translator>, Error> Translator::create(Cpu& cpu, std::size_t bytes) {
    static_assert(kThunkRoom + 2 * kMostBlockBytes + kForwardBytes <= kLeastBytes);
    if (bytes < kLeastBytes || bytes > kMostBytes)
        return Unexpected{bad_input("a buffer of " + std::to_string(bytes) + " bytes for translated code; expected " +
                                    std::to_string(kLeastBytes) + " to " + std::to_string(kMostBytes))};
    void* const arena =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return Unexpected{host_error("no memory for translated code", errno)};
    advise_huge_pages({static_cast<std::byte*>(arena), bytes});
    std::unique_ptr<Translator> translator{new Translator{cpu, static_cast<std::uint8_t*>(arena), bytes}};
    translator->make_thunks();
    cpu.set_tier(translator.get());
    return translator;
}

Translator::Translator(Cpu& cpu, std::uint8_t* arena, std::size_t bytes)
    : cpu_{cpu},
      arena_{arena},
      arena_bytes_{bytes},
      offsets_{JitRuntime::offsets(cpu)},
      places_{JitRuntime::places(cpu)},
      maker_{offsets_, arena, bytes},
      handler_calls_(ZYDIS_MNEMONIC_MAX_VALUE + 1) {}

Translator::~Translator() {
    cpu_.set_tier(nullptr);
    ::munmap(arena_, arena_bytes_);
}

void Translator::make_thunks() {
    ThunkMaker maker{arena_, kThunkRoom, offsets_};
    // What `call_aligned` leaves on the stack: the return address and 8 bytes.
    constexpr std::uint8_t kCalled = 16, kCalledWithRegisters = 32;
    auto const named = [&](std::string_view name, std::uint8_t const* start, std::uint8_t pushed_bytes = 0) {
        named_thunks_.push_back({name, {start, maker.getCurr()}, pushed_bytes});
        return start;
    };
    auto const enter = named("enter", maker.make_enter());
    auto const leave = named("return", maker.make_return());
    thunks_.exit_rip = named("exit_rip", maker.make_exit(leave, false));
    for (unsigned view = 0; view < 2; ++view) thunks_.look_again[view] = named("look_again", maker.make_look_again(view, thunks_.exit_rip));
    thunks_.exit_dispatch = named("exit_dispatch", maker.make_exit_dispatch(leave));
    thunks_.exit_link = named("exit_link", maker.make_exit(leave, true));
    thunks_.slow_read = named("slow_read", maker.make_slow(&JitRuntime::resolve_read, leave), kCalled);
    thunks_.slow_write = named("slow_write", maker.make_slow(&JitRuntime::resolve_write, leave), kCalled);
    thunks_.call_handler = named("call_handler", maker.make_call_handler(leave), kCalled);
    thunks_.last_handler = named("last_handler", maker.make_last(&JitRuntime::run_last, leave));
    thunks_.exit_alone = named("exit_alone", maker.make_last(&JitRuntime::exit_alone, leave));
    jit::FlagThunks const slow{named("resolve_flags", maker.make_materialize(), kCalledWithRegisters),
                               named("resolve_carry", maker.make_quiet_call(&JitRuntime::keep_carry), kCalledWithRegisters)};
    jit::FlagThunks const fast = make_flag_thunks(maker, offsets_, slow, JitRuntime::state(cpu_).notes);
    thunks_.materialize = fast.materialize;
    thunks_.keep_carry = named("flags", fast.keep_carry);
    thunks_.flags_image = named("flags_image", maker.make_flags_image(thunks_.materialize), kCalled);
    thunks_.weigh_guess = named("weigh_guess", maker.make_quiet_call(&JitRuntime::weigh_guess), kCalledWithRegisters);
    thunks_.load_xmm = named("load_xmm", maker.make_load_xmm(leave), kCalled);
    thunks_.load_ymm = named("load_ymm", maker.make_load_ymm(leave), kCalled);
    thunks_.load_x87 = named("load_x87", maker.make_load_x87(leave), kCalled);
    thunks_.reload_x87 = named("reload_x87", maker.make_quiet_call(&JitRuntime::reload_x87), kCalledWithRegisters);
    maker.ready();
    check(Xbyak::GetError() == 0, "the translator's own code assembles");
    enter_code_ = reinterpret_cast<void (*)(Cpu*, void*)>(reinterpret_cast<std::uintptr_t>(enter));
    thunk_bytes_ = used_ = kThunkRoom;
}

bool Translator::translate(Trace& trace, CodeView view) {
    if (used_ + kMostBlockBytes > arena_bytes_) {
        full_ = true;
        return false;
    }
    CodeOf code{cpu_};
    std::size_t const links_before = links_.size();
    jit::BlockMarks marks{};
    jit::BlockCode const made = maker_.make({.trace = trace,
                                                 .view = view,
                                                 .code = code,
                                                 .places = places_,
                                                 .thunks = thunks_,
                                                 .links = links_,
                                                 .sites = sites_,
                                                 .guesses = guesses_,
                                                 .handler_calls = handler_calls_.data(),
                                                 .marks = listeners_.empty() ? nullptr : &marks},
                                                used_, kMostBlockBytes);
    if (made.bytes == 0) return false;
    used_ += (made.bytes + 15) & ~std::size_t{15};
    trace.code = made.entry;
    trace.code_exit = made.exit;
    trace.code_view = static_cast<std::uint8_t>(view);
    trace.code_count = static_cast<std::uint8_t>(made.count);
    ++counters_.blocks;
    counters_.guest_instructions += made.count;
    for (Trace* const part : made.traces) {
        counters_.guest_bytes += part->bytes;
        if (part == &trace) continue;
        part->users = &users_.emplace_back(TraceUser{&trace, part->users});
    }
    counters_.host_bytes += made.bytes;
    counters_.direct_jumps += links_.size() - links_before;
    if (!listeners_.empty()) tell_block(made, view, marks);
    return true;
}

void Translator::tell_block(jit::BlockCode const& made, CodeView view, jit::BlockMarks const& marks) {
    std::vector<std::uint8_t> guest;
    for (Trace const* const part : made.traces) {
        std::vector<std::uint8_t> const bytes = JitRuntime::code(cpu_, *part);
        guest.insert(guest.end(), bytes.begin(), bytes.end());
    }
    NewBlock const block{JitRuntime::rip(cpu_), view, made.traces, guest, {made.entry, made.bytes}, marks};
    for (CodeListener* const listener : listeners_) listener->made_block(block);
}

void Translator::add_listener(CodeListener& listener) {
    listeners_.push_back(&listener);
    for (Thunk const& thunk : named_thunks_) listener.made_thunk(thunk);
}

void Translator::make_link(jit::Link& link, Trace const& target) {
    auto const distance = static_cast<std::int32_t>(static_cast<std::uint8_t const*>(target.code) - (link.jump + 5));
    std::memcpy(link.jump + 1, &distance, 4);
    if (!std::exchange(link.is_made, true)) ++counters_.chained;
}

std::vector<Translator::HandlerCalls> Translator::handler_calls() const {
    std::vector<HandlerCalls> calls;
    for (std::size_t i = 0; i < handler_calls_.size(); ++i)
        if (handler_calls_[i] != 0)
            calls.push_back({ZydisMnemonicGetString(static_cast<ZydisMnemonic>(i)), handler_calls_[i]});
    std::stable_sort(calls.begin(), calls.end(), [](auto const& a, auto const& b) { return a.calls > b.calls; });
    return calls;
}

std::string_view translator_exit_text(TranslatorExit exit) {
    switch (exit) {
        case TranslatorExit::event:
            return "event";
        case TranslatorExit::fault:
            return "fault";
        case TranslatorExit::alone:
            return "alone";
        case TranslatorExit::stopped:
            return "stopped";
        case TranslatorExit::unmapped:
            return "unmapped";
        case TranslatorExit::not_hot:
            return "not hot";
        case TranslatorExit::quota:
            return "quota";
    }
    return "";
}

void Translator::enter(Cpu& cpu, Trace& trace) {
    ++counters_.entries;
    JitRuntime::enter(*this, cpu, trace);
}

// Whatever jumps to the code goes to its exit, and once there is new code for the address, on to that: the entry has
// become a link.
void Translator::forget(Trace& trace) {
    if (trace.code != nullptr) forget_code(trace);
    for (TraceUser const* user = std::exchange(trace.users, nullptr); user != nullptr; user = user->next)
        if (user->trace->code != nullptr) forget_code(*user->trace);
}

void Translator::forget_code(Trace& trace) {
    auto* const entry = static_cast<std::uint8_t*>(trace.code);
    auto* exit = static_cast<std::uint8_t*>(trace.code_exit);
    if (used_ + kForwardBytes <= arena_bytes_) {
        jit::Link& link = links_.emplace_back(jit::Link{entry, trace.address >> kPageShift, true});
        exit = arena_ + used_;
        used_ += kForwardBytes;
        ThunkMaker maker{exit, kForwardBytes, offsets_};
        maker.make_forward(static_cast<std::uint32_t>(trace.address & kPageMask), link, thunks_.exit_link);
        maker.ready();
        check(Xbyak::GetError() == 0, "a forward has room");
    }
    auto const distance = static_cast<std::int32_t>(exit - (entry + 5));
    entry[0] = 0xe9;
    std::memcpy(entry + 1, &distance, 4);
    trace.code = nullptr;
    wanted_link_ = nullptr;
    HostCode const forward{exit, exit == trace.code_exit ? 0 : kForwardBytes};
    for (CodeListener* const listener : listeners_) listener->forgot_block(entry, trace.address, forward);
}

void Translator::note_crossing(Trace& trace, Op const& op, std::uint64_t executed) {
    auto const [at, is_first] = crossings_.try_emplace(trace.address + op.offset, Crossings{0, executed});
    may_cross_.set(crossing_slot(at->first));
    Crossings& crossings = at->second;
    ++counters_.split_groups;
    if (is_first) JitRuntime::forget_code_at(cpu_, at->first);
    if (++crossings.count % kMostCrossings != 0) return;
    if (executed - crossings.since < std::uint64_t{kMostCrossings} * kRareCrossing) forget(trace);
    crossings.since = executed;
}

void Translator::forget_all() {
    used_ = thunk_bytes_;
    full_ = false;
    links_.clear();
    sites_.clear();
    guesses_.clear();
    users_.clear();
    crossings_.clear();
    may_cross_.reset();
    wanted_link_ = nullptr;
    ++counters_.flushes;
    JitRuntime::state(cpu_).forget_all();
    for (CodeListener* const listener : listeners_) listener->flushed();
}

void Translator::page_unmapped(std::uint64_t address) { JitRuntime::state(cpu_).forget_page(address); }

void Translator::view_unmapped(CodeView view) { JitRuntime::state(cpu_).forget_view(static_cast<unsigned>(view)); }

}  // namespace backplane
