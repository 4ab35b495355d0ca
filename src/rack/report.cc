#include "rack/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>

#include "rack/printable.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

using Json = nlohmann::ordered_json;

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

/// `part / whole`, 0 when there is no whole.
double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Six digits after the point: enough for a ratio, and the same text on every host.
double rounded(double ratio) { return static_cast<double>(static_cast<std::uint64_t>(ratio * 1e6 + 0.5)) / 1e6; }

double copies_per_frame(LinkSummary const& link) { return share(link.copies, link.deliveries); }

// --- for people ---------------------------------------------------------------------------------------------------

enum class Align : std::uint8_t { left, right };

/// Rows of cells, each column as wide as its widest cell, two blanks between columns.
class Table {
  public:
    struct Column {
        std::string_view title;
        Align align;
    };
    explicit Table(std::vector<Column> columns) : columns_{std::move(columns)} {}

    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

    [[nodiscard]] std::string text() const {
        std::vector<std::string> titles;
        for (Column const& column : columns_) titles.emplace_back(column.title);
        std::string out = line(titles);
        for (auto const& row : rows_) out += line(row);
        return out;
    }

    /// Below other text; nothing without rows.
    [[nodiscard]] std::string text_below() const { return rows_.empty() ? std::string{} : fmt::format("\n{}", text()); }

  private:
    [[nodiscard]] std::size_t width(std::size_t column) const {
        std::size_t widest = columns_[column].title.size();
        for (auto const& row : rows_) widest = std::max(widest, row[column].size());
        return widest;
    }
    [[nodiscard]] std::string line(std::vector<std::string> const& cells) const {
        std::string out;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            bool const is_left = columns_[i].align == Align::left;
            out += is_left ? fmt::format("{:<{}}  ", cells[i], width(i)) : fmt::format("{:>{}}  ", cells[i], width(i));
        }
        out.erase(out.find_last_not_of(' ') + 1);
        return out + '\n';
    }

    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

std::string state_cell(MachineReport const& machine) {
    std::string const state{machine_state_text(machine.state)};
    if (machine.exit_status) return fmt::format("{}, exit status {}", state, *machine.exit_status);
    if (machine.state != MachineState::crashed) return state;
    return fmt::format("{}: {} at rip {:#x}", state, printable(machine.cause), machine.rip);
}

std::string machine_table(RackReport const& report) {
    Table table{{{"machine", Align::left},
                 {"instructions", Align::right},
                 {"virtual s", Align::right},
                 {"idle %", Align::right},
                 {"stolen %", Align::right},
                 {"unclaimed", Align::right},
                 {"state", Align::left}}};
    for (MachineReport const& machine : report.machines) {
        table.add({machine.name, fmt::to_string(machine.instructions),
                   fmt::format("{:.6f}", seconds(machine.virtual_time.ns())),
                   fmt::format("{:.2f}", 100 * share(machine.idle_time.ns(), machine.virtual_time.ns())),
                   fmt::format("{:.2f}", 100 * share(machine.stolen_time.ns(), machine.virtual_time.ns())),
                   fmt::to_string(machine.unclaimed_accesses), state_cell(machine)});
    }
    return table.text();
}

/// Of the machines with several.
std::string cpu_table(RackReport const& report) {
    Table table{{{"processor", Align::left}, {"instructions", Align::right}, {"interrupts", Align::right}, {"exceptions", Align::right}}};
    for (MachineReport const& machine : report.machines) {
        if (machine.cpus.size() < 2) continue;
        for (std::size_t i = 0; i < machine.cpus.size(); ++i) {
            CpuReport const& cpu = machine.cpus[i];
            table.add({fmt::format("{}.cpu{}", machine.name, i), fmt::to_string(cpu.instructions), fmt::to_string(cpu.interrupts),
                       fmt::to_string(cpu.exceptions)});
        }
    }
    return table.text_below();
}

std::string nic_table(RackReport const& report) {
    Table table{{{"nic", Align::left},
                 {"mac", Align::left},
                 {"link", Align::left},
                 {"tail moves", Align::right},
                 {"head moves", Align::right},
                 {"rx interrupts", Align::right},
                 {"tx-complete interrupts", Align::right},
                 {"sent", Align::right},
                 {"received", Align::right}}};
    for (MachineReport const& machine : report.machines) {
        for (NicReport const& nic : machine.nics) {
            table.add({machine.name + '.' + nic.name, mac_text(nic.mac), nic.link,
                       fmt::to_string(nic.counters.tail_moves), fmt::to_string(nic.counters.head_moves),
                       fmt::to_string(nic.counters.receive_interrupts),
                       fmt::to_string(nic.counters.transmit_complete_interrupts), fmt::to_string(nic.sent_frames),
                       fmt::to_string(nic.received_frames)});
        }
    }
    return table.text_below();
}

