// The kernels that depend on the type of a GEMM's operands, written once for all of them. Whoever
// includes this has included vectors.h and defined
//
//   GROUP                      elements in 32 bits, which are multiplied together
//   word, words                32 bits of operands: a scalar type, and a vector of LANES of them
//   sums                       a vector of LANES sums, f32 or int32
//   multiply_add(s, a, b)      s + a · b; a is one word, b are LANES words
//   store_elements(p, v)       f32 to LANES elements (inputs are scaled already)
//   sums_to_f32(s)             sums to f32
//   HAS_SCALES                 whether operands and sums are scaled (integers)
//   MATRIX_TABLE               the table to make

#include "winograd.h"

// Winograd.

INLINE void winograd_input_body(
    const int m, const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, uint8_t *target,
    ptrdiff_t point_bytes, ptrdiff_t tile_bytes, const float *scales, ptrdiff_t scale_stride) {
    const int n = m + 2;
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
            const float *from = source + tile * m * CK_BLOCK + lane;
            uint8_t *to = target + tile * tile_bytes + lane * 4 / GROUP;
            vector rows[8][8], column[8], result[8];
#pragma clang loop unroll(full)
            for (int y = 0; y < n; y++) {
                for (int x = 0; x < n; x++)
                    column[x] = LOAD(vector, from + y * row_stride + x * CK_BLOCK);
                transform_input(m, column, rows[y]);
            }
#pragma clang loop unroll(full)
            for (int x = 0; x < n; x++) {
                for (int y = 0; y < n; y++) column[y] = rows[y][x];
                transform_input(m, column, result);
                for (int y = 0; y < n; y++) {
                    const int point = y * n + x;
                    if (HAS_SCALES)
                        result[y] *= LOAD(vector, scales + point * scale_stride + lane);
                    store_elements(to + point * point_bytes, result[y]);
                }
            }
        }
}

INLINE void winograd_output_body(
    const int m, const word *source, ptrdiff_t point_stride, ptrdiff_t tile_stride,
    ptrdiff_t rows, ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias,
    const float *scales, ptrdiff_t scale_stride, const float *residual,
    ck_activation activation) {
    const int n = m + 2;
    for (ptrdiff_t left = 0; left < columns; left += m)
        for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
            const word *from = source + left / m * tile_stride + lane;
            vector half[6][8], column[8], result[6];
#pragma clang loop unroll(full)
            for (int x = 0; x < n; x++) {
                for (int y = 0; y < n; y++) {
                    const int point = y * n + x;
                    column[y] = sums_to_f32(LOAD(sums, from + point * point_stride));
                    if (HAS_SCALES)
                        column[y] *= LOAD(vector, scales + point * scale_stride + lane);
                }
                transform_output(m, column, result);
                for (int y = 0; y < m; y++) half[y][x] = result[y];
            }
            vector offset = LOAD(vector, bias + lane);
            ptrdiff_t width = columns - left < m ? columns - left : m;
#pragma clang loop unroll(full)
            for (int y = 0; y < m; y++) {
                if (y >= rows) break;
                transform_output(m, half[y], result);
#pragma clang loop unroll(full)
                for (int x = 0; x < m; x++) {
                    if (x >= width) break;
                    ptrdiff_t at = y * row_stride + (left + x) * CK_BLOCK + lane;
                    vector value = result[x] + offset;
                    if (residual) value += LOAD(vector, residual + at);
                    STORE(target + at, activate(value, activation));
                }
            }
        }
}

#define WINOGRAD(m) \
    static void winograd_input_##m( \
        const float *source, ptrdiff_t row_stride, ptrdiff_t tiles, void *target, \
        ptrdiff_t point_stride, ptrdiff_t tile_stride, const float *scales, \
        ptrdiff_t scale_stride) { \
        winograd_input_body( \
            m, source, row_stride, tiles, target, point_stride * 4 / GROUP, \
            tile_stride * 4 / GROUP, scales, scale_stride); \
    } \
    static void winograd_output_##m( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *scales, \
        ptrdiff_t scale_stride) { \
        SPECIALISE( \
            winograd_output_body, residual, activation, m, source, point_stride, tile_stride, \
            rows, columns, target, row_stride, bias, scales, scale_stride); \
    }
WINOGRAD(2)
WINOGRAD(4)
WINOGRAD(6)

// The GEMM: sums of a tile of rows × vectors stay in registers, the weights come from the
// first-level cache, the left-hand side by broadcast.

