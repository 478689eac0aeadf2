// The tables that dispatch.c chooses from.
#ifndef LUCIDA_CKERNELS_TABLES_H
#define LUCIDA_CKERNELS_TABLES_H

#include "CKernels.h"

extern const ck_kernels ck_reference_kernels;
extern const ck_stream_kernels ck_scalar_stream_kernels;
extern const ck_matrix_kernels ck_reference_f32_kernels;
extern const ck_matrix_kernels ck_reference_bf16_kernels;
extern const ck_matrix_kernels ck_reference_int16_kernels;
extern const ck_matrix_kernels ck_reference_int8_kernels;
#if defined(__x86_64__)
extern const ck_matrix_kernels ck_avx2_f32_kernels;
extern const ck_matrix_kernels ck_avx2_int16_kernels;
extern const ck_matrix_kernels ck_avx2_int8_kernels;
extern const ck_matrix_kernels ck_avx512_f32_kernels;
extern const ck_matrix_kernels ck_avx512_bf16_kernels;
extern const ck_matrix_kernels ck_avx512_int16_kernels;
extern const ck_matrix_kernels ck_avx512_int8_kernels;
extern const ck_kernels ck_avx2_kernels;
extern const ck_kernels ck_avx512_kernels;
extern const ck_stream_kernels ck_avx2_stream_kernels;
extern const ck_stream_kernels ck_avx512_stream_kernels;
#endif

#define CK_SQRT_HALF 0.70710678118654752440f
#define CK_SQRT_2 1.41421356237309504880f

#endif
