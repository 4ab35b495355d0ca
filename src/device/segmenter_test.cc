#include "device/segmenter.h"

#include <gtest/gtest.h>

#include <vector>

#include "device/e1000/testing.h"

namespace backplane {
namespace {

using namespace e1000::testing;

constexpr std::size_t kPayload = 2500;
constexpr std::uint16_t kEach = 1000;

/// A TCP packet as a driver hands it over whole: IP header right, checksum field with the pseudo header's sum.
std::vector<std::uint8_t> make_whole(std::size_t payload) {
    std::vector<std::uint8_t> frame = make_summed_tcp(payload);
    put_be16(frame, kTransport + 16, 0);
    std::uint32_t const pseudo = pseudo_sum(frame) + static_cast<std::uint32_t>(20 + payload);
    put_be16(frame, kTransport + 16, plain_sum(frame, 0, 0, pseudo));
    return frame;
}

Offload whole_tcp() {
    return {.needs_checksum = true,
            .segments = Offload::Segments::tcp_ipv4,
            .checksum_start = kTransport,
            .checksum_offset = 16,
            .segment_bytes = kEach,
            .header_bytes = 54};
}

/// The frame in pieces of an odd size.
class Pieced {
  public:
    Pieced(std::vector<std::uint8_t> bytes, Offload const& offload) : bytes_{std::move(bytes)} {
        ConstByteSpan const all = std::as_bytes(std::span{bytes_});
        for (std::size_t at = 0; at < all.size(); at += 37)
            pieces_.push_back(all.subspan(at, std::min<std::size_t>(37, all.size() - at)));
        frame = {pieces_, static_cast<std::uint32_t>(bytes_.size()), Ticks{5}, offload};
    }
    Frame frame;

  private:
    std::vector<std::uint8_t> bytes_;
    std::vector<ConstByteSpan> pieces_;
};

TEST(Segmenter, CutsIpv4AndSumsEachSegment) {
    std::vector<std::uint8_t> const whole = make_whole(kPayload);
    Pieced const packet{whole, whole_tcp()};
    ASSERT_TRUE(is_consistent(packet.frame));
    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(packet.frame), 3U);
    for (std::uint32_t i = 0; i < 3; ++i) {
        Frame const& frame = segmenter.segment(i);
        std::vector<std::uint8_t> const segment = bytes_in(frame);
        std::size_t const payload = i == 2 ? 500 : 1000;
        ASSERT_EQ(segment.size(), 54 + payload);
        EXPECT_EQ(frame.bytes, segment.size());
        EXPECT_EQ(frame.sent, Ticks{5});
        EXPECT_TRUE(frame.offload.is_finished());
        EXPECT_TRUE(frame.offload.is_checked);
        EXPECT_EQ(get_be16(segment, kIp + 2), 40 + payload);
        EXPECT_EQ(get_be16(segment, kIp + 4), 0x1234 + i);
        EXPECT_EQ(get_be32(segment, kTransport + 4), 0x0102FFFE + i * kEach);
        EXPECT_EQ(segment[kTransport + 13], i == 2 ? 0x19 : 0x10) << "FIN and PSH on the last one only";
        EXPECT_TRUE(has_right_ip_sum(segment));
        EXPECT_TRUE(has_right_tcp_sum(segment));
        EXPECT_TRUE(std::equal(segment.begin() + 54, segment.end(), whole.begin() + 54 + i * kEach));
    }
}

TEST(Segmenter, AnyOrderGivesTheSameSegments) {
    Pieced const packet{make_whole(kPayload), whole_tcp()};
    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(packet.frame), 3U);
    std::vector<std::uint8_t> const first = bytes_in(segmenter.segment(0));
    std::vector<std::uint8_t> const last = bytes_in(segmenter.segment(2));
    EXPECT_EQ(bytes_in(segmenter.segment(0)), first);
    ASSERT_EQ(segmenter.start(packet.frame), 3U);
    EXPECT_EQ(bytes_in(segmenter.segment(2)), last);
}

