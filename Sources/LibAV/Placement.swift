// Which part of the source fills which part of the destination.

/// How a picture of one shape becomes one of another.
public enum Fit: String, Sendable, CaseIterable, Codable {
    /// The destination is filled; what stands out of the source is cut off evenly.
    case crop
    /// The whole source is seen, between black bars.
    case letterbox
}

/// A rectangle in pixels.
struct Rectangle: Equatable {
    var x: Int
    var y: Int
    var width: Int
    var height: Int
}

/// Source and destination rectangle of one conversion.
struct Placement: Equatable {
    var source: Rectangle
    var destination: Rectangle

    /// - Parameters:
    ///   - pixelAspect: width over height of a source pixel; destination pixels are square.
    init(
        from source: PictureLayout, to destination: PictureLayout, fit: Fit,
        pixelAspect: Double = 1
    ) {
        self.source = Rectangle(x: 0, y: 0, width: source.width, height: source.height)
        self.destination = Rectangle(
            x: 0, y: 0, width: destination.width, height: destination.height)
        let sourceShape = Double(source.width) * pixelAspect / Double(source.height)
        let shape = Double(destination.width) / Double(destination.height)
        switch fit {
        case .crop where sourceShape > shape:
            (self.source.x, self.source.width) = Self.centred(
                Double(source.height) * shape / pixelAspect, of: source.width, grid: source.grid.x)
        case .crop:
            (self.source.y, self.source.height) = Self.centred(
                Double(source.width) * pixelAspect / shape, of: source.height, grid: source.grid.y)
        case .letterbox where sourceShape > shape:
            (self.destination.y, self.destination.height) = Self.centred(
                Double(destination.width) / sourceShape, of: destination.height,
                grid: destination.grid.y)
        case .letterbox:
            (self.destination.x, self.destination.width) = Self.centred(
                Double(destination.height) * sourceShape, of: destination.width,
                grid: destination.grid.x)
        }
    }

    /// The top left `width` × `height` pixels as they are.
    init(topLeftWidth width: Int, height: Int) {
        source = Rectangle(x: 0, y: 0, width: width, height: height)
        destination = source
    }

    /// A stretch of about `wanted` pixels in the middle of `length`, both ends on the grid.
    private static func centred(
        _ wanted: Double, of length: Int, grid: Int
    ) -> (start: Int, length: Int) {
        let rounded = Int(min(max(wanted, 1), Double(length)).rounded())
        if rounded == length { return (0, length) }
        let kept = min(length, max(grid, rounded / grid * grid))
        return ((length - kept) / 2 / grid * grid, kept)
    }
}
