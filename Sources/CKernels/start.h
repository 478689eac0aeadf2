// Trust in the past, textures that travel, and the start of the flow. Included by stream_kernels.h.

// Change of the anchor from square to square, for each pixel: the smaller of the two sides'
// changes, so that a turning surface's texture turns; none at a tear, where two surfaces' would
// mix, nor where nobody could see it.
#define SLOPE_MIN 0.2f
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

INLINE slopes slopes_at(
    const ck_stream_past *past, const float *anchor, ptrdiff_t i, ptrdiff_t row) {
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

// Anchors farther off than this begin anew: beyond, f32 would lose fractions of pixels.
#define ANCHOR_LIMIT 16384.0f

INLINE ptrdiff_t floor_index(float value) {
    ptrdiff_t whole = (ptrdiff_t)value;
    return whole - (value < (float)whole);
}

// The anchor of what has drifted to a square: that of the square it was in, as it goes on there.
// Never a mean of two squares', which may be of two surfaces; whether a way between squares counts as
// one, `phase` says, so that slow surfaces take their anchors along in the long run.
INLINE two drifted_anchor(
    const ck_stream_past *past, ptrdiff_t i, ptrdiff_t row, two drift, float phase) {
    float x = 0.25f * drift[0], y = 0.25f * drift[1];
    ptrdiff_t column = clamp_index(i + floor_index(x + phase), 0, past->columns - 1);
    ptrdiff_t line = clamp_index(row + floor_index(y + phase), 0, past->rows - 1);
    const float *from = past->anchor + 2 * past->columns * line;
    two anchor = LOAD(two, from + 2 * column) + drift;
    slopes s = slopes_at(past, from, column, line);
    anchor += (4 * (x - (float)(column - i))) * s.column;
    anchor += (4 * (y - (float)(line - row))) * s.row;
    return anchor;
}

static void trust_squares(
    const ck_stream_past *past, ptrdiff_t row, const float *flow, const float *drift,
    const float *errors, float error_scale, const float *around, float around_scale,
    float has_past, float phase, float *trust, float *anchor) {
    const float right = (float)(4 * past->columns - 1), bottom = (float)(4 * past->rows - 1);
    for (ptrdiff_t i = 0; i < past->columns; i++) {
        float x = (float)(4 * i) + 1.5f + flow[2 * i];
        float y = (float)(4 * row) + 1.5f + flow[2 * i + 1];
        float error = error_scale * errors[i], other = around_scale * around[i];
        float known = x < 0 || x > right || y < 0 || y > bottom ? 0 : has_past;
        float alike = known * clamp_float(1.5f - 0.5f * (error > other ? error : other), 0, 1);
        float most = flow[2 * i] == 0 && flow[2 * i + 1] == 0 ? CK_TRUST_STOOD : CK_TRUST_MOVED;
        trust[i] = CK_TRUST_MIN * known + (most - CK_TRUST_MIN) * alike;
        two moved = {};
        if (alike > 0) {
            two by = LOAD(two, drift + 2 * i);
            moved = LOAD(two, past->anchor + 2 * (row * past->columns + i));
            if (by[0] != 0 || by[1] != 0) moved = drifted_anchor(past, i, row, by, phase);
            if (absolute(moved[0]) > ANCHOR_LIMIT || absolute(moved[1]) > ANCHOR_LIMIT)
                moved = (two){};
        }
        STORE(anchor + 2 * i, moved);
    }
}

// So near are the anchors of neighbours on one surface, in pixels, …
#define NEIGHBOUR_NEAR 1.0f
// … and so many of eight neighbours lie on a square's own surface.
#define NEIGHBOURS_MIN 3

// Eight squares side by side, x and y in turn: all bits set in both lanes of those with support.
INLINE pixel_mask has_support(const pixel *nine, pixel value) {
    pixel_mask count = {};
    for (int k = 0; k < 9; k++) {
        if (k == 4) continue;
        pixel_mask is_near = pixel_abs(nine[k] - value) < NEIGHBOUR_NEAR;
        count -= is_near & __builtin_shufflevector(
            is_near, is_near, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    }
    return count >= NEIGHBOURS_MIN;
}

#define SORT(a, b) \
    do { \
        pixel least_ = v[a] < v[b] ? v[a] : v[b]; \
        v[b] = v[a] < v[b] ? v[b] : v[a]; \
        v[a] = least_; \
    } while (0)

// The median of each lane: a sorting network without the exchanges that do not reach the middle
// (Devillard, "Fast median search: an ANSI C implementation", 1998).
INLINE pixel median_of_nine(const pixel *nine) {
    pixel v[9];
    for (int k = 0; k < 9; k++) v[k] = nine[k];
    SORT(1, 2); SORT(4, 5); SORT(7, 8); SORT(0, 1); SORT(3, 4); SORT(6, 7); SORT(1, 2);
    SORT(4, 5); SORT(7, 8); SORT(0, 3); SORT(5, 8); SORT(4, 7); SORT(3, 6); SORT(1, 4);
    SORT(2, 5); SORT(4, 7); SORT(4, 2); SORT(6, 4); SORT(4, 2);
    return v[4];
}

INLINE pixel mended(const float *from, ptrdiff_t stride) {
    pixel nine[9];
    for (int k = 0; k < 9; k++)
        nine[k] = LOAD(pixel, from + (k / 3 - 1) * stride + 2 * (k % 3 - 1));
    pixel_mask own = has_support(nine, nine[4]);
    if (!any(~own)) return nine[4];
    pixel median = median_of_nine(nine);
    pixel_mask other = has_support(nine, median);
    pixel_mask bits = __builtin_bit_cast(pixel_mask, nine[4]) & own;
    return __builtin_bit_cast(
        pixel, bits | (__builtin_bit_cast(pixel_mask, median) & other & ~own));
}

static void mend_anchors(
    const float *field, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row, float *anchor) {
    for (ptrdiff_t i = 0; i < columns; i += 8) {
        const float *from = field + 2 * (row * columns + i);
        ptrdiff_t stride = 2 * columns, count = columns - i < 8 ? columns - i : 8;
        float around[3][2 * 10];
        if (row == 0 || row + 1 == rows || i == 0 || i + 8 >= columns) {
            // At the edges of the picture, those repeat.
            for (ptrdiff_t y = 0; y < 3; y++)
                for (ptrdiff_t x = 0; x < 10; x++) {
                    ptrdiff_t line = clamp_index(row + y - 1, 0, rows - 1);
                    ptrdiff_t column = clamp_index(i + x - 1, 0, columns - 1);
                    STORE(around[y] + 2 * x, LOAD(two, field + 2 * (line * columns + column)));
                }
            from = around[1] + 2;
            stride = 2 * 10;
        }
        pixel result = mended(from, stride);
        memcpy(anchor + 2 * i, &result, (size_t)count * 2 * sizeof(float));
    }
}

// Texels of a source: red in the lowest byte, then green and blue.

typedef int32_t texel_row __attribute__((ext_vector_type(4)));
typedef int32_t texel_rows __attribute__((ext_vector_type(8)));

INLINE pixel_mask load_texels(const uint32_t *from) {
    texel_rows top = JOIN_ROWS(LOAD(texel_row, from), LOAD(texel_row, from + CK_SOURCE_STRIDE));
    texel_rows bottom = JOIN_ROWS(
        LOAD(texel_row, from + 2 * CK_SOURCE_STRIDE), LOAD(texel_row, from + 3 * CK_SOURCE_STRIDE));
    return JOIN_PAIRS(top, bottom);
}

INLINE pixel colour_of(pixel_mask texels, int colour) {
    return __builtin_convertvector(texels >> 8 * colour & 255, pixel);
}

// The source at one square, its three colours in 0…255.
typedef struct {
    pixel colour[3];
} texture;

// Between four texels for each pixel.
INLINE texture between_texels(
    pixel_mask a, pixel_mask b, pixel_mask c, pixel_mask d, pixel x, pixel y) {
    texture result;
    for (int i = 0; i < 3; i++) {
        pixel above = colour_of(a, i), below = colour_of(c, i);
        above += x * (colour_of(b, i) - above);
        below += x * (colour_of(d, i) - below);
        result.colour[i] = above + y * (below - above);
    }
    return result;
}

INLINE pixel_mask floor_of(pixel v) {
    pixel_mask whole = __builtin_convertvector(v, pixel_mask);
    return whole + (v < __builtin_convertvector(whole, pixel));
}

// A texel for each pixel, and those to their right.
INLINE void gather_texels(
    const uint32_t *source, pixel_mask index, pixel_mask *left, pixel_mask *right) {
    int32_t indices[CK_BLOCK], texels[2][CK_BLOCK];
    STORE(indices, index);
#pragma clang loop unroll(full)
    for (int lane = 0; lane < CK_BLOCK; lane++) {
        texels[0][lane] = (int32_t)source[indices[lane]];
        texels[1][lane] = (int32_t)source[indices[lane] + 1];
    }
    *left = LOAD(pixel_mask, texels[0]);
    *right = LOAD(pixel_mask, texels[1]);
}

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
    pixel_mask a, b, c, d;
    gather_texels(past->source, index, &a, &b);
    gather_texels(past->source + CK_SOURCE_STRIDE, index, &c, &d);
    return between_texels(a, b, c, d, x, y);
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
    const uint32_t *from = past->source
        + (top + past->offset_y & CK_SOURCE - 1) * CK_SOURCE_STRIDE
        + (left + past->offset_x & CK_SOURCE - 1);
    pixel_mask a = load_texels(from);
    if (x == 0 && y == 0) return (texture){{colour_of(a, 0), colour_of(a, 1), colour_of(a, 2)}};
    return between_texels(
        a, load_texels(from + 1), load_texels(from + CK_SOURCE_STRIDE),
        load_texels(from + CK_SOURCE_STRIDE + 1), (pixel){} + x, (pixel){} + y);
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
    float temporal, float trust_max, const float *light, const float *anchor, uint16_t *aligned,
    float *input, ptrdiff_t block_stride) {
    for (ptrdiff_t i = 0; i < past->columns; i++, input += CK_BLOCK, aligned += 3 * CK_BLOCK) {
        float known = temporal * trust[i], tau = trust_max * known;
        texture source = texture_at(past, anchor, i, row);
        if (!(tau > 0)) {
            for (int c = 0; c < 3; c++)
                STORE(input + c * block_stride, source.colour[c] * (1 / 255.0f));
            STORE(input + 6 * block_stride, LOAD(pixel, light));
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
        pixel state = known * align_state(past, i, row, u, v) + LOAD(pixel, light);
        state[CK_BLOCK - 1] = tau;
        STORE(input + 6 * block_stride, state);
    }
}
