// SSE, SSE2 and MMX: the family's parts ([SDM1] chapters 9 to 11). Later vector extensions register beside them.
#include "cpu/simd.h"

namespace backplane {

void lower_sse(LowerTable& table) {
    lower_sse_float(table);
    lower_sse_convert(table);
    lower_sse_integer(table);
    lower_sse_shuffle(table);
    lower_sse_move(table);
    lower_sse_state(table);
    lower_sse4(table);
    lower_sse4_string(table);
    lower_crypto(table);
    lower_xsave(table);
    lower_avx(table);
    lower_approximate(table);
    lower_avx_move(table);
}

}  // namespace backplane
