// What the tests of many devices write into: a console that is kept, and messages that are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "device/byte_port.h"
#include "interrupt/message.h"

namespace backplane {

class TextSink final : public ByteSink {
  public:
    void put(ConstByteSpan bytes) override { text.append(reinterpret_cast<char const*>(bytes.data()), bytes.size()); }
    std::string take() { return std::exchange(text, {}); }
    std::string text;
};

class MessageLog final : public MessageSink {
  public:
    bool send_msi(GuestPhys address, std::uint32_t data) override {
        sent.emplace_back(address.value(), data);
        return true;
    }
    std::vector<std::pair<std::uint64_t, std::uint32_t>> sent;  ///< address, data
};

}  // namespace backplane
