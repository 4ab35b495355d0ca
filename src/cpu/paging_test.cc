// Paging as instructions meet it: rights with every control bit, error codes, CR2, the TLB ([SDM3A] 4.6, 4.7, 4.10).
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "cpu/testing.h"

namespace backplane {
namespace {

using namespace layout;

constexpr std::uint64_t kPage = 0x10'0000;
constexpr std::uint64_t kNx = std::uint64_t{1} << 63;

enum class Kind : std::uint8_t { read, write, modify, fetch };

struct Controls {
    bool user, write_protect, no_execute, smep, smap, access_flag;
};
Controls controls_of(unsigned bits) {
    return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0, (bits & 32) != 0};
}

/// The error code of the page fault that [SDM3A] 4.6.1 and 4.7 demand, or empty.
std::optional<std::uint32_t> expected_fault(Controls const& c, std::uint64_t entry, Kind kind) {
    bool const present = (entry & 1) != 0, rw = (entry & 2) != 0, us = (entry & 4) != 0, xd = (entry & kNx) != 0;
    bool const writes = kind == Kind::write || kind == Kind::modify;
    std::uint32_t const code =
        (writes ? 2u : 0u) | (c.user ? 4u : 0u) | (kind == Kind::fetch && (c.no_execute || c.smep) ? 16u : 0u);
    if (!present) return code;
    if (xd && !c.no_execute) return code | 1 | 8;
    bool allowed = true;
    if (c.user) allowed = us && (!writes || rw);
    if (!c.user && kind != Kind::fetch)
        allowed = !(us && c.smap && !c.access_flag) && (!writes || rw || !c.write_protect);
    if (!c.user && kind == Kind::fetch) allowed = !(us && c.smep);
    if (kind == Kind::fetch && xd) allowed = false;
    return allowed ? std::nullopt : std::optional{code | 1};
}

/// One machine for the whole matrix: each case enters anew.
class Matrix {
  public:
    Matrix() {
        // Both levels' code: mov eax, [rbx]; mov [rbx], eax; inc dword [rbx]; jmp rbx
        for (std::uint64_t const at : {kCode, kUserCode}) {
            machine_.put(at, "8b03 f4");
            machine_.put(at + 0x10, "8903 f4");
            machine_.put(at + 0x20, "ff03 f4");
            machine_.put(at + 0x30, "ffe3");
        }
        // The handlers and the kernel's code must not be user pages, or SMEP would stop them.
        for (std::uint64_t page = 0; page < kUserCode; page += kPageBytes) machine_.map(page, page, 3);
        for (std::uint64_t const at : {kStack, kRing0Stack}) machine_.map(at - kPageBytes, at - kPageBytes, 3);
    }
    /// The error code of the page fault, or empty when the access was made.
    std::optional<std::uint32_t> access(Controls const& c, std::uint64_t entry, Kind kind) {
        machine_.map(kPage, kPage, entry);
        machine_.put(kPage, "f4");
        CpuState state = c.user ? TestMachine::user_state() : TestMachine::kernel_state();
        state.rip += std::uint64_t{0x10} * static_cast<unsigned>(kind);
        state.gpr[rbx] = kPage;
        auto const set = [](std::uint64_t& reg, std::uint64_t bits, bool on) { reg = on ? reg | bits : reg & ~bits; };
        set(state.cr0, cr0::kWriteProtect, c.write_protect);
        set(state.efer, efer::kNoExecute, c.no_execute);
        set(state.cr4, cr4::kSmep, c.smep);
        set(state.cr4, cr4::kSmap, c.smap);
        set(state.rflags, rflags::kAlignmentCheck, c.access_flag);
        machine_.cpu.set_state(state);
        std::uint64_t const start = state.rip;
        EXPECT_EQ(machine_.run(1), Ended::quota);
        if (kind == Kind::fetch) (void)machine_.run(1);  // behind the jump: HLT, or the fault of its fetch
        if (!machine_.is_in_handler()) return {};
        (void)machine_.run();
        if (machine_.arrived() == 13u) return {};  // HLT in user mode: it was fetched
        EXPECT_EQ(machine_.arrived(), 14u);
        EXPECT_EQ(machine_.cpu.state().cr2, kPage);
        EXPECT_EQ(machine_.frame().rip, kind == Kind::fetch ? kPage : start);
        return static_cast<std::uint32_t>(machine_.frame().error_code);
    }

