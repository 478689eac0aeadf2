// Vectors of LANES floats, loads, stores and activations: what all SIMD kernels share. Whoever
// includes this has set LANES and the instruction set of the functions that follow.

// Vectors wider than the registers are split by the compiler and never cross a call here.
#pragma clang diagnostic ignored "-Wpsabi"

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((ext_vector_type(LANES)));
typedef uint32_t bits __attribute__((ext_vector_type(LANES)));

#define LOAD(type, pointer) ({ type loaded_; memcpy(&loaded_, (pointer), sizeof loaded_); loaded_; })
#define STORE(pointer, value) do { __typeof__(value) stored_ = (value); \
    memcpy((pointer), &stored_, sizeof stored_); } while (0)

// Activations.

// eˣ: n = round(x · log₂e) goes into the exponent, a polynomial (Taylor to degree 6, |r| ≤ ln 2 / 2)
// does the rest; relative error below 2e-7. Adding 1.5 · 2²³ leaves n in the low bits.
INLINE vector exponential(vector x) {
    const vector low = (vector){} - 87.0f, high = (vector){} + 87.0f;
    x = x < low ? low : x;
    x = x > high ? high : x;
    const float magic = 12582912.0f;
    vector shifted = x * 1.44269504088896341f + magic;
    vector n = shifted - magic;
    vector r = x - n * 0.693145751953125f;
    r = r - n * 1.428606765330187e-6f;
    vector p = r * (1 / 720.0f) + 1 / 120.0f;
    p = p * r + 1 / 24.0f;
    p = p * r + 1 / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    bits scale = (__builtin_bit_cast(bits, shifted) << 23) + 0x3f800000u;
    return p * __builtin_bit_cast(vector, scale);
}

INLINE vector activate(vector value, ck_activation activation) {
    const vector zero = {};
    switch (activation) {
    case CK_RELU:
        return value < zero ? zero : value;  // this way round NaN comes through
    case CK_SILU:
        return value / (exponential(-value) + 1.0f);
    default:
        return value;
    }
}

// Makes the activation (and whether there is a residual) a constant inside the loops.
#define SPECIALISE(body, optional, activation, ...) \
    do { \
        if (optional) { \
            switch (activation) { \
            case CK_RELU: body(__VA_ARGS__, optional, CK_RELU); break; \
            case CK_SILU: body(__VA_ARGS__, optional, CK_SILU); break; \
            default: body(__VA_ARGS__, optional, CK_NONE); \
            } \
        } else { \
            switch (activation) { \
            case CK_RELU: body(__VA_ARGS__, NULL, CK_RELU); break; \
            case CK_SILU: body(__VA_ARGS__, NULL, CK_SILU); break; \
            default: body(__VA_ARGS__, NULL, CK_NONE); \
            } \
        } \
    } while (0)
