#include "rack/timeline.h"

#include <fmt/format.h>

#include <iterator>
#include <optional>
#include <utility>

namespace backplane {
namespace {

// Process numbers; machines count from 1.
constexpr std::size_t kFirstLink = 1'000'000;
constexpr std::size_t kQueue = 2'000'000;

struct Track {
    std::size_t process;
    std::size_t thread;
};

/// Trace events count microseconds, with a fraction.
std::string microseconds_text(Ticks time) { return fmt::format("{}.{:03}", time.ns() / 1000, time.ns() % 1000); }

void name_process(std::string& out, std::size_t process, std::string_view name) {
    fmt::format_to(std::back_inserter(out), "{{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": {}, \"args\": {{\"name\": \"{}\"}}}},\n", process, name);
}
void name_thread(std::string& out, Track track, std::string_view name) {
    fmt::format_to(std::back_inserter(out), "{{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": {}, \"tid\": {}, \"args\": {{\"name\": \"{}\"}}}},\n",
                   track.process, track.thread, name);
}
/// `arguments` is the inside of a JSON object.
void slice(std::string& out, Track track, std::string_view name, Ticks begin, Ticks end, std::string_view arguments) {
    if (end <= begin) return;
    fmt::format_to(std::back_inserter(out), "{{\"name\": \"{}\", \"ph\": \"X\", \"pid\": {}, \"tid\": {}, \"ts\": {}, \"dur\": {}, \"args\": {{{}}}}},\n", name,
                   track.process, track.thread, microseconds_text(begin), microseconds_text(end - begin), arguments);
}
void instant(std::string& out, Track track, std::string_view name, std::string_view category, Ticks time, std::string_view arguments) {
    fmt::format_to(std::back_inserter(out), "{{\"name\": \"{}\", \"cat\": \"{}\", \"ph\": \"i\", \"s\": \"t\", \"pid\": {}, \"tid\": {}, \"ts\": {}, \"args\": {{{}}}}},\n",
                   name, category, track.process, track.thread, microseconds_text(time), arguments);
}

std::string_view fate_text(FrameFate fate) {
    switch (fate) {
        case FrameFate::sent: return "sent";
        case FrameFate::delayed: return "delayed";
        case FrameFate::lost: return "lost on purpose";
        case FrameFate::nobody: return "nobody has its destination";
        case FrameFate::spoofed: return "not its own source address";
        case FrameFate::isolated: return "another group";
    }
    return "unknown";
}

std::string_view kind_text(QueueArrival::Kind kind) {
    switch (kind) {
        case QueueArrival::Kind::none: return "none";
        case QueueArrival::Kind::in_line: return "in-line";
        case QueueArrival::Kind::donated: return "donated";
        case QueueArrival::Kind::lent: return "lent";
        case QueueArrival::Kind::shared: return "shared";
    }
    return "unknown";
}

}  // namespace

/// Collects while its machine runs, on whatever host thread that is.
class Timeline::MachineTracks final : public MachineObserver, public BusObserver {
  public:
    MachineTracks(Machine& machine, std::size_t process) : machine_{machine}, process_{process}, halted_since_(machine.cpu_count()) {
        name_process(events, process_, machine.name());
        for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu) {
            name_thread(events, track(cpu), fmt::format("cpu{}", cpu));
            if (cpu != 0) halted_since_[cpu] = Ticks{};
            machine.engine(cpu).cpu().set_interrupt_hook([this, cpu](std::uint8_t vector, Ticks now) {
                if (is_collecting) instant(events, track(cpu), fmt::format("interrupt {:#x}", vector), "interrupt", now, {});
            });
        }
        machine.add_observer(*this);
        machine.bus().add_observer(*this);
    }
    ~MachineTracks() override {
        machine_.bus().remove_observer(*this);
        machine_.remove_observer(*this);
        for (unsigned cpu = 0; cpu < machine_.cpu_count(); ++cpu) machine_.engine(cpu).cpu().set_interrupt_hook({});
    }

    void executed(unsigned cpu, Ticks begin, VirtualizationEvent const& event) override {
        if (!is_collecting) return;
        if (auto const since = std::exchange(halted_since_[cpu], std::nullopt)) slice(events, track(cpu), "halted", *since, begin, {});
        // One run of the engine behind the other is one slice.
        if (run_ && (run_->cpu != cpu || run_->end != begin)) close_run("turn");
        if (!run_) run_ = Run{cpu, begin, begin, 0};
        run_->end = machine_.now();
        run_->instructions += event.instructions;
        if (event.kind == VirtualizationEvent::Kind::quota_end || event.kind == VirtualizationEvent::Kind::device) return;
        close_run(kind_name(event.kind));
        if (event.kind == VirtualizationEvent::Kind::halt) halted_since_[cpu] = machine_.now();
    }
    void stolen(Ticks begin, Ticks end) override {
        if (!is_collecting) return;
        close_run("share used up");
        slice(events, track(machine_.current_cpu()), "stolen", begin, end, {});
    }
    void accessed(BusAccess const& access) override {
        if (!is_collecting) return;
        instant(events, track(machine_.current_cpu()), access.device, "exit", machine_.now(),
                fmt::format("\"{}\": \"{} {:#x}\", \"bytes\": {}, \"value\": \"{:#x}\"", access.direction == BusAccess::Direction::read ? "read" : "write",
                            access.space == BusAccess::Space::port ? "port" : "memory", access.address, bytes_in(access.width), access.value));
    }
    void finish() {
        close_run("end");
        for (unsigned cpu = 0; cpu < halted_since_.size(); ++cpu)
            if (halted_since_[cpu]) slice(events, track(cpu), "halted", *halted_since_[cpu], machine_.now(), {});
    }

