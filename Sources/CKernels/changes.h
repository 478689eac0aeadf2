// What changed from frame to frame. Included by simd.h; reference.c says the same plainly.

typedef int32_t pixel_sums __attribute__((ext_vector_type(16)));
typedef int16_t pixel_i16 __attribute__((ext_vector_type(16)));

// The lanes of a 4 × 4 square, mirrored by an exclusive or of their index 4 · y + x.
#define MIRROR(v, bit) \
    __builtin_shufflevector( \
        v, v, 0 ^ (bit), 1 ^ (bit), 2 ^ (bit), 3 ^ (bit), 4 ^ (bit), 5 ^ (bit), 6 ^ (bit), \
        7 ^ (bit), 8 ^ (bit), 9 ^ (bit), 10 ^ (bit), 11 ^ (bit), 12 ^ (bit), 13 ^ (bit), \
        14 ^ (bit), 15 ^ (bit))

INLINE int32_t sum_lanes(pixel_sums v) {
    v += MIRROR(v, 8);
    v += MIRROR(v, 4);
    v += MIRROR(v, 2);
    return v[0] + v[1];
}

INLINE pixel_sums widen(pixel_i16 v) { return __builtin_convertvector(v, pixel_sums); }

INLINE float cell_change(
    const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
    const float *weights) {
    pixel_sums raw = {}, fine = {}, coarse = {}, colours = {};
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
        square p = load_square(a + i / 2 * 4 * a_stride + i % 2 * 12, a_stride);
        square q = load_square(b + i / 2 * 4 * b_stride + i % 2 * 12, b_stride);
        pixel_i16 d[3];
#pragma clang loop unroll(full)
        for (int colour = 0; colour < 3; colour++) {
            d[colour] = __builtin_convertvector(p.colour[colour], pixel_i16)
                - __builtin_convertvector(q.colour[colour], pixel_i16);
            pixel_sums wide = widen(d[colour]);
            raw += wide * wide;
            // Sixteen lanes of the sum over the square: at most 16 · 255.
            pixel_i16 total = d[colour];
            total += MIRROR(total, 1);
            total += MIRROR(total, 2);
            total += MIRROR(total, 4);
            total += MIRROR(total, 8);
            wide = widen(total);
            colours += wide * wide;
        }
        pixel_i16 luma = d[0] + d[1] + d[1] + d[2];  // sums of 16: at most 16320
        luma += MIRROR(luma, 1);
        luma += MIRROR(luma, 4);
        pixel_sums wide = widen(luma);
        fine += wide * wide;
        luma += MIRROR(luma, 2);
        luma += MIRROR(luma, 8);
        wide = widen(luma);
        coarse += wide * wide;
    }
    // Of the averages, each lane holds one that several lanes share: 4 and 16 of them.
    return weights[0] * sum_lanes(raw) / 192.0f
        + weights[1] * (float)(sum_lanes(fine) / 4) / (16.0f * 16 * 16)
        + weights[2] * (float)coarse[0] / (4.0f * 64 * 64)
        + weights[3] * (float)colours[0] / (12.0f * 16 * 16);
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
    for (ptrdiff_t i = 0; i < columns; i++) {
        pixel sum = {};
        for (ptrdiff_t block = 0; block < blocks; block++)
#pragma clang loop unroll(full)
            for (int corner = 0; corner < 4; corner++) {
                ptrdiff_t x = (2 * i + corner % 2) * CK_BLOCK;
                pixel d
                    = LOAD(pixel, from + block * from_block_stride + corner / 2 * from_row_stride + x)
                    - LOAD(pixel, target + block * block_stride + corner / 2 * row_stride + x);
                sum += d * d;
            }
        sum += MIRROR(sum, 8);
        sum += MIRROR(sum, 4);
        sum += MIRROR(sum, 2);
        float change = scale * (sum[0] + sum[1]);
        changes[i] = 0;
        if (change <= threshold) continue;
        changes[i] = change;
        for (ptrdiff_t block = 0; block < blocks; block++)
            for (int row = 0; row < 2; row++)
                memcpy(
                    target + block * block_stride + row * row_stride + 2 * i * CK_BLOCK,
                    from + block * from_block_stride + row * from_row_stride + 2 * i * CK_BLOCK,
                    2 * CK_BLOCK * sizeof(float));
    }
}

INLINE void gather_changes_body(
    const float *changes, ptrdiff_t stride, const ptrdiff_t span, float before, float after,
    float scale, ptrdiff_t count, float *tiles) {
    for (ptrdiff_t t = 0; t < count; t++) {
        float sum = 0;
        for (ptrdiff_t x = -1; x <= span; x++) {
            const float *column = changes + t * span + x;
            float part = before * column[-stride] + after * column[span * stride];
            for (ptrdiff_t y = 0; y < span; y++) part += column[y * stride];
            sum += (x < 0 ? before : x == span ? after : 1) * part;
        }
        tiles[t] += scale * sum;
    }
}

static void gather_changes(
    const float *changes, ptrdiff_t stride, ptrdiff_t span, float before, float after,
    float scale, ptrdiff_t count, float *tiles) {
    if (span == 2)
        gather_changes_body(changes, stride, 2, before, after, scale, count, tiles);
    else
        gather_changes_body(changes, stride, span, before, after, scale, count, tiles);
}
