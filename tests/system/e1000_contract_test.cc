// The e1000 keeps the contract that the crossover relies on (crossover/frame_port_contract.h), as the fake port does.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "crossover/frame_port_contract.h"
#include "device/e1000/testing.h"

namespace backplane {
namespace {

using e1000::ReceiveWriteBack;
using e1000::testing::RunningController;

/// A controller and a small driver for it: rings of 16, one buffer a frame.
class E1000UnderTest final : public PortUnderTest {
  public:
    E1000UnderTest() { set_up(); }
    FramePort& port() override { return nic_.controller; }
    void send(Bytes const& frame, Ticks now) override {
        nic_.machine.clock.advance_to(now);
        std::vector<std::uint8_t> bytes;
        for (std::byte const byte : frame) bytes.push_back(std::to_integer<std::uint8_t>(byte));
        std::uint32_t const slot = sent_++ % kRing;
        nic_.machine.put_bytes(buffer(slot), frame);
        nic_.machine.put(
            nic_.tx_descriptor(slot),
            e1000::TransmitDescriptor{
                buffer(slot), static_cast<std::uint32_t>(frame.size()) | e1000::kTxEop | e1000::kTxIfcs | e1000::kTxRs,
                0});
        nic_.set(e1000::kTdt, sent_ % kRing);
    }
    void post_buffers(std::uint32_t count) override {
        posted_ += count;
        nic_.set(e1000::kRdt, posted_ % kRing);
    }
    std::vector<Bytes> received() override {
        collect();
        return received_;
    }
    void give_back() override {
        collect();
        post_buffers(std::exchange(not_given_back_, 0));
    }
    std::uint64_t frames_done() override {
        while (done_ != sent_ && nic_.tx_done(done_)) ++done_, ++done_before_resets_;
        return done_before_resets_;
    }
    bool take_receive_interrupt() override { return take(e1000::kCauseRxt0); }
    bool take_transmit_interrupt() override { return take(e1000::kCauseTxdw); }
    void reset() override {
        collect();
        (void)frames_done();
        nic_.set(e1000::kCtrl, nic_.get(e1000::kCtrl) | e1000::kCtrlRst);
        sent_ = done_ = posted_ = read_ = not_given_back_ = 0;
        set_up();
    }

  private:
    static constexpr std::uint32_t kRing = 16;
    static std::uint64_t buffer(std::uint32_t slot) { return e1000::testing::kTxBuffers + slot * 0x800; }

    void set_up() {
        nic_.set(e1000::kCtrl, nic_.get(e1000::kCtrl) | e1000::kCtrlSlu);
        nic_.set(e1000::kTdbal, e1000::testing::kTxRing);
        nic_.set(e1000::kTdlen, kRing * e1000::kDescriptorBytes);
        nic_.set(e1000::kTctl, e1000::kTctlEn | e1000::kTctlPsp);
        nic_.set(e1000::kRdbal, e1000::testing::kRxRing);
        nic_.set(e1000::kRdlen, kRing * e1000::kDescriptorBytes);
        for (std::uint32_t i = 0; i < kRing; ++i) {
            nic_.machine.put(nic_.rx_descriptor(i), RunningController::rx_buffer(i));
            nic_.machine.put(nic_.rx_descriptor(i) + 8, std::uint64_t{0});
            nic_.machine.put(nic_.tx_descriptor(i) + 8, std::uint64_t{0});
        }
        nic_.set(e1000::kRctl, e1000::kRctlEn | e1000::kRctlBam | e1000::kRctlSecrc);
        nic_.set(e1000::kIms, e1000::kCauseRxt0 | e1000::kCauseTxdw);
        (void)nic_.get(e1000::kIcr);
        causes_ = 0;
    }
    void collect() {
        while ((nic_.rx_status(read_).status & e1000::kStatusDd) != 0) {
            ReceiveWriteBack const status = nic_.rx_status(read_);
            Bytes frame;
            for (std::uint8_t const byte :
                 nic_.machine.get_bytes(RunningController::rx_buffer(read_ % kRing), status.length))
                frame.push_back(std::byte{byte});
            received_.push_back(std::move(frame));
            nic_.machine.put(nic_.rx_descriptor(read_) + 8, std::uint64_t{0});
            ++read_;
            ++not_given_back_;
        }
    }
    bool take(std::uint32_t cause) {
        causes_ |= nic_.get(e1000::kIcr);
        return (std::exchange(causes_, causes_ & ~cause) & cause) != 0;
    }

    RunningController nic_{kRing};
    std::uint32_t sent_{0}, done_{0}, posted_{0}, read_{0}, not_given_back_{0};
    std::uint64_t done_before_resets_{0};
    std::uint32_t causes_{0};
    std::vector<Bytes> received_;
};

class E1000Contract : public testing::TestWithParam<PortContractCase> {};

TEST_P(E1000Contract, Holds) {
    E1000UnderTest port;
    GetParam().run(port);
}

INSTANTIATE_TEST_SUITE_P(All, E1000Contract, testing::ValuesIn(kPortContract), port_contract_name);

}  // namespace
}  // namespace backplane
