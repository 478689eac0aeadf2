// Width and height of pictures, as settings have them.

/// Pixels in a row and rows.
struct FrameSize: Sendable, Equatable {
    let width: Int
    let height: Int
}
