// Frames into luma, and pictures moved by the flow. Included by stream_kernels.h.

typedef uint16_t pixel_u16 __attribute__((ext_vector_type(16)));
typedef uint16_t quad_u16 __attribute__((ext_vector_type(4)));
typedef uint16_t pair_u16 __attribute__((ext_vector_type(8)));
typedef float two __attribute__((ext_vector_type(2)));
typedef float four __attribute__((ext_vector_type(4)));

INLINE pixel from_u16(pixel_u16 value) {
    return __builtin_convertvector(__builtin_convertvector(value, pixel_mask), pixel);
}

// Rounds to nearest; the value lies in 0…65535.
INLINE pixel_u16 to_u16(pixel value) {
    return __builtin_convertvector(
        __builtin_convertvector(value + 0.5f, pixel_mask), pixel_u16);
}

INLINE pixel pixel_abs(pixel v) {
    return __builtin_bit_cast(pixel, __builtin_bit_cast(pixel_mask, v) & 0x7fffffff);
}

#define JOIN_ROWS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define JOIN_PAIRS(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

INLINE pixel_u16 load_square_u16(const uint16_t *from, ptrdiff_t stride) {
    pair_u16 top = JOIN_ROWS(LOAD(quad_u16, from), LOAD(quad_u16, from + stride));
    pair_u16 bottom =
        JOIN_ROWS(LOAD(quad_u16, from + 2 * stride), LOAD(quad_u16, from + 3 * stride));
    return JOIN_PAIRS(top, bottom);
}

INLINE void store_square_u16(uint16_t *to, ptrdiff_t stride, pixel_u16 v) {
    STORE(to, __builtin_shufflevector(v, v, 0, 1, 2, 3));
    STORE(to + stride, __builtin_shufflevector(v, v, 4, 5, 6, 7));
    STORE(to + 2 * stride, __builtin_shufflevector(v, v, 8, 9, 10, 11));
    STORE(to + 3 * stride, __builtin_shufflevector(v, v, 12, 13, 14, 15));
}

// A square between pixels, bilinear: x, y in 0 ..< 1 to the right of and below `from`.
INLINE pixel between_u16(const uint16_t *from, ptrdiff_t stride, float x, float y) {
    pixel a = from_u16(load_square_u16(from, stride));
    pixel b = from_u16(load_square_u16(from + 1, stride));
    pixel c = from_u16(load_square_u16(from + stride, stride));
    pixel d = from_u16(load_square_u16(from + stride + 1, stride));
    pixel above = a + x * (b - a), below = c + x * (d - c);
    return above + y * (below - above);
}

// Where a square comes from, the fractions apart, in 0 ..< 1.
typedef struct {
    ptrdiff_t column, row;
    float x, y;
} origin;

// Outside of the picture there is nothing but its repeated edge: no farther out than the margin.
INLINE origin origin_of(
    ptrdiff_t column, ptrdiff_t row, float u, float v, ptrdiff_t columns, ptrdiff_t rows) {
    float x = clamp_float((float)(4 * column) + u, -8, (float)(4 * columns + 4)) + CK_MARGIN;
    float y = clamp_float((float)(4 * row) + v, -8, (float)(4 * rows + 4)) + CK_MARGIN;
    int32_t left = (int32_t)x, top = (int32_t)y;
    return (origin){left - CK_MARGIN, top - CK_MARGIN, x - (float)left, y - (float)top};
}

INLINE float pixel_sum(pixel v) {
    patch_row half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)
        + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return row_sum(half);
}

