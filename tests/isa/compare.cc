#include "compare.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <optional>
#include <set>

#include "advertised.h"

namespace backplane::isa {
namespace {

constexpr char const* kGprNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::uint32_t kPageFault = 14;

[[gnu::format(printf, 1, 2)]] std::string format(char const* text, ...) {
    char line[512];
    std::va_list arguments;
    va_start(arguments, text);
    std::vsnprintf(line, sizeof line, text, arguments);
    va_end(arguments);
    return line;
}

unsigned long long wide(std::uint64_t value) { return value; }

std::string flags_text(std::uint64_t flags) {
    static constexpr struct {
        unsigned bit;
        char name;
    } kFlags[] = {{14, 'N'}, {11, 'O'}, {10, 'D'}, {7, 'S'}, {6, 'Z'}, {4, 'A'}, {2, 'P'}, {0, 'C'}};
    std::string text;
    for (auto const [bit, name] : kFlags) text += (flags >> bit & 1) != 0 ? name : '-';
    return text;
}

class Comparison {
  public:
    Comparison(Program const& program, Case const& from, Result const& interpreted)
        : program_{program}, from_{from}, native_{from.native}, interpreted_{interpreted} {}

    std::vector<std::string> run() {
        if (is_ending_open()) return {};
        outcome();
        general_registers();
        if (!is_restore_open()) {
            vectors();
            x87();
        }
        memory();
        return std::move(lines_);
    }

  private:
    void add(std::string line) { lines_.push_back(std::move(line)); }

