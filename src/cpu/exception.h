// Exceptions as the processor names them ([SDM3A] table 6-1).
#pragma once

#include <cstdint>

namespace backplane {

enum class ExceptionVector : std::uint8_t {
    divide_error = 0,
    debug = 1,
    nmi = 2,
    breakpoint = 3,
    overflow = 4,
    bound = 5,
    invalid_opcode = 6,
    device_not_available = 7,
    double_fault = 8,
    invalid_tss = 10,
    segment_not_present = 11,
    stack_fault = 12,
    general_protection = 13,
    page_fault = 14,
    x87_error = 16,
    alignment_check = 17,
    machine_check = 18,
    simd_error = 19,
};

/// A fault an instruction met; the address of a page fault is in CR2 already.
struct Fault {
    ExceptionVector vector;
    std::uint32_t error_code;
};

[[nodiscard]] constexpr bool has_error_code(ExceptionVector vector) {
    switch (vector) {
        case ExceptionVector::double_fault:
        case ExceptionVector::invalid_tss:
        case ExceptionVector::segment_not_present:
        case ExceptionVector::stack_fault:
        case ExceptionVector::general_protection:
        case ExceptionVector::page_fault:
        case ExceptionVector::alignment_check: return true;
        default: return false;
    }
}

}  // namespace backplane
