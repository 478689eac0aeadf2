// Loops that reach the peak of an instruction, and the choice among them.
#include "CKernels.h"

#include <string.h>

// `sums` accumulators of one register each. They come from memory, so that the compiler cannot know
// that they are alike; fully unrolled, they live in registers.
#define MULTIPLY_LOOP(name, vector, sums, attribute, multiply) \
    attribute static void name(const void *operands, ptrdiff_t rounds, void *memory) { \
        vector a, b, sum[sums]; \
        memcpy(&a, operands, sizeof a); \
        memcpy(&b, (const char *)operands + CK_PEAK_OPERAND_BYTES / 2, sizeof b); \
        memcpy(sum, memory, sizeof sum); \
        for (ptrdiff_t round = 0; round < rounds; round++) { \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < (sums); i++) sum[i] = \
                multiply(sum[i], a, b); \
        } \
        memcpy(memory, sum, sizeof sum); \
    }

// The bit operation in `copy` keeps the compiler from calling memcpy, which stores past the caches
// from some size on.
#define MEMORY_LOOPS(read_name, copy_name, vector, attribute) \
    attribute static uint64_t read_name(const void *source, ptrdiff_t bytes) { \
        enum { count = CK_PEAK_RUN_BYTES / sizeof(vector) }; \
        vector sum[8] = {0}; \
        for (const char *from = source, *end = from + bytes; from < end; \
             from += CK_PEAK_RUN_BYTES) { \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < count; i++) { \
                vector value; \
                memcpy(&value, from + i * sizeof value, sizeof value); \
                sum[i % 8] |= value; \
            } \
        } \
        for (int i = 1; i < 8; i++) sum[0] |= sum[i]; \
        uint64_t result; \
        memcpy(&result, sum, sizeof result); \
        return result; \
    } \
    attribute static void copy_name(const void *source, ptrdiff_t bytes, void *target) { \
        enum { count = CK_PEAK_RUN_BYTES / sizeof(vector) }; \
        vector bit; \
        memcpy(&bit, source, sizeof bit); \
        for (ptrdiff_t at = 0; at < bytes; at += CK_PEAK_RUN_BYTES) { \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < count; i++) { \
                vector value; \
                memcpy(&value, (const char *)source + at + i * sizeof value, sizeof value); \
                value |= bit; \
                memcpy((char *)target + at + i * sizeof value, &value, sizeof value); \
            } \
        } \
    }

#define PLAIN

typedef float quad __attribute__((ext_vector_type(4)));
typedef uint64_t pair __attribute__((ext_vector_type(2)));
#define MULTIPLY_PLAIN(sum, a, b) ((sum) + (a) * (b))
MULTIPLY_LOOP(scalar_f32, quad, 12, PLAIN, MULTIPLY_PLAIN)
MEMORY_LOOPS(scalar_read, scalar_copy, pair, PLAIN)

#if defined(__x86_64__)
#include <immintrin.h>

typedef uint64_t half_line __attribute__((ext_vector_type(4)));
typedef uint64_t line __attribute__((ext_vector_type(8)));

// 16 registers: 12 sums and two operands. 2 instructions a cycle with a latency of up to 6.
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX_VNNI __attribute__((target("avx2,avxvnni")))
#define FMA_256(sum, a, b) _mm256_fmadd_ps(a, b, sum)
MULTIPLY_LOOP(avx2_f32, __m256, 12, AVX2, FMA_256)
MULTIPLY_LOOP(avx2_int16, __m256i, 12, AVX_VNNI, _mm256_dpwssd_avx_epi32)
MULTIPLY_LOOP(avx2_int8, __m256i, 12, AVX_VNNI, _mm256_dpbusd_avx_epi32)
MEMORY_LOOPS(avx2_read, avx2_copy, half_line, AVX2)

// 32 registers.
#define AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512bf16")))
#define AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define FMA_512(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define BF16_512(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
MULTIPLY_LOOP(avx512_f32, __m512, 24, AVX512, FMA_512)
MULTIPLY_LOOP(avx512_bf16, __m512, 24, AVX512_BF16, BF16_512)
MULTIPLY_LOOP(avx512_int16, __m512i, 24, AVX512_VNNI, _mm512_dpwssd_epi32)
MULTIPLY_LOOP(avx512_int8, __m512i, 24, AVX512_VNNI, _mm512_dpbusd_epi32)
MEMORY_LOOPS(avx512_read, avx512_copy, line, AVX512)

static ck_peak_loop avx2_loop(ck_peak_operand operand) {
    int has_vnni = __builtin_cpu_supports("avxvnni");
    switch (operand) {
    case CK_PEAK_F32:
        return (ck_peak_loop){avx2_f32, 12 * 8};
    case CK_PEAK_INT16:
        return (ck_peak_loop){has_vnni ? avx2_int16 : NULL, 12 * 8 * 2};
    case CK_PEAK_INT8:
        return (ck_peak_loop){has_vnni ? avx2_int8 : NULL, 12 * 8 * 4};
    default:
        return (ck_peak_loop){NULL, 0};
    }
}

static ck_peak_loop avx512_loop(ck_peak_operand operand) {
    int has_vnni = __builtin_cpu_supports("avx512vnni");
    switch (operand) {
    case CK_PEAK_F32:
        return (ck_peak_loop){avx512_f32, 24 * 16};
    case CK_PEAK_BF16:
        return (ck_peak_loop){
            __builtin_cpu_supports("avx512bf16") ? avx512_bf16 : NULL, 24 * 16 * 2};
    case CK_PEAK_INT16:
        return (ck_peak_loop){has_vnni ? avx512_int16 : NULL, 24 * 16 * 2};
    case CK_PEAK_INT8:
        return (ck_peak_loop){has_vnni ? avx512_int8 : NULL, 24 * 16 * 4};
    }
    return (ck_peak_loop){NULL, 0};
}
#endif

ck_peak_loop ck_peak_loop_for(ck_isa isa, ck_peak_operand operand) {
    if (!ck_supports(isa)) return (ck_peak_loop){NULL, 0};
    switch (isa) {
#if defined(__x86_64__)
    case CK_AVX512:
        return avx512_loop(operand);
    case CK_AVX2:
        return avx2_loop(operand);
#endif
    default:
        return (ck_peak_loop){operand == CK_PEAK_F32 ? scalar_f32 : NULL, 12 * 4};
    }
}

ck_peak_memory ck_peak_memory_for(ck_isa isa) {
    switch (isa) {
#if defined(__x86_64__)
    case CK_AVX512:
        return (ck_peak_memory){avx512_read, avx512_copy};
    case CK_AVX2:
        return (ck_peak_memory){avx2_read, avx2_copy};
#endif
    default:
        return (ck_peak_memory){scalar_read, scalar_copy};
    }
}
