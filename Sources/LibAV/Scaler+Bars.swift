// The black bars of a letterbox, painted anew on every frame because the slots rotate.

internal import CLibAV
internal import Glibc
internal import Video

extension Scaler {
    /// Blackens what lies outside `placement.destination`.
    ///
    /// - Realtime: safe
    func fillBars(of planes: CLibAVPlanes) {
        let picture = placement.destination
        guard picture.width < output.width || picture.height < output.height else { return }
        let right = picture.x + picture.width
        let bottom = picture.y + picture.height
        let bars = (
            Rectangle(x: 0, y: 0, width: output.width, height: picture.y),
            Rectangle(x: 0, y: bottom, width: output.width, height: output.height - bottom),
            Rectangle(x: 0, y: picture.y, width: picture.x, height: picture.height),
            Rectangle(
                x: right, y: picture.y, width: output.width - right, height: picture.height)
        )
        fill(bars.0, of: planes)
        fill(bars.1, of: planes)
        fill(bars.2, of: planes)
        fill(bars.3, of: planes)
    }

    private func fill(_ bar: Rectangle, of planes: CLibAVPlanes) {
        guard bar.width > 0, bar.height > 0 else { return }
        let black: UInt8 = output.colorRange == .limited ? 16 : 0
        switch output.pixelFormat {
        case .rgb24, .bgr24: fill(bar, planes.data.0, planes.linesize.0, plane: 0, value: (0, 0))
        case .yuyv: fill(bar, planes.data.0, planes.linesize.0, plane: 0, value: (black, 128))
        case .uyvy: fill(bar, planes.data.0, planes.linesize.0, plane: 0, value: (128, black))
        case .nv12, .yu12:
            fill(bar, planes.data.0, planes.linesize.0, plane: 0, value: (black, black))
            fill(bar, planes.data.1, planes.linesize.1, plane: 1, value: (128, 128))
            fill(bar, planes.data.2, planes.linesize.2, plane: 2, value: (128, 128))
        case .mjpeg: break
        }
    }

    /// Writes `value`, even and odd bytes, over a bar of one plane. Bars start on the chroma grid.
    private func fill(
        _ bar: Rectangle, _ data: UnsafeMutablePointer<UInt8>?, _ rowStride: Int32, plane: Int,
        value: (UInt8, UInt8)
    ) {
        guard let data else { return }
        let pixels = output.pixelFormat
        let start = pixels.rowBytes(plane: plane, width: bar.x)
        let count = pixels.rowBytes(plane: plane, width: bar.x + bar.width) - start
        let rows = pixels.rows(plane: plane, height: bar.y)
        for y in rows..<pixels.rows(plane: plane, height: bar.y + bar.height) {
            let row = data + y * Int(rowStride) + start
            memset(row, Int32(value.0), count)
            guard value.0 != value.1 else { continue }
            for x in stride(from: 1, to: count, by: 2) { row[x] = value.1 }
        }
    }
}
