// What a rack did when, in virtual time, as trace events (docs/design/timeline.md).
//
// A track for each processor (when it executed, when it was halted, device accesses, interrupts), for each port of a link (the
// frames that it sent) and for each machine's queue (the messages that it sent).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crossover/frame_recorder.h"
#include "crossover/message_recorder.h"
#include "host/trace_event_file.h"
#include "machine/machine.h"

namespace backplane {

class Timeline final : private MessageRecorder {
  public:
    /// Errors: what the host says, with the path.
    [[nodiscard]] static Expected<std::unique_ptr<Timeline>, Error> create(std::filesystem::path const& path, std::uint64_t limit_bytes);
    ~Timeline() override;

    /// The machine must outlive the timeline.
    void add_machine(Machine& machine);
    /// \param ports  names of the link's ports, in their order. \return  for the link, as long as the timeline lives
    [[nodiscard]] FrameRecorder& add_link(std::string const& name, std::vector<std::string> const& ports);
    /// \param machines  in their order
    [[nodiscard]] MessageRecorder& add_queue(std::vector<std::string> const& machines);

    /// To be called at each barrier, while no machine runs: writes what has happened, machine by machine, so that the file does not
    /// depend on the number of host threads.
    void at_barrier();

  private:
    class MachineTracks;
    class LinkTracks;
    explicit Timeline(BoundedFile file);
    void record(QueueArrival const& arrival, Ticks landed) override;
    void write(std::string& events);

    BoundedFile file_;
    std::vector<std::unique_ptr<MachineTracks>> machines_;
    std::vector<std::unique_ptr<LinkTracks>> links_;
    std::vector<std::string> queue_machines_;
    std::string queue_events_;
};

}  // namespace backplane
