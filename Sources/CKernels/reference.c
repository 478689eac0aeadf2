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

// Winograd F(m × m, 3 × 3) as Lavin and Gray write it (2015, equation 8): Bᵀ and Aᵀ of each size.
typedef struct {
    int m;
    float input[8][8];   // (m + 2) × (m + 2)
    float output[6][8];  // m × (m + 2)
} winograd_matrices;

static const winograd_matrices sizes[CK_WINOGRAD_SIZES] = {
    {2, {{-1, 0, 1}, {0, 1, 1}, {0, -1, 1}, {0, -1, 0, 1}}, {{1, 1, 1}, {0, 1, -1, 1}}},
    {4,
     {{1, 0, -2.5f, 0, 1},
      {0, -CK_SQRT_2, -2, CK_SQRT_HALF, 1},
      {0, CK_SQRT_2, -2, -CK_SQRT_HALF, 1},
      {0, -CK_SQRT_HALF, -0.5f, CK_SQRT_2, 1},
      {0, CK_SQRT_HALF, -0.5f, -CK_SQRT_2, 1},
      {0, 1, 0, -2.5f, 0, 1}},
     {{1, 1, 1, 1, 1},
      {0, CK_SQRT_HALF, -CK_SQRT_HALF, CK_SQRT_2, -CK_SQRT_2},
      {0, 0.5f, 0.5f, 2, 2},
      {0, 0.5f * CK_SQRT_HALF, -0.5f * CK_SQRT_HALF, 2 * CK_SQRT_2, -2 * CK_SQRT_2, 1}}},
    {6,
     {{-1, 0, 5.25f, 0, -5.25f, 0, 1},
      {0, 2, 4, -2.5f, -5, 0.5f, 1},
      {0, -2, 4, 2.5f, -5, -0.5f, 1},
      {0, 1, 1, -4.25f, -4.25f, 1, 1},
      {0, -1, 1, 4.25f, -4.25f, -1, 1},
      {0, 0.5f, 0.25f, -2.5f, -1.25f, 2, 1},
      {0, -0.5f, 0.25f, 2.5f, -1.25f, -2, 1},
      {0, -1, 0, 5.25f, 0, -5.25f, 0, 1}},
     {{1, 1, 1, 1, 1, 1, 1},
      {0, 0.5f, -0.5f, 1, -1, 2, -2},
      {0, 0.25f, 0.25f, 1, 1, 4, 4},
      {0, 0.125f, -0.125f, 1, -1, 8, -8},
      {0, 0.0625f, 0.0625f, 1, 1, 16, 16},
      {0, 0.03125f, -0.03125f, 1, -1, 32, -32, 1}}},
};

static float dot(const float *row, const float *column, ptrdiff_t stride, int count) {
    float sum = 0;
    for (int i = 0; i < count; i++) sum += row[i] * column[i * stride];
    return sum;
}

static void winograd_input(
    const winograd_matrices *size, const float *source, ptrdiff_t row_stride, ptrdiff_t tiles,
    float *target, ptrdiff_t point_stride, ptrdiff_t tile_stride) {
    int n = size->m + 2;
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            const float *from = source + tile * size->m * CK_BLOCK + lane;
            float *to = target + tile * tile_stride + lane;
            float rows[8][8];
            for (int y = 0; y < n; y++)
                for (int x = 0; x < n; x++)
                    rows[y][x] = dot(size->input[x], from + y * row_stride, CK_BLOCK, n);
            for (int y = 0; y < n; y++)
                for (int x = 0; x < n; x++)
                    to[(y * n + x) * point_stride] = dot(size->input[y], &rows[0][x], 8, n);
        }
}

static void winograd_output(
    const winograd_matrices *size, const float *source, ptrdiff_t point_stride,
    ptrdiff_t tile_stride, ptrdiff_t rows, ptrdiff_t columns, float *target, ptrdiff_t row_stride,
    const float *bias, const float *residual, ck_activation activation) {
    int m = size->m, n = m + 2;
    for (ptrdiff_t left = 0; left < columns; left += m)
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            const float *from = source + left / m * tile_stride + lane;
            float half[6][8];
            for (int y = 0; y < m; y++)
                for (int x = 0; x < n; x++)
                    half[y][x] =
                        dot(size->output[y], from + x * point_stride, n * point_stride, n);
            for (ptrdiff_t y = 0; y < rows; y++)
                for (ptrdiff_t x = 0; x < m && left + x < columns; x++) {
                    ptrdiff_t at = y * row_stride + (left + x) * CK_BLOCK + lane;
                    float value = dot(size->output[x], half[y], 1, n) + bias[lane];
                    target[at] = activate(value + (residual ? residual[at] : 0), activation);
                }
        }
}

#define WINOGRAD(index) \
    static void winograd_input_##index( \
        const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, void *target, \
        ptrdiff_t point_stride, ptrdiff_t tile_stride, const float *scales, \
        ptrdiff_t scale_stride) { \
        (void)scales, (void)scale_stride; \
        winograd_input( \
            &sizes[index], source, row_stride, tiles, target, point_stride, tile_stride); \
    } \
    static void winograd_output_##index( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *scales, \
        ptrdiff_t scale_stride) { \
        (void)scales, (void)scale_stride; \
        winograd_output( \
            &sizes[index], source, point_stride, tile_stride, rows, columns, target, row_stride, \
            bias, residual, activation); \
    }
WINOGRAD(0)
WINOGRAD(1)
WINOGRAD(2)

