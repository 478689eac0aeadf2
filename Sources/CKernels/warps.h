// Frames into luma, and pictures moved by the flow. Included by stream_kernels.h.

typedef uint16_t pixel_u16 __attribute__((ext_vector_type(16)));
typedef uint16_t quad_u16 __attribute__((ext_vector_type(4)));
typedef uint16_t pair_u16 __attribute__((ext_vector_type(8)));
typedef float two __attribute__((ext_vector_type(2)));

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

static void frame_squares(
    const uint8_t *rgb, ptrdiff_t rgb_stride, ptrdiff_t count, float *blocks,
    ptrdiff_t block_stride, uint16_t *luma, ptrdiff_t luma_stride, float *half,
    ptrdiff_t half_stride) {
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

INLINE float pixel_sum(pixel v) {
    patch_row half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)
        + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return row_sum(half);
}

// A difference of up to so many times the noise may be noise; then motion is believed if it leaves
// less than this share of it.
#define SQUARE_NOISE 1.5f
#define SQUARE_GAIN 0.75f

static void square_errors(
    const uint16_t *now, const uint16_t *before, ptrdiff_t stride, ptrdiff_t columns,
    ptrdiff_t rows, ptrdiff_t row, float noise, float *flow, float *errors) {
    noise *= SQUARE_NOISE * 16 * CK_LUMA_SCALE;
    for (ptrdiff_t i = 0; i < columns; i++) {
        ptrdiff_t at = 4 * row * stride + 4 * i;
        pixel here = from_u16(load_square_u16(now + at, stride));
        float error = pixel_sum(pixel_abs(here - from_u16(load_square_u16(before + at, stride))));
        float u = flow[2 * i], v = flow[2 * i + 1];
        if (u != 0 || v != 0) {
            origin o = origin_of(i, row, u, v, columns, rows);
            pixel there = between_u16(before + o.row * stride + o.column, stride, o.x, o.y);
            float moved = pixel_sum(pixel_abs(here - there));
            if (moved < (error > noise ? error : SQUARE_GAIN * error)) {
                error = moved;
            } else {
                flow[2 * i] = 0;
                flow[2 * i + 1] = 0;
            }
        }
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

// Anchors farther off than this begin anew: beyond, f32 would lose fractions of pixels.
#define ANCHOR_LIMIT 16384.0f

static void trust_squares(
    const ck_stream_past *past, ptrdiff_t row, const float *flow, const float *errors,
    float error_scale, float trust_max, float *trust, float *anchor) {
    const float right = (float)(4 * past->columns - 1), bottom = (float)(4 * past->rows - 1);
    for (ptrdiff_t i = 0; i < past->columns; i++) {
        float u = flow[2 * i], v = flow[2 * i + 1];
        float x = (float)(4 * i) + 1.5f + u, y = (float)(4 * row) + 1.5f + v;
        float value = trust_max * clamp_float(1.5f - 0.5f * error_scale * errors[i], 0, 1);
        if (x < 0 || x > right || y < 0 || y > bottom) value = 0;
        trust[i] = value;
        two moved = {};
        if (value > 0) {
            moved = LOAD(two, past->anchor + 2 * (row * past->columns + i));
            if (u != 0 || v != 0) {
                field_place p = place_in_field(
                    (float)i + 0.25f * u, (float)row + 0.25f * v, past->columns, past->rows);
                moved = FIELD_AT(two, past->anchor, 2, 2 * past->columns, p) + (two){u, v};
            }
            if (absolute(moved[0]) > ANCHOR_LIMIT || absolute(moved[1]) > ANCHOR_LIMIT)
                moved = (two){};
        }
        STORE(anchor + 2 * i, moved);
    }
}

typedef uint8_t quad_u8 __attribute__((ext_vector_type(4)));
typedef uint8_t pair_u8 __attribute__((ext_vector_type(8)));

INLINE pixel load_square_u8(const uint8_t *from) {
    pair_u8 top = JOIN_ROWS(LOAD(quad_u8, from), LOAD(quad_u8, from + CK_SOURCE_STRIDE));
    pair_u8 bottom = JOIN_ROWS(
        LOAD(quad_u8, from + 2 * CK_SOURCE_STRIDE), LOAD(quad_u8, from + 3 * CK_SOURCE_STRIDE));
    return from_u8(JOIN_PAIRS(top, bottom));
}

INLINE pixel between_u8(const uint8_t *from, float x, float y) {
    pixel a = load_square_u8(from), b = load_square_u8(from + 1);
    pixel c = load_square_u8(from + CK_SOURCE_STRIDE);
    pixel d = load_square_u8(from + CK_SOURCE_STRIDE + 1);
    pixel above = a + x * (b - a), below = c + x * (d - c);
    return above + y * (below - above);
}

// Change of the anchor from square to square, for each pixel: the smaller of the two sides' changes,
// so that a turning surface's texture turns; none at a tear, where two surfaces' would mix, nor where
// nobody could see it.
#define SLOPE_MIN 0.1f
#define SLOPE_MAX 2.0f
INLINE float slope(float before, float here, float after) {
    float a = here - before, b = after - here;
    float least = absolute(a) < absolute(b) ? a : b;
    int is_even = a * b > 0 && absolute(least) >= SLOPE_MIN && absolute(least) <= SLOPE_MAX;
    return is_even ? 0.25f * least : 0;
}

// How texture coordinates go on around the middle of a square: d(x, y) by column and by row.
typedef struct {
    two column, row;
} slopes;

INLINE slopes slopes_at(const ck_stream_past *past, const float *anchor, ptrdiff_t i, ptrdiff_t row) {
    ptrdiff_t stride = 2 * past->columns;
    two here = LOAD(two, anchor + 2 * i);
    two left = LOAD(two, anchor + 2 * clamp_index(i - 1, 0, past->columns - 1));
    two right = LOAD(two, anchor + 2 * clamp_index(i + 1, 0, past->columns - 1));
    two above = row > 0 ? LOAD(two, anchor + 2 * i - stride) : here;
    two below = row + 1 < past->rows ? LOAD(two, anchor + 2 * i + stride) : here;
    slopes s;
    for (int c = 0; c < 2; c++) {
        s.column[c] = slope(left[c], here[c], right[c]);
        s.row[c] = slope(above[c], here[c], below[c]);
    }
    return s;
}

INLINE pixel_mask floor_of(pixel v) {
    pixel_mask whole = __builtin_convertvector(v, pixel_mask);
    return whole + (v < __builtin_convertvector(whole, pixel));
}

// Two texels side by side for each pixel, as the low bytes of a word.
INLINE pixel_mask texel_pairs(const uint8_t *plane, pixel_mask index) {
    pixel_mask words;
#pragma clang loop unroll(full)
    for (int lane = 0; lane < CK_BLOCK; lane++) {
        int32_t word;
        memcpy(&word, plane + index[lane], sizeof word);
        words[lane] = word;
    }
    return words;
}

INLINE pixel across(pixel_mask words, pixel x) {
    pixel left = __builtin_convertvector(words & 255, pixel);
    return left + x * (__builtin_convertvector(words >> 8 & 255, pixel) - left);
}

// The source at one square, its three planes in 0…255.
typedef struct {
    pixel colour[3];
} texture;

INLINE texture turned_texture(const ck_stream_past *past, two at, slopes s) {
    const pixel columns = {-1.5f, -0.5f, 0.5f, 1.5f, -1.5f, -0.5f, 0.5f, 1.5f,
                           -1.5f, -0.5f, 0.5f, 1.5f, -1.5f, -0.5f, 0.5f, 1.5f};
    const pixel rows = {-1.5f, -1.5f, -1.5f, -1.5f, -0.5f, -0.5f, -0.5f, -0.5f,
                        0.5f,  0.5f,  0.5f,  0.5f,  1.5f,  1.5f,  1.5f,  1.5f};
    pixel x = at[0] + 1.5f + columns * (1 + s.column[0]) + rows * s.row[0];
    pixel y = at[1] + 1.5f + columns * s.column[1] + rows * (1 + s.row[1]);
    pixel_mask left = floor_of(x), top = floor_of(y);
    x -= __builtin_convertvector(left, pixel);
    y -= __builtin_convertvector(top, pixel);
    pixel_mask index = (top + past->offset_y & CK_SOURCE - 1) * CK_SOURCE_STRIDE
        + (left + past->offset_x & CK_SOURCE - 1);
    texture result;
    for (int c = 0; c < 3; c++) {
        const uint8_t *plane = past->source + c * CK_SOURCE_STRIDE * CK_SOURCE_STRIDE;
        pixel above = across(texel_pairs(plane, index), x);
        pixel below = across(texel_pairs(plane + CK_SOURCE_STRIDE, index), x);
        result.colour[c] = above + y * (below - above);
    }
    return result;
}

INLINE texture texture_at(
    const ck_stream_past *past, const float *anchor, ptrdiff_t i, ptrdiff_t row) {
    two at = LOAD(two, anchor + 2 * i) + (two){(float)(4 * i), (float)(4 * row)};
    slopes s = slopes_at(past, anchor, i, row);
    if (s.column[0] != 0 || s.column[1] != 0 || s.row[0] != 0 || s.row[1] != 0)
        return turned_texture(past, at, s);
    int32_t left = (int32_t)at[0], top = (int32_t)at[1];
    left -= at[0] < (float)left;
    top -= at[1] < (float)top;
    float x = at[0] - (float)left, y = at[1] - (float)top;
    const uint8_t *from = past->source
        + (top + past->offset_y & CK_SOURCE - 1) * CK_SOURCE_STRIDE
        + (left + past->offset_x & CK_SOURCE - 1);
    texture result;
    for (int c = 0; c < 3; c++, from += CK_SOURCE_STRIDE * CK_SOURCE_STRIDE)
        result.colour[c] = x == 0 && y == 0 ? load_square_u8(from) : between_u8(from, x, y);
    return result;
}

// The past of a square where it is now, three times 16.
INLINE void align_square(
    const ck_stream_past *past, ptrdiff_t i, ptrdiff_t row, float u, float v, uint16_t *aligned) {
    origin o = origin_of(i, row, u, v, past->columns, past->rows);
    const uint16_t *from = past->past + o.row * past->past_stride + o.column;
    for (int c = 0; c < 3; c++, from += past->plane_stride)
        STORE(
            aligned + c * CK_BLOCK,
            o.x == 0 && o.y == 0 ? load_square_u16(from, past->past_stride)
                                 : to_u16(between_u16(from, past->past_stride, o.x, o.y)));
}

INLINE pixel align_state(
    const ck_stream_past *past, ptrdiff_t i, ptrdiff_t row, float u, float v) {
    ptrdiff_t stride = past->columns * CK_BLOCK;
    if (u == 0 && v == 0) return LOAD(pixel, past->state + row * stride + i * CK_BLOCK);
    field_place p = place_in_field(
        (float)i + 0.25f * u, (float)row + 0.25f * v, past->columns, past->rows);
    return FIELD_AT(pixel, past->state, CK_BLOCK, stride, p);
}

static void start_squares(
    const ck_stream_past *past, ptrdiff_t row, const float *flow, const float *trust,
    float temporal, const float *anchor, uint16_t *aligned, float *input,
    ptrdiff_t block_stride) {
    for (ptrdiff_t i = 0; i < past->columns; i++, input += CK_BLOCK, aligned += 3 * CK_BLOCK) {
        float tau = temporal * trust[i];
        texture source = texture_at(past, anchor, i, row);
        if (!(tau > 0)) {
            for (int c = 0; c < 3; c++)
                STORE(input + c * block_stride, source.colour[c] * (1 / 255.0f));
            STORE(input + 6 * block_stride, (pixel){});
            continue;
        }
        float u = flow[2 * i], v = flow[2 * i + 1];
        align_square(past, i, row, u, v, aligned);
        for (int c = 0; c < 3; c++) {
            pixel before = from_u16(LOAD(pixel_u16, aligned + c * CK_BLOCK));
            STORE(
                input + c * block_stride,
                (1 - tau) / 255 * source.colour[c] + tau / 65535 * before);
        }
        pixel state = align_state(past, i, row, u, v);
        state[CK_BLOCK - 1] = tau;
        STORE(input + 6 * block_stride, state);
    }
}
