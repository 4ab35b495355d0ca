#include "debug/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "debug/monitor_commands.h"
#include "debug/packet.h"
#include "debug/registers.h"

namespace backplane {
namespace {

constexpr std::string_view kOk = "OK";
constexpr std::string_view kBadPacket = "E16";   // EINVAL's number in hexadecimal, as errors are sent
constexpr std::string_view kBadAddress = "E0e";  // EFAULT
constexpr std::string_view kRefused = "E01";     // EPERM
constexpr std::string_view kTooMany = "E1c";     // ENOSPC

// Signals as GDB numbers them ([GDB] include/gdb/signals.def).
constexpr unsigned kSignalInterrupt = 2;
constexpr unsigned kSignalTrap = 5;
constexpr unsigned kSignalAbort = 6;

/// Half of a packet's payload: two digits a byte.
constexpr std::uint64_t kMaxReadBytes = (kMaxPacketBytes - 8) / 2;
/// What a monitor command may show, for the same reason.
constexpr std::size_t kMaxMonitorBytes = kMaxReadBytes;

/// The text up to `separator`, which is removed with it; all of it when there is none.
std::string_view cut(std::string_view& text, char separator) {
    std::size_t const end = text.find(separator);
    std::string_view const first = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return first;
}

struct Range {
    std::uint64_t start;
    std::uint64_t bytes;
};
/// "address,length" at the start of `text`, up to `separator`.
std::optional<Range> cut_range(std::string_view& text, char separator) {
    std::string_view numbers = cut(text, separator);
    auto const start = number_from_hex(cut(numbers, ','));
    auto const bytes = number_from_hex(numbers);
    if (!start || !bytes) return {};
    return Range{*start, *bytes};
}

unsigned thread_of(unsigned cpu) { return cpu + 1; }

}  // namespace

Session::Session(DebugTarget& target) : target_{target} { target_.hold(); }

Session::~Session() {
    if (target_.set_points({})) target_.resume();
}

// --- what the debugger is told
// ----------------------------------------------------------------------------------------

std::string Session::stop_reply() const {
    if (target_.life() == DebugTarget::Life::crashed)
        return fmt::format("T{:02x}thread:{:x};", kSignalAbort, thread_of(cpu_));
    DebugStop const stop = target_.stop_reason();
    bool const asked = stop.cause == DebugStop::Cause::asked;
    std::string text = fmt::format("T{:02x}thread:{:x};", asked ? kSignalInterrupt : kSignalTrap, thread_of(cpu_));
    if (stop.cause == DebugStop::Cause::breakpoint && reports_breakpoint_kind_) {
        bool const hardware = std::find(hardware_.begin(), hardware_.end(), stop.address) != hardware_.end();
        text += hardware ? "hwbreak:;" : "swbreak:;";
    }
    if (stop.cause == DebugStop::Cause::watchpoint) {
        std::string_view const word = stop.kind == Watchpoint::Kind::write  ? "watch"
                                      : stop.kind == Watchpoint::Kind::read ? "rwatch"
                                                                            : "awatch";
        text += fmt::format("{}:{:x};", word, stop.address);
    }
    return text;
}

std::optional<std::string> Session::take_stop_reply() {
    if (over_ || stopped_) return {};
    switch (target_.life()) {
        case DebugTarget::Life::powered_off:
            over_ = true;
            return "W00";
        case DebugTarget::Life::crashed:
            if (told_of_crash_) {
                over_ = true;
                return fmt::format("X{:02x}", kSignalAbort);
            }
            // First the debugger may look at what is left.
            told_of_crash_ = stopped_ = true;
            return stop_reply();
        case DebugTarget::Life::running:
            break;
    }
    if (!target_.is_held()) return {};
    stopped_ = true;
    cpu_ = target_.stopped_cpu();
    return stop_reply();
}

void Session::interrupt() {
    if (!stopped_) target_.hold();
}

// --- packets
// ----------------------------------------------------------------------------------------------------------

std::optional<std::string> Session::handle(std::string_view packet) {
    if (packet.empty()) return std::string{};
    if (packet == "vCtrlC") return interrupt(), std::string{kOk};
    if (!stopped_) return {};  // while the machine runs only the interrupt means anything
    std::string_view const arguments = packet.substr(1);
    switch (packet.front()) {
        case '?':
            return stop_reply();
        case 'g':
            return all_registers_text(target_.state(cpu_));
        case 'G':
            return write_registers(arguments);
        case 'p':
            return read_register(arguments);
        case 'P':
            return write_register(arguments);
        case 'm':
            return read_memory(arguments);
        case 'M':
            return write_memory(arguments, false);
        case 'X':
            return write_memory(arguments, true);
        case 'c':
            return resume(arguments, false);
        case 's':
            return resume(arguments, true);
        case 'C':
        case 'S': {
            std::string_view rest = arguments;  // a signal means nothing to a machine
            cut(rest, ';');
            return resume(rest, packet.front() == 'S');
        }
        case 'Z':
        case 'z':
            return change_point(packet);
        case 'H':
            return choose_thread(arguments);
        case 'T': {
            auto const thread = number_from_hex(arguments);
            bool const alive = thread && *thread >= 1 && *thread <= target_.cpu_count();
            return std::string{alive ? kOk : kBadPacket};
        }
        case 'D':
            return detach();
        case 'k':
            return kill(), std::nullopt;
        case 'q':
            return handle_query(packet);
        case 'Q':
            return handle_set(packet);
        case 'v':
            return handle_v(packet);
        default:
            return std::string{};  // "not supported"
    }
}

Session::Reply Session::handle_query(std::string_view packet) {
    if (packet.starts_with("qSupported")) {
        reports_breakpoint_kind_ = packet.find("swbreak+") != std::string_view::npos;
        return fmt::format("PacketSize={:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
                           kMaxPacketBytes);
    }
    if (packet.starts_with("qXfer:features:read:")) return features(packet.substr(20));
    if (packet == "qC") return fmt::format("QC{:x}", thread_of(cpu_));
    if (packet == "qfThreadInfo") {
        std::string threads;
        for (unsigned cpu = 0; cpu < target_.cpu_count(); ++cpu)
            threads += fmt::format("{}{:x}", cpu == 0 ? 'm' : ',', thread_of(cpu));
        return threads;
    }
    if (packet == "qsThreadInfo") return "l";
    if (packet.starts_with("qThreadExtraInfo,")) {
        auto const thread = number_from_hex(packet.substr(17));
        if (!thread || *thread < 1 || *thread > target_.cpu_count()) return std::string{kBadPacket};
        bool const halted = target_.state(static_cast<unsigned>(*thread - 1)).halted;
        return hex_of(fmt::format("{} CPU {}{}", target_.name(), *thread - 1, halted ? " [halted]" : ""));
    }
    if (packet == "qAttached" || packet.starts_with("qAttached:")) return "1";
    if (packet.starts_with("qSymbol")) return std::string{kOk};
    if (packet == "qqemu.PhyMemMode") return std::string{physical_ ? "1" : "0"};
    if (packet.starts_with("qRcmd,")) return monitor(packet.substr(6));
    return std::string{};
}

Session::Reply Session::handle_set(std::string_view packet) {
    if (packet == "QStartNoAckMode") return without_acknowledgements_ = true, std::string{kOk};
    if (packet == "Qqemu.PhyMemMode:0" || packet == "Qqemu.PhyMemMode:1") {
        physical_ = packet.back() == '1';
        return std::string{kOk};
    }
    return std::string{};
}

Session::Reply Session::handle_v(std::string_view packet) {
    if (packet == "vCont?") return "vCont;c;C;s;S";
    if (packet.starts_with("vCont;")) return vcont(packet.substr(6));
    if (packet.starts_with("vKill")) return kill(), std::string{kOk};
    return std::string{};
}

/// The first action that is a step, or else continue: all processors of a machine run or none.
Session::Reply Session::vcont(std::string_view actions) {
    bool step = false;
    unsigned cpu = cpu_;
    while (!actions.empty()) {
        std::string_view action = cut(actions, ';');
        std::string_view const verb = cut(action, ':');
        if (verb.empty() || std::string_view{"cCsS"}.find(verb.front()) == std::string_view::npos)
            return std::string{kBadPacket};
        bool const steps = verb.front() == 's' || verb.front() == 'S';
        auto const thread =
            action == "-1" || action.empty() ? std::optional<std::uint64_t>{0} : number_from_hex(action);
        if (!thread || *thread > target_.cpu_count()) return std::string{kBadPacket};
        if (!steps || step) continue;
        step = true;
        if (*thread != 0) cpu = static_cast<unsigned>(*thread - 1);
    }
    return continue_or_step(step, cpu);
}

Session::Reply Session::resume(std::string_view arguments, bool step) {
    if (!arguments.empty()) {  // "where to go on"
        auto const address = number_from_hex(arguments);
        if (!address) return std::string{kBadPacket};
        CpuState state = target_.state(cpu_);
        state.rip = *address;
        target_.set_state(cpu_, state);
    }
    return continue_or_step(step, cpu_);
}

Session::Reply Session::continue_or_step(bool step, unsigned cpu) {
    if (!apply_points(step)) return std::string{kRefused};
    cpu_ = cpu;
    stopped_ = false;
    if (step)
        target_.step(cpu);
    else
        target_.resume();
    return {};
}

std::string Session::choose_thread(std::string_view packet) {
    if (packet.empty()) return std::string{kBadPacket};
    std::string_view const number = packet.substr(1);
    auto const thread = number == "-1" ? std::optional<std::uint64_t>{0} : number_from_hex(number);
    if (!thread || *thread > target_.cpu_count()) return std::string{kBadPacket};
    if (*thread != 0) cpu_ = static_cast<unsigned>(*thread - 1);
    return std::string{kOk};
}

std::string Session::features(std::string_view arguments) const {
    if (cut(arguments, ':') != "target.xml") return "E00";
    auto const range = cut_range(arguments, ':');
    std::string const& text = target_description();
    if (!range || range->start > text.size()) return std::string{kBadPacket};
    std::uint64_t const most = std::min<std::uint64_t>(range->bytes, kMaxReadBytes);
    std::string const piece = text.substr(range->start, most);
    bool const is_last = range->start + piece.size() == text.size();
    return fmt::format("{}{}", is_last ? 'l' : 'm', escaped(piece));
}

// --- registers and memory
// ---------------------------------------------------------------------------------------------

std::string Session::read_register(std::string_view arguments) const {
    auto const number = number_from_hex(arguments);
    if (!number || *number >= debug_registers().size()) return std::string{kBadPacket};
    return register_text(debug_registers()[*number], target_.state(cpu_));
}

std::string Session::write_register(std::string_view arguments) {
    auto const number = number_from_hex(cut(arguments, '='));
    if (!number || *number >= debug_registers().size()) return std::string{kBadPacket};
    CpuState state = target_.state(cpu_);
    if (!set_register(debug_registers()[*number], state, arguments)) return std::string{kRefused};
    target_.set_state(cpu_, state);
    return std::string{kOk};
}

std::string Session::write_registers(std::string_view digits) {
    CpuState state = target_.state(cpu_);
    if (!set_all_registers(state, digits)) return std::string{kRefused};
    target_.set_state(cpu_, state);
    return std::string{kOk};
}

std::string Session::read_memory(std::string_view arguments) const {
    auto const range = cut_range(arguments, ':');
    if (!range) return std::string{kBadPacket};
    std::vector<std::byte> bytes(std::min(range->bytes, kMaxReadBytes));
    std::size_t const got = physical_ ? target_.read_physical(GuestPhys{range->start}, bytes)
                                      : target_.read_virtual(cpu_, GuestVirt{range->start}, bytes);
    if (got == 0 && !bytes.empty()) return std::string{kBadAddress};
    return hex_of(ConstByteSpan{bytes}.first(got));
}

std::string Session::write_memory(std::string_view arguments, bool binary) {
    auto const range = cut_range(arguments, ':');
    if (!range) return std::string{kBadPacket};
    auto const data = binary ? std::optional{unescaped(arguments)} : bytes_from_hex(arguments);
    if (!data || data->size() != range->bytes) return std::string{kBadPacket};
    auto const bytes = std::as_bytes(std::span{*data});
    bool const written = physical_ ? target_.write_physical(GuestPhys{range->start}, bytes)
                                   : target_.write_virtual(cpu_, GuestVirt{range->start}, bytes);
    return std::string{written ? kOk : kBadAddress};
}

// --- breakpoints and watchpoints
// --------------------------------------------------------------------------------------

/// "Ztype,address,kind": 0 and 1 are breakpoints, 2 to 4 watchpoints (write, read, access) of `kind` bytes.
std::string Session::change_point(std::string_view packet) {
    bool const insert = packet.front() == 'Z';
    std::string_view arguments = packet.substr(1);
    std::string_view const type = cut(arguments, ',');
    if (arguments.find(';') != std::string_view::npos) return std::string{kBadPacket};  // conditions were not offered
    auto const range = cut_range(arguments, ';');
    if (!range || type.size() != 1) return std::string{kBadPacket};
    if (type == "0" || type == "1") {
        auto& all = points_.breakpoints;
        std::erase(all, range->start);
        std::erase(hardware_, range->start);
        if (!insert) return std::string{kOk};
        if (all.size() == kMaxBreakpoints) return std::string{kTooMany};
        all.push_back(range->start);
        if (type == "1") hardware_.push_back(range->start);
        return std::string{kOk};
    }
    if (type != "2" && type != "3" && type != "4") return std::string{};
    if (range->bytes == 0 || range->bytes > kMaxWatchedBytes) return std::string{kBadPacket};
    Watchpoint const watchpoint{range->start, range->bytes, static_cast<Watchpoint::Kind>(type.front() - '2')};
    std::erase(points_.watchpoints, watchpoint);
    if (!insert) return std::string{kOk};
    if (points_.watchpoints.size() == kMaxWatchpoints) return std::string{kTooMany};
    points_.watchpoints.push_back(watchpoint);
    return std::string{kOk};
}

bool Session::apply_points(bool stepping) {
    DebugPoints wanted = points_;
    wanted.hold_interrupts = stepping && !step_with_interrupts_;
    return target_.set_points(wanted);
}

// --- leaving, and the rest
// --------------------------------------------------------------------------------------------

std::string Session::detach() {
    over_ = true;  // the destructor lets the machine go
    return std::string{kOk};
}

void Session::kill() {
    target_.kill();
    over_ = true;
}

std::string Session::monitor(std::string_view digits) {
    auto const line = bytes_from_hex(digits);
    if (!line) return std::string{kBadPacket};
    std::string text = monitor_command(*line, target_, cpu_, {physical_, step_with_interrupts_});
    if (text.size() > kMaxMonitorBytes) text.resize(kMaxMonitorBytes);
    return hex_of(text);
}

}  // namespace backplane
