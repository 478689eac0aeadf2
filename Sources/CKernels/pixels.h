// One pixel of a block, 16 floats, and a square of 4 × 4 RGB24 pixels: the types of the SIMD
// kernels at a network's ends. Included after vectors.h.

// Whatever the register width.
typedef float pixel __attribute__((ext_vector_type(16)));
typedef int32_t pixel_mask __attribute__((ext_vector_type(16)));
typedef uint8_t pixel_u8 __attribute__((ext_vector_type(16)));

// Rounds to nearest; NaN becomes 0.
INLINE pixel_u8 to_u8(pixel value) {
    const pixel zero = {}, full = zero + 255.0f;
    value = value > zero ? value : zero;
    value = value < full ? value : full;
    return __builtin_convertvector(
        __builtin_convertvector(value + 0.5f, pixel_mask), pixel_u8);
}

INLINE pixel from_u8(pixel_u8 value) {
    return __builtin_convertvector(__builtin_convertvector(value, pixel_mask), pixel);
}

// All bits of a lane set where the value is NaN or infinite.
INLINE pixel_mask not_finite(pixel value) {
    return (__builtin_bit_cast(pixel_mask, value) & 0x7f800000) == 0x7f800000;
}

INLINE int any(pixel_mask value) {
    int32_t lanes[16], found = 0;
    STORE(lanes, value);
    for (int i = 0; i < 16; i++) found |= lanes[i];
    return found != 0;
}

// Three colours of a 4 × 4 square, lane 4 · y + x.
typedef struct {
    pixel_u8 colour[3];
} square;

#define ROW_PAIR(a, b, c) \
    __builtin_shufflevector( \
        a, b, c, c + 3, c + 6, c + 9, 16 + c, 19 + c, 22 + c, 25 + c, -1, -1, -1, -1, -1, -1, -1, -1)
#define JOIN(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)

INLINE square load_square(const uint8_t *source, ptrdiff_t stride) {
    pixel_u8 rows[4];
    for (int y = 0; y < 4; y++) {
        rows[y] = (pixel_u8){};
        memcpy(&rows[y], source + y * stride, 12);
    }
    square result;
    result.colour[0] = JOIN(ROW_PAIR(rows[0], rows[1], 0), ROW_PAIR(rows[2], rows[3], 0));
    result.colour[1] = JOIN(ROW_PAIR(rows[0], rows[1], 1), ROW_PAIR(rows[2], rows[3], 1));
    result.colour[2] = JOIN(ROW_PAIR(rows[0], rows[1], 2), ROW_PAIR(rows[2], rows[3], 2));
    return result;
}

// Row `y` of three colours, interleaved: the first 12 lanes.
#define INTERLEAVE(r, g, b, y) \
    __builtin_shufflevector( \
        __builtin_shufflevector( \
            r, g, 4 * y, 16 + 4 * y, -1, 4 * y + 1, 17 + 4 * y, -1, 4 * y + 2, 18 + 4 * y, -1, \
            4 * y + 3, 19 + 4 * y, -1, -1, -1, -1, -1), \
        b, 0, 1, 16 + 4 * y, 3, 4, 17 + 4 * y, 6, 7, 18 + 4 * y, 9, 10, 19 + 4 * y, -1, -1, -1, -1)

#define STORE_ROW(target, r, g, b, y, size) \
    do { \
        __typeof__(r) row_ = INTERLEAVE(r, g, b, y); \
        memcpy((target), &row_, size); \
    } while (0)