std::string disk_table(RackReport const& report) {
    Table table{{{"disk", Align::left},
                 {"size", Align::right},
                 {"reads", Align::right},
                 {"bytes read", Align::right},
                 {"writes", Align::right},
                 {"bytes written", Align::right},
                 {"flushes", Align::right},
                 {"failures", Align::right},
                 {"image", Align::left}}};
    for (MachineReport const& machine : report.machines) {
        for (DiskReport const& disk : machine.disks) {
            table.add({machine.name + '.' + disk.name, fmt::to_string(disk.bytes), fmt::to_string(disk.reads),
                       fmt::to_string(disk.read_bytes), fmt::to_string(disk.writes), fmt::to_string(disk.written_bytes),
                       fmt::to_string(disk.flushes), fmt::to_string(disk.failures), printable(disk.image)});
        }
    }
    return table.text_below();
}

/// "unknown destination 3, no buffer 1"; what is zero is left out.
std::string counts_text(std::vector<std::pair<std::string, std::uint64_t>> const& counts) {
    std::string text;
    for (auto const& [name, count] : counts) {
        if (count != 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", printable(name), count);
    }
    return text;
}

std::string link_table(RackReport const& report) {
    Table table{{{"link", Align::left},
                 {"completion", Align::left},
                 {"frames", Align::right},
                 {"bytes", Align::right},
                 {"deliveries", Align::right},
                 {"copies/frame", Align::right},
                 {"whole", Align::right},
                 {"cut", Align::right},
                 {"peak stored bytes", Align::right},
                 {"waits", Align::right},
                 {"drops", Align::left}}};
    for (LinkSummary const& link : report.links) {
        std::string const drops = counts_text(link.drops);
        table.add({link.name, link.completion, fmt::to_string(link.frames), fmt::to_string(link.bytes),
                   fmt::to_string(link.deliveries), fmt::format("{:.3f}", copies_per_frame(link)),
                   fmt::to_string(link.whole_frames), fmt::to_string(link.cut_frames),
                   fmt::to_string(link.peak_stored_bytes), fmt::to_string(link.waits), drops.empty() ? "none" : drops});
    }
    return table.text_below();
}

/// What only some links do, a line each.
std::string link_notes(RackReport const& report) {
    std::string text;
    for (LinkSummary const& link : report.links) {
        std::string const detected = counts_text(link.detected);
        std::string const done = counts_text({{"frames for outside", link.outside_frames},
                                              {"remaps to the uplink", link.remaps_to_uplink},
                                              {"remaps to a peer", link.remaps_to_peer},
                                              {"delayed", link.delayed_frames},
                                              {"doubled", link.doubled_frames},
                                              {"cuts", link.cuts}});
        if (!detected.empty()) text += fmt::format("{}: detected by {}\n", link.name, detected);
        if (!done.empty()) text += fmt::format("{}: {}\n", link.name, done);
        if (!link.capture) continue;
        text += fmt::format("{}: {} frames captured in {}", link.name, link.capture->frames,
                            printable(link.capture->file));
        text += link.capture->error.empty() ? "\n" : "; ended early: " + printable(link.capture->error) + '\n';
    }
    return text;
}

std::string queue_table(RackReport const& report) {
    if (!report.queue) return "";
    Table table{{{"queue", Align::left},
                 {"sent", Align::right},
                 {"bytes", Align::right},
                 {"received", Align::right},
                 {"natural", Align::right},
                 {"immediate", Align::right},
                 {"registers", Align::right},
                 {"denied", Align::right},
                 {"busy", Align::right},
                 {"expired", Align::right}}};
    for (QueueReport const& machine : report.queue->machines) {
        table.add({machine.machine, fmt::to_string(machine.sent_messages), fmt::to_string(machine.sent_bytes),
                   fmt::to_string(machine.received_messages), fmt::to_string(machine.natural),
                   fmt::to_string(machine.immediate), fmt::to_string(machine.registers),
                   fmt::to_string(machine.denied), fmt::to_string(machine.busy), fmt::to_string(machine.expired)});
    }
    std::string pages;
    for (auto const& [what, count] : report.queue->pages)
        pages += fmt::format("{}{} {}", pages.empty() ? "" : ", ", count, what);
    return fmt::format("\n{}pages, transfer {}: {}\n", table.text(), report.queue->transfer, pages);
}

std::string window_table(RackReport const& report) {
    if (!report.window) return "";
    Table table{{{"window", Align::left},
                 {"peer", Align::right},
                 {"section", Align::right},
                 {"doorbells rung", Align::right},
                 {"merged", Align::right},
                 {"lost", Align::right},
                 {"heard", Align::right},
                 {"refused stores", Align::right}}};
    std::size_t number = 0;
    for (WindowReport const& peer : report.window->peers) {
        WindowCounters const& counters = peer.counters;
        table.add({peer.machine, fmt::to_string(number++), memory_text(report.window->section_bytes), fmt::to_string(counters.rung),
                   fmt::to_string(counters.merged), fmt::to_string(counters.lost), fmt::to_string(counters.heard),
                   fmt::to_string(counters.refused_stores)});
    }
    std::string text = table.text_below();
    if (report.window->common_bytes != 0) text += fmt::format("in common: {}\n", memory_text(report.window->common_bytes));
    if (!report.window->backing.empty())
        text += fmt::format("the memory of {}, with {} peers outside\n", printable(report.window->backing), report.window->outside);
    return text;
}

std::string translator_table(RackReport const& report) {
    Table table{{{"translator", Align::left},
                 {"instructions", Align::right},
                 {"of all %", Align::right},
                 {"blocks", Align::right},
                 {"bytes x", Align::right},
                 {"chained %", Align::right},
                 {"entries", Align::right},
                 {"TLB misses", Align::right},
                 {"page walks", Align::right},
                 {"handlers", Align::right},
                 {"flushes", Align::right},
                 {"longest ms", Align::right}}};
    std::string notes;
    for (TranslatorReport const& cpu : report.host.translators) {
        table.add({cpu.processor, fmt::to_string(cpu.instructions), fmt::format("{:.2f}", 100 * share(cpu.instructions, cpu.all_instructions)),
                   fmt::to_string(cpu.blocks), fmt::format("{:.2f}", share(cpu.host_bytes, cpu.guest_bytes)),
                   fmt::format("{:.2f}", 100 * share(cpu.chained, cpu.direct_jumps)), fmt::to_string(cpu.entries),
                   fmt::to_string(cpu.slow_accesses), fmt::to_string(cpu.page_walks), fmt::to_string(cpu.handler_calls),
                   fmt::to_string(cpu.flushes), fmt::format("{:.3f}", static_cast<double>(cpu.longest_flush_ns) / 1e6)});
        if (std::string const exits = counts_text(cpu.exits); !exits.empty()) notes += fmt::format("{}: exits by {}\n", cpu.processor, exits);
        if (std::string const calls = counts_text(cpu.handlers); !calls.empty()) notes += fmt::format("{}: handlers of {}\n", cpu.processor, calls);
    }
    return table.text_below() + notes;
}

std::string_view ending_sentence(Ending ending) {
    switch (ending) {
        case Ending::all_off:
            return "all machines powered off";
        case Ending::crashed:
            return "a machine crashed";
        case Ending::timeout:
            return "the time for the run was over";
        case Ending::interrupted:
            return "interrupted";
    }
    return "";
}

// --- for programs -------------------------------------------------------------------------------------------------

/// "powered off" as one word.
std::string token(std::string_view text) {
    std::string word = printable(text);
    std::replace(word.begin(), word.end(), ' ', '_');
    return word;
}

Json nic_json(NicReport const& nic) {
    Json json{{"name", nic.name},
            {"model", nic.model},
            {"mac", mac_text(nic.mac)},
            {"link", nic.link},
            {"tail_moves", nic.counters.tail_moves},
            {"head_moves", nic.counters.head_moves},
            {"receive_interrupts", nic.counters.receive_interrupts},
            {"transmit_complete_interrupts", nic.counters.transmit_complete_interrupts},
            {"sent_frames", nic.sent_frames},
            {"sent_bytes", nic.sent_bytes},
            {"received_frames", nic.received_frames},
            {"received_bytes", nic.received_bytes}};
    if (nic.queues.size() < 2) return json;
    for (QueuePairCounters const& queue : nic.queues)
        json["queues"].push_back({{"sent_frames", queue.sent_frames}, {"received_frames", queue.received_frames}});
    return json;
}

Json disk_json(DiskReport const& disk) {
    return {{"name", disk.name},           {"image", printable(disk.image)},
            {"bytes", disk.bytes},         {"reads", disk.reads},
            {"read_bytes", disk.read_bytes}, {"writes", disk.writes},
            {"written_bytes", disk.written_bytes}, {"flushes", disk.flushes},
            {"failures", disk.failures}};
}

Json machine_json(MachineReport const& machine) {
    Json json{{"name", machine.name}, {"state", token(machine_state_text(machine.state))}};
    if (machine.state == MachineState::crashed) {
        json["cause"] = printable(machine.cause);
        json["rip"] = fmt::format("{:#x}", machine.rip);  // JSON numbers are not safe beyond 2^53 everywhere
    }
    if (machine.exit_status) json["exit_status"] = *machine.exit_status;
    json["instructions"] = machine.instructions;
    json["virtual_ns"] = machine.virtual_time.ns();
    json["idle_ns"] = machine.idle_time.ns();
    json["stolen_ns"] = machine.stolen_time.ns();
    json["idle_share"] = rounded(share(machine.idle_time.ns(), machine.virtual_time.ns()));
    json["unclaimed_accesses"] = machine.unclaimed_accesses;
    json["cpus"] = Json::array();
    for (CpuReport const& cpu : machine.cpus)
        json["cpus"].push_back({{"instructions", cpu.instructions}, {"interrupts", cpu.interrupts}, {"exceptions", cpu.exceptions}});
    json["nics"] = Json::array();
    for (NicReport const& nic : machine.nics) json["nics"].push_back(nic_json(nic));
    json["disks"] = Json::array();
    for (DiskReport const& disk : machine.disks) json["disks"].push_back(disk_json(disk));
    return json;
}

Json counts_json(std::vector<std::pair<std::string, std::uint64_t>> const& counts) {
    Json json = Json::object();
    for (auto const& [name, count] : counts) json[token(name)] = count;
    return json;
}

Json queue_json(QueueSummary const& queue) {
    Json json{{"transfer", queue.transfer}, {"pages", counts_json(queue.pages)}, {"machines", Json::array()}};
    for (QueueReport const& machine : queue.machines) {
        json["machines"].push_back({{"name", machine.machine},
                                    {"sent_messages", machine.sent_messages},
                                    {"sent_bytes", machine.sent_bytes},
                                    {"received_messages", machine.received_messages},
                                    {"received_bytes", machine.received_bytes},
                                    {"natural", machine.natural},
                                    {"immediate", machine.immediate},
                                    {"registers", machine.registers},
                                    {"denied", machine.denied},
                                    {"busy", machine.busy},
                                    {"expired", machine.expired}});
    }
    return json;
}

Json window_json(WindowSummary const& window) {
    Json json{{"section_bytes", window.section_bytes}, {"common_bytes", window.common_bytes}, {"peers", Json::array()}};
    if (!window.backing.empty()) {
        json["backing"] = printable(window.backing);
        json["outside"] = window.outside;
    }
    for (WindowReport const& peer : window.peers) {
        json["peers"].push_back({{"name", peer.machine},
                                 {"doorbells_rung", peer.counters.rung},
                                 {"doorbells_merged", peer.counters.merged},
                                 {"doorbells_lost", peer.counters.lost},
                                 {"doorbells_heard", peer.counters.heard},
                                 {"refused_stores", peer.counters.refused_stores}});
    }
    return json;
}

Json translator_json(TranslatorReport const& cpu) {
    return {{"processor", cpu.processor},
            {"instructions", cpu.instructions},
            {"share", rounded(share(cpu.instructions, cpu.all_instructions))},
            {"blocks", cpu.blocks},
            {"guest_bytes", cpu.guest_bytes},
            {"host_bytes", cpu.host_bytes},
            {"direct_jumps", cpu.direct_jumps},
            {"chained", cpu.chained},
            {"entries", cpu.entries},
            {"exits", counts_json(cpu.exits)},
            {"slow_accesses", cpu.slow_accesses},
            {"split_groups", cpu.split_groups},
            {"guesses_given_up", cpu.guesses_given_up},
            {"page_walks", cpu.page_walks},
            {"handler_calls", cpu.handler_calls},
            {"handlers", counts_json(cpu.handlers)},
            {"flushes", cpu.flushes},
            {"longest_flush_ns", cpu.longest_flush_ns}};
}

Json link_json(LinkSummary const& link) {
    Json json{{"name", link.name},
            {"completion", link.completion},
            {"frames", link.frames},
            {"bytes", link.bytes},
            {"deliveries", link.deliveries},
            {"copies", link.copies},
            {"copies_per_frame", rounded(copies_per_frame(link))},
            {"peak_stored_bytes", link.peak_stored_bytes},
            {"whole_frames", link.whole_frames},
            {"unsummed_frames", link.unsummed_frames},
            {"cut_frames", link.cut_frames},
            {"cut_segments", link.cut_segments},
            {"waits", link.waits},
            {"drops", counts_json(link.drops)},
            {"detected", counts_json(link.detected)},
            {"outside_frames", link.outside_frames},
            {"remaps_to_uplink", link.remaps_to_uplink},
            {"remaps_to_peer", link.remaps_to_peer},
            {"delayed_frames", link.delayed_frames},
            {"doubled_frames", link.doubled_frames},
            {"cuts", link.cuts}};
    if (!link.capture) return json;
    json["capture"] = {{"file", printable(link.capture->file)}, {"frames", link.capture->frames}};
    if (!link.capture->error.empty()) json["capture"]["error"] = printable(link.capture->error);
    return json;
}

}  // namespace

