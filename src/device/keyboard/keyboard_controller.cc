#include "device/keyboard/keyboard_controller.h"

#include <utility>

namespace backplane {

namespace {

// Status, port 0x64.
constexpr std::uint8_t kOutputFull = 0x01;
constexpr std::uint8_t kSystemFlag = 0x04;
constexpr std::uint8_t kLastWasCommand = 0x08;
constexpr std::uint8_t kNotLocked = 0x10;
// Configuration byte.
constexpr std::uint8_t kInterruptEnabled = 0x01;
constexpr std::uint8_t kKeyboardDisabled = 0x10;

// Commands of the controller.
enum Command : std::uint8_t {
    kReadConfiguration = 0x20,
    kWriteConfiguration = 0x60,
    kDisableMouse = 0xa7,
    kEnableMouse = 0xa8,
    kTestMouse = 0xa9,
    kSelfTest = 0xaa,
    kTestKeyboard = 0xab,
    kDisableKeyboard = 0xad,
    kEnableKeyboard = 0xae,
    kReadOutputPort = 0xd0,
    kWriteOutputPort = 0xd1,
    kWriteKeyboardBuffer = 0xd2,
    kPulseFirst = 0xf0,
};
constexpr std::uint8_t kSelfTestPassed = 0x55;
constexpr std::uint8_t kNoMouse = 0x01;   // its clock line is stuck low
constexpr std::uint8_t kNotReset = 0x01;  // output port and pulses: 0 resets the processor

// Commands and answers of the keyboard.
constexpr std::uint8_t kAcknowledge = 0xfa;
constexpr std::uint8_t kResend = 0xfe;
constexpr std::uint8_t kEcho = 0xee;
constexpr std::uint8_t kBasicTestPassed = 0xaa;

constexpr Ticks kKeyInterval = milliseconds(5);
constexpr std::uint8_t kShift = 0x2a;
constexpr std::uint8_t kControl = 0x1d;
constexpr std::uint8_t kExtended = 0xe0;
constexpr std::uint8_t kReleased = 0x80;

/// Scan codes of set 1 by position on a US keyboard: the characters without and with Shift, and the first one's code.
struct KeyRow {
    std::string_view plain;
    std::string_view shifted;
    std::uint8_t first_code;
};
constexpr std::array<KeyRow, 5> kRows{{
    {"\x1b"
     "1234567890-=\b\t",
     "\x1b!@#$%^&*()_+\b\t", 0x01},
    {"qwertyuiop[]\r", "QWERTYUIOP{}\r", 0x10},
    {"asdfghjkl;'`", "ASDFGHJKL:\"~", 0x1e},
    {"\\zxcvbnm,./", "|ZXCVBNM<>?", 0x2b},
    {" ", " ", 0x39},
}};

struct FoundKey {
    std::uint8_t code{0};  // 0: there is no such key
    std::uint8_t modifier{0};
};

/// What terminals send for keys that are no characters (as xterm and the Linux console do).
struct SequenceKey {
    std::string_view sequence;
    std::uint8_t modifier;  // kExtended: the code has the prefix E0
    std::uint8_t code;
};
constexpr auto kSequences = std::to_array<SequenceKey>({
    {"\x1b[A", kExtended, 0x48},  {"\x1b[B", kExtended, 0x50},  {"\x1b[C", kExtended, 0x4d},  {"\x1b[D", kExtended, 0x4b},
    {"\x1bOA", kExtended, 0x48},  {"\x1bOB", kExtended, 0x50},  {"\x1bOC", kExtended, 0x4d},  {"\x1bOD", kExtended, 0x4b},
    {"\x1b[H", kExtended, 0x47},  {"\x1b[F", kExtended, 0x4f},  {"\x1b[1~", kExtended, 0x47}, {"\x1b[4~", kExtended, 0x4f},
    {"\x1b[2~", kExtended, 0x52}, {"\x1b[3~", kExtended, 0x53}, {"\x1b[5~", kExtended, 0x49}, {"\x1b[6~", kExtended, 0x51},
    {"\x1bOP", 0, 0x3b},          {"\x1bOQ", 0, 0x3c},          {"\x1bOR", 0, 0x3d},          {"\x1bOS", 0, 0x3e},
    {"\x1b[15~", 0, 0x3f},        {"\x1b[17~", 0, 0x40},        {"\x1b[18~", 0, 0x41},        {"\x1b[19~", 0, 0x42},
    {"\x1b[20~", 0, 0x43},        {"\x1b[21~", 0, 0x44},        {"\x1b[23~", 0, 0x57},        {"\x1b[24~", 0, 0x58},
});

SequenceKey const* find_sequence(std::string_view text) {
    for (SequenceKey const& key : kSequences)
        if (text.starts_with(key.sequence)) return &key;
    return nullptr;
}

/// Enter and Backspace also as a terminal or a pipe sends them.
FoundKey find_key(char character) {
    if (character == '\n') character = '\r';
    if (character == '\x7f') character = '\b';
    for (KeyRow const& row : kRows) {
        if (auto const at = row.plain.find(character); at != std::string_view::npos)
            return {static_cast<std::uint8_t>(row.first_code + at), 0};
        if (auto const at = row.shifted.find(character); at != std::string_view::npos)
            return {static_cast<std::uint8_t>(row.first_code + at), kShift};
    }
    if (character >= 1 && character <= 26) return {find_key(static_cast<char>(character - 1 + 'a')).code, kControl};
    return {};
}

}  // namespace

Expected<void, Error> KeyboardController::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach_ports(kDataPort, 1, *this));
    return bus.attach_ports(kCommandPort, 1, command_port_);
}

void KeyboardController::reset() {
    state_ = State{};
    update();
}

