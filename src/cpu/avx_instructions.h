// The list of VEX-encoded vector instructions whose meaning is the host's own instruction: name, shape, and what its
// floating-point exceptions can be. Moves, masked moves and gathers are in lower_avx_move.cc.
//
// A shape says which registers a piece of code `name operands; ret` takes (avx.cc): XMM1 and XMM2 are the first and the
// last source, XMM0 is the destination, XMM3 a fourth operand, RAX a general register. `_X` and `_Y` exist with 128 or
// 256 bits only.
#pragma once

// clang-format off

/// name, shape, Arithmetic (`none`: raises nothing), Lanes
#define BACKPLANE_VEX_FOUR_TYPES(V, name, arithmetic) \
    V(name##PS, BINARY, arithmetic, four_singles) V(name##PD, BINARY, arithmetic, two_doubles) \
    V(name##SS, BINARY_X, arithmetic, one_single) V(name##SD, BINARY_X, arithmetic, one_double)
#define BACKPLANE_VEX_PACKED_TYPES(V, name, shape, arithmetic) \
    V(name##PS, shape, arithmetic, four_singles) V(name##PD, shape, arithmetic, two_doubles)
#define BACKPLANE_VEX_INTEGER(V, name) V(name, BINARY, none, one_single)

#define BACKPLANE_VEX_FMA_PACKED(V, name) \
    BACKPLANE_VEX_PACKED_TYPES(V, name##132, BINARY, fused) \
    BACKPLANE_VEX_PACKED_TYPES(V, name##213, BINARY, fused) \
    BACKPLANE_VEX_PACKED_TYPES(V, name##231, BINARY, fused)
#define BACKPLANE_VEX_FMA(V, name) \
    BACKPLANE_VEX_FOUR_TYPES(V, name##132, fused) \
    BACKPLANE_VEX_FOUR_TYPES(V, name##213, fused) \
    BACKPLANE_VEX_FOUR_TYPES(V, name##231, fused)

#define BACKPLANE_VEX_LIST(V) \
    /* floating point ([SDM1] 14.1) */ \
    BACKPLANE_VEX_FOUR_TYPES(V, VADD, add) \
    BACKPLANE_VEX_FOUR_TYPES(V, VSUB, subtract) \
    BACKPLANE_VEX_FOUR_TYPES(V, VMUL, multiply) \
    BACKPLANE_VEX_FOUR_TYPES(V, VDIV, divide) \
    BACKPLANE_VEX_FOUR_TYPES(V, VMIN, exact) \
    BACKPLANE_VEX_FOUR_TYPES(V, VMAX, exact) \
    BACKPLANE_VEX_PACKED_TYPES(V, VSQRT, UNARY, exact) \
    V(VSQRTSS, BINARY_X, exact, one_single) V(VSQRTSD, BINARY_X, exact, one_double) \
    BACKPLANE_VEX_PACKED_TYPES(V, VAND, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VANDN, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VOR, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VXOR, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VUNPCKL, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VUNPCKH, BINARY, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VADDSUB, BINARY, fused) \
    BACKPLANE_VEX_PACKED_TYPES(V, VHADD, BINARY, fused) \
    BACKPLANE_VEX_PACKED_TYPES(V, VHSUB, BINARY, fused) \
    BACKPLANE_VEX_PACKED_TYPES(V, VSHUF, BINARY_IMM, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VBLEND, BINARY_IMM, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VBLENDV, SELECT, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VCMP, BINARY_IMM, exact) \
    V(VCMPSS, BINARY_IMM_X, exact, one_single) V(VCMPSD, BINARY_IMM_X, exact, one_double) \
    BACKPLANE_VEX_PACKED_TYPES(V, VROUND, UNARY_IMM, exact) \
    V(VROUNDSS, BINARY_IMM_X, exact, one_single) V(VROUNDSD, BINARY_IMM_X, exact, one_double) \
    V(VINSERTPS, BINARY_IMM_X, none, one_single) \
    V(VCOMISS, COMPARE, exact, one_single) V(VCOMISD, COMPARE, exact, one_double) \
    V(VUCOMISS, COMPARE, exact, one_single) V(VUCOMISD, COMPARE, exact, one_double) \
    V(VMOVSHDUP, UNARY, none, one_single) V(VMOVSLDUP, UNARY, none, one_single) V(VMOVDDUP, UNARY, none, one_single) \
    BACKPLANE_VEX_PACKED_TYPES(V, VMOVMSK, SIGNS, none) \
    BACKPLANE_VEX_PACKED_TYPES(V, VTEST, TEST, none) \
    /* conversions */ \
    V(VCVTDQ2PS, UNARY, exact, four_singles) V(VCVTPS2DQ, UNARY, exact, four_singles) \
    V(VCVTTPS2DQ, UNARY, exact, four_singles) \
    V(VCVTPS2PD, WIDEN, exact, two_doubles) V(VCVTDQ2PD, WIDEN, exact, two_doubles) \
    V(VCVTPD2PS, NARROW, narrow, four_singles) V(VCVTPD2DQ, NARROW, exact, two_doubles) \
    V(VCVTTPD2DQ, NARROW, exact, two_doubles) \
    V(VCVTSS2SD, BINARY_X, exact, one_double) V(VCVTSD2SS, BINARY_X, narrow, one_single) \
    V(VCVTSI2SS, FROM_INTEGER, exact, one_single) V(VCVTSI2SD, FROM_INTEGER, exact, one_double) \
    V(VCVTSS2SI, TO_INTEGER, exact, one_single) V(VCVTSD2SI, TO_INTEGER, exact, one_double) \
    V(VCVTTSS2SI, TO_INTEGER, exact, one_single) V(VCVTTSD2SI, TO_INTEGER, exact, one_double) \
    /* F16C and FMA ([SDM1] 14.4, 14.5) */ \
    V(VCVTPH2PS, WIDEN, exact, four_singles) V(VCVTPS2PH, NARROW_IMM, halves, four_singles) \
    BACKPLANE_VEX_FMA(V, VFMADD) BACKPLANE_VEX_FMA(V, VFMSUB) \
    BACKPLANE_VEX_FMA(V, VFNMADD) BACKPLANE_VEX_FMA(V, VFNMSUB) \
    BACKPLANE_VEX_FMA_PACKED(V, VFMADDSUB) BACKPLANE_VEX_FMA_PACKED(V, VFMSUBADD) \
    /* integers ([SDM1] 14.2) */ \
    BACKPLANE_VEX_INTEGER(V, VPADDB) BACKPLANE_VEX_INTEGER(V, VPADDW) BACKPLANE_VEX_INTEGER(V, VPADDD) \
    BACKPLANE_VEX_INTEGER(V, VPADDQ) BACKPLANE_VEX_INTEGER(V, VPADDSB) BACKPLANE_VEX_INTEGER(V, VPADDSW) \
    BACKPLANE_VEX_INTEGER(V, VPADDUSB) BACKPLANE_VEX_INTEGER(V, VPADDUSW) \
    BACKPLANE_VEX_INTEGER(V, VPSUBB) BACKPLANE_VEX_INTEGER(V, VPSUBW) BACKPLANE_VEX_INTEGER(V, VPSUBD) \
    BACKPLANE_VEX_INTEGER(V, VPSUBQ) BACKPLANE_VEX_INTEGER(V, VPSUBSB) BACKPLANE_VEX_INTEGER(V, VPSUBSW) \
    BACKPLANE_VEX_INTEGER(V, VPSUBUSB) BACKPLANE_VEX_INTEGER(V, VPSUBUSW) \
    BACKPLANE_VEX_INTEGER(V, VPAVGB) BACKPLANE_VEX_INTEGER(V, VPAVGW) BACKPLANE_VEX_INTEGER(V, VPSADBW) \
    BACKPLANE_VEX_INTEGER(V, VPCMPEQB) BACKPLANE_VEX_INTEGER(V, VPCMPEQW) BACKPLANE_VEX_INTEGER(V, VPCMPEQD) \
    BACKPLANE_VEX_INTEGER(V, VPCMPEQQ) BACKPLANE_VEX_INTEGER(V, VPCMPGTB) BACKPLANE_VEX_INTEGER(V, VPCMPGTW) \
    BACKPLANE_VEX_INTEGER(V, VPCMPGTD) BACKPLANE_VEX_INTEGER(V, VPCMPGTQ) \
    BACKPLANE_VEX_INTEGER(V, VPMADDWD) BACKPLANE_VEX_INTEGER(V, VPMADDUBSW) BACKPLANE_VEX_INTEGER(V, VPMULHW) \
    BACKPLANE_VEX_INTEGER(V, VPMULHUW) BACKPLANE_VEX_INTEGER(V, VPMULHRSW) BACKPLANE_VEX_INTEGER(V, VPMULLW) \
    BACKPLANE_VEX_INTEGER(V, VPMULLD) BACKPLANE_VEX_INTEGER(V, VPMULDQ) BACKPLANE_VEX_INTEGER(V, VPMULUDQ) \
    BACKPLANE_VEX_INTEGER(V, VPMAXSB) BACKPLANE_VEX_INTEGER(V, VPMAXSW) BACKPLANE_VEX_INTEGER(V, VPMAXSD) \
    BACKPLANE_VEX_INTEGER(V, VPMAXUB) BACKPLANE_VEX_INTEGER(V, VPMAXUW) BACKPLANE_VEX_INTEGER(V, VPMAXUD) \
    BACKPLANE_VEX_INTEGER(V, VPMINSB) BACKPLANE_VEX_INTEGER(V, VPMINSW) BACKPLANE_VEX_INTEGER(V, VPMINSD) \
    BACKPLANE_VEX_INTEGER(V, VPMINUB) BACKPLANE_VEX_INTEGER(V, VPMINUW) BACKPLANE_VEX_INTEGER(V, VPMINUD) \
    BACKPLANE_VEX_INTEGER(V, VPSIGNB) BACKPLANE_VEX_INTEGER(V, VPSIGNW) BACKPLANE_VEX_INTEGER(V, VPSIGND) \
    BACKPLANE_VEX_INTEGER(V, VPHADDW) BACKPLANE_VEX_INTEGER(V, VPHADDD) BACKPLANE_VEX_INTEGER(V, VPHADDSW) \
    BACKPLANE_VEX_INTEGER(V, VPHSUBW) BACKPLANE_VEX_INTEGER(V, VPHSUBD) BACKPLANE_VEX_INTEGER(V, VPHSUBSW) \
    BACKPLANE_VEX_INTEGER(V, VPUNPCKLBW) BACKPLANE_VEX_INTEGER(V, VPUNPCKLWD) BACKPLANE_VEX_INTEGER(V, VPUNPCKLDQ) \
    BACKPLANE_VEX_INTEGER(V, VPUNPCKLQDQ) BACKPLANE_VEX_INTEGER(V, VPUNPCKHBW) BACKPLANE_VEX_INTEGER(V, VPUNPCKHWD) \
    BACKPLANE_VEX_INTEGER(V, VPUNPCKHDQ) BACKPLANE_VEX_INTEGER(V, VPUNPCKHQDQ) \
    BACKPLANE_VEX_INTEGER(V, VPACKSSWB) BACKPLANE_VEX_INTEGER(V, VPACKSSDW) BACKPLANE_VEX_INTEGER(V, VPACKUSWB) \
    BACKPLANE_VEX_INTEGER(V, VPACKUSDW) BACKPLANE_VEX_INTEGER(V, VPAND) BACKPLANE_VEX_INTEGER(V, VPANDN) \
    BACKPLANE_VEX_INTEGER(V, VPOR) BACKPLANE_VEX_INTEGER(V, VPXOR) BACKPLANE_VEX_INTEGER(V, VPSHUFB) \
    BACKPLANE_VEX_INTEGER(V, VPSLLVD) BACKPLANE_VEX_INTEGER(V, VPSLLVQ) BACKPLANE_VEX_INTEGER(V, VPSRLVD) \
    BACKPLANE_VEX_INTEGER(V, VPSRLVQ) BACKPLANE_VEX_INTEGER(V, VPSRAVD) \
    V(VPABSB, UNARY, none, one_single) V(VPABSW, UNARY, none, one_single) V(VPABSD, UNARY, none, one_single) \
    V(VPHMINPOSUW, UNARY_X, none, one_single) \
    V(VPMOVSXBW, WIDEN, none, one_single) V(VPMOVSXBD, WIDEN, none, one_single) V(VPMOVSXBQ, WIDEN, none, one_single) \
    V(VPMOVSXWD, WIDEN, none, one_single) V(VPMOVSXWQ, WIDEN, none, one_single) V(VPMOVSXDQ, WIDEN, none, one_single) \
    V(VPMOVZXBW, WIDEN, none, one_single) V(VPMOVZXBD, WIDEN, none, one_single) V(VPMOVZXBQ, WIDEN, none, one_single) \
    V(VPMOVZXWD, WIDEN, none, one_single) V(VPMOVZXWQ, WIDEN, none, one_single) V(VPMOVZXDQ, WIDEN, none, one_single) \
    V(VPMOVMSKB, SIGNS, none, one_single) V(VPTEST, TEST, none, one_single) \
    V(VPBLENDVB, SELECT, none, one_single) V(VPBLENDW, BINARY_IMM, none, one_single) \
    V(VPBLENDD, BINARY_IMM, none, one_single) V(VPALIGNR, BINARY_IMM, none, one_single) \
    V(VMPSADBW, BINARY_IMM, none, one_single) V(VPSHUFD, UNARY_IMM, none, one_single) \
    V(VPSHUFLW, UNARY_IMM, none, one_single) V(VPSHUFHW, UNARY_IMM, none, one_single) \
    V(VPINSRB, FROM_GPR32, none, one_single) V(VPINSRW, FROM_GPR32, none, one_single) \
    V(VPINSRD, FROM_GPR32, none, one_single) V(VPINSRQ, FROM_GPR64, none, one_single) \
    V(VPEXTRB, TO_GPR32, none, one_single) V(VPEXTRW, TO_GPR32, none, one_single) \
    V(VPEXTRD, TO_GPR32, none, one_single) V(VEXTRACTPS, TO_GPR32, none, one_single) \
    V(VPEXTRQ, TO_GPR64, none, one_single) \
    /* permutations, broadcasts, halves */ \
    V(VPERMD, BINARY_Y, none, one_single) V(VPERMPS, BINARY_Y, none, one_single) \
    V(VPERMQ, UNARY_IMM_Y, none, one_single) V(VPERMPD, UNARY_IMM_Y, none, one_single) \
    V(VPERM2F128, BINARY_IMM_Y, none, one_single) V(VPERM2I128, BINARY_IMM_Y, none, one_single) \
    V(VINSERTF128, INSERT, none, one_single) V(VINSERTI128, INSERT, none, one_single) \
    V(VEXTRACTF128, EXTRACT, none, one_single) V(VEXTRACTI128, EXTRACT, none, one_single) \
    V(VBROADCASTSS, WIDEN, none, one_single) V(VBROADCASTSD, WIDEN_Y, none, one_single) \
    V(VPBROADCASTB, WIDEN, none, one_single) V(VPBROADCASTW, WIDEN, none, one_single) \
    V(VPBROADCASTD, WIDEN, none, one_single) V(VPBROADCASTQ, WIDEN, none, one_single) \
    /* AES, carry-less multiplication, strings (128 bits) */ \
    V(VAESENC, BINARY_X, none, one_single) V(VAESENCLAST, BINARY_X, none, one_single) \
    V(VAESDEC, BINARY_X, none, one_single) V(VAESDECLAST, BINARY_X, none, one_single) \
    V(VAESIMC, UNARY_X, none, one_single) V(VAESKEYGENASSIST, UNARY_IMM_X, none, one_single) \
    V(VPCLMULQDQ, BINARY_IMM_X, none, one_single) \
    V(VPCMPESTRI, STRING, none, one_single) V(VPCMPISTRI, STRING, none, one_single) \
    V(VPCMPESTRM, STRING, none, one_single) V(VPCMPISTRM, STRING, none, one_single)

/// Those that have a second form, in which the count or the order is an immediate or an XMM register.
#define BACKPLANE_VEX_COUNT_LIST(V) \
    V(VPSLLW, COUNT, none, one_single) V(VPSLLD, COUNT, none, one_single) V(VPSLLQ, COUNT, none, one_single) \
    V(VPSRLW, COUNT, none, one_single) V(VPSRLD, COUNT, none, one_single) V(VPSRLQ, COUNT, none, one_single) \
    V(VPSRAW, COUNT, none, one_single) V(VPSRAD, COUNT, none, one_single) \
    BACKPLANE_VEX_PACKED_TYPES(V, VPERMIL, BINARY, none)
#define BACKPLANE_VEX_IMMEDIATE_LIST(V) \
    V(VPSLLW, UNARY_IMM, none, one_single) V(VPSLLD, UNARY_IMM, none, one_single) V(VPSLLQ, UNARY_IMM, none, one_single) \
    V(VPSRLW, UNARY_IMM, none, one_single) V(VPSRLD, UNARY_IMM, none, one_single) V(VPSRLQ, UNARY_IMM, none, one_single) \
    V(VPSRAW, UNARY_IMM, none, one_single) V(VPSRAD, UNARY_IMM, none, one_single) \
    V(VPSLLDQ, UNARY_IMM, none, one_single) V(VPSRLDQ, UNARY_IMM, none, one_single) \
    BACKPLANE_VEX_PACKED_TYPES(V, VPERMIL, UNARY_IMM, none)

// clang-format on
