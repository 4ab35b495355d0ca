// virtio-net under the list of tests that every port has to pass.
#include <gtest/gtest.h>

#include "crossover/frame_port_contract.h"
#include "device/virtio/testing.h"

namespace backplane {
namespace {

using namespace virtio;
using virtio::testing::RunningNet;

class VirtioUnderTest final : public PortUnderTest {
  public:
    FramePort& port() override { return nic_.net; }
    void send(Bytes const& frame, Ticks now) override {
        nic_.machine.clock.advance_to(now);
        std::vector<std::uint8_t> bytes;
        for (std::byte const byte : frame) bytes.push_back(std::to_integer<std::uint8_t>(byte));
        nic_.send(virtio::testing::with_header({}, bytes), virtio::testing::kBuffers + 0x200000 + 0x1000 * sent_++);
    }
    void post_buffers(std::uint32_t count) override {
        for (std::uint32_t i = 0; i < count; ++i) places_.push_back(nic_.post_buffer());
    }
    std::vector<Bytes> received() override {
        collect();
        return received_;
    }
    void give_back() override { post_buffers(static_cast<std::uint32_t>(nic_.receive_ring.used_index())); }
    std::uint64_t frames_done() override { return done_before_ + nic_.transmit_ring.used_index(); }
    bool take_receive_interrupt() override { return take_interrupt(0); }
    bool take_transmit_interrupt() override { return take_interrupt(1); }
    void reset() override {
        collect();
        done_before_ += nic_.transmit_ring.used_index();
        nic_.set_up(virtio::testing::kEverything);
        places_.clear();
        seen_ = 0;
    }

  private:
    bool take_interrupt(std::uint16_t vector) {
        bool const is_raised = nic_.machine.last_vector == vector;
        if (is_raised) nic_.machine.last_vector = kNoVector;
        return is_raised;
    }
    void collect() {
        for (; seen_ < nic_.receive_ring.used_index(); ++seen_) {
            std::size_t const bytes = nic_.receive_ring.used_at(seen_).bytes - sizeof(NetHeader);
            Bytes frame(bytes);
            check(nic_.machine.memory.read(GuestPhys{places_[seen_] + sizeof(NetHeader)}, frame), "buffers are RAM");
            received_.push_back(std::move(frame));
        }
    }

    RunningNet nic_;
    std::vector<std::uint64_t> places_;
    std::vector<Bytes> received_;
    std::uint16_t seen_{0};
    std::uint64_t done_before_{0};
    std::uint64_t sent_{0};
};

class VirtioNetPortContract : public ::testing::TestWithParam<PortContractCase> {};

TEST_P(VirtioNetPortContract, Holds) {
    VirtioUnderTest port;
    GetParam().run(port);
}

INSTANTIATE_TEST_SUITE_P(All, VirtioNetPortContract, ::testing::ValuesIn(kPortContract), port_contract_name);

}  // namespace
}  // namespace backplane
