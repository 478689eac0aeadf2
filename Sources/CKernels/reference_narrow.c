// The GEMM kernels for bfloat16 and int16 operands in plain C: what the f32 reference computes, with
// operands rounded.
#include <math.h>
#include <string.h>

#include "tables.h"

// What the operand types differ in.
typedef struct {
    uint16_t (*round)(float value);
    float (*widen)(uint16_t element);
    int is_integer;
} narrow_type;

// Round to nearest, ties to even; a NaN stays one whatever its low bits.
static uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t element) {
    uint32_t bits = (uint32_t)element << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Round to nearest, saturated; a NaN becomes a number.
static uint16_t to_int16(float value) {
    float bounded = value < CK_INT16_LIMIT ? value : CK_INT16_LIMIT;
    bounded = bounded > -CK_INT16_LIMIT ? bounded : -CK_INT16_LIMIT;
    return (uint16_t)(int16_t)lrintf(bounded);
}

static float from_int16(uint16_t element) { return (int16_t)element; }

static const narrow_type bf16 = {to_bf16, from_bf16, 0};
static const narrow_type int16 = {to_int16, from_int16, 1};

static const int point_counts[CK_WINOGRAD_SIZES] = {16, 36, 64};
static const int tile_pixels[CK_WINOGRAD_SIZES] = {2, 4, 6};

static void winograd_input(
    narrow_type type, ck_winograd size, const float *source, ptrdiff_t row_stride,
    ptrdiff_t tiles, uint16_t *target, ptrdiff_t point_stride, ptrdiff_t tile_stride,
    const float *scales, ptrdiff_t scale_stride) {
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        float exact[64 * CK_BLOCK];
        ck_reference_f32_kernels.winograd_input[size](
            source + tile * tile_pixels[size] * CK_BLOCK, row_stride, 1, exact, CK_BLOCK, 0, NULL,
            0);
        for (int point = 0; point < point_counts[size]; point++)
            for (int lane = 0; lane < CK_BLOCK; lane++) {
                float scale = type.is_integer ? scales[point * scale_stride + lane] : 1;
                target[tile * tile_stride + point * point_stride + lane] =
                    type.round(scale * exact[point * CK_BLOCK + lane]);
            }
    }
}

static void winograd_output(
    narrow_type type, ck_winograd size, const void *source, ptrdiff_t point_stride,
    ptrdiff_t tile_stride, ptrdiff_t rows, ptrdiff_t columns, float *target, ptrdiff_t row_stride,
    const float *bias, const float *residual, ck_activation activation, const float *scales,
    ptrdiff_t scale_stride) {
    int m = tile_pixels[size];
    for (ptrdiff_t left = 0; left < columns; left += m) {
        float exact[64 * CK_BLOCK];
        for (int point = 0; point < point_counts[size]; point++)
            for (int lane = 0; lane < CK_BLOCK; lane++) {
                ptrdiff_t from = left / m * tile_stride + point * point_stride + lane;
                exact[point * CK_BLOCK + lane] = type.is_integer
                    ? (float)((const int32_t *)source)[from] * scales[point * scale_stride + lane]
                    : ((const float *)source)[from];
            }
        ck_reference_f32_kernels.winograd_output[size](
            exact, CK_BLOCK, 0, rows, columns - left < m ? columns - left : m,
            target + left * CK_BLOCK, row_stride, bias,
            residual ? residual + left * CK_BLOCK : NULL, activation, NULL, 0);
    }
}

static void convert(
    narrow_type type, const float *source, ptrdiff_t count, uint16_t *target,
    ptrdiff_t target_stride, const float *scales) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (int lane = 0; lane < CK_BLOCK; lane++)
            target[i * target_stride + lane] = type.round(
                (type.is_integer ? scales[lane] : 1) * source[i * CK_BLOCK + lane]);
}

// One sum of `depth` products; the weights are a column of a panel.
static float sum_bf16(
    const uint16_t *a, const int32_t *offsets, ptrdiff_t depth, const uint16_t *b) {
    float sum = 0;
    for (ptrdiff_t k = 0; k < depth; k++)
        sum += from_bf16(a[offsets[k / CK_BLOCK] + k % CK_BLOCK])
            * from_bf16(b[k / 2 * 2 * CK_BLOCK + k % 2]);
    return sum;
}

static int32_t sum_int16(
    const uint16_t *a, const int32_t *offsets, ptrdiff_t depth, const uint16_t *b) {
    uint32_t sum = 0;  // wraps as the instruction does, should the weights be packed wrongly
    for (ptrdiff_t k = 0; k < depth; k++)
        sum += (uint32_t)((int16_t)a[offsets[k / CK_BLOCK] + k % CK_BLOCK]
            * (int16_t)b[k / 2 * 2 * CK_BLOCK + k % 2]);
    return (int32_t)sum;
}

static void multiply(
    narrow_type type, const uint16_t *a, ptrdiff_t a_stride, const int32_t *offsets,
    ptrdiff_t steps, const uint16_t *b, ptrdiff_t blocks, ptrdiff_t rows, void *c,
    ptrdiff_t c_stride) {
    ptrdiff_t depth = steps * CK_BLOCK;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < blocks * CK_BLOCK; column++) {
            const uint16_t *weights =
                b + column / CK_BLOCK * depth * CK_BLOCK + column % CK_BLOCK * 2;
            ptrdiff_t to = row * c_stride + column;
            if (type.is_integer)
                ((int32_t *)c)[to] = sum_int16(a + row * a_stride, offsets, depth, weights);
            else
                ((float *)c)[to] = sum_bf16(a + row * a_stride, offsets, depth, weights);
        }
}

#define WINOGRAD(type, size) \
    static void type##_input_##size( \
        const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, void *target, \
        ptrdiff_t point_stride, ptrdiff_t tile_stride, const float *scales, \
        ptrdiff_t scale_stride) { \
        winograd_input( \
            type, size, source, row_stride, tiles, target, point_stride, tile_stride, scales, \
            scale_stride); \
    } \
    static void type##_output_##size( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *scales, \
        ptrdiff_t scale_stride) { \
        winograd_output( \
            type, size, source, point_stride, tile_stride, rows, columns, target, row_stride, \
            bias, residual, activation, scales, scale_stride); \
    }

#define TABLE(type) \
    WINOGRAD(type, CK_F2) \
    WINOGRAD(type, CK_F4) \
    WINOGRAD(type, CK_F6) \
    static void type##_multiply( \
        const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, \
        const void *b, ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, \
        const void *next) { \
        (void)next; \
        multiply(type, a, a_stride, offsets, steps, b, blocks, rows, c, c_stride); \
    } \
    static void type##_convert( \
        const float *source, ptrdiff_t count, void *target, ptrdiff_t target_stride, \
        const float *scales) { \
        convert(type, source, count, target, target_stride, scales); \
    } \
    const ck_matrix_kernels ck_reference_##type##_kernels = { \
        .winograd_input = {type##_input_CK_F2, type##_input_CK_F4, type##_input_CK_F6}, \
        .winograd_output = {type##_output_CK_F2, type##_output_CK_F4, type##_output_CK_F6}, \
        .multiply = type##_multiply, \
        .convert = type##_convert, \
    };

TABLE(bf16)
TABLE(int16)
