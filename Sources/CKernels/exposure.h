// A frame times a gain. Included by stream_kernels.h.

static void multiply_bytes(
    const uint8_t *source, ptrdiff_t count, float gain, uint8_t *target) {
    for (ptrdiff_t i = 0; i < count; i += 16) {
        pixel_u8 bytes = {};
        memcpy(&bytes, source + i, count - i < 16 ? (size_t)(count - i) : 16);
        STORE(target + i, to_u8(gain * from_u8(bytes)));
    }
}
