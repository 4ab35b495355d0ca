#include "crossover/fake_frame_port.h"

#include <gtest/gtest.h>

#include "crossover/frame_port_contract.h"

namespace backplane {
namespace {

class FakeUnderTest final : public PortUnderTest {
  public:
    FramePort& port() override { return fake_; }
    void send(Bytes const& frame, Ticks now) override { fake_.send(frame, now); }
    void post_buffers(std::uint32_t count) override { fake_.post_buffers(count); }
    std::vector<Bytes> received() override { return fake_.received; }
    void give_back() override { fake_.read(fake_.landed_count()); }
    std::uint64_t frames_done() override { return fake_.frames_done; }
    bool take_receive_interrupt() override { return std::exchange(fake_.receive_interrupts, 0) != 0; }
    bool take_transmit_interrupt() override { return std::exchange(fake_.transmit_interrupts, 0) != 0; }
    void reset() override { fake_.reset(); }

  private:
    FakeFramePort fake_{MacAddress{0x52, 0x54, 0, 0, 0, 1}};
};

class FakeFramePortContract : public testing::TestWithParam<PortContractCase> {};

TEST_P(FakeFramePortContract, Holds) {
    FakeUnderTest port;
    GetParam().run(port);
}

INSTANTIATE_TEST_SUITE_P(All, FakeFramePortContract, testing::ValuesIn(kPortContract), port_contract_name);

}  // namespace
}  // namespace backplane
