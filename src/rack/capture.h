// The capture of a link: what crosses it, as a pcapng file whose interfaces are the ports (host/pcapng.h).
#pragma once

#include <string>
#include <vector>

#include "crossover/frame_recorder.h"
#include "host/pcapng.h"

namespace backplane {

class LinkCapture final : public FrameRecorder {
  public:
    /// \param ports  the names of the link's ports, in their order, such as "alpha.nic0"
    LinkCapture(PcapngFile file, std::vector<std::string> ports);

    void record(FrameRecord const& record) override;
    void flush() { file_.flush(); }
    [[nodiscard]] PcapngFile const& file() const { return file_; }

  private:
    [[nodiscard]] std::string comment(FrameRecord const& record) const;

    PcapngFile file_;
    std::vector<std::string> ports_;
};

}  // namespace backplane
