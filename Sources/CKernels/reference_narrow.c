// The GEMM kernels for bfloat16, int16 and int8 operands in plain C: what the f32 reference computes,
// with operands rounded.
#include <math.h>
#include <string.h>

#include "tables.h"

#define POINTS_MAX 81
#define CLASSES 16

// What narrow operands have: F(4, 3) and stride 2.
static int point_count(ck_winograd size) { return size == CK_F4 ? 36 : POINTS_MAX; }
static int source_step(ck_winograd size) { return size == CK_F4 ? 4 : 8; }

// What the operand types differ in. `widen` gives the number that an element stands for.
typedef struct {
    int bytes;
    int limit;  // 0 for floats
    void (*round)(float value, void *element);
    double (*widen)(const void *element);
} narrow_type;

// Round to nearest, ties to even; a NaN stays one whatever its low bits.
static void round_bf16(float value, void *element) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = isnan(value) ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *(uint16_t *)element = (uint16_t)bits;
}

static double widen_bf16(const void *element) {
    uint32_t bits = (uint32_t)*(const uint16_t *)element << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// A value that is not finite becomes any number: its row's factor tells.
static void round_int16(float value, void *element) {
    *(int16_t *)element = isfinite(value) ? (int16_t)lrintf(value) : 0;
}

static double widen_int16(const void *element) { return *(const int16_t *)element; }

static void round_int8(float value, void *element) {
    *(uint8_t *)element = isfinite(value) ? (uint8_t)(lrintf(value) + 128) : 128;
}

static double widen_int8(const void *element) { return *(const uint8_t *)element - 128; }

static const narrow_type bf16 = {2, 0, round_bf16, widen_bf16};
static const narrow_type int16 = {2, CK_INT16_LIMIT, round_int16, widen_int16};
static const narrow_type int8 = {1, CK_INT8_LIMIT, round_int8, widen_int8};

// Points that differ in a sign are of one class.
static int class_of(ck_winograd size, int point) {
    static const int whole[6] = {0, 1, 1, 2, 2, 3}, odd[5] = {0, 0, 1, 1, 2};
    if (size == CK_F4) return whole[point / 6] * 4 + whole[point % 6];
    if (point < 25) return odd[point / 5] * 3 + odd[point % 5];
    if (point < 45) return 9 + odd[(point - 25) / 4];
    return point < 65 ? 12 + odd[(point - 45) / 4] : 15;
}

// A NaN is the largest.
static float larger(float a, float b) { return isnan(a) || a > b ? a : b; }

// All channels of a tile: the largest magnitude of each class becomes the limit.
static void find_factors(
    narrow_type type, ck_winograd size, const float *staging, ptrdiff_t channels,
    float factors[CLASSES]) {
    for (int i = 0; i < CLASSES; i++) factors[i] = 1e-30f;
    for (int point = 0; point < point_count(size); point++)
        for (ptrdiff_t channel = 0; channel < channels; channel++) {
            float *peak = &factors[class_of(size, point)];
            *peak = larger(*peak, fabsf(staging[point * channels + channel]));
        }
    for (int i = 0; i < CLASSES; i++) factors[i] /= (float)type.limit;
}

static void winograd_input(
    narrow_type type, ck_winograd size, const float *source, ptrdiff_t row_stride,
    ptrdiff_t block_stride, ptrdiff_t blocks, ptrdiff_t tiles, void *target,
    ptrdiff_t point_stride, ptrdiff_t tile_stride, float *row_factors, float *staging) {
    ptrdiff_t channels = blocks * CK_BLOCK;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        float one_block[POINTS_MAX * CK_BLOCK];
        for (ptrdiff_t first = 0; first < channels; first += CK_BLOCK) {
            ck_reference_f32_kernels.winograd_input[size](
                source + tile * source_step(size) * CK_BLOCK + first / CK_BLOCK * block_stride, row_stride, 0, 1,
                1, one_block, CK_BLOCK, 0, NULL, NULL);
            // Floats need no staging: they have no factors.
            for (int point = 0; point < point_count(size); point++)
                for (int lane = 0; lane < CK_BLOCK; lane++) {
                    float value = one_block[point * CK_BLOCK + lane];
                    ptrdiff_t at = tile * tile_stride + point * point_stride + first + lane;
                    if (type.limit)
                        staging[point * channels + first + lane] = value;
                    else
                        type.round(value, (uint8_t *)target + at * type.bytes);
                }
        }
        if (!type.limit) continue;
        float *factors = row_factors + tile * CLASSES;
        find_factors(type, size, staging, channels, factors);
        for (int point = 0; point < point_count(size); point++)
            for (ptrdiff_t channel = 0; channel < channels; channel++) {
                ptrdiff_t at = tile * tile_stride + point * point_stride + channel;
                type.round(
                    staging[point * channels + channel] / factors[class_of(size, point)],
                    (uint8_t *)target + at * type.bytes);
            }
    }
}