static void frame_squares(
    const uint8_t *rgb, ptrdiff_t rgb_stride, ptrdiff_t count, float *blocks,
    ptrdiff_t block_stride, uint16_t *luma, ptrdiff_t luma_stride, float *half,
    ptrdiff_t half_stride, float *means) {
    for (ptrdiff_t i = 0; i < count; i++) {
        square values = load_square(rgb + 12 * i, rgb_stride);
        pixel colours[3];
        for (int c = 0; c < 3; c++) {
            colours[c] = from_u8(values.colour[c]);
            STORE(blocks + c * block_stride + i * CK_BLOCK, colours[c] * (1 / 255.0f));
        }
        pixel y = 0.299f * colours[0] + 0.587f * colours[1] + 0.114f * colours[2];
        store_square_u16(luma + 4 * i, luma_stride, to_u16(CK_LUMA_SCALE * y));
        pixel sums = y + __builtin_shufflevector(
            y, y, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        sums += __builtin_shufflevector(
            sums, sums, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        sums *= 0.25f;
        STORE(half + 2 * i, __builtin_shufflevector(sums, sums, 0, 2));
        STORE(half + half_stride + 2 * i, __builtin_shufflevector(sums, sums, 8, 10));
        four whole = {
            pixel_sum(y), pixel_sum(colours[0] - y), pixel_sum(colours[2] - y), 0};
        STORE(means + CK_MEANS * i, whole * (1 / 16.0f));
    }
}

static void halve(const float *source, ptrdiff_t stride, ptrdiff_t count, float *target) {
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8) {
        pixel sums = LOAD(pixel, source + 2 * i) + LOAD(pixel, source + stride + 2 * i);
        STORE(
            target + i,
            0.25f
                * (__builtin_shufflevector(sums, sums, 0, 2, 4, 6, 8, 10, 12, 14)
                   + __builtin_shufflevector(sums, sums, 1, 3, 5, 7, 9, 11, 13, 15)));
    }
    for (; i < count; i++)
        target[i] = 0.25f
            * (source[2 * i] + source[stride + 2 * i] + source[2 * i + 1]
               + source[stride + 2 * i + 1]);
}

// A difference of up to so many times the noise may be noise; then motion is believed if it leaves
// less than this share of it.
#define SQUARE_NOISE 1.5f
#define SQUARE_GAIN 0.75f

static void square_errors(
    const uint16_t *now, const uint16_t *before, ptrdiff_t stride, ptrdiff_t columns,
    ptrdiff_t rows, ptrdiff_t row, float noise, float *flow, float *drift, float *errors) {
    noise *= SQUARE_NOISE * 16 * CK_LUMA_SCALE;
    for (ptrdiff_t i = 0; i < columns; i++) {
        ptrdiff_t at = 4 * row * stride + 4 * i;
        pixel here = from_u16(load_square_u16(now + at, stride));
        float error = pixel_sum(pixel_abs(here - from_u16(load_square_u16(before + at, stride))));
        two vector = LOAD(two, flow + 2 * i), moves = {};
        if (vector[0] != 0 || vector[1] != 0) {
            origin o = origin_of(i, row, vector[0], vector[1], columns, rows);
            pixel there = between_u16(before + o.row * stride + o.column, stride, o.x, o.y);
            float moved = pixel_sum(pixel_abs(here - there));
            if (!(moved < error)) vector = (two){};
            if (moved < (error > noise ? error : SQUARE_GAIN * error)) {
                error = moved;
                moves = vector;
            }
        }
        STORE(flow + 2 * i, moves);
        STORE(drift + 2 * i, vector);
        errors[i] = error * (1.0f / (16 * CK_LUMA_SCALE));
    }
}

// A field of pairs, or of pixels of a block, between its points: where in it, within its edges.
typedef struct {
    ptrdiff_t column, row;
    float x, y;
} field_place;

INLINE field_place place_in_field(
    float x, float y, ptrdiff_t columns, ptrdiff_t rows) {
    x = clamp_float(x, 0, (float)(columns - 1));
    y = clamp_float(y, 0, (float)(rows - 1));
    ptrdiff_t column = clamp_index((ptrdiff_t)x, 0, columns - 2);
    ptrdiff_t row = clamp_index((ptrdiff_t)y, 0, rows - 2);
    return (field_place){column, row, x - (float)column, y - (float)row};
}

// Bilinear in a field of `type`, `stride` elements a row.
#define FIELD_AT(type, field, size, stride, p) \
    ({ \
        const float *at_ = (field) + (p).row * (stride) + (p).column * (size); \
        type a_ = LOAD(type, at_), b_ = LOAD(type, at_ + (size)); \
        type c_ = LOAD(type, at_ + (stride)), d_ = LOAD(type, at_ + (stride) + (size)); \
        type above_ = a_ + (p).x * (b_ - a_), below_ = c_ + (p).x * (d_ - c_); \
        above_ + (p).y * (below_ - above_); \
    })

// Sum of a column's means in a row and the rows around it, the edges repeated.
INLINE four column_sum(
    const float *means, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row, ptrdiff_t column) {
    four sum = {};
    column = clamp_index(column, 0, columns - 1);
    for (ptrdiff_t y = row - CK_AROUND; y <= row + CK_AROUND; y++)
        sum += LOAD(four, means + CK_MEANS * (clamp_index(y, 0, rows - 1) * columns + column));
    return sum;
}

static void surrounding_means(float *means, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row) {
    enum { side = 2 * CK_AROUND + 1 };
    four sums[side];
    for (ptrdiff_t x = 0; x < side - 1; x++)
        sums[x] = column_sum(means, columns, rows, row, x - CK_AROUND);
    for (ptrdiff_t i = 0; i < columns; i++) {
        sums[(i + side - 1) % side] = column_sum(means, columns, rows, row, i + CK_AROUND);
        four sum = {};
        for (int x = 0; x < side; x++) sum += sums[x];
        STORE(
            means + CK_MEANS * (row * columns + i) + CK_MEANS / 2, sum * (1.0f / (side * side)));
    }
}

static void basis_errors(
    const float *means, const float *basis, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row,
    const float *flow, float factor, float *aligned, float *errors, float *around) {
    for (ptrdiff_t i = 0; i < columns; i++) {
        field_place p = place_in_field(
            (float)i + 0.25f * flow[2 * i], (float)row + 0.25f * flow[2 * i + 1], columns, rows);
        patch_row there = factor * FIELD_AT(patch_row, basis, CK_MEANS, CK_MEANS * columns, p);
        patch_row apart = row_abs(LOAD(patch_row, means + CK_MEANS * i) - there);
        errors[i] += 2 * apart[0] + apart[1] + apart[2];
        around[i] = 2 * apart[4] + apart[5] + apart[6];
        STORE(aligned + CK_MEANS * i, there);
    }
}