TEST(Segmenter, CutsIpv6BehindAVlanTag) {
    constexpr std::size_t kIpv6 = 18;
    constexpr std::size_t kTcp = 58;
    std::vector<std::uint8_t> frame = make_frame(kTcp + 20 + 300);
    std::fill(frame.begin() + 12, frame.begin() + kTcp + 20, 0);
    put_be16(frame, 12, 0x8100);
    put_be16(frame, 16, 0x86DD);
    frame[kIpv6] = 0x60;
    put_be16(frame, kIpv6 + 4, 320);
    frame[kIpv6 + 6] = 6;
    for (std::size_t i = 8; i < 40; ++i) frame[kIpv6 + i] = static_cast<std::uint8_t>(i);
    frame[kTcp + 12] = 0x50;
    put_be16(frame, kTcp + 16, plain_sum(frame, kIpv6 + 8, kIpv6 + 40, 6 + 320));
    Pieced const packet{frame,
                        {.needs_checksum = true,
                         .segments = Offload::Segments::tcp_ipv6,
                         .checksum_start = kTcp,
                         .checksum_offset = 16,
                         .segment_bytes = 200}};
    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(packet.frame), 2U);
    for (std::uint32_t i = 0; i < 2; ++i) {
        std::vector<std::uint8_t> const segment = bytes_in(segmenter.segment(i));
        std::uint32_t const tcp_bytes = 20 + (i == 0 ? 200 : 100);
        ASSERT_EQ(segment.size(), kTcp + tcp_bytes);
        EXPECT_EQ(get_be16(segment, kIpv6 + 4), tcp_bytes);
        std::uint32_t const pseudo = plain_sum(segment, kIpv6 + 8, kIpv6 + 40, 6 + tcp_bytes);
        EXPECT_EQ(plain_sum(segment, kTcp, segment.size(), pseudo), 0xFFFF);
    }
}

TEST(Segmenter, SumsWhatIsOnlyUnsummed) {
    for (std::size_t const payload : {0, 1, 77, 1460}) {
        Pieced const packet{make_whole(payload),
                            {.needs_checksum = true, .checksum_start = kTransport, .checksum_offset = 16}};
        Segmenter segmenter;
        ASSERT_EQ(segmenter.start(packet.frame), 1U);
        Frame const& frame = segmenter.segment(0);
        EXPECT_EQ(bytes_in(frame), make_summed_tcp(payload));
        EXPECT_EQ(frame.bytes, 54 + payload);
        EXPECT_TRUE(frame.offload.is_finished());
    }
}

TEST(Segmenter, FinishedFramesPass) {
    Pieced const packet{make_frame(100), {}};
    Segmenter segmenter;
    ASSERT_EQ(segmenter.start(packet.frame), 1U);
    EXPECT_EQ(bytes_in(segmenter.segment(0)), make_frame(100));
    EXPECT_FALSE(segmenter.segment(0).offload.is_checked);
}

TEST(Segmenter, ContradictionsMakeNoFrame) {
    auto const expect_none = [](std::vector<std::uint8_t> const& bytes, Offload const& offload) {
        Pieced const packet{bytes, offload};
        EXPECT_FALSE(is_consistent(packet.frame));
        EXPECT_EQ(Segmenter{}.start(packet.frame), 0U);
    };
    std::vector<std::uint8_t> const good = make_whole(kPayload);
    auto const changed = [](auto change) {
        Offload offload = whole_tcp();
        change(offload);
        return offload;
    };
    expect_none(good, changed([](Offload& o) { o.segment_bytes = 0; }));
    expect_none(good, changed([](Offload& o) { o.needs_checksum = false; }));
    expect_none(good, changed([](Offload& o) { o.segments = Offload::Segments::tcp_ipv6; }));
    expect_none(good, changed([](Offload& o) { o.checksum_start = kTransport + 4; }));
    expect_none(good, changed([](Offload& o) { o.checksum_start = 8; }));
    expect_none(good, changed([](Offload& o) { o.checksum_start = 0xFFFF; }));
    expect_none(good, changed([](Offload& o) { o.checksum_offset = 6; }));
    std::vector<std::uint8_t> bad = good;
    bad[kTransport + 12] = 0x40;  // a TCP header that is too short
    expect_none(bad, whole_tcp());
    bad = good;
    bad[kIp] = 0x46;  // options that are not there
    expect_none(bad, whole_tcp());
    bad = good;
    bad[kIp + 9] = 17;
    expect_none(bad, whole_tcp());
    expect_none({good.begin(), good.begin() + 53}, whole_tcp());
    expect_none(make_whole(65535), whole_tcp());
    expect_none(make_frame(60), {.needs_checksum = true, .checksum_start = 50, .checksum_offset = 9});
    expect_none(make_frame(60), {.needs_checksum = true, .checksum_start = 13, .checksum_offset = 6});
}

}  // namespace
}  // namespace backplane
