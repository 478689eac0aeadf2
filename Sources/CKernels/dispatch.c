// Chooses a table of kernels by what the CPU can do.
#include "tables.h"

int ck_supports(ck_isa isa) {
    switch (isa) {
    case CK_SCALAR:
        return 1;
#if defined(__x86_64__)
    case CK_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
            && __builtin_cpu_supports("f16c");
    case CK_AVX512:
        return ck_supports(CK_AVX2) && __builtin_cpu_supports("avx512f")
            && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl");
#endif
    default:
        return 0;
    }
}

ck_isa ck_best_isa(void) {
    if (ck_supports(CK_AVX512)) return CK_AVX512;
    if (ck_supports(CK_AVX2)) return CK_AVX2;
    return CK_SCALAR;
}

const ck_kernels *ck_kernels_for(ck_isa isa) {
    if (!ck_supports(isa)) return NULL;
    switch (isa) {
#if defined(__x86_64__)
    case CK_AVX512:
        return &ck_avx512_kernels;
    case CK_AVX2:
        return &ck_avx2_kernels;
#endif
    default:
        return &ck_reference_kernels;
    }
}

const ck_stream_kernels *ck_stream_kernels_for(ck_isa isa) {
    if (!ck_supports(isa)) return NULL;
    switch (isa) {
#if defined(__x86_64__)
    case CK_AVX512:
        return &ck_avx512_stream_kernels;
    case CK_AVX2:
        return &ck_avx2_stream_kernels;
#endif
    default:
        return &ck_scalar_stream_kernels;
    }
}

static const ck_matrix_kernels *reference_for(ck_operand operand) {
    switch (operand) {
    case CK_F32: return &ck_reference_f32_kernels;
    case CK_BF16: return &ck_reference_bf16_kernels;
    case CK_INT16: return &ck_reference_int16_kernels;
    case CK_INT8: return &ck_reference_int8_kernels;
    }
    return NULL;
}

#if defined(__x86_64__)
static const ck_matrix_kernels *avx2_for(ck_operand operand) {
    if (operand == CK_F32) return &ck_avx2_f32_kernels;
    if (!__builtin_cpu_supports("avxvnni")) return NULL;
    switch (operand) {
    case CK_INT16: return &ck_avx2_int16_kernels;
    case CK_INT8: return &ck_avx2_int8_kernels;
    default: return NULL;
    }
}

static const ck_matrix_kernels *avx512_for(ck_operand operand) {
    switch (operand) {
    case CK_F32:
        return &ck_avx512_f32_kernels;
    case CK_BF16:
        return __builtin_cpu_supports("avx512bf16") ? &ck_avx512_bf16_kernels : NULL;
    case CK_INT16:
        return __builtin_cpu_supports("avx512vnni") ? &ck_avx512_int16_kernels : NULL;
    case CK_INT8:
        return __builtin_cpu_supports("avx512vnni") ? &ck_avx512_int8_kernels : NULL;
    }
    return NULL;
}
#endif

const ck_matrix_kernels *ck_matrix_kernels_for(ck_isa isa, ck_operand operand) {
    if (!ck_supports(isa)) return NULL;
    switch (isa) {
#if defined(__x86_64__)
    case CK_AVX512:
        return avx512_for(operand);
    case CK_AVX2:
        return avx2_for(operand);
#endif
    default:
        return reference_for(operand);
    }
}
