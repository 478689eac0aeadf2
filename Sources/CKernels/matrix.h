// The kernels that depend on the type of a GEMM's operands, written once for all of them. Whoever
// includes this has included vectors.h and defined
//
//   GROUP                      elements in 32 bits, which are multiplied together
//   LIMIT                      largest magnitude of integers of the left-hand side; 0 for floats
//   word, words                32 bits of operands: a scalar type, and a vector of LANES of them
//   sums                       a vector of LANES sums, f32 or int32
//   HAS_FIRST_SUMS             whether panels begin with what the sums begin with
//   multiply_add(s, a, b)      s + a · b; a is one word, b are LANES words
//   store_elements(p, v)       LANES f32, scaled, to elements
//   sums_to_f32(s)             sums to f32
//   MATRIX_TABLE               the table to make

#include "winograd.h"

// Winograd.

// What stands for m where a tile is one of CK_STRIDE2.
#define STRIDE2 0
#define POINTS(m) ((m) == STRIDE2 ? 81 : ((m) + 2) * ((m) + 2))
// Pixels of the source from one tile to the next.
#define TILE_STEP(m) ((m) == STRIDE2 ? 8 : (m))

// Bᵀ d B of one tile, LANES channels: result(point, vector) is called with each of its points.
#define TRANSFORM_TILE(m, source, row_stride, is_first, result) \
    do { \
        const int n_ = (m) + 2; \
        vector rows_[8][8], column_[8], out_[8]; \
        _Pragma("clang loop unroll(full)") for (int y_ = 0; y_ < n_; y_++) { \
            for (int x_ = 0; x_ < n_; x_++) \
                column_[x_] = LOAD(vector, (source) + y_ * (row_stride) + x_ * CK_BLOCK); \
            /* Rows are too far apart, and runs too short, for the hardware to foresee this. */ \
            if (is_first) \
                for (int x_ = n_; x_ < n_ + (m); x_++) \
                    __builtin_prefetch((source) + y_ * (row_stride) + x_ * CK_BLOCK, 0, 3); \
            transform_input(m, column_, rows_[y_]); \
        } \
        _Pragma("clang loop unroll(full)") for (int x_ = 0; x_ < n_; x_++) { \
            for (int y_ = 0; y_ < n_; y_++) column_[y_] = rows_[y_][x_]; \
            transform_input(m, column_, out_); \
            for (int y_ = 0; y_ < n_; y_++) result(y_ * n_ + x_, out_[y_]); \
        } \
    } while (0)

// Stride 2: the rows of the window first, odd and even ones, then the columns of each. Odd rows are
// the window's 0, 2, … 8.
#define TRANSFORM_STRIDE2(source, row_stride, result) \
    do { \
        vector odd_[9][5], column_[5], out_[5]; \
        _Pragma("clang loop unroll(full)") for (int x_ = 0; x_ < 9; x_++) { \
            for (int y_ = 0; y_ < 5; y_++) \
                column_[y_] = LOAD(vector, (source) + 2 * y_ * (row_stride) + x_ * CK_BLOCK); \
            transform_odd(column_, odd_[x_]); \
        } \
        _Pragma("clang loop unroll(full)") for (int p_ = 0; p_ < 5; p_++) { \
            for (int x_ = 0; x_ < 5; x_++) column_[x_] = odd_[2 * x_][p_]; \
            transform_odd(column_, out_); \
            for (int q_ = 0; q_ < 5; q_++) result(5 * p_ + q_, out_[q_]); \
            for (int x_ = 0; x_ < 4; x_++) result(25 + 4 * p_ + x_, odd_[2 * x_ + 1][p_]); \
        } \
        _Pragma("clang loop unroll(full)") for (int y_ = 0; y_ < 4; y_++) { \
            const float *row_ = (source) + (2 * y_ + 1) * (row_stride); \
            for (int x_ = 0; x_ < 5; x_++) column_[x_] = LOAD(vector, row_ + 2 * x_ * CK_BLOCK); \
            transform_odd(column_, out_); \
            for (int q_ = 0; q_ < 5; q_++) result(45 + 4 * q_ + y_, out_[q_]); \
            for (int x_ = 0; x_ < 4; x_++) { \
                vector even_ = LOAD(vector, row_ + (2 * x_ + 1) * CK_BLOCK); \
                result(65 + 4 * y_ + x_, even_); \
            } \
        } \
    } while (0)