    std::string outcome_text(Result const& result) const {
        auto const& outcome = result.outcome;
        if (outcome.vector == kNoVector) return "did not end";
        std::string where = "rip=" + format("%llx", wide(result.state.rip));
        if (result.state.rip == program_.end) where += " (end)";
        std::string const error = format("exception %u, error code %x, ", outcome.vector, normal_error(outcome));
        return error + (outcome.vector == kPageFault ? format("cr2=%llx, ", wide(outcome.address)) : "") + where;
    }
    /// Linux sets the present bit for addresses of its own half, so that user space learns nothing about it.
    static std::uint32_t normal_error(Outcome const& outcome) {
        bool const kernel_half = outcome.vector == kPageFault && outcome.address >> 63 != 0;
        return kernel_half ? outcome.error_code | 1 : outcome.error_code;
    }
    /// Which fault comes first is up to the processor when both operands of CMPS may fault, and for masked stores.
    bool is_fault_open() const {
        constexpr std::uint32_t kStackFault = 12, kGeneralProtection = 13;
        auto const is_access = [](std::uint32_t vector) {
            return vector == kStackFault || vector == kGeneralProtection || vector == kPageFault;
        };
        if (!is_access(native_.outcome.vector) || !is_access(interpreted_.outcome.vector)) return false;
        auto const* const step = faulting_step();
        return step != nullptr && native_.state.rip == interpreted_.state.rip &&
               (is_compare_string(step->instruction) || is_save(step) || is_masked_store(step->instruction) || is_restore(step->instruction));
    }
    static bool is_compare_string(Instruction const& instruction) {
        auto const mnemonic = instruction.decoded.instruction.mnemonic;
        return mnemonic == ZYDIS_MNEMONIC_CMPSB || mnemonic == ZYDIS_MNEMONIC_CMPSW || mnemonic == ZYDIS_MNEMONIC_CMPSQ ||
               (mnemonic == ZYDIS_MNEMONIC_CMPSD && instruction.decoded.instruction.opcode == 0xa7);
    }
    /// One half went on where the other met a fault that is up to the processor.
    bool is_ending_open() const {
        constexpr std::uint32_t kGeneralProtection = 13;
        bool const same_place = native_.state.rip == interpreted_.state.rip;
        if (same_place && native_.outcome.vector == interpreted_.outcome.vector) return false;
        auto const* const ours = program_.step_at(interpreted_.state.rip);
        auto const* const theirs = faulting_step();
        // The SHA instructions want aligned operands ([SDM2B] SHA1MSG1, exceptions of type 4); AMD's family 1Ah does not.
        if (ours != nullptr && is_in(ours, ZYDIS_ISA_SET_SHA) && interpreted_.outcome.vector == kGeneralProtection) return true;
        // Whether XSAVEC and XSAVEOPT look at parts in which they write nothing.
        return theirs != nullptr && is_save(theirs) && native_.outcome.vector == kPageFault &&
               interpreted_.state.rip == program_.end;
    }
    static bool is_save(Step const* step) { return is_in(step, ZYDIS_ISA_SET_XSAVEC) || is_in(step, ZYDIS_ISA_SET_XSAVEOPT); }
    static bool is_in(Step const* step, ZydisISASet set) { return step->instruction.decoded.instruction.meta.isa_set == set; }
    /// Which byte of its area an instruction of the XSAVE family touches first is up to the processor.
    bool is_extended_state() const {
        auto const* const step = faulting_step();
        if (step == nullptr || native_.outcome.vector != kPageFault) return false;
        auto const set = step->instruction.decoded.instruction.meta.isa_set;
        constexpr std::uint64_t kMostBytes = 832;
        std::uint64_t const distance = native_.outcome.address - interpreted_.outcome.address + kMostBytes;
        return distance < 2 * kMostBytes &&
               (set == ZYDIS_ISA_SET_XSAVE || set == ZYDIS_ISA_SET_XSAVEOPT || set == ZYDIS_ISA_SET_XSAVEC);
    }
    /// XRSTOR: what it has loaded before a fault, and which fault comes first, is up to the processor; the unit tests
    /// have the rules.
    static bool is_restore(Instruction const& instruction) {
        auto const mnemonic = instruction.decoded.instruction.mnemonic;
        return mnemonic == ZYDIS_MNEMONIC_XRSTOR || mnemonic == ZYDIS_MNEMONIC_XRSTOR64;
    }
    bool is_restore_open() const {
        auto const* const step = faulting_step();
        return step != nullptr && is_restore(step->instruction);
    }
    static bool is_masked_store(Instruction const& instruction) {
        auto const mnemonic = instruction.decoded.instruction.mnemonic;
        switch (mnemonic) {
            case ZYDIS_MNEMONIC_MASKMOVQ:
            case ZYDIS_MNEMONIC_MASKMOVDQU:
            case ZYDIS_MNEMONIC_VMASKMOVDQU:
            case ZYDIS_MNEMONIC_VMASKMOVPS:
            case ZYDIS_MNEMONIC_VMASKMOVPD:
            case ZYDIS_MNEMONIC_VPMASKMOVD:
            case ZYDIS_MNEMONIC_VPMASKMOVQ:
                return true;
            default:
                return false;
        }
    }
    /// Flags when a repeated CMPS or SCAS faults: as before it for Intel ([SDM2B] REP), those of the last comparison for
    /// AMD.
    bool are_flags_open() const {
        auto const* const step = faulting_step();
        return step != nullptr && step->instruction.has_repeat();
    }
    void outcome() {
        if (is_fault_open()) return;
        auto const& n = native_.outcome;
        auto const& i = interpreted_.outcome;
        bool const has_error = n.vector >= 8 && n.vector <= 17 && n.vector != 9 && n.vector != 16;
        bool const same = n.vector == i.vector && native_.state.rip == interpreted_.state.rip &&
                          (is_extended_state() || ((!has_error || normal_error(n) == normal_error(i)) &&
                                                   (n.vector != kPageFault || n.address == i.address)));
        if (!same) add("end: native " + outcome_text(native_) + " | interpreted " + outcome_text(interpreted_));
    }
    /// The step that a fault happened in, if there was one.
    Step const* faulting_step() const { return program_.step_at(native_.state.rip); }

