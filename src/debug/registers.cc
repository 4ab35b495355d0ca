#include "debug/registers.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "debug/packet.h"

namespace backplane {
namespace {

using Value = DebugRegister::Value;

/// What a debugger may change of RFLAGS: the flags of [SDM1] figure 3-8 but VM, VIF and VIP, which change the mode.
constexpr std::uint64_t kSettableFlags = 0x0024'7fd5;
constexpr std::uint64_t kFixedFlags = 2;
constexpr std::uint32_t kSettableMxcsr = 0xffff;  // [SDM1] figure 10-3; a reserved bit would fault on the host
constexpr std::uint64_t kPhysicalAddressBits = (std::uint64_t{1} << 52) - 1;

void put(Value& value, std::uint64_t number) { std::memcpy(value.data(), &number, sizeof number); }
std::uint64_t get(Value const& value) {
    std::uint64_t number = 0;
    std::memcpy(&number, value.data(), sizeof number);
    return number;
}
bool is_canonical(std::uint64_t address) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << 16) >> 16) == address;
}

// --- the kinds of registers
// -------------------------------------------------------------------------------------------

void read_gpr(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.gpr[i]); }
bool write_gpr(CpuState& s, std::uint8_t i, Value const& v) { return s.gpr[i] = get(v), true; }
void read_rip(CpuState const& s, std::uint8_t, Value& v) { put(v, s.rip); }
bool write_rip(CpuState& s, std::uint8_t, Value const& v) {
    if (!is_canonical(get(v))) return false;
    // A user who sends a halted processor elsewhere wants it to go there.
    if (s.rip != get(v)) s.halted = s.interrupt_shadow = false;
    s.rip = get(v);
    return true;
}
void read_flags(CpuState const& s, std::uint8_t, Value& v) { put(v, s.rflags); }
bool write_flags(CpuState& s, std::uint8_t, Value const& v) {
    s.rflags = (s.rflags & ~kSettableFlags) | (get(v) & kSettableFlags) | kFixedFlags;
    return true;
}
void read_selector(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.segments[i].selector); }
void read_base(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.segments[i].base); }
bool write_base(CpuState& s, std::uint8_t i, Value const& v) {
    if (!is_canonical(get(v))) return false;
    s.segments[i].base = get(v);
    return true;
}
void read_limit(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.segments[i].limit); }

