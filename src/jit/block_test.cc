// The code made of typical blocks, as sizes: block_golden.txt has the host instructions and bytes for each guest
// instruction, and they change only on purpose. BACKPLANE_UPDATE_GOLDEN=1 jit_test writes the file anew.
#include "jit/block.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "cpu/decode.h"

namespace backplane::jit {
namespace {

struct Sample {
    char const* name;
    CodeView view;
    std::vector<std::uint8_t> code;
};

std::vector<Sample> const& samples() {
    constexpr CodeView kUser = CodeView::user, kSupervisor = CodeView::supervisor;
    static std::vector<Sample> const kSamples{
        {"registers and a loop", kUser, {0x01, 0xd8, 0x31, 0xc8, 0xff, 0xca, 0x75, 0xf8}},
        {"flags that nobody sees", kUser, {0x01, 0xd8, 0x29, 0xc8, 0x21, 0xd0, 0x89, 0xc6}},
        {"registers in memory", kUser, {0x4d, 0x01, 0xc1, 0x49, 0x89, 0xf2, 0x41, 0x31, 0xfb}},
        {"load and store", kUser, {0x48, 0x8b, 0x47, 0x08, 0x48, 0x01, 0xd8, 0x48, 0x89, 0x04, 0xcf}},
        {"accesses of one object", kUser, {0x8b, 0x43, 0x08, 0x03, 0x43, 0x10, 0x89, 0x43, 0x18, 0x48, 0x89, 0x4b, 0x20}},
        {"an array in a loop", kUser, {0x03, 0x04, 0x8e, 0xff, 0xc9, 0x75, 0xf9}},
        {"a loop with registers that live in memory",
         kUser,
         {0x41, 0xff, 0xc9, 0x44, 0x89, 0xc2, 0x4c, 0x01, 0xda, 0x41, 0x81, 0xe0, 0xff, 0x7f, 0, 0, 0x47, 0x0f, 0xb7, 0x44, 0x45, 0, 0x44, 0x39, 0xc0, 0x75, 0xe5}},
        {"read, modify, write", kUser, {0x48, 0x83, 0x07, 0x01, 0x0f, 0x92, 0xc0}},
        {"compare and branch", kUser, {0x3b, 0x46, 0x10, 0x7e, 0x05}},
        {"stack", kUser, {0x53, 0xff, 0x75, 0x08, 0x5b, 0xc9, 0xc3}},
        {"prologue", kUser, {0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20}},
        {"return", kUser, {0xc3}},
        {"return with a prefix", kUser, {0xf3, 0xc3}},
        {"call in the page", kUser, {0xe8, 0x10, 0x00, 0x00, 0x00}},
        {"call elsewhere", kUser, {0xe8, 0x00, 0x00, 0x01, 0x00}},
        {"indirect call", kUser, {0xff, 0x10}},
        {"indirect jump", kUser, {0xff, 0xe0}},
        {"indirect jump with a prefix", kUser, {0xf2, 0xff, 0xe0}},
        {"addresses",
         kUser,
         {0x48, 0x8d, 0x44, 0xcb, 0x08, 0x8d, 0x34, 0x12, 0x4c, 0x8d, 0x48, 0x01, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0}},
        {"rotates, unseen", kUser, {0xc1, 0xc0, 0x07, 0xc1, 0xca, 0x0b, 0x31, 0xd0}},
        {"rotates, seen", kUser, {0xc1, 0xc0, 0x07, 0xd3, 0xc6}},
        {"shifts, seen", kUser, {0xc1, 0xe0, 0x04, 0x48, 0xd3, 0xee}},
        {"double shifts", kUser, {0x48, 0x0f, 0xa4, 0xd0, 0x09, 0x48, 0x0f, 0xad, 0xd6}},
        {"divisions", kUser, {0x99, 0xf7, 0xf9, 0x48, 0xf7, 0xf3}},
        {"high bytes", kUser, {0x80, 0xcc, 0x0c, 0xf6, 0xc5, 0x04, 0x88, 0x33}},
        {"bit string", kUser, {0x48, 0x0f, 0xa3, 0x17, 0x72, 0x02}},
        {"vectors", kUser, {0x66, 0x0f, 0x6f, 0x07, 0x66, 0x0f, 0xef, 0xc1, 0x66, 0x0f, 0x7f, 0x06}},
        {"kernel entry", kSupervisor, {0x0f, 0x01, 0xf8, 0x65, 0x48, 0x89, 0x24, 0x25, 0x14, 0x60, 0, 0, 0xfa}},
        {"interrupts on and off", kSupervisor, {0x9c, 0x58, 0xfa, 0x48, 0x01, 0xd8, 0xfb, 0x90}},
        {"access to user memory", kSupervisor, {0x0f, 0x01, 0xcb, 0x8b, 0x03, 0x0f, 0x01, 0xca}},
        {"time stamp", kUser, {0x0f, 0xae, 0xe8, 0x0f, 0x31}},
        {"pause", kSupervisor, {0xf3, 0x90}},
        {"fill", kSupervisor, {0xf3, 0x48, 0xab}},
        {"copy", kSupervisor, {0xf3, 0xa4}},
        {"exchange of a pair", kSupervisor, {0x48, 0x0f, 0xc7, 0x0e, 0x0f, 0x94, 0xc0}},
        {"x87", kUser, {0xdd, 0x07, 0xdc, 0x0e, 0xde, 0xc1, 0xdd, 0x1f, 0xdf, 0xe9}},
        {"control and segment registers", kSupervisor, {0x0f, 0x20, 0xd0, 0x41, 0x8c, 0xd9}},
        {"left to the handler", kSupervisor, {0x9f, 0x44, 0x0f, 0x20, 0xc0}},
    };
    return kSamples;
}

/// As in a Cpu: registers near, everything else so far away that it takes 32 bits.
Offsets offsets() {
    std::int32_t far = 0x1000;
    auto const next = [&far] { return far += 0x100; };
    Offsets o{};
    o.slots = 8, o.segment_bases = 0x98, o.remaining = 0xe8, o.rip = 0xf0, o.cpl = 0xf9;
    o.rflags = next(), o.gs_base = next(), o.kernel_gs_base = next(), o.xmm = next(), o.ymm_high = next();
    o.flags_a = next(), o.flags_b = o.flags_a + 8, o.flags_kind = o.flags_a + 16, o.flags_has_carry = o.flags_a + 17;
    o.flags_has_overflow = o.flags_a + 18, o.flags_has_zero = o.flags_a + 19, o.flags_base_carry = o.flags_a + 20;
    o.flags_carry = o.flags_a + 21, o.flags_overflow = o.flags_a + 22, o.flags_zero = o.flags_a + 23;
    o.page_address = next(), o.temporary = next(), o.temporary_flags = next(), o.call_target = next();
    o.xmm_loaded = next(), o.link = next();
    for (unsigned view = 0; view < 2; ++view)
        o.read_tlb[view] = next(), o.write_tlb[view] = next(), o.execute_tlb[view] = next(), o.jumps[view] = next();
    o.read_tlb[2] = next(), o.write_tlb[2] = next(), o.tlb = 0xe0;
    for (std::int32_t& set : o.tlb_sets) set = next();
    o.quota = next(), o.instructions_before_run = next(), o.clock_base = next(), o.clock_base_instructions = next();
    o.cr4 = next(), o.cr0 = o.cr4 - 24, o.cr2 = o.cr4 - 16, o.cr3 = o.cr4 - 8;
    for (std::int32_t& selector : o.selectors) selector = next();
    o.tsc_aux = next();
    o.yields = next(), o.has_machine_check = next();
    o.x87_loaded = next(), o.x87_instruction = next(), o.x87_data = next(), o.x87_opcode = next();
    return o;
}

struct Size {
    std::size_t instructions, bytes;
};
Size size_of(std::span<std::uint8_t const> code) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    Size size{0, code.size()};
    while (!code.empty()) {
        ZydisDecodedInstruction instruction;
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, code.data(), code.size(), &instruction)))
            return {0, 0};
        code = code.subspan(instruction.length);
        ++size.instructions;
    }
    return size;
}

