#include "rack/control_server.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "rack/nearest_word.h"
#include "rack/printable.h"

namespace backplane {

namespace {

using Json = nlohmann::ordered_json;

constexpr auto kCommands = std::to_array<std::string_view>(
    {"pause", "resume", "step", "stop", "power-button", "stats", "console", "cut", "heal"});
constexpr std::uint64_t kMostQuanta = 1'000'000'000;

bool needs_argument(std::string_view command) {
    return command != "pause" && command != "resume" && command != "step" && command != "stats";
}

}  // namespace

Expected<ControlRequest, Error> parse_control_request(std::string_view line) {
    Json const json = Json::parse(line, nullptr, false);
    if (!json.is_object()) return Unexpected{bad_input("no JSON object; expected {\"command\": ...}")};
    auto const text = [&](char const* key) {
        auto const found = json.find(key);
        return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
    };
    ControlRequest request{text("command"), text("argument")};
    if (std::find(kCommands.begin(), kCommands.end(), request.command) == kCommands.end())
        return Unexpected{bad_input("command " + in_quotes(request.command) + "; expected one of " + comma_list(kCommands) +
                                    did_you_mean(request.command, kCommands))};
    if (needs_argument(request.command) && request.argument.empty())
        return Unexpected{bad_input(request.command + ": no argument; expected the name of a " +
                                    (request.command == "cut" || request.command == "heal" ? "link" : "machine"))};
    if (request.command != "step") return request;
    auto const quanta = json.find("quanta");
    bool const valid = quanta != json.end() && quanta->is_number_unsigned() && *quanta >= 1U && *quanta <= kMostQuanta;
    if (!valid) return Unexpected{bad_input("step: expected a number of quanta, 1 to " + std::to_string(kMostQuanta))};
    request.quanta = quanta->get<std::uint64_t>();
    return request;
}

Expected<std::unique_ptr<ControlServer>, Error> ControlServer::create(std::string_view path) {
    StreamListener listener = BACKPLANE_TRY(StreamListener::create_replacing(path));
    return std::unique_ptr<ControlServer>{new ControlServer{std::move(listener)}};
}

void ControlServer::serve(ControlTarget& target) {
    auto const now = std::chrono::steady_clock::now();
    if (now < next_look_ && !target.is_paused()) return;
    next_look_ = now + kInterval;
    accept();
    for (auto const& client : clients_) {
        if (client->waits_for_pause && target.is_paused()) {
            client->waits_for_pause = false;
            reply(*client, target.carry_out({"stats", {}}));
        }
        take(*client, target);
    }
    std::erase_if(clients_, [](auto const& client) {
        return client->stream.is_ended() || (client->is_closing && !client->stream.has_unsent());
    });
}

void ControlServer::accept() {
    for (UniqueFd peer = listener_.accept(); peer.is_open(); peer = listener_.accept())
        if (clients_.size() < kMostClients) clients_.push_back(std::make_unique<Client>(std::move(peer)));
}

void ControlServer::take(Client& client, ControlTarget& target) {
    client.stream.flush();
    // One that has much to say is heard in pieces, so that it cannot keep the rack.
    if (client.received.size() < kLongestLine) client.received += client.stream.receive();
    while (!client.console && !client.is_closing && !client.waits_for_pause) {
        std::size_t const end = client.received.find('\n');
        if (end == std::string::npos) break;
        std::string const line = client.received.substr(0, end);
        client.received.erase(0, end + 1);
        answer(client, target, line);
    }
    if (client.console && !client.received.empty()) {
        std::size_t const taken = target.type(*client.console, std::as_bytes(std::span{client.received}));
        client.received.erase(0, taken);
    } else if (!client.console && client.received.size() >= kLongestLine && client.received.find('\n') == std::string::npos) {
        reply(client, {.error = "a line of more than " + std::to_string(kLongestLine) + " bytes"});
        client.is_closing = true;
    }
}

void ControlServer::answer(Client& client, ControlTarget& target, std::string_view line) {
    auto const request = parse_control_request(line);
    if (!request) return reply(client, {.error = request.error().message});
    ControlTarget::Answer const answer = target.carry_out(*request);
    client.waits_for_pause = answer.comes_when_paused;
    if (!client.waits_for_pause) reply(client, answer);
    client.console = answer.console;
}

void ControlServer::reply(Client& client, ControlTarget::Answer const& answer) {
    Json json{{"ok", !answer.error}};
    if (answer.error)
        json["error"] = *answer.error;
    else
        json["result"] = Json::parse(answer.result, nullptr, false);
    client.stream.send(json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
}

void ControlServer::wait(std::chrono::milliseconds at_most) const {
    std::vector<int> fds{listener_.fd()};
    for (auto const& client : clients_) fds.push_back(client->stream.fd());
    wait_readable(fds, at_most);
}

void ControlServer::show(std::size_t machine, ConstByteSpan bytes) {
    std::string_view const text{reinterpret_cast<char const*>(bytes.data()), bytes.size()};
    for (auto const& client : clients_)
        if (client->console == machine) client->stream.send(text);
}

bool ControlServer::has_console() const {
    return std::any_of(clients_.begin(), clients_.end(), [](auto const& client) { return client->console.has_value(); });
}

}  // namespace backplane