std::string_view ending_text(Ending ending) {
    switch (ending) {
        case Ending::all_off:
            return "all_off";
        case Ending::crashed:
            return "crashed";
        case Ending::timeout:
            return "timeout";
        case Ending::interrupted:
            return "interrupted";
    }
    return "";
}

std::string_view machine_state_text(MachineState state) {
    switch (state) {
        case MachineState::running:
            return "running";
        case MachineState::powered_off:
            return "powered off";
        case MachineState::crashed:
            return "crashed";
        case MachineState::stopped:
            return "stopped";
        case MachineState::timed_out:
            return "timed out";
    }
    return "";
}

namespace {

/// ", 2 threads shared 93 % of 12345 quanta, and took 5.1 s for 9.8 s of work there: 1.92 times as fast"
std::string thread_note(RackReport const& report) {
    HostReport const& host = report.host;
    if (!host.thread_note.empty()) return "; on one thread: " + host.thread_note;
    if (host.threads == 1) return {};
    std::string note = fmt::format("; {} threads shared {:.0f} % of {} quanta", host.threads,
                                   100 * share(host.shared_barriers, report.barriers), report.barriers);
    if (host.shared_wall_ns != 0)
        note += fmt::format(", and took {:.2f} s for {:.2f} s of work there: {:.2f} times as fast", seconds(host.shared_wall_ns),
                            seconds(host.shared_work_ns),
                            static_cast<double>(host.shared_work_ns) / static_cast<double>(host.shared_wall_ns));
    return note;
}

}  // namespace