#if LIMIT
// Points that differ in a sign share a factor: F(4, 3) has 4 × 4 classes, stride 2 has
// 3 × 3 + 3 + 3 + 1.
#define CLASSES 16
INLINE int class_of(const int m, int point) {
    const int whole[6] = {0, 1, 1, 2, 2, 3}, odd[5] = {0, 0, 1, 1, 2};
    if (m != STRIDE2) return whole[point / 6] * 4 + whole[point % 6];
    if (point < 25) return odd[point / 5] * 3 + odd[point % 5];
    if (point < 45) return 9 + odd[(point - 25) / 4];
    return point < 65 ? 12 + odd[(point - 45) / 4] : 15;
}

INLINE bits larger(bits a, bits b) { return a > b ? a : b; }

// The largest lane of each of CLASSES vectors, in order.
#if LANES == 16
#define EVEN(a, b) \
    __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) \
    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#else
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#endif
INLINE void reduce_classes(bits peaks[CLASSES]) {
#pragma clang loop unroll(full)
    for (int count = CLASSES / 2; count >= CLASSES / LANES; count /= 2)
        for (int i = 0; i < count; i++) {
            bits a = peaks[2 * i], b = peaks[2 * i + 1];
            peaks[i] = larger(EVEN(a, b), ODD(a, b));
        }
}

// One tile, all channels: to f32 first, because a row's factor takes all of its channels.
INLINE void quantize_tile(
    const int m, const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t channels,
    uint8_t *target, ptrdiff_t point_bytes, float *row_factors, float *staging) {
    // Magnitudes are compared as integers, in which a NaN is larger than infinity: it becomes the
    // factor, and so everything that the row contributes to.
    bits peaks[CLASSES] = {};
    for (ptrdiff_t channel = 0; channel < channels; channel += LANES) {
        const float *from = source + channel / CK_BLOCK * block_stride + channel % CK_BLOCK;
#define STAGE(point, value) \
    do { \
        const int class_ = class_of(m, point); \
        STORE(staging + (point) * channels + channel, value); \
        peaks[class_] = larger(peaks[class_], __builtin_bit_cast(bits, value) & 0x7fffffffu); \
    } while (0)
        if (m == STRIDE2)
            TRANSFORM_STRIDE2(from, row_stride, STAGE);
        else
            TRANSFORM_TILE(m, from, row_stride, channel % CK_BLOCK == 0, STAGE);
#undef STAGE
    }
    reduce_classes(peaks);
    float scales[CLASSES];
    const vector smallest = (vector){} + 1e-30f;  // nothing is divided by 0
#pragma clang loop unroll(full)
    for (int i = 0; i < CLASSES / LANES; i++) {
        vector peak = __builtin_bit_cast(vector, peaks[i]);
        peak = peak < smallest ? smallest : peak;
        STORE(scales + i * LANES, LIMIT / peak);
        STORE(row_factors + i * LANES, peak * (1.0f / LIMIT));
    }
    for (int point = 0; point < POINTS(m); point++) {
        const vector scale = (vector){} + scales[class_of(m, point)];
        for (ptrdiff_t channel = 0; channel < channels; channel += LANES)
            store_elements(
                target + point * point_bytes + channel * (4 / GROUP),
                LOAD(vector, staging + point * channels + channel) * scale);
    }
}
#endif

INLINE void winograd_input_body(
    const int m, const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride,
    ptrdiff_t blocks, ptrdiff_t tiles, uint8_t *target, ptrdiff_t point_bytes,
    ptrdiff_t tile_bytes, float *row_factors, float *staging) {
#if LIMIT
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        quantize_tile(
            m, source + tile * TILE_STEP(m) * CK_BLOCK, row_stride, block_stride, blocks * CK_BLOCK,
            target + tile * tile_bytes, point_bytes, row_factors + tile * CLASSES, staging);
#else
    (void)row_factors, (void)staging;
    for (ptrdiff_t block = 0; block < blocks; block++)
        for (ptrdiff_t tile = 0; tile < tiles; tile++)
            for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
                const float *from =
                    source + block * block_stride + tile * TILE_STEP(m) * CK_BLOCK + lane;
                uint8_t *to =
                    target + tile * tile_bytes + (block * CK_BLOCK + lane) * (4 / GROUP);
#define STORE_POINT(point, value) store_elements(to + (point) * point_bytes, value)
                if (m == STRIDE2)
                    TRANSFORM_STRIDE2(from, row_stride, STORE_POINT);
                else
                    TRANSFORM_TILE(m, from, row_stride, lane == 0, STORE_POINT);
#undef STORE_POINT
            }
