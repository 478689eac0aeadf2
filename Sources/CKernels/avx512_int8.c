// The GEMM kernels for int8 operands, AVX512_VNNI: 16 lanes, sums in int32. The instruction wants the
// left-hand side unsigned, so 128 is added to it and taken off again by the first sums.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512vnni"))), \
    apply_to = function)
#define LANES 16
#include "vectors.h"

#define GROUP 4
#define LIMIT CK_INT8_LIMIT
#define HAS_FIRST_SUMS 1
#define MATRIX_TABLE ck_avx512_int8_kernels
typedef int32_t word;
typedef int32_t words __attribute__((ext_vector_type(LANES)));
typedef words sums;

// Not the intrinsic: see avx512_int16.c.
INLINE sums multiply_add(sums sum, word a, words b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_epi32(a)), "v"(b));
    return sum;
}

INLINE void store_elements(uint8_t *target, vector value) {
    STORE(target, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value + 128.0f)));
}

INLINE vector sums_to_f32(sums value) { return __builtin_convertvector(value, vector); }

#include "matrix.h"
#pragma clang attribute pop
#endif
