#include "rack/capture.h"

#include <string_view>
#include <utility>

namespace backplane {
namespace {

std::string_view remark(FrameFate fate) {
    switch (fate) {
        case FrameFate::sent:
            return "";
        case FrameFate::delayed:
            return " (delayed)";
        case FrameFate::lost:
            return " (lost on purpose)";
        case FrameFate::nobody:
            return " (dropped)";
        case FrameFate::spoofed:
            return " (dropped: not its own source address)";
        case FrameFate::isolated:
            return " (dropped: another group)";
    }
    return "";
}

}  // namespace

LinkCapture::LinkCapture(PcapngFile file, std::vector<std::string> ports)
    : file_{std::move(file)}, ports_{std::move(ports)} {
    for (std::string const& port : ports_) file_.add_interface(port);
}

void LinkCapture::record(FrameRecord const& record) {
    file_.add_frame(record.from.value(), record.frame, comment(record));
}

std::string LinkCapture::comment(FrameRecord const& record) const {
    std::string text = ports_[record.from.value()] + " -> ";
    switch (record.to.kind) {
        case Destination::Kind::nobody:
            text += "nobody";
            break;
        case Destination::Kind::group:
            text += "all";
            break;
        case Destination::Kind::one:
        case Destination::Kind::outside:
            text += ports_[record.to.port.value()];
            break;
    }
    return text += remark(record.fate);
}

}  // namespace backplane