    std::string events;
    bool is_collecting{true};

  private:
    struct Run {
        unsigned cpu;
        Ticks begin, end;
        std::uint64_t instructions;
    };
    [[nodiscard]] Track track(unsigned cpu) const { return {process_, cpu + 1U}; }
    void close_run(std::string_view why) {
        if (!run_) return;
        slice(events, track(run_->cpu), "run", run_->begin, run_->end, fmt::format("\"instructions\": {}, \"end\": \"{}\"", run_->instructions, why));
        run_.reset();
    }

    Machine& machine_;
    std::size_t process_;
    std::optional<Run> run_;
    std::vector<std::optional<Ticks>> halted_since_;  // by processor
};

class Timeline::LinkTracks final : public FrameRecorder {
  public:
    LinkTracks(std::string const& name, std::vector<std::string> ports, std::size_t process) : process_{process}, ports_{std::move(ports)} {
        name_process(events, process_, "link " + name);
        for (std::size_t i = 0; i < ports_.size(); ++i) name_thread(events, {process_, i + 1}, ports_[i]);
    }
    void record(FrameRecord const& record) override {
        if (!is_collecting) return;
        bool const is_one = record.to.kind == Destination::Kind::one || record.to.kind == Destination::Kind::outside;
        std::string_view const to = is_one ? std::string_view{ports_[record.to.port.value()]} : record.to.kind == Destination::Kind::group ? "all" : "nobody";
        instant(events, {process_, record.from.value() + 1U}, "frame", "frame", record.frame.sent,
                fmt::format("\"to\": \"{}\", \"bytes\": {}, \"fate\": \"{}\"", to, record.frame.bytes, fate_text(record.fate)));
    }
    std::string events;
    bool is_collecting{true};

  private:
    std::size_t process_;
    std::vector<std::string> ports_;
};

Expected<std::unique_ptr<Timeline>, Error> Timeline::create(std::filesystem::path const& path, std::uint64_t limit_bytes) {
    BoundedFile file = BACKPLANE_TRY(create_trace_event_file(path, limit_bytes));
    return std::unique_ptr<Timeline>{new Timeline{std::move(file)}};
}

Timeline::Timeline(BoundedFile file) : file_{std::move(file)} {}

Timeline::~Timeline() {
    for (auto const& machine : machines_) machine->finish();
    at_barrier();
}

void Timeline::add_machine(Machine& machine) { machines_.push_back(std::make_unique<MachineTracks>(machine, machines_.size() + 1)); }

FrameRecorder& Timeline::add_link(std::string const& name, std::vector<std::string> const& ports) {
    links_.push_back(std::make_unique<LinkTracks>(name, ports, kFirstLink + links_.size()));
    return *links_.back();
}

MessageRecorder& Timeline::add_queue(std::vector<std::string> const& machines) {
    queue_machines_ = machines;
    name_process(queue_events_, kQueue, "queue");
    for (std::size_t i = 0; i < machines.size(); ++i) name_thread(queue_events_, {kQueue, i + 1}, machines[i]);
    return *this;
}

void Timeline::record(QueueArrival const& arrival, Ticks landed) {
    if (file_.is_full()) return;
    instant(queue_events_, {kQueue, arrival.sender.value() + 1U}, kind_text(arrival.kind), "message", arrival.sent,
            fmt::format("\"to\": \"{}\", \"bytes\": {}, \"pages\": {}, \"landed_us\": {}", queue_machines_[arrival.receiver.value()], arrival.bytes,
                        arrival.pages.size(), microseconds_text(landed)));
}

void Timeline::write(std::string& events) {
    if (!events.empty()) file_.append(events);
    events.clear();
}

void Timeline::at_barrier() {
    for (auto const& machine : machines_) write(machine->events);
    for (auto const& link : links_) write(link->events);
    write(queue_events_);
    if (!file_.is_full()) return;
    for (auto const& machine : machines_) machine->is_collecting = false;
    for (auto const& link : links_) link->is_collecting = false;
}

}  // namespace backplane
