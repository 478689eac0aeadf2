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
    const winograd_matrices *size, const float *source, ptrdiff_t row_stride,
    ptrdiff_t block_stride, ptrdiff_t blocks, ptrdiff_t tiles, float *target,
    ptrdiff_t point_stride, ptrdiff_t tile_stride) {
    int n = size->m + 2;
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (ptrdiff_t channel = 0; channel < blocks * CK_BLOCK; channel++) {
            const float *from = source + channel / CK_BLOCK * block_stride
                + tile * size->m * CK_BLOCK + channel % CK_BLOCK;
            float *to = target + tile * tile_stride + channel;
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
        const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks, \
        ptrdiff_t tiles, void *target, ptrdiff_t point_stride, ptrdiff_t tile_stride, \
        float *row_factors, float *staging) { \
        (void)row_factors, (void)staging; \
        winograd_input( \
            &sizes[index], source, row_stride, block_stride, blocks, tiles, target, \
            point_stride, tile_stride); \
    } \
    static void winograd_output_##index( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *row_factors, \
        const float *column_factors, ptrdiff_t column_factor_stride) { \
        (void)row_factors, (void)column_factors, (void)column_factor_stride; \
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
    const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks,
    ptrdiff_t tiles, void *target, ptrdiff_t point_stride, ptrdiff_t tile_stride,
    float *row_factors, float *staging) {
    (void)row_factors, (void)staging;
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (ptrdiff_t channel = 0; channel < blocks * CK_BLOCK; channel++) {
            const float *from = source + channel / CK_BLOCK * block_stride
                + tile * 8 * CK_BLOCK + channel % CK_BLOCK;
            float *to = (float *)target + tile * tile_stride + channel;
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
    const float *residual, ck_activation activation, const float *row_factors,
    const float *column_factors, ptrdiff_t column_factor_stride) {
    (void)row_factors, (void)column_factors, (void)column_factor_stride;
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

const ck_matrix_kernels ck_reference_f32_kernels = {
    .winograd_input = {winograd_input_0, winograd_input_1, winograd_input_2, winograd_input_3},
    .winograd_output = {winograd_output_0, winograd_output_1, winograd_output_2, winograd_output_3},
    .multiply = multiply,
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

static float cell_change(
    const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
    const float *weights) {
    int raw = 0, fine = 0, coarse = 0, colours = 0;
    for (int square = 0; square < 4; square++) {
        int luma[4] = {0}, sums[3] = {0};
        for (int pixel = 0; pixel < 16; pixel++) {
            int y = square / 2 * 4 + pixel / 4, x = square % 2 * 4 + pixel % 4;
            for (int colour = 0; colour < 3; colour++) {
                int d = a[y * a_stride + 3 * x + colour] - b[y * b_stride + 3 * x + colour];
                raw += d * d;
                sums[colour] += d;
                luma[pixel / 8 * 2 + pixel % 4 / 2] += colour == 1 ? 2 * d : d;
            }
        }
        int total = 0;
        for (int i = 0; i < 4; i++) {
            fine += luma[i] * luma[i];
            total += luma[i];
        }
        coarse += total * total;
        for (int colour = 0; colour < 3; colour++) colours += sums[colour] * sums[colour];
    }
    return weights[0] * raw / 192.0f + weights[1] * fine / (16.0f * 16 * 16)
        + weights[2] * coarse / (4.0f * 64 * 64) + weights[3] * colours / (12.0f * 16 * 16);
}

static void cell_changes(
    const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, ptrdiff_t count,
    const float *weights, float *changes) {
    for (ptrdiff_t i = 0; i < count; i++)
        changes[i] = cell_change(a + 24 * i, a_stride, b + 24 * i, b_stride, weights);
}

static void take_cells(
    const float *from, ptrdiff_t from_row_stride, ptrdiff_t from_block_stride, float *target,
    ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks, ptrdiff_t columns,
    float scale, float threshold, float *changes) {
    const ptrdiff_t pair = 2 * CK_BLOCK;
    for (ptrdiff_t i = 0; i < columns; i++) {
        float sum = 0;
        for (ptrdiff_t row = 0; row < 2 * blocks; row++) {
            const float *new = from + row / 2 * from_block_stride + row % 2 * from_row_stride;
            const float *old = target + row / 2 * block_stride + row % 2 * row_stride;
            for (ptrdiff_t x = i * pair; x < (i + 1) * pair; x++)
                sum += (new[x] - old[x]) * (new[x] - old[x]);
        }
        float change = scale * sum;
        changes[i] = 0;
        if (change <= threshold) continue;
        changes[i] = change;
        for (ptrdiff_t row = 0; row < 2 * blocks; row++)
            memcpy(
                target + row / 2 * block_stride + row % 2 * row_stride + i * pair,
                from + row / 2 * from_block_stride + row % 2 * from_row_stride + i * pair,
                (size_t)pair * sizeof(float));
    }
}

static void gather_changes(
    const float *changes, ptrdiff_t stride, ptrdiff_t span, float before, float after,
    float scale, ptrdiff_t count, float *tiles) {
    for (ptrdiff_t t = 0; t < count; t++) {
        float sum = 0;
        for (ptrdiff_t y = -1; y <= span; y++)
            for (ptrdiff_t x = -1; x <= span; x++)
                sum += (y < 0 ? before : y == span ? after : 1)
                    * (x < 0 ? before : x == span ? after : 1) * changes[y * stride + t * span + x];
        tiles[t] += scale * sum;
    }
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
    .cell_changes = cell_changes,
    .take_cells = take_cells,
    .gather_changes = gather_changes,
    .f16_to_f32 = f16_to_f32,
    .bf16_to_f32 = bf16_to_f32,
};
