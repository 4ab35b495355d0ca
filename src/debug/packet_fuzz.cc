// Whatever a peer sends, reading it and carrying it out ends: with replies that fit into a packet, with a machine whose
// state stays one that a processor can have, and with bounded memory.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "debug/fake_debug_target.h"
#include "debug/packet.h"
#include "debug/session.h"

namespace {

using namespace backplane;

void check_state(CpuState const& state) {
    check((state.mxcsr & 0xffff0000) == 0, "MXCSR has no reserved bits");
    check((state.rflags & 2) != 0, "bit 1 of RFLAGS is set");
    check(state.cr0 == CpuState{}.cr0 && state.efer == 0, "the mode is not changed from outside");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    FakeDebugTarget target;
    Session session{target};
    PacketReader reader;
    std::string_view bytes{reinterpret_cast<char const*>(data), size};
    // Each line is a packet too, since the fuzzer seldom finds a checksum.
    for (std::string_view rest = bytes; !rest.empty() && !session.is_over();) {
        std::string_view const line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(line.size() + (line.size() < rest.size() ? 1 : 0));
        if (auto const reply = session.handle(line))
            check(reply->size() <= kMaxPacketBytes, "a reply fits into a packet");
        if (!session.is_stopped()) session.interrupt();
        static_cast<void>(session.take_stop_reply());
    }
    while (auto const found = reader.take(bytes)) {
        if (*found == PacketReader::Found::packet) static_cast<void>(session.handle(reader.payload()));
        check(reader.payload().size() <= kMaxPacketBytes, "a packet is bounded");
    }
    for (CpuState const& state : target.cpus) check_state(state);
    return 0;
}
