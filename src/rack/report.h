// What a run leaves behind: counts and states, for people and for programs.
//
// Everything but `host` is a function of the rack file and its images: two runs give the same report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clock/virtual_time.h"
#include "cpu/cpu_model.h"
#include "crossover/message_exchange.h"
#include "crossover/shared_window.h"
#include "device/frame_port.h"
#include "device/network_card.h"

namespace backplane {

/// Why the rack stopped.
enum class Ending : std::uint8_t {
    all_off,      ///< every machine powered itself off, or was stopped by `ctl stop`
    crashed,      ///< no machine runs any more, and at least one crashed or panicked
    timeout,      ///< the host's time for the run was over
    interrupted,  ///< Ctrl-C, Ctrl-A x or SIGTERM
};

enum class MachineState : std::uint8_t { running, powered_off, crashed, timed_out, stopped };  // stopped: by `ctl stop`

struct NicReport {
    std::string name;   ///< "nic0"
    std::string model;  ///< "e1000"
    MacAddress mac{};
    std::string link;
    FramePortCounters counters;
    std::uint64_t sent_frames{0};
    std::uint64_t sent_bytes{0};
    std::uint64_t received_frames{0};
    std::uint64_t received_bytes{0};
    std::vector<QueuePairCounters> queues;  ///< by pair; of a card that has them
};

struct DiskReport {
    std::string name;   ///< "disk0"
    std::string image;
    std::uint64_t bytes{0};  ///< its size
    std::uint64_t reads{0};
    std::uint64_t read_bytes{0};
    std::uint64_t writes{0};
    std::uint64_t written_bytes{0};
    std::uint64_t flushes{0};
    std::uint64_t failures{0};  ///< requests that were answered with an error
};

/// One processor of a machine.
struct CpuReport {
    std::uint64_t instructions{0};
    std::uint64_t interrupts{0};  ///< delivered
    std::uint64_t exceptions{0};
};

struct MachineReport {
    std::string name;
    MachineState state{MachineState::running};
    std::string cause;     ///< of a crash: one line, such as "triple fault"
    std::uint64_t rip{0};  ///< of a crash
    std::optional<std::uint8_t> exit_status;  ///< left at the debug exit, which powered it off
    std::uint64_t instructions{0};  ///< of all processors
    std::vector<CpuReport> cpus{};
    Ticks virtual_time{};                 ///< on its own clock when it stopped
    Ticks stolen_time{};                  ///< of that, without instructions because its share was used up
    Ticks idle_time{};                    ///< of that, spent halted
    std::uint64_t unclaimed_accesses{0};  ///< loads and stores that no RAM and no device answered
    std::vector<NicReport> nics;
    std::vector<DiskReport> disks{};
};

struct CaptureSummary {
    std::string file;
    std::uint64_t frames{0};
    std::string error;  ///< why it ended early; empty: it did not
};

struct LinkSummary {
    std::string name;
    std::string completion;              ///< "landed" or "read"
    std::uint64_t frames{0};             ///< frames that reached at least one receiver
    std::uint64_t bytes{0};              ///< their bytes, each frame once
    std::uint64_t deliveries{0};         ///< (frame, receiver) pairs: a broadcast to three machines is three
    std::uint64_t copies{0};             ///< times a frame's bytes were copied; 1 a delivery on the direct path
    std::uint64_t peak_stored_bytes{0};  ///< most bytes of frames held outside guest memory at one time
    std::uint64_t whole_frames{0};       ///< many TCP segments in one, landed as one (S2.11)
    std::uint64_t unsummed_frames{0};    ///< landed without anyone having computed their checksum
    std::uint64_t cut_frames{0};         ///< cut and summed for a receiver that takes no whole ones
    std::uint64_t cut_segments{0};       ///< what they were cut into
    std::uint64_t waits{0};              ///< frames that found no posted buffer at first
    std::vector<std::pair<std::string, std::uint64_t>> drops;  ///< (reason, frames), all reasons, zeros included
    /// (what told that sender and receiver belong together, unicast frames), zeros included
    std::vector<std::pair<std::string, std::uint64_t>> detected;
    std::uint64_t outside_frames{0};    ///< unicast frames for no machine: the uplink, a service of the link
    std::uint64_t remaps_to_uplink{0};  ///< a transmit element went from a peer to the uplink
    std::uint64_t remaps_to_peer{0};    ///< and from the uplink to a peer
    std::uint64_t delayed_frames{0};    ///< stored on their way
    std::uint64_t doubled_frames{0};
    std::uint64_t cuts{0};
    std::optional<CaptureSummary> capture;
};

/// How a processor's instructions were executed by the translator. It depends on the tier and on what the host's processor has.
struct TranslatorReport {
    std::string processor;               ///< "alpha.cpu0"
    std::uint64_t instructions{0};       ///< under the translator, its handler calls included
    std::uint64_t all_instructions{0};   ///< of the processor
    std::uint64_t blocks{0};             ///< translated, again after a flush
    std::uint64_t guest_bytes{0};        ///< in them
    std::uint64_t host_bytes{0};         ///< made of these
    std::uint64_t direct_jumps{0};       ///< within a page
    std::uint64_t chained{0};            ///< of these, jumps that lead straight to translated code
    std::uint64_t entries{0};            ///< from the dispatcher
    std::uint64_t slow_accesses{0};      ///< accesses of translated code that missed the TLB
    std::uint64_t split_groups{0};       ///< those whose group of accesses lies in two pages
    std::uint64_t guesses_given_up{0};   ///< accesses in loops whose page is not guessed any more
    std::uint64_t page_walks{0};         ///< of the processor
    std::uint64_t flushes{0};
    std::uint64_t longest_flush_ns{0};
    std::vector<std::pair<std::string, std::uint64_t>> exits{};     ///< (reason, times), all reasons
    std::vector<std::pair<std::string, std::uint64_t>> handlers{};  ///< (mnemonic, handler calls), the ten most frequent
    std::uint64_t handler_calls{0};      ///< of all mnemonics
};

/// What the host saw: the only figures that differ between two runs.
struct HostReport {
    std::uint64_t wall_ns{0};
    std::uint64_t cpu_ns{0};
    std::uint64_t peak_resident_bytes{0};
    unsigned threads{1};                ///< that ran machines
    std::uint64_t shared_barriers{0};   ///< whose machines were shared out among them
    std::uint64_t shared_wall_ns{0};    ///< how long these took
    std::uint64_t shared_work_ns{0};    ///< processor time of the machines in these: what one thread would have needed
    std::string thread_note{};          ///< why there was one thread although more were asked for
    std::vector<TranslatorReport> translators{};  ///< by processor; none with an interpreter
};

/// The queue devices of all machines.
struct QueueSummary {
    std::string transfer;  ///< "remap", "cow", "shared" or "copy"
    std::vector<QueueReport> machines;
    std::vector<std::pair<std::string, std::uint64_t>> pages;  ///< (what happened to them, pages)
};

/// The memory that machines have in common.
struct WindowSummary {
    std::uint64_t section_bytes{0};
    std::uint64_t common_bytes{0};
    std::vector<WindowReport> peers;
    std::uint32_t outside{0};  ///< further peers, who are no machines
    std::string backing{};     ///< whose memory it is; empty: the rack's own
};

struct RackReport {
    Ending ending{Ending::all_off};
    std::string engine{"sim"};
    std::string time{"virtual"};
    CpuModel processor{CpuModel::avx2};
    std::uint64_t seed{0};
    bool is_repeatable{true};  ///< no input from outside reached a machine, and the next run finds the same disks
    Ticks virtual_time{};
    Ticks quantum{};
    std::uint64_t barriers{0};
    std::uint64_t trace_hash{0};  ///< of all that happened (rack/trace_hash.h)
    std::vector<MachineReport> machines;
    std::vector<LinkSummary> links;
    std::optional<QueueSummary> queue;
    std::optional<WindowSummary> window;
    HostReport host;
};

inline constexpr int kReportSchema = 1;

/// Aligned tables for people.
[[nodiscard]] std::string human_report(RackReport const& report);
/// JSON, indented, ending with a newline; `"schema": 1`.
[[nodiscard]] std::string json_report(RackReport const& report);

[[nodiscard]] std::string_view ending_text(Ending ending);
[[nodiscard]] std::string_view machine_state_text(MachineState state);

}  // namespace backplane