  private:
    TestMachine machine_;
};

TEST(Paging, EveryRightWithEveryControl) {
    Matrix matrix;
    unsigned faults = 0, count = 0;
    for (unsigned entry_bits = 0; entry_bits < 16; ++entry_bits) {
        std::uint64_t const entry = (entry_bits & 7) | ((entry_bits & 8) != 0 ? kNx : 0);
        for (unsigned bits = 0; bits < 64; ++bits) {
            for (Kind const kind : {Kind::read, Kind::write, Kind::modify, Kind::fetch}) {
                Controls const controls = controls_of(bits);
                auto const expected = expected_fault(controls, entry, kind);
                auto const found = matrix.access(controls, entry, kind);
                ++count;
                faults += expected ? 1 : 0;
                ASSERT_EQ(found, expected)
                    << "entry " << entry_bits << " controls " << bits << " kind " << static_cast<int>(kind);
            }
        }
    }
    EXPECT_EQ(count, 16u * 64 * 4);
    EXPECT_GT(faults, 1000u);
    EXPECT_GT(count - faults, 500u);
}

// --- what the TLB may keep, and when it must forget ---------------------------------------------------------------

class TlbUse : public testing::Test {
  protected:
    void run_code(char const* code) {
        machine.put(kCode, code);
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rbx] = kPage; });
        ASSERT_EQ(machine.run(), Ended::halted);
    }
    static constexpr std::uint64_t kEntry = kPt + kPage / kPageBytes * 8;
    TestMachine machine;
};

TEST_F(TlbUse, InvlpgForgetsAPage) {
    // mov eax, [rbx]; mov dword [entry], 0; invlpg [rbx]; mov eax, [rbx]
    run_code("8b03 c70425 00480000 00000000 0f013b 8b03 f4");
    EXPECT_EQ(machine.arrived(), 14u);
    EXPECT_EQ(machine.frame().rip, kCode + 16);
}

TEST_F(TlbUse, LoadingCr3ForgetsAllButGlobalPages) {
    for (bool const global : {false, true}) {
        machine.map(kPage, kPage, global ? 0x103 : 3);
        machine.put(kCode, "8b03 c70425 00480000 00000000 0f20d8 0f22d8 8b03 f4");  // the same with mov cr3, cr3
        machine.start_kernel();
        machine.with_state([](CpuState& state) { state.gpr[rbx] = kPage, state.cr4 |= cr4::kGlobalPages; });
        ASSERT_EQ(machine.run(), Ended::halted);
        EXPECT_EQ(machine.arrived().has_value(), !global);
    }
    // Without CR4.PGE a global page is none.
    machine.map(kPage, kPage, 0x103);
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kPage; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 14u);
}

// --- PCIDs: translations wait on a shelf while another address space runs (docs/design/tlb.md) --------------------

class Pcids : public TlbUse {
  protected:
    static constexpr std::uint64_t kKeep = std::uint64_t{1} << 63;
    static constexpr std::uint64_t kOther = kPage + 0x5000;
    Pcids() {
        machine.put_value(kPage, 0xaaaau);
        machine.put_value(kOther, 0xbbbbu);
        machine.map(kPage, kPage, 3);
    }
    /// Reads under PCID 0, then under PCID 5 with the page mapped elsewhere, then again under `back`.
    void run_spaces(std::uint64_t back, std::string const& in_between = "") {
        // mov r8d, [rbx]; mov cr3, rax; mov [entry], rdx; mov r9d, [rbx]; (in between); mov cr3, rcx; mov r10d, [rbx]
        machine.put(kCode, "448b03 0f22d8 4889142500480000 448b0b" + in_between + "0f22d9 448b13 f4");
        machine.start_kernel();
        machine.with_state([&](CpuState& state) {
            state.cr4 |= cr4::kGlobalPages | cr4::kPcid;
            state.gpr[rbx] = kPage, state.gpr[rdx] = kOther | 3;
            state.gpr[rax] = kPml4 | 5 | kKeep, state.gpr[rcx] = kPml4 | back;
            state.gpr[rsi] = kData, state.gpr[rdi] = kPage;
        });
        ASSERT_EQ(machine.run(), Ended::halted);
        ASSERT_FALSE(machine.arrived());
        EXPECT_EQ(machine.cpu.state().gpr[r8], 0xaaaau);
        EXPECT_EQ(machine.cpu.state().gpr[r9], 0xbbbbu) << "the new PCID knows nothing of the old one's page";
    }
    [[nodiscard]] std::uint64_t last_read() const { return machine.cpu.state().gpr[r10]; }
    void invpcid_descriptor(std::uint64_t pcid) {
        machine.put_value(kData, pcid);
        machine.put_value(kData + 8, kPage);
    }
};

TEST_F(Pcids, AreKeptWhenBit63SaysSo) {  // [SDM3A] 4.10.4.1
    run_spaces(0 | kKeep);
    EXPECT_EQ(last_read(), 0xaaaau) << "the translation of PCID 0 was kept";
    machine.map(kPage, kPage, 3);
    run_spaces(0);
    EXPECT_EQ(last_read(), 0xbbbbu) << "and dropped by a load without the bit";
    machine.map(kPage, kPage, 3);
    run_spaces(9 | kKeep);
    EXPECT_EQ(last_read(), 0xbbbbu) << "a third PCID has none";
}

