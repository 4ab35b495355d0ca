// The x87's instructions ([SDM1] 8.3): the family's parts.
#include "cpu/x87.h"

namespace backplane {

Op const* raise_x87_unavailable(Cpu& cpu, Op const* op) {
    return cpu.raise(op, cpu.x87_ok() ? ExceptionVector::x87_error : ExceptionVector::device_not_available);
}

void lower_x87(LowerTable& table) {
    lower_x87_arithmetic(table);
    lower_x87_compare(table);
    lower_x87_move(table);
    lower_x87_function(table);
    lower_x87_control(table);
}

}  // namespace backplane
