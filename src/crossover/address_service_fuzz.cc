// Random frames for the address and name service: whatever machines send, it answers with at most one frame.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "crossover/address_service.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace backplane;
    AddressPlan const plan{.subnet = {Ipv4Address{10, 77, 0, 0}, 24},
                           .members = {{{2, 0, 0, 0, 0, 0xA}, "alpha"}, {{2, 0, 0, 0, 0, 0xB}, "beta"}},
                           .has_gateway = size % 2 != 0};
    AddressService service{{2, 0, 0, 0, 0, 1}, plan};
    service.set_carrier(true);
    ConstByteSpan const frame = std::as_bytes(std::span{data, size});
    check(service.receive({{&frame, 1}, static_cast<std::uint32_t>(size), Ticks{}}) == ReceiveResult::landed,
          "the service takes every frame");
    if (service.front() != nullptr) service.take_front();
    check(service.front() == nullptr, "one answer at most");
    return 0;
}
