#include "debug/session.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>

#include "debug/fake_debug_target.h"
#include "debug/packet.h"
#include "debug/registers.h"

namespace backplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char const* kNoReply = "<none>";

class SessionTest : public ::testing::Test {
  protected:
    std::string ask(std::string_view packet) { return session_->handle(packet).value_or(kNoReply); }
    std::string stop() { return session_->take_stop_reply().value_or(kNoReply); }
    std::string ask_monitor(std::string_view line) {
        return bytes_from_hex(ask(fmt::format("qRcmd,{}", hex_of(line)))).value_or("?");
    }

    FakeDebugTarget target_;
    std::unique_ptr<Session> session_ = std::make_unique<Session>(target_);
};

TEST_F(SessionTest, HoldsTheMachineAndSaysSo) {
    EXPECT_TRUE(target_.held);
    EXPECT_TRUE(session_->is_stopped());
    EXPECT_EQ(ask("?"), "T02thread:1;");
    EXPECT_THAT(ask("qSupported:swbreak+;hwbreak+"), HasSubstr("qXfer:features:read+"));
    EXPECT_EQ(ask("qAttached"), "1");
    EXPECT_EQ(stop(), kNoReply);
}

TEST_F(SessionTest, ThreadsAreProcessors) {
    EXPECT_EQ(ask("qfThreadInfo"), "m1,2");
    EXPECT_EQ(ask("qsThreadInfo"), "l");
    EXPECT_EQ(ask("qC"), "QC1");
    EXPECT_EQ(ask("T2"), "OK");
    target_.cpus[1].gpr[rax] = 0x1234;
    EXPECT_EQ(ask("Hg2"), "OK");
    EXPECT_EQ(ask("p0"), "3412000000000000");
    EXPECT_EQ(ask("Hg0"), "OK") << "any thread: the last one stays";
    EXPECT_EQ(ask("qC"), "QC2");
    EXPECT_EQ(bytes_from_hex(ask("qThreadExtraInfo,2")), "fake CPU 1");
    for (char const* const wrong : {"T0", "T3", "Hg3", "H", "Hgx", "qThreadExtraInfo,9"})
        EXPECT_EQ(ask(wrong)[0], 'E') << wrong;
}

TEST_F(SessionTest, RegistersOneByOneAndAll) {
    EXPECT_EQ(ask("P0=8877665544332211"), "OK");
    EXPECT_EQ(target_.cpus[0].gpr[rax], 0x1122334455667788U);
    std::string all = ask("g");
    EXPECT_TRUE(all.starts_with("8877665544332211"));
    all.replace(16, 16, "0100000000000000");  // rbx
    EXPECT_EQ(ask(fmt::format("G{}", all)), "OK");
    EXPECT_EQ(target_.cpus[0].gpr[rbx], 1U);
    EXPECT_EQ(ask(fmt::format("G{}", all.substr(2))), "E01");
    EXPECT_EQ(ask(fmt::format("G{}00", all)), "E01");
    for (char const* const wrong : {"p", "pffff", "pz", "P0", "P0=", "P0=12", "P0=zz77665544332211", "Pfff=00", "P"})
        EXPECT_EQ(ask(wrong)[0], 'E') << wrong;
    EXPECT_EQ(target_.cpus[0].gpr[rax], 0x1122334455667788U) << "what was refused has changed nothing";
}

TEST_F(SessionTest, Memory) {
    EXPECT_EQ(ask("M1002,3:0a0b0c"), "OK");
    EXPECT_EQ(ask("m1001,5"), "000a0b0c00");
    EXPECT_EQ(ask("X1000,2:}\x03"
                  "z"),
              "OK");
    EXPECT_EQ(ask("m1000,2"), "237a");
    EXPECT_EQ(ask("X1000,0:"), "OK") << "gdb asks so whether X is known";
    EXPECT_EQ(ask("m10fff,8").size(), 2U) << "up to the last byte that can be read";
    EXPECT_EQ(ask("m0,1"), "E0e");
    EXPECT_EQ(ask("M0,1:00"), "E0e");
    EXPECT_LE(ask("m1000,ffff").size(), kMaxPacketBytes);
    for (char const* const wrong :
         {"m", "m1000", "m1000,", "m,1", "mx,1", "M1000,2:00", "M1000,1:0", "M1000,1", "X1000,2:a", "m1,2,3"})
        EXPECT_EQ(ask(wrong), "E16") << wrong;
}

TEST_F(SessionTest, NoBytesOfMemoryAreNoBytes) { EXPECT_EQ(ask("m1000,0"), ""); }

TEST_F(SessionTest, PhysicalMemory) {
    target_.memory[0] = std::byte{0x5a};
    EXPECT_EQ(ask("qqemu.PhyMemMode"), "0");
    EXPECT_EQ(ask("m0,1"), "E0e");
    EXPECT_EQ(ask("Qqemu.PhyMemMode:1"), "OK");
    EXPECT_EQ(ask("m0,1"), "5a");
    EXPECT_EQ(ask("M1,1:77"), "OK");
    EXPECT_EQ(ask("Qqemu.PhyMemMode:0"), "OK");
    EXPECT_EQ(ask("m1001,1"), "77");
}