unsigned physical_st(CpuState const& s, std::uint8_t i) { return (static_cast<unsigned>(s.x87.status >> 11) + i) & 7; }
void read_st(CpuState const& s, std::uint8_t i, Value& v) {
    X87Register const& st = s.x87.registers[physical_st(s, i)];
    put(v, st.significand);
    std::memcpy(v.data() + 8, &st.sign_exponent, 2);
}
bool write_st(CpuState& s, std::uint8_t i, Value const& v) {
    X87Register& st = s.x87.registers[physical_st(s, i)];
    st.significand = get(v);
    std::memcpy(&st.sign_exponent, v.data() + 8, 2);
    return true;
}
/// The full tag word ([SDM1] 8.1.7), from contents and the one bit that is kept: 0 valid, 1 zero, 2 special, 3 empty.
std::uint16_t tag_word(X87State const& x87) {
    std::uint16_t tags = 0;
    for (unsigned i = 0; i < 8; ++i) {
        X87Register const& reg = x87.registers[i];
        unsigned const exponent = reg.sign_exponent & 0x7fffU;
        unsigned tag = (reg.significand >> 63) != 0 && exponent != 0x7fff && exponent != 0 ? 0 : 2;
        if (exponent == 0 && reg.significand == 0) tag = 1;
        if ((x87.valid >> i & 1) == 0) tag = 3;
        tags = static_cast<std::uint16_t>(tags | tag << (2 * i));
    }
    return tags;
}
enum X87Word : std::uint8_t { fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop };
void read_x87(CpuState const& s, std::uint8_t i, Value& v) {
    switch (i) {
        case fctrl:
            return put(v, s.x87.control);
        case fstat:
            return put(v, s.x87.status);
        case ftag:
            return put(v, tag_word(s.x87));
        case fiseg:
            return put(v, s.x87.last_instruction >> 32);
        case fioff:
            return put(v, s.x87.last_instruction & 0xffff'ffff);
        case foseg:
            return put(v, s.x87.last_data >> 32);
        case fooff:
            return put(v, s.x87.last_data & 0xffff'ffff);
        default:
            return put(v, s.x87.last_opcode);
    }
}
bool write_x87(CpuState& s, std::uint8_t i, Value const& v) {
    auto const word = static_cast<std::uint16_t>(get(v));
    if (i == fctrl)
        s.x87.control = static_cast<std::uint16_t>((word & 0x1f3f) | 0x40);  // [SDM1] 8.1.5
    else if (i == fstat)
        s.x87.status = word;
    else
        return false;
    return true;
}

void read_xmm(CpuState const& s, std::uint8_t i, Value& v) { std::memcpy(v.data(), s.xmm[i].words.data(), 16); }
bool write_xmm(CpuState& s, std::uint8_t i, Value const& v) {
    return std::memcpy(s.xmm[i].words.data(), v.data(), 16), true;
}
void read_ymm_high(CpuState const& s, std::uint8_t i, Value& v) { std::memcpy(v.data(), s.ymm_high[i].words.data(), 16); }
bool write_ymm_high(CpuState& s, std::uint8_t i, Value const& v) {
    return std::memcpy(s.ymm_high[i].words.data(), v.data(), 16), true;
}
void read_mxcsr(CpuState const& s, std::uint8_t, Value& v) { put(v, s.mxcsr); }
bool write_mxcsr(CpuState& s, std::uint8_t, Value const& v) {
    if ((get(v) & ~std::uint64_t{kSettableMxcsr}) != 0) return false;
    s.mxcsr = static_cast<std::uint32_t>(get(v));
    return true;
}

/// GDB's Linux support looks at it to see whether a system call is under way: never, from where we look.
void read_orig_rax(CpuState const&, std::uint8_t, Value& v) { put(v, ~std::uint64_t{0}); }
bool write_orig_rax(CpuState&, std::uint8_t, Value const&) { return true; }

enum System : std::uint8_t {
    ldt_selector,
    ldt_base,
    ldt_limit,
    task_selector,
    task_base,
    task_limit,
    gdt_base,
    gdt_limit,
    idt_base,
    idt_limit,
    control0,
    control2,
    control3,
    control4,
    extended_features,
    extended_control0,
    debug6,
    debug7,
};
void read_system(CpuState const& s, std::uint8_t i, Value& v) {
    switch (i) {
        case ldt_selector:
            return put(v, s.ldtr.selector);
        case ldt_base:
            return put(v, s.ldtr.base);
        case ldt_limit:
            return put(v, s.ldtr.limit);
        case task_selector:
            return put(v, s.tr.selector);
        case task_base:
            return put(v, s.tr.base);
        case task_limit:
            return put(v, s.tr.limit);
        case gdt_base:
            return put(v, s.gdtr.base);
        case gdt_limit:
            return put(v, s.gdtr.limit);
        case idt_base:
            return put(v, s.idtr.base);
        case idt_limit:
            return put(v, s.idtr.limit);
        case control0:
            return put(v, s.cr0);
        case control2:
            return put(v, s.cr2);
        case control3:
            return put(v, s.cr3);
        case control4:
            return put(v, s.cr4);
        case extended_features:
            return put(v, s.efer);
        case extended_control0:
            return put(v, s.xcr0);
        case debug6:
            return put(v, s.dr6);
        default:
            return put(v, s.dr7);
    }
}
bool write_cr2(CpuState& s, std::uint8_t, Value const& v) { return s.cr2 = get(v), true; }
bool write_cr3(CpuState& s, std::uint8_t, Value const& v) {
    if ((get(v) & ~kPhysicalAddressBits) != 0) return false;
    s.cr3 = get(v);
    return true;
}
void read_dr(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.dr[i]); }

std::uint64_t CpuState::*const kModelSpecific[] = {
    &CpuState::star,         &CpuState::lstar,          &CpuState::cstar,
    &CpuState::sfmask,       &CpuState::kernel_gs_base, &CpuState::sysenter_cs,
    &CpuState::sysenter_esp, &CpuState::sysenter_eip,   &CpuState::tsc_aux};
void read_msr(CpuState const& s, std::uint8_t i, Value& v) { put(v, s.*kModelSpecific[i]); }

// --- the table
// --------------------------------------------------------------------------------------------------------

constexpr char const* kNoGroup = nullptr;
constexpr char const* kSystem = "system";

struct Feature {
    char const* name;
    std::vector<DebugRegister> registers;
};

std::vector<DebugRegister> core_registers() {
    static constexpr char const* kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static constexpr std::uint8_t kOrder[] = {rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp,
                                              r8,  r9,  r10, r11, r12, r13, r14, r15};
    static constexpr char const* kSegments[] = {"cs", "ss", "ds", "es", "fs", "gs"};
    static constexpr std::uint8_t kSegmentOrder[] = {cs, ss, ds, es, fs, gs};
    static constexpr char const* kStack[] = {"st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"};
    static constexpr char const* kWords[] = {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"};
    std::vector<DebugRegister> all;
    for (unsigned i = 0; i < 16; ++i) {
        char const* const type = kOrder[i] == rbp || kOrder[i] == rsp ? "data_ptr" : "int64";
        all.push_back({kNames[i], 64, type, kNoGroup, kOrder[i], read_gpr, write_gpr});
    }
    all.push_back({"rip", 64, "code_ptr", kNoGroup, 0, read_rip, write_rip});
    all.push_back({"eflags", 32, "i386_eflags", kNoGroup, 0, read_flags, write_flags});
    for (unsigned i = 0; i < 6; ++i)
        all.push_back({kSegments[i], 32, "int32", kNoGroup, kSegmentOrder[i], read_selector, nullptr});
    for (std::uint8_t i = 0; i < 8; ++i) all.push_back({kStack[i], 80, "i387_ext", kNoGroup, i, read_st, write_st});
    for (std::uint8_t i = 0; i < 8; ++i) all.push_back({kWords[i], 32, "int", "float", i, read_x87, write_x87});
    return all;
}

std::vector<DebugRegister> sse_registers() {
    static constexpr char const* kNames[] = {"xmm0", "xmm1", "xmm2",  "xmm3",  "xmm4",  "xmm5",  "xmm6",  "xmm7",
                                             "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"};
    std::vector<DebugRegister> all;
    for (std::uint8_t i = 0; i < 16; ++i) all.push_back({kNames[i], 128, "vec128", kNoGroup, i, read_xmm, write_xmm});
    all.push_back({"mxcsr", 32, "i386_mxcsr", "vector", 0, read_mxcsr, write_mxcsr});
    return all;
}

/// Bits 255:128; GDB puts them together with XMM registers.
std::vector<DebugRegister> avx_registers() {
    static constexpr char const* kNames[] = {"ymm0h", "ymm1h", "ymm2h",  "ymm3h",  "ymm4h",  "ymm5h",  "ymm6h",  "ymm7h",
                                             "ymm8h", "ymm9h", "ymm10h", "ymm11h", "ymm12h", "ymm13h", "ymm14h", "ymm15h"};
    std::vector<DebugRegister> all;
    for (std::uint8_t i = 0; i < 16; ++i) all.push_back({kNames[i], 128, "uint128", kNoGroup, i, read_ymm_high, write_ymm_high});
    return all;
}

std::vector<DebugRegister> system_registers() {
    static constexpr char const* kBases[] = {"es_base", "cs_base", "ss_base", "ds_base"};
    static constexpr char const* kLimits[] = {"es_limit", "cs_limit", "ss_limit", "ds_limit", "fs_limit", "gs_limit"};
    static constexpr char const* kModelNames[] = {"star",        "lstar",        "cstar",        "sfmask", "k_gs_base",
                                                  "sysenter_cs", "sysenter_esp", "sysenter_eip", "tsc_aux"};
    static constexpr char const* kDebug[] = {"dr0", "dr1", "dr2", "dr3"};
    std::vector<DebugRegister> all;
    auto const system = [&](char const* name, std::uint8_t bits, System which, char const* type = "int64") {
        all.push_back({name, bits, bits == 32 ? "int32" : type, kSystem, which, read_system, nullptr});
    };
    system("cr0", 64, control0, "cr0_flags");
    all.push_back({"cr2", 64, "data_ptr", kSystem, control2, read_system, write_cr2});
    all.push_back({"cr3", 64, "int64", kSystem, control3, read_system, write_cr3});
    system("cr4", 64, control4, "cr4_flags");
    system("efer", 64, extended_features, "efer_flags");
    system("xcr0", 64, extended_control0);
    for (std::uint8_t i = 0; i < 4; ++i) all.push_back({kBases[i], 64, "int64", kSystem, i, read_base, nullptr});
    for (std::uint8_t i = 0; i < 6; ++i) all.push_back({kLimits[i], 32, "int32", kSystem, i, read_limit, nullptr});
    system("ldtr", 32, ldt_selector);
    system("ldtr_base", 64, ldt_base);
    system("ldtr_limit", 32, ldt_limit);
    system("tr", 32, task_selector);
    system("tr_base", 64, task_base);
    system("tr_limit", 32, task_limit);
    system("gdtr_base", 64, gdt_base);
    system("gdtr_limit", 32, gdt_limit);
    system("idtr_base", 64, idt_base);
    system("idtr_limit", 32, idt_limit);
    for (std::uint8_t i = 0; i < 4; ++i) all.push_back({kDebug[i], 64, "data_ptr", kSystem, i, read_dr, nullptr});
    system("dr6", 64, debug6);
    system("dr7", 64, debug7);
    for (std::uint8_t i = 0; i < 9; ++i) all.push_back({kModelNames[i], 64, "int64", kSystem, i, read_msr, nullptr});
    return all;
}

std::vector<Feature> const& features() {
    static std::vector<Feature> const all{
        {"org.gnu.gdb.i386.core", core_registers()},
        {"org.gnu.gdb.i386.sse", sse_registers()},
        {"org.gnu.gdb.i386.linux", {{"orig_rax", 64, "int", "system", 0, read_orig_rax, write_orig_rax}}},
        {"org.gnu.gdb.i386.segments",
         {{"fs_base", 64, "int", kNoGroup, fs, read_base, write_base},
          {"gs_base", 64, "int", kNoGroup, gs, read_base, write_base}}},
        {"org.gnu.gdb.i386.avx", avx_registers()},
        {"org.backplane.i386.system", system_registers()},
    };
    return all;
}

// --- the description
// --------------------------------------------------------------------------------------------------

struct Bit {
    char const* name;
    unsigned number;
};

void append_flags(std::string& xml, char const* id, std::initializer_list<Bit> bits, unsigned bytes) {
    xml += std::string{"<flags id=\""} + id + "\" size=\"" + std::to_string(bytes) + "\">\n";
    for (Bit const& bit : bits) {
        std::string const at = std::to_string(bit.number);
        xml += std::string{"<field name=\""} + bit.name + "\" start=\"" + at + "\" end=\"" + at + "\"/>\n";
    }
    xml += "</flags>\n";
}

/// The types that a feature's registers name and that GDB does not know by itself.
void append_types(std::string& xml, std::string_view feature) {
    if (feature.ends_with(".core")) {
        append_flags(xml, "i386_eflags",
                     {{"CF", 0},
                      {"", 1},
                      {"PF", 2},
                      {"AF", 4},
                      {"ZF", 6},
                      {"SF", 7},
                      {"TF", 8},
                      {"IF", 9},
                      {"DF", 10},
                      {"OF", 11},
                      {"NT", 14},
                      {"RF", 16},
                      {"VM", 17},
                      {"AC", 18},
                      {"VIF", 19},
                      {"VIP", 20},
                      {"ID", 21}},
                     4);
    } else if (feature.ends_with(".sse")) {
        xml += R"(<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/>
<vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/>
<vector id="v2i64" type="int64" count="2"/>
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>
)";
        append_flags(xml, "i386_mxcsr",
                     {{"IE", 0},
                      {"DE", 1},
                      {"ZE", 2},
                      {"OE", 3},
                      {"UE", 4},
                      {"PE", 5},
                      {"DAZ", 6},
                      {"IM", 7},
                      {"DM", 8},
                      {"ZM", 9},
                      {"OM", 10},
                      {"UM", 11},
                      {"PM", 12},
                      {"FZ", 15}},
                     4);
    } else if (feature.ends_with(".system")) {
        append_flags(xml, "cr0_flags",
                     {{"PE", 0},
                      {"MP", 1},
                      {"EM", 2},
                      {"TS", 3},
                      {"ET", 4},
                      {"NE", 5},
                      {"WP", 16},
                      {"AM", 18},
                      {"NW", 29},
                      {"CD", 30},
                      {"PG", 31}},
                     8);
        append_flags(xml, "cr4_flags",
                     {{"VME", 0},
                      {"PVI", 1},
                      {"TSD", 2},
                      {"DE", 3},
                      {"PSE", 4},
                      {"PAE", 5},
                      {"MCE", 6},
                      {"PGE", 7},
                      {"PCE", 8},
                      {"OSFXSR", 9},
                      {"OSXMMEXCPT", 10},
                      {"UMIP", 11},
                      {"FSGSBASE", 16},
                      {"PCIDE", 17},
                      {"OSXSAVE", 18},
                      {"SMEP", 20},
                      {"SMAP", 21}},
                     8);
        append_flags(xml, "efer_flags", {{"SCE", 0}, {"LME", 8}, {"LMA", 10}, {"NXE", 11}, {"FFXSR", 14}}, 8);
    }
}

std::string make_description() {
    std::string xml =
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
        "<target version=\"1.0\">\n<architecture>i386:x86-64</architecture>\n";
    unsigned number = 0;
    for (Feature const& feature : features()) {
        xml += std::string{"<feature name=\""} + feature.name + "\">\n";
        append_types(xml, feature.name);
        for (DebugRegister const& reg : feature.registers) {
            xml += std::string{"<reg name=\""} + reg.name + "\" bitsize=\"" + std::to_string(reg.bits) + "\" type=\"" +
                   reg.type + '"';
            if (reg.group != nullptr) xml += std::string{" group=\""} + reg.group + '"';
            xml += " regnum=\"" + std::to_string(number++) + "\"/>\n";
        }
        xml += "</feature>\n";
    }
    return xml + "</target>\n";
}

}  // namespace

