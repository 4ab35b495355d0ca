// The monitor's side of the shared windows of a rack: one physical memory element behind the BARs of all members, and
// the doorbells between them (docs/design/window.md; claims S2.3, S2.4, S2.6).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"
#include "device/window/layout.h"
#include "device/window_port.h"
#include "memory/frame_pool.h"

namespace backplane {

struct WindowReport {
    std::string machine;
    WindowCounters counters;  ///< `lost` counts doorbells for machines that have ended, too
};

class SharedWindow {
  public:
    /// Whose memory the window is: frames of the pool, or those replaced by a file's or device's.
    enum class Memory : std::uint8_t { own, backed };
    /// The frames that it takes of the pool.
    [[nodiscard]] static std::uint64_t frames_needed(window::Layout const& layout, Memory memory);

    /// Takes frames_needed() of the pool for good. With an open `backing` (of at least layout.used_pages()) the memory is that file's or
    /// device's, as it stands there, and the pool's first free frame is one that FramePool::back() can replace.
    /// Errors: the pool has no frames; the host cannot map the file.
    [[nodiscard]] static Expected<SharedWindow, Error> create(window::Layout const& layout, FramePool& pool,
                                                              UniqueFd const& backing = UniqueFd{});

    /// Shows the memory in the port's window: the common part and the port's own section to read and write, the
    /// sections of others to read. Peers are numbered in the order of attaching, at most layout.peers; those that never are attached
    /// are outside of the rack, where the backing is mapped too. The port must outlive this.
    void attach(WindowPort& port, std::string machine);

    /// Doorbells are heard, in the order (time, peer, sequence). Called while no machine runs.
    void deliver();
    /// The machine has stopped for good: nobody hears its bell. Its section stays as it is.
    void peer_left(std::uint32_t peer) { members_[peer].has_left = true; }

    [[nodiscard]] window::Layout const& layout() const { return layout_; }
    [[nodiscard]] std::size_t peer_count() const { return members_.size(); }
    [[nodiscard]] WindowReport report(std::uint32_t peer) const;

  private:
    struct Member {
        WindowPort* port;
        std::string machine;
        bool has_left{false};
        std::uint64_t lost{0};
    };
    struct Ring {
        Doorbell doorbell;
        Member* from;
    };
    SharedWindow(window::Layout const& layout, FrameNumber frames) : layout_{layout}, frames_{frames} {}
    [[nodiscard]] FrameNumber frame(GuestPage page) const {
        return FrameNumber{static_cast<std::uint32_t>(frames_.value() + page.value())};
    }

    window::Layout layout_;
    FrameNumber frames_;
    std::vector<Member> members_;
    std::vector<Ring> rings_;  // of this barrier
};

}  // namespace backplane