TEST_F(Pcids, InvpcidReachesThoseThatDoNotRun) {  // [SDM2A] INVPCID
    for (auto const& [type, pcid, kept] : {std::tuple{0u, 0u, false}, {1u, 0u, false}, {1u, 9u, true}, {2u, 0u, false}, {3u, 9u, false}}) {
        invpcid_descriptor(pcid);
        machine.map(kPage, kPage, 3);
        // mov ebp, type; invpcid rbp, [rsi]
        run_spaces(0 | kKeep, "bd0" + std::to_string(type) + "000000 660f38822e");
        EXPECT_EQ(last_read(), kept ? 0xaaaau : 0xbbbbu) << "type " << type << " of " << pcid;
    }
}

TEST_F(Pcids, InvlpgLeavesOthersAlone) {
    run_spaces(0 | kKeep, "0f013b");  // invlpg [rbx]
    EXPECT_EQ(last_read(), 0xaaaau);
}

// Twenty PCIDs, more than there are shelves. Each visit maps the page elsewhere; a PCID that still knows it may see the
// older page, but never one that it was not shown itself.
TEST_F(Pcids, ManyComeAndGo) {
    // mov cr3, rax; mov [entry], rdx; mov r9d, [rbx]; mov [rdi], r9d; add rdi, 4; add rdx, 0x1000; inc rax
    // dec ecx; jnz to the start
    machine.put(kCode, "0f22d8 4889142500480000 448b0b 44890f 4883c704 4881c200100000 48ffc0 ffc9 75dd f4");
    for (std::uint32_t i = 0; i < 64; ++i) machine.put_value(kPage + 0x1000 * i, i);
    machine.start_kernel();
    auto const visit = [&](std::uint64_t first_page) {
        machine.cpu.gpr(rax) = kPml4 | 1 | kKeep, machine.cpu.gpr(rcx) = 20, machine.cpu.gpr(rbx) = kPage;
        machine.cpu.gpr(rdx) = (kPage + 0x1000 * first_page) | 3, machine.cpu.gpr(rdi) = kData;
    };
    machine.with_state([](CpuState& state) { state.cr4 |= cr4::kGlobalPages | cr4::kPcid; });
    visit(1);
    ASSERT_EQ(machine.run(), Ended::halted);
    for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(machine.get<std::uint32_t>(kData + 4 * i), 1 + i);
}

// A page that gets code loses its write translations, those on shelves as well: the store below must be seen.
TEST_F(Pcids, CodeInAPageOfAShelvedTranslation) {
    machine.put(kOther, "b801000000 c3");  // mov eax, 1; ret
    // mov [rbp+8], esi (a write translation of PCID 0); mov cr3, rax; call rbp (the page gets code); mov r9d, eax
    // mov cr3, rcx; mov byte [rbp+1], 2; call rbp
    machine.put(kCode, "897508 0f22d8 ffd5 4189c1 0f22d9 c6450102 ffd5 f4");
    machine.start_kernel();
    machine.with_state([&](CpuState& state) {
        state.cr4 |= cr4::kGlobalPages | cr4::kPcid;
        state.gpr[rbp] = kOther, state.gpr[rax] = kPml4 | 5 | kKeep, state.gpr[rcx] = kPml4 | kKeep;
    });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.cpu.state().gpr[r9], 1u);
    EXPECT_EQ(machine.cpu.state().gpr[rax], 2u);
}

TEST_F(TlbUse, AReadLeavesThePageCleanAndAWriteMakesItDirty) {
    machine.map(kPage, kPage, 3);
    run_code("8b03 f4");
    EXPECT_EQ(machine.get(kEntry) & 0x60, 0x20u);
    run_code("8b03 8903 f4");
    EXPECT_EQ(machine.get(kEntry) & 0x60, 0x60u);
}

// A store that crosses into a page that is not there has not happened in the first page either.
TEST_F(TlbUse, ACrossingStoreIsWholeOrNothing) {
    machine.map(kPage + kPageBytes, 0, 0);
    machine.put_value(kPage + kPageBytes - 4, std::uint32_t{0x5555'5555});
    machine.put(kCode, "488903 f4");  // mov [rbx], rax
    machine.start_kernel();
    machine.with_state([](CpuState& state) { state.gpr[rbx] = kPage + kPageBytes - 4; });
    ASSERT_EQ(machine.run(), Ended::halted);
    EXPECT_EQ(machine.arrived(), 14u);
    EXPECT_EQ(machine.cpu.state().cr2, kPage + kPageBytes);
    EXPECT_EQ(machine.frame().error_code, 2u);
    EXPECT_EQ(machine.get<std::uint32_t>(kPage + kPageBytes - 4), 0x5555'5555u);
}

}  // namespace
}  // namespace backplane