#endif
}

// Factors of integer sums; unused by floats.
typedef struct {
    const float *rows;     // of the first tile of a run
    const float *columns;  // of the first lane
    ptrdiff_t column_stride;
} factors;

// The sums of one point of a tile, as f32.
INLINE vector load_sums(
    const int m, const word *source, ptrdiff_t point_stride, int point, ptrdiff_t tile,
    factors scale) {
    vector value = sums_to_f32(LOAD(sums, source + point * point_stride));
#if LIMIT
    value *= LOAD(vector, scale.columns + point * scale.column_stride)
        * scale.rows[tile * CLASSES + class_of(m, point)];
#else
    (void)m, (void)tile, (void)scale;
#endif
    return value;
}

INLINE void winograd_output_body(
    const int m, const word *source, ptrdiff_t point_stride, ptrdiff_t tile_stride,
    ptrdiff_t rows, ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias,
    factors scale, const float *residual, ck_activation activation) {
    const int n = m + 2;
    for (ptrdiff_t left = 0; left < columns; left += m)
        for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
            const ptrdiff_t tile = left / m;
            const word *from = source + tile * tile_stride + lane;
            factors of_lane = {scale.rows, scale.columns + lane, scale.column_stride};
            vector half[6][8], column[8], result[6];
#pragma clang loop unroll(full)
            for (int x = 0; x < n; x++) {
                for (int y = 0; y < n; y++)
                    column[y] = load_sums(m, from, point_stride, y * n + x, tile, of_lane);
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

INLINE void stride2_output_body(
    const word *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows,
    ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, factors scale,
    const float *residual, ck_activation activation) {
    for (ptrdiff_t left = 0; left < columns; left += 4)
        for (int lane = 0; lane < CK_BLOCK; lane += LANES) {
            const word *from = source + left / 4 * tile_stride + lane;
            factors of_lane = {scale.rows, scale.columns + lane, scale.column_stride};
            vector half[4][5], mixed[4][4], column[5], result[4];
#define POINT(index) load_sums(STRIDE2, from, point_stride, index, left / 4, of_lane)
#pragma clang loop unroll(full)
            for (int q = 0; q < 5; q++) {
                for (int p = 0; p < 5; p++) column[p] = POINT(5 * p + q);
                transform_odd_output(column, result);
                for (int y = 0; y < 4; y++) half[y][q] = result[y] + POINT(45 + 4 * q + y);
            }
#pragma clang loop unroll(full)
            for (int x = 0; x < 4; x++) {
                for (int p = 0; p < 5; p++) column[p] = POINT(25 + 4 * p + x);
                transform_odd_output(column, result);
                for (int y = 0; y < 4; y++) mixed[y][x] = result[y] + POINT(65 + 4 * y + x);
            }
#undef POINT
            vector offset = LOAD(vector, bias + lane);
            ptrdiff_t width = columns - left < 4 ? columns - left : 4;
#pragma clang loop unroll(full)
            for (int y = 0; y < 4; y++) {
                if (y >= rows) break;
                transform_odd_output(half[y], result);
#pragma clang loop unroll(full)
                for (int x = 0; x < 4; x++) {
                    if (x >= width) break;
                    ptrdiff_t at = y * row_stride + (left + x) * CK_BLOCK + lane;
                    vector value = result[x] + mixed[y][x] + offset;
                    if (residual) value += LOAD(vector, residual + at);
                    STORE(target + at, activate(value, activation));
                }
            }
        }
}

// A table's functions take no `m`: a constant there lets the compiler unroll everything.
#define WINOGRAD_INPUT(name, m) \
    static void winograd_input_##name( \
        const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks, \
        ptrdiff_t tiles, void *target, ptrdiff_t point_stride, ptrdiff_t tile_stride, \
        float *row_factors, float *staging) { \
        winograd_input_body( \
            m, source, row_stride, block_stride, blocks, tiles, target, \
            point_stride * (4 / GROUP), tile_stride * (4 / GROUP), row_factors, staging); \
    }
#define WINOGRAD_OUTPUT(name, body, ...) \
    static void winograd_output_##name( \
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows, \
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias, \
        const float *residual, ck_activation activation, const float *row_factors, \
        const float *column_factors, ptrdiff_t column_factor_stride) { \
        factors scale = {row_factors, column_factors, column_factor_stride}; \
        SPECIALISE( \
            body, residual, activation, __VA_ARGS__ source, point_stride, tile_stride, rows, \
            columns, target, row_stride, bias, scale); \
    }