static void winograd_output(
    narrow_type type, ck_winograd size, const void *source, ptrdiff_t point_stride,
    ptrdiff_t tile_stride, ptrdiff_t rows, ptrdiff_t columns, float *target,
    ptrdiff_t row_stride, const float *bias, const float *residual, ck_activation activation,
    const float *row_factors, const float *column_factors, ptrdiff_t column_factor_stride) {
    for (ptrdiff_t left = 0; left < columns; left += 4) {
        ptrdiff_t tile = left / 4;
        float exact[POINTS_MAX * CK_BLOCK];
        for (int point = 0; point < point_count(size); point++)
            for (int lane = 0; lane < CK_BLOCK; lane++) {
                ptrdiff_t from = tile * tile_stride + point * point_stride + lane;
                exact[point * CK_BLOCK + lane] = type.limit
                    ? (float)((const int32_t *)source)[from]
                        * row_factors[tile * CLASSES + class_of(size, point)]
                        * column_factors[point * column_factor_stride + lane]
                    : ((const float *)source)[from];
            }
        ck_reference_f32_kernels.winograd_output[size](
            exact, CK_BLOCK, 0, rows, columns - left < 4 ? columns - left : 4,
            target + left * CK_BLOCK, row_stride, bias,
            residual ? residual + left * CK_BLOCK : NULL, activation, NULL, NULL, 0);
    }
}

// Products of operands are exact in f64, and so are sums of integers.
static void multiply(
    narrow_type type, const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps,
    const void *b, ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride) {
    ptrdiff_t depth = steps * CK_BLOCK, group = 4 / type.bytes;
    ck_operand operand = !type.limit ? CK_BF16 : type.bytes == 2 ? CK_INT16 : CK_INT8;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < blocks * CK_BLOCK; column++) {
            const uint8_t *panel =
                (const uint8_t *)b + column / CK_BLOCK * ck_panel_bytes(operand, depth);
            if (operand == CK_INT8) panel += CK_BLOCK * 4;
            double sum = 0;
            for (ptrdiff_t k = 0; k < depth; k++) {
                ptrdiff_t from = row * a_stride + offsets[k / CK_BLOCK] + k % CK_BLOCK;
                const uint8_t *weight = panel
                    + ((k / group * CK_BLOCK + column % CK_BLOCK) * group + k % group) * type.bytes;
                double value = operand == CK_INT8 ? *(const int8_t *)weight : type.widen(weight);
                sum += type.widen((const uint8_t *)a + from * type.bytes) * value;
            }
            if (type.limit)
                ((int32_t *)c)[row * c_stride + column] = (int32_t)(int64_t)sum;
            else
                ((float *)c)[row * c_stride + column] = (float)sum;
        }
}

#define WINOGRAD(type, size) \
    static void type##_input_##size( \
        const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks, \
        ptrdiff_t tiles, void *target, ptrdiff_t point_stride, ptrdiff_t tile_stride, \
        float *row_factors, float *staging) { \
        winograd_input( \
            type, size, source, row_stride, block_stride, blocks, tiles, target, point_stride, \
            tile_stride, row_factors, staging); \
    } \
    static void type##_output_##size( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *row_factors, \
        const float *column_factors, ptrdiff_t column_factor_stride) { \
        winograd_output( \
            type, size, source, point_stride, tile_stride, rows, columns, target, row_stride, \
            bias, residual, activation, row_factors, column_factors, column_factor_stride); \
    }

#define TABLE(type) \
    WINOGRAD(type, CK_F4) \
    WINOGRAD(type, CK_STRIDE2) \
    static void type##_multiply( \
        const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, \
        const void *b, ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, \
        const void *next) { \
        (void)next; \
        multiply(type, a, a_stride, offsets, steps, b, blocks, rows, c, c_stride); \
    } \
    const ck_matrix_kernels ck_reference_##type##_kernels = { \
        .winograd_input[CK_F4] = type##_input_CK_F4, \
        .winograd_output[CK_F4] = type##_output_CK_F4, \
        .winograd_input[CK_STRIDE2] = type##_input_CK_STRIDE2, \
        .winograd_output[CK_STRIDE2] = type##_output_CK_STRIDE2, \
        .multiply = type##_multiply, \
    };

TABLE(bf16)
TABLE(int16)
TABLE(int8)
