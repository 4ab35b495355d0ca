// The register map: one table, and the way from an offset to its row. [8254x] table 13-2.
#include "device/e1000/registers.h"

#include <array>
#include <cstdint>

#include "device/e1000/controller.h"

namespace backplane::e1000 {

struct RegisterTable {
    using C = Controller;
    struct Row {
        std::uint32_t offset;
        std::uint32_t count;  ///< registers of this kind in a row
        char const* name;
        std::uint32_t reset;
        std::uint32_t writable;
        void (C::*written)(C::Write const&) = nullptr;      ///< called after the writable bits are stored
        std::uint32_t (C::*read)(std::uint32_t) = nullptr;  ///< instead of the stored value
    };

    static constexpr std::uint32_t kAll = 0xFFFFFFFF;
    static constexpr std::uint32_t kIndex = 0x0000FFFF;   // ring indices and delays
    static constexpr std::uint32_t kLength = 0x000FFF80;  // whole blocks of 128 bytes
    static constexpr std::uint32_t kReset = kCtrlRst | kCtrlPhyRst;

    // clang-format off
    static constexpr auto make_rows() {
      return std::to_array<Row>({
        // offset, count, name,      reset,       writable
        {kCtrl,    1,    "CTRL",     kCtrlFd | kCtrlSlu | kCtrlSpeed1000, kAll & ~kReset, &C::write_ctrl},
        {kStatus,  1,    "STATUS",   kStatusFd | kStatusSpeed1000 | kStatusAsdv1000, 0},
        {kEecd,    1,    "EECD",     0,           0,          &C::write_eecd_pins, &C::read_eecd_pins},
        {kEerd,    1,    "EERD",     0,           0,          &C::write_eerd},
        {0x0018,   1,    "CTRL_EXT", 0,           kAll},
        {0x001C,   1,    "FLA",      0,           0},
        {kMdic,    1,    "MDIC",     kMdicReady,  0,          &C::write_mdic},
        {0x0028,   1,    "FCAL",     0x00C28001,  kAll},
        {0x002C,   1,    "FCAH",     0x00000100,  0xFFFF},
        {0x0030,   1,    "FCT",      0x00008808,  0xFFFF},
        {kVet,     1,    "VET",      0x00008100,  0xFFFF},
        {kIcr,     1,    "ICR",      0,           0,          &C::write_icr,       &C::read_icr},
        {kItr,     1,    "ITR",      0,           kIndex,     &C::write_itr},
        {kIcs,     1,    "ICS",      0,           0,          &C::write_ics},
        {kIms,     1,    "IMS",      0,           0,          &C::write_ims},
        {kImc,     1,    "IMC",      0,           0,          &C::write_imc},
        {kRctl,    1,    "RCTL",     0,           0x07FFFFFE, &C::write_rctl},
        {0x0170,   1,    "FCTTV",    0,           0xFFFF},
        {0x0178,   1,    "TXCW",     0,           kAll},
        {0x0180,   1,    "RXCW",     0,           0},
        {kTctl,    1,    "TCTL",     0,           0x03FFFFFA, &C::write_tctl},
        {0x0410,   1,    "TIPG",     0,           0x3FFFFFFF},
        {0x0458,   1,    "AIFS",     0,           0xFFFF},
        {0x0E00,   1,    "LEDCTL",   0x07068302,  kAll},
        {kPba,     1,    "PBA",      0x00100030,  0x7F,       &C::write_pba},
        {0x2160,   1,    "FCRTL",    0,           0x8000FFF8},
        {0x2168,   1,    "FCRTH",    0,           0x0000FFF8},
        {0x2410,   1,    "RDFH",     0,           0x1FFF},
        {0x2418,   1,    "RDFT",     0,           0x1FFF},
        {0x2420,   1,    "RDFHS",    0,           0x1FFF},
        {0x2428,   1,    "RDFTS",    0,           0x1FFF},
        {0x2430,   1,    "RDFPC",    0,           0x1FFF},
        {kRdbal,   1,    "RDBAL",    0,           kAll & ~0xFU, &C::write_receive_ring},
        {kRdbah,   1,    "RDBAH",    0,           kAll,       &C::write_receive_ring},
        {kRdlen,   1,    "RDLEN",    0,           kLength,    &C::write_receive_ring},
        {kRdh,     1,    "RDH",      0,           kIndex,     &C::write_receive_ring},
        {kRdt,     1,    "RDT",      0,           kIndex,     &C::write_rdt},
        {kRdtr,    1,    "RDTR",     0,           kIndex,     &C::write_rdtr},
        {0x2828,   1,    "RXDCTL",   0x00010000,  0x013F3F3F},
        {kRadv,    1,    "RADV",     0,           kIndex},
        {0x2C00,   1,    "RSRPD",    0,           0x0FFF},
        {0x3000,   1,    "TXDMAC",   0,           1},
        {0x3410,   1,    "TDFH",     0,           0x1FFF},
        {0x3418,   1,    "TDFT",     0,           0x1FFF},
        {0x3420,   1,    "TDFHS",    0,           0x1FFF},
        {0x3428,   1,    "TDFTS",    0,           0x1FFF},
        {0x3430,   1,    "TDFPC",    0,           0x1FFF},
        {kTdbal,   1,    "TDBAL",    0,           kAll & ~0xFU, &C::write_transmit_ring},
        {kTdbah,   1,    "TDBAH",    0,           kAll,       &C::write_transmit_ring},
        {kTdlen,   1,    "TDLEN",    0,           kLength,    &C::write_transmit_ring},
        {kTdh,     1,    "TDH",      0,           kIndex,     &C::write_transmit_ring},
        {kTdt,     1,    "TDT",      0,           kIndex,     &C::write_tdt},
        {kTidv,    1,    "TIDV",     0,           kIndex,     &C::write_tidv},
        {0x3828,   1,    "TXDCTL",   0,           0xFF3F3F3F},
        {kTadv,    1,    "TADV",     0,           kIndex},
        {0x3830,   1,    "TSPMT",    0x01000400,  kAll},
        {kStatistics, (kGorcl - kStatistics) / 4, "CRCERRS to GPTC", 0, 0, nullptr, &C::read_statistic},
        {kGorcl,   1,    "GORCL",    0,           0,          nullptr, &C::read_low_octets},
        {kGorcl + 4, 1,  "GORCH",    0,           0,          nullptr, &C::read_high_octets},
        {kGotcl,   1,    "GOTCL",    0,           0,          nullptr, &C::read_low_octets},
        {kGotcl + 4, 1,  "GOTCH",    0,           0,          nullptr, &C::read_high_octets},
        {0x4098,   (kTorl - 0x4098) / 4, "RNBC to MGTPTC", 0, 0, nullptr, &C::read_statistic},
        {kTorl,    1,    "TORL",     0,           0,          nullptr, &C::read_low_octets},
        {kTorl + 4, 1,   "TORH",     0,           0,          nullptr, &C::read_high_octets},
        {kTotl,    1,    "TOTL",     0,           0,          nullptr, &C::read_low_octets},
        {kTotl + 4, 1,   "TOTH",     0,           0,          nullptr, &C::read_high_octets},
        {kTpr,     (kStatistics + 4 * kStatisticsCount - kTpr) / 4, "TPR to TSCTFC", 0, 0, nullptr, &C::read_statistic},
        {kRxcsum,  1,    "RXCSUM",   0,           0x3FF},
        {kMta,     128,  "MTA",      0,           kAll},
        {kRa,      32,   "RAL, RAH", 0,           kAll,       &C::write_receive_address},
        {kVfta,    128,  "VFTA",     0,           kAll},
        {0x5800,   1,    "WUC",      0,           kAll},
        {0x5808,   1,    "WUFC",     0,           kAll},
        {0x5810,   1,    "WUS",      0,           0},
        {0x5820,   1,    "MANC",     0,           kAll},
        {0x5838,   1,    "IPAV",     0,           0x000100FF},
        {0x5840,   8,    "IP4AT",    0,           kAll},
        {0x5880,   4,    "IP6AT",    0,           kAll},
        {0x5900,   1,    "WUPL",     0,           0},
        {0x5A00,   32,   "WUPM",     0,           0},
        {0x5F00,   8,    "FFLT",     0,           kAll},
      });
    }
    // clang-format on
};

namespace {

constexpr auto kRows = RegisterTable::make_rows();
constexpr std::uint8_t kNoRow = 0xFF;
static_assert(kRows.size() < kNoRow);

constexpr std::array<std::uint8_t, kRegisterBytes / 4> make_index() {
    std::array<std::uint8_t, kRegisterBytes / 4> rows{};
    rows.fill(kNoRow);
    for (std::size_t row = 0; row < kRows.size(); ++row) {
        for (std::uint32_t i = 0; i < kRows[row].count; ++i) {
            rows[kRows[row].offset / 4 + i] = static_cast<std::uint8_t>(row);
        }
    }
    return rows;
}
constexpr auto kRowOf = make_index();  // by offset / 4

RegisterTable::Row const* find(std::uint32_t offset) {
    if (offset >= kRegisterBytes || offset % 4 != 0 || kRowOf[offset / 4] == kNoRow) return nullptr;
    return &kRows[kRowOf[offset / 4]];
}

}  // namespace

std::uint32_t Controller::read_register(std::uint32_t offset) {
    RegisterTable::Row const* const row = find(offset);
    if (row == nullptr) {
        ++errors_.bad_accesses;
        return 0;
    }
    return row->read != nullptr ? (this->*row->read)(offset) : state_.at(offset);
}

void Controller::write_register(std::uint32_t offset, std::uint32_t value) {
    RegisterTable::Row const* const row = find(offset);
    if (row == nullptr) {
        ++errors_.bad_accesses;
        return;
    }
    std::uint32_t const before = state_.at(offset);
    state_.at(offset) = (before & ~row->writable) | (value & row->writable);
    if (row->written != nullptr) (this->*row->written)({offset, before, value});
}

// The multicast and VLAN tables and the receive addresses keep what they hold ([8254x] 14.3); power-on starts from
// zeros.
void Controller::reset_registers() {
    for (RegisterTable::Row const& row : kRows) {
        if (row.offset == kMta || row.offset == kVfta || row.offset == kRa) continue;
        for (std::uint32_t i = 0; i < row.count; ++i) state_.at(row.offset + 4 * i) = row.reset;
    }
}

}  // namespace backplane::e1000
