// The SIMD kernels, written once with clang's vector extensions. avx2.c and avx512.c include this
// file after setting LANES (floats in a register) and TABLE. Meanings are in CKernels.h.

#include "vectors.h"
#include "pixels.h"

// A quarter of a pixel of a block.
typedef float quad __attribute__((ext_vector_type(4)));

// The GEMM.

#define GROUP 1
#define LIMIT 0
#define HAS_FIRST_SUMS 0
typedef float word;
typedef vector words;
typedef vector sums;

INLINE sums multiply_add(sums sum, word a, words b) { return sum + a * b; }

INLINE void store_elements(uint8_t *target, vector value) { STORE(target, value); }

INLINE vector sums_to_f32(sums value) { return value; }

#include "matrix.h"

// Around the other GEMMs.

INLINE void scatter_body(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    const float *bias, const float *residual, ck_activation activation) {
    for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
        vector offset = LOAD(vector, bias + lane);
        for (ptrdiff_t i = 0; i < count; i++) {
            ptrdiff_t at = i * CK_BLOCK + lane;
            vector value = LOAD(vector, source + i * source_stride + lane) + offset;
            if (residual) value += LOAD(vector, residual + at);
            STORE(target + at, activate(value, activation));
        }
    }
}

static void scatter(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    const float *bias, const float *residual, ck_activation activation) {
    SPECIALISE(scatter_body, residual, activation, source, source_stride, count, target, bias);
}

INLINE void add_activate_body(
    const float *a, ptrdiff_t count, float *target, const float *b, ck_activation activation) {
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        vector value = LOAD(vector, a + i);
        if (b) value += LOAD(vector, b + i);
        STORE(target + i, activate(value, activation));
    }
}

static void add_activate(
    const float *a, const float *b, ptrdiff_t count, float *target, ck_activation activation) {
    SPECIALISE(add_activate_body, b, activation, a, count, target);
}

INLINE void scatter_2x2_body(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    ptrdiff_t row_stride, const float *bias, const float *residual, ck_activation activation) {
    for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
        vector offset = LOAD(vector, bias + lane);
        for (ptrdiff_t i = 0; i < count; i++) {
            vector value = LOAD(vector, source + i * source_stride + lane) + offset;
#pragma clang loop unroll(full)
            for (int corner = 0; corner < 4; corner++) {
                ptrdiff_t at =
                    corner / 2 * row_stride + (2 * i + corner % 2) * CK_BLOCK + lane;
                vector sum = residual ? value + LOAD(vector, residual + at) : value;
                STORE(target + at, activate(sum, activation));
            }
        }
    }
}

static void scatter_2x2(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    ptrdiff_t row_stride, const float *bias, const float *residual, ck_activation activation) {
    SPECIALISE(
        scatter_2x2_body, residual, activation, source, source_stride, count, target, row_stride,
        bias);
}

// RGB24.

static void unshuffle_rgb(
    const uint8_t *source, ptrdiff_t stride, ptrdiff_t count, float *target,
    ptrdiff_t block_stride) {
    for (ptrdiff_t i = 0; i < count; i++) {
        square values = load_square(source + 12 * i, stride);
        for (int colour = 0; colour < 3; colour++)
            STORE(
                target + colour * block_stride + i * CK_BLOCK,
                from_u8(values.colour[colour]) * (1 / 255.0f));
    }
}

// One square: returns which lanes of the residual are not finite.
INLINE pixel_mask shuffle_add_square(
    const float *residual, ptrdiff_t block_stride, const uint8_t *frame, ptrdiff_t frame_stride,
    float gain, uint8_t *output, ptrdiff_t output_stride) {
    square values = load_square(frame, frame_stride);
    pixel_mask bad = {};
    for (int colour = 0; colour < 3; colour++) {
        pixel value = LOAD(pixel, residual + colour * block_stride);
        bad |= not_finite(value);
        values.colour[colour] = to_u8(from_u8(values.colour[colour]) + gain * value);
    }
    pixel_u8 r = values.colour[0], g = values.colour[1], b = values.colour[2];
    STORE_ROW(output, r, g, b, 0, 12);
    STORE_ROW(output + output_stride, r, g, b, 1, 12);
    STORE_ROW(output + 2 * output_stride, r, g, b, 2, 12);
    STORE_ROW(output + 3 * output_stride, r, g, b, 3, 12);
    return bad;
}

static int shuffle_add_rgb(
    const float *residual, ptrdiff_t block_stride, ptrdiff_t rows, ptrdiff_t columns,
    const uint8_t *frame, ptrdiff_t frame_stride, float strength, uint8_t *output,
    ptrdiff_t output_stride) {
    pixel_mask bad = {};
    for (ptrdiff_t left = 0; left < columns; left += 4) {
        const float *from = residual + left / 4 * CK_BLOCK;
        if (rows == 4 && left + 4 <= columns) {
            bad |= shuffle_add_square(
                from, block_stride, frame + 3 * left, frame_stride, 255 * strength,
                output + 3 * left, output_stride);
            continue;
        }
        // A square that the edge of the frame cuts goes through a whole one.
        uint8_t input_square[48] = {0}, output_square[48];
        size_t bytes = 3 * (size_t)(columns - left < 4 ? columns - left : 4);
        for (ptrdiff_t y = 0; y < rows; y++)
            memcpy(input_square + 12 * y, frame + y * frame_stride + 3 * left, bytes);
        bad |= shuffle_add_square(
            from, block_stride, input_square, 12, 255 * strength, output_square, 12);
        for (ptrdiff_t y = 0; y < rows; y++)
            memcpy(output + y * output_stride + 3 * left, output_square + 12 * y, bytes);
    }
    return any(bad);
}

