// What a link costs from ring to ring, without guests: two virtio-net devices whose drivers keep their rings full, and
// beside it memcpy of the same bytes between the same buffers, in one run.
//
//   cmake --build build --target bench_link && build/bench_link
//
// Arguments: bytes of a frame; buffers that each side goes round (bytes times buffers times 2 is the working set);
// ports on the link, of which two talk. "per_frame" is the median time for one frame, of batches of 16; "working_set"
// is in bytes.
#include "crossover/link.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "crossover/fake_frame_port.h"
#include "device/e1000/testing.h"
#include "device/virtio/testing.h"

namespace backplane {
namespace {

using namespace virtio::testing;
using virtio::NetHeader;
using Clock = std::chrono::steady_clock;

constexpr int kBatch = RunningNet::kSize;
constexpr std::uint64_t kStride = (64 << 10) + 4096;

/// One side: a device whose driver goes round its buffers.
class Driver {
  public:
    Driver(std::vector<std::uint8_t> const& packet, std::uint64_t buffers)
        : packet_bytes_{static_cast<std::uint32_t>(packet.size())}, buffers_{buffers} {
        for (std::uint64_t i = 0; i < buffers; ++i) nic.machine.put_bytes(at(i), packet);
    }
    void send_batch() {
        for (int i = 0; i < kBatch; ++i) nic.transmit_ring.offer_pieces({{at(next_++), packet_bytes_, 0, 0}});
        nic.net.notify(virtio::Net::kTransmitQueue);
    }
    void post_batch() {
        for (int i = 0; i < kBatch; ++i) nic.post({{at(next_++), packet_bytes_, 0, 0}});
        nic.net.notify(virtio::Net::kReceiveQueue);
    }
    [[nodiscard]] ByteSpan buffer(std::uint64_t number) {
        return nic.machine.memory.writable(GuestPhys{at(number)}, packet_bytes_);
    }

    RunningNet nic;

  private:
    [[nodiscard]] std::uint64_t at(std::uint64_t number) const { return kBuffers + number % buffers_ * kStride; }

    std::uint32_t packet_bytes_;
    std::uint64_t buffers_;
    std::uint64_t next_{0};
};

/// A frame for the port that was attached first; longer ones than a wire takes are one TCP segment to be cut.
std::vector<std::uint8_t> packet_of(std::uint64_t bytes) {
    bool const is_segment = bytes > 1514;
    NetHeader const segment{
        virtio::kHeaderNeedsChecksum, virtio::kSegmentationTcp4, 54, 1448, e1000::testing::kTransport, 16, 0};
    std::vector<std::uint8_t> frame = is_segment ? e1000::testing::make_tcp(bytes - 54) : make_frame(bytes);
    std::memcpy(frame.data(), kMac.data(), kMac.size());
    return with_header(is_segment ? segment : NetHeader{}, frame);
}

/// Times `work` alone, once an iteration. The median, so that what else the host does counts little.
template <typename Prepare, typename Work>
void measure(benchmark::State& state, Prepare prepare, Work work) {
    std::vector<double> seconds;
    for (auto _ : state) {
        prepare();
        auto const start = Clock::now();
        work();
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
        state.SetIterationTime(seconds.back());
    }
    auto const middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    state.counters["per_frame"] = *middle / kBatch;
    state.counters["working_set"] = static_cast<double>(state.range(0) * state.range(1) * 2);
}

void link_ring_to_ring(benchmark::State& state) {
    std::vector<std::uint8_t> const packet = packet_of(static_cast<std::uint64_t>(state.range(0)));
    auto const buffers = static_cast<std::uint64_t>(state.range(1));
    Driver to{packet, buffers}, from{packet, buffers};
    std::vector<std::unique_ptr<FakeFramePort>> idle;
    Link link{{.name = "lan"}};
    link.attach(MachineId{0}, to.nic.net, "eth0");
    link.attach(MachineId{1}, from.nic.net, "eth0");
    for (std::uint16_t i = 2; i < state.range(2); ++i) {
        idle.push_back(std::make_unique<FakeFramePort>(MacAddress{2, 0, 0, 0, 0, static_cast<std::uint8_t>(i)}));
        link.attach(MachineId{i}, *idle.back(), "eth0");
    }
    Ticks barrier{};
    measure(
        state,
        [&] {
            to.post_batch();
            from.send_batch();
            barrier = barrier + microseconds(100);
        },
        [&] { link.deliver(barrier); });
    check(link.report().deliveries == static_cast<std::uint64_t>(state.iterations()) * kBatch, "all frames land");
    check(link.report().cut_frames == 0 && link.report().copies_per_frame() == 1.0, "whole, with one copy");
}

void memcpy_alone(benchmark::State& state) {
    std::vector<std::uint8_t> const packet = packet_of(static_cast<std::uint64_t>(state.range(0)));
    auto const buffers = static_cast<std::uint64_t>(state.range(1));
    Driver to{packet, buffers}, from{packet, buffers};
    std::vector<std::pair<ByteSpan, ByteSpan>> pairs;
    for (std::uint64_t i = 0; i < buffers; ++i) pairs.emplace_back(to.buffer(i), from.buffer(i));
    std::size_t next = 0;
    measure(
        state, [] {},
        [&] {
            for (int i = 0; i < kBatch; ++i) {
                auto const& [into, out] = pairs[next];
                std::memcpy(into.data(), out.data(), out.size());
                benchmark::ClobberMemory();
                next = next + 1 == pairs.size() ? 0 : next + 1;
            }
        });
}

void sizes(benchmark::internal::Benchmark* each) {
    for (std::int64_t const bytes : {1500, 64 << 10})
        for (std::int64_t const buffers : {16, 64}) each->Args({bytes, buffers, 2});
    each->UseManualTime();
}

BENCHMARK(memcpy_alone)->Apply(sizes);
BENCHMARK(link_ring_to_ring)->Apply(sizes)->Args({1500, 16, 64});

}  // namespace
}  // namespace backplane

BENCHMARK_MAIN();
