// The kernels in plain C: what the SIMD files are tested against, and what runs where they cannot.
#include <math.h>
#include <string.h>

#include "tables.h"

static float activate(float value, ck_activation activation) {
    switch (activation) {
    case CK_RELU:
        return value < 0 ? 0 : value;  // not fmaxf: NaN must come through
    case CK_SILU:
        return value / (1 + expf(-value));
    default:
        return value;
    }
}

static uint8_t to_u8(float value) {
    if (!(value > 0)) return 0;
    return value < 255 ? (uint8_t)(value + 0.5f) : 255;
}

// One dimension of Bᵀ d.
static void transform_input(const float d[6], float out[6]) {
    out[0] = d[0] - 2.5f * d[2] + d[4];
    out[1] = -CK_SQRT_2 * d[1] - 2 * d[2] + CK_SQRT_HALF * d[3] + d[4];
    out[2] = CK_SQRT_2 * d[1] - 2 * d[2] - CK_SQRT_HALF * d[3] + d[4];
    out[3] = -CK_SQRT_HALF * d[1] - 0.5f * d[2] + CK_SQRT_2 * d[3] + d[4];
    out[4] = CK_SQRT_HALF * d[1] - 0.5f * d[2] - CK_SQRT_2 * d[3] + d[4];
    out[5] = d[1] - 2.5f * d[3] + d[5];
}

// One dimension of Aᵀ m.
static void transform_output(const float m[6], float out[4]) {
    float sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    float sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    out[0] = m[0] + sum_a + sum_b;
    out[1] = CK_SQRT_HALF * difference_a + CK_SQRT_2 * difference_b;
    out[2] = 0.5f * sum_a + 2 * sum_b;
    out[3] = 0.5f * CK_SQRT_HALF * difference_a + 2 * CK_SQRT_2 * difference_b + m[5];
}

static void winograd_input(
    const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, float *target,
    ptrdiff_t point_stride, ptrdiff_t tile_stride) {
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            const float *from = source + tile * 4 * CK_BLOCK + lane;
            float *to = target + tile * tile_stride + lane;
            float rows[6][6], column[6], result[6];
            for (int y = 0; y < 6; y++) {
                for (int x = 0; x < 6; x++) column[x] = from[y * row_stride + x * CK_BLOCK];
                transform_input(column, rows[y]);
            }
            for (int x = 0; x < 6; x++) {
                for (int y = 0; y < 6; y++) column[y] = rows[y][x];
                transform_input(column, result);
                for (int y = 0; y < 6; y++) to[(y * 6 + x) * point_stride] = result[y];
            }
        }
    }
}

static void winograd_output(
    const float *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows,
    ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias,
    const float *residual, ck_activation activation) {
    for (ptrdiff_t left = 0; left < columns; left += 4) {
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            const float *from = source + left / 4 * tile_stride + lane;
            float half[4][6], column[6], result[4];
            for (int x = 0; x < 6; x++) {
                for (int y = 0; y < 6; y++) column[y] = from[(y * 6 + x) * point_stride];
                transform_output(column, result);
                for (int y = 0; y < 4; y++) half[y][x] = result[y];
            }
            for (ptrdiff_t y = 0; y < rows; y++) {
                transform_output(half[y], result);
                for (ptrdiff_t x = 0; x < 4 && left + x < columns; x++) {
                    ptrdiff_t at = y * row_stride + (left + x) * CK_BLOCK + lane;
                    float value = result[x] + bias[lane] + (residual ? residual[at] : 0);
                    target[at] = activate(value, activation);
                }
            }
        }
    }
}

static void gather(
    const float *source, ptrdiff_t row_stride, ptrdiff_t step, ptrdiff_t kernel, ptrdiff_t count,
    float *target, ptrdiff_t target_stride, ptrdiff_t tap_stride) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (ptrdiff_t y = 0; y < kernel; y++)
            for (ptrdiff_t x = 0; x < kernel; x++)
                memcpy(
                    target + i * target_stride + (y * kernel + x) * tap_stride,
                    source + i * step + y * row_stride + x * CK_BLOCK, CK_BLOCK * sizeof(float));
}

static void scatter(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    const float *bias, const float *residual, ck_activation activation) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            ptrdiff_t at = i * CK_BLOCK + lane;
            float value = source[i * source_stride + lane] + bias[lane];
            target[at] = activate(value + (residual ? residual[at] : 0), activation);
        }
}

static void add_activate(
    const float *a, const float *b, ptrdiff_t count, float *target, ck_activation activation) {
    for (ptrdiff_t i = 0; i < count; i++) target[i] = activate(a[i] + (b ? b[i] : 0), activation);
}