    /// An instruction with MMX operands clears TOP and marks all registers valid ([SDM1] 9.5.1); whether it has done so
    /// when it then faults is up to the processor.
    bool mmx_faulted() const {
        auto const* const step = faulting_step();
        if (step == nullptr) return false;
        return std::ranges::any_of(step->instruction.decoded.visible(), [](auto const& operand) {
            return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                   ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MMX;
        });
    }
    void general_registers() {
        for (unsigned i = 0; i < 16; ++i) value(kGprNames[i], native_.state.gpr[i], interpreted_.state.gpr[i]);
        value("fs base", native_.state.fs_base, interpreted_.state.fs_base);
        value("gs base", native_.state.gs_base, interpreted_.state.gs_base);
        constexpr std::uint64_t kCompared = 0x4dd5 & ~std::uint64_t{0x100};  // arithmetic flags, DF, NT
        constexpr std::uint64_t kArithmetic = 0x8d5;
        std::uint64_t const open = are_flags_open() ? kArithmetic : 0;
        std::uint64_t const mask = kCompared & ~open & ~program_.undefined_flags_at(native_.state.rip);
        std::uint64_t const n = native_.state.rflags & mask;
        std::uint64_t const i = interpreted_.state.rflags & mask;
        if (n != i)
            add("flags: native " + flags_text(n) + " | interpreted " + flags_text(i) + " (of " + flags_text(mask) +
                ")");
    }
    void value(std::string const& name, std::uint64_t n, std::uint64_t i) {
        if (n != i) add(format("%s: native %016llx | interpreted %016llx", name.c_str(), wide(n), wide(i)));
    }
    /// The registers of a gather that faulted: elements behind the one that did may have been read or not
    /// ([SDM2C] VPGATHERDD), in the interpreter they have not.
    struct Gather {
        unsigned destination, mask, element_bytes;
        unsigned bytes;  ///< that are gathered; those behind become zero, at the latest when nothing faults
    };
    std::optional<Gather> faulted_gather() const {
        auto const* const step = faulting_step();
        if (step == nullptr) return {};
        auto const operands = step->instruction.decoded.visible();
        if (operands.size() < 3 || operands[1].type != ZYDIS_OPERAND_TYPE_MEMORY || operands[1].mem.type != ZYDIS_MEMOP_TYPE_VSIB)
            return {};
        auto const number = [&](unsigned i) { return static_cast<unsigned>(ZydisRegisterGetId(operands[i].reg.value)); };
        unsigned const element_bytes = operands[1].size / 8u;
        auto const mnemonic = step->instruction.decoded.instruction.mnemonic;
        bool const half = mnemonic == ZYDIS_MNEMONIC_VPGATHERQD || mnemonic == ZYDIS_MNEMONIC_VGATHERQPS;
        unsigned const bytes = step->instruction.decoded.instruction.raw.vex.L != 0 ? 32 : 16;
        return Gather{number(0), number(2), element_bytes, half ? bytes / 2 : bytes};
    }
    static void read_ymm(UserState const& state, unsigned number, std::uint8_t (&to)[32]) {
        std::memcpy(to, state.fx.xmm[number], 16);
        std::memcpy(to + 16, state.ymm_high[number], 16);
    }
    void gathered(Gather const& gather) {
        std::uint8_t pending[32], n[32], i[32];
        read_ymm(interpreted_.state, gather.mask, pending);
        for (unsigned const reg : {gather.destination, gather.mask}) {
            read_ymm(native_.state, reg, n), read_ymm(interpreted_.state, reg, i);
            for (unsigned at = 0; at < gather.bytes; at += gather.element_bytes) {
                unsigned const top = at + gather.element_bytes - 1;  // of a mask only its sign counts
                bool const differs = reg == gather.mask ? (n[top] ^ i[top]) >> 7 != 0
                                                        : std::memcmp(n + at, i + at, gather.element_bytes) != 0;
                if (pending[top] >> 7 == 0 && differs)
                    add(format("ymm%u byte %u: native %02x... | interpreted %02x...", reg, at, n[at], i[at]));
            }
        }
    }
    /// RCPPS, RSQRTPS and transcendental functions: each processor has its own approximation, and so have we; those
    /// of RCPPS and RSQRTPS are within 1.5 * 2^-12.
    bool approximates() const {
        return program_.steps.size() == 1 && is_approximation(program_.steps[0].instruction.decoded.instruction.mnemonic);
    }
    static bool are_close(std::uint64_t const (&n)[2], std::uint64_t const (&s)[2]) {
        constexpr float kBound = 3.1F / 4096;
        float a[4], b[4];
        std::memcpy(a, n, sizeof a);
        std::memcpy(b, s, sizeof b);
        for (unsigned i = 0; i < 4; ++i) {
            bool const close = std::memcmp(&a[i], &b[i], sizeof(float)) == 0 || std::fabs(a[i] - b[i]) <= std::fabs(a[i]) * kBound ||
                               (std::fabs(a[i]) < 0x1p-125F && b[i] == 0) || (a[i] == 0 && std::fabs(b[i]) < 0x1p-125F);
            if (!close) return false;
        }
        return true;
    }
    /// Which of several NaNs a dot product of single-precision numbers gives is up to the processor's maker.
    bool sums_nans() const {
        if (program_.steps.size() != 1) return false;
        auto const mnemonic = program_.steps[0].instruction.decoded.instruction.mnemonic;
        return mnemonic == ZYDIS_MNEMONIC_DPPS || mnemonic == ZYDIS_MNEMONIC_VDPPS;
    }
    static bool are_nans(std::uint64_t const (&n)[2], std::uint64_t const (&s)[2]) {
        float a[4], b[4];
        std::memcpy(a, n, sizeof a);
        std::memcpy(b, s, sizeof b);
        for (unsigned i = 0; i < 4; ++i)
            if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
        return true;
    }
    void vectors() {
        auto const gather = faulted_gather();
        if (gather) gathered(*gather);
        for (unsigned i = 0; i < 16; ++i) {
            auto const& n = native_.state.fx.xmm[i];
            auto const& s = interpreted_.state.fx.xmm[i];
            auto const& n_high = native_.state.ymm_high[i];
            auto const& s_high = interpreted_.state.ymm_high[i];
            if (!(approximates() && are_close(n_high, s_high)) && gather && (i == gather->destination || i == gather->mask)) continue;
            if (std::memcmp(n_high, s_high, sizeof n_high) != 0 && !(approximates() && are_close(n_high, s_high)) &&
                !(sums_nans() && are_nans(n_high, s_high)))
                add(format("ymm%u high: native %016llx'%016llx | interpreted %016llx'%016llx", i, wide(n_high[1]), wide(n_high[0]),
                           wide(s_high[1]), wide(s_high[0])));
            if (std::memcmp(n, s, sizeof n) == 0 || (approximates() && are_close(n, s)) || (sums_nans() && are_nans(n, s))) continue;
            add(format("xmm%u: native %016llx'%016llx | interpreted %016llx'%016llx", i, wide(n[1]), wide(n[0]),
                       wide(s[1]), wide(s[0])));
        }
        std::uint32_t const mask = ~unknown_mxcsr_flags();
        value("mxcsr", native_.state.fx.mxcsr & mask, interpreted_.state.fx.mxcsr & mask);
    }
    /// After an unmasked underflow or overflow, PE tells whether rounding with an unbounded exponent was inexact
    /// ([SDM1] 11.5.2.4); the simulator tells it of the bounded one (docs/quirks.md).
    bool is_dot_product() const {
        auto const* const step = faulting_step();
        if (step == nullptr) return false;
        auto const mnemonic = step->instruction.decoded.instruction.mnemonic;
        return mnemonic == ZYDIS_MNEMONIC_DPPS || mnemonic == ZYDIS_MNEMONIC_DPPD || mnemonic == ZYDIS_MNEMONIC_VDPPS ||
               mnemonic == ZYDIS_MNEMONIC_VDPPD;
    }
    /// Whether VCVTPS2PH has set flags when its store then faults.
    bool is_converting_store() const {
        auto const* const step = faulting_step();
        return step != nullptr && step->instruction.decoded.instruction.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH;
    }
    std::uint32_t unknown_mxcsr_flags() const {
        if (is_converting_store()) return 0x3f;
        constexpr std::uint32_t kSimdError = 19, kAllFlags = 0x3f, kPrecision = 0x20, kOverflowUnderflow = 0x18;
        std::uint32_t const mxcsr = native_.state.fx.mxcsr;
        bool const unmasked = (mxcsr & ~(mxcsr >> 7) & kOverflowUnderflow) != 0;
        if (native_.outcome.vector != kSimdError) return 0;
        // DPPS and DPPD stop after the step that raised it; the simulator adds up what all steps would raise.
        if (is_dot_product()) return kAllFlags;
        return unmasked ? kPrecision : 0;
    }
    /// [SDM1] 8.3.10: a transcendental function is right within one unit in the last place; ours too.
    static bool is_neighbour(FxState::Register const& a, FxState::Register const& b) {
        auto const distance = static_cast<std::int64_t>(a.significand - b.significand);
        if (a.sign_exponent == b.sign_exponent) return distance >= -2 && distance <= 2;
        // Across a power of two.
        bool const apart_by_one = a.sign_exponent + 1 == b.sign_exponent || b.sign_exponent + 1 == a.sign_exponent;
        return apart_by_one && (a.significand >> 63 != 0) && (a.significand << 1 == 0 || b.significand << 1 == 0);
    }
    /// Operands for which [SDM2A] F2XM1 and [SDM2B] FYL2XP1 leave the result open.
    bool is_out_of_range() const {
        if (program_.steps.size() != 1) return false;
        auto const mnemonic = program_.steps[0].instruction.decoded.instruction.mnemonic;
        auto const& x = from_.before.fx.st[0];
        unsigned const exponent = x.sign_exponent & 0x7fff;
        if (mnemonic == ZYDIS_MNEMONIC_F2XM1) return exponent >= 0x3fff;
        constexpr std::uint64_t kLimit = 0x95f6'1998'0c43'36f7;  // 1 - sqrt(1/2), with the exponent 3ffd
        return mnemonic == ZYDIS_MNEMONIC_FYL2XP1 && (exponent > 0x3ffd || (exponent == 0x3ffd && x.significand > kLimit));
    }
    void x87() {
        if (is_out_of_range()) return;
        auto const& n = native_.state.fx;
        auto const& i = interpreted_.state.fx;
        value("x87 control", n.control, i.control);
        constexpr std::uint16_t kTop = 0x3800;
        std::uint16_t const compared = mmx_faulted() ? static_cast<std::uint16_t>(~kTop) : 0xffff;
        // C1 of an approximation says which way it was rounded. Processors call exact results of FYL2X inexact, or tiny.
        constexpr unsigned kC1 = 0x200, kInexactOrTiny = 0x80b0;
        bool const is_log = approximates() && program_.steps[0].instruction.decoded.instruction.mnemonic == ZYDIS_MNEMONIC_FYL2X;
        unsigned const open = (approximates() ? kC1 : 0) | (is_log ? kInexactOrTiny : 0);
        unsigned const status = compared & ~open;
        value("x87 status", n.status & status, i.status & status);
        if (!mmx_faulted()) value("x87 valid", n.valid, i.valid);
        // By physical number, so that a wrong TOP is one difference and not nine.
        for (unsigned physical = 0; physical < 8; ++physical) {
            auto const& a = n.st[(physical - (n.status >> 11)) & 7];
            auto const& b = i.st[(physical - (i.status >> 11)) & 7];
            if (a.significand == b.significand && a.sign_exponent == b.sign_exponent) continue;
            if (approximates() && is_neighbour(a, b)) continue;
            add(format("x87 R%u: native %04x'%016llx | interpreted %04x'%016llx", physical, a.sign_exponent,
                       wide(a.significand), b.sign_exponent, wide(b.significand)));
        }
    }
    bool is_ignored(std::uint64_t address) const {
        return std::ranges::any_of(program_.ignored,
                                   [&](IgnoredBytes const& range) { return address - range.address < range.bytes; });
    }
    void memory() {
        if (std::memcmp(native_.window, interpreted_.window, kWritableBytes) == 0) return;
        constexpr std::uint64_t kMostLines = 8;
        std::uint64_t lines = 0;
        for (std::uint64_t offset = 0; offset < kWritableBytes && lines < kMostLines; offset += 8) {
            std::uint64_t n = 0;
            std::uint64_t i = 0;
            for (unsigned byte = 0; byte < 8; ++byte) {
                if (is_ignored(kWindow + offset + byte)) continue;
                n |= std::uint64_t{native_.window[offset + byte]} << 8 * byte;
                i |= std::uint64_t{interpreted_.window[offset + byte]} << 8 * byte;
            }
            if (n == i) continue;
            std::uint64_t before;
            std::memcpy(&before, from_.window + offset, sizeof before);
            value(format("[%llx] (%016llx before)", wide(kWindow + offset), wide(before)), n, i);
            ++lines;
        }
    }

