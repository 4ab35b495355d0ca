#include "debug/debug_server.h"

#include <utility>

namespace backplane {

Expected<void, Error> DebugServer::add(Machine& machine, std::string_view address, Start start) {
    StreamListener listener = BACKPLANE_TRY(StreamListener::create(address));
    ports_.push_back(std::make_unique<Port>(Port{std::move(listener), MachineTarget{machine}, {}, {}, {}, {}}));
    if (start == Start::held) machine.hold();
    return {};
}

bool DebugServer::holds_any() const {
    for (auto const& port : ports_) {
        if (port->session != nullptr && port->session->is_stopped()) return true;
        // Held without a session: nobody has connected yet. Held with one that runs: the stop is to be told yet.
        if (port->target.is_held() && port->target.life() == DebugTarget::Life::running) return true;
    }
    return false;
}

void DebugServer::wait(std::chrono::milliseconds at_most) const {
    std::vector<int> fds;
    for (auto const& port : ports_) fds.push_back(port->stream ? port->stream->fd() : port->listener.fd());
    wait_readable(fds, at_most);
}

std::vector<std::string> DebugServer::addresses() const {
    std::vector<std::string> lines;
    for (auto const& port : ports_) lines.push_back(port->target.name() + ": " + port->listener.address());
    return lines;
}

void DebugServer::serve() {
    for (auto const& port : ports_) {
        if (!port->stream) accept(*port);
        if (port->stream) take(*port);
    }
}

void DebugServer::accept(Port& port) {
    UniqueFd peer = port.listener.accept();
    if (!peer.is_open()) return;
    used_ = true;
    port.stream.emplace(std::move(peer));
    port.session = std::make_unique<Session>(port.target);
    port.reader = {};
    port.last_reply.clear();
}

void DebugServer::take(Port& port) {
    port.stream->flush();
    if (auto const stop = port.session->take_stop_reply()) reply(port, *stop);
    std::string const received = port.session->is_over() ? std::string{} : port.stream->receive();
    std::string_view bytes = received;
    while (!port.session->is_over()) {
        auto const found = port.reader.take(bytes);
        if (!found) break;
        answer(port, *found);
    }
    // A Ctrl-C takes effect at once: the machine does not run now.
    if (auto const stop = port.session->take_stop_reply()) reply(port, *stop);
    if (port.session->is_over() || port.stream->is_ended()) close(port);
}

void DebugServer::answer(Port& port, PacketReader::Found found) {
    bool const acknowledges = !port.session->is_without_acknowledgements();
    switch (found) {
        case PacketReader::Found::interrupt:
            return port.session->interrupt();
        case PacketReader::Found::again:
            return port.stream->send(port.last_reply);
        case PacketReader::Found::damaged:
            if (acknowledges) port.stream->send("-");
            return;
        case PacketReader::Found::packet:
            break;
    }
    if (acknowledges) port.stream->send("+");
    if (auto const payload = port.session->handle(port.reader.payload())) reply(port, *payload);
}

void DebugServer::reply(Port& port, std::string_view payload) {
    port.last_reply = framed(payload);
    port.stream->send(port.last_reply);
}

void DebugServer::close(Port& port) {
    port.session.reset();  // which lets the machine go
    port.stream.reset();
}

}  // namespace backplane