static void upsample2_add(
    const float *source, const float *skip, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            ptrdiff_t at = i * CK_BLOCK + lane;
            target[at] = source[i / 2 * CK_BLOCK + lane] + (skip ? skip[at] : 0);
        }
}

static void unshuffle_rgb(
    const uint8_t *source, ptrdiff_t stride, ptrdiff_t count, float *target,
    ptrdiff_t block_stride) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (int colour = 0; colour < 3; colour++)
            for (int y = 0; y < 4; y++)
                for (int x = 0; x < 4; x++)
                    target[colour * block_stride + i * CK_BLOCK + 4 * y + x] =
                        source[y * stride + (4 * i + x) * 3 + colour] * (1 / 255.0f);
}

static int shuffle_add_rgb(
    const float *residual, ptrdiff_t block_stride, ptrdiff_t rows, ptrdiff_t columns,
    const uint8_t *frame, ptrdiff_t frame_stride, float strength, uint8_t *output,
    ptrdiff_t output_stride) {
    int is_bad = 0;
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++)
            for (int colour = 0; colour < 3; colour++) {
                float value =
                    residual[colour * block_stride + x / 4 * CK_BLOCK + 4 * y + x % 4];
                is_bad |= !isfinite(value);
                output[y * output_stride + 3 * x + colour] =
                    to_u8(frame[y * frame_stride + 3 * x + colour] + 255 * strength * value);
            }
    return is_bad;
}

static int shuffle_rgb(
    const float *residual, ptrdiff_t block_stride, ptrdiff_t count, float *target,
    ptrdiff_t row_stride) {
    int is_bad = 0;
    for (ptrdiff_t y = 0; y < 4; y++)
        for (ptrdiff_t x = 0; x < 4 * count; x++)
            for (int colour = 0; colour < 3; colour++) {
                float value =
                    residual[colour * block_stride + x / 4 * CK_BLOCK + 4 * y + x % 4];
                is_bad |= !isfinite(value);
                target[y * row_stride + 3 * x + colour] = value;
            }
    return is_bad;
}

static void accumulate_u8(
    const uint8_t *source, float weight, int first, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = weight * source[i] + (first ? 0 : target[i]);
}

static void accumulate_f32(
    const float *source, float weight, int first, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = weight * source[i] + (first ? 0 : target[i]);
}

static void resample_rgb(
    const float *source, const int32_t *starts, const float *weights, ptrdiff_t taps,
    ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (int colour = 0; colour < 3; colour++) {
            float sum = 0;
            for (ptrdiff_t tap = 0; tap < taps; tap++)
                sum += weights[i * taps + tap] * source[3 * (starts[i] + tap) + colour];
            target[3 * i + colour] = sum;
        }
}

static void quantize_u8(const float *source, ptrdiff_t count, uint8_t *target) {
    for (ptrdiff_t i = 0; i < count; i++) target[i] = to_u8(source[i]);
}

static void blend_rows(
    const uint8_t *frame, const float *upper, const float *lower, float t, float gain,
    ptrdiff_t count, uint8_t *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = to_u8(frame[i] + gain * (upper[i] + t * (lower[i] - upper[i])));
}

// IEEE 754-2008, binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits.
static void f16_to_f32(const uint16_t *source, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++) {
        int exponent = source[i] >> 10 & 31, fraction = source[i] & 1023;
        float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
            : exponent == 0              ? ldexpf((float)fraction, -24)
                                         : ldexpf((float)(1024 + fraction), exponent - 25);
        target[i] = source[i] & 0x8000 ? -magnitude : magnitude;
    }
}

static void bf16_to_f32(const uint16_t *source, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)source[i] << 16;
        memcpy(target + i, &bits, sizeof bits);
    }
}

const ck_kernels ck_reference_kernels = {
    .winograd_input = winograd_input,
    .winograd_output = winograd_output,
    .gather = gather,
    .scatter = scatter,
    .add_activate = add_activate,
    .upsample2_add = upsample2_add,
    .unshuffle_rgb = unshuffle_rgb,
    .shuffle_add_rgb = shuffle_add_rgb,
    .shuffle_rgb = shuffle_rgb,
    .accumulate_u8 = accumulate_u8,
    .accumulate_f32 = accumulate_f32,
    .resample_rgb = resample_rgb,
    .quantize_u8 = quantize_u8,
    .blend_rows = blend_rows,
    .f16_to_f32 = f16_to_f32,
    .bf16_to_f32 = bf16_to_f32,
};