std::string human_report(RackReport const& report) {
    std::string text =
        fmt::format("rack: {} after {:.6f} s of virtual time; engine {}, seed {}, trace {:016x}, {}\n\n",
                    ending_sentence(report.ending), seconds(report.virtual_time.ns()), report.engine, report.seed, report.trace_hash,
                    report.is_repeatable ? "repeatable" : "not repeatable (input from outside, or a disk that is written in place)");
    text += machine_table(report) + cpu_table(report) + nic_table(report) + disk_table(report) + link_table(report) + link_notes(report) +
            queue_table(report) + window_table(report);
    text += fmt::format("\nhost: {:.2f} s, {:.2f} s of CPU time, at most {} MiB{}\n", seconds(report.host.wall_ns),
                        seconds(report.host.cpu_ns), report.host.peak_resident_bytes >> 20, thread_note(report));
    text += translator_table(report);
    return text;
}

std::string json_report(RackReport const& report) {
    Json json{{"schema", kReportSchema},
              {"ending", ending_text(report.ending)},
              {"rack",
               {{"engine", report.engine},
                {"processor", cpu_model_name(report.processor)},
                {"time", report.time},
                {"seed", report.seed},
                {"repeatable", report.is_repeatable},
                {"virtual_ns", report.virtual_time.ns()},
                {"quantum_ns", report.quantum.ns()},
                {"barriers", report.barriers},
                {"trace_hash", fmt::format("{:016x}", report.trace_hash)}}},
              {"machines", Json::array()},
              {"links", Json::array()}};
    for (MachineReport const& machine : report.machines) json["machines"].push_back(machine_json(machine));
    for (LinkSummary const& link : report.links) json["links"].push_back(link_json(link));
    if (report.queue) json["queue"] = queue_json(*report.queue);
    if (report.window) json["window"] = window_json(*report.window);
    json["host"] = {{"wall_ns", report.host.wall_ns},
                    {"cpu_ns", report.host.cpu_ns},
                    {"peak_resident_bytes", report.host.peak_resident_bytes},
                    {"threads", report.host.threads},
                    {"shared_barriers", report.host.shared_barriers},
                    {"shared_wall_ns", report.host.shared_wall_ns},
                    {"shared_work_ns", report.host.shared_work_ns},
                    {"translators", Json::array()}};
    for (TranslatorReport const& cpu : report.host.translators) json["host"]["translators"].push_back(translator_json(cpu));
    if (!report.host.thread_note.empty()) json["host"]["thread_note"] = report.host.thread_note;
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace backplane