// Stride 2: Bᵀ and Aᵀ of F(4, 2), for the odd rows and columns; even ones stay as they are.
static const float odd_input[5][5] = {
    {-CK_SQRT_2, -2, CK_SQRT_HALF, 1},
    {CK_SQRT_2, -2, -CK_SQRT_HALF, 1},
    {-CK_SQRT_HALF, -0.5f, CK_SQRT_2, 1},
    {CK_SQRT_HALF, -0.5f, -CK_SQRT_2, 1},
    {1, 0, -2.5f, 0, 1},
};
static const float odd_output[4][5] = {
    {1, 1, 1, 1},
    {CK_SQRT_HALF, -CK_SQRT_HALF, CK_SQRT_2, -CK_SQRT_2},
    {0.5f, 0.5f, 2, 2},
    {0.5f * CK_SQRT_HALF, -0.5f * CK_SQRT_HALF, 2 * CK_SQRT_2, -2 * CK_SQRT_2, 1},
};

static void winograd_input_3(
    const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, void *target,
    ptrdiff_t point_stride, ptrdiff_t tile_stride, const float *scales, ptrdiff_t scale_stride) {
    (void)scales, (void)scale_stride;
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (int lane = 0; lane < CK_BLOCK; lane++) {
            const float *from = source + tile * 8 * CK_BLOCK + lane;
            float *to = (float *)target + tile * tile_stride + lane;
            for (int p = 0; p < 5; p++) {
                float row[9];
                for (int x = 0; x < 9; x++)
                    row[x] = dot(odd_input[p], from + x * CK_BLOCK, 2 * row_stride, 5);
                for (int q = 0; q < 5; q++)
                    to[(5 * p + q) * point_stride] = dot(odd_input[q], row, 2, 5);
                for (int x = 0; x < 4; x++)
                    to[(25 + 4 * p + x) * point_stride] = row[2 * x + 1];
            }
            for (int y = 0; y < 4; y++) {
                const float *row = from + (2 * y + 1) * row_stride;
                for (int q = 0; q < 5; q++)
                    to[(45 + 4 * q + y) * point_stride] =
                        dot(odd_input[q], row, 2 * CK_BLOCK, 5);
                for (int x = 0; x < 4; x++)
                    to[(65 + 4 * y + x) * point_stride] = row[(2 * x + 1) * CK_BLOCK];
            }
        }
}

static void winograd_output_3(
    const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows,
    ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias,
    const float *residual, ck_activation activation, const float *scales,
    ptrdiff_t scale_stride) {
    (void)scales, (void)scale_stride;
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < columns; x++)
            for (int lane = 0; lane < CK_BLOCK; lane++) {
                const float *from = (const float *)source + x / 4 * tile_stride + lane;
                const float *a = odd_output[y], *b = odd_output[x % 4];
                float half[5];
                for (int q = 0; q < 5; q++)
                    half[q] = dot(a, from + q * point_stride, 5 * point_stride, 5)
                        + from[(45 + 4 * q + y) * point_stride];
                float value = dot(b, half, 1, 5)
                    + dot(a, from + (25 + x % 4) * point_stride, 4 * point_stride, 5)
                    + from[(65 + 4 * y + x % 4) * point_stride] + bias[lane];
                ptrdiff_t at = y * row_stride + x * CK_BLOCK + lane;
                target[at] = activate(value + (residual ? residual[at] : 0), activation);
            }
}

static void multiply(
    const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, const void *b,
    ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, const void *next) {
    (void)next;
    ptrdiff_t depth = steps * CK_BLOCK;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t block = 0; block < blocks; block++) {
            float sums[CK_BLOCK] = {0};
            const float *weights = (const float *)b + block * depth * CK_BLOCK;
            for (ptrdiff_t k = 0; k < depth; k++) {
                float value =
                    ((const float *)a)[row * a_stride + offsets[k / CK_BLOCK] + k % CK_BLOCK];
                for (int lane = 0; lane < CK_BLOCK; lane++)
                    sums[lane] += value * weights[k * CK_BLOCK + lane];
            }
            memcpy((float *)c + row * c_stride + block * CK_BLOCK, sums, sizeof sums);
        }
}

static void convert(
    const float *source, ptrdiff_t count, void *target, ptrdiff_t target_stride,
    const float *scales) {
    (void)scales;
    for (ptrdiff_t i = 0; i < count; i++)
        memcpy(
            (float *)target + i * target_stride, source + i * CK_BLOCK, CK_BLOCK * sizeof(float));
}

const ck_matrix_kernels ck_reference_f32_kernels = {
    .winograd_input = {winograd_input_0, winograd_input_1, winograd_input_2, winograd_input_3},
    .winograd_output = {winograd_output_0, winograd_output_1, winograd_output_2, winograd_output_3},
    .multiply = multiply,
    .convert = convert,
};

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

static void scatter_2x2(
    const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
    ptrdiff_t row_stride, const float *bias, const float *residual, ck_activation activation) {
    for (ptrdiff_t y = 0; y < 2; y++)
        for (ptrdiff_t x = 0; x < 2 * count; x++)
            for (int lane = 0; lane < CK_BLOCK; lane++) {
                ptrdiff_t at = y * row_stride + x * CK_BLOCK + lane;
                float value = source[x / 2 * source_stride + lane] + bias[lane];
                target[at] = activate(value + (residual ? residual[at] : 0), activation);
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
    .f16_to_f32 = f16_to_f32,
    .bf16_to_f32 = bf16_to_f32,
};