std::string text_of(std::span<std::uint8_t const> code) {
    ZydisDisassembledInstruction shown;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0x100, code.data(), code.size(), &shown)))
        return "?";
    return shown.text;
}

/// A trace as the processor would decode it, at the start of a page.
std::unique_ptr<std::byte[]> decode_trace(std::vector<std::uint8_t> const& code) {
    constexpr std::size_t kMost = 16;
    auto storage = std::make_unique<std::byte[]>(sizeof(Trace) + kMost * sizeof(Op));
    auto* const trace = new (storage.get()) Trace{};
    trace->second_page = Trace::kNoPage;
    trace->mode = CodeMode::bits64;
    while (trace->bytes < code.size()) {
        EXPECT_NE(decode(std::span{code}.subspan(trace->bytes), CodeMode::bits64, trace->bytes, trace->count,
                         trace->ops[trace->count]),
                  DecodeStatus::needs_more_bytes);
        trace->bytes += trace->ops[trace->count++].length;
    }
    trace->ops[trace->count] = end_of_trace(trace->bytes, trace->count);
    return storage;
}

/// The code of one trace, with nothing behind it.
class Sampled final : public GuestCode {
  public:
    explicit Sampled(std::vector<std::uint8_t> const& code) : code_{code} {}
    std::vector<std::uint8_t> bytes_of(Trace const&) override { return code_; }
    Trace* warm_trace(std::uint64_t) override { return nullptr; }
    bool may_lead(std::uint64_t) override { return true; }

