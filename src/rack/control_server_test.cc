#include "rack/control_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

namespace backplane {
namespace {

TEST(ControlRequest, EveryProblemIsNamed) {
    struct Case {
        char const* line;
        char const* message;
    };
    for (Case const& c : {Case{"", "no JSON object; expected {\"command\": ...}"}, Case{"[1]", "no JSON object; expected {\"command\": ...}"},
                          Case{"{\"command\": 7}", "command \"\"; expected one of pause, resume, step, stop, power-button, stats, console, cut, heal"},
                          Case{"{\"command\": \"stopp\"}",
                               "command \"stopp\"; expected one of pause, resume, step, stop, power-button, stats, console, cut, heal; did you mean "
                               "\"stop\"?"},
                          Case{"{\"command\": \"stop\"}", "stop: no argument; expected the name of a machine"},
                          Case{"{\"command\": \"cut\"}", "cut: no argument; expected the name of a link"},
                          Case{"{\"command\": \"step\", \"quanta\": -1}", "step: expected a number of quanta, 1 to 1000000000"}}) {
        auto const request = parse_control_request(c.line);
        ASSERT_FALSE(request) << c.line;
        EXPECT_EQ(request.error().message, c.message);
    }
    auto const step = parse_control_request("{\"command\": \"step\", \"quanta\": 3}");
    ASSERT_TRUE(step);
    EXPECT_EQ(step->quanta, 3U);
}

class FakeRack final : public ControlTarget {
  public:
    Answer carry_out(ControlRequest const& request) override {
        asked.push_back(request.command + ' ' + request.argument);
        if (request.command == "step") return {.comes_when_paused = true};
        if (request.command == "stop") return {.error = "no such machine"};
        if (request.command == "console") return {.console = 1};
        return {.result = "{\"frames\":2}"};
    }
    bool is_paused() const override { return paused; }
    std::size_t type(std::size_t machine, ConstByteSpan bytes) override {
        typed.append(std::to_string(machine)).append(reinterpret_cast<char const*>(bytes.data()), std::min<std::size_t>(bytes.size(), 2));
        return std::min<std::size_t>(bytes.size(), 2);
    }
    std::vector<std::string> asked;
    std::string typed;
    bool paused{true};  // so that every serve() looks
};

class ControlServerTest : public ::testing::Test {
  protected:
    ControlServerTest()
        : path_{(std::filesystem::path{::testing::TempDir()} / ("control-" + std::to_string(::getpid()))).string()},
          server_{std::move(*ControlServer::create(path_))},
          client_{std::move(*connect_stream(path_))} {}
    std::string ask(std::string_view text) {
        client_.send(text);
        server_->serve(rack_);
        return client_.receive();
    }
    std::string path_;
    std::unique_ptr<ControlServer> server_;
    Stream client_;
    FakeRack rack_;
};

TEST_F(ControlServerTest, AnswersLineByLine) {
    EXPECT_EQ(ask("{\"command\":\"stats\"}\n{\"comm"), "{\"ok\":true,\"result\":{\"frames\":2}}\n");
    EXPECT_EQ(ask("and\":\"stop\",\"argument\":\"x\"}\n"), "{\"ok\":false,\"error\":\"no such machine\"}\n");
    EXPECT_EQ(rack_.asked, (std::vector<std::string>{"stats ", "stop x"}));
}

TEST_F(ControlServerTest, AStepIsAnsweredWhenTheRackHasStoppedAgain) {
    rack_.paused = false;
    EXPECT_EQ(ask("{\"command\":\"step\",\"quanta\":5}\n"), "");
    EXPECT_EQ(rack_.asked.size(), 1U);
    rack_.paused = true;
    EXPECT_EQ(ask(""), "{\"ok\":true,\"result\":{\"frames\":2}}\n");
}

TEST_F(ControlServerTest, AConsoleCarriesBytes) {
    EXPECT_EQ(ask("{\"command\":\"console\",\"argument\":\"b\"}\n"), "{\"ok\":true,\"result\":{}}\n");
    EXPECT_TRUE(server_->has_console());
    server_->show(0, std::as_bytes(std::span{"other", 5}));
    server_->show(1, std::as_bytes(std::span{"login:", 6}));
    EXPECT_EQ(client_.receive(), "login:");
    (void)ask("abc");
    (void)ask("");
    EXPECT_EQ(rack_.typed, "1ab1c");  // what was not taken is offered again
}

TEST_F(ControlServerTest, ALineWithoutEndIsTheClientsLast) {
    std::string all = ask(std::string(5000, 'x'));
    all += ask("");
    EXPECT_EQ(all, "{\"ok\":false,\"error\":\"a line of more than 4096 bytes\"}\n");
    server_->serve(rack_);
    (void)client_.receive();
    EXPECT_TRUE(client_.is_ended());
}

TEST_F(ControlServerTest, ASocketInUseIsKeptAndADeadOneReplaced) {
    EXPECT_FALSE(ControlServer::create(path_)) << "somebody answers there";
    std::string const dead = path_ + ".dead";
    UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM, 0)};
    {
        auto listener = StreamListener::create(dead);
        ASSERT_TRUE(listener);
        std::filesystem::create_hard_link(dead, dead + ".kept");  // as after SIGKILL: the file without its listener
    }
    std::filesystem::rename(dead + ".kept", dead);
    EXPECT_TRUE(ControlServer::create(dead));
}

}  // namespace
}  // namespace backplane