TEST_F(SessionTest, ContinuesAndTellsWhenItStops) {
    ask("qSupported:swbreak+");
    EXPECT_EQ(ask("Z0,1234,1"), "OK");
    EXPECT_EQ(ask("Z1,5678,1"), "OK");
    EXPECT_EQ(ask("vCont;c"), kNoReply);
    EXPECT_EQ(target_.calls, "run ");
    EXPECT_THAT(target_.points.breakpoints, ElementsAre(0x1234, 0x5678));
    EXPECT_EQ(stop(), kNoReply) << "it runs";
    EXPECT_EQ(ask("g"), kNoReply) << "and answers nothing meanwhile";
    target_.stop_with({DebugStop::Cause::breakpoint, 0x1234, {}});
    EXPECT_EQ(stop(), "T05thread:1;swbreak:;");
    EXPECT_EQ(stop(), kNoReply) << "once";
    ask("c");
    target_.stop_with({DebugStop::Cause::breakpoint, 0x5678, {}});
    EXPECT_EQ(stop(), "T05thread:1;hwbreak:;");
}

TEST_F(SessionTest, StepsOneProcessorWithoutInterrupts) {
    EXPECT_EQ(ask("vCont;s:2;c"), kNoReply);
    EXPECT_EQ(target_.calls, "step1 ");
    EXPECT_TRUE(target_.points.hold_interrupts);
    target_.stop_with({DebugStop::Cause::step, 0, {}});
    EXPECT_EQ(stop(), "T05thread:2;");
    EXPECT_EQ(ask_monitor("step-interrupts on"), "step-interrupts on\n");
    ask("s");
    EXPECT_FALSE(target_.points.hold_interrupts);
}

TEST_F(SessionTest, ResumesElsewhere) {
    EXPECT_EQ(ask("c1234"), kNoReply);
    EXPECT_EQ(target_.cpus[0].rip, 0x1234U);
    target_.stop_with({});
    EXPECT_EQ(stop(), "T02thread:1;");
    EXPECT_EQ(ask("C05;20"), kNoReply);
    EXPECT_EQ(target_.cpus[0].rip, 0x20U);
    target_.stop_with({});
    stop();
    EXPECT_EQ(ask("cx"), "E16");
    EXPECT_EQ(ask("vCont;q"), "E16");
    EXPECT_EQ(ask("vCont;s:9"), "E16");
    EXPECT_TRUE(session_->is_stopped());
}

TEST_F(SessionTest, WatchpointsOfThreeKinds) {
    for (auto const& [type, word, kind] :
         {std::tuple{'2', "watch", Watchpoint::Kind::write}, std::tuple{'3', "rwatch", Watchpoint::Kind::read},
          std::tuple{'4', "awatch", Watchpoint::Kind::access}}) {
        std::string const point = fmt::format("{},2000,8", type);
        EXPECT_EQ(ask(fmt::format("Z{}", point)), "OK");
        ask("c");
        EXPECT_THAT(target_.points.watchpoints, ElementsAre(Watchpoint{0x2000, 8, kind}));
        target_.stop_with({DebugStop::Cause::watchpoint, 0x2000, kind});
        EXPECT_EQ(stop(), fmt::format("T05thread:1;{}:2000;", word));
        EXPECT_EQ(ask(fmt::format("z{}", point)), "OK");
    }
}

TEST_F(SessionTest, PointsAreBounded) {
    for (unsigned i = 0; i < Session::kMaxBreakpoints; ++i) ASSERT_EQ(ask(fmt::format("Z0,{},1", i)), "OK");
    EXPECT_EQ(ask("Z0,abcdef,1"), "E1c");
    EXPECT_EQ(ask("Z0,1,1"), "OK") << "one that is there";
    for (unsigned i = 0; i < Session::kMaxWatchpoints; ++i) ASSERT_EQ(ask(fmt::format("Z2,{},1", i)), "OK");
    EXPECT_EQ(ask("Z3,1,1"), "E1c");
    for (char const* const wrong :
         {"Z2,1,0", "Z2,1,100000000", "Z", "Z0", "Z0,", "Z0,1", "Z0,x,1", "Z22,1,1", "Z0,1,1;X1,0"})
        EXPECT_EQ(ask(wrong)[0], 'E') << wrong;
    EXPECT_EQ(ask("Z9,1,1"), "") << "not supported";
}

TEST_F(SessionTest, CtrlCStopsAtOnce) {
    ask("c");
    session_->interrupt();
    EXPECT_EQ(stop(), "T02thread:1;");
    ask("c");
    EXPECT_EQ(ask("vCtrlC"), "OK");
    EXPECT_EQ(stop(), "T02thread:1;");
    session_->interrupt();
    EXPECT_EQ(stop(), kNoReply) << "it was stopped";
}