  private:
    std::vector<std::uint8_t> const& code_;
};

std::string sizes_of(Sample const& sample) {
    constexpr std::size_t kRoom = 16384;
    std::vector<std::uint8_t> arena(2 * kRoom);  // thunks are near, in front of the block
    auto const storage = decode_trace(sample.code);
    auto& trace = *reinterpret_cast<Trace*>(storage.get());
    Sampled code_of_sample{sample.code};
    Thunks thunks{};
    for (auto* const thunk : {&thunks.slow_read, &thunks.slow_write, &thunks.call_handler, &thunks.last_handler,
                              &thunks.materialize, &thunks.keep_carry, &thunks.load_xmm, &thunks.load_ymm, &thunks.load_x87, &thunks.reload_x87,
                              &thunks.exit_rip, &thunks.exit_dispatch, &thunks.exit_link, &thunks.exit_alone, &thunks.weigh_guess, &thunks.flags_image, &thunks.look_again[0], &thunks.look_again[1]})
        *thunk = arena.data();
    std::deque<Link> links;
    std::deque<HandlerSite> sites;
    std::deque<Guess> guesses;
    std::vector<std::uint64_t> calls(ZYDIS_MNEMONIC_MAX_VALUE + 1);
    BlockMarks marks{};
    Offsets const where = offsets();
    BlockMaker maker{where, arena.data(), arena.size()};
    BlockCode const made = maker.make({.trace = trace,
                                       .view = sample.view,
                                       .code = code_of_sample,
                                       .places = {&links, &links, &links, &links, true},
                                       .thunks = thunks,
                                       .links = links,
                                       .sites = sites,
                                       .guesses = guesses,
                                       .handler_calls = calls.data(),
                                       .marks = &marks},
                                      kRoom, kRoom);
    std::span<std::uint8_t const> const code{arena.data() + kRoom, made.bytes};
    std::string out = fmt::format("{}\n", sample.name);
    auto const line = [&](std::string const& what, std::size_t from, std::size_t to) {
        Size const size = size_of(code.subspan(from, to - from));
        out += fmt::format("  {:3} {:4}  {}\n", size.instructions, size.bytes, what);
    };
    line("(entry)", 0, marks.instructions.front());
    for (std::size_t i = 0; i < marks.instructions.size(); ++i) {
        std::size_t const to = i + 1 < marks.instructions.size() ? marks.instructions[i + 1] : marks.stubs;
        line(text_of(std::span{sample.code}.subspan(trace.ops[i].offset)), marks.instructions[i], to);
    }
    line("(out of line)", marks.stubs, made.bytes);
    return out;
}

TEST(Block, HostInstructionsAndBytesAreTheGoldenOnes) {
    std::string text =
        "Host instructions and bytes for each guest instruction; the last one's include the exits behind it.\n";
    for (Sample const& sample : samples()) text += '\n' + sizes_of(sample);
    if (std::getenv("BACKPLANE_UPDATE_GOLDEN") != nullptr) std::ofstream{BACKPLANE_GOLDEN_FILE} << text;
    std::ifstream file{BACKPLANE_GOLDEN_FILE};
    std::string const golden{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_EQ(text, golden) << "if this is on purpose: BACKPLANE_UPDATE_GOLDEN=1 jit_test";
}

}  // namespace
}  // namespace backplane::jit