#define COMMA ,
// Narrow operands make F(2, 3) slower than F(4, 3), and F(6, 3) inaccurate and hardly faster: what
// its fewer products save, its larger transforms cost.
#if GROUP == 1
WINOGRAD_INPUT(2, 2)
WINOGRAD_OUTPUT(2, winograd_output_body, 2 COMMA)
WINOGRAD_INPUT(6, 6)
WINOGRAD_OUTPUT(6, winograd_output_body, 6 COMMA)
#endif
WINOGRAD_INPUT(4, 4)
WINOGRAD_OUTPUT(4, winograd_output_body, 4 COMMA)
WINOGRAD_INPUT(stride2, STRIDE2)
WINOGRAD_OUTPUT(stride2, stride2_output_body)

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
#define PANEL_WORDS(steps) (((steps) * (CK_BLOCK / GROUP) + HAS_FIRST_SUMS) * CK_BLOCK)

// Compilers like to load the broadcasts of several rows ahead, run out of registers, and keep sums
// in memory: two thirds of the speed. No load moves across this; it costs no instruction.
#define KEEP_ORDER() __asm__ volatile("" ::: "memory")

// Offsets and strides of the left-hand side are in bytes here.
INLINE void multiply_tile(
    const int rows, const int blocks, const uint8_t *a, ptrdiff_t a_stride, const int32_t *offsets,
    ptrdiff_t steps, const word *b, word *c, ptrdiff_t c_stride, const word *next) {
    const int vectors = blocks * BLOCK_VECTORS;
    const ptrdiff_t panel = PANEL_WORDS(steps);
    sums total[12][TILE_BLOCKS * BLOCK_VECTORS];
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
        sums first = {};
        if (HAS_FIRST_SUMS)
            first = LOAD(sums, b + v / BLOCK_VECTORS * panel + v % BLOCK_VECTORS * LANES);
        for (int r = 0; r < rows; r++) total[r][v] = first;
    }
    b += HAS_FIRST_SUMS * CK_BLOCK;
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
                __builtin_prefetch(next + block * CK_BLOCK, 0, 2);
#pragma clang loop unroll(full)
            for (int r = 0; r < rows; r++) {
                word value = LOAD(word, from + r * a_stride + k * 4);
                for (int v = 0; v < vectors; v++)
                    total[r][v] = multiply_add(total[r][v], value, weights[v]);
                KEEP_ORDER();
            }
            b += CK_BLOCK;
            next += blocks * CK_BLOCK;
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
    const ptrdiff_t panel = PANEL_WORDS(steps);
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

const ck_matrix_kernels MATRIX_TABLE = {
    .winograd_input[CK_F4] = winograd_input_4,
    .winograd_output[CK_F4] = winograd_output_4,
    .winograd_input[CK_STRIDE2] = winograd_input_stride2,
    .winograd_output[CK_STRIDE2] = winograd_output_stride2,
#if GROUP == 1
    .winograd_input[CK_F2] = winograd_input_2,
    .winograd_output[CK_F2] = winograd_output_2,
    .winograd_input[CK_F6] = winograd_input_6,
    .winograd_output[CK_F6] = winograd_output_6,
#endif
    .multiply = multiply,
};
