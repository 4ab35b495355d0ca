#include "host/trace_event_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace backplane {
namespace {

class TraceEventFileTest : public testing::Test {
  protected:
    [[nodiscard]] nlohmann::json written() const {
        std::ifstream stream{path_};
        return nlohmann::json::parse(stream, nullptr, false);
    }
    std::filesystem::path path_{std::filesystem::path{testing::TempDir()} / "trace_event_file_test.json"};
};

constexpr std::string_view kEvent = "{\"name\": \"x\", \"ph\": \"i\", \"ts\": 1.5},\n";

TEST_F(TraceEventFileTest, IsWholeJson) {
    {
        BoundedFile file = create_trace_event_file(path_, 1000).value();
        EXPECT_TRUE(file.append(kEvent));
        EXPECT_TRUE(file.append(kEvent));
    }
    nlohmann::json const json = written();
    ASSERT_FALSE(json.is_discarded());
    ASSERT_EQ(json["traceEvents"].size(), 3U) << "two, and the name of the whole";
    EXPECT_EQ(json["traceEvents"][1]["ts"], 1.5);
}

TEST_F(TraceEventFileTest, EmptyIsWholeToo) {
    static_cast<void>(create_trace_event_file(path_, 1000).value());
    EXPECT_FALSE(written().is_discarded());
}

TEST_F(TraceEventFileTest, EndsAtItsLimitAndSaysSo) {
    {
        BoundedFile file = create_trace_event_file(path_, 2 * kEvent.size()).value();
        EXPECT_TRUE(file.append(kEvent));
        EXPECT_TRUE(file.append(kEvent));
        EXPECT_FALSE(file.append(kEvent));
        EXPECT_FALSE(file.append("{},\n")) << "nothing more, even if it would fit";
        EXPECT_TRUE(file.is_full());
    }
    nlohmann::json const json = written();
    ASSERT_FALSE(json.is_discarded());
    EXPECT_EQ(json["traceEvents"].size(), 4U);
    EXPECT_EQ(json["traceEvents"][2]["name"], "the limit is reached, the rest is missing");
}

TEST_F(TraceEventFileTest, WhatCannotBeMadeIsAnErrorWithThePath) {
    auto const file = create_trace_event_file("/nonexistent/trace.json", 1000);
    ASSERT_FALSE(file.has_value());
    EXPECT_NE(file.error().message.find("/nonexistent/trace.json"), std::string::npos);
}

}  // namespace
}  // namespace backplane