std::span<DebugRegister const> debug_registers() {
    static std::vector<DebugRegister> const all = [] {
        std::vector<DebugRegister> flat;
        for (Feature const& feature : features())
            flat.insert(flat.end(), feature.registers.begin(), feature.registers.end());
        return flat;
    }();
    return all;
}

DebugRegister const* find_debug_register(std::string_view name) {
    auto const all = debug_registers();
    auto const found = std::find_if(all.begin(), all.end(), [&](DebugRegister const& reg) { return reg.name == name; });
    return found != all.end() ? &*found : nullptr;
}

std::string register_text(DebugRegister const& reg, CpuState const& state) {
    Value value{};
    reg.read(state, reg.index, value);
    return hex_of(ConstByteSpan{value}.first(reg.bytes()));
}

bool set_register(DebugRegister const& reg, CpuState& state, std::string_view digits) {
    auto const bytes = bytes_from_hex(digits);
    if (!bytes || bytes->size() != reg.bytes() || reg.write == nullptr) return false;
    Value value{};
    std::memcpy(value.data(), bytes->data(), bytes->size());
    return reg.write(state, reg.index, value);
}

std::string all_registers_text(CpuState const& state) {
    std::string text;
    for (DebugRegister const& reg : debug_registers()) text += register_text(reg, state);
    return text;
}

bool set_all_registers(CpuState& state, std::string_view digits) {
    CpuState changed = state;
    for (DebugRegister const& reg : debug_registers()) {
        if (digits.size() < 2 * reg.bytes()) return false;
        std::string_view const own = digits.substr(0, 2 * reg.bytes());
        digits.remove_prefix(own.size());
        if (own == register_text(reg, changed)) continue;
        if (reg.write != nullptr && !set_register(reg, changed, own)) return false;
    }
    state = changed;
    return digits.empty();
}

std::string const& target_description() {
    static std::string const xml = make_description();
    return xml;
}

}  // namespace backplane