bool KeyboardController::is_listening() const {
    return state_.scanning && (state_.configuration & kKeyboardDisabled) == 0;
}

/// A key goes down and up while the modifier (0: none; or the prefix of an extended key) is held.
bool KeyboardController::press(std::uint8_t modifier, std::uint8_t code) {
    constexpr std::size_t kMostCodes = 4;
    if (room() < kMostCodes) return false;
    if (!is_listening()) return true;
    if (modifier != 0) answer(modifier);
    answer(code);
    if (modifier == kExtended) answer(kExtended);
    answer(code | kReleased);
    if (modifier != 0 && modifier != kExtended) answer(modifier | kReleased);
    return true;
}

bool KeyboardController::type(char character) {
    FoundKey const key = find_key(character);
    return key.code == 0 || press(key.modifier, key.code);
}

std::size_t KeyboardController::type(ConstByteSpan bytes) {
    std::string_view const text{reinterpret_cast<char const*>(bytes.data()), bytes.size()};
    std::size_t taken = 0;
    while (taken < text.size() && waiting_.size() < kMostWaiting) {
        auto const* const sequence = find_sequence(text.substr(taken));
        auto const plain = find_key(text[taken]);
        if (sequence != nullptr)
            waiting_.push_back({sequence->modifier, sequence->code});
        else if (plain.code != 0)
            waiting_.push_back({plain.modifier, plain.code});
        taken += sequence != nullptr ? sequence->sequence.size() : 1;
    }
    if (!waiting_.empty() && !typist_.is_armed()) typist_.arm(clock_.now() + kKeyInterval);
    return taken;
}

void KeyboardController::press_next() {
    [[maybe_unused]] bool const is_taken = press(waiting_.front().modifier, waiting_.front().code);
    waiting_.pop_front();
    if (!waiting_.empty()) typist_.arm(clock_.now() + kKeyInterval);
}

/// What does not fit is lost: a guest that sends commands and never reads has itself to blame.
void KeyboardController::answer(std::uint8_t value) {
    if (room() == 0) return;
    state_.buffer[(state_.first + state_.count++) % kBufferBytes] = value;
    update();
}

void KeyboardController::update() { line_.set(state_.count != 0 && (state_.configuration & kInterruptEnabled) != 0); }

std::uint64_t KeyboardController::read(std::uint64_t /*offset*/, Width /*width*/) {
    std::uint8_t const value = state_.buffer[state_.first];  // when nothing is there, the last byte again
    if (state_.count == 0) return state_.buffer[(state_.first + kBufferBytes - 1) % kBufferBytes];
    state_.first = (state_.first + 1) % kBufferBytes;
    --state_.count;
    line_.set(false);  // each byte is an edge of its own
    update();
    return value;
}

void KeyboardController::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    state_.last_was_command = false;
    auto const byte = static_cast<std::uint8_t>(value);
    if (state_.controller_expects != 0)
        controller_data(byte);
    else
        keyboard_data(byte);
}

std::uint64_t KeyboardController::CommandPort::read(std::uint64_t /*offset*/, Width /*width*/) {
    State const& state = owner_.state_;
    return kNotLocked | (state.count != 0 ? kOutputFull : 0U) | (state.configuration & kSystemFlag) |
           (state.last_was_command ? kLastWasCommand : 0U);
}

void KeyboardController::CommandPort::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    owner_.command(static_cast<std::uint8_t>(value));
}

void KeyboardController::command(std::uint8_t value) {
    state_.last_was_command = true;
    state_.controller_expects = 0;
    switch (value) {
        case kReadConfiguration:
            return answer(state_.configuration);
        case kTestMouse:
            return answer(kNoMouse);
        case kSelfTest:
            state_.configuration |= kSystemFlag;
            return answer(kSelfTestPassed);
        case kTestKeyboard:
            return answer(0);
        case kDisableKeyboard:
            state_.configuration |= kKeyboardDisabled;
            return;
        case kEnableKeyboard:
            state_.configuration &= static_cast<std::uint8_t>(~kKeyboardDisabled);
            return;
        case kReadOutputPort:
            return answer(state_.output_port);
        case kWriteConfiguration:
        case kWriteOutputPort:
        case kWriteKeyboardBuffer:
        case 0xd3:  // for the mouse: the byte goes nowhere
        case 0xd4:
            state_.controller_expects = value;
            return;
        default:
            break;
    }
    if (value >= kPulseFirst && (value & kNotReset) == 0) power_.request(PowerEvent::reset);
}

void KeyboardController::controller_data(std::uint8_t value) {
    switch (std::exchange(state_.controller_expects, std::uint8_t{0})) {
        case kWriteConfiguration:
            state_.configuration = value;
            return update();
        case kWriteOutputPort:
            state_.output_port = value;
            if ((value & kNotReset) == 0) power_.request(PowerEvent::reset);
            return;
        case kWriteKeyboardBuffer:
            return answer(value);
        default:
            return;
    }
}

void KeyboardController::keyboard_data(std::uint8_t value) {
    if (std::exchange(state_.keyboard_expects, std::uint8_t{0}) != 0) return answer(kAcknowledge);
    switch (value) {
        case 0xed:  // lights
        case 0xf0:  // scan code set
        case 0xf3:  // repeat rate
            state_.keyboard_expects = value;
            return answer(kAcknowledge);
        case 0xee:
            return answer(kEcho);
        case 0xf2:
            answer(kAcknowledge);
            answer(0xab);
            return answer(0x83);
        case 0xf4:
        case 0xf5:
        case 0xf6:
            state_.scanning = value != 0xf5;
            return answer(kAcknowledge);
        case 0xff:
            state_.scanning = true;
            answer(kAcknowledge);
            return answer(kBasicTestPassed);
        default:
            return answer(kResend);
    }
}

}  // namespace backplane