static int shuffle_rgb(
    const float *residual, ptrdiff_t block_stride, ptrdiff_t count, float *target,
    ptrdiff_t row_stride) {
    pixel_mask bad = {};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float *from = residual + i * CK_BLOCK;
        pixel r = LOAD(pixel, from), g = LOAD(pixel, from + block_stride),
              b = LOAD(pixel, from + 2 * block_stride);
        bad |= not_finite(r) | not_finite(g) | not_finite(b);
        float *to = target + 12 * i;
        STORE_ROW(to, r, g, b, 0, 48);
        STORE_ROW(to + row_stride, r, g, b, 1, 48);
        STORE_ROW(to + 2 * row_stride, r, g, b, 2, 48);
        STORE_ROW(to + 3 * row_stride, r, g, b, 3, 48);
    }
    return any(bad);
}

// Rows of elements: 16 at a time, the rest one by one.

static uint8_t to_u8_scalar(float value) {
    if (!(value > 0)) return 0;
    return value < 255 ? (uint8_t)(value + 0.5f) : 255;
}

static void accumulate_u8(
    const uint8_t *source, float weight, int first, ptrdiff_t count, float *target) {
    ptrdiff_t i = 0;
    for (; i + 16 <= count; i += 16) {
        pixel value = from_u8(LOAD(pixel_u8, source + i)) * weight;
        if (!first) value += LOAD(pixel, target + i);
        STORE(target + i, value);
    }
    for (; i < count; i++) target[i] = weight * source[i] + (first ? 0 : target[i]);
}

static void accumulate_f32(
    const float *source, float weight, int first, ptrdiff_t count, float *target) {
    ptrdiff_t i = 0;
    for (; i + 16 <= count; i += 16) {
        pixel value = LOAD(pixel, source + i) * weight;
        if (!first) value += LOAD(pixel, target + i);
        STORE(target + i, value);
    }
    for (; i < count; i++) target[i] = weight * source[i] + (first ? 0 : target[i]);
}

INLINE quad resample_pixel(
    const float *source, const float *weights, ptrdiff_t taps) {
    quad sum = LOAD(quad, source) * weights[0];
    for (ptrdiff_t tap = 1; tap < taps; tap++)
        sum += LOAD(quad, source + 3 * tap) * weights[tap];
    return sum;
}

static void resample_rgb(
    const float *source, const int32_t *starts, const float *weights, ptrdiff_t taps,
    ptrdiff_t count, float *target) {
    // Four floats are stored for three: the next pixel overwrites the fourth. Not so the last.
    if (taps == 2)
        for (ptrdiff_t i = 0; i < count - 1; i++)
            STORE(target + 3 * i, resample_pixel(source + 3 * starts[i], weights + 2 * i, 2));
    else
        for (ptrdiff_t i = 0; i < count - 1; i++)
            STORE(
                target + 3 * i, resample_pixel(source + 3 * starts[i], weights + taps * i, taps));
    if (count > 0) {
        quad last = resample_pixel(
            source + 3 * starts[count - 1], weights + taps * (count - 1), taps);
        memcpy(target + 3 * (count - 1), &last, 3 * sizeof(float));
    }
}

static void quantize_u8(const float *source, ptrdiff_t count, uint8_t *target) {
    ptrdiff_t i = 0;
    for (; i + 16 <= count; i += 16) STORE(target + i, to_u8(LOAD(pixel, source + i)));
    for (; i < count; i++) target[i] = to_u8_scalar(source[i]);
}

static void blend_rows(
    const uint8_t *frame, const float *upper, const float *lower, float t, float gain,
    ptrdiff_t count, uint8_t *target) {
    ptrdiff_t i = 0;
    for (; i + 16 <= count; i += 16) {
        pixel a = LOAD(pixel, upper + i), b = LOAD(pixel, lower + i);
        STORE(target + i, to_u8(from_u8(LOAD(pixel_u8, frame + i)) + gain * (a + t * (b - a))));
    }
    for (; i < count; i++)
        target[i] = to_u8_scalar(frame[i] + gain * (upper[i] + t * (lower[i] - upper[i])));
}

#include "changes.h"

static void f16_to_f32(const uint16_t *source, ptrdiff_t count, float *target) {
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(
            target + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(source + i))));
    for (; i < count; i++) target[i] = _cvtsh_ss(source[i]);
}

static void bf16_to_f32(const uint16_t *source, ptrdiff_t count, float *target) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t value = (uint32_t)source[i] << 16;
        memcpy(target + i, &value, sizeof value);
    }
}

const ck_kernels TABLE = {
    .scatter = scatter,
    .add_activate = add_activate,
    .scatter_2x2 = scatter_2x2,
    .unshuffle_rgb = unshuffle_rgb,
    .shuffle_add_rgb = shuffle_add_rgb,
    .shuffle_rgb = shuffle_rgb,
    .accumulate_u8 = accumulate_u8,
    .accumulate_f32 = accumulate_f32,
    .resample_rgb = resample_rgb,
    .quantize_u8 = quantize_u8,
    .blend_rows = blend_rows,
    .cell_changes = cell_changes,
    .take_cells = take_cells,
    .gather_changes = gather_changes,
    .f16_to_f32 = f16_to_f32,
    .bf16_to_f32 = bf16_to_f32,
};
