#include "jit/code_listener.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cpu/code_runner.h"
#include "jit/translator.h"

namespace backplane {
namespace {

/// Writes down what it is told.
class Notes final : public CodeListener {
  public:
    void made_thunk(Thunk const& thunk) override {
        EXPECT_FALSE(thunk.code.empty()) << thunk.name;
        ++thunks;
    }
    void made_block(NewBlock const& block) override {
        ASSERT_EQ(block.traces.size(), 1u);
        EXPECT_EQ(block.host.data(), block.traces[0]->code);
        EXPECT_EQ(block.marks.instructions.size(), block.traces[0]->count);
        EXPECT_GT(block.marks.stubs, block.marks.instructions.back());
        EXPECT_LE(block.marks.stubs, block.host.size());
        lines.push_back("made " + std::to_string(block.linear - CodeRunner::kCode) + ' ' +
                        std::to_string(block.guest.size()));
        last = block.host.data();
    }
    void forgot_block(std::uint8_t const* host, std::uint64_t physical, HostCode forward) override {
        EXPECT_EQ(host, last);
        EXPECT_EQ(forward.empty() ? 0 : 1, 1);
        lines.push_back("forgot " + std::to_string(physical - CodeRunner::kCode));
    }
    void flushed() override { lines.emplace_back("flushed"); }

    unsigned thunks{0};
    std::vector<std::string> lines;
    std::uint8_t const* last{nullptr};
};

TEST(CodeListener, HearsOfEachBlockUntilItIsGone) {
    auto const machine = CodeRunner::create();
    auto const translator = Translator::create(machine->cpu()).value();
    machine->cpu().set_hot_uses(1);
    Notes notes, same;
    translator->add_listener(notes);
    translator->add_listener(same);
    EXPECT_GT(notes.thunks, 5u);
    // add eax, ecx; ud2
    machine->put_code(CodeRunner::ready(), {0x01, 0xc8});
    static_cast<void>(machine->cpu().run(10));
    machine->put(CodeRunner::kCode + 1, std::uint8_t{0xd0});  // as a device would: add eax, edx
    CpuState state = CodeRunner::ready();
    state.rip = CodeRunner::kCode;
    machine->cpu().set_state(state);
    static_cast<void>(machine->cpu().run(10));
    machine->put_code(CodeRunner::ready(), {0x90});
    EXPECT_EQ(notes.lines,
              (std::vector<std::string>{"flushed", "made 0 4", "forgot 0", "made 0 4", "forgot 0", "flushed"}));
    EXPECT_EQ(same.lines, notes.lines);
    EXPECT_EQ(translator->counters().blocks, 2u);
}

}  // namespace
}  // namespace backplane
