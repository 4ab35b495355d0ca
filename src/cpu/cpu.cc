#include "cpu/cpu.h"

#include "base/int128.h"
#include "cpu/decode_cache.h"
#include "cpu/descriptor.h"
#include "cpu/power_on.h"
#include "cpu/trace_cache.h"
#include "interrupt/local_apic.h"

namespace backplane {

Cpu::Cpu(Parts const& parts)
    : tlb_{&supervisor_tlb_},
      bus_{parts.bus},
      clock_{parts.clock},
      tsc_{parts.tsc},
      apic_{parts.apic},
      traces_{parts.traces},
      instructions_per_second_{parts.instructions_per_second},
      random_state_{parts.random_seed},
      model_{parts.model},
      topology_{parts.topology},
      decoded_{std::make_unique<DecodeCache>()} {
    bus_.memory().map().add_observer(*this);
    apic_.set_wake_flag(&attention_);
    reset();
}

Cpu::~Cpu() { bus_.memory().map().remove_observer(*this); }

void Cpu::reset() {
    msrs_ = {};
    CpuState state = power_on_state();
    state.halted = state.waits_for_startup = !apic_.is_bootstrap();
    set_state(state);
}

// What INIT leaves as it is: x87, SSE and AVX state with XCR0, CR0.CD and NW, and every MSR but EFER.
void Cpu::take_start_signals() {
    bool const is_reset = apic_.take_init();
    // If both have come, this one came later: INIT drops an earlier one.
    std::optional<std::uint8_t> const page = apic_.take_startup();
    if (is_reset) {
        apic_.reset(ResetKind::init);
        CpuState const old = this->state();
        constexpr std::uint64_t kKeptCr0 = cr0::kCacheDisable | cr0::kNotWriteThrough;
        CpuState state = power_on_state();
        state.cr0 = (old.cr0 & kKeptCr0) | cr0::kExtensionType;
        state.xcr0 = old.xcr0;
        state.x87 = old.x87;
        state.xmm = old.xmm;
        state.ymm_high = old.ymm_high;
        state.mxcsr = old.mxcsr;
        state.star = old.star, state.lstar = old.lstar, state.cstar = old.cstar, state.sfmask = old.sfmask;
        state.kernel_gs_base = old.kernel_gs_base;
        state.sysenter_cs = old.sysenter_cs, state.sysenter_esp = old.sysenter_esp, state.sysenter_eip = old.sysenter_eip;
        state.tsc_aux = old.tsc_aux;
        state.halted = state.waits_for_startup = !apic_.is_bootstrap();
        set_state(state);
    }
    if (!page || !state_.waits_for_startup) return;
    CpuState state = this->state();
    Segment& code = state.segments[cs];
    code.selector = static_cast<std::uint16_t>(*page << 8);
    code.base = std::uint64_t{*page} << 12;
    state.rip = 0;
    state.halted = state.waits_for_startup = false;
    set_state(state);
}

CpuState Cpu::state() const {
    CpuState state = state_;
    for (unsigned i = 0; i < 16; ++i) state.gpr[i] = slot_[i];
    state.rip = rip_;
    state.rflags = rflags();
    return state;
}

void Cpu::set_state(CpuState const& state) {
    state_ = state;
    for (unsigned i = 0; i < 16; ++i) slot_[i] = state.gpr[i];
    rip_ = state.rip;
    flags.set(state.rflags);
    attention_ = true;
    mode_changed();
    debug_registers_changed();
    flush_tlb();
}

void Cpu::set_rflags(std::uint64_t value) {
    flags.set(value);
    bool const view_changes = ((state_.rflags ^ value) & (rflags::kAlignmentCheck | rflags::kVirtual8086)) != 0;
    state_.rflags = value | rflags::kFixed;
    if ((value & rflags::kTrap) != 0) attention_ = true;
    if ((value & rflags::kInterrupt) != 0) look_for_interrupts();
    if (view_changes) mode_changed();
}

void Cpu::look_for_interrupts() {
    if (has_waiting_interrupt()) attention_ = true;
}
bool Cpu::has_waiting_interrupt() const { return has_machine_check_ || apic_.interrupt_ready() || apic_.nmi_pending(); }

void Cpu::choose_view() {
    bool const has_access = (state_.rflags & rflags::kAlignmentCheck) != 0 && (state_.cr4 & cr4::kSmap) != 0;
    tlb_ = cpl_ == 3 ? &user_tlb_ : has_access ? &supervisor_ac_tlb_ : &supervisor_tlb_;
}

void Cpu::mode_changed() {
    Segment const& code = state_.segments[cs];
    bool const virtual_8086 = (state_.rflags & rflags::kVirtual8086) != 0;
    cpl_ = !protected_mode() ? 0 : virtual_8086 ? 3 : state_.segments[ss].dpl;
    bool const flat_code = code.base == 0 && code.limit == 0xffff'ffff;
    mode_ = long_mode_active() && code.long_mode ? CodeMode::bits64
            : !code.big                          ? CodeMode::bits16
            : flat_code                          ? CodeMode::bits32
                                                 : CodeMode::bits32_bounded;
    code_limit_ = mode_ == CodeMode::bits64 ? ~std::uint64_t{0} : code.limit;
    choose_view();
    for (unsigned i = 0; i < 6; ++i) {
        bool const flat = mode_ == CodeMode::bits64 && i != fs && i != gs;
        segment_base_[i] = flat ? 0 : state_.segments[i].base;
    }
    if (mode_ != CodeMode::bits64) compute_windows();
    std::uint64_t const lazy_fpu = state_.cr0 & (cr0::kEmulation | cr0::kTaskSwitched);
    x87_blocked_ = lazy_fpu != 0;
    simd_blocked_ = lazy_fpu != 0 || (state_.cr4 & cr4::kFxsave) == 0;
    constexpr std::uint64_t kAvxComponents = xcr0::kSse | xcr0::kAvx;
    bool const has_avx = !real_addressing() && (state_.cr4 & cr4::kXsave) != 0 && (state_.xcr0 & kAvxComponents) == kAvxComponents;
    avx_blocked_ = !has_avx || (state_.cr0 & cr0::kTaskSwitched) != 0;
}

// --- addresses ----------------------------------------------------------------------------------------------------

std::uint64_t Cpu::address_other(Op const* op, std::uint64_t offset) const {
    switch (op->form) {
        case AddressForm::flat64: break;
        case AddressForm::far64: offset += std::uint64_t{1} << 32; break;
        case AddressForm::wrap32: offset = static_cast<std::uint32_t>(offset); break;
        case AddressForm::legacy32: return operand_linear(op, static_cast<std::uint32_t>(offset));
        case AddressForm::legacy16: return operand_linear(op, static_cast<std::uint16_t>(offset));
    }
    return offset + segment_base_[op->segment];
}

std::uint64_t Cpu::operand_linear(Op const* op, std::uint64_t offset) const {
    Right const right = (op->access & kAccessWrites) != 0 ? Right::write : Right::read;
    return checked_linear(op->segment, offset, kAccessBytes[op->access & (kAccessWrites - 1)], right);
}

std::uint64_t Cpu::address_unchecked(Op const* op) const {
    std::uint64_t const linear = effective_address(op) + segment_base_[op->segment];
    return mode_ == CodeMode::bits64 ? linear : static_cast<std::uint32_t>(linear);
}

std::uint64_t Cpu::segment_room(std::uint8_t slot, std::uint64_t offset, AddressForm form, std::uint64_t most, Right right) const {
    if (mode_ == CodeMode::bits64) return most;
    SegmentWindow const& window = window_[static_cast<unsigned>(right)][slot];
    std::uint64_t const last = form == AddressForm::legacy16 && window.last > 0xffff ? 0xffff : window.last;
    if (offset < window.first || offset > last) return 0;
    return last - offset + 1 < most ? last - offset + 1 : most;
}

Cpu::SegmentWindow Cpu::window_of(Segment const& segment) {
    bool const expand_down = segment.code_or_data && (segment.type & kTypeCode) == 0 && (segment.type & kTypeExpandDown) != 0;
    if (!expand_down) return {0, segment.limit};
    return {std::uint64_t{segment.limit} + 1, segment.big ? 0xffff'ffff : 0xffff};
}

// [SDM3A] 5.3 (limits, expand-down), 5.4 (null selectors), 3.4.5.1 (types), 20.1.1 (real mode checks limits alone).
void Cpu::compute_windows() {
    constexpr SegmentWindow kNothing{1, 0};
    bool const typeless = real_addressing();
    for (unsigned i = 0; i < 6; ++i) {
        Segment const& segment = state_.segments[i];
        SegmentWindow const window = window_of(segment);
        window_[static_cast<unsigned>(Right::read)][i] = typeless || (segment.present && is_readable(segment)) ? window : kNothing;
        window_[static_cast<unsigned>(Right::write)][i] = typeless || (segment.present && is_writable_data(segment)) ? window : kNothing;
    }
    for (auto& windows : window_) windows[kFlatSegment] = {0, 0xffff'ffff};
}

std::uint64_t Cpu::effective_address(Op const* op) const {
    std::uint64_t const offset = reg<std::uint64_t>(op->base) + (reg<std::uint64_t>(op->index) << op->scale) +
                                 static_cast<std::uint64_t>(static_cast<std::int64_t>(op->disp));
    switch (op->form) {
        case AddressForm::flat64: return offset;
        case AddressForm::far64: return offset + (std::uint64_t{1} << 32);
        case AddressForm::wrap32:
        case AddressForm::legacy32: return static_cast<std::uint32_t>(offset);
        case AddressForm::legacy16: return static_cast<std::uint16_t>(offset);
    }
    return offset;
}

void Cpu::set_segment(SegmentName name, Segment const& segment) {
    state_.segments[name] = segment;
    mode_changed();
}

// --- leaving ------------------------------------------------------------------------------------------------------

Op const* Cpu::leave(Op const* op) {
    rip_ = rip_of(op);
    remaining_ += trace_->count - op->position;
    bool const may_come_back = op->position != 0 && trace_->cost != Trace::kInvalid && mode_ == CodeMode::bits64;
    if (may_come_back) traces_.note_cut(*trace_, op->position);
    state_.pending_debug = 0;  // what it watched has not happened
    if (non_canonical_) {
        non_canonical_ = false;
        if (op->stack != 0) pending_.vector = ExceptionVector::stack_fault;
    }
    return nullptr;
}

Op const* Cpu::leave_stack(Op const* op) {
    if (non_canonical_) pending_.vector = ExceptionVector::stack_fault;
    return leave(op);
}

Op const* Cpu::raise(Op const* op, ExceptionVector vector, std::uint32_t error_code) {
    fault(vector, error_code);
    return leave(op);
}

bool Cpu::fault(ExceptionVector vector, std::uint32_t error_code) {
    pending_ = {vector, error_code};
    leave_reason_ = Leave::fault;
    return false;
}

bool Cpu::page_fault(std::uint64_t address, std::uint32_t error_code) {
    state_.cr2 = address;
    return fault(ExceptionVector::page_fault, error_code);
}

Op const* Cpu::finish(Op const* op, Leave reason) {
    rip_ = next_rip(op);
    if (mode_ != CodeMode::bits64) rip_ = static_cast<std::uint32_t>(rip_);
    leave_reason_ = reason;
    return nullptr;
}

Op const* Cpu::finish_early(Op const* op) {
    remaining_ += trace_->count - op->position - 1U;
    return finish(op);
}

Op const* Cpu::jump(Op const*, std::uint64_t target) {
    rip_ = target;
    leave_reason_ = Leave::next;
    return nullptr;
}

Op const* Cpu::go_slow(std::uint64_t target, unsigned successor) {
    if (successor == kTaken && !may_branch_to(target)) [[unlikely]]
        return raise(&trace_->ops[trace_->count - 1], ExceptionVector::general_protection);
    if (Trace* const next = trace_->links[successor]; tier_ != nullptr && remaining_ >= next->cost && stays_cold(*next)) return follow(next, target);
    // A link can be made only inside the page: elsewhere the mapping may change between two visits.
    std::uint64_t const start = slot_[kCodeSlot];
    bool const linkable = mode_ == CodeMode::bits64 || (mode_ == CodeMode::bits32 && tier_ == nullptr);
    bool const same_page = linkable && (target ^ start) < kPageBytes && trace_->second_page == Trace::kNoPage;
    pending_link_ = same_page && trace_->cost != Trace::kInvalid && trace_->links[successor]->cost == Trace::kInvalid
                        ? &trace_->links[successor]
                        : nullptr;
    rip_ = target;
    leave_reason_ = Leave::next;
    return nullptr;
}

bool Cpu::stays_cold(Trace& next) const {
    if (next.uses == Trace::kGivenUp) return true;
    if (next.code != nullptr || next.uses + 1 >= hot_uses_) return false;
    ++next.uses;
    return true;
}

// --- the TLB's slow side ------------------------------------------------------------------------------------------

TlbSet& Cpu::set_for(bool system) { return system ? supervisor_tlb_ : *tlb_; }

void Cpu::set_tier(CodeTier* tier) {
    tier_ = tier;
    link_toll_ = tier == nullptr ? 0 : std::uint64_t{1} << 40;
    traces_.set_tier(tier);
}

void Cpu::flush_tlb() {
    if (tier_ != nullptr) {
        tier_->view_unmapped(CodeView::user);
        tier_->view_unmapped(CodeView::supervisor);
    }
    user_tlb_.flush();
    supervisor_tlb_.flush();
    supervisor_ac_tlb_.flush();
    forget_other_pcids();
}

void Cpu::flush_tlb_non_global() {
    if (tier_ != nullptr) tier_->view_unmapped(CodeView::user);
    user_tlb_.flush_non_global();
    supervisor_tlb_.flush_non_global();
    supervisor_ac_tlb_.flush_non_global();
}

void Cpu::change_pcid(std::uint16_t from, std::uint16_t to, bool keep) {
    std::array<TlbSet*, 3> const views{&user_tlb_, &supervisor_tlb_, &supervisor_ac_tlb_};
    // `from` cannot be on a shelf: it was the current one. The oldest shelf is used again.
    forget_pcid(from);
    unsigned number = 0;
    while (number < shelved_.size() && shelved_[number].used) ++number;
    if (number == shelved_.size()) {
        number = next_shelf_++ % shelved_.size();
        if (shelved_[number].pcid == to) number = next_shelf_++ % shelved_.size();
        forget_pcid(shelved_[number].pcid);
    }
    ShelvedSpace& space = shelved_[number];
    space.pcid = from;
    space.used = true;
    for (std::size_t i = 0; i < views.size(); ++i) views[i]->shelve(space.views[i]);
    translated_.shelve(number);
    if (!keep) return forget_pcid(to);
    for (unsigned i = 0; i < shelved_.size(); ++i) {
        if (!shelved_[i].used || shelved_[i].pcid != to) continue;
        for (std::size_t view = 0; view < views.size(); ++view) views[view]->unshelve(shelved_[i].views[view]);
        translated_.unshelve(i);
        shelved_[i].used = false;
    }
}

void Cpu::forget_pcid(std::uint16_t pcid) {
    for (unsigned i = 0; i < shelved_.size(); ++i) {
        if (!shelved_[i].used || shelved_[i].pcid != pcid) continue;
        for (TlbShelf& view : shelved_[i].views) view.clear();
        translated_.shelves[i].clear();
        shelved_[i].used = false;
    }
}

void Cpu::forget_other_pcids() {
    for (ShelvedSpace const& space : shelved_)
        if (space.used) forget_pcid(space.pcid);
}

void Cpu::flush_tlb_page(std::uint64_t address) {
    bool const large = user_tlb_.may_be_large(address) || supervisor_tlb_.may_be_large(address);
    if (tier_ != nullptr && large) {
        tier_->view_unmapped(CodeView::user);
        tier_->view_unmapped(CodeView::supervisor);
    } else if (tier_ != nullptr) {
        tier_->page_unmapped(address);
    }
    user_tlb_.flush_page(address);
    supervisor_tlb_.flush_page(address);
    supervisor_ac_tlb_.flush_page(address);
}

void Cpu::set_access_hook(std::function<bool(std::uint64_t, AccessKind)> hook) {
    access_hook_ = std::move(hook);
    flush_tlb();
}

void Cpu::drop_pages(GuestPage, std::uint64_t) { flush_tlb(); }

void Cpu::watch_stores(GuestPage page) {
    PageEntry const entry = bus_.memory().map().lookup(page);
    auto const host = reinterpret_cast<std::uint64_t>(bus_.memory().pool().host(entry.frame));
    user_tlb_.write.flush_host_page(host);
    supervisor_tlb_.write.flush_host_page(host);
    supervisor_ac_tlb_.write.flush_host_page(host);
    for (ShelvedSpace& space : shelved_)
        for (TlbShelf& view : space.views) view.drop_host_page(host);
}

Expected<Translation, PageFault> Cpu::walk(std::uint64_t address, AccessKind kind, bool system) {
    ++counters_.tlb_misses;
    if ((state_.cr0 & cr0::kPaging) == 0) {
        return Translation{.page = page_of(GuestPhys{address}), .writable = true, .user = true, .executable = true, .dirty = true};
    }
    bool const pae = (state_.cr4 & cr4::kPhysicalAddressExtension) != 0;
    PagingContext const context{
        .cr3 = state_.cr3,
        .user = cpl_ == 3 && !system,
        .write_protect = (state_.cr0 & cr0::kWriteProtect) != 0,
        .no_execute = pae && (state_.efer & efer::kNoExecute) != 0,
        .smep = (state_.cr4 & cr4::kSmep) != 0,
        .large_pages = (state_.cr4 & cr4::kPageSizeExtensions) != 0,
        .smap = (state_.cr4 & cr4::kSmap) != 0 && (system || (state_.rflags & rflags::kAlignmentCheck) == 0),
    };
    if (long_mode_active()) return walk_4_level(bus_.memory(), context, GuestVirt{address}, kind);
    GuestVirt const narrow{address & 0xffff'ffff};
    if (pae) return walk_pae(bus_.memory(), context, state_.pdpte[narrow.value() >> 30], narrow, kind);
    return walk_32_bit(bus_.memory(), context, narrow, kind);
}

std::optional<Cpu::Target> Cpu::translate(std::uint64_t address, AccessKind kind, std::uint32_t bytes, bool system) {
    if (!is_canonical(address)) [[unlikely]] {
        // Outside 64-bit mode that is what the segment has refused (checked_linear).
        non_canonical_ = mode_ == CodeMode::bits64;
        fault(address == kRefusedStack ? ExceptionVector::stack_fault : ExceptionVector::general_protection);
        return {};
    }
    if (access_hook_ && !access_hook_(address, kind)) [[unlikely]] {
        page_fault(address, (kind == AccessKind::write ? page_fault::kWrite : 0) | (cpl_ == 3 && !system ? page_fault::kUser : 0));
        return {};
    }
    auto const translation = walk(address, kind, system);
    if (!translation) {
        page_fault(address, translation.error().error_code);
        return {};
    }
    GuestPage const page = translation->page;
    GuestPhys const physical = address_of(page) + (address & kPageMask);
    if (!bus_.is_plain_ram(page)) {
        if (!is_alone()) {
            ask_to_run_alone();
            return {};
        }
        bring_clock_up();
        code_touched_ = false;
        return Target{nullptr, physical};
    }
    // A page with a watchpoint has no entry, so that every access comes here, nor has any while there is an access hook.
    // Of a debugger's, the access that hits runs alone, and the dispatcher stops right after it.
    bool const watched_outside = debug_ != nullptr && debug_->watches_page(address, kind);
    bool const watched = watched_outside || access_hook_ || (has_watchpoints_ && is_watched_page(address));
    if (watched_outside && !is_alone() && debug_->watches(address, bytes, kind)) {
        ask_to_run_alone();
        return {};
    }
    PageEntry const entry = bus_.memory().map().lookup(page);
    std::byte* const host_page = bus_.memory().pool().host(entry.frame);
    std::byte* const host = host_page + (address & kPageMask);
    std::uint64_t const addend = reinterpret_cast<std::uint64_t>(host) - address;
    TlbSet& set = set_for(system);
    set.note_page_size(address, translation->page_bits);
    if (kind == AccessKind::read) {
        if (!watched) set.read.insert(address, addend, translation->global);
        return Target{host, physical};
    }
    if (entry.access != Access::read_write) {  // ROM, or a page that is read-only here: the store is dropped
        if (!is_alone()) {
            ask_to_run_alone();
            return {};
        }
        return Target{nullptr, physical};
    }
    if (entry.has_code) {
        if (!bus_.memory().map().is_code(physical, bytes)) return Target{host, physical};
        if (!is_alone()) {
            ask_to_run_alone();
            return {};
        }
        code_touched_ = true;
        return Target{host, physical};
    }
    if (!watched && (translation->writable || cpl_ != 3)) set.write.insert(address, addend, translation->global);
    return Target{host, physical};
}

namespace {

constexpr std::uint32_t bytes_left_in_page(std::uint64_t address, std::uint32_t bytes) {
    auto const left = static_cast<std::uint32_t>(kPageBytes - (address & kPageMask));
    return bytes < left ? bytes : left;
}

// A device register is accessed with the width of the instruction where that is a power of two; else byte by byte.
Width width_of(std::uint32_t bytes) {
    switch (bytes) {
        case 2: return Width::word;
        case 4: return Width::dword;
        case 8: return Width::qword;
        default: return Width::byte;
    }
}

}  // namespace

std::optional<Cpu::Target> Cpu::locate(std::uint64_t address, AccessKind kind, std::uint32_t bytes, bool system) {
    TlbSet& set = set_for(system);
    TlbEntry const& entry = kind == AccessKind::write ? set.write.slot(address) : set.read.slot(address);
    if (address - entry.tag > kPageBytes - bytes) return translate(address, kind, bytes, system);
    code_touched_ = false;
    return Target{reinterpret_cast<std::byte*>(address + entry.addend), GuestPhys{0}};
}

bool Cpu::load_pieces(std::uint64_t address, void* into, std::uint32_t bytes, bool system) {
    if (has_watchpoints_ && !system && !watch(address, bytes, AccessKind::read)) return false;
    auto* out = static_cast<std::byte*>(into);
    while (bytes != 0) {
        std::uint32_t const piece = bytes_left_in_page(address, bytes);
        auto const target = locate(address, AccessKind::read, piece, system);
        if (!target) return false;
        if (target->host != nullptr) {
            std::memcpy(out, target->host, piece);
        } else {
            touch_device();
            Width const width = width_of(piece);
            for (std::uint32_t done = 0; done < piece; done += static_cast<std::uint32_t>(bytes_in(width))) {
                std::uint64_t const value = bus_.read(target->physical + done, width);
                std::memcpy(out + done, &value, bytes_in(width));
            }
        }
        if (debug_ != nullptr) [[unlikely]] debug_->note_access(address, piece, AccessKind::read);
        address = next_piece(address, piece, system);
        out += piece;
        bytes -= piece;
    }
    return true;
}

bool Cpu::store_pieces(std::uint64_t address, void const* from, std::uint32_t bytes, bool system) {
    if (has_watchpoints_ && !system && !watch(address, bytes, AccessKind::write)) return false;
    // Both pages are checked before the first byte is written ([SDM3A] 6.5: a faulting instruction has no effect).
    std::uint32_t const first = bytes_left_in_page(address, bytes);
    if (first != bytes) {
        if (!locate(address, AccessKind::write, first, system)) return false;
        if (!locate(next_piece(address, first, system), AccessKind::write, bytes - first, system)) return false;
    }
    auto const* in = static_cast<std::byte const*>(from);
    while (bytes != 0) {
        std::uint32_t const piece = bytes_left_in_page(address, bytes);
        auto const target = locate(address, AccessKind::write, piece, system);
        if (!target) return false;
        if (target->host != nullptr) {
            std::memcpy(target->host, in, piece);
            if (code_touched_) {
                code_touched_ = false;
                ++counters_.code_writes;
                bus_.memory().map().report_code_write(target->physical, piece);
            }
        } else {
            touch_device();
            Width const width = width_of(piece);
            for (std::uint32_t done = 0; done < piece; done += static_cast<std::uint32_t>(bytes_in(width))) {
                std::uint64_t value = 0;
                std::memcpy(&value, in + done, bytes_in(width));
                bus_.write(target->physical + done, width, value);
            }
        }
        if (debug_ != nullptr) [[unlikely]] debug_->note_access(address, piece, AccessKind::write);
        address = next_piece(address, piece, system);
        in += piece;
        bytes -= piece;
    }
    return true;
}

bool Cpu::load_bytes(std::uint64_t address, void* into, std::uint32_t bytes) {
    return load_pieces(address, into, bytes, false);
}
bool Cpu::store_bytes(std::uint64_t address, void const* from, std::uint32_t bytes) {
    return store_pieces(address, from, bytes, false);
}

bool Cpu::may_store(std::uint64_t address, std::uint32_t bytes) {
    std::uint32_t const first = bytes_left_in_page(address, bytes);
    if (!locate(address, AccessKind::write, first, false)) return false;
    code_touched_ = false;
    if (first == bytes) return true;
    bool const ok = locate(next_piece(address, first, false), AccessKind::write, bytes - first, false).has_value();
    code_touched_ = false;
    return ok;
}

template <typename T>
Loaded<T> Cpu::load_slow(std::uint64_t address) {
    T value{};
    bool const ok = load_pieces(address, &value, sizeof(T), false);
    return {value, ok};
}

template <typename T>
bool Cpu::store_slow(std::uint64_t address, T value) {
    return store_pieces(address, &value, sizeof(T), false);
}

template <typename T>
Loaded<T> Cpu::load_system_slow(std::uint64_t address) {
    T value{};
    bool const ok = load_pieces(address, &value, sizeof(T), true);
    return {value, ok};
}

template <typename T>
bool Cpu::store_system(std::uint64_t address, T value) {
    return store_pieces(address, &value, sizeof(T), true);
}

template Loaded<std::uint8_t> Cpu::load_slow(std::uint64_t);
template Loaded<std::uint16_t> Cpu::load_slow(std::uint64_t);
template Loaded<std::uint32_t> Cpu::load_slow(std::uint64_t);
template Loaded<std::uint64_t> Cpu::load_slow(std::uint64_t);
template bool Cpu::store_slow(std::uint64_t, std::uint8_t);
template bool Cpu::store_slow(std::uint64_t, std::uint16_t);
template bool Cpu::store_slow(std::uint64_t, std::uint32_t);
template bool Cpu::store_slow(std::uint64_t, std::uint64_t);
template Loaded<std::uint8_t> Cpu::load_system_slow(std::uint64_t);
template Loaded<std::uint16_t> Cpu::load_system_slow(std::uint64_t);
template Loaded<std::uint32_t> Cpu::load_system_slow(std::uint64_t);
template Loaded<std::uint64_t> Cpu::load_system_slow(std::uint64_t);
template bool Cpu::store_system(std::uint64_t, std::uint16_t);
template bool Cpu::store_system(std::uint64_t, std::uint32_t);
template bool Cpu::store_system(std::uint64_t, std::uint64_t);

// --- time and randomness ------------------------------------------------------------------------------------------

Ticks Cpu::time_of(std::uint64_t instructions) const {
    Uint128 const ns = static_cast<Uint128>(instructions - clock_base_instructions_) * 1'000'000'000;
    return clock_base_ + Ticks{static_cast<std::uint64_t>(ns / instructions_per_second_)};
}

void Cpu::note_interrupt(std::uint8_t vector) const {
    if (interrupt_hook_) interrupt_hook_(vector, time_of(instructions_before_run_ + quota_ - remaining_));
}

void Cpu::skip_to(Ticks time) {
    clock_.advance_to(time);
    clock_base_ = clock_.now();
    clock_base_instructions_ = instructions_;
}

std::uint64_t Cpu::time_stamp() {
    bring_clock_up();
    return tsc_.at(clock_.now());
}

// splitmix64: the machine's own stream, so that two machines never make the same keys and a run can be repeated.
std::uint64_t Cpu::random() {
    std::uint64_t z = random_state_ += 0x9e37'79b9'7f4a'7c15;
    z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
    return z ^ z >> 31;
}

void Cpu::note_refused(std::uint64_t rip) {
    refused_ = {};
    refused_.rip = rip;
    for (std::uint8_t& byte : refused_.bytes) {
        auto const at = read_pointer(rip + refused_.length);
        if (at == nullptr) break;
        byte = std::to_integer<std::uint8_t>(*at);
        ++refused_.length;
    }
}

}  // namespace backplane