    Program const& program_;
    Case const& from_;
    Result const& native_;
    Result const& interpreted_;
    std::vector<std::string> lines_;
};

class Description {
  public:
    Description(Program const& program, Case const& from) : program_{program}, case_{from} {}

    std::string make() {
        for (auto const& step : program_.steps) add_step(step);
        add_inputs();
        return std::move(text_);
    }

  private:
    void add_step(Step const& step) {
        if (step.rip == 0) return;  // cut off
        std::string bytes;
        for (unsigned i = 0; i < step.instruction.length; ++i) bytes += format("%02x ", step.instruction.bytes[i]);
        text_ += format("    %llx: %-32s %s\n", wide(step.rip), bytes.c_str(),
                        disassemble(step.instruction, step.rip).c_str());
        for (auto const& operand : step.instruction.decoded.all()) use(step, operand);
    }
    void use(Step const& step, ZydisDecodedOperand const& operand) {
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) use_register(operand.reg.value);
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) return;
        use_register(operand.mem.base);
        use_register(operand.mem.index);
        if (program_.steps.size() != 1) return;
        std::uint64_t const address = linear_address(step.instruction, operand, case_.before, step.rip);
        std::uint64_t const count = std::clamp<std::uint64_t>(operand.size / 8, 1, 32);
        memory_ += format("    [%llx]", wide(address));
        for (std::uint64_t i = 0; i < count && address + i - kWindow < kWindowBytes; ++i)
            memory_ += format(" %02x", case_.window[address + i - kWindow]);
        memory_ += "\n";
    }
    void use_register(ZydisRegister reg) {
        if (auto const number = gpr_number(reg)) gprs_.insert(*number);
        auto const reg_class = ZydisRegisterGetClass(reg);
        if (reg_class == ZYDIS_REGCLASS_XMM || reg_class == ZYDIS_REGCLASS_YMM) xmms_.insert(static_cast<unsigned>(ZydisRegisterGetId(reg)));
        if (reg_class == ZYDIS_REGCLASS_X87 || reg_class == ZYDIS_REGCLASS_MMX) x87_ = true;
    }
    void add_inputs() {
        auto const& before = case_.before;
        text_ += "    before: flags " + flags_text(before.rflags);
        for (unsigned const i : gprs_) text_ += format(" %s=%llx", kGprNames[i], wide(before.gpr[i]));
        text_ += "\n" + memory_;
        if (!xmms_.empty()) text_ += format("    mxcsr=%x", before.fx.mxcsr);
        for (unsigned const i : xmms_)
            text_ += format(" ymm%u=%016llx'%016llx'%016llx'%016llx", i, wide(before.ymm_high[i][1]), wide(before.ymm_high[i][0]),
                            wide(before.fx.xmm[i][1]), wide(before.fx.xmm[i][0]));
        if (!xmms_.empty()) text_ += "\n";
        bool const has_x87 = x87_ || std::ranges::any_of(program_.steps, [](Step const& step) {
                                 return step.instruction.decoded.instruction.meta.isa_set == ZYDIS_ISA_SET_X87;
                             });
        if (!has_x87) return;
        text_ += format("    x87 control=%04x status=%04x valid=%02x\n", before.fx.control, before.fx.status,
                        before.fx.valid);
        for (unsigned i = 0; i < 8; ++i)
            text_ +=
                format("    st%u=%04x'%016llx", i, before.fx.st[i].sign_exponent, wide(before.fx.st[i].significand)) +
                (i % 4 == 3 ? "\n" : "");
    }

    Program const& program_;
    Case const& case_;
    std::string text_;
    std::string memory_;
    std::set<unsigned> gprs_;
    std::set<unsigned> xmms_;
    bool x87_{false};
};

}  // namespace

std::vector<std::string> differences(Program const& program, Case const& from, Result const& interpreted) {
    return Comparison{program, from, interpreted}.run();
}

std::string describe(Program const& program, Case const& from) { return Description{program, from}.make(); }

}  // namespace backplane::isa