TEST_F(SessionTest, TheEndOfTheMachine) {
    ask("c");
    target_.alive = DebugTarget::Life::powered_off;
    EXPECT_EQ(stop(), "W00");
    EXPECT_TRUE(session_->is_over());
}

TEST_F(SessionTest, ACrashIsShownBeforeItIsOver) {
    ask("c");
    target_.alive = DebugTarget::Life::crashed;
    EXPECT_EQ(stop(), "T06thread:1;");
    EXPECT_FALSE(session_->is_over());
    EXPECT_EQ(ask("m1000,1"), "00");
    ask("c");
    EXPECT_EQ(stop(), "X06");
    EXPECT_TRUE(session_->is_over());
}

TEST_F(SessionTest, DetachAndADroppedConnectionLetTheMachineGo) {
    ask("Z0,1,1");
    ask("c");
    target_.stop_with({});
    stop();
    EXPECT_EQ(ask("D"), "OK");
    EXPECT_TRUE(session_->is_over());
    session_.reset();
    EXPECT_FALSE(target_.held);
    EXPECT_TRUE(target_.points.is_empty());
}

TEST_F(SessionTest, Kill) {
    EXPECT_EQ(ask("vKill;1"), "OK");
    EXPECT_TRUE(session_->is_over());
    EXPECT_EQ(target_.calls, "kill ");
}

TEST_F(SessionTest, AnEngineThatCannotStopIsNotLetGo) {
    target_.can_stop = false;
    EXPECT_EQ(ask("c"), "E01");
    EXPECT_TRUE(session_->is_stopped());
    EXPECT_THAT(target_.calls, IsEmpty());
}

TEST_F(SessionTest, TheDescriptionComesInPieces) {
    std::string whole;
    for (bool more = true; more;) {
        std::string const piece = ask(fmt::format("qXfer:features:read:target.xml:{:x},100", whole.size()));
        ASSERT_FALSE(piece.empty());
        ASSERT_TRUE(piece[0] == 'm' || piece[0] == 'l') << piece;
        more = piece[0] == 'm';
        whole += unescaped(std::string_view{piece}.substr(1));
    }
    EXPECT_EQ(whole, target_description());
    EXPECT_EQ(ask("qXfer:features:read:other.xml:0,100"), "E00");
    EXPECT_EQ(ask("qXfer:features:read:target.xml:fffffff,100"), "E16");
    EXPECT_EQ(ask("qXfer:features:read:target.xml:"), "E16");
}

TEST_F(SessionTest, WhatIsNotKnownIsAnsweredEmpty) {
    for (char const* const packet :
         {"", "!", "R00", "qTStatus", "vMustReplyEmpty", "QNonStop:1", "vFile:open", "j", "_"})
        EXPECT_EQ(ask(packet), "") << packet;
    EXPECT_EQ(ask("QStartNoAckMode"), "OK");
    EXPECT_TRUE(session_->is_without_acknowledgements());
}

TEST_F(SessionTest, MonitorCommands) {
    EXPECT_THAT(ask_monitor("help"), HasSubstr("info registers"));
    target_.cpus[0].gpr[r9] = 0xabcdef;
    EXPECT_THAT(ask_monitor("info registers"), HasSubstr("r9   0000000000abcdef"));
    EXPECT_EQ(ask_monitor("info time"), "fake: 5 ns of virtual time, 7 instructions\n");
    target_.memory[1] = std::byte{0x11};
    EXPECT_EQ(ask_monitor("xp/2h 0"), "0000000000000000: 0x1100 0x0000\n");
    EXPECT_EQ(ask_monitor("xp/1xg 0x0"), "0000000000000000: 0x0000000000001100\n");
    EXPECT_EQ(ask_monitor("xp 0xfffffffff"), "0000000fffffffff: no RAM\n");
    EXPECT_EQ(ask_monitor("mce 0x10 5"), "machine check 0x10 when processor 0 goes on\n");
    EXPECT_THAT(target_.calls, HasSubstr("mce0:16:5 "));
    EXPECT_THAT(ask_monitor("mce 1 2 3"), HasSubstr("expected mce"));
    EXPECT_EQ(ask_monitor("gva2gpa 0x1004"), "gpa: 0x4\n");
    EXPECT_EQ(ask_monitor("gva2gpa 4"), "not mapped\n");
    EXPECT_EQ(ask_monitor("phys on"), "phys on\n");
    EXPECT_EQ(ask("m1,1"), "11");
    for (char const* const wrong :
         {"xp", "xp/", "xp/0b 0", "xp/257b 0", "xp/2z 0", "xp/x 0 0", "gva2gpa", "phys maybe", "info", "reset"})
        EXPECT_THAT(ask_monitor(wrong), testing::AnyOf(HasSubstr("expected"), HasSubstr("unknown"))) << wrong;
    EXPECT_EQ(ask("qRcmd,0"), "E16");
    EXPECT_LE(ask(fmt::format("qRcmd,{}", hex_of("xp/256g 0"))).size(), kMaxPacketBytes);
}

}  // namespace
}  // namespace backplane