// Blocks of 16 columns in a register tile, and its rows: 24 (AVX-512) or 12 (AVX2) registers of
// sums, with room for the weights and a broadcast.
#if LANES == 16
#define TILE_BLOCKS 4
#define TILE_ROWS(blocks) ((blocks) == 4 ? 6 : (blocks) == 3 ? 8 : 12)
#else
#define TILE_BLOCKS 1
#define TILE_ROWS(blocks) 6
#endif
#define BLOCK_VECTORS (CK_BLOCK / LANES)

// Offsets and strides of the left-hand side are in bytes here.
INLINE void multiply_tile(
    const int rows, const int blocks, const uint8_t *a, ptrdiff_t a_stride, const int32_t *offsets,
    ptrdiff_t steps, const word *b, word *c, ptrdiff_t c_stride, const word *next) {
    const int vectors = blocks * BLOCK_VECTORS;
    const ptrdiff_t panel = steps * (CK_BLOCK / GROUP) * CK_BLOCK;
    sums total[12][TILE_BLOCKS * BLOCK_VECTORS];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) total[r][v] = (sums){};
    for (ptrdiff_t step = 0; step < steps; step++) {
        const uint8_t *from = a + offsets[step] * (4 / GROUP);
#pragma clang loop unroll_count(4)
        for (int k = 0; k < CK_BLOCK / GROUP; k++) {
            words weights[TILE_BLOCKS * BLOCK_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v++)
                weights[v] =
                    LOAD(words, b + v / BLOCK_VECTORS * panel + v % BLOCK_VECTORS * LANES);
#pragma clang loop unroll(full)
            for (int block = 0; block < blocks; block++)
                __builtin_prefetch(next + block * panel, 0, 2);
#pragma clang loop unroll(full)
            for (int r = 0; r < rows; r++) {
                word value = LOAD(word, from + r * a_stride + k * 4);
                for (int v = 0; v < vectors; v++)
                    total[r][v] = multiply_add(total[r][v], value, weights[v]);
            }
            b += CK_BLOCK;
            next += CK_BLOCK;
        }
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) STORE(c + r * c_stride + v * LANES, total[r][v]);
}

// All rows for one group of panels: whole register tiles, then what is left in halves.
INLINE void multiply_panels(
    const int blocks, const uint8_t *a, ptrdiff_t a_stride, const int32_t *offsets,
    ptrdiff_t steps, const word *b, ptrdiff_t rows, word *c, ptrdiff_t c_stride,
    const word *next) {
    while (rows > 0) {
        ptrdiff_t done;
        if (rows >= TILE_ROWS(blocks)) {
            done = TILE_ROWS(blocks);
            multiply_tile(
                TILE_ROWS(blocks), blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else if (rows >= 4) {
            done = 4;
            multiply_tile(4, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else if (rows >= 2) {
            done = 2;
            multiply_tile(2, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else {
            done = 1;
            multiply_tile(1, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        }
        rows -= done;
        a += done * a_stride;
        c += done * c_stride;
        next = b;  // fetched by the first tile; the others ask for what is there
    }
}

static void multiply(
    const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, const void *b,
    ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, const void *next) {
    const ptrdiff_t panel = steps * (CK_BLOCK / GROUP) * CK_BLOCK;
    const word *weights = b, *following = next ? next : b;
    word *target = c;
    while (blocks > 0) {
        // As even as possible: 6 blocks are 3 + 3, not 4 + 2.
        ptrdiff_t groups = (blocks + TILE_BLOCKS - 1) / TILE_BLOCKS;
        ptrdiff_t count = (blocks + groups - 1) / groups;
#define PANELS(number) \
    multiply_panels( \
        number, a, a_stride * (4 / GROUP), offsets, steps, weights, rows, target, c_stride, \
        following)
        switch (count) {
#if TILE_BLOCKS == 4
        case 4: PANELS(4); break;
        case 3: PANELS(3); break;
        case 2: PANELS(2); break;
#endif
        default: PANELS(1);
        }
#undef PANELS
        blocks -= count;
        weights += count * panel;
        following += count * panel;
        target += count * CK_BLOCK;
    }
}

static void convert(
    const float *source, ptrdiff_t count, void *target, ptrdiff_t target_stride,
    const float *scales) {
    for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
        vector scale = {};
        if (HAS_SCALES) scale = LOAD(vector, scales + lane);
        for (ptrdiff_t i = 0; i < count; i++) {
            vector value = LOAD(vector, source + i * CK_BLOCK + lane);
            if (HAS_SCALES) value *= scale;
            store_elements(
                (uint8_t *)target + (i * target_stride + lane) * (4 / GROUP), value);
        }
    }
}

const ck_matrix_kernels MATRIX_TABLE = {
    .winograd_input = {winograd_input_2, winograd_input_4, winograd_input_6},
    .winograd_output = {winograd_output_2, winograd_output_4, winograd_output_6},
    .multiply = multiply,
    .convert = convert,
};
